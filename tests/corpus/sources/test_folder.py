"""Any folder, by a column mapping."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import SourceError

MAPPING = {
    **{"image": "path", "label": "dx", "case": "visit", "lesion": "lesion", "patient": "person", "age": "years"},
    **{"sex": "sex", "site": "where", "fitzpatrick": "fst", "modality": "kind", "label_certainty": "how"},
    **{"licence": "terms", "attribution": "by", "caption": "text", "facts": ["itch", "weeks"]},
}
HEADER = [
    "path",
    "dx",
    "visit",
    "lesion",
    "person",
    "years",
    "sex",
    "where",
    "fst",
    "kind",
    "how",
    "terms",
    "by",
    "text",
    "itch",
    "weeks",
    "unused",
]
FULL = [
    "x/a.jpg",
    "eczema",
    "v1",
    "l1",
    "p1",
    "30",
    "M",
    "Left Arm",
    "V",
    "dermoscopy",
    "histo",
    "cc by",
    "Dr A",
    "A red patch",
    "yes",
    "3",
    "zz",
]


def test_every_mapped_column(dataset: Any, records: Any) -> None:
    dataset.table("metadata.csv", HEADER, FULL, ["./x/b.jpg", "eczema", "v1", *FULL[3:]])
    dataset.images("x/a.jpg", "x/b.jpg")
    found = records(dataset.read("folder", columns=MAPPING))
    first = found["x/a.jpg"]
    assert [row["source_case_id"] for row in found.values()] == ["v1", "v1"]
    assert (first["raw_label"], first["lesion_key"], first["patient_key"]) == ("eczema", "l1", "p1")
    assert (first["age_years"], first["sex"], first["site"]) == (30.0, "male", "left arm")
    assert first["tone_observations"] == [{"scale": "fitzpatrick", "low": 5, "high": 5, "origin": "fst"}]
    assert (first["modality"], first["label_certainty"]) == ("dermoscopic", "histopathology")
    assert (first["licence"], first["caption"]) == ("CC-BY-4.0", "A red patch")
    assert first["attribution"] == "Dr A Licence: CC-BY-4.0."
    assert first["facts"] == [{"key": "itch", "value": "yes"}, {"key": "weeks", "value": "3"}]
    assert first["external_processing"] is False
    assert first["notes"] == []


def test_only_image_and_label_are_needed(dataset: Any, records: Any) -> None:
    dataset.table("list.tsv", ["image", "label"], ["a.jpg", "acne"], ["b", ""], delimiter="\t")
    dataset.images("a.jpg", "b.png")
    found = records(dataset.read("folder", columns={}, licence="CC0-1.0"))
    assert found["a.jpg"]["source_case_id"] == "a.jpg"
    assert (found["a.jpg"]["modality"], found["a.jpg"]["label_certainty"]) == ("unknown", "unstated")
    assert found["b"]["file_path"] == "b.png"
    assert set(found["b"]["notes"]) == {"label:blank", "path:repaired"}


def test_equal_names_in_two_folders_are_two_images(dataset: Any, records: Any) -> None:
    dataset.table("t.csv", ["image", "label"], ["Beau's Lines/1.jpg", "a"], ["Eczema (x)/1.jpg", "b"])
    dataset.images("Beau's Lines/1.jpg", "Eczema (x)/1.jpg")
    found = records(dataset.read("folder", columns={}, licence="CC0-1.0"))
    assert {name: row["file_path"] for name, row in found.items()} == {name: name for name in found}
    assert len(found) == 2


def test_paths_that_climb_out_are_rejected(dataset: Any, rules: Any) -> None:
    dataset.table("t.csv", ["image", "label"], ["../t.jpg", "a"], ["/etc/passwd.jpg", "a"], ["x/../../t.jpg", "a"])
    (dataset.root.parent / "t.jpg").write_bytes(b"1")
    found = rules(dataset.read("folder", columns={}, licence="CC0-1.0"))
    assert set(found.values()) == {"path_outside_source"} and len(found) == 3


def test_licences_must_be_stated_and_known(dataset: Any, rules: Any) -> None:
    dataset.table("t.csv", ["image", "label", "terms"], ["a.jpg", "x", "cc0"], ["b.jpg", "x", "?"], ["c.jpg", "x", ""])
    dataset.images("a.jpg", "b.jpg", "c.jpg")
    with pytest.raises(SourceError, match=r"sources\[s\]\.licence"):
        dataset.read("folder", columns={})
    reading = dataset.read("folder", columns={"licence": "terms"})
    assert rules(reading) == {"b.jpg": "unknown_licence", "c.jpg": "unknown_licence"}


def test_a_mapping_to_a_missing_column_is_explained(dataset: Any) -> None:
    dataset.table("t.csv", ["image", "label", "fact_a"], ["a.jpg", "x", "1"])
    with pytest.raises(SourceError, match=r"t\.csv has no column 'ages'"):
        dataset.read("folder", columns={"age": "ages"}, licence="CC0-1.0")
    with pytest.raises(SourceError, match="no column 'fact_b'; the nearest is 'fact_a'"):
        dataset.read("folder", columns={"facts": ["fact_b"]}, licence="CC0-1.0")
    with pytest.raises(SourceError, match="no column ''"):
        dataset.read("folder", columns={"image": ""}, licence="CC0-1.0")


def test_missing_and_ambiguous_tables_are_explained(dataset: Any) -> None:
    dataset.images("a.jpg")
    with pytest.raises(SourceError, match="holds no table"):
        dataset.read("folder", columns={}, licence="CC0-1.0")
    dataset.table("one.csv", ["image", "label"], ["a.jpg", "x"])
    dataset.table("two.csv", ["image", "label"], ["a.jpg", "y"])
    with pytest.raises(SourceError, match=r"one\.csv and two\.csv"):
        dataset.read("folder", columns={}, licence="CC0-1.0")
    reading = dataset.read("folder", columns={}, licence="CC0-1.0", metadata="two.csv")
    assert reading.records["raw_label"].to_list() == ["y"]
