"""Label Studio's own virtual environment: made once, found again, and thrown away when its making was interrupted.

Its hundred and sixty packages disagree with ours about several versions, so it never shares an environment with this
project. The marker that makes an environment count is written last.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path

from corpus import child_process
from corpus.digests import digest_of
from schemas.errors import UserError

VERSION = "1.23.2"
PACKAGE = f"label-studio=={VERSION}"
MARKER = "dermcot-installed"

_CONSTRAINTS = files("annotators.label_studio") / "server_constraints.txt"
_LAUNCH = files("annotators.label_studio") / "launch.py"


def installed(folder: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of the environment at ``folder`` that has Label Studio; the environment is made if need be.

    ``say`` is told what is going on. UserError when the installation fails or ``folder`` holds something else.
    """
    python = folder / "bin" / "python"
    marker = folder / MARKER
    if python.exists() and marker.is_file() and marker.read_text(encoding="utf-8") == _wanted():
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    with only_one(folder.with_name(f"{folder.name}.lock"), f"another process is installing Label Studio in {folder}"):
        _throw_away(folder)
        log = folder.with_name(f"{folder.name}.log")
        log.unlink(missing_ok=True)
        make = child_command(Path(sys.executable), "venv", [str(folder)])
        _run(make, log, say, "making an environment for Label Studio")
        with as_file(_CONSTRAINTS) as constraints:
            what = ["install", "--disable-pip-version-check", "-c", str(constraints), PACKAGE]
            _run(child_command(python, "pip", what), log, say, f"installing Label Studio {VERSION} (1 GB)")
        marker.write_text(_wanted(), encoding="utf-8")
    return python


def child_command(python: Path, module: str, arguments: Sequence[str]) -> list[str]:
    """The command that runs ``module`` with ``python`` for as long as this process lives; see :mod:`launch`."""
    parts = [python, "-I", "-u", _LAUNCH, os.getpid(), child_process.__file__, module, *arguments]
    return [str(part) for part in parts]


@contextmanager
def only_one(lock: Path, sentence: str) -> Iterator[None]:
    """Hold a file that one process at a time can hold; :class:`UserError` with ``sentence`` when another has it."""
    import fcntl

    with lock.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{sentence}: wait for it to end, or name another folder with --folder") from error
        yield


def _wanted() -> str:
    """What the marker of a usable environment says."""
    return digest_of(VERSION, _CONSTRAINTS.read_text(encoding="utf-8"), sys.version_info[:2])


def _throw_away(folder: Path) -> None:
    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file() and not (folder / "bin").is_dir():
        raise UserError(f"{folder} holds something that is not a Python environment: name another folder with --folder")
    with suppress(FileNotFoundError):
        (folder / MARKER).unlink()  # first, so that a kill from here on leaves nothing that counts
    shutil.rmtree(folder)


def _run(command: list[str], log: Path, say: Callable[[str], None], what: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=environment,
            start_new_session=True,
        )  # fmt: skip
    started = time.monotonic()
    try:
        while child.poll() is None:
            say(f"{what}: {time.monotonic() - started:.0f} s")
            with suppress(subprocess.TimeoutExpired):
                child.wait(1)
    finally:
        child.kill()
        child.wait()
    if child.returncode:
        raise UserError(
            f"{what.partition(' (')[0]} failed with status {child.returncode}: see {log}, check that pip reaches a "
            "package index and that the disk has 1 GB free, and run the same command again"
        )
