"""The certification queue: who may be in it, with what chance, and that the chances are the true ones."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from corpus.certification import QUEUE, allocate, certification_queue
from schemas.config import CertificationSettings

TONES = [[], [{"scale": "fitzpatrick", "low": 5, "high": 5}], [{"scale": "fitzpatrick", "low": 1, "high": 2}]]


def corpus(n_cases: int, split: str = "certify_queue", k: int = 3) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Cases over nine uneven strata, one chosen narrative each, and k candidates each."""
    cases = pl.DataFrame(
        [
            {
                "case_id": f"s:{n:05}",
                "split": split,
                "licence_class": "open",
                "node_id": ("nevus", "nevus", "nevus", "nevus", "melanoma", "psoriasis")[n % 6],
                "source": "s",
                "tone_observations": TONES[(n // 6) % 3],
                "image_digests": [f"digest{n}"],
            }
            for n in range(n_cases)
        ],
        schema_overrides={"tone_observations": pl.List(pl.Struct({"scale": pl.String, "low": pl.Int64,
                                                                  "high": pl.Int64}))},
    )  # fmt: skip
    pairs = [(f"n{n:05}-{i}", f"s:{n:05}") for n in range(n_cases) for i in range(k)]
    candidates = pl.DataFrame(pairs, schema=["narrative_id", "case_id"], orient="row")
    selected = candidates.filter(pl.col("narrative_id").str.ends_with("-0"))
    return cases, selected, candidates


def queue(n_cases: int = 120, salt: str = "s", **changes: object) -> pl.DataFrame:
    return certification_queue(*corpus(n_cases), CertificationSettings.model_validate(changes), salt)


def test_by_default_every_held_out_case_is_in_it_and_a_fifth_is_drawn_at_random() -> None:
    drawn = queue(3000)
    assert drawn.schema == QUEUE
    stratified = drawn.filter("stratified")
    assert stratified.height == 3000 and set(stratified["stratified_probability"]) == {1.0}
    chance = drawn["random_probability"][0]
    assert chance == pytest.approx(0.25 * 3000 / 9000)
    expected, spread = 9000 * chance, math.sqrt(9000 * chance * (1 - chance))
    assert abs(drawn["random"].sum() - expected) < 4 * spread
    assert drawn.filter(pl.col("random") & ~pl.col("stratified")).height > 0
    assert drawn.filter(~pl.col("random") & ~pl.col("stratified")).is_empty()


def test_only_held_out_cases_that_may_be_passed_on_take_part() -> None:
    cases, selected, candidates = corpus(30)
    cases = cases.with_columns(
        pl.when(pl.col("case_id") == "s:00001").then(pl.lit("train")).when(pl.col("case_id") == "s:00002")
        .then(pl.lit("calibration")).otherwise("split").alias("split"),
        pl.when(pl.col("case_id") == "s:00003").then(pl.lit("no-redistribution")).otherwise("licence_class")
        .alias("licence_class"),
    )  # fmt: skip
    drawn = certification_queue(cases, selected, candidates, CertificationSettings(random_share=0.9), "s")
    assert set(drawn["case_id"]) == set(cases["case_id"]) - {"s:00001", "s:00002", "s:00003"}
    assert drawn.filter("random").height > 60


def test_a_size_is_shared_out_over_the_strata_and_every_stratum_is_served() -> None:
    drawn = queue(600, size=100).filter("stratified")
    assert drawn.height == 80
    assert drawn["stratum"].n_unique() == 9
    assert set(drawn["stratum"]) >= {"melanoma | s | unknown", "melanoma | s | V-VI", "nevus | s | I-II"}
    shares = drawn.group_by("stratum").agg(pl.len(), pl.col("stratified_probability").first())
    totals = {"nevus": 400 / 3, "melanoma": 100 / 3, "psoriasis": 100 / 3}
    for stratum, taken, chance in shares.iter_rows():
        assert chance == pytest.approx(taken / round(totals[stratum.split(" ")[0]]), rel=0.03)


def test_the_stated_chances_are_the_true_ones_and_estimate_acceptance_without_bias() -> None:
    """Over many salts each narrative is drawn as often as stated, and weighting by it hits the true share."""
    rounds = 400
    tables = corpus(60)
    accepted = {n: number % 10 < 7 for number, n in enumerate(tables[2]["narrative_id"])}
    truth = sum(accepted.values()) / len(accepted)
    times: dict[str, list[int]] = {n: [0, 0] for n in accepted}
    estimates = []
    settings = CertificationSettings(size=40, random_share=0.25)
    stated: dict[str, float] = {}
    chance = 0.0
    for salt in range(rounds):
        drawn = certification_queue(*tables, settings, str(salt))
        total = 0.0
        for row in drawn.iter_rows(named=True):
            times[row["narrative_id"]][0] += row["stratified"]
            times[row["narrative_id"]][1] += row["random"]
            if row["stratified"]:
                stated[row["narrative_id"]] = row["stratified_probability"]
            if row["random"]:
                chance = row["random_probability"]
                total += accepted[row["narrative_id"]] / chance
        estimates.append(total / len(accepted))
    for narrative, (stratified, drawn_times) in times.items():
        for seen, expected in ((stratified, stated.get(narrative, 0.0)), (drawn_times, chance)):
            spread = math.sqrt(rounds * expected * (1 - expected)) or 1e-9
            assert abs(seen - rounds * expected) < 4.5 * spread + 1e-6, narrative
    mean = sum(estimates) / rounds
    error = math.sqrt(sum((e - mean) ** 2 for e in estimates) / rounds / rounds)
    assert abs(mean - truth) < 4 * error


def test_growth_keeps_what_was_drawn_at_random() -> None:
    before, after = queue(600), queue(660)
    kept = set(before.filter("random")["narrative_id"])
    assert before["random_probability"][0] == pytest.approx(after["random_probability"][0])
    assert kept <= set(after.filter("random")["narrative_id"])


def test_the_order_of_the_rows_says_nothing() -> None:
    cases, selected, candidates = corpus(90)
    settings = CertificationSettings(size=30)
    turned = [frame.reverse() for frame in (cases, selected, candidates)]
    assert certification_queue(cases, selected, candidates, settings, "s").equals(
        certification_queue(*turned, settings, "s")
    )


def test_nothing_held_out_is_an_empty_queue() -> None:
    tables = corpus(12, split="train")
    assert certification_queue(*tables, CertificationSettings(), "s").is_empty()


@given(st.lists(st.integers(1, 50), max_size=12), st.integers(0, 300))
@hypothesis_settings(max_examples=200, deadline=None)
def test_allocation_adds_up_serves_every_stratum_and_takes_no_more_than_there_is(sizes: list[int], total: int) -> None:
    taken = allocate(sizes, total)
    assert sum(taken) == min(total, sum(sizes))
    assert all(0 <= n <= size for n, size in zip(taken, sizes, strict=True))
    if total >= len(sizes):
        assert all(taken)
    assert allocate(sizes, None) == sizes
