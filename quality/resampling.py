"""Confidence intervals that resample items: one figure, computed under many weightings of the items at once.

A figure is a function of item weights. Ones give the estimate, counts of a draw with replacement a resample, ones with
a group of items taken out the jackknife. Whatever is a function of weighted sums over items is thus resampled by one
matrix product. The intervals speak about other items, seen by the same raters.

Bootstrap: Efron 1979; the bias-corrected and accelerated interval: Efron 1987; its constants from the jackknife over
groups of items: Efron and Tibshirani 1993; its reach as wide as Student's t and the divisor n - 1 would make that of a
mean, without which few items promise too much: Hesterberg 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
#: From weights of the items, shape (weightings, items), to figures, shape (weightings, figures); NaN where undefined.
Figure = Callable[[Floats], Floats]

#: Confidence of every interval.
LEVEL = 0.95
#: Where more than this share of the resamples leave a figure undefined, no interval is given.
MOST_UNDEFINED = 0.05

NO_VARIANCE = "no variance"
ONE_ITEM = "only one item"
NOT_RESAMPLED = "no resamples asked for"
ALL_ALIKE = "every resample gives the same figure"
OFTEN_UNDEFINED = "undefined in many resamples"

_TINY = 1e-12
_CELLS = 1 << 21
_JACKKNIFE_GROUPS = 400


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    ``reason`` says why the figure, or only its interval, is None; it is None when nothing is missing.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n_items: int
    reason: str | None


def missing(n_items: int, reason: str) -> Estimate:
    """No figure, for a reason."""
    return Estimate(None, None, None, n_items, reason)


def estimates(figure: Figure, n_items: int, *, resamples: int = 1000, seed: int = 0) -> list[Estimate]:
    """The figures over ``n_items`` items, each with its interval.

    Equal seeds draw equal items for equal ``n_items``, so that figures are compared on the same draws. An undefined
    figure is given as None with the reason :data:`NO_VARIANCE`.
    """
    if n_items < 1:
        raise ValueError("a figure needs an item")
    with np.errstate(divide="ignore", invalid="ignore"):
        points = figure(np.ones((1, n_items)))[0]
        drawn = np.vstack([points[None][:0], *(figure(counts) for counts in _draws(n_items, resamples, seed))])
        left_out = np.vstack([points[None][:0], *(figure(kept) for kept in _jackknife(n_items, resamples))])
    return [
        _estimate(float(point), drawn[:, at], left_out[:, at], n_items, resamples) for at, point in enumerate(points)
    ]


def weighted_mean(values: Floats, weights: Floats | None = None) -> Figure:
    """The mean of ``values`` (items,), one figure; weighted by ``weights`` (items,) where given."""
    base = np.ones(len(values)) if weights is None else weights
    rows = np.column_stack([base, base * values])

    def figure(weighting: Floats) -> Floats:
        sums = weighting @ rows
        return ratio(sums[:, 1], sums[:, 0])[:, None]

    return figure


def ratio(numerator: Floats, denominator: Floats, scale: Floats | float = 1.0) -> Floats:
    """Their quotient; NaN where the denominator is not above rounding error of sums of size ``scale``."""
    enough = denominator > _TINY * np.maximum(np.abs(scale), 1.0)
    return np.where(enough, numerator / np.where(enough, denominator, 1.0), np.nan)


def _draws(n_items: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each item is drawn, (resamples, items), a block at a time."""
    generator = np.random.default_rng(seed)
    for block in _blocks(resamples, n_items):
        cells = generator.integers(n_items, size=(len(block), n_items)) + np.arange(len(block))[:, None] * n_items
        counts = np.bincount(cells.ravel(), minlength=len(block) * n_items)
        yield counts.reshape(len(block), n_items).astype(np.float64)


def _jackknife(n_items: int, resamples: int) -> Iterator[Floats]:
    """Ones with one group of items zeroed, (groups, items), a block at a time.

    Leaving out groups rather than single items leaves the acceleration as it is, in expectation, and the cost linear.
    """
    groups = min(n_items, _JACKKNIFE_GROUPS) if resamples and n_items > 1 else 0
    member = np.arange(n_items) % max(groups, 1)
    for block in _blocks(groups, n_items):
        yield (member[None] != np.asarray(block)[:, None]).astype(np.float64)


def _blocks(rows: int, width: int) -> Iterator[range]:
    size = max(1, _CELLS // max(width, 1))
    for start in range(0, rows, size):
        yield range(start, min(rows, start + size))


def _estimate(point: float, drawn: Floats, left_out: Floats, n_items: int, resamples: int) -> Estimate:
    if not np.isfinite(point):
        return missing(n_items, NO_VARIANCE)
    known = drawn[np.isfinite(drawn)]
    if resamples < 1:
        return Estimate(point, None, None, n_items, NOT_RESAMPLED)
    if len(known) < (1 - MOST_UNDEFINED) * len(drawn):
        return Estimate(point, None, None, n_items, OFTEN_UNDEFINED)
    if np.ptp(known) <= _TINY:
        return Estimate(point, None, None, n_items, ALL_ALIKE)
    low, high = np.quantile(known, _shares(point, known, left_out[np.isfinite(left_out)], n_items))
    return Estimate(point, float(low), float(high), n_items, None)


def _shares(point: float, drawn: Floats, left_out: Floats, n_items: int) -> tuple[float, float]:
    """Between which shares of the resamples the interval lies; plain percentiles where all lie on one side."""
    from scipy.special import ndtr, ndtri, stdtrit

    reach = float(stdtrit(n_items - 1, (1 + LEVEL) / 2)) * (n_items / (n_items - 1)) ** 0.5
    below = float(np.mean(drawn < point - _TINY) + np.mean(np.abs(drawn - point) <= _TINY) / 2)
    if not 0 < below < 1:
        return float(ndtr(-reach)), float(ndtr(reach))
    deviations = left_out.mean() - left_out if len(left_out) else np.zeros(1)
    squares = float((deviations**2).sum())
    acceleration = float((deviations**3).sum()) / (6 * squares**1.5) if squares > _TINY**2 else 0.0
    shift = ndtri(below)
    low, high = (ndtr(shift + (shift + z) / (1 - acceleration * (shift + z))) for z in (-reach, reach))
    return float(low), float(high)
