"""A study on a Label Studio: what there is to score, dealt, written down, and brought to every rater's project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import polars as pl

from annotators.label_studio.images import ensure_storage, export_images, image_address, image_problem
from annotators.label_studio.ledger import ASSIGNMENTS, SHARED, Ledger, of_rater
from annotators.label_studio.listing import accounts
from annotators.label_studio.push import Pushed, Say, answered_keys, bring, ensure_project
from annotators.label_studio.queue import PLAN, Seat, plan
from annotators.label_studio.raters import SENSITIVE, Rater, secret_mark
from annotators.label_studio.screen import config_digest, labelling_config
from annotators.label_studio.session import Session
from annotators.label_studio.tasks import image_name, opaque_key, task_of
from corpus.digests import digest_of
from schemas.config import AnnotateSettings
from schemas.errors import UserError
from schemas.narrative import narrative_from_json
from schemas.tables import OCCASIONS

_TITLE_PSEUDONYM = 8


@dataclass(frozen=True)
class Material:
    """What a study is made of.

    ``candidates``, ``extras``: as :mod:`annotators.label_studio.queue` wants them; ``texts``: (narrative, planted fault
    or None) -> JSON of the narrative; ``images``: case -> image digest; ``labels``: case -> what it is recorded as;
    ``payloads``: the bytes of images by digest, as far as there are any; ``endings``: image digest -> ``.jpg``.
    """

    candidates: pl.DataFrame
    extras: pl.DataFrame
    texts: Mapping[tuple[str, str | None], str]
    images: Mapping[str, str]
    labels: Mapping[str, str]
    payloads: Callable[[Iterable[str]], Mapping[str, bytes]]
    endings: Callable[[], Mapping[str, str]]


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
    left_out = deal(ledger, settings, raters, secret, material, answered)
    assignments = ledger.assignments()
    names = dict(assignments.select("image_digest", "image").iter_rows())
    export_images(names, settings.document_root, material.payloads)
    notes = []
    pushed = []
    mine = {r: of_rater(assignments, [r]) for r in ([SHARED] if settings.shared_project else active)}
    done, total = 0, sum(rows.height for rows in mine.values())
    for rater, rows in mine.items():
        title = f"{settings.title} {rater[:_TITLE_PSEUDONYM]}"
        several = settings.raters_per_case if rater == SHARED else 1
        record, made, again = ensure_project(session, ledger, server, study, rater, title, config, several)
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
    notes += _about_accounts(session, ledger, server, {name: raters[name] for name in active})
    if settings.shared_project:
        notes.append("one project is shared by all raters: it is not blind, whoever looks can see what others answered")
    return Outcome(tuple(pushed), assignments.height, left_out, tuple(notes))


def deal(
    ledger: Ledger,
    settings: AnnotateSettings,
    raters: Mapping[str, Rater],
    secret: bytes,
    material: Material,
    answered: Mapping[str, Mapping[int | None, set[str]]],
) -> tuple[str, ...]:
    """Write down new assignments; returns the narratives for which too few raters may be asked."""
    before = ledger.assignments()
    active = {name: rater for name, rater in raters.items() if rater.active}
    done = {key for told in answered.values() for keys in told.values() for key in keys}
    void = {
        (narrative, rater)
        for key, narrative, rater in before.select("key", "narrative_id", "rater").iter_rows()
        if rater not in active and rater != SHARED and key not in done
    }
    seats = [Seat(name, frozenset(rater.sensitive)) for name, rater in active.items()]
    per_case = min(settings.raters_per_case, len(seats))
    if settings.shared_project:
        agreed = frozenset(k for k in SENSITIVE if all(k in rater.sensitive for rater in active.values()))
        seats, per_case = [Seat(SHARED, agreed)], 1
        settings = settings.model_copy(update={"repeat_share": 0.0})
    elif settings.raters_per_case > len(seats):
        raise UserError(
            f"annotate.raters_per_case is {settings.raters_per_case}, but only {len(seats)} raters are active: "
            "add raters, or lower it"
        )
    already = before.select(list(PLAN))
    planned = plan(material.candidates, material.extras, seats, already, settings, per_case, frozenset(void))
    endings = material.endings() if planned.assignments.height else {}
    rows = []
    for row in planned.assignments.iter_rows(named=True):
        narrative, planted, case = row["narrative_id"], row["planted"], row["case_id"]
        digest = material.images[case]
        shown = narrative if planted is None else f"{narrative}+{planted}"
        rows.append({**row, "key": opaque_key(secret, shown, row["rater"], OCCASIONS.index(row["occasion"])),
                     "image_digest": digest, "image": image_name(secret, digest, endings[digest]),
                     "pre_edit": material.texts[narrative, planted], "label": material.labels[case]})  # fmt: skip
    ledger.assign(pl.DataFrame(rows, schema=ASSIGNMENTS))
    return planned.left_out


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
    return task_of(narrative_from_json(row["pre_edit"]), address, row["key"], label)


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
