"""Near-duplicate search over 256-bit perceptual hashes, for a million images in a few minutes and bounded memory.

Two images are near-duplicates when an upright hash of one lies within some bits of a hash, in any view and orientation,
of the other. A few thousand images are compared outright. Above that, hashes meet in tables of randomly sampled bits
(:mod:`corpus.hamming_plan`): the price is a tiny, proved chance of missing a pair, equal for all data; short fixed
bands would be exact but explode on the skewed hashes that photographs have. Every distance reported is exact.
Identical hashes are filed once, so blank images cost nothing; how they are listed is told in :class:`Pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from corpus.hamming_plan import HASH_BITS
from corpus.hamming_search import MATCHES_HELD, Index, Problem, Words, search_matches, spread

Hashes = npt.NDArray[np.uint8]

MISS_PROBABILITY = 1e-6
SEED = 20_260_101

#: Images that share one upright hash are listed against each other up to this many, and beyond it against one of them.
LISTED_TOGETHER = 64

_BLOCK = 1 << 12  # images or pairs handled at once


class _Gaps(NamedTuple):
    """Distances of pairs and where each was reached, as in :class:`Pairs`."""

    distance: npt.NDArray[np.int16]
    orientation: npt.NDArray[np.int8]
    right_turned: npt.NDArray[np.bool_]
    left_view: npt.NDArray[np.int8]
    right_view: npt.NDArray[np.int8]


@dataclass(frozen=True)
class Pairs:
    """Near-duplicates sorted by (``left``, ``right``), each pair once.

    ``distance``: bits, the exact minimum over views, orientations and both directions. It lies between ``left_view``
    and ``right_view`` (0 whole frame, 1 central square), with the left or, where ``right_turned``, the right image in
    ``orientation`` (0 upright) and the other upright. Of equal minima the lowest orientation is named.

    Within one set, ``left < right`` and every pair is listed but these. An image all of whose hashes equal those of an
    earlier one is listed with the first such image only. More than ``LISTED_TOGETHER`` images that share an upright
    hash are each listed with one of them, and that one stands for all in what else the hash attracts. A pair left out
    is always connected by listed ones, so connected components are right; :func:`pairwise_distances` measures within.
    ``complete`` is False when so many different images lie together that only a spanning forest could be held.

    ``miss_bound``: no pair within the distance is missed with a higher chance. ``candidates``: hashes compared.
    """

    left: Index
    right: Index
    distance: npt.NDArray[np.int16]
    orientation: npt.NDArray[np.int8]
    right_turned: npt.NDArray[np.bool_]
    left_view: npt.NDArray[np.int8]
    right_view: npt.NDArray[np.int8]
    complete: bool
    miss_bound: float
    candidates: int


class _Views(NamedTuple):
    """One set of images: ``whole`` and ``centre`` are words ``[n, orientations, 4]``."""

    whole: Words
    centre: Words


class _Asked(NamedTuple):
    max_distance: int
    miss: float
    seed: int
    threads: int


class _Met(NamedTuple):
    """Positions in the list of images and of rows, repeated at will, and how they were found."""

    image: Index
    row: Index
    complete: bool
    miss_bound: float
    candidates: int


def _words(hashes: Hashes) -> Words:
    if hashes.dtype != np.uint8 or hashes.shape[-1:] != (HASH_BITS // 8,):
        raise ValueError(f"hashes must be uint8 with 32 in the last axis, not {hashes.dtype} {hashes.shape}")
    return np.ascontiguousarray(hashes).view(np.uint64)


def _views(whole: Hashes, centre: Hashes) -> _Views:
    if whole.shape != centre.shape or whole.ndim != 3 or whole.shape[1] == 0:
        raise ValueError(f"both views must be [images, orientations, 32], not {whole.shape} and {centre.shape}")
    return _Views(_words(whole), _words(centre))


def _identical(*columns: Words) -> tuple[Index, Index]:
    """Rows grouped by equality in all ``columns[n, w]``: (row order, where each group starts in it).

    Within a group rows ascend, and groups come in an order that does not depend on the order of the rows. Should two
    different rows share a 64-bit fingerprint, equal rows may end in two groups, which costs time and nothing else.
    """
    draw = np.random.default_rng(SEED)
    prints = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        factors = draw.integers(1 << 64, size=column.shape[1], dtype=np.uint64) | np.uint64(1)
        for at in range(0, len(column), _BLOCK):
            block = column[at : at + _BLOCK]
            prints[at : at + _BLOCK] += ((block ^ (block >> np.uint64(29))) * factors).sum(axis=1, dtype=np.uint64)
    order = np.argsort(prints, kind="stable")
    first = np.ones(len(order), bool)
    first[1:] = prints[order[1:]] != prints[order[:-1]]
    alike = np.flatnonzero(~first)
    for at in range(0, len(alike), _BLOCK):
        here = alike[at : at + _BLOCK]
        for column in columns:
            first[here] |= (column[order[here]] != column[order[here - 1]]).any(axis=1)
    return order, np.flatnonzero(first)


def _representatives(views: _Views) -> tuple[Index, Index]:
    """(first image of each group with identical hashes, position in that list for every image)."""
    count, orientations, _ = views.whole.shape
    order, starts = _identical(*(view.reshape(count, orientations * 4) for view in views))
    group = np.empty(count, np.int64)
    group[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=count))
    return order[starts], group


def _queries(views: _Views, images: Index) -> Words:
    """All hashes of the chosen images as ``[4, views * orientations * images]``, images running fastest."""
    queries = np.empty((4, 2, views.whole.shape[1], len(images)), np.uint64)
    for word in range(4):
        for number, view in enumerate(views):
            queries[word, number] = view[images, :, word].T
    return queries.reshape(4, -1)


def _meet(views: _Views, images: Index, rows: Words, asked: _Asked, *, same: bool) -> _Met:
    """Which of the chosen images have a hash, in any view and orientation, near which of the upright ``rows[R, 4]``.

    ``same``: row r is an upright hash of the image at ``r % len(images)``, which is then given instead of the row, and
    what an image has in common with itself is left out.
    """
    order, starts = _identical(rows)
    owner = order % max(1, len(images)) if same else order
    counts = np.diff(starts, append=len(order))
    own: Index = np.full(len(starts), -1)  # -1 where several images share the hash: there they meet
    if same and len(order):
        first, last = np.minimum.reduceat(owner, starts), np.maximum.reduceat(owner, starts)
        own = np.where(first == last, first, -1)
    distinct = np.ascontiguousarray(rows[order[starts]].T)
    problem = Problem(distinct, _queries(views, images), len(images), own, asked.max_distance)
    found, plan = search_matches(problem, asked.miss, asked.seed, asked.threads)
    image, group = np.divmod(found.merged(), max(1, len(starts)))
    shown = np.where(counts > LISTED_TOGETHER, 1, counts)[group]
    complete = found.complete and int(shown.sum()) <= MATCHES_HELD
    item, position = spread(starts[group], shown if complete else np.ones_like(shown))
    return _Met(image[item], owner[position], complete, plan.miss_bound, found.candidates)


def _gaps(left_views: _Views, right_views: _Views, left: Index, right: Index) -> _Gaps:
    turns = (left_views.whole.shape[1], right_views.whole.shape[1])
    shape = (max(turns), 2, 2, 2)  # orientation, right image turned, left view, right view
    best = np.empty(len(left), np.int16)
    where = np.empty(len(left), np.int64)
    for at in range(0, len(left), _BLOCK):
        here = slice(at, at + _BLOCK)
        bits = np.full((len(left[here]), *shape), HASH_BITS, np.int16)
        for a, left_view in enumerate(left_views):
            for b, right_view in enumerate(right_views):
                x, y = left_view[left[here]], right_view[right[here]]
                bits[:, : turns[0], 0, a, b] = np.bitwise_count(x ^ y[:, :1]).sum(axis=2, dtype=np.int16)
                bits[:, : turns[1], 1, a, b] = np.bitwise_count(x[:, :1] ^ y).sum(axis=2, dtype=np.int16)
        flat = bits.reshape(len(bits), -1)
        where[here] = flat.argmin(axis=1)
        best[here] = flat.min(axis=1)
    orientation, turned, left_at, right_at = (part.astype(np.int8) for part in np.unravel_index(where, shape))
    return _Gaps(best, orientation, turned.astype(bool), left_at, right_at)


def _unique_pairs(left: Index, right: Index, rights: int) -> tuple[Index, Index]:
    pairs = np.unique(left * max(1, rights) + right)
    return pairs // max(1, rights), pairs % max(1, rights)


def near_duplicate_pairs(
    whole: Hashes,
    centre: Hashes,
    max_distance: int = 24,
    *,
    miss_probability: float = MISS_PROBABILITY,
    seed: int = SEED,
    threads: int = 0,
) -> Pairs:
    """All pairs of images at most ``max_distance`` (0..64) bits apart; see :class:`Pairs` for what is listed.

    ``whole`` and ``centre``: ``uint8[N, 8, 32]``, the hashes of the two views in eight orientations, upright first.
    Every pair within the distance is found with a chance of at least ``1 - miss_probability`` over the ``seed``; small
    sets are compared outright. ``threads``: 0 for one a core. The pairs depend neither on threads nor on the order of
    the images, but for which of several identical images is the first. Raises ValueError for other shapes or limits.
    """
    views = _views(whole, centre)
    asked = _Asked(max_distance, miss_probability, seed, threads)
    firsts, group = _representatives(views)
    uprights = np.concatenate([view[firsts, 0] for view in views])
    met = _meet(views, firsts, uprights, asked, same=True)
    copies = np.flatnonzero(firsts[group] != np.arange(len(group)))
    a = np.concatenate([firsts[met.image], firsts[group[copies]]])
    b = np.concatenate([firsts[met.row], copies])
    apart = np.flatnonzero(a != b)
    left, right = _unique_pairs(np.minimum(a, b)[apart], np.maximum(a, b)[apart], len(group))
    return Pairs(left, right, *_gaps(views, views, left, right), met.complete, met.miss_bound, met.candidates)


def match_pairs(
    whole: Hashes,
    centre: Hashes,
    uprights: Hashes,
    max_distance: int = 24,
    *,
    miss_probability: float = MISS_PROBABILITY,
    seed: int = SEED,
    threads: int = 0,
) -> Pairs:
    """Images (``left``) near the upright hashes ``uint8[M, 32]`` of other ones (``right``), views and limits as above.

    Every image that has a match is listed. Every match is listed but this: of more than ``LISTED_TOGETHER`` equal
    uprights only one is named. Nothing is known of the other images' orientations, so ``right_turned`` says nothing.
    """
    views, others = _views(whole, centre), _words(uprights)
    firsts, group = _representatives(views)
    met = _meet(views, firsts, others, _Asked(max_distance, miss_probability, seed, threads), same=False)
    near, right = _unique_pairs(met.image, met.row, len(others))
    members, sizes = np.argsort(group, kind="stable"), np.bincount(group, minlength=len(firsts))
    item, position = spread((np.cumsum(sizes) - sizes)[near], sizes[near])
    left, right = _unique_pairs(members[position], right[item], len(others))
    gaps = _gaps(views, _Views(others[:, None], others[:, None]), left, right)
    return Pairs(left, right, *gaps, met.complete, met.miss_bound, met.candidates)


def pairwise_distances(whole: Hashes, centre: Hashes) -> npt.NDArray[np.int16]:
    """Exact distances ``int16[k, k]`` between all of a few images, by the rule of :func:`near_duplicate_pairs`."""
    views = _views(whole, centre)
    every = np.concatenate(views, axis=1)
    distances = np.empty((len(every), len(every)), np.int16)
    for image, row in enumerate(distances):
        upright = np.stack([view[image, 0] for view in views])[:, None, None]
        row[:] = np.bitwise_count(every ^ upright).sum(axis=3, dtype=np.int16).min(axis=(0, 2))
    return np.minimum(distances, distances.T)
