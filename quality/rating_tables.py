"""Ratings in one shape, whatever shape they come in.

A ratings frame has ``item`` and ``rater`` (strings) and its scores in one of two forms: a column per dimension of
:data:`schemas.tables.DIMENSIONS`, or the columns ``dimension`` and ``score``. Scores are numbers, null (or NaN) where
there is none. Columns that some figures need: ``occasion`` (words or numbers in the order of the occasions, such as
first and repeat), ``decision`` (a word), ``sequence`` (whatever orders the rater's work, such as a time), ``planted``
(whether the item holds a planted fault). A gold frame is the same without ``rater``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from quality.resampling import Floats
from schemas.tables import DIMENSIONS

#: The name under which the mean of a rater's dimensions of one item goes.
MEAN = "mean"


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one dimension: shape (items, raters), NaN where a rater did not score an item; names sorted."""

    dimension: str
    items: tuple[str, ...]
    raters: tuple[str, ...]
    scores: Floats


def dimensions_of(frame: pl.DataFrame) -> list[str]:
    """The dimensions of a frame, canonical ones first, in their order, then :data:`MEAN` if there are several."""
    if "dimension" in frame.columns:
        told = frame["dimension"].drop_nulls().unique().to_list()
    else:
        told = [name for name in DIMENSIONS if name in frame.columns]
    named = [name for name in DIMENSIONS if name in told] + sorted(set(told) - set(DIMENSIONS) - {MEAN})
    return [*named, MEAN] if len(named) > 1 else named


def shared_dimensions(frame: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    """The dimensions that both frames speak of."""
    told = dimensions_of(other)
    return [name for name in dimensions_of(frame) if name in told and name != MEAN]


def long_scores(
    frame: pl.DataFrame, keys: Sequence[str] = ("item", "rater"), dimensions: Sequence[str] | None = None
) -> pl.DataFrame:
    """One row per score that is there: ``keys``, ``dimension``, ``score``; the means (:data:`MEAN`) among them.

    ``dimensions``: those to take (by default all of the frame). A mean is over all of them; where one has no score,
    there is none. Two scores of one dimension under the same keys are an error of the caller's: which counts is
    not ours to guess.
    """
    named = [name for name in dimensions_of(frame) if name != MEAN and (dimensions is None or name in dimensions)]
    wanted = [*keys, "dimension", "score"]
    if not named:
        empty = {**{key: frame.schema[key] for key in keys}, "dimension": pl.String(), "score": pl.Float64()}
        return pl.DataFrame(schema=empty)
    if "dimension" in frame.columns:
        rows = frame.filter(pl.col("dimension").is_in(named)).select(wanted)
    else:
        rows = frame.unpivot(named, index=list(keys), variable_name="dimension", value_name="score").select(wanted)
    rows = rows.with_columns(pl.col("score").cast(pl.Float64)).filter(pl.col("score").is_finite())
    rows = rows.drop_nulls([*keys, "dimension"])
    if rows.select(pl.struct([*keys, "dimension"]).is_duplicated().any()).item():
        raise ValueError(f"several scores under the same {', '.join(keys)} and dimension")
    if len(named) > 1:
        whole = rows.group_by(list(keys)).agg(pl.lit(MEAN).alias("dimension"), mean_score(), pl.len())
        rows = pl.concat([rows, whole.filter(pl.col("len") == len(named)).select(wanted)])
    return rows


def mean_score() -> pl.Expr:
    """The mean of ``score`` in a group, without the rounding error that would tell equal means apart."""
    return pl.col("score").mean().round(9)


def first_occasion(ratings: pl.DataFrame) -> pl.DataFrame:
    """The ratings of each rater's first occasion with an item; all of them where there is no ``occasion``."""
    if "occasion" not in ratings.columns:
        return ratings
    return ratings.filter(pl.col("occasion").eq_missing(pl.col("occasion").min().over("item", "rater")))


def score_tables(ratings: pl.DataFrame) -> Iterator[ScoreTable]:
    """The table of each dimension, :data:`MEAN` last; of repeated items the first occasion. Items without any score in
    a dimension are not in its table."""
    rows = long_scores(first_occasion(ratings))
    for dimension in dimensions_of(ratings):
        yield score_table(dimension, rows.filter(pl.col("dimension") == dimension))


def score_table(dimension: str, rows: pl.DataFrame) -> ScoreTable:
    """Rows of (``item``, ``rater``, ``score``), one per pair, as a table."""
    items = rows["item"].unique().sort()
    raters = rows["rater"].unique().sort()
    scores = np.full((len(items), len(raters)), np.nan)
    scores[items.search_sorted(rows["item"]).to_numpy(), raters.search_sorted(rows["rater"]).to_numpy()] = rows["score"]
    return ScoreTable(dimension, tuple(items), tuple(raters), scores)


def decisions(ratings: pl.DataFrame, column: str = "decision") -> pl.DataFrame:
    """One row per item and rater of the first occasion: ``item``, ``rater`` and ``column``, nulls left out.

    A frame in long form says the same on every row of an item and rater; one that does not is an error.
    """
    rows = first_occasion(ratings).select("item", "rater", column).drop_nulls().unique()
    if rows.select(pl.struct("item", "rater").is_duplicated().any()).item():
        raise ValueError(f"several values of {column} for one item and rater")
    return rows
