"""How far a study is, from the latest pull: per rater and in all. No server is asked."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from annotators.label_studio.ledger import ADJUDICATION, SCORING, SHARED, Ledger, ProjectRecord, of_project
from annotators.label_studio.raters import Rater
from flows.rater_figures import gold_scores, rater_figures
from quality.agreement import decision_agreement, score_agreement
from schemas.config import AnnotateSettings
from schemas.errors import UserError
from schemas.tables import DIMENSIONS

_RESAMPLES = 200


@dataclass(frozen=True)
class RaterStatus:
    """One rater in one project. ``seconds``: median per case; ``today``: cases that the rater answered since midnight
    here, in whatever project."""

    rater: str
    title: str
    done: int
    left: int
    seconds: float | None
    quarantined: int
    today: int
    capped: bool


@dataclass(frozen=True)
class Status:
    """``agreement``: one row per dimension and for the decision, of what raters scored for the first time;
    ``figures``: of each rater, as :data:`flows.rater_figures.FIGURES`; ``annotations``: of the latest pull, None before
    the first."""

    raters: tuple[RaterStatus, ...]
    agreement: pl.DataFrame
    figures: pl.DataFrame
    annotations: pl.DataFrame | None


def status_of(
    ledger: Ledger, settings: AnnotateSettings, raters: Mapping[str, Rater], now: datetime.datetime
) -> Status:
    """The status as of the latest pull; ``now`` with its time zone."""
    tables = ledger.snapshot()
    if not ledger.begun():
        raise UserError("nothing was pushed from this workspace yet: run `dermcot annotate push` first")
    assignments = ledger.assignments()
    records = {(record.rater, record.purpose): record for record in ledger.projects()}  # the youngest of each
    if tables is None:
        rows = [_row(name, record, assignments, None, None, settings, now) for (name, _), record in records.items()]
        return Status(tuple(rows), pl.DataFrame(), pl.DataFrame(), None)
    annotations, quarantine = tables
    latest = annotations.filter("is_latest")
    working = {place: record for place, record in records.items() if place[0] != SHARED}
    if shared := records.get((SHARED, SCORING)):
        working |= {(name, SCORING): shared for name in set(latest["rater"]) if (name, SCORING) not in working}
    judging = [r.project_id for r in ledger.projects() if r.purpose == ADJUDICATION]
    aside = quarantine.with_columns(pl.col("project_id").is_in(judging).alias("judging"))
    rows = [
        _row(name, record, assignments, latest, aside, settings, now)
        for (name, _), record in sorted(working.items(), key=lambda told: (told[0][0], told[0][1] == ADJUDICATION))
        if name in raters
    ]
    figures = rater_figures(latest.filter(pl.col("rater").is_in(list(raters))), gold_scores(settings))
    return Status(tuple(rows), agreement_so_far(latest), figures, annotations)


def agreement_so_far(latest: pl.DataFrame) -> pl.DataFrame:
    """Ordinal alpha of scores and nominal alpha of decisions, over what two or more raters saw for the first time."""
    told = latest.filter((pl.col("occasion") == "first") & pl.col("planted").is_null())
    told = told.rename({"narrative_id": "item"})
    columns = ["dimension", "measure", "estimate", "low", "high", "n_items"]
    scored = told.filter(pl.col("accuracy").is_not_null())
    scores = score_agreement(scored.select("item", "rater", *DIMENSIONS), resamples=_RESAMPLES)
    words = decision_agreement(told.select("item", "rater", "decision"), resamples=_RESAMPLES)
    return pl.concat(
        [
            scores.filter(pl.col("measure") == "alpha_ordinal").select(columns),
            words.filter(pl.col("measure") == "alpha_nominal").select(columns),
        ]
    )


def _row(
    name: str,
    record: ProjectRecord,
    assignments: pl.DataFrame,
    latest: pl.DataFrame | None,
    quarantine: pl.DataFrame | None,
    settings: AnnotateSettings,
    now: datetime.datetime,
) -> RaterStatus:
    title = record.title
    assigned = of_project(assignments, record.rater, record.purpose).height
    if latest is None or quarantine is None:
        return RaterStatus(name, title, 0, assigned, None, 0, 0, False)
    everything = latest.filter(pl.col("rater") == name)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    today = everything.filter(pl.col("updated_at") >= midnight).height
    mine = of_project(everything, name, record.purpose)
    seconds = mine.filter(pl.col("occasion") != "practice")["seconds"].median()
    place = (pl.col("rater") == name) & (pl.col("judging") == (record.purpose == ADJUDICATION))
    aside = quarantine.filter(place & (pl.col("rule") != "deleted")).height
    return RaterStatus(
        name, title, mine.height, assigned - mine.height, seconds if isinstance(seconds, float) else None, aside, today,
        settings.daily_cap is not None and today >= settings.daily_cap,
    )  # fmt: skip
