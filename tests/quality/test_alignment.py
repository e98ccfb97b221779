"""An evaluator against raters: plain figures, weighted ones that speak about the whole, and bins."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, spearmanr

from quality.alignment import (
    CALIBRATION_COLUMNS,
    COLUMNS,
    NO_ITEM,
    NO_PROBABILITY,
    NONE_SHARED,
    alignment,
    calibration,
    correlations,
)
from quality.resampling import ALL_ALIKE, NO_VARIANCE, ONE_ITEM
from schemas.tables import DIMENSIONS
from tests.quality.rating_frames import Array, covers, number, one, panel, ratings


def evaluator(scores: Array, probability: Array | None = None) -> pl.DataFrame:
    frame = ratings(scores[:, None]).drop("rater")
    return frame if probability is None else frame.with_columns(inclusion_probability=pl.Series(probability))


def test_without_weights_the_figures_are_the_usual_ones() -> None:
    generator = np.random.default_rng(6)
    given = np.round(panel(generator, 40, (0, 0, 0.2), 1, 0.5))
    given[3, 1] = np.nan
    ours = np.round(np.nanmean(given, axis=1) + generator.normal(0.3, 0.5, 40), 1)
    found = alignment(evaluator(ours), ratings(given))
    theirs = np.nanmean(given, axis=1)
    usual = {
        "bias": (ours - theirs).mean(),
        "mae": np.abs(ours - theirs).mean(),
        "pearson": pearsonr(ours, theirs).statistic,
        "spearman": spearmanr(ours, theirs.round(9)).statistic,
    }
    for measure, value in usual.items():
        row = one(found, measure=measure)
        assert number(row) == pytest.approx(value)
        assert number(row, "low") < value < number(row, "high")
        assert (row["n_items"], row["n_effective"]) == (40, 40)
    assert found.schema == COLUMNS


def test_a_weight_is_so_many_copies() -> None:
    generator = np.random.default_rng(7)
    first, second = generator.integers(0, 6, size=(2, 20)).astype(float)
    counts = generator.integers(1, 4, size=20)
    weighted = correlations(first, second, counts.astype(float))(np.ones((1, 20)))[0]
    copies = [np.repeat(values, counts) for values in (first, second)]
    assert weighted == pytest.approx([pearsonr(*copies).statistic, spearmanr(*copies).statistic])


def test_weighted_figures_speak_about_the_whole() -> None:
    """Poisson samples of a population where the evaluator errs more where items are drawn less."""
    generator, n = np.random.default_rng(9), 1500
    quality = generator.normal(3, 1, n)
    probability = np.clip(0.05 + 0.15 * (quality - quality.min()), 0.05, 0.9)
    ours = quality + generator.normal(0, 0.3, n) + 0.8 * (probability < 0.3)
    rated = quality + generator.normal(0, 0.4, n)
    whole = alignment(evaluator(ours), ratings(rated[:, None]), resamples=0)
    truth = {str(row["measure"]): number(row) for row in whole.iter_rows(named=True)}
    weighted, plain, held = ({measure: [] for measure in truth} for _ in range(3))  # type: ignore[var-annotated]
    for at in range(60):
        drawn = generator.random(n) < probability
        given = ratings(rated[:, None]).filter(pl.Series(drawn))
        sample = evaluator(ours, probability).filter(pl.Series(drawn))
        found = alignment(sample, given, resamples=200, seed=at)
        unweighted = alignment(sample.drop("inclusion_probability"), given, resamples=0)
        for measure, value in truth.items():
            weighted[measure].append(number(one(found, measure=measure)))
            plain[measure].append(number(one(unweighted, measure=measure)))
            held[measure].append(covers(one(found, measure=measure), value))
    for measure, value in truth.items():
        error = np.std(weighted[measure], ddof=1) / np.sqrt(60)
        assert abs(np.mean(weighted[measure]) - value) < 3.5 * error, measure
        assert sum(held[measure]) >= 51, (measure, sum(held[measure]))
    for measure in ("bias", "mae"):
        assert abs(np.mean(plain[measure]) - truth[measure]) > 10 * np.std(plain[measure], ddof=1) / np.sqrt(60)


def test_unequal_weights_are_worth_fewer_items() -> None:
    found = alignment(evaluator(np.arange(4.0), np.array([1, 1, 1, 0.1])), ratings(np.arange(4.0)[::-1, None].copy()))
    assert number(one(found, measure="bias"), "n_effective") == pytest.approx(13**2 / 103)
    assert number(one(found, measure="bias")) == pytest.approx((-3 - 1 + 1 + 30) / 13)


def test_the_mean_is_over_the_dimensions_of_both() -> None:
    level = np.array([[1.0], [2.0], [4.0]])
    ours = pl.concat([ratings(level + at, dimension=name) for at, name in enumerate(DIMENSIONS)]).drop("rater")
    theirs = pl.concat([ratings(level, dimension=name) for name in DIMENSIONS[:2]])
    found = alignment(ours, theirs)
    assert number(one(found, dimension="mean", measure="bias")) == 0.5
    assert one(found, dimension=DIMENSIONS[5], measure="bias")["reason"] == NONE_SHARED


def test_bins_tell_what_raters_gave() -> None:
    ours = np.array([0.5, 0.9, 1.0, 4.0, 5.0])
    theirs = np.array([[1.0], [2.0], [3.0], [4.0], [4.5]])
    found = calibration(evaluator(ours, np.array([0.5, 1, 1, 1, 1])), ratings(theirs))
    assert found["n_items"].to_list() == [2, 1, 0, 0, 2]
    assert found["share"].to_list() == pytest.approx([3 / 6, 1 / 6, 0, 0, 2 / 6])
    assert sum(found["share"]) == pytest.approx(1)
    first = found.row(0, named=True)
    assert first["evaluator"] == pytest.approx((2 * 0.5 + 0.9) / 3)
    assert first["raters"] == pytest.approx((2 * 1 + 2) / 3)
    assert first["difference"] == pytest.approx(first["evaluator"] - first["raters"])
    assert first["low"] < first["raters"] < first["high"]
    assert found["reason"].to_list() == [None, ALL_ALIKE, NO_ITEM, NO_ITEM, None]
    assert found.schema == CALIBRATION_COLUMNS
    halves = calibration(evaluator(ours), ratings(theirs), edges=(0, 2.5, 5))
    assert halves["n_items"].to_list() == [3, 2]


def test_what_cannot_be_told_is_null_with_its_reason() -> None:
    theirs = ratings(np.arange(3.0)[:, None])
    unknown = alignment(evaluator(np.arange(3.0), np.array([1.0, 0.0, 0.5])), theirs)
    assert set(unknown["reason"]) == {NO_PROBABILITY}
    assert set(calibration(evaluator(np.arange(3.0), np.array([1.0, np.nan, 0.5])), theirs)["reason"]) == {
        NO_PROBABILITY
    }
    single = alignment(evaluator(np.array([2.0])), theirs)
    assert number(one(single, measure="bias")) == 2
    assert one(single, measure="spearman")["reason"] == ONE_ITEM
    flat = alignment(evaluator(np.full(3, 2.0)), theirs)
    assert one(flat, measure="pearson")["reason"] == one(flat, measure="spearman")["reason"] == NO_VARIANCE
    assert set(alignment(evaluator(np.arange(3.0)), theirs.clear())["reason"]) == {NONE_SHARED}
    assert alignment(evaluator(np.zeros(0)), theirs).is_empty()
