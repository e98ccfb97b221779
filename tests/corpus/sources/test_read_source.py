"""What holds for every dataset: each row one record or one rejection, whatever its cells hold and in whatever order."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.sources import SourceReading, read_source
from schemas.config import SourceSettings
from schemas.errors import SourceError
from schemas.tables import SOURCE_RECORDS, STAGE_REJECTIONS, polars_schema

HAM = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
#: adapter -> (table, header, settings) of the smallest readable table
LAYOUTS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "ham10000": ("HAM10000_metadata", HAM, {}),
    "pad_ufes_20": (
        "metadata.csv",
        [
            *("img_id", "patient_id", "lesion_id", "age", "gender", "fitspatrick", "region", "diagnostic", "biopsed"),
            "itch",
            "grew",
            "hurt",
            "changed",
            "bleed",
            "elevation",
            "diameter_1",
        ],
        {},
    ),
    "fitzpatrick17k": (
        "fitzpatrick17k.csv",
        ["md5hash", "fitzpatrick_scale", "fitzpatrick_centaur", "label", "qc"],
        {},
    ),
    "isic_archive": (
        "m.csv",
        ["isic_id", "copyright_license", "image_type", "diagnosis", "diagnosis_1", "age_approx", "attribution"],
        {},
    ),
    "folder": ("t.csv", ["image", "label", "l"], {"columns": {"licence": "l", "facts": ["label"]}}),
}


def accounts(reading: SourceReading) -> bool:
    return (
        reading.records.schema == polars_schema(SOURCE_RECORDS)
        and reading.rejected.schema == polars_schema(STAGE_REJECTIONS)
        and reading.notes["rows"] == reading.records.height + reading.notes["rows_rejected"]
        and reading.records["source_image_id"].is_unique().all()
        and reading.records["source_image_id"].is_sorted()
        and reading.records.null_count()["file_path"][0] == 0
        and set(reading.rejected["stage"]) <= {"ingest"}
        and set(reading.rejected["record_kind"]) <= {"image"}
    )


def ham(image: str, age: str = "50") -> list[str]:
    return ["HAM_1", image, "nv", "histo", age, "male", "back"]


def test_every_row_is_accounted_for(dataset: Any, rules: Any) -> None:
    dataset.table(
        "HAM10000_metadata",
        HAM,
        *(ham("same"), ham("same"), ham("same")),
        *(ham("differs", "50"), ham("differs", "55")),
        *(ham(""), ham("missing"), ham("../up"), ham("good"), ["too", "short"], ham("twin"), ham("TWIN")),
    )
    dataset.images("same.jpg", "differs.jpg", "good.jpg", "unnamed.jpg", "twin.jpg")
    reading = dataset.read("ham10000")
    assert reading.records["source_image_id"].to_list() == ["good", "same", "twin"]
    assert rules(reading) == {
        "row-2": "duplicate_row",
        "row-3": "duplicate_row",
        "differs": "duplicate_id",
        "row-6": "blank_id",
        "missing": "image_missing",
        "../up": "path_outside_source",
        "row-10": "malformed_row",
        "TWIN": "duplicate_id",
    }
    assert (reading.notes["rows"], reading.notes["rows_rejected"], reading.notes["files_without_row"]) == (12, 9, 1)
    survivors = reading.rejected.filter(rule="duplicate_row")["survivor"].to_list()
    assert survivors == ["s:same", "s:same"]
    assert accounts(reading)


def test_two_rows_that_differ_only_in_an_index_column_are_one(dataset: Any, rules: Any) -> None:
    dataset.table("HAM10000_metadata", ["", *HAM], ["0", *ham("a")], ["1", *ham("a")])
    dataset.images("a.jpg")
    assert rules(dataset.read("ham10000")) == {"row-2": "duplicate_row"}


def test_row_order_does_not_matter(dataset: Any) -> None:
    rows = [ham("b"), ham("a", ""), ham("c"), ham("c"), ham("gone"), ham("d", "1"), ham("d", "2")]
    dataset.images(*(f"{name}.jpg" for name in "abcd"))
    dataset.table("HAM10000_metadata", HAM, *rows)
    forwards = dataset.read("ham10000")
    dataset.table("HAM10000_metadata", HAM, *reversed(rows))
    backwards = dataset.read("ham10000")
    assert forwards.records.equals(backwards.records)
    assert forwards.notes == backwards.notes
    named = forwards.rejected.filter(~forwards.rejected["record_id"].str.contains("row-"))
    assert named.equals(backwards.rejected.filter(~backwards.rejected["record_id"].str.contains("row-")))


def test_an_empty_table_is_no_records_and_a_note(dataset: Any) -> None:
    for adapter, (table, header, more) in LAYOUTS.items():
        path = dataset.table(table, header)
        reading = dataset.read(adapter, **more)
        assert reading.records.height == reading.rejected.height == 0
        assert reading.notes["table_empty"] == 1
        assert accounts(reading)
        path.unlink()


@pytest.mark.parametrize("adapter", LAYOUTS)
def test_each_missing_column_is_named(dataset: Any, adapter: str) -> None:
    table, header, more = LAYOUTS[adapter]
    needed = {"isic_archive": ["isic_id"], "pad_ufes_20": header[:-1]}.get(adapter, header)
    for column in needed:
        dataset.table(table, [name if name != column else f"{name}2" for name in header])
        with pytest.raises(SourceError, match=f"no column '{column}'; the nearest is '{column}2'"):
            dataset.read(adapter, **more)


@pytest.mark.parametrize("adapter", LAYOUTS)
def test_a_missing_folder_is_explained(tmp_path: Path, adapter: str) -> None:
    given_settings = SourceSettings.model_validate(
        {"name": "s", "adapter": adapter, "path": "gone", "licence": "CC0-1.0"}
        | ({"columns": {}} if adapter == "folder" else {})
    )
    with pytest.raises(SourceError, match=r"sources\[s\]\.path"):
        read_source(given_settings, tmp_path / "gone")


CELL = st.one_of(
    st.sampled_from(
        ["a", "b", "A", "", " ", "-1", "unknown", "nan", "inf", "1e9", "CC-0", "cc by", "IV", "3 Wrong", "../a"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
)


@pytest.mark.parametrize("adapter", LAYOUTS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_arbitrary_cells_are_records_or_rejections(
    tmp_path_factory: pytest.TempPathFactory, adapter: str, data: st.DataObject
) -> None:
    table, header, more = LAYOUTS[adapter]
    rows = data.draw(st.lists(st.lists(CELL, min_size=len(header), max_size=len(header)), max_size=5))
    root = tmp_path_factory.mktemp("d")
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    (root / table).write_bytes(text.getvalue().encode())
    for name in ("a.jpg", "b.png"):
        (root / name).write_bytes(name.encode())
    given_settings = SourceSettings.model_validate({"name": "s", "adapter": adapter, "path": ".", **more})
    reading = read_source(given_settings, root)
    assert accounts(reading)
    assert reading.notes["rows"] == len(rows)
