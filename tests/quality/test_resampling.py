"""Intervals: what they are of known samples, and what is said where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap, norm, t

from quality import resampling
from quality.resampling import ALL_ALIKE, NO_VARIANCE, NOT_RESAMPLED, OFTEN_UNDEFINED, estimates, weighted_mean


@pytest.mark.parametrize("n", [12, 60])
def test_the_interval_of_a_skewed_mean_is_the_one_scipy_gives_at_the_level_that_few_items_need(n: int) -> None:
    values = np.random.default_rng(5).exponential(size=n)
    level = 1 - 2 * norm.sf(t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1)))
    ours = estimates(weighted_mean(values), n, resamples=20_000)[0]
    theirs = bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", confidence_level=level, rng=np.random.default_rng(1)
    )
    assert ours.estimate == pytest.approx(values.mean())
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.02 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.02 * width)


def test_equal_seeds_draw_equal_intervals_and_others_do_not() -> None:
    values = np.arange(30.0) ** 2
    first, again, other = (estimates(weighted_mean(values), 30, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first.low != other.low


def test_blocks_and_groups_change_nothing_much(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).exponential(size=500)
    whole = estimates(weighted_mean(values), 500)[0]
    monkeypatch.setattr(resampling, "_CELLS", 1 << 14)
    in_blocks = estimates(weighted_mean(values), 500)[0]
    assert (in_blocks.low, in_blocks.high) == (pytest.approx(whole.low), pytest.approx(whole.high))
    monkeypatch.setattr(resampling, "_JACKKNIFE_GROUPS", 500)
    single = estimates(weighted_mean(values), 500)[0]
    assert single.low == pytest.approx(whole.low, abs=0.01)
    assert single.high == pytest.approx(whole.high, abs=0.01)


def test_intervals_of_a_handful_of_scores_hold_the_mean_as_often_as_they_say() -> None:
    """Whole points near the top of the scale; resampling alone would hold it in 88 of 100."""
    generator, rounds = np.random.default_rng(3), 1000
    many = np.clip(np.rint(generator.normal(3.9, 1.1, size=200_000)), 0, 5)
    truth, held = many.mean(), 0
    for at in range(rounds):
        told = estimates(weighted_mean(many[8 * at : 8 * at + 8]), 8, seed=at)[0]
        held += told.low is None or (told.low <= truth <= (told.high or 0.0))
    assert 0.925 * rounds <= held <= 0.985 * rounds


def test_weights_make_an_item_stand_for_many() -> None:
    values, weights = np.array([1.0, 4.0]), np.array([3.0, 1.0])
    assert estimates(weighted_mean(values, weights), 2, resamples=0)[0].estimate == pytest.approx(7 / 4)


def test_where_there_is_no_interval_the_reason_is_given() -> None:
    alike = estimates(weighted_mean(np.full(9, 2.5)), 9)[0]
    assert (alike.estimate, alike.low, alike.high, alike.reason) == (2.5, None, None, ALL_ALIKE)
    unasked = estimates(weighted_mean(np.arange(9.0)), 9, resamples=0)[0]
    assert (unasked.estimate, unasked.low, unasked.reason) == (4.0, None, NOT_RESAMPLED)
    nothing = estimates(lambda weights: np.full((len(weights), 1), np.nan), 9)[0]
    assert (nothing.estimate, nothing.low, nothing.reason) == (None, None, NO_VARIANCE)
    frail = estimates(lambda weights: np.where(weights[:, :1] > 0, 1.0, np.nan), 9)[0]
    assert (frail.estimate, frail.low, frail.reason) == (1.0, None, OFTEN_UNDEFINED)


def test_a_figure_over_no_items_is_refused() -> None:
    with pytest.raises(ValueError, match="needs an item"):
        estimates(weighted_mean(np.zeros(0)), 0)
