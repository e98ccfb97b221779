from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from corpus.filesystem import Folder, sentence_when_full
from schemas.errors import StoreError


def test_put_if_absent_has_one_winner_among_many_threads(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    wins: list[int] = []
    start = threading.Barrier(16)

    def attempt(number: int) -> None:
        start.wait()
        if folder.put_if_absent("a/manifest.json", str(number).encode() * 1000):
            wins.append(number)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert folder.read("a/manifest.json") == str(wins[0]).encode() * 1000
    assert folder.names("a") == ["manifest.json"]


def test_write_replaces_whole_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("x/LATEST", b"one")
    folder.write("x/LATEST", b"two")
    assert folder.read("x/LATEST") == b"two"
    assert folder.names("x") == ["LATEST"]
    assert folder.size("x/none") is None
    assert folder.names("none") == []
    folder.delete("none")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_sentence_that_says_what_to_do(number: int) -> None:
    with pytest.raises(StoreError, match=r"disk is full: /data/x .*--workspace"), sentence_when_full("/data/x"):
        raise OSError(number, os.strerror(number))


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="--workspace"):
        Folder(tmp_path / "file").write("x", b"data")


@pytest.fixture
def s3_folder(s3_bucket: str) -> Folder:
    return Folder(f"{s3_bucket}/workspace")


def test_the_same_promises_hold_on_s3(s3_folder: Folder, tmp_path: Path) -> None:
    assert s3_folder.put_if_absent("steps/a/manifest.json", b"first")
    assert not s3_folder.put_if_absent("steps/a/manifest.json", b"second")
    assert s3_folder.read("steps/a/manifest.json") == b"first"
    local = tmp_path / "pack.tar"
    local.write_bytes(b"x" * 100)
    s3_folder.place(local, "rows/p.tar")
    assert s3_folder.size("rows/p.tar") == 100
    assert not local.exists()
    assert s3_folder.names("steps") == ["a"]
    s3_folder.delete("steps/a")
    assert s3_folder.names("steps") == []


def test_store_lease_and_packs_work_on_s3(s3_folder: Folder) -> None:
    import polars as pl

    from corpus.lease import Lease
    from corpus.store import Store

    store = Store(s3_folder.url)
    with Lease(store.folder, "workspace"):
        with pytest.raises(StoreError, match="another build"), Lease(Folder(s3_folder.url), "workspace"):
            pass
        with store.scratch() as scratch:
            pack = scratch / "pack.tar"
            pack.write_bytes(b"payload")
            rows = pl.DataFrame({"row_key": ["k"], "pack": ["pack.tar"], "pack_offset": [0]})
            part = store.save_part("inspect", ["k"], rows, [], pack)
        selection = pl.DataFrame({"row_key": ["k"], "part": [part]})
        found = store.read_rows("inspect", selection, ["pack"]).row(0, named=True)
        assert store.folder.read(f"rows/inspect/{found['pack']}") == b"payload"
        output = store.save_step("s", "1", {"t": rows}, {})
        assert store.find_step("s", "1") is not None
        assert store.table(output, "t").equals(rows)


def test_a_file_taken_over_is_the_same_file_and_survives_its_origin(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("old/a.parquet", b"rows")
    folder.link_or_copy("old/a.parquet", "new/deep/a.parquet")
    assert (tmp_path / "new/deep/a.parquet").samefile(tmp_path / "old/a.parquet")
    folder.delete("old")
    assert folder.read("new/deep/a.parquet") == b"rows"
    with pytest.raises(FileNotFoundError):
        folder.link_or_copy("old/a.parquet", "new/b.parquet")


def test_a_file_is_copied_where_links_are_not_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path)
    folder.write("a.parquet", b"rows")

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.link", refuse)
    folder.link_or_copy("a.parquet", "b.parquet")
    assert folder.read("b.parquet") == b"rows"
    assert not (tmp_path / "a.parquet").samefile(tmp_path / "b.parquet")
