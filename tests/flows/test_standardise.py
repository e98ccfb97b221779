"""The standardise command: every text of a set is a row or a rejection, whatever layout the set has."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from corpus.sources.narratives import Columns
from flows import standardise as module
from flows.cli import app
from flows.standardise import standardise_set
from schemas.errors import UserError
from schemas.narrative import UNMAPPED, narrative_from_json, parse_sections, parse_tagged

TEXTS = [
    ("a", "psoriasis scalp", "Silvery scale lies on the scalp. The most likely diagnosis is psoriasis."),
    ("b", "melanoma", "<think>A black nodule.</think><answer>Melanoma</answer>"),
    ("c", "odd thing", "Nothing can be seen on this picture."),
    ("d", "acne", "--- !!!"),
    ("e", "acne", ""),
]


def jsonl(folder: Path, repeat: int = 1) -> Path:
    file = folder / "texts.jsonl"
    rows = [{"id": f"{i}{n}", "label": label, "text": text} for n in range(repeat) for i, label, text in TEXTS]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def dermbench(folder: Path) -> Path:
    texts, manifest = folder / "data/cot/Group", folder / "data/manifest"
    texts.mkdir(parents=True)
    manifest.mkdir(parents=True)
    rows = []
    for name, label, text in TEXTS:
        (texts / f"{name}.jpg.txt").write_text(text)
        rows.append(
            {
                "id": name,
                "diagnosis": label,
                "dermnet_image_path": f"Group/{name}.jpg",
                "cot": f"data/cot/Group/{name}.jpg.txt",
                "cot_sha256": hashlib.sha256(text.encode()).hexdigest(),
            }
        )
    (manifest / "dermbench_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("layout", [jsonl, dermbench])
def test_each_text_is_a_narrative_or_a_rejection_with_its_reason(tmp_path: Path, layout: object) -> None:
    (tmp_path / "in").mkdir()
    counts = standardise_set(layout(tmp_path / "in"), tmp_path / "out")  # type: ignore[operator]
    table = pl.read_parquet(tmp_path / "out/narratives.parquet")
    rejected = pl.read_parquet(tmp_path / "out/rejections.parquet")
    suffix = "0" if layout is jsonl else ""
    assert table["id"].to_list() == [f"{name}{suffix}" for name in "abc"]
    assert table["label_node"].to_list() == ["psoriasis", "melanoma", None]
    assert table["taxonomy_id"].to_list() == ["psoriasis", "melanoma", UNMAPPED]
    assert table["original"].to_list() == [text for _, _, text in TEXTS[:3]]
    assert dict(rejected.select("record_id", "rule").iter_rows()) == {
        f"d{suffix}": "unparsable",
        f"e{suffix}": "no_text",
    }
    assert (counts["texts"], counts["narratives"], counts["rejected"], counts["no_diagnosis"]) == (5, 3, 2, 1)
    assert json.loads((tmp_path / "out/summary.json").read_text()) == counts


def test_every_rendering_in_the_table_is_the_same_narrative(tmp_path: Path) -> None:
    standardise_set(jsonl(tmp_path), tmp_path / "out", certainty="atlas")
    for row in pl.read_parquet(tmp_path / "out/narratives.parquet").iter_rows(named=True):
        narrative = narrative_from_json(row["narrative_json"])
        assert parse_sections(row["text"]) == parse_tagged(row["tagged_text"]) == narrative
        assert narrative.conclusion.certainty == "atlas"


def test_many_batches_on_every_core_give_the_same_rows_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = jsonl(tmp_path, repeat=5)
    standardise_set(file, tmp_path / "one")
    monkeypatch.setattr(module, "_BATCH", 2)
    standardise_set(file, tmp_path / "many")
    one, many = (pl.read_parquet(tmp_path / name / "narratives.parquet") for name in ("one", "many"))
    assert many.equals(one)
    rejections = [pl.read_parquet(tmp_path / name / "rejections.parquet") for name in ("one", "many")]
    assert rejections[0].equals(rejections[1])


def test_a_run_that_fails_leaves_nothing_that_looks_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(rows: object, certainty: str, dataset: str | None) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "standardise_rows", fail)
    with pytest.raises(MemoryError):
        standardise_set(jsonl(tmp_path), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_the_command_says_what_came_of_the_set(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["standardise", str(jsonl(tmp_path)), str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "3 of 5 texts standardised, 2 rejected; 1 settle on no diagnosis" in result.output
    assert result.output.rstrip().endswith("out")


def test_mistakes_are_named_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        standardise_set(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match="has no column 'words'; it has id, label, text"):
        standardise_set(jsonl(tmp_path), tmp_path / "out", Columns(text="words"))
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        standardise_set(jsonl(tmp_path), tmp_path / "taken")
    result = CliRunner().invoke(app, ["standardise", "x", "y", "--certainty", "sure"])
    assert isinstance(result.exception, UserError)
    assert "'sure' is no certainty" in str(result.exception)


def test_the_published_texts_are_standardised(tmp_path: Path, shared_data: Path) -> None:
    counts = standardise_set(shared_data / "dermbench", tmp_path / "out")
    assert counts["texts"] == 1000
    assert counts["narratives"] >= 990
    assert counts["clinical_residue"] <= 10
    assert counts["no_diagnosis"] <= 30
