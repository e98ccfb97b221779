"""The words of a label in one spelling, and the words that say where, how and on whom a disease is, not which it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache

_CAMEL = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z]{2})")
#: "Bowen's", and "Bowen_s" where a file system took the apostrophe.
_POSSESSIVE = re.compile(r"['’_]s\b")  # noqa: RUF001
_WORD = re.compile(r"[a-z0-9]+")
_EXTENSION = re.compile(r"(?:\.(?:jpe?g|png|tiff?|bmp|gif|webp))+$", re.IGNORECASE)
#: A number that counts pictures, glued or alone, says nothing; those of a type ("type 1", "HSV 2") are kept.
_TYPE = re.compile(r"\b(?:type ?|(hsv|nf) ?)([1-9])\b")
#: Words that put two diseases side by side, so that neither may be chosen.
_BETWEEN = re.compile(r"\b(?:or|vs|versus|and|with)\b|/")
#: Shortened words of file names, expanded only as whole words; codes of a dataset belong in its crosswalk.
ABBREVIATIONS: Mapping[str, str] = {
    "derm": "dermatitis",
    "psor": "psoriasis",
    "seb": "seborrheic",
    "kerat": "keratosis",
    "ecz": "eczema",
    "foll": "folliculitis",
    "staph": "staphylococcal",
    "strep": "streptococcal",
    "pseudomon": "pseudomonas",
    "sq": "squamous",
    "immunocomp": "immunocompromised",
}
#: Where on the body; a diagnosis keeps its node wherever it sits.
SITES = frozenset(
    re.findall(
        r"\w+",
        "abdomen abdominal acral anal ankle antecubital anus areola arm armpit auricle axilla back beard body breast "
        "buccal buttock calf cheek chest chin crease crural diaper dorsal dorsum ear elbow extremity eye eyebrow "
        "eyelash eyelid face facial finger fingernail fingertip flank flexural flexure fold foot forearm forehead "
        "foreskin genital genitalia gingiva glans gluteal groin gum hairline hand head heel hip inguinal interdigital "
        "intertriginous jaw knee knuckle labia leg lid limb lip lower lumbar mouth mucosal nail nape nasal neck "
        "nipple nose nostril oral orbital palate palm palmar palmoplantar penile penis perianal perineum periocular "
        "periorbital periungual plantar popliteal postauricular pretibial pubic retroauricular sacral scalp scrotal "
        "scrotum shin shoulder side skin sole subungual temple thigh thoracic throat thumb toe toenail toeweb tongue "
        "torso trunk umbilicus upper vagina vaginal vulva vulval vulvar waist wall web wrist",
    )
)
#: How it runs, whom it hits and how it looks on a picture; none changes which disease it is.
COURSES = frozenset(
    re.findall(
        r"\w+",
        "active acute adult advanced baby bilateral boy bullous case child childhood chronic classic clinical close "
        "closeup crusted cryosurgery cryotherapy culture cutaneous dermatoscopic dermatoscopy dermoscopic dermoscopy "
        "diffuse disseminated dry early elderly erosive extensive familial female form generalised generalized giant "
        "girl healed healing histology histopathology imiquimod immunocompromised immunosuppressed impetiginised "
        "impetiginized infancy infant infected inflamed initial irritated laboratory large laser late left lesion "
        "local localised localized macro male man microscopy mild moderate multiple new newborn nodule nos old papule "
        "patch pathology patient pediatric pigmented plaque primary pruritic recurrent resolved right rough ruff "
        "ruptured scaly secondary severe single small smooth solitary subacute surgery therapy thick traumatized "
        "treated treatment typical ulcerated ulcerating unilateral untreated variant widespread woman young",
    )
)
_FILLERS = frozenset(
    {"of", "the", "and", "or", "in", "on", "with", "a", "an", "at", "by", "due", "to", "for", "is", "vs", "versus"}
    | {"picture", "pictures", "photos", "photograph", "image", "images"}
)
_IRREGULAR = {"feet": "foot", "teeth": "tooth", "men": "man", "women": "woman", "children": "child", "lice": "louse"}
#: British and older spellings, folded anywhere in a word.
_RESPELT = (("ae", "e"), ("tumour", "tumor"), ("colour", "color"), ("isation", "ization"),
            ("leuco", "leuko"), ("ising", "izing"), ("grey", "gray"), ("sulph", "sulf"))  # fmt: skip
_OE = re.compile(r"(?<!^t)(?<!^sh)oe")
_PLURALS = (("omata", "oma"), ("igines", "igo"), ("ides", "id"), ("ies", "y"), ("sses", "ss"), ("oses", "osis"),
            ("iases", "iasis"), ("nevi", "nevus"), ("aces", "ax"), ("uses", "us"), ("ches", "ch"),
            ("shes", "sh"))  # fmt: skip


def words_of(text: str) -> list[str]:
    """The words of a label in one spelling: compounds split, plurals and British spellings folded, numbers dropped."""
    spaced = split_compounds(_EXTENSION.sub("", text)).casefold()
    spaced = _POSSESSIVE.sub("", spaced)
    spaced = _TYPE.sub(r"\1 type\2", re.sub(r"[^a-z0-9]+", " ", _fold_accents(spaced)))
    found: list[str] = []
    for word in _WORD.findall(spaced):
        if word.isdigit() or word in _FILLERS:
            continue
        trimmed = word if word.startswith("type") else word.strip("0123456789")
        for part in ABBREVIATIONS.get(trimmed, trimmed).split():
            found.append(folded(part))
    return [word for word in found if word]


def split_compounds(text: str) -> str:
    """``text`` with a space wherever a capital starts a word inside another ("PerioralDerm")."""
    return _CAMEL.sub(" ", text)


def side_by_side(text: str) -> list[str]:
    """What the label sets side by side ("or", "versus", a slash); one part if it does not."""
    return _BETWEEN.split(text.casefold())


def _fold_accents(text: str) -> str:
    if text.isascii():
        return text
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


@lru_cache(maxsize=8192)
def folded(word: str) -> str:
    """One spelling of a word: British forms and plurals become one form, which need not be a word itself."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ae") and len(word) > 4:
        word = word[:-1]
    word = _OE.sub("e", word)
    for british, plain in _RESPELT:
        word = word.replace(british, plain)
    for ending, single in _PLURALS:
        if (word.endswith(ending) and len(word) > len(ending) + 1) or word == ending:
            return word[: -len(ending)] + single
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word
