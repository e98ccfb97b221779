"""Drift: planted slopes come out within their intervals, steady raters show none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from quality.rater_drift import COLUMNS, STANDING, TOO_FEW, drift
from quality.resampling import NO_VARIANCE
from tests.quality.rating_frames import Array, covers, number, one, panel, ratings


def in_sequence(scores: Array, orders: Array) -> pl.DataFrame:
    """Ratings with each rater's place of each item, both (items, raters)."""
    return ratings(scores).with_columns(sequence=pl.Series(orders.ravel()))


def test_a_planted_line_is_found_exactly() -> None:
    level = np.array([[3.0], [1.0], [4.0], [2.0], [5.0]])
    places = np.array([[4.0], [2.0], [0.0], [1.0], [3.0]])
    wobble = np.array([[0.1], [-0.1], [0.0], [0.1], [-0.1]])
    frame = in_sequence(level + 0.02 * places + wobble, places * 7)
    slope = np.polyfit(places[:, 0] / 100, (0.02 * places + wobble)[:, 0], 1)[0]
    found = one(drift(frame, ratings(level).drop("rater")), rater="r0")
    assert found["estimate"] == pytest.approx(slope)
    assert found["measure"] == "gold_drift"
    assert number(found, "low") < slope < number(found, "high")
    assert 0 < number(found, "p_value") < 1
    assert found["n_items"] == 5


def test_against_the_others_one_drifting_rater_shows() -> None:
    generator, slope, rounds, n = np.random.default_rng(8), 0.2, 40, 300
    held = dict.fromkeys(("gold", "consensus", "steady"), 0)
    small = 0
    for _ in range(rounds):
        orders = np.column_stack([generator.permutation(n) for _ in range(3)]).astype(float)
        levels = generator.normal(3, 1, size=(n, 1))
        scores = levels + generator.normal(0, 0.6, size=(n, 3))
        scores[:, 0] += slope * orders[:, 0] / 100
        frame = in_sequence(scores, orders)
        against_gold, against_others = drift(frame, ratings(levels).drop("rater")), drift(frame)
        held["gold"] += covers(one(against_gold, rater="r0"), slope)
        held["consensus"] += covers(one(against_others, rater="r0"), slope)
        held["steady"] += covers(one(against_gold, rater="r1"), 0)
        small += number(one(against_gold, rater="r0"), "p_value") < 0.01
    assert all(count >= 35 for count in held.values()), held
    assert small >= 38


def test_places_count_every_rating_and_only_first_occasions_enter() -> None:
    level = np.arange(6.0)[:, None]
    first = in_sequence(level + np.array([[0.0], [1], [0], [1], [3], [2]]), np.arange(0.0, 12, 2)[:, None])
    again = in_sequence(level + 4, np.arange(1.0, 13, 2)[:, None])
    both = pl.concat([first.with_columns(occasion=pl.lit("first")), again.with_columns(occasion=pl.lit("repeat"))])
    truth = ratings(level).drop("rater")
    alone, among = one(drift(first, truth)), one(drift(both, truth))
    assert number(among) == pytest.approx(number(alone) / 2)
    assert among["n_items"] == 6


def test_what_cannot_be_told_is_null_with_its_reason() -> None:
    two = in_sequence(np.array([[1.0, 2.0], [2.0, 2.0]]), np.array([[0.0, 0], [1, 1]]))
    assert set(drift(two)["reason"]) == {TOO_FEW}
    alone = in_sequence(np.arange(5.0)[:, None], np.arange(5.0)[:, None])
    assert (one(drift(alone))["n_items"], one(drift(alone))["reason"]) == (0, TOO_FEW)
    standing = in_sequence(panel(np.random.default_rng(0), 5, (0, 0), 1, 1), np.zeros((5, 2)))
    assert set(drift(standing)["reason"]) == {STANDING}
    straight = one(drift(in_sequence(np.full((5, 2), 3.0), np.arange(10.0).reshape(5, 2))), rater="r0")
    assert (straight["estimate"], straight["low"], straight["reason"]) == (0, None, NO_VARIANCE)
    empty = drift(two.clear())
    assert empty.is_empty()
    assert empty.schema == COLUMNS
