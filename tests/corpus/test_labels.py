"""Every case either gets the node its label means in its dataset, or is rejected with the reason."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.labels import map_labels
from schemas.stage import StageResult
from schemas.tables import CASES, STAGE_REJECTIONS, empty_frame, polars_schema
from schemas.taxonomy import load_taxonomy

SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))

DATASETS = {"ham": "ham10000", "pad": "pad_ufes_20", "archive": "isic_archive", "mine": "folder"}


def _cases(rows: list[tuple[str, str, str | None]]) -> pl.DataFrame:
    """Cases of (case id, source, raw label)."""
    records = [
        {
            "case_id": case_id,
            "source": source,
            "image_ids": [case_id],
            "raw_label": label,
            "label_certainty": "unstated",
            "concepts": [],
            "facts": [{"key": "itch", "value": "yes"}],
        }
        for case_id, source, label in rows
    ]
    return pl.DataFrame(records, schema=polars_schema(CASES))


def _map(rows: list[tuple[str, str, str | None]]) -> StageResult:
    return map_labels(_cases(rows), DATASETS, load_taxonomy())


def test_a_label_is_read_in_the_vocabulary_of_its_dataset() -> None:
    result = _map([("ham:1", "ham", "nv"), ("pad:1", "pad", "NEV"), ("mine:1", "mine", "Naevus"), ("x:1", "x", "mole")])
    assert result.kept["case_id"].to_list() == ["ham:1", "mine:1", "pad:1", "x:1"]
    assert set(result.kept["node_id"]) == {"melanocytic_nevus"}
    assert result.kept["label_rule"].to_list() == ["crosswalk", "synonym", "crosswalk", "synonym"]
    assert result.rejected.is_empty()


def test_kept_has_the_layout_of_cases_and_loses_no_column() -> None:
    cases = _cases([("ham:1", "ham", "mel")])
    kept = map_labels(cases, DATASETS, load_taxonomy()).kept
    assert kept.schema == polars_schema(CASES)
    assert kept.drop("node_id", "label_rule").equals(cases.drop("node_id", "label_rule"))


def test_an_unknown_label_is_rejected_with_the_label_and_the_reason() -> None:
    rows = [
        ("ham:1", "ham", "nv"),
        ("ham:2", "ham", "zzz"),
        ("ham:3", "ham", None),
        ("ham:4", "ham", "unknown"),
        ("mine:5", "mine", "melanosis"),
        ("pad:6", "pad", "nv"),
    ]
    result = _map(rows)
    assert result.kept["case_id"].to_list() == ["ham:1"]
    assert result.rejected.schema == polars_schema(STAGE_REJECTIONS)
    columns = result.rejected.select("record_kind", "record_id", "stage", "rule", "value").rows()
    assert columns == [("case", case_id, "map_labels", "unknown_label", label) for case_id, _, label in rows[1:]]
    reasons = [detail.split(":")[0] for detail in result.rejected["detail"]]
    assert reasons == ["unmapped", "not_a_diagnosis", "not_a_diagnosis", "ambiguous", "unmapped"]
    assert result.rejected["detail"][3] == "ambiguous: may mean becker_nevus, mucosal_melanotic_macule"


def test_nothing_coarser_than_the_stated_label_is_tried() -> None:
    assert _map([("archive:1", "archive", "Melanoma Invasive, Unheard-of")]).kept.is_empty()


def test_stats_count_rules_and_name_the_costliest_labels_first() -> None:
    labels = [("nv", 3), ("zzz", 2), ("aaa", 2), (None, 4), ("unknown", 1)]
    names = [label for label, times in labels for _ in range(times)]
    stats = _map([(f"ham:{n}", "ham", label) for n, label in enumerate(names)]).stats
    assert stats["cases"] == 12
    assert stats["mapped"] == 3
    assert stats["rules"] == {"crosswalk": 3, "not_a_diagnosis": 5, "unmapped": 4}
    ranking = [(entry["raw_label"], entry["rule"], entry["cases"]) for entry in stats["unmapped_labels"]]
    assert ranking == [
        (None, "not_a_diagnosis", 4),
        ("aaa", "unmapped", 2),
        ("zzz", "unmapped", 2),
        ("unknown", "not_a_diagnosis", 1),
    ]
    assert json.loads(json.dumps(stats)) == stats


def test_no_cases() -> None:
    result = map_labels(empty_frame(CASES), DATASETS, load_taxonomy())
    assert result.kept.is_empty() and result.rejected.is_empty()
    assert result.kept.schema == polars_schema(CASES)
    assert result.stats == {"cases": 0, "mapped": 0, "rules": {}, "unmapped_labels": []}


def test_an_earlier_mapping_is_replaced() -> None:
    first = _map([("ham:1", "ham", "mel")]).kept.with_columns(node_id=pl.lit("psoriasis"), label_rule=pl.lit("name"))
    again = map_labels(first, DATASETS, load_taxonomy()).kept
    assert again.select("node_id", "label_rule").rows() == [("melanoma", "crosswalk")]


_LABELS = st.one_of(st.none(), st.sampled_from(["nv", "mel", "NEV", "melanosis", "unknown", ""]), st.text(max_size=4))


@given(st.lists(st.tuples(st.sampled_from(["ham", "pad", "other"]), _LABELS), max_size=12), st.randoms())
def test_every_case_is_kept_or_rejected_once_in_any_order(pairs: list[tuple[str, str | None]], random: object) -> None:
    rows = [(f"{source}:{n:02}", source, label) for n, (source, label) in enumerate(pairs)]
    result = _map(rows)
    assert sorted([*result.kept["case_id"], *result.rejected["record_id"]]) == sorted(row[0] for row in rows)
    random.shuffle(rows)  # type: ignore[attr-defined]
    shuffled = _map(rows)
    assert shuffled.kept.equals(result.kept)
    assert shuffled.rejected.equals(result.rejected)
    assert shuffled.stats == result.stats


@pytest.mark.parametrize(
    ("source", "file", "column", "rows", "mapped"),
    [
        ("ham10000", "ham10000/HAM10000_metadata.csv", "dx", 10_015, 10_015),
        ("pad_ufes_20", "pad_ufes_20/metadata.csv", "diagnostic", 2_298, 2_298),
        ("fitzpatrick17k", "fitzpatrick17k/fitzpatrick17k.csv", "label", 16_577, 16_577),
        ("isic_2020", "isic_2020/ISIC_2020_Training_GroundTruth.csv", "diagnosis", 33_126, 33_126 - 27_124),
    ],
)
def test_real_tables(source: str, file: str, column: str, rows: int, mapped: int) -> None:
    path = SHARED / "metadata" / file
    if not path.is_file():
        pytest.skip(f"{path} is not here: real-data test")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        labels = [row[column] for row in csv.DictReader(lines)]
    cases = _cases([(f"{source}:{n:05}", source, label) for n, label in enumerate(labels)])
    result = map_labels(cases, {source: source}, load_taxonomy())
    assert (result.stats["cases"], result.kept.height, result.rejected.height) == (rows, mapped, rows - mapped)
    assert set(result.rejected["value"]) <= {"unknown"}
