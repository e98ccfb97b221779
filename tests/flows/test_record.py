"""The record of a run on this machine: what a Prefect server shows of it, and that no build depends on it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pytest

from flows.execute import ShardDone, ShardTask
from flows.record import Record
from flows.runners import recorded_runner
from flows.steps import STEPS
from schemas.config import Config
from schemas.errors import GateError, UserError
from tests.annotators.vlm.chat_server import chat_server
from tests.conftest import REPOSITORY, write_config
from tests.prefect_server import prefect_server, recorded

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}


def start(config: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows", "run", "-c", str(config), *arguments],
        cwd=REPOSITORY, env={**ENVIRONMENT, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(config: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    process = start(config, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_a_prefect_server_shows_runs_with_a_task_per_shard_and_an_artifact_per_step(
    drawn_sample: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    status, _, err = run(config)
    assert status == 0, err
    blocked = run(config, "--set", "gate.max_rejected_share=0.001")
    assert blocked[0] == 1
    assert run(config)[0] == 0
    with prefect_server(tmp_path / "workspace/prefect") as url:
        seen = recorded(url)
    records = [json.loads(file.read_text()) for file in (tmp_path / "workspace/runs").glob("*/run.json")]
    states = {"published": "COMPLETED", "failed": "FAILED"}
    runs = {name: (state, message) for name, state, message in seen["flows"]}
    assert {name: state for name, (state, _) in runs.items()} == {r["run_id"]: states[r["status"]] for r in records}
    assert next(message for state, message in runs.values() if state == "FAILED") in blocked[2].replace("\n", " ")
    assert {state for _, state, _ in seen["tasks"]} == {"COMPLETED"}
    spans = {name: (begun, ended) for name, begun, ended in seen["spans"]["flows"]}
    for record in records:  # they are the times of the run, not those of writing
        begun, ended = spans[record["run_id"]]
        assert record["started"] <= begun < record["started"] + 5
        assert record["ended"] - 5 < ended
    whole = next(r for r in records if r["status"] == "published" and r["steps"][0]["state"] == "ran")
    told = {step["step"]: step["seconds"] for step in whole["steps"]}
    kept = {name: ended - begun for name, begun, ended in seen["spans"]["tasks"] if begun < whole["ended"]}
    for step in ("read", "deduplicate", "gate_ingest", "gate_release"):
        assert abs(kept[step] - told[step]) < 0.5, step
    names = [name for name, _, _ in seen["tasks"]]
    build = json.loads((tmp_path / "workspace/build.json").read_text())
    selection = tmp_path / "workspace/steps/propose" / build["outputs"]["propose"] / "manifest.json"
    rows = json.loads(selection.read_text())["tables"]["selection"]["rows"] // 3
    assert len([name for name in names if name.startswith("propose ")]) >= rows // 16
    assert {"read", "deduplicate", "select", "gate_release", "release"} <= set(names)
    assert seen["artifacts"]["release"]["type"] == "markdown"
    assert sum(key.startswith("step-") for key in seen["artifacts"]) == len(STEPS)
    table = json.loads(seen["artifacts"]["step-inspect"]["data"])
    assert any(row["what"] == "rejected: image/corrupt_image" and row["records"] > 0 for row in table)


def test_long_work_and_what_it_came_to_are_artifacts_and_so_is_a_run_that_was_stopped(
    drawn_sample: Path, tmp_path: Path
) -> None:
    with chat_server() as server:
        http = {"endpoints": [{"url": server.url}]}
        teacher = {"teacher": "vlm", "candidates": 1, "vlm": {"model": "m", "terms": "CC0-1.0", "http": http}}
        teacher["vlm"]["blind_share"] = 0.0  # type: ignore[index]
        config = write_config(tmp_path / "config.yaml", drawn_sample, propose=teacher, limit=40)
        status, _, err = run(config)
        assert status == 0, err
        splits = list((tmp_path / "workspace/steps/split").iterdir())
        stopped = start(config, "--set", "limit=41", "--set", "split.salt=another")
        while list((tmp_path / "workspace/steps/split").iterdir()) == splits:
            assert stopped.poll() is None
            time.sleep(0.02)
        stopped.send_signal(signal.SIGINT)
        assert stopped.communicate(timeout=120)[1].rstrip().endswith("run the same command to go on.")
    with prefect_server(tmp_path / "workspace/prefect") as url:
        seen = recorded(url)
    assert [seen["artifacts"][key]["type"] for key in ("progress-propose", "teacher")] == ["progress", "table"]
    assert sorted(state for _, state, _ in seen["flows"]) == ["CANCELLED", "COMPLETED"]


@pytest.mark.parametrize("begun", [False, True])
def test_a_build_goes_on_when_its_record_cannot_be_kept_and_says_so(
    drawn_sample: Path, tmp_path: Path, begun: bool
) -> None:
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    home = tmp_path / "workspace/prefect"
    if begun:  # what is told later has no table to go to
        with Record(home, pytest.fail) as record:
            record.begin("curate", "a run", {})
        sqlite3.connect(home / "prefect.db").execute("DROP TABLE task_run_state")
    else:
        home.mkdir(parents=True)
        (home / "prefect.db").write_bytes(b"this is no database" * 1000)
    status, out, err = run(config)
    assert status == 0, err
    assert (Path(out.splitlines()[-1]) / "manifest.json").is_file()
    [warning] = [line for line in err.splitlines() if line.startswith("Warning: ")]
    assert str(home / "record.log") in warning
    assert ("no such table" if begun else "not a database") in (home / "record.log").read_text()
    assert "Traceback" not in err


def test_a_run_that_was_killed_has_crashed_when_it_was_last_heard_of(drawn_sample: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    killed = start(config)
    while not list((tmp_path / "workspace/rows/inspect").glob("*.json")):
        assert killed.poll() is None
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    database = sqlite3.connect(tmp_path / "workspace/prefect/prefect.db")
    [(lost, begun)] = database.execute("select id, start_time from flow_run where state_type = 'RUNNING'").fetchall()
    assert run(config)[0] == 0
    told = "select state_type, end_time from flow_run order by start_time"
    (state, ended), (latest, _) = database.execute(told).fetchall()
    assert (state, latest) == ("CRASHED", "COMPLETED")
    heard = "select max(timestamp) from task_run_state where task_run_id in (select id from task_run where {})"
    [(last,)] = database.execute(heard.format("flow_run_id = ?"), (lost,)).fetchall()
    assert begun < ended <= last
    assert database.execute("select count(*) from task_run where state_type = 'RUNNING'").fetchone() == (0,)


def test_a_run_that_goes_on_is_not_taken_for_lost(tmp_path: Path) -> None:
    with Record(tmp_path, pytest.fail) as one:
        one.begin("curate", "one", {})
        with Record(tmp_path, pytest.fail) as other:
            other.begin("curate", "other", {})
        database = sqlite3.connect(tmp_path / "prefect.db")
        told = dict(database.execute("select name, state_type from flow_run").fetchall())
    assert told["other"] == "COMPLETED"
    assert told.get("one", "RUNNING") == "RUNNING"


def test_nothing_is_recorded_where_nothing_is_done(drawn_sample: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    assert run(config)[0] == 0
    assert run(config)[2].count("Nothing changed") == 1
    database = sqlite3.connect(tmp_path / "workspace/prefect/prefect.db")
    assert database.execute("select count(*) from flow_run").fetchone() == (1,)


def test_tasks_that_fail_are_told_with_what_was_said(tmp_path: Path) -> None:
    def fail(record: Record, error: BaseException) -> None:
        with record.task(type(error).__name__):
            raise error

    warned: list[str] = []
    errors: list[tuple[BaseException, str]] = [
        (GateError("too few rows"), "FAILED"), (KeyboardInterrupt(), "CANCELLED"), (KeyError("x"), "CRASHED")
    ]  # fmt: skip
    for error, _ in errors:
        with pytest.raises(type(error)), Record(tmp_path, warned.append) as record:
            record.begin("curate", "a run", {"limit": None})
            fail(record, error)
    assert warned == []
    database = sqlite3.connect(tmp_path / "prefect.db")
    told = dict(database.execute("select name, state_type from task_run").fetchall())
    assert told == {type(error).__name__: state for error, state in errors}
    states = database.execute("select state_type from flow_run order by start_time").fetchall()
    assert [state for (state,) in states] == [state for _, state in errors]


def test_where_nothing_can_be_written_there_is_no_record_and_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    warned: list[str] = []
    with Record(tmp_path / "file/prefect", warned.append) as record:
        record.begin("curate", "a run", {})
        with record.task("a task"):
            pass
    [warning] = warned
    assert "(Not a directory)" in warning


def test_an_empty_database_is_kept_for_the_next_workspace_and_made_again_when_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / f"dermcot/prefect-{version('prefect')}.db"

    def recorded_in(home: Path) -> list[tuple[str]]:
        with Record(home, pytest.fail) as record:
            record.begin("curate", home.name, {})
        names: list[tuple[str]] = sqlite3.connect(home / "prefect.db").execute("select name from flow_run").fetchall()
        return names

    assert recorded_in(tmp_path / "first") == [("first",)]
    made = kept.read_bytes()
    assert sqlite3.connect(kept).execute("select count(*) from flow_run").fetchone() == (0,)
    kept.write_bytes(made[:20_000] + bytes(50_000) + made[70_000:])
    assert recorded_in(tmp_path / "second") == [("second",)]
    mended = kept.read_bytes()
    assert len(mended) == len(made)
    assert recorded_in(tmp_path / "third") == [("third",)]
    assert kept.read_bytes() == mended
    kept.write_bytes(b"")  # which sqlite takes for a whole database
    assert recorded_in(tmp_path / "fourth") == [("fourth",)]
    assert len(kept.read_bytes()) == len(made)
    assert os.listdir(kept.parent) == [kept.name]


@pytest.mark.parametrize("database", [None, b""])
def test_a_record_is_kept_where_nothing_can_be_kept_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: bytes | None
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    home = tmp_path / "home"
    home.mkdir()
    if database is not None:
        (home / "prefect.db").write_bytes(database)
    with Record(home, pytest.fail) as record:
        record.begin("curate", "a run", {})
    database_ = sqlite3.connect(home / "prefect.db")
    assert database_.execute("select name, state_type from flow_run").fetchall() == [("a run", "COMPLETED")]


def test_a_name_that_is_no_text_can_be_told(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    with pytest.raises(UserError), Record(tmp_path, pytest.fail) as record:
        record.begin("curate", "a run", {"file": name})
        record.markdown("release", name, name)
        raise UserError(f"{name} is not there")
    database = sqlite3.connect(tmp_path / "prefect.db")
    told = database.execute("select message from flow_run_state where type = 'FAILED'").fetchall()
    assert told == [("caf\\udce9.csv is not there",)]


def test_a_process_of_the_same_number_is_not_taken_for_a_lost_one(tmp_path: Path) -> None:
    with Record(tmp_path, pytest.fail) as record:
        record.begin("curate", "lost", {})
    database = sqlite3.connect(tmp_path / "prefect.db")
    [(labels,)] = database.execute("select labels from flow_run").fetchall()
    host, number, started = json.loads(labels)["dermcot.process"].rsplit(" ", 2)
    assert (host, number) == (socket.gethostname(), str(os.getpid()))
    earlier = json.dumps({"dermcot.process": f"{host} {number} {started}0"})
    database.execute("update flow_run set labels = ?, state_type = 'RUNNING'", (earlier,))
    database.commit()
    with Record(tmp_path, pytest.fail) as record:
        record.begin("curate", "next", {})
    states = dict(database.execute("select name, state_type from flow_run").fetchall())
    assert states == {"lost": "CRASHED", "next": "COMPLETED"}


def test_two_runs_may_keep_their_records_at_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////nowhere/else.db")
    home = tmp_path / "ends #1 of 50%"
    with Record(home, pytest.fail) as one, Record(home, pytest.fail) as other:
        for record in (one, other):
            record.begin("curate", "a run", {})
        for number in range(60):
            for record in (one, other):
                with record.task(f"task {number}"):
                    pass
    database = sqlite3.connect(home / "prefect.db")
    assert database.execute("select count(*) from task_run where state_type = 'COMPLETED'").fetchone() == (120,)
    assert database.execute("select distinct state_type from flow_run").fetchall() == [("COMPLETED",)]
    [kept] = (tmp_path / "cache/dermcot").iterdir()
    assert sqlite3.connect(kept).execute("select count(*) from flow_run").fetchone() == (0,)
    assert sorted(os.listdir(tmp_path)) == ["cache", home.name]


def test_no_shard_is_begun_once_nobody_asks_for_more(
    config_for: Callable[..., Config], drawn_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[ShardTask] = []

    def slow(task: ShardTask) -> ShardDone:
        begun.append(task)
        time.sleep(0.2)
        return ShardDone(1, "here", {})

    monkeypatch.setattr("flows.runners.run_shard", slow)
    config = config_for(drawn_sample, "execution.workers=2")
    tasks = [ShardTask("inspect", "", config, pl.DataFrame()) for _ in range(8)]
    with recorded_runner(config, Record(tmp_path, pytest.fail)) as runner:
        with pytest.raises(KeyboardInterrupt):
            for _ in runner.shards("inspect", tasks):
                raise KeyboardInterrupt
        time.sleep(0.5)
    assert 2 <= len(begun) <= 4
