"""PAD-UFES-20 as published, with its official misspelling."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import SourceError

HEADER = [
    "patient_id",
    "lesion_id",
    "smoke",
    "drink",
    "background_father",
    "background_mother",
    "age",
    "pesticide",
    "gender",
    "skin_cancer_history",
    "cancer_history",
    "has_piped_water",
    "has_sewage_system",
    "fitspatrick",
    "region",
    "diameter_1",
    "diameter_2",
    "diagnostic",
    "itch",
    "grew",
    "hurt",
    "changed",
    "bleed",
    "elevation",
    "img_id",
    "biopsed",
]
FULL = [
    "PAT_46",
    "881",
    "False",
    "True",
    "BRAZIL",
    "UNK",
    "55",
    "False",
    "FEMALE",
    "True",
    "True",
    "True",
    "True",
    "3.0",
    "NECK",
    "6.0",
    "0.0",
    "BCC",
    "True",
    "UNK",
    "False",
    "UNK",
    "True",
    "False",
    "PAT_46_881_939.png",
    "True",
]
BARE = [
    "PAT_9",
    "881",
    "",
    "",
    "",
    "",
    "8",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "ARM",
    "",
    "",
    "NEV",
    "False",
    "False",
    "False",
    "False",
    "False",
    "False",
    "PAT_9_881_5.png",
    "False",
]


def test_a_full_row_and_a_row_without_the_patient_block(dataset: Any, records: Any) -> None:
    dataset.table("metadata.csv", HEADER, FULL, BARE)
    dataset.images("imgs_part_1/imgs_part_1/PAT_46_881_939.png", "imgs_part_2/PAT_9_881_5.png")
    found = records(dataset.read("pad_ufes_20"))
    full, bare = found["PAT_46_881_939.png"], found["PAT_9_881_5.png"]
    assert full["file_path"] == "imgs_part_1/imgs_part_1/PAT_46_881_939.png"
    assert (full["raw_label"], full["label_certainty"]) == ("BCC", "histopathology")
    assert (full["age_years"], full["sex"], full["site"], full["modality"]) == (55.0, "female", "neck", "clinical")
    assert full["tone_observations"] == [{"scale": "fitzpatrick", "low": 3, "high": 3, "origin": "fitspatrick"}]
    assert (full["licence"], full["external_processing"]) == ("CC-BY-4.0", True)
    assert {"grew:unk", "changed:unk", "diameter_2:out_of_range"} <= set(full["notes"])
    assert (bare["label_certainty"], bare["sex"], bare["tone_observations"]) == ("clinical", None, [])
    assert {"sex:blank", "fitspatrick:blank"} <= set(bare["notes"])


def test_a_lesion_id_reused_by_another_patient_is_another_lesion(dataset: Any, records: Any) -> None:
    dataset.table("metadata.csv", HEADER, FULL, BARE)
    dataset.images("PAT_46_881_939.png", "PAT_9_881_5.png")
    found = records(dataset.read("pad_ufes_20"))
    assert {row["lesion_key"] for row in found.values()} == {"PAT_46/881", "PAT_9/881"}
    assert {row["patient_key"] for row in found.values()} == {"PAT_46", "PAT_9"}


def test_no_lesion_key_without_both_halves(dataset: Any, records: Any) -> None:
    dataset.table("metadata.csv", HEADER, ["", *FULL[1:]], [BARE[0], "", *BARE[2:]])
    dataset.images("PAT_46_881_939.png", "PAT_9_881_5.png")
    found = records(dataset.read("pad_ufes_20"))
    assert [row["lesion_key"] for row in found.values()] == [None, None]
    assert "patient:blank" in found["PAT_46_881_939.png"]["notes"]
    assert "lesion:blank" in found["PAT_9_881_5.png"]["notes"]


def test_facts_hold_what_was_reported_and_nothing_that_tells_the_answer(dataset: Any, records: Any) -> None:
    dataset.table("metadata.csv", HEADER, FULL)
    dataset.images("PAT_46_881_939.png")
    record = records(dataset.read("pad_ufes_20"))["PAT_46_881_939.png"]
    facts = {fact["key"]: fact["value"] for fact in record["facts"]}
    assert facts == {
        "itch": "True",
        "hurt": "False",
        "bleed": "True",
        "elevation": "False",
        "skin_cancer_history": "True",
        "cancer_history": "True",
        "smoke": "False",
        "drink": "True",
        "pesticide": "False",
        "diameter_1_mm": "6.0",
    }


def test_corrected_spelling_of_the_official_column_is_refused(dataset: Any) -> None:
    dataset.table("metadata.csv", [name.replace("fitspatrick", "fitzpatrick") for name in HEADER], FULL)
    with pytest.raises(SourceError, match="no column 'fitspatrick'; the nearest is 'fitzpatrick'"):
        dataset.read("pad_ufes_20")
