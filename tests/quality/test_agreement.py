"""Agreement of panels: published tables, what it must not depend on, what is said when it cannot be had, and whether
the intervals hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from polars.testing import assert_frame_equal

from quality.agreement import (
    COLUMNS,
    NO_LIMITS,
    NONE_COMPLETE,
    NONE_SHARED,
    ONE_RATER,
    decision_agreement,
    icc_for_other_raters,
    score_agreement,
)
from quality.resampling import ALL_ALIKE, NO_VARIANCE, ONE_ITEM
from schemas.tables import DIMENSIONS
from tests.quality.rating_frames import KRIPPENDORFF, SHROUT_FLEISS, Array, covers, number, one, panel, ratings

GAPPED = arrays(
    np.float64,
    st.tuples(st.integers(1, 8), st.integers(1, 4)),
    elements=st.one_of(st.integers(0, 5).map(float), st.just(np.nan)),
)


def without_interval(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("low", "high", "reason")


def test_the_published_tables_come_out_with_their_counts() -> None:
    judged = score_agreement(ratings(SHROUT_FLEISS))
    published = {"icc_1_1": 0.17, "icc_2_1": 0.29, "icc_2_k": 0.62, "icc_3_1": 0.71}
    for measure, value in published.items():
        row = one(judged, measure=measure)
        assert round(number(row), 2) == value
        assert (row["n_items"], row["n_raters"], row["reason"]) == (6, 4, None)
        assert number(row, "low") < value < number(row, "high")
    coded = score_agreement(ratings(KRIPPENDORFF))
    assert [round(number(one(coded, measure=f"alpha_{kind}")), 3) for kind in ("ordinal", "interval")] == [0.815, 0.849]
    assert one(coded, measure="alpha_ordinal")["n_items"] == 11
    assert one(coded, measure="icc_2_1")["n_items"] == 8
    assert one(coded, measure="quadratic_kappa", rater_a="r0", rater_b="r2")["n_items"] == 8


def test_other_raters_widen_the_interval() -> None:
    wide, narrow = icc_for_other_raters(ratings(SHROUT_FLEISS)), score_agreement(ratings(SHROUT_FLEISS))
    for measure in ("icc_2_1", "icc_2_k"):
        ours, theirs = one(narrow, measure=measure), one(wide, measure=measure)
        assert ours["estimate"] == pytest.approx(theirs["estimate"])
        assert number(theirs, "low") < number(ours, "low") < number(ours, "high") < number(theirs, "high")
    same = icc_for_other_raters(ratings(np.arange(5.0)[:, None] * np.ones(3)))
    sure = one(same, measure="icc_2_1")
    assert (sure["estimate"], sure["low"], sure["reason"]) == (1, None, NO_LIMITS)


def test_decisions_agree_as_categories() -> None:
    words = np.array(["certify", "revise", "reject", "maybe", "other"])
    rows = ratings(KRIPPENDORFF).drop_nulls().filter(pl.col("score").is_not_nan())
    told = rows.with_columns(decision=pl.Series(words[rows["score"].to_numpy().astype(int) - 1]))
    found = decision_agreement(told)
    assert round(number(one(found, measure="alpha_nominal")), 3) == 0.743
    assert one(found, measure="kappa_mean")["n_raters"] == 4
    pairs = found.filter(pl.col("measure") == "kappa", pl.col("rater_a").is_not_null())
    assert number(one(found, measure="kappa_mean")) == pytest.approx(pairs["estimate"].mean())
    assert 0 < number(one(found, measure="exact_share")) < 1


def test_the_mean_is_of_items_with_every_dimension() -> None:
    generator = np.random.default_rng(3)
    tables = [np.round(panel(generator, 20, (0, 0), 1, 0.5), 1) for _ in DIMENSIONS]
    tables[2][4, 1] = np.nan
    long = pl.concat([ratings(table, dimension=name) for name, table in zip(DIMENSIONS, tables, strict=True)])
    wide = long.pivot("dimension", index=["item", "rater"], values="score")
    found = score_agreement(wide, resamples=200)
    assert_frame_equal(found, score_agreement(long, resamples=200))
    assert found["dimension"].unique(maintain_order=True).to_list() == [*DIMENSIONS, "mean"]
    plain = score_agreement(ratings(np.mean(tables, axis=0).round(9)), resamples=200)
    assert one(found, dimension="mean", measure="icc_2_1")["n_items"] == 19
    for measure in ("icc_2_1", "alpha_ordinal"):
        assert one(found, dimension="mean", measure=measure)["estimate"] == pytest.approx(
            one(plain, measure=measure)["estimate"]
        )


def test_of_repeated_items_the_first_occasion_counts() -> None:
    first = ratings(SHROUT_FLEISS).with_columns(occasion=pl.lit("first"))
    again = ratings(SHROUT_FLEISS[:3, ::-1].copy()).with_columns(occasion=pl.lit("repeat"))
    found = score_agreement(pl.concat([again, first]), resamples=100)
    assert_frame_equal(found, score_agreement(ratings(SHROUT_FLEISS), resamples=100))
    unnumbered = first.with_columns(occasion=pl.lit(None, pl.String))
    assert_frame_equal(found, score_agreement(unnumbered, resamples=100))
    with pytest.raises(ValueError, match="several scores"):
        score_agreement(pl.concat([first, first]))


@settings(max_examples=25, deadline=None)
@given(GAPPED, st.randoms(use_true_random=False))
def test_order_of_rows_and_names_of_raters_do_not_matter(scores: Array, order: object) -> None:
    frame = ratings(scores)
    found = score_agreement(frame, resamples=50)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=order.randrange(1000))  # type: ignore[attr-defined]
    assert_frame_equal(found, score_agreement(shuffled, resamples=50))
    names = ["zoe", "mia", "eve", "amy"][: scores.shape[1]]
    renamed = score_agreement(ratings(scores, names), resamples=50)
    of_all = pl.col("rater_a").is_null()
    assert_frame_equal(found.filter(of_all), renamed.filter(of_all), abs_tol=1e-9)
    assert sorted(found["estimate"].drop_nulls()) == pytest.approx(sorted(renamed["estimate"].drop_nulls()), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(GAPPED)
def test_whatever_comes_in_there_is_a_figure_or_a_reason(scores: Array) -> None:
    for found in (score_agreement(ratings(scores), resamples=60), icc_for_other_raters(ratings(scores))):
        assert found.schema == COLUMNS
        for row in found.iter_rows(named=True):
            values = [row["estimate"], row["low"], row["high"]]
            assert all(value is None or np.isfinite(value) for value in values), row
            assert (None in values) == (row["reason"] is not None), row
            assert row["estimate"] is None or row["estimate"] <= 1 + 1e-9, row
            if row["low"] is not None:
                assert row["low"] <= row["high"] <= 1 + 1e-9, row
            if "share" in row["measure"] and row["estimate"] is not None:
                assert row["estimate"] >= 0
            if row["measure"] == "quadratic_kappa" and row["estimate"] is not None:
                assert row["estimate"] >= -1 - 1e-9


@settings(max_examples=25, deadline=None)
@given(arrays(np.float64, st.integers(3, 8), elements=st.integers(0, 5).map(float)), st.integers(2, 4))
def test_perfect_agreement_is_one(levels: Array, raters: int) -> None:
    assume(np.ptp(levels) > 0)
    found = score_agreement(ratings(levels[:, None] * np.ones(raters)), resamples=60)
    assert found["estimate"].to_list() == pytest.approx([1.0] * found.height)
    assert set(found["reason"]) <= {ALL_ALIKE, "undefined in many resamples"}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([-2.0, -0.5, 0.5, 2.0]))
def test_a_constant_of_one_rater_costs_agreement_and_not_consistency(seed: int, constant: float) -> None:
    scores = panel(np.random.default_rng(seed), 30, (0, 0, 0), 1, 0.5)
    scores -= scores.mean(0)
    moved = scores + np.array([constant, 0, 0])
    before, after = (score_agreement(ratings(table), resamples=0) for table in (scores, moved))
    assert number(one(after, measure="icc_3_1")) == pytest.approx(number(one(before, measure="icc_3_1")))
    for measure in ("icc_2_1", "icc_2_k", "icc_1_1", "alpha_interval", "quadratic_kappa_mean"):
        assert number(one(after, measure=measure)) < number(one(before, measure=measure))


def reasons(scores: Array) -> dict[object, object]:
    found = score_agreement(ratings(scores)).filter(pl.col("rater_a").is_null())
    assert (
        found["estimate"].drop_nulls().len()
        == found.filter(pl.col("measure").str.contains("share"))["estimate"].drop_nulls().len()
    )
    return dict(found.select("measure", "reason").iter_rows())


def test_what_cannot_be_told_is_null_with_its_reason() -> None:
    assert set(reasons(np.full((4, 2), np.nan)).values()) == {ONE_RATER}
    assert set(reasons(np.arange(4.0)[:, None]).values()) == {ONE_RATER}
    apart = np.array([[1, np.nan], [2, np.nan], [np.nan, 3]])
    assert set(reasons(apart).values()) == {NONE_SHARED}
    alone = reasons(np.array([[1.0, 2.0]]))
    assert alone.pop("exact_share") == alone.pop("within_one_share") == ALL_ALIKE
    assert set(alone.values()) == {ONE_ITEM}
    flat = reasons(np.full((5, 3), 4.0))
    assert flat.pop("exact_share") == flat.pop("within_one_share") == ALL_ALIKE
    assert set(flat.values()) == {NO_VARIANCE}
    chain = np.array([[1, 1, np.nan], [2, np.nan, 3], [np.nan, 4, 4], [5, 4, np.nan], [0, np.nan, 1], [np.nan, 2, 2]])
    found = score_agreement(ratings(chain))
    assert one(found, measure="icc_2_1")["reason"] == NONE_COMPLETE
    assert number(one(found, measure="icc_1_1")) > 0.5
    assert number(one(found, measure="alpha_interval")) > 0.5


def test_a_dimension_without_scores_says_so() -> None:
    frame = ratings(SHROUT_FLEISS).with_columns(safety=pl.lit(None, pl.Float64), accuracy="score")
    found = score_agreement(frame.drop("dimension", "score"), resamples=50)
    assert set(found.filter(pl.col("dimension") == "safety")["reason"]) == {ONE_RATER}
    assert set(found.filter(pl.col("dimension") == "mean")["reason"]) == {ONE_RATER}
    assert score_agreement(frame.drop("dimension", "score").clear()).filter(pl.col("estimate").is_not_null()).is_empty()
    assert score_agreement(frame.select("item", "rater")).is_empty()


def test_decisions_that_cannot_be_told_say_why() -> None:
    schema = {"item": pl.String(), "rater": pl.String(), "decision": pl.String()}
    empty = decision_agreement(pl.DataFrame(schema=schema))
    assert set(empty["reason"]) == {ONE_RATER}
    same = pl.DataFrame([(f"i{i}", rater, "certify") for i in range(5) for rater in "ab"], schema=schema, orient="row")
    found = decision_agreement(same)
    assert one(found, measure="alpha_nominal")["reason"] == NO_VARIANCE
    assert one(found, measure="kappa_mean")["reason"] == NO_VARIANCE
    assert number(one(found, measure="exact_share")) == 1
    with pytest.raises(ValueError, match="several values of decision"):
        decision_agreement(pl.concat([same, same.with_columns(decision=pl.lit("reject"))]))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """300 items, three raters with constant offsets; with these the truth of every coefficient is known."""
    offsets, item_sd, error_sd, k = np.array([-0.4, 0.1, 0.3]), 1.0, 0.7, 3
    between, error, rater = item_sd**2, error_sd**2, float(offsets.var(ddof=1))
    alpha = (between - rater / k) / (between + error + rater * (k - 1) / k)
    gaps = [(a - b) ** 2 for i, a in enumerate(offsets) for b in offsets[i + 1 :]]
    truth = {
        "icc_2_1": between / (between + rater + error),
        "icc_2_k": between / (between + (rater + error) / k),
        "icc_3_1": between / (between + error),
        "icc_1_1": alpha,
        "alpha_interval": alpha,
        "quadratic_kappa_mean": float(np.mean([2 * between / (2 * (between + error) + gap) for gap in gaps])),
    }
    generator, rounds = np.random.default_rng(11), 60
    held = dict.fromkeys(truth, 0)
    for at in range(rounds):
        found = score_agreement(ratings(panel(generator, 300, offsets, item_sd, error_sd)), resamples=300, seed=at)
        for measure, value in truth.items():
            held[measure] += covers(one(found, measure=measure), value)
    assert all(count >= 52 for count in held.values()), held
    assert sum(held.values()) < rounds * len(truth), held
