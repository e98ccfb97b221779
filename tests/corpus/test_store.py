from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from corpus.store import Store
from schemas.errors import StoreError

FRAME = pl.DataFrame({"id": ["a", "b"], "n": [1, 2]})


def test_a_step_is_found_again_with_its_tables(tmp_path: Path) -> None:
    store = Store(tmp_path)
    saved = store.save_step("ingest", "k1", {"images": FRAME}, {"kept": 2})
    found = Store(tmp_path).find_step("ingest", "k1")
    assert found is not None
    assert found.digest("images") == saved.digest("images")
    assert store.table(found, "images").equals(FRAME)
    assert store.find_step("ingest", "k2") is None


def test_a_step_without_manifest_or_with_a_lost_table_is_no_output(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_step("ingest", "k1", {"images": FRAME}, {})
    (tmp_path / "steps/ingest/k1/images.parquet").unlink()
    assert store.find_step("ingest", "k1") is None
    store.save_step("ingest", "k1", {"images": FRAME}, {})
    assert store.find_step("ingest", "k1") is not None
    (tmp_path / "steps/ingest/k1/manifest.json").unlink()
    assert store.find_step("ingest", "k1") is None


def test_a_damaged_table_is_one_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path)
    output = store.save_step("ingest", "k1", {"images": FRAME}, {})
    path = tmp_path / "steps/ingest/k1/images.parquet"
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path).table(output, "images")


TEXT = st.none() | st.text()
COUNT = st.none() | st.integers(-(2**40), 2**40)
VALUES = st.lists(
    st.fixed_dictionaries(
        {
            "text": TEXT,
            "count": COUNT,
            "share": st.none() | st.floats(allow_nan=False),
            "flag": st.none() | st.booleans(),
            "data": st.none() | st.binary(),
            "names": st.none() | st.lists(TEXT),
            "seen": st.lists(st.fixed_dictionaries({"scale": TEXT, "low": COUNT})),
        }
    ),
    max_size=5,
)
KINDS = pl.Schema(
    {
        "text": pl.String, "count": pl.Int64, "share": pl.Float64, "flag": pl.Boolean, "data": pl.Binary,
        "names": pl.List(pl.String), "seen": pl.List(pl.Struct({"scale": pl.String, "low": pl.Int64})),
    }
)  # fmt: skip


@given(VALUES)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_at_hand_is_the_table_on_disk(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    store, frame = Store(tmp_path), pl.DataFrame(rows, schema=KINDS)
    output = store.save_step("s", uuid.uuid4().hex, {"t": frame}, {})
    read = Store(tmp_path).table(output, "t")
    assert (store.table(output, "t").schema, store.table(output, "t").rows()) == (read.schema, read.rows())
    assert store.table(output, "t", ["count", "text"]).equals(Store(tmp_path).table(output, "t", ["count", "text"]))


def test_no_more_tables_are_at_hand_than_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.DataFrame({"text": ["x" * 100] * 100})
    monkeypatch.setattr("corpus.store._RECENT", 5 * frame.estimated_size() // 2)
    store = Store(tmp_path)
    outputs = [store.save_step("s", str(n), {"t": frame}, {}) for n in range(4)]
    outputs.append(store.save_step("s", "large", {"t": pl.concat([frame] * 3)}, {}))
    for path in tmp_path.rglob("t.parquet"):
        path.unlink()
    at_hand = []
    for output in outputs:
        with suppress(FileNotFoundError):
            at_hand.append((output.key, store.table(output, "t").height))
    assert at_hand == [("2", 100), ("3", 100)]


def test_content_digest_ignores_order_and_place_but_not_values(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = store.save_step("s", "1", {"t": FRAME.with_columns(pl.lit("p1").alias("part"))}, {})
    two = store.save_step("s", "2", {"t": FRAME.reverse().with_columns(pl.lit("p2").alias("part"))}, {})
    three = store.save_step("s", "3", {"t": FRAME.with_columns(pl.col("n") + 1)}, {})
    assert one.digest("t") == two.digest("t")
    assert one.digest("t") != three.digest("t")


def test_rows_are_found_whatever_part_they_lie_in(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = pl.DataFrame({"row_key": ["k1", "k2", "k3"], "value": [1, 2, 3]})
    first = store.save_part("inspect", ["k1", "k2"], rows.head(2), [])
    second = store.save_part("inspect", ["k3", "k4"], rows.tail(1), [{"row_key": "k4", "rule": "corrupt_image"}])
    assert {key for part in store.parts("inspect").values() for key in part["keys"]} == {"k1", "k2", "k3", "k4"}
    selection = pl.DataFrame({"row_key": ["k3", "k1"], "part": [second, first]})
    assert sorted(store.read_rows("inspect", selection, ["value"]).rows()) == [("k1", 1), ("k3", 3)]


def test_a_part_with_a_lost_file_counts_as_not_made(tmp_path: Path) -> None:
    store = Store(tmp_path)
    rows = pl.DataFrame({"row_key": ["k1"], "value": [1]})
    name = store.save_part("inspect", ["k1"], rows, [])
    (tmp_path / f"rows/inspect/{name}.parquet").unlink()
    assert store.parts("inspect") == {}
    store.save_part("inspect", ["k1"], rows, [])
    assert list(store.parts("inspect")) == [name]


def test_a_torn_manifest_is_ignored_and_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    name = store.save_part("inspect", ["k1"], pl.DataFrame({"row_key": ["k1"], "value": [1]}), [])
    path = tmp_path / f"rows/inspect/{name}.json"
    path.write_text(path.read_text()[:10])
    assert store.parts("inspect") == {}
    store.save_part("inspect", ["k1"], pl.DataFrame({"row_key": ["k1"], "value": [1]}), [])
    assert json.loads(path.read_text())["keys"] == ["k1"]


def test_sweep_removes_only_what_was_not_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_step("s", "1", {"t": FRAME}, {})
    (tmp_path / "tmp/left").mkdir(parents=True)
    (tmp_path / "tmp/left/pack.tar").write_bytes(b"half")
    (tmp_path / "steps/s/1/t.parquet.abc.tmp").write_bytes(b"half")
    before = {str(p) for p in tmp_path.rglob("*") if p.is_file()}
    store.sweep()
    gone = before - {str(p) for p in tmp_path.rglob("*") if p.is_file()}
    assert {os.path.basename(p) for p in gone} == {"pack.tar", "t.parquet.abc.tmp"}
    assert store.find_step("s", "1") is not None
