"""What people see while the teacher works: hours on a GPU, of which a shard may take one.

Counts of finished shards would stand still for long, so progress is told from the requests that were answered, once a
second: speed, share of narratives kept, time left, memory of the GPUs.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass

from flows.execute import Reporter, ShardDone
from flows.plan import Build
from flows.teacher_steps import measure_memory, meter_of

_EVERY = 1.0
_WINDOW = 120.0  # seconds over which a speed is taken
_GIB = 2**30


@contextmanager
def watch_teacher(build: Build, reporter: Reporter, done: int, total: int) -> Iterator[Callable[[ShardDone], None]]:
    """Tell ``reporter`` of the step ``propose`` while the block runs, ``done`` of ``total`` cases being there before.

    Gives what is to be called with every shard that is finished.
    """
    meter = meter_of(build.config.workspace)
    requests = 1 + 2 * build.config.propose.candidates
    seen = _Seen(done, total, requests)
    over = threading.Event()
    here = f"{socket.gethostname()} {os.getpid()}"

    def look() -> None:
        while not over.wait(_EVERY):
            measure_memory(meter)
            counted = meter.totals()
            reporter.progress("propose", seen.cases(counted["results"]), total, seen.note(time.monotonic(), counted))

    def finished(shard: ShardDone) -> None:
        if shard.totals and shard.origin != here:
            meter.told(shard.origin, shard.totals)
        seen.finished += shard.rows
        counted = meter.totals()
        reporter.progress("propose", seen.cases(counted["results"]), total, seen.note(time.monotonic(), counted))

    watcher = threading.Thread(target=copy_context().run, args=(look,), daemon=True)  # a reporter asks whose run it is
    watcher.start()
    try:
        yield finished
    finally:
        over.set()
        watcher.join()


@dataclass
class _Seen:
    """``before``: cases there at the start; ``finished``: those of finished shards since; ``requests``: of one case."""

    before: int
    total: int
    requests: int

    def __post_init__(self) -> None:
        self.finished = 0
        self._past: deque[tuple[float, dict[str, float]]] = deque()

    def cases(self, results: float) -> int:
        """Cases that are done, about: requests of a failed observation never come, so shards may know of more."""
        return min(self.total, self.before + max(self.finished, int(results / self.requests)))

    def note(self, now: float, counted: dict[str, float]) -> str:
        """One line on how it goes."""
        self._past.append((now, counted))
        while self._past[0][0] < now - _WINDOW:
            self._past.popleft()
        then, first = self._past[0]
        told = []
        if now > then:
            cases, tokens = ((counted[name] - first[name]) / (now - then) for name in ("results", "completion_tokens"))
            cases /= self.requests
            told += [f"{cases:.3g} cases/s", f"{tokens:,.0f} tokens/s"]
            if cases > 0:
                told.append(f"{duration((self.total - self.cases(counted['results'])) / cases)} left")
        if counted["kept"] + counted["lost"]:
            told.append(f"{counted['kept'] / (counted['kept'] + counted['lost']):.0%} of narratives kept")
        if counted["memory_total"]:
            told.append(f"GPU {counted['memory'] / _GIB:.1f} of {counted['memory_total'] / _GIB:.1f} GiB")
        return ", ".join(told)


def duration(seconds: float) -> str:
    """Seconds in words, to two units: ``2 h 5 min``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes // 1440} days"
