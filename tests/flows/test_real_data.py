"""The main job on real photographs: three published datasets and other people's copies of the same images."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from corpus.store import Store
from flows.build import Outcome, run_build
from flows.execute import InProcess
from schemas.config import Config
from schemas.config_file import load_config
from tests.conftest import REPOSITORY, Quiet

NAMES = {"ham10000": "ham10000", "isic_uda1": "isic", "pad_ufes_20": "pad"}


def original_id(path: str) -> str:
    folder, *_, file = path.split("/")
    stem = file if folder == "pad_ufes_20" else file.rsplit(".", 1)[0]
    return f"{NAMES[folder]}:{stem}"


@pytest.fixture(scope="module")
def pairs(shared_data: Path) -> list[tuple[str, str]]:
    """(original image id, republished image id) of every published copy."""
    with (shared_data / "republished/pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [(original_id(r["original"]), "copies:" + r["republished"].removeprefix("republished/")) for r in rows]


@pytest.fixture(scope="module")
def real(
    shared_data: Path, pairs: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, Outcome]:
    """A build over the three datasets and the copies, which enter as a fourth source without a label of their own."""
    folder = tmp_path_factory.mktemp("real")
    copies = folder / "copies"
    copies.mkdir()
    for path in (shared_data / "republished").iterdir():
        if path.is_dir():
            (copies / path.name).mkdir()
            for file in path.iterdir():
                (copies / path.name / file.name).write_bytes(file.read_bytes())
    lines = [f"{image.removeprefix('copies:')},nevus" for _, image in pairs]
    (copies / "table.csv").write_text("image,label\n" + "\n".join(lines) + "\n")
    document: dict[str, Any] = {
        "sources": [
            {"name": "ham10000", "adapter": "ham10000", "path": str(shared_data / "ham10000")},
            {"name": "isic", "adapter": "isic_archive", "path": str(shared_data / "isic_uda1")},
            {"name": "pad", "adapter": "pad_ufes_20", "path": str(shared_data / "pad_ufes_20")},
            {"name": "copies", "adapter": "folder", "path": str(copies), "licence": "CC-BY-NC-4.0",
             "metadata": "table.csv", "columns": {"image": "image", "label": "label"}},
        ],
        "release": {"allow_text_only": True},  # the textbook teacher sees no image
        "deduplicate": {"on_label_conflict": "keep_survivor"},  # the copies' labels are made up here
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    config = load_config(folder / "config.yaml")
    return config, run_build(config, InProcess(), Quiet())


def table(real: tuple[Config, Outcome], step: str, name: str) -> pl.DataFrame:
    output = next(report.output for report in real[1].reports if report.output.step == step)
    return Store(real[0].workspace).table(output, name)


def test_a_release_comes_out_and_every_image_is_accounted_for(real: tuple[Config, Outcome]) -> None:
    config, outcome = real
    manifest = outcome.release.manifest
    assert manifest["synthetic"] is False
    assert manifest["counts"]["rows"] > 300
    assert set(manifest["counts"]["by_licence_class"]) == {"open", "nc"}
    folder = Path(outcome.path(config))
    index = pl.read_parquet(folder / "index.parquet")["case_id"].to_list()
    queue = pl.read_parquet(folder / "queue.parquet")["case_id"].to_list()
    rejected = (
        pl.read_parquet(folder / "rejections.parquet").filter(pl.col("record_kind") == "case")["record_id"].to_list()
    )
    cases = set(table(real, "ingest", "cases")["case_id"])
    assert len(cases) == 501 + 44 + 57 + 80
    assert cases == {*index, *queue, *rejected}
    assert not {*index, *queue} & set(rejected)


def test_republished_copies_are_found_and_no_other_lesion_is(
    real: tuple[Config, Outcome], pairs: list[tuple[str, str]]
) -> None:
    edges = table(real, "deduplicate", "edges")
    decisions = table(real, "deduplicate", "decisions")
    cluster = dict(decisions.select("image_id", "cluster_id").iter_rows())
    found = [pair for pair in pairs if cluster[pair[0]] == cluster[pair[1]]]
    print(f"republished pairs found: {len(found)} of {len(pairs)}")
    assert len(found) >= 0.95 * len(pairs)
    original = {copy: source for source, copy in pairs}
    cases = table(real, "ingest", "cases").explode("image_ids")
    lesion = {i: le or i for i, le in cases.select("image_ids", "lesion_id").iter_rows()}
    near = edges.filter(pl.col("relation") == "near_duplicate")  # equal pixels are the same photograph by definition
    false = [
        (a, b, distance)
        for a, b, distance in near.select("left", "right", "distance").iter_rows()
        if lesion[original.get(a, a)] != lesion[original.get(b, b)]
    ]
    assert false == []


def test_open_rows_load_without_our_code(real: tuple[Config, Outcome], trainer_python: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from datasets import load_dataset\n"
        "d = load_dataset(sys.argv[1], split='train', cache_dir=sys.argv[2]); r = d[0]\n"
        "print(len(d), r['images'][0].size, sorted({x['licence'] for x in d.remove_columns('images')}))"
    )
    config, outcome = real
    done = subprocess.run(
        [trainer_python, "-c", code, outcome.path(config), str(tmp_path / "cache")], cwd=tmp_path,
        capture_output=True, text=True, env={"HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{outcome.release.manifest['counts']['by_licence_class']['open']} (" in done.stdout
    assert "CC-BY-NC" not in done.stdout


def test_the_repository_holds_no_file_of_the_real_data(shared_data: Path) -> None:
    import hashlib

    files = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True).stdout.split("\0")
    ours = {
        hashlib.sha256((REPOSITORY / f).read_bytes()).hexdigest() for f in files if f and (REPOSITORY / f).is_file()
    }
    theirs = {hashlib.sha256(p.read_bytes()).hexdigest() for p in shared_data.rglob("*") if p.is_file()}
    assert ours
    assert not ours & theirs
    assert sys.version_info >= (3, 11)
