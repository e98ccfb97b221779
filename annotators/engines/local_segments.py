"""Segments on this machine's disk: writing one, settling what a killed writer left, and finding records again.

A writer holds a lock on its segment for as long as it may write. A segment whose lock is free has lost its writer: its
torn tail is cut and it is sealed, once, and only on the host that wrote it, since locks of other hosts may not show.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from annotators.engines import segments
from corpus.filesystem import sentence_when_full
from schemas.errors import StoreError

SUFFIX = ".segment"
_PIECE = 16 * 1024  # bytes read at once for a record; longer ones take a second read
_OFFSET_BITS = 40


class SegmentWriter:
    """A segment being written, from its creation to :meth:`close`; one thread at a time."""

    def __init__(self, folder: Path) -> None:
        identity = uuid.uuid4()
        self.path = folder / f"{time.time_ns() // 1_000_000:013d}-{identity.hex}{SUFFIX}"
        self.begun = time.monotonic()
        self.records = 0
        with sentence_when_full(str(self.path)):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            _lock(self._file)
            start = segments.header(identity.bytes)
            self.size = os.write(self._file, start)
            os.fsync(self._file)
            _sync(folder)

    def append(self, key: bytes, payload: bytes) -> int:
        """Write one record and return its offset; it is with the operating system when this returns."""
        at, data = self.size, segments.record(key, payload)
        self._write(data)
        self.records += 1
        return at

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        with sentence_when_full(str(self.path)):
            os.fsync(self._file)

    def close(self) -> None:
        """Seal and sync the segment and let it go."""
        try:
            self._write(segments.seal(self.records))
            self.sync()
        finally:
            os.close(self._file)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        with sentence_when_full(str(self.path)):
            try:
                while rest:
                    rest = rest[os.write(self._file, rest) :]
            except OSError:
                with suppress(OSError):  # leave no half record in the midst of the segment
                    os.ftruncate(self._file, self.size)
                raise
        self.size += len(data)


class Index:
    """Where each key's record lies, in segments of some folders; about 150 bytes a record, whatever its text."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._names: list[str] = []
        self._places: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key[:16] in self._places

    def add(self, name: str) -> int:
        """The number under which :meth:`note` knows a segment; a segment may move from folder to folder."""
        self._names.append(name)
        return len(self._names) - 1

    def note(self, segment: int, key: bytes, offset: int) -> None:
        """Remember a record; the first of a key stays."""
        self._places.setdefault(key[:16], segment << _OFFSET_BITS | offset)

    def forget(self, key: bytes) -> None:
        """A record that turned out damaged."""
        self._places.pop(key[:16], None)

    def read(self, key: bytes) -> bytes | None:
        """The payload of a key's record, checked; None when there is none, or it is damaged or gone."""
        place = self._places.get(key[:16])
        if place is None:
            return None
        name, offset = self._names[place >> _OFFSET_BITS], place & ((1 << _OFFSET_BITS) - 1)
        for folder in self._folders:
            with suppress(FileNotFoundError), _opened(folder / name, os.O_RDONLY) as file:
                data = os.pread(file, _PIECE, offset)
                span = segments.record_span(data[: segments.RECORD_HEAD])
                if span is not None and span > len(data):
                    data += os.pread(file, span - len(data), offset + len(data))
                found = segments.read_record(data, 0)
                return found[1] if found is not None and found[0] == key else None
        return None

    def take(self, path: Path) -> tuple[segments.Scan, bool] | None:
        """Take in a segment's records; see :func:`settled` for what comes back."""
        number = self.add(path.name)
        return settled(path, lambda key, offset: self.note(number, key, offset))


def settled(path: Path, found: Callable[[bytes, int], None]) -> tuple[segments.Scan, bool] | None:
    """Scan a segment; when its writer was on this host and is gone, cut its torn tail and seal it.

    Returns what it held before, and whether it is sealed now; None when it is gone, or empty and so removed. Raises
    :class:`StoreError` for a segment of a later version.
    """
    with suppress(FileNotFoundError), _opened(path, os.O_RDWR) as file:
        alone = _lock(file)
        seen = _scan(path, file, found)
        if seen.sealed or not alone or seen.host != segments.this_host():
            return seen, seen.sealed
        if not seen.records and not seen.damaged:
            path.unlink()
            return None
        os.ftruncate(file, seen.end)
        os.pwrite(file, segments.seal(seen.records), seen.end)
        os.fsync(file)
        return seen, True
    return None


@dataclass(frozen=True)
class Held:
    """What the segments of a folder hold: answers under different keys, bytes, and records that are damaged."""

    answers: int
    size: int
    damaged: int


def counted(folder: Path) -> Held:
    """What is there, for people: takes no lock, settles nothing, and may miss what is being written now.

    Raises :class:`StoreError` for a segment of a later version.
    """
    keys: set[bytes] = set()
    size = damaged = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError):
            data = path.read_bytes()  # not mapped: whoever settles it may cut it meanwhile
            size += len(data)
            damaged += _scanned(path, memoryview(data), lambda key, offset: keys.add(key[:16])).damaged
    return Held(len(keys), size, damaged)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether the segment is there and no one else holds it; nobody does while the block runs."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _lock(file)
    finally:
        os.close(file)


def _scan(path: Path, file: int, found: Callable[[bytes, int], None]) -> segments.Scan:
    if not os.fstat(file).st_size:
        return segments.scan(memoryview(b""), found)
    with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
        return _scanned(path, view, found)


def _scanned(path: Path, view: memoryview, found: Callable[[bytes, int], None]) -> segments.Scan:
    try:
        return segments.scan(view, found)
    except segments.NewerFormatError as error:
        raise StoreError(
            f"{path} was written by a newer version of dermcot ({error}): update dermcot, or choose another workspace"
        ) from error


def _lock(file: int) -> bool:
    """Whether the lock was to be had; a file system without locks gives none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def _opened(path: Path, how: int) -> Iterator[int]:
    file = os.open(path, how)
    try:
        yield file
    finally:
        os.close(file)


def _sync(folder: Path) -> None:
    with _opened(folder, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)
