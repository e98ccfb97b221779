"""Which cases are alive, and which narrative of each goes where.

A case lives while one of its images does; its label is the one its duplicate cluster agreed on. Selection then takes
the best of k candidates by a declared aggregate, holds training cases to the thresholds and quotas, and leaves held-out
cases to the dermatologists. Licences that forbid passing an image on are honoured here: such cases are counted, never
written. Quotas serve published cases first, then by score, so a growing corpus does not shuffle itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import polars as pl

from corpus.digests import digest_of
from schemas.config import SelectSettings
from schemas.stage import StageResult, in_order, rejection, rejections_frame
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
_FIELDS = ("value", "threshold", "survivor", "detail")


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
    ranked = _ranked(scored, settings)
    best = ranked.filter(pl.col("narrative_id") == pl.col("best"))
    shut = pl.col("licence_class") == "no-redistribution"
    chosen = best.filter(~shut).join(cases.select("case_id", "tone_observations"), on="case_id", maintain_order="left")
    tones = pl.Series("tone_group", [tone_group(seen) for seen in chosen["tone_observations"].to_list()], pl.String)
    chosen = chosen.with_columns(tones).select(list(SELECTED))
    unscored = candidates.select("case_id").unique().join(cases, on="case_id", how="semi")
    unscored = unscored.join(scored, on="case_id", how="anti").with_columns(n=pl.lit(0))
    without = ranked.filter(pl.col("best").is_null()).group_by("case_id").agg(n=pl.len())
    kept, over = _within_quotas(chosen, cases, settings, published)
    rejected = [
        *_not_chosen(ranked, settings),
        _rejected("case", without, "no_acceptable_narrative", value="n"),
        _rejected("case", unscored, "no_acceptable_narrative", value="n"),
        _rejected("case", best.filter(shut), "no_redistribution", value="split"),
        rejections_frame(over),
    ]
    counts = kept.group_by("split").len().sort("split")
    return StageResult(kept.sort("case_id"), in_order(pl.concat(rejected)), dict(counts.iter_rows()))


def _ranked(scored: pl.DataFrame, settings: SelectSettings) -> pl.DataFrame:
    """Candidates, best first in each case, with ``failed``: names of the thresholds that a training candidate misses,
    and of its case's best acceptable one ``best``, its narrative, and ``best_aggregate``, both null without any."""
    least = settings.thresholds.model_dump()
    misses = [pl.when(pl.col(name) < value).then(pl.lit(name)) for name, value in least.items()]
    failed = pl.when(pl.col("split") == "train").then(pl.concat_list(misses).list.drop_nulls()).otherwise([])
    ranked = scored.with_columns(failed.alias("failed"))
    acceptable = pl.col("failed").list.len() == 0
    first = ranked.filter(acceptable).group_by("case_id").agg(
        best=pl.col("narrative_id").first(), best_aggregate=pl.col("aggregate").first()
    )  # fmt: skip
    return ranked.join(first, on="case_id", how="left", maintain_order="left")


def _not_chosen(ranked: pl.DataFrame, settings: SelectSettings) -> list[pl.DataFrame]:
    """A rejection for every candidate but the best acceptable one of its case."""
    least = settings.thresholds.model_dump()
    first = pl.col("failed").list.first()
    below = ranked.filter(pl.col("failed").list.len() > 0)
    below = below.with_columns(first=first, score=pl.coalesce(pl.when(first == n).then(pl.col(n)) for n in least))
    told = below.with_columns(
        value=below["first"] + "=" + _as_text(below["score"]),
        threshold=pl.col("first").replace_strict({name: f"{value:g}" for name, value in least.items()}),
        detail=pl.when(pl.col("failed").list.len() > 1).then(pl.col("failed").list.join(", ")),
    )
    worse = ranked.filter((pl.col("failed").list.len() == 0) & (pl.col("narrative_id") != pl.col("best")))
    worse = worse.with_columns(value=_as_text(worse["aggregate"]), threshold=_as_text(worse["best_aggregate"]))
    return [
        _rejected("narrative", told, "below_threshold", value="value", threshold="threshold", detail="detail"),
        _rejected("narrative", worse, "not_best", value="value", threshold="threshold", survivor="best"),
    ]


def _as_text(numbers: pl.Series) -> pl.Series:
    """Numbers as people read them, ``4`` and ``3.55``."""
    words = {number: f"{number:g}" for number in numbers.unique()}
    return pl.Series(numbers.name, [words[number] for number in numbers], dtype=pl.String)


def _rejected(kind: str, rows: pl.DataFrame, rule: str, **columns: str) -> pl.DataFrame:
    """Rejections of rows, by ``narrative_id`` or ``case_id`` as ``kind`` says; ``columns``: where each field lies."""
    fields = {name: pl.col(columns[name]) if name in columns else pl.lit(None) for name in _FIELDS}
    said = {"record_kind": pl.lit(kind), "record_id": pl.col(f"{kind}_id"), "stage": pl.lit("select"),
            "rule": pl.lit(rule), **fields}  # fmt: skip
    return rows.select(value.cast(pl.String).alias(name) for name, value in said.items())


def _within_quotas(
    chosen: pl.DataFrame, cases: pl.DataFrame, settings: SelectSettings, published: frozenset[str]
) -> tuple[pl.DataFrame, list[dict[str, str | None]]]:
    limits: Mapping[str, int | None] = settings.quotas.model_dump()
    if not any(limits.values()):
        return chosen, []
    facts = {case: (node, source) for case, node, source in cases.select("case_id", "node_id", "source").iter_rows()}
    training = chosen.filter(pl.col("split") == "train").to_dicts()
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
    full_up = pl.Series([row["record_id"] for row in over], dtype=pl.String)
    return chosen.filter(~pl.col("case_id").is_in(full_up.implode())), over
