"""The many forms of ISIC metadata."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.errors import SourceError

CC0 = "To the extent possible under law, the person who associated CC0 with\nUDA has waived all rights.\n"


def nested(name: str, **clinical: object) -> dict[str, object]:
    return {"_id": "1", "name": name, "meta": {"clinical": clinical, "acquisition": {"image_type": "dermoscopic"}}}


def test_licence_is_per_image_and_must_be_known(dataset: Any, records: Any, rules: Any) -> None:
    dataset.table(
        "metadata.csv",
        ["isic_id", "attribution", "copyright_license", "diagnosis"],
        ["a", "Clinic A", "CC-0", "nevus"],
        ["b", "Clinic B", "CC-BY-NC", "nevus"],
        ["c", "", "CC-BY", "nevus"],
        ["d", "Clinic D", "all rights reserved", "nevus"],
        ["e", "Clinic E", "", "nevus"],
    )
    dataset.images(*(f"{name}.jpg" for name in "abcde"))
    reading = dataset.read("isic_archive")
    found = records(reading)
    assert {name: row["licence"] for name, row in found.items()} == {
        "a": "CC0-1.0",
        "b": "CC-BY-NC-4.0",
        "c": "CC-BY-4.0",
    }
    assert {name: row["external_processing"] for name, row in found.items()} == {"a": True, "b": False, "c": True}
    assert found["a"]["attribution"].startswith("Clinic A, ISIC Archive.")
    assert rules(reading) == {"d": "unknown_licence", "e": "unknown_licence"}
    assert dataset.read("isic_archive", licence="CC-BY-4.0").records.height == 5


def test_the_most_specific_diagnosis_is_the_label(dataset: Any, records: Any) -> None:
    dataset.table(
        "metadata.csv",
        ["isic_id", "copyright_license", "diagnosis_1", "diagnosis_2", "diagnosis_3", "diagnosis_confirm_type"],
        ["a", "CC-0", "Benign", "Benign melanocytic proliferations", "Nevus", "serial imaging showing no change"],
        ["b", "CC-0", "Malignant", "", "", "histopathology"],
        ["c", "CC-0", "", "", "", "single contributor clinical assessment"],
        ["d", "CC-0", "Benign", "", "", "a hunch"],
    )
    dataset.images(*(f"{name}.jpg" for name in "abcd"))
    found = records(dataset.read("isic_archive"))
    assert [row["raw_label"] for row in found.values()] == ["Nevus", "Malignant", None, "Benign"]
    certainties = [row["label_certainty"] for row in found.values()]
    assert certainties == ["follow_up", "histopathology", "clinical", "unstated"]
    assert "label:blank" in found["c"]["notes"]
    assert "label_certainty:unreadable" in found["d"]["notes"]


def test_modality_tone_keys_and_facts(dataset: Any, records: Any) -> None:
    dataset.table(
        "metadata.csv",
        [
            *("isic_id", "copyright_license", "image_type", "fitzpatrick_skin_type", "lesion_id", "patient_id"),
            *("age_approx", "sex", "anatom_site_general", "clin_size_long_diam_mm", "family_hx_mm", "melanocytic"),
            *("benign_malignant", "mel_thick_mm", "concomitant_biopsy", "nevus_type", "mel_class"),
        ],
        [
            "a",
            "CC-0",
            "clinical: close-up",
            "IV",
            "IL_1",
            "IP_1",
            "85",
            "female",
            "Head/Neck",
            "4.5",
            "True",
            "True",
            "malignant",
            "0.8",
            "True",
            "blue",
            "invasive",
        ],
        ["b", "CC-0", "TBP tile: close-up", "2", "", "", "", "", "", "", "", "", "", "", "", "", ""],
        ["c", "CC-0", "hologram", "", "", "", "", "", "", "", "", "", "", "", "", "", ""],
        ["d", "CC-0", "", "VII", "", "", "", "", "", "", "", "", "", "", "", "", ""],
        ["e", "CC-0", "dermoscopic", "", "", "", "", "", "", "", "", "", "", "", "", "", ""],
    )
    dataset.images(*(f"{name}.jpg" for name in "abcde"))
    found = records(dataset.read("isic_archive"))
    assert [row["modality"] for row in found.values()] == ["clinical", "other", "unknown", "unknown", "dermoscopic"]
    assert "image_type:tbp" in found["b"]["notes"] and "image_type:unreadable" in found["c"]["notes"]
    first = found["a"]
    assert first["tone_observations"] == [
        {"scale": "fitzpatrick", "low": 4, "high": 4, "origin": "fitzpatrick_skin_type"}
    ]
    assert found["b"]["tone_observations"][0]["low"] == 2
    assert "fitzpatrick_skin_type:unreadable" in found["d"]["notes"]
    assert (first["lesion_key"], first["patient_key"], first["site"]) == ("IL_1", "IP_1", "head/neck")
    assert first["facts"] == [
        {"key": "clin_size_long_diam_mm", "value": "4.5"},
        {"key": "family_hx_mm", "value": "True"},
    ]


def test_json_beside_every_image_takes_a_clear_folder_licence(dataset: Any, records: Any, rules: Any) -> None:
    dataset.json("ISIC_1.json", nested("ISIC_1", diagnosis="nevus", age_approx=55, sex="female"))
    dataset.json("ISIC_2.json", nested("ISIC_2", diagnosis=None, diagnosis_confirm_type=None))
    dataset.json(
        "ISIC_3.json", {"isic_id": "ISIC_3", "copyright_license": "CC-BY", "attribution": "Lab", "diagnosis": "x"}
    )
    dataset.json("ISIC_4.json", {"isic_id": "ISIC_4", "copyright_license": "unknown"})
    dataset.file("ISIC_5.json", '{"name": "ISIC_5", ')
    dataset.json("ISIC_6.json", nested("ISIC_6"))
    dataset.images(*(f"ISIC_{n}.jpg" for n in range(1, 6)), "lonely.jpg")
    dataset.file("ATTRIBUTION.txt", f"UDA by Someone\n\n{CC0}")
    dataset.file("LICENSE.txt", "CC0 1.0 Universal\n")
    reading = dataset.read("isic_archive")
    found = records(reading)
    assert set(found) == {"ISIC_1", "ISIC_2", "ISIC_3"}
    assert (found["ISIC_1"]["licence"], found["ISIC_3"]["licence"]) == ("CC0-1.0", "CC-BY-4.0")
    assert found["ISIC_1"]["attribution"].startswith("UDA by Someone, ISIC Archive.")
    assert found["ISIC_3"]["attribution"].startswith("Lab, ISIC Archive.")
    assert (found["ISIC_1"]["age_years"], found["ISIC_1"]["modality"]) == (55.0, "dermoscopic")
    assert (found["ISIC_2"]["raw_label"], found["ISIC_2"]["label_certainty"]) == (None, "unstated")
    assert rules(reading) == {"ISIC_4": "unknown_licence", "ISIC_5": "malformed_row", "ISIC_6": "image_missing"}
    assert reading.notes["files_without_row"] == 2  # lonely, and the one whose JSON is broken


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"LICENSE.txt": "Creative Commons"},
        {"LICENSE.txt": "CC0 1.0 Universal", "ATTRIBUTION.txt": "CC0 1.0 Universal except for CC-BY-NC images"},
        {"LICENSE.txt": "CC0 1.0 Universal", "ATTRIBUTION.txt": "by a clinic"},
    ],
)
def test_an_unclear_folder_licence_is_none(dataset: Any, rules: Any, texts: dict[str, str]) -> None:
    dataset.json("set/ISIC_1.json", nested("ISIC_1"))
    dataset.images("set/ISIC_1.jpg")
    for name, text in texts.items():
        dataset.file(f"set/{name}", text)
    assert rules(dataset.read("isic_archive")) == {"ISIC_1": "unknown_licence"}
    assert dataset.read("isic_archive", licence="CC0-1.0").records["licence"].to_list() == ["CC0-1.0"]


def test_each_collection_has_its_own_licence_text(dataset: Any, records: Any, rules: Any) -> None:
    for folder in ("one", "two"):
        dataset.json(f"{folder}/x/{folder}.json", nested(folder))
        dataset.images(f"{folder}/{folder}.jpg")
    dataset.file("one/LICENSE.txt", "CC0 1.0 Universal")
    reading = dataset.read("isic_archive")
    assert set(records(reading)) == {"one"}
    assert rules(reading) == {"two": "unknown_licence"}


def test_json_lines(dataset: Any, records: Any, rules: Any) -> None:
    good = {"isic_id": "a", "copyright_license": "CC-0", "metadata": {"clinical": {"diagnosis_1": "Benign"}}}
    dataset.file("all.jsonl", "\n".join([json.dumps(good), "{", "{}"]))
    dataset.images("a.jpg")
    reading = dataset.read("isic_archive")
    assert records(reading)["a"]["raw_label"] == "Benign"
    assert rules(reading) == {"row-2": "malformed_row", "row-3": "blank_id"}


def challenge_2019(dataset: Any) -> None:
    dataset.table(
        "ISIC_2019_Training_GroundTruth.csv",
        ["image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"],
        ["a_downsampled", "0.0", "1.0", *["0.0"] * 7],
        ["b", "1", *["0"] * 8],
        ["c", "1", "1", *["0"] * 7],
        ["d", *["0"] * 9],
        ["e", "0", "x", "1", *["0"] * 6],
    )
    dataset.table(
        "ISIC_2019_Training_Metadata.csv",
        ["image", "age_approx", "anatom_site_general", "lesion_id", "sex", "target"],
        ["a_downsampled", "55", "anterior torso", "", "female", "1"],
        ["b", "30", "", "MSK4_1", "", "0"],
        ["c", "30", "", "BCN_1", "male", "0"],
        ["c", "35", "", "BCN_1", "male", "0"],
        ["d", "1", "", "", "", ""],
    )
    dataset.images("in/a_downsampled.jpg", *(f"in/{name}.jpg" for name in "bcde"))


def test_challenge_2019_joins_its_two_tables(dataset: Any, records: Any, rules: Any) -> None:
    challenge_2019(dataset)
    reading = dataset.read("isic_archive")
    found = records(reading)
    first = found["a_downsampled"]
    assert (first["raw_label"], first["age_years"], first["site"]) == ("NV", 55.0, "anterior torso")
    assert first["file_path"] == "in/a_downsampled.jpg"
    assert {"archive_id:a", "lesion:blank"} <= set(first["notes"])
    assert (first["licence"], first["modality"]) == ("CC-BY-NC-4.0", "dermoscopic")
    assert (found["b"]["raw_label"], found["b"]["lesion_key"]) == ("MEL", "MSK4_1")
    assert rules(reading) == {"c": "duplicate_id"}
    assert found["d"]["raw_label"] is None and "label:ambiguous" in found["d"]["notes"]
    assert found["e"]["raw_label"] == "BCC" and "metadata:missing" in found["e"]["notes"]
    assert reading.notes["archive_id"] == 1


def test_challenge_2019_without_its_second_table(dataset: Any, records: Any) -> None:
    challenge_2019(dataset)
    (dataset.root / "ISIC_2019_Training_Metadata.csv").unlink()
    reading = dataset.read("isic_archive")
    assert reading.notes["metadata_table_missing"] == 1
    assert records(reading)["b"]["lesion_key"] is None


def test_challenge_2019_with_columns_of_third_parties(dataset: Any, records: Any) -> None:
    dataset.table("truth.csv", ["image", "MEL", "NV", "label", "metadata_rule"], ["a", "0", "1", "wrong", "wrong"])
    dataset.images("a.jpg")
    assert records(dataset.read("isic_archive"))["a"]["raw_label"] == "NV"


def test_challenge_2020_keeps_the_label_unknown_as_it_is(dataset: Any, records: Any) -> None:
    header = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target"
    dataset.table(
        "ISIC_2020_Training_GroundTruth.csv",
        header.split(","),
        ["a", "IP_1", "male", "45.0", "head/neck", "unknown", "benign", "0"],
        ["b", "IP_1", "", "", "", "nevus", "benign", "0"],
    )
    dataset.table("ISIC_2020_Training_Duplicates.csv", ["image_name_1", "image_name_2"], ["a", "b"])
    dataset.images("train/a.jpg", "train/b.jpg")
    found = records(dataset.read("isic_archive"))
    assert (found["a"]["raw_label"], found["a"]["site"], found["a"]["patient_key"]) == ("unknown", "head/neck", "IP_1")
    assert found["a"]["notes"] == ["label:unknown"]
    assert found["b"]["raw_label"] == "nevus"
    assert found["a"]["facts"] == []


def test_no_metadata_and_renamed_ids_and_two_tables_are_explained(dataset: Any) -> None:
    dataset.images("a.jpg")
    with pytest.raises(SourceError, match=r"no ISIC metadata .*sources\[s\]\.metadata"):
        dataset.read("isic_archive")
    dataset.table("metadata.csv", ["isicid", "diagnosis"], ["a", "nevus"])
    with pytest.raises(SourceError, match="no column 'isic_id'; the nearest is 'isicid'"):
        dataset.read("isic_archive")
    dataset.table("one.csv", ["isic_id"], ["a"])
    dataset.table("two.csv", ["isic_id"], ["b"])
    with pytest.raises(SourceError, match=r"one\.csv and two\.csv, and they differ"):
        dataset.read("isic_archive")
    assert dataset.read("isic_archive", metadata="one.csv", licence="CC0-1.0").records.height == 1
