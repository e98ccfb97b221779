"""What a person sees: progress while it runs, and at the end what each step kept and dropped, and why."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from corpus.store import Store
    from flows.execute import StepReport

#: A terminal gets a bar; a log file gets a line at most this often (seconds).
_LOG_EVERY = 10.0


class Screen:
    """Progress on stderr, so that stdout holds the result alone. A context manager."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr)
        if not self.console.is_terminal:
            self.console.width = 110
        self._bar = Progress(
            TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console, transient=True, disable=not self.console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._logged = 0.0

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progress(self, step: str, done: int, total: int | None, note: str = "") -> None:
        """``done`` of ``total`` rows of a step are finished; None where nobody knows how many there are.

        ``note``: more on how it goes, its speed included.
        """
        now = time.monotonic()
        started = self._started.setdefault(step, now)
        if self.console.is_terminal:
            if step not in self._tasks:
                self._tasks[step] = self._bar.add_task(step, total=total, note="")
            self._bar.update(self._tasks[step], completed=done, note=note)
        elif now - self._logged >= _LOG_EVERY:
            self._logged = now
            of = "" if total is None else f" of {total:,}"
            speed = f", {done / (now - started):,.0f}/s" if now > started else ""
            speed = f", {note}" if note else speed
            self.console.print(f"{step}: {done:,}{of}{speed}", highlight=False)

    def finished(self, report: StepReport) -> None:
        """A step is finished: its bar goes, one line stays."""
        step = report.output.step
        if step in self._tasks:
            self._bar.remove_task(self._tasks.pop(step))
        if report.state == "reused":
            return
        rows = f"  {report.made:,} rows made, {report.reused:,} reused" if report.made or report.reused else ""
        self.console.print(f"[green]done[/]  {step:<16} {report.seconds:6.1f} s{rows}", highlight=False)

    def show(self, what: Table | str) -> None:
        """A table or a line for a person, above any progress bar."""
        self.console.print(what, highlight=False)

    def closing(self, reports: list[StepReport], store: Store) -> None:
        """What each step kept and dropped, and what whoever runs the build should know of raters."""
        self.show(counts_table(reports, store))
        for line in rater_warnings(reports):
            self.show(line)


def step_counts(report: StepReport, store: Store) -> dict[str, object]:
    """One step for tables and run.json: what it kept, and per record kind and rule what it rejected.

    ``failed_attempts``: by rule, requests of a teacher that were made again or whose narrative was then rejected.
    """
    rules = _rules(report, store)
    failed = {rule: n for (kind, rule), n in sorted(rules.items()) if kind == "attempt"}
    return {
        "step": report.output.step,
        "state": report.state,
        "seconds": round(report.seconds, 3),
        "rows_made": report.made,
        "rows_reused": report.reused,
        "kept": dict(report.output.stats.get("kept", {})),
        "found": {name: value for name, value in report.output.stats.items() if name not in ("kept", "report")},
        "rejected": {f"{kind}/{rule}": n for (kind, rule), n in sorted(rules.items()) if kind != "attempt"},
        **({"failed_attempts": failed} if failed else {}),
    }


def counts_table(reports: list[StepReport], store: Store) -> Table:
    """The closing table: each step's kept records, dropped records by rule, and whether it ran."""
    table = Table(title="What each step kept and dropped", title_justify="left", pad_edge=False)
    for column, justify in (("step", "left"), ("kept", "left"), ("dropped, by reason", "left"), ("work", "right")):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for report in reports:
        counts = step_counts(report, store)
        kept = ", ".join(f"{n:,} {what}" for what, n in counts["kept"].items())  # type: ignore[attr-defined]
        rules = _rules(report, store)
        lines = _by_rule({key: n for key, n in rules.items() if key[0] != "attempt"})
        if n_failed := sum(n for (kind, _), n in rules.items() if kind == "attempt"):
            lines.append(f"({n_failed:,} failed attempt{'s' if n_failed != 1 else ''} on the way)")
        dropped = "\n".join(lines)
        if report.state == "reused":
            work = "reused"
        elif report.made or report.reused:
            work = f"{report.made:,} made, {report.reused:,} reused"
        else:
            work = "ran"
        table.add_row(report.output.step, kept, dropped, work)
    return table


def _rules(report: StepReport, store: Store) -> dict[tuple[str, str], int]:
    """How many records of each kind a step rejected by each rule."""
    if "rejected" not in report.output.tables:
        return {}
    rejected = store.table(report.output, "rejected", ["record_kind", "rule"])
    return {(kind, rule): n for kind, rule, n in rejected.group_by("record_kind", "rule").len().iter_rows()}


def _by_rule(rules: Mapping[tuple[str, str], int]) -> list[str]:
    """``near_duplicate: 12 images, 12 cases`` lines, most frequent first."""
    kinds: dict[str, list[tuple[str, int]]] = {}
    for (kind, rule), n in sorted(rules.items()):
        kinds.setdefault(rule, []).append((kind, n))
    lines = []
    for rule, counted in kinds.items():
        what = ", ".join(f"{n:,} {kind}{'s' if n != 1 else ''}" for kind, n in counted)
        lines.append((-sum(n for _, n in counted), f"{rule}: {what}"))
    return [line for _, line in sorted(lines)]


def rater_warnings(reports: list[StepReport]) -> list[str]:
    """A line for every rater who certified a narrative with a planted fault; for whoever runs the build only."""
    from flows.plan import FOOLED

    told: dict[str, int] = next((r.output.stats.get(FOOLED, {}) for r in reports if r.output.step == "certify"), {})
    return [
        f"[yellow]{rater} certified {n:,} narrative{'s' * (n != 1)} with a planted fault[/]: look at this rater's "
        "other answers (nothing of it is published)"
        for rater, n in sorted(told.items())
    ]
