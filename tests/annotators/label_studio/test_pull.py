"""Pulling from a real server: everything, exactly, and nothing twice."""

from __future__ import annotations

import base64
import hmac
import json
import re
import resource
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.label_studio.ledger import Ledger
from annotators.label_studio.listing import tasks_by_id, tasks_of
from annotators.label_studio.server import Server
from annotators.label_studio.session import Session, opened
from annotators.label_studio.study import push_study, server_digest
from flows.annotation import Pulled, pull_study
from schemas.errors import UserError
from schemas.narrative import render_sections
from schemas.tables import ANNOTATIONS, DIMENSIONS, polars_schema
from tests.annotators.label_studio.gateway import gateway
from tests.annotators.label_studio.study_parts import (
    SECRET,
    answer,
    change,
    give,
    ledger_in,
    made_up,
    narrative,
    panel,
    settings_for,
    sign_up,
)


class Study:
    """One rater's project with tasks to answer."""

    def __init__(self, server: Server, session: Session, folder: Path, kind: str = "human", count: int = 6) -> None:
        self.raters = panel(1, uuid.uuid4().hex)
        self.raters = {name: rater.model_copy(update={"kind": kind}) for name, rater in self.raters.items()}
        self.ledger: Ledger = ledger_in(folder)
        self.session = session
        self.settings = settings_for(server, raters_per_case=1)
        self.name = server_digest(self.settings)
        self.token = next(iter(sign_up(server, self.raters.values()).values()))
        push_study(session, self.ledger, self.settings, self.raters, SECRET, made_up(count))
        (self.record,) = self.ledger.projects()
        self.tasks = tasks_of(session, self.record.project_id, "id,data")

    def pull(self) -> Pulled:
        return pull_study(self.session, self.ledger, self.name, self.raters)


@pytest.fixture
def session(studio: Server) -> Iterator[Session]:
    with opened(studio.url, studio.token, 20) as session:
        yield session


@pytest.fixture
def study(studio: Server, session: Session, tmp_path: Path) -> Study:
    return Study(studio, session, tmp_path)


@pytest.fixture
def rater(studio: Server, study: Study) -> Iterator[Session]:
    with opened(studio.url, study.token, 20) as session:
        yield session


def test_what_was_answered_comes_back_exactly(study: Study, rater: Session) -> None:
    revised = render_sections(narrative(1).model_copy(update={"next_step": "Excise within two weeks."}))
    results = [
        answer((0, 1, 2, 3, 4, 5)),
        answer((3, 3, 3, 3, 3, 3), "revise", critique="Say how soon.", corrected=revised),
        answer((1, 1, 1, 1, 1, 1), "reject", critique="Melanoma is not considered."),
        [{"from_name": "cannot_judge", "to_name": "image", "type": "choices", "value": {"choices": ["ungradable"]}}],
    ]
    for task, result in zip(study.tasks, results, strict=False):
        give(rater, task["id"], result, 31.5)
    pulled = study.pull()
    assert pulled.annotations.schema == polars_schema(ANNOTATIONS)
    assert pulled.quarantine.height == 0
    rows = {row["task_id"]: row for row in pulled.annotations.iter_rows(named=True)}
    told = [rows[task["id"]] for task in study.tasks[:4]]
    assert [row["decision"] for row in told] == ["certify", "revise", "reject", "cannot_judge"]
    assert [told[0][name] for name in DIMENSIONS] == [0, 1, 2, 3, 4, 5]
    assert told[3]["accuracy"] is None
    assert json.loads(told[1]["corrected"])["next_step"] == "Excise within two weeks."
    assert told[2]["critique"] == "Melanoma is not considered."
    assigned = {row["key"]: row for row in study.ledger.assignments().iter_rows(named=True)}
    for task, row in zip(study.tasks, told, strict=False):
        for column in ("narrative_id", "case_id", "occasion", "pre_edit", "inclusion_probability", "rater"):
            assert row[column] == assigned[task["data"]["key"]][column]
        assert (row["seconds"], row["is_latest"], row["revision"]) == (31.5, True, 0)
        assert row["created_at"].tzinfo is not None


def test_two_pulls_of_one_state_are_the_same_bytes(study: Study, rater: Session) -> None:
    for task in study.tasks[:3]:
        give(rater, task["id"], answer())
    first = study.pull()
    before = {path: path.read_bytes() for path in Path(first.path).parents[1].rglob("*") if path.is_file()}
    again = study.pull()
    after = {path: path.read_bytes() for path in Path(first.path).parents[1].rglob("*") if path.is_file()}
    assert (again.path, again.fetched[0].new) == (first.path, 0)
    assert after == before
    give(rater, study.tasks[3]["id"], answer())
    assert study.pull().fetched[0].new == 1


def test_a_changed_mind_is_a_new_revision_and_the_old_one_is_history(study: Study, rater: Session) -> None:
    number = give(rater, study.tasks[0]["id"], answer((5, 5, 5, 5, 5, 5)))
    study.pull()
    change(rater, number, result=answer((2, 2, 2, 2, 2, 2), "reject", critique="On second thoughts: no."))
    rows = study.pull().annotations.sort("revision")
    assert rows["revision"].to_list() == [0, 1]
    assert rows["is_latest"].to_list() == [False, True]
    assert rows["accuracy"].to_list() == [5, 2]
    assert rows["annotation_id"].n_unique() == 2


def test_two_annotations_of_one_task_leave_the_later_one_to_count(study: Study, rater: Session) -> None:
    for score in (1, 4):
        give(rater, study.tasks[0]["id"], answer((score,) * 6))
    rows = study.pull().annotations
    assert rows.filter("is_latest")["accuracy"].to_list() == [4]
    assert rows.height == 2


def test_a_deleted_annotation_is_kept_and_counts_no_more(study: Study, rater: Session) -> None:
    number = give(rater, study.tasks[0]["id"], answer())
    give(rater, study.tasks[1]["id"], answer())
    assert study.pull().annotations["is_latest"].sum() == 2
    rater.delete(f"api/annotations/{number}/")
    pulled = study.pull()
    assert pulled.annotations.height == 2
    assert pulled.annotations["is_latest"].sum() == 1
    assert pulled.quarantine["rule"].to_list() == ["deleted"]
    give(rater, study.tasks[0]["id"], answer((1,) * 6))  # the server may give the same number again
    rows = study.pull().annotations
    assert (rows.height, rows["is_latest"].sum()) == (3, 2)


def test_a_task_deleted_with_its_answer_is_noticed(study: Study, session: Session, rater: Session) -> None:
    for task in study.tasks[:2]:
        give(rater, task["id"], answer())
    study.pull()
    session.delete(f"api/tasks/{study.tasks[0]['id']}")
    pulled = study.pull()
    assert (pulled.annotations.height, pulled.annotations["is_latest"].sum()) == (2, 1)


def test_what_others_write_is_set_aside(study: Study, session: Session, rater: Session) -> None:
    own = give(rater, study.tasks[0]["id"], answer((4,) * 6))
    give(session, study.tasks[1]["id"], answer())  # the owner of the server
    number = rater.post(f"api/tasks/{study.tasks[2]['id']}/annotations/", {"result": answer(), "completed_by": 1})["id"]
    study.pull()
    change(session, own, result=answer((0,) * 6))
    pulled = study.pull()
    assert pulled.annotations["accuracy"].to_list() == [4]
    assert pulled.annotations["is_latest"].to_list() == [True]
    assert pulled.quarantine["rule"].to_list() == ["another_author"] * 3
    assert number in pulled.quarantine["server_annotation_id"].to_list()
    assert all(json.loads(raw)["result"] for raw in pulled.quarantine["raw"])


def test_an_imported_annotation_is_no_answer_of_a_person(study: Study, session: Session) -> None:
    by = next(n for n, r in study.ledger.accounts(study.name, {}).items() if r == study.record.rater)
    body = [{"data": study.tasks[0]["data"], "annotations": [{"result": answer(), "completed_by": by}]}]
    session.post(f"api/projects/{study.record.project_id}/import", body)
    assert study.pull().quarantine["rule"].to_list() == ["another_author"]


def test_what_cannot_be_read_is_set_aside_with_reasons_and_voids_what_it_replaced(study: Study, rater: Session) -> None:
    number = give(rater, study.tasks[0]["id"], answer())
    give(rater, study.tasks[1]["id"], [])
    give(rater, study.tasks[2]["id"], answer(decision="perhaps"))
    study.pull()
    change(rater, number, result=answer()[:3])
    pulled = study.pull()
    assert pulled.annotations["is_latest"].to_list() == [False]
    assert pulled.quarantine["rule"].to_list() == ["unreadable"] * 3
    assert all(len(reasons) >= 1 for reasons in pulled.quarantine["reasons"])


def test_an_unknown_key_is_set_aside(study: Study, session: Session, rater: Session) -> None:
    stranger = {"data": study.tasks[0]["data"] | {"key": "f" * 32}}
    made = session.post(f"api/projects/{study.record.project_id}/import", [stranger], return_task_ids="true")
    give(rater, made["task_ids"][0], answer())
    assert study.pull().quarantine["rule"].to_list() == ["unknown_key"]


def test_no_name_and_no_address_comes_into_the_workspace(study: Study, rater: Session, tmp_path: Path) -> None:
    give(rater, study.tasks[0]["id"], answer())
    study.pull()
    (email,) = (rater.email for rater in study.raters.values())
    for path in (tmp_path / "workspace").rglob("*"):
        if path.is_file():
            told = path.read_bytes()
            table = told.find(b"PAR1")  # behind a digest in one file
            if table >= 0:
                told = told[:table] + pl.read_parquet(told[table:]).write_ndjson().encode()
            assert email.encode() not in told
            assert b"@" not in told or path.suffix == ".xml"


def test_a_rater_whose_account_is_gone_keeps_what_was_said(study: Study, session: Session, rater: Session) -> None:
    give(rater, study.tasks[0]["id"], answer())
    study.pull()
    number = next(n for n, r in study.ledger.accounts(study.name, {}).items() if r == study.record.rater)
    session._send("DELETE", f"api/users/{number}")
    pulled = study.pull()
    assert pulled.annotations["rater"].to_list() == [study.record.rater]


@pytest.mark.parametrize("requests", [1, 4])
def test_a_network_that_goes_down_during_a_pull_loses_nothing(
    studio: Server, study: Study, rater: Session, requests: int
) -> None:
    for task in study.tasks[:3]:
        give(rater, task["id"], answer())
    with gateway(studio.url) as front, opened(front.url, studio.token, 0.5) as through:
        front.open_for = requests
        with pytest.raises(UserError, match=r"does not answer \(the connection broke\).*nothing is lost"):
            pull_study(through, study.ledger, study.name, study.raters)
    assert study.pull().annotations["is_latest"].sum() == 3


def test_a_disk_that_fills_up_during_a_pull_loses_nothing(study: Study, rater: Session) -> None:
    give(rater, study.tasks[0]["id"], answer())
    first = study.pull()
    give(rater, study.tasks[1]["id"], answer())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match="the disk is full"):
            study.pull()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Path(first.path).exists()
    assert study.pull().annotations["is_latest"].sum() == 2


def test_a_token_that_expires_on_the_way_is_one_sentence(studio: Server, study: Study, rater: Session) -> None:
    give(rater, study.tasks[0]["id"], answer())
    token = signed(studio, {"token_type": "refresh", "exp": int(time.time()) + 2, "jti": "x", "user_id": "1"})
    with opened(studio.url, token, 5) as session:
        time.sleep(2.5)
        with pytest.raises(UserError, match="does not take the token any more"):
            pull_study(session, study.ledger, study.name, study.raters)
    with pytest.raises(UserError, match="the token has expired"), opened(studio.url, token):
        pass
    assert study.pull().annotations["is_latest"].sum() == 1


def signed(server: Server, claims: Mapping[str, Any]) -> str:
    """A token as the server itself would make it."""
    key = re.search(r"^SECRET_KEY=(.*)$", (server.document_root.parent / "data/.env").read_text(), re.MULTILINE)
    assert key is not None
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}), json.dumps(claims)]
    coded = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts]
    digest = hmac.digest(key[1].strip().encode(), ".".join(coded).encode(), "sha256")
    return ".".join([*coded, base64.urlsafe_b64encode(digest).decode().rstrip("=")])


def test_a_time_without_a_fraction_is_asked_for_as_the_server_wants_it(study: Study, rater: Session) -> None:
    give(rater, study.tasks[0]["id"], answer())
    study.pull()
    known = study.ledger.raw(study.name, study.record.project_id)
    whole = f"{str(known['task_updated_at'][0])[:17]}59Z"
    study.ledger.add_raw(study.name, study.record.project_id, known.with_columns(task_updated_at=pl.lit(whole)))
    assert study.pull().fetched[0].problem is None
    give(rater, study.tasks[1]["id"], answer())
    assert study.pull().fetched[0].new == 1


def test_tasks_pushed_since_and_not_answered_are_not_read(
    study: Study, rater: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(rater, study.tasks[0]["id"], answer())
    study.pull()
    push_study(study.session, study.ledger, study.settings, study.raters, SECRET, made_up(12))
    give(rater, study.tasks[1]["id"], answer())
    read: list[int] = []
    monkeypatch.setattr(
        "annotators.label_studio.pull.tasks_by_id",
        lambda session, project, include, ids: read.extend(ids) or tasks_by_id(session, project, include, ids),
    )
    monkeypatch.setattr("annotators.label_studio.pull._ALL_ABOVE", 2.0)
    assert study.pull().fetched[0].new == 1
    assert read == [study.tasks[1]["id"]]


def test_a_first_pull_of_nothing_is_an_empty_table(study: Study) -> None:
    pulled = study.pull()
    assert pulled.annotations.schema == polars_schema(ANNOTATIONS)
    assert (pulled.annotations.height, pulled.quarantine.height) == (0, 0)
