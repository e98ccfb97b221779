"""Gates as steps: the tables each gate looks at, made from finished steps.

A gate's report is its output, so an unchanged build does not pay for it twice; a blocked gate is raised again every
time, and before anything is published. Texts themselves are never read here: what the rules ask of them was kept beside
them when they were standardised.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from corpus.annotations import counted, planted_ids
from corpus.certified import HUMAN, raters_needed
from flows.gate_process import checked
from flows.narrative_steps import SCORE_COLUMNS, TOLD_OF_TEXTS
from flows.plan import Build, Tables
from quality.expectations import COLUMNS, Gate
from quality.gates import GateReport, leakage_table, raise_if_blocked, threshold_table
from schemas.stage import rejections_frame
from schemas.tables import DIMENSIONS, INSPECTIONS, polars_schema
from schemas.taxonomy import load_taxonomy

_HASHES = ("phash_whole", "phash_centre")


def _report(gate: Gate, tables: Tables, build: Build) -> tuple[Tables, dict[str, Any]]:
    report = checked(gate, tables, build.config.gate)
    results = report.to_dict()["results"]
    failed = sum(not result["success"] for result in results)
    stats = {"kept": {"rules passed": len(results) - failed}, "passed": report.passed, "report": report.to_dict()}
    return {"rejected": rejections_frame([])}, stats


def raise_if_gate_blocked(stats: Any) -> None:
    """Raise GateError for the stored statistics of a gate step that did not pass."""
    if "report" in stats and not stats["passed"]:
        report = stats["report"]
        raise_if_blocked(GateReport(report["gate"], stats["passed"], report["results"]))


def gate_ingest(build: Build) -> tuple[Tables, dict[str, Any]]:
    """Images and cases as read: are they whole, licensed, and not mostly lost?"""
    images = build.table("ingest", "images")
    columns = [name for name in polars_schema(INSPECTIONS).names() if name not in _HASHES]
    inspected = images.join(build.rows("inspect", columns), on="file_digest").drop("tone_observations", "notes")
    cases = build.table("map_labels", "cases")
    counted = {"n_images": "image_ids", "n_concepts": "concepts", "n_facts": "facts"}
    cases = cases.with_columns(pl.col(column).list.len().alias(name) for name, column in counted.items())
    lost = build.table("read", "rejected").filter(pl.col("record_kind") == "image").height
    n_rows = build.table("read", "records", ["source"]).height + lost
    n_rejected = n_rows - inspected.height
    counts = pl.DataFrame(
        {"n_source_rows": [n_rows], "n_rejected": [n_rejected], "rejected_share": [n_rejected / max(1, n_rows)]}
    )
    tables = {"images": inspected, "cases": cases.drop(counted.values()), "counts": counts}
    return _report("ingest", tables, build)


def gate_narratives(build: Build) -> tuple[Tables, dict[str, Any]]:
    """Standardised narratives and their scores: parsed, known, complete, in range?"""
    narratives = build.rows("standardise", list(TOLD_OF_TEXTS))
    evaluations = build.rows("evaluate", list(SCORE_COLUMNS))
    return _report("narratives", {"narratives": narratives, "evaluations": evaluations}, build)


def gate_release(build: Build) -> tuple[Tables, dict[str, Any]]:
    """The rows about to be published: leak-free, licensed, above the thresholds, not mixing drawn and real?"""
    taxonomy = load_taxonomy()
    cases = build.table("split", "cases")
    selected = build.table("certify", "selected")
    chosen = cases.drop("split").join(selected.select("case_id", "narrative_id", "split"), on="case_id")
    malignancy = {node: taxonomy.node(node).malignancy for node in chosen["node_id"].unique()}
    digests = {"image_digest": pl.col("image_digests"), "pixel_digest": pl.col("pixel_digests")}
    evaluations = build.rows("evaluate", ["narrative_id", *DIMENSIONS, "overall"])
    published = chosen.filter(pl.col("split").is_in(["train", "certified"]))
    told = build.rows("standardise", ["narrative_id", "image_grounded", "label_seen", "text_length"])
    rows = (
        published.join(evaluations, on="narrative_id").join(told, on="narrative_id")
        .with_columns(
            pl.col("node_id").alias("taxonomy_id"),
            pl.col("node_id").replace_strict(malignancy, return_dtype=pl.String).alias("malignancy"),
            pl.col("image_ids").list.len().cast(pl.Int64).alias("n_images"),
            **digests,
        )
        .join(_certified_facts(build, published), on="narrative_id")
    )  # fmt: skip
    identity = ["split", "group_id", "patient_id", "lesion_id"]
    others = cases.join(published.select("case_id"), on="case_id", how="anti")
    held_out = others.filter(pl.col("split").is_in(["certify_queue", "calibration"])).select(*identity, **digests)
    refused = build.table("select", "rejected").filter(pl.col("rule") == "no_redistribution").height
    train = rows.filter(pl.col("split") == "train")
    text_only, blind = train.filter(~pl.col("image_grounded")), train.filter(~pl.col("label_seen"))
    counts = pl.DataFrame(
        {
            "n_train": [train.height],
            "n_certified": [rows.filter(pl.col("split") == "certified").height],
            "n_no_redistribution": [refused],
            "n_synthetic": [rows.filter("synthetic").height],
            "n_real": [rows.filter(~pl.col("synthetic")).height],
            "n_text_only_refused": [0 if build.config.allows_text_only() else text_only.height],
            "n_simulated_refused": [0 if build.config.allows_simulated_raters() else _simulated(build)],
            "blind_share": [blind.height / max(1, train.height)],
        }
    )
    tables = {
        "rows": rows.with_columns(pl.col(name).list.join(" ") for name in digests),
        "leakage": leakage_table(rows.select(*identity, *digests), held_out),
        "thresholds": threshold_table(rows, build.config.select),
        "counts": counts,
    }
    tables["rows"] = tables["rows"].select(COLUMNS["release"]["rows"])
    return _report("release", tables, build)


def _certified_facts(build: Build, published: pl.DataFrame) -> pl.DataFrame:
    """What the rules on certified rows ask, by narrative, counted from the answers anew: ``is_planted``,
    ``is_flagged``, ``raters_missing`` and ``human_missing`` (mean scores that a certified row lacks).
    """
    rules, snapshot = build.config.certification, build.table("annotations", "snapshot")
    authors = build.table("correct", "authors")
    views = counted(snapshot, rules).join(authors, on=["narrative_id", "rater"], how="anti")
    have = dict(views.group_by("narrative_id").agg(pl.col("rater").n_unique()).iter_rows())
    written = set(authors["narrative_id"])
    planted, removed = set(planted_ids(snapshot)), set(build.table("annotations", "removals")["case_id"])
    outcomes = build.table("certify", "outcomes").select("narrative_id", *HUMAN, "human_overall")
    scores = {name: sum(score is None for score in rest) for name, *rest in outcomes.iter_rows()}
    rows = [
        {
            "narrative_id": narrative,
            "is_planted": narrative in planted,
            "is_flagged": case in removed,
            "raters_missing": max(0, raters_needed(rules, narrative in written) - have.get(narrative, 0))
            * (split == "certified"),
            "human_missing": scores.get(narrative, len(HUMAN) + 1) * (split == "certified"),
        }
        for narrative, case, split in published.select("narrative_id", "case_id", "split").iter_rows()
    ]
    flags, numbers = ("is_planted", "is_flagged"), ("raters_missing", "human_missing")
    kinds = {**dict.fromkeys(flags, pl.Boolean), **dict.fromkeys(numbers, pl.Int64)}
    return pl.DataFrame(rows, schema={"narrative_id": pl.String, **kinds})


def _simulated(build: Build) -> int:
    summary = build.table("certify", "summary")
    return int(summary.filter(pl.col("kind") == "simulated")["count"].sum())
