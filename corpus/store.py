"""The workspace store: what steps made, found again by the digest of what they were made from.

Two kinds of output. A *table step* writes a few small tables under its step key. A *row step* writes parts, each
holding the rows of some row keys (and, for images, a pack of bytes); a row is found by its key whatever shards it was
once cut into, so a resumed, grown or re-cut build reuses every row that still applies. Data files are written first and
a manifest last, exclusively; readers ignore what has no manifest.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from corpus.digests import canonical_json, digest_bytes, digest_of, table_digest
from corpus.filesystem import Folder, sentence_when_full
from schemas.errors import StoreError

#: Columns that say where a row lies or how it was found; they do not count in a table's content digest.
NOT_CONTENT = ("part", "row_key")
#: Bytes of tables that are kept at hand after saving them.
_RECENT = 64 << 20


@dataclass(frozen=True)
class StepOutput:
    """One finished step: where its tables lie, their content digests, row counts and statistics."""

    step: str
    key: str
    tables: Mapping[str, Mapping[str, Any]]
    stats: Mapping[str, Any]

    def digest(self, table: str) -> str:
        """Content digest of one of its tables."""
        return str(self.tables[table]["digest"])

    def rows(self, table: str) -> int:
        """Number of rows of one of its tables."""
        return int(self.tables[table]["rows"])


class _Recent:
    """The tables saved last, as many as fit into :data:`_RECENT` bytes: what one step makes, the next ones read."""

    def __init__(self) -> None:
        self._frames: dict[str, pl.DataFrame] = {}
        self._size = 0
        self._lock = Lock()

    def keep(self, name: str, frame: pl.DataFrame) -> None:
        """Keep one more, and let go of the oldest that no longer fit."""
        size = int(frame.estimated_size())
        if size > _RECENT:
            return
        with self._lock:
            self._drop(name)
            self._frames[name] = frame
            self._size += size
            while self._size > _RECENT:
                self._drop(next(iter(self._frames)))

    def find(self, name: str) -> pl.DataFrame | None:
        """One that is kept, or None."""
        with self._lock:
            return self._frames.get(name)

    def _drop(self, name: str) -> None:
        if name in self._frames:
            self._size -= int(self._frames.pop(name).estimated_size())


class Store:
    """Opened on a workspace folder (a path or an fsspec URL)."""

    def __init__(self, workspace: str | Path) -> None:
        self.folder = Folder(workspace)
        self._parts: dict[str, dict[str, Any]] = {}  # manifests read before, by path: once written they never change
        self._recent = _Recent()

    # -- table steps --------------------------------------------------------------------------------------------------

    def find_step(self, step: str, key: str) -> StepOutput | None:
        """The committed output of a step key, or None; an output whose files are gone counts as none."""
        base = f"steps/{step}/{key}"
        manifest = self._manifest(f"{base}/manifest.json")
        if manifest is None:
            return None
        for name, entry in manifest["tables"].items():
            if self.folder.size(f"{base}/{name}.parquet") != entry["bytes"]:
                self.folder.delete(f"{base}/manifest.json")
                return None
        return StepOutput(step, key, manifest["tables"], manifest["stats"])

    def alias_step(self, output: StepOutput, key: str) -> None:
        """Let a finished step also be found under another key that is known to give the same output."""
        if key == output.key:
            return
        for name, entry in output.tables.items():
            data = self.folder.read(f"steps/{output.step}/{output.key}/{name}.parquet")
            assert len(data) == entry["bytes"]
            self.folder.write(f"steps/{output.step}/{key}/{name}.parquet", data)
        manifest = canonical_json({"tables": dict(output.tables), "stats": dict(output.stats)})
        self.folder.put_if_absent(f"steps/{output.step}/{key}/manifest.json", manifest)

    def save_step(
        self, step: str, key: str, tables: Mapping[str, pl.DataFrame], stats: Mapping[str, Any]
    ) -> StepOutput:
        """Write a step's tables and commit them; an equal output that is already there wins."""
        base = f"steps/{step}/{key}"
        entries: dict[str, dict[str, Any]] = {}
        with ThreadPoolExecutor(1) as pool:  # files are written while the content is digested
            written = {n: pool.submit(self._write_table, f"{base}/{n}.parquet", frame) for n, frame in tables.items()}
            for name, frame in tables.items():
                digest = table_digest(_content(frame))
                size, sha256 = written[name].result()
                self._recent.keep(f"{base}/{name}", frame)
                entries[name] = {
                    "rows": frame.height,
                    "columns": frame.columns,
                    "bytes": size,
                    "sha256": sha256,
                    "digest": digest,
                }
        self.folder.put_if_absent(f"{base}/manifest.json", canonical_json({"tables": entries, "stats": dict(stats)}))
        return StepOutput(step, key, entries, stats)

    def _write_table(self, relative: str, frame: pl.DataFrame) -> tuple[int, str]:
        sink = io.BytesIO()
        frame.write_parquet(sink, compression="zstd", compression_level=1, statistics=False)
        data = sink.getvalue()
        self.folder.write(relative, data)
        return len(data), digest_bytes(data)

    def table(self, output: StepOutput, name: str, columns: list[str] | None = None) -> pl.DataFrame:
        """One table of a finished step, its bytes checked against the manifest where it is read from there."""
        relative = f"steps/{output.step}/{output.key}/{name}.parquet"
        kept = self._recent.find(relative.removesuffix(".parquet"))
        if kept is not None:
            return kept if columns is None else kept.select(columns)
        data = self.folder.read(relative)
        if digest_bytes(data) != output.tables[name]["sha256"]:
            raise StoreError(
                f"{self.folder.path(relative)} is damaged (its sha256 differs from its manifest): delete the folder "
                f"{self.folder.path(f'steps/{output.step}/{output.key}')} and run again"
            )
        return pl.read_parquet(io.BytesIO(data), columns=columns)

    # -- row steps ----------------------------------------------------------------------------------------------------

    def parts(self, step: str) -> dict[str, dict[str, Any]]:
        """Committed parts of a row step: part name -> manifest (``keys``, ``rejected``, ``rows``, ``files``)."""
        base = f"rows/{step}"
        found = {}
        for name in self.folder.names(base):
            if not name.endswith(".json"):
                continue
            manifest = self._parts.get(f"{base}/{name}") or self._manifest(f"{base}/{name}")
            if manifest is None:
                continue
            if all(self.folder.size(f"{base}/{file}") == size for file, size in manifest["files"].items()):
                found[name[:-5]] = self._parts[f"{base}/{name}"] = manifest
            else:
                self.folder.delete(f"{base}/{name}")
                self._parts.pop(f"{base}/{name}", None)
        return found

    def save_part(
        self,
        step: str,
        keys: Iterable[str],
        rows: pl.DataFrame,
        rejected: list[dict[str, Any]],
        pack: Path | None = None,
    ) -> str:
        """Commit one part: ``rows`` and ``rejected`` carry ``row_key``; every key has a row or a rejection.

        ``pack`` is a finished local file that becomes ``PART.tar``; rows refer to it as ``pack`` = part name + ".tar".
        """
        key_list = sorted(keys)
        name = digest_of(step, key_list)[:32]
        base = f"rows/{step}"
        files: dict[str, int] = {}
        if pack is not None:
            rows = rows.with_columns(pl.lit(f"{name}.tar").alias("pack"))
            files[f"{name}.tar"] = pack.stat().st_size
            self.folder.place(pack, f"{base}/{name}.tar")
        data = _parquet(rows)
        files[f"{name}.parquet"] = len(data)
        self.folder.write(f"{base}/{name}.parquet", data)
        manifest = {"keys": key_list, "rejected": rejected, "rows": rows.height, "files": files}
        self.folder.put_if_absent(f"{base}/{name}.json", json.dumps(manifest, sort_keys=True).encode())
        return name

    def find_rows(self, step: str, key: str) -> StepOutput | None:
        """Like :meth:`find_step` for a row step; an output whose selected parts are gone counts as none."""
        output = self.find_step(step, key)
        if output is None or set(self.table(output, "selection", ["part"])["part"]) <= set(self.parts(step)):
            return output
        self.folder.delete(f"steps/{step}/{key}/manifest.json")
        return None

    def read_rows(self, step: str, selection: pl.DataFrame, columns: list[str] | None = None) -> pl.DataFrame:
        """Rows of ``selection`` (columns ``row_key``, ``part``) as one frame, in part and file order.

        Only parts that hold a wanted row are opened. ``columns`` excludes ``row_key``, which always comes. Rejected
        row keys have no row.
        """
        names = None if columns is None else ["row_key", *columns]
        tables = []
        for part, keys in selection.group_by("part").agg("row_key").sort("part").iter_rows():
            table = self._read_part(f"rows/{step}/{part}.parquet", names)
            whole = len(keys) == table.num_rows and set(keys) == set(table["row_key"].to_pylist())
            tables.append(table if whole else table.filter(pc.is_in(table["row_key"], pl.Series(keys).to_arrow())))
        if not tables:
            return pl.DataFrame(schema=dict.fromkeys(["row_key", *(columns or [])], pl.Null))
        frame = pl.from_arrow(pa.concat_tables(tables))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _read_part(self, relative: str, names: list[str] | None) -> pa.Table:
        path = self.folder.path(relative)
        try:
            filesystem = None if self.folder.is_local else self.folder.fs
            with pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True) as part:
                return part.read(columns=names)
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(
                f"{path} is damaged or cannot be read: delete {path} and run again, which makes it anew"
            ) from error

    # -- housekeeping -------------------------------------------------------------------------------------------------

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A local folder for unfinished files, inside a local workspace so that finishing is a rename."""
        if self.folder.is_local:
            folder = Path(self.folder.path("tmp")) / uuid.uuid4().hex
            with sentence_when_full(str(folder)):
                folder.mkdir(parents=True)
        else:
            folder = Path(tempfile.mkdtemp(prefix="dermcot-"))
        try:
            with sentence_when_full(str(folder)):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed build left unfinished; only for the holder of the workspace's lease."""
        self.folder.delete("tmp")
        if not self.folder.is_local:
            return
        for base, _, files in os.walk(self.folder.root):
            for name in files:
                if name.endswith(".tmp"):
                    Path(base, name).unlink(missing_ok=True)

    def _manifest(self, relative: str) -> dict[str, Any] | None:
        try:
            manifest: dict[str, Any] = json.loads(self.folder.read(relative))
        except FileNotFoundError:
            return None
        except ValueError:
            self.folder.delete(relative)
            return None
        return manifest


def _content(frame: pl.DataFrame) -> pl.DataFrame:
    """What counts in a table's digest; a row's own digest stands for the row."""
    if "row_digest" in frame.columns:
        return frame.select("row_digest")
    return frame.drop(*(name for name in NOT_CONTENT if name in frame.columns))


def _parquet(frame: pl.DataFrame) -> bytes:
    """Rows as bytes whose pages can be checked one by one, since parts are read in parts."""
    sink = io.BytesIO()
    table: pa.Table = frame.to_arrow()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()
