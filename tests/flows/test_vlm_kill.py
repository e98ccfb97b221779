"""SIGKILL while a teacher is asked: the next run asks for nothing that was kept, and the release is the same.

The seed is printed; ``DERMCOT_KILL_SEED`` repeats it. ``make soak`` kills more often.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.annotators.vlm.chat_server import ChatServer, chat_server, honest
from tests.conftest import write_config
from tests.flows.test_kill import PLAIN, dice, finish, start, tree

IN_FLIGHT = 4


def slow(step: str, image: str, body: dict[str, Any]) -> str:
    time.sleep(0.01)
    return honest(step, image, body)


def config(folder: Path, sample: Path, cases: int, url: str) -> Path:
    """A configuration with a workspace of its own."""
    folder.mkdir()
    file = write_config(folder / "config.yaml", sample, limit=cases)
    told = yaml.safe_load(file.read_text())
    http = {"endpoints": [{"url": url, "max_in_flight": IN_FLIGHT}], "max_attempts": 2, "backoff_seconds": 0.01}
    vlm = {"http": http, "model": "m", "terms": "CC0-1.0", "blind_share": 0.0}
    told["propose"] = {"teacher": "vlm", "vlm": vlm, "candidates": 2}
    told["gate"] = {"max_rejected_share": 1}
    file.write_text(yaml.safe_dump(told))
    return file


def killed_after(file: Path, server: ChatServer, answers: int, pause: float) -> bool:
    """SIGKILL once the server was asked so often, and a moment later; whether it was still running."""
    process, goal = start(PLAIN, file), len(server.log) + answers
    while len(server.log) < goal and process.poll() is None:
        time.sleep(0.002)
    time.sleep(pause)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return running


def kill_rounds(tmp_path: Path, sample: Path, rounds: int, cases: int) -> None:
    chance = dice()
    with chat_server(slow) as server:
        reference, _ = finish(PLAIN, config(tmp_path / "undisturbed", sample, cases, server.url))
        wanted = Counter(server.log)
        server.log.clear()
        file, kills = config(tmp_path / "killed", sample, cases, server.url), 0
        for _ in range(rounds):
            kills += killed_after(file, server, chance.randrange(1, len(wanted) // rounds), chance.uniform(0, 0.03))
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
