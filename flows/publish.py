"""The last step: from finished steps to a published release, and the record of the run in the workspace."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any

import polars as pl

from corpus.card import render_card
from corpus.certified import HUMAN
from corpus.digests import digest_of
from corpus.filesystem import Folder
from corpus.packs import read_payloads
from corpus.release_evidence import without_details
from corpus.release_rows import FORMAT, SCALARS, TEXTS
from corpus.release_tables import ReleaseTables
from corpus.releases import Release, ReleaseContent, publish, published_releases
from flows.evidence import candidates, duplicates
from flows.execute import rejections_of
from flows.html_report import ReportInMaking
from flows.plan import Build, Step, content_digest, step_key
from flows.steps import READS_PARENT, STEPS
from quality.gates import refuse_without_intended_use
from schemas.intended_use import intended_use
from schemas.tables import DIMENSIONS, REJECTIONS, polars_schema
from schemas.taxonomy import load_taxonomy

#: Steps whose outputs hang on where and when files lie; their content reaches the release through ``ingest``.
_NOT_PUBLISHED = ("read", "fingerprint")
_SOFTWARE = ("dermcot", "pyarrow", "polars", "pillow", "numpy", "scipy", "datasets", "great-expectations")


def build_id(build: Build) -> str:
    """The identity of a build: what it was configured to do and what every step made of it."""
    made = [(s.name, content_digest(build.outputs[s.name])) for s in STEPS if s.name not in _NOT_PUBLISHED]
    return digest_of("build", build.config.published(), made)[:24]


def all_rejections(build: Build) -> pl.DataFrame:
    """Every rejection of the build with its ``build_id``, in a fixed order, as far as it may be published."""
    tables = [rejections_of(build.outputs[step.name], build.store) for step in STEPS]
    columns = polars_schema(REJECTIONS).names()
    rows = pl.concat(tables).with_columns(pl.lit(build_id(build)).alias("build_id")).select(columns)
    owned = [("propose", "selection"), ("propose", "lost"), ("correct", "narratives")]
    owners = pl.concat([build.table(step, name, ["narrative_id", "case_id"]) for step, name in owned])
    cases = build.table("split", "cases", ["case_id", "split", "licence_class"])
    hidden = cases.filter((pl.col("split") != "train") | (pl.col("licence_class") == "no-redistribution"))
    rows = without_details(rows, owners, hidden["case_id"])
    return rows.sort("record_kind", "record_id", "stage", "rule")


def gather(build: Build) -> ReleaseTables:
    """Gather from the finished steps; the gates may still be at work, so what takes time to tell is asked here."""
    with ThreadPoolExecutor() as pool:
        pictures = pool.submit(duplicates, build)
        rows = _rows(build, build.table("split", "cases").drop("split"), build.table("certify", "selected"))
        published = rows.filter(pl.col("split").is_in(["train", "certified"]))
        written = pool.submit(candidates, build, published)
        queue = rows.filter(pl.col("split").is_in(["certify_queue", "calibration"]))  # published by id and digest only
        shown = (written.result(), pictures.result())
    certification = build.table("certify", "queue")
    return ReleaseTables(published, queue, certification, *shown, build.config.release.rows_per_file).told()


def release_content(build: Build, tables: ReleaseTables) -> ReleaseContent:
    """What the release is made of, from what was gathered and the finished steps."""
    published = tables.rows
    drawn = published if published.height else build.table("split", "cases", ["synthetic"])
    record = {
        "build_id": build_id(build),
        "intended_use": intended_use(),
        "synthetic": bool(drawn["synthetic"].any()),
        "configuration": build.config.published(),
        "stages": _stages(build),
        "simulated": _is_simulated(build),
        "counts": _counts(build, tables),
        "certification": _certification(build),
        "gates": [build.outputs[step.name].stats["report"] for step in STEPS if step.name.startswith("gate_")],
        "taxonomy": {"version": load_taxonomy().version, "digest": load_taxonomy().digest},
        "software": {"python": platform.python_version(), **{name: version(name) for name in _SOFTWARE}},
    }
    ledger = pl.concat([build.table("split", "_ledger"), build.table("certify", "_ledger")])
    return ReleaseContent(tables, all_rejections(build), ledger, record)


def _rows(build: Build, cases: pl.DataFrame, selected: pl.DataFrame) -> pl.DataFrame:
    """One row per chosen case with every scalar a release publishes; all by key, since joins do not keep order."""
    taxonomy = load_taxonomy()
    known = [taxonomy.node(node) for node in sorted(set(cases["node_id"]))]
    nodes = pl.DataFrame(
        [(n.id, n.id, n.name, n.malignancy, list(taxonomy.path(n.id))) for n in known],
        schema={"node_id": pl.String, "taxonomy_id": pl.String, "diagnosis": pl.String, "malignancy": pl.String,
                "taxonomy_path": pl.List(pl.String)},
        orient="row",
    )  # fmt: skip
    paths = build.table("ingest", "images", ["image_id", "file_path"])
    files = (
        cases.select("case_id", image_id="image_ids").explode("image_id")
        .join(paths, on="image_id", how="left", maintain_order="left")
        .group_by("case_id", maintain_order=True).agg(file_paths="file_path")
    )  # fmt: skip
    scores = build.rows("evaluate", ["narrative_id", "evaluator_id", "scale_low", "scale_high", *DIMENSIONS, "overall"])
    named = ["narrative_id", "row_digest"]
    digests = build.table("standardise", "selection", named).join(
        build.table("evaluate", "selection", named), on="narrative_id", suffix="_evaluation"
    )
    row_digest = pl.concat_str("row_digest", "row_digest_evaluation").alias("row_digest")
    rows = selected.join(cases, on="case_id").join(nodes, on="node_id").join(files, on="case_id")
    said = build.table("certify", "outcomes").select("narrative_id", *HUMAN, "human_overall", "n_raters", "simulated")
    rows = rows.join(said, on="narrative_id", how="left").with_columns(
        *(pl.when(pl.col("split") == "certified").then(pl.col(name)) for name in (*HUMAN, "human_overall", "n_raters")),
        (pl.col("simulated").fill_null(False) & (pl.col("split") == "certified")).alias("simulated"),
    )
    rows = rows.join(scores, on="narrative_id").join(digests.select("narrative_id", row_digest), on="narrative_id")
    assert rows.height == selected.height
    columns = [*SCALARS, "split", "row_digest"]
    return rows.select(columns).sort("case_id")


def _is_simulated(build: Build) -> bool:
    summary = build.table("certify", "summary")
    return bool(summary.filter(pl.col("kind") == "simulated")["count"].sum())


def _certification(build: Build) -> dict[str, Any]:
    """What dermatologists said, in numbers about all of them: never of one, never of a pair."""
    counts: dict[str, dict[str, int]] = {}
    for kind, name, n in build.table("certify", "summary").iter_rows():
        counts.setdefault(kind, {})[name] = n
    asked = build.config.certification.annotations is not None
    return {
        "annotations": build.annotations_digest if asked else None,
        "counts": counts,
        "agreement": build.table("certify", "agreement").to_dicts(),
        "alignment": build.table("certify", "alignment").to_dicts(),
    }


def _stages(build: Build) -> dict[str, Any]:
    return {
        step.name: {
            "version": step.version,
            "settings": digest_of(step.settings(build.config)),
            "output": content_digest(build.outputs[step.name]),
            "kept": dict(build.outputs[step.name].stats.get("kept", {})),
        }
        for step in STEPS
        if step.name not in _NOT_PUBLISHED
    }


def _counts(build: Build, tables: ReleaseTables) -> dict[str, Any]:
    rows, certification = tables.rows, tables.certification

    def by(frame: pl.DataFrame, column: str) -> dict[str, int]:
        return dict(frame.group_by(column).len().sort(column).iter_rows())

    found = build.outputs["deduplicate"].stats
    refused = build.table("select", "rejected").filter(pl.col("rule") == "no_redistribution").height
    told = build.rows("standardise", ["narrative_id", "image_grounded", "label_seen"])
    seen, blind = told.filter("image_grounded"), told.filter(~pl.col("label_seen"))
    return {
        "rows": rows.height,
        "images": int(rows["image_ids"].list.len().sum()),
        "by_split": by(rows, "split"),
        "by_licence_class": by(rows, "licence_class"),
        "by_source": by(rows, "source"),
        "by_tone": by(rows, "tone_group"),
        "by_diagnosis": by(rows, "taxonomy_id"),
        "by_trajectory": by(rows, "trajectory"),
        "synthetic_trajectories": int(rows["synthetic_trajectory"].sum()),
        "held_out": by(tables.queue, "split"),
        "to_certify": {name: int(certification[name].sum()) for name in ("stratified", "random")},
        "not_redistributable": refused,
        "text_only": rows.join(seen, on="narrative_id", how="anti").height,
        "blind": rows.filter(pl.col("split") == "train").join(blind, on="narrative_id", how="semi").height,
        "duplicates": {
            name: found[name]
            for name in ("clusters", "largest_cluster", "largest_diameter", "cut_components", "label_conflicts")
        },
    }


def publish_release(build: Build, tables: ReleaseTables, progress: Callable[[int, int], None]) -> tuple[Release, bool]:
    """Publish what the build made; a release of identical content is returned instead of made twice."""
    content = release_content(build, tables)
    folder = Folder(build.config.releases)
    published = pl.col("image_digest").is_in(tables.rows["image_digests"].explode().implode())
    where = build.rows("inspect", ["image_digest", "pack", "pack_offset", "stored_bytes"]).filter(published)
    places = {digest: (pack, offset, size, digest) for digest, pack, offset, size in where.iter_rows()}
    placed = ["row_key", "part", "narrative_id"]
    chosen = build.table("standardise", "selection", placed).join(tables.rows.select("narrative_id"), on="narrative_id")
    judged = build.table("evaluate", "selection", placed).join(tables.rows.select("narrative_id"), on="narrative_id")

    def texts(rows: pl.DataFrame) -> pl.DataFrame:
        found_at = chosen.join(rows.select("narrative_id"), on="narrative_id")
        names = [name for name in TEXTS if name not in ("context", "critique")]
        found = build.store.read_rows("standardise", found_at, ["narrative_id", *names, "context_used"])
        found = found.join(rows.select("narrative_id"), on="narrative_id").rename({"context_used": "context"})
        scored = judged.join(rows.select("narrative_id"), on="narrative_id")
        critiques = build.store.read_rows("evaluate", scored, ["narrative_id", "critique"]).drop("row_key")
        found = found.join(critiques, on="narrative_id")
        return rows.select("narrative_id").join(found, on="narrative_id", how="left", maintain_order="left")

    def payloads(rows: pl.DataFrame) -> list[list[bytes]]:
        lists = rows["image_digests"].to_list()
        wanted = [places[digest] for digests in lists for digest in digests]
        folder = build.store.folder
        flat = iter(read_payloads(folder.fs, folder.path("rows/inspect"), wanted))
        return [[next(flat) for _ in digests] for digests in lists]

    with build.store.scratch() as scratch:
        return publish(
            folder,
            scratch,
            content,
            build.parent.digest,
            _card,
            partial(ReportInMaking, tables.rows, payloads=payloads),
            texts,
            payloads,
            progress,
        )


def _card(version: str, manifest: Mapping[str, Any], rows: pl.DataFrame) -> str:
    """The dataset card; a release that does not say what it is for is refused here, before its manifest is written."""
    card = render_card(version, manifest, rows)
    refuse_without_intended_use(card, manifest)
    return card


def release_key(build: Build) -> str:
    """Key of the finished build: its content, what it is for, and where releases go."""
    return digest_of("release", FORMAT, build_id(build), intended_use(), build.config.releases)


def find_release(build: Build) -> Release | None:
    """The release that this very build already made, if it is still there and whole."""
    output = build.store.find_step("release", release_key(build))
    if output is None:
        return None
    for release in published_releases(Folder(build.config.releases)):
        if release.name == output.stats["name"] and release.digest == output.stats["digest"]:
            return release
    return None


def remember_release(build: Build, release: Release) -> None:
    """Note which release this build made, and that steps which read the latest release give the same again.

    A step that takes the latest release into account must, by its own rules, repeat its result when that release is
    its own: published images stay survivors, published groups keep their split. So its output is also filed under the
    key the next build will compute.
    """
    build.store.save_step("release", release_key(build), {}, {"name": release.name, "digest": release.digest})
    later = Build(build.config, build.store, dict(build.outputs))
    by_name: Mapping[str, Step] = {step.name: step for step in STEPS}
    for name in READS_PARENT:
        key = step_key(by_name[name], later)
        assert key is not None
        build.store.alias_step(build.outputs[name], key)
