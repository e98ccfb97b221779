"""Ratings for tests: frames from arrays, and raters drawn from known variance components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Array = npt.NDArray[np.float64]

#: Six targets, four judges (Shrout and Fleiss 1979, table 2).
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float
)
_ = np.nan
#: Twelve units, four observers, with gaps (Krippendorff 2011); here a row per unit.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
).T


def ratings(scores: Array, raters: Sequence[str] | None = None, dimension: str = "accuracy") -> pl.DataFrame:
    """Long ratings of one dimension from an array (items, raters) with NaN for gaps."""
    names = raters or [f"r{j}" for j in range(scores.shape[1])]
    rows = [
        (f"i{i:04}", names[j], dimension, float(scores[i, j]))
        for i in range(scores.shape[0])
        for j in range(scores.shape[1])
    ]
    schema = {"item": pl.String(), "rater": pl.String(), "dimension": pl.String(), "score": pl.Float64()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def panel(generator: np.random.Generator, n: int, offsets: Sequence[float], item_sd: float, error_sd: float) -> Array:
    """Scores (n, raters): an item's own level, each rater's constant offset, independent error."""
    levels = generator.normal(3, item_sd, size=(n, 1))
    return levels + np.asarray(offsets) + generator.normal(0, error_sd, size=(n, len(offsets)))


def one(frame: pl.DataFrame, **values: str) -> dict[str, object]:
    """The only row of ``frame`` with these values; of all raters unless a pair is named."""
    if "rater_a" in frame.columns and "rater_a" not in values:
        frame = frame.filter(pl.col("rater_a").is_null())
    rows = frame.filter(*(pl.col(name) == value for name, value in values.items()))
    assert rows.height == 1, rows
    return rows.row(0, named=True)


def number(row: dict[str, object], name: str = "estimate") -> float:
    """A figure of a row that has to be there."""
    value = row[name]
    assert isinstance(value, float), row
    return value


def covers(row: dict[str, object], truth: float) -> bool:
    """Whether the row's interval holds the truth."""
    return number(row, "low") <= truth <= number(row, "high")
