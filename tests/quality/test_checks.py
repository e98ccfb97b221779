"""Deterministic checks: each finds its fault at its sentence and leaves sound text alone."""

from __future__ import annotations

from typing import Any

import pytest

from quality.checks import RULES, check_narrative, sentences, singled_out
from schemas.narrative import FirstImpression, Narrative


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


#: One text for each rule that has no need of a label.
FAULTS = {
    "not_entailed": narrative().model_copy(update={"differential": ()}),
    "photograph_cannot_show": narrative("It feels firm."),
    "not_in_context": narrative("The reported age is 41 years.", "reported", ("age: 14 years",)),
    "second_person": narrative(next_step="You should wait."),
    "dose_or_prescription": narrative(next_step="Cream twice daily."),
    "leaked_label_source": narrative("The metadata say a papule."),
    "leaked_hidden_fact": narrative("A papule as in ISIC_0024306."),
    "boilerplate": narrative(next_step="Clinical correlation is recommended."),
    "repeated": narrative().model_copy(update={"limitations": ("One.", "One.")}),
}


@pytest.mark.parametrize("rule", FAULTS)
def test_each_rule_finds_its_fault_and_no_other_rule_does(rule: str) -> None:
    assert rules(FAULTS[rule]) == [rule]


def revised(evidence_for: tuple[str, ...] = ("It may be dark.",), turned_by: str = "It is paler.") -> Narrative:
    first = FirstImpression(
        diagnosis="Nevus", taxonomy_id="melanocytic_nevus", evidence_for=evidence_for, turned_by=(turned_by,)
    )
    return narrative().model_copy(update={"first_impression": first})


def test_a_first_impression_is_checked_like_what_is_weighed_and_must_not_outweigh_the_conclusion() -> None:
    assert rules(revised()) == []
    assert rules(revised(("Dark.", "Round.", "Even."))) == ["not_entailed"]
    assert rules(revised(turned_by="On palpation it is firm.")) == ["photograph_cannot_show"]
    assert rules(revised(("You may think of it.",))) == ["second_person"]
    assert rules(revised(("Same.",), "Same.")) == ["repeated"]


def test_sound_text_has_no_fault() -> None:
    assert rules(narrative()) == []
    assert {rule for test in FAULTS.values() for rule in rules(test)} | {"certainty_beyond_label"} == set(RULES)


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
    for origin, beside in (("image", set()), ("reported", {"not_in_context"})):
        assert set(rules(narrative(claim, origin))) == {"photograph_cannot_show"} | beside
        assert rules(narrative(claim, origin, (fact,))) == []


def test_knowledge_is_faulted_only_when_said_of_this_patient() -> None:
    assert rules(narrative("Dermatofibroma is typically firm and may itch.", "typical")) == []
    assert rules(narrative("This lesion is firm.", "typical")) == ["photograph_cannot_show"]
    assert rules(narrative("The lesion is typically firm.", "typical")) == []
    assert rules(narrative(evidence="The patient has pain.")) == ["photograph_cannot_show"]


def test_what_a_disease_is_called_claims_nothing_of_the_case() -> None:
    told = "The favoured diagnosis is pruritic dermatosis; it rests on what the person reported."
    assert rules(narrative(diagnosis="Pruritic dermatosis", rationale=told)) == []
    assert rules(narrative(rationale="The person has a pruritic rash.")) == ["photograph_cannot_show"]


def test_a_finding_points_at_its_sentence() -> None:
    (fault,) = check_narrative(narrative("A brown papule. It feels firm. Its edge is regular."), "clinical")
    assert fault.sentence == "It feels firm."
    assert "claims palpation" in fault.detail
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


def _weighed(*entries: tuple[str, int, int], concluded: str = "dermatofibroma") -> Narrative:
    differential = [
        {
            "diagnosis": node_id,
            "taxonomy_id": node_id,
            "evidence_for": [f"For {n} of {node_id}." for n in range(pro)],
            "evidence_against": [f"Against {n} of {node_id}." for n in range(con)],
        }
        for node_id, pro, con in entries
    ]
    record = narrative(taxonomy_id=concluded).model_dump(mode="json") | {"differential": differential}
    return Narrative.model_validate(record)


@pytest.mark.parametrize(
    ("entries", "concluded", "stands_out"),
    [
        ([("dermatofibroma", 3, 1), ("melanoma", 1, 1)], "dermatofibroma", "dermatofibroma"),
        ([("dermatofibroma", 1, 1), ("melanoma", 3, 1)], "dermatofibroma", "melanoma"),
        ([("dermatofibroma", 2, 1), ("melanoma", 1, 0)], "dermatofibroma", None),
        ([("dermatofibroma", 0, 0)], "dermatofibroma", None),
        ([("melanoma", 2, 0)], "dermatofibroma", "melanoma"),
        ([], "dermatofibroma", None),
    ],
)
def test_the_differential_alone_has_to_single_out_the_conclusion(
    entries: list[tuple[str, int, int]], concluded: str, stands_out: str | None
) -> None:
    text = _weighed(*entries, concluded=concluded)
    assert singled_out(text) == stands_out
    assert (rules(text) == []) == (stands_out == concluded)


@pytest.mark.parametrize(
    ("finding", "context", "sound"),
    [
        ("The reported age is 60 years.", "age: 60 years", True),
        ("The reported age is 6 years.", "age: 60 years", False),
        ("Itching is reported as present.", "itching: yes", True),
        ("Itching is reported as absent.", "itching: yes", False),
        ("No itching is reported.", "itching: no", True),
        ("The reported site: left forearm.", "site: forearm", True),
        ("The reported site: scalp.", "site: forearm", False),
        ("The reported size is 4 by 7 mm.", "size: 4 by 7 mm", True),
        ("Smoking is reported.", "age: 60 years", False),
    ],
)
def test_what_is_called_reported_is_in_the_context(finding: str, context: str, sound: bool) -> None:
    found = [rule for rule in rules(narrative(finding, "reported", (context, "pain: yes"))) if rule == "not_in_context"]
    assert found == ([] if sound else ["not_in_context"])


def test_identifiers_and_hidden_facts_give_a_text_away_unless_they_were_given() -> None:
    told = narrative("A papule of lesion HX-4471.")
    assert [fault.rule for fault in check_narrative(told, "clinical")] == []
    (fault,) = check_narrative(told, "clinical", hidden=["hx-4471", "x"])
    assert (fault.rule, fault.sentence) == ("leaked_hidden_fact", "A papule of lesion HX-4471.")
    given = narrative("A papule of lesion HX-4471.", context=("lesion: HX-4471",))
    assert check_narrative(given, "clinical", hidden=["HX-4471"]) == []
    for text in ("See lesion_12.jpg for it.", "Digest 0123456789abcdef0123 shows it."):
        assert rules(narrative(text)) == ["leaked_hidden_fact"]


@pytest.mark.parametrize(
    "claim",
    [
        "The nodule is hard and fixed to deeper layers.",
        "It blanches under pressure.",
        "It is warm.",
        "It hurts when clothes rub on it.",
        "His mother had melanoma.",
        "It started after a new antibiotic.",
        "Onset was two weeks ago.",
        "Serology was negative.",
        "The culture grew bacteria.",
        "Previous cryotherapy failed.",
        "This plaque is often painful.",
    ],
)
def test_a_claim_about_this_case_is_one_whatever_it_is_called(claim: str) -> None:
    assert rules(narrative(claim, "typical")) == ["photograph_cannot_show"]


@pytest.mark.parametrize(
    "text",
    [
        "Such nodules are typically hard and fixed to deeper layers.",
        "The plaques may be painful.",
        "Histology of this lesion was not available.",
        "Whether this lesion is tender is unknown.",
    ],
)
def test_general_knowledge_and_what_is_not_known_claim_nothing(text: str) -> None:
    assert rules(narrative(text, "typical")) == []


@pytest.mark.parametrize(
    ("context", "claim", "sound"),
    [
        ("itching: yes", "This lesion is itchy.", True),
        ("itching: no", "This lesion is itchy.", False),
        ("itching: no", "This lesion has no itch.", True),
        ("itching: yes", "This lesion is painful.", False),
        ("bleeding: yes", "The patient has a family history of melanoma.", False),
        ("bleeding: yes", "This lesion has bled.", True),
        ("family history of melanoma: no", "This patient has a family history of melanoma.", False),
        ("growth: no", "This lesion has grown.", False),
    ],
)
def test_a_fact_allows_its_own_claim_and_no_other(context: str, claim: str, sound: bool) -> None:
    assert (rules(narrative(claim, "typical", (context,))) == []) == sound


def test_limitations_and_plan_are_read_too() -> None:
    told = narrative().model_copy(update={"limitations": ("The biopsy of this lesion showed no atypia.",)})
    assert rules(told) == ["photograph_cannot_show"]
    assert rules(narrative(next_step="Biopsy of the lesion, since the histology showed melanoma.")) == [
        "photograph_cannot_show"
    ]
    assert rules(narrative(next_step="Biopsy of the lesion for histology.")) == []
