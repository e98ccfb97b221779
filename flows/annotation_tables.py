"""How a study is told on a terminal: a table or a line for what there is, nothing for what there is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.table import Table

from corpus.certified import DECIDED
from schemas.certification_words import BASIS

if TYPE_CHECKING:
    from flows.annotation_standing import Standing
    from flows.annotation_status import Status

_SHORT = 8
_SIGNED = ("bias", "gold_drift", "consensus_drift")
#: Heading -> measures, the first that there is of each rater.
_FIGURES = {
    "points above the others": ("bias",),
    "off the gold scores": ("gold_mae",),
    "off the own first scores": ("retest_mad",),
    "drift in 100 cases": ("gold_drift", "consensus_drift"),
}


def counts_table(title: str, *columns: str) -> Table:
    """An empty table of whose columns the first two are words and the others numbers."""
    table = Table(title=title, title_justify="left", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number > 1 else "left", overflow="fold")
    return table


def status_parts(told: Status, standing: Standing | None) -> Iterator[Table | str]:
    """The parts of a status; ``standing``: None where there is no build, or nothing was pulled."""
    yield _raters_table(told)
    for rater, today in sorted({(row.rater, row.today) for row in told.raters if row.capped}):
        yield f"{rater} has answered {today} cases today: that is enough, time to rest"
    if told.annotations is None:
        yield "Nothing was pulled yet: run `dermcot annotate pull`."
        return
    if set(told.figures["measure"]) - {"sound_certified"}:
        yield _figures_table(told.figures)
    if (told.agreement["n_items"] > 0).any():
        yield _agreement_table(told.agreement)
    if standing is not None:
        yield from _standing(standing)


def _raters_table(told: Status) -> Table:
    table = counts_table("Raters", "rater", "project", "done", "left", "seconds", "set aside", "today")
    for row in told.raters:
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        counts = (f"{row.done:,}", f"{row.left:,}", seconds, f"{row.quarantined:,}", f"{row.today:,}")
        table.add_row(row.rater, row.title.rpartition(" [")[0] or row.title, *counts)
    return table


def _figures_table(figures: pl.DataFrame) -> Table:
    """A row per rater, under the beginning of the pseudonym that the project is named after; a column only for what
    some rater has."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in figures.sort("rater").iter_rows(named=True):
        found.setdefault(row["rater"], {})[row["measure"]] = row
    there = set(figures["measure"])
    headings = [heading for heading, measures in _FIGURES.items() if there & set(measures)]
    faults = "planted_certified" in there
    table = Table(title="How each rater scores, in points of the scale (with 95 % intervals)", title_justify="left",
                  pad_edge=False)  # fmt: skip
    table.add_column("rater")
    for heading in (*headings, *(["faults certified (others)"] if faults else [])):
        table.add_column(heading, justify="right")
    for rater, measures in found.items():
        cells = [next((_figure(measures[m]) for m in _FIGURES[heading] if m in measures), "") for heading in headings]
        told = [_share(measures[name]) for name in ("planted_certified", "sound_certified") if name in measures]
        shown = " (".join(told) + ")" * (len(told) > 1) if "planted_certified" in measures else ""
        table.add_row(rater[:_SHORT], *cells, *([shown] if faults else []))
    return table


def _figure(row: Mapping[str, Any]) -> str:
    sign = "+" if row["measure"] in _SIGNED else ""
    known = row["low"] is not None and row["high"] is not None
    interval = f" ({row['low']:.2f},{row['high']:.2f})" if known else ""
    return f"{row['estimate']:{sign}.2f}{interval}"


def _share(row: Mapping[str, Any]) -> str:
    return f"{round(row['estimate'] * row['n_items']):,} of {row['n_items']:,}"


def _agreement_table(agreement: pl.DataFrame) -> Table:
    table = counts_table("Agreement so far", "dimension", "measure", "estimate", "95 % interval", "narratives")
    for row in agreement.iter_rows(named=True):
        known = row["estimate"] is not None
        interval = f"{row['low']:.2f} to {row['high']:.2f}" if known and row["low"] is not None else ""
        estimate = f"{row['estimate']:.2f}" if known else "none yet"
        table.add_row(_words(row["dimension"]), _words(row["measure"]), estimate, interval, f"{row['n_items']:,}")
    return table


def _standing(standing: Standing) -> Iterator[Table | str]:
    rows = standing.alignment().filter(pl.col("estimate").is_not_null())
    if rows.height:
        yield _alignment_table(rows)
    if standing.answers.height:
        yield _decided(standing)


def _alignment_table(rows: pl.DataFrame) -> Table:
    most = max(rows["n_items"].to_list())
    title = f"DermEval beside the raters, {BASIS[rows['basis'][0]]} ({most:,})"
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("dimension")
    for heading in ("DermEval less raters", "absolute difference", "Pearson", "Spearman"):
        table.add_column(heading, justify="right")
    for dimension in rows["dimension"].unique(maintain_order=True):
        told = {row["measure"]: row for row in rows.filter(pl.col("dimension") == dimension).iter_rows(named=True)}
        cells = [_figure(told[m]) if m in told else "" for m in ("bias", "mae", "pearson", "spearman")]
        table.add_row(_words(dimension), *cells)
    return table


def _decided(standing: Standing) -> str:
    """What the answers come to by the rules, and what is still asked."""
    states = Counter(standing.found["state"])
    disputed = standing.found.filter(pl.col("state") == "needs_adjudication")["narrative_id"]
    judging = standing.queue.filter(pl.col("narrative_id").is_in(disputed.implode())).height
    decided = ", ".join(f"{states[state]:,} {_words(state)}" for state in DECIDED if states[state]) or "nothing decided"
    waiting = standing.queue.height - judging
    return f"Narratives: {decided}; waiting for adjudication: {judging:,}; waiting for raters: {waiting:,}"


def _words(name: str) -> str:
    return name.replace("_", " ")
