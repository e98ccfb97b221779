"""Reading a label that is not spelt as the taxonomy spells it, by rules that a person can check, and never by guessing.

Labels of real datasets are file names, plurals, inverted terms ("warts plantar"), compounds ("PerioralDermEye") and
diagnoses with a site or course ("psoriasis scalp", "herpes zoster child"). Words are brought to one spelling and
compared as a set, so order does not matter; then words of site and course are set aside, the fewest that leave a known
term. A label that fits several nodes is ambiguous, and one that fits none is left alone: a similar word is accepted
only when it is long, begins alike, differs by one letter, and nothing else is as near.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

#: Raised whenever a label may be read differently than before.
RULES_VERSION = 1
_CAMEL = re.compile(r"(?<=[a-z]{3})(?=[A-Z][a-z]{2})")
_WORD = re.compile(r"[a-z0-9]+")
_EXTENSION = re.compile(r"\.(?:jpe?g|png|tiff?|bmp|gif|webp)$", re.IGNORECASE)
#: A number that counts pictures, glued to a word or alone; those of a type ("type 1") are kept by :func:`_words`.
_TYPE = re.compile(r"\btype (\d)\b")
#: Shortened words of file names, expanded only as whole words; codes of a dataset belong in its crosswalk.
_ABBREVIATIONS: Mapping[str, str] = {
    "derm": "dermatitis",
    "psor": "psoriasis",
    "seb": "seborrheic",
    "kerat": "keratosis",
    "ecz": "eczema",
    "foll": "folliculitis",
}
#: Where on the body; a diagnosis keeps its node wherever it sits.
SITES = frozenset(
    re.findall(
        r"\w+",
        "abdomen acral anal ankle anus areola arm armpit axilla back beard body breast buttock calf cheek chest "
        "chin diaper dorsum ear elbow eye eyebrow eyelid face facial finger fingertip flexural foot forearm "
        "forehead genital gluteal groin gum hand head heel hip inguinal intertriginous knee leg limb lip lower "
        "mouth nail neck nipple nose oral orbital palm palmar palmoplantar penis perianal perineum periorbital "
        "plantar pretibial pubic scalp scrotum shin shoulder skin sole subungual thigh thumb toe toenail toeweb "
        "tongue trunk umbilicus upper vagina vaginal vulva vulvar wrist",
    )
)
#: How it runs, whom it hits and how it looks on a picture; none changes which disease it is.
COURSES = frozenset(
    re.findall(
        r"\w+",
        "acute adult bilateral bullous case child childhood chronic classic close closeup diffuse dry early "
        "elderly erosive extensive generalised generalized healed healing impetiginised impetiginized infant "
        "infected inflamed initial irritated late localised localized mild moderate multiple new newborn old "
        "pediatric pigmented primary recurrent resolved secondary severe single small subacute treated typical "
        "unilateral widespread young",
    )
)
_FILLERS = frozenset({"of", "the", "and", "or", "in", "on", "with", "a", "due", "to", "picture", "photo", "image"})
_MOST_QUALIFIERS = 3
_LONG = 8


@dataclass(frozen=True)
class Reading:
    """What a label may mean: the nodes, the rule that found them, and the words of site and course set aside."""

    nodes: tuple[str, ...]
    rule: str
    qualifiers: tuple[str, ...] = ()


class LabelIndex:
    """The terms of a taxonomy as sets of words; immutable once made."""

    def __init__(self, terms: Iterable[tuple[str, str]]) -> None:
        """``terms``: (name or synonym, node id) pairs."""
        self._nodes: dict[frozenset[str], set[str]] = {}
        for term, node_id in terms:
            self._nodes.setdefault(frozenset(_words(term)), set()).add(node_id)
        self._nodes.pop(frozenset(), None)
        self._known = {word for bag in self._nodes for word in bag}
        self._by_start: dict[str, list[str]] = {}
        for word in sorted(self._known):
            self._by_start.setdefault(word[0], []).append(word)

    def read(self, raw: str) -> Reading | None:
        """The first reading that a rule finds, or None; a label that asks is none."""
        if "?" in raw:
            return None
        words = _words(raw)
        for rule, spelt in (("variant", words), ("misspelling", self._respelt(words))):
            bag = frozenset(spelt)
            if bag in self._nodes:
                return Reading(tuple(sorted(self._nodes[bag])), rule)
            aside = [word for word in dict.fromkeys(spelt) if word in SITES or word in COURSES]
            for count in range(1, min(_MOST_QUALIFIERS, len(aside)) + 1):
                found: dict[tuple[str, ...], tuple[str, ...]] = {}
                for dropped in combinations(aside, count):
                    nodes = self._nodes.get(bag - set(dropped))
                    if nodes:
                        found.setdefault(tuple(sorted(nodes)), dropped)
                if found:
                    every = tuple(sorted({node for nodes in found for node in nodes}))
                    kind = "qualifier" if rule == "variant" else rule
                    return Reading(every, kind, next(iter(found.values())))
        return None

    def _respelt(self, words: list[str]) -> list[str]:
        """Long words that no term has, replaced by the one word of a term that differs by a letter."""
        return [word if word in self._known or len(word) < _LONG else self._nearest(word) for word in words]

    def _nearest(self, word: str) -> str:
        near = [
            other
            for other in self._by_start.get(word[0], ())
            if len(other) >= _LONG and abs(len(other) - len(word)) <= 1 and _one_apart(word, other)
        ]
        return near[0] if len(near) == 1 else word


def _words(text: str) -> list[str]:
    """The words of a label in one spelling: compounds split, plurals and British spellings folded, numbers dropped."""
    spaced = _CAMEL.sub(" ", _EXTENSION.sub("", text)).casefold().replace("'s", "").replace("’s", "")  # noqa: RUF001
    spaced = _TYPE.sub(r"type\1", re.sub(r"[^a-z0-9]+", " ", _fold_accents(spaced)))
    found: list[str] = []
    for word in _WORD.findall(spaced):
        if word.isdigit() or word in _FILLERS:
            continue
        trimmed = word if word.startswith("type") else word.strip("0123456789")
        for part in _ABBREVIATIONS.get(trimmed, trimmed).split():
            found.append(folded_word(part))
    return [word for word in found if word]


def _fold_accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def folded_word(word: str) -> str:
    """One spelling of a word: British forms and plurals become one form, which need not be a word itself."""
    for british, plain in (("ae", "e"), ("oe", "e"), ("tumour", "tumor"), ("colour", "color"), ("isation", "ization")):
        word = word.replace(british, plain)
    if word in ("feet", "teeth"):
        return {"feet": "foot", "teeth": "tooth"}[word]
    for ending, single in (("omata", "oma"), ("ides", "id"), ("ies", "y"), ("sses", "ss"), ("oses", "osis"),
                           ("nevi", "nevus"), ("aces", "ax")):  # fmt: skip
        if (word.endswith(ending) and len(word) > len(ending) + 1) or word == ending:
            return word[: -len(ending)] + single
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def _one_apart(a: str, b: str) -> bool:
    """Whether one letter inserted, deleted, replaced or two neighbours swapped make ``a`` into ``b``."""
    if len(a) > len(b):
        a, b = b, a
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) == len(b):
        return a[at + 1 :] == b[at + 1 :] or (a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :])
    return len(b) - len(a) == 1 and a[at:] == b[at + 1 :]
