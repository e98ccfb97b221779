"""The Prefect flow on a real server: tasks per shard, artifacts per step; and shards on Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.build import run_build
from flows.execute import InProcess
from flows.steps import STEPS
from schemas.config_file import load_config
from tests.annotators.vlm.chat_server import chat_server
from tests.conftest import REPOSITORY, Quiet, write_config
from tests.prefect_server import prefect_server, recorded

HERE = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server."""
    with prefect_server(tmp_path_factory.mktemp("home")) as url:
        yield url


def run(config: Path, *arguments: str, **environment: str) -> Path:
    """The release that the command comes to."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", "run", "-c", str(config), *arguments], cwd=REPOSITORY, text=True,
        capture_output=True, timeout=600, env={**HERE, "PYTHONPATH": str(REPOSITORY), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def test_on_a_server_of_the_users_a_run_is_the_flow_with_tasks_and_artifacts(
    drawn_sample: Path, tmp_path: Path, server: str
) -> None:
    with chat_server() as model:
        http = {"endpoints": [{"url": model.url}]}
        teacher = {"teacher": "vlm", "candidates": 1, "vlm": {"model": "m", "terms": "CC0-1.0", "http": http}}
        teacher["vlm"]["blind_share"] = 0.0  # type: ignore[index]
        config = write_config(tmp_path / "config.yaml", drawn_sample, propose=teacher, limit=40)
        run(config, PREFECT_API_URL=server, PREFECT_HOME=str(tmp_path / "client"))
    seen = recorded(server)
    assert [state for _, state, _ in seen["flows"]] == ["COMPLETED"]
    assert {state for _, state, _ in seen["tasks"]} == {"COMPLETED"}
    names = {name for name, _, _ in seen["tasks"]}
    assert {"read", "propose 1", "propose 2", "deduplicate", "gate_release", "release"} <= names
    kinds = {key: told["type"] for key, told in seen["artifacts"].items()}
    assert sum(key.startswith("step-") for key in kinds) == len(STEPS)
    assert [kinds[key] for key in ("progress-propose", "teacher", "release")] == ["progress", "table", "markdown"]
    assert not (tmp_path / "workspace/prefect").exists(), "the user's server keeps the record"


@pytest.fixture(scope="module")
def expected(drawn_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release that a build on one thread comes to."""
    config = load_config(write_config(tmp_path_factory.mktemp("here") / "config.yaml", drawn_sample))
    return Path(run_build(config, InProcess(), Quiet()).path(config))


@pytest.mark.parametrize("whose", ["recorded here", "on a server of the user's"])
def test_shards_on_ray_give_the_same_bytes(
    drawn_sample: Path, tmp_path: Path, expected: Path, server: str, whose: str
) -> None:
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    there = {} if whose == "recorded here" else {"PREFECT_API_URL": server, "PREFECT_HOME": str(tmp_path / "client")}
    release = run(config, "--set", "execution.runner=ray", RAY_AUTH_MODE="disabled", **there)
    assert tree(release) == tree(expected)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
