"""The labels command: the mapping of a column, its coverage, and plain sentences for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.labels import map_column, read_column, summary
from schemas.errors import UserError
from schemas.taxonomy import load_taxonomy

LABELS = ["nv", "nv", "psoriasis scalp", "odd thing", "keratinous cyst", "", None]


def write(folder: Path, kind: str) -> Path:
    frame = pl.DataFrame({"image": [str(n) for n in range(len(LABELS))], "label": LABELS})
    file = folder / f"table.{kind}"
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[kind](file)
    return file


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_every_value_of_a_column_is_mapped_or_reported(tmp_path: Path, kind: str) -> None:
    mapping = map_column(read_column(write(tmp_path, kind), "label"), load_taxonomy(), "ham10000")
    assert mapping["count"].sum() == len(LABELS)
    rows = {row["label"]: row for row in mapping.iter_rows(named=True)}
    assert (rows["nv"]["node"], rows["nv"]["rule"], rows["nv"]["count"]) == ("melanocytic_nevus", "crosswalk", 2)
    assert (rows["psoriasis scalp"]["node"], rows["psoriasis scalp"]["set_aside"]) == ("psoriasis", "scalp")
    assert rows["odd thing"]["rule"] == "unmapped"
    assert rows["keratinous cyst"]["candidates"] == "epidermal_cyst, pilar_cyst"
    assert summary(mapping).startswith("3 of 7 rows mapped (42.9 %), 2 of 5 labels")


def test_the_command_prints_the_mapping_and_writes_it(tmp_path: Path) -> None:
    file, out = write(tmp_path, "csv"), tmp_path / "mapping.csv"
    options = ["--column", "label", "--dataset", "ham10000", "--out", str(out)]
    done = CliRunner().invoke(app, ["labels", str(file), *options])
    assert done.exit_code == 0
    assert "Not mapped: 3 labels" in done.output
    assert "epidermal_cyst, pilar_cyst" in done.output
    assert pl.read_csv(out).height == 5


def test_image_paths_are_labels_of_a_picture_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "manifest.jsonl"
    paths = ["Eczema Photos/eczema-hand-7.jpg", "Eczema Photos/IMG011.jpg", "Vascular Tumors/IMG002.jpg"]
    pl.DataFrame({"dermnet_image_path": paths}).write_ndjson(file)
    mapping = map_column(read_column(file, "dermnet_image_path"), load_taxonomy(), "dermnet")
    rows = {row["label"]: row for row in mapping.iter_rows(named=True)}
    assert [(rows[path]["node"], rows[path]["rule"]) for path in paths] == [
        ("hand_eczema", "synonym"),
        ("eczema", "folder"),
        (None, "ambiguous"),
    ]
    options = ["--column", "dermnet_image_path", "--dataset", "dermnet"]
    done = CliRunner().invoke(app, ["labels", str(file), *options])
    assert done.exit_code == 0
    assert "2 of 3 rows mapped (66.7 %)" in done.output


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    file = write(tmp_path, "csv")
    with pytest.raises(UserError, match="has no column 'dx'; it has image, label"):
        read_column(file, "dx")
    with pytest.raises(UserError, match="is not there"):
        read_column(tmp_path / "none.csv", "label")
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(UserError, match=r"cannot be read as \.parquet"):
        read_column(tmp_path / "bad.parquet", "label")
    done = CliRunner().invoke(app, ["labels", str(file), "--column", "label", "--dataset", "dermnett"])
    assert isinstance(done.exception, UserError)
    assert "there is no crosswalk of 'dermnett'" in str(done.exception)
