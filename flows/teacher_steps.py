"""The ``vlm`` teacher in a build: its engine, opened once per process, and the shards of cases it works on.

Answers go through the request cache of the workspace, so that whatever ends a build, nothing answered is paid for
twice. The cache is no part of a build: it is never read but through its keys.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from annotators.engines.cache import RequestCache
from annotators.engines.cached import CachedEngine, cached
from annotators.engines.meter import Meter
from annotators.engines.protocol import Completion, Engine, Failure, Request
from annotators.engines.terms import is_own
from annotators.engines.transformers_checkpoint import devices, memory, revision_of
from annotators.vlm.requests import Teacher, teacher_revision
from annotators.vlm.teacher import CASE_COLUMNS, Rejected, propose
from corpus.packs import read_payloads
from corpus.store import Store
from flows.plan import Build
from flows.teacher_devices import Devices
from schemas.config import Config
from schemas.engine_config import EndpointSettings, HttpSettings
from schemas.errors import ConfigError, UserError
from schemas.family_cards import knowledge
from schemas.taxonomy import load_taxonomy
from schemas.teacher_config import VlmSettings

CACHE = "requests"
_PLACES = ("pack", "pack_offset", "stored_bytes")
#: A shard of cases as the teacher left it: its candidates, and rejections with the case of each.
Taught = tuple[pl.DataFrame, list[Rejected]]

_lock = threading.Lock()
_opened: dict[str, _Opened] = {}


@dataclass(frozen=True)
class _Opened:
    """An engine behind its cache. One in this process works for one shard at a time; servers bound themselves."""

    engine: CachedEngine
    cache: RequestCache
    shaped_by: tuple[str, ...]
    turn: threading.Lock | None
    endpoints: Mapping[str, EndpointSettings] = field(default_factory=dict)
    servers: Callable[[], list[dict[str, Any]]] | None = None

    def usage(self) -> dict[str, Any]:
        """What was read from the cache instead of being asked, and what each server did."""
        told: dict[str, Any] = {"cache": asdict(self.engine.counts)}
        return told if self.servers is None else {**told, "usage": self.servers()}

    def ask(self, requests: Iterable[Request], meter: Meter) -> Iterator[Completion | Failure]:
        def kept(answer: Completion) -> None:
            asked = self.endpoints.get(answer.endpoint)
            cost = 0.0 if asked is None else asked.cost(answer.prompt_tokens, answer.completion_tokens)
            meter.add(answered=1, prompt_tokens=answer.prompt_tokens, completion_tokens=answer.completion_tokens,
                      seconds=answer.seconds, cost=cost)  # fmt: skip

        def counted() -> Iterator[Completion | Failure]:
            _refuse_if_ended(meter)
            with closing(self.engine.generate(requests, kept)) as results:
                for result in results:
                    meter.add(results=1, failures=isinstance(result, Failure))
                    yield result
                    _refuse_if_ended(meter)

        if self.turn is None:
            yield from counted()
            return
        with self.turn:
            begun, asked = time.monotonic(), self.engine.counts.misses
            try:
                yield from counted()
            finally:
                if self.engine.counts.misses > asked:
                    meter.add(device_seconds=time.monotonic() - begun)


def _refuse_if_ended(meter: Meter) -> None:
    if meter.ended.is_set():
        raise UserError("the run has ended: what was answered is kept, so run the same command to go on")


def teacher_settings(config: Config) -> Any:
    """What of the configuration shapes the teacher's texts, or may turn a case that was refused into one that is not.

    The latter decides no request, so that after a change of it only what was not answered is asked.
    """
    settings = told(config)
    engine = settings.transformers
    inside = None if engine is None else engine.model_dump(mode="json", include={"dtype", "most_pixels", "attention"})
    name, revision = model_of(settings)
    tried = [
        settings.blind_share,
        settings.attempts,
        settings.again,
        None if settings.http is None else _reach(settings.http),
    ]
    return [settings.shaping(), tried, name, inside, settings.terms, teacher_revision(revision)]


def _reach(http: HttpSettings) -> Any:
    """What decides which cases servers can answer at all: not how many there are, nor where."""
    asked = {(end.structured, end.send_seed, end.max_tokens_field) for end in http.endpoints}
    own = any(is_own(end) for end in http.endpoints)
    return [sorted(asked), own, http.timeout_seconds, http.max_attempts, http.max_image_megabytes]


def told(config: Config) -> VlmSettings:
    """The teacher's settings, which a configuration with this teacher has."""
    assert config.propose.vlm is not None
    return config.propose.vlm


def model_of(settings: VlmSettings) -> tuple[str, str]:
    """Name and revision of the model. A checkpoint is named by its folder's name and, unless told, by its content."""
    if settings.transformers is None:
        return settings.model, settings.revision or "unnamed"
    return Path(settings.model).name, settings.revision or _revision(settings.model)


@cache
def _revision(model: str) -> str:
    if not (Path(model) / "config.json").is_file():
        raise ConfigError(f"propose.vlm.model: {model} holds no config.json: name the directory of a saved model")
    return revision_of(Path(model))[:16]


def with_places(cases: pl.DataFrame, build: Build) -> pl.DataFrame:
    """Cases with where the bytes of their first image lie."""
    places = build.rows("inspect", ["image_digest", *_PLACES]).unique("image_digest")
    first = cases.with_columns(pl.col("image_digests").list.first().alias("image_digest"))
    return first.join(places, on="image_digest", how="left", maintain_order="left").drop("image_digest")


def teach(items: pl.DataFrame, config: Config) -> Taught:
    """The candidates of a shard of cases with their places; on several devices, by the first that is free."""
    settings = told(config)
    if settings.transformers is not None and len(settings.transformers.devices) != 1:
        names = settings.transformers.devices or tuple(devices())
        if len(names) > 1:
            return _devices(config, names).teach(items, config)
    return teach_here(items, config, meter_of(config.workspace))


def teach_here(items: pl.DataFrame, config: Config, meter: Meter, device: str | None = None) -> Taught:
    """The same in this process; ``device``: of a model in process, where it is not the one configured."""
    store = Store(config.workspace)
    cases = items.select("case_id", *CASE_COLUMNS)
    where = {row["image_digests"][0]: tuple(row[name] for name in _PLACES) for row in items.iter_rows(named=True)}

    def load(digest: str) -> bytes:
        pack, offset, size = where[digest]
        return read_payloads(store.folder.fs, store.folder.path("rows/inspect"), [(pack, offset, size, digest)])[0]

    opened = _open(config, device)
    teacher = Teacher(told(config), *model_of(told(config)), lambda requests: opened.ask(requests, meter), load,
                      load_taxonomy(), knowledge(), opened.shaped_by, meter.add)  # fmt: skip
    return propose(cases, config.propose.candidates, teacher)


def _open(config: Config, device: str | None) -> _Opened:
    settings = told(config)
    name = f"{config.workspace}\0{settings.model_dump_json()}\0{device}"
    with _lock:
        if name not in _opened:
            engine, shaped_by, turn = _engine(settings, device)
            held = RequestCache(f"{config.workspace.rstrip('/')}/{CACHE}")
            endpoints = {} if settings.http is None else {asked.url: asked for asked in settings.http.endpoints}
            servers = getattr(engine, "usage", None)
            _opened[name] = _Opened(cached(engine, held), held, shaped_by, turn, endpoints, servers)
        return _opened[name]


def _engine(settings: VlmSettings, device: str | None) -> tuple[Engine, tuple[str, ...], threading.Lock | None]:
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
    said = settings.transformers.model_dump(exclude={"devices"})
    named = (*settings.transformers.devices, None)[0]
    made = TransformersEngine(Path(settings.model), device=device or named, **said)
    return made, made.shaped_by, threading.Lock()


# -- what a run has open ----------------------------------------------------------------------------------------------

_meters: dict[str, Meter] = {}
_processes: dict[str, Devices] = {}


def meter_of(workspace: str) -> Meter:
    """What is counted of the run in a workspace."""
    with _lock:
        return _meters.setdefault(workspace, Meter())


def _devices(config: Config, names: tuple[str, ...]) -> Devices:
    meter = meter_of(config.workspace)
    with _lock:
        if config.workspace not in _processes:
            _processes[config.workspace] = Devices(names, meter)
        return _processes[config.workspace]


def measure_memory(meter: Meter) -> None:
    """Let a meter hold what the GPUs of this process's engines hold."""
    with _lock:
        used = [memory(opened.engine.describe().get("device", "")) for opened in _opened.values()]
    meter.holds(memory=sum(held for held, _ in used), memory_total=sum(whole for _, whole in used))


def close_opened(workspace: str = "") -> list[dict[str, Any]]:
    """Seal the request caches opened in this process, of one workspace or all; what their engines were."""
    with _lock:
        opened = [_opened.pop(name) for name in list(_opened) if name.startswith(f"{workspace}\0" if workspace else "")]
    for held in opened:
        held.cache.close()
    return [{**held.engine.describe(), **held.usage()} for held in opened]


def close_teacher(workspace: str) -> dict[str, Any] | None:
    """End what a run has open of its teacher; what that came to, None where nothing was asked.

    Shards at work, as there are when a run is interrupted, end at their next answer; what has come is kept.
    """
    with _lock:
        meter, processes = _meters.pop(workspace, None), _processes.pop(workspace, None)
    if meter is not None:
        meter.ended.set()
    engines = close_opened(workspace) + (processes.close() if processes else [])
    if meter is None:
        return None
    totals = {name: round(value, 6) for name, value in meter.totals().items() if not name.startswith("memory")}
    return {"engines": engines, **totals}
