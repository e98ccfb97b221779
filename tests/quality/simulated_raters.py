"""Raters who are programs: what they would say of a text follows from a known model, so every figure has a true value.

A text has a true score on each dimension. A rater sees it through a bias of the dimension, through an opinion of the
text that stays, and through a mood that does not (retest noise), wanders along the own list (drift), and gives whole
points from 0 to 5. Decisions follow from the scores by a rule that anybody can read. A planted fault costs accuracy and
safety where it is noticed. Now and then a case cannot be judged, or is flagged, whatever its scores.

Who is asked what, and where in the list, is taken from a real plan (:data:`annotators.label_studio.queue.PLAN`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.tables import DIMENSIONS

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Words = npt.NDArray[np.str_]

#: True scores: their means by dimension, and the standard deviations of what a text is like as a whole and of what it
#: is like on one dimension beside that.
LEVELS, WHOLE, APART = (4.4, 4.5, 4.1, 3.8, 4.2, 3.9), 0.6, 0.35
#: Of the whole, the share of the variance that an evaluator's score explains, where one is given.
EXPLAINED = 0.5
#: What a fault that is noticed costs, on the first two dimensions.
COST = 3.0


@dataclass(frozen=True)
class SimulatedRater:
    """``bias`` by dimension and ``opinion``, ``mood`` (standard deviations) in points; ``drift``: points per 100 places
    of the list; ``overlooks``, ``cannot_judge``, ``flags``: chances."""

    bias: tuple[float, ...]
    opinion: float
    mood: float
    drift: float
    overlooks: float
    cannot_judge: float = 0.02
    flags: float = 0.01


#: A mild one who trusts too much, one who keeps to the middle of the road and wanders off it, and a harsh one.
PANEL = (
    SimulatedRater((0.3, 0.2, 0.3, 0.4, 0.2, 0.3), 0.25, 0.30, 0.0, 0.5),
    SimulatedRater((0.0, 0.1, 0.0, -0.1, 0.0, 0.1), 0.30, 0.40, -0.12, 0.25),
    SimulatedRater((-0.3, -0.2, -0.4, -0.3, -0.2, -0.4), 0.35, 0.35, 0.06, 0.05),
)


@dataclass(frozen=True)
class Rows:
    """Looks of raters at texts: indices of the text and of the rater, place in the rater's list, whether a fault is
    planted."""

    item: Numbers
    rater: Numbers
    place: Array
    planted: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Said:
    """``levels``: true scores (texts, 6); ``scores``: (looks, 6), NaN where the case could not be judged."""

    levels: Array
    scores: Array
    flagged: npt.NDArray[np.bool_]


def decisions(scores: Array) -> Words:
    """What raters decide who gave these scores (..., 6): accuracy or safety up to 2 rejects; both from 4, and nothing
    below 3, certifies."""
    grave = scores[..., :2].min(-1)
    certain = (grave >= 4) & (scores.min(-1) >= 3)
    told: Words = np.select(
        [np.isnan(grave), grave <= 2, certain], ["cannot_judge", "reject", "certify"], default="revise"
    )
    return told


def simulate(
    rows: Rows, n_items: int, panel: Sequence[SimulatedRater], seed: int, evaluator: Array | None = None
) -> Said:
    """What the panel says. ``evaluator``: a standardised score of each text that true scores go along with."""
    generator = np.random.default_rng(seed)
    whole = generator.normal(size=n_items)
    if evaluator is not None:
        whole = np.sqrt(1 - EXPLAINED) * whole + np.sqrt(EXPLAINED) * evaluator
    apart = generator.normal(size=(n_items, len(DIMENSIONS)))
    levels = np.clip(np.array(LEVELS) + WHOLE * whole[:, None] + APART * apart, 0, 5)
    opinions = generator.normal(size=(len(panel), n_items, len(DIMENSIONS)))

    def of(name: str) -> Array:
        return np.array([getattr(rater, name) for rater in panel], dtype=np.float64)[rows.rater]

    seen = levels[rows.item] + of("bias") + of("opinion")[:, None] * opinions[rows.rater, rows.item]
    seen += of("mood")[:, None] * generator.normal(size=seen.shape) + (of("drift") * rows.place / 100)[:, None]
    noticed = rows.planted & (generator.random(len(rows.item)) >= of("overlooks"))
    seen[noticed, :2] -= COST
    scores = np.clip(np.rint(seen), 0, 5)
    scores[generator.random(len(scores)) < of("cannot_judge")] = np.nan
    return Said(levels, scores, generator.random(len(scores)) < of("flags"))


def rows_of(plan: pl.DataFrame) -> tuple[Rows, list[str], list[str]]:
    """The looks of a plan, in its order, and the names of the texts and of the raters behind the indices."""
    items, raters = plan["narrative_id"].unique().sort(), plan["rater"].unique().sort()
    rows = Rows(
        items.search_sorted(plan["narrative_id"]).to_numpy().astype(np.int64),
        raters.search_sorted(plan["rater"]).to_numpy().astype(np.int64),
        plan["place"].to_numpy().astype(np.float64),
        plan["planted"].is_not_null().to_numpy(),
    )
    return rows, items.to_list(), raters.to_list()


def answers(
    plan: pl.DataFrame, panel: Sequence[SimulatedRater], seed: int, evaluator: Mapping[str, float] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The plan's rows with what is said (scores, ``decision``, ``flagged``), and the true scores of its texts.

    The panel is in the order of the raters' names. ``evaluator``: text -> standardised score.
    """
    rows, items, _ = rows_of(plan)
    given = None if evaluator is None else np.array([evaluator[name] for name in items])
    said = simulate(rows, len(items), panel, seed, given)
    columns = {name: pl.Series(said.scores[:, at]).fill_nan(None) for at, name in enumerate(DIMENSIONS)}
    told = plan.with_columns(**columns, decision=pl.Series(decisions(said.scores)), flagged=pl.Series(said.flagged))
    levels = pl.DataFrame({"item": items, **{name: said.levels[:, at] for at, name in enumerate(DIMENSIONS)}})
    return told, levels


def ratings(told: pl.DataFrame) -> pl.DataFrame:
    """What was said in the columns of :mod:`quality.rating_tables`."""
    return told.select(
        pl.col("narrative_id").alias("item"),
        "rater",
        pl.col("place").alias("sequence"),
        "occasion",
        pl.col("planted").is_not_null().alias("planted"),
        *DIMENSIONS,
        pl.when(pl.col("decision") != "cannot_judge").then("decision").alias("decision"),
    )
