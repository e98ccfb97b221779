"""The ``vlm`` teacher in a build: its engine, opened once per process, and the shards of cases it works on.

Answers go through the request cache of the workspace, so that whatever ends a build, nothing answered is paid for
twice. The cache is no part of a build: it is never read but through its keys.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from annotators.engines.cache import RequestCache
from annotators.engines.cached import CachedEngine, cached
from annotators.engines.protocol import Completion, Engine, Failure, Request
from annotators.vlm.requests import Teacher, teacher_revision
from annotators.vlm.teacher import CASE_COLUMNS, Rejected, propose
from corpus.packs import read_payloads
from corpus.store import Store
from flows.plan import Build
from schemas.config import Config
from schemas.errors import ConfigError
from schemas.family_cards import knowledge
from schemas.taxonomy import load_taxonomy
from schemas.teacher_config import VlmSettings

CACHE = "requests"
_PLACES = ("pack", "pack_offset", "stored_bytes")
_lock = threading.Lock()
_opened: dict[str, _Opened] = {}


@dataclass(frozen=True)
class _Opened:
    """An engine behind its cache. One in this process works for one shard at a time; servers bound themselves."""

    engine: CachedEngine
    cache: RequestCache
    shaped_by: tuple[str, ...]
    turn: threading.Lock | None

    def ask(self, requests: Iterable[Request]) -> Iterator[Completion | Failure]:
        if self.turn is None:
            yield from self.engine.generate(requests)
            return
        with self.turn:
            yield from self.engine.generate(requests)


def teacher_settings(config: Config) -> Any:
    """What of the configuration shapes the teacher's texts."""
    settings = told(config)
    engine = settings.transformers
    shaping = settings.model_dump(mode="json", include=set(settings.SHAPING))
    inside = None if engine is None else engine.model_dump(mode="json", include={"dtype", "most_pixels"})
    return [shaping, inside, settings.terms, teacher_revision(settings)]


def told(config: Config) -> VlmSettings:
    """The teacher's settings, which a configuration with this teacher has."""
    assert config.propose.vlm is not None
    return config.propose.vlm


def with_places(cases: pl.DataFrame, build: Build) -> pl.DataFrame:
    """Cases with where the bytes of their first image lie."""
    places = build.rows("inspect", ["image_digest", *_PLACES]).unique("image_digest")
    first = cases.with_columns(pl.col("image_digests").list.first().alias("image_digest"))
    return first.join(places, on="image_digest", how="left", maintain_order="left").drop("image_digest")


def teach(items: pl.DataFrame, config: Config, store: Store) -> tuple[pl.DataFrame, list[Rejected]]:
    """The candidates of a shard of cases with their places, and rejections with the case of each."""
    cases = items.select("case_id", *CASE_COLUMNS)
    where = {row["image_digests"][0]: tuple(row[name] for name in _PLACES) for row in items.iter_rows(named=True)}

    def load(digest: str) -> bytes:
        pack, offset, size = where[digest]
        return read_payloads(store.folder.fs, store.folder.path("rows/inspect"), [(pack, offset, size, digest)])[0]

    opened = _open(config)
    teacher = Teacher(told(config), opened.ask, load, load_taxonomy(), knowledge(), opened.shaped_by)
    return propose(cases, config.propose.candidates, teacher)


def _open(config: Config) -> _Opened:
    settings = told(config)
    name = f"{config.workspace}\0{settings.model_dump_json()}"
    with _lock:
        if name not in _opened:
            engine, shaped_by, turn = _engine(settings)
            cache = RequestCache(f"{config.workspace.rstrip('/')}/{CACHE}")
            _opened[name] = _Opened(cached(engine, cache), cache, shaped_by, turn)
        return _opened[name]


def _engine(settings: VlmSettings) -> tuple[Engine, tuple[str, ...], threading.Lock | None]:
    if settings.http is not None:
        from annotators.engines.http import HttpEngine

        return HttpEngine(settings.http), (), None
    try:
        from annotators.engines.transformers_engine import TransformersEngine
    except ImportError as error:
        raise ConfigError(
            f"the teacher runs a model in this process, which needs {error.name}: pip install 'dermcot[vlm]'"
        ) from None
    assert settings.transformers is not None
    made = TransformersEngine(Path(settings.model), **settings.transformers.model_dump())
    return made, made.shaped_by, threading.Lock()


def close_engines() -> None:
    """Seal what the request caches hold, at the end of a build."""
    with _lock:
        while _opened:
            _opened.popitem()[1].cache.close()
