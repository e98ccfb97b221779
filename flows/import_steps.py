"""Glue between the store and the narratives that others wrote: which cases their texts are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from annotators.imported import TEXTS, match_texts
from corpus.digests import digest_of
from corpus.sources.narratives import Columns, read_narratives
from flows.plan import Build, Collected
from schemas.config import Config
from schemas.stage import rejections_frame


def imported_settings(config: Config) -> Any:
    """What is told of the imported sets, less where they lie."""
    return [told.model_dump(mode="json", exclude={"path"}) for told in config.propose.imported]


def imported_files(build: Build) -> Any:
    """Digest of what lies at the path of every imported set."""
    return [(told.name, _listing(Path(told.path))) for told in build.config.propose.imported]


def _listing(path: Path) -> str:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return digest_of([[str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns] for f in files])


def run_import(build: Build) -> Collected:
    """Match the texts of imported sets with live cases."""
    cases = build.table("split", "cases", ["case_id", "image_ids"])
    images = build.table("ingest", "images", ["image_id", "source_image_id", "file_path"])
    texts: list[dict[str, Any]] = []
    rejected: list[dict[str, str | None]] = []
    for told in build.config.propose.imported:
        columns = Columns(text=told.text_column, id=told.id_column, image=told.image_column)
        for batch, unread in read_narratives(Path(told.path), columns):
            found, refused = match_texts(told.name, batch.iter_rows(named=True), cases, images)
            texts += found
            rejected += [*unread, *refused]
    table = pl.DataFrame(texts, schema=TEXTS).sort("case_id", "set_name", "text_digest", "source_id")
    return {"texts": table, "rejected": rejections_frame(rejected)}, {"kept": {"texts": table.height}}
