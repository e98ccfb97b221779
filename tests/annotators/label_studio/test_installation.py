"""The server's environment: reused, made again after a kill, never put over somebody else's files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from annotators.label_studio import installation
from annotators.label_studio.installation import MARKER, installed
from schemas.errors import UserError
from tests.conftest import REPOSITORY


def quiet(_: str) -> None: ...


def working_for(folder: Path) -> list[int]:
    needle = str(folder)
    return [p.pid for p in psutil.process_iter(["cmdline"]) if any(needle in part for part in p.info["cmdline"] or ())]


def test_a_killed_installation_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "environment"
    command = [sys.executable, "-m", "tests.annotators.label_studio.server_target", "-", str(folder)]
    installer = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert installer.stdout is not None
    for line in installer.stdout:
        if line.startswith("installing Label Studio") and not line.rstrip().endswith(" 0 s"):
            break
    assert (folder / "bin" / "python").exists()
    with pytest.raises(UserError, match="another process is installing"):
        installed(folder, quiet)
    installer.kill()
    installer.wait()
    deadline = time.monotonic() + 10
    while working_for(folder):
        assert time.monotonic() < deadline, "pip goes on without who started it"
        time.sleep(0.1)
    assert not (folder / MARKER).exists()
    (folder / "half-made").touch()

    monkeypatch.setattr(installation, "PACKAGE", "idna")  # small, and among the constraints
    said: list[str] = []
    python = installed(folder, said.append)
    assert subprocess.run([str(python), "-c", "import idna"], check=False).returncode == 0
    assert not (folder / "half-made").exists()
    assert any(sentence.startswith("installing") for sentence in said)

    said.clear()
    assert installed(folder, said.append) == python
    assert said == []
    (folder / MARKER).write_text("another version")
    monkeypatch.setattr(installation, "PACKAGE", "no-such-package-of-ours==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"failed with status 1: see .*environment\.log"):
        installed(folder, quiet)
    assert not (folder / MARKER).exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="holds something that is not a Python environment"):
        installed(tmp_path, quiet)
    assert (tmp_path / "thesis.txt").exists()
