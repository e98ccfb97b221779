"""HAM10000 in its published forms."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import SourceError

HEADER = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
FIRST = ["HAM_1", "ISIC_1", "bkl", "histo", "80.0", "male", "scalp"]
SECOND = ["HAM_1", "ISIC_2", "bkl", "confocal", "", "unknown", "unknown"]


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("HAM10000_metadata", ","), ("ham10000_metadata.CSV", ","), ("HAM10000_metadata.tab", "\t")],
)
def test_every_published_file_name_and_both_folders(dataset: Any, records: Any, name: str, delimiter: str) -> None:
    dataset.table(name, HEADER, FIRST, SECOND, delimiter=delimiter)
    dataset.images("HAM10000_images_part_1/ISIC_1.jpg", "HAM10000_images_part_2/ISIC_2.jpg")
    reading = dataset.read("ham10000")
    first, second = records(reading).values()
    assert first["file_path"] == "HAM10000_images_part_1/ISIC_1.jpg"
    assert (first["raw_label"], first["label_certainty"], first["age_years"]) == ("bkl", "histopathology", 80.0)
    assert (first["sex"], first["site"], first["modality"]) == ("male", "scalp", "dermoscopic")
    assert first["lesion_key"] == second["lesion_key"] == "HAM_1"
    assert first["patient_key"] is None
    assert first["notes"] == []
    assert second["label_certainty"] == "confocal"
    assert (second["age_years"], second["sex"], second["site"]) == (None, None, None)
    assert set(second["notes"]) == {"age:blank", "sex:unknown", "site:unknown"}
    assert (first["licence"], first["external_processing"]) == ("CC-BY-NC-4.0", False)
    assert "Tschandl" in first["attribution"] and "CC-BY-NC-4.0" in first["attribution"]


def test_the_eighth_column_of_the_other_edition_is_ignored(dataset: Any) -> None:
    dataset.table("HAM10000_metadata", [*HEADER, "dataset"], [*FIRST, "vidir_modern"])
    dataset.images("ISIC_1.jpg")
    assert dataset.read("ham10000").records.height == 1


def test_values_that_cannot_be_read_are_left_out_with_a_reason(dataset: Any, records: Any) -> None:
    dataset.table(
        "HAM10000_metadata",
        HEADER,
        ["HAM_1", "a", "nv", "hearsay", "eighty", "intersex", "Back"],
        ["", "b", "", "", "-1", "F", ""],
        ["", "c", "NV ", "follow_up", "400", "", "back"],
    )
    dataset.images("a.jpg", "b.jpg", "c.jpg")
    found = records(dataset.read("ham10000"))
    assert set(found["a"]["notes"]) == {"label_certainty:unreadable", "age:unreadable", "sex:unreadable"}
    assert (found["a"]["label_certainty"], found["a"]["site"]) == ("unstated", "back")
    assert {"label:blank", "age:-1", "lesion:blank", "site:blank"} <= set(found["b"]["notes"])
    assert (found["b"]["raw_label"], found["b"]["sex"], found["b"]["lesion_key"]) == (None, "female", None)
    assert "age:out_of_range" in found["c"]["notes"]
    assert found["c"]["raw_label"] == "NV"


def test_renamed_column_is_one_sentence_with_the_nearest(dataset: Any) -> None:
    dataset.table("HAM10000_metadata.csv", ["lesion_id", "image", *HEADER[2:]], FIRST)
    with pytest.raises(SourceError, match=r"HAM10000_metadata\.csv has no column 'image_id'; the nearest is 'image'"):
        dataset.read("ham10000")


def test_settings_override_the_terms(dataset: Any, records: Any) -> None:
    dataset.table("HAM10000_metadata", HEADER, FIRST)
    dataset.images("ISIC_1.jpg")
    reading = dataset.read("ham10000", licence="CC-BY-4.0", attribution="By me.", external_processing=False)
    record = records(reading)["ISIC_1"]
    assert (record["licence"], record["attribution"], record["external_processing"]) == ("CC-BY-4.0", "By me.", False)
    assert dataset.read("ham10000", licence="CC-BY-4.0").records["external_processing"].all()
