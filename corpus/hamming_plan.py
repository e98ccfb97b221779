"""How many random-bit tables a Hamming join needs, and how long their keys should be.

A table files every 256-bit hash under ``key_bits`` sampled bit positions; two hashes meet in it when they agree on all
of them. Each round shuffles the 256 positions and cuts them into disjoint groups, one table a group, so for *any* fixed
set of differing bits the chance of never meeting is a plain count of subsets, whatever the data look like. The data
decide only the cost: skewed hashes meet too often, and the planner then buys longer keys with more tables. The bound
is over the seed, so it holds for data that were not made by somebody who knew it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import comb, log

import numpy as np
import numpy.typing as npt

HASH_BITS = 256

KEY_BITS = range(8, 97)
SAMPLED_PAIRS = 1 << 18

# Nanoseconds on one core, measured with numpy on blocks that fit the cache. Constants, so that plans never vary.
_FILE_ROW = 60.0
_PROBE = 40.0
_CANDIDATE = 100.0
_COMPARE = 6.0

#: At most this many (row, query) comparisons are simply all made: about a second, and recall is 1.
EXHAUSTIVE_COMPARISONS = 300_000_000


@dataclass(frozen=True)
class Plan:
    """``tables`` tables of ``key_bits`` sampled bits; no tables at all means that every pair is compared.

    ``miss_bound``: the largest chance that a pair at the asked distance, or nearer, is not found.
    """

    key_bits: int
    tables: int
    miss_bound: float


EXHAUSTIVE = Plan(key_bits=0, tables=0, miss_bound=0.0)


@cache
def _round_miss(key_bits: int, groups: int, distance: int) -> float:
    """Chance that each of ``groups`` disjoint groups holds one of the differing bits, by inclusion and exclusion."""
    ways = sum((-1) ** j * comb(groups, j) * comb(HASH_BITS - j * key_bits, distance) for j in range(groups + 1))
    return float(Fraction(ways, comb(HASH_BITS, distance)))


def miss_probability(key_bits: int, tables: int, distance: int) -> float:
    """Chance that two hashes ``distance`` bits apart share no key in ``tables`` tables; never falls with distance."""
    groups = HASH_BITS // key_bits
    rounds, rest = divmod(tables, groups)
    return _round_miss(key_bits, groups, distance) ** rounds * _round_miss(key_bits, rest, distance)


def tables_needed(key_bits: int, distance: int, miss: float) -> int:
    """The fewest tables whose :func:`miss_probability` at ``distance`` is at most ``miss``."""
    groups = HASH_BITS // key_bits
    per_round = _round_miss(key_bits, groups, distance)
    tables = groups * max(0, int(log(miss) / log(per_round)) - 1) if 0.0 < per_round < 1.0 else 0
    while miss_probability(key_bits, tables, distance) > miss:
        tables += 1
    return tables


def meeting_rate(key_bits: int, histogram: npt.NDArray[np.int64]) -> float:
    """Expected share of pairs that meet in one table, for ``histogram[d]`` sampled pairs at distance d."""
    total = comb(HASH_BITS, key_bits)
    met = sum(int(histogram[d]) * (comb(HASH_BITS - d, key_bits) / total) for d in np.flatnonzero(histogram).tolist())
    return met / max(1, int(histogram.sum()))


def sampled_distances(
    database: npt.NDArray[np.uint64], queries: npt.NDArray[np.uint64], seed: int
) -> npt.NDArray[np.int64]:
    """Histogram over 0..256 of the distance between random columns of ``database[4, M]`` and ``queries[4, Q]``."""
    draw = np.random.default_rng(seed)
    row = draw.integers(database.shape[1], size=SAMPLED_PAIRS)
    query = draw.integers(queries.shape[1], size=SAMPLED_PAIRS)
    distance = np.zeros(SAMPLED_PAIRS, np.int64)
    for word in range(4):
        distance += np.bitwise_count(database[word][row] ^ queries[word][query])
    return np.bincount(distance, minlength=HASH_BITS + 1)


def plan_join(
    database: npt.NDArray[np.uint64],
    queries: npt.NDArray[np.uint64],
    max_distance: int,
    miss: float,
    seed: int,
) -> Plan:
    """The cheapest plan that finds each pair within ``max_distance`` bits with a chance of at least ``1 - miss``.

    ``database[4, M]`` and ``queries[4, Q]`` hold the hashes as four 64-bit words each. Only the cost rests on the
    sample of distances drawn here; the bound does not.
    """
    rows, probes = database.shape[1], queries.shape[1]
    comparisons = rows * probes
    if comparisons <= EXHAUSTIVE_COMPARISONS:
        return EXHAUSTIVE
    histogram = sampled_distances(database, queries, seed)

    def priced() -> Iterator[tuple[float, Plan]]:
        yield comparisons * _COMPARE, EXHAUSTIVE
        for key_bits in KEY_BITS:
            tables = tables_needed(key_bits, max_distance, miss)
            table = rows * _FILE_ROW + probes * _PROBE + comparisons * meeting_rate(key_bits, histogram) * _CANDIDATE
            yield tables * table, Plan(key_bits, tables, miss_probability(key_bits, tables, max_distance))

    return min(priced(), key=lambda price: price[0])[1]
