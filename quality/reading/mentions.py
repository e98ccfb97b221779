"""Which diseases a sentence names, as nodes of the taxonomy.

The names and synonyms of the taxonomy are looked for as runs of words, the longest first, in the same one spelling of
a word that labels are read in. Running text needs a few more terms than labels do (:data:`SPOKEN`), and short
abbreviations only count in capitals or where the text itself introduces them: "an AK" is a diagnosis, "ask" is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from schemas.label_words import folded
from schemas.taxonomy import Taxonomy, load_taxonomy

#: What running text calls a node, and no label would.
SPOKEN: Mapping[str, str] = {
    "dermatitis": "inflammatory_dermatosis",
    "inflammatory skin condition": "inflammatory_dermatosis",
    "inflammatory skin disease": "inflammatory_dermatosis",
    "inflammatory condition": "inflammatory_dermatosis",
    "inflammatory disorder": "inflammatory_dermatosis",
    "lupus": "lupus_erythematosus",
    "cutaneous lupus": "lupus_erythematosus",
    "infection": "infectious_disease",
    "skin infection": "infectious_disease",
    "infectious process": "infectious_disease",
    "bacterial skin infection": "bacterial_infection",
    "fungal skin infection": "fungal_infection",
    "viral skin infection": "viral_infection",
    "varicella zoster virus": "viral_infection",
    "candidal intertrigo": "candidiasis",
    "BCC": "basal_cell_carcinoma",
    "SCC": "squamous_cell_carcinoma",
    "AK": "actinic_keratosis",
    "SK": "seborrheic_keratosis",
    "LSC": "lichen_simplex_chronicus",
    "PRP": "pityriasis_rubra_pilaris",
    "CMN": "congenital_melanocytic_nevus",
    "SCLE": "subacute_cutaneous_lupus_erythematosus",
    "lice": "pediculosis",
    "infestation": "infestation_or_bite",
    "inflammatory acne": "acne_vulgaris",
    "psoriatic": "psoriasis",
    "psoriatic disease": "psoriasis",
    "psoriatic skin": "psoriasis",
    "psoriatic nail disease": "nail_psoriasis",
    "psoriatic nail": "nail_psoriasis",
    "eczematous": "eczema",
    "acneiform eruption": "acneiform_or_follicular_disorder",
    "sun damage": "photodamaged_skin",
    "photoaging": "photodamaged_skin",
    "actinic damage": "photodamaged_skin",
    "parasitic infestation": "infestation_or_bite",
    "arthropod assault": "infestation_or_bite",
    "blistering disorder": "autoimmune_bullous_disease",
    "connective tissue disorder": "connective_tissue_disease",
    "vascular tumor": "vascular_lesion",
    "vascular anomaly": "vascular_lesion",
    "drug reaction": "drug_eruption",
    "nail dystrophy": "nail_disorder",
}

#: Nodes that texts mostly name as a sign of another disease: only an open conclusion makes them one of its own.
SIGNS = frozenset(
    {
        *(
            "pruritus",
            "physical_injury",
            "hyperkeratosis",
            "hyperpigmentation",
            "hypopigmentation",
            "wrinkles",
            "abrasion",
        ),
        *(
            "purpura",
            "maceration",
            "xerosis",
            "onychodystrophy",
            "subungual_hyperkeratosis",
            "pachyonychia",
            "nail_pitting",
        ),
        *("nail_discoloration", "koebner_phenomenon", "peeling_skin_syndrome", "hemorrhage", "comedo", "scar"),
        *("telangiectasia", "onycholysis", "hair_disorder", "nail_disorder", "striae", "follicular_keratosis"),
    }
)


@dataclass(frozen=True)
class Mention:
    """A disease named in a sentence: its node, the words that name it, and where they stand in the sentence."""

    node_id: str
    words: str
    start: int
    end: int


_WORD = re.compile(r"[^\W_]+(?:['’]s\b)?")  # noqa: RUF001
_POSSESSIVE = re.compile(r"['\u2019]s$")
#: What may stand between the words of one name.
_JOINT = re.compile(r"[\s\-\u2010-\u2015/'’]{1,3}")  # noqa: RUF001
_CAPITALS = 4
_END = ""


class Vocabulary:
    """The terms of a taxonomy as a tree of words; immutable once made."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._tree: dict[str, Any] = {}
        for node in taxonomy.nodes:
            for term in (node.name, *node.synonyms):
                self._add(term, node.id)
        for term, node_id in SPOKEN.items():
            self._add(term, taxonomy.node(node_id).id)

    def _add(self, term: str, node_id: str) -> None:
        at = self._tree
        words = _folded_words(term)
        for word, start, end in words:
            raw = term[start:end]
            at = at.setdefault(raw if len(raw) <= _CAPITALS and raw.isupper() and len(words) == 1 else word, {})
        if words:
            at.setdefault(_END, node_id)

    def mentions(self, sentence: str, aliases: Mapping[str, str] | None = None) -> list[Mention]:
        """The diseases named in ``sentence``, left to right; ``aliases``: abbreviations that the text introduced."""
        words = _folded_words(sentence)
        found: list[Mention] = []
        nth = 0
        while nth < len(words):
            stop, node_id = self._longest(sentence, words, nth)
            raw = sentence[words[nth][1] : words[nth][2]]
            if node_id is None and aliases and raw in aliases:
                stop, node_id = nth + 1, aliases[raw]
            if node_id is None:
                nth += 1
                continue
            start, end = words[nth][1], words[stop - 1][2]
            found.append(Mention(node_id, sentence[start:end], start, end))
            nth = stop
        return found

    def _longest(self, sentence: str, words: list[tuple[str, int, int]], first: int) -> tuple[int, str | None]:
        at, best, best_stop = self._tree, None, first
        for nth in range(first, len(words)):
            word, start, end = words[nth]
            if nth > first and not _JOINT.fullmatch(sentence[words[nth - 1][2] : start]):
                break
            raw = sentence[start:end]
            inner = at.get(raw) if nth == first and raw.isupper() and raw in at else at.get(word)
            if inner is None:
                break
            at = inner
            if _END in at:
                best, best_stop = at[_END], nth + 1
        return best_stop, best


def _folded_words(text: str) -> list[tuple[str, int, int]]:
    return [(_folded_word(match.group()), match.start(), match.end()) for match in _WORD.finditer(text)]


@lru_cache(1 << 16)  # words recur
def _folded_word(word: str) -> str:
    return folded(_POSSESSIVE.sub("", word).casefold())


#: ``Chronic hand eczema (CHE)``: what stands in brackets straight after a name stands for it from there on.
_BRACKETED = re.compile(r"\s*\((?:or )?([A-Z][A-Za-z]{1,5})\)")


def introduced(sentence: str, mentions: list[Mention]) -> Iterator[tuple[str, str]]:
    """Abbreviations that a sentence introduces, each with the node it stands for."""
    for mention in mentions:
        if (match := _BRACKETED.match(sentence, mention.end)) and match.group(1).upper() == match.group(1):
            yield match.group(1), mention.node_id


@cache
def vocabulary() -> Vocabulary:
    """The vocabulary of the taxonomy that ships with the project, made once per process."""
    return Vocabulary(load_taxonomy())
