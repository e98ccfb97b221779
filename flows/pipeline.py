"""The Prefect flow over the plan: one task per shard, one artifact per step.

Prefect shows what happens and schedules it; it decides nothing. Resume, caching and lineage live in the store and the
release manifest, so results of tasks are neither cached nor persisted here.
"""

from __future__ import annotations

import os
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar, copy_context
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
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from corpus.store import Store
from flows.ahead import Ahead
from flows.build import Outcome, begin_build, finish_build
from flows.execute import Reporter, ShardDone, ShardTask, StepReport, run_shard
from flows.plan import Build
from flows.report import Screen, counts_table, rater_warnings, step_counts
from schemas.config import Config
from schemas.config_file import load_config

#: Seconds between two words on long work as an artifact.
_TELL_EVERY = 15.0
#: Seconds after which a run that waits for a shard heeds Ctrl+C at the latest, whichever thread the signal met.
_HEED_EVERY = 0.5
#: What the command began before the flow could.
_AHEAD: ContextVar[Ahead | None] = ContextVar("ahead", default=None)


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

    def __init__(self, task_runner: TaskRunner[Any], beside: TaskRunner[Any], notes: ThreadPoolExecutor) -> None:
        self._runner = task_runner
        self._beside = beside
        self._notes = notes

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        """Run one function as a task, in this thread."""
        return step_task(name, function)

    def begin(self, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        """Begin one function as a task, on a thread of this process."""
        future = self._beside.submit(step_task, {"name": name, "work": function})
        return lambda: future.result()

    def note(self, name: str) -> None:
        """Record what was done before the flow began as a task, on a thread of this process."""
        self._notes.submit(copy_context().run, step_task, name, lambda: None)

    def shards(self, name: str, tasks: list[ShardTask]) -> Iterator[ShardDone]:
        """Run shards as tasks on the task runner; yields as they finish."""
        finished: queue.SimpleQueue[PrefectFuture[Any]] = queue.SimpleQueue()
        for number, work in enumerate(tasks, start=1):
            future = self._runner.submit(shard_task, {"name": f"{name} {number}", "work": work})
            future.add_done_callback(finished.put)
        for _ in tasks:
            while True:
                with suppress(queue.Empty):
                    yield finished.get(timeout=_HEED_EVERY).result()
                    break


def task_runner(config: Config) -> TaskRunner[Any]:
    """The task runner the configuration asks for."""
    workers = config.execution.workers or os.cpu_count() or 1
    if config.execution.runner == "ray":
        from prefect_ray import RayTaskRunner

        runner: TaskRunner[Any] = RayTaskRunner(init_kwargs={"num_cpus": workers, "include_dashboard": False})
        return runner
    return ThreadPoolTaskRunner(max_workers=workers)


class ArtifactReporter:
    """Passes everything on to a reporter and leaves a table artifact per step, without keeping the build waiting.

    A context manager; leaving it waits for the last artifact.
    """

    def __init__(self, inner: Reporter, store: Store) -> None:
        self._inner = inner
        self._store = store
        self._aside = ThreadPoolExecutor(1)
        self._told = -_TELL_EVERY
        self._progress: dict[str, UUID] = {}

    def __enter__(self) -> ArtifactReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aside.shutdown()

    def progress(self, step: str, done: int, total: int, note: str = "") -> None:
        """Pass on; what has a note is long work, of which an artifact tells too."""
        self._inner.progress(step, done, total, note)
        if note and time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            self._aside.submit(copy_context().run, self._leave_progress, step, 100 * done / max(total, 1), note)

    def _leave_progress(self, step: str, percent: float, note: str) -> None:
        if step in self._progress:
            update_progress_artifact(self._progress[step], percent, description=f"{step}: {note}")
            return
        key = f"progress-{step.replace('_', '-')}"
        made = create_progress_artifact(percent, key=key, description=f"{step}: {note}")
        self._progress[step] = cast(UUID, made)

    def totals(self, told: Mapping[str, Any]) -> None:
        """Leave what the teacher's asking came to as a table artifact."""
        rows = [{"what": name, "total": value} for name, value in told.items() if name != "engines"]
        made = partial(create_table_artifact, rows, key="teacher", description="what the teacher's answers came to")
        self._aside.submit(copy_context().run, made)

    def finished(self, report: StepReport) -> None:
        """Leave the step's counts as a table artifact, and pass on."""
        self._aside.submit(copy_context().run, self._leave_artifact, report)
        self._inner.finished(report)

    def _leave_artifact(self, report: StepReport) -> None:
        counts = step_counts(report, self._store)
        rows = [{"what": f"kept: {what}", "records": n} for what, n in counts["kept"].items()]  # type: ignore[attr-defined]
        rows += [{"what": f"rejected: {what}", "records": n} for what, n in counts["rejected"].items()]  # type: ignore[attr-defined]
        failed: Any = counts.get("failed_attempts", {})
        rows += [{"what": f"failed attempts: {rule}", "records": n} for rule, n in failed.items()]
        rows += [{"what": name, "records": counts[name]} for name in ("rows_made", "rows_reused", "seconds")]
        key = f"step-{report.output.step.replace('_', '-')}"
        create_table_artifact(rows, key=key, description=f"{report.output.step}: {report.state}")


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
    with Screen() as screen:
        outcome = curate_config(config, screen)
        screen.show(counts_table(outcome.reports, Store(config.workspace)))
        for line in rater_warnings(outcome.reports):
            screen.show(line)
    return {
        "release": outcome.release.name,
        "digest": outcome.release.digest,
        "path": outcome.path(config),
        "new": outcome.is_new,
    }


def curate_config(config: Config, reporter: Reporter) -> Outcome:
    """Run a build inside a flow run, with artifacts: the one this process has begun, or a new one."""
    with ExitStack() as stack:
        runner = PrefectRunner(
            stack.enter_context(task_runner(config)),
            stack.enter_context(ThreadPoolTaskRunner(max_workers=1)),
            stack.enter_context(ThreadPoolExecutor(1)),
        )
        artifacts = stack.enter_context(ArtifactReporter(reporter, Store(config.workspace)))
        ahead = _AHEAD.get()
        begun = (
            ahead.take(runner, artifacts)
            if ahead
            else stack.enter_context(begin_build(Build(config, Store(config.workspace))))
        )
        try:
            outcome = finish_build(begun, runner, artifacts)
        finally:
            if "teacher" in begun.record:
                artifacts.totals(begun.record["teacher"])
    create_markdown_artifact(_summary(outcome, config), key="release", description="The release this run came to")
    return outcome


@contextmanager
def continuing(ahead: Ahead, heartbeat: bool) -> Iterator[None]:
    """Let the flow of the block go on from what was done ahead.

    Without ``heartbeat`` it sends none, which an embedded server needs as little: to leave a flow that sends them takes
    up to a second.
    """
    token = _AHEAD.set(ahead)
    try:
        with nullcontext() if heartbeat else temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            yield
    finally:
        _AHEAD.reset(token)


def _summary(outcome: Outcome, config: Config) -> str:
    counts = outcome.release.manifest["counts"]
    lines = [f"- {name}: {n:,}" for name, n in counts["by_licence_class"].items()]
    state = "new" if outcome.is_new else "unchanged"
    head = f"# {outcome.release.name} ({state})\n\n`{outcome.path(config)}`\n\nsha256 `{outcome.release.digest}`\n\n"
    return head + f"{counts['rows']:,} rows\n\n" + "\n".join(lines) + "\n"
