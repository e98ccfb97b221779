"""The file format of the request cache: append-only segments of records, each with its length and checksums.

A segment is a header, records, and (once sealed) a last record that counts them. It has one writer for its life and is
never written again. Every record is one append, so a killed writer leaves whole records and at most one torn tail. The
mark before each record is a byte sequence that no payload holds (payloads are ASCII), so a reader that meets damage
finds the next record behind it: a flipped bit costs the record it is in, whichever field it hit.

    header  b"DERMCOT\\xff"  version u16  writer 16 bytes  host 8 bytes  crc32 of what is before
    record  b"\\xfeREC"  length u32  key 32 bytes  crc32 of the payload  crc32 of what is before  payload
    seal    a record whose key is all zero and whose payload is the number of records, u64
"""

from __future__ import annotations

import hashlib
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FORMAT_VERSION = 1

_BEGIN, _MARK = b"DERMCOT\xff", b"\xfeREC"
_HEADER = struct.Struct("<8sH16s8sI")
_RECORD = struct.Struct("<4sI32sII")
_COUNT = struct.Struct("<Q")
_SEAL = bytes(32)


class NewerFormatError(ValueError):
    """A segment of a later format than this program reads."""


@dataclass(frozen=True)
class Scan:
    """What a segment holds. Sizes in bytes.

    ``end``: where the last record ends; ``torn``: what follows it; ``damaged``: records that are there and not whole (a
    run of them may count as one where there is no seal); ``host``: a digest of the writer's host name, empty when the
    header is damaged.
    """

    records: int
    end: int
    torn: int
    damaged: int
    sealed: bool
    host: bytes


def this_host() -> bytes:
    """What a header says of the machine that wrote it."""
    return hashlib.sha256(socket.gethostname().encode()).digest()[:8]


def header(writer: bytes) -> bytes:
    """The beginning of a segment; ``writer``: 16 bytes that name it."""
    start = _HEADER.pack(_BEGIN, FORMAT_VERSION, writer, this_host(), 0)[:-4]
    return start + struct.pack("<I", zlib.crc32(start))


def record(key: bytes, payload: bytes) -> bytes:
    """One record: ``key`` of 32 bytes, not all zero; ``payload`` ASCII."""
    if len(key) != 32 or key == _SEAL or not payload.isascii():
        raise ValueError("a record needs a key of 32 bytes and an ASCII payload")
    return _framed(key, payload)


def seal(count: int) -> bytes:
    """The record that ends a segment of ``count`` records."""
    return _framed(_SEAL, _COUNT.pack(count))


def _framed(key: bytes, payload: bytes) -> bytes:
    start = _RECORD.pack(_MARK, len(payload), key, zlib.crc32(payload), 0)[:-4]
    return start + struct.pack("<I", zlib.crc32(start)) + payload


def read_record(data: bytes | memoryview, at: int) -> tuple[bytes, bytes] | None:
    """Key and payload of the whole record that begins at ``at``, or None."""
    found = _record_at(memoryview(data), at)
    return None if found is None or found[2] is None else (found[1], bytes(found[2]))


def record_span(head: bytes) -> int | None:
    """Bytes of the record whose first :data:`RECORD_HEAD` bytes are ``head``, or None when they are damaged."""
    length = _length_at(memoryview(head), 0)
    return None if length is None else _RECORD.size + length


RECORD_HEAD = _RECORD.size


def scan(data: memoryview, found: Callable[[bytes, int], None]) -> Scan:
    """Go through a segment and call ``found(key, offset)`` for every whole record.

    Raises :class:`NewerFormatError` for one that a later version of the program wrote.
    """
    host, at = _read_header(data)
    end, records, damaged = at, 0, 0
    sealed: int | None = None
    while at < len(data):
        told = _record_at(data, at)
        if told is None:  # no head that can be trusted: on to the next mark
            at = _next_record(data, at + 1)
            damaged += at < len(data)
            continue
        after, key, payload = told
        if payload is None:
            if after > len(data):  # the tail, unless records lie within what it claims to hold
                at = _next_record(data, at + 1)
                damaged += at < len(data)
                continue
            damaged += key != _SEAL
        elif key == _SEAL:
            sealed = int(_COUNT.unpack(payload)[0]) if len(payload) == _COUNT.size else None
        else:
            found(key, at)
            records += 1
        at = end = after
    damaged = damaged if sealed is None else max(damaged, sealed - records)
    return Scan(records, end, len(data) - end, damaged, sealed is not None, host)


def _read_header(data: memoryview) -> tuple[bytes, int]:
    """Host and where the records begin; a damaged header is passed over, as records are found without it."""
    if len(data) >= _HEADER.size:
        begin, version, _, host, crc = _HEADER.unpack_from(data)
        if zlib.crc32(data[: _HEADER.size - 4]) == crc and begin == _BEGIN:
            if version > FORMAT_VERSION:
                raise NewerFormatError(f"format {version}")
            return host, _HEADER.size
    return b"", min(_HEADER.size, len(data))


def _length_at(data: memoryview, at: int) -> int | None:
    if at + _RECORD.size > len(data):
        return None
    mark, length, _, _, crc = _RECORD.unpack_from(data, at)
    whole = mark == _MARK and zlib.crc32(data[at : at + _RECORD.size - 4]) == crc
    return int(length) if whole else None


def _record_at(data: memoryview, at: int) -> tuple[int, bytes, memoryview | None] | None:
    """Where it ends, its key, and its payload (None when that is damaged); None without a head to trust."""
    length = _length_at(data, at)
    if length is None:
        return None
    _, _, key, crc, _ = _RECORD.unpack_from(data, at)
    begin = at + _RECORD.size
    payload = data[begin : begin + length]
    whole = len(payload) == length and zlib.crc32(payload) == crc
    return begin + length, key, payload if whole else None


def _next_record(data: memoryview, at: int) -> int:
    """Where the next head that can be trusted begins, or the end."""
    held: Any = data.obj  # bytes or a mapped file
    while (at := held.find(_MARK, at)) >= 0:
        if _length_at(data, at) is not None:
            return at
        at += 1
    return len(data)
