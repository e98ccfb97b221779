"""Several GPUs in one machine: one process with one engine each, which shards of cases are dealt out to.

Each process writes segments of its own into the request cache, so no answer waits for another process. They end with
the run that began them, however it ends.
"""

from __future__ import annotations

import os
import queue
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from corpus.child_process import die_with
from schemas.errors import UserError

if TYPE_CHECKING:
    import polars as pl

    from annotators.engines.meter import Meter
    from flows.teacher_steps import Taught
    from schemas.config import Config

_EVERY = 1.0  # seconds between two words on how far a process is


class Devices:
    """Processes for ``names`` of devices, which tell ``meter`` what they do."""

    def __init__(self, names: tuple[str, ...], meter: Meter) -> None:
        spawn = get_context("spawn")
        self._words: Any = spawn.SimpleQueue()
        self._over: Any = spawn.Event()
        self._free: queue.Queue[str] = queue.Queue()
        shared = os.getpid(), self._words, self._over
        self._pools = {
            name: ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(*shared, name)) for name in names
        }
        for name in names:
            self._free.put(name)
        self._listener = threading.Thread(target=self._listen, args=(meter,), daemon=True)
        self._listener.start()

    def teach(self, items: pl.DataFrame, config: Config) -> Taught:
        """A shard on the first device that is free."""
        name = self._free.get()
        try:
            taught: Taught = self._pools[name].submit(_teach, items, config, name).result()
            return taught
        except BrokenProcessPool as error:
            raise UserError(
                f"the process of the teacher on {name} was ended from outside, perhaps for want of memory: what was "
                "answered is kept, so run the same command again, with fewer rows (propose.vlm.transformers.most_rows)"
            ) from error
        finally:
            self._free.put(name)

    def close(self) -> list[dict[str, Any]]:
        """End the processes, those at work at their next answer; what their engines were."""
        self._over.set()
        described: list[dict[str, Any]] = []
        for pool in self._pools.values():
            with suppress(BrokenProcessPool):
                described += pool.submit(_end).result()
            pool.shutdown()
        self._words.put(None)
        self._listener.join()
        return described

    def _listen(self, meter: Meter) -> None:
        while (word := self._words.get()) is not None:
            meter.told(*word)


# -- in such a process ------------------------------------------------------------------------------------------------

_HERE = ""  # it counts for one run alone
_told: Any = None


def _begin(parent: int, words: Any, over: Any, device: str) -> None:
    global _told
    die_with(parent)
    _told = words
    threading.Thread(target=_tell_on, args=(over, device), daemon=True).start()


def _tell_on(over: Any, device: str) -> None:
    from flows.teacher_steps import meter_of

    while not over.wait(_EVERY):
        _tell(device)
    meter_of(_HERE).ended.set()


def _tell(device: str) -> None:
    from flows.teacher_steps import measure_memory, meter_of

    meter = meter_of(_HERE)
    measure_memory(meter)
    _told.put((device, meter.totals()))


def _teach(items: pl.DataFrame, config: Config, device: str) -> Taught:
    from flows.teacher_steps import meter_of, teach_here

    try:
        return teach_here(items, config, meter_of(_HERE), device)
    finally:
        _tell(device)


def _end() -> list[dict[str, Any]]:
    from flows.teacher_steps import close_opened

    return close_opened()
