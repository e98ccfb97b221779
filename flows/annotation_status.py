"""How far a study is, from the latest pull: per rater and in all. No server is asked."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from annotators.label_studio.ledger import SHARED, Ledger
from annotators.label_studio.raters import Rater
from quality.agreement import decision_agreement, score_agreement
from schemas.config import AnnotateSettings
from schemas.errors import UserError
from schemas.tables import DIMENSIONS

_RESAMPLES = 200


@dataclass(frozen=True)
class RaterStatus:
    """One rater in one project. ``seconds``: median per case; ``today``: cases answered since midnight here."""

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
    """``agreement``: one row per dimension and for the decision, of what raters scored for the first time."""

    raters: tuple[RaterStatus, ...]
    agreement: pl.DataFrame
    pulled: bool


def status_of(
    ledger: Ledger, settings: AnnotateSettings, raters: Mapping[str, Rater], now: datetime.datetime
) -> Status:
    """The status as of the latest pull; ``now`` with its time zone."""
    tables = ledger.snapshot()
    if not ledger.begun():
        raise UserError("nothing was pushed from this workspace yet: run `dermcot annotate push` first")
    assignments = ledger.assignments()
    records = {record.rater: record.title for record in ledger.projects()}  # the youngest project of each
    if tables is None:
        rows = [_row(name, title, assignments, None, None, settings, now) for name, title in records.items()]
        return Status(tuple(rows), pl.DataFrame(), False)
    annotations, quarantine = tables
    latest = annotations.filter("is_latest")
    working = [name for name in records if name != SHARED]
    if SHARED in records:
        working += sorted(set(latest["rater"]) - set(working))
    rows = [
        _row(name, records.get(name, records.get(SHARED, "")), assignments, latest, quarantine, settings, now)
        for name in working
        if name in raters
    ]
    return Status(tuple(rows), agreement_so_far(latest), True)


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
    title: str,
    assignments: pl.DataFrame,
    latest: pl.DataFrame | None,
    quarantine: pl.DataFrame | None,
    settings: AnnotateSettings,
    now: datetime.datetime,
) -> RaterStatus:
    assigned = assignments.filter(pl.col("rater") == name).height
    assigned = assigned or assignments.filter(pl.col("rater") == SHARED).height
    if latest is None or quarantine is None:
        return RaterStatus(name, title, 0, assigned, None, 0, 0, False)
    mine = latest.filter(pl.col("rater") == name)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    today = mine.filter(pl.col("updated_at") >= midnight).height
    seconds = mine.filter(pl.col("occasion") != "practice")["seconds"].median()
    aside = quarantine.filter((pl.col("rater") == name) & (pl.col("rule") != "deleted")).height
    return RaterStatus(
        name, title, mine.height, assigned - mine.height, seconds if isinstance(seconds, float) else None, aside, today,
        settings.daily_cap is not None and today >= settings.daily_cap,
    )  # fmt: skip
