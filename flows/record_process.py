"""The process that keeps the record of a run: reads what happens, a JSON object per line, and writes it for Prefect.

It writes through the models of Prefect's server, as that server's API does, since the API gives every state the time of
its writing, and what is told here happened before: at first by seconds, while this process is being made ready. The
database lies in ``PREFECT_HOME``; nothing is sent anywhere. ``prefect server start`` with that home shows the runs.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import os
import sqlite3
import sys
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from corpus.child_process import die_with
from schemas.parsed_yaml import cache_folder

_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # would import every collection to learn whether to register
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PY_KEY_VALUE_DISABLE_BEARTYPE": "true",  # half a second of what a library checks of its own types
}


def _copied(database: Path, to: Path) -> bool:
    """Whether a copy of a whole database is there now; where it cannot be made, nothing is."""
    being_made = to.with_suffix(f".{os.getpid()}.tmp")
    read_only = f"{database.absolute().as_uri()}?mode=ro"
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
        with suppress(OSError):
            being_made.unlink()
    return True


async def _make_ready(db: Any, empty: Path) -> None:
    """Make the database, or bring it up to this Prefect. A new one takes ten seconds of migrations, so a copy of it is
    kept as ``empty`` and where there is one, that is copied."""
    database = Path(os.environ["PREFECT_HOME"]) / "prefect.db"
    fcntl.flock(sys.stdout, fcntl.LOCK_EX)  # of the log; another run may be beginning its record at the same place
    is_made_here = not database.exists() and not _copied(empty, database)
    await db.create_db()
    if is_made_here:
        _copied(database, empty)
    fcntl.flock(sys.stdout, fcntl.LOCK_UN)


async def _keep() -> None:
    import prefect
    from prefect.server import models as typed_models
    from prefect.server.database import provide_database_interface
    from prefect.server.schemas import actions, core
    from prefect.server.schemas.states import Running, State, StateType

    models: Any = typed_models  # decorators lose what its functions return

    def when(said: dict[str, Any]) -> Any:
        return datetime.fromtimestamp(said["at"], UTC)

    def end(said: dict[str, Any]) -> State:
        kind = StateType(said.get("state", "COMPLETED"))
        return State(type=kind, name=kind.value.title(), message=said.get("message"), timestamp=when(said))

    first = await asyncio.to_thread(sys.stdin.buffer.readline)
    if not first:
        return
    begun = json.loads(first)
    db = provide_database_interface()
    await _make_ready(db, cache_folder() / f"prefect-{prefect.__version__}.db")
    async with db.session_context(begin_transaction=True, with_for_update=True) as session:
        flow = await models.flows.create_flow(session, core.Flow(name=begun["flow"]))
        run = core.FlowRun(
            flow_id=flow.id, name=begun["run"], parameters=begun["parameters"], expected_start_time=when(begun),
            state=Running(timestamp=when(begun)),
        )  # fmt: skip
        run_id = (await models.flow_runs.create_flow_run(session, run)).id
    gc.freeze()
    gc.enable()
    tasks: dict[int, UUID] = {}
    progress: dict[str, UUID] = {}
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        said = json.loads(line)
        async with db.session_context(begin_transaction=True, with_for_update=True) as session:
            if "task" in said:
                task = core.TaskRun(
                    flow_run_id=run_id, task_key="step", dynamic_key=str(said["task"]), name=said["name"],
                    expected_start_time=when(said), state=Running(timestamp=when(said)),
                )  # fmt: skip
                tasks[said["task"]] = (await models.task_runs.create_task_run(session, task)).id
            elif "artifact" in said:
                told = {name: said[name] for name in ("data", "description")}
                if said["key"] in progress:
                    await models.artifacts.update_artifact(
                        session, progress[said["key"]], actions.ArtifactUpdate(**told)
                    )
                    continue
                artifact = core.Artifact(type=said["artifact"], key=said["key"], flow_run_id=run_id, **told)
                made = await models.artifacts.create_artifact(session, artifact)
                if said["artifact"] == "progress":
                    progress[said["key"]] = made.id
            elif said["ended"] == "flow":
                await models.flow_runs.set_flow_run_state(session, run_id, end(said), force=True)
            else:
                await models.task_runs.set_task_run_state(session, tasks.pop(said["ended"]), end(said), force=True)
        if said.get("ended") == "flow":
            os._exit(0)  # all is recorded, and a farewell would take longer than the record
    raise EOFError("the run ended without a word")


def main() -> None:
    """Keep the record of the run whose process is the first argument."""
    die_with(int(sys.argv[1]))
    os.nice(10)  # nobody waits for it but the end of the run
    os.environ.update(_SETTINGS)
    gc.disable()  # what imports make stays; looking through it again and again takes a fifth of their time
    asyncio.run(_keep())


if __name__ == "__main__":
    main()
