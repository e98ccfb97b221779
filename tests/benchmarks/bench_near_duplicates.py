"""Near-duplicate search over a million synthetic images against faiss, on the same question and the same threads.

Every hash of every image asks which upright hashes lie within 24 bits. Pairs are planted at every even distance from 0
to 40, each reachable through one hash only, so recall is measured at its hardest; those beyond 24 must not appear. The
skewed set has biased low frequencies, 30 % of images around a few prototypes and 1 % blank ones. faiss answers a slice
of the queries over the full database, and its time is extrapolated linearly; ours is measured in full.

    python -m tests.benchmarks.bench_near_duplicates --images 1000000
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from corpus.hamming_join import Pairs, near_duplicate_pairs

Bytes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]

LIMIT = 24
DISTANCES = range(0, 41, 2)
PROTOTYPES = 5
MULTIHASH = ((16, 16, 0), (12, 21, 1))  # hashes, bits each, bits flipped


class Planted(NamedTuple):
    """Pairs of an upright hash of ``left`` and, ``distance`` bits off, hash ``slot`` (of 16) of ``right``."""

    left: Index
    right: Index
    distance: Index
    slot: Index


def flipped(hashes: Bytes, counts: Index, draw: np.random.Generator) -> Bytes:
    """Each of ``hashes[n, 32]`` with ``counts[n]`` of its 256 bits flipped."""
    rank = draw.random((len(hashes), 256), dtype=np.float32).argsort(axis=1).argsort(axis=1)
    return hashes ^ np.packbits(rank < counts[:, None], axis=1)


def oriented(upright: Bytes) -> Bytes:
    """Eight orientations ``[n, 8, 32]``: a mirror negates odd frequencies, a turn also swaps the two axes."""
    odd = np.arange(16) % 2 == 1
    masks = [np.zeros((16, 16), bool), odd[None, :] | np.zeros((16, 1), bool), odd[:, None] | np.zeros((1, 16), bool)]
    masks.append(masks[1] ^ masks[2])
    grid = np.unpackbits(upright, axis=1).reshape(-1, 16, 16)
    turned = np.packbits(grid.transpose(0, 2, 1).reshape(-1, 256), axis=1)
    packed = [np.packbits(mask.ravel()) for mask in masks]
    return np.stack([base ^ mask for base in (upright, turned) for mask in packed], axis=1)


def uprights(count: int, skewed: bool, prototypes: Bytes, draw: np.random.Generator) -> Bytes:
    """Upright hashes ``[count, 32]`` of one view."""
    if not skewed:
        return draw.integers(256, size=(count, 32), dtype=np.uint8)
    frequency = np.add.outer(np.arange(16), np.arange(16)).ravel()
    chance = np.where(frequency < 8, 0.9, np.where(frequency < 14, 0.7, 0.5)).astype(np.float32)
    bits = draw.random((count, 256), dtype=np.float32) < chance
    hashes = np.packbits(bits ^ (frequency % 3 == 0), axis=1)
    near = np.flatnonzero(draw.random(count) < 0.3)
    noise = draw.integers(60, 71, size=len(near))
    hashes[near] = flipped(prototypes[draw.integers(PROTOTYPES, size=len(near))], noise, draw)
    return hashes


def synthetic(images: int, skewed: bool) -> tuple[Bytes, Bytes, Planted, int]:
    """Both views ``uint8[images, 8, 32]``, the planted pairs and how many blank images follow at the end."""
    draw = np.random.default_rng(7)
    views = np.empty((2, images, 8, 32), np.uint8)
    for view in views:
        prototypes = draw.integers(256, size=(PROTOTYPES, 32), dtype=np.uint8)
        for at in range(0, images, 20_000):
            view[at : at + 20_000] = oriented(uprights(len(view[at : at + 20_000]), skewed, prototypes, draw))
    blank = images // 100 if skewed else 0
    views[:, images - blank :] = np.packbits(np.arange(256) == 0)
    each = min(1000, images // 2 // len(DISTANCES) // 2)
    distance = np.repeat(np.array(DISTANCES), each)
    left = np.arange(len(distance)) * 2
    slot = draw.integers(16, size=len(left))
    source = views[draw.integers(2, size=len(left)), left, 0]
    views[slot // 8, left + 1, slot % 8] = flipped(source, distance, draw)
    return views[0], views[1], Planted(left, left + 1, distance, slot), blank


def recalls(found: npt.NDArray[np.bool_], planted: Planted) -> str:
    """Recall at each distance within the limit, and how many beyond it were reported."""
    parts = [f"{d}:{found[planted.distance == d].mean():.4f}" for d in DISTANCES if d <= LIMIT]
    return " ".join(parts) + f" | beyond {LIMIT}: {int(found[planted.distance > LIMIT].sum())} reported"


def megabytes() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Cost(NamedTuple):
    """Seconds by the clock and of processor time, over all threads."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> tuple[object, Cost]:
    """What ``work`` returns and what it cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Cost(time.perf_counter() - wall, time.process_time() - cpu)


def ours(whole: Bytes, centre: Bytes, planted: Planted, blank: int, threads: int) -> Cost:
    """Run the search, print what it found and return what it cost."""
    before = megabytes()
    pairs, cost = timed(lambda: near_duplicate_pairs(whole, centre, LIMIT, threads=threads))
    assert isinstance(pairs, Pairs)
    images = len(whole)
    found = np.isin(planted.left * images + planted.right, pairs.left * images + pairs.right)
    among_blank = int((pairs.left >= images - blank).sum()) if blank else 0
    print(f"  ours  {cost.wall:9.0f} s wall, {cost.cpu:9.0f} s cpu; {len(pairs.left):,} pairs")
    print(f"    {pairs.candidates:,} candidates; peak {megabytes():.0f} MB, {before:.0f} MB of it before the search")
    print(f"    miss bound {pairs.miss_bound:.2e} for every pair within {LIMIT} bits; complete: {pairs.complete}")
    print(f"    recall {recalls(found, planted)}")
    print(f"    {blank:,} identical blank images, joined by {among_blank:,} edges", flush=True)
    return cost


def faiss_rows(whole: Bytes, centre: Bytes, planted: Planted, threads: int, queries: int, mine: Cost) -> None:
    """Time faiss on a slice of the queries, print it beside ``mine``, and measure recall on the planted ones."""
    import faiss

    faiss.omp_set_num_threads(threads)
    images = len(whole)
    database = np.concatenate([whole[:, 0], centre[:, 0]])
    draw = np.random.default_rng(11)
    slots, some = draw.integers(16, size=queries), draw.integers(images, size=queries)
    views = (whole, centre)
    asked = np.stack([views[slot // 8][image, slot % 8] for slot, image in zip(slots, some, strict=True)])
    probes = np.stack(
        [views[slot // 8][image, slot % 8] for slot, image in zip(planted.slot, planted.right, strict=True)]
    )
    for setting in (None, *MULTIHASH):
        index: Any = faiss.IndexBinaryFlat(256) if setting is None else faiss.IndexBinaryMultiHash(256, *setting[:2])
        name = "Flat"
        if setting is not None:
            index.nflip = setting[2]
            name = "MultiHash {}x{} nflip {}".format(*setting)
        _, build = timed(partial(index.add, database))
        _, search = timed(partial(index.range_search, asked, LIMIT + 1))
        wall, cpu = (once + each * images * 16 / queries for once, each in zip(build, search, strict=True))
        print(f"  faiss {name}  {wall:9.0f} s wall, {cpu:9.0f} s cpu (from {queries} queries)", end="")
        print(f" = {wall / mine.wall:.1f} x ours by wall, {cpu / mine.cpu:.1f} x by cpu", flush=True)
        if setting is not None:
            ends, _, labels = index.range_search(probes, LIMIT + 1)
            asker = np.repeat(np.arange(len(probes)), np.diff(ends.astype(np.int64)))
            found = np.zeros(len(probes), bool)
            found[asker[labels % images == planted.left[asker]]] = True
            print(f"    recall {recalls(found, planted)}", flush=True)


def run(name: str, images: int, threads: int, queries: int) -> None:
    """One set, in a process of its own so that peak memory is its own."""
    print(f"{name}: {images:,} images, {threads} threads", flush=True)
    whole, centre, planted, blank = synthetic(images, skewed=name == "skewed")
    mine = ours(whole, centre, planted, blank, threads)
    if queries:
        faiss_rows(whole, centre, planted, threads, queries, mine)


def main() -> None:
    """Run the sets that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--set", choices=("uniform", "skewed", "both"), default="both")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--faiss-queries", type=int, default=4000, help="size of the slice; 0 leaves faiss out")
    chosen = parser.parse_args()
    for name in ("uniform", "skewed") if chosen.set == "both" else (chosen.set,):
        process = multiprocessing.get_context("spawn").Process(
            target=run, args=(name, chosen.images, chosen.threads, chosen.faiss_queries)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
