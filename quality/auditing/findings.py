"""What an audit finds: the one table of its rules, and a finding, which always points at a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from quality.reading.segments import Sentence

Severity = Literal["error", "warning", "info"]

#: rule -> (group, severity, what it says to a person).
RULES: Mapping[str, tuple[str, Severity, str]] = {
    "unbalanced_tags": ("form", "warning", "thinking or answer tags are opened and not closed, or the other way round"),
    "several_think_blocks": ("form", "info", "more than one thinking block"),
    "layout_drift": ("form", "info", "another layout than most texts of the set have"),
    "no_conclusion": ("form", "warning", "settles on no disease"),
    "unreadable_text": ("form", "error", "empty, or longer than any narrative"),
    "length_outlier": ("form", "info", "far shorter or longer than the others of the set"),
    "contradicts_label": ("conclusion", "error", "concludes a disease that its label rules out"),
    "sibling_of_label": ("conclusion", "warning", "concludes another form of the label's disease"),
    "broader_than_label": ("conclusion", "info", "concludes a family that the label lies in"),
    "finer_than_label": ("conclusion", "info", "concludes a form of the label that the label does not state"),
    "several_diagnoses": ("conclusion", "warning", "leaves open which of several diseases it is"),
    "second_conclusion_differs": ("conclusion", "warning", "an earlier conclusion settles on another disease"),
    "label_only_ruled_out": ("conclusion", "warning", "names the label's disease, and only to rule it out"),
    "forced_conclusion": ("conclusion", "warning", "concludes against what its own reasoning says"),
    "not_entailed": ("conclusion", "warning", "without its conclusion, the reasoning singles out another disease"),
    "nothing_singled_out": ("conclusion", "info", "without its conclusion, the reasoning singles out no disease"),
    "overconfident": ("certainty", "warning", "calls a disease proven, which nobody can from a photograph"),
    "very_uncertain": ("certainty", "info", "says that it cannot tell, or takes its conclusion back"),
    "site_mismatch": ("content", "error", "describes another part of the body than its label allows"),
    "refusal": ("content", "error", "declines to answer"),
    "empty_observation": ("content", "warning", "describes next to nothing that can be seen"),
    "not_skin": ("content", "error", "says that the picture shows no skin"),
    "beyond_photograph.palpation": ("content", "warning", "claims what only touch tells"),
    "beyond_photograph.temperature": ("content", "warning", "claims warmth or fever, or that there is none"),
    "beyond_photograph.pain": ("content", "warning", "claims pain or tenderness, or that there is none"),
    "beyond_photograph.itch": ("content", "warning", "claims itch, or that there is none"),
    "beyond_photograph.bleeding": ("content", "warning", "claims that it bleeds or bled"),
    "beyond_photograph.growth_or_change": ("content", "warning", "claims growth or change, or that there was none"),
    "beyond_photograph.duration_or_onset": ("content", "warning", "claims how long it lasted or how it began"),
    "beyond_photograph.family_or_past_illness": ("content", "warning", "claims a history"),
    "beyond_photograph.treatment": ("content", "warning", "claims a treatment that was had"),
    "beyond_photograph.what_a_patient_said": ("content", "warning", "reports what a patient said"),
    "beyond_photograph.laboratory_or_histology": ("content", "warning", "claims a laboratory or tissue result"),
    "beyond_photograph.systemic_symptoms": ("content", "warning", "claims general symptoms, or that there are none"),
    "caption_talk": ("content", "info", "speaks of a description or caption instead of a picture"),
    "leaked_hidden_fact": ("content", "error", "shows that its author was told the answer or the record's name"),
    "second_person": ("content", "warning", "addresses the reader"),
    "patient_advice": ("content", "info", "tells the reader what to do"),
    "dose_or_prescription": ("content", "warning", "names a dose, a schedule or a prescription"),
    "boilerplate": ("content", "info", "a phrase that says nothing of the case"),
    "exact_duplicate": ("set", "warning", "word for word the text of an earlier record"),
    "near_duplicate_text": ("set", "warning", "nearly the text of an earlier record"),
    "in_evaluation_set": ("set", "error", "its record or image is listed in an evaluation set"),
}
FINDINGS = pl.Schema(
    {
        "id": pl.String(), "rule": pl.String(), "severity": pl.String(), "sentence": pl.String(),
        "start": pl.Int64(), "end": pl.Int64(), "detail": pl.String(),
    }
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A rule broken (or worth telling), the sentence that shows it, and where that stands in the original text."""

    rule: str
    severity: Severity
    sentence: str
    start: int
    end: int
    detail: str


def finding(rule: str, sentence: Sentence, detail: str) -> Finding:
    """A finding of ``rule`` at ``sentence``."""
    return Finding(rule, RULES[rule][1], sentence.text, sentence.start, sentence.end, detail)
