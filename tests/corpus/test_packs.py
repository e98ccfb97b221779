"""Packs: plain tar files, deterministic, read by range and never trusted unchecked."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.packs import PackWriter, read_payloads
from schemas.errors import StoreError

PAYLOADS = [b"first", b"", b"x" * 512, bytes(range(256)) * 9]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def packed(payloads: list[bytes]) -> tuple[bytes, list[int]]:
    buffer = io.BytesIO()
    with PackWriter(buffer) as pack:
        offsets = [pack.add(digest(data), "jpg", data) for data in payloads]
    return buffer.getvalue(), offsets


def entries(payloads: list[bytes], offsets: list[int], pack: str = "a.tar") -> list[tuple[str, int, int, str]]:
    return [(pack, offset, len(data), digest(data)) for data, offset in zip(payloads, offsets, strict=True)]


def test_a_pack_is_a_tar_file_that_names_nobody() -> None:
    content, _ = packed(PAYLOADS)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == [f"{digest(data)}.jpg" for data in PAYLOADS]
        assert all((m.mtime, m.uid, m.gid, m.uname, m.gname) == (0, 0, 0, "", "") for m in members)
        read = [tar.extractfile(m) for m in members]
        assert [f.read() for f in read if f is not None] == PAYLOADS


@given(st.lists(st.binary(max_size=1200), max_size=6))
def test_offsets_point_at_the_bytes(payloads: list[bytes]) -> None:
    content, offsets = packed(payloads)
    assert [content[at : at + len(data)] for data, at in zip(payloads, offsets, strict=True)] == payloads
    assert packed(payloads)[0] == content


def test_an_equal_payload_is_stored_once() -> None:
    content, offsets = packed([b"same", b"other", b"same"])
    assert offsets[0] == offsets[2] != offsets[1]
    assert content.count(b"same") == 1


def test_a_pack_that_failed_half_way_has_no_end() -> None:
    buffer = io.BytesIO()

    def fail(pack: PackWriter) -> None:
        pack.add(digest(b"first"), "jpg", b"first")
        raise RuntimeError

    with pytest.raises(RuntimeError), PackWriter(buffer) as pack:
        fail(pack)
    assert len(buffer.getvalue()) == 1024


def test_the_file_object_stays_open() -> None:
    buffer = io.BytesIO()
    with PackWriter(buffer):
        pass
    assert not buffer.closed


def test_payloads_are_read_in_the_order_asked(tmp_path: Path) -> None:
    first, second = packed(PAYLOADS), packed([b"elsewhere"])
    (tmp_path / "a.tar").write_bytes(first[0])
    (tmp_path / "b.tar").write_bytes(second[0])
    wanted = entries(PAYLOADS, first[1])[::-1] + entries([b"elsewhere"], second[1], "b.tar") * 2
    for folder in (str(tmp_path), f"{tmp_path}/"):
        read = read_payloads(fsspec.filesystem("file"), folder, wanted)
        assert read == [*PAYLOADS[::-1], b"elsewhere", b"elsewhere"]
    assert read_payloads(fsspec.filesystem("file"), str(tmp_path), []) == []


def test_damage_is_a_plain_sentence(tmp_path: Path) -> None:
    content, offsets = packed(PAYLOADS)
    damaged = bytearray(content)
    damaged[offsets[0]] ^= 1
    (tmp_path / "a.tar").write_bytes(damaged)
    with pytest.raises(StoreError, match=rf"a\.tar is damaged at byte {offsets[0]}"):
        read_payloads(fsspec.filesystem("file"), str(tmp_path), entries(PAYLOADS, offsets))


def test_a_short_pack_is_damaged(tmp_path: Path) -> None:
    content, offsets = packed(PAYLOADS)
    (tmp_path / "a.tar").write_bytes(content[: offsets[3] + 5])
    with pytest.raises(StoreError, match="damaged"):
        read_payloads(fsspec.filesystem("file"), str(tmp_path), entries(PAYLOADS, offsets))


def test_a_missing_pack_is_a_plain_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone\.tar is missing"):
        read_payloads(fsspec.filesystem("file"), str(tmp_path), entries([b"x"], [512], "gone.tar"))


def test_packs_are_read_from_other_filesystems() -> None:
    fs = fsspec.filesystem("memory")
    content, offsets = packed(PAYLOADS)
    fs.pipe("/packs_test/a.tar", content)
    assert read_payloads(fs, "/packs_test", entries(PAYLOADS, offsets)) == PAYLOADS
    fs.rm("/packs_test", recursive=True)
