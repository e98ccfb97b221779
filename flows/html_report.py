"""Reads a release and writes its report: which rows are shown, and their images made small enough to embed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.digests import first_by_digest
from corpus.filesystem import Folder
from flows.evidence import small_jpeg
from quality.diversity import repeated_limitations
from quality.report import Cluster, Evidence, Exhibit, Member, Refused, render_report
from schemas.errors import StoreError, UserError
from schemas.tables import DIMENSIONS
from schemas.taxonomy import load_taxonomy

_GALLERY = 24
_THUMBNAIL = (420, 420)
_SCALARS = ["case_id", "diagnosis", "source", "licence", "tone_group", "trajectory", *DIMENSIONS]
_SHOWN = ["text", "attribution", "age_years", "sex", "site", "modality", "label_certainty",
          "synthetic_trajectory", *_SCALARS]  # fmt: skip
_RELATIONS = {"survivor": "kept", "exact": "exact duplicate", "conflict": "labels disagree: all refused"}
#: The bytes of the images of each row.
Payloads = Callable[[pl.DataFrame], list[list[bytes]]]


def published_report(release: str) -> tuple[str, str]:
    """Name and HTML report of the release in a folder or at an fsspec URL; :class:`UserError` when it is none."""
    parent, _, name = release.rstrip("/").rpartition("/")
    whole = "give the directory that `dermcot run` printed last"
    try:
        folder = Folder(parent or ".")
        manifest = json.loads(folder.read(f"{name}/manifest.json"))
    except (OSError, StoreError) as error:
        raise UserError(f"{release} is no whole release ({error}): {whole}") from None
    except ValueError as error:
        raise UserError(f"{release}/manifest.json is damaged ({error}): {whole}") from None
    try:
        return name, report_of(folder, name, manifest)
    except OSError as error:
        raise UserError(f"{release} is no whole release ({error}): {whole}") from None
    except (ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        what = " ".join(str(error).split())[:200]
        raise UserError(
            f"a file of {release} is not what this version writes ({what}): make the release anew, or {whole}"
        ) from None


def report_of(folder: Folder, name: str, manifest: Mapping[str, Any], payloads: Payloads | None = None) -> str:
    """The HTML report of the release ``name`` in a releases folder, made from the files ``manifest`` lists.

    ``payloads`` gives the same images for rows with ``image_digests``, where they are sooner at hand than there.
    """
    paths = {path: path.split("/")[1] for path in sorted(manifest["files"]) if path.startswith("data/")}
    frames = [
        _table(folder, f"{name}/{path}", _SCALARS).with_columns(split=pl.lit(split), file=pl.lit(path))
        for path, split in paths.items()
    ]
    rows = pl.concat(frames).sort("case_id")
    candidates = _table(folder, f"{name}/candidates.parquet")
    with ThreadPoolExecutor() as pool:
        narratives = (_table(folder, f"{name}/{path}", ["narrative_json"])["narrative_json"] for path in paths)
        limitations = pool.submit(repeated_limitations, narratives)
        evidence = Evidence(
            exhibits=_exhibits(folder, name, rows, pool, payloads),
            clusters=_clusters(_table(folder, f"{name}/duplicates.parquet")),
            candidates=candidates,
            refused=_refused(candidates),
            limitations=limitations.result(),
        )
    return render_report(manifest, rows, _table(folder, f"{name}/rejections.parquet"), evidence)


def _table(folder: Folder, path: str, columns: list[str] | None = None, ids: list[str] | None = None) -> pl.DataFrame:
    """A table of a release: these columns, and of these cases only the row groups that hold them are decoded."""
    try:
        with folder.fs.open(folder.path(path), "rb") as file, pq.ParquetFile(file) as table:
            if ids is None:
                frame = pl.from_arrow(table.read(columns))
            else:
                there = pl.Series(table.read(["case_id"])["case_id"]).is_in(ids)
                sizes = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
                ends = list(accumulate(sizes))
                groups = [n for n, end in enumerate(ends) if there[end - sizes[n] : end].any()]
                found = table.read_row_groups(groups, columns)
                frame = pl.from_arrow(found.filter(pc.is_in(found["case_id"], pa.array(ids))))
    except pa.ArrowException as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from error
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


def _exhibits(
    folder: Folder, name: str, rows: pl.DataFrame, pool: ThreadPoolExecutor, payloads: Payloads | None
) -> list[Exhibit]:
    wanted = gallery(rows) if rows.height else []

    def of_file(path: str, ids: list[str]) -> list[Exhibit]:
        shown = _table(folder, f"{name}/{path}", [*_SHOWN, "images" if payloads is None else "image_digests"], ids)
        images = [case[0]["bytes"] for case in shown["images"]] if payloads is None else [p[0] for p in payloads(shown)]
        return [_exhibit(row, image) for row, image in zip(shown.iter_rows(named=True), images, strict=True)]

    where = rows.filter(pl.col("case_id").is_in(wanted)).group_by("file").agg("case_id")
    parts = pool.map(of_file, where["file"].to_list(), where["case_id"].to_list())
    found = {exhibit.case_id: exhibit for part in parts for exhibit in part}
    return [found[case_id] for case_id in wanted]


def _exhibit(row: dict[str, Any], image: bytes) -> Exhibit:
    age = None if row["age_years"] is None else f"{row['age_years']:g} years"
    facts = [age, row["sex"], row["site"], row["modality"], f"skin tone {row['tone_group']}", row["label_certainty"]]
    facts.append(row["trajectory"] + " (first impression constructed)" * row["synthetic_trajectory"])
    return Exhibit(
        case_id=row["case_id"],
        diagnosis=row["diagnosis"],
        facts=" · ".join(fact for fact in facts if fact),
        credit=f"{row['attribution']} ({row['licence']})",
        scores={name: row[name] for name in DIMENSIONS},
        text=row["text"],
        image=_uri(small_jpeg(image, _THUMBNAIL)),
    )


def _clusters(rows: pl.DataFrame) -> list[Cluster]:
    groups = rows.partition_by("cluster_id", maintain_order=True)
    return [
        Cluster(
            [_member(row) for row in group.iter_rows(named=True)],
            group["attribution"].unique(maintain_order=True).to_list(),
        )
        for group in groups
    ]


def _member(row: Mapping[str, Any]) -> Member:
    near = f"near duplicate, {row['distance']} of 256 bits from the kept one"
    role = _RELATIONS.get(row["relation"], near)
    return Member(row["image_id"], _uri(row["picture"]), role, row["raw_label"] or "no label")


def _refused(candidates: pl.DataFrame) -> list[Refused]:
    taxonomy = load_taxonomy()
    told = candidates.filter(pl.col("text").is_not_null())
    order = told.sort(pl.col("outcome") != "below_threshold", "overall", "narrative_id")
    return [
        Refused(
            case_id=row["case_id"],
            diagnosis=taxonomy.node(row["taxonomy_id"]).name if row["taxonomy_id"] in taxonomy else row["taxonomy_id"],
            outcome=row["outcome"].replace("_", " "),
            scores={name: row[name] for name in DIMENSIONS},
            critique=json.loads(row["critique"] or "{}"),
            text=row["text"],
        )
        for row in order.iter_rows(named=True)
    ]


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
