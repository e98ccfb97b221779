"""From what was seen on the server to the table of annotations: a pure function, so equal states give equal tables.

An annotation has a revision for each content its rater gave it; what somebody else wrote into it is set aside and
changes nothing. Of everything a rater said of a narrative on an occasion the last word is what counts, unless that was
deleted or cannot be read. What is set aside is told with its reasons and keeps its JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from annotators.label_studio.ledger import ProjectRecord
from annotators.label_studio.pull import IDENTITY, live_of
from annotators.label_studio.raters import Rater
from annotators.label_studio.readings import QUARANTINE, READINGS, Known, readings
from annotators.label_studio.screen import assert_config

_NONE = pl.DataFrame(schema=READINGS)


def known(
    assignments: pl.DataFrame,
    projects: Iterable[ProjectRecord],
    raters: Mapping[str, Rater],
    accounts: Mapping[tuple[str, int], str],
    screens: Mapping[str, str],
) -> Known:
    """Gather it; ``screens``: digest -> labelling screen."""
    return Known(
        {row["key"]: row for row in assignments.iter_rows(named=True)},
        {(record.server, record.project_id): record for record in projects},
        raters,
        accounts,
        frozenset(digest for digest, screen in screens.items() if _is_readable(screen)),
    )


def snapshot(
    raw: pl.DataFrame, told: Known, kept: pl.DataFrame = _NONE
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The tables :data:`schemas.tables.ANNOTATIONS` and ``QUARANTINE`` of all that was seen (``raw``), and
    :data:`annotators.label_studio.readings.READINGS` to keep for the next time.

    Those ``kept`` from the time before save work and change nothing.
    """
    read = readings(raw, told, kept)
    alive = live_of(raw).select(IDENTITY)
    frame = pl.concat(
        [
            _within(read.join(alive, on=IDENTITY, how="semi"), "rows"),
            _within(read.join(alive, on=IDENTITY, how="anti"), "rows").with_columns(is_latest=pl.lit(value=False)),
        ]
    )
    order = ["narrative_id", "rater", "occasion", "updated_at", "annotation_id"]
    aside = pl.concat([_within(read, "aside"), _deleted(raw, alive, told)])
    order_aside = ["key", "updated_at", "server_annotation_id", "rule", "raw"]
    return _latest_only(frame).sort(order), aside.sort(order_aside, maintain_order=True), read


def _within(read: pl.DataFrame, part: str) -> pl.DataFrame:
    """The rows of all lists of a column as a table of their own."""
    return read.select(part).filter(pl.col(part).list.len() > 0).explode(part).unnest(part)


def _deleted(raw: pl.DataFrame, alive: pl.DataFrame, told: Known) -> pl.DataFrame:
    """The last state of every annotation that was seen to be deleted, to be set aside."""
    last = raw.filter(pl.col("raw").is_not_null()).sort("updated_at", "raw", "task_updated_at")
    dead = last.unique(IDENTITY, keep="last").join(alive, on=IDENTITY, how="anti").sort(IDENTITY)
    raters = [told.projects[place].rater for place in dead.select("server", "project_id").iter_rows()]
    return dead.with_columns(
        pl.Series("rater", raters, dtype=pl.String),
        pl.lit("deleted").alias("rule"),
        pl.lit(["It was deleted on the server."]).alias("reasons"),
    ).select(list(QUARANTINE))


def _latest_only(frame: pl.DataFrame) -> pl.DataFrame:
    """Leave ``is_latest`` to one row per narrative, rater and occasion: the last word."""
    word = ["narrative_id", "planted", "rater", "occasion"]
    last = (
        frame.filter("is_latest").sort("updated_at", "server_annotation_id", "annotation_id")
        .unique(word, keep="last")["annotation_id"]
    )  # fmt: skip
    return frame.with_columns(pl.col("annotation_id").is_in(last.implode()).alias("is_latest"))


def _is_readable(screen: str) -> bool:
    try:
        assert_config(screen)
    except (ValueError, KeyError, SyntaxError):
        return False
    return True
