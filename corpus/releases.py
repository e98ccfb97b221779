"""Release: an immutable directory that depends on its inputs alone - same inputs, same bytes.

Nothing below a release depends on clock, host, path or run. Data files come first, the manifest last and exclusively;
a directory without manifest is no release and is written anew. Identical content returns the version that already
exists; otherwise the next version is taken, under a lease on the releases folder. Files whose rows did not change are
taken over from an earlier release, by a hard link where the file system has them, instead of encoded again.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from corpus.digests import canonical_json, digest_bytes, digest_of, table_digest
from corpus.filesystem import Folder
from corpus.lease import Lease
from corpus.release_rows import FORMAT, SCALARS, write_rows
from corpus.release_tables import INDEX, DataFile, ReleaseTables
from schemas.errors import StoreError, UserError
from schemas.tables import LEDGER, empty_frame

_NAME = re.compile(r"dermcot-(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True)
class ReleaseContent:
    """Everything a release is made of, before it has a version.

    ``ledger_entries``: new ones, ``since`` empty. ``record``: configuration, stages, counts, gates, software - what the
    manifest says beside the files.
    """

    tables: ReleaseTables
    rejections: pl.DataFrame
    ledger_entries: pl.DataFrame
    record: Mapping[str, Any]

    def key(self) -> str:
        """Digest of the content; software versions do not count, the configuration does."""
        rest = {name: value for name, value in self.record.items() if name != "software"}
        return digest_of("release", FORMAT, [*self.tables.digests, table_digest(self.rejections)], rest)


@dataclass(frozen=True)
class Release:
    """One published release: ``name`` (``dermcot-0.1.0``), its manifest and the manifest's sha256."""

    name: str
    manifest: Mapping[str, Any]
    digest: str


def published_releases(folder: Folder) -> list[Release]:
    """Complete releases of a releases folder, oldest version first."""
    found = []
    for name in folder.names(""):
        if not (match := _NAME.fullmatch(name)):
            continue
        try:
            data = folder.read(f"{name}/manifest.json")
        except FileNotFoundError:
            continue
        try:
            manifest = json.loads(data)
        except ValueError as error:
            raise StoreError(
                f"{folder.path(name)}/manifest.json is damaged: restore it, or move {folder.path(name)} and LATEST away"
            ) from error
        found.append((tuple(map(int, match.groups())), Release(name, manifest, digest_bytes(data))))
    return [release for _, release in sorted(found, key=lambda entry: entry[0])]


class Report(Protocol):
    """What is told of a release while it is written, to make a report of it."""

    def placed(self, path: str) -> None:
        """A data file is there, whole."""

    def html(self, manifest: Mapping[str, Any]) -> str:
        """The report; every file but it is there and in the manifest."""


@dataclass(frozen=True)
class Parent:
    """What the next build must remember of the latest release: its ids, the split ledger, whether it was drawn."""

    digest: str
    synthetic: bool | None
    case_ids: frozenset[str]
    image_ids: frozenset[str]
    ledger: pl.DataFrame


def read_parent(folder: Folder) -> Parent:
    """The latest release's memory; of a folder without releases, an empty one."""
    releases = published_releases(folder)
    if not releases:
        return Parent("", None, frozenset(), frozenset(), empty_frame(LEDGER))
    name = releases[-1].name
    tables = {t: pl.read_parquet(io.BytesIO(folder.read(f"{name}/{t}.parquet"))) for t in ("index", "queue", "splits")}
    ids = pl.concat([tables["index"].select("case_id", "image_ids"), tables["queue"].select("case_id", "image_ids")])
    images = frozenset(ids["image_ids"].explode().to_list())
    synthetic = bool(releases[-1].manifest["synthetic"])
    return Parent(releases[-1].digest, synthetic, frozenset(ids["case_id"]), images, tables["splits"])


def publish(
    folder: Folder,
    scratch: Path,
    content: ReleaseContent,
    parent: str,
    card: Callable[[str, Mapping[str, Any], pl.DataFrame], str],
    report: Callable[[Folder, str], AbstractContextManager[Report]],
    texts: Callable[[pl.DataFrame], pl.DataFrame],
    payloads: Callable[[pl.DataFrame], list[list[bytes]]],
    progress: Callable[[int, int], None],
) -> tuple[Release, bool]:
    """Publish content; returns the release and whether it is new. ``card(version, manifest, rows)`` is README.md;
    a :class:`UserError` it raises refuses the release. ``report(folder, name)`` makes report.html.

    ``parent``: manifest digest of the release whose splits and survivors the content took into account, "" for none.
    """
    key = content.key()
    with Lease(folder, "releases"):
        earlier = published_releases(folder)
        for release in earlier:
            if release.manifest["content_key"] == key:
                _point_to(folder, earlier[-1])
                return release, False
        if parent != (earlier[-1].digest if earlier else ""):
            raise StoreError(
                f"another build published {earlier[-1].name} in {folder.url} meanwhile, and this one did not take it "
                "into account: run again"
            )
        version = _next_version(earlier)
        name = f"dermcot-{version}"
        _refuse_lost(folder, name)
        folder.delete(name)
        files: dict[str, dict[str, Any]] = {}
        with report(folder, name) as made:

            def placed(path: str, described: dict[str, Any], done: int) -> None:
                files[path] = described
                made.placed(path)
                progress(done, content.tables.rows.height)

            _write_data(folder, scratch, name, content.tables.files, earlier, texts, payloads, placed)
            _write_tables(folder, name, version, content, earlier, files)
            manifest = {"name": name, "version": version, "content_key": key, **content.record}
            try:
                text = card(version, {**manifest, "files": files}, content.tables.rows)
            except UserError:
                folder.delete(name)
                raise
            folder.write(f"{name}/README.md", text.encode())
            files["README.md"] = _described(folder, f"{name}/README.md", None)
            as_read = json.loads(canonical_json({**manifest, "files": files}))  # so that it can be made anew
            folder.write(f"{name}/report.html", made.html(as_read).encode())
        files["report.html"] = _described(folder, f"{name}/report.html", None)
        data = canonical_json({**manifest, "files": files})
        if not folder.put_if_absent(f"{name}/manifest.json", data):
            raise RuntimeError(f"{name} was published by someone else under this lease")
        release = Release(name, json.loads(data), digest_bytes(data))
        _point_to(folder, release)
        return release, True


def _write_tables(
    folder: Folder, name: str, version: str, content: ReleaseContent, earlier: list[Release],
    files: dict[str, dict[str, Any]],
) -> None:  # fmt: skip
    """Write the tables beside the data, and note them in ``files``."""
    tables = {
        "index": content.tables.index(),
        "queue": content.tables.queue.select(INDEX).sort("split", "case_id"),
        "certification": content.tables.certification,
        "candidates": content.tables.candidates,
        "duplicates": content.tables.duplicates,
        "rejections": content.rejections,
        "splits": _ledger(folder, earlier, content.ledger_entries, version),
    }
    for table, frame in tables.items():
        _write_table(folder, f"{name}/{table}.parquet", frame)
        files[f"{table}.parquet"] = _described(folder, f"{name}/{table}.parquet", frame.height)


def _point_to(folder: Folder, release: Release) -> None:
    line = f"{release.name} sha256:{release.digest}\n".encode()
    if not folder.exists("LATEST") or folder.read("LATEST") != line:
        folder.write("LATEST", line)


def _refuse_lost(folder: Folder, name: str) -> None:
    """Raise :class:`StoreError` where ``name`` was published before and is no whole release any more."""
    if folder.exists("LATEST") and folder.read("LATEST").startswith(f"{name} ".encode()):
        raise StoreError(
            f"{folder.path(name)} was published but has lost its manifest.json: restore that file, or move the "
            "folder and LATEST away, before publishing again"
        )


def _next_version(earlier: list[Release]) -> str:
    if not earlier:
        return "0.1.0"
    major, minor, _ = map(int, earlier[-1].manifest["version"].split("."))
    return f"{major}.{minor + 1}.0"


def _write_data(
    folder: Folder,
    scratch: Path,
    name: str,
    parts: Mapping[str, DataFile],
    earlier: list[Release],
    texts: Callable[[pl.DataFrame], pl.DataFrame],
    payloads: Callable[[pl.DataFrame], list[list[bytes]]],
    placed: Callable[[str, dict[str, Any], int], None],
) -> None:
    """Write the data files, those that an earlier release has first. ``placed`` is told of each: its path, what the
    manifest says of it, and how many rows are there now."""
    known = {
        entry["rows_digest"]: (release.name, path, entry)
        for release in earlier
        for path, entry in release.manifest["files"].items()
        if "rows_digest" in entry
    }

    done = 0
    with ThreadPoolExecutor() as pool:
        taken = {
            path: pool.submit(_take_over, folder, known[part.digest], f"{name}/{path}")
            for path, part in parts.items()
            if part.digest in known
        }
        for path in sorted(parts, key=lambda path: path not in taken):
            part = parts[path]
            if path in taken and taken[path].result():
                described = dict(known[part.digest][2])
            else:
                local = scratch / "rows.parquet"
                write_rows(local, part.rows.select(SCALARS), texts, payloads)
                folder.place(local, f"{name}/{path}")
                described = _described(folder, f"{name}/{path}", part.rows.height) | {"rows_digest": part.digest}
            done += part.rows.height
            placed(path, described, done)


def _take_over(folder: Folder, known: tuple[str, str, dict[str, Any]], target: str) -> bool:
    """Take a file over from an earlier release: linked, since neither is ever written to, or copied where that fails.

    False when the file is not what its manifest says, so that it is made anew. A file of the right size that nobody
    touched since its manifest was written is taken at the manifest's word, as git takes files at its index's word;
    any other is read again.
    """
    release, path, entry = known
    try:
        folder.link_or_copy(f"{release}/{path}", target)
    except FileNotFoundError:
        return False
    if folder.size(target) == entry["bytes"] and folder.is_older(f"{release}/{path}", f"{release}/manifest.json"):
        return True
    return bool(_described(folder, target, entry["rows"])["sha256"] == entry["sha256"])


def _described(folder: Folder, relative: str, rows: int | None) -> dict[str, Any]:
    import hashlib

    with folder.fs.open(folder.path(relative), "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 22):
            digest.update(block)
        size = file.tell()
    return {"sha256": digest.hexdigest(), "bytes": size, **({} if rows is None else {"rows": rows})}


def _write_table(folder: Folder, relative: str, frame: pl.DataFrame) -> None:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(frame.to_arrow(), sink, compression="zstd")
    folder.write(relative, sink.getvalue())


def _ledger(folder: Folder, earlier: list[Release], entries: pl.DataFrame, version: str) -> pl.DataFrame:
    """The parent's ledger with the entries it does not yet have, stamped with this version."""
    old = empty_frame(LEDGER)
    if earlier:
        old = pl.read_parquet(io.BytesIO(folder.read(f"{earlier[-1].name}/splits.parquet")))
    entry = pl.struct("group_id", "split", "reason", "members").struct.json_encode()
    added = entries.filter(~entry.is_in(old.select(entry).to_series().implode()))
    return pl.concat([old, added.with_columns(pl.lit(version).alias("since")).select(old.columns)])
