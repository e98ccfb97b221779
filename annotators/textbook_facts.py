"""What the reported age and site say of a disease, and whether a look-alike can be argued of this person at all."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from annotators.textbook_writer import Writer, active_signs, listed, sentence
from schemas.cards import SITE_REGION, DifferentialEdge, KnowledgeCard, Region

_ACTIVE = ("malignant", "in_situ", "premalignant")
#: Parts of the body that an argument for a look-alike may name besides those of :data:`schemas.cards.SITE_REGION`.
_PARTS: Mapping[str, tuple[Region, ...]] = {
    "lid eyelid eyebrow brow lash nostril beard facial nasal": ("head and neck",),
    "buttock nipple breast nappy flank navel waist": ("trunk",),
    "armpit axilla": ("upper limb",),
    "calf ankle": ("lower limb",),
    "limb extremity": ("upper limb", "lower limb", "hands and feet"),
    "finger toe nail heel knuckle fingertip plantar palmar digit feet": ("hands and feet",),
    "vulva penis groin anus perianal tongue gum oral genitals": ("genital or oral",),
    "lip": ("head and neck", "genital or oral"),
}
_PART_OF = {
    **{site: (region,) for site, region in SITE_REGION.items()},
    **{word: regions for words, regions in _PARTS.items() for word in words.split()},
}
_WORD = re.compile(r"[a-z]+")
_YOUNG = re.compile(r"\b(?:child|infan|bab(?:y|ies)|newborn|toddler|nappy|school)", re.IGNORECASE)
_OLD = re.compile(r"\b(?:elderly|older|old (?:person|skin|face)|the old)\b", re.IGNORECASE)
_ADULT, _AGED = 18, 40
_PREGNANT = (12, 55)


@dataclass(frozen=True)
class Fact:
    """A reported fact and whether it fits a disease; after ``what``, ``of_it`` says so, or "lies" and ``lies``."""

    what: str
    fits: bool
    of_it: str
    lies: str
    years_off: float = math.inf  # of an age: how far outside the usual ones


def facts_about(writer: Writer, card: KnowledgeCard, used: set[str]) -> list[Fact]:
    """What the reported age and site, of the facts in ``used``, say of the disease of ``card``; the same of any two."""
    fields, name = writer.fields, writer.taxonomy.node(card.node_id).spoken
    facts = []
    if "age" in used:
        years, low, high = fields["age_years"], card.typical_ages.low, card.typical_ages.high
        fits = low <= years <= high
        where = "inside" if fits else "outside"
        its, named = f"its usual range of {low} to {high} years", f"the usual range of {name} ({low} to {high} years)"
        what, off = f"the reported age of {years:g} years", max(low - years, years - high, 0.0)
        facts.append(Fact(what, fits, f"lies {where} {its}", f"{where} {named}", off))
    if "site" in used and writer.region:
        fits = writer.region in card.typical_sites
        told = "belongs to a region where it occurs" if fits else "lies outside the regions where it usually occurs"
        named = f"in a region where {name} occurs" if fits else f"outside the regions where {name} usually occurs"
        facts.append(Fact(f"the reported site ({fields['site']})", fits, told, named))
    return facts


def fit(writer: Writer, card: KnowledgeCard, used: set[str]) -> tuple[list[str], list[str]]:
    """Sentences on what the reported facts in ``used`` say for and against the disease of ``card``, called it."""
    facts = facts_about(writer, card, used)
    points = [(fact.fits, f"{fact.what} {fact.of_it}") for fact in facts]
    active = active_signs(writer, used)
    if active and writer.taxonomy.node(card.node_id).malignancy in _ACTIVE:
        points.append((True, f"{listed(active)} reported: an active lesion is expected of it"))
    return [sentence(text) for fits, text in points if fits], [sentence(text) for fits, text in points if not fits]


def impossible(writer: Writer, edge: DifferentialEdge) -> bool:
    """Whether a look-alike is a disease of pregnancy in somebody who is reported to be a man, a child or old."""
    other = writer.cards.get(edge.node_id)
    if other is None or "pregnan" not in other.primary_morphology:
        return False
    years, (first, last) = writer.fields["age_years"], _PREGNANT
    return writer.fields["sex"] == "male" or (years is not None and not first <= years <= last)


def far_fetched(writer: Writer, edge: DifferentialEdge) -> bool:
    """Whether what argues for a look-alike tells of another part of the body, or of another age, than is reported."""
    years, region = writer.fields["age_years"], writer.region
    parts, young, old = _told_of(edge.argues_for)
    if years is not None and ((young and years >= _ADULT) or (old and years < _AGED)):
        return True
    return bool(region and parts and region not in parts)


@lru_cache(1 << 12)
def _told_of(argument: str) -> tuple[frozenset[Region], bool, bool]:
    """The parts of the body an argument names, and whether it tells of the young or of the old."""
    words = {form for word in _WORD.findall(argument.casefold()) for form in (word, word.removesuffix("s"))}
    parts = {region for word in words for region in _PART_OF.get(word, ())}
    return frozenset(parts), bool(_YOUNG.search(argument)), bool(_OLD.search(argument))
