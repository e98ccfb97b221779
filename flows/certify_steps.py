"""Glue between the store and certification: the snapshot of answers, corrections as candidates, and what is certified.

The snapshot is copied into the workspace, so that a build works on what it first saw. Who said what stays there: the
tables that a release is made from count raters and name none.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from annotators.corrections import corrected_candidates
from corpus.annotations import REMOVING_FLAGS, corrections, counted, planted_answers, planted_ids, removals
from corpus.certification import strata_of
from corpus.certified import KNOWN, STATES, outcomes
from corpus.certified_cases import certified_choice, open_queue, refusals, with_certified
from corpus.splits import FLAGGED, certified_entries
from flows.plan import FOOLED, ROW_SCHEMAS, Build, Collected
from quality.agreement import decision_agreement, score_agreement
from quality.alignment import alignment
from schemas.config import Config
from schemas.stage import rejections_frame
from schemas.tables import DIMENSIONS

#: Of agreement and alignment, digits that are published; more would hang on the order of sums.
_DIGITS = 6
_SUMMARY = {"kind": pl.String, "name": pl.String, "count": pl.Int64}
_MEASURED = ["narrative_id", *DIMENSIONS, "overall"]


def certification_rules(config: Config) -> Any:
    """What of the configuration decides which answers count and what they come to."""
    return config.certification.model_dump(mode="json", exclude={"size", "random_share", "annotations"})


def run_annotations(build: Build) -> Collected:
    """Copy the snapshot, and take out of it what earlier steps have to know: removals and corrected texts."""
    rules = build.config.certification
    texts, rejected = corrections(build.annotations, rules)
    flagged_cases = removals(build.annotations, rules)
    tables = {"snapshot": build.annotations, "removals": flagged_cases, "corrections": texts}
    kept = {"answers": build.annotations.height, "corrections": texts.height} if build.annotations.height else {}
    return {**tables, "rejected": rejections_frame(rejected)}, {"kept": kept}


def flagged(build: Build) -> dict[str, str]:
    """Image to the flag for which its case is removed; duplicates share its fate, or one of them would replace it."""
    asked = build.table("annotations", "removals", ["case_id", "reason"])
    images = build.table("ingest", "cases", ["case_id", "image_ids"]).explode("image_ids")
    own = asked.join(images, on="case_id").select(pl.col("image_ids").alias("image_id"), "reason")
    clusters = build.table("deduplicate", "decisions", ["image_id", "cluster_id"])
    shared = own.join(clusters, on="image_id").join(clusters, on="cluster_id", suffix="_of_cluster")
    rows = [*own.iter_rows(), *shared.select("image_id_of_cluster", "reason").iter_rows()]
    gravity = [FLAGGED + flag for flag in REMOVING_FLAGS]
    return dict(sorted(rows, key=lambda row: gravity.index(row[1]), reverse=True))  # the gravest is written last


def run_correct(build: Build) -> Collected:
    """Corrected texts as candidates."""
    texts = build.table("annotations", "corrections")
    placed = build.table("propose", "selection", ["row_key", "part", "narrative_id"])
    wanted = placed.join(texts.select(narrative_id="parent_narrative_id").unique(), on="narrative_id", how="semi")
    columns = ["narrative_id", "case_id", "candidate", "trajectory", "teacher_terms"]
    parents = pl.DataFrame(schema={name: ROW_SCHEMAS["propose"][name] for name in columns})
    if wanted.height:
        made = build.store.read_rows("propose", wanted, columns).select(columns)
        parents = made.join(wanted, on="narrative_id", how="semi")
    held = build.table("split", "cases", ["case_id", "split"]).filter(pl.col("split") == "certify_queue")["case_id"]
    rows, authors, rejected = corrected_candidates(texts, parents, held)
    kept = {"narratives": rows.height} if rows.height else {}
    return {"narratives": rows, "authors": authors, "rejected": rejections_frame(rejected)}, {"kept": kept}


def run_certify(build: Build) -> Collected:
    """Apply the rules; the tables that people publish from hold counts and means only."""
    rules, snapshot = build.config.certification, build.table("annotations", "snapshot")
    cases = build.table("split", "cases")
    held = held_out(cases)
    scored = scored_narratives(build)
    known = known_narratives(build, scored.join(held.select("case_id"), on="case_id", how="semi"))
    found = outcomes(snapshot, known, rules)
    planted = planted_ids(snapshot)
    selected, rejected = with_certified(
        build.table("select", "selected"), found, scored.drop("case_id"), cases, planted, build.config.select
    )
    rejected += refusals(found, snapshot["narrative_id"], build.rows("standardise", ["narrative_id"])["narrative_id"])
    certified = (
        certified_choice(found).select("case_id").join(cases.select("case_id", "group_id", "image_ids"), on="case_id")
    )
    fooled = _fooled(snapshot)
    tables = {
        "selected": selected,
        "outcomes": found,
        "queue": open_queue(build.table("select", "queue"), found, strata_of(held)),
        "agreement": _agreement(snapshot, build.config, known),
        "alignment": alignment_rows(snapshot, build.config, known, scored),
        "summary": _summary(build, found, snapshot),
        "rejected": rejections_frame(rejected),
        "_ledger": certified_entries(certified),
    }
    kept = {f"narratives {state.replace('_', ' ')}": n for state, n in _states(found).items()}
    return tables, {"kept": kept, FOOLED: dict(sorted(fooled.items()))}


def held_out(cases: pl.DataFrame) -> pl.DataFrame:
    """Of live cases those that raters may certify."""
    return cases.filter((pl.col("split") == "certify_queue") & (pl.col("licence_class") != "no-redistribution"))


def scored_narratives(build: Build) -> pl.DataFrame:
    """Every narrative of the build that the evaluator scored, with its scores."""
    told = ["narrative_id", "case_id", "candidate", "trajectory", "synthetic_trajectory"]
    return build.rows("standardise", told).join(build.rows("evaluate", _MEASURED), on="narrative_id")


def known_narratives(build: Build, scored: pl.DataFrame) -> pl.DataFrame:
    """:data:`corpus.certified.KNOWN` of held-out narratives, of which ``scored`` are rows."""
    authors = build.table("correct", "authors").group_by("narrative_id").agg(
        pl.col("rater").sort().alias("authors"), pl.col("simulated").any().alias("simulated_author")
    )  # fmt: skip
    least = build.config.select.thresholds.model_dump()
    total = pl.col("overall") if build.config.select.aggregate == "mean" else pl.min_horizontal(DIMENSIONS)
    lacks = [
        pl.when(pl.col(name) < least[name]).then(pl.format(f"{name} {{}}", pl.col(name).round(2)))
        for name in (*DIMENSIONS, "aggregate")
    ]
    listed = pl.concat_str(lacks, separator=", ", ignore_nulls=True)
    rows = scored.with_columns(total.alias("aggregate")).with_columns(
        pl.when(listed != "").then(listed).alias("shortfall")
    )
    return rows.join(authors, on="narrative_id", how="left", maintain_order="left").select(
        "narrative_id",
        "case_id",
        pl.col("authors").fill_null(pl.lit([], pl.List(pl.String))),
        pl.col("simulated_author").fill_null(False),
        "shortfall",
    ).cast(dict(KNOWN))  # type: ignore[arg-type]  # fmt: skip


def _ratings(snapshot: pl.DataFrame, config: Config, known: pl.DataFrame) -> pl.DataFrame:
    """First counted answers about held-out narratives, as :mod:`quality.rating_tables` wants them."""
    rows = counted(snapshot, config.certification).filter(pl.col("occasion") == "first")
    rows = rows.join(known.select("narrative_id"), on="narrative_id", how="semi")
    return rows.select(pl.col("narrative_id").alias("item"), "rater", *DIMENSIONS, "decision").sort("item", "rater")


def _agreement(snapshot: pl.DataFrame, config: Config, known: pl.DataFrame) -> pl.DataFrame:
    """Agreement of all raters together, by dimension, of the scores and of the decisions; never of one or of a pair."""
    ratings = _ratings(snapshot, config, known)
    told = [score_agreement(ratings.drop("decision")), decision_agreement(ratings)]
    rows = pl.concat(told).filter(pl.col("rater_a").is_null() & pl.col("rater_b").is_null())
    return rows.drop("rater_a", "rater_b").with_columns(pl.col("estimate", "low", "high").round(_DIGITS))


def alignment_rows(snapshot: pl.DataFrame, config: Config, known: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """The evaluator against the raters: over what was drawn with a known chance, weighted, where there is any of it.

    ``basis``: drawn | all.
    """
    ratings = _ratings(snapshot, config, known).drop("decision")
    asked = pl.col("inclusion_probability").is_not_null() & pl.col("narrative_id").is_in(ratings["item"].implode())
    drawn = snapshot.filter(asked).sort("narrative_id").unique("narrative_id", keep="first", maintain_order=True)
    chances = drawn.select(pl.col("narrative_id").alias("item"), "inclusion_probability")
    rated = scored.join(ratings.select(narrative_id="item").unique(), on="narrative_id", how="semi")
    items = rated.sort("narrative_id").select(pl.col("narrative_id").alias("item"), *DIMENSIONS)
    if chances.height:
        items = items.join(chances, on="item", maintain_order="left")
    rows = alignment(items, ratings)
    figures = pl.col("estimate", "low", "high", "n_effective").round(_DIGITS)
    return rows.with_columns(figures, pl.lit("drawn" if chances.height else "all").alias("basis"))


def _states(found: pl.DataFrame) -> dict[str, int]:
    counts = Counter(found["state"])
    return {state: counts[state] for state in STATES if counts[state]}


def _summary(build: Build, found: pl.DataFrame, snapshot: pl.DataFrame) -> pl.DataFrame:
    """What a release says of certification in numbers: ``kind``, ``name``, ``count``."""
    asked = build.table("annotations", "removals")
    shown = planted_answers(snapshot).filter(pl.col("decision") != "cannot_judge")
    simulated = int(found["simulated"].sum()) + int(asked["simulated"].sum())
    rows = [
        *(("state", state, count) for state, count in _states(found).items()),
        *(("removed", reason, count) for reason, count in sorted(Counter(asked["reason"]).items())),
        ("corrections", "narratives", int(found["correction"].sum())),
        ("planted", "shown", shown.height),
        ("planted", "certified", shown.filter(pl.col("decision") == "certify").height),
        ("simulated", "outcomes and removals", simulated),
    ]
    return pl.DataFrame(rows, schema=_SUMMARY, orient="row")


def _fooled(snapshot: pl.DataFrame) -> Counter[str]:
    """How many narratives with a planted fault each rater certified; for whoever runs the build, never published."""
    return Counter(planted_answers(snapshot).filter(pl.col("decision") == "certify")["rater"])
