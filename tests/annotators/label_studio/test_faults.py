"""Planted faults: each is there to be seen, is valid, costs what it says, and never mends what it should spoil."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from annotators.label_studio.faults import FAULTS, practice_feedback, with_fault
from annotators.label_studio.tasks import section_texts
from schemas.narrative import (
    Differential,
    Finding,
    Narrative,
    narrative_from_json,
    narrative_to_json,
    parse_sections,
    parse_tagged,
    render_sections,
    render_tagged,
)
from schemas.scoring import scoring_scale
from schemas.tables import DIMENSIONS
from schemas.taxonomy import load_taxonomy
from tests.annotators.label_studio.study_parts import narrative
from tests.schemas.test_narrative import narratives

TAXONOMY = load_taxonomy()
NAMES = list(FAULTS)


@given(narratives(), st.integers(0, len(NAMES) - 1), st.sampled_from(["melanoma", "nevus", "strange"]))
@hypothesis_settings(max_examples=200, deadline=None)
def test_a_fault_can_be_put_into_any_narrative_and_shows(told: Narrative, number: int, recorded: str) -> None:
    planted = with_fault(told, number, TAXONOMY, recorded)
    assert section_texts(planted.narrative) != section_texts(told)
    assert narrative_from_json(narrative_to_json(planted.narrative)) == planted.narrative
    assert parse_sections(render_sections(planted.narrative)) == planted.narrative
    assert parse_tagged(render_tagged(planted.narrative)) == planted.narrative
    assert planted == with_fault(told, number, TAXONOMY, recorded)
    assert with_fault(planted.narrative, number, TAXONOMY, recorded).narrative != planted.narrative


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_each_fault_is_the_one_asked_for_and_changes_the_part_it_is_about(number: int) -> None:
    told = narrative(1)
    planted = with_fault(told, number, TAXONOMY, "melanoma")
    assert planted.fault == NAMES[number]
    before, after = section_texts(told), section_texts(planted.narrative)
    parts = {
        "wrong_diagnosis": {"conclusion"}, "invented_finding": {"findings"}, "false_reassurance": {"next_step"},
        "dropped_rivals": {"differential", "conclusion"}, "reversed_argument": {"differential", "conclusion"},
        "wrong_site": {"findings"}, "over_certain": {"conclusion", "limitations"}, "lay_words": {"findings"},
    }  # fmt: skip
    assert {name for name in before if before[name] != after[name]} == parts[planted.fault]


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_the_longest_narrative_takes_every_fault(number: int) -> None:
    told = narrative(1)
    entry, other = (e.model_copy(update={"diagnosis": "x" * 119 + e.diagnosis[0]}) for e in told.differential)
    end = told.conclusion.model_copy(update={"diagnosis": entry.diagnosis, "rationale": "x" * 1200})
    longest = told.model_copy(
        update={"findings": told.findings * 12, "differential": (entry, *[other] * 15), "conclusion": end}
    )
    planted = with_fault(narrative_from_json(narrative_to_json(longest)), number, TAXONOMY, "melanoma")
    assert planted.fault == NAMES[number]


def test_every_dimension_is_cost_by_some_fault_and_no_fault_is_worth_a_good_score() -> None:
    assert {name for fault in FAULTS.values() for name in fault.at_most} == set(DIMENSIONS)
    assert all(0 <= score <= 3 for fault in FAULTS.values() for score in fault.at_most.values())


def test_a_wrong_diagnosis_is_never_the_recorded_one_or_one_on_its_branch() -> None:
    told = narrative(1)  # concludes melanoma, and weighs a dysplastic naevus
    right = [e.taxonomy_id for e in told.differential if e.taxonomy_id != told.conclusion.taxonomy_id]
    for recorded in (*right, TAXONOMY.path(right[0])[-2]):
        planted = with_fault(told, NAMES.index("wrong_diagnosis"), TAXONOMY, recorded)
        assert planted.fault != "wrong_diagnosis"
    assert with_fault(told, 0, TAXONOMY, "melanoma").narrative.conclusion.taxonomy_id == right[0]


def test_what_might_be_there_is_not_invented() -> None:
    number = NAMES.index("invented_finding")
    seen = ("grouped vesicles", "a pustule at the edge", "a shallow ulcer")
    found = []
    for many in range(len(seen)):
        findings = tuple(Finding(origin="image", text=text) for text in seen[:many])
        planted = with_fault(narrative(1).model_copy(update={"findings": findings}), number, TAXONOMY, "melanoma")
        assert planted.fault == "invented_finding"
        found.append(planted.narrative.findings[0].text)
    assert [re.search("blister|pustules|ulcer", text).group() for text in found] == [  # type: ignore[union-attr]
        "blister", "pustules", "ulcer"]  # fmt: skip
    everything = tuple(Finding(origin="image", text=text) for text in seen)
    told = narrative(1).model_copy(update={"findings": everything})
    assert with_fault(told, number, TAXONOMY, "melanoma").fault != "invented_finding"


@pytest.mark.parametrize(
    ("site", "place"),
    [("upper back", "sole"), ("back of hand", "scalp"), ("Lower Extremity", "scalp"), ("face", "sole"),
     ("unknown", None)],
)  # fmt: skip
def test_the_wrong_site_is_at_the_other_end_of_the_body(site: str, place: str | None) -> None:
    told = narrative(1).model_copy(update={"context_used": ("age: 62 years", f"site: {site}")})
    planted = with_fault(told, NAMES.index("wrong_site"), TAXONOMY, "melanoma")
    if place is None:
        assert planted.fault != "wrong_site"
    else:
        assert place in planted.narrative.findings[0].text


def test_a_list_of_dropped_rivals_stays_short() -> None:
    rivals = tuple(
        Differential(diagnosis=f"Rival {n}", taxonomy_id="nevus", evidence_for=(), evidence_against=())
        for n in range(9)
    )
    told = narrative(1).model_copy(update={"differential": (narrative(1).differential[0], *rivals)})
    planted = with_fault(told, NAMES.index("dropped_rivals"), TAXONOMY, "melanoma")
    assert planted.what.endswith("(Rival 0, Rival 1, Rival 2 and 6 more)")


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_feedback_says_what_was_put_in_and_what_it_costs_in_the_words_of_the_scale(number: int) -> None:
    planted = with_fault(narrative(1), number, TAXONOMY, "melanoma")
    told = practice_feedback(planted)
    assert planted.what in told
    for name, score in FAULTS[planted.fault].at_most.items():
        scale = scoring_scale()[name]
        assert f"{scale.name} at most {score}: {scale.anchors[score]}" in told
    others = [scale.name for name, scale in scoring_scale().items() if name not in FAULTS[planted.fault].at_most]
    assert not any(name in told for name in others)


def test_feedback_on_a_narrative_as_it_was_written_gives_no_score() -> None:
    told = practice_feedback(None)
    assert "Nothing was put into this text" in told
    assert not re.search(r"\d", told)
