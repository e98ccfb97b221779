"""Pushing a study to Label Studio and pulling its scores, for the command line and as Prefect flows."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from annotators.label_studio.ledger import RAW, Ledger
from annotators.label_studio.pull import Fetched, fetch
from annotators.label_studio.push import Say
from annotators.label_studio.raters import Rater, pseudonyms, read_raters
from annotators.label_studio.readings import READINGS
from annotators.label_studio.session import Session, opened
from annotators.label_studio.snapshot import known, snapshot
from annotators.label_studio.study import Outcome, push_study, remember_accounts, server_digest
from corpus.lease import Lease
from flows.annotation_credentials import image_keys, study_secret, study_token
from schemas.config import Config
from schemas.errors import UserError


@dataclass(frozen=True)
class Pulled:
    """What a pull came to: per project, the tables, and where the annotations lie."""

    fetched: tuple[Fetched, ...]
    annotations: pl.DataFrame
    quarantine: pl.DataFrame
    path: str

    def problem(self) -> str | None:
        """What kept single projects from being read, in one line; None when nothing did."""
        return "; ".join(told.problem for told in self.fetched if told.there and told.problem) or None


def push_config(config: Config, say: Say = lambda done, total: None) -> Outcome:
    """Push what the configuration says; :class:`UserError` with one sentence for whatever is wrong."""
    from flows.annotation_material import material

    secret = study_secret(config.annotate)
    raters = pseudonyms(_registry(config), secret)
    keys = image_keys(config.annotate)
    ledger = Ledger(config.workspace)
    pulled = ledger.snapshot()
    gathered = material(config, None if pulled is None else pulled[0])
    with ExitStack() as stack:
        session = stack.enter_context(_session(config))
        stack.enter_context(study_lease(ledger))
        return push_study(session, ledger, config.annotate, raters, secret, gathered, say, keys)


def pull_config(config: Config, say: Say = lambda done, total: None) -> Pulled:
    """Pull what raters answered and write a snapshot; problems of single projects are told, not raised."""
    raters = pseudonyms(_registry(config), study_secret(config.annotate))
    ledger = Ledger(config.workspace)
    refuse_unless_begun(config, ledger)
    with ExitStack() as stack:
        session = stack.enter_context(_session(config))
        stack.enter_context(study_lease(ledger))
        return pull_study(session, ledger, server_digest(config.annotate), raters, say)


def pull_study(
    session: Session, ledger: Ledger, server: str, raters: Mapping[str, Rater], say: Say = lambda done, total: None
) -> Pulled:
    """Fetch what is new from every project of a server, and make the tables anew from all that was ever seen."""
    numbers = remember_accounts(session, ledger, server, raters)
    records = ledger.projects(server)
    fetched = []
    for at, record in enumerate(records, start=1):
        fetched.append(fetch(session, ledger, record))
        say(at, len(records))
    everywhere = ledger.projects()
    raw = pl.concat([pl.DataFrame(schema=RAW), *(ledger.raw(r.server, r.project_id) for r in everywhere)])
    accounts = {(server, number): rater for number, rater in numbers.items()}
    for other in sorted({r.server for r in everywhere} - {server}):
        accounts |= {(other, number): rater for number, rater in ledger.accounts(other, {}).items()}
    kept = ledger.readings(READINGS)
    told = known(ledger.assignments(), everywhere, raters, accounts, ledger.screens())
    annotations, quarantine, read = snapshot(raw, told, kept)
    if not read["mark"].equals(kept["mark"]):
        ledger.keep_readings(read)
    return Pulled(tuple(fetched), annotations, quarantine, ledger.save_snapshot(annotations, quarantine))


def study_lease(ledger: Ledger) -> Lease:
    """Keeps other pushes and pulls away from a workspace; whoever comes second is told who is at it."""
    return Lease(ledger.folder, "workspace", "push or pull")


def refuse_unless_begun(config: Config, ledger: Ledger) -> None:
    """:class:`UserError` when nothing was ever pushed from the workspace."""
    if not ledger.begun():
        raise UserError(f"nothing was pushed from {config.workspace} yet: run `dermcot annotate push` first")


def _registry(config: Config) -> tuple[Rater, ...]:
    return read_raters(Path(config.annotate.raters), (config.workspace, config.releases))


def _session(config: Config) -> Any:
    return opened(config.annotate.url, study_token(config.annotate))
