"""Coefficients of agreement as figures over items (:data:`quality.resampling.Figure`).

Scores come as an array of shape (items, raters) with NaN where a rater did not score an item; categories likewise, any
number each. Every figure is a function of weighted sums over items; a weight may be any number from nought.

- ICC(1,1), ICC(2,1), ICC(2,k), ICC(3,1): Shrout and Fleiss 1979; unequal numbers of scores per item: Donner 1986.
- Alpha for nominal, ordinal and interval data: Krippendorff 2011. The ordinal distance of two values is the squared
  distance of their mid-ranks, so ordinal alpha is interval alpha over mid-ranks.
- Kappa: Cohen 1960; with quadratic weights: Cohen 1968. The latter is twice the covariance over the sum of both
  variances and the squared difference of means (Fleiss and Cohen 1973; Lin 1989), so it needs no table of categories
  and holds for scores with decimals.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from quality.resampling import LEVEL, Figure, Floats, ratio


def icc_two_way(scores: Floats) -> Figure:
    """ICC(2,1), ICC(2,k) and ICC(3,1), three figures; ``scores`` without gaps and at least two raters.

    The first two are reliability of one rater and of the mean of all, in absolute agreement; the third leaves constant
    differences between raters out.
    """
    k = scores.shape[1]
    centred = scores - scores.mean()
    rows = np.column_stack([np.ones(len(scores)), centred.sum(1) ** 2, (centred**2).sum(1), centred])

    def figure(weights: Floats) -> Floats:
        sums = weights @ rows
        n, squared_totals, squares, columns = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3:]
        correction = columns.sum(1) ** 2 / (n * k)
        between = squared_totals / k - correction
        raters = (columns**2).sum(1) / n - correction
        items = between / (n - 1)
        error = (squares - correction - between - raters) / ((n - 1) * (k - 1))
        rater_surplus = (raters / (k - 1) - error) / n
        signal = items - error
        single = ratio(signal, items + (k - 1) * error + k * rater_surplus)
        average = ratio(signal, items + rater_surplus)
        return np.column_stack([single, average, ratio(signal, items + (k - 1) * error)])

    return figure


def icc_limits(scores: Floats) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """The 95 % limits of ICC(2,1) and ICC(2,k) for other items and other raters; ``scores`` as in :func:`icc_two_way`.

    By F with approximate degrees of freedom (Shrout and Fleiss 1979). None where no error is left to compare with, or
    where the items differ so little that a limit is no correlation.
    """
    from scipy.stats import f

    n, k = scores.shape
    rows, columns = scores.mean(1, keepdims=True), scores.mean(0, keepdims=True)
    items, raters = k * rows.var(ddof=1), n * columns.var(ddof=1)
    error = ((scores - rows - columns + scores.mean()) ** 2).sum() / ((n - 1) * (k - 1))
    rest = k * raters + (k * n - k - n) * error
    if error <= 1e-12 or items + rest <= 1e-12:
        return None
    icc = n * (items - error) / (n * items + rest)
    by_rater, by_item = k * icc * raters / error, n * (1 + (k - 1) * icc) - k * icc
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (k - 1) * (n - 1) * (by_rater + by_item) ** 2 / ((n - 1) * by_rater**2 + by_item**2)
        upper, lower = f.ppf((1 + LEVEL) / 2, n - 1, freedom), f.ppf((1 + LEVEL) / 2, freedom, n - 1)
        low = float(n * (items - upper * error) / (upper * rest + n * items))
        high = float(n * (lower * items - error) / (rest + n * lower * items))
    if not -1 < (k - 1) * low <= (k - 1) * high <= k - 1:
        return None
    return (low, high), (k * low / (1 + (k - 1) * low), k * high / (1 + (k - 1) * high))


def icc_one_way(scores: Floats) -> Figure:
    """ICC(1,1), one figure, from however many scores each item has; at least two each."""
    counts, totals, squares = _item_sums(scores - np.nanmean(scores))
    rows = np.column_stack([np.ones(len(counts)), counts, counts**2, totals, totals**2 / counts, squares])

    def figure(weights: Floats) -> Floats:
        n, scored, scored_squares, total, between, squared = (weights @ rows).T
        items = (between - total**2 / scored) / (n - 1)
        error = (squared - between) / (scored - n)
        size = (scored - scored_squares / scored) / (n - 1)
        return ratio(items - error, items + (size - 1) * error)[:, None]

    return figure


def alpha_interval(scores: Floats) -> Figure:
    """Krippendorff's alpha with squared differences, one figure; at least two scores per item."""
    counts, totals, squares = _item_sums(scores - np.nanmean(scores))
    disagreement = 2 * (counts * squares - totals**2) / (counts - 1)
    rows = np.column_stack([counts, totals, squares, disagreement])

    def figure(weights: Floats) -> Floats:
        n, total, squared, observed = (weights @ rows).T
        return (1 - ratio((n - 1) * observed, 2 * (n * squared - total**2), n * squared))[:, None]

    return figure


def alpha_ordinal(scores: Floats) -> Figure:
    """Krippendorff's alpha with distances between mid-ranks, one figure; at least two scores per item."""
    known = ~np.isnan(scores)
    counts = known.sum(1).astype(np.float64)
    item = np.nonzero(known)[0]
    first_of_item = np.concatenate([[0], np.cumsum(counts[:-1])]).astype(np.int64)
    _, value = np.unique(scores[known], return_inverse=True)
    ordered = np.argsort(value, kind="stable")
    first_of_value = np.searchsorted(value[ordered], np.arange(value.max() + 1))

    def figure(weights: Floats) -> Floats:
        held = np.add.reduceat(weights[:, item[ordered]], first_of_value, axis=1)
        n = held.sum(1)
        middle = held.cumsum(1) - held / 2 - n[:, None] / 2
        ranks = middle[:, value]
        totals = np.add.reduceat(ranks, first_of_item, axis=1)
        squares = np.add.reduceat(ranks**2, first_of_item, axis=1)
        observed = (weights * 2 * (counts * squares - totals**2) / (counts - 1)).sum(1)
        squared = (held * middle**2).sum(1)
        expected = 2 * (n * squared - (held * middle).sum(1) ** 2)
        return (1 - ratio((n - 1) * observed, expected, n * squared))[:, None]

    return figure


def alpha_nominal(codes: Floats) -> Figure:
    """Krippendorff's alpha for categories, one figure; at least two per item."""
    categories = np.unique(codes[~np.isnan(codes)])
    held = (codes[:, :, None] == categories).sum(1).astype(np.float64)
    counts = held.sum(1)
    rows = np.column_stack([(counts**2 - (held**2).sum(1)) / (counts - 1), held])

    def figure(weights: Floats) -> Floats:
        sums = weights @ rows
        n = sums[:, 1:].sum(1)
        expected = n**2 - (sums[:, 1:] ** 2).sum(1)
        return (1 - ratio((n - 1) * sums[:, 0], expected, n**2))[:, None]

    return figure


def quadratic_kappa(first: Floats, second: Floats) -> Figure:
    """Cohen's kappa with quadratic weights of two raters, one figure; both (items,) without gaps."""
    middle = (first.mean() + second.mean()) / 2
    a, b = first - middle, second - middle
    rows = np.column_stack([np.ones(len(a)), a, b, a**2 + b**2, a * b])

    def figure(weights: Floats) -> Floats:
        n, total_a, total_b, squared, product = (weights @ rows).T
        agreed = 2 * (n * product - total_a * total_b)
        return ratio(agreed, n * squared - 2 * total_a * total_b, n * squared)[:, None]

    return figure


def nominal_kappa(first: Floats, second: Floats) -> Figure:
    """Cohen's kappa of two raters' categories, one figure; both (items,) without gaps."""
    categories = np.union1d(first, second)
    held = (first[:, None] == categories).astype(np.float64), (second[:, None] == categories).astype(np.float64)
    rows = np.column_stack([np.ones(len(first)), first == second, *held])
    width = len(categories)

    def figure(weights: Floats) -> Floats:
        sums = weights @ rows
        n, same = sums[:, 0], sums[:, 1]
        chance = (sums[:, 2 : 2 + width] * sums[:, 2 + width :]).sum(1)
        return ratio(n * same - chance, n**2 - chance, n**2)[:, None]

    return figure


def agreement_shares(scores: Floats, tolerances: Sequence[float]) -> Figure:
    """The shares of pairs of scores of one item that differ by at most each tolerance, one figure each.

    Every pair counts alike, so an item with three scores counts three times one with two.
    """
    within = np.zeros((len(scores), 1 + len(tolerances)))
    for i, j in combinations(range(scores.shape[1]), 2):
        gap = np.abs(scores[:, i] - scores[:, j])
        within[:, 0] += ~np.isnan(gap)
        for at, tolerance in enumerate(tolerances, start=1):
            within[:, at] += gap <= tolerance + 1e-9

    def figure(weights: Floats) -> Floats:
        sums = weights @ within
        return np.column_stack([ratio(sums[:, at], sums[:, 0]) for at in range(1, within.shape[1])])

    return figure


def mean_of(figures: Sequence[tuple[npt.NDArray[np.int64], Figure]], n_items: int) -> Figure:
    """The mean of figures that are each over some items (their indices) of ``n_items``, one figure.

    A figure that is undefined for all items is left out of the mean; one that a resample leaves undefined leaves the
    mean undefined there.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        defined = [entry for entry in figures if np.isfinite(entry[1](np.ones((1, len(entry[0])))))[0, 0]]

    def figure(weights: Floats) -> Floats:
        assert weights.shape[1] == n_items
        if not defined:
            return np.full((len(weights), 1), np.nan)
        mean: Floats = np.mean([one(weights[:, items]) for items, one in defined], axis=0)
        return mean

    return figure


def _item_sums(scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Per item: how many scores, their sum, the sum of their squares."""
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)
    return known.sum(1).astype(np.float64), filled.sum(1), (filled**2).sum(1)
