"""Reading metadata tables as people really keep them: any usual encoding, delimiter and line end, all cells as text.

The standard csv reader does the splitting, because it can be stopped and restarted at a broken row; a columnar reader
is faster but answers one ragged row with an exception or with silence. The price is about a microsecond per cell. Types
are given later, column by column: a cast on reading would corrupt ids and hide unreadable cells.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from schemas.errors import SourceError

#: Column added to every table: the 1-based number of the data row, or the name that stands for it.
ROW = "#row"

#: Most physical lines one row may span; beyond it a quote was never closed.
_MAX_LINES = 200
_INDEX_COLUMNS = {"", "_unnamed_var", ROW}


@dataclass(frozen=True)
class Table:
    """A metadata table. ``rows``: :data:`ROW` and text columns, cells stripped, blank as null.

    ``malformed``: (row name, what is wrong) of rows that could not be split into cells. ``notes``: counts for people.
    """

    name: str
    rows: pl.DataFrame
    malformed: tuple[tuple[str, str], ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)


def read_table(path: Path, required: Sequence[str] = ()) -> Table:
    """Read a CSV, TSV, semicolon-separated or (by suffix ``.jsonl``) JSON-lines file.

    Raises :class:`SourceError` when the file cannot be opened, has no header, names a column twice or lacks one of
    ``required``.
    """
    data = read_bytes(path)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return read_objects(path.name, _json_lines(data))
    text, notes = _decoded(data)
    lines = list(io.StringIO(text, newline=""))
    start = next((index for index, line in enumerate(lines) if line.strip()), None)
    if start is None:
        raise SourceError(f"{path} is empty: it needs a header row that names its columns; fetch the table again")
    delimiter = sniff_delimiter(lines[start])
    records = _split(lines, start, delimiter)
    header = next(records)
    if isinstance(header, str):
        raise SourceError(f"the header row of {path} cannot be read ({header}): it must name the columns in one line")
    names = [name.strip() for name in header]
    _check_header(path, names, required)
    cells, malformed = _align(records, len(names))
    columns = {
        name: pl.Series(name, [row[index] for _, row in cells], dtype=pl.String)
        for index, name in enumerate(names)
        if not _is_index(name)
    }
    rows = _stripped({ROW: pl.Series(ROW, [row for row, _ in cells], dtype=pl.String), **columns})
    if not cells and not malformed:
        notes["table_empty"] = 1
    return Table(path.name, rows, tuple(malformed), notes)


def read_header(path: Path) -> list[str]:
    """The column names of a table, or an empty list when there are none to read."""
    try:
        with path.open("rb") as file:
            text, _ = _decoded(file.read(1 << 16))
    except OSError:
        return []
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    header = next(_split([first], 0, sniff_delimiter(first)), "") if first else ""
    return [] if isinstance(header, str) else [name.strip() for name in header]


def read_objects(name: str, objects: Iterator[tuple[str, object]]) -> Table:
    """A table of (row name, flat mapping of column to text or null); anything else than a mapping is a malformed row.

    An object may also be a ``str``: the reason why it is malformed.
    """
    good: list[tuple[str, Mapping[str, str | None]]] = []
    malformed: list[tuple[str, str]] = []
    for row, value in objects:
        if isinstance(value, dict):
            good.append((row, value))
        else:
            malformed.append((row, value if isinstance(value, str) else "not a JSON object"))
    names = sorted({key for _, value in good for key in value} - _INDEX_COLUMNS)
    columns = {key: pl.Series(key, [value.get(key) for _, value in good], dtype=pl.String) for key in names}
    rows = _stripped({ROW: pl.Series(ROW, [row for row, _ in good], dtype=pl.String), **columns})
    return Table(name, rows, tuple(malformed), {} if good or malformed else {"table_empty": 1})


def parse_object(data: bytes) -> dict[str, str | None] | str:
    """One dataset JSON object as flat text columns, or why it cannot be read.

    Groups that the ISIC Archive nests (``meta``, ``metadata``, ``clinical``, ``acquisition``) are folded in; other
    nested values are left out.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"))
        if not isinstance(value, dict):
            return "not a JSON object"
        flat: dict[str, str | None] = {}
        _flatten(value, flat)
        "".join(text for pair in flat.items() for text in pair if text).encode()
    except (ValueError, RecursionError) as error:
        return f"not readable as JSON ({type(error).__name__})"
    return flat


def read_bytes(path: Path) -> bytes:
    """All bytes of a file; raises :class:`SourceError` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror}): check the file and its permissions") from error


def sniff_delimiter(header: str) -> str:
    """The delimiter among comma, tab and semicolon that the header uses most, outside quotes."""
    bare = "".join(header.split('"')[::2])
    return max(",\t;", key=bare.count)


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The most similar of ``names``, or None when there are none."""
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.0)), None)


def require_columns(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    """Raise :class:`SourceError` naming the first missing column and the nearest one that is there."""
    for wanted in required:
        if wanted not in names or _is_index(wanted):
            found = nearest(wanted, [name for name in names if not _is_index(name)])
            hint = f"; the nearest is {found!r}" if found else ""
            raise SourceError(f"{path} has no column {wanted!r}{hint}: use the table as its publisher ships it")


def _decoded(data: bytes) -> tuple[str, dict[str, int]]:
    """Text of a table; lines that are not UTF-8 are read as Windows-1252 one by one: a bad byte spoils one line."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace"), {"encoding:utf-16": 1}
    try:
        return data.decode("utf-8-sig"), {}
    except UnicodeDecodeError:
        pass
    texts: list[str] = []
    foreign = 0
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        try:
            texts.append(line.decode())
        except UnicodeDecodeError:
            foreign += 1
            try:
                texts.append(line.decode("cp1252"))
            except UnicodeDecodeError:
                texts.append(line.decode("latin-1"))
    return "\n".join(texts), {"encoding:cp1252": foreign}


def _split(lines: Sequence[str], start: int, delimiter: str) -> Iterator[list[str] | str]:
    """Rows of cells; a ``str`` is the reason why the line at that place is no row, and reading goes on after it.

    A row that swallowed several lines but has another width than the first is such a line too: its quote is stray.
    """
    position = first = start
    width: int | None = None

    def feed() -> Iterator[str]:
        nonlocal position
        while position < len(lines) and position - first < _MAX_LINES:
            position += 1
            yield lines[position - 1]

    while position < len(lines):
        reader = csv.reader(feed(), delimiter=delimiter, strict=True)
        while True:
            first = position
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                position = first + 1
                yield str(error)
                break
            if width is not None and len(row) != width and position > first + 1:
                position = first + 1
                yield "a quote is opened and not closed"
                break
            if row:
                width = width or len(row)
                yield row


def _align(records: Iterator[list[str] | str], width: int) -> tuple[list[tuple[str, list[str]]], list[tuple[str, str]]]:
    cells: list[tuple[str, list[str]]] = []
    malformed: list[tuple[str, str]] = []
    for number, row in zip(count(1), records, strict=False):
        if isinstance(row, str):
            malformed.append((f"row-{number}", row))
        elif len(row) != width:
            malformed.append((f"row-{number}", f"{len(row)} cells where the header has {width}"))
        else:
            cells.append((f"row-{number}", row))
    return cells, malformed


def _is_index(name: str) -> bool:
    return name in _INDEX_COLUMNS or name.startswith("Unnamed: ")


def _check_header(path: Path, names: Sequence[str], required: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1 and not _is_index(name)})
    if twice:
        raise SourceError(
            f"{path} names the column {twice[0]!r} twice: keep one of them, or it is unclear which is meant"
        )
    require_columns(path, names, required)


def _stripped(columns: Mapping[str, pl.Series]) -> pl.DataFrame:
    text = pl.all().str.strip_chars()
    return pl.DataFrame(columns).with_columns(text).with_columns(pl.when(pl.all() != "").then(pl.all()))


def _json_lines(data: bytes) -> Iterator[tuple[str, object]]:
    lines = (line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip())
    for number, line in enumerate(lines, 1):
        yield f"row-{number}", parse_object(line)


def _flatten(value: Mapping[str, Any], flat: dict[str, str | None]) -> None:
    for key, item in value.items():
        if isinstance(item, dict):
            if key in ("meta", "metadata", "clinical", "acquisition"):
                _flatten(item, flat)
        elif not isinstance(item, list) and flat.get(key) is None:
            flat[key] = None if item is None else str(item).lower() if isinstance(item, bool) else str(item)


def read_frame(path: Path) -> pl.DataFrame:
    """A Parquet, JSON lines, TSV or CSV file, told apart by its extension; cells of the last two are text.

    What polars or the system raise is left to the caller, who knows what the file was meant to be.
    """
    match path.suffix.lower():
        case ".parquet":
            return pl.read_parquet(path)
        case ".jsonl" | ".ndjson":
            return pl.read_ndjson(path)
        case suffix:
            return pl.read_csv(path, separator="\t" if suffix in (".tsv", ".tab") else ",", infer_schema=False)
