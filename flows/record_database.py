"""The database in which a record is kept: one of Prefect's, made by Prefect, filled row by row.

``prefect server start`` over the folder shows it. It is filled with plain SQL: importing Prefect takes two seconds of a
core and 150 MB, beside every run, and its API gives every state the time of its writing, while a run's times are those
at which things happened. Prefect itself is only asked, in a process of its own, to make a database or to bring an older
one up to date; an empty one is kept for each version of it, since making one takes seconds.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from corpus.child_process import die_with
from corpus.lease import process_started
from schemas.parsed_yaml import cache_folder

_NAME = "prefect.db"
_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
}
_PATIENCE_SECONDS = 60.0
#: The label that tells which process a run is: its host, number and start.
_PROCESS = "dermcot.process"
#: Tables of runs, and those of their states.
_STATES = {"flow_run": "flow_run_state", "task_run": "task_run_state"}


def opened(home: Path, log: BinaryIO) -> sqlite3.Connection:
    """The database of the folder ``home``, made or brought up to date if need be; what is done for it goes to ``log``.

    Raises :class:`OSError`, :class:`sqlite3.Error` or :class:`subprocess.CalledProcessError` where that fails.
    """
    database = home / _NAME
    with _in_turn(log):  # another run may be beginning its record at the same place
        empty = _kept_empty(log)
        if database.exists():
            if empty is None or _revision(database) != _revision(empty):
                _made_by_prefect(home, log)
        elif empty is not None:
            _copied(empty, database)
        else:
            _made(database, log)
        connection = sqlite3.connect(database, timeout=_PATIENCE_SECONDS, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


@contextmanager
def _in_turn(log: BinaryIO) -> Iterator[None]:
    fcntl.flock(log, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(log, fcntl.LOCK_UN)


def _revision(database: Path) -> str | None:
    """Which of Prefect's migrations a database is at; None for one that Prefect did not make."""
    with closing(sqlite3.connect(database, timeout=_PATIENCE_SECONDS)) as connection:
        named = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if named != (0,) else None
    return None if found is None else str(found[0])


def _kept_empty(log: BinaryIO) -> Path | None:
    """An empty database of the installed Prefect in the user's cache; None where none can be kept."""
    kept = cache_folder() / f"prefect-{version('prefect')}.db"
    if _is_whole(kept):
        return kept
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(kept.parent, os.W_OK):
            return None
        _made(kept, log)
    except (OSError, sqlite3.Error, subprocess.SubprocessError):
        return None
    return kept


def _is_whole(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            is_sound = connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        return is_sound and _revision(database) is not None
    except sqlite3.Error:
        return False


def _made(database: Path, log: BinaryIO) -> None:
    """Have a new database made, elsewhere, so that there is a whole one or none."""
    with tempfile.TemporaryDirectory(prefix="dermcot-") as folder:
        _made_by_prefect(Path(folder), log)
        _copied(Path(folder, _NAME), database)


def _copied(database: Path, to: Path) -> None:
    """Copy a database; there is a whole copy or none."""
    being_made = to.with_name(f"{to.name}.{uuid.uuid4().hex}.tmp")
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(being_made)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # a file by itself
        being_made.replace(to)
    finally:
        being_made.unlink(missing_ok=True)


def _made_by_prefect(home: Path, log: BinaryIO) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    subprocess.run(
        [sys.executable, "-m", "flows.record_database", str(os.getpid())],
        check=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", process_group=0,
        env={**others, **_SETTINGS, "PREFECT_HOME": str(home.absolute()),
             "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


def main() -> None:
    """Make the database of ``PREFECT_HOME``, or bring it up to date; for the process that is the first argument."""
    die_with(int(sys.argv[1]))
    import asyncio

    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())


class Rows:
    """The rows of one flow run, ``run`` being its name, written as it goes on; times are seconds since 1970."""

    def __init__(
        self, database: sqlite3.Connection, flow: str, run: str, parameters: Mapping[str, Any], at: float
    ) -> None:
        self._database = database
        database.execute("INSERT INTO flow (id, name) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (_id(), flow))
        [self._flow] = database.execute("SELECT id FROM flow WHERE name = ?", (flow,)).fetchone()
        self._run = self._begun(
            "flow_run", at, name=run, flow_id=self._flow, parameters=json.dumps(parameters),
            labels=json.dumps({"prefect.flow.id": self._flow, _PROCESS: _this_process()}),
        )  # fmt: skip
        self._tasks: dict[int, str] = {}
        self._progress: dict[str, str] = {}

    def task(self, number: int, name: str, at: float) -> None:
        """A task begins."""
        self._tasks[number] = self._begun(
            "task_run", at, name=name, flow_run_id=self._run, task_key="step", dynamic_key=str(number),
            labels=json.dumps({"prefect.flow.id": self._flow, "prefect.flow-run.id": self._run}),
        )  # fmt: skip

    def task_ended(self, number: int, kind: str, message: str | None, at: float) -> None:
        """A task ends, in a state of this kind."""
        _ended(self._database, "task_run", self._tasks.pop(number), kind, message, at)

    def ended(self, kind: str, message: str | None, at: float) -> None:
        """The run ends."""
        _ended(self._database, "flow_run", self._run, kind, message, at)

    def artifact(self, kind: str, key: str, data: Any, description: str, at: float) -> None:
        """Keep an artifact, the latest of its key; of a progress, instead of what this run said before."""
        told = {"data": json.dumps(data), "description": description, "updated": _time(at)}
        if key in self._progress:
            _update(self._database, "artifact", "id", self._progress[key], told)
            _update(self._database, "artifact_collection", "latest_id", self._progress[key], told)
            return
        row = {"key": key, "type": kind, "flow_run_id": self._run, "created": _time(at), **told}
        made = _inserted(self._database, "artifact", metadata_="null", **row)
        self._database.execute("DELETE FROM artifact_collection WHERE key = ?", (key,))
        _inserted(self._database, "artifact_collection", latest_id=made, **row)
        if kind == "progress":
            self._progress[key] = made

    def _begun(self, table: str, at: float, **columns: Any) -> str:
        begun = _time(at)
        told = {"run_count": 1, "expected_start_time": begun, "start_time": begun, "created": begun}
        made = _inserted(self._database, table, **told, **columns)
        _state(self._database, table, made, "RUNNING", None, at)
        return made


def _this_process() -> str:
    return f"{socket.gethostname()} {os.getpid()} {process_started(os.getpid())}"


def close_lost(database: sqlite3.Connection) -> None:
    """Runs of this host whose process is no more have crashed, when they were last heard of."""
    of = f"""json_extract(labels, '$."{_PROCESS}"')"""
    running = f"SELECT id, {of}, start_time FROM flow_run WHERE state_type = 'RUNNING' AND {of} IS NOT NULL"
    for run, process, begun in database.execute(running).fetchall():
        host, number, started = process.rsplit(" ", 2)
        if host != socket.gethostname() or str(process_started(int(number))) == started:
            continue
        tasks = database.execute("SELECT id, state_type FROM task_run WHERE flow_run_id = ?", (run,)).fetchall()
        heard = "SELECT max(timestamp) FROM task_run_state JOIN task_run ON task_run.id = task_run_id"
        [last] = database.execute(f"{heard} WHERE flow_run_id = ?", (run,)).fetchone()
        at = datetime.fromisoformat(last or begun).replace(tzinfo=UTC).timestamp()
        for task, state in tasks:
            if state == "RUNNING":
                _ended(database, "task_run", task, "CRASHED", "nothing more was heard of it", at)
        _ended(database, "flow_run", run, "CRASHED", "its process ended and nothing more was heard of it", at)


def _ended(database: sqlite3.Connection, table: str, run: str, kind: str, message: str | None, at: float) -> None:
    [started] = database.execute(f"SELECT start_time FROM {table} WHERE id = ?", (run,)).fetchone()
    begun = datetime.fromisoformat(started).replace(tzinfo=UTC).timestamp()
    at = max(at, begun + 1e-5)  # no two states have the same time
    spent = datetime(1970, 1, 1) + timedelta(seconds=at - begun)
    _update(database, table, "id", run, {"end_time": _time(at), "total_run_time": f"{spent:{_FORMAT}}"})
    _state(database, table, run, kind, message, at)


def _state(database: sqlite3.Connection, table: str, run: str, kind: str, message: str | None, at: float) -> None:
    said = {"type": kind, "name": kind.title()}
    owner = {f"{table}_id": run}
    made = _inserted(
        database, _STATES[table], **said, **owner, message=message, timestamp=_time(at), created=_time(at),
        state_details=json.dumps(owner),
    )  # fmt: skip
    told = {"state_id": made, "state_timestamp": _time(at), "updated": _time(at)}
    _update(database, table, "id", run, {**told, **{f"state_{name}": value for name, value in said.items()}})


def _inserted(database: sqlite3.Connection, table: str, **columns: Any) -> str:
    made = _id()
    names, marks = ", ".join(columns), ", ".join("?" * (len(columns) + 1))
    database.execute(f"INSERT INTO {table} (id, {names}) VALUES ({marks})", (made, *map(_plain, columns.values())))
    return made


def _update(database: sqlite3.Connection, table: str, by: str, value: str, columns: Mapping[str, Any]) -> None:
    names = ", ".join(f"{name} = ?" for name in columns)
    database.execute(f"UPDATE {table} SET {names} WHERE {by} = ?", (*map(_plain, columns.values()), value))


def _plain(value: Any) -> Any:
    """A file name may hold what is no text."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _id() -> str:
    return str(uuid.uuid4())


_FORMAT = "%Y-%m-%d %H:%M:%S.%f"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):{_FORMAT}}"


if __name__ == "__main__":
    main()
