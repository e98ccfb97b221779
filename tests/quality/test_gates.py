"""The gates: each rule is broken alone, by rows that leave every other rule content."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quality import gates
from quality.expectations import (
    CODES,
    COLUMNS,
    LEAKAGE_KINDS,
    SUITES,
    THRESHOLD_KINDS,
    Expectation,
    Gate,
)
from quality.gates import (
    GateReport,
    check_warn_only,
    leakage_table,
    raise_if_blocked,
    run_gate,
    threshold_table,
)
from schemas.config import GateSettings, SelectSettings, Thresholds
from schemas.errors import ConfigError, GateError
from schemas.tables import (
    CASES,
    DIMENSIONS,
    EVALUATIONS,
    IMAGES,
    INSPECTIONS,
    NARRATIVES,
    polars_schema,
)

Tables = dict[str, pl.DataFrame]
Breaker = Callable[[Tables], Tables]

SETTINGS = GateSettings(min_train_rows=2, max_rejected_share=0.25, min_blind_share=0.3)
IDS = ("ham10000:a", "ham10000:b", "pad_ufes_20:a", "pad_ufes_20:b")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def images_table(ids: tuple[str, ...] = IDS) -> pl.DataFrame:
    rows = [
        {
            "image_id": i,
            "source": i.split(":")[0],
            "source_image_id": i.split(":")[1],
            "file_path": f"{i}.jpg",
            "file_bytes": 1000,
            "file_digest": digest(f"file {i}"),
            "licence": "CC-BY-4.0",
            "licence_class": "open",
            "attribution": "The publisher",
            "external_processing": False,
            "synthetic": False,
            "modality": "dermoscopic",
            "image_digest": digest(f"image {i}"),
            "pixel_digest": digest(f"pixel {i}"),
            "width": 600,
            "height": 450,
            "source_format": "JPEG",
            "stored_format": "JPEG",
            "exif_orientation": 1,
            "reencoded": None,
            "sharpness": 30.0,
            "luma_std": 40.0,
            "low_variance": False,
            "stored_bytes": 900,
            "pack": "0",
            "pack_offset": 0,
        }
        for i in ids
    ]
    types = {**polars_schema(INSPECTIONS), **polars_schema(IMAGES)}
    return pl.DataFrame(rows, schema={name: types[name] for name in COLUMNS["ingest"]["images"]})


def cases_table(ids: tuple[str, ...] = IDS) -> pl.DataFrame:
    rows = [
        {
            "case_id": i,
            "source": i.split(":")[0],
            "n_images": 1,
            "raw_label": "mel",
            "node_id": "melanoma",
            "label_rule": "name",
            "label_certainty": "histopathology",
            "lesion_id": f"{i}-lesion",
            "caption": None,
            "patient_id": None if i == ids[0] else f"{i}-patient",
            "age_years": None if i == ids[1] else 45.0,
            "sex": "female",
            "site": None,
            "n_concepts": 0,
            "n_facts": 2,
        }
        for i in ids
    ]
    types: dict[str, Any] = {**polars_schema(CASES), "n_images": pl.Int64, "n_concepts": pl.Int64, "n_facts": pl.Int64}
    return pl.DataFrame(rows, schema={name: types[name] for name in COLUMNS["ingest"]["cases"]})


def narratives_table(ids: tuple[str, ...] = IDS) -> pl.DataFrame:
    rows = [
        {
            "narrative_id": digest(f"narrative {i}"),
            "case_id": i,
            "candidate": 0,
            "author_kind": "teacher",
            "author": "textbook",
            "author_revision": "1",
            "prompt_digest": digest(f"prompt {i}"),
            "trajectory": "kept",
            "synthetic_trajectory": False,
            "sampling": "{}",
            "label_seen": True,
            "image_grounded": False,
            "teacher_terms": "Apache-2.0",
            "parse_status": "parsed",
            "concluded_node": "melanoma",
            "text_length": 900,
        }
        for i in ids
    ]
    types: dict[str, Any] = {**polars_schema(NARRATIVES), "concluded_node": pl.String, "text_length": pl.Int64}
    return pl.DataFrame(rows, schema={name: types[name] for name in COLUMNS["narratives"]["narratives"]})


def evaluations_table(narratives: pl.DataFrame) -> pl.DataFrame:
    rows = [
        {
            "narrative_id": i,
            "evaluator_id": "rubric",
            "saw_label": True,
            "scale_low": 0.0,
            "scale_high": 5.0,
            **dict.fromkeys((*DIMENSIONS, "overall"), 4.5),
        }
        for i in narratives["narrative_id"]
    ]
    types = polars_schema(EVALUATIONS)
    return pl.DataFrame(rows, schema={name: types[name] for name in COLUMNS["narratives"]["evaluations"]})


def rows_table(ids: tuple[str, ...] = IDS) -> pl.DataFrame:
    rows = [
        {
            "case_id": i,
            "split": "certified" if i == ids[-1] else "train",
            "source": i.split(":")[0],
            "licence": "CC-BY-4.0",
            "licence_class": "open",
            "attribution": "The publisher",
            "taxonomy_id": "melanoma",
            "malignancy": "malignant",
            "label_certainty": "histopathology",
            "group_id": digest(f"group {i}"),
            "patient_id": None,
            "lesion_id": f"{i}-lesion",
            "n_images": 1,
            "image_digest": digest(f"image {i}"),
            "pixel_digest": digest(f"pixel {i}"),
            "narrative_id": digest(f"narrative {i}"),
            "image_grounded": False,
            "synthetic": False,
            **dict.fromkeys((*DIMENSIONS, "overall"), 4.5),
            "age_years": None if i == ids[0] else 45.0,
            "text_length": 900,
            "is_planted": False,
            "is_flagged": False,
            "raters_missing": 0,
            "human_missing": 0,
        }
        for i in ids
    ]
    floats = dict.fromkeys((*DIMENSIONS, "overall", "age_years"), pl.Float64)
    types = {**floats, "n_images": pl.Int64, "text_length": pl.Int64, "image_grounded": pl.Boolean}
    types |= dict.fromkeys(["synthetic", "is_planted", "is_flagged"], pl.Boolean)
    types |= dict.fromkeys(["raters_missing", "human_missing"], pl.Int64)
    return pl.DataFrame(rows, schema={name: types.get(name, pl.String) for name in COLUMNS["release"]["rows"]})


def counts_of(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        n_train=(pl.col("split") == "train").sum().cast(pl.Int64),
        n_certified=(pl.col("split") == "certified").sum().cast(pl.Int64),
        n_no_redistribution=pl.lit(3),
        n_synthetic=pl.col("synthetic").sum().cast(pl.Int64),
        n_real=(~pl.col("synthetic")).sum().cast(pl.Int64),
        n_text_only_refused=pl.lit(0),
        n_simulated_refused=pl.lit(0),
        blind_share=pl.lit(0.3),
    )


def healthy(gate: Gate, ids: tuple[str, ...] = IDS) -> Tables:
    if gate == "ingest":
        counts = pl.DataFrame({"n_source_rows": [10], "n_rejected": [2], "rejected_share": [0.2]})
        return {"images": images_table(ids), "cases": cases_table(ids), "counts": counts}
    if gate == "narratives":
        narratives = narratives_table(ids)
        return {"narratives": narratives, "evaluations": evaluations_table(narratives)}
    rows = rows_table(ids)
    derived = {"leakage": leakage_table(rows), "thresholds": threshold_table(rows, SelectSettings())}
    return {"rows": rows, **derived, "counts": counts_of(rows)}


# Breakers: each takes healthy tables and returns tables (and settings) that break one rule.


def put(table: str, column: str, value: Any, row: int = 0) -> Breaker:
    """Write ``value`` into one cell."""

    def breaker(tables: Tables) -> Tables:
        cell = pl.Series([value], dtype=tables[table].schema[column])
        return {**tables, table: tables[table].with_columns(tables[table][column].scatter(row, cell))}

    return breaker


def both(*breakers: Breaker) -> Breaker:
    def breaker(tables: Tables) -> Tables:
        for step in breakers:
            tables = step(tables)
        return tables

    return breaker


def again(table: str, **changes: Any) -> Breaker:
    """Repeat the first row, with other values in some columns."""

    def breaker(tables: Tables) -> Tables:
        first = tables[table].head(1)
        cells = [pl.lit(value, first.schema[name]).alias(name) for name, value in changes.items()]
        return {**tables, table: pl.concat([tables[table], first.with_columns(cells)])}

    return breaker


def extra_column(table: str) -> Breaker:
    return lambda tables: {**tables, table: tables[table].with_columns(surprise=pl.lit(1))}


def emptied(*names: str) -> Breaker:
    return lambda tables: {name: frame.clear() if name in names else frame for name, frame in tables.items()}


def recounted(breaker: Breaker) -> Breaker:
    """Count the rows anew after breaking them, as a caller would."""

    def counted(tables: Tables) -> Tables:
        broken = breaker(tables)
        return {**broken, "counts": counts_of(broken["rows"])}

    return counted


def without(table: str, kind: str) -> Breaker:
    return lambda tables: {**tables, table: tables[table].filter(pl.col("kind") != kind)}


def scores(prefix: str, table: str) -> dict[str, Breaker]:
    return {f"{prefix}.{name}": put(table, name, 5.1) for name in (*DIMENSIONS, "overall")}


CLASHING = both(put("images", "licence", "CC-BY-NC-4.0"), put("images", "licence_class", "open"))
WITHHELD = {"licence": "LicenseRef-No-Redistribution", "licence_class": "no-redistribution"}

BREAKERS: dict[str, Breaker] = {
    "ingest.images.present": emptied("images"),
    "ingest.images.columns": extra_column("images"),
    "ingest.images.required": put("images", "source_format", None),
    "ingest.images.image_id_unique": again("images"),
    "ingest.images.image_id_namespaced": put("images", "image_id", "a"),
    "ingest.images.file_digest": put("images", "file_digest", digest("x")[:-1]),
    "ingest.images.image_digest": put("images", "image_digest", digest("x").upper()),
    "ingest.images.pixel_digest": put("images", "pixel_digest", digest("x") + "0"),
    "ingest.images.width": put("images", "width", 0),
    "ingest.images.height": put("images", "height", 0),
    "ingest.images.licence": put("images", "licence", "All rights reserved"),
    "ingest.images.licence_class": put("images", "licence_class", "free"),
    "ingest.images.licence_agrees": CLASHING,
    "ingest.images.attribution": put("images", "attribution", " "),
    "ingest.images.modality": put("images", "modality", "x-ray"),
    "ingest.cases.present": emptied("cases"),
    "ingest.cases.columns": extra_column("cases"),
    "ingest.cases.required": put("cases", "source", None),
    "ingest.cases.case_id_unique": again("cases"),
    "ingest.cases.case_id_namespaced": put("cases", "case_id", ":a"),
    "ingest.cases.lesion_id_namespaced": put("cases", "lesion_id", "lesion 1"),
    "ingest.cases.patient_id_namespaced": put("cases", "patient_id", "ham10000:"),
    "ingest.cases.has_image": put("cases", "n_images", 0),
    "ingest.cases.label_certainty": put("cases", "label_certainty", "certain"),
    "ingest.cases.age_years": put("cases", "age_years", 120.5),
    "ingest.counts.one_row": again("counts"),
    "ingest.counts.columns": extra_column("counts"),
    "ingest.counts.required": put("counts", "n_rejected", None),
    "ingest.counts.source_rows": put("counts", "n_source_rows", 0),
    "ingest.counts.fraction": put("counts", "rejected_share", -0.1),
    "ingest.counts.rejected_share": put("counts", "rejected_share", 0.26),
    "narratives.narratives.present": emptied("narratives", "evaluations"),
    "narratives.narratives.columns": extra_column("narratives"),
    "narratives.narratives.required": put("narratives", "text_length", None),
    "narratives.narratives.narrative_id_unique": again("narratives"),
    "narratives.narratives.case_id_namespaced": put("narratives", "case_id", "HAM:a"),
    "narratives.narratives.prompt_digest": put("narratives", "prompt_digest", ""),
    "narratives.narratives.trajectory": put("narratives", "trajectory", "turned"),
    "narratives.narratives.parse_status": put("narratives", "parse_status", "raw"),
    "narratives.narratives.text_length": put("narratives", "text_length", 0),
    "narratives.narratives.node_known": put("narratives", "concluded_node", "flu"),
    "narratives.narratives.scored": again("narratives", narrative_id=digest("another")),
    "narratives.evaluations.columns": extra_column("evaluations"),
    "narratives.evaluations.required": put("evaluations", "scale_low", None),
    "narratives.evaluations.key_unique": again("evaluations"),
    "narratives.evaluations.narrative_known": again("evaluations", narrative_id=digest("nobody")),
    **scores("narratives.evaluations", "evaluations"),
    "release.rows.present": recounted(emptied("rows")),
    "release.rows.columns": extra_column("rows"),
    "release.rows.required": put("rows", "group_id", None),
    "release.rows.case_id_unique": recounted(again("rows", narrative_id=digest("another"), split="certified")),
    "release.rows.case_id_namespaced": put("rows", "case_id", "a"),
    "release.rows.narrative_id_unique": put("rows", "narrative_id", digest(f"narrative {IDS[1]}")),
    "release.rows.split": recounted(put("rows", "split", "certify_queue")),
    "release.rows.licence": put("rows", "licence", "unknown"),
    "release.rows.licence_class": both(*(put("rows", name, value) for name, value in WITHHELD.items())),
    "release.rows.licence_agrees": put("rows", "licence", "LicenseRef-No-Redistribution"),
    "release.rows.attribution": put("rows", "attribution", ""),
    "release.rows.node_known": put("rows", "taxonomy_id", "flu"),
    "release.rows.malignancy": put("rows", "malignancy", "benign"),
    "release.rows.label_certainty": put("rows", "label_certainty", ""),
    "release.rows.image_digest": put("rows", "image_digest", "0" * 63 + "g"),
    "release.rows.pixel_digest": put("rows", "pixel_digest", "0" * 63 + "\n"),
    "release.rows.has_image": put("rows", "n_images", 0),
    "release.rows.one_origin": recounted(put("rows", "synthetic", True)),
    "release.rows.age_years": put("rows", "age_years", -1.0),
    "release.rows.text_length": put("rows", "text_length", 0),
    **scores("release.rows", "rows"),
    "release.rows.planted": put("rows", "is_planted", True),
    "release.rows.flagged": put("rows", "is_flagged", True, row=1),
    "release.rows.raters": put("rows", "raters_missing", 1, row=3),
    "release.rows.human_scores": put("rows", "human_missing", 2, row=3),
    "release.leakage.columns": extra_column("leakage"),
    "release.leakage.required": put("leakage", "n_shared", None),
    "release.leakage.kinds": without("leakage", "patient_id"),
    "release.leakage.none_shared": put("leakage", "n_shared", 1, row=2),
    "release.thresholds.columns": extra_column("thresholds"),
    "release.thresholds.required": put("thresholds", "n_below", None),
    "release.thresholds.kinds": without("thresholds", "safety"),
    "release.thresholds.none_below": put("thresholds", "n_below", 1, row=6),
    "release.counts.one_row": again("counts"),
    "release.counts.columns": extra_column("counts"),
    "release.counts.required": put("counts", "n_no_redistribution", None),
    "release.counts.agree": put("counts", "n_train", 4),
    "release.counts.text_only": put("counts", "n_text_only_refused", 1),
    "release.counts.simulated": put("counts", "n_simulated_refused", 1),
    "release.counts.enough_train": lambda tables: tables,
    "release.counts.blind_share": put("counts", "blind_share", 0.29),
}
#: Where the tables alone do not break the rule, or would break another one.
MIN_TRAIN_ROWS = {"release.counts.enough_train": 4, "release.rows.present": 0}


def gate_of(code: str) -> Gate:
    return next(gate for gate, suite in SUITES.items() if code in {rule.code for rule in suite})


def failures(report: GateReport) -> list[str]:
    return [result["code"] for result in report.results if not result["success"]]


def broken(code: str) -> tuple[Gate, Tables, GateSettings]:
    gate = gate_of(code)
    settings = SETTINGS.model_copy(update={"min_train_rows": MIN_TRAIN_ROWS.get(code, SETTINGS.min_train_rows)})
    return gate, BREAKERS[code](healthy(gate)), settings


_OUTCOMES: dict[tuple[str, ...], dict[str, Any]] = {}


@pytest.fixture
def known_tables_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask Great Expectations about equal tables and rules only once: breakers leave most tables as they were."""
    validate = gates._validate

    def ask_once(batches: Any, frame: pl.DataFrame, rules: list[Expectation]) -> dict[str, Any]:
        key = (frame.write_ndjson(), str(frame.schema), str(rules))
        if key not in _OUTCOMES:
            _OUTCOMES[key] = validate(batches, frame, rules)
        return _OUTCOMES[key]

    monkeypatch.setattr(gates, "_validate", ask_once)


@pytest.mark.parametrize("gate", list(SUITES))
def test_healthy_tables_pass(gate: Gate) -> None:
    report = run_gate(gate, healthy(gate), SETTINGS)
    assert failures(report) == []
    assert report.passed
    assert [result["code"] for result in report.results] == [rule.code for rule in SUITES[gate]]
    raise_if_blocked(report)


def test_every_rule_has_a_breaker() -> None:
    assert set(BREAKERS) == set(CODES)


@pytest.mark.usefixtures("known_tables_once")
@pytest.mark.parametrize("code", CODES)
def test_breaking_one_rule_fails_it_alone_and_refuses_the_release(code: str) -> None:
    gate, tables, settings = broken(code)
    report = run_gate(gate, tables, settings)
    assert failures(report) == [code]
    assert not report.passed
    [result] = [result for result in report.results if not result["success"]]
    with pytest.raises(GateError) as refusal:
        raise_if_blocked(report)
    assert result["says"] in str(refusal.value)
    assert str(refusal.value).endswith(f"{result['advice']}.")
    assert "\n" not in str(refusal.value)
    assert not result["observed"].startswith("could not be checked")
    if result["n_unexpected"] is not None and "counts" not in code:
        assert result["sample_ids"], "the rows at fault are named"


@pytest.mark.usefixtures("known_tables_once")
@pytest.mark.parametrize(
    ("code", "observed", "ids"),
    [
        ("ingest.images.present", "0 rows", []),
        ("ingest.images.columns", "unexpected: surprise", []),
        ("ingest.images.required", "1 of 4 rows: source_format", ["ham10000:a"]),
        ("ingest.images.image_id_unique", "2 of 5 rows: ham10000:a", ["ham10000:a"]),
        ("ingest.images.licence_agrees", "1 of 4 rows: CC-BY-NC-4.0 is nc, not open", ["ham10000:a"]),
        ("ingest.cases.age_years", "1 of 4 rows: 120.5", ["ham10000:a"]),
        ("ingest.counts.rejected_share", "1 of 1 rows: 0.26", []),
        ("narratives.narratives.node_known", "1 of 4 rows: flu", [digest(f"narrative {IDS[0]}")]),
        ("release.rows.malignancy", "1 of 4 rows: melanoma is malignant, not benign", ["ham10000:a"]),
        ("release.rows.one_origin", "found false, true", []),
        ("release.leakage.none_shared", "1 of 5 rows: 1", ["lesion_id"]),
        ("release.counts.blind_share", "1 of 1 rows: 0.29", []),
        ("release.counts.agree", "1 of 1 rows: n_train is 3, not 4", []),
    ],
)
def test_a_failure_says_what_was_seen_and_where(code: str, observed: str, ids: list[str]) -> None:
    gate, tables, settings = broken(code)
    result = next(r for r in run_gate(gate, tables, settings).results if r["code"] == code)
    assert (result["observed"], result["sample_ids"]) == (observed, ids)


def test_the_refusal_is_one_sentence_per_rule_naming_a_few_rows() -> None:
    ids = tuple(f"ham10000:{n}" for n in range(9))
    tables = healthy("ingest", ids)
    tables["images"] = tables["images"].with_columns(width=pl.lit(0), attribution=pl.lit(""))
    with pytest.raises(GateError) as refusal:
        raise_if_blocked(run_gate("ingest", tables, SETTINGS))
    width, attribution = str(refusal.value).split("\n")
    assert width == (
        "The ingest gate failed: the width is below one pixel (9 of 9 rows: 0, such as ham10000:0, ham10000:1, "
        "ham10000:2, ham10000:3, ham10000:4; ingest.images.width); this is a defect of the pipeline, so report it with "
        "the ids."
    )
    assert attribution.startswith("The ingest gate failed: nobody is credited")


def test_warn_only_lets_a_release_through_and_still_says_so() -> None:
    code = "release.rows.age_years"
    gate, tables, settings = broken(code)
    report = run_gate(gate, tables, settings.model_copy(update={"warn_only": (code,)}))
    assert failures(report) == [code]
    assert report.passed
    raise_if_blocked(report)


def test_an_unknown_code_in_warn_only_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'release\.rows\.age_year'.*nearest is 'release\.rows\.age_years'"):
        check_warn_only(GateSettings(warn_only=("release.rows.age_year",)))
    with pytest.raises(ConfigError, match="zzz"):
        run_gate("ingest", healthy("ingest"), GateSettings(warn_only=("zzz",)))


def test_a_missing_table_fails_all_its_rules() -> None:
    tables = healthy("release")
    del tables["leakage"]
    report = run_gate("release", tables, SETTINGS)
    assert failures(report) == [code for code in CODES if code.startswith("release.leakage.")]
    assert all("the table leakage is missing" in r["observed"] for r in report.results if not r["success"])


def test_no_tables_at_all_fails_every_rule() -> None:
    for gate in SUITES:
        assert len(failures(run_gate(gate, {}, SETTINGS))) == len(SUITES[gate])


def test_a_missing_column_fails_each_rule_that_needs_it() -> None:
    tables = healthy("release")
    tables["rows"] = tables["rows"].drop("taxonomy_id")
    report = run_gate("release", tables, SETTINGS)
    assert failures(report) == [f"release.rows.{name}" for name in ("columns", "node_known", "malignancy")]
    assert report.results[0]["observed"] == "missing: malignancy_clash, taxonomy_id, unknown_node"
    assert "could not be checked" in next(
        r["observed"] for r in report.results if r["code"] == "release.rows.malignancy"
    )


@pytest.mark.parametrize(
    ("column", "value", "rules"),
    [
        ("width", "600", ["columns", "width"]),
        ("height", 450.0, ["columns", "height"]),
        ("attribution", 7, ["columns", "attribution"]),
        ("licence", 7, ["columns", "licence", "licence_agrees"]),
        ("image_id", 7, ["columns", "image_id_unique", "image_id_namespaced"]),
        ("synthetic", "no", ["columns"]),
        ("luma_std", "40", ["columns"]),
        ("modality", ["clinical"], ["columns", "modality"]),
    ],
)
def test_a_wrong_type_fails_the_columns_and_every_rule_on_it(column: str, value: Any, rules: list[str]) -> None:
    tables = healthy("ingest")
    tables["images"] = tables["images"].with_columns(pl.lit(value).alias(column))
    report = run_gate("ingest", tables, SETTINGS)
    assert failures(report) == [f"ingest.images.{rule}" for rule in rules]
    assert f"unexpected: {column} (" in str(report.to_dict())


def test_an_error_inside_great_expectations_is_a_failure_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_fits", lambda dtype, wanted: True)
    tables = healthy("ingest")
    tables["images"] = tables["images"].with_columns(pl.col("width").cast(pl.String))
    report = run_gate("ingest", tables, SETTINGS)
    assert failures(report) == ["ingest.images.width"]
    [observed] = [r["observed"] for r in report.results if not r["success"]]
    assert re.fullmatch(r"could not be checked: .*type.*", observed)
    assert "Traceback" not in observed


def test_great_expectations_breaking_down_fails_every_rule_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(batch: Any, checks: list[Any], result_format: str) -> dict[str, Any]:
        if checks[0].meta["code"].startswith("ingest.cases."):
            raise RuntimeError("out of order\nsecond line")
        return ask(batch, checks, result_format)

    ask = gates._ask
    monkeypatch.setattr(gates, "_ask", break_down)
    report = run_gate("ingest", healthy("ingest"), SETTINGS)
    assert failures(report) == [code for code in CODES if code.startswith("ingest.cases.")]
    assert {r["observed"] for r in report.results if not r["success"]} == {"could not be checked: out of order"}


def test_a_rule_without_an_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_ask", lambda batch, checks, result_format: {})
    assert len(failures(run_gate("narratives", healthy("narratives"), SETTINGS))) == len(SUITES["narratives"])


def test_columns_of_nothing_but_nulls_pass_where_nulls_may_be() -> None:
    tables = healthy("ingest")
    tables["cases"] = tables["cases"].with_columns(pl.lit(None).alias("age_years"), pl.lit(None).alias("lesion_id"))
    assert run_gate("ingest", tables, SETTINGS).passed


def test_bytes_never_reach_the_check_and_are_refused_by_name() -> None:
    tables = healthy("ingest")
    tables["images"] = tables["images"].with_columns(phash_whole=pl.lit(b"\0" * 256), tones=pl.lit([1, 2]))
    report = run_gate("ingest", tables, SETTINGS)
    assert failures(report) == ["ingest.images.columns"]
    assert "unexpected: phash_whole (Binary), tones (List(" in str(report.to_dict())


def test_a_case_of_several_images_has_several_digests_and_small_integers_are_integers() -> None:
    tables = healthy("release")
    two = pl.concat_str(pl.col("image_digest"), pl.lit(digest("another")), separator=" ")
    tables["rows"] = tables["rows"].with_columns(two, pl.lit(2, pl.UInt32).alias("n_images"))
    assert run_gate("release", tables, SETTINGS).passed
    tables["rows"] = tables["rows"].with_columns(pl.col("image_digest") + " ")
    assert failures(run_gate("release", tables, SETTINGS)) == ["release.rows.image_digest"]


def test_a_score_that_is_not_a_number_fails() -> None:
    tables = healthy("release")
    tables["rows"] = tables["rows"].with_columns(overall=pl.lit(float("nan")))
    report = run_gate("release", tables, SETTINGS)
    assert failures(report) == ["release.rows.overall"]
    assert next(r for r in report.results if not r["success"])["n_unexpected"] == 4
    assert next(r for r in report.results if not r["success"])["sample_ids"] == sorted(IDS)
    assert threshold_table(tables["rows"], SelectSettings())["n_below"].to_list() == [0, 0, 0, 0, 0, 0, 3]


def test_the_report_does_not_depend_on_the_order_of_rows_and_is_plain_json() -> None:
    ids = tuple(f"ham10000:{n:03}" for n in range(60))
    tables = healthy("ingest", ids)
    bad = pl.int_range(60) % 2 == 0
    tables["images"] = tables["images"].with_columns(
        pl.when(bad).then(pl.lit("x") + pl.col("modality") + pl.col("source_image_id")).alias("modality"),
        width=pl.when(bad).then(-pl.int_range(60)).otherwise(600),
    )
    shuffled = {name: frame.sample(fraction=1, shuffle=True, seed=7) for name, frame in tables.items()}
    texts = [
        json.dumps(run_gate("ingest", t, SETTINGS).to_dict(), allow_nan=False, sort_keys=True)
        for t in (tables, shuffled)
    ]
    assert texts[0] == texts[1]
    assert not re.search(r"20\d\d-|Traceback|0x[0-9a-f]{6}|/tmp|site-packages", texts[0])


def test_polars_and_great_expectations_count_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "_N_IDS", 1000)
    ids = tuple(f"ham10000:{n:03}" for n in range(40))
    tables = healthy("ingest", ids)
    some = pl.int_range(40) % 3 == 0
    null_too = pl.when(pl.int_range(40) % 5 == 0).then(None)
    tables["images"] = tables["images"].with_columns(
        null_too.when(some).then(pl.lit("x")).otherwise(pl.col("file_digest")).alias("file_digest"),
        null_too.when(some).then(pl.lit("x")).otherwise(pl.col("licence")).alias("licence"),
        null_too.when(some).then(0).otherwise(pl.col("width")).alias("width"),
        null_too.otherwise(pl.col("modality")).alias("modality"),
    )
    failed = [r for r in run_gate("ingest", tables, SETTINGS).results if not r["success"]]
    assert len(failed) == 4
    assert all(result["n_unexpected"] == len(result["sample_ids"]) > 0 for result in failed)


def test_a_gate_opens_no_connection(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a gate must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert run_gate("narratives", healthy("narratives"), SETTINGS).passed
    assert capfd.readouterr() == ("", ""), "no progress bar, no message"


def test_thirteen_thousand_rows_take_seconds() -> None:
    ids = tuple(f"ham10000:{n:05}" for n in range(13_000))
    tables = healthy("release", ids)
    run_gate("narratives", healthy("narratives"), SETTINGS)
    start = time.process_time()
    assert run_gate("release", tables, SETTINGS).passed
    assert time.process_time() - start < 4  # under one second of wall time where nothing else runs


# The two tables that are computed from rows.


@pytest.mark.usefixtures("known_tables_once")
@pytest.mark.parametrize("kind", LEAKAGE_KINDS)
def test_leakage_is_found_between_released_splits(kind: str) -> None:
    rows = put("rows", kind, "same", row=0)(put("rows", kind, "same", row=3)(healthy("release")))["rows"]
    expected = {name: int(name == kind) for name in LEAKAGE_KINDS}
    assert dict(leakage_table(rows).iter_rows()) == expected
    tables = {**healthy("release"), "leakage": leakage_table(rows)}
    assert failures(run_gate("release", tables, SETTINGS)) == ["release.leakage.none_shared"]


@pytest.mark.parametrize("split", ["calibration", "certify_queue"])
def test_leakage_is_found_towards_what_is_held_out(split: str) -> None:
    rows = rows_table().head(3)
    held_out = rows.head(2).with_columns(split=pl.lit(split), pixel_digest=pl.lit("other"))
    assert dict(leakage_table(rows, held_out).iter_rows()) == {
        **dict.fromkeys(LEAKAGE_KINDS, 2),
        "patient_id": 0,
        "pixel_digest": 0,
    }


def test_a_group_may_be_half_certified_and_half_queued_but_not_calibration() -> None:
    rows = rows_table().tail(1)
    assert leakage_table(rows, rows.with_columns(split=pl.lit("certify_queue")))["n_shared"].sum() == 0
    assert leakage_table(rows, rows.with_columns(split=pl.lit("calibration")))["n_shared"].sum() == 4


def test_leakage_reads_cases_of_several_images() -> None:
    rows = rows_table().with_columns(image_digest=pl.concat_list(pl.lit("shared"), "image_digest"))
    assert dict(leakage_table(rows).iter_rows())["image_digest"] == 1


def test_leakage_of_nothing_is_zero() -> None:
    empty = rows_table().clear()
    assert leakage_table(empty, empty)["n_shared"].to_list() == [0] * len(LEAKAGE_KINDS)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["train", "certified", "calibration"])), max_size=12)
)
@hypothesis_settings(max_examples=50, deadline=None)
def test_leakage_agrees_with_counting_by_hand(pairs: list[tuple[str, str]]) -> None:
    schema = {**dict.fromkeys(LEAKAGE_KINDS, pl.String), "split": pl.String}
    rows = pl.DataFrame([{**dict.fromkeys(LEAKAGE_KINDS, value), "split": split} for value, split in pairs], schema)
    by_hand = sum(len({split for other, split in pairs if other == value}) > 1 for value in {v for v, _ in pairs})
    assert leakage_table(rows)["n_shared"].to_list() == [by_hand] * len(LEAKAGE_KINDS)


@pytest.mark.parametrize("kind", DIMENSIONS)
def test_a_train_row_below_a_threshold_or_unscored_is_counted(kind: str) -> None:
    least = Thresholds().model_dump()[kind]
    for value, n_below in ((least, 0), (least - 0.01, 1), (None, 1)):
        rows = put("rows", kind, value)(healthy("release"))["rows"]
        assert dict(threshold_table(rows, SelectSettings()).iter_rows()) == {
            name: n_below if name == kind else 0 for name in THRESHOLD_KINDS
        }


def test_thresholds_leave_certified_rows_alone_and_know_both_aggregates() -> None:
    rows = put("rows", "safety", 0.0, row=3)(healthy("release"))["rows"]
    assert threshold_table(rows, SelectSettings())["n_below"].sum() == 0
    rows = rows_table().with_columns(safety=pl.lit(4.0), overall=pl.lit(2.0))
    strict = SelectSettings(thresholds=Thresholds(aggregate=4.2))
    assert dict(threshold_table(rows, strict).iter_rows())["aggregate"] == 3
    by_least = strict.model_copy(update={"aggregate": "min"})
    assert dict(threshold_table(rows.with_columns(overall=pl.lit(5.0)), by_least).iter_rows())["aggregate"] == 3
    assert dict(threshold_table(rows.with_columns(overall=pl.lit(5.0)), strict).iter_rows())["aggregate"] == 0
