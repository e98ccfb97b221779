"""The true value of every figure of agreement, bias, drift and retest under :mod:`tests.quality.simulated_raters`.

Computed from very many simulated texts by the definitions (variance components, tables of coincidences), none of it by
the code under test. Places in the lists are those of the plan at hand, so drift counts as it did there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from scipy.stats import rankdata

from quality.agreement import decision_agreement, score_agreement
from quality.rater_drift import drift
from quality.rater_profile import automation_bias, gold_errors, retest, severity
from schemas.tables import DIMENSIONS
from tests.quality.simulated_raters import (
    Array,
    Numbers,
    Rows,
    Said,
    SimulatedRater,
    decisions,
    rows_of,
    simulate,
)

#: ``other``: the second rater of a pair, null elsewhere, like ``rater`` where the figure is of all.
TRUTH = pl.Schema(
    {
        "rater": pl.String(),
        "other": pl.String(),
        "dimension": pl.String(),
        "measure": pl.String(),
        "truth": pl.Float64(),
    }
)
_Row = tuple[str | None, str | None, str, str, float]
_FIGURE = ["rater", "other", "dimension", "measure"]


def found_figures(ratings: pl.DataFrame, gold: pl.DataFrame, resamples: int = 1000) -> pl.DataFrame:
    """The figures of :data:`TRUTH` as the code under test finds them: ``estimate``, ``low``, ``high``, ``n_items``.

    ``ratings``: everything that was said, so that places count; ``gold``: true scores of whatever texts.
    """
    scored = ratings.filter(pl.col("occasion").is_in(["first", "repeat"]))
    known = gold.join(ratings.filter((pl.col("occasion") == "gold") & ~pl.col("planted")), on="item", how="semi")
    panel = pl.concat([score_agreement(scored, resamples=resamples), decision_agreement(scored, resamples=resamples)])
    counts = pl.col("occasion").is_in(["first", "repeat", "gold"]) & ~pl.col("planted")
    sound = ratings.with_columns(pl.when(counts).then(pl.col(name)).alias(name) for name in DIMENSIONS)
    frames = [
        panel.rename({"rater_a": "rater", "rater_b": "other"}),
        *(
            frame.with_columns(pl.lit(None, pl.String).alias("other"))
            for frame in (
                severity(scored, resamples=resamples),
                retest(scored, resamples=resamples),
                gold_errors(sound, known, resamples=resamples),
                drift(sound),
                drift(sound, known),
                automation_bias(ratings),
            )
        ),
    ]
    columns = [*_FIGURE, "estimate", "low", "high", "n_items"]
    return pl.concat([frame.select(columns) for frame in frames])


def compared(found: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Both, for each figure that has a true value and an interval, and whether that is ``held`` by this."""
    rows = found.join(truth, on=_FIGURE, nulls_equal=True).drop_nulls(["low", "truth"])
    return rows.with_columns(held=pl.col("truth").is_between("low", "high"))


def true_figures(
    plan: pl.DataFrame,
    panel: Sequence[SimulatedRater],
    evaluator: Mapping[str, float] | None = None,
    many: int = 200_000,
    seed: int = 1,
) -> pl.DataFrame:
    """:data:`TRUTH` of studies after this plan, in which every rater sees every text, from ``many`` texts.

    ``evaluator``: as :func:`tests.quality.simulated_raters.answers` has it.
    """
    rows, items, raters = rows_of(plan)
    generator = np.random.default_rng(seed)
    occasion = plan["occasion"].to_numpy()
    places = first_places(plan)
    asked = np.nonzero(~np.isnan(places).any(1))[0]
    drawn = generator.choice(asked, many)
    explained = None if evaluator is None else np.array([evaluator[name] for name in items])
    scores = panel_scores(places[drawn], panel, seed, None if explained is None else explained[drawn])
    found: list[_Row] = []
    for dimension, values in by_dimension(scores):
        found += [(None, None, dimension, *told) for told in _of_panel(values)]
        found += _of_pairs(values, raters, dimension, "quadratic_kappa")
        found += _severity(values, raters, dimension)
        others = np.stack([_others(values, at) for at in range(len(raters))], 1)
        found += _slopes(values, others, places[drawn], raters, dimension, "consensus_drift")
    words, codes = np.unique(decisions(scores), return_inverse=True)
    unjudged = np.array([word == "cannot_judge" for word in words])
    found += _of_decisions(np.where(unjudged, np.nan, np.arange(len(words)))[codes].reshape(many, -1), raters)
    population = _Population(rows, panel, explained, generator, many)
    for at, rater in enumerate(raters):
        first, again, gold = (
            np.nonzero((rows.rater == at) & ~rows.planted & (occasion == name))[0]
            for name in ("first", "repeat", "gold")
        )
        found += _retest(population, first, again, rater)
        found += _gold(population, gold, rater)
        found += _planted(population, np.nonzero((rows.rater == at) & rows.planted)[0], rater)
    return pl.DataFrame(found, schema=TRUTH, orient="row")


def first_places(plan: pl.DataFrame) -> Array:
    """Where in each rater's list each text of a plan stands for the first time: (texts, raters), NaN for nowhere."""
    rows, items, raters = rows_of(plan)
    places = np.full((len(items), len(raters)), np.nan)
    first = plan["occasion"].to_numpy() == "first"
    places[rows.item[first], rows.rater[first]] = rows.place[first]
    return places


def panel_scores(places: Array, panel: Sequence[SimulatedRater], seed: int, evaluator: Array | None = None) -> Array:
    """What a panel says of texts at places (texts, raters): (texts, raters, 6)."""
    n, k = places.shape
    looks = Rows(np.arange(n).repeat(k), np.tile(np.arange(k), n), places.ravel(), np.zeros(n * k, bool))
    return simulate(looks, n, panel, seed, evaluator).scores.reshape(n, k, -1)


def aligned_figures(evaluator: Array, panel: Array) -> pl.DataFrame:
    """:data:`TRUTH` of an evaluator (texts, 6) beside the mean of a panel (texts, raters, 6), from all the texts."""
    rows: list[_Row] = []
    for (dimension, ours), (_, theirs) in zip(by_dimension(evaluator), by_dimension(panel), strict=True):
        judged = ~np.isnan(theirs).all(1)
        a, b = ours[judged], np.nanmean(theirs[judged], axis=1).round(9)
        for measure, value in (
            ("bias", (a - b).mean()),
            ("mae", np.abs(a - b).mean()),
            ("pearson", np.corrcoef(a, b)[0, 1]),
            ("spearman", np.corrcoef(rankdata(a), rankdata(b))[0, 1]),
        ):
            rows.append((None, None, dimension, measure, float(value)))
    return pl.DataFrame(rows, schema=TRUTH, orient="row")


def by_dimension(scores: Array) -> Iterator[tuple[str, Array]]:
    """Each dimension's scores, and their mean's; the last axis of ``scores`` is the dimension."""
    for at, name in enumerate(DIMENSIONS):
        yield name, scores[..., at]
    yield "mean", np.round(scores.mean(-1), 9)


def _of_panel(values: Array) -> list[tuple[str, float]]:
    """ICC from the raters' covariances (Shrout and Fleiss 1979, at infinitely many targets), alpha from the table of
    coincidences (Krippendorff 2011), shares of pairs by counting."""
    complete = values[~np.isnan(values).any(1)]
    k = values.shape[1]
    covariances = np.cov(complete.T)
    own = float(np.trace(covariances)) / k
    shared = (float(covariances.sum()) - own * k) / (k * (k - 1))
    offset = float(complete.mean(0).var(ddof=1))
    gaps = np.abs(np.concatenate([values[:, i] - values[:, j] for i, j in combinations(range(k), 2)]))
    gaps = gaps[~np.isnan(gaps)]
    return [
        ("icc_2_1", shared / (own + offset)),
        ("icc_2_k", k * shared / (own + (k - 1) * shared + offset)),
        ("icc_3_1", shared / own),
        ("icc_1_1", _one_way(values)),
        ("alpha_ordinal", alpha(values, "ordinal")),
        ("alpha_interval", alpha(values, "interval")),
        ("exact_share", float((gaps < 1e-6).mean())),
        ("within_one_share", float((gaps < 1 + 1e-6).mean())),
    ]


def _one_way(values: Array) -> float:
    """ICC(1,1) of items with two scores or more, by the mean squares between and within (Donner 1986)."""
    counts = (~np.isnan(values)).sum(1)
    values, counts = values[counts > 1], counts[counts > 1]
    means = np.nanmean(values, axis=1)
    n, total = len(values), counts.sum()
    between = (counts * (means - np.nanmean(values)) ** 2).sum() / (n - 1)
    within = np.nansum((values - means[:, None]) ** 2) / (total - n)
    size = (total - (counts**2).sum() / total) / (n - 1)
    return float((between - within) / (between + (size - 1) * within))


def alpha(values: Array, metric: str) -> float:
    """Krippendorff's alpha, from coincidences of values."""
    told = np.unique(values[~np.isnan(values)])
    held = (values[:, :, None] == told).sum(1).astype(float)
    counts = held.sum(1)
    held, counts = held[counts > 1], counts[counts > 1]
    coincidences = (held / (counts[:, None] - 1)).T @ held - np.diag((held / (counts[:, None] - 1)).sum(0))
    margin = coincidences.sum(1)
    if metric == "ordinal":
        below = np.cumsum(margin) - margin / 2
        distance = (below[:, None] - below) ** 2
    else:
        distance = (told[:, None] - told) ** 2 if metric == "interval" else (told[:, None] != told).astype(float)
    n = margin.sum()
    expected = (np.outer(margin, margin) * distance).sum() / (n - 1)
    return float(1 - (coincidences * distance).sum() / expected)


def _kappa(first: Array, second: Array, quadratic: bool) -> float:
    """Cohen's kappa from the table of two raters (Cohen 1960, 1968)."""
    both = ~np.isnan(first) & ~np.isnan(second)
    told, codes = np.unique(np.concatenate([first[both], second[both]]), return_inverse=True)
    a, b = codes[: both.sum()], codes[both.sum() :]
    table = np.bincount(a * len(told) + b, minlength=len(told) ** 2).reshape(len(told), -1) / both.sum()
    weights = (told[:, None] - told) ** 2 if quadratic else (told[:, None] != told).astype(float)
    return float(1 - (weights * table).sum() / (weights * np.outer(table.sum(1), table.sum(0))).sum())


def _of_pairs(values: Array, raters: Sequence[str], dimension: str, measure: str) -> list[_Row]:
    rows: list[_Row] = []
    for i, j in combinations(range(len(raters)), 2):
        kappa = _kappa(values[:, i], values[:, j], measure == "quadratic_kappa")
        rows.append((raters[i], raters[j], dimension, measure, kappa))
    return [*rows, (None, None, dimension, f"{measure}_mean", float(np.mean([row[-1] for row in rows])))]


def _of_decisions(codes: Array, raters: Sequence[str]) -> list[_Row]:
    pairs = np.concatenate([codes[:, [i, j]] for i, j in combinations(range(len(raters)), 2)])
    pairs = pairs[~np.isnan(pairs).any(1)]
    return [
        (None, None, "decision", "alpha_nominal", alpha(codes, "nominal")),
        (None, None, "decision", "exact_share", float((pairs[:, 0] == pairs[:, 1]).mean())),
        *_of_pairs(codes, raters, "decision", "kappa"),
    ]


def _others(values: Array, at: int) -> Array:
    """The mean of the others' scores, NaN where no other gave one."""
    theirs = np.delete(values, at, axis=1)
    given = (~np.isnan(theirs)).sum(1)
    return np.where(given > 0, np.nansum(theirs, axis=1) / np.maximum(given, 1), np.nan)


def _severity(values: Array, raters: Sequence[str], dimension: str) -> list[_Row]:
    rows: list[_Row] = []
    for at, rater in enumerate(raters):
        rows.append((rater, None, dimension, "bias", float(np.nanmean(values[:, at] - _others(values, at)))))
        others = np.nanvar(np.delete(values, at, axis=1), axis=0).mean()
        rows.append((rater, None, dimension, "spread", float(np.sqrt(np.nanvar(values[:, at]) / others))))
    return rows


def _slopes(
    values: Array, reference: Array, places: Array, raters: Sequence[str], dimension: str, measure: str
) -> list[_Row]:
    """Points per 100 places, by the covariance of place and gap over the variance of place."""
    rows: list[_Row] = []
    for at, rater in enumerate(raters):
        gap = values[:, at] - reference[:, at]
        there = ~np.isnan(gap)
        told = np.cov(places[there, at] / 100, gap[there])
        rows.append((rater, None, dimension, measure, float(told[0, 1] / told[0, 0])))
    return rows


@dataclass(frozen=True)
class _Population:
    """Very many texts like those at the rows ``at`` of a plan, as one rater sees them."""

    plan: Rows
    panel: Sequence[SimulatedRater]
    evaluator: Array | None
    generator: np.random.Generator
    many: int

    def said(self, at: Numbers, again: Numbers | None = None) -> tuple[Said, Array]:
        """What is said at places drawn from ``at``, and the places; with ``again``, then what is said of the same texts
        at their places there."""
        drawn = self.generator.integers(len(at), size=self.many)
        looks = np.concatenate([at[drawn], *([] if again is None else [again[drawn]])])
        item = np.arange(len(looks)) % self.many
        rows = Rows(item, self.plan.rater[looks], self.plan.place[looks], self.plan.planted[looks])
        given = None if self.evaluator is None else self.evaluator[self.plan.item[at[drawn]]]
        return simulate(rows, self.many, self.panel, int(self.generator.integers(1 << 30)), given), rows.place


def _retest(population: _Population, first: Numbers, again: Numbers, rater: str) -> list[_Row]:
    plan = population.plan
    at = {plan.item[row]: row for row in first}
    if not len(again):
        return []
    scores = population.said(np.array([at[plan.item[row]] for row in again]), again)[0].scores
    found: list[_Row] = []
    for dimension, values in by_dimension(scores):
        before, after = values[: population.many], values[population.many :]
        for measure, value in (
            ("retest_kappa", _kappa(before, after, True)),
            ("retest_mad", float(np.nanmean(np.abs(after - before)))),
            ("retest_shift", float(np.nanmean(after - before))),
        ):
            found.append((rater, None, dimension, measure, value))
    return found


def _gold(population: _Population, at: Numbers, rater: str) -> list[_Row]:
    if not len(at):
        return []
    said, places = population.said(at)
    found: list[_Row] = []
    for (dimension, values), (_, truth) in zip(by_dimension(said.scores), by_dimension(said.levels), strict=True):
        error = values - truth
        found.append((rater, None, dimension, "gold_bias", float(np.nanmean(error))))
        found.append((rater, None, dimension, "gold_mae", float(np.nanmean(np.abs(error)))))
        found += _slopes(values[:, None], truth[:, None], places[:, None], [rater], dimension, "gold_drift")
    return found


def _planted(population: _Population, at: Numbers, rater: str) -> list[_Row]:
    if not len(at):
        return []
    words = decisions(population.said(at)[0].scores)
    certified = (words == "certify").sum() / (words != "cannot_judge").sum()
    return [(rater, None, "decision", "planted_certified", float(certified))]
