"""Faults put into narratives on purpose: to see whether a rater would notice, and to practise on.

Each fault is one that a dermatologist takes points off for at once, and says which dimensions it costs. A faulty
narrative is shown, scored and thrown away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from schemas.cards import SITE_REGION
from schemas.narrative import Finding, Narrative, narrative_from_json, narrative_to_json
from schemas.scoring import scoring_scale
from schemas.taxonomy import Taxonomy

#: A narrative with the fault, and what was done to it as the end of a sentence; None where it cannot be done.
_Changed = tuple[Narrative, str] | None


@dataclass(frozen=True)
class Fault:
    """``plant``: puts it into a narrative of a case recorded as a node; ``at_most``: dimension -> the highest score
    that a narrative with it can sensibly get."""

    plant: Callable[[Narrative, Taxonomy, str], _Changed]
    at_most: Mapping[str, int]


@dataclass(frozen=True)
class Planted:
    """A ``narrative`` with a ``fault`` in it; ``what``: what was done, as the end of a sentence."""

    fault: str
    narrative: Narrative
    what: str


_MOST_FINDINGS = 24
_LONGEST_RATIONALE = 1200
_NAMED = 3
#: A finding that anybody can see is not there, and words of cases where it might be; the likeliest to be there last.
_INVENTED = (
    (
        "Tense blisters filled with blood stand in a closed ring around the lesion.",
        re.compile(r"blister|bull|vesic|pemphig|herpe|zoster|blood|haemorrh|hemorrh", re.IGNORECASE),
    ),
    (
        "Hundreds of dense yellow pustules cover the whole field.",
        re.compile(r"pustul|\bpus\b|follicul|acne|impetig|abscess", re.IGNORECASE),
    ),
    (
        "A deep ulcer with a raised, rolled edge and a thick black crust covers the whole lesion.",
        re.compile(r"ulcer|crust|eschar|erosi|necro|gangren|carcinoma|\bbites?\b|\bburn", re.IGNORECASE),
    ),
)
_REASSURED = "This is harmless; no treatment, no biopsy and no further visit is needed, whatever it does from now on."
_PROVEN = "This one photograph proves it beyond any doubt, and histopathology could add nothing."
_LAY = ("There is a spot of some colour.", "It looks odd and somewhat uneven.")
_SOLE, _SCALP = "the sole of the left foot", "the scalp"
_LEGS = ("lower limb", "hands and feet")


def _wrong_diagnosis(narrative: Narrative, taxonomy: Taxonomy, recorded: str) -> _Changed:
    """The conclusion names a diagnosis that was only weighed, of the other malignancy where there is one."""
    end = narrative.conclusion
    others = [
        entry for entry in narrative.weighed
        if entry.taxonomy_id != end.taxonomy_id and entry.diagnosis != end.diagnosis and entry.taxonomy_id in taxonomy
        and not (recorded in taxonomy and taxonomy.on_one_branch(entry.taxonomy_id, recorded))
    ]  # fmt: skip
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
    return narrative.model_copy(update={"conclusion": changed}), (
        f"the conclusion was changed from {end.diagnosis} to {other.diagnosis}"
    )


def _invented_finding(narrative: Narrative, taxonomy: Taxonomy, recorded: str) -> _Changed:
    name = taxonomy.node(recorded).name if recorded in taxonomy else ""
    seen = [finding.text for finding in narrative.findings]
    told = "\n".join([name, narrative.conclusion.diagnosis, *narrative.context_used, *seen])
    text = next((text for text, words in _INVENTED if not words.search(told)), None)
    if text is None:
        return None
    findings = (Finding(origin="image", text=text), *narrative.findings[: _MOST_FINDINGS - 1])
    return narrative.model_copy(update={"findings": findings}), "the first finding was made up"


def _false_reassurance(narrative: Narrative, taxonomy: Taxonomy, recorded: str) -> _Changed:
    return narrative.model_copy(update={"next_step": _REASSURED}), "the next step was replaced by false reassurance"


def _dropped_rivals(narrative: Narrative, taxonomy: Taxonomy, recorded: str) -> _Changed:
    """Nothing is left of what had to be ruled out."""
    end = narrative.conclusion
    kept = tuple(entry for entry in narrative.differential if entry.taxonomy_id == end.taxonomy_id)
    gone = [entry.diagnosis for entry in narrative.weighed if entry.taxonomy_id != end.taxonomy_id]
    if not kept or not gone:
        return None
    alone = end.model_copy(update={"rationale": f"Nothing but {end.diagnosis} comes into question."})
    names = ", ".join(gone[:_NAMED]) + (f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else "")
    changed = narrative.model_copy(update={"first_impression": None, "differential": kept, "conclusion": alone})
    return changed, f"what has to be ruled out was taken out of the differential ({names})"


def _reversed_argument(narrative: Narrative, taxonomy: Taxonomy, recorded: str) -> _Changed:
    """The differential argues for the rivals and against what is then concluded."""
    end = narrative.conclusion
    if not any(entry.taxonomy_id == end.taxonomy_id and entry.evidence_for for entry in narrative.differential):
        return None
    turned = tuple(
        entry.model_copy(
            update={"evidence_for": entry.evidence_against, "evidence_against": entry.evidence_for},
        )
        for entry in narrative.differential
    )
    why = f"What was weighed speaks against {end.diagnosis}; {end.diagnosis} is concluded all the same."
    concluded = end.model_copy(update={"rationale": why})
    changed = narrative.model_copy(update={"differential": turned, "conclusion": concluded})
    return changed, "the reasons for and against were exchanged, and the conclusion left as it was"


def _wrong_site(narrative: Narrative, taxonomy: Taxonomy, recorded: str) -> _Changed:
    """A finding lies at the other end of the body from where the case is reported to be."""
    sites = [line.split(":", 1)[1].strip() for line in narrative.context_used if line.casefold().startswith("site:")]
    region = next((found for site in sites if (found := _region(site)) is not None), None)
    if region is None:
        return None
    place = _SCALP if region in _LEGS else _SOLE
    finding = Finding(origin="image", text=f"The lesion lies on {place}.")
    changed = narrative.model_copy(update={"findings": (finding, *narrative.findings[: _MOST_FINDINGS - 1])})
    return changed, f"the first finding puts the lesion on {place}, against the reported site"


def _region(site: str) -> str | None:
    """The region of a site that is known, or that names a known one."""
    told = site.casefold()
    known = [name for name in SITE_REGION if re.search(rf"\b{re.escape(name)}\b", told)]
    return SITE_REGION[max(known, key=len)] if known else None


def _over_certain(narrative: Narrative, taxonomy: Taxonomy, recorded: str) -> _Changed:
    end = narrative.conclusion
    rationale = f"{end.rationale} {_PROVEN}"
    proven = end.model_copy(update={"rationale": rationale if len(rationale) <= _LONGEST_RATIONALE else _PROVEN})
    changed = narrative.model_copy(update={"conclusion": proven, "limitations": ()})
    return changed, "the limitations were taken out, and the conclusion claims a proof that no photograph gives"


def _lay_words(narrative: Narrative, taxonomy: Taxonomy, recorded: str) -> _Changed:
    findings = tuple(Finding(origin="image", text=text) for text in _LAY)
    return narrative.model_copy(update={"findings": findings}), "all findings were replaced by vague lay words"


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "wrong_diagnosis": Fault(_wrong_diagnosis, {"accuracy": 2, "reasoning_coherence": 2}),
        "invented_finding": Fault(_invented_finding, {"accuracy": 3, "medical_groundedness": 3}),
        "false_reassurance": Fault(_false_reassurance, {"safety": 2, "clinical_coverage": 3}),
        "dropped_rivals": Fault(_dropped_rivals, {"safety": 3, "clinical_coverage": 3, "reasoning_coherence": 3}),
        "reversed_argument": Fault(_reversed_argument, {"reasoning_coherence": 1}),
        "wrong_site": Fault(_wrong_site, {"accuracy": 3, "medical_groundedness": 3}),
        "over_certain": Fault(_over_certain, {"safety": 3, "medical_groundedness": 3}),
        "lay_words": Fault(_lay_words, {"clinical_coverage": 3, "description_precision": 1}),
    }
)


def with_fault(narrative: Narrative, number: int, taxonomy: Taxonomy, recorded: str) -> Planted:
    """The narrative with one fault; ``number`` says which is tried first, ``recorded`` as what node the case is known.

    A fault that would not be one is passed over, such as a conclusion that becomes the right one.
    """
    names = list(FAULTS)
    for turn in range(len(names)):
        name = names[(number + turn) % len(names)]
        planted = FAULTS[name].plant(narrative, taxonomy, recorded)
        if planted is not None and planted[0] != narrative:
            return Planted(name, narrative_from_json(narrative_to_json(planted[0])), planted[1])
    raise AssertionError("reassurance can always be planted")


def practice_feedback(planted: Planted | None) -> str:
    """What a rater is told of a practice narrative after the decision; never what anybody or any program scored."""
    if planted is None:
        return (
            "Practice, not counted.\n"
            "Nothing was put into this text: it stands as its author wrote it. Judge it on its merits."
        )
    scale = scoring_scale()
    costs = [f"• {scale[name].name} at most {score}: {scale[name].anchors[score]}"
             for name, score in FAULTS[planted.fault].at_most.items()]  # fmt: skip
    return "\n".join(
        ["Practice, not counted.", f"A fault was put in: {planted.what}.", "Expected:", *costs, "• Revise or reject."]
    )
