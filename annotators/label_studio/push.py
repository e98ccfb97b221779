"""Tasks go to Label Studio exactly once, whatever breaks on the way.

Importing is not idempotent there, and an error does not say that nothing was imported. So every import is preceded by
a look at what is there, every error is followed by one, and only what is missing is sent. An import that a gateway gave
up on may still be under way while we look: a copy that comes about so is found by the next look, and the younger one is
removed as long as nobody has worked on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as Xml

from annotators.label_studio.controls import TOLD
from annotators.label_studio.ledger import SCORING, Ledger, ProjectRecord
from annotators.label_studio.listing import condition, find_project, keys_of, project_of, tasks_by_id, tasks_of
from annotators.label_studio.project import project_settings
from annotators.label_studio.screen import config_digest
from annotators.label_studio.session import Gone, Lost, Session, backoff
from annotators.label_studio.tasks import PREFILL
from schemas.errors import UserError

Task = Mapping[str, Any]
Say = Callable[[int, int], None]

_BATCH = 300
_BATCH_BYTES = 8_000_000
_KEY = 32


@dataclass(frozen=True)
class Pushed:
    """What a push did to one project."""

    project: ProjectRecord
    imported: int
    there: int
    copies_removed: int
    made: bool
    made_again: bool


def ensure_project(
    session: Session,
    ledger: Ledger,
    server: str,
    study: str,
    rater: str,
    title: str,
    config: str,
    raters: int,
    purpose: str = SCORING,
) -> tuple[ProjectRecord, bool, bool]:
    """The project of a rater for a purpose, with this labelling screen, whether it was made now, and whether it had
    been deleted.

    Raises :class:`UserError` when somebody edited its labelling screen on the server.
    """
    digest = config_digest(config)
    settings = project_settings(title, config, raters)
    whose = f"rater {rater}" if purpose == SCORING else f"rater {rater}, {purpose}"
    settings["description"] += f". Study {study}, {whose}. Made and read by a program: leave the settings alone."
    wanted = (rater, digest, purpose)
    known = [r for r in ledger.projects(server) if (r.rater, r.config_digest, r.purpose) == wanted]
    for record in reversed(known):
        if (told := project_of(session, record.project_id)) is not None:
            if told["description"] != settings["description"]:
                raise UserError(
                    f"project {record.project_id} at {session.base} is not the one made as {record.title!r}: if "
                    "the server began anew under its old address, give it another name as annotate.server; if somebody "
                    "edited the project's description, put it back"
                )
            refuse_if_edited(record, told, session.base)
            return record, False, False
    number = find_project(session, settings["title"], settings["description"])
    made = number is None
    if number is None:
        number = _create(session, settings)
    record = ProjectRecord(server, number, rater, digest, settings["title"], purpose)
    ledger.add_project(record, config)
    refuse_if_edited(record, project_of(session, number) or settings, session.base)
    return record, made, bool(known)


def refuse_if_edited(record: ProjectRecord, told: Mapping[str, Any], base: str) -> None:
    """:class:`UserError` unless the project still has the labelling screen it was made with."""
    if config_digest(str(told["label_config"])) != record.config_digest:
        raise UserError(
            f"the screen of {record.title!r} (project {record.project_id} at {base}) was edited on the server: "
            f"put back the text of annotation/screens/{record.config_digest}.xml in its settings, since answers are "
            "read with the screen they were given on; a changed screen belongs into a project of its own"
        )


def _create(session: Session, settings: Mapping[str, Any]) -> int:
    waits = backoff(session.patience)
    while True:
        try:
            return int(session.post("api/projects", dict(settings))["id"])
        except Lost as error:
            session.wait(waits, error)
            if (number := find_project(session, settings["title"], settings["description"])) is not None:
                return number


def bring(session: Session, project: int, tasks: Sequence[Task], config: str, say: Say) -> tuple[int, int]:
    """Import those of the tasks that are not there, in their order; how many that were, and how many copies went.

    Raises :class:`UserError` before anything is sent when a task is not fit, and when the server stays silent.
    """
    refuse_unfit(tasks, config)
    wanted = {str(task["data"]["key"]): task for task in tasks}
    waits = backoff(session.patience)
    imported = 0
    while True:
        there = _there(session, project)
        missing = [task for key, task in wanted.items() if key not in there]
        say(len(wanted) - len(missing), len(wanted))
        if not missing:
            return imported, _remove_copies(session, project, there)
        imported = imported or len(missing)
        try:
            sent = len(wanted) - len(missing)
            for batch in batches(missing):
                session.post(f"api/projects/{project}/import", batch, return_task_ids="true")
                waits = backoff(session.patience)
                sent += len(batch)
                say(sent, len(wanted))
        except Gone:
            raise UserError(
                f"project {project} was deleted while tasks went there: run the same command again"
            ) from None
        except Lost as error:
            session.wait(waits, error)


def answered_keys(session: Session, project: int) -> set[str]:
    """Keys that have an answer in a project; none for one that was deleted."""
    try:
        tasks = tasks_of(session, project, "id,data", [condition("total_annotations", "greater", "Number", 0)])
    except Gone:
        return set()
    return {str(task["data"].get("key")) for task in tasks}


def refuse_unfit(tasks: Sequence[Task], config: str) -> None:
    """:class:`UserError` unless every task is one that the screen can show; the server checks next to nothing."""
    shown = {value[1:] for e in Xml.fromstring(config).iter() if (value := e.attrib.get("value", "")).startswith("$")}
    keys: set[str] = set()
    for task in tasks:
        data, predictions = task.get("data"), task.get("predictions", [])
        key = data.get("key") if isinstance(data, Mapping) else None
        if not isinstance(key, str) or len(key) != _KEY or key in keys:
            raise UserError(f"a task has the key {key!r}, which is none or stands there twice: nothing was sent")
        assert isinstance(data, Mapping)
        keys.add(key)
        texts = {name: text for name in shown if isinstance(text := data.get(name), str)}
        full = {name for name, text in texts.items() if text.strip() or (name in TOLD and not text)}
        if lacking := sorted(shown - full):
            raise UserError(f"task {key} has no text for {', '.join(lacking)}: nothing was sent")
        if strange := sorted(set(data) - shown - {"key"}):
            raise UserError(f"task {key} holds {', '.join(strange)}, which the screen does not show: nothing was sent")
        if any(told.get("model_version") != PREFILL or not told.get("result") for told in predictions):
            raise UserError(f"task {key} holds a prediction that is not the text to correct: nothing was sent")


def batches(tasks: Sequence[Task]) -> Iterator[list[Task]]:
    """The tasks in batches that a server takes in well under a second."""
    batch: list[Task] = []
    size = 0
    for task in tasks:
        weight = len(json.dumps(task))
        if batch and (len(batch) == _BATCH or size + weight > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(task)
        size += weight
    if batch:
        yield batch


def _there(session: Session, project: int) -> dict[str, list[int]]:
    try:
        return keys_of(session, project)
    except Gone:
        raise UserError(f"project {project} was deleted while tasks went there: run the same command again") from None


def _remove_copies(session: Session, project: int, there: Mapping[str, list[int]]) -> int:
    """Of every key keep the task that has been worked on, else the oldest."""
    several = [number for numbers in there.values() if len(numbers) > 1 for number in numbers]
    include = "id,data,total_annotations,cancelled_annotations,draft_exists"
    work: dict[str, list[tuple[bool, int]]] = {}
    for task in tasks_by_id(session, project, include, several):
        idle = not (task["total_annotations"] or task["cancelled_annotations"] or task.get("draft_exists"))
        work.setdefault(str(task["data"]["key"]), []).append((idle, int(task["id"])))
    surplus = [number for tasks in work.values() for idle, number in sorted(tasks)[1:] if idle]
    for number in surplus:
        session.patiently(lambda number=number: session.delete(f"api/tasks/{number}"))
    return len(surplus)
