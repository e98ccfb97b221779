"""Deterministic checks: each finds its fault at its sentence and leaves sound text alone."""

from __future__ import annotations

from typing import Any

import pytest

from quality.checks import RULES, check_narrative, sentences
from schemas.narrative import Narrative


def narrative(
    finding: str = "A brown papule.",
    origin: str = "image",
    context: tuple[str, ...] = (),
    evidence: str = "A nevus is typically firm and often tender.",
    next_step: str = "Review in three months.",
    **conclusion: Any,
) -> Narrative:
    end = {
        "diagnosis": "Dermatofibroma",
        "taxonomy_id": "dermatofibroma",
        "malignancy": "benign",
        "certainty": "clinical",
        "rationale": "The favoured diagnosis is dermatofibroma.",
    }
    entry = {
        "diagnosis": "Dermatofibroma",
        "taxonomy_id": "dermatofibroma",
        "evidence_for": [evidence],
        "evidence_against": [],
    }
    return Narrative.model_validate(
        {
            "context_used": context,
            "findings": [{"origin": origin, "text": finding}],
            "differential": [entry],
            "conclusion": end | conclusion,
            "limitations": ["Palpation is needed to judge firmness."],
            "next_step": next_step,
        }
    )


def rules(text: Narrative, certainty: str = "clinical") -> list[str]:
    return [fault.rule for fault in check_narrative(text, certainty)]


def test_sound_text_has_no_fault() -> None:
    assert rules(narrative()) == []
    assert set(RULES) == {
        "photograph_cannot_show",
        "certainty_beyond_label",
        "second_person",
        "dose_or_prescription",
        "leaked_label_source",
    }


@pytest.mark.parametrize(
    ("claim", "fact"),
    [
        ("A firm papule on palpation.", "palpation: firm"),
        ("The papule is warm.", "warmth: yes"),
        ("An itchy papule.", "itching: yes"),
        ("The papule has grown.", "growth: yes"),
        ("A papule present for two months.", "duration: two months"),
        ("Biopsy showed spindle cells.", "biopsy: spindle cells"),
    ],
)
def test_what_no_photograph_shows_needs_a_fact_in_the_context(claim: str, fact: str) -> None:
    for origin in ("image", "reported"):
        assert set(rules(narrative(claim, origin))) == {"photograph_cannot_show"}
        assert rules(narrative(claim, origin, (fact,))) == []


def test_knowledge_is_faulted_only_when_said_of_this_patient() -> None:
    assert rules(narrative("Dermatofibroma is typically firm and may itch.", "typical")) == []
    assert rules(narrative("This lesion is firm.", "typical")) == ["photograph_cannot_show"]
    assert rules(narrative("The lesion is typically firm.", "typical")) == []
    assert rules(narrative(evidence="The patient has pain.")) == ["photograph_cannot_show"]


def test_a_finding_points_at_its_sentence() -> None:
    (fault,) = check_narrative(narrative("A brown papule. It feels firm. Its edge is regular."), "clinical")
    assert fault.sentence == "It feels firm."
    assert "'firm'" in fault.detail
    assert fault.sentence in list(sentences(narrative("A brown papule. It feels firm.")))


@pytest.mark.parametrize(
    ("rationale", "label", "faulty"),
    [
        ("Dermatofibroma is confirmed.", "clinical", True),
        ("Dermatofibroma is confirmed.", "follow_up", True),
        ("Dermatofibroma is confirmed.", "histopathology", False),
        ("Dermatofibroma is confirmed.", "consensus", False),
        ("Dermatofibroma is not confirmed.", "clinical", False),
        ("This is certainly dermatofibroma.", "atlas", True),
        ("Dermatofibroma is likely and remains unconfirmed.", "unstated", False),
    ],
)
def test_words_no_surer_than_the_label(rationale: str, label: str, faulty: bool) -> None:
    found = rules(narrative(certainty="unstated", rationale=rationale), label)
    assert found == (["certainty_beyond_label"] if faulty else [])


def test_the_certainty_itself_is_no_surer_than_the_label() -> None:
    (fault,) = check_narrative(narrative(certainty="histopathology"), "clinical")
    assert (fault.rule, fault.sentence) == ("certainty_beyond_label", "Certainty: histopathology")
    assert rules(narrative(certainty="unstated"), "clinical") == []


@pytest.mark.parametrize("text", ["You should see a doctor.", "Keep your skin dry."])
def test_the_reader_is_not_addressed(text: str) -> None:
    assert rules(narrative(next_step=text)) == ["second_person"]
    assert rules(narrative(next_step="Young adults are seen by a doctor.")) == []


@pytest.mark.parametrize(
    "text",
    [
        "Ivermectin 12 mg.",
        "Apply 0.1 % tacrolimus ointment.",
        "Cream twice daily.",
        "Prescribe a steroid.",
        "0.5 ml of it.",
    ],
)
def test_no_dose_and_no_prescription(text: str) -> None:
    assert rules(narrative(next_step=text)) == ["dose_or_prescription"]


@pytest.mark.parametrize(
    "text", ["Refer within 2 weeks.", "Excise with a 4 mm margin.", "About 50 % clear without treatment."]
)
def test_plans_without_doses_pass(text: str) -> None:
    assert rules(narrative(next_step=text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "As the ground truth says, a papule.",
        "The dataset calls it so.",
        "The label is dermatofibroma.",
        "HAM10000 says so.",
    ],
)
def test_the_source_of_the_label_is_not_leaked(text: str) -> None:
    assert rules(narrative(text)) == ["leaked_label_source"]
