"""Running a build on this machine's threads, or its shards on Ray, while a record is told of every task."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from flows.execute import ShardDone, ShardTask, run_shard
from flows.record import Record
from schemas.config import Config
from schemas.errors import UserError

#: Seconds after which a run that waits for a shard heeds Ctrl+C at the latest, whichever thread the signal met.
_HEED_EVERY = 0.5


RunShard = Callable[[ShardTask], ShardDone]


def as_they_finish(futures: Sequence[Any]) -> Iterator[Any]:
    """The results of futures, of threads or of Prefect, as they finish; Ctrl+C is heeded meanwhile."""
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(finished.put)
    for _ in futures:
        while True:
            with suppress(queue.Empty):
                yield finished.get(timeout=_HEED_EVERY).result()
                break


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
        """Run shards; yields as they finish. Once nobody asks for more, no other is begun."""
        futures = [
            self._pool.submit(self.call, f"{name} {number}", partial(self._run, task))
            for number, task in enumerate(tasks, start=1)
        ]
        try:
            yield from as_they_finish(futures)
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def recorded_runner(config: Config, record: Record) -> Iterator[RecordedRunner]:
    """The runner the configuration asks for. On leaving, what has begun is waited for and nothing more is begun."""
    with ExitStack() as stack:
        workers = config.execution.workers or os.cpu_count() or 1
        run: RunShard = run_shard
        give_up: Callable[[], None] | None = None
        if config.execution.runner == "ray":
            workers, run, give_up = stack.enter_context(_ray(config.execution.workers))
        pools = ThreadPoolExecutor(workers), ThreadPoolExecutor(1)
        try:
            yield RecordedRunner(record, *pools, run)
        finally:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            if give_up is not None:
                give_up()
            for pool in pools:
                pool.shutdown()


@contextmanager
def _ray(workers: int) -> Iterator[tuple[int, RunShard, Callable[[], None]]]:
    """How many shards at once, what makes one, and what gives up those that are being made, on a Ray begun here or the
    cluster that ``RAY_ADDRESS`` names."""
    try:
        import ray

        if "RAY_ADDRESS" in os.environ:
            ray.init()
        else:
            ray.init(num_cpus=workers or os.cpu_count(), include_dashboard=False)
    except (ImportError, ConnectionError) as error:
        raise UserError(
            f"execution.runner is ray, which cannot be had ({str(error).splitlines()[0]}): install dermcot[ray], and "
            "see that the cluster of RAY_ADDRESS answers, if that is set; or set execution.runner to threads"
        ) from error
    remote = ray.remote(run_shard)
    at_work: set[Any] = set()

    def run(task: ShardTask) -> ShardDone:
        shard = remote.remote(task)
        at_work.add(shard)
        try:
            done: ShardDone = ray.get(shard)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # as it was raised there
        finally:
            at_work.discard(shard)
        return done

    def give_up() -> None:
        for shard in list(at_work):
            ray.cancel(shard, force=True)

    try:
        cpus = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
        yield workers or max(1, int(cpus)), run, give_up
    finally:
        ray.shutdown()
