"""All matches between two sets of 256-bit hashes, by tables of sampled bits or by comparing everything.

A table turns "agree on these bits" into one sorted array of 64-bit entries: the top of the key, which is also the
bucket, above the row number. Queries go through it in blocks that stay in the cache, and a bucket of any size is worked
through in blocks too, so memory does not depend on the data. A key is a sum of products of masked words: no bit is ever
moved, and agreeing on the sampled bits always gives the same key, so nothing the plan promises is lost on the way.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from corpus.hamming_plan import EXHAUSTIVE, HASH_BITS, Plan, plan_join

Words = npt.NDArray[np.uint64]
Index = npt.NDArray[np.int64]

MAX_DISTANCE = 64

#: Matches held before they are merged, and cut to a spanning forest if more than half of them are different.
MATCHES_HELD = 12_000_000

_QUERIES = 1 << 16  # probed at once: temporaries stay in the cache
_CANDIDATES = 1 << 20  # compared at once, however full one bucket is
_TILE = 1 << 16  # comparisons made at once when all are, of at most _TILE_ROWS rows
_TILE_ROWS = 2048
_MERGING = threading.Lock()  # a merge may take half a gigabyte, so threads take turns


@dataclass
class Found:
    """Matches as ``owner * rows + row``, unique and sorted once :meth:`merged`; bounded by cutting to a forest."""

    owners: int
    rows: int
    parts: list[Index] = field(default_factory=list)
    complete: bool = True
    candidates: int = 0
    held: int = 0

    def add(self, matches: Index) -> None:
        """Hold more matches; memory stays bounded."""
        self.parts.append(matches)
        self.held += len(matches)
        if self.held > MATCHES_HELD:
            self.merged()

    def take(self, other: Found) -> None:
        """Hold what another search of the same problem found."""
        self.add(other.merged())
        self.complete &= other.complete
        self.candidates += other.candidates

    def merged(self) -> Index:
        """Every match once, sorted; or, of more than half of ``MATCHES_HELD``, as many as still connect them."""
        with _MERGING:
            matches = np.unique(np.concatenate(self.parts)) if self.parts else np.empty(0, np.int64)
            if len(matches) > MATCHES_HELD // 2:
                matches, self.complete = _spanning_forest(matches, self.owners, self.rows), False
        self.parts, self.held = [matches], len(matches)
        return matches


def _spanning_forest(matches: Index, owners: int, rows: int) -> Index:
    """As few of the matches as connect the same owners and rows, sorted.

    Each node hooks onto its lowest lower neighbour, which makes no ring, and what hangs together becomes one node,
    until no match is left between two. The lowest: then two rounds at least halve the nodes that have neighbours.
    """
    kept: list[Index] = []
    high, low = np.divmod(matches, rows)
    high += rows
    while len(matches):
        parent: Index = np.arange(rows + owners)
        np.minimum.at(parent, high, low)
        lowest = np.flatnonzero(parent.take(high) == low)
        hook = np.full(rows + owners, -1)
        hook[high.take(lowest)] = lowest
        kept.append(matches[hook[hook >= 0]])
        while not np.array_equal(grand := parent[parent], parent):
            parent = grand
        ends = parent[high], parent[low]
        apart = np.flatnonzero(ends[0] != ends[1])
        matches, high, low = matches[apart], np.maximum(*ends)[apart], np.minimum(*ends)[apart]
    return np.sort(np.concatenate(kept))


def spread(starts: Index, counts: Index) -> tuple[Index, Index]:
    """For each i, ``counts[i]`` consecutive positions from ``starts[i]`` on: (i repeated, positions)."""
    item = np.repeat(np.arange(len(counts)), counts)
    return item, np.arange(len(item)) + (starts - (np.cumsum(counts) - counts)).take(item)


@dataclass(frozen=True)
class Problem:
    """Which ``queries[4, Q]`` lie within ``limit`` bits of which distinct ``rows[4, M]``.

    Query q belongs to owner ``q % owners``; ``own[m]`` is the owner whose match with row m says nothing, or -1.
    """

    rows: Words
    queries: Words
    owners: int
    own: Index
    limit: int

    def found(self) -> Found:
        """Nothing, yet."""
        return Found(self.owners, self.rows.shape[1])

    def matches(self, query: Index, row: Index) -> Index:
        """Matches as :class:`Found` holds them."""
        owner = query % self.owners
        told = np.flatnonzero(self.own[row] != owner)
        return owner[told] * self.rows.shape[1] + row[told]


def _keys(words: Words, mask: Sequence[int], factors: Words) -> Words:
    """64-bit keys of ``words[4, n]``, equal wherever the masked bits are; the top bits are the best mixed."""
    keys = np.zeros(words.shape[1], np.uint64)
    part = np.empty_like(keys)
    for word in range(4):
        if mask[word]:
            np.bitwise_and(words[word], np.uint64(mask[word]), out=part)
            np.multiply(part, factors[word], out=part)
            np.add(keys, part, out=keys)
    return keys


def _masks(plan: Plan, seed: int) -> list[list[int]]:
    """Four 64-bit masks for each table: every round cuts a fresh shuffle of the 256 positions into disjoint groups."""
    draw = np.random.default_rng(seed)
    groups = HASH_BITS // plan.key_bits
    masks: list[list[int]] = []
    while len(masks) < plan.tables:
        shuffled = draw.permutation(HASH_BITS)[: groups * plan.key_bits].reshape(groups, plan.key_bits)
        for positions in shuffled.tolist():
            masks.append([sum(1 << p % 64 for p in positions if p // 64 == word) for word in range(4)])
    return masks[: plan.tables]


@dataclass(frozen=True)
class _Table:
    """Rows sorted by key: ``entries`` hold the key's top bits above the row number's ``row_bits``.

    Bucket b is ``entries[starts[b]:starts[b + 1]]``; ``present`` is a bitmap over eight times as many finer buckets,
    which turns most queries away for one cheap look.
    """

    entries: Words
    starts: npt.NDArray[np.int32]
    present: npt.NDArray[np.uint8]
    row_bits: int

    def look_up(self, keys: Words) -> tuple[Index, Index, Index]:
        """(position in ``keys``, where its bucket starts, how many entries it has) for keys that may have a match."""
        fine = keys >> np.uint64(61 - self.row_bits)
        byte = self.present.take((fine >> np.uint64(3)).view(np.int64))
        maybe = np.flatnonzero((byte >> (fine.astype(np.uint8) & np.uint8(7))) & np.uint8(1))
        bucket = (fine.take(maybe) >> np.uint64(3)).view(np.int64)
        starts = self.starts.take(bucket).astype(np.int64)
        return maybe, starts, self.starts.take(bucket + 1) - starts


def _table(rows: Words, mask: Sequence[int], factors: Words) -> _Table:
    count = rows.shape[1]
    row_bits = max(1, (count - 1).bit_length())
    entries = np.empty(count, np.uint64)
    for at in range(0, count, _QUERIES):
        entries[at : at + _QUERIES] = _keys(rows[:, at : at + _QUERIES], mask, factors)
    entries &= ~np.uint64((1 << row_bits) - 1)
    entries |= np.arange(count, dtype=np.uint64)
    entries.sort()
    fine = entries >> np.uint64(61 - row_bits)
    flags = np.zeros(8 << row_bits, bool)
    flags[fine.view(np.int64)] = True
    starts = np.zeros((1 << row_bits) + 1, np.int32)
    np.cumsum(np.bincount((fine >> np.uint64(3)).view(np.int64), minlength=1 << row_bits), out=starts[1:])
    return _Table(entries, starts, np.packbits(flags, bitorder="little"), row_bits)


def _within(problem: Problem, query: Index, row: Index) -> tuple[Index, Index]:
    """The candidates within the limit; the first word alone dismisses most of the others."""
    distance = np.bitwise_count(problem.rows[0].take(row) ^ problem.queries[0].take(query)).astype(np.int16)
    for word in (1, 2, 3, 4):
        near = np.flatnonzero(distance <= problem.limit)
        query, row, distance = query.take(near), row.take(near), distance.take(near)
        if word < 4:
            distance += np.bitwise_count(problem.rows[word].take(row) ^ problem.queries[word].take(query))
    return query, row


def _probe(problem: Problem, mask: Sequence[int], factors: Words) -> Found:
    """All matches that one table shows; a bucket of any size is worked through in blocks of ``_CANDIDATES``."""
    found = problem.found()
    table = _table(problem.rows, mask, factors)
    number = np.uint64((1 << table.row_bits) - 1)
    for first in range(0, problem.queries.shape[1], _QUERIES):
        keys = _keys(problem.queries[:, first : first + _QUERIES], mask, factors)
        maybe, starts, counts = table.look_up(keys)
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        for low in range(0, total, _CANDIDATES):
            high = min(low + _CANDIDATES, total)
            skipped = np.clip(low - (ends - counts), 0, counts)
            item, position = spread(starts + skipped, np.clip(high - (ends - counts), 0, counts) - skipped)
            entry = table.entries.take(position)
            query = maybe.take(item)
            met = np.flatnonzero((entry ^ keys.take(query)) <= number)
            found.candidates += len(met)
            near = _within(problem, query.take(met) + first, (entry.take(met) & number).view(np.int64))
            found.add(problem.matches(*near))
    return found


def _compare_all(problem: Problem, first: int, last: int) -> Found:
    """All matches of a block of queries, by comparing with every row: two or three words rule out nearly all pairs."""
    found = problem.found()
    queries = problem.queries[:, first:last, None]
    for at in range(0, problem.rows.shape[1], _TILE_ROWS):
        rows = problem.rows[:, None, at : at + _TILE_ROWS]
        partial_distance = np.bitwise_count(queries[0] ^ rows[0])
        for word in (1,) if problem.limit <= 40 else (1, 2):
            partial_distance += np.bitwise_count(queries[word] ^ rows[word])
        near = np.flatnonzero(partial_distance <= problem.limit)
        query, row = np.divmod(near, rows.shape[2])
        found.candidates += partial_distance.size
        found.add(problem.matches(*_within(problem, query + first, row + at)))
    return found


def _search(problem: Problem, plan: Plan, seed: int, threads: int) -> Found:
    """All matches; tables (or blocks) run on ``threads`` threads and are folded in their order, so nothing varies."""
    work: Iterable[Callable[[], Found]]
    if plan == EXHAUSTIVE:
        block = _TILE // min(problem.rows.shape[1], _TILE_ROWS)
        starts = range(0, problem.queries.shape[1], block)
        work = [partial(_compare_all, problem, first, first + block) for first in starts]
    else:
        draw = np.random.default_rng(seed + 1)
        factors = draw.integers(1 << 64, size=(plan.tables, 4), dtype=np.uint64) | np.uint64(1)
        masks = _masks(plan, seed)
        work = [partial(_probe, problem, mask, factor) for mask, factor in zip(masks, factors, strict=True)]
    found = problem.found()
    threads = threads or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Found]] = deque()
        for task in work:
            waiting.append(pool.submit(task))
            if len(waiting) > 2 * threads:  # no more results wait than this, so memory stays bounded
                found.take(waiting.popleft().result())
        for done in waiting:
            found.take(done.result())
    return found


def search_matches(problem: Problem, miss: float, seed: int, threads: int) -> tuple[Found, Plan]:
    """All matches of ``problem``, each missed with a chance of at most ``miss``, and the plan that found them.

    ``threads``: 0 for one a core. Raises ValueError for a limit beyond 64 bits or a chance outside (0, 1).
    """
    if not (0 <= problem.limit <= MAX_DISTANCE and 0.0 < miss < 1.0):
        raise ValueError(f"max_distance must lie in 0..{MAX_DISTANCE} and miss_probability between 0 and 1")
    if 0 in (problem.rows.shape[1], problem.queries.shape[1]):
        return problem.found(), EXHAUSTIVE
    plan = plan_join(problem.rows, problem.queries, problem.limit, miss, seed)
    return _search(problem, plan, seed, threads), plan
