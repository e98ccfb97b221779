"""Glue between finished steps and what a release keeps for its report: texts fetched, pictures made small."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import polars as pl
from PIL import Image

from corpus.packs import read_payloads
from corpus.release_evidence import (
    CANDIDATES,
    DUPLICATES,
    asked_for,
    candidate_outcomes,
    clusters_to_show,
    worst_refused,
)
from flows.execute import rejections_of
from flows.plan import Build
from schemas.tables import DIMENSIONS
from schemas.tone import tone_group

_PICTURE = (240, 240)
_WRITTEN = ["narrative_id", "case_id", "candidate", "trajectory", "sibling_distance", "label_seen", "image_grounded",
            "post_hoc", "sampling"]  # fmt: skip


def candidates(build: Build, published: pl.DataFrame) -> pl.DataFrame:
    """Every candidate of training cases as :data:`corpus.release_evidence.CANDIDATES`."""
    cases = build.table("split", "cases", ["case_id", "split", "node_id", "licence_class", "tone_observations"])
    tones = [tone_group(seen) for seen in cases["tone_observations"].to_list()]
    stages = ("propose", "standardise", "evaluate", "select")
    rejected = pl.concat([rejections_of(build.outputs[step], build.store) for step in stages])
    tried = pl.col("record_kind") == "attempt"
    told = candidate_outcomes(
        cases.with_columns(pl.Series("tone_group", tones, dtype=pl.String)),
        asked_for(build.rows("propose", _WRITTEN), build.table("propose", "lost"), rejected.filter(tried)),
        build.rows("evaluate", ["narrative_id", *DIMENSIONS, "overall"]),
        published,
        rejected.filter(~tried),
    )
    worst = worst_refused(told, cases.filter(pl.col("licence_class") == "no-redistribution")["case_id"])
    wanted = worst.select("narrative_id")
    for step, column in (("standardise", "text"), ("evaluate", "critique")):
        places = build.table(step, "selection", ["row_key", "part", "narrative_id"]).join(wanted, on="narrative_id")
        found = build.store.read_rows(step, places, ["narrative_id", column])
        found = found.select(pl.col("narrative_id", column).cast(pl.String))  # untyped where there are none
        told = told.join(found, on="narrative_id", how="left", maintain_order="left")
    return told.select(list(CANDIDATES)).cast(dict(CANDIDATES))  # type: ignore[arg-type]


def duplicates(build: Build) -> pl.DataFrame:
    """Pictures of some duplicate clusters as :data:`corpus.release_evidence.DUPLICATES`."""
    labels = build.table("ingest", "cases", ["image_ids", "raw_label"]).explode("image_ids")
    wanted = ["image_id", "licence_class", "attribution", "file_digest"]
    images = build.table("ingest", "images", wanted).join(
        labels.rename({"image_ids": "image_id"}), on="image_id", how="left"
    )
    rows = clusters_to_show(
        build.table("deduplicate", "decisions"), images, build.table("split", "assignments", ["image_id", "split"])
    )
    if rows.is_empty():
        return pl.DataFrame(schema=DUPLICATES)
    places = ["file_digest", "image_digest", "pack", "pack_offset", "stored_bytes"]
    stored = build.rows("inspect", places).join(rows.select("file_digest").unique(), on="file_digest")
    where = {digest: (pack, offset, size, image) for digest, image, pack, offset, size in stored.select(
        "file_digest", "image_digest", "pack", "pack_offset", "stored_bytes").iter_rows()}  # fmt: skip
    folder = build.store.folder
    payloads = read_payloads(folder.fs, folder.path("rows/inspect"), [where[d] for d in rows["file_digest"]])
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(partial(small_jpeg, size=_PICTURE), payloads))
    return rows.with_columns(pl.Series("picture", pictures, dtype=pl.Binary)).select(list(DUPLICATES))


def small_jpeg(data: bytes, size: tuple[int, int]) -> bytes:
    """An image file's picture as a JPEG that fits into ``size`` (pixels, width and height)."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", size)
        small = image.convert("RGB")
    small.thumbnail(size)
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=78)
    return sink.getvalue()
