"""Whole builds with models: checkpoints of random weights in this process and behind a real server.

What such a model writes means nothing, so thresholds are 0 and only the accounts are looked at: every candidate is
there or has a reason, whatever came is never asked for again, and the record says what it came to.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from annotators.engines.cache import RequestCache
from corpus.store import Store
from flows.build import Outcome, begin_build, finish_build
from flows.execute import InProcess, rejections_of
from flows.plan import Build
from flows.teacher_steps import CACHE
from schemas.config import Config
from schemas.errors import GateError
from schemas.tables import DIMENSIONS
from tests.annotators.vlm.brief_checkpoints import brief_checkpoint
from tests.conftest import Quiet

torch = pytest.importorskip("torch")
CASES, CANDIDATES = 4, 2
#: Most tokens of an answer: those of the first are long enough for a release, the others are cut in the middle.
FAMILIES = {"qwen2_5_vl": 600, "llava": 150, "idefics3": 150}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small a model is slower with several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a family, built once."""
    built: dict[str, Path] = {}

    def made(family: str) -> Path:
        if family not in built:
            built[family] = brief_checkpoint(family, tmp_path_factory.mktemp("checkpoints") / family)
        return built[family]

    return made


@pytest.fixture
def config(drawn_sample: Path, config_for: Callable[..., Config]) -> Callable[..., Config]:
    def made(model: Path | str, **changes: Any) -> Config:
        made = config_for(drawn_sample, f"limit={CASES}", "gate.max_rejected_share=1")
        told = made.model_dump(mode="json")
        engine = {} if "http" in changes else {"transformers": {"devices": ["cpu"]}}
        vlm = {"model": str(model), "terms": "CC0-1.0", "temperature": 1.0, "top_p": 1.0, "max_tokens": 300,
               "blind_share": 0.5, "max_post_hoc": 99, "attempts": 2, **engine, **changes}  # fmt: skip
        told["propose"] |= {"teacher": "vlm", "candidates": CANDIDATES, "vlm": vlm}
        told["select"]["thresholds"] = dict.fromkeys((*DIMENSIONS, "aggregate"), 0)
        return Config.model_validate(told)

    return made


def proposed(config: Config) -> tuple[Build, dict[str, Any], Outcome | None]:
    """A build, what its record says of its teacher, and its release, where random texts gave something to publish."""
    with begin_build(Build(config, Store(config.workspace))) as begun:
        try:
            outcome = finish_build(begun, InProcess(), Quiet())
        except GateError as error:
            assert re.search("there is no narrative|the release would be empty", str(error))
            outcome = None
    [*_, last] = sorted(Path(config.workspace).glob("runs/*/run.json"), key=lambda file: file.stat().st_mtime)
    return begun.build, json.loads(last.read_text()).get("teacher", {}), outcome


def check_accounts(build: Build, came_to: dict[str, Any]) -> Counter[str]:
    """Every candidate of every case is there or has one reason, and tokens are those of the cache."""
    cases = build.table("split", "cases").filter(pl.col("node_id").is_not_null())
    rows = build.rows("propose")
    lost = rejections_of(build.outputs["propose"], build.store)
    narratives = lost.filter(pl.col("record_kind") == "narrative")
    assert rows.height + narratives.height == CANDIDATES * cases.height
    assert not set(rows["narrative_id"]) & set(narratives["record_id"])
    tried = set(lost.filter(pl.col("record_kind") == "attempt")["record_id"])
    assert len(tried) == lost.filter(pl.col("record_kind") == "attempt").height
    with RequestCache(f"{build.config.workspace}/{CACHE}") as cache:
        assert len(cache) == came_to["answered"] > 0
    assert came_to["completion_tokens"] > 0
    return Counter(narratives["rule"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_in_process_teaches_a_build(
    family: str, checkpoint: Callable[[str], Path], config: Callable[..., Config]
) -> None:
    told = config(checkpoint(family), max_tokens=FAMILIES[family], blind_share=0.0)
    build, came_to, outcome = proposed(told)
    assert (outcome is not None) == (family == "qwen2_5_vl")
    check_accounts(build, came_to)
    assert came_to["device_seconds"] > 0
    assert came_to["engines"][0]["device"] == "cpu"
    assert set(build.rows("propose")["author"]) <= {f"vlm:{family}"}
    _, again, _ = proposed(told)
    assert not again, "a second build asks nothing"


def test_several_devices_share_the_work(checkpoint: Callable[[str], Path], config: Callable[..., Config]) -> None:
    one = config(checkpoint("llava"), temperature=0.0, max_tokens=100)
    build, _, _ = proposed(one)
    reference = build.rows("propose").select("narrative_id", "completion")
    lost = rejections_of(build.outputs["propose"], build.store)
    several = one.model_copy(update={
        "workspace": f"{one.workspace}-2", "releases": f"{one.releases}-2",
        "propose": one.propose.model_copy(update={"vlm": one.propose.vlm.model_copy(update={  # type: ignore[union-attr]
            "transformers": one.propose.vlm.transformers.model_copy(update={"devices": ("cpu", "cpu:0")})})}),  # type: ignore[union-attr]
        "execution": one.execution.model_copy(update={"rows_per_shard": 2}),
    })  # fmt: skip
    build, came_to, _ = proposed(several)
    check_accounts(build, came_to)
    assert {engine["device"] for engine in came_to["engines"]} == {"cpu", "cpu:0"}
    assert build.rows("propose").select("narrative_id", "completion").equals(reference)
    assert rejections_of(build.outputs["propose"], build.store).sort(pl.all()).equals(lost.sort(pl.all()))


@pytest.fixture(scope="module")
def served(checkpoint: Callable[[str], Path]) -> Iterator[tuple[str, Path]]:
    """A real chat server with such a model: the one that comes with transformers."""
    model = checkpoint("llava")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(model), "--host", "127.0.0.1", "--port",
               str(port), "--device", "cpu"]  # fmt: skip
    server = subprocess.Popen(
        command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, "the server ended"
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1", model
    finally:
        server.terminate()
        server.wait()


def test_a_server_that_ignores_schemas_teaches_a_build(served: tuple[str, Path], config: Callable[..., Config]) -> None:
    url, model = served
    endpoint = {"url": url, "model": str(model), "max_in_flight": 2}
    told = config("m", http={"endpoints": [endpoint]}, max_tokens=120)
    build, came_to, _ = proposed(told)
    lost = check_accounts(build, came_to)
    assert set(lost) <= {"invalid_json", "truncated", "empty"}, "words at random are no observation"
    assert came_to["engines"][0]["endpoints"][0]["own"] is True
