"""The first steps of a build, done while the Prefect server starts.

The server takes seconds to answer, and no flow can begin before. Steps that have little to make are done meanwhile, on
a thread; the flow then goes on from there and records them as the tasks they were. Gates are begun, and waited for by
the flow. What a person did wrong is left to it too: it meets the same step again, and first tells what the gates found.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

from flows.build import Begun
from flows.execute import (
    InProcess,
    Reporter,
    Runner,
    ShardDone,
    ShardTask,
    StepReport,
    asks_a_model,
    begin_gate,
    execute_step,
    run_shard,
)
from flows.plan import TableStep
from flows.steps import STEPS
from schemas.errors import UserError


class _TooMuchError(Exception):
    """A step has more to do than should be done out of sight."""


def _leave_it() -> None:
    raise _TooMuchError


class _Ahead(InProcess):
    """Runs work here and remembers its names."""

    def __init__(self, gates: ThreadPoolExecutor) -> None:
        self.names: list[str] = []
        self._gates = gates

    def begin(self, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        """Run it on the thread for gates."""
        self.names.append(name)
        return self._gates.submit(function).result

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
        self._gates = ThreadPoolExecutor(1)
        self._runner = _Ahead(self._gates)
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
        self._gates.shutdown(cancel_futures=True)  # nothing is written once the workspace is another's

    def take(self, runner: Runner, reporter: Reporter) -> Begun:
        """Stop after the step at hand; tell what was done, and give the build to whoever finishes it."""
        self._stop.set()
        self._done.result()
        for name in self._runner.names:
            runner.note(name)
        for report in self._begun.reports:
            reporter.finished(report)
        return self._begun

    def _work(self) -> None:
        for step in STEPS:
            if self._stop.is_set() or asks_a_model(step, self._begun.build):
                return
            if isinstance(step, TableStep) and step.is_gate:
                self._begun.gates[step.name] = begin_gate(step, self._begun.build, self._runner)
                continue
            try:
                report = execute_step(step, self._begun.build, self._runner, _Silent(), _leave_it)
            except (_TooMuchError, UserError):
                return
            self._begun.reports.append(report)
