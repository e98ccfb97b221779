"""Reads a release and writes its report: which rows are shown, and their images made small enough to embed."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from PIL import Image

from corpus.digests import first_by_digest
from quality.report import Exhibit, render_report
from schemas.errors import UserError
from schemas.tables import DIMENSIONS

_GALLERY = 24
_THUMBNAIL = (420, 420)
_SCALARS = ["case_id", "diagnosis", "source", "licence", "tone_group", *DIMENSIONS]
_SHOWN = ["images", "text", "attribution", "age_years", "sex", "site", "modality", "label_certainty", *_SCALARS]


def report_of(release: Path) -> str:
    """The HTML report of the release in a folder; :class:`UserError` when there is no whole release."""
    try:
        manifest = json.loads((release / "manifest.json").read_text(encoding="utf-8"))
        files = {path: path.split("/")[1] for path in sorted(manifest["files"]) if path.startswith("data/")}
        frames = [_read(release / path).with_columns(split=pl.lit(s), file=pl.lit(path)) for path, s in files.items()]
        rejections = pl.read_parquet(release / "rejections.parquet")
    except FileNotFoundError as error:
        raise UserError(
            f"{release} is no whole release ({error.filename} is not there): give the directory that `dermcot run` "
            "printed last"
        ) from None
    rows = pl.concat(frames).sort("case_id")
    return render_report(manifest, rows, rejections, _exhibits(release, rows))


def _read(path: Path) -> pl.DataFrame:
    frame = pl.from_arrow(pq.read_table(path, columns=_SCALARS))
    assert isinstance(frame, pl.DataFrame)
    return frame


def gallery(rows: pl.DataFrame, size: int = _GALLERY) -> list[str]:
    """Case ids to show: one of each diagnosis and skin tone in turn, drawn by digest, in the order of diagnoses."""
    order = {case: place for place, case in enumerate(first_by_digest(rows["case_id"].to_list(), "gallery"))}
    ranked = (
        rows.with_columns(pl.col("case_id").replace_strict(order, return_dtype=pl.Int64).alias("drawn"))
        .with_columns(pl.col("drawn").rank("ordinal").over("diagnosis").alias("of_diagnosis"))
        .with_columns(pl.col("drawn").rank("ordinal").over("tone_group", "of_diagnosis").alias("of_tone"))
        .sort("of_diagnosis", "of_tone", "drawn")
    )
    return ranked.head(size).sort("diagnosis", "case_id")["case_id"].to_list()


def _exhibits(release: Path, rows: pl.DataFrame) -> list[Exhibit]:
    wanted = gallery(rows) if rows.height else []
    found: dict[str, Exhibit] = {}
    for (path,), part in rows.filter(pl.col("case_id").is_in(wanted)).group_by("file"):
        ids = part["case_id"].to_list()
        for row in pq.read_table(release / str(path), columns=_SHOWN, filters=[("case_id", "in", ids)]).to_pylist():
            found[row["case_id"]] = _exhibit(row)
    return [found[case_id] for case_id in wanted]


def _exhibit(row: dict[str, Any]) -> Exhibit:
    age = None if row["age_years"] is None else f"{row['age_years']:g} years"
    facts = [age, row["sex"], row["site"], row["modality"], f"skin tone {row['tone_group']}", row["label_certainty"]]
    return Exhibit(
        case_id=row["case_id"],
        diagnosis=row["diagnosis"],
        facts=" · ".join(fact for fact in facts if fact),
        credit=f"{row['attribution']} ({row['licence']})",
        scores={name: row[name] for name in DIMENSIONS},
        text=row["text"],
        image=_thumbnail(row["images"][0]["bytes"]),
    )


def _thumbnail(data: bytes) -> str:
    """The image as a small JPEG in a ``data:`` URI."""
    with Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
    small.thumbnail(_THUMBNAIL)
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=78)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()
