"""The Prefect flow over the plan: one task per shard, one artifact per step.

Prefect shows what happens and schedules it; it decides nothing. Resume, caching and lineage live in the store and the
release manifest, so results of tasks are neither cached nor persisted here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from uuid import UUID

from prefect import flow, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from corpus.store import Store
from flows.artifacts import finish_with_artifacts
from flows.build import begin_build
from flows.execute import ShardDone, ShardTask, run_shard
from flows.plan import Build
from flows.report import Screen
from flows.runners import as_they_finish
from schemas.config import Config
from schemas.config_file import load_config


@task(name="shard", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def shard_task(name: str, work: Any) -> ShardDone:
    """Make and commit one shard of a row step; ``work`` is its :class:`ShardTask`."""
    return run_shard(work)


@task(name="step", task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def step_task(name: str, work: Any) -> Any:
    """Run one table step here; ``work`` is a function of no arguments."""
    return work()


class PrefectRunner:
    """Calls work as Prefect tasks; shards go to a task runner (threads, or Ray beyond one machine)."""

    def __init__(self, task_runner: TaskRunner[Any], beside: TaskRunner[Any]) -> None:
        self._runner = task_runner
        self._beside = beside

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        """Run one function as a task, in this thread."""
        return step_task(name, function)

    def begin(self, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        """Begin one function as a task, on a thread of this process."""
        future = self._beside.submit(step_task, {"name": name, "work": function})
        return lambda: future.result()

    def shards(self, name: str, tasks: list[ShardTask]) -> Iterator[ShardDone]:
        """Run shards as tasks on the task runner; yields as they finish."""
        futures = [
            self._runner.submit(shard_task, {"name": f"{name} {number}", "work": work})
            for number, work in enumerate(tasks, start=1)
        ]
        yield from as_they_finish(futures)


def task_runner(config: Config) -> TaskRunner[Any]:
    """The task runner the configuration asks for."""
    workers = config.execution.workers or os.cpu_count() or 1
    if config.execution.runner == "ray":
        from prefect_ray import RayTaskRunner

        runner: TaskRunner[Any] = RayTaskRunner(init_kwargs={"num_cpus": workers, "include_dashboard": False})
        return runner
    return ThreadPoolTaskRunner(max_workers=workers)


class FlowArtifacts:
    """Leaves artifacts of the flow run it is made in, on a thread. A context manager; leaving it waits for the last."""

    def __init__(self) -> None:
        self._aside = ThreadPoolExecutor(1)
        self._progress: dict[str, UUID] = {}

    def __enter__(self) -> FlowArtifacts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aside.shutdown()

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """Leave a table."""
        self._leave(create_table_artifact, [dict(row) for row in rows], key=key, description=description)

    def markdown(self, key: str, text: str, description: str) -> None:
        """Leave a text."""
        self._leave(create_markdown_artifact, text, key=key, description=description)

    def progress(self, key: str, percent: float, description: str) -> None:
        """Leave how far something is, instead of what was said under this key before."""
        self._leave(self._leave_progress, key, percent, description)

    def _leave_progress(self, key: str, percent: float, description: str) -> None:
        if key in self._progress:
            update_progress_artifact(self._progress[key], percent, description=description)
        else:
            self._progress[key] = cast(UUID, create_progress_artifact(percent, key=key, description=description))

    def _leave(self, how: Callable[..., Any], *what: Any, **about: Any) -> None:
        self._aside.submit(copy_context().run, partial(how, *what, **about))


@flow(name="curate", persist_result=False, validate_parameters=False)
def curate(
    config_file: str = "dermcot.yaml",
    overrides: tuple[str, ...] = (),
    workspace: str | None = None,
    releases: str | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Curate the configured datasets into a release; returns its name, path and whether it is new."""
    config = load_config(Path(config_file), overrides, workspace=workspace, releases=releases, limit=limit)
    store = Store(config.workspace)
    with ExitStack() as stack:
        screen = stack.enter_context(Screen())
        begun = stack.enter_context(begin_build(Build(config, store)))
        runner = PrefectRunner(
            stack.enter_context(task_runner(config)), stack.enter_context(ThreadPoolTaskRunner(max_workers=1))
        )
        outcome = finish_with_artifacts(begun, runner, screen, stack.enter_context(FlowArtifacts()))
        screen.closing(outcome.reports, store)
    return outcome.told(config)
