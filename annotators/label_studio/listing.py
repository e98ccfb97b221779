"""What there is on a Label Studio: tasks, projects, accounts, read page by page until the total is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from annotators.label_studio.session import Gone, Session
from schemas.errors import UserError

_PAGE = 1000
_LIGHT_PAGE = 10_000
_IDS = 300
_TRIES = 5
#: Fields of a task and of its annotations that a pull reads; no name and no address of a person is among them.
ANNOTATED = (
    "id,data,updated_at,annotations,result,completed_by,updated_by,lead_time,was_cancelled,created_at,ground_truth,"
    "import_id,last_action"
)

Filter = Mapping[str, Any]


def condition(column: str, operator: str, kind: str, value: Any) -> Filter:
    """One condition on tasks; a column that does not exist gives no rows and no error."""
    return {"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}


def tasks_of(session: Session, project: int, include: str, conditions: Sequence[Filter] = ()) -> list[dict[str, Any]]:
    """The tasks of a project that meet all conditions, with the fields of ``include``, by id. :class:`Gone` if none is.

    The list is read again when it changed under our hands.
    """
    query = {"filters": {"conjunction": "and", "items": list(conditions)}, "ordering": ["tasks:id"]}
    asked: dict[str, Any] = {"project": project, "include": include, "query": json.dumps(query)}
    fields = set(include.split(","))
    asked["page_size"] = _PAGE if fields & {"data", "annotations"} else _LIGHT_PAGE
    if "annotations" in fields:
        asked["fields"] = "all"
    for _ in range(_TRIES):
        found: dict[int, dict[str, Any]] = {}
        page, total = 1, 1
        while len(found) < total:
            try:
                answer = session.get("api/tasks", page=page, **asked)
            except Gone:
                if page == 1:
                    raise
                break
            total = int(answer["total"])
            if not answer["tasks"]:
                break
            found |= {int(task["id"]): task for task in answer["tasks"]}
            page += 1
        if len(found) >= total:
            return [found[number] for number in sorted(found)]
    raise UserError(f"the tasks of project {project} change faster than they can be read: try again in a minute")


def tasks_by_id(session: Session, project: int, include: str, ids: Iterable[int]) -> list[dict[str, Any]]:
    """Those of the tasks that are still there."""
    wanted = sorted(ids)
    chunks = [wanted[at : at + _IDS] for at in range(0, len(wanted), _IDS)]
    return [
        t for ids in chunks for t in tasks_of(session, project, include, [condition("id", "in_list", "Number", ids)])
    ]


def keys_of(session: Session, project: int) -> dict[str, list[int]]:
    """Opaque key -> the tasks that have it, by id; more than one is a copy too many."""
    found: dict[str, list[int]] = {}
    for task in tasks_of(session, project, "id,data"):
        found.setdefault(str(task["data"].get("key")), []).append(int(task["id"]))
    return found


def project_of(session: Session, project: int) -> dict[str, Any] | None:
    """A project as the server has it, or None when somebody deleted it."""
    try:
        told: dict[str, Any] = session.get(f"api/projects/{project}")
    except Gone:
        return None
    return told


def find_project(session: Session, title: str, description: str) -> int | None:
    """The oldest project of exactly this title and description."""
    found, page, count = [], 1, 1
    while (page - 1) * _PAGE < count:
        answer = session.get("api/projects", title=title, include="id,title,description", page=page, page_size=_PAGE)
        count = int(answer["count"])
        found += [int(p["id"]) for p in answer["results"] if (p["title"], p["description"]) == (title, description)]
        page += 1
    return min(found, default=None)


def accounts(session: Session) -> dict[str, int]:
    """E-mail address, in small letters -> number of the account."""
    return {str(user["email"]).casefold(): int(user["id"]) for user in session.get("api/users")}
