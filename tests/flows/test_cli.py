"""The command as a person uses it: real processes, real exit statuses, one sentence per mistake."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.build import run_build
from flows.execute import InProcess
from schemas.config_file import load_config
from tests.conftest import REPOSITORY, Quiet, write_config


def dermcot(*arguments: str | Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(drawn_sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.yaml and a finished build."""
    folder = tmp_path_factory.mktemp("built")
    config = load_config(write_config(folder / "config.yaml", drawn_sample))
    run_build(config, InProcess(), Quiet())
    return folder


def test_run_prints_the_table_and_the_release_directory_last(drawn_sample: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    result = dermcot("run", "-c", config, "--releases", tmp_path / "elsewhere")
    assert result.returncode == 0, result.stderr
    release = Path(result.stdout.strip().splitlines()[-1])
    assert release == tmp_path / "elsewhere/dermcot-0.1.0"
    assert (release / "manifest.json").is_file()
    assert "What each step kept and dropped" in result.stderr
    assert "near_duplicate:" in result.stderr
    assert "Traceback" not in result.stderr
    again = dermcot("run", "-c", config, "--releases", tmp_path / "elsewhere")
    assert again.stdout == result.stdout
    assert "Nothing changed: dermcot-0.1.0" in again.stderr
    assert "Prefect" not in again.stderr


def test_show_config_prints_what_would_be_used(built: Path) -> None:
    result = dermcot(
        "run", "-c", built / "config.yaml", "--set", "propose.candidates=5", "--limit", "40", "--show-config"
    )
    document = yaml.safe_load(result.stdout)
    assert (document["propose"]["candidates"], document["limit"]) == (5, 40)
    assert document["workspace"] == str(built / "workspace")


def test_dry_run_tells_steps_apart(built: Path) -> None:
    result = dermcot("run", "-c", built / "config.yaml", "--set", "select.aggregate=min", "--dry-run")
    assert result.returncode == 0, result.stderr
    lines = {line.split()[0].strip("│"): line for line in result.stdout.splitlines() if line.startswith("│")}
    assert "be reused" in lines["evaluate"]
    assert "run" in lines["select"]
    assert "be reused" not in lines["select"]


@pytest.mark.parametrize(
    ("wanted", "parts"),
    [
        ("exact_copy", ["rejected at deduplicate: exact_duplicate", "survivor", "duplicate cluster", "licence"]),
        ("corrupt_file", ["rejected at inspect: corrupt_image", "sha256"]),
        ("missing_file", ["rejected at ingest: image_missing"]),
        ("unknown_label", ["rejected at map_labels: unknown_label"]),
        ("benchmark_image", ["rejected at decontaminate: benchmark_image"]),
    ],
)
def test_explain_answers_where_a_record_went(built: Path, drawn_sample: Path, wanted: str, parts: list[str]) -> None:
    import csv

    with (drawn_sample / "truth.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["kind"] == wanted)
    result = dermcot("explain", row["source_image_id"], "-c", built / "config.yaml")
    assert result.returncode == 0, result.stderr
    for part in parts:
        assert part in result.stdout


def test_explain_tells_a_published_case_from_source_to_file(built: Path) -> None:
    import polars as pl

    index = pl.read_parquet(built / "releases/dermcot-0.1.0/index.parquet")
    case, narrative = index["case_id"][0], index["narrative_id"][0]
    told = dermcot("explain", case, "--workspace", built / "workspace", "-c", built / "config.yaml").stdout
    for part in ("from ", "licence", "label as published", "diagnosis", "candidate 0", "candidate 2", "accuracy",
                 f"chosen narrative {narrative}", f"in dermcot-0.1.0: {index['file'][0]}", "split train"):  # fmt: skip
        assert part in told, part
    for kind in ("direct", "kept", "revised, its first impression constructed"):
        assert re.search(rf"candidate \d, {kind}: narrative ", told), kind
    assert case in dermcot("explain", narrative, "-c", built / "config.yaml").stdout
    digest = index["image_digests"][0][0]
    assert case in dermcot("explain", digest, "-c", built / "config.yaml").stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "-c", "none.yaml"], "Error: there is no configuration file none.yaml"),
        (["run", "-c", "dermcot.yaml", "--set", "selct.x=1"], "did you mean 'select'"),
        (["run", "--set", "sources.0.path=no/such/folder"], "no/such/folder"),
        (["explain", "x", "--workspace", "no/such/workspace"], "Error: there is no finished build"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_2(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    if arguments[0] == "run":
        arguments = [*arguments, "--workspace", str(tmp_path / "w"), "--releases", str(tmp_path / "r")]
    result = dermcot(*arguments)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_explain_of_an_unknown_id_says_how_ids_look(built: Path) -> None:
    result = dermcot("explain", "nobody", "-c", built / "config.yaml")
    assert result.returncode == 2
    assert "nothing called 'nobody'" in result.stderr


def test_a_blocked_gate_is_exit_status_1_with_advice(drawn_sample: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "config.yaml", drawn_sample)
    result = dermcot("run", "-c", config, "--set", "gate.max_rejected_share=0.01")
    assert result.returncode == 1
    assert "The ingest gate failed: too large a share of the source images was rejected" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "releases").exists() or not list((tmp_path / "releases").glob("dermcot-*"))


def test_every_command_is_in_the_readme_with_help_and_example() -> None:
    from typer.main import get_command

    from flows.cli import app

    readme = (REPOSITORY / "README.md").read_text()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert {"run", "sample", "explain"} <= set(commands)
    group = commands.pop("annotate")
    for name, command in {**commands, **{f"annotate {name}": told for name, told in group.commands.items()}}.items():
        assert f"dermcot {name}" in readme, name
        assert "Example: dermcot " in command.help
