"""The bound on missed pairs is the true chance, and the planner pays for skew with longer keys, not with candidates."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np
import pytest

from corpus import hamming_plan
from corpus.hamming_plan import EXHAUSTIVE, Plan, meeting_rate, miss_probability, plan_join, tables_needed
from corpus.hamming_search import _masks


@pytest.mark.parametrize(("key_bits", "tables", "distance"), [(16, 16, 24), (21, 12, 24), (24, 25, 24), (40, 30, 12)])
@pytest.mark.parametrize("contiguous", [False, True])
def test_the_bound_is_the_chance_of_meeting_in_none_of_the_tables(
    key_bits: int, tables: int, distance: int, contiguous: bool
) -> None:
    draw = np.random.default_rng(3)
    fixed = np.arange(distance) if contiguous else draw.choice(256, distance, replace=False)
    pattern = [sum(1 << int(p) % 64 for p in fixed if p // 64 == word) for word in range(4)]
    rounds = 1500
    missed = 0
    for seed in range(rounds):
        masks = _masks(Plan(key_bits, tables, 0.0), seed)
        missed += all(any(m & p for m, p in zip(mask, pattern, strict=True)) for mask in masks)
    chance = miss_probability(key_bits, tables, distance)
    assert 0.001 < chance < 0.999
    assert missed / rounds == pytest.approx(chance, abs=4 * sqrt(chance * (1 - chance) / rounds))


def test_the_bound_counts_subsets_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamming_plan, "HASH_BITS", 10)
    hamming_plan._round_miss.cache_clear()
    groups = [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}]
    patterns = [set(chosen) for chosen in combinations(range(10), 4)]
    missed = sum(all(group & pattern for group in groups) for pattern in patterns)
    assert miss_probability(3, 3, 4) == pytest.approx(missed / len(patterns))
    hamming_plan._round_miss.cache_clear()


@pytest.mark.parametrize("distance", [1, 8, 24, 64])
@pytest.mark.parametrize("key_bits", [8, 16, 23, 30])
def test_tables_needed_is_the_fewest(key_bits: int, distance: int) -> None:
    tables = tables_needed(key_bits, distance, 1e-4)
    assert miss_probability(key_bits, tables, distance) <= 1e-4 < miss_probability(key_bits, tables - 1, distance)


def test_nearer_pairs_are_missed_less() -> None:
    chances = [miss_probability(22, 40, distance) for distance in range(65)]
    assert chances == sorted(chances)


def test_more_disjoint_groups_than_differing_bits_miss_nothing() -> None:
    assert miss_probability(10, 25, 24) == 0.0
    assert tables_needed(10, 24, 1e-9) <= 25


def test_masks_of_a_round_are_disjoint_and_have_the_asked_bits() -> None:
    masks = _masks(Plan(21, 24, 0.0), 1)
    assert all(sum(word.bit_count() for word in mask) == 21 for mask in masks)
    for first in (0, 12):
        for one, other in combinations(masks[first : first + 12], 2):
            assert all(a & b == 0 for a, b in zip(one, other, strict=True))
    assert masks[:12] != masks[12:]


def words(hashes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.packbits(hashes, axis=1).view(np.uint64).T)


def test_small_joins_are_exhaustive_and_skew_buys_longer_keys() -> None:
    draw = np.random.default_rng(5)
    uniform = words(draw.random((20_000, 256)) < 0.5)
    skewed = words(draw.random((20_000, 256)) < 0.25)
    assert plan_join(uniform[:, :1000], uniform, 24, 1e-6, 1) == EXHAUSTIVE
    plain, longer = plan_join(uniform, uniform, 24, 1e-6, 1), plan_join(skewed, skewed, 24, 1e-6, 1)
    assert 0 < plain.key_bits < longer.key_bits
    assert plain.tables < longer.tables
    for plan in (plain, longer):
        assert plan.miss_bound == miss_probability(plan.key_bits, plan.tables, 24) <= 1e-6


def test_comparing_everything_wins_where_tables_cannot() -> None:
    """Half of all pairs lie nearer than 24 bits, so no key tells them apart."""
    draw = np.random.default_rng(5)
    crowded = words(draw.random((20_000, 256)) < 0.05)
    assert plan_join(crowded, crowded, 64, 1e-6, 1) == EXHAUSTIVE


def test_meeting_rate_is_the_share_that_meets() -> None:
    histogram = np.zeros(257, np.int64)
    histogram[[0, 256]] = 1, 3
    assert meeting_rate(20, histogram) == 0.25
