"""Glue between the store and the stages from sources to splits: which tables go in, which come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from corpus.decontamination import MANIFEST_COLUMNS, decontaminate, read_manifest
from corpus.digests import row_keys
from corpus.duplicates import deduplicate
from corpus.ingest import fingerprint, ingest, lost_cases, read_sources
from corpus.inspection import inspect_shard
from corpus.labels import map_labels
from corpus.selection import live_cases
from corpus.splits import assign_splits
from corpus.store import Store
from flows.certify_steps import flagged
from flows.plan import Build, Collected, ShardResult
from schemas.config import Config
from schemas.errors import SourceError
from schemas.stage import rejection, rejections_frame
from schemas.tables import INSPECTIONS, polars_schema
from schemas.taxonomy import load_taxonomy


def source_settings(config: Config) -> Any:
    """What of the sources, but where they lie, shapes what is read."""
    return [source.model_dump(mode="json", exclude={"path"}) for source in config.sources]


def run_read(build: Build) -> Collected:
    """Read all metadata tables."""
    records, files, rejected, notes = read_sources(build.config.sources, build.config.limit)
    kept = {"records": records.height}
    return {"records": records, "_files": files, "rejected": rejected}, {"kept": kept, "notes": notes}


def fingerprint_items(build: Build) -> pl.DataFrame:
    """The files that records name, keyed by path, size and modification time."""
    files = build.table("read", "_files")
    return files.with_columns(row_keys(files.select("absolute", "size", "mtime_ns"), "fingerprint", 1))


def run_fingerprint(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    """Digest a shard of files."""
    rows, failed = fingerprint(items)
    return ShardResult(rows, failed)


def fingerprint_collect(build: Build, items: pl.DataFrame, failed: list[dict[str, Any]]) -> Collected:
    """Nothing beside the rows: a file that could not be read is rejected by ingest."""
    return {}, {}


def run_ingest(build: Build) -> Collected:
    """Join records and file digests into images and cases."""
    prints = build.rows("fingerprint", ["source", "file_path", "file_bytes", "file_digest"])
    images, cases, result = ingest(build.table("read", "records"), prints, build.config.sources)
    kept = {"images": images.height, "cases": cases.height}
    return {"images": images, "cases": cases, "rejected": result.rejected}, {"kept": kept}


def adapters(config: Config) -> dict[str, str]:
    """Source name -> adapter."""
    return {source.name: source.adapter for source in config.sources}


def run_map_labels(build: Build) -> Collected:
    """Put every case on the taxonomy."""
    result = map_labels(build.table("ingest", "cases"), adapters(build.config), load_taxonomy())
    stats = {"kept": {"cases": result.kept.height}, "labels": dict(result.stats)}
    return {"cases": result.kept, "rejected": result.rejected}, stats


def inspect_settings(config: Config) -> Any:
    """The limits of what is decoded."""
    return config.inspect.model_dump(mode="json")


def inspect_items(build: Build) -> pl.DataFrame:
    """Distinct files, keyed by their bytes."""
    roots = {source.name: source.path for source in build.config.sources}
    images = build.table("ingest", "images", ["image_id", "source", "file_path", "file_digest"])
    files = images.sort("image_id").unique("file_digest", keep="first", maintain_order=True)
    path = pl.col("source").replace_strict(roots, return_dtype=pl.String) + "/" + pl.col("file_path")
    files = files.select("file_digest", "image_id", path.alias("absolute"))
    return files.with_columns(row_keys(files.select("file_digest"), "inspect", 1, inspect_settings(build.config)))


#: Refusals that tell of a path at a moment, not of the bytes; they must not be remembered under the file's digest.
_OF_THE_MOMENT = ("file_missing", "file_changed", "file_unreadable")


def run_inspect(items: pl.DataFrame, config: Config, store: Store, scratch: Path) -> ShardResult:
    """Decode a shard of files and pack their payloads."""
    pack = scratch / "pack.tar"
    wanted = items.select("file_digest", "absolute", "image_id").rows()
    rows, refused = inspect_shard(wanted, config.inspect, pack)
    paths = dict(items.select("file_digest", "absolute").iter_rows())
    for row in refused:
        if row["rule"] in _OF_THE_MOMENT:
            raise SourceError(
                f"{paths[row['file_digest']]} changed while the build was reading it: run again once "
                "nothing writes to the source folders"
            )
    keys = dict(items.select("file_digest", "row_key").iter_rows())
    frame = pl.DataFrame(rows, schema=polars_schema(INSPECTIONS))
    frame = frame.with_columns(pl.col("file_digest").replace_strict(keys, return_dtype=pl.String).alias("row_key"))
    return ShardResult(frame, [{**row, "row_key": keys[row["file_digest"]]} for row in refused], pack)


def inspect_collect(build: Build, items: pl.DataFrame, refused: list[dict[str, Any]]) -> Collected:
    """Reject the images, and the cases, of files that are no usable image."""
    images = build.table("ingest", "images", ["image_id", "file_digest"])
    why = {row["file_digest"]: row for row in refused}
    bad = {
        image_id: rejection(
            "image",
            image_id,
            "inspect",
            row["rule"],
            value=row["value"],
            threshold=row["threshold"],
            detail=row["detail"],
        )
        for image_id, digest in images.filter(
            pl.col("file_digest").is_in(pl.Series(list(why)).cast(pl.String).implode())
        ).iter_rows()
        for row in [why[digest]]
    }
    lost = lost_cases(build.table("ingest", "cases", ["case_id", "image_ids"]), bad)
    return {"rejected": rejections_frame([*bad.values(), *lost])}, {"kept": {"images": images.height - len(bad)}}


_HASHED = ["file_digest", "pixel_digest", "width", "height", "phash_whole", "phash_centre"]


def run_deduplicate(build: Build) -> Collected:
    """Cluster the images and choose survivors."""
    result, edges = deduplicate(
        build.table("ingest", "images"),
        build.rows("inspect", _HASHED),
        _labelled(build),
        build.config.deduplicate,
        load_taxonomy(),
        build.parent.image_ids,
    )
    kept = {"images": result.kept.filter("kept").height}
    return {"decisions": result.kept, "edges": edges, "rejected": result.rejected}, {"kept": kept, **result.stats}


def _labelled(build: Build) -> pl.DataFrame:
    """All cases, with the label mapping's decision where there is one; unmapped ones still bind duplicates."""
    mapped = build.table("map_labels", "cases")
    rest = build.table("ingest", "cases").join(mapped.select("case_id"), on="case_id", how="anti")
    return pl.concat([mapped, rest.select(mapped.columns)]).sort("case_id")


def manifests(build: Build) -> pl.DataFrame:
    """All evaluation sets, stacked."""
    tables = [read_manifest(Path(path)) for path in build.config.decontaminate.manifests]
    empty = pl.DataFrame(schema=dict.fromkeys(MANIFEST_COLUMNS, pl.String))
    return pl.concat([empty, *tables]).unique().sort(MANIFEST_COLUMNS)


def run_decontaminate(build: Build) -> Collected:
    """Strike what belongs to an evaluation set, and group by leakage."""
    result = decontaminate(
        build.table("ingest", "images"),
        build.rows("inspect", _HASHED),
        _labelled(build),
        build.table("deduplicate", "edges"),
        manifests(build),
        adapters(build.config),
        build.config.decontaminate,
    )
    stats = {"kept": {"images": result.kept.filter("clean").height}, **result.stats}
    return {"groups": result.kept, "rejected": result.rejected}, stats


def run_split(build: Build) -> Collected:
    """Deal the groups, and gather the cases that are still alive."""
    cases = build.table("map_labels", "cases")
    result, entries = assign_splits(
        build.table("decontaminate", "groups"),
        _labelled(build),
        build.parent.ledger,
        build.config.split,
        flagged(build),
    )
    alive = live_cases(
        cases,
        build.table("ingest", "images"),
        build.rows("inspect", ["file_digest", "image_digest", "pixel_digest"]),
        build.table("deduplicate", "decisions"),
        result.kept,
    )
    tables = {"assignments": result.kept, "cases": alive, "rejected": result.rejected, "_ledger": entries}
    return tables, {"kept": {"cases": alive.height}, "splits": dict(result.stats)}
