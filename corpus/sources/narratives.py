"""Reading sets of narratives as they are handed round: one row per text, in batches, however large the set.

A set is a folder in the DermBench layout (a manifest that points at text files), a release folder of ours, or a table
(JSON lines, Parquet, CSV, TSV) whose columns are named or guessed. What cannot be read as a narrative becomes a
rejection with its reason and reading goes on; only what leaves nothing to read at all is a person's mistake.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from corpus.sources.tabular import sniff_delimiter
from schemas.errors import UserError
from schemas.stage import rejection

NARRATIVES = pl.Schema({"id": pl.String(), "label": pl.String(), "text": pl.String(), "image_name": pl.String()})
#: Names that columns usually have, the likeliest first.
USUAL: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "narrative", "narrative_text", "completion", "cot", "response", "output", "answer", "caption"),
    "label": ("label", "diagnosis", "raw_label", "disease", "condition", "dx", "taxonomy_id"),
    "id": ("id", "narrative_id", "case_id", "row_id", "uid"),
    "image": ("image_name", "image_path", "dermnet_image_path", "file_name", "filename", "image", "image_id"),
}  # fmt: skip
_TABLES = (".parquet", ".jsonl", ".ndjson", ".csv", ".tsv", ".tab")
#: A cell longer than this was never closed; a text file longer than this is none.
_LONGEST = 4_000_000
_OPTIONS = {"text": "--text-column", "label": "--label-column", "id": "--id-column", "image": "--image-column"}


@dataclass(frozen=True)
class Columns:
    """Which column holds what; None where it is to be guessed from :data:`USUAL`."""

    text: str | None = None
    label: str | None = None
    id: str | None = None
    image: str | None = None


#: A row of a table under its name (``row-7``), or why that row cannot be read.
_Row = tuple[str, Mapping[str, Any] | str]
Batch = tuple[pl.DataFrame, list[dict[str, str | None]]]


def read_narratives(path: Path, columns: Columns = Columns(), batch_size: int = 500) -> Iterator[Batch]:
    """Batches of (:data:`NARRATIVES` rows, rejections) of the set at ``path``, in its order; memory stays flat.

    Raises :class:`UserError` at once for a missing path, a column that is not there, and a path with nothing to read.
    Rejections are dicts as :func:`schemas.stage.rejection` makes them, kind ``narrative``, stage ``read``.
    """
    if not path.exists():
        raise UserError(f"{path} is not there: name a table of narratives or a folder that holds one")
    parts = [_reading(file, columns) for file in _files(path)]
    return _batched(chain.from_iterable(parts), batch_size)


def _files(path: Path) -> list[Path]:
    """The tables to read, in order: a file itself; else the manifest, the release's or the folder's own tables."""
    if path.is_file():
        return [path]
    for pattern in ("data/manifest/*.jsonl", "manifest/*.jsonl", "data/**/*.parquet", "*"):
        found = sorted(file for file in path.glob(pattern) if file.suffix.lower() in _TABLES and file.is_file())
        if found:
            return found
    raise UserError(f"{path} holds nothing to read: no manifest in data/manifest and no {', '.join(_TABLES)} file")


def _reading(path: Path, columns: Columns) -> Iterator[dict[str, str | None]]:
    """The rows of one table, and its rejections, told apart by their keys; UserError for what makes it unreadable."""
    names, rows = _open(path)
    is_manifest = {"cot", "cot_sha256"} <= set(names) and columns.text in (None, "cot")
    chosen = {field.name: _choose(path, names, field.name, getattr(columns, field.name)) for field in fields(Columns)}
    if chosen["text"] is None:
        raise UserError(
            f"{path} has no column that is usually the text; it has {', '.join(names)}: name one with --text-column"
        )
    if path.suffix.lower() == ".parquet":
        rows = _parquet_rows(path, sorted({name for name in chosen.values() if name is not None}))
    return _rows(path, rows, chosen, _root(path) if is_manifest else None)


def _choose(path: Path, names: Sequence[str], what: str, wanted: str | None) -> str | None:
    if wanted is not None:
        if wanted not in names:
            raise UserError(
                f"{path} has no column {wanted!r}; it has {', '.join(names)}: name another with {_OPTIONS[what]}"
            )
        return wanted
    folded = {name.strip().casefold(): name for name in reversed(names)}
    return next((folded[name] for name in USUAL[what] if name in folded), None)


def _open(path: Path) -> tuple[list[str], Iterator[_Row]]:
    """The columns of a table and its rows; a Parquet file's are read later, when it is known which are needed."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return [field.name for field in pq.read_schema(path) if _is_told(field.type)], iter(())
        if suffix in (".jsonl", ".ndjson"):
            return _open_json_lines(path)
        if suffix in (".csv", ".tsv", ".tab"):
            return _open_csv(path)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as {suffix} ({reason})") from None
    raise UserError(f"{path} is none of {', '.join(_TABLES)}: convert it to one of them")


def _is_told(kind: pa.DataType) -> bool:
    """Whether a Parquet column can be read as text; pictures and lists of them cannot."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
                or pa.types.is_dictionary(kind) or pa.types.is_string_view(kind))  # fmt: skip


def _parquet_rows(path: Path, names: list[str]) -> Iterator[_Row]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row-{number}", row
    except (OSError, pa.ArrowException) as error:
        yield f"row-{number + 1}", f"the rest of the file cannot be read ({str(error).splitlines()[0]})"


def _open_json_lines(path: Path) -> tuple[list[str], Iterator[_Row]]:
    """Rows of JSON objects; the columns are those of the first hundred, in the order in which they appear."""
    rows = _json_rows(path)
    first = list(islice(rows, 100))
    names = dict.fromkeys(key for _, row in first if not isinstance(row, str) for key in row)
    if not names:
        raise UserError(f"{path} holds nothing to read: none of its first lines is a JSON object")
    return list(names), chain(first, rows)


def _json_rows(path: Path) -> Iterator[_Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except (ValueError, RecursionError) as error:
                yield f"row-{number}", f"not JSON ({error})"
                continue
            yield f"row-{number}", value if isinstance(value, dict) else "not a JSON object"


def _open_csv(path: Path) -> tuple[list[str], Iterator[_Row]]:
    csv.field_size_limit(_LONGEST)
    file = path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
    first = file.readline()
    lines = chain([first], file)
    reader = csv.reader((_mended(line) for line in lines), delimiter=sniff_delimiter(first))
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UserError(f"the header row of {path} cannot be read ({error})") from None
    if not any(names):
        raise UserError(f"{path} is empty: it needs a header row that names its columns")

    def rows() -> Iterator[_Row]:
        number = 0
        with file:
            while True:
                number += 1
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield f"row-{number}", str(error)
                    continue
                if len(row) == len(names):
                    yield f"row-{number}", dict(zip(names, row, strict=True))
                elif row:
                    yield f"row-{number}", f"{len(row)} cells where the header has {len(names)}"

    return names, rows()


def _mended(line: str) -> str:
    """A line that is not UTF-8 throughout, read as the encoding Windows programs write."""
    if line.isascii() or not any("\udc80" <= mark <= "\udcff" for mark in line):
        return line
    return line.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def _root(manifest: Path) -> Path:
    """The folder that the paths in a DermBench manifest count from."""
    inside = manifest.resolve().parents
    return next((folder for folder in inside[:3] if (folder / "data" / "cot").is_dir()), inside[0])


def _rows(
    path: Path, rows: Iterator[_Row], chosen: Mapping[str, str | None], root: Path | None
) -> Iterator[dict[str, str | None]]:
    for place, row in rows:
        name = f"{path.name}:{place}"
        if isinstance(row, str):
            yield rejection("narrative", name, "read", "unreadable_row", detail=row)
            continue
        cells = {what: _cell(row.get(column)) if column else None for what, column in chosen.items()}
        name = (cells["id"] or "").strip() or name
        text, rule = cells["text"], "no_text"
        if root is not None and text:
            text, rule = _text_file(root, text, _cell(row.get("cot_sha256")))
        if text is None or not text.strip():
            yield rejection("narrative", name, "read", rule if text is None else "no_text", detail=cells["text"])
            continue
        image = (cells["image"] or "").replace("\\", "/").rsplit("/", 1)[-1] or None
        yield {"id": name, "label": cells["label"], "text": text, "image_name": image}


def _cell(value: object) -> str | None:
    """A cell as text that can be stored: lone surrogates, which JSON can hold, are replaced."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _text_file(root: Path, name: str, digest: str | None) -> tuple[str | None, str]:
    """The text of a file inside ``root``, or None and the rule that it breaks."""
    file = (root / name).resolve()
    if not file.is_relative_to(root.resolve()):
        return None, "text_outside_folder"
    try:
        if file.stat().st_size > _LONGEST:
            return None, "text_too_long"
        data = file.read_bytes()
    except (OSError, ValueError):
        return None, "no_text_file"
    if digest and hashlib.sha256(data).hexdigest() != digest.strip().casefold():
        return None, "text_changed"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), ""


def _batched(rows: Iterator[dict[str, str | None]], size: int) -> Iterator[Batch]:
    while taken := list(islice(rows, max(1, size))):
        kept = [row for row in taken if "record_kind" not in row]
        yield pl.DataFrame(kept, schema=NARRATIVES), [row for row in taken if "record_kind" in row]
