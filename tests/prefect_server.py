"""A real Prefect server for tests, over a home folder of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Run ``prefect server start`` over ``home`` for the block; gives the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **SETTINGS, "PREFECT_HOME": str(home)},
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/api"
    try:
        deadline = time.monotonic() + 180
        while not _answers(f"{url}/health"):
            assert server.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(60)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def recorded(url: str) -> dict[str, Any]:
    """What a server holds: ``flows`` and ``tasks`` as (name, state, message), ``spans`` of both as (start, end) in
    seconds since the epoch, and ``artifacts`` by key."""

    def asked(what: str) -> Any:
        return httpx.post(f"{url}/{what}/filter", json={"limit": 200}, trust_env=False).raise_for_status().json()

    def seconds(run: dict[str, Any]) -> list[float]:
        times = (run["start_time"], run["end_time"])
        return [datetime.fromisoformat(time).timestamp() if time else float("nan") for time in times]

    flows, tasks = asked("flow_runs"), asked("task_runs")
    return {
        "flows": [(run["name"], run["state_type"], run["state"]["message"]) for run in flows],
        "tasks": [(run["name"], run["state_type"], run["state"]["message"]) for run in tasks],
        "spans": {
            kind: [(r["name"], *seconds(r)) for r in runs] for kind, runs in (("flows", flows), ("tasks", tasks))
        },
        "artifacts": {told["key"]: told for told in asked("artifacts/latest")},
    }  # fmt: skip
