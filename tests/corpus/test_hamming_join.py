"""Near-duplicate search equals a plain reference at every distance, on both ways of searching, whatever is repeated."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from corpus import hamming_join, hamming_search
from corpus.hamming_join import LISTED_TOGETHER, Pairs, match_pairs, near_duplicate_pairs, pairwise_distances
from corpus.hamming_plan import EXHAUSTIVE, Plan, tables_needed
from corpus.hamming_search import Found, Problem, _keys, _masks, search_matches

Bytes = npt.NDArray[np.uint8]


@pytest.fixture(params=["tables", "exhaustive"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Search by tables, as only large sets are, or by comparing everything."""
    force(request.param, monkeypatch)
    yield request.param


def force(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(rows: object, queries: object, limit: int, miss: float, seed: int) -> Plan:
        key_bits = 16 if limit <= 40 else 9
        return EXHAUSTIVE if way == "exhaustive" else Plan(key_bits, tables_needed(key_bits, limit, 1e-9), 1e-9)

    monkeypatch.setattr(hamming_search, "plan_join", planned)


def random_views(images: int, seed: int) -> tuple[Bytes, Bytes]:
    draw = np.random.default_rng(seed)
    whole, centre = draw.integers(256, size=(2, images, 8, 32), dtype=np.uint8)
    return whole, centre


def flip(row: Bytes, distance: int, draw: np.random.Generator) -> Bytes:
    bits = np.unpackbits(row)
    bits[draw.choice(256, distance, replace=False)] ^= 1
    return np.packbits(bits)


def planted(distances: range, seed: int = 1) -> tuple[Bytes, Bytes]:
    """Images 2k and 2k + 1 have one upright and one other hash that are ``distances[k]`` bits apart."""
    draw = np.random.default_rng(seed)
    whole, centre = random_views(2 * len(distances), seed)
    for k, distance in enumerate(distances):
        a, b = (2 * k, 2 * k + 1) if draw.integers(2) else (2 * k + 1, 2 * k)
        upright = (whole, centre)[draw.integers(2)][a, 0]
        (whole, centre)[draw.integers(2)][b, draw.integers(8)] = flip(upright, distance, draw)
    return whole, centre


def reference(whole: Bytes, centre: Bytes) -> npt.NDArray[np.int64]:
    """Distances between all images, by counting unpacked bits one image at a time."""
    bits = np.unpackbits(np.stack([whole, centre], axis=1), axis=-1).astype(np.int64)
    count = len(bits)
    one_way = np.empty((count, count), np.int64)
    for i in range(count):
        upright = bits[i, :, 0]
        for j in range(count):
            apart = upright[:, None, None, :] != bits[j][None]
            one_way[i, j] = apart.sum(axis=-1).min()
    return np.minimum(one_way, one_way.T)


def listed(pairs: Pairs) -> list[tuple[int, int, int]]:
    return list(zip(pairs.left.tolist(), pairs.right.tolist(), pairs.distance.tolist(), strict=True))


def expected(distances: npt.NDArray[np.int64], limit: int) -> list[tuple[int, int, int]]:
    left, right = np.nonzero(np.triu(distances <= limit, 1))
    return list(zip(left.tolist(), right.tolist(), distances[left, right].tolist(), strict=True))


def components(count: int, left: npt.ArrayLike, right: npt.ArrayLike) -> list[int]:
    left = np.asarray(left)
    graph = coo_array((np.ones(len(left)), (left, np.asarray(right))), shape=(count, count))
    return connected_components(graph, directed=False)[1].tolist()


@pytest.mark.parametrize("limit", [0, 24, 64])
def test_every_planted_distance_is_found_and_nothing_else(way: str, limit: int) -> None:
    whole, centre = planted(range(0, 73))
    pairs = near_duplicate_pairs(whole, centre, limit)
    assert listed(pairs) == [(2 * d, 2 * d + 1, d) for d in range(limit + 1)]
    assert pairs.complete
    assert pairs.miss_bound == (0.0 if way == "exhaustive" else 1e-9)


def test_pairs_equal_the_reference_when_hashes_crowd(way: str) -> None:
    draw = np.random.default_rng(2)
    base = draw.integers(256, size=32, dtype=np.uint8)
    near = [flip(base, int(d), draw) for d in draw.integers(8, 60, size=40 * 16)]
    views = np.array(near).reshape(2, 40, 8, 32)
    distances = reference(*views)
    assert 50 < len(expected(distances, 24)) < 700
    assert listed(near_duplicate_pairs(*views)) == expected(distances, 24)
    assert np.array_equal(pairwise_distances(*views)[~np.eye(40, dtype=bool)], distances[~np.eye(40, dtype=bool)])


def test_the_named_views_and_orientation_have_the_named_distance(way: str) -> None:
    views = np.stack(planted(range(0, 25)))
    pairs = near_duplicate_pairs(*views)
    assert len(pairs.left) == 25
    for k in range(25):
        turn, turned = int(pairs.orientation[k]), bool(pairs.right_turned[k])
        left = views[pairs.left_view[k], pairs.left[k], 0 if turned else turn]
        right = views[pairs.right_view[k], pairs.right[k], turn if turned else 0]
        assert np.bitwise_count(left ^ right).sum() == pairs.distance[k]
    assert len(set(pairs.orientation.tolist())) > 4
    assert set(pairs.right_turned.tolist()) == {False, True}


def test_an_opposite_hash_is_far_away(way: str) -> None:
    """256 differing bits do not fit eight bits; they must not come round as none."""
    whole, centre = random_views(40, 4)
    whole[1, 0] = ~whole[0, 0]
    assert listed(near_duplicate_pairs(whole, centre, 64)) == []
    whole[2:4] = 0
    centre[2:4] = 255
    centre[3], whole[3] = 0, 255
    assert listed(near_duplicate_pairs(whole, centre, 64)) == [(2, 3, 0)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_order_only_relabels(way: str, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 12))
    draw = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    spread = data.draw(st.integers(1, 40))
    base = draw.integers(256, size=(2, 32), dtype=np.uint8)
    views = np.array([flip(base[draw.integers(2)], int(draw.integers(spread, 45)), draw) for _ in range(16 * count)])
    views = views.reshape(2, count, 8, 32)
    limit = data.draw(st.integers(0, 40))
    order = draw.permutation(count)
    one, other = near_duplicate_pairs(*views, limit), near_duplicate_pairs(*views[:, order], limit)
    assert listed(one) == expected(reference(*views), limit)
    relabelled = [(*sorted((order[a], order[b])), d) for a, b, d in listed(other)]
    assert sorted(relabelled) == listed(one)


def test_threads_and_repetition_change_nothing(way: str) -> None:
    whole, centre = planted(range(0, 41))
    runs = [near_duplicate_pairs(whole, centre, threads=threads) for threads in (1, 3, 3)]
    for run in runs[1:]:
        assert listed(run) == listed(runs[0])
        assert np.array_equal(run.orientation, runs[0].orientation)
        assert run.candidates == runs[0].candidates


def test_identical_images_are_joined_to_the_first(way: str) -> None:
    whole, centre = random_views(50, 6)
    alike = [3, 8, 9, 20, 41]
    whole[alike], centre[alike] = whole[3], centre[3]
    draw = np.random.default_rng(0)
    centre[30, 5] = flip(whole[3, 0], 12, draw)
    stars = [(3, other, 0) for other in alike[1:]]
    assert listed(near_duplicate_pairs(whole, centre)) == sorted([*stars, (3, 30, 12)])


def test_a_few_images_with_one_upright_hash_are_all_listed_and_many_are_connected(way: str) -> None:
    for size, all_listed in ((10, True), (LISTED_TOGETHER + 20, False)):
        whole, centre = random_views(size + 30, 7)
        whole[:size, 0] = whole[0, 0]
        draw = np.random.default_rng(1)
        whole[size, 4] = flip(whole[0, 0], 20, draw)
        whole[size + 1, 0] = flip(whole[size, 0], 24, draw)
        wanted = expected(reference(whole, centre), 24)
        pairs = near_duplicate_pairs(whole, centre)
        assert set(listed(pairs)) <= set(wanted)
        assert (listed(pairs) == wanted) == all_listed
        joined = components(len(whole), *np.array(wanted).T[:2])
        assert components(len(whole), pairs.left, pairs.right) == joined
        assert len(set(joined)) == 29


def test_blank_images_cost_nothing(way: str) -> None:
    """Without filing equal hashes once, 3,000 blank images would be 144 million candidates in every table."""
    whole, centre = (np.zeros((3000, 8, 32), np.uint8) for _ in range(2))
    pairs = near_duplicate_pairs(whole, centre)
    assert listed(pairs) == [(0, other, 0) for other in range(1, 3000)]
    assert pairs.candidates < 20_000


def test_no_image_and_one_image_have_no_pairs(way: str) -> None:
    for count in (0, 1):
        whole, centre = random_views(count, 1)
        assert listed(near_duplicate_pairs(whole, centre)) == []
        assert pairwise_distances(whole, centre).shape == (count, count)
        assert listed(match_pairs(whole, centre, np.empty((0, 32), np.uint8))) == []
    assert listed(match_pairs(whole[:0], centre[:0], whole[0])) == []


def test_matches_with_upright_hashes_equal_the_reference(way: str) -> None:
    draw = np.random.default_rng(9)
    whole, centre = random_views(45, 10)
    whole[7], centre[7] = whole[2], centre[2]
    uprights = draw.integers(256, size=(60, 32), dtype=np.uint8)
    for d in range(41):
        uprights[d] = flip((whole, centre)[d % 2][d, d % 8], d, draw)
    uprights[50] = uprights[3]
    pairs = match_pairs(whole, centre, uprights)
    wanted = [(d, d, d) for d in range(25)] + [(3, 50, 3), (7, 2, 2), (2, 7, 7)]
    assert listed(pairs) == sorted(wanted)
    views = np.stack([whole, centre])
    for k in range(len(pairs.left)):
        mine = views[pairs.left_view[k], pairs.left[k], pairs.orientation[k]]
        assert np.bitwise_count(mine ^ uprights[pairs.right[k]]).sum() == pairs.distance[k]


def test_every_matched_image_is_named_when_uprights_repeat(way: str) -> None:
    whole, centre = random_views(30, 3)
    uprights = np.repeat(whole[5, 3][None], LISTED_TOGETHER + 1, axis=0)
    whole[6, 1] = whole[5, 3]
    assert [(a, d) for a, _, d in listed(match_pairs(whole, centre, uprights))] == [(5, 0), (6, 0)]
    assert len(match_pairs(whole, centre, uprights[1:]).left) == 2 * LISTED_TOGETHER


def test_too_many_matches_leave_a_spanning_forest(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(11)
    base = draw.integers(256, size=(3, 32), dtype=np.uint8)
    whole, centre = random_views(123, 12)
    for image in range(120):
        whole[image, 0] = flip(base[image % 3], 6, draw)
    wanted = near_duplicate_pairs(whole, centre)
    assert wanted.complete and len(wanted.left) == 3 * 40 * 39 // 2
    monkeypatch.setattr(hamming_search, "MATCHES_HELD", 900)
    monkeypatch.setattr(hamming_join, "MATCHES_HELD", 900)
    thinned = near_duplicate_pairs(whole, centre)
    assert not thinned.complete
    assert len(thinned.left) < 400
    assert set(listed(thinned)) <= set(listed(wanted))
    assert components(123, thinned.left, thinned.right) == components(123, wanted.left, wanted.right)
    assert listed(near_duplicate_pairs(whole, centre, threads=3)) == listed(thinned)


def test_a_spanning_forest_keeps_what_it_needs_and_nothing_more() -> None:
    draw = np.random.default_rng(14)
    for count in (1, 40, 70, 90, 150, 300, 1500):
        matches = np.unique(draw.integers(40 * 50, size=count))
        forest = hamming_search._spanning_forest(matches, 40, 50)
        before, after = (components(90, part // 50, 40 + part % 50) for part in (matches, forest))
        assert before == after
        assert np.isin(forest, matches).all()
        assert len(forest) == 90 - len(set(before))


def test_a_cut_listing_is_never_called_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when only one thread's share was cut and the cut shares fit together."""
    monkeypatch.setattr(hamming_search, "MATCHES_HELD", 100)
    part, whole = Found(20, 20), Found(20, 20)
    part.add(np.arange(80))
    whole.take(part)
    assert len(whole.merged()) < 80
    assert not whole.complete


def test_rows_with_one_fingerprint_are_not_taken_for_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Constant:
        def integers(self, high: int, size: int, dtype: type) -> np.ndarray:
            return np.ones(size, dtype)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Constant())
    rows = np.array([[5, 9], [9, 5], [5, 9], [5, 9], [8, 8]], np.uint64)  # a plain sum tells only the last apart
    order, starts = hamming_join._identical(rows)
    groups = [part.tolist() for part in np.split(order, starts[1:])]
    assert np.sort(order).tolist() == [0, 1, 2, 3, 4]
    assert all(len(np.unique(rows[group], axis=0)) == 1 for group in groups)
    assert [2, 3] in groups


def test_one_huge_bucket_is_searched_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 rows by 8,000 queries agree on every sampled bit: 16 million candidates, 128 MB a column at once."""
    draw = np.random.default_rng(13)
    table = Plan(24, 1, 0.0)
    mask = np.array(_masks(table, 1)[0], np.uint64)
    rows = draw.integers(1 << 64, size=(4, 2000), dtype=np.uint64) & ~mask[:, None]
    queries = draw.integers(1 << 64, size=(4, 8000), dtype=np.uint64) & ~mask[:, None]
    queries[:, 77] = rows[:, 5] ^ np.array([1, 0, 0, 0], np.uint64)
    problem = Problem(rows, queries, 8000, np.full(2000, -1), 64)
    monkeypatch.setattr(hamming_search, "plan_join", lambda *_: table)
    monkeypatch.setattr(hamming_search, "_CANDIDATES", 1 << 15)
    tracemalloc.start()
    try:
        found, _ = search_matches(problem, 1e-6, 1, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.candidates == 16_000_000
    assert peak < 24e6
    monkeypatch.setattr(hamming_search, "plan_join", lambda *_: EXHAUSTIVE)
    everything, _ = search_matches(problem, 1e-6, 1, 1)
    matches = found.merged().tolist()
    assert 77 * 2000 + 5 in matches
    assert set(matches) == set(everything.merged().tolist())


@given(st.integers(8, 64), st.integers(0, 2**32), st.integers(0, 11))
def test_hashes_that_agree_on_the_sampled_bits_get_one_key(key_bits: int, seed: int, number: int) -> None:
    masks = _masks(Plan(key_bits, 12, 0.0), seed)
    mask = np.array(masks[number], np.uint64)
    draw = np.random.default_rng(seed)
    word, noise, factors = (draw.integers(1 << 64, size=(4, 1), dtype=np.uint64) for _ in range(3))
    other = (word & mask[:, None]) | (noise & ~mask[:, None])
    assert _keys(word, masks[number], factors[:, 0] | np.uint64(1)) == _keys(
        other, masks[number], factors[:, 0] | np.uint64(1)
    )


def test_a_large_set_goes_through_tables_and_keeps_its_promise() -> None:
    whole, centre = random_views(5000, 17)
    draw = np.random.default_rng(18)
    for k in range(500):
        centre[2 * k + 1, k % 8] = flip(whole[2 * k, 0], 24, draw)
    pairs = near_duplicate_pairs(whole, centre)
    assert 0.0 < pairs.miss_bound <= 1e-6
    assert listed(pairs) == [(2 * k, 2 * k + 1, 24) for k in range(500)]


def test_nonsense_is_refused() -> None:
    whole, centre = random_views(3, 1)
    with pytest.raises(ValueError, match="max_distance"):
        near_duplicate_pairs(whole, centre, 65)
    with pytest.raises(ValueError, match="miss_probability"):
        near_duplicate_pairs(whole, centre, miss_probability=0.0)
    with pytest.raises(ValueError, match="both views"):
        near_duplicate_pairs(whole, centre[:2])
    with pytest.raises(ValueError, match="uint8"):
        near_duplicate_pairs(whole.astype(np.int64), centre.astype(np.int64))
