"""What a run leaves beside its tasks: a table per step, how long work goes on, the release. Whoever keeps them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from corpus.store import Store
from flows.build import Begun, Outcome, finish_build
from flows.execute import Reporter, Runner, StepReport
from flows.report import step_counts
from schemas.config import Config

#: Seconds between two words on long work as an artifact.
_TELL_EVERY = 15.0


class Artifacts(Protocol):
    """Keeps artifacts under their keys; not waited for."""

    def table(self, key: str, rows: Sequence[Mapping[str, Any]], description: str) -> None:
        """Keep a table."""

    def progress(self, key: str, percent: float, description: str) -> None:
        """Keep how far something is, instead of what was said under this key before."""

    def markdown(self, key: str, text: str, description: str) -> None:
        """Keep a text."""


class ArtifactReporter:
    """Passes everything on to a reporter, and leaves it as artifacts too."""

    def __init__(self, inner: Reporter, artifacts: Artifacts, store: Store) -> None:
        self._inner = inner
        self._artifacts = artifacts
        self._store = store
        self._told = -_TELL_EVERY

    def progress(self, step: str, done: int, total: int, note: str = "") -> None:
        """Pass on; what has a note is long work, of which an artifact tells too."""
        self._inner.progress(step, done, total, note)
        if note and time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            self._artifacts.progress(f"progress-{_key(step)}", 100 * done / max(total, 1), f"{step}: {note}")

    def finished(self, report: StepReport) -> None:
        """Leave the step's counts as a table, and pass on."""
        self._inner.finished(report)
        counts = step_counts(report, self._store)
        rows = [{"what": f"kept: {what}", "records": n} for what, n in counts["kept"].items()]  # type: ignore[attr-defined]
        rows += [{"what": f"rejected: {what}", "records": n} for what, n in counts["rejected"].items()]  # type: ignore[attr-defined]
        failed: Any = counts.get("failed_attempts", {})
        rows += [{"what": f"failed attempts: {rule}", "records": n} for rule, n in failed.items()]
        rows += [{"what": name, "records": counts[name]} for name in ("rows_made", "rows_reused", "seconds")]
        step = report.output.step
        self._artifacts.table(f"step-{_key(step)}", rows, f"{step}: {report.state}")


def finish_with_artifacts(begun: Begun, runner: Runner, reporter: Reporter, artifacts: Artifacts) -> Outcome:
    """Finish a build, leaving artifacts of its steps, of what its teacher's asking came to, and of its release."""
    config, store = begun.build.config, begun.build.store
    try:
        outcome = finish_build(begun, runner, ArtifactReporter(reporter, artifacts, store))
    finally:
        if "teacher" in begun.record:
            rows = [{"what": name, "total": n} for name, n in begun.record["teacher"].items() if name != "engines"]
            artifacts.table("teacher", rows, "what the teacher's answers came to")
    artifacts.markdown("release", _summary(outcome, config), "The release this run came to")
    return outcome


def _summary(outcome: Outcome, config: Config) -> str:
    counts = outcome.release.manifest["counts"]
    lines = [f"- {name}: {n:,}" for name, n in counts["by_licence_class"].items()]
    state = "new" if outcome.is_new else "unchanged"
    head = f"# {outcome.release.name} ({state})\n\n`{outcome.path(config)}`\n\nsha256 `{outcome.release.digest}`\n\n"
    return head + f"{counts['rows']:,} rows\n\n" + "\n".join(lines) + "\n"


def _key(step: str) -> str:
    return step.replace("_", "-")
