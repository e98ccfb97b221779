"""How often 95 % intervals hold the truth, as a ratio to 0.95, over studies by simulated raters.

python -m tests.benchmarks.bench_coverage [narratives] [studies]
"""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
from scipy.stats import binom

from annotators.label_studio.queue import PLAN, Seat, plan
from quality.alignment import alignment
from schemas.config import AnnotateSettings
from schemas.tables import DIMENSIONS
from tests.annotators.label_studio.study_parts import made_up
from tests.quality.simulated_raters import PANEL, Array, Rows, answers, ratings, simulate
from tests.quality.true_figures import TRUTH, aligned_figures, compared, found_figures, true_figures

RATERS = ("a", "b", "c")
#: Chance of being drawn where the evaluator's mean is below 4, and elsewhere; how many there are for one drawn, about.
CHANCES, FOR_ONE = (0.4, 0.08), 5
MANY = 200_000


def main(narratives: int = 60, studies: int = 200) -> None:
    share = 0.05 if narratives >= 200 else 0.2
    settings = AnnotateSettings(gold_share=share, planted_share=share, repeat_share=max(0.1, share))
    material = made_up(narratives, extras=narratives)
    none = pl.DataFrame(schema=PLAN)
    assigned = plan(material.candidates, material.extras, [Seat(name) for name in RATERS], none, settings).assignments
    truth = pl.concat([true_figures(assigned, PANEL, many=MANY), true_alignment()])
    rounds = []
    for seed in range(studies):
        told, levels = answers(assigned, PANEL, seed)
        found = [found_figures(ratings(told), levels, resamples=500), aligned(narratives * FOR_ONE, seed)]
        rounds.append(compared(pl.concat(found), truth).with_columns(study=pl.lit(seed)))
        if sys.stderr.isatty():
            print(f"{seed + 1:,} of {studies:,} studies", end="\r", file=sys.stderr)
    tell(pl.concat(rounds))


def evaluated(n: int, seed: int) -> tuple[Array, Array]:
    """What the panel (n, 3, 6) and an evaluator (n, 6) say of texts: kinder, and not always of the same mind."""
    k = len(PANEL)
    rows = Rows(np.arange(n).repeat(k), np.tile(np.arange(k), n), np.zeros(n * k), np.zeros(n * k, bool))
    said = simulate(rows, n, PANEL, seed)
    noise = np.random.default_rng(seed + 1_000_000).normal(0.2, 0.4, size=said.levels.shape)
    return said.scores.reshape(n, k, -1), np.clip(said.levels + noise, 0, 5)


def true_alignment() -> pl.DataFrame:
    panel, evaluator = evaluated(MANY, 7)
    return aligned_figures(evaluator, panel)


def aligned(n: int, seed: int) -> pl.DataFrame:
    """The alignment that a sample tells in which doubtful texts are more frequent."""
    panel, evaluator = evaluated(n, seed)
    chances = np.where(evaluator.mean(1) < 4, *CHANCES)
    drawn = np.nonzero(np.random.default_rng(seed + 2_000_000).random(n) < chances)[0]
    names = [f"i{at}" for at in drawn]
    scores = {name: evaluator[drawn, at] for at, name in enumerate(DIMENSIONS)}
    ours = pl.DataFrame({"item": names, "inclusion_probability": chances[drawn], **scores})
    theirs = pl.concat(
        pl.DataFrame({"item": names, **{name: panel[drawn, at, d] for d, name in enumerate(DIMENSIONS)}}).with_columns(
            rater=pl.lit(rater)
        )
        for at, rater in enumerate(RATERS)
    )
    found = alignment(ours, theirs, resamples=500).with_columns(
        pl.lit(None, pl.String).alias("rater"), pl.lit(None, pl.String).alias("other")
    )
    return found.select([*list(TRUTH)[:4], "estimate", "low", "high", "n_items"])


def tell(rows: pl.DataFrame) -> None:
    of_rater = pl.col("rater").is_not_null() & pl.col("other").is_null()
    rows = rows.with_columns(pl.when(of_rater).then(pl.lit("rater")).otherwise(pl.lit("panel")).alias("of"))
    measures = rows.group_by("of", "measure").agg(
        pl.col("n_items").median().cast(pl.Int64).alias("items"),
        pl.len().alias("intervals"),
        pl.col("held").mean(),
        (pl.col("held").mean() / 0.95).alias("ratio"),
        (pl.col("estimate") - pl.col("truth")).mean().alias("error"),
    )
    with pl.Config(tbl_rows=-1, float_precision=3, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(measures.sort("of", "measure"))
    misses = rows.group_by("study").agg((~pl.col("held")).sum(), pl.len().alias("figures"))
    mean, spread = float(misses["held"].mean()), float(misses["held"].std())  # type: ignore[arg-type]
    figures = int(misses["figures"].median())  # type: ignore[arg-type]
    alone = float(binom.std(figures, mean / figures))
    print(f"of {figures} figures of a study {mean:.1f} miss the truth on average, with a standard deviation of "
          f"{spread:.1f}: {(spread / alone) ** 2:.1f} figures are worth one independent one")  # fmt: skip
    print(f"1 study in 100 misses {misses['held'].quantile(0.99):.0f}, the worst {misses['held'].max()}")


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:]))
