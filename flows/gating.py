"""Gates as steps: the tables each gate looks at, made from finished steps.

A gate's report is its output, so an unchanged build does not pay for it twice; a blocked gate is raised again every
time, and before anything is published. Texts are reduced to what the rules ask of them part by part: a gate's memory
must not grow with the length of the narratives.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from flows.plan import Build, Tables
from quality.expectations import Gate
from quality.gates import GateReport, leakage_table, raise_if_blocked, run_gate, threshold_table
from schemas.stage import rejections_frame
from schemas.tables import DIMENSIONS, EVALUATIONS, INSPECTIONS, NARRATIVES, polars_schema
from schemas.taxonomy import load_taxonomy

_HASHES = ("phash_whole", "phash_centre")


def _report(gate: Gate, tables: Tables, build: Build) -> tuple[Tables, dict[str, Any]]:
    report = run_gate(gate, tables, build.config.gate)
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
    texts = ["text", "tagged_text", "completion"]
    names = [name for name in polars_schema(NARRATIVES).names() if name not in texts]
    concluded = pl.col("narrative_json").str.json_path_match("$.conclusion.taxonomy_id").alias("concluded_node")
    frames = []
    for frame in build.store.row_parts("standardise", build.table("standardise", "selection"), [*names, "text"]):
        frames.append(
            frame.select(
                *(name for name in names if name not in ("narrative_json", "context_used")),
                concluded,
                pl.col("text").str.len_chars().cast(pl.Int64).alias("text_length"),
            )
        )
    evaluations = build.rows("evaluate", [n for n in polars_schema(EVALUATIONS).names() if n != "critique"])
    return _report("narratives", {"narratives": pl.concat(frames), "evaluations": evaluations}, build)


def gate_release(build: Build) -> tuple[Tables, dict[str, Any]]:
    """The rows about to be published: leak-free, licensed, above the thresholds, not mixing drawn and real?"""
    taxonomy = load_taxonomy()
    cases = build.table("split", "cases")
    selected = build.table("select", "selected")
    chosen = cases.join(selected.select("case_id", "narrative_id"), on="case_id")
    malignancy = {node: taxonomy.node(node).malignancy for node in chosen["node_id"].unique()}
    digests = {"image_digest": pl.col("image_digests"), "pixel_digest": pl.col("pixel_digests")}
    evaluations = build.rows("evaluate", ["narrative_id", *DIMENSIONS, "overall"])
    published = chosen.filter(pl.col("split").is_in(["train", "certified"]))
    lengths = []
    for frame in build.store.row_parts(
        "standardise", build.table("standardise", "selection"), ["narrative_id", "image_grounded", "text"]
    ):
        lengths.append(
            frame.select(
                "narrative_id", "image_grounded", pl.col("text").str.len_chars().cast(pl.Int64).alias("text_length")
            )
        )
    rows = (
        published.join(evaluations, on="narrative_id").join(pl.concat(lengths), on="narrative_id")
        .with_columns(
            pl.col("node_id").alias("taxonomy_id"),
            pl.col("node_id").replace_strict(malignancy, return_dtype=pl.String).alias("malignancy"),
            pl.col("image_ids").list.len().cast(pl.Int64).alias("n_images"),
            **digests,
        )
    )  # fmt: skip
    identity = ["split", "group_id", "patient_id", "lesion_id"]
    held_out = cases.filter(pl.col("split").is_in(["certify_queue", "calibration"])).select(*identity, **digests)
    refused = build.table("select", "rejected").filter(pl.col("rule") == "no_redistribution").height
    counts = pl.DataFrame(
        {
            "n_train": [rows.filter(pl.col("split") == "train").height],
            "n_certified": [rows.filter(pl.col("split") == "certified").height],
            "n_no_redistribution": [refused],
            "n_synthetic": [rows.filter("synthetic").height],
            "n_real": [rows.filter(~pl.col("synthetic")).height],
        }
    )
    tables = {
        "rows": rows.with_columns(pl.col(name).list.join(" ") for name in digests),
        "leakage": leakage_table(rows.select(*identity, *digests), held_out),
        "thresholds": threshold_table(rows, build.config.select),
        "counts": counts,
    }
    from quality.expectations import COLUMNS

    tables["rows"] = tables["rows"].select(COLUMNS["release"]["rows"])
    return _report("release", tables, build)
