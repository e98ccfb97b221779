"""The first steps of a build, done while the Prefect server starts.

The server takes seconds to answer, and no flow can begin before. Steps that come before the first gate and have little
to make are done meanwhile, on a thread; the flow then goes on from there and records them as the tasks they were.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from flows.build import Begun
from flows.execute import InProcess, Reporter, Runner, ShardDone, ShardTask, StepReport, execute_step, run_shard
from flows.plan import TableStep
from flows.steps import STEPS


class _TooMuchError(Exception):
    """A step has more to do than should be done out of sight."""


def _leave_it() -> None:
    raise _TooMuchError


class _Ahead(InProcess):
    """Runs work here and remembers its names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        """Run it."""
        self.names.append(name)
        return function()

    def shards(self, name: str, tasks: list[ShardTask]) -> Iterator[ShardDone]:
        """Run them on threads."""
        self.names += [f"{name} {number}" for number in range(1, len(tasks) + 1)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(run_shard, tasks)


class _Silent:
    """Tells nobody; the flow does."""

    def progress(self, step: str, done: int, total: int, note: str = "") -> None:
        """Say nothing."""

    def finished(self, report: StepReport) -> None:
        """Say nothing."""


class Ahead:
    """The first steps of a begun build, on a thread from entering the block until they are asked for."""

    def __init__(self, begun: Begun) -> None:
        self._begun = begun
        self._runner = _Ahead()
        self._stop = threading.Event()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Ahead:
        self._done = self._thread.submit(self._work)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.shutdown()

    def take(self, runner: Runner, reporter: Reporter) -> Begun:
        """Stop after the step at hand; tell what was done, and give the build to whoever finishes it."""
        self._stop.set()
        self._done.result()
        for name in self._runner.names:
            runner.call(name, lambda: None)
        for report in self._begun.reports:
            reporter.finished(report)
        return self._begun

    def _work(self) -> None:
        for step in STEPS:
            if self._stop.is_set() or (isinstance(step, TableStep) and step.is_gate):
                return
            try:
                report = execute_step(step, self._begun.build, self._runner, _Silent(), _leave_it)
            except _TooMuchError:
                return
            self._begun.reports.append(report)
