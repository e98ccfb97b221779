"""The real metadata tables: every row is read or rejected with a reason."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from corpus.sources import SourceReading, read_source
from schemas.config import SourceSettings

SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA") or Path(__file__).resolve().parents[3] / ".." / "shared" / "data")


def shared(path: str) -> Path:
    if not (SHARED / path).exists():
        pytest.skip(f"{SHARED / path} is not here: real-data test")
    return (SHARED / path).resolve()


def read(root: Path, adapter: str, **more: Any) -> SourceReading:
    given = SourceSettings.model_validate({"name": "s", "adapter": adapter, "path": ".", **more})
    return read_source(given, root)


def with_images(tmp_path: Path, table: Path, column: str, suffix: str, share: int = 1) -> tuple[Path, int]:
    """A folder with an empty file for every ``share``-th row, and the number of rows."""
    ids = pl.read_csv(table, columns=[column], infer_schema=False)[column].to_list()
    for name in ids[::share]:
        (tmp_path / f"{name}{suffix}").touch()
    return tmp_path, len(ids)


def test_ham10000(tmp_path: Path) -> None:
    table = shared("metadata/ham10000/HAM10000_metadata.csv")
    root, rows = with_images(tmp_path, table, "image_id", ".jpg")
    reading = read(root, "ham10000", metadata=str(table))
    assert reading.records.height == rows == 10_015
    assert reading.rejected.height == 0
    assert reading.records["lesion_key"].n_unique() == 7_470
    assert reading.notes["age:blank"] == reading.notes["sex:unknown"] == 57
    assert reading.notes["site:unknown"] == 234
    certainty = Counter(reading.records["label_certainty"])
    assert certainty == {"histopathology": 5340, "follow_up": 3704, "consensus": 902, "confocal": 69}


def test_pad_ufes_20(tmp_path: Path) -> None:
    table = shared("metadata/pad_ufes_20/metadata.csv")
    root, rows = with_images(tmp_path, table, "img_id", "")
    reading = read(root, "pad_ufes_20", metadata=str(table))
    assert reading.records.height == rows == 2_298
    assert reading.records["lesion_key"].n_unique() == 1_891
    assert reading.records["patient_key"].n_unique() == 1_373
    assert (reading.records["label_certainty"] == "histopathology").sum() == 1_342
    assert reading.notes["fitspatrick:blank"] == reading.notes["sex:blank"] == 804
    assert reading.notes["grew:unk"] == 402
    assert not {"biopsed", "diagnostic"} & set(reading.records["facts"].explode().struct.field("key"))


def test_fitzpatrick17k(tmp_path: Path) -> None:
    table = shared("metadata/fitzpatrick17k/fitzpatrick17k.csv")
    root, rows = with_images(tmp_path, table, "md5hash", ".jpg")
    reading = read(root, "fitzpatrick17k", metadata=str(table))
    assert rows == 16_577 == reading.records.height + reading.rejected.height
    assert Counter(reading.rejected["rule"]) == {"qc_wrongly_labelled": 17, "qc_quarantined": 107}
    assert reading.records["raw_label"].n_unique() == 114
    assert 0 < reading.notes["fitzpatrick_scale:-1"] <= 565
    assert set(reading.records["licence"]) == {"LicenseRef-No-Redistribution"}


def test_isic_2019_with_half_its_images(tmp_path: Path) -> None:
    folder = shared("metadata/isic_2019")
    truth = folder / "ISIC_2019_Training_GroundTruth.csv"
    root, rows = with_images(tmp_path, truth, "image", ".jpg", share=2)
    for table in folder.iterdir():
        (root / table.name).write_bytes(table.read_bytes())
    reading = read(root, "isic_archive")
    assert rows == 25_331 == reading.records.height + reading.rejected.height
    assert reading.records.height == 12_666
    assert set(reading.rejected["rule"]) == {"image_missing"}
    assert reading.records["raw_label"].null_count() == 0
    assert set(reading.records["raw_label"]) == {"MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"}
    downsampled = reading.records.filter(pl.col("source_image_id").str.ends_with("_downsampled"))
    assert downsampled.height == reading.notes["archive_id"] > 0


def test_isic_2020(tmp_path: Path) -> None:
    table = shared("metadata/isic_2020/ISIC_2020_Training_GroundTruth.csv")
    root, rows = with_images(tmp_path, table, "image_name", ".jpg", share=16)
    began = time.process_time()
    reading = read(root, "isic_archive", metadata=str(table))
    seconds = time.process_time() - began
    assert rows == 33_126 == reading.records.height + reading.rejected.height
    assert set(reading.rejected["rule"]) == {"image_missing"}
    assert "unknown" in set(reading.records["raw_label"])
    assert seconds < 10, f"33,126 rows took {seconds:.1f} s"


def test_uda1_json_lines_and_pairs_agree(tmp_path: Path) -> None:
    lines = shared("metadata/isic_uda1/uda1_metadata.jsonl")
    pairs = read(shared("isic_uda1"), "isic_archive")
    assert pairs.records.height == 44 and pairs.rejected.height == 0
    assert set(pairs.records["licence"]) == {"CC0-1.0"}
    for line in lines.read_text().splitlines():
        (tmp_path / f"{json.loads(line)['name']}.jpg").touch()
    alone = read(tmp_path, "isic_archive", metadata=str(lines))
    assert alone.records.height == 0 and set(alone.rejected["rule"]) == {"unknown_licence"}
    whole = read(tmp_path, "isic_archive", metadata=str(lines), licence="CC0-1.0", attribution="x")
    assert whole.records.height == 557
    shown = ["source_image_id", "raw_label", "label_certainty", "age_years", "sex", "modality"]
    assert pairs.records.select(shown).join(whole.records, on=shown, how="anti", nulls_equal=True).height == 0


@pytest.mark.parametrize(
    ("folder", "adapter", "rows"), [("ham10000", "ham10000", 501), ("pad_ufes_20", "pad_ufes_20", 57)]
)
def test_samples_are_read_whole(folder: str, adapter: str, rows: int) -> None:
    reading = read(shared(folder), adapter)
    assert (reading.records.height, reading.rejected.height, reading.notes["files_without_row"]) == (rows, 0, 0)
    assert all((shared(folder) / path).is_file() for path in reading.records["file_path"])
