"""From what was seen on the server to the table of annotations: a pure function, so equal states give equal tables.

An annotation has a revision for each content its rater gave it; what somebody else wrote into it is set aside and
changes nothing. Of everything a rater said of a narrative on an occasion the last word is what counts, unless that was
deleted or cannot be read. What is set aside is told with its reasons and keeps its JSON.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from annotators.label_studio.answers import Answers, read_answers
from annotators.label_studio.ledger import RAW, SHARED, ProjectRecord
from annotators.label_studio.pull import live_of
from annotators.label_studio.raters import Rater
from annotators.label_studio.screen import assert_config
from corpus.digests import digest_of
from schemas.narrative import narrative_from_json, narrative_to_json
from schemas.scoring import SCORES
from schemas.tables import ANNOTATIONS, DIMENSIONS, polars_schema

#: ``rule``: unknown_key | unknown_screen | unknown_rater | another_author | unreadable | deleted.
QUARANTINE = pl.Schema({**RAW, "rater": pl.String(), "rule": pl.String(), "reasons": pl.List(pl.String())})

_ANNOTATIONS = polars_schema(ANNOTATIONS)
_Row = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """What annotations are read with. ``raters``: pseudonym -> rater; ``accounts``: (server, number of an account) ->
    pseudonym of the rater it belongs to; ``readable``: digests of the labelling screens whose answers can be read."""

    assignments: Mapping[str, _Row]
    projects: Mapping[tuple[str, int], ProjectRecord]
    raters: Mapping[str, Rater]
    accounts: Mapping[tuple[str, int], str]
    readable: frozenset[str]


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


def snapshot(raw: pl.DataFrame, told: Known) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables :data:`schemas.tables.ANNOTATIONS` and :data:`QUARANTINE` of all that was seen (``raw``)."""
    alive = {_identity(row) for row in live_of(raw).iter_rows(named=True)}
    rows: list[_Row] = []
    aside: list[_Row] = []
    for states in _by_annotation(raw):
        read, refused = _read(states, told)
        if _identity(states[0]) not in alive:
            rater = told.projects[states[0]["server"], states[0]["project_id"]].rater
            refused.append(
                {**states[-1], "rater": rater, "rule": "deleted", "reasons": ["It was deleted on the server."]}
            )
            read = [{**row, "is_latest": False} for row in read]
        rows += read
        aside += refused
    order = ["narrative_id", "rater", "occasion", "updated_at", "annotation_id"]
    frame = _latest_only(pl.DataFrame(rows, schema=_ANNOTATIONS)).sort(order)
    set_aside = pl.DataFrame(aside, schema=QUARANTINE)
    return frame, set_aside.sort("key", "updated_at", "server_annotation_id", "rule", "raw")


def _read(states: list[_Row], told: Known) -> tuple[list[_Row], list[_Row]]:
    """The rows of one annotation, the last of them latest if it is the last word, and what of it is set aside."""
    record = told.projects[states[0]["server"], states[0]["project_id"]]
    assignment = told.assignments.get(states[0]["key"])
    rows: list[_Row] = []
    aside: list[_Row] = []
    for number, (state, annotation) in enumerate(_revisions(states)):
        rater, why = _author(annotation, record, assignment, told)
        if why is None and record.config_digest not in told.readable:
            why = ("unknown_screen", ["The labelling screen it was given on is not known."])
        answers: Answers | list[str] = []
        if why is None and assignment is not None:
            shown = narrative_from_json(assignment["pre_edit"]) if '"corrected"' in state["raw"] else None
            answers = read_answers(annotation, shown)
        if why is None and isinstance(answers, list):
            why = ("unreadable", answers)
        if why is None or why[0] != "another_author":
            rows = [{**row, "is_latest": False} for row in rows]
        if why is not None:
            aside.append({**state, "rater": rater, "rule": why[0], "reasons": why[1]})
            continue
        assert isinstance(answers, Answers)
        assert assignment is not None
        facts = _facts(state, record, assignment, rater, told.raters[rater])
        name = digest_of(*_identity(state), number)[:32]
        rows.append({**facts, **_said(answers), "annotation_id": name, "revision": number, "is_latest": True})
    return rows, aside


def _by_annotation(raw: pl.DataFrame) -> Iterable[list[_Row]]:
    found: dict[tuple[Any, ...], list[_Row]] = {}
    for row in raw.filter(pl.col("raw").is_not_null()).sort(list(RAW)).iter_rows(named=True):
        found.setdefault(_identity(row), []).append(row)
    for identity in sorted(found):
        yield sorted(found[identity], key=lambda row: (row["updated_at"], row["raw"]))


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["server"], row["project_id"], row["task_id"], row["server_annotation_id"], row["created_at"])


def _revisions(states: list[_Row]) -> list[tuple[_Row, dict[str, Any]]]:
    """The last state of each content by each author, in the order in which they came, with the annotation in it."""
    revisions: list[tuple[_Row, dict[str, Any]]] = []
    before = None
    for state in states:
        annotation = json.loads(state["raw"])
        told = (annotation.get("updated_by"), annotation.get("completed_by"))
        content = (told, _content(annotation)) if len(states) > 1 else None
        if revisions and content == before:
            revisions[-1] = (state, annotation)
        else:
            revisions.append((state, annotation))
        before = content
    return revisions


def _content(told: Mapping[str, Any]) -> Any:
    result = told.get("result")
    if not isinstance(result, list):
        return json.dumps(result, sort_keys=True)
    items = [{k: v for k, v in item.items() if k not in ("id", "origin", "meta")} if isinstance(item, dict) else item
             for item in result]  # fmt: skip
    return sorted(json.dumps(item, sort_keys=True) for item in items), bool(told.get("was_cancelled"))


def _author(
    annotation: Mapping[str, Any], record: ProjectRecord, assignment: Mapping[str, Any] | None, told: Known
) -> tuple[str, tuple[str, list[str]] | None]:
    """The rater who wrote it, and why it does not count, if it does not."""
    accounts, raters = told.accounts, told.raters
    by, last = annotation.get("completed_by"), annotation.get("updated_by")
    rater = accounts.get((record.server, by), "") if isinstance(by, int) else ""
    if assignment is None or assignment["rater"] != record.rater:
        return rater, ("unknown_key", ["Nothing was assigned under this key in this project."])
    wanted = record.rater if record.rater != SHARED else rater
    if rater == wanted and wanted and wanted not in raters:
        return rater, ("unknown_rater", ["Its rater stands in the file of raters no more; active: false would do."])
    if not wanted or rater != wanted:
        return rater, ("another_author", ["It was written by somebody to whom the project does not belong."])
    if last is None and raters[wanted].kind == "human":
        return rater, ("another_author", ["It was imported, not given on the labelling screen."])
    if last is not None and accounts.get((record.server, last)) != wanted:
        return rater, ("another_author", ["It was changed by somebody to whom the project does not belong."])
    return rater, None


def _facts(
    state: _Row, record: ProjectRecord, assignment: Mapping[str, Any], pseudonym: str, rater: Rater
) -> dict[str, Any]:
    taken = ("narrative_id", "case_id", "occasion", "planted", "inclusion_probability", "pre_edit")
    return {
        **{name: state[name] for name in ("server", "project_id", "task_id", "server_annotation_id")},
        **{name: assignment[name] for name in taken},
        "rater": pseudonym,
        "rater_kind": rater.kind,
        "credential": rater.credential,
        "scale_low": float(min(SCORES)),
        "scale_high": float(max(SCORES)),
        "created_at": datetime.datetime.fromisoformat(state["created_at"]),
        "updated_at": datetime.datetime.fromisoformat(state["updated_at"]),
        "config_digest": record.config_digest,
    }


def _said(answers: Answers) -> dict[str, Any]:
    return {
        **{name: float(answers.scores[name]) if answers.scores else None for name in DIMENSIONS},
        "decision": answers.decision or "cannot_judge",
        "critique": answers.critique,
        "flags": list(answers.flags),
        "cannot_judge": list(answers.cannot_judge),
        "corrected": None if answers.corrected is None else narrative_to_json(answers.corrected),
        "seconds": answers.seconds,
    }


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
