"""The record of a run on this machine: a Prefect flow run with its tasks and artifacts, kept by a process beside it.

Without a Prefect server of the user's, a build runs here and needs none: what happens is told to a process
(:mod:`flows.record_process`), which writes it into a Prefect database in the workspace. So the build neither imports
Prefect, nor waits for it, nor ends because of it; a run whose record stays incomplete says so. The process dies with
its run, however that ends.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from schemas.errors import UserError

_FAREWELL_SECONDS = 120.0
_HURRIED_SECONDS = 10.0
_LOG = "record.log"


class Record:
    """Tells the process that keeps the record what happens; nothing here waits for it but leaving the block.

    Entering the block starts the process, which touches nothing until :meth:`begin`. ``home``: where Prefect keeps its
    database; ``warn`` is told when the record stays incomplete.
    """

    def __init__(self, home: Path, warn: Callable[[str], None]) -> None:
        self._home = home
        self._warn = warn
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._begun = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Record:
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            self._process = self._started()
        except OSError as error:
            self._warn(f"no record of this run is kept in {self._home} ({error.strerror})")
            return self
        threading.Thread(target=self._send, args=(self._process,), daemon=True).start()
        return self

    def _started(self) -> subprocess.Popen[bytes]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        path = os.pathsep.join(filter(None, sys.path))
        with (self._home / _LOG).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.record_process", str(os.getpid())],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/",
                process_group=0,  # Ctrl+C is for the run, which then says how it ended
                env={**others, "PREFECT_HOME": str(self._home.absolute()), "PYTHONPATH": path},
            )  # fmt: skip

    def begin(self, flow: str, run: str, parameters: Mapping[str, Any]) -> None:
        """Begin the run ``run`` of a flow."""
        self._begun = True
        self._tell(flow=flow, run=run, parameters=parameters)

    @contextmanager
    def task(self, name: str) -> Iterator[None]:
        """Record the block as a task; may be used on any thread."""
        number = next(self._numbers)
        self._tell(task=number, name=name)
        try:
            yield
        except BaseException as error:
            self._tell(ended=number, **_said(error))
            raise
        self._tell(ended=number)

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """Keep a table."""
        self._tell(artifact="table", key=key, data=json.dumps(rows), description=description)

    def progress(self, key: str, percent: float, description: str) -> None:
        """Keep how far something is, instead of what was said under this key before."""
        self._tell(artifact="progress", key=key, data=percent, description=description)

    def markdown(self, key: str, text: str, description: str) -> None:
        """Keep a text."""
        self._tell(artifact="markdown", key=key, data=text, description=description)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        if self._begun:
            self._tell(ended="flow", **({} if error is None else _said(error)))
            self._lines.put(None)
        else:
            self._process.kill()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_FAREWELL_SECONDS if not isinstance(error, KeyboardInterrupt) else _HURRIED_SECONDS)
            if self._process.returncode != 0 and self._begun:
                self._warn(
                    f"the record of this run in {self._home} is not complete, see {self._home / _LOG}; if its database "
                    "is damaged, remove that folder (it holds the history of runs only)"
                )
        finally:
            self._process.kill()
            self._process.wait()

    def _tell(self, **what: Any) -> None:
        self._lines.put(json.dumps({"at": time.time(), **what}).encode() + b"\n")

    def _send(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        with suppress(OSError):  # it has ended, which is told when the run ends
            while line := self._lines.get():
                process.stdin.write(line)
                process.stdin.flush()
            process.stdin.close()


def may_start_early(home: Path) -> bool:
    """Whether a record may be opened at ``home`` before anybody has looked if there is anything to do: where there is
    one already, so that a run that will be refused leaves nothing new."""
    return os.access(home / _LOG, os.W_OK)


def _said(error: BaseException) -> dict[str, str]:
    """How something ended: the state's name and what is said of it."""
    if isinstance(error, UserError):
        return {"state": "FAILED", "message": str(error)}
    if isinstance(error, KeyboardInterrupt):
        return {"state": "CANCELLED", "message": "interrupted"}
    return {"state": "CRASHED", "message": repr(error)}
