"""The plan: which steps a build has, what each reads, and the key under which its output is found again.

No Prefect here: Prefect, Ray and the tests execute this same plan. A step's key is a digest of its name, version,
settings and the *content* of what it reads, so a build redoes exactly what a change reaches. Table steps make a few
small tables; row steps make rows under keys of their own, so that a grown or resumed build computes only missing rows.
Tables whose name starts with an underscore and the columns ``part`` and ``row_key`` say where things lie; they are not
content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from corpus.annotations import read_snapshot
from corpus.digests import digest_of, table_digest
from corpus.filesystem import Folder
from corpus.ingest import FINGERPRINTS, list_files
from corpus.releases import Parent, read_parent
from corpus.store import StepOutput, Store
from schemas.config import Config
from schemas.tables import EVALUATIONS, INSPECTIONS, NARRATIVES, polars_schema

Tables = Mapping[str, pl.DataFrame]
#: What running or collecting a step gives: its tables, and statistics for people.
Collected = tuple[Tables, Mapping[str, Any]]

#: Under what name the statistics of the certify step keep what is for whoever runs the build alone.
FOOLED = "planted faults certified, by rater"

#: What the rows of each row step look like.
ROW_SCHEMAS: Mapping[str, pl.Schema] = {
    "fingerprint": FINGERPRINTS,
    "inspect": polars_schema(INSPECTIONS),
    "propose": pl.Schema({**polars_schema(NARRATIVES), "sibling_distance": pl.Float64()}),
    "standardise": pl.Schema({**polars_schema(NARRATIVES), "concluded_node": pl.String(), "text_length": pl.Int64()}),
    "evaluate": polars_schema(EVALUATIONS),
}


@dataclass
class Build:
    """A build on its way: configuration, store, and the outputs of the steps done so far."""

    config: Config
    store: Store
    outputs: dict[str, StepOutput] = field(default_factory=dict)

    @cached_property
    def listing(self) -> Any:
        """Digest of every file below every source, as it was when this build first looked: path, size and time."""
        sources = self.config.sources
        return [(source.name, source.path, table_digest(list_files(Path(source.path)))) for source in sources]

    @cached_property
    def parent(self) -> Parent:
        """The latest release as it was when this build first looked."""
        return read_parent(Folder(self.config.releases))

    @cached_property
    def before(self) -> Mapping[str, str]:
        """Keys of the outputs that the workspace's last build came to, by step; none where that is not told."""
        try:
            told: Mapping[str, str] = json.loads(self.store.folder.read("build.json"))["outputs"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}
        return told

    @cached_property
    def annotations(self) -> pl.DataFrame:
        """The configured snapshot of raters' answers as it was when this build first looked."""
        return read_snapshot(self.config.certification.annotations)

    @cached_property
    def annotations_digest(self) -> str:
        """Digest of its content, whatever its path."""
        return table_digest(self.annotations)

    def table(self, step: str, name: str, columns: list[str] | None = None) -> pl.DataFrame:
        """A table of a finished step."""
        return self.store.table(self.outputs[step], name, columns)

    def rows(self, step: str, columns: list[str] | None = None) -> pl.DataFrame:
        """The rows of a finished row step (without their keys); typed also when there are none."""
        if columns is not None and set(columns) <= set(self.outputs[step].tables["selection"].get("columns", ())):
            return self.table(step, "selection", columns)  # carried beside the keys, so no part need be opened
        rows = self.store.read_rows(step, self.table(step, "selection"), columns).drop("row_key")
        if rows.is_empty():
            schema = ROW_SCHEMAS[step]
            return pl.DataFrame(schema=schema).select(columns or list(schema))
        return rows


@dataclass(frozen=True)
class TableStep:
    """``run`` makes the step's tables and statistics. ``reads`` are ``step.table``; ``outside`` digests what else
    shapes the result (source folders, the latest release). A gate's output is read by no step."""

    name: str
    version: int
    reads: tuple[str, ...]
    settings: Callable[[Config], Any]
    run: Callable[[Build], Collected]
    outside: Callable[[Build], Any] = lambda build: None
    is_gate: bool = False


@dataclass(frozen=True)
class ShardResult:
    """What ``work`` returns: rows and rejections, both with ``row_key``, for images a finished pack, and of a teacher
    that asks what this process counted so far."""

    rows: pl.DataFrame
    rejected: list[dict[str, Any]]
    pack: Path | None = None
    totals: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RowStep:
    """``items`` lists what is wanted (with ``row_key``), ``work`` makes the rows of a shard of items, ``carry`` are the
    columns kept beside each row's key, ``collect`` turns the rejections of row keys into the step's other tables;
    ``makes`` is what people call the rows. Small rows go ``times`` as many to a shard."""

    name: str
    version: int
    reads: tuple[str, ...]
    settings: Callable[[Config], Any]
    items: Callable[[Build], pl.DataFrame]
    work: Callable[[pl.DataFrame, Config, Store, Path], ShardResult]
    carry: tuple[str, ...]
    makes: str
    collect: Callable[[Build, pl.DataFrame, list[dict[str, Any]]], Collected]
    times: int = 1


Step = TableStep | RowStep


def step_key(step: Step, build: Build) -> str | None:
    """The key of a step's output, or None while something it reads is not made yet."""
    inputs = []
    for read in step.reads:
        name, _, table = read.partition(".")
        if name not in build.outputs:
            return None
        inputs.append((read, build.outputs[name].digest(table)))
    outside = step.outside(build) if isinstance(step, TableStep) else None
    return digest_of(step.name, step.version, step.settings(build.config), inputs, outside)


def content_digest(output: StepOutput) -> str:
    """Digest of all content a step made."""
    return digest_of([(name, output.digest(name)) for name in sorted(output.tables) if not name.startswith("_")])


def find_output(step: Step, build: Build) -> StepOutput | None:
    """The output that a step would be given back now, or None when it has to run or cannot be told yet."""
    key = step_key(step, build)
    if key is None:
        return None
    find = build.store.find_step if isinstance(step, TableStep) else build.store.find_rows
    return find(step.name, key)


@dataclass(frozen=True)
class Look:
    """What a dry run says of one step: ``state`` is reused | runs | waits."""

    step: str
    state: str
    detail: str


def look(steps: tuple[Step, ...], build: Build) -> list[Look]:
    """What each step would do now, writing nothing; fills ``build.outputs`` with what is reused."""
    found = []
    for step in steps:
        key = step_key(step, build)
        if key is None:
            stored = (
                sum(len(part["keys"]) for part in build.store.parts(step.name).values())
                if isinstance(step, RowStep)
                else 0
            )
            detail = "its input is not made yet" + (f"; {stored:,} rows in store" if stored else "")
            found.append(Look(step.name, "waits", detail))
            continue
        output = find_output(step, build)
        if output is not None:
            build.outputs[step.name] = output
            found.append(Look(step.name, "reused", ""))
        elif isinstance(step, RowStep):
            items = step.items(build)
            missing = missing_items(step, items, build.store)
            found.append(Look(step.name, "runs", f"{missing.height:,} rows, {items.height - missing.height:,} reused"))
        else:
            found.append(Look(step.name, "runs", ""))
    return found


def missing_items(step: RowStep, items: pl.DataFrame, store: Store) -> pl.DataFrame:
    """The items whose rows the store does not have."""
    have = [key for part in store.parts(step.name).values() for key in part["keys"]]
    return items.filter(~pl.col("row_key").is_in(pl.Series(have, dtype=pl.String).implode()))
