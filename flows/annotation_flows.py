"""Push and pull as Prefect flows, for whoever wants them at set times.

What goes wrong is told in the run's state, in the sentence that the command would print; what was done is left as
tables. Neither holds the address of a person: whoever may look at runs need not know who the raters are.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.states import Failed

from annotators.label_studio.ledger import Ledger
from annotators.label_studio.raters import pseudonym
from flows.annotation import Pulled, pull_config, push_config
from flows.annotation_credentials import study_secret
from schemas.config_file import load_config
from schemas.errors import UserError

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.\w+")


def _named(what: str) -> str:
    return f"{what} {datetime.datetime.now().astimezone():%Y-%m-%d %H:%M}"


@flow(
    name="annotate-push", flow_run_name=lambda: _named("push"), persist_result=False, validate_parameters=False,
    description="Bring the certification queue to the raters' projects on Label Studio.",
)  # fmt: skip
def push_flow(config_file: str = "dermcot.yaml", overrides: Sequence[str] = (), workspace: str | None = None) -> Any:
    """Push the study of a configuration; returns what was imported, in all."""
    try:
        config = load_config(Path(config_file), overrides, workspace=workspace)
        outcome = push_config(config)
    except UserError as error:
        return Failed(message=_nameless(str(error)))
    secret = study_secret(config.annotate)
    notes = [_nameless(note, secret) for note in outcome.notes]
    rows = [
        {"project": told.project.title, "number": told.project.project_id, "imported": told.imported,
         "were there": told.there, "copies removed": told.copies_removed}
        for told in outcome.pushed
    ]  # fmt: skip
    create_table_artifact(rows, key="annotate-push", description="; ".join(notes) or "Pushed")
    return {"imported": sum(told.imported for told in outcome.pushed), "notes": notes}


@flow(
    name="annotate-pull", flow_run_name=lambda: _named("pull"), persist_result=False, validate_parameters=False,
    description="Fetch what raters answered on Label Studio since the last time.",
)  # fmt: skip
def pull_flow(config_file: str = "dermcot.yaml", overrides: Sequence[str] = (), workspace: str | None = None) -> Any:
    """Pull the scores of a configuration's study; returns how many there are and where they lie."""
    try:
        config = load_config(Path(config_file), overrides, workspace=workspace)
        pulled = pull_config(config)
    except UserError as error:
        return Failed(message=_nameless(str(error)))
    create_table_artifact(_by_project(pulled), key="annotate-pull", description=f"Pulled to {pulled.path}")
    create_table_artifact(_by_rater(pulled, Ledger(config.workspace)), key="annotate-raters", description="Raters")
    if problem := pulled.problem():
        return Failed(message=problem)
    return {"annotations": int(pulled.annotations["is_latest"].sum()), "path": pulled.path}


def _nameless(text: str, secret: bytes | None = None) -> str:
    """The text with pseudonyms, or nothing to tell raters apart, for addresses."""
    return _ADDRESS.sub(lambda found: "a rater" if secret is None else f"rater {pseudonym(found[0], secret)}", text)


def _by_project(pulled: Pulled) -> list[dict[str, Any]]:
    counted = pulled.annotations.filter("is_latest")["project_id"].to_list()
    aside = pulled.quarantine["project_id"].to_list()
    return [
        {"project": told.project.title, "number": told.project.project_id, "new": told.new,
         "counted": counted.count(told.project.project_id), "set aside": aside.count(told.project.project_id),
         "problem": told.problem or ""}
        for told in pulled.fetched
    ]  # fmt: skip


def _by_rater(pulled: Pulled, ledger: Ledger) -> list[dict[str, Any]]:
    assigned = ledger.assignments()["rater"].to_list()
    done = pulled.annotations.filter("is_latest")["rater"].to_list()
    return [
        {"rater": rater, "done": done.count(rater), "left": max(0, assigned.count(rater) - done.count(rater))}
        for rater in sorted({*assigned, *done})
    ]
