"""Executing the plan: find what is there, make what is missing, shard by shard, and say what happened.

How a function is called is left to the caller (``Runner``): in this process, as Prefect tasks on threads, or on Ray.
Every shard commits itself to the store; killing the program costs at most the shards in flight.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import polars as pl

from corpus.digests import row_digests
from corpus.store import StepOutput, Store
from flows.gating import raise_if_gate_blocked
from flows.plan import ROW_SCHEMAS, Build, RowStep, Step, TableStep, find_output, missing_items, step_key
from schemas.config import Config
from schemas.errors import UserError
from schemas.tables import STAGE_REJECTIONS, empty_frame

#: Columns of a row that say where its bytes lie, so not part of what it is.
_PLACES = ("pack", "pack_offset")
Given = TypeVar("Given")

#: Up to so many whole shards, a row step is little work.
FEW = 4


class Runner(Protocol):
    """How work is called."""

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        """Run one function here, under a name."""

    def begin(self, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        """Begin one function, beside what is called meanwhile; gives a function that waits for its result."""

    def shards(self, name: str, tasks: list[ShardTask]) -> Iterable[ShardDone]:
        """Run :func:`run_shard` on every task, in any order; yields as they finish."""


class Reporter(Protocol):
    """Who is told what happens."""

    def progress(self, step: str, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total`` rows of a step are finished; ``note`` tells more of how it goes."""

    def finished(self, report: StepReport) -> None:
        """A step is finished."""


@dataclass(frozen=True)
class ShardTask:
    """One shard of a row step; small enough to travel to another process."""

    step: str
    workspace: str
    config: Config
    items: pl.DataFrame


@dataclass(frozen=True)
class ShardDone:
    """A finished shard: items, and what the process ``origin`` counted of its teacher so far, if it has one."""

    rows: int
    origin: str
    totals: Mapping[str, float]


@dataclass(frozen=True)
class StepReport:
    """What a step did: rows made and reused (row steps), seconds, and its output."""

    output: StepOutput
    state: str  # reused | ran
    made: int
    reused: int
    seconds: float


class InProcess:
    """The plainest runner: everything here, one after the other."""

    def call(self, name: str, function: Callable[[], Any]) -> Any:
        """Run it."""
        return function()

    def begin(self, name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        """Run it at once."""
        result = self.call(name, function)
        return lambda: result

    def shards(self, name: str, tasks: list[ShardTask]) -> Iterator[ShardDone]:
        """Run them in order."""
        for task in tasks:
            yield run_shard(task)


def run_shard(task: ShardTask) -> ShardDone:
    """Make and commit the rows of one shard."""
    from flows.steps import STEPS

    step = next(s for s in STEPS if s.name == task.step)
    assert isinstance(step, RowStep)
    store = Store(task.workspace)
    with store.scratch() as scratch:
        result = step.work(task.items, task.config, store, scratch)
        content = result.rows.drop("row_key", *(c for c in _PLACES if c in result.rows.columns))
        rows = result.rows.with_columns(row_digests(content))
        keys = task.items["row_key"].unique()
        covered = {*rows["row_key"], *(row["row_key"] for row in result.rejected)}
        if covered != set(keys):
            raise RuntimeError(f"step {step.name} lost {len(set(keys) - covered)} of its {len(keys)} rows")
        store.save_part(step.name, keys, rows, result.rejected, result.pack)
    return ShardDone(task.items.height, f"{socket.gethostname()} {os.getpid()}", result.totals)


def execute(
    steps: Sequence[Step],
    build: Build,
    runner: Runner,
    reporter: Reporter,
    reports: list[StepReport],
    meanwhile: Callable[[], Given],
) -> Given:
    """Bring every step's output into the store; adds one report per step to ``reports``, in the order of ``steps``.

    A gate is begun beside the steps after it, which do not read what it gives. It is waited for before a row step that
    has more than :data:`FEW` whole shards to make, so that a failed one costs little, and at the end. Gives what
    ``meanwhile`` does, which is called when only gates are left.
    """
    gates: list[tuple[int, Callable[[], StepReport]]] = []

    def finished(report: StepReport, place: int) -> None:
        raise_if_gate_blocked(report.output.stats)
        reports.insert(place, report)
        reporter.finished(report)

    def wait_for_gates() -> None:
        while gates:
            place, report = gates.pop(0)
            finished(report(), place)

    try:
        for place, step in enumerate(steps, start=len(reports)):
            if isinstance(step, TableStep) and step.is_gate:
                gates.append((place, _begin_gate(step, build, runner)))
            else:
                finished(_execute_step(step, build, runner, reporter, wait_for_gates), place)
        given = meanwhile()
    except UserError:
        wait_for_gates()  # what a gate found is told first
        raise
    wait_for_gates()
    return given


def _execute_step(
    step: Step, build: Build, runner: Runner, reporter: Reporter, before_much: Callable[[], None]
) -> StepReport:
    """Bring one step's output into the store; ``before_much`` is called before more than :data:`FEW` whole shards."""
    start = time.monotonic()
    key = _known_key(step, build)
    output = find_output(step, build)
    made = reused = 0
    state = "reused"
    if output is None:
        state = "ran"
        if isinstance(step, TableStep):
            output = runner.call(step.name, partial(_run_table_step, step, key, build))
        else:
            output, made, reused = _run_row_step(step, key, build, runner, reporter, before_much)
    build.outputs[step.name] = output
    return StepReport(output, state, made, reused, time.monotonic() - start)


def _begin_gate(step: TableStep, build: Build, runner: Runner) -> Callable[[], StepReport]:
    """Begin a gate where its output is not there yet; gives what waits for it, notes its output and reports it."""
    key = _known_key(step, build)

    def made() -> StepReport:
        start = time.monotonic()
        return StepReport(_run_table_step(step, key, build), "ran", 0, 0, time.monotonic() - start)

    found = find_output(step, build)
    result = runner.begin(step.name, made) if found is None else lambda: StepReport(found, "reused", 0, 0, 0.0)

    def report() -> StepReport:
        done: StepReport = result()
        build.outputs[step.name] = done.output
        return done

    return report


def _known_key(step: Step, build: Build) -> str:
    key = step_key(step, build)
    assert key is not None, f"step {step.name} stands before what it reads"
    return key


def _run_table_step(step: TableStep, key: str, build: Build) -> StepOutput:
    tables, stats = step.run(build)
    return build.store.save_step(step.name, key, tables, stats)


def shard_size(rows: int, most: int, workers: int) -> int:
    """Rows of each shard: at most ``most``; fewer where that gives every worker one, but no less than a quarter."""
    shards = max(-(-rows // most), min(workers, 4 * rows // most), 1)
    return max(1, -(-rows // shards))


def _run_row_step(
    step: RowStep, key: str, build: Build, runner: Runner, reporter: Reporter, before_much: Callable[[], None]
) -> tuple[StepOutput, int, int]:
    items = step.items(build)
    missing = missing_items(step, items, build.store)
    most = build.config.execution.rows_per_shard * step.times
    size = shard_size(missing.height, most, build.config.execution.workers or os.cpu_count() or 1)
    tasks = [
        ShardTask(step.name, build.config.workspace, build.config, missing.slice(start, size))
        for start in range(0, missing.height, size)
    ]
    if missing.height > FEW * most:
        before_much()
    with _watcher(step, build)(build, reporter, items.height - missing.height, items.height) as told:
        for finished in runner.shards(step.name, tasks):
            told(finished)
    output: StepOutput = runner.call(step.name, partial(_collect, step, key, build, items))
    return output, missing.height, items.height - missing.height


Watch = Callable[[Build, Reporter, int, int], AbstractContextManager[Callable[[ShardDone], None]]]


def _watcher(step: RowStep, build: Build) -> Watch:
    """What tells of a row step while it goes on; a teacher that asks a model is watched more closely."""
    if step.name == "propose" and build.config.propose.teacher == "vlm":
        from flows.teacher_progress import watch_teacher

        return watch_teacher
    return partial(_watch, step.name)


@contextmanager
def _watch(name: str, build: Build, reporter: Reporter, done: int, total: int) -> Iterator[Callable[[ShardDone], None]]:
    def told(shard: ShardDone) -> None:
        nonlocal done
        done += shard.rows
        reporter.progress(name, done, total)

    yield told


def _collect(step: RowStep, key: str, build: Build, items: pl.DataFrame) -> StepOutput:
    """Commit the row step's selection: where each wanted row lies, its digest and the carried columns."""
    parts = build.store.parts(step.name)
    wanted = set(items["row_key"])
    place = {key: name for name in sorted(parts, reverse=True) for key in parts[name]["keys"] if key in wanted}
    rows_at = dict(place)
    for name in set(place.values()):
        for row_key in _rowless(parts[name]):
            if rows_at.get(row_key) == name:
                del rows_at[row_key]
    chosen = pl.DataFrame(
        {"row_key": list(rows_at), "part": list(rows_at.values())}, schema={"row_key": pl.String, "part": pl.String}
    )
    rejected = [row for name in sorted(parts) for row in parts[name]["rejected"] if place.get(row["row_key"]) == name]
    selection = _selected(step, build, chosen).sort([step.carry[0], "row_digest", "row_key"])
    tables, stats = step.collect(build, items, rejected)
    stats = {"kept": {step.makes: selection.height}, **stats}
    return build.store.save_step(step.name, key, {"selection": selection, **tables}, stats)


def _rowless(part: Mapping[str, Any]) -> set[str]:
    """Keys that were rejected and have no row, where that is plain to see: a key has a row or a rejection, or both."""
    rejected = {row["row_key"] for row in part["rejected"]}
    return rejected if part["rows"] == len(part["keys"]) - len(rejected) else set()


def _selected(step: RowStep, build: Build, chosen: pl.DataFrame) -> pl.DataFrame:
    """The chosen rows with digest and carried columns: as the last build's selection has them, else from the parts."""
    carried: dict[str, Any] = {name: ROW_SCHEMAS[step.name][name] for name in step.carry}
    schema = pl.Schema({"row_key": pl.String, "row_digest": pl.String, **carried, "part": pl.String})
    key = build.before.get(step.name)
    last = build.store.find_step(step.name, key) if key else None
    known = pl.DataFrame(schema=schema) if last is None else build.store.table(last, "selection")
    if known.schema != schema:  # it was made by another version of this program
        known = pl.DataFrame(schema=schema)
    known = known.join(chosen, on=["row_key", "part"], how="semi")
    others = chosen.join(known, on="row_key", how="anti")
    if others.is_empty():
        return known
    rows = build.store.read_rows(step.name, others, ["row_digest", *step.carry]).join(others, on="row_key")
    return pl.concat([known, rows.select(schema.names())])


def rejections_of(output: StepOutput, store: Store) -> pl.DataFrame:
    """A step's rejections, whether it has any or not."""
    if "rejected" not in output.tables:
        return empty_frame(STAGE_REJECTIONS)
    return store.table(output, "rejected")
