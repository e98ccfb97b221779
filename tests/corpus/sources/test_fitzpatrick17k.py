"""Fitzpatrick17k: two votes on tone, quality marks, images that may not be passed on."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import SourceError

HEADER = [
    "md5hash",
    "fitzpatrick_scale",
    "fitzpatrick_centaur",
    "label",
    "nine_partition_label",
    "three_partition_label",
    "qc",
    "url",
    "url_alphanum",
]


def row(
    md5: str, scale: str = "3", centaur: str = "4", qc: str = "", url: str = "https://example.org/a.jpg"
) -> list[str]:
    return [md5, scale, centaur, "psoriasis", "inflammatory", "non-neoplastic", qc, url, "a.jpg"]


def test_both_tone_votes_are_kept_apart(dataset: Any, records: Any) -> None:
    dataset.table("fitzpatrick17k.csv", HEADER, row("a"), row("b", scale="-1", url=""), row("c", "0", "2.5"))
    dataset.images("data/finalfitz17k/a.jpg", "b.jpg", "c.jpg")
    found = records(dataset.read("fitzpatrick17k"))
    assert found["a"]["tone_observations"] == [
        {"scale": "fitzpatrick", "low": 3, "high": 3, "origin": "fitzpatrick_scale"},
        {"scale": "fitzpatrick", "low": 4, "high": 4, "origin": "fitzpatrick_centaur"},
    ]
    assert found["a"]["notes"] == []
    assert [tone["origin"] for tone in found["b"]["tone_observations"]] == ["fitzpatrick_centaur"]
    assert set(found["b"]["notes"]) == {"fitzpatrick_scale:-1", "url:blank"}
    assert found["c"]["tone_observations"] == []
    assert set(found["c"]["notes"]) == {"fitzpatrick_scale:unreadable", "fitzpatrick_centaur:unreadable"}


def test_images_may_not_be_passed_on_or_sent_out(dataset: Any, records: Any) -> None:
    dataset.table("fitzpatrick17k.csv", HEADER, row("a"))
    dataset.images("a.jpg")
    record = records(dataset.read("fitzpatrick17k"))["a"]
    assert (record["licence"], record["external_processing"]) == ("LicenseRef-No-Redistribution", False)
    assert (record["label_certainty"], record["modality"], record["raw_label"]) == ("atlas", "clinical", "psoriasis")
    assert record["facts"] == []
    assert "inflammatory" not in str(record) and "example.org" not in str(record)
    assert not dataset.read("fitzpatrick17k", licence="CC-BY-4.0").records["external_processing"].any()
    assert dataset.read("fitzpatrick17k", external_processing=True).records["external_processing"].all()


def test_quality_marks(dataset: Any, rules: Any) -> None:
    marks = ["", "1 Diagnostic", "2 Characteristic", "3 Wrongly labelled", "4 Other", "5 Potentially"]
    dataset.table("fitzpatrick17k.csv", HEADER, *(row(f"m{n}", qc=mark) for n, mark in enumerate(marks)))
    dataset.images(*(f"m{n}.jpg" for n in range(6)))
    reading = dataset.read("fitzpatrick17k")
    assert reading.records["source_image_id"].to_list() == ["m0", "m1", "m2"]
    assert rules(reading) == {"m3": "qc_wrongly_labelled", "m4": "qc_quarantined", "m5": "qc_quarantined"}
    assert set(reading.rejected["value"]) == set(marks[3:])


def test_a_table_without_quality_marks_is_refused(dataset: Any) -> None:
    dataset.table("fitzpatrick17k.csv", [name if name != "qc" else "quality" for name in HEADER], row("a"))
    with pytest.raises(SourceError, match="no column 'qc'"):
        dataset.read("fitzpatrick17k")
