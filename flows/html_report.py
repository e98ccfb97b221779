"""Reads a release and writes its report: which rows are shown, and their images made small enough to embed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.digests import first_by_digest
from corpus.filesystem import Folder
from flows.evidence import small_jpeg
from quality.diversity import count_limitations, repeated_limitations
from quality.report import Cluster, Evidence, Exhibit, Member, Refused, render_report
from schemas.errors import StoreError, UserError
from schemas.tables import DIMENSIONS
from schemas.taxonomy import load_taxonomy

_GALLERY = 24
_THUMBNAIL = (420, 420)
#: Files read side by side: of each the narratives are in memory.
_READERS = 2
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


def report_of(folder: Folder, name: str, manifest: Mapping[str, Any]) -> str:
    """The HTML report of the release ``name`` in a releases folder, made from the files ``manifest`` lists."""
    paths = {path: path.split("/")[1] for path in sorted(manifest["files"]) if path.startswith("data/")}
    frames = [_table(folder, f"{name}/{path}", _SCALARS).with_columns(split=pl.lit(s)) for path, s in paths.items()]
    with ReportInMaking(pl.concat(frames).sort("case_id"), folder, name) as made:
        for path in paths:
            made.placed(path)
        return made.html(manifest)


@dataclass(frozen=True)
class _Read:
    """What the report tells of the narratives of one file."""

    narratives: int
    limitations: Counter[str]
    exhibits: list[Exhibit]


class ReportInMaking:
    """A report of a release that may still be being written: each of its data files is read once it is told to be
    there, beside whatever else goes on. A context manager.

    ``rows``: all published rows, sorted, with their scalars and ``split``. ``payloads`` gives the images for rows with
    ``image_digests``, where they are sooner at hand than in the release.
    """

    def __init__(self, rows: pl.DataFrame, folder: Folder, name: str, payloads: Payloads | None = None) -> None:
        self._rows = rows
        self._folder = folder
        self._name = name
        self._payloads = payloads
        self._shown = gallery(rows) if rows.height else []
        self._pool = ThreadPoolExecutor(_READERS)
        self._read: list[Future[_Read]] = []

    def __enter__(self) -> ReportInMaking:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def placed(self, path: str) -> None:
        """A data file is there."""
        self._read.append(self._pool.submit(self._of_file, f"{self._name}/{path}"))

    def html(self, manifest: Mapping[str, Any]) -> str:
        """The report, once every file that ``manifest`` lists is there."""
        read = [future.result() for future in self._read]
        counts: Counter[str] = Counter()
        for part in read:
            counts.update(part.limitations)
        exhibits = {exhibit.case_id: exhibit for part in read for exhibit in part.exhibits}
        candidates, duplicates, rejections = (
            _table(self._folder, f"{self._name}/{table}.parquet")
            for table in ("candidates", "duplicates", "rejections")
        )
        evidence = Evidence(
            exhibits=[exhibits[case_id] for case_id in self._shown],
            clusters=_clusters(duplicates),
            candidates=candidates,
            refused=_refused(candidates),
            limitations=repeated_limitations(counts, sum(part.narratives for part in read)),
        )
        return render_report(manifest, self._rows, rejections, evidence)

    def _of_file(self, path: str) -> _Read:
        told = _table(self._folder, path, ["case_id", "narrative_json"])
        here = told.filter(pl.col("case_id").is_in(self._shown))["case_id"].to_list()
        exhibits = self._exhibits(path, here) if here else []
        return _Read(told.height, count_limitations(told["narrative_json"]), exhibits)

    def _exhibits(self, path: str, ids: list[str]) -> list[Exhibit]:
        given = self._payloads
        shown = _table(self._folder, path, [*_SHOWN, "images" if given is None else "image_digests"], ids)
        images = [case[0]["bytes"] for case in shown["images"]] if given is None else [p[0] for p in given(shown)]
        return [_exhibit(row, image) for row, image in zip(shown.iter_rows(named=True), images, strict=True)]


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
