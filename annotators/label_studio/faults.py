"""Faults put into narratives on purpose, so that it can be told whether a rater would notice.

Each fault is one that a dermatologist takes points off for at once. A faulty narrative is shown, scored and thrown
away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from schemas.narrative import Finding, Narrative
from schemas.taxonomy import Taxonomy

_MOST_FINDINGS = 24
_INVENTED = "A deep ulcer with a raised, rolled edge and a thick black crust covers the whole lesion."
_REASSURED = "This is harmless; no treatment, no biopsy and no further visit is needed, whatever it does from now on."


def _wrong_diagnosis(narrative: Narrative, taxonomy: Taxonomy) -> Narrative | None:
    """The conclusion names a diagnosis that was only weighed, of the other malignancy where there is one."""
    end = narrative.conclusion
    others = [e for e in narrative.weighed if e.taxonomy_id != end.taxonomy_id and e.taxonomy_id in taxonomy]
    if not others:
        return None
    others.sort(key=lambda entry: taxonomy.node(entry.taxonomy_id).malignancy == end.malignancy)
    other = others[0]
    changed = end.model_copy(
        update={
            "diagnosis": other.diagnosis,
            "taxonomy_id": other.taxonomy_id,
            "malignancy": taxonomy.node(other.taxonomy_id).malignancy,
            "rationale": f"The findings are those of {other.diagnosis}.",
        }
    )
    return narrative.model_copy(update={"conclusion": changed})


def _invented_finding(narrative: Narrative, taxonomy: Taxonomy) -> Narrative | None:
    told = narrative.findings[: _MOST_FINDINGS - 1]
    return narrative.model_copy(update={"findings": (Finding(origin="image", text=_INVENTED), *told)})


def _false_reassurance(narrative: Narrative, taxonomy: Taxonomy) -> Narrative | None:
    return narrative.model_copy(update={"next_step": _REASSURED})


_FAULTS: Mapping[str, Callable[[Narrative, Taxonomy], Narrative | None]] = MappingProxyType(
    {
        "wrong_diagnosis": _wrong_diagnosis,
        "invented_finding": _invented_finding,
        "false_reassurance": _false_reassurance,
    }
)
FAULTS = tuple(_FAULTS)


def with_fault(narrative: Narrative, number: int, taxonomy: Taxonomy) -> tuple[str, Narrative]:
    """The narrative with one fault, and the fault's name; ``number`` says which is tried first."""
    for turn in range(len(FAULTS)):
        name = FAULTS[(number + turn) % len(FAULTS)]
        if (changed := _FAULTS[name](narrative, taxonomy)) is not None:
            return name, changed
    raise AssertionError("reassurance can always be planted")
