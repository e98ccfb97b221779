"""What a case's metadata tells an author: cleaned, in a fixed order, and without what would give the diagnosis away.

Every teacher is told the same facts in the same words, and a narrative may rely on these lines alone. Texts of datasets
come in here and leave as one short printable line each, so that no cell of a table can pose as an instruction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.tone import fitzpatrick_interval

#: Reported facts that a clinician would be told, and what they are called in a text. Others are left out: they say
#: nothing about the lesion, or they give the diagnosis away.
SYMPTOMS = {
    "itch": "itching",
    "hurt": "pain",
    "grew": "growth",
    "changed": "change",
    "bleed": "bleeding",
    "elevation": "elevation",
    "skin_cancer_history": "history of skin cancer",
    "personal_hx_mm": "personal history of melanoma",
    "family_hx_mm": "family history of melanoma",
}
SIZES = ("clin_size_long_diam_mm", "diameter_1_mm", "diameter_2_mm")
YES_NO = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}
_ROMAN = ("", "I", "II", "III", "IV", "V", "VI")


def prompt_fields(case: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of one case row that shapes its narratives, cleaned and in a fixed order; ``case_id`` is not among it.

    ``image_digests`` takes part where the row has it. Texts are cut to one printable line.
    """
    facts = dict(sorted((str(fact["key"]), str(fact["value"])) for fact in case["facts"] or []))
    answers = {key: YES_NO.get(facts[key].strip().lower()) for key in SYMPTOMS if key in facts}
    tone = fitzpatrick_interval(case["tone_observations"] or [])
    fields: dict[str, Any] = {
        "node_id": case["node_id"],
        "label_certainty": case["label_certainty"],
        "age_years": case["age_years"],
        "sex": _clean(case["sex"]),
        "site": _clean(case["site"]),
        "modality": case["modality"],
        "fitzpatrick": None if tone is None else list(tone),
        "concepts": sorted({word for concept in case["concepts"] or [] if (word := _clean(concept, 40))})[:12],
        "answers": {key: answer for key, answer in answers.items() if answer},
        "sizes_mm": [number for key in SIZES if (number := _millimetres(facts.get(key)))],
    }
    if case.get("image_digests") is not None:
        fields["image_digests"] = sorted(case["image_digests"])
    return fields


def context_lines(fields: Mapping[str, Any]) -> dict[str, str]:
    """Topic -> ``key: value`` line of what :func:`prompt_fields` tells, in the order in which it is told."""
    lines: dict[str, str] = {}
    if fields["modality"] in ("dermoscopic", "clinical"):
        lines["image"] = f"image type: {fields['modality']}"
    if fields["age_years"] is not None:
        lines["age"] = f"age: {years(fields['age_years'])}"
    if fields["sex"]:
        lines["sex"] = f"sex: {fields['sex']}"
    if fields["site"]:
        lines["site"] = f"site: {fields['site']}"
    if fields["fitzpatrick"]:
        lines["tone"] = f"skin tone: Fitzpatrick {fitzpatrick(fields)}"
    if fields["concepts"]:
        lines["morphology"] = f"described morphology: {', '.join(fields['concepts'])}"
    if fields["sizes_mm"]:
        lines["size"] = f"size: {size(fields)}"
    return lines | {key: f"{SYMPTOMS[key]}: {answer}" for key, answer in fields["answers"].items()}


def years(age: float) -> str:
    """An age in words."""
    return f"{age:g} year{'s' * (age != 1)}"


def fitzpatrick(fields: Mapping[str, Any]) -> str:
    """The reported skin type or types, in Roman numerals."""
    return " to ".join(_ROMAN[value] for value in sorted(set(fields["fitzpatrick"])))


def size(fields: Mapping[str, Any]) -> str:
    """The reported size."""
    return " by ".join(fields["sizes_mm"]) + " mm"


def _clean(text: str | None, longest: int = 60) -> str | None:
    """One printable line of at most ``longest`` characters without angle brackets, or None."""
    printable = "".join(c if c.isprintable() and c not in "<>" else " " for c in text or "")
    return " ".join(" ".join(printable.split())[:longest].split()) or None


def _millimetres(text: str | None) -> str | None:
    try:
        return f"{float(text):g}" if text else None
    except ValueError:
        return None
