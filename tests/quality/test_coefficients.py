"""Coefficients against published examples, and against their definitions written out pair by pair."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quality.coefficients import (
    agreement_shares,
    alpha_interval,
    alpha_nominal,
    alpha_ordinal,
    icc_limits,
    icc_one_way,
    icc_two_way,
    nominal_kappa,
    quadratic_kappa,
)
from quality.resampling import Figure
from tests.quality.rating_frames import KRIPPENDORFF, SHROUT_FLEISS, Array

FULL = arrays(np.float64, st.tuples(st.integers(3, 9), st.integers(2, 4)), elements=st.integers(0, 5).map(float))
GAPPED = arrays(
    np.float64,
    st.tuples(st.integers(3, 9), st.integers(2, 5)),
    elements=st.one_of(st.integers(0, 5).map(float), st.just(np.nan)),
)


def at(figure: Figure, weights: npt.ArrayLike) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return figure(np.asarray(weights, dtype=float)[None])[0]


def of(figure: Figure, scores: Array) -> Array:
    return at(figure, np.ones(len(scores)))


def pairable(scores: Array) -> Array:
    return scores[(~np.isnan(scores)).sum(1) > 1]


def test_intraclass_correlations_of_the_published_table() -> None:
    single, average, consistent = of(icc_two_way(SHROUT_FLEISS), SHROUT_FLEISS)
    assert (round(single, 2), round(average, 2), round(consistent, 2)) == (0.29, 0.62, 0.71)
    assert round(of(icc_one_way(SHROUT_FLEISS), SHROUT_FLEISS)[0], 2) == 0.17


def test_limits_for_other_raters_of_the_published_table() -> None:
    limits = icc_limits(SHROUT_FLEISS)
    assert limits is not None
    assert [round(limit, 3) for pair in limits for limit in pair] == [0.019, 0.761, 0.071, 0.927]
    assert icc_limits(np.array([[1.0, 1.0], [2.0, 2.0]])) is None


def test_alphas_of_the_published_table() -> None:
    scores = pairable(KRIPPENDORFF)
    found = [of(alpha(scores), scores)[0] for alpha in (alpha_nominal, alpha_ordinal, alpha_interval)]
    assert [round(value, 3) for value in found] == [0.743, 0.815, 0.849]


@given(GAPPED)
def test_alphas_are_one_less_observed_over_expected_disagreement(scores: Array) -> None:
    scores = pairable(scores)
    assume(len(scores) > 1)
    known = scores[~np.isnan(scores)]
    assume(np.ptp(known) > 0)
    held = {value: float((known == value).sum()) for value in known}

    def ordinal(a: float, b: float) -> float:
        between = sum(n for value, n in held.items() if min(a, b) <= value <= max(a, b))
        return 0.0 if a == b else (between - (held[a] + held[b]) / 2) ** 2

    for alpha, distance in (
        (alpha_nominal, lambda a, b: float(a != b)),
        (alpha_interval, lambda a, b: (a - b) ** 2),
        (alpha_ordinal, ordinal),
    ):
        rows = [row[~np.isnan(row)] for row in scores]
        observed = sum(sum(distance(a, b) for a, b in permutations(row, 2)) / (len(row) - 1) for row in rows)
        expected = sum(distance(a, b) for a, b in permutations(known, 2)) / (len(known) - 1)
        assert of(alpha(scores), scores)[0] == pytest.approx(1 - observed / expected, abs=1e-9)


@given(FULL)
def test_kappas_are_those_of_the_table_of_both_raters(scores: Array) -> None:
    first, second = scores[:, 0], scores[:, 1]
    table = np.zeros((6, 6))
    for a, b in zip(first, second, strict=True):
        table[int(a), int(b)] += 1 / len(scores)
    chance = table.sum(1)[:, None] * table.sum(0)
    apart = np.subtract.outer(np.arange(6.0), np.arange(6.0))
    for kappa, cost in ((quadratic_kappa, apart**2), (nominal_kappa, (apart != 0).astype(float))):
        found = of(kappa(first, second), scores)[0]
        if (cost * chance).sum() < 1e-9:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(1 - (cost * table).sum() / (cost * chance).sum(), abs=1e-9)


@given(GAPPED)
def test_shares_count_pairs(scores: Array) -> None:
    scores = pairable(scores)
    assume(len(scores) > 0)
    rows = [row[~np.isnan(row)] for row in scores]
    gaps = [abs(a - b) for row in rows for a, b in permutations(row, 2)]
    expected = [np.mean([gap <= most for gap in gaps]) for most in (0, 1)]
    assert of(agreement_shares(scores, (0, 1)), scores) == pytest.approx(expected)


@given(GAPPED, st.data())
def test_a_weight_is_so_many_copies_of_the_item(gapped: Array, data: st.DataObject) -> None:
    scores = pairable(gapped)
    assume(len(scores) > 1)
    whole = np.where(np.isnan(scores), 2.0, scores)
    counts = data.draw(arrays(np.int64, len(scores), elements=st.integers(0, 3)))
    assume(counts.sum() > 1)
    copied, copied_whole = np.repeat(scores, counts, axis=0), np.repeat(whole, counts, axis=0)
    for figure in (icc_one_way, alpha_interval, alpha_ordinal, alpha_nominal):
        assert at(figure(scores), counts) == pytest.approx(of(figure(copied), copied), abs=1e-7, nan_ok=True)
    assert at(icc_two_way(whole), counts) == pytest.approx(
        of(icc_two_way(copied_whole), copied_whole), abs=1e-7, nan_ok=True
    )
    for kappa in (quadratic_kappa, nominal_kappa):
        ours = at(kappa(whole[:, 0], whole[:, 1]), counts)
        theirs = of(kappa(copied_whole[:, 0], copied_whole[:, 1]), copied_whole)
        assert ours == pytest.approx(theirs, abs=1e-7, nan_ok=True)


@given(FULL)
def test_one_way_correlation_with_gaps_closed_is_the_plain_one(scores: Array) -> None:
    k = scores.shape[1]
    items = k * scores.mean(1).var(ddof=1)
    error = scores.var(axis=1, ddof=1).mean()
    found = of(icc_one_way(scores), scores)[0]
    if items + (k - 1) * error < 1e-9:
        assert np.isnan(found)
    else:
        assert found == pytest.approx((items - error) / (items + (k - 1) * error), abs=1e-9)
