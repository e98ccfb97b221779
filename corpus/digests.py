"""Digests that name content: of values, of tables, of single rows.

Everything that is reused is found by a digest, so the digests must not depend on row order, chunking, machine or
library internals: rows are hashed as JSON lines with binary columns in hex, and a table as its sorted lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

_SLICE = 4096  # rows turned to text at a time


def digest_of(*parts: Any) -> str:
    """sha256 (hex) of JSON-able values; key order of mappings does not matter."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_bytes(data: bytes) -> str:
    """sha256 (hex) of bytes."""
    return hashlib.sha256(data).hexdigest()


def _lines(frame: pl.DataFrame) -> Iterator[bytes]:
    names = sorted(frame.columns)
    binary = [name for name in names if frame.schema[name] == pl.Binary]
    for part in frame.select(names).iter_slices(_SLICE):  # as text a table is many times its size
        text = part.with_columns(pl.col(name).bin.encode("hex") for name in binary).write_ndjson()
        yield from text.encode().split(b"\n")[:-1]


def table_digest(frame: pl.DataFrame) -> str:
    """sha256 (hex) of a table's columns and rows as a set: row and column order do not matter."""
    names = sorted(frame.columns)
    digest = hashlib.sha256(json.dumps(names).encode())
    if not frame.is_empty():
        binary = [name for name in names if frame.schema[name] == pl.Binary]
        rows = frame.select(names).with_columns(pl.col(name).bin.encode("hex") for name in binary)
        lines = rows.select(pl.struct(names).struct.json_encode()).to_series().sort().rechunk().to_arrow()
        digest.update(lines.buffers()[2])  # the sorted lines, one after the other
    return digest.hexdigest()


def row_digests(frame: pl.DataFrame) -> pl.Series:
    """sha256 (hex) of each row, in the frame's order."""
    return pl.Series("row_digest", [hashlib.sha256(line).hexdigest() for line in _lines(frame)], dtype=pl.String)


def row_keys(frame: pl.DataFrame, *context: Any) -> pl.Series:
    """A key per row: digest of its values together with ``context`` (step name, version, settings)."""
    prefix = digest_of(*context).encode()
    return pl.Series("row_key", [hashlib.sha256(prefix + line).hexdigest() for line in _lines(frame)], dtype=pl.String)


def canonical_json(value: Any) -> bytes:
    """Readable JSON with sorted keys and a final newline: equal values, equal bytes."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def first_by_digest(items: Iterable[str], salt: str) -> list[str]:
    """Items ordered by salted digest: an order that adding or removing others does not disturb."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{salt}\0{item}".encode()).digest())
