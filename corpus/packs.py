"""Stored image payloads, many to a file: plain tar files that ``tar tf`` can list.

One object per image would cost a request each on object stores; a private container could be opened by nobody else.
A tar file is neither compressed nor indexed, so payloads are read by byte range with the offsets that the inspections
table keeps. The same payloads in the same order give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from types import TracebackType
from typing import IO

import fsspec

from schemas.errors import StoreError


class PackWriter:
    """Writes payloads into a tar file; a context manager that closes the tar, not the file object it writes to."""

    def __init__(self, fileobj: IO[bytes]) -> None:
        self._tar = tarfile.TarFile(fileobj=fileobj, mode="w", format=tarfile.USTAR_FORMAT)
        self._offsets: dict[str, int] = {}

    def __enter__(self) -> PackWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # a pack that failed half-way is left without its end, so that no reader takes it for whole
            self._tar.close()

    def add(self, image_digest: str, extension: str, data: bytes) -> int:
        """Append a payload as ``<image_digest>.<extension>`` unless it is there; the offset of its bytes."""
        if image_digest not in self._offsets:
            member = tarfile.TarInfo(f"{image_digest}.{extension}")
            member.size = len(data)
            member.mode = 0o644
            self._offsets[image_digest] = self._tar.offset + tarfile.BLOCKSIZE
            self._tar.addfile(member, io.BytesIO(data))
        return self._offsets[image_digest]


def read_payloads(
    fs: fsspec.AbstractFileSystem, folder: str, wanted: Sequence[tuple[str, int, int, str]]
) -> list[bytes]:
    """Payloads by byte range, in the order asked for.

    ``wanted``: (pack name, offset, length in bytes, image_digest) each, as the inspections table has them. Raises
    :class:`StoreError` when a pack is missing or what it holds does not have the expected digest.
    """
    paths = [f"{folder.rstrip('/')}/{pack}" for pack, _, _, _ in wanted]
    starts = [offset for _, offset, _, _ in wanted]
    ends = [offset + length for _, offset, length, _ in wanted]
    payloads = fs.cat_ranges(paths, starts, ends, on_error="return") if wanted else []
    for payload, path, (_, offset, _, image_digest) in zip(payloads, paths, wanted, strict=True):
        if isinstance(payload, FileNotFoundError):
            raise StoreError(f"the image pack {path} is missing: run again, which makes it anew")
        if isinstance(payload, Exception):
            raise StoreError(f"the image pack {path} cannot be read ({type(payload).__name__}): check it and run again")
        if hashlib.sha256(payload).hexdigest() != image_digest:
            raise StoreError(
                f"the image pack {path} is damaged at byte {offset}, image {image_digest} is not there: "
                f"delete {path} and run again, which makes it anew"
            )
    return [bytes(payload) for payload in payloads]
