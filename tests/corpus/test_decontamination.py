from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from corpus.decontamination import MANIFEST_COLUMNS, decontaminate, read_manifest
from corpus.duplicates import EDGES
from schemas.config import DecontaminateSettings
from schemas.errors import ConfigError
from schemas.stage import StageResult
from schemas.tables import CASES, IMAGES, INSPECTIONS, polars_schema

DIGEST = "ab" * 32


def hashes(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (8, 32), dtype=np.uint8)


def run(
    manifest: list[dict[str, str]], n: int = 4, patients: dict[int, str] | None = None,
    edges: list[tuple[str, str]] | None = None, **changes: Any,
) -> StageResult:  # fmt: skip
    patients = patients or {}
    images = [
        {
            "image_id": f"ham:ISIC_{i}", "source": "ham", "source_image_id": f"ISIC_{i}", "file_path": "f",
            "file_bytes": 1, "file_digest": f"{i:064x}", "licence": "CC0-1.0", "licence_class": "open",
            "attribution": "a", "external_processing": True, "synthetic": False, "modality": "clinical",
            "tone_observations": [], "notes": [],
        }
        for i in range(n)
    ]  # fmt: skip
    inspections = [
        {
            "file_digest": f"{i:064x}", "image_digest": "x", "pixel_digest": f"{i + 1000:064x}", "width": 1,
            "height": 1,
            "source_format": "JPEG", "stored_format": "JPEG", "exif_orientation": 1, "reencoded": None,
            "phash_whole": hashes(i).tobytes(), "phash_centre": hashes(i + 100).tobytes(), "sharpness": 1.0,
            "luma_std": 1.0, "low_variance": False, "stored_bytes": 1, "pack": "p", "pack_offset": 0,
        }
        for i in range(n)
    ]  # fmt: skip
    cases = [
        {
            "case_id": f"c{i}", "source": "ham", "image_ids": [f"ham:ISIC_{i}"], "label_certainty": "consensus",
            "patient_id": patients.get(i), "concepts": [], "facts": [],
        }
        for i in range(n)
    ]  # fmt: skip
    rows = [{name: row.get(name) for name in MANIFEST_COLUMNS} for row in manifest]
    return decontaminate(
        pl.DataFrame(images, schema=polars_schema(IMAGES)),
        pl.DataFrame(inspections, schema=polars_schema(INSPECTIONS)),
        pl.DataFrame(cases, schema=polars_schema(CASES)),
        pl.DataFrame([(a, b, "near_duplicate", 2) for a, b in edges or []], schema=EDGES, orient="row"),
        pl.DataFrame(rows, schema=dict.fromkeys(MANIFEST_COLUMNS, pl.String)),
        {"ham": "ham10000"},
        DecontaminateSettings(**changes),
    )


def struck(result: StageResult) -> dict[str, str]:
    images = result.rejected.filter(pl.col("record_kind") == "image")
    return dict(images.select("record_id", "rule").iter_rows())


@pytest.mark.parametrize(
    "row",
    [
        {"file_digest": f"{1:064x}"},
        {"pixel_digest": f"{1001:064x}"},
        {"dataset": "ham10000", "name": "isic_1.JPG"},
        {"dataset": "ham", "name": "images/ISIC_1_downsampled.jpg"},
        {"phash_whole": hashes(1)[0].tobytes().hex()},
        {"phash_whole": hashes(101)[6].tobytes().hex()},  # our central square, turned
        {"phash_centre": (hashes(1)[0] ^ np.array([255, 255, 255] + [0] * 29, dtype=np.uint8)).tobytes().hex()},
    ],
)
def test_every_way_of_naming_an_evaluation_image_strikes_it_alone(row: dict[str, str]) -> None:
    result = run([row])
    assert struck(result) == {"ham:ISIC_1": "benchmark_image"}
    assert result.kept.filter(~pl.col("clean"))["image_id"].to_list() == ["ham:ISIC_1"]
    assert "c1" in result.rejected.filter(pl.col("record_kind") == "case")["record_id"].to_list()


def test_what_does_not_match_is_left_alone() -> None:
    far = (hashes(1)[0] ^ np.array([255, 255, 255, 3] + [0] * 28, dtype=np.uint8)).tobytes().hex()  # 26 bits
    rows = [{"dataset": "dermnet", "name": "ISIC_1"}, {"phash_whole": far}, {"file_digest": "0f" * 32}]
    assert struck(run(rows)) == {}
    assert struck(run([])) == {}


def test_the_leakage_group_goes_too_unless_configured_otherwise() -> None:
    patients = {1: "p", 2: "p"}
    row = {"file_digest": f"{1:064x}"}
    everything = {"ham:ISIC_1": "benchmark_image", "ham:ISIC_2": "benchmark_group", "ham:ISIC_3": "benchmark_group"}
    assert struck(run([row], patients=patients, edges=[("ham:ISIC_2", "ham:ISIC_3")])) == everything
    assert struck(run([row], patients=patients, reject_group=False)) == {"ham:ISIC_1": "benchmark_image"}


def test_groups_join_patients_and_duplicates() -> None:
    result = run([], patients={0: "p", 1: "p"}, edges=[("ham:ISIC_1", "ham:ISIC_2")])
    keys = dict(result.kept.select("image_id", "group_key").iter_rows())
    assert keys["ham:ISIC_0"] == keys["ham:ISIC_1"] == keys["ham:ISIC_2"] != keys["ham:ISIC_3"]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_manifests_are_read_in_three_formats(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame(
        {"dataset": ["d", None], "name": ["n", None], "file_digest": [None, DIGEST.upper()], "more": [1, 2]}
    )
    path = tmp_path / f"set.{suffix}"
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[suffix](path)
    assert read_manifest(path).select("dataset", "name", "file_digest").rows() == [
        ("d", "n", None),
        (None, None, DIGEST),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name\n", None),
        ("file_digest\nxyz\n", "line 2 .* file_digest is not 64 hex digits"),
        ("name,file_digest\nonly-a-name,\n", "line 2 .* names nothing"),
        ("title,url\na,b\n", "has none of the columns"),
        ("", "cannot be read"),
    ],
)
def test_a_manifest_that_would_let_images_through_is_refused(tmp_path: Path, text: str, sentence: str | None) -> None:
    path = tmp_path / "set.csv"
    path.write_text(text)
    if sentence is None:
        assert read_manifest(path).is_empty()
        return
    with pytest.raises(ConfigError, match=sentence):
        read_manifest(path)


def test_a_missing_manifest_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no evaluation manifest"):
        read_manifest(tmp_path / "none.csv")
