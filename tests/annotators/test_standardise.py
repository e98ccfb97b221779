"""Standardising: candidates become parsed narratives or rejections that say why."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from annotators.standardise import standardise
from schemas.narrative import (
    FirstImpression,
    Narrative,
    narrative_from_json,
    parse_sections,
    parse_tagged,
    render_sections,
    render_tagged,
)
from schemas.tables import CASES, NARRATIVES, empty_frame, polars_schema
from schemas.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
NARRATIVE = Narrative.model_validate(
    {
        "context_used": ["age: 60 years"],
        "findings": [{"origin": "reported", "text": "The reported age is 60 years."}],
        "differential": [
            {"diagnosis": "Melanoma", "taxonomy_id": "melanoma", "evidence_for": ["Age."], "evidence_against": []}
        ],
        "conclusion": {
            "diagnosis": "Melanoma",
            "taxonomy_id": "melanoma",
            "malignancy": "malignant",
            "certainty": "clinical",
            "rationale": "The favoured diagnosis is melanoma.",
        },
        "limitations": [],
        "next_step": "Urgent referral.",
    }
)


def altered(**conclusion: str) -> Narrative:
    record = NARRATIVE.model_dump()
    record["conclusion"] |= conclusion
    return Narrative.model_validate(record)


def candidate(narrative_id: str = "n1", completion: str | None = None, **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        **dict.fromkeys(polars_schema(NARRATIVES)),
        "narrative_id": narrative_id,
        "case_id": "src:1",
        "candidate": 0,
        "completion": render_tagged(NARRATIVE) if completion is None else completion,
        "trajectory": "kept",
        "synthetic_trajectory": False,
        "label_seen": True,
        "parse_status": "raw",
        "context_used": ["age: 60 years", "site: back"],
    }
    return record | changes


def cases(node_id: str | None = "melanoma", certainty: str = "clinical") -> pl.DataFrame:
    row = {**dict.fromkeys(polars_schema(CASES)), "case_id": "src:1", "node_id": node_id, "label_certainty": certainty}
    return pl.DataFrame([row], schema=polars_schema(CASES))


def run(*rows: dict[str, Any], node_id: str | None = "melanoma", certainty: str = "clinical") -> Any:
    frame = pl.DataFrame(list(rows), schema=polars_schema(NARRATIVES))
    return standardise(frame, cases(node_id, certainty), TAXONOMY)


def rules(result: Any) -> list[str]:
    return result.rejected["rule"].to_list()


@pytest.mark.parametrize("render", [render_tagged, render_sections])
def test_either_rendering_becomes_all_three_forms(render: Any) -> None:
    result = run(candidate(completion=render(NARRATIVE)))
    row = result.kept.row(0, named=True)
    assert row["parse_status"] == "parsed"
    assert narrative_from_json(row["narrative_json"]) == NARRATIVE
    assert parse_sections(row["text"]) == parse_tagged(row["tagged_text"]) == NARRATIVE
    assert row["context_used"] == ["age: 60 years"]
    assert row["completion"] == render(NARRATIVE)
    assert rules(result) == []


def test_no_candidates_give_empty_tables() -> None:
    result = standardise(empty_frame(NARRATIVES), empty_frame(CASES), TAXONOMY)
    assert (result.kept.height, result.rejected.height) == (0, 0)
    assert result.kept.schema == polars_schema(NARRATIVES)


def test_a_text_that_does_not_parse_is_rejected_with_line_and_expectation() -> None:
    result = run(candidate(completion=render_tagged(NARRATIVE).replace("## Findings", "Findings:")), candidate("n2"))
    assert result.kept["narrative_id"].to_list() == ["n2"]
    (row,) = result.rejected.rows(named=True)
    assert (row["record_kind"], row["record_id"], row["stage"], row["rule"]) == (
        "narrative",
        "n1",
        "standardise",
        "unparsable",
    )
    assert row["value"] == "line 5"
    assert "expected '## Findings'" in row["detail"]


def test_a_conclusion_below_or_beside_its_label_is_rejected_and_one_above_is_not() -> None:
    finer = candidate(completion=render_tagged(altered(taxonomy_id="lentigo_maligna")))
    assert rules(run(finer)) == ["concludes_below_label"]
    broader = candidate(completion=render_tagged(altered(taxonomy_id="melanocytic_neoplasm")))
    assert rules(run(broader)) == []
    assert rules(run(candidate(), node_id="scabies")) == ["contradicts_label"]


@pytest.mark.parametrize(
    ("claimed", "label", "rejected"),
    [
        ("histopathology", "clinical", True),
        ("clinical", "histopathology", False),
        ("clinical", "clinical", False),
        ("clinical", "atlas", True),
    ],
)
def test_a_certainty_beyond_the_label_is_rejected(claimed: str, label: str, rejected: bool) -> None:
    result = run(candidate(completion=render_tagged(altered(certainty=claimed))), certainty=label)
    assert rules(result) == (["certainty_beyond_label"] if rejected else [])


def test_a_conclusion_called_confirmed_needs_a_confirming_label() -> None:
    sure = candidate(completion=render_tagged(altered(rationale="Melanoma is confirmed.")))
    assert rules(run(sure)) == ["certainty_beyond_label"]
    assert rules(run(sure, certainty="consensus")) == []


def test_a_diagnosis_outside_the_taxonomy_is_rejected_wherever_it_stands() -> None:
    assert rules(run(candidate(completion=render_tagged(altered(taxonomy_id="blob"))))) == ["unknown_diagnosis"]
    completion = render_tagged(NARRATIVE).replace("- Melanoma [melanoma]", "- Melanoma [blob]")
    assert rules(run(candidate(completion=completion))) == ["unknown_diagnosis"]


def test_facts_its_author_was_not_given_and_unknown_cases_are_rejected() -> None:
    assert rules(run(candidate(context_used=[]))) == ["context_not_given"]
    assert rules(run(candidate(case_id="src:9"))) == ["unknown_case"]


REVISED = NARRATIVE.model_copy(
    update={
        "first_impression": FirstImpression(
            diagnosis="Nevus", taxonomy_id="melanocytic_nevus", evidence_for=("Dark.",), turned_by=("Even.",)
        )
    }
)


def revised(**changes: Any) -> dict[str, Any]:
    row = candidate(completion=render_tagged(REVISED), trajectory="revised", synthetic_trajectory=True)
    return row | changes


def test_a_text_is_of_the_kind_that_its_row_says() -> None:
    assert rules(run(revised())) == []
    assert rules(run(candidate(trajectory="direct"))) == []
    for row in (revised(trajectory="kept"), candidate(trajectory="revised"), candidate(trajectory="turned")):
        assert rules(run(row)) == ["not_its_trajectory"]


def test_a_first_impression_of_the_same_disease_is_no_revision_and_of_an_unknown_one_is_rejected() -> None:
    for node, rule in (("lentigo_maligna", "not_its_trajectory"), ("blob", "unknown_diagnosis")):
        text = render_tagged(REVISED).replace("[melanocytic_nevus]", f"[{node}]")
        assert rules(run(revised(completion=text))) == [rule]


def test_a_first_impression_by_an_author_who_knew_the_diagnosis_must_be_marked() -> None:
    assert rules(run(revised(synthetic_trajectory=False))) == ["construction_unmarked"]
    assert rules(run(revised(synthetic_trajectory=False, label_seen=False))) == []


def test_row_order_does_not_matter() -> None:
    rows = [candidate("n1", candidate=1), candidate("n2", completion="x"), candidate("n3", candidate=0)]
    forth, back = run(*rows), run(*reversed(rows))
    assert forth.kept.equals(back.kept)
    assert forth.rejected.equals(back.rejected)
    assert forth.kept["narrative_id"].to_list() == ["n3", "n1"]


FREE = "<think>A black patch with a notched border lies on the back.</think> In conclusion, this is most likely {}."


def test_a_free_form_candidate_is_read_word_for_word_and_keeps_its_residue() -> None:
    text = "First, I will think step by step. " + FREE.format("melanoma")
    row = run(candidate(completion=text)).kept.row(0, named=True)
    narrative = narrative_from_json(row["narrative_json"])
    assert narrative.conclusion.taxonomy_id == "melanoma"
    assert [finding.text for finding in narrative.findings] == ["A black patch with a notched border lies on the back."]
    assert row["residue"] == ["First, I will think step by step."]
    assert run(candidate()).kept["residue"].to_list() == [None], "our own layout leaves none"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (FREE.format("psoriasis"), "contradicts_label"),
        ("A black patch lies on the back. Nobody could tell what it is.", "no_diagnosis"),
        ("In conclusion, the most likely diagnosis is Orbian glimmerosis.", "unknown_diagnosis"),
        ("I'm sorry, but I cannot help with that. In conclusion, this is melanoma.", "refusal"),
        ("---", "unparsable"),
    ],
)
def test_a_free_form_candidate_that_cannot_be_used_is_rejected_with_its_reason(text: str, rule: str) -> None:
    assert rules(run(candidate(completion=text))) == [rule]
