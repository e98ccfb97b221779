"""SIGKILL at random times: nothing that was kept is lost or asked again, and the results are an undisturbed run's.

The seed is printed; ``DERMCOT_KILL_SEED`` repeats it. ``make soak`` runs many more rounds of the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from annotators.engines.cache import RequestCache
from tests.annotators.engines.kill_target import IN_FLIGHT, requests
from tests.annotators.engines.scripted_server import ScriptedServer, scripted_server
from tests.conftest import REPOSITORY


def start(*arguments: object, **how: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.annotators.engines.kill_target", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, text=True, **how)  # type: ignore[call-overload,no-any-return]


def drawn(name: str) -> random.Random:
    seed = int(os.environ.get("DERMCOT_KILL_SEED", random.randrange(2**32)))
    print(f"{name}: DERMCOT_KILL_SEED={seed}")
    return random.Random(seed)


def killed_after(process: subprocess.Popen[str], server: ScriptedServer, n_requests: int, pause: float) -> bool:
    """SIGKILL once the server was asked that often, and a moment later; whether it was still running."""
    goal = len(server.log) + n_requests
    while len(server.log) < goal and process.poll() is None:
        time.sleep(0.002)
    time.sleep(pause)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return running


def kill_rounds(tmp_path: Path, rounds: int, cases: int) -> None:
    chance = drawn("engine")
    with scripted_server() as server:
        assert start("generate", server.url, tmp_path / "reference", tmp_path / "reference.json", cases).wait() == 0
    with scripted_server() as server:
        folder, out, kills = tmp_path / "completions", tmp_path / "out.json", 0
        known: set[str] = set()
        case_of = {r.key: re.split("[ :]", r.messages[-1].text)[1] for r in requests(cases)}
        while kills < rounds:
            begun = len(server.log)
            process = start("generate", server.url, folder, out, cases)
            kills += killed_after(process, server, chance.randrange(1, cases // rounds + 1), chance.uniform(0, 0.03))
            asked = {entry.case for entry in server.log[begun:]}
            assert not asked & {case_of[key] for key in known}, "what was kept was asked again"
            with RequestCache(folder) as cache:
                known = {key for key in case_of if cache.get(key) is not None}
                assert cache.report.damaged == 0
            if len(known) == len(case_of):
                break
        begun = len(server.log)
        assert start("generate", server.url, folder, out, cases).wait() == 0
        assert not {entry.case for entry in server.log[begun:]} & {case_of[key] for key in known}
        times = server.times()
        n_answers = sum(n - (int(case[1:]) % 10 == 3) for case, n in times.items())
    reference, result = (json.loads((tmp_path / name).read_text()) for name in ("reference.json", "out.json"))
    hosts = re.compile(r"127\.0\.0\.1:\d+")
    plain = [{key: hosts.sub("", text) for key, text in told.items()} for told in (reference, result)]
    assert plain[0] == plain[1] and set(result) == set(case_of)
    print(f"{kills} kills, {len(known)} of {len(case_of)} kept before the last run, {n_answers - len(case_of)} repeats")
    assert kills >= min(rounds, 1) and n_answers - len(case_of) <= kills * IN_FLIGHT


def test_a_killed_run_pays_for_nothing_twice(tmp_path: Path) -> None:
    kill_rounds(tmp_path, rounds=3, cases=120)


@pytest.mark.soak
def test_a_run_killed_many_times_pays_for_nothing_twice(tmp_path: Path) -> None:
    kill_rounds(tmp_path, rounds=40, cases=1500)


def write_rounds(tmp_path: Path, rounds: int) -> None:
    chance = drawn("cache")
    folder, told = tmp_path / "completions", 0
    for _ in range(rounds):
        process = start("write", folder, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")[:-1]
        process.wait()
        told = max([told, *(int(n) + 1 for n in rest if n)])
        with RequestCache(folder) as cache:
            for n in range(told):
                kept = cache.get(hashlib.sha256(str(n).encode()).hexdigest())
                assert kept is not None and kept.text == "text " * (n % 400) and kept.prompt_tokens == n
            assert cache.report.damaged == 0
    print(f"{told} records reported kept over {rounds} kills, all there")


def test_a_record_that_was_reported_kept_survives_a_kill(tmp_path: Path) -> None:
    write_rounds(tmp_path, 3)


@pytest.mark.soak
def test_records_that_were_reported_kept_survive_many_kills(tmp_path: Path) -> None:
    write_rounds(tmp_path, 60)
