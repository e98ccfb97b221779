"""The file format under tears at any byte, flips of any bit, and anything that is no segment at all."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.engines import segments

PAYLOADS = st.lists(st.text(alphabet=st.characters(max_codepoint=127), max_size=90).map(str.encode), max_size=8)
HEADER = len(segments.header(bytes(16)))


def key(n: int) -> bytes:
    return hashlib.sha256(str(n).encode()).digest()


def written(payloads: list[bytes], sealed: bool) -> tuple[bytes, list[int]]:
    """A segment, and where each record begins; the last number is where they end."""
    data, begins = segments.header(b"w" * 16), [HEADER]
    for n, payload in enumerate(payloads):
        data += segments.record(key(n), payload)
        begins.append(len(data))
    return data + (segments.seal(len(payloads)) if sealed else b""), begins


def read(data: bytes) -> tuple[dict[bytes, bytes], segments.Scan]:
    found: dict[bytes, int] = {}
    scan = segments.scan(memoryview(data), lambda name, at: found.update({name: at}))
    records = {name: segments.read_record(data, at) for name, at in found.items()}
    assert all(record is not None and record[0] == name for name, record in records.items())
    return {name: record[1] for name, record in records.items() if record is not None}, scan


@given(PAYLOADS, st.booleans())
def test_what_was_written_is_read(payloads: list[bytes], sealed: bool) -> None:
    data, _ = written(payloads, sealed)
    found, scan = read(data)
    assert found == {key(n): payload for n, payload in enumerate(payloads)}
    assert (scan.records, scan.damaged, scan.torn, scan.sealed) == (len(payloads), 0, 0, sealed)
    assert (scan.end, scan.host) == (len(data), segments.this_host())


@given(PAYLOADS, st.booleans(), st.data())
def test_a_tear_at_any_byte_costs_what_is_behind_it(payloads: list[bytes], sealed: bool, data: st.DataObject) -> None:
    whole, begins = written(payloads, sealed)
    at = data.draw(st.integers(0, len(whole) - 1))
    found, scan = read(whole[:at])
    n_whole = sum(end <= at for end in begins[1:])
    assert found == {key(n): payload for n, payload in enumerate(payloads[:n_whole])}
    assert scan.damaged == 0 and not scan.sealed
    assert scan.torn == max(0, at - begins[n_whole]) and scan.end + scan.torn == at


@given(PAYLOADS, st.booleans(), st.data())
def test_a_flipped_bit_costs_at_most_its_record(payloads: list[bytes], sealed: bool, data: st.DataObject) -> None:
    whole, begins = written(payloads, sealed)
    at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
    spoilt = bytearray(whole)
    spoilt[at] ^= 1 << bit
    found, scan = read(bytes(spoilt))
    hit = [n for n in range(len(payloads)) if begins[n] <= at < begins[n + 1]]
    assert found == {key(n): payload for n, payload in enumerate(payloads) if n not in hit}
    counted = scan.damaged + (scan.torn > 0 and not sealed)  # the last record of a segment without seal looks torn
    assert counted == len(hit) or at < HEADER or at >= begins[-1]


@given(PAYLOADS, st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=60)), max_size=4))
def test_whatever_is_overwritten_nothing_wrong_is_read(payloads: list[bytes], blots: list[tuple[int, bytes]]) -> None:
    data, begins = written(payloads, sealed=True)
    spoilt = bytearray(data)
    for at, blot in blots:
        spoilt[at : at + len(blot)] = blot
    try:
        found, _ = read(bytes(spoilt))
    except segments.NewerFormatError:
        return
    assert all(payloads[n] == found[key(n)] for n in range(len(payloads)) if key(n) in found)
    assert len(found) <= len(payloads)
    clean = [
        n for n in range(len(payloads))
        if all(at >= begins[n + 1] or at + len(blot) <= begins[n] for at, blot in blots)
        and all(at >= len(data) or at + len(blot) <= len(data) for at, blot in blots)
    ]  # fmt: skip
    assert all(key(n) in found for n in clean)


@given(st.binary(max_size=400))
def test_what_is_no_segment_holds_nothing(data: bytes) -> None:
    found, scan = read(data)
    assert not found and scan.records == 0


def test_a_segment_of_a_later_version_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "FORMAT_VERSION", 2)
    data, _ = written([b"{}"], sealed=True)
    monkeypatch.undo()
    with pytest.raises(segments.NewerFormatError):
        read(data)


def test_a_mapped_file_is_read_like_bytes(tmp_path: Path) -> None:
    data, begins = written([b"a" * 50, b"b" * 50, b"c"], sealed=True)
    spoilt = bytearray(data)
    spoilt[begins[1] + 5] ^= 1
    (tmp_path / "s").write_bytes(spoilt)
    found: list[bytes] = []
    with (tmp_path / "s").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = memoryview(mapped)
        assert segments.scan(view, lambda name, at: found.append(name)).damaged == 1
        view.release()
    assert found == [key(0), key(2)]
