"""SIGKILL at random times, of our process or of the server: pushed and pulled again, everything is there once.

The seed is printed; ``DERMCOT_KILL_SEED`` repeats it. ``make soak`` kills 20 times
each while 3,000 cases are pushed and 6,000 annotations and more are pulled.
"""

from __future__ import annotations

import os
import random
import shutil
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
from annotators.label_studio.push import Say
from annotators.label_studio.server import Server, running_server
from annotators.label_studio.session import opened
from annotators.label_studio.study import server_digest
from annotators.label_studio.tasks import IMAGES
from flows.annotation import Pulled, pull_study
from flows.cli import guarded
from schemas.tables import DIMENSIONS
from tests.annotators.label_studio.conftest import copied
from tests.annotators.label_studio.study_parts import import_answered, ledger_in, made_up, panel, sign_up
from tests.annotators.label_studio.study_target import AT_WORK, EXTRAS, MARK, settings_in
from tests.conftest import REPOSITORY


class Crashing:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder, self._environment, self._stack = folder, environment, ExitStack()
        self.server: Server = self._stack.enter_context(running_server(folder, environment=environment))

    def kill(self) -> None:
        """SIGKILL."""
        for child in psutil.Process().children():
            if any("label_studio" in part for part in child.cmdline()) and child.cwd() == str(self.folder):
                child.kill()
        self._stack.close()

    def start(self) -> None:
        """Start again, with the same data at the same address."""
        port = int(self.server.url.rpartition(":")[2])
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
    """The target, once it is at work or has ended."""
    command = [sys.executable, "-m", "tests.annotators.label_studio.study_target", what]
    process = subprocess.Popen(
        [*command, server.url, server.token, str(folder), str(cases)], cwd=REPOSITORY, text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() in (f"{AT_WORK}\n", "")
    return process


def ended(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether it ended in that time, well: done, or with one sentence about a server that does not answer."""
    try:
        _, errors = process.communicate(timeout=max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return False
    silent = errors.startswith("Error: ") and ("nothing answers at" in errors or "does not answer" in errors)
    assert process.returncode == 0 or (process.returncode == 2 and silent), errors
    return True


def finish(what: str, crashing: Crashing, folder: Path, cases: int) -> float:
    """Do the work to its end; seconds it took."""
    process = start(what, crashing.server, folder, cases)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    return time.monotonic() - begun


def disturb(what: str, crashing: Crashing, folder: Path, cases: int, moments: list[float], *, server: bool) -> int:
    """Do the work to its end, our process or the server being killed after so many seconds of it; how often it was."""
    struck, begun, process = 0, time.monotonic(), start(what, crashing.server, folder, cases)
    begun = time.monotonic()
    for moment in moments:
        if ended(process, begun + moment - time.monotonic()):
            break
        struck += 1
        killed = time.monotonic()
        if server:
            crashing.kill()
            crashing.start()
        else:
            process.kill()
            process.communicate()
            process = start(what, crashing.server, folder, cases)
        begun += time.monotonic() - killed
    assert ended(process, 1200)
    if process.returncode:
        finish(what, crashing, folder, cases)
    return struck


def moments_in(roll: random.Random, seconds: float, at_most: int) -> list[float]:
    """When to kill: one to four times, any moment as likely as any other."""
    return sorted(roll.uniform(0, seconds) for _ in range(min(at_most, roll.randint(1, 4))))


def once_each(crashing: Crashing, folder: Path, cases: int) -> None:
    """Every case is there for two raters, once, and its image is whole."""
    ledger = ledger_in(folder)
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
    images = dict(assignments.select("image_digest", "image").unique().iter_rows())
    payloads = made_up(cases, EXTRAS).payloads(images)
    root = Path(settings_in(folder, crashing.server.url).document_root)
    assert all((root / IMAGES / name).read_bytes() == payloads[digest] for digest, name in images.items())
    assert {path.name for path in (root / IMAGES).iterdir()} >= set(images.values())


def forget(crashing: Crashing, folder: Path) -> None:
    """Leave nothing of a push, here or there."""
    with opened(crashing.server.url, crashing.server.token) as session:
        for record in ledger_in(folder).projects():
            session.delete(f"api/projects/{record.project_id}")
    shutil.rmtree(folder / "workspace")
    shutil.rmtree(Path(settings_in(folder, crashing.server.url).document_root) / IMAGES)


def push_killed(crashing: Crashing, folder: Path, kills: int, cases: int, *, server: bool) -> None:
    """Push everything anew until there were so many kills, and look at the end of each push."""
    roll, begun = dice(), time.monotonic()
    seconds, struck, runs = finish("push", crashing, folder, cases), 0, 0
    once_each(crashing, folder, cases)
    for runs in range(1, 10 * kills):
        forget(crashing, folder)
        moments = moments_in(roll, seconds, kills - struck)
        struck += disturb("push", crashing, folder, cases, moments, server=server)
        once_each(crashing, folder, cases)
        print(f"{runs} pushes of {seconds:.1f} s, {struck} kills", flush=True)
        if struck == kills:
            break
    tasks = ledger_in(folder).assignments().height
    took = time.monotonic() - begun
    print(f"{struck} kills in {runs} pushes of {cases} cases ({tasks} tasks): each there once; {took:.0f} s in all")
    assert struck == kills


def answered(crashing: Crashing, folder: Path, cases: int) -> tuple[Ledger, str, list[tuple[object, ...]]]:
    """Push so many cases and answer all; the ledger, the server's name in it, and what was answered."""
    finish("push", crashing, folder, cases)
    ledger = ledger_in(folder)
    name = server_digest(settings_in(folder, crashing.server.url))
    accounts = {rater: number for number, rater in ledger.accounts(name, {}).items()}
    with opened(crashing.server.url, crashing.server.token) as session:
        given = import_answered(session, ledger, name, accounts, 1)
    assert len(given) == ledger.assignments().height
    return ledger, name, given


def exactly(ledger: Ledger, given: list[tuple[object, ...]]) -> None:
    """The snapshot holds what was given and nothing else, every annotation once."""
    told = ledger.snapshot()
    assert told is not None
    annotations, quarantine = told
    assert quarantine.height == 0
    assert not annotations.select("project_id", "server_annotation_id").is_duplicated().any()
    on = ["narrative_id", "planted", "rater", "occasion"]
    keyed = annotations.join(ledger.assignments().select("key", *on), on=on, nulls_equal=True, validate="m:1")
    assert sorted(keyed.select("key", *DIMENSIONS, "seconds").iter_rows()) == given
    assert annotations["is_latest"].sum() == len({key for key, *_ in given})


def pull_killed(crashing: Crashing, folder: Path, kills: int, cases: int, *, server: bool) -> None:
    """Pull everything anew until there were so many kills, and look at the end of each pull."""
    roll, begun = dice(), time.monotonic()
    ledger, name, given = answered(crashing, folder, cases)
    seconds, struck, runs = finish("pull", crashing, folder, cases), 0, 0
    exactly(ledger, given)
    for runs in range(1, 10 * kills):
        for place in ("raw", "snapshots", "quarantine", "LATEST", "readings"):
            ledger.folder.delete(place)
        moments = moments_in(roll, seconds, kills - struck)
        struck += disturb("pull", crashing, folder, cases, moments, server=server)
        exactly(ledger, given)
        assert len(ledger.folder.names("snapshots")) == 1
        print(f"{runs} pulls of {seconds:.1f} s, {struck} kills", flush=True)
        if struck == kills:
            break
    with opened(crashing.server.url, crashing.server.token) as session:
        again = pull_study(session, ledger, name, panel(2, MARK))
    assert sum(told.new for told in again.fetched) == 0
    exactly(ledger, given)
    took = time.monotonic() - begun
    print(f"{struck} kills in {runs} pulls of {len(given)} annotations: each there once; {took:.0f} s in all")
    assert struck == kills


WHAT = pytest.mark.parametrize("server", [False, True], ids=["our process", "the server"])


@WHAT
def test_killed_while_pushing_every_case_is_there_exactly_once(
    crashing: Crashing, tmp_path: Path, server: bool
) -> None:
    push_killed(crashing, tmp_path, 2, 150, server=server)


@WHAT
def test_killed_while_pulling_no_annotation_is_lost_or_doubled(
    crashing: Crashing, tmp_path: Path, server: bool
) -> None:
    pull_killed(crashing, tmp_path, 2, 150, server=server)


def test_a_server_that_stays_away_ends_the_pull_in_a_sentence_and_the_next_goes_on_from_there(
    crashing: Crashing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, name, given = answered(crashing, tmp_path, 20)
    raters = panel(2, MARK)

    def pull(say: Say) -> Pulled:
        with opened(crashing.server.url, crashing.server.token, 2) as session:
            return pull_study(session, ledger, name, raters, say)

    assert guarded(lambda: pull(lambda done, _: crashing.kill() if done == 1 else None)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Error: {crashing.server.url}/ does not answer (the connection broke): check that Label")
    assert said.endswith("and run the same command again; nothing is lost\n")
    assert ledger.snapshot() is None
    assert guarded(lambda: pull(lambda *_: None)) == 2
    assert capsys.readouterr().err.startswith("Error: nothing answers at ")
    crashing.start()
    pulled = pull(lambda *_: None)
    assert pulled.fetched[0].new == 0
    assert pulled.fetched[1].new > 0
    exactly(ledger, given)


@pytest.mark.soak
@pytest.mark.timeout(14_400)
@WHAT
def test_killed_twenty_times_while_pushing_three_thousand_cases(
    crashing: Crashing, tmp_path: Path, server: bool
) -> None:
    push_killed(crashing, tmp_path, 20, 3_000, server=server)


@pytest.mark.soak
@pytest.mark.timeout(14_400)
@WHAT
def test_killed_twenty_times_while_pulling_six_thousand_annotations(
    crashing: Crashing, tmp_path: Path, server: bool
) -> None:
    pull_killed(crashing, tmp_path, 20, 3_000, server=server)
