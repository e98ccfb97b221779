"""Raters one by one: known severities, errors and repeats come out, within the intervals, and gaps say why."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from quality.rater_profile import (
    COLUMNS,
    NO_GOLD,
    NO_OTHERS,
    NO_REPEAT,
    NONE_PLANTED,
    automation_bias,
    gold_errors,
    retest,
    severity,
)
from quality.resampling import ALL_ALIKE, NO_VARIANCE, ONE_ITEM
from schemas.tables import DIMENSIONS
from tests.quality.rating_frames import SHROUT_FLEISS, Array, covers, number, one, panel, ratings


def gold(scores: Array, dimension: str = "accuracy") -> pl.DataFrame:
    return ratings(scores[:, None], dimension=dimension).drop("rater")


def test_bias_and_spread_are_against_the_others() -> None:
    found = severity(ratings(SHROUT_FLEISS))
    others = SHROUT_FLEISS[:, 1:]
    assert number(one(found, rater="r0", measure="bias")) == pytest.approx(
        (SHROUT_FLEISS[:, 0] - others.mean(1)).mean()
    )
    spread = SHROUT_FLEISS[:, 0].std(ddof=1) / np.sqrt(others.var(axis=0, ddof=1).mean())
    assert number(one(found, rater="r0", measure="spread")) == pytest.approx(spread)
    ranks = [number(one(found, rater=f"r{j}", measure="severity_rank")) for j in range(4)]
    assert ranks == [4, 1, 2, 3]
    assert found.schema == COLUMNS


def test_only_shared_items_enter_a_bias() -> None:
    scores = np.array([[1, 2, np.nan], [3, 5, np.nan], [5, np.nan, np.nan], [np.nan, np.nan, 4]])
    found = severity(ratings(scores))
    assert number(one(found, rater="r0", measure="bias")) == -1.5
    assert one(found, rater="r0", measure="bias")["n_items"] == 2
    for measure in ("bias", "spread", "severity_rank"):
        alone = one(found, rater="r2", measure=measure)
        assert (alone["estimate"], alone["n_items"], alone["reason"]) == (None, 0, NO_OTHERS)


def test_equal_biases_share_a_rank_and_one_item_tells_no_spread() -> None:
    found = severity(ratings(np.array([[2.0, 2.0, 5.0]])))
    assert [number(one(found, rater=f"r{j}", measure="severity_rank")) for j in range(3)] == [1, 1, 3]
    assert one(found, rater="r0", measure="bias")["reason"] == ALL_ALIKE
    assert one(found, rater="r0", measure="spread")["reason"] == ONE_ITEM
    flat = severity(ratings(np.column_stack([np.arange(5.0), np.full(5, 2.0)])))
    assert one(flat, rater="r0", measure="spread")["reason"] == NO_VARIANCE
    assert number(one(flat, rater="r1", measure="spread")) == 0


def test_a_known_severity_is_recovered() -> None:
    offsets, generator, rounds = np.array([-0.5, 0.0, 0.4]), np.random.default_rng(4), 40
    held = wider = 0
    for at in range(rounds):
        scores = panel(generator, 300, offsets, 1.0, 0.7)
        scores[:, 2] = 1.5 * (scores[:, 2] - 3.4) + 3.4
        scores[generator.random(scores.shape) < 0.2] = np.nan
        found = severity(ratings(scores), resamples=300, seed=at)
        for j in range(3):
            others = np.delete(offsets, j).mean()
            held += covers(one(found, rater=f"r{j}", measure="bias"), offsets[j] - others)
        wider += covers(one(found, rater="r2", measure="spread"), 1.5)
    assert 3 * rounds * 0.89 <= held < 3 * rounds
    assert wider >= rounds * 0.85


def test_errors_are_against_gold_on_gold_items_only() -> None:
    truth = np.array([3.0, 4.0, 1.0])
    scores = np.array([[3, 5], [5, np.nan], [0, np.nan], [5, 0]], dtype=float)
    found = gold_errors(ratings(scores, ["ann", "bob"]), gold(truth))
    assert number(one(found, rater="ann", measure="gold_bias")) == 0
    assert number(one(found, rater="ann", measure="gold_mae")) == pytest.approx(2 / 3)
    assert one(found, rater="ann", measure="gold_mae")["n_items"] == 3
    assert number(one(found, rater="bob", measure="gold_bias")) == 2
    none = gold_errors(ratings(scores, ["ann", "bob"]), gold(truth).clear())
    assert set(none["reason"]) == {NO_GOLD}
    assert none["rater"].unique().len() == 2


def test_the_mean_against_gold_is_over_the_dimensions_of_both() -> None:
    level = np.array([[1.0], [2.0], [3.0]])
    scored = pl.concat([ratings(level + at, dimension=name) for at, name in enumerate(DIMENSIONS)])
    truth = pl.concat([gold(level[:, 0], dimension=name) for name in DIMENSIONS[1:3]])
    found = gold_errors(scored, truth)
    assert number(one(found, dimension="mean", measure="gold_bias")) == 1.5
    assert one(found, dimension=DIMENSIONS[0], measure="gold_bias")["reason"] == NO_GOLD


def test_repeats_are_compared_with_the_first_occasion() -> None:
    first = ratings(np.array([[1.0], [2.0], [4.0], [5.0]])).with_columns(occasion=pl.lit("first"))
    again = ratings(np.array([[1.0], [3.0], [4.0]])).with_columns(occasion=pl.lit("repeat"))
    third = ratings(np.array([[0.0]])).with_columns(occasion=pl.lit("third"))
    found = retest(pl.concat([third, again, first]))
    a, b = np.array([1, 2, 4.0]), np.array([1, 3, 4.0])
    kappa = 1 - ((a - b) ** 2).mean() / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    assert number(one(found, measure="retest_kappa")) == pytest.approx(kappa)
    assert number(one(found, measure="retest_mad")) == pytest.approx(1 / 3)
    assert number(one(found, measure="retest_shift")) == pytest.approx(1 / 3)
    assert one(found, measure="retest_mad")["n_items"] == 3
    assert set(retest(first)["reason"]) == {NO_REPEAT}
    single = retest(pl.concat([first, again.head(1)]))
    assert one(single, measure="retest_kappa")["reason"] == ONE_ITEM
    assert number(one(single, measure="retest_mad")) == 0


def test_trust_in_planted_faults_is_a_share_with_wilsons_limits() -> None:
    rows = [(f"i{i}", "ann", "certify" if i in (0, 1, 10, 11, 12) else "reject", i < 8) for i in range(13)]
    rows += [("i0", "bob", "certify", True)]
    frame = pl.DataFrame(rows, schema=["item", "rater", "decision", "planted"], orient="row")
    repeated = pl.concat(
        [
            frame.with_columns(occasion=pl.lit(1)),
            frame.filter(planted=True).with_columns(occasion=pl.lit(2), decision=pl.lit("certify")),
        ]
    )
    for given in (frame, repeated):
        found = automation_bias(given)
        row = one(found, rater="ann", measure="planted_certified")
        limits = binomtest(2, 8).proportion_ci(method="wilson")
        assert (row["estimate"], row["n_items"]) == (0.25, 8)
        assert (row["low"], row["high"]) == (pytest.approx(limits.low), pytest.approx(limits.high))
        assert number(one(found, rater="ann", measure="sound_certified")) == 3 / 5
        assert one(found, rater="bob", measure="sound_certified")["reason"] == NONE_PLANTED
        assert number(one(found, rater="bob", measure="planted_certified")) == 1


def test_no_ratings_are_no_rows() -> None:
    none = ratings(np.zeros((0, 2))).with_columns(
        occasion=pl.lit(1), decision=pl.lit("revise"), planted=pl.lit(value=True)
    )
    for found in (severity(none), gold_errors(none, none.drop("rater")), retest(none), automation_bias(none)):
        assert found.is_empty()
        assert found.schema == COLUMNS
