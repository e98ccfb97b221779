"""One ``dermcot run``: nothing where nothing is left to do; else a build, on the user's Prefect server or here."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.config import Config
from schemas.parsed_yaml import cache_folder

if TYPE_CHECKING:
    from flows.plan import Build

#: Objects made before garbage is looked for; a build makes millions that are no garbage, and few cycles.
_GARBAGE = 50_000


def run_to_release(config: Config, asked: dict[str, Any]) -> str:
    """Bring a configuration to its release, telling a person on stderr; returns the release's directory.

    ``asked``: what the person asked for, as parameters of :func:`flows.pipeline.curate`, which runs where
    ``PREFECT_API_URL`` names a server. Without one the build runs here, and what happens is recorded in the workspace.
    Raises :class:`UserError` for what a person can mend.
    """
    gc.disable()  # what imports make stays, so it need not be looked through again and again
    from corpus.store import Store
    from flows.build import finished_build
    from flows.plan import Build
    from flows.report import Screen

    build = Build(config, Store(config.workspace))
    done = finished_build(config, build)
    if done is not None:
        with Screen() as screen:
            screen.closing(done.reports, build.store)
            screen.show(f"Nothing changed: {done.release.name}, sha256 {done.release.digest}")
        return done.path(config)
    if os.environ.get("PREFECT_API_URL"):
        from flows.pipeline import curate

        _look_for_garbage()
        outcome = curate(**asked)
    else:
        outcome = _build_here(build, asked)
    state = "Published" if outcome["new"] else "Content unchanged:"
    print(f"{state} {outcome['release']}, sha256 {outcome['digest']}", file=sys.stderr)
    print(f"To look at it: {outcome['path']}/report.html", file=sys.stderr)
    path: str = outcome["path"]
    return path


def _build_here(build: Build, asked: dict[str, Any]) -> dict[str, Any]:
    from flows.artifacts import finish_with_artifacts
    from flows.build import begin_build
    from flows.record import Record
    from flows.report import Screen
    from flows.runners import recorded_runner

    _look_for_garbage()
    home = _prefect_home(build.config.workspace)
    with Screen() as screen, Record(home, _warn) as record, begin_build(build) as begun:
        record.begin("curate", begun.record["run_id"], asked)
        with recorded_runner(build.config, record) as runner:
            outcome = finish_with_artifacts(begun, runner, screen, record)
        screen.closing(outcome.reports, build.store)
    return outcome.told(build.config)


def _look_for_garbage() -> None:
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    gc.enable()


def _prefect_home(workspace: str) -> Path:
    """Inside a local workspace; beside the user's own caches when the workspace is a URL."""
    if "://" in workspace:
        return cache_folder() / "prefect"
    return Path(workspace) / "prefect"


def _warn(sentence: str) -> None:
    print(f"Warning: {sentence}", file=sys.stderr)
