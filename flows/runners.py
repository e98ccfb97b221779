"""Running a build on this machine's threads, or its shards on Ray, while a record is told of every task."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from flows.execute import ShardDone, ShardTask, run_shard
from flows.record import Record
from schemas.config import Config

#: Seconds after which a run that waits for a shard heeds Ctrl+C at the latest, whichever thread the signal met.
HEED_EVERY = 0.5


RunShard = Callable[[ShardTask], ShardDone]


class RecordedRunner:
    """Calls work here and records it as tasks; ``run``: makes one shard, on a thread of ``pool``."""

    def __init__(self, record: Record, pool: ThreadPoolExecutor, beside: ThreadPoolExecutor, run: RunShard) -> None:
        self._record = record
        self._pool = pool
        self._beside = beside
        self._run = run

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        """Run one function in this thread."""
        with self._record.task(name):
            return function()

    def begin(self, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        """Begin one function, on the thread for what goes on beside."""
        return self._beside.submit(self.call, name, function).result

    def shards(self, name: str, tasks: list[ShardTask]) -> Iterator[ShardDone]:
        """Run shards; yields as they finish."""
        finished: queue.SimpleQueue[Future[ShardDone]] = queue.SimpleQueue()
        for number, task in enumerate(tasks, start=1):
            future = self._pool.submit(self.call, f"{name} {number}", partial(self._run, task))
            future.add_done_callback(finished.put)
        for _ in tasks:
            while True:
                with suppress(queue.Empty):
                    yield finished.get(timeout=HEED_EVERY).result()
                    break


@contextmanager
def recorded_runner(config: Config, record: Record) -> Iterator[RecordedRunner]:
    """The runner the configuration asks for. On leaving, what has begun is waited for and nothing more is begun."""
    with ExitStack() as stack:
        workers = config.execution.workers or os.cpu_count() or 1
        run: RunShard = run_shard
        if config.execution.runner == "ray":
            workers, run = stack.enter_context(_ray(config.execution.workers))
        pools = ThreadPoolExecutor(workers), ThreadPoolExecutor(1)
        for pool in pools:
            stack.callback(pool.shutdown, cancel_futures=True)
        yield RecordedRunner(record, *pools, run)


@contextmanager
def _ray(workers: int) -> Iterator[tuple[int, RunShard]]:
    """How many shards at once and what makes one, on a Ray begun here or the cluster that ``RAY_ADDRESS`` names."""
    import ray

    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:
        ray.init(num_cpus=workers or os.cpu_count(), include_dashboard=False)
    remote = ray.remote(run_shard)

    def run(task: ShardTask) -> ShardDone:
        try:
            done: ShardDone = ray.get(remote.remote(task))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # as it was raised there
        return done

    try:
        yield workers or int(ray.cluster_resources()["CPU"]), run  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()
