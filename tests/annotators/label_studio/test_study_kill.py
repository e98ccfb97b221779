"""SIGKILL at random times, of our process or of the server: pushed and pulled again, everything is there once.

The seed is printed; ``DERMCOT_KILL_SEED`` repeats it. ``make soak`` runs many more and larger rounds of the same.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import psutil
import pytest

from annotators.label_studio.ledger import Ledger
from annotators.label_studio.listing import keys_of
from annotators.label_studio.server import Server, running_server
from annotators.label_studio.session import opened
from annotators.label_studio.study import server_digest
from flows.annotation import pull_study
from tests.annotators.label_studio.conftest import copied
from tests.annotators.label_studio.study_parts import import_answered, ledger_in, panel, sign_up
from tests.annotators.label_studio.study_target import MARK, settings_in
from tests.conftest import REPOSITORY


class Crashing:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder, self._environment, self._stack = folder, environment, ExitStack()
        self.server: Server = self._stack.enter_context(running_server(folder, environment=environment))

    def kill(self) -> None:
        """SIGKILL, and start again."""
        port = int(self.server.url.rpartition(":")[2])
        for child in psutil.Process().children():
            if any("label_studio" in part for part in child.cmdline()) and child.cwd() == str(self.folder):
                child.kill()
        self._stack.close()
        self.server = self._stack.enter_context(running_server(self.folder, port=port, environment=self._environment))

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def crashing(template: Path, environment: Path, tmp_path: Path) -> Iterator[Crashing]:
    crashing = Crashing(copied(template, tmp_path / "studio").resolve(), environment)
    sign_up(crashing.server, panel(2, MARK).values())
    yield crashing
    crashing.close()


def dice() -> random.Random:
    seed = int(os.environ.get("DERMCOT_KILL_SEED", random.SystemRandom().randrange(2**32)))
    print(f"DERMCOT_KILL_SEED={seed}")
    return random.Random(seed)


def start(what: str, server: Server, folder: Path, cases: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.annotators.label_studio.study_target", what]
    return subprocess.Popen(
        [*command, server.url, server.token, str(folder), str(cases)], cwd=REPOSITORY, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(what: str, server: Server, folder: Path, cases: int) -> float:
    begun = time.monotonic()
    process = start(what, server, folder, cases)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return time.monotonic() - begun


def disturb(what: str, crashing: Crashing, folder: Path, cases: int, seconds: float, *, server: bool) -> bool:
    """Start, wait, kill our process or the server; whether our process was still at work then."""
    process = start(what, crashing.server, folder, cases)
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        if server:
            crashing.kill()
            _, errors = process.communicate(timeout=600)
            assert process.returncode == 0 or errors.startswith("Error: nothing answers at"), errors
        else:
            process.kill()
            process.communicate()
        return True


def once_each(crashing: Crashing, ledger: Ledger, cases: int) -> None:
    assignments = ledger.assignments()
    first = assignments.filter(pl.col("occasion") == "first")
    assert first.group_by("narrative_id").len()["len"].to_list() == [2] * cases
    assert not assignments["key"].is_duplicated().any()
    records = ledger.projects()
    assert len(records) == 2
    with opened(crashing.server.url, crashing.server.token) as session:
        assert session.get("api/projects", include="id")["count"] == 2
        for record in records:
            there = keys_of(session, record.project_id)
            assert sorted(there) == sorted(assignments.filter(pl.col("rater") == record.rater)["key"])
            assert all(len(numbers) == 1 for numbers in there.values())


def push_rounds(crashing: Crashing, tmp_path: Path, rounds: int, step: int, *, server: bool) -> None:
    """Every round has more cases; it is disturbed, pushed to its end, and looked at."""
    roll = dice()
    seconds, struck, cases = finish("push", crashing.server, tmp_path, step), 0, step
    for _ in range(rounds):
        cases += step
        struck += disturb("push", crashing, tmp_path, cases, roll.uniform(0.3, 1.0) * seconds, server=server)
        seconds = (seconds + finish("push", crashing.server, tmp_path, cases)) / 2
        once_each(crashing, ledger_in(tmp_path), cases)
    print(f"{struck} of {rounds} rounds were struck; {cases} cases in the end")
    assert struck


def pull_rounds(crashing: Crashing, tmp_path: Path, rounds: int, cases: int, each: int, *, server: bool) -> None:
    """Every round pulls everything anew into a ledger that has nothing yet; it is disturbed and pulled to its end."""
    roll = dice()
    finish("push", crashing.server, tmp_path, cases)
    ledger = ledger_in(tmp_path)
    name = server_digest(settings_in(tmp_path, crashing.server.url))
    accounts = {rater: number for number, rater in ledger.accounts(name, {}).items()}
    with opened(crashing.server.url, crashing.server.token) as session:
        import_answered(session, ledger, name, accounts, each)
    seconds = finish("pull", crashing.server, tmp_path, cases)
    expected = ledger.snapshot()
    assert expected is not None
    assert expected[0].height == each * ledger.assignments().height
    struck = 0
    for _ in range(rounds):
        for place in ("raw", "snapshots", "quarantine", "LATEST"):
            ledger.folder.delete(place)
        struck += disturb("pull", crashing, tmp_path, cases, roll.uniform(0.3, 1.0) * seconds, server=server)
        finish("pull", crashing.server, tmp_path, cases)
        told = ledger.snapshot()
        assert told is not None
        assert told[0].equals(expected[0])
        assert len(ledger.folder.names("snapshots")) == 1
        with opened(crashing.server.url, crashing.server.token) as session:
            again = pull_study(session, ledger, name, panel(2, MARK))
        assert again.annotations.equals(expected[0])
        assert sum(told.new for told in again.fetched) == 0
    print(f"{struck} of {rounds} rounds were struck; {expected[0].height} annotations")
    assert struck


@pytest.mark.parametrize("server", [False, True], ids=["our process", "the server"])
def test_killed_while_pushing_the_next_push_brings_every_case_exactly_once(
    crashing: Crashing, tmp_path: Path, server: bool
) -> None:
    push_rounds(crashing, tmp_path, 3, 150, server=server)


@pytest.mark.parametrize("server", [False, True], ids=["our process", "the server"])
def test_killed_while_pulling_the_next_pull_loses_and_doubles_nothing(
    crashing: Crashing, tmp_path: Path, server: bool
) -> None:
    pull_rounds(crashing, tmp_path, 3, 150, 2, server=server)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("server", [False, True], ids=["our process", "the server"])
def test_killed_while_pushing_many_rounds(crashing: Crashing, tmp_path: Path, server: bool) -> None:
    push_rounds(crashing, tmp_path, 20, 150, server=server)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("server", [False, True], ids=["our process", "the server"])
def test_killed_while_pulling_many_rounds(crashing: Crashing, tmp_path: Path, server: bool) -> None:
    pull_rounds(crashing, tmp_path, 20, 1_500, 2, server=server)
