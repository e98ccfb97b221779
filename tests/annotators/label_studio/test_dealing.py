"""What is written down for raters: practice with feedback first, and a reminder to pause in every so many cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from annotators.label_studio.dealing import deal
from annotators.label_studio.tasks import pause_note
from schemas.config import AnnotateSettings
from tests.annotators.label_studio.study_parts import SECRET, ledger_in, made_up, panel


def test_a_rater_is_reminded_to_pause_by_cases_that_count_also_when_the_list_grows(tmp_path: Path) -> None:
    settings = AnnotateSettings(
        raters_per_case=1, practice=3, repeat_share=0, gold_share=0, planted_share=0, daily_cap=4
    )
    ledger, raters = ledger_in(tmp_path), panel(1, "pause")
    for cases in (9, 14):
        material = made_up(cases, extras=3)
        told = material.extras.with_columns(
            pl.when(pl.col("occasion") == "practice").then(pl.lit("Practice.")).alias("feedback")
        )
        deal(ledger, settings, raters, SECRET, replace(material, extras=told), {})
    rows = ledger.assignments().sort("place")
    assert rows["occasion"].to_list() == ["practice"] * 3 + ["first"] * 14
    assert rows["feedback"].to_list() == ["Practice."] * 3 + [None] * 14
    reminded = rows.with_row_index().filter(pl.col("note").is_not_null())
    assert reminded["index"].to_list() == [3 + 3, 3 + 7, 3 + 11]
    assert [note.split(":")[0] for note in reminded["note"]] == [f"This is case {n} of yours" for n in (4, 8, 12)]


def test_without_a_cap_nobody_is_reminded() -> None:
    assert [n for n in range(-3, 200) if pause_note(n, None)] == []
    assert [n for n in range(-3, 200) if pause_note(n, 60)] == [60, 120, 180]
