"""From a push to a certified release: what raters differ about goes to others, and what one corrected too."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from annotators.label_studio.connection import TOKEN_VARIABLE
from annotators.label_studio.ledger import ADJUDICATION, ASSIGNMENTS, SCORING, Ledger, ProjectRecord
from annotators.label_studio.listing import tasks_of
from annotators.label_studio.raters import SECRET_VARIABLE, pseudonyms, read_raters
from annotators.label_studio.server import Server
from annotators.label_studio.session import Session, opened
from flows.annotation import push_config
from flows.build import run_build
from flows.cli import app, guarded
from flows.execute import InProcess
from schemas.config_file import load_config
from schemas.narrative import narrative_from_json, render_sections
from tests.annotators.label_studio.study_parts import SECRET, answer, give, sign_up
from tests.conftest import Quiet

FULL = (5, 5, 5, 5, 5, 5)
CRITIQUES = ("The limitations leave out dermoscopy.", "Say that there was no dermoscopy.")


class Round:
    """A study with three raters, of whom two see each case, in a workspace of its own."""

    def __init__(self, folder: Path, built: Path, studio: Server, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.config, self.studio, self.workspace = folder / "config.yaml", studio, folder / "workspace"
        shutil.copytree(built.parent / "workspace", self.workspace)
        shutil.rmtree(self.workspace / "annotation", ignore_errors=True)
        mark = uuid.uuid4().hex
        told = {"kind": "simulated", "credential": "board_certified", "sensitive": ["genital", "paediatric", "graphic"]}
        raters = [{"email": f"{name}-{mark}@example.org", **told} for name in ("ada", "bob", "cyd")]
        (folder / "raters.yaml").write_text(yaml.safe_dump({"raters": raters}))
        document = yaml.safe_load(built.read_text())
        document["annotate"] = {
            "url": studio.url, "server": mark, "raters": str(folder / "raters.yaml"), "raters_per_case": 2,
            "document_root": str(studio.document_root), "practice": 0, "planted_share": 0.0, "repeat_share": 0.0,
        }  # fmt: skip
        self.config.write_text(yaml.safe_dump(document))
        self.raters = pseudonyms(read_raters(folder / "raters.yaml"), SECRET)
        self.tokens = sign_up(studio, self.raters.values())
        self.ledger = Ledger(str(self.workspace))

    def run(self, command: str) -> str:
        """What ``dermcot annotate COMMAND`` prints."""
        self.capsys.readouterr()
        assert guarded(lambda: app(["annotate", command, "-c", str(self.config)])) == 0
        return str(self.capsys.readouterr().out).strip()

    def session(self, rater: str) -> Session:
        return opened(self.studio.url, self.tokens[self.raters[rater].email])  # type: ignore[no-any-return]

    def answer(self, rater: str, key: str, decision: str = "certify", critique: str = "") -> None:
        """Answer what a rater has under a key; a revision adds one limitation to the text."""
        row = self.ledger.assignments().filter(pl.col("key") == key).row(0, named=True)
        told = {"critique": critique} if critique else {}
        if decision == "revise":
            shown = narrative_from_json(row["pre_edit"])
            more = (*shown.limitations, "Dermoscopy was not available to whoever wrote this.")
            told["corrected"] = render_sections(shown.model_copy(update={"limitations": more}))
        with self.session(rater) as session:
            number = self.tasks(session, rater)[key]["id"]
            give(session, number, answer(FULL, decision, **told))

    def tasks(self, session: Session, rater: str) -> dict[str, dict[str, Any]]:
        mine = [record for record in self.ledger.projects() if record.rater == rater]
        tasks = [task for record in mine for task in tasks_of(session, record.project_id, "id,data")]
        return {task["data"]["key"]: task for task in tasks}

    def assigned(self, narrative: str, occasion: str) -> dict[str, str]:
        """Rater -> key."""
        rows = self.ledger.assignments().filter(
            (pl.col("narrative_id") == narrative) & (pl.col("occasion") == occasion)
        )
        return dict(rows.select("rater", "key").iter_rows())

    def build(self, annotations: str | None = None) -> Path:
        """Build, counting these annotations; the directory of the release."""
        named = [] if annotations is None else [f"certification.annotations={annotations}"]
        config = load_config(self.config, named)
        return Path(run_build(config, InProcess(), Quiet()).path(config))


@pytest.fixture
def study(
    built: Path, studio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Round:
    monkeypatch.setenv(TOKEN_VARIABLE, studio.token)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET.decode())
    return Round(tmp_path, built, studio, capsys)


def test_what_raters_differ_about_is_decided_by_others_and_so_is_what_they_correct(study: Round) -> None:
    study.run("push")
    first = study.ledger.assignments()
    chosen = first.filter(pl.col("inclusion_probability").is_null())  # the evaluator accepts them
    settled, corrected, *_ = chosen["narrative_id"].unique().sort()
    for name in (settled, corrected):
        (one, key), (other, other_key) = sorted(study.assigned(name, "first").items())
        study.answer(one, key)
        study.answer(other, other_key, "revise", CRITIQUES[0])
    study.run("pull")
    unable = push_config(load_config(study.config, ["certification.adjudicators=2"]))
    assert [note for note in unable.notes if "2 narratives that raters differ about cannot be decided" in note]
    assert unable.assigned == first.height
    study.run("push")
    judges = [study.assigned(name, "adjudication") for name in (settled, corrected)]
    assert [
        set(judge) | set(study.assigned(name, "first"))
        for name, judge in zip((settled, corrected), judges, strict=True)
    ] == [set(study.raters)] * 2
    _nothing_is_given_away(study)
    assert study.run("push") == "0"

    ((judge, key),) = judges[0].items()
    study.answer(judge, key)
    ((judge, key),) = judges[1].items()
    study.answer(judge, key, "revise", CRITIQUES[1])  # the very text that the other reviser wrote
    release = study.build(study.run("pull"))
    certified = pl.read_parquet(release / "data/certified/*.parquet")
    assert certified.select("narrative_id", "n_raters").rows() == [(settled, 3)]

    study.run("push")
    new = study.ledger.assignments().join(first, on="key", how="anti").filter(pl.col("occasion") == "first")
    [correction] = new["narrative_id"].unique()
    assert correction not in set(first["narrative_id"])
    ((reader, key),) = study.assigned(correction, "first").items()
    assert reader == min(study.assigned(corrected, "first"))  # the only one who did not write it
    study.answer(reader, key)
    pulled = study.run("pull")
    release = study.build(pulled)
    certified = pl.read_parquet(release / "data/certified/*.parquet").sort("n_raters")
    assert certified.select("narrative_id", "parent_narrative_id", "n_raters").rows() == [
        (correction, corrected, 1), (settled, None, 3)]  # fmt: skip
    assert study.run("push") == "0"
    before = study.ledger.assignments()
    push_config(load_config(study.config, ["annotate.raters_per_case=3"]))
    more = study.ledger.assignments().join(before, on="key", how="anti")
    assert more.height
    assert not set(more["narrative_id"]) & {settled, corrected, correction}  # what is decided is asked no more
    told = study.run("status")
    assert "Narratives: 2 certified, 1 rejected; waiting for adjudication: 0; waiting for raters: " in told
    assert "DermEval beside the raters" in told
    assert "points above the others" in told
    assert "@example.org" not in told


def _nothing_is_given_away(study: Round) -> None:
    """An adjudicator's task has the critique, in a project of its own, and none of what must not be seen."""
    judging = study.ledger.assignments().filter(pl.col("occasion") == "adjudication")
    for row in judging.iter_rows(named=True):
        rater = row["rater"]
        [mine] = [p for p in study.ledger.projects() if (p.rater, p.purpose) == (rater, ADJUDICATION)]
        assert mine.title.startswith(f"DermCoT {rater[:8]} adjudication [")
        with study.session(rater) as session:
            tasks = tasks_of(session, mine.project_id, "id,data")
        [data] = [task["data"] for task in tasks if task["data"]["key"] == row["key"]]
        assert data["note"] == row["note"]
        assert CRITIQUES[0] in data["note"]
        assert not re.search(r"\d|certif|revise|reject|adjudicat", data["note"])
        hidden = [*study.raters, *(told.email for told in study.raters.values()), row["narrative_id"], row["case_id"]]
        assert not [word for word in hidden if word in str(data)]


def test_what_was_written_before_there_were_purposes_and_notes_is_read(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path))
    record = ProjectRecord("s", 7, "r", "d", "t", SCORING)
    old = {name: value for name, value in asdict(record).items() if name != "purpose"}
    ledger.folder.write("projects/s-7.json", json.dumps(old).encode())
    assert ledger.projects() == [record]
    ledger.add_project(record, "<View/>")
    row = pl.DataFrame([dict.fromkeys(ASSIGNMENTS)], schema=ASSIGNMENTS).with_columns(
        key=pl.lit("k"), place=pl.lit(0, pl.Int64)
    )
    (tmp_path / "annotation/assignments").mkdir()
    row.drop("note", "feedback").write_parquet(tmp_path / "annotation/assignments/old.parquet")
    ledger.assign(row.with_columns(key=pl.lit("m"), note=pl.lit("rest")))
    assert ledger.assignments().select("key", "note", "feedback").rows() == [("k", None, None), ("m", "rest", None)]
