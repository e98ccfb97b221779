"""What one annotation says, read from everything that was seen of it; kept, so that it is read once.

Reading is a pure function of the states of an annotation, of what was assigned under its key and of who is who, so a
reading is kept under the digest of all of these and of the program that reads: it is found again as long as every one
of them is the same, and made anew as soon as one is not. A pull with ten new answers reads ten.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from annotators.label_studio.answers import Answers, read_answers
from annotators.label_studio.ledger import RAW, SHARED, ProjectRecord
from annotators.label_studio.pull import IDENTITY
from annotators.label_studio.raters import Rater
from corpus.digests import digest_bytes, digest_of, row_digests
from schemas import narrative, scoring, tables, taxonomy
from schemas.narrative import narrative_from_json, narrative_to_json
from schemas.scoring import SCORES
from schemas.tables import ANNOTATIONS, DIMENSIONS, polars_schema

#: ``rule``: unknown_key | unknown_screen | unknown_rater | another_author | unreadable | deleted.
QUARANTINE = pl.Schema({**RAW, "rater": pl.String(), "rule": pl.String(), "reasons": pl.List(pl.String())})
#: One annotation: its identity, ``mark`` of all it was read from, and what it says: ``rows`` of
#: :data:`schemas.tables.ANNOTATIONS`, the last of them latest if it is the last word, and ``aside`` of
#: :data:`QUARANTINE`. Whether it was deleted, and what other annotations say, is not looked at.
READINGS = pl.Schema(
    {
        **{name: RAW[name] for name in IDENTITY},
        "mark": pl.String(),
        "rows": pl.List(pl.Struct(polars_schema(ANNOTATIONS))),
        "aside": pl.List(pl.Struct(QUARANTINE)),
    }
)
#: The program that reads: a reading made before one of these changed is not found again.
_READERS = (
    *(Path(__file__).with_name(f"{name}.py") for name in ("readings", "answers", "controls")),
    *(Path(str(module.__file__)) for module in (narrative, scoring, tables, taxonomy)),
)
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


def readings(raw: pl.DataFrame, told: Known, kept: pl.DataFrame) -> pl.DataFrame:
    """A row of :data:`READINGS` for every annotation in ``raw``, taken from those ``kept`` where one is there."""
    states = raw.filter(pl.col("raw").is_not_null()).sort("updated_at", "raw", "task_updated_at")
    marked = _marked(states, told)
    found = kept.join(marked, on=[*IDENTITY, "mark"], how="semi").unique([*IDENTITY, "mark"])
    lacking = marked.join(found, on=[*IDENTITY, "mark"], how="anti")
    rows: dict[tuple[Any, ...], list[_Row]] = {}
    for state in states.join(lacking, on=IDENTITY, how="semi", maintain_order="left").iter_rows(named=True):
        rows.setdefault(tuple(state[name] for name in IDENTITY), []).append(state)
    marks = {row[:-1]: row[-1] for row in lacking.select(*IDENTITY, "mark").iter_rows()}
    new = [(*identity, marks[identity], *_read(seen, told)) for identity, seen in rows.items()]
    return pl.concat([found, pl.DataFrame(new, schema=READINGS, orient="row")]).sort(IDENTITY)


def _marked(states: pl.DataFrame, told: Known) -> pl.DataFrame:
    """Identity of every annotation and the digest of all that decides how it is read."""
    keys = states["key"].unique().to_list()
    assigned = {key: digest_of(told.assignments[key]) for key in keys if key in told.assignments}
    common = _common(told)
    seen = states.select(
        *IDENTITY,
        pl.concat_str(row_digests(states), pl.col("key").replace_strict(assigned, default="", return_dtype=pl.String))
        .alias("part"),
    )  # fmt: skip
    parts = seen.group_by(IDENTITY, maintain_order=True).agg(pl.col("part").str.join(" "))
    marks = [digest_bytes(f"{common} {part}".encode()) for part in parts["part"]]
    return parts.select(*IDENTITY, pl.Series("mark", marks, dtype=pl.String))


def _common(told: Known) -> str:
    """Digest of what all annotations are read with, and of the program that reads them."""
    projects = sorted((*place, *asdict(record).values()) for place, record in told.projects.items())
    raters = {name: (rater.kind, rater.credential) for name, rater in told.raters.items()}
    accounts = sorted((*place, rater) for place, rater in told.accounts.items())
    program = [digest_bytes(file.read_bytes()) for file in _READERS]
    return digest_of(projects, raters, accounts, sorted(told.readable), program)


def _read(states: list[_Row], told: Known) -> tuple[list[_Row], list[_Row]]:
    """What one annotation says and what of it is set aside; its states come in the order in which they were made."""
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
        name = digest_of(*(state[name] for name in IDENTITY), number)[:32]
        rows.append({**facts, **_said(answers), "annotation_id": name, "revision": number, "is_latest": True})
    return rows, aside


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
