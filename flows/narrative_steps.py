"""Glue between the store and the stages from proposal to selection: which tables go in, which come out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from annotators import rubric, textbook
from annotators.imported import candidates
from annotators.standardise import standardise
from corpus.certification import certification_queue
from corpus.digests import digest_of, row_digests, row_keys
from corpus.selection import select
from corpus.store import Store
from flows.import_steps import imported_settings
from flows.plan import Build, Collected, ShardResult
from quality.diversity import sibling_distances
from quality.expectations import COLUMNS
from schemas.cards import cards_digest
from schemas.config import Config
from schemas.family_cards import knowledge
from schemas.stage import rejections_frame
from schemas.tables import DIMENSIONS, EVALUATIONS, NARRATIVES, STAGE_REJECTIONS, polars_schema
from schemas.taxonomy import load_taxonomy

#: What of each text and score the gates, selection and release read; the texts themselves stay in their parts.
TOLD_OF_TEXTS = COLUMNS["narratives"]["narratives"]
SCORE_COLUMNS = tuple(name for name in polars_schema(EVALUATIONS) if name != "critique")

#: Narratives that a teacher was asked for and that never came about: of which case, which of its candidates, whether
#: its author was told the diagnosis, and the rule of the rejection.
LOST = pl.Schema({"narrative_id": pl.String(), "case_id": pl.String(), "candidate": pl.Int64(),
                  "label_seen": pl.Boolean(), "rule": pl.String()})  # fmt: skip

_CASE_FOR_CHECKS = ["case_id", "node_id", "label_certainty"]


def propose_settings(config: Config) -> Any:
    """Teacher, its revision, and how many candidates."""
    said = config.propose.model_dump(mode="json", exclude={"imported", "vlm"})
    if config.propose.teacher == "textbook":
        return [said, _textbook_revision()]
    from flows.teacher_steps import teacher_settings

    return [said, teacher_settings(config), _knowledge_digest(), load_taxonomy().digest]


@cache
def _textbook_revision() -> str:
    return textbook.teacher_revision(load_taxonomy(), knowledge())


def propose_items(build: Build) -> pl.DataFrame:
    """Live cases, keyed by what the teacher reads of each."""
    cases = build.table("split", "cases")
    texts = build.table("import", "texts").group_by("case_id").agg(pl.struct(pl.exclude("case_id")).alias("imported"))
    cases = cases.join(texts, on="case_id", how="left", maintain_order="left")
    looks = build.config.propose.teacher == "vlm"
    read = cases.select("case_id", *textbook.CASE_COLUMNS, *(["external_processing"] if looks else []))
    if texts.height:  # what others wrote is part of the key of the cases it is about, and of no other
        sets = digest_of(imported_settings(build.config))
        digests = pl.col("imported").list.eval(pl.element().struct.field("text_digest")).list.join(",") + f",{sets}"
        read = read.with_columns(cases.select(digests).to_series())
    items = cases.with_columns(row_keys(read, "propose", 5, propose_settings(build.config)))
    if not looks:
        return items
    from flows.teacher_steps import with_places

    return with_places(items, build)


def run_propose(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    """Write the candidates of a shard of cases."""
    told = config.propose
    keys = items.select("case_id", "row_key")
    totals: Mapping[str, float] = {}
    if told.teacher == "vlm":
        from flows.teacher_steps import meter_of, teach

        taught, refused = teach(items, config)
        totals = meter_of(config.workspace).totals()
        key_of = dict(keys.iter_rows())
        rejected = [{**row, "row_key": key_of[case_id]} for case_id, row in refused]
    else:
        cases = items.drop("row_key", "imported")
        result = textbook.propose(cases, told.candidates, load_taxonomy(), knowledge(), told.trajectories)
        taught = result.kept
        rejected = result.rejected.join(keys, left_on="record_id", right_on="case_id").to_dicts()
    sets = {known.name: known for known in told.imported}
    given = items.filter(pl.col("imported").is_not_null()).select("case_id", "imported")
    rows = [row for case, texts in given.iter_rows() for row in candidates(case, texts, told.candidates, sets)]
    written = pl.concat([taught, pl.DataFrame(rows, schema=taught.schema)]).sort("case_id", "candidate")
    texts = written.group_by("case_id", maintain_order=True).agg("narrative_id", "completion")
    distances = [distance for told in texts["completion"].to_list() for distance in sibling_distances(told)]
    measured = texts.select(pl.col("narrative_id").explode()).with_columns(
        pl.Series("sibling_distance", distances, dtype=pl.Float64)
    )
    kept = written.join(measured, on="narrative_id", maintain_order="left").join(keys, on="case_id")
    return ShardResult(kept, rejected, totals=totals)


def propose_collect(build: Build, items: pl.DataFrame, rejected: list[dict[str, Any]]) -> Collected:
    """The rejections, and of every narrative among them what it would have been (:data:`LOST`)."""
    case_of = dict(items.select("row_key", "case_id").iter_rows())
    lost = [
        {**row, "narrative_id": row["record_id"], "case_id": case_of[row["row_key"]]}
        for row in rejected
        if row["record_kind"] == "narrative"
    ]
    told = polars_schema(STAGE_REJECTIONS).names()
    rows = rejections_frame([{name: row[name] for name in told} for row in rejected])
    table = pl.DataFrame([{name: row[name] for name in LOST} for row in lost], schema=LOST).sort("narrative_id")
    return {"rejected": rows, "lost": table}, {}


def plain_collect(build: Build, items: pl.DataFrame, rejected: list[dict[str, Any]]) -> Collected:
    """The rejections as the work wrote them."""
    rows = rejections_frame([{k: v for k, v in row.items() if k != "row_key"} for row in rejected])
    return {"rejected": rows}, {}


def standardise_items(build: Build) -> pl.DataFrame:
    """Candidates and corrections, keyed by their text and what their case allows them to say.

    A correction travels with its item (``correction``), since no row step made it.
    """
    columns = ["row_key", "part", "row_digest", "case_id", "narrative_id"]
    proposed = build.table("propose", "selection", columns).rename({"row_key": "from_key", "part": "from_part"})
    texts = build.table("correct", "narratives")
    corrected = texts.select(
        row_digests(texts), "case_id", "narrative_id", pl.struct(polars_schema(NARRATIVES).names()).alias("correction")
    )
    items = pl.concat([proposed, corrected], how="diagonal")
    items = items.join(build.table("split", "cases", _CASE_FOR_CHECKS), on="case_id").sort("case_id", "narrative_id")
    content = items.select("row_digest", "node_id", "label_certainty")
    return items.with_columns(row_keys(content, "standardise", 5, load_taxonomy().digest))


def _narratives_of(store: Store, step: str, items: pl.DataFrame) -> pl.DataFrame:
    """The narratives that items refer to (``from_key``, ``from_part``, ``narrative_id``), as a step made them."""
    places = items.select(pl.col("from_key").alias("row_key"), pl.col("from_part").alias("part")).unique()
    rows = store.read_rows(step, places, list(polars_schema(NARRATIVES)))
    return rows.drop("row_key").join(items.select("narrative_id"), on="narrative_id", how="semi")


def _by_narrative(kept: pl.DataFrame, rejected: pl.DataFrame, items: pl.DataFrame) -> ShardResult:
    keys = items.select("narrative_id", "row_key")
    failed = rejected.join(keys, left_on="record_id", right_on="narrative_id").to_dicts()
    return ShardResult(kept.join(keys, on="narrative_id"), failed)


#: What gates ask of a text, kept beside it so that they need not read it.
_CONCLUDED = pl.col("narrative_json").str.json_path_match("$.conclusion.taxonomy_id").alias("concluded_node")
_LENGTH = pl.col("text").str.len_chars().cast(pl.Int64).alias("text_length")


def run_standardise(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    """Parse and check a shard of candidates."""
    cases = items.select(_CASE_FOR_CHECKS).unique()
    written = items.filter(pl.col("correction").is_null())
    texts = items.filter(pl.col("correction").is_not_null()).select(pl.col("correction").struct.unnest())
    made = [texts, _narratives_of(store, "propose", written).select(texts.columns)] if written.height else [texts]
    result = standardise(pl.concat(made), cases, load_taxonomy())
    return _by_narrative(result.kept.with_columns(_CONCLUDED, _LENGTH), result.rejected, items)


_CASE_FOR_RUBRIC = [
    "node_id",
    "label_certainty",
    "age_years",
    "sex",
    "site",
    "concepts",
    "caption",
    "facts",
    "raw_label",
    "source",
    "image_ids",
    "label_rule",
    "lesion_id",
    "patient_id",
]
#: What a score cannot hang on, so that it need not be made again when only this changes.
_NAMES_ONLY = ("image_ids", "label_rule", "lesion_id", "patient_id", "source")


def evaluate_settings(config: Config) -> Any:
    """Evaluator and what it knows."""
    return [config.evaluate.model_dump(mode="json"), rubric.EVALUATOR_ID, _knowledge_digest(), load_taxonomy().digest]


@cache
def _knowledge_digest() -> str:
    return cards_digest(knowledge())


def evaluate_items(build: Build) -> pl.DataFrame:
    """Standardised narratives, keyed by their text and their case's facts."""
    where = ["row_key", "part", "row_digest", "narrative_id", "case_id"]
    parsed = build.table("standardise", "selection", where).rename({"row_key": "from_key", "part": "from_part"})
    cases = build.table("split", "cases", ["case_id", *_CASE_FOR_RUBRIC])
    facts = row_digests(cases.select(name for name in _CASE_FOR_RUBRIC if name not in _NAMES_ONLY))
    cases = cases.with_columns(facts.alias("case_digest"))
    items = parsed.join(cases, on="case_id").sort("case_id", "narrative_id")
    content = items.select("row_digest", "case_digest")
    return items.with_columns(row_keys(content, "evaluate", 1, evaluate_settings(build.config)))


def run_evaluate(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    """Score a shard of narratives."""
    cases = items.select("case_id", *_CASE_FOR_RUBRIC).unique("case_id")
    narratives = _narratives_of(store, "standardise", items)
    result = rubric.evaluate(narratives, cases, load_taxonomy(), knowledge())
    return _by_narrative(result.kept, result.rejected, items)


def run_select(build: Build) -> Collected:
    """Choose a narrative per case and hold training cases to thresholds and quotas."""
    told = ["narrative_id", "case_id", "candidate", "trajectory", "synthetic_trajectory"]
    candidates = build.table("propose", "selection", told)
    result = select(
        build.table("split", "cases"),
        candidates,
        build.rows("evaluate", ["narrative_id", *DIMENSIONS, "overall"]),
        build.config.select,
        build.parent.case_ids,
    )
    standardised = build.table("standardise", "selection", ["narrative_id", "case_id", "author_kind"]).filter(
        pl.col("author_kind") == "teacher"  # a correction is asked about because it is one, and is not drawn
    )
    queue = certification_queue(
        build.table("split", "cases"), result.kept, standardised, build.config.certification, build.config.split.salt
    )
    stats = {
        "kept": {"cases": result.kept.height, "narratives to certify": queue.height},
        "splits": dict(result.stats),
        "drawn at random": int(queue["random"].sum()),
    }
    return {"selected": result.kept, "queue": queue, "rejected": result.rejected}, stats
