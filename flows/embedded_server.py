"""A Prefect server that lives exactly as long as the run that needs it.

Prefect's own temporary server outlives a killed run and drops queued events when the run ends. This one is a child that
the kernel kills with its parent (and that watches for the parent itself where the kernel cannot), keeps its database in
the workspace, sends nothing anywhere, and is only stopped once it has recorded how every task ended. With
``PREFECT_API_URL`` set, that server is used and none is started.
"""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from corpus.child_process import die_with
from schemas.errors import StoreError, UserError

_START_SECONDS = 120.0
_DRAIN_SECONDS = 20.0
_LEAST_FREE = 1_000_000  # bytes; its database takes a few times as many

_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # would import every collection to learn whether to register
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",  # what it keeps of runs and tasks is kept otherwise too
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "false",  # of events only, and none are kept
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",  # its queue would outlive the server and say so on stderr
}


@contextmanager
def prefect_server(home: Path) -> Iterator[Callable[[], None]]:
    """Make a Prefect API available for the block, with its home folder at ``home``.

    Sets the environment Prefect reads, so it must be entered before Prefect is imported; yields a function that waits
    until the server answers, so that imports can be done meanwhile.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield lambda: None
        return
    home.mkdir(parents=True, exist_ok=True)
    since = datetime.now(UTC)
    port = _free_port()
    os.environ.update(_SETTINGS, PREFECT_HOME=str(home), PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    with (home / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.embedded_server", str(port), str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
    answered = False

    def wait() -> None:
        nonlocal answered
        _wait_until_healthy(server, port, home)
        answered = True

    try:
        yield wait
    finally:
        if answered and server.poll() is None:
            _drain(since)
        os.environ.pop("PREFECT_API_URL")
        server.kill()  # what it had to record is recorded, and its own farewell would take seconds
        server.wait()


def may_start_early(home: Path, workspace: str) -> bool:
    """Whether a server may be started at ``home`` before anybody has looked if there is anything to do.

    Only where one ran before and no living build is using it: a run that will be refused must not touch anything.
    """
    from corpus.filesystem import Folder
    from corpus.lease import Lease

    if not os.access(home / "server.log", os.W_OK):
        return False
    try:
        Lease(Folder(workspace), "workspace").refuse_if_held()
    except UserError:
        return False
    return True


def _drain(since: datetime) -> None:
    """Wait until the server has recorded how every task of this run ended, at most :data:`_DRAIN_SECONDS`."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
    from prefect.events.worker import EventsWorker

    deadline = time.monotonic() + _DRAIN_SECONDS
    EventsWorker.drain_all(timeout=_DRAIN_SECONDS)
    unfinished = TaskRunFilter.model_validate({"state": {"type": {"any_": ["PENDING", "RUNNING", "SCHEDULED"]}}})
    ours = FlowRunFilter.model_validate({"start_time": {"after_": since}})  # killed runs left theirs unfinished
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            if not client.read_task_runs(flow_run_filter=ours, task_run_filter=unfinished, limit=1):
                return
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int, home: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    if shutil.disk_usage(home).free < _LEAST_FREE:
        raise StoreError(
            f"the disk is full: the Prefect server has no room in {home}. Nothing committed so far is lost: free some "
            "space, or choose another place with --workspace, and run the same command again"
        )
    raise UserError(
        f"the embedded Prefect server did not start: see {home / 'server.log'}; if its database is damaged, remove "
        f"{home} (it holds run history only), or set PREFECT_API_URL to a server of yours"
    )


def _serve(port: int, parent: int) -> None:
    die_with(parent)
    os.nice(5)  # what is beside the work waits for it
    gc.disable()  # what imports make stays; looking through it again and again takes a fifth of their time
    import uvicorn
    from prefect.server.api.server import create_app

    gc.freeze()
    gc.enable()
    uvicorn.run(create_app, factory=True, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
