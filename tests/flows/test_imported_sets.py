"""A set of narratives from elsewhere goes the way of every candidate of the build, and only its cases are worked on."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from corpus.store import Store
from flows.build import Outcome, run_build
from flows.execute import InProcess
from flows.plan import Build
from schemas.config import Config
from schemas.errors import UserError
from schemas.taxonomy import load_taxonomy
from tests.conftest import Quiet

TEXT = (
    "<think> First, I observe the key features: - **Lesion**: a brown patch with a smooth border. - **Surface**: It is "
    "dry. Next, I consider: - **Scabies**: Unlikely without burrows. </think> In conclusion, the most likely diagnosis "
    "is **{}**. I recommend seeing a dermatologist for an examination."
)


def write_set(sample: Path, folder: Path, *, first: str | None = None) -> Path:
    """A text for each of the first images of HAM10000; the first may conclude something else."""
    taxonomy = load_taxonomy()
    with next((sample / "HAM10000").glob("HAM10000_metadata*")).open() as file:
        labels = [(row["image_id"], taxonomy.match(row["dx"], "ham10000").node_id) for row in csv.DictReader(file)]
    rows = [
        {"id": f"t{nth}", "image_name": f"{image}.jpg", "text": TEXT.format(taxonomy.node(node).name)}
        for nth, (image, node) in enumerate(labels[:10])
        if node
    ]
    if first is not None:
        rows[0]["text"] = TEXT.format(first)
    rows.append({"id": "stray", "image_name": "nowhere.jpg", "text": TEXT.format("Psoriasis")})
    file_ = folder / "texts.jsonl"
    file_.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file_


def build(config: Config) -> tuple[Outcome, Build]:
    outcome = run_build(config, InProcess(), Quiet())
    outputs = {report.output.step: report.output for report in outcome.reports}
    return outcome, Build(config, Store(config.workspace), outputs)


@pytest.fixture
def config(drawn_sample: Path, tmp_path: Path, config_for: Callable[..., Config]) -> Config:
    file = write_set(drawn_sample, tmp_path)
    return config_for(drawn_sample, f"propose.imported=[{{name: others, path: {file}, terms: own}}]")


def test_imported_texts_are_candidates_and_only_a_changed_one_is_worked_on(
    config: Config, drawn_sample: Path, tmp_path: Path
) -> None:
    outcome, made = build(config)
    texts = made.table("import", "texts")
    assert 3 <= texts.height <= 10
    rejected = made.table("import", "rejected")
    assert ("others:stray", "no_case") in set(rejected.select("record_id", "rule").iter_rows())
    written = made.rows("propose", ["case_id", "author", "narrative_id"]).filter(author="others")
    assert set(written["case_id"]) == set(texts["case_id"])
    parsed = made.rows("standardise", ["narrative_id", "residue", "parse_status"])
    residues = parsed.join(written, on="narrative_id")["residue"]
    assert residues.len() > 0 and residues.null_count() == 0
    textbook = parsed.join(written, on="narrative_id", how="anti")["residue"]
    assert textbook.null_count() == textbook.len()

    write_set(drawn_sample, tmp_path, first="Scabies")
    again, _ = build(config)
    states = {report.output.step: (report.state, report.made) for report in again.reports}
    assert states["split"][0] == "reused"
    changed = texts.filter(source_id="t0")["case_id"].to_list()
    assert states["propose"] == ("ran", len(changed)), "only the case with another text"
    assert outcome.release.digest


def test_a_set_that_is_not_there_is_one_sentence(drawn_sample: Path, config_for: Callable[..., Config]) -> None:
    config = config_for(drawn_sample, "propose.imported=[{name: others, path: /nowhere/at/all, terms: own}]")
    with pytest.raises(UserError, match="/nowhere/at/all is not there"):
        build(config)


def test_the_release_does_not_say_where_the_set_lay(config: Config) -> None:
    assert config.propose.imported[0].path not in json.dumps(config.published())
    assert config.published()["propose"]["imported"][0]["name"] == "others"


def test_two_sets_need_two_names(drawn_sample: Path, config_for: Callable[..., Config]) -> None:
    twice = "{name: others, path: x, terms: own}"
    with pytest.raises(UserError, match="two imported sets are called others"):
        config_for(drawn_sample, f"propose.imported=[{twice}, {twice}]")


def test_texts_are_matched_whatever_their_order(config: Config, drawn_sample: Path, tmp_path: Path) -> None:
    _, one = build(config)
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    _, two = build(config)
    assert one.table("import", "texts").equals(two.table("import", "texts"))
    assert isinstance(one.table("import", "texts"), pl.DataFrame)
