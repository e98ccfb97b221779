"""How each rater scores: severity against the others, error against gold, steadiness, and trust in planted faults.

Every function returns one frame of the columns :data:`COLUMNS`:

- ``rater``; ``dimension``: a dimension, ``mean`` (of the rater's dimensions) or ``decision``.
- ``measure``: see the function. ``estimate``, ``low``, ``high``: the figure and its 95 % interval (bootstrap over
  items, bias-corrected; for shares of items Wilson's). Differences are in points of the scale, the rater's less theirs.
- ``n_items``: how many items it rests on; ``reason``: why the estimate, or only its interval, is null.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from quality.coefficients import quadratic_kappa
from quality.rating_tables import (
    ScoreTable,
    decisions,
    dimensions_of,
    first_occasion,
    long_scores,
    score_table,
    score_tables,
    shared_dimensions,
)
from quality.resampling import ONE_ITEM, Estimate, Figure, Floats, estimates, missing, ratio, weighted_mean

COLUMNS = pl.Schema(
    {
        "rater": pl.String(),
        "dimension": pl.String(),
        "measure": pl.String(),
        "estimate": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "n_items": pl.Int64(),
        "reason": pl.String(),
    }
)

NO_OTHERS = "no item was scored by another rater too"
NO_GOLD = "no gold item was scored"
NO_REPEAT = "no item was scored twice"
RANK = "a rank has no interval"
NONE_PLANTED = "no item of this kind was decided on"

_Row = tuple[object, ...]


def severity(ratings: pl.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pl.DataFrame:
    """Each rater against the others on the items that they share.

    ``bias``: mean of (score - mean of the others' scores of the item). ``spread``: the rater's standard deviation over
    that of a single other rater, pooled (1: uses the scale as they do; below: keeps to the middle). ``severity_rank``:
    1 for the lowest bias of the dimension, equal ones share the lower rank; no interval.
    """
    rows: list[_Row] = []
    for table in score_tables(ratings):
        biases = []
        for at, rater in enumerate(table.raters):
            mine, theirs = _shared_with_others(table, at)
            told = [missing(len(mine), NO_OTHERS if not len(mine) else ONE_ITEM)] * 2
            if len(mine):
                figure = weighted_mean(mine - np.nanmean(theirs, axis=1))
                told[0] = estimates(figure, len(mine), resamples=resamples, seed=seed)[0]
            if len(mine) > 1:
                told[1] = estimates(_spread(mine, theirs), len(mine), resamples=resamples, seed=seed)[0]
            biases.append(told[0])
            rows += _rows(rater, table.dimension, ("bias", "spread"), told)
        for rater, told_bias in zip(table.raters, biases, strict=True):
            rows += _rows(rater, table.dimension, ("severity_rank",), [_rank(told_bias, biases)])
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def gold_errors(ratings: pl.DataFrame, gold: pl.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pl.DataFrame:
    """Each rater against the gold scores: ``gold_bias`` (mean error) and ``gold_mae`` (mean absolute error).

    The mean is over the dimensions that both have.
    """
    common = shared_dimensions(ratings, gold)
    truth = long_scores(gold, ("item",), common).rename({"score": "truth"})
    scored = long_scores(first_occasion(ratings), dimensions=common).join(truth, on=["item", "dimension"])
    scored = scored.with_columns(score=pl.col("score") - pl.col("truth"))
    rows: list[_Row] = []
    for dimension in dimensions_of(ratings):
        table = score_table(dimension, scored.filter(pl.col("dimension") == dimension))
        for rater in ratings["rater"].drop_nulls().unique().sort():
            at = table.raters.index(rater) if rater in table.raters else None
            errors = table.scores[:, at][~np.isnan(table.scores[:, at])] if at is not None else np.zeros(0)
            told = [missing(0, NO_GOLD)] * 2
            if len(errors):
                told = [
                    estimates(weighted_mean(values), len(errors), resamples=resamples, seed=seed)[0]
                    for values in (errors, np.abs(errors))
                ]
            rows += _rows(rater, dimension, ("gold_bias", "gold_mae"), told)
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def retest(ratings: pl.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pl.DataFrame:
    """Each rater against the same rater, over the items with several values of ``occasion``; the first two count.

    ``retest_kappa``: quadratic-weighted (Cohen 1968); ``retest_mad``: mean absolute difference; ``retest_shift``: mean
    difference, second less first.
    """
    places = ratings.with_columns(pl.col("occasion").rank("dense").over("item", "rater").cast(pl.Int64).alias("place"))
    scored = long_scores(places.filter(pl.col("place") < 3), ("item", "rater", "place"))
    rows: list[_Row] = []
    for dimension in dimensions_of(ratings):
        of_dimension = scored.filter(pl.col("dimension") == dimension)
        for rater in ratings["rater"].drop_nulls().unique().sort():
            own = of_dimension.filter(pl.col("rater") == rater).select("item", pl.col("place").alias("rater"), "score")
            both = score_table(dimension, own).scores
            both = both[~np.isnan(both).any(1)] if both.shape[1] == 2 else np.zeros((0, 2))
            told = [missing(len(both), ONE_ITEM if len(both) else NO_REPEAT)] * 3
            if len(both) > 1:
                figure = quadratic_kappa(both[:, 0], both[:, 1])
                told[0] = estimates(figure, len(both), resamples=resamples, seed=seed)[0]
            if len(both):
                shift = both[:, 1] - both[:, 0]
                for place, values in ((1, np.abs(shift)), (2, shift)):
                    told[place] = estimates(weighted_mean(values), len(both), resamples=resamples, seed=seed)[0]
            rows += _rows(rater, dimension, ("retest_kappa", "retest_mad", "retest_shift"), told)
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def automation_bias(ratings: pl.DataFrame, *, certified: str = "certify") -> pl.DataFrame:
    """How often each rater certified what should not have been, from ``decision`` and ``planted``.

    ``planted_certified``: the share certified of the items with a planted fault; ``sound_certified``: of the others, to
    tell a trusting rater from one who certifies everything. Wilson's interval (Wilson 1927).
    """
    from scipy.stats import binomtest

    told = decisions(ratings).join(decisions(ratings, "planted"), on=["item", "rater"])
    rows: list[_Row] = []
    for rater in ratings["rater"].drop_nulls().unique().sort():
        for measure, planted in (("planted_certified", True), ("sound_certified", False)):
            seen = told.filter((pl.col("rater") == rater) & (pl.col("planted") == planted))["decision"]
            one = missing(0, NONE_PLANTED)
            if len(seen):
                passed = int((seen == certified).sum())
                limits = binomtest(passed, len(seen)).proportion_ci(method="wilson")
                one = Estimate(passed / len(seen), float(limits.low), float(limits.high), len(seen), None)
            rows += _rows(rater, "decision", (measure,), [one])
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _shared_with_others(table: ScoreTable, at: int) -> tuple[Floats, Floats]:
    """The scores of the rater at ``at`` and those of the others, on the items that rater and some other scored."""
    mine, theirs = table.scores[:, at], np.delete(table.scores, at, axis=1)
    shared = ~np.isnan(mine) & ~np.isnan(theirs).all(1)
    return mine[shared], theirs[shared]


def _spread(mine: Floats, theirs: Floats) -> Figure:
    """The standard deviation of ``mine`` over the pooled one of the columns of ``theirs``, each about its own mean."""
    both = np.column_stack([mine, theirs])
    known = ~np.isnan(both)
    filled = np.where(known, both - np.nanmean(both), 0.0)
    width = both.shape[1]
    rows = np.hstack([known, filled, filled**2])

    def figure(weights: Floats) -> Floats:
        sums = weights @ rows
        counts, totals, squares = sums[:, :width], sums[:, width : 2 * width], sums[:, 2 * width :]
        deviations = np.maximum(squares - totals**2 / np.maximum(counts, 1), 0.0)
        mine_variance = ratio(deviations[:, 0], counts[:, 0] - 1)
        freedom = np.maximum(counts[:, 1:] - 1, 0).sum(1)
        their_variance = ratio(deviations[:, 1:].sum(1), freedom)
        return np.sqrt(ratio(mine_variance, their_variance))[:, None]

    return figure


def _rank(bias: Estimate, biases: Sequence[Estimate]) -> Estimate:
    if bias.estimate is None:
        return missing(bias.n_items, bias.reason or NO_OTHERS)
    lower = sum(other.estimate is not None and other.estimate < bias.estimate - 1e-12 for other in biases)
    return Estimate(1.0 + lower, None, None, bias.n_items, RANK)


def _rows(rater: str, dimension: str, measures: Sequence[str], told: Sequence[Estimate]) -> list[_Row]:
    return [
        (rater, dimension, measure, one.estimate, one.low, one.high, one.n_items, one.reason)
        for measure, one in zip(measures, told, strict=True)
    ]
