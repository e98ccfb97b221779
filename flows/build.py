"""One build from lease to release, whoever runs it: the command line, a Prefect flow, a test."""

from __future__ import annotations

import json
import os
import platform
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from corpus.digests import canonical_json
from corpus.ingest import check_folders
from corpus.lease import Lease
from corpus.releases import Release
from corpus.store import StepOutput, Store
from flows.execute import Reporter, Runner, StepReport, execute
from flows.plan import Build, find_output
from flows.publish import find_release, gather, publish_release, remember_release
from flows.report import step_counts
from flows.steps import STEPS
from quality.gates import check_warn_only
from schemas.config import Config
from schemas.errors import StoreError, UserError


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the release, whether it is new, and what each step did."""

    release: Release
    is_new: bool
    reports: list[StepReport] = field(repr=False)

    def path(self, config: Config) -> str:
        """The release's directory."""
        return f"{config.releases.rstrip('/')}/{self.release.name}"

    def told(self, config: Config) -> dict[str, Any]:
        """What whoever asked for the build is told: the release's name, digest and directory, and whether it is new."""
        release = self.release
        return {"release": release.name, "digest": release.digest, "path": self.path(config), "new": self.is_new}


def finished_build(config: Config, build: Build | None = None) -> Outcome | None:
    """The outcome of a build that has nothing left to do, found without a lease and without writing; else None.

    ``build``: where to keep what was seen, for :func:`begin_build`. Raises :class:`UserError` for what can be seen to
    be wrong before anything is started.
    """
    build = build or Build(config, Store(config.workspace))
    _check(build)
    release = None
    for step in STEPS:
        output = find_output(step, build)
        if output is None:
            break
        build.outputs[step.name] = output
    else:
        release = find_release(build)
    if release is None:
        Lease(build.store.folder, "workspace").refuse_if_held()
        return None
    reports = [StepReport(build.outputs[step.name], "reused", 0, 0, 0.0) for step in STEPS]
    return Outcome(release, False, reports)


def _check(build: Build) -> None:
    """What can be seen to be wrong before anything is started."""
    config = build.config
    check_warn_only(config.gate)
    check_folders(config.sources)
    drawn = any(source.synthetic for source in config.sources)
    if build.parent.synthetic is not None and build.parent.synthetic != drawn:
        theirs, ours = ("drawn", "real") if build.parent.synthetic else ("real", "drawn")
        raise StoreError(
            f"{config.releases} holds releases of {theirs} images and this build is of {ours} ones: publish it "
            "elsewhere with --releases, so that neither becomes a version of the other"
        )


@dataclass
class Begun:
    """A build that holds the lease of its workspace: the reports of the steps done so far, and its record."""

    build: Build
    reports: list[StepReport]
    record: dict[str, Any]


@contextmanager
def begin_build(build: Build) -> Iterator[Begun]:
    """Hold the workspace for the block, and leave the record of what was done in it."""
    _check(build)
    with Lease(build.store.folder, "workspace"):
        build.store.sweep()
        begun = Begun(build, [], _start_record())
        try:
            yield begun
        except BaseException as error:
            begun.record |= {"status": "failed", "error": str(error) if isinstance(error, UserError) else repr(error)}
            raise
        finally:
            _finish_record(begun.build, begun.reports, begun.record)


def finish_build(begun: Begun, runner: Runner, reporter: Reporter) -> Outcome:
    """Make everything that is missing and publish; raises :class:`UserError` when a gate or the disk forbids it."""
    try:
        return _finished(begun, runner, reporter)
    finally:
        if begun.build.config.propose.teacher == "vlm":
            from flows.teacher_steps import close_teacher

            came_to = close_teacher(begun.build.config.workspace)
            begun.record |= {} if came_to is None else {"teacher": came_to}


def _finished(begun: Begun, runner: Runner, reporter: Reporter) -> Outcome:
    build = begun.build
    gathered = execute(STEPS, build, runner, reporter, begun.reports, lambda: gather(build))

    def work() -> tuple[Release, bool]:
        return publish_release(build, gathered, lambda done, n: reporter.progress("release", done, n))

    release, is_new = runner.call("release", work)
    remember_release(build, release)
    begun.record |= {"status": "published" if is_new else "unchanged", "release": release.name}
    return Outcome(release, is_new, begun.reports)


def run_build(config: Config, runner: Runner, reporter: Reporter) -> Outcome:
    """One build from lease to release."""
    with begin_build(Build(config, Store(config.workspace))) as begun:
        return finish_build(begun, runner, reporter)


def _start_record() -> dict[str, Any]:
    return {
        "run_id": f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:6]}",
        "started": time.time(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": platform.python_version(),
    }


def _finish_record(build: Build, reports: list[StepReport], record: dict[str, Any]) -> None:
    """Leave ``runs/RUN_ID/run.json`` and ``build.json``; a disk too full for them must not hide the first error."""
    steps = [step_counts(report, build.store) for report in reports]
    run = {**record, "ended": time.time(), "steps": steps}
    try:
        build.store.folder.write(f"runs/{record['run_id']}/run.json", canonical_json(run))
        outputs = {name: output.key for name, output in build.outputs.items()}
        last = {"outputs": outputs, "release": record.get("release"), "releases": build.config.releases}
        build.store.folder.write("build.json", canonical_json(last))
    except (OSError, UserError):
        return


def last_build(workspace: str) -> tuple[Store, dict[str, StepOutput], dict[str, Any]] | None:
    """The outputs of the latest build of a workspace, and its ``build.json``; None when there was none."""
    store = Store(workspace)
    try:
        record = json.loads(store.folder.read("build.json"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise StoreError(
            f"{store.folder.path('build.json')} is damaged: run `dermcot run` again, which writes it anew"
        ) from None
    found = {name: store.find_step(name, key) for name, key in record["outputs"].items()}
    return store, {name: output for name, output in found.items() if output is not None}, record
