"""How far raters agree: reliability of scores and of decisions, each with an interval over items.

Both functions return one frame of the columns :data:`COLUMNS`:

- ``dimension``: a dimension, ``mean`` (of a rater's dimensions) or ``decision``.
- ``measure``: ``icc_2_1``, ``icc_2_k`` (absolute agreement of one rater, of the mean of all), ``icc_3_1`` (consistency:
  constant differences between raters left out), all three over the items that every rater scored; ``icc_1_1`` (whoever
  scored), ``alpha_ordinal``, ``alpha_interval``, ``alpha_nominal`` over the items that two or more scored;
  ``quadratic_kappa`` or ``kappa`` of a pair over the items both scored, and ``..._mean``, the mean over pairs;
  ``exact_share``, ``within_one_share``: of pairs of scores of one item.
- ``rater_a``, ``rater_b``: the pair; null where the figure is of all raters.
- ``estimate``, ``low``, ``high``: the figure and its 95 % interval (bootstrap over items, bias-corrected).
- ``n_items``, ``n_raters``: how many the figure rests on.
- ``reason``: why the estimate, or only its interval, is null.

The intervals are for other items and the same raters. Which raters there happen to be adds an uncertainty to absolute
agreement that three raters cannot tell: :func:`icc_for_other_raters` shows how large it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np
import polars as pl

from quality.coefficients import (
    agreement_shares,
    alpha_interval,
    alpha_nominal,
    alpha_ordinal,
    icc_limits,
    icc_one_way,
    icc_two_way,
    mean_of,
    nominal_kappa,
    quadratic_kappa,
)
from quality.rating_tables import ScoreTable, decisions, score_table, score_tables
from quality.resampling import ONE_ITEM, Estimate, Figure, Floats, estimates, missing

COLUMNS = pl.Schema(
    {
        "dimension": pl.String(),
        "measure": pl.String(),
        "rater_a": pl.String(),
        "rater_b": pl.String(),
        "estimate": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "n_items": pl.Int64(),
        "n_raters": pl.Int64(),
        "reason": pl.String(),
    }
)

ONE_RATER = "fewer than two raters"
NONE_SHARED = "no item was scored by two raters"
NONE_COMPLETE = "no item was scored by every rater"
NO_LIMITS = "no error at all, or nothing but error"

_Row = tuple[object, ...]
_Pair = Callable[[Floats, Floats], Figure]

_exact = partial(agreement_shares, tolerances=(0.0,))
_exact_and_within_one = partial(agreement_shares, tolerances=(0.0, 1.0))


def score_agreement(ratings: pl.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pl.DataFrame:
    """Agreement on every dimension and on the mean; ``ratings`` as in :mod:`quality.rating_tables`."""
    rows: list[_Row] = []
    for table in score_tables(ratings):
        complete, shared = _complete(table), _shared(table)
        for measures, figure, scores in (
            (("icc_2_1", "icc_2_k", "icc_3_1"), icc_two_way, complete),
            (("icc_1_1",), icc_one_way, shared),
            (("alpha_ordinal",), alpha_ordinal, shared),
            (("alpha_interval",), alpha_interval, shared),
            (("exact_share", "within_one_share"), _exact_and_within_one, shared),
        ):
            rows += _panel_rows(table, measures, figure, scores, resamples, seed)
        rows += _pair_rows(table, "quadratic_kappa", quadratic_kappa, resamples, seed)
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def decision_agreement(ratings: pl.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pl.DataFrame:
    """Agreement on the words of the column ``decision``, as categories without order."""
    told = decisions(ratings)
    words = told["decision"].unique().sort()
    codes = words.search_sorted(told["decision"]).cast(pl.Float64)
    table = score_table("decision", told.with_columns(codes.alias("score")))
    rows = _panel_rows(table, ("alpha_nominal",), alpha_nominal, _shared(table), resamples, seed)
    rows += _panel_rows(table, ("exact_share",), _exact, _shared(table), resamples, seed)
    rows += _pair_rows(table, "kappa", nominal_kappa, resamples, seed)
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def icc_for_other_raters(ratings: pl.DataFrame) -> pl.DataFrame:
    """``icc_2_1`` and ``icc_2_k`` with their interval for other items and other raters (by F, no resampling).

    With few raters it is wide: a panel of three says little about how far a fourth would be from them.
    """
    rows: list[_Row] = []
    for table in score_tables(ratings):
        scores = _complete(table)
        lack = _lack(table, scores)
        told = [missing(len(scores), lack)] * 2 if lack else estimates(icc_two_way(scores), len(scores), resamples=0)
        limits = None if lack else icc_limits(scores)
        for at, measure in enumerate(("icc_2_1", "icc_2_k")):
            one = told[at]
            if one.estimate is not None:
                one = replace(one, reason=NO_LIMITS)
                one = one if limits is None else replace(one, low=limits[at][0], high=limits[at][1], reason=None)
            rows.append(_row(table.dimension, measure, (None, None), one, len(table.raters)))
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _panel_rows(
    table: ScoreTable,
    measures: Sequence[str],
    figure: Callable[[Floats], Figure],
    scores: Floats,
    resamples: int,
    seed: int,
) -> list[_Row]:
    """Rows of measures of all raters over ``scores``, rows of ``table``."""
    lack = _lack(table, scores, one_item_tells="exact_share" in measures)
    if lack:
        told = [missing(len(scores), lack)] * len(measures)
    else:
        told = estimates(figure(scores), len(scores), resamples=resamples, seed=seed)
    pairs = zip(measures, told, strict=True)
    return [_row(table.dimension, measure, (None, None), one, len(table.raters)) for measure, one in pairs]


def _pair_rows(table: ScoreTable, measure: str, kappa: _Pair, resamples: int, seed: int) -> list[_Row]:
    """Kappa of every pair that there is, then their mean."""
    rows: list[_Row] = []
    figures = []
    shared = np.nonzero((~np.isnan(table.scores)).sum(1) > 1)[0]
    for i, j in combinations(range(len(table.raters)), 2):
        items = np.nonzero(~np.isnan(table.scores[:, [i, j]]).any(1))[0]
        told = missing(len(items), ONE_ITEM if len(items) else NONE_SHARED)
        if len(items) > 1:
            figure = kappa(table.scores[items, i], table.scores[items, j])
            figures.append((np.searchsorted(shared, items), figure))
            told = estimates(figure, len(items), resamples=resamples, seed=seed)[0]
        rows.append(_row(table.dimension, measure, (table.raters[i], table.raters[j]), told, 2))
    mean = missing(len(shared), _lack(table, table.scores[shared]) or ONE_ITEM)
    if figures:
        mean = estimates(mean_of(figures, len(shared)), len(shared), resamples=resamples, seed=seed)[0]
    return [*rows, _row(table.dimension, f"{measure}_mean", (None, None), mean, len(table.raters))]


def _complete(table: ScoreTable) -> Floats:
    """The rows of the items that every rater scored."""
    complete: Floats = table.scores[~np.isnan(table.scores).any(1)]
    return complete


def _shared(table: ScoreTable) -> Floats:
    """The rows of the items that at least two raters scored."""
    shared: Floats = table.scores[(~np.isnan(table.scores)).sum(1) > 1]
    return shared


def _lack(table: ScoreTable, scores: Floats, one_item_tells: bool = False) -> str | None:
    """Why a figure over ``scores``, rows of ``table``, cannot be had; None when it can, variance aside."""
    if len(table.raters) < 2:
        return ONE_RATER
    if not len(scores):
        return NONE_COMPLETE if len(_shared(table)) else NONE_SHARED
    return ONE_ITEM if len(scores) == 1 and not one_item_tells else None


def _row(dimension: str, measure: str, pair: tuple[str | None, str | None], told: Estimate, n_raters: int) -> _Row:
    return (dimension, measure, *pair, told.estimate, told.low, told.high, told.n_items, n_raters, told.reason)
