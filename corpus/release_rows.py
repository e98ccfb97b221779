"""What a trainer gets: the columns of a release row, and how they are put into Parquet.

Files are written with pyarrow because only it keeps the ``huggingface`` schema metadata by which ``datasets`` decodes
images and needs no code of ours. ``images`` is a list since some datasets have several per case. Rows are cut into
files where the content says so, not at fixed counts: adding cases then leaves most files byte-identical.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.certified import HUMAN
from schemas.tables import DIMENSIONS

#: Version of what a release looks like; a new one makes every file anew.
FORMAT = 6
#: Rows whose images are fetched, encoded and written at a time; bounds the memory of writing a release.
ROW_GROUP = 64

#: Columns known before any image or text is fetched, in published order. ``human_...``: means over ``n_raters`` raters,
#: null in rows that nobody certified; ``simulated``: one of these raters was a program.
SCALARS = (
    "case_id", "source", "file_paths", "licence", "licence_class", "attribution", "synthetic", "raw_label", "diagnosis",
    "taxonomy_id", "taxonomy_path", "malignancy", "label_certainty", "age_years", "sex", "site", "modality",
    "tone_observations", "tone_group", "narrative_id", "candidate", "trajectory", "synthetic_trajectory", *DIMENSIONS,
    "overall", "evaluator_id", "scale_low", "scale_high", "group_id", "patient_id", "lesion_id", "image_ids",
    "image_digests", "pixel_digests", *HUMAN, "human_overall", "n_raters", "simulated",
)  # fmt: skip
#: Columns fetched with the narrative and its evaluation.
TEXTS = ("text", "tagged_text", "narrative_json", "context", "critique", "author_kind", "author", "author_revision",
         "parent_narrative_id", "teacher_terms", "label_seen", "image_grounded", "post_hoc",
         "post_hoc_findings")  # fmt: skip


def release_schema() -> pa.Schema:
    """The Arrow schema of a release row, with the metadata by which ``datasets`` knows its features.

    Made without ``datasets``, which takes over a second to import; a test holds the two to be equal.
    """
    text, number, count, flag = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    tone = pa.struct({"scale": text, "low": count, "high": count, "origin": text})
    lists = ["file_paths", "taxonomy_path", "image_ids", "image_digests", "pixel_digests", "context",
             "post_hoc_findings"]  # fmt: skip
    kinds: dict[str, pa.DataType] = {
        **dict.fromkeys((*TEXTS, *SCALARS), text),
        **dict.fromkeys(lists, pa.list_(text)),
        **dict.fromkeys(["age_years", "overall", "scale_low", "scale_high", *DIMENSIONS], number),
        **dict.fromkeys([*HUMAN, "human_overall"], number),
        **dict.fromkeys(["candidate", "post_hoc", "n_raters"], count),
        **dict.fromkeys(["synthetic", "synthetic_trajectory", "label_seen", "image_grounded", "simulated"], flag),
        "tone_observations": pa.list_(tone),
    }
    features = {
        "images": {"feature": {"_type": "Image"}, "_type": "List"},
        **{name: _feature(kind) for name, kind in kinds.items()},
    }
    columns = {"images": pa.list_(pa.struct({"bytes": pa.binary(), "path": text})), **kinds}
    return pa.schema(columns, {"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """A column type as ``datasets`` writes it down."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": "float64" if pa.types.is_float64(kind) else str(kind), "_type": "Value"}


def cut_files(case_ids: Sequence[str], rows_per_file: int) -> list[tuple[int, int]]:
    """Half-open row ranges, one per file, for sorted case ids.

    A file ends where a case id's digest says so (after a quarter of ``rows_per_file`` at the earliest) and at
    ``rows_per_file`` rows at the latest, so that the cuts after an inserted row fall where they fell before.
    """
    least = max(1, rows_per_file // 4)
    ranges, start = [], 0
    for index, case_id in enumerate(case_ids):
        size = index + 1 - start
        ends_here = int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:8]) % least == 0
        if size >= rows_per_file or (size >= least and ends_here):
            ranges.append((start, index + 1))
            start = index + 1
    if start < len(case_ids):
        ranges.append((start, len(case_ids)))
    return ranges


def write_rows(
    path: Path,
    rows: pl.DataFrame,
    texts: Callable[[pl.DataFrame], pl.DataFrame],
    payloads: Callable[[pl.DataFrame], list[list[bytes]]],
) -> None:
    """Write ``rows`` (columns :data:`SCALARS`) with their texts and images to a Parquet file, row group by row group.

    ``texts`` returns the :data:`TEXTS` columns, ``payloads`` the image bytes per case, both in the order given; texts
    are fetched once for all rows, images for a row group at a time.
    """
    schema = release_schema()
    categorical = ["source", "licence", "licence_class", "diagnosis", "taxonomy_id", "malignancy", "site", "modality"]
    with pq.ParquetWriter(path, schema, compression=_codecs(), use_dictionary=categorical) as writer:
        scalars = pl.concat([texts(rows).select(TEXTS), rows.select(SCALARS)], how="horizontal").to_arrow()
        for start in range(0, rows.height, ROW_GROUP):
            batch = rows.slice(start, ROW_GROUP)
            images = _images(payloads(batch), batch["image_digests"].to_list(), schema.field("images").type)
            writer.write_table(
                scalars.slice(start, ROW_GROUP).add_column(0, schema.field("images"), images).cast(schema)
            )


@cache
def _codecs() -> Mapping[str, str]:
    """Codec by leaf column. JPEG and PNG are compressed already: once more costs time, also of every reader."""
    empty = io.BytesIO()
    pq.ParquetWriter(empty, release_schema()).close()
    leaves = pq.ParquetFile(empty).schema
    names = [leaves.column(place).path for place in range(len(leaves))]
    return {name: "NONE" if name == "images.list.element.bytes" else "ZSTD" for name in names}


def _images(payloads: list[list[bytes]], digests: list[list[str]], kind: pa.ListType) -> pa.ListArray:
    """The images of each case, named by digest; by way of polars, since ``pyarrow.array`` imports pandas."""
    flat = [(data, digest) for case in zip(payloads, digests, strict=True) for data, digest in zip(*case, strict=True)]
    data = pl.Series([data for data, _ in flat], dtype=pl.Binary)
    path = pl.Series([f"{digest}.{_extension(data)}" for data, digest in flat], dtype=pl.String)
    image = kind.value_type
    columns = [column.to_arrow().cast(field.type) for column, field in zip((data, path), image, strict=True)]
    ends = pl.Series([0, *accumulate(len(case) for case in payloads)], dtype=pl.Int32)
    return pa.ListArray.from_arrays(ends.to_arrow(), pa.StructArray.from_arrays(columns, fields=list(image)), kind)


def _extension(data: bytes) -> str:
    return "png" if data.startswith(b"\x89PNG") else "jpg"
