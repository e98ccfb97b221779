from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.label_studio.queue import CANDIDATES, EXTRAS, PLAN, Planned, Seat, ordered, plan
from schemas.config import AnnotateSettings

NOTHING = pl.DataFrame(schema=PLAN)
_NAMES = [f"n{n}" for n in range(20)]


def candidates(count: int, start: int = 0, per_case: int = 1, sensitive: int = 0) -> pl.DataFrame:
    rows = [
        (f"n{n}", f"c{n // per_case}", f"d{n % 5}", f"s{n % 2}", "I-II", n % 11 / 2, n % 7 / 7, None,
         ["genital"] if sensitive and n % sensitive == 0 else [], [])
        for n in range(start, start + count)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=CANDIDATES, orient="row")


def extras(count: int) -> pl.DataFrame:
    kinds = (("practice", None), ("gold", None), ("gold", "false_reassurance"))
    rows = [(f"x{o}{f}{n}", f"cx{o}{f}{n}", o, f, [], None) for o, f in kinds for n in range(count)]
    return pl.DataFrame(rows, schema=EXTRAS, orient="row")


def seats(count: int, opted_in: int = 0) -> list[Seat]:
    return [Seat(f"r{n}", frozenset({"genital"} if n < opted_in else ())) for n in range(count)]


def told(**changes: Any) -> AnnotateSettings:
    return AnnotateSettings(**({"raters_per_case": 2} | changes))


def firsts(planned: pl.DataFrame) -> Counter[str]:
    return Counter(planned.filter(pl.col("occasion") == "first")["narrative_id"])


@given(
    count=st.integers(0, 60), raters=st.integers(1, 6), per_case=st.integers(1, 6), per=st.integers(1, 3),
    order=st.sampled_from(["stratified", "uncertain", "disagreeing"]), repeat=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_every_narrative_goes_to_exactly_so_many_raters_or_to_none(
    count: int, raters: int, per_case: int, per: int, order: Any, repeat: float, seed: int
) -> None:
    asked = told(raters_per_case=per_case, order=order, repeat_share=repeat, salt=str(seed))
    made = plan(candidates(count, per_case=per), extras(8), seats(raters), NOTHING, asked)
    if per_case > raters:
        assert len(made.left_out) == count
        assert not made.assignments.filter(pl.col("occasion") == "first").height
        return
    assert firsts(made.assignments) == {f"n{n}": per_case for n in range(count)}
    assert not made.left_out
    for rater in made.assignments.partition_by("rater"):
        assert rater["place"].to_list() == list(range(rater.height))
        assert not rater.select("narrative_id", "occasion").is_duplicated().any()
        _repeats_come_later_and_apart(rater)
    loads = Counter(made.assignments.filter(pl.col("occasion") == "first")["rater"])
    assert not loads or max(loads.values()) - min(loads.get(f"r{n}", 0) for n in range(raters)) <= 1


def _repeats_come_later_and_apart(rater: pl.DataFrame) -> None:
    names = rater["narrative_id"].to_list()
    for at, (name, occasion) in enumerate(rater.select("narrative_id", "occasion").iter_rows()):
        if occasion == "repeat":
            assert names.index(name) < at - 1


def test_the_same_salt_deals_the_same_and_the_order_of_rows_does_not_matter() -> None:
    whole = candidates(40)
    first = plan(whole, extras(9), seats(3), NOTHING, told())
    again = plan(whole.sample(fraction=1, shuffle=True, seed=3), extras(9).reverse(), seats(3)[::-1], NOTHING, told())
    other = plan(whole, extras(9), seats(3), NOTHING, told(salt="another"))
    assert first.assignments.equals(again.assignments)
    assert not first.assignments.equals(other.assignments)


def test_practice_comes_first_and_once_and_is_the_same_for_all() -> None:
    made = plan(candidates(30), extras(9), seats(3), NOTHING, told(practice=5)).assignments
    lists = [rater.sort("place").head(5) for rater in made.partition_by("rater")]
    assert all(part["occasion"].to_list() == ["practice"] * 5 for part in lists)
    assert len({tuple(part["narrative_id"]) for part in lists}) == 1
    assert made.filter(pl.col("occasion") == "practice").height == 15


def test_practice_with_and_without_a_fault_comes_in_turn() -> None:
    known = extras(9).filter(pl.col("occasion") == "practice")
    fault = pl.when(pl.int_range(pl.len()) < 2).then(pl.lit("false_reassurance")).alias("planted")
    for salt in "abcd":
        made = plan(candidates(9), known.head(5).with_columns(fault), seats(2), NOTHING, told(salt=salt)).assignments
        for rater in made.partition_by("rater"):
            planted = rater.sort("place").head(5)["planted"].is_not_null()
            assert planted.to_list() == [False, True, False, True, False]


def test_shares_of_gold_faults_and_repeats_are_kept_also_when_the_queue_grows() -> None:
    asked = told(gold_share=0.1, planted_share=0.2, repeat_share=0.1, raters_per_case=1)
    grown = NOTHING
    for count in (10, 25, 40, 100):
        made = plan(candidates(count), extras(60), seats(1), grown, asked)
        grown = pl.concat([grown, made.assignments])
    counts = Counter(grown["occasion"])
    planted = grown.filter(pl.col("planted").is_not_null()).height
    assert (counts["first"], counts["repeat"], planted, counts["gold"] - planted) == (100, 10, 20, 10)
    assert grown["place"].to_list() == list(range(grown.height))
    _repeats_come_later_and_apart(grown)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(2, 5)), min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_growing_queues_and_panels_only_add(steps: list[tuple[int, int]], seed: int) -> None:
    already, size, raters = NOTHING, 0, 0
    for more, panel in steps:
        size, raters = size + more, max(raters, panel)
        made = plan(candidates(size), extras(5), seats(raters), already, told(salt=str(seed)))
        assert not already.join(made.assignments, on=["rater", "place"], how="semi").height
        already = pl.concat([already, made.assignments])
        assert firsts(already) == {f"n{n}": 2 for n in range(size)}
        again = plan(candidates(size), extras(5), seats(raters), already, told(salt=str(seed)))
        assert not again.assignments.height


def test_sensitive_cases_go_to_those_who_agreed_and_to_nobody_if_these_are_too_few() -> None:
    whole = candidates(40, sensitive=4)
    made = plan(whole, extras(0), seats(4, opted_in=2), NOTHING, told())
    hard = {f"n{n}" for n in range(0, 40, 4)}
    assert set(made.assignments.filter(pl.col("narrative_id").is_in(hard))["rater"]) == {"r0", "r1"}
    assert firsts(made.assignments) == {f"n{n}": 2 for n in range(40)}
    alone = plan(whole, extras(0), seats(4, opted_in=1), NOTHING, told())
    assert set(alone.left_out) == hard
    assert not hard & set(alone.assignments["narrative_id"])


def test_what_a_rater_will_not_answer_any_more_goes_to_somebody_else() -> None:
    first = plan(candidates(20), extras(0), seats(2), NOTHING, told()).assignments
    void = frozenset((name, "r1") for name in first.filter(pl.col("rater") == "r1")["narrative_id"][:5])
    made: Planned = plan(candidates(20), extras(0), [seats(2)[0], Seat("r9")], first, told(), void=void)
    more = made.assignments.filter(pl.col("occasion") == "first")
    assert set(more["narrative_id"]) == {name for name, _ in void}
    assert set(more["rater"]) == {"r9"}


def test_every_beginning_of_the_stratified_order_has_the_strata_in_proportion() -> None:
    whole = candidates(100)
    for length in (20, 50, 80):
        shares = Counter(ordered(whole, told(order="stratified")).head(length)["diagnosis"])
        assert all(abs(count - length / 5) <= 2 for count in shares.values())


@pytest.mark.parametrize(("order", "first"), [("uncertain", 3.5), ("disagreeing", 6 / 7)])
def test_the_other_orders_begin_with_what_they_are_named_after(order: Any, first: float) -> None:
    row = ordered(candidates(100), told(order=order)).row(0, named=True)
    assert row["overall" if order == "uncertain" else "spread"] == pytest.approx(first)


def test_two_narratives_of_one_case_do_not_follow_each_other() -> None:
    made = plan(candidates(40, per_case=2), extras(5), seats(1), NOTHING, told(raters_per_case=1, repeat_share=0.0))
    cases = made.assignments.sort("place")["case_id"].to_list()
    assert all(a != b for a, b in pairwise(cases))


@given(
    raters=st.integers(1, 6), per_case=st.integers(1, 4), seed=st.integers(0, 99),
    authors=st.lists(st.sets(st.integers(0, 5), max_size=3), max_size=12), later=st.sets(st.integers(0, 5), max_size=2),
)  # fmt: skip
def test_a_correction_goes_to_one_rater_less_and_never_to_its_authors(
    raters: int, per_case: int, seed: int, authors: list[set[int]], later: set[int]
) -> None:
    asked = told(raters_per_case=per_case, salt=str(seed), repeat_share=0.5)
    names = [sorted(f"r{n}" for n in group) for group in authors]
    whole = candidates(len(names)).with_columns(pl.Series("authors", names, dtype=pl.List(pl.String)))
    made = plan(whole, extras(2), seats(raters), NOTHING, asked)
    wanted = {f"n{n}": max(1, per_case - bool(group)) for n, group in enumerate(names)}
    able = {f"n{n}": raters - sum(int(name[1:]) < raters for name in group) for n, group in enumerate(names)}
    assert firsts(made.assignments) == {n: count for n, count in wanted.items() if able[n] >= count}
    assert set(made.left_out) == {n for n, count in wanted.items() if able[n] < count}
    saw = set(made.assignments.select("narrative_id", "rater").iter_rows())
    assert not _own(saw, names)
    more = [sorted({*group, *(f"r{n}" for n in later)}) for group in names]  # others wrote the same text since
    grown = whole.with_columns(pl.Series("authors", more, dtype=pl.List(pl.String)))
    again = plan(grown, extras(2), seats(raters), made.assignments, asked)
    new = set(again.assignments.select("narrative_id", "rater").iter_rows())
    assert not _own(new, more)
    for at, group in enumerate(more):
        others = [rater for narrative, rater in saw | new if narrative == f"n{at}" and rater not in group]
        assert len(others) >= max(1, per_case - bool(group)) or f"n{at}" in again.left_out


def _own(pairs: set[tuple[str, str]], authors: list[list[str]]) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair[1] in dict(zip(_NAMES, authors, strict=False)).get(pair[0], ())]
