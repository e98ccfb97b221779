"""SIGKILL while a model writes: what was kept is there, nothing kept is asked again, and the texts are the same.

The seed is printed; ``DERMCOT_KILL_SEED`` repeats it. ``make soak`` kills more often.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from annotators.engines.cache import RequestCache
from tests.annotators.engines.tiny_checkpoints import build
from tests.annotators.engines.transformers_kill_target import requests
from tests.conftest import REPOSITORY

pytest.importorskip("torch")


class Lives:
    """A process that lives again whenever it was killed."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "tests.annotators.engines.transformers_kill_target", *map(str, arguments)]
        self._process = subprocess.Popen(
            command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def live(self, name: str, most_kept: int | None = None) -> int:
        """How many answers a life kept; it is killed the moment it has kept ``most_kept``."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        life, kept = int(self._process.stdout.readline()), 0
        for line in self._process.stdout:
            kept += line == "kept\n"
            if kept == most_kept:
                os.kill(life, signal.SIGKILL)
                most_kept = None
            if line == "over\n":
                break
        return kept

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait() == 0


def kill_rounds(tmp_path: Path, rounds: int, cases: int) -> None:
    seed = int(os.environ.get("DERMCOT_KILL_SEED", random.randrange(2**32)))
    print(f"transformers: DERMCOT_KILL_SEED={seed}")
    chance = random.Random(seed)
    checkpoint = build("qwen3_vl", tmp_path / "checkpoint")
    lives, n_kept, kills = Lives(checkpoint, tmp_path, cases), 0, 0
    assert lives.live("whole") == cases
    while kills < rounds:
        n_kept += lives.live("killed", chance.randint(1, max(1, 2 * cases // (3 * rounds))))
        kills += 1
        with RequestCache(tmp_path / "killed") as cache:
            assert len(cache) >= n_kept and cache.report.damaged == 0
            n_kept = len(cache)  # one more may have been kept than was said
        assert n_kept < cases and not (tmp_path / "killed.json").exists()
    assert lives.live("killed") == cases - n_kept  # nothing that was kept is asked again
    lives.end()
    whole, killed = (json.loads((tmp_path / name).read_text()) for name in ("whole.json", "killed.json"))
    assert set(killed) == {request.key for request in requests(cases)}
    assert killed == whole
    print(f"{kills} kills, {n_kept} of {cases} answers kept before the last life")


def test_a_killed_run_goes_on_to_the_same_texts(tmp_path: Path) -> None:
    kill_rounds(tmp_path, rounds=3, cases=24)


@pytest.mark.soak
def test_processes_share_the_work_and_the_cache(tmp_path: Path) -> None:
    checkpoint, n_cases = build("qwen3_vl", tmp_path / "checkpoint"), 40
    lives = [Lives(checkpoint, tmp_path, n_cases) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        kept = list(pool.map(lambda nth: lives[nth].live(f"shared {nth} 2"), range(2)))
    assert sum(kept) == n_cases and min(kept) > 5
    assert lives[0].live("shared") == 0  # everything is in the cache that both wrote to
    assert lives[1].live("alone") == n_cases
    for process in lives:
        process.end()
    parts, shared, alone = (
        [json.loads((tmp_path / f"{name}.json").read_text()) for name in names]
        for names in (["shared-0", "shared-1"], ["shared"], ["alone"])
    )
    assert parts[0] | parts[1] == shared[0] == alone[0] and not set(parts[0]) & set(parts[1])


@pytest.mark.soak
def test_a_run_killed_many_times_goes_on_to_the_same_texts(tmp_path: Path) -> None:
    kill_rounds(tmp_path, rounds=40, cases=160)
