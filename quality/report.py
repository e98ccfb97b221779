"""The HTML report of a release: one file a person can look at, without network, made from the release alone.

A table of counts hides what a glance at a picture shows: a stage that eats half the data, a diagnosis that is two
thirds of it, a score that is always five. Numbers become plain HTML and SVG here, so the file needs no script, and the
same release gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import polars as pl

from quality.blind_report import blind_figures
from quality.diversity import spread
from schemas.certification_words import AGREEMENT, ALIGNMENT, BASIS, figures
from schemas.parsed_yaml import cache_folder
from schemas.tables import DIMENSIONS, TRAJECTORIES
from schemas.tone import TONE_GROUPS

#: Stages in the order data passes them, and what each is called to a person.
STAGES: Mapping[str, str] = {
    "read": "read",
    "ingest": "ingested",
    "map_labels": "on the taxonomy",
    "inspect": "inspected",
    "deduplicate": "deduplicated",
    "decontaminate": "outside evaluation sets",
    "annotations": "answers of raters",
    "split": "alive, split",
    "propose": "proposed",
    "correct": "corrected by raters",
    "standardise": "standardised",
    "evaluate": "evaluated",
    "select": "chosen",
    "certify": "certification",
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
class Member:
    """An image of a duplicate cluster: its picture as a ``data:`` URI, and what it is to the rest."""

    image_id: str
    picture: str
    role: str
    label: str


@dataclass(frozen=True)
class Cluster:
    """Images that are one, the kept one first, and the attributions of them all."""

    members: Sequence[Member]
    credits: Sequence[str]


@dataclass(frozen=True)
class Refused:
    """A candidate that was not published: why, its scores, what the evaluator said of each dimension, and the text."""

    case_id: str
    diagnosis: str
    outcome: str
    scores: Mapping[str, float]
    critique: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Evidence:
    """What a report shows beside counts. ``candidates``: :data:`corpus.release_evidence.CANDIDATES`; ``limitations``:
    the commonest limitation sentences with the share of rows they stand in."""

    exhibits: Sequence[Exhibit]
    clusters: Sequence[Cluster]
    candidates: pl.DataFrame
    refused: Sequence[Refused]
    limitations: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Bar:
    """One bar: a label, a count, its length in percent of the longest, and a remark."""

    label: str
    count: int
    percent: float
    remark: str = ""


def render_report(manifest: Mapping[str, Any], rows: pl.DataFrame, rejections: pl.DataFrame, evidence: Evidence) -> str:
    """The report as HTML.

    ``rows``: the published rows with ``diagnosis``, ``source``, ``licence``, ``tone_group``, ``split``,
    ``trajectory`` and the scores; ``rejections``: the release's rejections table.
    """
    from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
    from jinja2.bccache import Bucket

    class Kept(FileSystemBytecodeCache):
        def dump_bytecode(self, bucket: Bucket) -> None:
            with suppress(OSError):  # it is compiled anew the next time
                super().dump_bytecode(bucket)

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=PackageLoader("quality", "data"), bytecode_cache=Kept(str(cache_folder())),
    )  # fmt: skip
    gates = [result | {"gate": gate["gate"]} for gate in manifest["gates"] for result in gate["results"]]
    lost = rejections.filter(pl.col("record_kind") != "attempt")  # an attempt is no record
    return environment.get_template("report.html.j2").render(
        manifest=manifest,
        paragraphs=[paragraph.split("`") for paragraph in manifest["intended_use"].split("\n\n")],
        flow=stage_bars(manifest, lost),
        composition=[
            ("Diagnosis", composition(rows, "diagnosis")),
            ("Source", composition(rows, "source")),
            ("Licence", composition(rows, "licence")),
            ("Skin tone (Fitzpatrick)", composition(rows, "tone_group", TONE_GROUPS)),
            ("Split", composition(rows, "split")),
            ("Reasoning (trajectory)", composition(rows, "trajectory", TRAJECTORIES)),
        ],
        scores=[histogram(rows, evidence.candidates, name, _threshold(manifest, name)) for name in DIMENSIONS],
        kinds=_kinds(rows, evidence.candidates),
        diversity=_diversity(evidence.candidates),
        blind=blind_figures(evidence.candidates, rejections),
        evidence=evidence,
        certification=_certification(manifest),
        reasons=reasons(lost),
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
        lines = _losses(lost)
        if kept or lines:
            bars = [Bar(kind, count, 100 * count / longest[kind]) for kind, count in kept.items()]
            flow.append((words, bars, lines))
    return flow


def _certification(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Narratives by state, and agreement and alignment in words; None where no answers were counted."""
    told = manifest["certification"]
    if told["annotations"] is None:
        return None
    states = told["counts"].get("state", {})
    longest = max(states.values(), default=1)
    return {
        "states": [Bar(state.replace("_", " "), n, 100 * n / longest) for state, n in states.items()],
        "agreement": figures(told["agreement"], AGREEMENT),
        "alignment": figures(told["alignment"], ALIGNMENT),
        "basis": BASIS[told["alignment"][0]["basis"]] if told["alignment"] else "",
        "planted": told["counts"]["planted"],
        "removed": sum(told["counts"].get("removed", {}).values()),
        "corrections": told["counts"]["corrections"]["narratives"],
    }


def _losses(lost: pl.DataFrame) -> list[str]:
    """A line for each reason, with the records of every kind it took: ``16 images, 16 cases · near duplicate``."""
    told: dict[str, list[str]] = {}
    for _, rule, kind, n in lost.iter_rows():
        told.setdefault(rule, []).append(f"{n:,} {kind}{'s' * (n > 1)}")
    return [f"{', '.join(reversed(records))} · {rule.replace('_', ' ')}" for rule, records in told.items()]


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


def histogram(rows: pl.DataFrame, candidates: pl.DataFrame, dimension: str, threshold: float) -> dict[str, Any]:
    """What is shown of one dimension: shares of candidates and of published rows in bars of 0.2 points, the share of
    candidates that a threshold there would accept, quartiles, and the share at the ceiling."""
    every, values = candidates[dimension].drop_nulls(), rows[dimension]
    shares = [_shares(every), _shares(values)]
    tallest = max(max(share, default=0.0) for share in shares) or 1.0
    accepted = [every.filter(every >= least / 5).len() / max(1, every.len()) for least in range(_BINS + 1)]
    quartiles = [values.quantile(q, "nearest") for q in (0.25, 0.5, 0.75)] if rows.height else [0.0, 0.0, 0.0]
    return {
        "name": dimension.replace("_", " "),
        "candidates": [100 * share / tallest for share in shares[0]],
        "published": [100 * share / tallest for share in shares[1]],
        "curve": " ".join(f"{10 * at},{70 - 68 * share:.2f}" for at, share in enumerate(accepted)),
        "threshold": threshold,
        "quartiles": [f"{value:.2f}" for value in quartiles],
        "ceiling": f"{100 * values.filter(values >= _CEILING).len() / max(1, rows.height):.1f} %",
        "accepted": f"{100 * every.filter(every >= threshold).len() / max(1, every.len()):.1f} %",
        "n": every.len(),
    }


def _shares(values: pl.Series) -> list[float]:
    bins = (values / 5 * _BINS).cast(pl.Int64).clip(upper_bound=_BINS - 1)
    counts = dict(bins.value_counts().iter_rows())
    return [counts.get(place, 0) / max(1, values.len()) for place in range(_BINS)]


def _diversity(candidates: pl.DataFrame) -> dict[str, Any] | None:
    """Distances between the candidates of one case, in bars of 0.04; None when there was one candidate a case."""
    known = candidates["sibling_distance"].drop_nulls()
    if known.is_empty():
        return None
    mean, *quartiles = spread(known)
    shares = _shares(known * 5)
    return {"bars": [100 * share / max(shares) for share in shares], "mean": f"{mean:.2f}",
            "quartiles": [f"{value:.2f}" for value in quartiles]}  # fmt: skip


def _kinds(rows: pl.DataFrame, candidates: pl.DataFrame) -> list[tuple[str, int, int]]:
    """Each kind of trajectory: the written candidates of training cases, and the published training rows among them."""
    written = dict(candidates.group_by("trajectory").len().iter_rows())
    kept = dict(rows.filter(pl.col("split") == "train").group_by("trajectory").len().iter_rows())
    return [(kind, written.get(kind, 0), kept.get(kind, 0)) for kind in TRAJECTORIES]


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
