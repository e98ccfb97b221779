"""A dataset folder that a test fills by hand, and the reading of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from corpus.sources import SourceReading, read_source
from schemas.config import SourceSettings


class Dataset:
    """A folder with a table and image files; images hold their own path unless other bytes are given."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def images(self, *paths: str, data: bytes | None = None) -> None:
        for path in paths:
            self.file(path, path.encode() if data is None else data)

    def file(self, path: str, data: bytes | str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data.encode() if isinstance(data, str) else data)
        return target

    def table(self, path: str, header: Sequence[str], *rows: Sequence[str], delimiter: str = ",") -> Path:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter).writerows([header, *rows])
        return self.file(path, text.getvalue())

    def json(self, path: str, value: object) -> Path:
        return self.file(path, json.dumps(value))

    def read(self, adapter: str, **settings: Any) -> SourceReading:
        given = SourceSettings.model_validate({"name": "s", "adapter": adapter, "path": ".", **settings})
        return read_source(given, self.root)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    folder = tmp_path / "dataset"
    folder.mkdir()
    return Dataset(folder)


@pytest.fixture
def rules() -> Any:
    """Turns a reading into {record id without source: rule}."""

    def of(reading: SourceReading) -> Mapping[str, str]:
        pairs = reading.rejected.select("record_id", "rule").iter_rows()
        return {record.removeprefix("s:"): rule for record, rule in pairs}

    return of


@pytest.fixture
def records() -> Any:
    """Turns a reading into {image id: record}."""

    def of(reading: SourceReading) -> Mapping[str, dict[str, Any]]:
        return {row["source_image_id"]: row for row in reading.records.iter_rows(named=True)}

    return of
