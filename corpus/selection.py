"""Which cases are alive, and which narrative of each goes where.

A case lives while one of its images does; its label is the one its duplicate cluster agreed on. Selection then takes
the best of k candidates by a declared aggregate, holds training cases to the thresholds and quotas, and leaves held-out
cases to the dermatologists. Licences that forbid passing an image on are honoured here: such cases are counted, never
written. Quotas serve published cases first, then by score, so a growing corpus does not shuffle itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import polars as pl

from corpus.digests import digest_of
from schemas.config import SelectSettings
from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import DIMENSIONS
from schemas.tone import tone_group

SELECTED = pl.Schema(
    {
        "case_id": pl.String,
        "split": pl.String,
        "narrative_id": pl.String,
        "candidate": pl.Int64,
        "trajectory": pl.String,
        "synthetic_trajectory": pl.Boolean,
        "aggregate": pl.Float64,
        "tone_group": pl.String,
    }
)


def live_cases(
    cases: pl.DataFrame,
    images: pl.DataFrame,
    inspections: pl.DataFrame,
    decisions: pl.DataFrame,
    assignments: pl.DataFrame,
) -> pl.DataFrame:
    """Cases with at least one image that survived every stage so far and whose label is known.

    Columns: those of CASES with ``image_ids`` cut to surviving images and ``node_id`` / ``label_certainty`` as the
    cluster agreed, plus ``label_from``, ``group_id``, ``split``, ``modality``, ``licence``, ``licence_class``,
    ``attribution``, ``external_processing``, ``synthetic``, ``tone_observations``, ``image_digests`` and
    ``pixel_digests`` (in the order of ``image_ids``).
    """
    shared = [
        "modality",
        "licence",
        "licence_class",
        "attribution",
        "external_processing",
        "synthetic",
        "tone_observations",
    ]
    alive = (
        decisions.filter("kept")
        .select("image_id", "case_id", "node_id", "label_certainty", "label_from")
        .join(assignments, on="image_id")
        .join(images.select("image_id", "file_digest", *shared), on="image_id")
        .join(inspections.select("file_digest", "image_digest", "pixel_digest"), on="file_digest")
        .sort("image_id")
    )
    single = ["node_id", "label_certainty", "label_from", "group_id", "split", *shared]
    per_case = alive.group_by("case_id").agg(
        pl.col("image_id").alias("image_ids"),
        pl.col("image_digest").alias("image_digests"),
        pl.col("pixel_digest").alias("pixel_digests"),
        *(pl.col(name).first() for name in single),
    )
    rest = cases.drop("image_ids", "node_id", "label_certainty")
    return rest.join(per_case, on="case_id").filter(pl.col("node_id").is_not_null()).sort("case_id")


def select(
    cases: pl.DataFrame,
    candidates: pl.DataFrame,
    evaluations: pl.DataFrame,
    settings: SelectSettings,
    published: frozenset[str],
) -> StageResult:
    """Choose one narrative per case. ``candidates``: ``narrative_id``, ``case_id``, ``candidate`` and its kind,
    ``trajectory`` and ``synthetic_trajectory``.

    ``kept`` is one :data:`SELECTED` row per chosen case. ``published``: case ids of the latest release.
    """
    scores = pl.col("overall") if settings.aggregate == "mean" else pl.min_horizontal(DIMENSIONS)
    scored = (
        candidates.join(evaluations.select("narrative_id", *DIMENSIONS, scores.alias("aggregate")), on="narrative_id")
        .join(cases.select("case_id", "split", "licence_class"), on="case_id")
        .sort(["case_id", "aggregate", "candidate"], descending=[False, True, False])
    )
    tones = {case: tone_group(seen) for case, seen in cases.select("case_id", "tone_observations").iter_rows()}
    rejected: list[dict[str, str | None]] = []
    chosen: list[dict[str, Any]] = []
    for case_id, group in groupby(scored.iter_rows(named=True), key=lambda row: row["case_id"]):
        rows = list(group)
        best, why = _best(rows, settings)
        rejected += why
        if best is None:
            rejected.append(rejection("case", case_id, "select", "no_acceptable_narrative", value=len(rows)))
        elif best["licence_class"] == "no-redistribution":
            rejected.append(rejection("case", case_id, "select", "no_redistribution", value=best["split"]))
        else:
            chosen.append({name: best[name] for name in SELECTED if name in best} | {"tone_group": tones[case_id]})
    proposed = set(candidates["case_id"]) & set(cases["case_id"])
    for case_id in sorted(proposed - set(scored["case_id"])):
        rejected.append(rejection("case", case_id, "select", "no_acceptable_narrative", value=0))
    kept, over = _within_quotas(chosen, cases, settings, published)
    frame = pl.DataFrame(kept, schema=SELECTED).sort("case_id")
    counts = frame.group_by("split").len().sort("split")
    return StageResult(frame, rejections_frame([*rejected, *over]), dict(counts.iter_rows()))


def _best(
    rows: list[dict[str, Any]], settings: SelectSettings
) -> tuple[dict[str, Any] | None, list[dict[str, str | None]]]:
    """The best acceptable candidate of rows sorted best first, and a rejection for each of the others."""
    thresholds = settings.thresholds.model_dump()
    training = rows[0]["split"] == "train"
    best, rejected = None, []
    for row in rows:
        failed = [name for name, least in thresholds.items() if row[name] < least] if training else []
        if failed:
            rejected.append(
                rejection(
                    "narrative",
                    row["narrative_id"],
                    "select",
                    "below_threshold",
                    value=f"{failed[0]}={row[failed[0]]:g}",
                    threshold=f"{thresholds[failed[0]]:g}",
                    detail=", ".join(failed) if len(failed) > 1 else None,
                )
            )
        elif best is None:
            best = row
        else:
            rejected.append(
                rejection(
                    "narrative",
                    row["narrative_id"],
                    "select",
                    "not_best",
                    value=f"{row['aggregate']:g}",
                    threshold=f"{best['aggregate']:g}",
                    survivor=best["narrative_id"],
                )
            )
    return best, rejected


def _within_quotas(
    chosen: list[dict[str, Any]], cases: pl.DataFrame, settings: SelectSettings, published: frozenset[str]
) -> tuple[list[dict[str, Any]], list[dict[str, str | None]]]:
    limits: Mapping[str, int | None] = settings.quotas.model_dump()
    if not any(limits.values()):
        return chosen, []
    facts = {case: (node, source) for case, node, source in cases.select("case_id", "node_id", "source").iter_rows()}
    kept = [row for row in chosen if row["split"] != "train"]
    training = [row for row in chosen if row["split"] == "train"]
    training.sort(
        key=lambda row: (row["case_id"] not in published, -row["aggregate"], digest_of("quota", row["case_id"]))
    )
    taken: Counter[tuple[str, str]] = Counter()
    over: list[dict[str, str | None]] = []
    for row in training:
        node, source = facts[row["case_id"]]
        keys = [("per_diagnosis", node), ("per_source", source), ("per_tone", row["tone_group"])]
        full = [
            (name, value) for name, value in keys if (limit := limits[name]) is not None and taken[name, value] >= limit
        ]
        if full:
            name, value = full[0]
            over.append(
                rejection(
                    "case", row["case_id"], "select", "over_quota", value=f"{name} {value}", threshold=limits[name]
                )
            )
        else:
            taken.update(keys)
            kept.append(row)
    return kept, over
