"""What status tells of each rater and of certification, from answers whose figures are known."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from flows.annotation_status import RaterStatus, Status, agreement_so_far
from flows.annotation_tables import status_parts
from flows.rater_figures import gold_scores, gold_table, rater_figures
from schemas.config import AnnotateSettings
from schemas.errors import UserError
from schemas.tables import DIMENSIONS
from tests.corpus.answers import answer, snapshot


def answers() -> list[dict[str, Any]]:
    """Twelve narratives by two raters, b half a point lower and later by a point in every twelve; gold, faults,
    repeats; practice and an adjudication that would change everything if they counted."""
    rows = []
    for n in range(12):
        rows += [answer(f"n{n}", "a", score=4.0, later=n, created_at=_at(n)),
                 answer(f"n{n}", "b", score=3.5 - n / 12, created_at=_at(n))]  # fmt: skip
    for rater in ("a", "b"):
        rows += [answer(f"g{n}", rater, score=4.0 + n, occasion="gold", created_at=_at(20 + n)) for n in range(2)]
        rows += [answer("n0", rater, score=3.0, occasion="repeat", created_at=_at(30))]
        rows += [
            answer("p", rater, score=0.0, occasion="practice"),
            answer("j", rater, score=0.0, occasion="adjudication"),
        ]
        rows += [answer(f"f{n}", rater, "certify" if n < 2 and rater == "b" else "reject", occasion="gold",
                        planted="wrong_site") for n in range(5)]  # fmt: skip
    rows += [answer("f9", "b", "certify", occasion="practice", planted="wrong_site")]
    return rows


def twice_the_work() -> pl.DataFrame:
    """b falls by a twelfth with every narrative, and between any two is other work, which counts in no figure."""
    rows = []
    for n in range(12):
        other: dict[str, Any] = {"occasion": "gold", "planted": "wrong_site"} if n % 2 else {"occasion": "practice"}
        rows += [answer(f"n{n}", "a", score=4.0, created_at=_at(2 * n)),
                 answer(f"n{n}", "b", score=3.5 - n / 12, created_at=_at(2 * n)),
                 answer(f"x{n}", "b", score=0.0, created_at=_at(2 * n + 1), **other)]  # fmt: skip
    return snapshot(*rows)


def _at(minute: int) -> Any:
    from datetime import UTC, datetime, timedelta

    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


GOLD = pl.DataFrame({"item": ["g0", "g1"], **{name: [4.5, 4.5] for name in DIMENSIONS}})


def figure(rows: pl.DataFrame, rater: str, measure: str) -> tuple[float, int]:
    [told] = rows.filter((pl.col("rater") == rater) & (pl.col("measure") == measure)).to_dicts()
    return round(told["estimate"], 3), told["n_items"]


def test_figures_of_each_rater() -> None:
    rows = rater_figures(snapshot(*answers()), GOLD)
    assert figure(rows, "a", "bias") == (round(sum(0.5 + n / 12 for n in range(12)) / 14, 3), 14)
    assert figure(rows, "b", "retest_mad") == (0.5, 1)
    assert figure(rows, "a", "gold_mae") == (0.5, 2)
    assert figure(rows, "a", "planted_certified") == (0.0, 5)
    assert figure(rows, "b", "planted_certified") == (0.4, 5)
    assert figure(rows, "b", "sound_certified")[0] == 1.0
    drift, n = figure(rows, "b", "consensus_drift")
    assert n == 14 and drift != 0
    assert figure(rater_figures(twice_the_work(), None), "b", "consensus_drift") == (round(-100 / 12 / 2, 3), 12)
    assert "gold_drift" not in set(rows["measure"])  # two gold narratives make no line
    assert "gold_mae" not in set(rater_figures(snapshot(*answers()), None)["measure"])
    assert rater_figures(snapshot(), None).is_empty()


def shown(width: int, *rows: dict[str, Any], gold: pl.DataFrame | None = None) -> str:
    latest = snapshot(*rows)
    rater = RaterStatus("0123456789abcdef", "DermCoT 01234567 adjudication [0123456789ab]", 9, 9, 60.0, 0, 9, True)
    told = Status((rater,), agreement_so_far(latest), rater_figures(latest, gold), latest)
    console = Console(width=width, file=io.StringIO())
    for part in status_parts(told, None):
        console.print(part)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [100, 200])
def test_the_tables_fit_a_terminal_and_cut_nothing_off(width: int) -> None:
    told = shown(width, *answers(), gold=GOLD)
    assert "2 of 5" in told and "0 of 5" in told
    assert "…" not in told
    assert "DermCoT 01234567 adjudication" in told
    assert not re.search(r"\(-?\d\.\d\d,\s*│", told)  # an interval is never broken
    assert max(map(len, told.splitlines())) <= width


def test_nothing_is_shown_where_there_is_nothing() -> None:
    told = shown(100, answer("n1", "a"))
    assert not any(
        word in told
        for word in ("faults", "gold", "drift", "first scores", "above the others", "How each", "Agreement")
    )


def test_scores_of_gold_narratives_come_from_its_table(tmp_path: Path) -> None:
    file = tmp_path / "gold.csv"
    file.write_text("narrative_id,safety\nn1,4\nn1,4\n")
    settings = AnnotateSettings(gold=str(file))
    told = gold_scores(settings)
    assert told is not None and told.to_dicts() == [{"item": "n1", "safety": 4.0}]
    errors = rater_figures(snapshot(answer("n1", "a", score=3.0, occasion="gold")), told)
    assert figure(errors, "a", "gold_mae") == (1.0, 1)
    file.write_text("narrative_id,safety\nn1,good\n")
    with pytest.raises(UserError, match=r"a score in .*gold\.csv is no number: mend annotate\.gold"):
        gold_scores(settings)
    file.write_text("narrative_id\n7\n")
    assert gold_scores(settings) is None
    table = gold_table(settings)
    assert table is not None and table["narrative_id"].to_list() == ["7"]
