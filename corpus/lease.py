"""Only one build per folder: a lease that outlives neither its process nor its machine.

Leases are numbered. Whoever creates the next number first owns the folder; creation is exclusive, so a take-over has
one winner on a local disk and on an object store alike; a released lease stays until its successor removes it, so
numbers never start again. A lease of a process that is gone from this host is taken over at
once, one of another host when its heartbeat is older than :data:`STALE_SECONDS`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Any

from corpus.filesystem import Folder
from schemas.errors import StoreError

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


def process_started(pid: int) -> str | None:
    """When a process of this host started (clock ticks since boot), or None when it is not running."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[-1].split()
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "running"
    return None if fields[0] == "Z" else fields[19]


class Lease:
    """Exclusive use of a folder for the length of a ``with`` block.

    Raises :class:`StoreError` on entry when another holder lives. ``what`` names the folder in that sentence, and
    ``work`` what it is used for; only a build can be given another place.
    """

    def __init__(self, folder: Folder, what: str, work: str = "build") -> None:
        self._folder = folder
        self._what = what
        self._work = work
        self._token = uuid.uuid4().hex
        self._number = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease-heartbeat", daemon=True)

    def __enter__(self) -> Lease:
        while True:
            numbers = self.refuse_if_held()
            self._number = (numbers[-1] if numbers else 0) + 1
            if not self._folder.put_if_absent(self._name(self._number), self._record()):
                continue
            if self._numbers()[-1] == self._number:
                break
            self._folder.delete(self._name(self._number))  # this process slept through later leases
        for number in numbers:
            self._folder.delete(self._name(number))
        self._thread.start()
        return self

    def refuse_if_held(self) -> list[int]:
        """Raise :class:`StoreError` when a living build holds the folder; takes nothing.

        Returns the lease numbers it judged by; whoever goes on must create the successor of the last of these.
        """
        numbers = self._numbers()
        if numbers and (holder := self._read(numbers[-1])) and not self._is_stale(holder):
            elsewhere = f", or give this one another place with --{self._what}" if self._work == "build" else ""
            raise StoreError(
                f"another {self._work} is using {self._what} {self._folder.url} (process {holder['pid']} on "
                f"{holder['host']}): wait for it to end{elsewhere}"
            )
        return numbers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(StoreError):  # a disk too full for it: the lease is stale once this process has ended
            self._folder.write(self._name(self._number), b'{"released": true}')

    def _name(self, number: int) -> str:
        return f".leases/{number:09d}.json"

    def _numbers(self) -> list[int]:
        return [int(name[:-5]) for name in self._folder.names(".leases") if name.endswith(".json")]

    def _record(self) -> bytes:
        pid = os.getpid()
        record = {
            "host": socket.gethostname(),
            "pid": pid,
            "started": process_started(pid),
            "token": self._token,
            "beat": time.time(),
        }
        return json.dumps(record).encode()

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._folder.read(self._name(number)))
        except (FileNotFoundError, ValueError):
            return None
        return record

    def _is_stale(self, holder: dict[str, Any]) -> bool:
        if "released" in holder:
            return True
        if holder["host"] == socket.gethostname():
            return bool(process_started(holder["pid"]) != holder["started"])
        return time.time() - float(holder["beat"]) > STALE_SECONDS

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            holder = self._read(self._number)
            if holder is None or holder.get("token") != self._token:
                return
            with suppress(StoreError):
                self._folder.write(self._name(self._number), self._record())
