"""A study on a Label Studio: what there is to score, dealt, written down, and brought to every rater's project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import polars as pl

from annotators.label_studio.adjudication import Disputes
from annotators.label_studio.dealing import deal
from annotators.label_studio.images import ensure_storage, export_images, image_address, image_problem
from annotators.label_studio.ledger import ADJUDICATION, SCORING, SHARED, Ledger, of_project
from annotators.label_studio.listing import accounts
from annotators.label_studio.push import Pushed, Say, answered_keys, bring, ensure_project
from annotators.label_studio.raters import Rater, secret_mark
from annotators.label_studio.screen import config_digest, labelling_config
from annotators.label_studio.session import Session
from annotators.label_studio.tasks import task_of
from corpus.digests import digest_of
from schemas.config import AnnotateSettings
from schemas.errors import UserError
from schemas.narrative import narrative_from_json

_TITLE_PSEUDONYM = 8
_ADJUDICATION_TITLE = 13  # of annotate.title, so many characters, since Label Studio takes 50 in all


@dataclass(frozen=True)
class Material:
    """What a study is made of.

    ``candidates``, ``extras``: as :mod:`annotators.label_studio.queue` wants them; ``texts``: (narrative, planted fault
    or None) -> JSON of the narrative; ``images``: case -> image digest; ``labels``: case -> what it is recorded as;
    ``payloads``: the bytes of images by digest, as far as there are any; ``endings``: image digest -> ``.jpg``;
    ``disputes``: what raters differ about, None where nothing was answered yet.
    """

    candidates: pl.DataFrame
    extras: pl.DataFrame
    texts: Mapping[tuple[str, str | None], str]
    images: Mapping[str, str]
    labels: Mapping[str, str]
    payloads: Callable[[Iterable[str]], Mapping[str, bytes]]
    endings: Callable[[], Mapping[str, str]]
    disputes: Disputes | None = None


@dataclass(frozen=True)
class Outcome:
    """What a push came to. ``left_out``: narratives for which too few raters may be asked; ``notes``: what to know."""

    pushed: tuple[Pushed, ...]
    assigned: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def server_digest(settings: AnnotateSettings) -> str:
    """Names the server in what is kept."""
    return digest_of("label studio", settings.server or settings.url.strip().rstrip("/"))[:12]


def push_study(
    session: Session,
    ledger: Ledger,
    settings: AnnotateSettings,
    raters: Mapping[str, Rater],
    secret: bytes,
    material: Material,
    say: Say = lambda done, total: None,
    image_keys: Mapping[str, str] = MappingProxyType({}),
) -> Outcome:
    """Deal what is new, write it down, and bring every rater what is missing in the rater's project.

    ``raters``: pseudonym -> rater; ``image_keys``: what the server is given to read the bucket of images with. Only one
    push or pull of a workspace may run at a time.
    """
    study = ledger.study(secret_mark(secret))
    server = server_digest(settings)
    active = sorted(name for name, rater in raters.items() if rater.active)
    if not active:
        raise UserError("no rater is active: set active: true for some in the file of raters")
    config = labelling_config(show_label=settings.show_label)
    answered = _answered(session, ledger, server, config_digest(config))
    left_out, undecided = deal(ledger, settings, raters, secret, material, answered)
    assignments = ledger.assignments()
    names = dict(assignments.select("image_digest", "image").iter_rows())
    export_images(names, settings.document_root, material.payloads)
    notes = []
    pushed = []
    mine = _by_project(assignments, active, shared=settings.shared_project)
    done, total = 0, sum(rows.height for rows in mine.values())
    for (rater, purpose), rows in mine.items():
        title = _title(settings.title, rater, purpose)
        several = settings.raters_per_case if rater == SHARED else 1
        record, made, again = ensure_project(session, ledger, server, study, rater, title, config, several, purpose)
        if rows.height:
            ensure_storage(session, record.project_id, settings, image_keys)
        elsewhere = answered.get(rater, {})
        keys = {key for place, told in elsewhere.items() if place != record.project_id for key in told}
        wanted = rows.filter(~pl.col("key").is_in(sorted(keys))) if keys else rows
        tasks = [_task(row, settings) for row in wanted.iter_rows(named=True)]
        at = done
        imported, copies = bring(session, record.project_id, tasks, config, partial(_say_from, say, at, total))
        done += rows.height
        pushed.append(Pushed(record, imported, len(tasks) - imported, copies, made, again))
        if problem := image_problem(session, record.project_id):
            notes.append(
                f"an image of {record.title!r} could not be seen ({problem}): raters may look at an empty frame; "
                "check annotate.document_root and what is said there"
            )
        if again and made:
            notes.append(
                f"{record.title!r} had been deleted on the server and was made anew, without what was answered"
            )
    if undecided:
        notes.append(_nobody_decides(undecided, material.disputes))
    notes += _about_accounts(session, ledger, server, {name: raters[name] for name in active})
    if settings.shared_project:
        notes.append("one project is shared by all raters: it is not blind, whoever looks can see what others answered")
    return Outcome(tuple(pushed), assignments.height, left_out, tuple(notes))


def _by_project(assignments: pl.DataFrame, active: list[str], *, shared: bool) -> dict[tuple[str, str], pl.DataFrame]:
    """(rater, purpose) -> what belongs there; a project for adjudication only for who is to adjudicate."""
    scoring = {(rater, SCORING): of_project(assignments, rater, SCORING) for rater in ([SHARED] if shared else active)}
    judging = {(rater, ADJUDICATION): of_project(assignments, rater, ADJUDICATION) for rater in active}
    return scoring | {place: rows for place, rows in judging.items() if rows.height}


def _title(title: str, rater: str, purpose: str) -> str:
    whose = rater[:_TITLE_PSEUDONYM]
    return f"{title} {whose}" if purpose == SCORING else f"{title[:_ADJUDICATION_TITLE].rstrip()} {whose} {purpose}"


def _nobody_decides(undecided: tuple[str, ...], disputes: Disputes | None) -> str:
    assert disputes is not None
    kinds = " or ".join(disputes.credentials).replace("_", " ")
    return (
        f"{len(undecided):,} narrative{'s' * (len(undecided) != 1)} that raters differ about cannot be decided: each "
        f"needs {disputes.each} more {kinds} rater{'s' * (disputes.each != 1)} who did not see it: add raters"
    )


def _answered(session: Session, ledger: Ledger, server: str, digest: str) -> dict[str, dict[int | None, set[str]]]:
    """Rater -> project -> keys that were answered there, as pulled or as the server says now.

    The server is asked about projects with another labelling screen only: what was answered there need not be asked
    again. Answers in the current project are found by looking for its tasks.
    """
    found: dict[str, dict[int | None, set[str]]] = {}
    known = ledger.snapshot()
    if known is not None:
        keys = ledger.assignments().select("key", "narrative_id", "planted", "rater", "occasion")
        latest = known[0].filter("is_latest").join(
            keys.with_columns(by=pl.col("rater")), on=["narrative_id", "planted", "rater", "occasion"], nulls_equal=True
        )  # fmt: skip
        for rater, project, key in latest.select("rater", "project_id", "key").iter_rows():
            found.setdefault(rater, {}).setdefault(project, set()).add(key)
    for record in ledger.projects(server):
        if record.config_digest != digest:
            told = found.setdefault(record.rater, {}).setdefault(record.project_id, set())
            told |= answered_keys(session, record.project_id)
    return found


def _task(row: Mapping[str, str], settings: AnnotateSettings) -> dict[str, object]:
    label = row["label"] if settings.show_label else None
    address = image_address(settings.document_root, row["image"])
    narrative = narrative_from_json(row["pre_edit"])
    return task_of(narrative, address, row["key"], label, note=row["note"], feedback=row["feedback"])


def remember_accounts(session: Session, ledger: Ledger, server: str, raters: Mapping[str, Rater]) -> dict[int, str]:
    """Number of an account -> pseudonym of its rater, those that are gone since included."""
    there = accounts(session)
    now = {there[email]: name for name, r in raters.items() if (email := r.email.strip().casefold()) in there}
    return ledger.accounts(server, now)


def _about_accounts(session: Session, ledger: Ledger, server: str, raters: Mapping[str, Rater]) -> list[str]:
    there = accounts(session)
    before = set(remember_accounts(session, ledger, server, raters).values())
    notes = []
    for name, rater in raters.items():
        if rater.email.strip().casefold() not in there:
            what = (
                "has no account on the server any more: somebody removed it, so invite this rater again"
                if name in before
                else "has no account on the server yet: send the invitation from Organization > Add people"
            )
            notes.append(f"{rater.email} {what}")
    return notes


def _say_from(say: Say, start: int, total: int, done: int, _: int) -> None:
    say(start + done, total)
