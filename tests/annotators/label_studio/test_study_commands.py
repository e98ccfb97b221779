"""The commands push, pull and status over a real build and a real server, and what they say when something is wrong."""

from __future__ import annotations

import datetime
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from annotators.label_studio.connection import TOKEN_VARIABLE
from annotators.label_studio.ledger import Ledger
from annotators.label_studio.raters import SECRET_VARIABLE, pseudonym, pseudonyms, read_raters
from annotators.label_studio.server import Server
from flows.annotation import push_config
from flows.annotation_status import agreement_so_far, status_of
from flows.cli import app, guarded
from schemas.config import Config
from schemas.narrative import narrative_from_json
from schemas.tables import DIMENSIONS
from tests.annotators.label_studio.study_parts import SECRET, answer_all, sign_up


@pytest.fixture
def study(built: Path, studio: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``study(field=value)``: the configuration with an ``annotate`` section for the server and three raters."""
    mark = uuid.uuid4().hex
    emails = [f"{name}-{mark}@example.org" for name in ("ada", "bob", "cyd")]
    raters = [
        {"email": email, "kind": "simulated", "credential": "other", "sensitive": ["genital", "paediatric", "graphic"]}
        for email in emails
    ]
    (tmp_path / "raters.yaml").write_text(yaml.safe_dump({"raters": raters}))
    monkeypatch.setenv(TOKEN_VARIABLE, studio.token)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET.decode())

    def make(**changes: Any) -> Path:
        document = yaml.safe_load(built.read_text())
        document["workspace"] = str(built.parent / "workspace")
        document["releases"] = str(built.parent / "releases")
        document["annotate"] = {
            "url": studio.url, "server": mark, "raters": str(tmp_path / "raters.yaml"), "raters_per_case": 2,
            "document_root": str(studio.document_root), "practice": 2, "planted_share": 0.1, **changes,
        }  # fmt: skip
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
        return tmp_path / "config.yaml"

    return make


def run(*arguments: str) -> int:
    return guarded(lambda: app(list(arguments)))


@pytest.fixture
def fresh(built: Path) -> None:
    """The workspace without a study."""
    Ledger(str(built.parent / "workspace")).folder.delete("")


@pytest.mark.usefixtures("fresh")
def test_a_study_from_build_to_status(
    study: Callable[..., Path], studio: Server, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(study(daily_cap=3))
    registry = read_raters(tmp_path / "raters.yaml")
    tokens = sign_up(studio, registry)
    assert run("annotate", "push", "-c", config) == 0
    ledger = Ledger(str(built.parent / "workspace"))
    assignments = ledger.assignments()
    assert capsys.readouterr().out.strip() == str(assignments.height)
    queue = _queue(built)
    first = assignments.filter(pl.col("occasion") == "first").group_by("narrative_id").len()
    assert first["len"].to_list() == [2] * queue.height
    assert set(first["narrative_id"]) == set(queue["narrative_id"])
    chance = dict(queue.select("narrative_id", pl.when("random").then("random_probability")).iter_rows())
    for row in assignments.iter_rows(named=True):
        narrative_from_json(row["pre_edit"])
        assert row["occasion"] != "first" or row["inclusion_probability"] == chance[row["narrative_id"]]
    planted = assignments.filter(pl.col("planted").is_not_null())
    assert planted.height
    assert not set(planted["narrative_id"]) & set(queue["narrative_id"])
    practice = assignments.filter(pl.col("occasion") == "practice").sort("rater", "place")
    assert practice.group_by("rater", maintain_order=True).agg("planted")["planted"].to_list() == [
        [None, "wrong_diagnosis"]] * 3  # fmt: skip
    assert practice["feedback"].str.contains("A fault was put in: the conclusion").to_list() == [False, True] * 3
    assert practice["feedback"].str.starts_with("Practice, not counted.").all()
    assert assignments.filter(pl.col("occasion") != "practice")["feedback"].null_count() == assignments.height - 6
    assert run("annotate", "push", "-c", config) == 0
    assert capsys.readouterr().out.strip() == "0"
    assert run("annotate", "status", "-c", config) == 0
    assert "Nothing was pulled yet" in capsys.readouterr().out
    answer_all(studio, ledger, ledger.projects()[0].server, pseudonyms(registry, SECRET), tokens)
    assert run("annotate", "pull", "-c", config) == 0
    told = pl.read_parquet(capsys.readouterr().out.strip().splitlines()[-1])
    assert told["is_latest"].sum() == assignments.height
    assert run("annotate", "status", "-c", config) == 0
    out = capsys.readouterr().out
    assert pseudonym(registry[0].email, SECRET) in out
    assert "time to rest" in out
    assert "Agreement so far" in out
    assert "@example.org" not in out


def _queue(built: Path) -> pl.DataFrame:
    from flows.build import last_build

    last = last_build(str(built.parent / "workspace"))
    assert last is not None
    return last[0].table(last[1]["select"], "queue")


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("command", "changes", "variables", "said"),
    [
        ("push", {"url": "http://127.0.0.1:9"}, {}, "nothing answers at"),
        ("push", {"url": "labels"}, {}, "is no address"),
        ("push", {}, {TOKEN_VARIABLE: "0" * 40}, "token"),
        ("push", {}, {TOKEN_VARIABLE: ""}, "no token is given"),
        ("push", {"raters": "/nowhere/raters.yaml"}, {}, "there is no file of raters"),
        ("push", {"gold": "/nowhere/gold.csv"}, {}, "mend annotate.gold"),
        ("push", {"raters_per_case": 9}, {}, "only 3 raters are active"),
        ("push", {"rater_per_case": 2}, {}, "did you mean 'raters_per_case'"),
        ("pull", {}, {}, "nothing was pushed"),
        ("status", {}, {}, "nothing was pushed"),
        ("status", {}, {SECRET_VARIABLE: "short"}, "shorter than 16"),
    ],
)
def test_a_mistake_is_one_sentence(
    study: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    changes: dict[str, Any],
    variables: dict[str, str],
    said: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert run("annotate", command, "-c", str(study(**changes))) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith("Error: ")
    assert said in errors[-1]


@pytest.mark.usefixtures("fresh")
def test_a_full_disk_is_one_sentence_and_the_next_push_goes_on(
    study: Callable[..., Path], studio: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(study())

    def full(*told: Any) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr("annotators.label_studio.images.export_image", full)
        for image in (studio.document_root / "images").glob("*"):
            image.unlink()
        assert run("annotate", "push", "-c", config) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert run("annotate", "push", "-c", config) == 0


def test_agreement_so_far_leaves_out_what_is_not_a_first_look() -> None:
    rows = [
        {"narrative_id": f"n{n}", "rater": r, "occasion": o, "planted": p, "decision": "certify",
         **dict.fromkeys(DIMENSIONS, float((n + wrong) % 5))}
        for n in range(20)
        for r in ("a", "b")
        for o, p, wrong in (("first", None, 0), ("gold", "false_reassurance", r == "b"), ("repeat", None, r == "b"))
    ]  # fmt: skip
    told = agreement_so_far(pl.DataFrame(rows))
    scores = told.filter(pl.col("measure") == "alpha_ordinal")
    assert scores["estimate"].to_list() == [1.0] * 7
    assert scores["n_items"].to_list() == [20] * 7


def test_status_before_any_pull_tells_what_is_left(study: Callable[..., Path], built: Path, tmp_path: Path) -> None:
    from schemas.config_file import load_config

    Ledger(str(built.parent / "workspace")).folder.delete("")
    config: Config = load_config(study())
    push_config(config)
    raters = pseudonyms(read_raters(tmp_path / "raters.yaml"), SECRET)
    now = datetime.datetime.now(datetime.UTC)
    told = status_of(Ledger(config.workspace), config.annotate, raters, now)
    assert {row.rater for row in told.raters} == set(raters)
    assert all(row.left > 0 and row.done == 0 for row in told.raters)
