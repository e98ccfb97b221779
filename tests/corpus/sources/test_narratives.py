"""The reader of narrative sets: every layout gives the same rows, and what cannot be read is a rejection."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import polars as pl
import pytest

from corpus.sources.narratives import NARRATIVES, Columns, read_narratives
from schemas.errors import UserError

SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA", Path(__file__).resolve().parents[3] / ".." / "shared" / "data"))
ROWS = [("a", "psoriasis", "Scaly plaques.\nThis is psoriasis."), ("b", "acne", 'A "comedo", says one; done.')]


def read(path: Path) -> tuple[pl.DataFrame, list[dict[str, str | None]]]:
    frames, rejected = zip(*read_narratives(path), strict=True)
    return pl.concat(frames), [row for rows in rejected for row in rows]


def write(folder: Path, kind: str, names: tuple[str, str, str] = ("id", "label", "text")) -> Path:
    frame = pl.DataFrame(ROWS, schema=list(names), orient="row")
    file = folder / f"set.{kind}"
    writers = {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson,
               "tsv": lambda f: frame.write_csv(f, separator="\t")}  # fmt: skip
    writers[kind](file)
    return file


def manifest(folder: Path, **changes: object) -> Path:
    (folder / "data" / "cot").mkdir(parents=True)
    (folder / "data" / "manifest").mkdir()
    lines = []
    for name, label, text in ROWS:
        (folder / "data" / "cot" / f"{name}.txt").write_bytes(text.encode())
        row = {"id": name, "category": "x", "diagnosis": label, "dermnet_image_path": f"Some folder/{name}.jpg",
               "cot": f"data/cot/{name}.txt", "cot_sha256": hashlib.sha256(text.encode()).hexdigest()}  # fmt: skip
        lines.append(json.dumps(row | (changes if name == "b" else {})))
    (folder / "data" / "manifest" / "set_test.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl"])
@pytest.mark.parametrize("names", [("id", "label", "text"), ("narrative_id", "diagnosis", "completion")])
def test_every_table_gives_the_same_rows(tmp_path: Path, kind: str, names: tuple[str, str, str]) -> None:
    rows, rejected = read(write(tmp_path, kind, names))
    assert rows.schema == NARRATIVES
    assert rows.select("id", "label", "text").rows() == ROWS
    assert rejected == []


def test_a_folder_with_a_manifest_gives_the_texts_it_names(tmp_path: Path) -> None:
    rows, rejected = read(manifest(tmp_path))
    assert rows.rows() == [(*row, f"{row[0]}.jpg") for row in ROWS]
    assert rejected == []
    assert read(tmp_path / "data" / "manifest" / "set_test.jsonl")[0].equals(rows)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"cot": "data/cot/none.txt"}, "no_text_file"), ({"cot_sha256": "0" * 64}, "text_changed"),
     ({"cot": "../../../etc/hostname"}, "text_outside_folder"), ({"cot": None}, "no_text")],
)  # fmt: skip
def test_a_text_that_cannot_be_had_is_a_rejection(tmp_path: Path, changes: dict[str, object], rule: str) -> None:
    rows, rejected = read(manifest(tmp_path / "set", **changes))
    assert rows["id"].to_list() == ["a"]
    assert [(row["record_id"], row["stage"], row["rule"]) for row in rejected] == [("b", "read", rule)]


def test_broken_lines_are_rejections_and_not_the_end(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    good = json.dumps({"id": "a", "text": "x \ud800"}) + "\n"
    file.write_text(good + "{broken\n[1]\n" + json.dumps({"id": "c"}) + "\n" + good)
    rows, rejected = read(file)
    assert rows["text"].to_list() == ["x ?", "x ?"]
    assert [row["rule"] for row in rejected] == ["unreadable_row", "unreadable_row", "no_text"]
    table = tmp_path / "set.csv"
    table.write_bytes(b"id;text\n1;caf\xe9\n2;a;b\n3;fine\n")
    rows, rejected = read(table)
    assert rows["text"].to_list() == ["caf\u00e9", "fine"]
    assert [row["detail"] for row in rejected] == ["3 cells where the header has 2"]


def test_batches_have_the_size_asked_for_and_keep_the_order(tmp_path: Path) -> None:
    file = tmp_path / "set.parquet"
    pl.DataFrame({"text": [f"text {n}" for n in range(1000)]}).write_parquet(file)
    batches = [rows for rows, _ in read_narratives(file, batch_size=300)]
    assert [rows.height for rows in batches] == [300, 300, 300, 100]
    assert pl.concat(batches)["text"].to_list() == [f"text {n}" for n in range(1000)]
    assert batches[0]["id"][0] == "set.parquet:row-1"


def test_what_leaves_nothing_to_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        read_narratives(tmp_path / "none.csv")
    with pytest.raises(UserError, match="holds nothing to read"):
        read_narratives(tmp_path)
    file = write(tmp_path, "csv", ("a", "b", "c"))
    with pytest.raises(UserError, match=r"no column that is usually the text; it has a, b, c: name one with --text"):
        read_narratives(file)
    with pytest.raises(UserError, match="no column 'dx'; it has a, b, c: name another with --label-column"):
        read_narratives(file, Columns(text="c", label="dx"))
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(UserError, match=r"cannot be read as \.parquet"):
        read_narratives(tmp_path / "bad.parquet")
    (tmp_path / "bad.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match="none of its first lines is a JSON object"):
        read_narratives(tmp_path / "bad.jsonl")


def test_the_shared_set_is_read_whole() -> None:
    if not (SHARED / "dermbench").is_dir():
        pytest.skip(f"{SHARED / 'dermbench'} is not here: real-data test")
    rows, rejected = read(SHARED / "dermbench")
    assert (rows.height, rejected) == (1000, [])
    assert rows["label"].null_count() == rows["image_name"].null_count() == 0
