"""The record of a run on this machine: a Prefect flow run with its tasks and artifacts, kept by a thread beside it.

Without a Prefect server of the user's, a build runs here and needs none: what happens is written into a Prefect
database in the workspace (:mod:`flows.record_database`). The build neither imports Prefect, nor waits for its record,
nor ends because of it; a run whose record stays incomplete says so.
"""

from __future__ import annotations

import itertools
import json
import queue
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from flows.record_database import Rows, close_lost, opened
from schemas.errors import UserError

_FAREWELL_SECONDS = 120.0
_HURRIED_SECONDS = 10.0
_LOG = "record.log"
#: Writes something down.
Told = Callable[[Rows], None]


class Record:
    """Tells the thread that keeps the record what happens; nothing here waits for it but leaving the block.

    ``home``: where Prefect keeps its database, touched only by :meth:`begin`; ``warn`` is told when the record stays
    incomplete.
    """

    def __init__(self, home: Path, warn: Callable[[str], None]) -> None:
        self._home = home
        self._warn = warn
        self._told: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._keeper: threading.Thread | None = None
        self._is_kept = False

    def __enter__(self) -> Record:
        return self

    def begin(self, flow: str, run: str, parameters: Mapping[str, Any]) -> None:
        """Begin the run ``run`` of a flow."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            log = (self._home / _LOG).open("ab", buffering=0)
        except OSError as error:
            self._warn(f"no record of this run is kept in {self._home} ({error.strerror})")
            return
        at = time.time()

        def first(database: sqlite3.Connection) -> Rows:
            close_lost(database)
            return Rows(database, flow, run, parameters, at)

        self._keeper = threading.Thread(target=self._keep, args=(log, first), daemon=True)
        self._keeper.start()

    @contextmanager
    def task(self, name: str) -> Iterator[None]:
        """Record the block as a task; may be used on any thread."""
        number, begun = next(self._numbers), time.time()
        self._told.put(lambda rows: rows.task(number, name, begun))
        said: tuple[str, str | None] = ("COMPLETED", None)
        try:
            yield
        except BaseException as error:
            said = _said(error)
            raise
        finally:
            ended = time.time()
            self._told.put(lambda rows: rows.task_ended(number, *said, ended))

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """Keep a table."""
        self._artifact("table", key, json.dumps(rows), description)

    def progress(self, key: str, percent: float, description: str) -> None:
        """Keep how far something is, instead of what was said under this key before."""
        self._artifact("progress", key, percent, description)

    def markdown(self, key: str, text: str, description: str) -> None:
        """Keep a text."""
        self._artifact("markdown", key, text, description)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is None:
            return
        said, at = ("COMPLETED", None) if error is None else _said(error), time.time()
        self._told.put(lambda rows: rows.ended(*said, at))
        self._told.put(None)
        self._keeper.join(_FAREWELL_SECONDS if not isinstance(error, KeyboardInterrupt) else _HURRIED_SECONDS)
        if not self._is_kept:
            self._warn(
                f"the record of this run in {self._home} is not complete, see {self._home / _LOG}; if its database "
                "is damaged, remove that folder (it holds the history of runs only)"
            )

    def _artifact(self, kind: str, key: str, data: Any, description: str) -> None:
        at = time.time()
        self._told.put(lambda rows: rows.artifact(kind, key, data, description, at))

    def _keep(self, log: BinaryIO, first: Callable[[sqlite3.Connection], Rows]) -> None:
        """Write what is told until the run ends: whatever waits at once, in one transaction."""
        with log:
            try:
                with closing(opened(self._home, log)) as database:
                    database.execute("BEGIN IMMEDIATE")
                    rows = first(database)
                    database.execute("COMMIT")
                    is_over = False
                    while not is_over:
                        waiting = [self._told.get()]
                        while not self._told.empty():
                            waiting.append(self._told.get())
                        database.execute("BEGIN IMMEDIATE")
                        for told in waiting:
                            if told is None:
                                is_over = True
                            else:
                                told(rows)
                        database.execute("COMMIT")
                self._is_kept = True
            except Exception:  # whatever it is, the build goes on
                with suppress(OSError):
                    log.write(traceback.format_exc().encode(errors="backslashreplace"))


def _said(error: BaseException) -> tuple[str, str | None]:
    """How something ended: the state's name and what is said of it."""
    if isinstance(error, UserError):
        return "FAILED", str(error)
    if isinstance(error, KeyboardInterrupt):
        return "CANCELLED", "interrupted"
    return "CRASHED", repr(error)
