"""Corrected texts as candidates: what they inherit, what they refer to, and that nobody can tell who wrote them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from annotators.corrections import corrected_candidates
from corpus.annotations import CORRECTIONS, corrections
from schemas.config import CertificationSettings
from schemas.narrative import Narrative, narrative_to_json, parse_sections
from schemas.tables import NARRATIVES, polars_schema
from tests.corpus.answers import answer, snapshot
from tests.schemas.test_narrative import example

RULES = CertificationSettings()
SHOWN = Narrative.model_validate(example())
MENDED = SHOWN.model_copy(update={"next_step": "Excision with a narrow margin."})
PARENTS = pl.DataFrame(
    {"narrative_id": ["p"], "case_id": ["case of p"], "candidate": [2], "trajectory": ["kept"],
     "teacher_terms": ["CC-BY-NC-4.0"]}
)  # fmt: skip


def revision(
    rater: str = "rater-anna", narrative: str = "p", text: Narrative = MENDED, **changes: Any
) -> dict[str, Any]:
    told = {"corrected": narrative_to_json(text), "pre_edit": narrative_to_json(SHOWN), "case_id": "case of p"}
    return answer(narrative, rater, "revise", **{**told, **changes})


def candidates(
    *rows: dict[str, Any], held: tuple[str, ...] = ("case of p",)
) -> tuple[pl.DataFrame, pl.DataFrame, list[dict[str, str | None]]]:
    texts, rejected = corrections(snapshot(*rows), RULES)
    assert rejected == []
    return corrected_candidates(texts, PARENTS, pl.Series(held))


def test_a_correction_is_a_new_candidate_that_refers_to_its_parent_and_names_nobody() -> None:
    rows, authors, rejected = candidates(revision())
    [row] = rows.to_dicts()
    assert rows.schema == polars_schema(NARRATIVES) and rejected == []
    assert parse_sections(row["completion"]) == MENDED
    assert (row["parent_narrative_id"], row["candidate"], row["trajectory"]) == ("p", 2, "kept")
    assert (row["author_kind"], row["author"], row["teacher_terms"]) == ("rater", "dermatologist", "CC-BY-NC-4.0")
    assert (row["label_seen"], row["image_grounded"], row["context_used"]) == (True, True, list(SHOWN.context_used))
    assert "anna" not in str(row)
    assert authors.rows() == [(row["narrative_id"], "rater-anna", False)]


def test_the_id_hangs_on_the_text_and_not_on_who_wrote_it() -> None:
    one, both = candidates(revision()), candidates(revision(), revision("rater-bert"))
    assert one[0]["narrative_id"].to_list() == both[0]["narrative_id"].to_list()
    assert both[1]["rater"].to_list() == ["rater-anna", "rater-bert"]
    other = candidates(revision(text=MENDED.model_copy(update={"next_step": None})))[0]["narrative_id"]
    assert other.to_list() != one[0]["narrative_id"].to_list()


def test_a_simulated_author_is_no_dermatologist() -> None:
    assert candidates(revision(rater_kind="simulated"))[0]["author"].to_list() == ["simulated rater"]


def test_a_correction_of_a_correction_refers_to_it() -> None:
    [first] = candidates(revision())[0]["narrative_id"]
    again = revision("rater-bert", first, MENDED.model_copy(update={"next_step": None}))
    rows = candidates(revision(), again)[0]
    assert set(rows["parent_narrative_id"]) == {"p", first}


@pytest.mark.parametrize(
    ("row", "held", "rule"),
    [
        (revision(narrative="nobody's"), ("case of p",), "unknown_parent"),
        (revision(case_id="another case"), ("case of p",), "unknown_parent"),
        (revision(), ("another",), "not_held_out"),
    ],
)
def test_a_correction_that_cannot_be_certified_is_told(row: dict[str, Any], held: tuple[str, ...], rule: str) -> None:
    rows, authors, rejected = candidates(row, held=held)
    assert (rows.height, authors.height, [told["rule"] for told in rejected]) == (0, 0, [rule])


@pytest.mark.parametrize(
    "changes",
    [{"credential": "resident"}, {"occasion": "repeat"}, {"occasion": "gold", "planted": "x"}, {"is_latest": False},
     {"corrected": None}, {"decision": "certify"}],
)  # fmt: skip
def test_only_answers_that_count_correct(changes: dict[str, Any]) -> None:
    texts, rejected = corrections(snapshot({**revision(), **changes}), RULES)
    assert (texts.schema, texts.height, rejected) == (CORRECTIONS, 0, [])


def test_what_is_no_narrative_or_no_change_is_told() -> None:
    rows = [revision(corrected="{"), revision(narrative="q", text=SHOWN), revision(narrative="r", pre_edit="[]")]
    _, rejected = corrections(snapshot(*rows), RULES)
    assert [(row["record_id"], row["rule"]) for row in rejected] == [
        ("p", "unreadable_correction"), ("q", "unchanged_correction"), ("r", "unreadable_correction")]  # fmt: skip
