"""Ingest: from what the datasets say to ``images`` and ``cases``, and from files to their digests.

Three steps, so that each is redone only when it must be: *read* the metadata tables (whenever anything in a source
folder changed), *fingerprint* files (only new or touched ones; modification times stay in the workspace's cache and
never reach a release), *ingest* (join the two into tables that depend on content alone).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from corpus.digests import first_by_digest
from corpus.sources import read_source
from schemas.config import SourceSettings
from schemas.errors import SourceError
from schemas.licences import LICENCE_CLASS
from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import CASES, IMAGES, SOURCE_RECORDS, STAGE_REJECTIONS, polars_schema

FILES = pl.Schema(
    {"source": pl.String, "file_path": pl.String, "absolute": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64}
)
FINGERPRINTS = pl.Schema(
    {"source": pl.String, "file_path": pl.String, "file_bytes": pl.Int64, "file_digest": pl.String}
)
_KEYED = pl.Schema([("row_key", pl.String), *FINGERPRINTS.items()])


def check_folders(sources: Sequence[SourceSettings]) -> None:
    """Raise :class:`SourceError` for the first source whose folder is not there, before anything is started."""
    for number, source in enumerate(sources):
        if not Path(source.path).is_dir():
            what = "is not a folder" if Path(source.path).exists() else "is not there"
            raise SourceError(
                f"the folder {source.path} of source {source.name!r} {what}: set sources.{number}.path to where the "
                "dataset lies, or draw the sample that the default configuration reads with `dermcot sample`"
            )


def list_files(root: Path) -> pl.DataFrame:
    """Every regular file below ``root``: ``file_path`` (relative, posix), ``size`` in bytes, ``mtime_ns``; sorted."""
    rows: list[tuple[str, int, int]] = []
    pending = [(root, "")]
    while pending:
        folder, prefix = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            name = os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            try:
                if entry.is_dir(follow_symlinks=False):
                    pending.append((Path(entry.path), f"{prefix}{name}/"))
                elif entry.is_file():
                    status = entry.stat()
                    rows.append((f"{prefix}{name}", status.st_size, status.st_mtime_ns))
            except OSError:  # a link that leads in a circle, a file that has just gone
                continue
    schema = {"file_path": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("file_path")


def read_sources(
    sources: Sequence[SourceSettings], limit: int | None
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, dict[str, dict[str, int]]]:
    """Read every source's metadata.

    Returns records (:data:`SOURCE_RECORDS` plus ``source``), the files they name (:data:`FILES`), rejections, and
    notes per source. ``limit`` keeps that many images, spread over (source, label) in proportion.
    """
    records, rejected = [], [pl.DataFrame(schema=polars_schema(STAGE_REJECTIONS))]
    notes: dict[str, dict[str, int]] = {}
    for source in sources:
        reading = read_source(source, Path(source.path))
        records.append(reading.records.select(pl.lit(source.name).alias("source"), pl.all()))
        rejected.append(reading.rejected)
        notes[source.name] = dict(sorted(reading.notes.items()))
    table = (
        pl.concat(records) if records else pl.DataFrame(schema={"source": pl.String, **polars_schema(SOURCE_RECORDS)})
    )
    if limit is not None and table.height > limit:
        table = _stratified(table, limit)
    table = table.sort("source", "source_image_id")
    return table, _files_of(table, sources), pl.concat(rejected), notes


def _files_of(records: pl.DataFrame, sources: Sequence[SourceSettings]) -> pl.DataFrame:
    rows = []
    begins = {source.name: str(Path(source.path) / "_")[:-1] for source in sources}
    for source, relative in records.select("source", "file_path").unique(maintain_order=True).iter_rows():
        absolute = begins[source] + relative
        try:
            status = os.stat(absolute)
            rows.append((source, relative, absolute, status.st_size, status.st_mtime_ns))
        except OSError:
            rows.append((source, relative, absolute, -1, -1))
    return pl.DataFrame(rows, schema=FILES, orient="row")


def _stratified(records: pl.DataFrame, limit: int) -> pl.DataFrame:
    """``limit`` records: within each (source, label) by salted digest, strata served by largest remaining share."""
    ranked = []
    for stratum in records.partition_by("source", "raw_label"):
        ids = first_by_digest(stratum["source_image_id"].to_list(), "limit")
        place = {identifier: (index + 0.5) / len(ids) for index, identifier in enumerate(ids)}
        ranked.append(stratum.with_columns(pl.col("source_image_id").replace_strict(place).alias("_place")))
    return pl.concat(ranked).sort("_place", "source", "source_image_id").head(limit).drop("_place")


def fingerprint(files: pl.DataFrame) -> tuple[pl.DataFrame, list[dict[str, str]]]:
    """sha256 of each file: :data:`FINGERPRINTS` rows with their ``row_key``, and what could not be read."""
    rows, failed = [], []
    for key, source, relative, absolute in files.select("row_key", "source", "file_path", "absolute").iter_rows():
        try:
            with open(absolute, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                rows.append((key, source, relative, os.fstat(file.fileno()).st_size, digest))
        except OSError as error:
            failed.append({"row_key": key, "rule": "file_unreadable", "detail": str(error.strerror)})
    return pl.DataFrame(rows, schema=["row_key", *FINGERPRINTS], orient="row", schema_overrides=_KEYED), failed


def ingest(
    records: pl.DataFrame, fingerprints: pl.DataFrame, sources: Sequence[SourceSettings]
) -> tuple[pl.DataFrame, pl.DataFrame, StageResult]:
    """Join records with file digests into ``images`` and ``cases``; the result's ``rejected`` explains the rest."""
    synthetic = {source.name: source.synthetic for source in sources}
    joined = records.join(
        fingerprints.select("source", "file_path", "file_bytes", "file_digest"), on=["source", "file_path"], how="left"
    ).with_columns(
        (pl.col("source") + ":" + pl.col("source_image_id")).alias("image_id"),
        (pl.col("source") + ":" + pl.col("source_case_id")).alias("case_id"),
        pl.col("licence").replace_strict(LICENCE_CLASS).alias("licence_class"),
        pl.col("source").replace_strict(synthetic, return_dtype=pl.Boolean).alias("synthetic"),
    )
    unreadable = joined.filter(pl.col("file_digest").is_null())
    empty = joined.filter(pl.col("file_bytes") == 0)
    rejected = [
        *(_rejected_image(i, "file_unreadable") for i in unreadable["image_id"]),
        *(_rejected_image(i, "empty_file", value=0, threshold=1) for i in empty["image_id"]),
    ]
    good = joined.filter(pl.col("file_bytes") > 0)
    cases, conflicts = _cases(good)
    good = good.filter(pl.col("case_id").is_in(cases["case_id"].implode()))
    images = good.select(polars_schema(IMAGES).names()).sort("image_id")
    stats = {"images": images.height, "cases": cases.height}
    return images, cases, StageResult(images, rejections_frame([*rejected, *conflicts]), stats)


def _rejected_image(image_id: str, rule: str, **more: object) -> dict[str, str | None]:
    value, threshold = more.get("value"), more.get("threshold")
    return rejection("image", image_id, "ingest", rule, value=value, threshold=threshold)


def _cases(images: pl.DataFrame) -> tuple[pl.DataFrame, list[dict[str, str | None]]]:
    """One row per case; a case whose images disagree about the label is rejected whole, nothing is chosen."""
    labels = images.group_by("case_id").agg(pl.col("raw_label").drop_nulls().unique().sort().alias("labels"))
    clash = labels.filter(pl.col("labels").list.len() > 1).sort("case_id")
    conflicts = [
        rejection("case", case, "ingest", "images_disagree", value=" | ".join(names))
        for case, names in clash.iter_rows()
    ]
    kept = images.join(clash, on="case_id", how="anti").sort("image_id")
    single = ["raw_label", "label_certainty", "lesion_id", "patient_id", "age_years", "sex", "site", "caption"]
    cases = (
        kept.with_columns(
            (pl.col("source") + ":" + pl.col("lesion_key")).alias("lesion_id"),
            (pl.col("source") + ":" + pl.col("patient_key")).alias("patient_id"),
        )
        .group_by("case_id", maintain_order=True)
        .agg(
            pl.col("source").first(),
            pl.col("image_id").alias("image_ids"),
            *(pl.col(name).drop_nulls().first() for name in single),
            pl.col("concepts").first(),
            pl.col("facts").first(),
        )
        .with_columns(pl.lit(None, pl.String).alias("node_id"), pl.lit(None, pl.String).alias("label_rule"))
    )
    return cases.select(polars_schema(CASES).names()).sort("case_id"), conflicts


def image_labels(images: pl.DataFrame, cases: pl.DataFrame) -> pl.DataFrame:
    """``image_id`` with its case's ``case_id``, ``node_id``, ``label_certainty``, ``lesion_id``, ``patient_id``."""
    columns = ["case_id", "node_id", "label_certainty", "lesion_id", "patient_id"]
    per_image = cases.select("image_ids", *columns).explode("image_ids").rename({"image_ids": "image_id"})
    return images.select("image_id").join(per_image, on="image_id", how="left")


def lost_cases(cases: pl.DataFrame, lost: Mapping[str, dict[str, str | None]]) -> list[dict[str, str | None]]:
    """Case rejections that follow from image rejections (by ``image_id``): a case whose every image is lost.

    The case row repeats rule, value and threshold of its first lost image, so that a case always has its answer too.
    """
    rows = []
    touched = pl.col("image_ids").list.eval(pl.element().is_in(list(lost))).list.any()
    for case_id, image_ids in cases.select("case_id", "image_ids").filter(touched).iter_rows():
        if all(image in lost for image in image_ids):
            first = lost[image_ids[0]]
            rows.append({**first, "record_kind": "case", "record_id": case_id})
    return rows
