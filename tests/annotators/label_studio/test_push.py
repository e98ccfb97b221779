"""Pushing to a real server: once, whatever happens in between."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.label_studio.ledger import Ledger
from annotators.label_studio.listing import accounts, keys_of, tasks_of
from annotators.label_studio.push import batches, bring, refuse_unfit
from annotators.label_studio.screen import labelling_config
from annotators.label_studio.server import Server
from annotators.label_studio.session import Session, opened
from annotators.label_studio.study import Outcome, push_study, server_digest
from annotators.label_studio.tasks import task_of
from schemas.errors import UserError
from tests.annotators.label_studio.gateway import gateway
from tests.annotators.label_studio.study_parts import (
    SECRET,
    answer,
    give,
    ledger_in,
    made_up,
    narrative,
    panel,
    settings_for,
    sign_up,
)


@pytest.fixture
def session(studio: Server) -> Iterator[Session]:
    with opened(studio.url, studio.token, 20) as session:
        yield session


def each_once(session: Session, ledger: Ledger, name: str) -> None:
    """Every assignment lies in its rater's youngest project exactly once, and nothing else does."""
    youngest = {record.rater: record.project_id for record in ledger.projects(name)}
    assignments = ledger.assignments()
    for rater, project in youngest.items():
        there = keys_of(session, project)
        assert sorted(there) == sorted(assignments.filter(pl.col("rater") == rater)["key"])
        assert all(len(numbers) == 1 for numbers in there.values())


def counts(outcome: Outcome) -> list[int]:
    return [told.imported for told in outcome.pushed]


def test_pushed_twice_everything_is_there_once(studio: Server, session: Session, tmp_path: Path) -> None:
    settings = settings_for(studio, practice=3, repeat_share=0.1, gold_share=0.1, planted_share=0.1)
    raters, ledger, material = panel(3, uuid.uuid4().hex), ledger_in(tmp_path), made_up(30, extras=5)
    first = push_study(session, ledger, settings, raters, SECRET, material)
    assert sum(counts(first)) == ledger.assignments().height
    assert all("has no account on the server yet" in note for note in first.notes)
    again = push_study(session, ledger, settings, raters, SECRET, material)
    assert counts(again) == [0, 0, 0]
    each_once(session, ledger, server_digest(settings))
    grown = push_study(session, ledger, settings, raters, SECRET, made_up(45, extras=5))
    assert grown.assigned > first.assigned
    each_once(session, ledger, server_digest(settings))


def test_a_task_tells_nothing_and_its_image_is_shown(studio: Server, session: Session, tmp_path: Path) -> None:
    settings, ledger = settings_for(studio, raters_per_case=1, planted_share=0.5), ledger_in(tmp_path)
    raters = panel(1, uuid.uuid4().hex)
    push_study(session, ledger, settings, raters, SECRET, made_up(4, extras=3))
    (record,) = ledger.projects()
    tasks = tasks_of(session, record.project_id, "id,data")
    told = str(tasks) + str(session.get(f"api/projects/{record.project_id}"))
    for word in ("n0000", "cn0000", "planted", "false_reassurance", "image-n", "@example.org", "gold"):
        assert word not in told
    headers = {"Authorization": session._authorization(False)}
    for task in tasks:
        shown = session._http.get(task["data"]["image"].lstrip("/"), headers=headers)
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")


@pytest.mark.parametrize("trouble", [{"impatient": 2}, {"dropped": 2}, {"impatient": 1, "dropped": 1}])
def test_a_gateway_that_loses_patience_doubles_nothing(
    studio: Server, session: Session, tmp_path: Path, trouble: dict[str, int]
) -> None:
    ledger = ledger_in(tmp_path)
    with gateway(studio.url) as front:
        for name, count in trouble.items():
            setattr(front, name, count)
        settings = settings_for(studio, url=front.url, raters_per_case=1)
        with opened(front.url, studio.token, 20) as through:
            push_study(through, ledger, settings, panel(1, uuid.uuid4().hex), SECRET, made_up(700))
        assert front.imports == 3
    each_once(session, ledger, server_digest(settings))


def test_an_import_that_comes_late_is_found_and_its_copy_removed(
    studio: Server, session: Session, tmp_path: Path
) -> None:
    ledger, raters = ledger_in(tmp_path), panel(1, uuid.uuid4().hex)
    with gateway(studio.url) as front:
        front.impatient, front.late = 1, 3.0
        settings = settings_for(studio, url=front.url, raters_per_case=1)
        with opened(front.url, studio.token, 20) as through:
            push_study(through, ledger, settings, raters, SECRET, made_up(20))
            for timer in front.waiting:
                timer.join()
        (record,) = ledger.projects()
        copies = [numbers for numbers in keys_of(session, record.project_id).values() if len(numbers) == 2]
        assert len(copies) == 20
        give(session, copies[0][1], answer())  # the younger copy has been worked on, so it stays
        outcome = push_study(session, ledger, settings, raters, SECRET, made_up(20))
    assert outcome.pushed[0].copies_removed == 20
    each_once(session, ledger, server_digest(settings))
    assert copies[0][1] in [n for numbers in keys_of(session, record.project_id).values() for n in numbers]


def test_a_silent_server_is_one_sentence_and_the_next_push_goes_on(
    studio: Server, session: Session, tmp_path: Path
) -> None:
    ledger, raters = ledger_in(tmp_path), panel(1, uuid.uuid4().hex)
    with gateway(studio.url) as front:
        front.impatient, front.late = 99, 600.0
        settings = settings_for(studio, url=front.url, raters_per_case=1)
        with opened(front.url, studio.token, 1) as through, pytest.raises(UserError, match="does not answer"):
            push_study(through, ledger, settings, raters, SECRET, made_up(20))
        for timer in front.waiting:
            timer.cancel()
    push_study(session, ledger, settings, raters, SECRET, made_up(20))
    each_once(session, ledger, server_digest(settings))


def test_a_deleted_project_is_made_anew_without_what_was_answered(
    studio: Server, session: Session, tmp_path: Path
) -> None:
    from flows.annotation import pull_study

    raters, ledger, settings = panel(1, uuid.uuid4().hex), ledger_in(tmp_path), settings_for(studio, raters_per_case=1)
    name = server_digest(settings)
    tokens = sign_up(studio, raters.values())
    push_study(session, ledger, settings, raters, SECRET, made_up(6))
    (record,) = ledger.projects(name)
    with opened(studio.url, next(iter(tokens.values()))) as rater:
        give(rater, tasks_of(session, record.project_id, "id")[0]["id"], answer())
    pulled = pull_study(session, ledger, name, raters)
    assert pulled.annotations["is_latest"].sum() == 1
    session.delete(f"api/projects/{record.project_id}")
    after = pull_study(session, ledger, name, raters)
    assert (after.fetched[0].there, after.path) == (False, pulled.path)
    outcome = push_study(session, ledger, settings, raters, SECRET, made_up(6))
    assert counts(outcome) == [5]
    assert any("had been deleted" in note for note in outcome.notes)
    assert outcome.pushed[0].project.project_id != record.project_id


def test_a_rater_whose_account_was_removed_is_told_and_the_others_get_theirs(
    studio: Server, session: Session, tmp_path: Path
) -> None:
    raters, ledger, settings = panel(2, uuid.uuid4().hex), ledger_in(tmp_path), settings_for(studio)
    sign_up(studio, raters.values())
    assert push_study(session, ledger, settings, raters, SECRET, made_up(3)).notes == ()
    gone = next(iter(raters.values())).email
    session.delete(f"api/users/{accounts(session)[gone]}")
    outcome = push_study(session, ledger, settings, raters, SECRET, made_up(5))
    assert sum(counts(outcome)) == 4
    assert outcome.notes == (
        f"{gone} has no account on the server any more: somebody removed it, so invite this rater again",
    )
    each_once(session, ledger, server_digest(settings))


def test_a_screen_edited_by_hand_is_refused_by_push_and_told_by_pull(
    studio: Server, session: Session, tmp_path: Path
) -> None:
    from flows.annotation import pull_study

    raters, ledger, settings = panel(1, uuid.uuid4().hex), ledger_in(tmp_path), settings_for(studio, raters_per_case=1)
    push_study(session, ledger, settings, raters, SECRET, made_up(3))
    (record,) = ledger.projects()
    config = session.get(f"api/projects/{record.project_id}")["label_config"]
    edited = config.replace('hotkey="0"', 'hotkey="9"', 1)
    session._send("PATCH", f"api/projects/{record.project_id}", json={"label_config": edited})
    with pytest.raises(UserError, match="was edited on the server: put back"):
        push_study(session, ledger, settings, raters, SECRET, made_up(3))
    (told,) = pull_study(session, ledger, server_digest(settings), raters).fetched
    assert told.problem is not None
    assert "edited" in told.problem
    kept = ledger.screens()[record.config_digest]
    session._send("PATCH", f"api/projects/{record.project_id}", json={"label_config": kept})
    assert counts(push_study(session, ledger, settings, raters, SECRET, made_up(3))) == [0]


def test_another_screen_is_another_project_for_what_is_not_answered(
    studio: Server, session: Session, tmp_path: Path
) -> None:
    raters, ledger, settings = panel(1, uuid.uuid4().hex), ledger_in(tmp_path), settings_for(studio, raters_per_case=1)
    push_study(session, ledger, settings, raters, SECRET, made_up(5))
    (record,) = ledger.projects()
    give(session, tasks_of(session, record.project_id, "id")[0]["id"], answer())
    changed = settings.model_copy(update={"show_label": True})
    outcome = push_study(session, ledger, changed, raters, SECRET, made_up(5))
    assert counts(outcome) == [4]
    assert outcome.pushed[0].project.config_digest != record.config_digest
    assert len(keys_of(session, record.project_id)) == 5
    assert all(task["data"]["label"] for task in tasks_of(session, outcome.pushed[0].project.project_id, "id,data"))


def test_a_shared_project_is_said_not_to_be_blind(studio: Server, session: Session, tmp_path: Path) -> None:
    ledger, settings = ledger_in(tmp_path), settings_for(studio, shared_project=True, repeat_share=0.5)
    outcome = push_study(session, ledger, settings, panel(3, uuid.uuid4().hex), SECRET, made_up(8))
    assert counts(outcome) == [8]
    assert any("not blind" in note for note in outcome.notes)
    told = session.get(f"api/projects/{outcome.pushed[0].project.project_id}")
    assert told["maximum_annotations"] == 2


def test_too_few_raters_and_another_secret_are_told(studio: Server, session: Session, tmp_path: Path) -> None:
    ledger, settings = ledger_in(tmp_path), settings_for(studio)
    with pytest.raises(UserError, match="only 1 raters are active"):
        push_study(session, ledger, settings, panel(1, "x"), SECRET, made_up(3))
    with pytest.raises(UserError, match="begun with another secret"):
        push_study(session, ledger, settings, panel(2, "x"), SECRET + b"!", made_up(3))


def fit(**changes: Any) -> dict[str, Any]:
    made = task_of(narrative(1), "/data/local-files/?d=images/x.jpg", "a" * 32)
    return {**made, "data": made["data"] | changes}


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([fit(), fit()], "stands there twice"),
        ([fit(key="a")], "which is none"),
        ([fit(findings=" ")], "no text for findings"),
        ([fit(image=None)], "no text for image"),
        ([fit(source="ham10000")], "holds source"),
        ([{**fit(), "predictions": [{"model_version": "x", "result": []}]}], "prediction"),
    ],
)
def test_an_unfit_batch_is_refused_before_anything_is_sent(tasks: list[dict[str, Any]], said: str) -> None:
    refuse_unfit([fit()], labelling_config())
    with pytest.raises(UserError, match=said):
        bring(None, 1, tasks, labelling_config(), lambda done, total: None)  # type: ignore[arg-type]


def test_batches_are_of_bounded_number_and_size() -> None:
    assert [len(batch) for batch in batches([fit()] * 700)] == [300, 300, 100]
    assert [len(batch) for batch in batches([fit(findings="x" * 3_000_000)] * 5)] == [2, 2, 1]
    assert list(batches([])) == []
