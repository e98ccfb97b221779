"""Diversity figures: exact on small cases, and true to their bounds on any."""

from __future__ import annotations

import json
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality.diversity import count_limitations, repeated_limitations, sibling_distances, spread


def test_the_same_text_is_at_no_distance_and_a_foreign_one_at_one() -> None:
    assert sibling_distances(["a b c d", "A b, c d."]) == [0.0, 0.0]
    assert sibling_distances(["a b c d", "e f g h"]) == [1.0, 1.0]
    assert sibling_distances(["a b c d"]) == [None]
    assert sibling_distances([]) == []


def test_distance_is_one_less_the_share_of_common_runs() -> None:
    first, second = sibling_distances(["one two three four", "one two three five"])
    assert first == second == pytest.approx(1 - 1 / 3)


@given(st.lists(st.text("ab ", max_size=30), min_size=2, max_size=5))
def test_distances_lie_between_nought_and_one(texts: list[str]) -> None:
    assert all(0 <= value <= 1 for value in sibling_distances(texts) if value is not None)


def test_limitations_are_counted_once_a_narrative() -> None:
    rows = [["x", "x", "y"], ["x"], ["z"], []]
    told = pl.Series("narrative_json", [json.dumps({"limitations": texts}) for texts in rows])
    assert count_limitations(told) == {"x": 2, "y": 1, "z": 1}
    assert count_limitations(told.clear()) == {}


def test_what_most_narratives_say_comes_first() -> None:
    counts = Counter({"z": 1, "y": 1, "x": 2})
    assert repeated_limitations(counts, 4) == [("x", 0.5), ("y", 0.25), ("z", 0.25)]
    assert repeated_limitations(counts, 4, most=1) == [("x", 0.5)]
    assert repeated_limitations(Counter(), 0) == []


def test_the_spread_is_mean_and_quartiles_of_what_is_known() -> None:
    assert list(spread(pl.Series([0.0, 0.5, None, 1.0]))) == pytest.approx([0.5, 0.5, 0.5, 1.0])
    assert list(spread(pl.Series([None], dtype=pl.Float64))) == []
