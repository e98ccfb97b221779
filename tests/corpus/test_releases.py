from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from corpus import releases
from corpus.card import render_card
from corpus.certification import QUEUE
from corpus.filesystem import Folder
from corpus.release_evidence import CANDIDATES, DUPLICATES
from corpus.release_rows import SCALARS, TEXTS, cut_files, release_schema
from corpus.release_tables import ReleaseTables
from corpus.releases import Release, ReleaseContent, publish, published_releases, read_parent
from schemas.config import CertificationSettings, ProposeSettings, SelectSettings
from schemas.errors import StoreError
from schemas.stage import rejection
from schemas.tables import DIMENSIONS, LEDGER, REJECTIONS, polars_schema


def jpeg(number: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (40, 30), (number % 256, number // 256, 9)).save(sink, "JPEG")
    return sink.getvalue()


def scalar_schema() -> pl.Schema:
    schema = release_schema().remove_metadata()
    full = pl.from_arrow(schema.empty_table())
    assert isinstance(full, pl.DataFrame)
    return pl.Schema({name: full.schema[name] for name in SCALARS})


def content(
    ids: list[str], note: str = "", licence_class: str = "open", score: float = 4.0, rows_per_file: int = 8
) -> ReleaseContent:
    rows = [
        {
            **dict.fromkeys([n for n, t in scalar_schema().items() if t == pl.String], "x"),
            **dict.fromkeys([*DIMENSIONS, "overall", "scale_low", "scale_high"], score),
            "case_id": i, "narrative_id": f"n-{i}", "candidate": 0, "trajectory": "revised",
            "synthetic_trajectory": True, "synthetic": True, "licence_class": licence_class,
            "image_ids": [i], "image_digests": [hashlib.sha256(i.encode()).hexdigest()], "pixel_digests": ["p"],
            "file_paths": [f"{i}.jpg"], "taxonomy_path": ["a", "b"], "tone_observations": [],
        }
        for i in sorted(ids)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=scalar_schema()).with_columns(
        pl.lit("train").alias("split"), pl.lit(f"digest{note}").alias("row_digest")
    )
    ledger = pl.DataFrame(
        [{"group_id": f"g-{i}", "split": "train", "since": "", "reason": "new", "members": [i]} for i in sorted(ids)],
        schema=polars_schema(LEDGER),
    )
    rejected = pl.DataFrame([{"build_id": "b", **rejection("image", "z", "inspect", "corrupt_image")}],
                            schema=polars_schema(REJECTIONS))  # fmt: skip
    counts = {"rows": len(rows), "images": len(rows), "by_split": {"train": len(rows)},
              "by_licence_class": {licence_class: len(rows)}, "by_source": {}, "by_tone": {}, "by_diagnosis": {},
              "by_trajectory": {"revised": len(rows)}, "synthetic_trajectories": len(rows),
              "held_out": {}, "not_redistributable": 0, "text_only": 0, "blind": 0}  # fmt: skip
    queue = frame.clear()
    configuration = {"propose": ProposeSettings().model_dump(), "select": SelectSettings().model_dump(),
                     "certification": CertificationSettings().model_dump()}  # fmt: skip
    record = {"synthetic": True, "counts": counts, "software": {}, "note": note, "intended_use": "Research only.",
              "configuration": configuration, "simulated": False, "certification": {"annotations": None}}  # fmt: skip
    others = (pl.DataFrame(schema=schema) for schema in (QUEUE, CANDIDATES, DUPLICATES))
    return ReleaseContent(ReleaseTables(frame, queue, *others, rows_per_file), rejected, ledger, record)


def texts(rows: pl.DataFrame) -> pl.DataFrame:
    made = {name: ["t"] * rows.height for name in TEXTS}
    made |= {"context": [["age: 60 years"]] * rows.height, "label_seen": [True] * rows.height,
             "image_grounded": [False] * rows.height, "post_hoc": [None] * rows.height,
             "post_hoc_findings": [None] * rows.height}  # fmt: skip
    return pl.DataFrame(made, schema_overrides={"post_hoc": pl.Int64, "post_hoc_findings": pl.List(pl.String)})


def payloads(rows: pl.DataFrame) -> list[list[bytes]]:
    return [[jpeg(int(hashlib.sha256(i.encode()).hexdigest()[:4], 16))] for i in rows["case_id"]]


class Calls:
    """Counts the rows whose texts were fetched, i.e. that were encoded and not copied."""

    def __init__(self) -> None:
        self.rows = 0

    def texts(self, rows: pl.DataFrame) -> pl.DataFrame:
        self.rows += rows.height
        return texts(rows)


class NoReport:
    """A report that says nothing, and holds that it is told of every file once that is there."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name
        self.told: list[str] = []

    def __enter__(self) -> NoReport:
        return self

    def __exit__(self, *_: object) -> None: ...

    def placed(self, path: str) -> None:
        assert self.folder.exists(f"{self.name}/{path}")
        self.told.append(path)

    def html(self, manifest: Mapping[str, Any]) -> str:
        assert sorted(self.told) == sorted(path for path in manifest["files"] if path.startswith("data/"))
        return "<html>"


def release(folder: Path, what: ReleaseContent, fetch: Any = texts) -> tuple[Release, bool]:
    scratch = folder.parent / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    parent = read_parent(Folder(folder)).digest
    return publish(
        Folder(folder),
        scratch,
        what,
        parent,
        render_card,
        NoReport,
        fetch,
        payloads,
        lambda done, total: None,
    )


IDS = [f"s:{n:04d}" for n in range(40)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_versions_identity_and_latest(tmp_path: Path) -> None:
    folder = tmp_path / "releases"
    first, new = release(folder, content(IDS))
    assert (first.name, new) == ("dermcot-0.1.0", True)
    same, new = release(folder, content(IDS))
    assert (same, new) == (first, False)
    second, new = release(folder, content(IDS, note="other configuration"))
    assert (second.name, new) == ("dermcot-0.2.0", True)
    assert release(folder, content(IDS))[0].name == "dermcot-0.1.0"
    assert (folder / "LATEST").read_text() == f"dermcot-0.2.0 sha256:{second.digest}\n"
    manifest = (folder / "dermcot-0.2.0/manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == second.digest


def test_content_made_without_the_latest_release_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "releases"
    release(folder, content(IDS))
    (tmp_path / "scratch").mkdir(exist_ok=True)
    late = (
        Folder(folder), tmp_path / "scratch", content(IDS[:5]), "", render_card, NoReport, texts, payloads
    )  # fmt: skip
    with pytest.raises(StoreError, match=r"published dermcot-0\.1\.0 in .* meanwhile"):
        publish(*late, lambda done, total: None)
    assert [r.name for r in published_releases(Folder(folder))] == ["dermcot-0.1.0"]


def test_the_manifest_tells_the_truth_about_every_file(tmp_path: Path) -> None:
    folder = tmp_path / "releases"
    made, _ = release(folder, content(IDS))
    files = tree(folder / made.name)
    listed = made.manifest["files"]
    assert set(files) == {*listed, "manifest.json"}
    for path, entry in listed.items():
        assert (entry["sha256"], entry["bytes"]) == (hashlib.sha256(files[path]).hexdigest(), len(files[path]))
        if path.endswith(".parquet"):
            assert entry["rows"] == pq.read_metadata(folder / made.name / path).num_rows
    assert sum(e["rows"] for p, e in listed.items() if p.startswith("data/")) == len(IDS)


def test_same_content_same_bytes_wherever_and_whatever_came_before(tmp_path: Path) -> None:
    release(tmp_path / "one/releases", content(IDS))
    (tmp_path / "two/releases/dermcot-0.1.0/data/train").mkdir(parents=True)
    (tmp_path / "two/releases/dermcot-0.1.0/data/train/open-00009.parquet").write_bytes(b"left by a killed run")
    release(tmp_path / "two/releases", content(IDS[::-1]))
    assert tree(tmp_path / "one/releases/dermcot-0.1.0") == tree(tmp_path / "two/releases/dermcot-0.1.0")


def test_added_cases_leave_most_files_copied_not_encoded(tmp_path: Path) -> None:
    folder, calls = tmp_path / "releases", Calls()
    many = [f"s:{n:05d}" for n in range(400)]
    release(folder, content(many, rows_per_file=16), calls.texts)
    assert calls.rows == 400
    grown, _ = release(folder, content([*many, "s:00100b"], rows_per_file=16), calls.texts)
    assert calls.rows - 400 <= 60
    fresh = tmp_path / "fresh/releases"
    release(fresh, content([*many, "s:00100b"], rows_per_file=16))
    for path, data in tree(folder / grown.name / "data").items():
        assert (fresh / "dermcot-0.1.0/data" / path).read_bytes() == data


def test_a_damaged_earlier_file_is_not_copied(tmp_path: Path) -> None:
    folder, calls = tmp_path / "releases", Calls()
    release(folder, content(IDS))
    for path in (folder / "dermcot-0.1.0/data/train").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    made, _ = release(folder, content(IDS, note="2"), fetch=calls.texts)
    assert calls.rows == 0 or calls.rows == 40
    for path, entry in made.manifest["files"].items():
        assert hashlib.sha256((folder / made.name / path).read_bytes()).hexdigest() == entry["sha256"]


def test_a_file_nobody_touched_is_taken_over_unread_and_a_touched_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, what, read = tmp_path / "releases", content(IDS), []
    release(folder, what)
    described = releases._described

    def telling(at: Folder, relative: str, rows: int | None) -> dict[str, Any]:
        read.append(relative)
        return described(at, relative, rows)

    monkeypatch.setattr(releases, "_described", telling)
    second, _ = release(folder, replace(what, record={**what.record, "note": "2"}))
    assert not [path for path in read if "/data/" in path]
    for path in (folder / second.name / "data/train").iterdir():
        path.touch()
    third, _ = release(folder, replace(what, record={**what.record, "note": "3"}))
    data = [path for path in third.manifest["files"] if path.startswith("data/")]
    assert sorted(path for path in read if "/data/" in path) == sorted(f"{third.name}/{path}" for path in data)


def test_images_are_not_compressed_once_more(tmp_path: Path) -> None:
    made, _ = release(tmp_path / "releases", content(IDS))
    for path in (tmp_path / "releases" / made.name / "data/train").iterdir():
        group = pq.read_metadata(path).row_group(0)
        codecs = {group.column(n).path_in_schema: group.column(n).compression for n in range(group.num_columns)}
        assert codecs.pop("images.list.element.bytes") == "UNCOMPRESSED"
        assert set(codecs.values()) == {"ZSTD"}


def test_a_published_release_that_lost_its_manifest_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "releases"
    release(folder, content(IDS))
    (folder / "dermcot-0.1.0/manifest.json").unlink()
    assert published_releases(Folder(folder)) == []
    with pytest.raises(StoreError, match="lost its manifest"):
        release(folder, content(IDS[:3]))
    assert (folder / "dermcot-0.1.0/data/train").is_dir()


def test_the_parent_remembers_ids_and_the_ledger_only_grows(tmp_path: Path) -> None:
    folder = tmp_path / "releases"
    assert read_parent(Folder(folder)).image_ids == frozenset()
    release(folder, content(IDS[:3]))
    assert read_parent(Folder(folder)).case_ids == frozenset(IDS[:3])
    release(folder, content(IDS[1:5]))
    ledger = read_parent(Folder(folder)).ledger
    assert ledger.select("group_id", "since").rows() == [
        *((f"g-{i}", "0.1.0") for i in IDS[:3]), *((f"g-{i}", "0.2.0") for i in IDS[3:5])
    ]  # fmt: skip


def test_rows_without_open_licence_do_not_load_by_default(tmp_path: Path) -> None:
    from datasets import Features, List, Value, load_dataset

    folder = tmp_path / "releases"
    made, _ = release(folder, content(IDS, licence_class="nc"))
    cache = str(tmp_path / "cache")
    with pytest.raises(ValueError, match=r"Config name is missing.*\['open', 'nc'\]|pick one among"):
        load_dataset(str(folder / made.name), split="train", cache_dir=cache)
    loaded = load_dataset(str(folder / made.name), "nc", split="train", cache_dir=cache)
    assert loaded.num_rows == len(IDS)
    assert loaded[0]["images"][0].size == (40, 30)
    assert loaded[0]["context"] == ["age: 60 years"]
    schema = release_schema()
    assert loaded.features == Features.from_arrow_schema(schema)
    assert loaded.features["tone_observations"] == List(
        {"scale": Value("string"), "low": Value("int64"), "high": Value("int64"), "origin": Value("string")}
    )
    assert schema.equals(loaded.features.arrow_schema, check_metadata=True)


@given(st.lists(st.text(min_size=1), unique=True).map(sorted), st.integers(1, 50))
def test_cuts_cover_all_rows_in_order_and_respect_the_limit(ids: list[str], limit: int) -> None:
    ranges = cut_files(ids, limit)
    assert [i for start, end in ranges for i in range(start, end)] == list(range(len(ids)))
    assert all(0 < end - start <= limit for start, end in ranges)


def test_the_card_names_licences_and_synthetic_origin(tmp_path: Path) -> None:
    folder = tmp_path / "releases"
    made, _ = release(folder, content(IDS))
    card = (folder / made.name / "README.md").read_text()
    assert "drawn by a program" in card
    assert "config_name: open" in card
    assert json.loads((folder / made.name / "manifest.json").read_text())["synthetic"] is True
