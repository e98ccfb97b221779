"""Reading a label that is not spelt as the taxonomy spells it, by rules that a person can check, and never by guessing.

Labels of real datasets are file names, plurals, inverted terms ("warts plantar"), compounds ("PerioralDermEye") and
diagnoses with a site or course ("psoriasis scalp", "herpes zoster child"). Words are brought to one spelling and
compared as a set, so order does not matter; then words of site and course are set aside, the fewest that leave a known
term. A label that gives several names of one disease ("hives urticaria") means that disease, and one that names two
diseases is ambiguous. A similar word is accepted only when it begins alike, differs by one letter, and nothing else is
as near; a shorter word only beside a word of the same term that is spelt right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

from schemas.label_words import (
    ABBREVIATIONS,
    COURSES,
    SITES,
    folded,
    side_by_side,
    split_compounds,
    words_of,
)

#: Raised whenever a label may be read differently than before.
RULES_VERSION = 2
_MOST_QUALIFIERS = 4
#: Longer labels are sentences, and a sentence is no label.
_MOST_WORDS = 16
_LONG, _SHORT = 8, 6
_SQUASHED = 8
_MOST_SPELLINGS = 16
#: Real words one letter from a word of a term; they are never taken for its misspelling.
_NEVER_RESPELT = frozenset({"enanthem", "enanthema", "exanthema"})


@dataclass(frozen=True)
class Reading:
    """What a label may mean: the nodes, the rule that found them, and the words of site and course set aside."""

    nodes: tuple[str, ...]
    rule: str
    qualifiers: tuple[str, ...] = ()


class LabelIndex:
    """The terms of a taxonomy as sets of words; immutable once made."""

    def __init__(self, terms: Iterable[tuple[str, str]], paths: Mapping[str, Sequence[str]] | None = None) -> None:
        """``terms``: (name or synonym, node id) pairs; ``paths``: node id -> ids from its root down to itself."""
        self._paths = paths or {}
        self._nodes: dict[frozenset[str], set[str]] = {}
        self._squashed: dict[str, set[str]] = {}
        for term, node_id in terms:
            words = words_of(term)
            self._nodes.setdefault(frozenset(words), set()).add(node_id)
            if len(squashed := "".join(words)) >= _SQUASHED:
                self._squashed.setdefault(squashed, set()).add(node_id)
        self._nodes.pop(frozenset(), None)
        self._holding: dict[str, list[frozenset[str]]] = {}
        for bag in self._nodes:
            for word in bag:
                self._holding.setdefault(word, []).append(bag)
        self._known = frozenset(self._holding) | SITES | COURSES
        self._by_start: dict[str, list[str]] = {}
        for word in sorted(self._known):
            self._by_start.setdefault(word[0], []).append(word)

    def read(self, raw: str) -> Reading | None:
        """The first reading that a rule finds, or None; a label that asks is none."""
        if "?" in raw or len(words := words_of(raw)) > _MOST_WORDS or not words:
            return None
        parts = side_by_side(raw)
        told = {node for part in parts for node in self._nodes.get(frozenset(words_of(part)), ())}
        if len(parts) > 1 and len(told) > 1:
            return Reading(tuple(sorted(told)), "ambiguous")
        several = len(parts) > 1
        camel = split_compounds(raw) != raw
        if found := self._find(words, several=several):
            return Reading(found.nodes, "compound" if camel else found.rule, found.qualifiers)
        whole = [part for word in words for part in self._pieces(word)]
        if whole != words and (found := self._find(whole, several=several)):
            return Reading(found.nodes, "compound", found.qualifiers)
        return self._misspelt(whole, several=several)

    def _misspelt(self, words: list[str], *, several: bool) -> Reading | None:
        """The one reading that respelling the unknown words by a letter gives, if it gives only one."""
        choices = [self._near(word, words) for word in words]
        if all(near == [word] for near, word in zip(choices, words, strict=True)):
            return None
        if prod(len(near) for near in choices) > _MOST_SPELLINGS:
            return None
        found = [reading for spelt in product(*choices) if (reading := self._find(list(spelt), several=several))]
        if len({reading.nodes for reading in found}) != 1:
            return None
        return Reading(found[0].nodes, "misspelling", found[0].qualifiers)

    def _find(self, words: list[str], *, several: bool) -> Reading | None:
        bag = frozenset(words)
        if nodes := self._nodes.get(bag) or self._squashed.get("".join(words)):
            return Reading(tuple(sorted(nodes)), "variant")
        names = self._several_names(bag, frozenset(), several=several)
        if names and len(names.nodes) == 1:
            return names
        aside = [word for word in dict.fromkeys(words) if word in SITES or word in COURSES]
        for count in range(1, min(_MOST_QUALIFIERS, len(aside)) + 1):
            found: dict[tuple[str, ...], tuple[str, ...]] = {}
            for dropped in combinations(aside, count):
                if nodes := self._nodes.get(bag - set(dropped)):
                    found.setdefault(tuple(sorted(nodes)), dropped)
            if found:
                every = tuple(sorted({node for nodes in found for node in nodes}))
                return Reading(every, "qualifier", next(iter(found.values())))
        return self._several_names(bag, frozenset(aside), several=several)

    def _several_names(self, bag: frozenset[str], aside: frozenset[str], *, several: bool) -> Reading | None:
        """A label made of several whole terms: one disease under two names, or two diseases, which is ambiguous."""
        inside = {term for word in bag for term in self._holding.get(word, ()) if term <= bag}
        largest = [term for term in inside if not any(term < other for other in inside)]
        covered = frozenset[str]().union(*largest)
        if not largest or not bag - covered <= aside:
            return None
        nodes = {node for term in largest for node in self._nodes[term]}
        lowest = {node for node in nodes if not any(node in self._paths.get(other, ())[:-1] for other in nodes)}
        if several and len(nodes) > 1:
            return Reading(tuple(sorted(nodes)), "ambiguous")
        return Reading(tuple(sorted(lowest)), "synonym", tuple(sorted(bag - covered)))

    def _pieces(self, word: str) -> Sequence[str]:
        """The known words that an unknown one is glued from ("sebaceoushyperplasia"), if only one way is possible."""
        if word in self._known or len(word) < _SHORT or len(word) > 60:
            return [word]
        ways = list(self._splits(word, 4))
        return ways[0] if len(ways) == 1 else [word]

    def _splits(self, word: str, most: int) -> Iterator[list[str]]:
        for end in range(3, len(word) + 1):
            head, rest = word[:end], word[end:]
            known = folded(ABBREVIATIONS.get(head, head))
            if known not in self._known or (end < 4 and head not in ABBREVIATIONS):
                continue
            if not rest:
                yield [known]
            elif most > 1:
                yield from ([known, *tail] for tail in self._splits(rest, most - 1))

    def _near(self, word: str, words: list[str]) -> list[str]:
        """The words of terms that an unknown word may be meant for, itself if there are none."""
        if word in self._known or len(word) < _SHORT or word in _NEVER_RESPELT:
            return [word]
        near = [other for other in self._by_start.get(word[0], ()) if len(other) >= _SHORT and _one_apart(word, other)]
        if len(word) < _LONG:
            beside = set(words) - {word}
            near = [other for other in near if any(len(term) > 1 and term - {other} <= beside
                                                   for term in self._holding.get(other, ()))]  # fmt: skip
        return near or [word]


def _one_apart(a: str, b: str) -> bool:
    """Whether one letter inserted, deleted, replaced or two neighbours swapped make ``a`` into ``b``."""
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1:
        return False
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) == len(b):
        return a[at + 1 :] == b[at + 1 :] or (a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :])
    return a[at:] == b[at + 1 :]
