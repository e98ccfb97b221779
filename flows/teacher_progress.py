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
from collections.abc import Callable, Iterator, Mapping
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
    seen = _Seen(done, total, build.config.propose.candidates)
    over = threading.Event()
    here = f"{socket.gethostname()} {os.getpid()}"

    def look() -> None:
        while not over.wait(_EVERY):
            measure_memory(meter)
            counted = meter.totals()
            reporter.progress("propose", seen.cases(counted), total, seen.note(time.monotonic(), counted))

    def finished(shard: ShardDone) -> None:
        if shard.totals and shard.origin != here:
            meter.told(shard.origin, shard.totals)
        seen.finished += shard.rows
        counted = meter.totals()
        reporter.progress("propose", seen.cases(counted), total, seen.note(time.monotonic(), counted))

    watcher = threading.Thread(target=copy_context().run, args=(look,), daemon=True)  # its artifacts are the run's
    watcher.start()
    try:
        yield finished
    finally:
        over.set()
        watcher.join()


@dataclass
class _Seen:
    """``before``: cases there at the start; ``finished``: those of finished shards since; ``candidates``: of a case."""

    before: int
    total: int
    candidates: int

    def __post_init__(self) -> None:
        self.finished = 0
        self._past: deque[tuple[float, float, dict[str, float]]] = deque()
        self._settled = self._most = 0.0
        self._each = (1 + 2 * self.candidates) / self.candidates  # requests of a candidate, if each succeeds at once

    def cases(self, counted: Mapping[str, float]) -> int:
        """Cases that are done, about; whoever fails often needs more requests, which shows as narratives are settled.

        It never goes back: what was too hopeful stands until the rest has caught up.
        """
        if counted["settled"] > self._settled:
            self._settled = counted["settled"]
            self._each = max(self._each, counted["results"] / self._settled)
        guesses = (self.finished, self._settled / self.candidates, counted["results"] / self._each / self.candidates)
        self._most = max(self._most, *guesses)
        return min(self.total, self.before + int(self._most + 1e-9))

    def note(self, now: float, counted: Mapping[str, float]) -> str:
        """One line on how it goes."""
        done = self.cases(counted)
        self._past.append((now, self._most, dict(counted)))
        while self._past[0][0] < now - _WINDOW:
            self._past.popleft()
        then, most, first = self._past[0]
        told = []
        if now > then:
            cases = (self._most - most) / (now - then)
            tokens = (counted["completion_tokens"] - first["completion_tokens"]) / (now - then)
            told += [f"{cases:.3g} cases/s", f"{tokens:,.0f} tokens/s"]
            if cases > 0 and done < self.total:
                told.append(f"{duration((self.total - done) / cases)} left")
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
