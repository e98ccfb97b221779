"""What a rater's answers say of the rater: for whoever runs the study, never published."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from quality.rater_drift import drift
from quality.rater_profile import automation_bias, gold_errors, retest, severity
from quality.rating_tables import dimensions_of
from schemas.config import AnnotateSettings
from schemas.errors import UserError
from schemas.tables import DIMENSIONS

#: Figures of one rater, of the mean over the dimensions, as far as there are any. ``measure``: of
#: :mod:`quality.rater_profile` and :mod:`quality.rater_drift`; ``n_items``: how many it rests on.
FIGURES = pl.Schema(
    {
        "rater": pl.String(),
        "measure": pl.String(),
        "estimate": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "n_items": pl.Int64(),
    }
)
MEASURES = ("bias", "gold_mae", "retest_mad", "gold_drift", "consensus_drift", "planted_certified", "sound_certified")
_RESAMPLES = 200


def rater_figures(latest: pl.DataFrame, gold: pl.DataFrame | None) -> pl.DataFrame:
    """:data:`FIGURES` of every rater of the latest annotations; ``gold``: as :func:`gold_scores` gives it.

    Practice is left out, and so are adjudications, since whoever adjudicates has read what others wrote; as work done
    they count all the same where a place in a rater's sequence is asked for.
    """
    everything = latest.rename({"narrative_id": "item", "created_at": "sequence"})
    counts = pl.col("occasion").is_in(["first", "repeat", "gold"])
    told = everything.filter(counts)
    counts &= pl.col("planted").is_null()
    placed = everything.with_columns(pl.when(counts).then(pl.col(name)).alias(name) for name in DIMENSIONS)
    placed = placed.select("item", "rater", "occasion", "sequence", *DIMENSIONS)
    scored = told.filter(pl.col("planted").is_null() & pl.col("accuracy").is_not_null())
    scored = scored.select("item", "rater", "occasion", "sequence", *DIMENSIONS)
    again = scored.filter(pl.col("occasion") != "gold")
    decided = told.filter(pl.col("decision") != "cannot_judge").with_columns(
        pl.col("planted").is_not_null(), item=pl.concat_str("item", pl.col("planted").fill_null(""), separator="+")
    )
    found = [
        severity(scored, resamples=_RESAMPLES),
        retest(again, resamples=_RESAMPLES),
        automation_bias(decided.select("item", "rater", "occasion", "decision", "planted")),
        drift(placed),
    ]
    common = "mean"
    if gold is not None:
        common = dimensions_of(gold)[-1]
        found += [gold_errors(scored, gold, resamples=_RESAMPLES), drift(placed, gold)]
    rows = pl.concat([frame.select("dimension", *FIGURES) for frame in found])
    wanted = pl.when(pl.col("measure").str.starts_with("gold")).then(pl.lit(common)).otherwise(pl.lit("mean"))
    rows = rows.filter(pl.col("dimension").is_in(["decision"]) | (pl.col("dimension") == wanted))
    return rows.filter(pl.col("measure").is_in(MEASURES) & pl.col("estimate").is_not_null()).select(list(FIGURES))


def gold_table(settings: AnnotateSettings) -> pl.DataFrame | None:
    """The table named as ``annotate.gold``, with the column ``narrative_id``; None where none is named."""
    if settings.gold is None:
        return None
    file = Path(settings.gold)
    try:
        frame = pl.read_parquet(file) if file.suffix == ".parquet" else pl.read_csv(file)
        return frame.with_columns(pl.col("narrative_id").cast(pl.String)).unique("narrative_id", maintain_order=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{file} is no Parquet or CSV table with a column narrative_id: mend annotate.gold") from error


def gold_scores(settings: AnnotateSettings) -> pl.DataFrame | None:
    """``item`` and the scores of the narratives whose scores are known; None where no table gives any."""
    frame = gold_table(settings)
    named = [] if frame is None else [name for name in DIMENSIONS if name in frame.columns]
    if frame is None or not named:
        return None
    try:
        return frame.select(pl.col("narrative_id").alias("item"), pl.col(named).cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise UserError(f"a score in {settings.gold} is no number: mend annotate.gold") from error
