"""SIGKILL at uniformly random times: the next run finishes, and the release is byte-identical to an undisturbed one.

The seed is printed; ``DERMCOT_KILL_SEED`` repeats it. ``make soak`` runs many more rounds of the same.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPOSITORY, write_config

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
#: Names the folder of a run in the environment of everything that the run starts.
MARK = "DERMCOT_TEST_FOLDER"
PLAIN = [sys.executable, "-m", "tests.flows.kill_target"]
COMMAND = [sys.executable, "-m", "flows", "run", "-c"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def start(command: list[str], config: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, str(config)], cwd=REPOSITORY, text=True,
        env={**ENVIRONMENT, MARK: str(config.parent)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(command: list[str], config: Path) -> tuple[Path, float]:
    """Run to the end; returns the release's directory (the last line printed) and the seconds it took."""
    begun = time.monotonic()
    process = start(command, config)
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return Path(out.strip().splitlines()[-1]), time.monotonic() - begun


def kill_after(command: list[str], config: Path, seconds: float) -> bool:
    """Start, wait, SIGKILL; whether it was still running."""
    process = start(command, config)
    try:
        process.communicate(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return True


def dice() -> random.Random:
    seed = int(os.environ.get("DERMCOT_KILL_SEED", random.SystemRandom().randrange(2**32)))
    print(f"DERMCOT_KILL_SEED={seed}")
    return random.Random(seed)


def children_left(folder: Path, command: str = "") -> list[int]:
    """Processes that a run below this folder started, itself among them: its gates' process, who makes a database for
    its record, their helpers; those whose ``command`` line holds that word."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            is_meant = any(command in word for word in process.info["cmdline"] or [""])
            home = process.environ().get(MARK, "")
            found += [process.pid] if home.startswith(str(folder)) and is_meant else []
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def kill_rounds(sample: Path, tmp_path: Path, rounds: int, kills: int) -> None:
    roll = dice()
    (tmp_path / "undisturbed").mkdir()
    expected, duration = finish(PLAIN, write_config(tmp_path / "undisturbed/config.yaml", sample))
    killed = 0
    for number in range(rounds):
        folder = tmp_path / f"round-{number}"
        folder.mkdir()
        config = write_config(folder / "config.yaml", sample)
        times = [roll.uniform(0, duration) for _ in range(kills)]
        for seconds in times:
            killed += kill_after(PLAIN, config, seconds)
            for release in (folder / "releases").glob("dermcot-*/manifest.json"):
                assert tree(release.parent) == tree(expected), f"a release exists after a kill at {seconds:.2f} s"
        path, _ = finish(PLAIN, config)
        assert path.name == "dermcot-0.1.0"
        assert tree(path) == tree(expected), f"differs after kills at {times}"
        assert not list((folder / "workspace").rglob("*.tmp"))
        assert not list((folder / "workspace/tmp").glob("*"))
    assert killed > 0


def test_killed_anywhere_the_next_run_finishes_byte_identical(drawn_sample: Path, tmp_path: Path) -> None:
    kill_rounds(drawn_sample, tmp_path, rounds=3, kills=2)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_anywhere_many_rounds(drawn_sample: Path, tmp_path: Path) -> None:
    kill_rounds(drawn_sample, tmp_path, rounds=40, kills=2)


def kill_the_command(sample: Path, tmp_path: Path, kills: int) -> None:
    roll = dice()
    (tmp_path / "undisturbed").mkdir()
    expected, duration = finish(COMMAND, write_config(tmp_path / "undisturbed/config.yaml", sample))
    folder = tmp_path / "disturbed"
    folder.mkdir()
    config = write_config(folder / "config.yaml", sample)
    for _ in range(kills):
        kill_after(COMMAND, config, roll.uniform(0, duration))
    path, _ = finish(COMMAND, config)
    assert tree(path) == tree(expected)
    deadline = time.monotonic() + 10
    while (left := children_left(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def test_the_killed_command_leaves_no_process_behind(drawn_sample: Path, tmp_path: Path) -> None:
    kill_the_command(drawn_sample, tmp_path, kills=3)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_twenty_kills_and_one_finished_run_leave_no_process_behind(drawn_sample: Path, tmp_path: Path) -> None:
    kill_the_command(drawn_sample, tmp_path, kills=20)


@pytest.mark.parametrize("beside", ["multiprocessing", "flows.record_database"])
def test_what_goes_on_beside_a_run_dies_with_it(
    drawn_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "XDG_CACHE_HOME", str(tmp_path / "cache"))  # so that a database has to be made
    process = start(COMMAND, write_config(tmp_path / "config.yaml", drawn_sample))
    try:
        deadline = time.monotonic() + 120
        while not children_left(tmp_path, beside):
            assert process.poll() is None
            assert time.monotonic() < deadline, f"{beside} was not begun"
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 10
    while children_left(tmp_path):
        assert time.monotonic() < deadline, "the gates' process, or who makes a database, outlived its run"
        time.sleep(0.1)


def test_killed_while_drawing_no_worker_is_left_and_the_next_try_draws_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows", "sample", str(tmp_path / "sample"), "--images", "60"]
    marked = {**ENVIRONMENT, MARK: str(tmp_path)}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=marked, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "sample").rglob("*.jpg")):
        assert process.poll() is None
        assert time.monotonic() < deadline, "nothing was drawn"
        time.sleep(0.05)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while children_left(tmp_path):
        assert time.monotonic() < deadline, "a drawing process outlived the command"
        time.sleep(0.1)
    assert not (tmp_path / "sample/sample.json").exists()
    subprocess.run(command, cwd=REPOSITORY, env=marked, check=True, capture_output=True)
    assert (tmp_path / "sample/sample.json").is_file()
