"""The forms in which ISIC images and their metadata are handed out, brought to the archive's own column names.

Recognised by the columns that are there: the archive's metadata CSV, JSON lines, one JSON file beside every image (old
nested and new flat), and the challenge tables of 2019 (one-hot, with a second table) and 2020. Keeping them apart from
the adapter leaves that one with a single table to read.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from corpus.sources.files import SourceFiles, find_table, only_one
from corpus.sources.tabular import (
    ROW,
    Table,
    parse_object,
    read_bytes,
    read_header,
    read_objects,
    read_table,
    require_columns,
)
from schemas.errors import SourceError

Form = Literal["archive", "json", "challenge_2019", "challenge_2020"]

#: One-hot classes of the challenges of 2018 and 2019.
ONE_HOT = ("MEL", "NV", "BCC", "AK", "AKIEC", "BKL", "DF", "VASC", "SCC", "UNK")

_DIAGNOSES = ("diagnosis_5", "diagnosis_4", "diagnosis_3", "diagnosis_2", "diagnosis_1", "diagnosis")
_CC0 = re.compile(r"cc0 1\.0 universal|associated cc0|publicdomain/zero/1\.0", re.IGNORECASE)
_OTHER_LICENCE = re.compile(r"cc[- ]by|by-nc|by-sa|licenses/by", re.IGNORECASE)


def load(files: SourceFiles, source: str, metadata: str | None) -> tuple[Form, Table]:
    """The metadata below ``files.root`` as one table with ``isic_id`` and, as text, ``label`` and ``label_note``.

    JSON forms gain ``folder_licence`` and ``folder_credit`` (what LICENSE.txt and ATTRIBUTION.txt beside them say), the
    2019 challenge ``metadata_rule`` and ``metadata_note``. Raises :class:`SourceError` when no known form is there.
    """
    path = find_table(files, source, metadata, (), "the metadata") if metadata else _choose(files, source)
    if path is None:
        return "json", _from_pairs(files)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        table = read_table(path)
        folder = posixpath.dirname(path.relative_to(files.root).as_posix()) if path.is_relative_to(files.root) else ""
        return "json", _with_folder_terms(files, table, [folder] * table.rows.height)
    form = _form(read_header(path))
    if form == "challenge_2019":
        return form, _challenge_2019(files, path)
    if form == "challenge_2020":
        table = read_table(path, ("image_name", "diagnosis"))
        names = {"image_name": "isic_id", "anatom_site_general_challenge": "anatom_site_general"}
        names = {old: new for old, new in names.items() if new not in table.rows.columns}
        return form, _labelled(replace(table, rows=table.rows.rename(names, strict=False)))
    return "archive", _labelled(read_table(path, ("isic_id",)))


def _form(names: Sequence[str]) -> Form | None:
    if "isic_id" in names:
        return "archive"
    if {"image_name", "diagnosis"} <= set(names):
        return "challenge_2020"
    if "image" in names and len(set(ONE_HOT) & set(names)) > 1:
        return "challenge_2019"
    return None


def _choose(files: SourceFiles, source: str) -> Path | None:
    """The table to read; None when every image has a JSON file of its own."""
    tables = [path for path in files.others if path.lower().endswith((".csv", ".tsv", ".tab"))]
    known = [path for path in tables if _form(read_header(files.root / path)) is not None]
    if known:
        return only_one(files, source, known)
    lines = [path for path in files.others if path.lower().endswith((".jsonl", ".ndjson"))]
    if lines:
        return only_one(files, source, lines)
    if any(path.lower().endswith(".json") for path in files.others):
        return None
    if tables:
        path = files.root / min(tables, key=lambda name: (not name.lower().endswith("metadata.csv"), name))
        require_columns(path, read_header(path), ("isic_id",))
    raise SourceError(
        f"{files.root} holds no ISIC metadata (a CSV with the column isic_id, a challenge table, a .jsonl file, or a "
        f".json file per image): download it with the images or name it in sources[{source}].metadata"
    )


def _from_pairs(files: SourceFiles) -> Table:
    paths = [path for path in files.others if path.lower().endswith(".json")]
    folders: list[str] = []

    def objects() -> Iterator[tuple[str, object]]:
        for path in paths:
            try:
                value = parse_object((files.root / path).read_bytes())
            except OSError as error:
                value = f"cannot be read ({error.strerror})"
            if isinstance(value, dict):
                folders.append(posixpath.dirname(path))
            yield posixpath.splitext(posixpath.basename(path))[0], value

    return _with_folder_terms(files, read_objects("JSON file", objects()), folders)


def _with_folder_terms(files: SourceFiles, table: Table, folders: Sequence[str]) -> Table:
    said = {folder: _folder_terms(files, folder) for folder in set(folders)}
    rows = table.rows.with_columns(
        pl.Series("folder_licence", [said[folder][0] for folder in folders], dtype=pl.String),
        pl.Series("folder_credit", [said[folder][1] for folder in folders], dtype=pl.String),
        _first(table, ("isic_id", "name")).alias("isic_id"),
    )
    return _labelled(replace(table, rows=rows))


def _folder_terms(files: SourceFiles, folder: str) -> tuple[str | None, str | None]:
    """(licence, credit) of a folder or the nearest one above it that says; CC0 only where every text there says so."""
    beside = [path for path in files.others if posixpath.dirname(path) == folder]
    texts = {}
    for path in beside:
        name = posixpath.basename(path).lower()
        if name in ("license.txt", "licence.txt", "attribution.txt"):
            texts[name] = read_bytes(files.root / path).decode("utf-8", "replace")
    if not texts:
        return _folder_terms(files, posixpath.dirname(folder)) if folder else (None, None)
    clear = all(_CC0.search(text) and not _OTHER_LICENCE.search(text) for text in texts.values())
    lines = [line.strip() for line in texts.get("attribution.txt", "").splitlines() if line.strip()]
    return "CC0-1.0" if clear else None, lines[0][:200] if lines else None


def _challenge_2019(files: SourceFiles, path: Path) -> Table:
    truth = read_table(path, ("image",))
    classes = [name for name in ONE_HOT if name in truth.rows.columns]
    hot = {name: (pl.col(name).cast(pl.Float64, strict=False) == 1).fill_null(False) for name in classes}
    chosen = pl.coalesce([pl.when(is_hot).then(pl.lit(name)) for name, is_hot in hot.items()])
    single = pl.sum_horizontal(list(hot.values())) == 1
    rows = truth.rows.select(
        pl.all().exclude(*classes, "label", "label_note"),
        label=pl.when(single).then(chosen),
        label_note=pl.when(~single).then(pl.lit("label:ambiguous")),
    ).rename({"image": "isic_id"})
    beside = path.parent / re.sub("groundtruth", "Metadata", path.name, flags=re.IGNORECASE)
    found = [name for name in files.others if (files.root / name).parent == path.parent]
    match = next((name for name in found if posixpath.basename(name).lower() == beside.name.lower()), None)
    if match is None or beside == path:
        nothing = pl.lit(None, pl.String)
        rows = rows.with_columns(metadata_note=nothing, metadata_rule=nothing)
        return replace(truth, rows=rows, notes={**truth.notes, "metadata_table_missing": 1})
    more = read_table(files.root / match, ("image",))
    details = more.rows.drop(ROW, *(name for name in rows.columns if name in more.rows.columns and name != ROW))
    details = details.unique(maintain_order=True)
    twice = details.filter(pl.col("image").is_duplicated())["image"].unique()
    details = details.filter(~pl.col("image").is_in(twice.implode())).with_columns(described=pl.lit(True))
    joined = rows.join(details, left_on="isic_id", right_on="image", how="left", maintain_order="left").with_columns(
        metadata_note=pl.when(pl.col("described").is_null()).then(pl.lit("metadata:missing")),
        metadata_rule=pl.when(pl.col("isic_id").is_in(twice.implode())).then(pl.lit("duplicate_id")),
    )
    notes = {**truth.notes, **({"metadata_rows_malformed": len(more.malformed)} if more.malformed else {})}
    return replace(truth, rows=joined.drop("described"), notes=notes)


def _labelled(table: Table) -> Table:
    """The most specific diagnosis that a row gives, as it gives it."""
    name = _first(table, _DIAGNOSES)
    rows = table.rows.with_columns(label=name)
    note = (
        pl.when(pl.col("label").is_null())
        .then(pl.lit("label:blank"))
        .when(pl.col("label").str.to_lowercase() == "unknown")
        .then(pl.lit("label:unknown"))
    )
    return replace(table, rows=rows.with_columns(label_note=note))


def _first(table: Table, names: Sequence[str]) -> pl.Expr:
    present = [name for name in names if name in table.rows.columns]
    return pl.coalesce(present) if present else pl.lit(None, pl.String)
