"""The HTML report of a release: one file a person can look at, without network, made from the release alone.

A table of counts hides what a glance at a picture shows: a stage that eats half the data, a diagnosis that is two
thirds of it, a score that is always five. Numbers become plain HTML and SVG here, so the file needs no script, and the
same release gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import polars as pl

from schemas.tables import DIMENSIONS
from schemas.tone import TONE_GROUPS

#: Stages in the order data passes them, and what each is called to a person.
STAGES: Mapping[str, str] = {
    "read": "read",
    "ingest": "ingested",
    "map_labels": "on the taxonomy",
    "inspect": "inspected",
    "deduplicate": "deduplicated",
    "decontaminate": "not of an evaluation set (duplicates counted too)",
    "split": "alive, split",
    "propose": "proposed",
    "standardise": "standardised",
    "evaluate": "evaluated",
    "select": "chosen",
}
_BINS = 25
_CEILING = 4.9
_MOST_ROWS = 20


@dataclass(frozen=True)
class Exhibit:
    """A case of the gallery: facts for its caption, the narrative, and its image as a ``data:`` URI."""

    case_id: str
    diagnosis: str
    facts: str
    credit: str
    scores: Mapping[str, float]
    text: str
    image: str


@dataclass(frozen=True)
class Bar:
    """One bar: a label, a count, its length in percent of the longest, and a remark."""

    label: str
    count: int
    percent: float
    remark: str = ""


def render_report(
    manifest: Mapping[str, Any], rows: pl.DataFrame, rejections: pl.DataFrame, exhibits: Sequence[Exhibit]
) -> str:
    """The report as HTML.

    ``rows``: the published rows with ``diagnosis``, ``source``, ``licence``, ``tone_group``, ``split`` and the scores;
    ``rejections``: the release's rejections table; ``exhibits``: the gallery, in the order shown.
    """
    from jinja2 import Environment, StrictUndefined

    template = (files("quality") / "data" / "report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    gates = [result | {"gate": gate["gate"]} for gate in manifest["gates"] for result in gate["results"]]
    return environment.from_string(template).render(
        manifest=manifest,
        paragraphs=manifest["intended_use"].split("\n\n"),
        flow=stage_bars(manifest, rejections),
        composition=[
            ("Diagnosis", composition(rows, "diagnosis")),
            ("Source", composition(rows, "source")),
            ("Licence", composition(rows, "licence")),
            ("Skin tone (Fitzpatrick)", composition(rows, "tone_group", TONE_GROUPS)),
            ("Split", composition(rows, "split")),
        ],
        scores=[histogram(rows, name, _threshold(manifest, name), rejections) for name in DIMENSIONS],
        exhibits=exhibits,
        reasons=reasons(rejections),
        gates=gates,
        failed=[result for result in gates if not result["success"]],
    )


def stage_bars(manifest: Mapping[str, Any], rejections: pl.DataFrame) -> list[tuple[str, list[Bar], list[str]]]:
    """Per stage: its name, a bar for each kind of record it kept, and what it dropped, commonest reason first."""
    dropped = rejections.group_by("stage", "rule", "record_kind").len()
    dropped = dropped.sort("len", "rule", "record_kind", descending=[True, False, False])
    longest: dict[str, int] = {}
    for name in STAGES:
        for kind, count in _kept(manifest, name).items():
            longest[kind] = max(longest.get(kind, 1), count)
    flow = []
    for name, words in STAGES.items():
        kept = _kept(manifest, name)
        lost = dropped.filter(pl.col("stage") == name)
        lines = [f"{n:,} {kind}{'s' * (n > 1)} · {rule.replace('_', ' ')}" for _, rule, kind, n in lost.iter_rows()]
        if kept or lines:
            bars = [Bar(kind, count, 100 * count / longest[kind]) for kind, count in kept.items()]
            flow.append((words, bars, lines))
    return flow


def _kept(manifest: Mapping[str, Any], stage: str) -> dict[str, int]:
    return dict(manifest["stages"].get(stage, {}).get("kept", {}))


def composition(rows: pl.DataFrame, column: str, always: Sequence[str] = ()) -> list[Bar]:
    """Bars of a column, longest first (or in the order of ``always``, which are shown even when there are none)."""
    counts = dict(rows.group_by(column).len().iter_rows())
    names = list(always) or sorted(counts, key=lambda name: (-counts[name], str(name)))
    longest, total = max(counts.values(), default=1), max(1, rows.height)
    shown = [(str(name), counts.get(name, 0)) for name in names[:_MOST_ROWS]]
    if rest := names[_MOST_ROWS:]:
        shown.append((f"{len(rest)} others", sum(counts[name] for name in rest)))
    return [Bar(name, n, min(100.0, 100 * n / longest), f"{100 * n / total:.1f} %") for name, n in shown]


def _threshold(manifest: Mapping[str, Any], dimension: str) -> float:
    return float(manifest["configuration"]["select"]["thresholds"][dimension])


def histogram(rows: pl.DataFrame, dimension: str, threshold: float, rejections: pl.DataFrame) -> dict[str, Any]:
    """What is shown of one dimension: bars of 0.2 points, quartiles, the share at the ceiling, refused candidates."""
    values = rows[dimension]
    bins = [0] * _BINS
    for value in values.to_list():
        bins[min(_BINS - 1, int(value / 5 * _BINS))] += 1
    tallest = max(bins, default=0) or 1
    failed = rejections.filter((pl.col("rule") == "below_threshold") & pl.col("value").str.starts_with(f"{dimension}="))
    quartiles = [values.quantile(q, "nearest") for q in (0.25, 0.5, 0.75)] if rows.height else [0.0, 0.0, 0.0]
    return {
        "name": dimension.replace("_", " "),
        "bars": [100 * n / tallest for n in bins],
        "threshold": threshold,
        "quartiles": [f"{value:.2f}" for value in quartiles],
        "ceiling": f"{100 * values.filter(values >= _CEILING).len() / max(1, rows.height):.1f} %",
        "refused": failed.height,
    }


def reasons(rejections: pl.DataFrame) -> list[dict[str, Any]]:
    """One row per stage, rule and kind: how many, and the first few ids."""
    order = {name: place for place, name in enumerate(STAGES)}
    groups = (
        rejections.sort("record_id")
        .group_by("stage", "rule", "record_kind", maintain_order=True)
        .agg(pl.len().alias("count"), pl.col("record_id").head(3).alias("ids"))
    )
    return sorted(
        groups.to_dicts(),
        key=lambda row: (order.get(row["stage"], -1), -row["count"], row["stage"], row["rule"], row["record_kind"]),
    )
