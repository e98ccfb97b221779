"""A real Label Studio and a real browser, each started once per session.

What takes minutes the first time (the server's environment) or half a minute (its migrated database) is kept in
``$DERMCOT_TEST_CACHE``, by default ``~/.cache/dermcot-tests``, and copied from there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from annotators.label_studio.installation import MARKER, installed
from annotators.label_studio.server import Server, running_server
from schemas.errors import UserError
from tests.annotators.label_studio.raters import FLAGS

CACHE = Path(os.environ.get("DERMCOT_TEST_CACHE", Path.home() / ".cache" / "dermcot-tests")) / "label-studio"


@contextmanager
def _in_turn() -> Iterator[None]:
    """Several workers need what is kept there at once: the first makes it, the others wait and find it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "turn.lock").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def environment() -> Path:
    """Where Label Studio is installed."""
    folder = CACHE / "environment"
    try:
        with _in_turn():
            installed(folder, lambda _: None)
    except UserError as error:
        pytest.skip(f"Label Studio cannot be installed: {error}")
    return folder


@pytest.fixture(scope="session")
def template(environment: Path) -> Path:
    """A folder with a migrated database and its account, never served itself."""
    folder = CACHE / f"migrated-{(environment / MARKER).read_text(encoding='utf-8')[:12]}"
    with _in_turn():
        if not folder.exists():
            making = CACHE / f"making-{os.getpid()}"
            with running_server(making, environment=environment, say=lambda _: None):
                pass
            making.rename(folder)
    return folder


@pytest.fixture
def studio_folder(template: Path, tmp_path: Path) -> Path:
    """A fresh folder whose server boots in seconds."""
    return copied(template, tmp_path / "studio")


def copied(template: Path, folder: Path) -> Path:
    shutil.copytree(template / "data", folder / "data")
    shutil.copy2(template / "account.json", folder / "account.json")
    return folder


@pytest.fixture(scope="session")
def studio(template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server for tests that share one; each makes projects of its own."""
    folder = copied(template, tmp_path_factory.mktemp("studio") / "folder")
    with running_server(folder, environment=environment) as server:
        yield server


@pytest.fixture(scope="session")
def client(studio: Server) -> Any:
    from annotators.label_studio.server import connect

    return connect(studio.url, studio.token)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium that can look up no name."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield window
        window.close()


@pytest.fixture(scope="session")
def built(drawn_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration file with a finished build behind it; of the workspace only ``annotation`` may change."""
    from flows.build import run_build
    from flows.execute import InProcess
    from schemas.config_file import load_config
    from tests.conftest import Quiet, write_config

    file = write_config(tmp_path_factory.mktemp("built") / "config.yaml", drawn_sample)
    run_build(load_config(file), InProcess(), Quiet())
    return file
