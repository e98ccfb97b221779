"""One filesystem layer for workspace and releases: a local folder or an object store, by URL.

Committing means creating a small file that must not exist yet. A local folder does that with a hard link to a finished,
synced file (atomic, exclusive, never half written); an object store with a conditional put (``If-None-Match``). Nothing
is ever committed by a rename alone, so two writers cannot both believe they were first.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from schemas.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Folder:
    """A folder on any fsspec filesystem; every path given to it is relative to ``root``."""

    def __init__(self, url: str | Path) -> None:
        fs, root = fsspec.core.url_to_fs(str(url))
        self.fs: AbstractFileSystem = fs
        self.root: str = root.rstrip("/")
        self.url = str(url)
        self.is_local = isinstance(fs, LocalFileSystem)
        if self.is_local:
            nearest = next(p for p in (Path(self.root), *Path(self.root).parents) if os.path.exists(p))
            if not nearest.is_dir():
                raise StoreError(
                    f"{nearest} is a file where a folder must be: choose another place with --workspace or --releases"
                )

    def path(self, relative: str) -> str:
        """The path of ``relative`` as the filesystem knows it."""
        return f"{self.root}/{relative}" if relative else self.root

    def exists(self, relative: str) -> bool:
        """Whether a file or folder is there now (no cached listing is trusted)."""
        self.fs.invalidate_cache()
        return bool(self.fs.exists(self.path(relative)))

    def size(self, relative: str) -> int | None:
        """Bytes of a file, or None when there is none."""
        try:
            return int(self.fs.info(self.path(relative))["size"])
        except FileNotFoundError:
            return None

    def names(self, relative: str) -> list[str]:
        """Sorted names of what lies directly in a folder; empty when there is no such folder."""
        self.fs.invalidate_cache()
        try:
            entries = self.fs.ls(self.path(relative), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in (str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries) if name)

    def read(self, relative: str) -> bytes:
        """All bytes of a file."""
        return bytes(self.fs.cat_file(self.path(relative)))

    def write(self, relative: str, data: bytes) -> None:
        """Replace a file as a whole: a reader sees the old bytes or the new, never a part."""
        with sentence_when_full(self.path(relative)):
            if self.is_local:
                temporary = self._temporary(relative, data)
                os.replace(temporary, self.path(relative))
            else:
                self.fs.pipe_file(self.path(relative), data)

    def put_if_absent(self, relative: str, data: bytes) -> bool:
        """Create a file that must not exist yet; False (and nothing written) when it does."""
        target = self.path(relative)
        with sentence_when_full(target):
            if not self.is_local:
                try:
                    self.fs.pipe_file(target, data, mode="create")
                except FileExistsError:
                    return False
                return True
            temporary = self._temporary(relative, data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            finally:
                os.unlink(temporary)
            _sync_folder(os.path.dirname(target))
            return True

    def place(self, local: Path, relative: str) -> None:
        """Move a finished local file into the folder, whole."""
        target = self.path(relative)
        with sentence_when_full(target):
            if not self.is_local:
                self.fs.put_file(str(local), target)
                local.unlink()
                return
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with local.open("rb+") as file:
                os.fsync(file.fileno())
            try:
                os.replace(local, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                staged = f"{target}.{uuid.uuid4().hex}.tmp"
                shutil.copyfile(local, staged)
                os.replace(staged, target)
                local.unlink()

    def is_older(self, relative: str, than: str) -> bool:
        """Whether one file was last written before another; linking is no writing. Never true of an object store."""
        if not self.is_local:
            return False
        file, other = (os.stat(self.path(name)) for name in (relative, than))
        return file.st_mtime_ns < other.st_mtime_ns

    def link_or_copy(self, source: str, target: str) -> None:
        """Make ``target`` the same file as ``source``, neither ever to be written in place; FileNotFoundError for none.

        A hard link where the file system has them, else a copy.
        """
        origin, goal = self.path(source), self.path(target)
        if not self.is_local:
            self.fs.cp_file(origin, goal)
            return
        with sentence_when_full(goal):
            os.makedirs(os.path.dirname(goal), exist_ok=True)
            try:
                os.link(origin, goal)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copyfile(origin, goal)

    def delete(self, relative: str) -> None:
        """Remove a file or a folder with all it holds; no error when it is not there."""
        self.fs.invalidate_cache()
        try:
            self.fs.rm(self.path(relative), recursive=True)
        except FileNotFoundError:
            return

    def _temporary(self, relative: str, data: bytes) -> str:
        target = self.path(relative)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = f"{target}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        return temporary


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def sentence_when_full(target: str) -> Iterator[None]:
    """Turn "no space left" and "read-only" into one sentence; everything committed before stays usable."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                f"the disk is full: {target} could not be written. Nothing committed so far is lost: free some space, "
                "or choose another place with --workspace or --releases, and run the same command again"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise StoreError(
                f"{target} cannot be written ({error.strerror}): choose another place with --workspace or --releases"
            ) from error
        raise
