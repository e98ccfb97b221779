"""The request cache: a completion is kept as soon as it arrives, and its key is never asked again.

What survives what: :meth:`RequestCache.put` returns once the record is with the operating system, so a killed process
loses nothing; a second later the file is synced, so a power cut loses at most that second. On an object store
segments go up when they are sealed, at most ``seal_seconds`` after their first record; until then they lie on this
machine's disk, and what a killed process left there goes up with the next run here. So only the loss of the
machine costs anything: what it did since its last seal. :attr:`RequestCache.at_risk` says it in a sentence.

Several processes and machines may write at once, each to segments of its own. The index holds where records lie, never
texts. Two answers to one key are possible when two processes asked at once: the first by name of the segment wins.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType

from annotators.engines.local_segments import SUFFIX, Index, SegmentWriter, held, settled
from annotators.engines.protocol import Completion
from corpus.digests import digest_of
from corpus.filesystem import Folder, sentence_when_full
from schemas.errors import StoreError

SYNC_SECONDS = 1.0
SEAL_BYTES = 64 * 2**20
SEAL_SECONDS_LOCAL, SEAL_SECONDS_REMOTE = 3600.0, 60.0

_FIELDS = tuple(field.name for field in fields(Completion) if field.name != "key")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheReport:
    """What was found on opening. ``torn_bytes`` were the tails of writers that were killed; ``damaged`` records were
    not whole and are asked again; ``living``: segments that others are writing now."""

    segments: int = 0
    completions: int = 0
    damaged: int = 0
    torn: int = 0
    torn_bytes: int = 0
    living: int = 0


class RequestCache:
    """Completions by :attr:`~annotators.engines.protocol.Request.key`; opened on a folder (a path or an fsspec URL).

    ``seal_bytes`` and ``seal_seconds`` bound a segment. ``local``: where segments of an object store lie on this
    machine (by default in the user's cache folder). Safe to use from several threads. ``report``: what was found.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        seal_bytes: int = SEAL_BYTES,
        seal_seconds: float | None = None,
        local: Path | None = None,
    ) -> None:
        self._folder = Folder(url)
        self._remote = not self._folder.is_local
        place = (local or _local_place(self._folder.url)) if self._remote else Path(self._folder.root)
        self._written, self._read = (place / "unsent", place / "copies") if self._remote else (place, place)
        self.seal_bytes = seal_bytes
        self.seal_seconds = seal_seconds or (SEAL_SECONDS_REMOTE if self._remote else SEAL_SECONDS_LOCAL)
        self._index = Index(*dict.fromkeys((self._written, self._read)))
        self._lock, self._sending = threading.RLock(), threading.Lock()
        self._writer: SegmentWriter | None = None
        self._number = 0
        self._timer: threading.Timer | None = None
        self._syncing = False
        self._unsent: str | None = None
        self.report = CacheReport()
        if self._remote:
            self._fetch()
        self._open()

    def __enter__(self) -> RequestCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._index

    @property
    def at_risk(self) -> str:
        """What can be lost, as a sentence."""
        if self._remote:
            return (
                f"a killed process loses nothing; losing this machine's disk loses what was answered in the last "
                f"{self.seal_seconds:g} s"
            )
        return f"a killed process loses nothing; a power cut loses what was answered in the last {SYNC_SECONDS:g} s"

    def get(self, key: str) -> Completion | None:
        """The completion of a key; None when there is none or its record is damaged."""
        name = bytes.fromhex(key)
        payload = self._index.read(name)
        if payload is None:
            if name in self._index:
                _LOG.warning("the cached answer %s is damaged and will be asked again", key[:16])
                self._index.forget(name)
            return None
        told = json.loads(payload)
        return Completion(key=key, **{field: told[field] for field in _FIELDS if field in told})

    def put(self, completion: Completion) -> None:
        """Keep a completion; one whose key is there already changes nothing.

        Raises :class:`StoreError` when the disk is full or not writable.
        """
        name = bytes.fromhex(completion.key)
        told = asdict(completion)
        del told["key"]
        payload = json.dumps(told, separators=(",", ":")).encode("ascii")
        with self._lock:
            if name in self._index:
                return
            if self._writer is None:
                self._begin()
            assert self._writer is not None
            self._index.note(self._number, name, self._writer.append(name, payload))
            if not self._syncing:
                self._syncing = True
                self._after(SYNC_SECONDS, self._sync)
            if self._writer.size >= self.seal_bytes or time.monotonic() - self._writer.begun >= self.seal_seconds:
                self._end()

    def close(self) -> None:
        """Seal what is open and send it up.

        Raises :class:`StoreError` when the object store does not take it; nothing is lost then.
        """
        with self._lock:
            self._end(send=False)
        if self._remote:
            self._send()
            if self._unsent is not None:
                raise StoreError(
                    f"answers could not be written to {self._folder.url} ({self._unsent}). Nothing is lost: they lie "
                    f"in {self._written} and go up when the same command is run again on this machine"
                )

    # -- the segment being written ------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._writer = SegmentWriter(self._written)
        self._number = self._index.add(self._writer.path.name)
        if self._remote:
            self._timer = self._after(self.seal_seconds, self._end)

    def _sync(self) -> None:
        with self._lock:
            self._syncing = False
            if self._writer is not None:
                self._writer.sync()

    def _end(self, *, send: bool = True) -> None:
        with self._lock:
            writer, timer = self._writer, self._timer
            self._writer = self._timer = None
            if timer is not None:
                timer.cancel()
            if writer is None:
                return
            writer.close()
        if send and self._remote:
            self._after(0, self._send)

    # -- what is there ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        paths = [*sorted(self._written.glob(f"*{SUFFIX}"))]
        if self._remote:
            there = {name for name in self._folder.names("") if name.endswith(SUFFIX)}
            paths += [path for path in self._read.glob(f"*{SUFFIX}") if path.name in there]
        report = self.report
        for path in sorted(paths, key=lambda path: path.name):
            with sentence_when_full(str(path)):
                taken = self._index.take(path)
            if taken is None:
                continue
            found, sealed = taken
            torn = found.torn if sealed else 0
            report = CacheReport(
                segments=report.segments + 1,
                damaged=report.damaged + found.damaged,
                torn=report.torn + (torn > 0),
                torn_bytes=report.torn_bytes + torn,
                living=report.living + (not sealed),
            )
        self.report = replace(report, completions=len(self._index))

    # -- the object store ---------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        """Copy the segments that are not here yet; a copy appears whole or not at all."""
        self._read.mkdir(parents=True, exist_ok=True)
        for name in self._folder.names(""):
            if name.endswith(SUFFIX) and not (self._read / name).exists():
                arriving = self._read / f"{name}.{uuid.uuid4().hex}.tmp"
                self._folder.fs.get_file(self._folder.path(name), str(arriving))
                os.replace(arriving, self._read / name)

    def _send(self) -> None:
        """Put finished segments up, each whole; what does not go up now stays for the next time."""
        with self._sending:
            self._unsent = None
            for path in sorted(self._written.glob(f"*{SUFFIX}")):
                try:
                    self._send_one(path)
                except Exception as error:  # whatever an object store may raise
                    self._unsent = f"{type(error).__name__}: {error}"
                    _LOG.warning("%s could not be sent to %s yet: %s", path.name, self._folder.url, self._unsent)

    def _send_one(self, path: Path) -> None:
        settled_now = settled(path, lambda key, offset: None)
        if settled_now is None or not settled_now[1]:
            return  # still being written
        with held(path) as mine:
            if mine:
                self._folder.fs.put_file(str(path), self._folder.path(path.name))
                os.replace(path, self._read / path.name)

    def _after(self, seconds: float, work: Callable[[], None]) -> threading.Timer:
        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()
        return timer


def _local_place(url: str) -> Path:
    """A folder of this user's for the segments of one object store folder."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "dermcot" / "completions" / digest_of(url.rstrip("/"))[:16]
