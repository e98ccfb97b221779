"""What raters answered comes back: everything that changed since the last time, kept as it was seen.

The clock is the server's: a task moves its ``updated_at`` when an annotation of it is made, changed or deleted, so what
lies after the latest one known, less a margin for work that was under way, is looked at again, and what differs is
fetched. The server's own counts tell whether anything was missed all the same; then everything is read anew. All of a
project is written at once or not at all, so a kill costs only the reading.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from annotators.label_studio.ledger import RAW, Ledger, ProjectRecord
from annotators.label_studio.listing import ANNOTATED, condition, project_of, tasks_by_id, tasks_of
from annotators.label_studio.push import refuse_if_edited
from annotators.label_studio.session import Gone, Session
from schemas.errors import UserError

#: A change may be committed a little after the time it wrote down. What an import under way brings later than that is
#: missed by time and found by count.
MARGIN = datetime.timedelta(minutes=1)
#: What makes an annotation: its number alone may be given again after a deletion.
IDENTITY = ["server", "project_id", "task_id", "server_annotation_id", "created_at"]
_SOME = [condition("total_annotations", "greater", "Number", 0)]
_SKIPPED = [condition("cancelled_annotations", "greater", "Number", 0)]
#: Above this share of a project's known tasks it is quicker to read all of them.
_ALL_ABOVE = 0.3


@dataclass(frozen=True)
class Fetched:
    """What a pull found in one project: new states of annotations, and whether the project is still there."""

    project: ProjectRecord
    new: int
    there: bool
    problem: str | None = None


def fetch(session: Session, ledger: Ledger, record: ProjectRecord) -> Fetched:
    """Keep what is new in a project. A project that was deleted, or edited, is told and keeps what is known of it."""
    told = project_of(session, record.project_id)
    if told is None:
        return Fetched(record, 0, False, "was deleted on the server; what was pulled before stays")
    try:
        refuse_if_edited(record, told, session.base)
    except UserError as error:
        return Fetched(record, 0, True, str(error))
    known = ledger.raw(record.server, record.project_id)
    try:
        rows = _changed(session, record, known) if known.height else _everything(session, record, known)
        live = live_of(pl.concat([known, rows]))
        if live.height != int(told["total_annotations_number"]) + int(told["skipped_annotations_number"]):
            rows = _everything(session, record, known)
    except Gone:
        return Fetched(record, 0, False, "was deleted on the server meanwhile; what was pulled before stays")
    ledger.add_raw(record.server, record.project_id, rows)
    return Fetched(record, rows.height, True)


def live_of(raw: pl.DataFrame) -> pl.DataFrame:
    """The last state of every annotation that was not seen to be deleted."""
    deleted = raw.filter(pl.col("raw").is_null()).select(IDENTITY)
    last = raw.filter(pl.col("raw").is_not_null()).sort("updated_at", "raw").unique(IDENTITY, keep="last")
    return last.join(deleted, on=IDENTITY, how="anti").sort(IDENTITY)


def _everything(session: Session, record: ProjectRecord, known: pl.DataFrame) -> pl.DataFrame:
    tasks = {t["id"]: t for c in (_SOME, _SKIPPED) for t in tasks_of(session, record.project_id, ANNOTATED, c)}
    return _news(record, list(tasks.values()), known, set(known["task_id"]))


def _changed(session: Session, record: ProjectRecord, known: pl.DataFrame) -> pl.DataFrame:
    latest = datetime.datetime.fromisoformat(str(known["task_updated_at"].max()))
    since = (latest - MARGIN).isoformat(timespec="microseconds").replace("+00:00", "Z")  # without a fraction: 500
    seen = dict(known.group_by("task_id").agg(pl.col("task_updated_at").max()).iter_rows())
    fields = "id,updated_at,total_annotations,cancelled_annotations"
    recent = tasks_of(session, record.project_id, fields, [condition("updated_at", "greater", "Datetime", since)])
    ids = {
        int(task["id"])
        for task in recent
        if seen.get(task["id"]) != task["updated_at"]
        and (task["id"] in seen or task["total_annotations"] or task["cancelled_annotations"])
    }
    if len(ids) > _ALL_ABOVE * len(seen):
        return _everything(session, record, known)
    return _news(record, tasks_by_id(session, record.project_id, ANNOTATED, ids), known, ids)


def _news(record: ProjectRecord, tasks: list[dict[str, Any]], known: pl.DataFrame, looked_at: set[int]) -> pl.DataFrame:
    """Rows that are not known: states not seen before, and deletions among the tasks that were looked at."""
    rows = pl.DataFrame([_row(record, t, a) for t in tasks for a in t["annotations"]], schema=RAW, orient="row")
    same = [name for name in RAW if name != "task_updated_at"]
    new = rows.join(known.filter(pl.col("raw").is_not_null()), on=same, how="anti")
    before = live_of(known).filter(pl.col("task_id").is_in(sorted(looked_at)))
    moved = {int(task["id"]): str(task["updated_at"]) for task in tasks}
    gone = before.join(rows, on=IDENTITY, how="anti").with_columns(
        pl.lit(None, dtype=pl.String).alias("raw"),
        pl.col("task_id").replace_strict(moved, default=pl.col("task_updated_at"), return_dtype=pl.String)
        .alias("task_updated_at"),
    )  # fmt: skip
    return pl.concat([new, gone.select(list(RAW))])


def _row(record: ProjectRecord, task: Mapping[str, Any], annotation: Mapping[str, Any]) -> tuple[Any, ...]:
    raw = json.dumps(annotation, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return (
        record.server, record.project_id, int(task["id"]), str(task["data"].get("key")), int(annotation["id"]),
        str(annotation["created_at"]), str(annotation["updated_at"]), str(task["updated_at"]), raw,
    )  # fmt: skip
