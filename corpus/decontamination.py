"""Decontaminate: images of evaluation sets never enter training, and neither does anything of their leakage group.

An evaluation set is named by a manifest: one row per image with any of name, digests and hashes. Manifests fail loudly:
a row that cannot be read would silently let a benchmark image through. Leakage groups are the connected components of
patient, lesion and duplicate edges; they are made here because a benchmark image condemns its whole group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from corpus.clusters import components, star_edges
from corpus.digests import digest_of
from corpus.duplicates import hash_array
from corpus.hamming_join import match_pairs
from corpus.ingest import image_labels, lost_cases
from corpus.sources.tabular import read_frame
from schemas.config import DecontaminateSettings
from schemas.errors import ConfigError
from schemas.stage import StageResult, rejection, rejections_frame

MANIFEST_COLUMNS = ("dataset", "name", "file_digest", "pixel_digest", "phash_whole", "phash_centre")
GROUPS = pl.Schema({"image_id": pl.String, "group_key": pl.String, "clean": pl.Boolean})


def read_manifest(path: Path) -> pl.DataFrame:
    """An evaluation set's manifest (CSV, Parquet or JSON lines) as strings, blanks null.

    Columns are any of :data:`MANIFEST_COLUMNS`; digests are sha256 in hex, hashes 256-bit in hex. ``name`` counts only
    where ``dataset`` is the adapter or source it belongs to, since bare file names repeat across datasets.
    """
    try:
        table = read_frame(path)
    except FileNotFoundError:
        raise ConfigError(f"there is no evaluation manifest {path}: mend decontaminate.manifests") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"the evaluation manifest {path} cannot be read ({reason})") from error
    known = [name for name in MANIFEST_COLUMNS if name in table.columns]
    if not known or known == ["dataset"]:
        raise ConfigError(f"the evaluation manifest {path} has none of the columns {', '.join(MANIFEST_COLUMNS[1:])}")
    table = table.select(pl.col(name).cast(pl.String).str.strip_chars() for name in known)
    table = table.with_columns(pl.when(pl.col(n) == "").then(None).otherwise(pl.col(n)).alias(n) for n in known)
    table = table.with_columns(pl.lit(None, pl.String).alias(n) for n in MANIFEST_COLUMNS if n not in known)
    for column in MANIFEST_COLUMNS[2:]:
        for number, text in enumerate(table[column], start=2):
            if text is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", text):
                raise ConfigError(f"line {number} of the evaluation manifest {path}: {column} is not 64 hex digits")
    useless = table.with_row_index(offset=2).filter(
        pl.all_horizontal(pl.col(MANIFEST_COLUMNS[2:]).is_null())
        & (pl.col("name").is_null() | pl.col("dataset").is_null())
    )
    if useless.height:
        raise ConfigError(
            f"line {useless['index'][0]} of the evaluation manifest {path} names nothing: give a digest, a hash, or a "
            "dataset with a name"
        )
    lowered = [pl.col(name).str.to_lowercase() for name in MANIFEST_COLUMNS[2:]]
    return table.select(pl.col("dataset"), pl.col("name"), *lowered)


def leakage_groups(images: pl.DataFrame, labels: pl.DataFrame, edges: pl.DataFrame) -> list[list[str]]:
    """Components of patient, lesion and duplicate edges over the inspected images."""
    ids = sorted(images["image_id"].to_list())
    owner = labels.filter(pl.col("image_id").is_in(images["image_id"].implode())).sort("image_id")
    present = set(ids)
    pairs = [(a, b) for a, b in edges.select("left", "right").iter_rows() if a in present and b in present]
    for column in ("lesion_id", "patient_id", "case_id"):
        pairs += star_edges(owner[column].to_list(), owner["image_id"].to_list())
    return components(ids, pairs)


def group_key(members: Sequence[str]) -> str:
    """The id of a new leakage group: a digest of its members."""
    return digest_of("group", sorted(members))[:24]


def decontaminate(
    images: pl.DataFrame,
    inspections: pl.DataFrame,
    cases: pl.DataFrame,
    edges: pl.DataFrame,
    manifest: pl.DataFrame,
    adapters: Mapping[str, str],
    settings: DecontaminateSettings,
) -> StageResult:
    """Group the inspected images and reject what belongs to an evaluation set (``manifest``: all of them, stacked).

    ``adapters`` maps source to adapter. ``kept`` is one :data:`GROUPS` row per inspected image, ``clean`` false for
    rejected ones.
    """
    labels = image_labels(images, cases)
    frame = images.join(inspections, on="file_digest").sort("image_id")
    hits = _matches(frame, manifest, adapters, settings.max_distance)
    rows: list[tuple[str, str, bool]] = []
    rejected: dict[str, dict[str, str | None]] = {}
    groups = leakage_groups(frame, labels, edges)
    n_groups = 0
    for group in groups:
        struck = [image for image in group if image in hits]
        n_groups += bool(struck)
        for image in group:
            if image in hits:
                value, survivor = hits[image]
                rejected[image] = rejection(
                    "image",
                    image,
                    "decontaminate",
                    "benchmark_image",
                    value=value,
                    threshold=settings.max_distance,
                    survivor=survivor,
                )
            elif struck and settings.reject_group:
                rejected[image] = rejection("image", image, "decontaminate", "benchmark_group", value=struck[0])
        key = group_key(group)
        rows += [(image, key, image not in rejected) for image in group]
    kept = pl.DataFrame(rows, schema=GROUPS, orient="row").sort("image_id")
    lost = [{**row, "survivor": None} for row in lost_cases(cases, rejected)]
    stats = {
        "groups": len(groups),
        "groups_struck": n_groups,
        "evaluation_images": manifest.height,
        "largest_group": max((len(group) for group in groups), default=0),
    }
    return StageResult(kept, rejections_frame([*rejected.values(), *lost]), stats)


def _matches(
    frame: pl.DataFrame, manifest: pl.DataFrame, adapters: Mapping[str, str], max_distance: int
) -> dict[str, tuple[str, str]]:
    """image_id -> (how it matched, the evaluation image), the surest way first."""
    hits: dict[str, tuple[str, str]] = {}
    named = manifest.with_row_index().with_columns(
        pl.coalesce(
            pl.col("dataset") + "/" + pl.col("name"),
            "name",
            "file_digest",
            "pixel_digest",
            "phash_whole",
            "phash_centre",
        ).alias("label")
    )
    for column in ("file_digest", "pixel_digest"):
        found = frame.join(named.select(pl.col(column), "label").drop_nulls(), on=column, how="inner")
        for image, label in found.select("image_id", "label").sort("label").iter_rows():
            hits.setdefault(image, (column, label))
    names = named.filter(pl.col("name").is_not_null() & pl.col("dataset").is_not_null())
    wanted = {
        (dataset, _stem(name)): label for dataset, name, label in names.select("dataset", "name", "label").iter_rows()
    }
    for image, source, name in frame.select("image_id", "source", "source_image_id").iter_rows():
        stem = _stem(name)
        for dataset in (source, adapters[source]):
            if (label := wanted.get((dataset, stem))) is not None:
                hits.setdefault(image, ("name", label))
    hashed = named.filter(pl.col("phash_whole").is_not_null() | pl.col("phash_centre").is_not_null())
    if hashed.height and frame.height:
        uprights, owner = [], []
        for label, *hashes in hashed.select("label", "phash_whole", "phash_centre").iter_rows():
            for text in filter(None, hashes):
                uprights.append(np.frombuffer(bytes.fromhex(text), dtype=np.uint8))
                owner.append(label)
        pairs = match_pairs(
            hash_array(frame["phash_whole"]), hash_array(frame["phash_centre"]), np.array(uprights), max_distance
        )
        ids = frame["image_id"].to_list()
        for distance, image, row in sorted(
            zip(pairs.distance.tolist(), pairs.left.tolist(), pairs.right.tolist(), strict=True)
        ):
            hits.setdefault(ids[image], (f"phash distance {distance}", owner[row]))
    return hits


def _stem(name: str) -> str:
    """A file name as evaluation lists write it: no folder, extension or ``_downsampled`` mark, case-folded."""
    stem = re.sub(r"\.(jpe?g|png|bmp|tiff?|webp)$", "", name.rsplit("/", 1)[-1].casefold())
    return stem.removesuffix("_downsampled")
