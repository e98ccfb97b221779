"""What failed on the way to a narrative, told in the order in which a model was asked."""

from __future__ import annotations

import polars as pl
from rich.markup import escape

from schemas.attempts import ATTEMPT, STEPS


def attempts_story(rejections: pl.DataFrame, slot: str) -> list[str]:
    """A line for every failed attempt of a narrative, or of the look that a case's narratives share.

    ``rejections``: of the step that proposes; ``slot``: the narrative's id, or the case's.
    """
    whose, step, number = (pl.col("record_id").str.extract(ATTEMPT, group) for group in (1, 2, 3))
    tried = rejections.filter((pl.col("record_kind") == "attempt") & (whose == slot))
    rows = tried.with_columns(step.cast(pl.Enum(STEPS)).alias("step"), number.cast(pl.Int64).alias("number"))
    return [
        f"attempt {row['number']} to {row['step']} failed: [bold]{row['rule']}[/]"
        + (f"; {escape(row['detail'])}" if row["detail"] else "")
        for row in rows.sort("number", "step").iter_rows(named=True)
    ]
