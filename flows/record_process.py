"""The process that keeps the record of a run: reads what happens, a JSON object per line, and tells Prefect.

It talks to Prefect's own API, whose server is in this process and answers nobody else; the database lies in
``PREFECT_HOME``, and nothing is sent anywhere. ``prefect server start`` with that home shows what was recorded.
"""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from corpus.child_process import die_with
from schemas.parsed_yaml import cache_folder

_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # would import every collection to learn whether to register
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_API_KEY": "none",  # nobody asks for it; without one, events go to a server that is started for them
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PY_KEY_VALUE_DISABLE_BEARTYPE": "true",  # half a second of what a library checks of its own types
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",  # what it keeps of runs and tasks is kept otherwise too
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED": "false",  # tasks are written without events
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}


def _copied(database: Path, to: Path) -> bool:
    """Whether a copy of a whole database is there now; where it cannot be made, nothing is."""
    being_made = to.with_suffix(f".{os.getpid()}.tmp")
    read_only = f"file:{database}?mode=ro"
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(read_only, uri=True)) as source, closing(sqlite3.connect(being_made)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # a file by itself, until Prefect opens it
            [(found,)] = copy.execute("PRAGMA quick_check(1)")
        if found != "ok":
            return False
        being_made.replace(to)
    except (OSError, sqlite3.Error):
        return False
    finally:
        being_made.unlink(missing_ok=True)
    return True


async def _keep() -> None:
    import prefect
    from anyio import to_thread
    from prefect import Flow, Task
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
    from prefect.client.schemas.objects import State, StateType
    from prefect.server.api.server import create_app
    from prefect.states import Running

    database = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    empty = cache_folder() / f"prefect-{prefect.__version__}.db"  # a new one takes ten seconds of migrations

    def ended(said: dict[str, Any]) -> State[Any]:
        kind = StateType(said.get("state", "COMPLETED"))
        return State(type=kind, name=kind.value.title(), message=said.get("message"))

    gc.freeze()
    gc.enable()
    first = await to_thread.run_sync(sys.stdin.buffer.readline)
    if not first:
        return
    begun = json.loads(first)
    step = Task(lambda: None, name="step")
    progress: dict[str, Any] = {}
    tasks: dict[int, Any] = {}
    is_made_here = not database.exists() and not _copied(empty, database)
    async with PrefectClient(create_app(ephemeral=True)) as client:
        if is_made_here:
            _copied(database, empty)
        flow = Flow(lambda: None, name=begun["flow"])
        run = await client.create_flow_run(flow, name=begun["run"], parameters=begun["parameters"], state=Running())
        while line := await to_thread.run_sync(sys.stdin.buffer.readline):
            said = json.loads(line)
            if "task" in said:
                key = str(said["task"])
                made = await client.create_task_run(step, run.id, key, name=said["name"], state=Running())
                tasks[said["task"]] = made.id
            elif "artifact" in said and said["key"] in progress:
                told = ArtifactUpdate(data=said["data"], description=said["description"])
                await client.update_artifact(progress[said["key"]], told)
            elif "artifact" in said:
                kind, about = said.pop("artifact"), {**said, "flow_run_id": run.id}
                kept = await client.create_artifact(ArtifactCreate(type=kind, **about))
                if kind == "progress":
                    progress[said["key"]] = kept.id
            elif said["ended"] == "flow":
                await client.set_flow_run_state(run.id, ended(said), force=True)
                os._exit(0)  # all is recorded, and a farewell would take longer than the record
            else:
                await client.set_task_run_state(tasks.pop(said["ended"]), ended(said), force=True)
    raise EOFError("the run ended without a word")


def main() -> None:
    """Keep the record of the run whose process is the first argument."""
    die_with(int(sys.argv[1]))
    os.nice(10)  # nobody waits for it but the end of the run
    os.environ.update(_SETTINGS)
    gc.disable()  # what imports make stays; looking through it again and again takes a fifth of their time
    import anyio

    anyio.run(_keep)


if __name__ == "__main__":
    main()
