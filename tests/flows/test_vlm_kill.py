"""SIGKILL while a teacher is asked: the next run asks for nothing that was kept, and the release is the same.

The seed is printed; ``DERMCOT_KILL_SEED`` repeats it. ``make soak`` kills more often, and builds with a model in
process too; the tests of that engine kill it by itself.
"""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from schemas.tables import DIMENSIONS
from tests.annotators.vlm.brief_checkpoints import brief_checkpoint
from tests.annotators.vlm.chat_server import chat_server, honest
from tests.conftest import write_config
from tests.flows.test_kill import COMMAND, PLAIN, dice, finish, start, tree

IN_FLIGHT = 4


def slow(step: str, image: str, body: dict[str, Any]) -> str:
    time.sleep(0.01)
    return honest(step, image, body)


def config(folder: Path, sample: Path, cases: int, **vlm: Any) -> Path:
    """A configuration with a workspace of its own."""
    folder.mkdir()
    file = write_config(folder / "config.yaml", sample, limit=cases)
    told = yaml.safe_load(file.read_text())
    told["propose"] = {"teacher": "vlm", "vlm": {"terms": "CC0-1.0", "blind_share": 0.0, **vlm}, "candidates": 2}
    told["gate"] = {"max_rejected_share": 1}
    told["select"] = {"thresholds": dict.fromkeys((*DIMENSIONS, "aggregate"), 0)}
    file.write_text(yaml.safe_dump(told))
    return file


def served(url: str) -> dict[str, Any]:
    endpoint = {"url": url, "max_in_flight": IN_FLIGHT}
    return {"model": "m", "http": {"endpoints": [endpoint], "max_attempts": 2, "backoff_seconds": 0.01}}


def killed_after(file: Path, count: Callable[[], int], more: int, pause: float) -> bool:
    """SIGKILL once ``count`` has grown so much, and a moment later; whether it was still running."""
    process, goal = start(PLAIN, file), count() + more
    while count() < goal and process.poll() is None:
        time.sleep(0.002)
    time.sleep(pause)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return running


def kill_rounds(tmp_path: Path, sample: Path, rounds: int, cases: int) -> None:
    chance = dice()
    with chat_server(slow) as server:
        reference, _ = finish(PLAIN, config(tmp_path / "undisturbed", sample, cases, **served(server.url)))
        wanted = Counter(server.log)
        server.log.clear()
        file, kills = config(tmp_path / "killed", sample, cases, **served(server.url)), 0
        for _ in range(rounds):
            kills += killed_after(
                file, lambda: len(server.log), chance.randrange(1, len(wanted) // rounds), chance.uniform(0, 0.03)
            )
        result, _ = finish(PLAIN, file)
        asked = Counter(server.log)
    repeats = asked.total() - wanted.total()
    print(f"{kills} kills, {wanted.total()} requests, {repeats} repeats")
    assert set(asked) == set(wanted) and kills >= min(rounds, 1)
    assert repeats <= kills * IN_FLIGHT
    assert tree(result) == tree(reference)


def test_a_killed_build_asks_for_nothing_twice(tmp_path: Path, drawn_sample: Path) -> None:
    kill_rounds(tmp_path, drawn_sample, rounds=3, cases=40)


@pytest.mark.soak
def test_a_build_killed_many_times_asks_for_nothing_twice(tmp_path: Path, drawn_sample: Path) -> None:
    kill_rounds(tmp_path, drawn_sample, rounds=30, cases=200)


def test_an_interrupted_run_stops_asking_and_says_so(tmp_path: Path, drawn_sample: Path) -> None:
    def unhurried(step: str, image: str, body: dict[str, Any]) -> str:
        time.sleep(0.2)
        return honest(step, image, body)

    with chat_server(unhurried) as server:
        file = config(tmp_path / "interrupted", drawn_sample, 40, **served(server.url))
        process = start(COMMAND, file)
        while len(server.log) < 2 * IN_FLIGHT and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130 and "Stopped. Nothing committed is lost" in said
    assert "FutureWarning" not in said, "what is told of progress belongs to the run"
    assert len(server.log) < 40, "one shard has more than a hundred requests left, and they are not asked"


def narratives(release: Path) -> pl.DataFrame:
    told = pl.read_parquet(release / "candidates.parquet").select("narrative_id", "outcome")
    return told.sort("narrative_id")


def kept_bytes(workspace: Path) -> int:
    return sum(file.stat().st_size for file in (workspace / "requests").rglob("*") if file.is_file())


def kill_rounds_in_process(tmp_path: Path, sample: Path, rounds: int, cases: int) -> None:
    chance = dice()
    model = brief_checkpoint("qwen2_5_vl", tmp_path / "model")
    vlm = {"model": str(model), "transformers": {"devices": ["cpu"]}, "max_tokens": 500, "max_post_hoc": 99,
           "temperature": 1.0, "top_p": 1.0}  # fmt: skip
    reference, _ = finish(PLAIN, config(tmp_path / "undisturbed", sample, cases, **vlm))
    whole = kept_bytes(tmp_path / "undisturbed/workspace")
    file, kills, kept = config(tmp_path / "killed", sample, cases, **vlm), 0, [0]
    for _ in range(rounds):
        grown = chance.randrange(1, whole // (2 * rounds))
        kills += killed_after(file, lambda: kept_bytes(tmp_path / "killed/workspace"), grown, chance.uniform(0, 0.3))
        kept.append(kept_bytes(tmp_path / "killed/workspace"))
    result, _ = finish(PLAIN, file)
    [*_, last] = sorted((tmp_path / "killed/workspace/runs").glob("*/run.json"), key=lambda run: run.stat().st_mtime)
    asked = json.loads(last.read_text()).get("teacher", {}).get("answered", 0)
    print(f"{kills} kills, {kept[-1]:,} of {whole:,} bytes kept before the last run, then {asked:.0f} answers more")
    assert kills >= min(rounds, 1) and kept == sorted(kept), "what is kept stays kept"
    assert narratives(result).height > 0
    assert narratives(result).equals(narratives(reference))


@pytest.mark.soak
def test_a_build_with_a_model_in_process_is_killed_many_times(tmp_path: Path, drawn_sample: Path) -> None:
    pytest.importorskip("torch")
    kill_rounds_in_process(tmp_path, drawn_sample, rounds=30, cases=24)
