"""How an automatic evaluator's scores stand to the raters', when the items rated are a sample, even or not.

Where an item was drawn with a known probability, it stands for one over that many: all figures are then weighted so
(Horvitz and Thompson 1952; the means in the ratio form of Hajek 1971), and speak about the whole that was drawn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from quality.rating_tables import dimensions_of, first_occasion, long_scores, mean_score, shared_dimensions
from quality.resampling import ONE_ITEM, Estimate, Figure, Floats, estimates, missing, weighted_mean

#: One row per dimension (``mean`` among them) and measure. ``measure``: ``bias`` (evaluator less raters), ``mae`` (mean
#: absolute difference), both in points of the scale; ``pearson``, ``spearman``. ``low``, ``high``: 95 % interval
#: (bootstrap over items). ``n_effective``: how many evenly drawn items the weighted ones are worth (Kish 1965).
COLUMNS = pl.Schema(
    {
        "dimension": pl.String(),
        "measure": pl.String(),
        "estimate": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "n_items": pl.Int64(),
        "n_effective": pl.Float64(),
        "reason": pl.String(),
    }
)

#: One row per dimension and bin of the evaluator's scores, ``bin_low`` <= score < ``bin_high`` (the last bin closed).
#: ``share``: of all items, weighted; ``evaluator``, ``raters``: mean scores in the bin; ``low``, ``high``: 95 %
#: interval of ``raters``; ``difference``: evaluator less raters.
CALIBRATION_COLUMNS = pl.Schema(
    {
        "dimension": pl.String(),
        "bin_low": pl.Float64(),
        "bin_high": pl.Float64(),
        "n_items": pl.Int64(),
        "share": pl.Float64(),
        "evaluator": pl.Float64(),
        "raters": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "difference": pl.Float64(),
        "reason": pl.String(),
    }
)

PROBABILITY = "inclusion_probability"
NONE_SHARED = "no item has both scores"
NO_PROBABILITY = "an item has no inclusion probability above 0 and up to 1"
NO_ITEM = "no item in this bin"

_MEASURES = ("bias", "mae", "pearson", "spearman")


def alignment(evaluator: pl.DataFrame, ratings: pl.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pl.DataFrame:
    """Measures of the evaluator against the mean of each item's raters.

    ``evaluator``: ``item`` and scores as in :mod:`quality.rating_tables`, without ``rater``; with the column
    ``inclusion_probability`` everything is weighted. ``ratings``: of repeated items the first occasion counts.
    The mean is over the dimensions that both have.
    """
    rows = []
    for dimension, paired in _paired(evaluator, ratings):
        ours, theirs, weights = (paired[name].to_numpy() for name in ("score", "raters", "weight"))
        lack = _lack(paired)
        effective = None if lack else float(weights.sum() ** 2 / (weights**2).sum())
        told = [missing(len(paired), lack or ONE_ITEM)] * 4
        if not lack:
            told[:2] = [
                estimates(weighted_mean(values, weights), len(paired), resamples=resamples, seed=seed)[0]
                for values in (ours - theirs, np.abs(ours - theirs))
            ]
        if not lack and len(paired) > 1:
            figure = correlations(ours, theirs, weights)
            told[2:] = estimates(figure, len(paired), resamples=resamples, seed=seed)
        for measure, one in zip(_MEASURES, told, strict=True):
            figures = (one.estimate, one.low, one.high, one.n_items, effective, one.reason)
            rows.append((dimension, measure, *figures))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def calibration(
    evaluator: pl.DataFrame,
    ratings: pl.DataFrame,
    *,
    edges: Sequence[float] = (0, 1, 2, 3, 4, 5),
    resamples: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """What raters gave where the evaluator gave so much; arguments as in :func:`alignment`.

    ``edges``: rising limits of the bins; scores outside them are in no bin.
    """
    rows: list[tuple[object, ...]] = []
    for dimension, paired in _paired(evaluator, ratings):
        lack = _lack(paired)
        for low, high in pairwise(edges):
            top = pl.col("score") <= high if high == edges[-1] else pl.col("score") < high
            held = paired.filter((pl.col("score") >= low) & top)
            told, share, ours = missing(len(held), lack or NO_ITEM), None if lack else 0.0, None
            if not lack and len(held):
                weights = held["weight"].to_numpy()
                told = _mean(held["raters"].to_numpy(), weights, resamples, seed)
                ours = _mean(held["score"].to_numpy(), weights, 0, seed).estimate
                share = float(weights.sum() / paired["weight"].to_numpy().sum())
            difference = None if ours is None or told.estimate is None else ours - told.estimate
            figures = (told.estimate, told.low, told.high, difference, told.reason)
            rows.append((dimension, float(low), float(high), len(held), share, ours, *figures))
    return pl.DataFrame(rows, schema=CALIBRATION_COLUMNS, orient="row")


def correlations(first: Floats, second: Floats, base: Floats) -> Figure:
    """Pearson's and Spearman's correlation, two figures, under weights ``base`` (items,) times those of the resample.

    Spearman's is Pearson's over weighted mid-ranks: the weight below a value and half of that at it.
    """
    values = np.column_stack([first - first.mean(), second - second.mean()])
    a, b = values.T
    rows = np.column_stack([np.ones(len(a)), a, b, a**2, b**2, a * b])

    def figure(weights: Floats) -> Floats:
        weighted = weights * base
        pearson = _correlation(*(weighted @ rows).T)
        ranks = [_ranks(first, weighted), _ranks(second, weighted)]
        sums = [(weighted * part).sum(1) for part in (*ranks, ranks[0] ** 2, ranks[1] ** 2, ranks[0] * ranks[1])]
        return np.column_stack([pearson, _correlation(weighted.sum(1), *sums)])

    return figure


def _correlation(n: Floats, a: Floats, b: Floats, a_squared: Floats, b_squared: Floats, product: Floats) -> Floats:
    first, second = a_squared / n - (a / n) ** 2, b_squared / n - (b / n) ** 2
    known = (first > 1e-12) & (second > 1e-12)
    spread = np.sqrt(np.where(known, first * second, np.nan))
    with np.errstate(invalid="ignore"):
        bounded: Floats = np.clip((product / n - a * b / n**2) / spread, -1.0, 1.0)
    return bounded


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Mid-ranks of ``values`` (items,) under each weighting (weightings, items), as shares less a half."""
    _, code = np.unique(values, return_inverse=True)
    ordered = np.argsort(code, kind="stable")
    starts = np.searchsorted(code[ordered], np.arange(code.max() + 1))
    held = np.add.reduceat(weights[:, ordered], starts, axis=1)
    ranks: Floats = ((held.cumsum(1) - held / 2) / held.sum(1, keepdims=True) - 0.5)[:, code]
    return ranks


def _mean(values: Floats, weights: Floats, resamples: int, seed: int) -> Estimate:
    return estimates(weighted_mean(values, weights), len(values), resamples=resamples, seed=seed)[0]


def _paired(evaluator: pl.DataFrame, ratings: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """Per dimension ``item``, ``score`` (evaluator), ``raters`` (mean), ``weight`` (NaN where unknown), by item."""
    common = shared_dimensions(evaluator, ratings)
    ours = long_scores(evaluator, ("item",), common)
    given = long_scores(first_occasion(ratings), dimensions=common)
    theirs = given.group_by("item", "dimension").agg(mean_score().alias("raters"))
    paired = ours.join(theirs, on=["item", "dimension"]).with_columns(weight=pl.lit(1.0))
    if PROBABILITY in evaluator.columns:
        drawn = evaluator.select("item", pl.col(PROBABILITY).cast(pl.Float64)).unique()
        usable = pl.col(PROBABILITY).is_between(0, 1, closed="right")
        paired = paired.join(drawn, on="item", validate="m:1").with_columns(
            weight=pl.when(usable).then(1 / pl.col(PROBABILITY)).otherwise(float("nan"))
        )
    paired = paired.sort("item")
    return [(name, paired.filter(pl.col("dimension") == name)) for name in dimensions_of(evaluator)]


def _lack(paired: pl.DataFrame) -> str | None:
    if paired.is_empty():
        return NONE_SHARED
    return NO_PROBABILITY if paired["weight"].is_nan().any() else None
