"""The Prefect flow on a real server: tasks per shard, artifacts per step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from flows.build import run_build
from flows.execute import InProcess
from flows.steps import STEPS
from schemas.config_file import load_config
from tests.annotators.vlm.chat_server import chat_server
from tests.conftest import REPOSITORY, Quiet, write_config

SCRIPT = """
import json, sys
from pathlib import Path
from flows.embedded_server import prefect_server
with prefect_server(Path(sys.argv[2])) as wait:
    from flows.pipeline import curate
    wait()
    result = curate(sys.argv[1])
    from prefect.client.orchestration import get_client
    from prefect.events.worker import EventsWorker
    from flows.embedded_server import _drain
    from datetime import datetime, UTC, timedelta
    _drain(datetime.now(UTC) - timedelta(hours=1))
    with get_client(sync_client=True) as client:
        tasks = [(t.name, t.state_type.value) for t in client.read_task_runs(limit=200)]
        flows = [(f.name, f.state_type.value) for f in client.read_flow_runs()]
        artifacts = client._client.post("/artifacts/latest/filter", json={"limit": 200}).json()
    keys = {a["key"]: a["type"] for a in artifacts}
    table = json.loads(next(a["data"] for a in artifacts if a["key"] == "step-inspect"))
print(json.dumps({"result": result, "tasks": tasks, "flows": flows, "keys": keys, "table": table}))
"""


def run_flow(config: Path, home: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(config), str(home)], cwd=REPOSITORY, text=True,
        capture_output=True, timeout=300, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return seen


def test_long_work_and_what_it_came_to_are_artifacts(drawn_sample: Path, tmp_path: Path) -> None:
    with chat_server() as server:
        http = {"endpoints": [{"url": server.url}]}
        teacher = {"teacher": "vlm", "candidates": 1, "vlm": {"model": "m", "terms": "CC0-1.0", "http": http}}
        teacher["vlm"]["blind_share"] = 0.0  # type: ignore[index]
        config = write_config(tmp_path / "config.yaml", drawn_sample, propose=teacher, limit=40)
        seen = run_flow(config, tmp_path / "home")
    assert (seen["keys"]["progress-propose"], seen["keys"]["teacher"]) == ("progress", "table")


def test_one_task_per_shard_and_an_artifact_per_step(drawn_sample: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    seen = run_flow(config, tmp_path / "home")
    assert seen["result"]["release"] == "dermcot-0.1.0"
    assert [state for _, state in seen["flows"]] == ["COMPLETED"]
    names = [name for name, _ in seen["tasks"]]
    assert {state for _, state in seen["tasks"]} == {"COMPLETED"}
    manifest = json.loads((tmp_path / "workspace/build.json").read_text())
    selection = tmp_path / "workspace/steps/propose" / manifest["outputs"]["propose"] / "manifest.json"
    kept = json.loads(selection.read_text())["tables"]["selection"]["rows"] // 3
    shards = [name for name in names if name.startswith("propose ")]
    assert len(shards) >= kept // 16
    assert {"read", "deduplicate", "select", "release"} <= set(names)
    assert seen["keys"]["release"] == "markdown"
    assert sum(key.startswith("step-") for key in seen["keys"]) == len(STEPS)
    assert any(row["what"] == "rejected: image/corrupt_image" and row["records"] > 0 for row in seen["table"])


def test_shards_on_ray_give_the_same_bytes(drawn_sample: Path, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    expected = run_build(load_config(write_config(tmp_path / "here/config.yaml", drawn_sample)), InProcess(), Quiet())
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    done = subprocess.run(
        [sys.executable, "-m", "flows", "run", "-c", str(config), "--set", "execution.runner=ray"],
        cwd=REPOSITORY,
        text=True,
        capture_output=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "RAY_AUTH_MODE": "disabled"},
    )
    assert done.returncode == 0, done.stderr
    release = Path(done.stdout.strip().splitlines()[-1])
    there = {str(p.relative_to(release)): p.read_bytes() for p in release.rglob("*") if p.is_file()}
    folder = tmp_path / "here/releases" / expected.release.name
    assert there == {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
