"""Narratives of others: matched to the one case they are about, and never to one that is only likely."""

from __future__ import annotations

import polars as pl
import pytest

from annotators.imported import candidates, match_texts
from schemas.config import ImportedSettings
from schemas.tables import NARRATIVES, polars_schema

CASES = pl.DataFrame({"case_id": ["ham:1", "pad:2", "pad:3"], "image_ids": [["ham:a"], ["pad:b", "pad:c"], ["pad:d"]]})
IMAGES = pl.DataFrame(
    {
        "image_id": ["ham:a", "pad:b", "pad:c", "pad:d"],
        "source_image_id": ["a", "b", "c", "d"],
        "file_path": ["part_1/a.jpg", "images/b.png", "images/shared.png", "more/shared.png"],
    }
)
SETS = {"others": ImportedSettings(name="others", path="x", terms="own", label_seen=False, image_grounded=True)}


def row(id: str, image_name: str | None = None, text: str = "Psoriasis.") -> dict[str, str | None]:
    return {"id": id, "image_name": image_name, "label": None, "text": text}


@pytest.mark.parametrize(
    ("text", "case"),
    [
        (row("ham:1"), "ham:1"),
        (row("pad:c"), "pad:2"),
        (row("t1", "a.jpg"), "ham:1"),
        (row("t2", "b.png"), "pad:2"),
        (row("t3", "d.jpg"), "pad:3"),
    ],
)
def test_a_text_finds_its_case_by_any_of_its_names(text: dict[str, str | None], case: str) -> None:
    texts, rejected = match_texts("others", [text], CASES, IMAGES)
    assert [found["case_id"] for found in texts] == [case]
    assert not rejected


@pytest.mark.parametrize(("text", "rule"), [(row("t", "shared.png"), "several_cases"), (row("t", "z.jpg"), "no_case")])
def test_a_text_that_fits_no_case_or_several_is_rejected(text: dict[str, str | None], rule: str) -> None:
    texts, rejected = match_texts("others", [text], CASES, IMAGES)
    assert not texts
    assert [(found["record_id"], found["rule"]) for found in rejected] == [("others:t", rule)]


def test_candidates_say_who_wrote_them_and_what_their_author_knew() -> None:
    texts, _ = match_texts(
        "others", [row("t1", "a.jpg"), row("t2", "a.jpg"), row("t3", "a.jpg", "Eczema.")], CASES, IMAGES
    )
    rows = candidates("ham:1", texts, 3, SETS)
    assert [found["candidate"] for found in rows] == [3, 4], "the same text is one candidate"
    assert {found["completion"] for found in rows} == {"Psoriasis.", "Eczema."}
    assert {(f["author"], f["label_seen"], f["image_grounded"], f["teacher_terms"]) for f in rows} == {
        ("others", False, True, "own")
    }
    assert len({found["narrative_id"] for found in rows}) == 2
    pl.DataFrame(rows, schema=polars_schema(NARRATIVES))


def test_another_statement_about_the_author_makes_another_narrative() -> None:
    texts, _ = match_texts("others", [row("t1", "a.jpg")], CASES, IMAGES)
    seen = {"others": SETS["others"].model_copy(update={"label_seen": True})}
    assert (
        candidates("ham:1", texts, 0, SETS)[0]["narrative_id"] != candidates("ham:1", texts, 0, seen)[0]["narrative_id"]
    )
