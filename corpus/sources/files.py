"""Finding the image file that a metadata row means, among folders that people unpacked their own way.

One walk of the source folder lists every file; rows are then matched by name without regard to case, suffix or folder
depth. A match that is not what the publisher's layout says is noted, never silent. Symbolic links to folders are not
followed and files that lead out of the source folder are never opened.
"""

from __future__ import annotations

import filecmp
import os
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from schemas.errors import SourceError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_SUFFIX_PATTERN = r"(?i)\.(?:" + "|".join(suffix[1:] for suffix in IMAGE_SUFFIXES) + r")$"
_CLIMBING_PATTERN = r"^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)"


@dataclass(frozen=True)
class SourceFiles:
    """What lies below ``root``. ``images``: file_path (relative, posix), name, outside (a link that leaves the folder).

    ``others``: sorted relative paths of the files that are not images. ``notes``: counts for people.
    """

    root: Path
    images: pl.DataFrame
    others: tuple[str, ...]
    notes: Mapping[str, int] = field(default_factory=dict)


def walk(root: Path, source: str) -> SourceFiles:
    """List the files below ``root``; hidden files and linked folders are left out.

    Raises :class:`SourceError` when ``root`` is no folder.
    """
    if not os.path.isdir(root):
        raise SourceError(
            f"the folder {root} of source {source!r} is not there: set sources[{source}].path to where the dataset lies"
        )
    base = Path(os.path.realpath(root))
    images: list[tuple[str, str, bool]] = []
    others: list[str] = []
    notes: Counter[str] = Counter()
    pending = [("", base)]
    while pending:
        prefix, folder = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            notes["folders_unreadable"] += 1
            continue
        for entry in entries:
            kind = _kind(entry, base)
            path = f"{prefix}{entry.name}"
            if kind == "folder":
                pending.append((f"{path}/", Path(entry.path)))
            elif kind in ("image", "image_outside"):
                images.append((path, entry.name, kind == "image_outside"))
            elif kind == "other":
                others.append(path)
            elif kind != "hidden":
                notes[kind] += 1
    schema = {"file_path": pl.String, "name": pl.String, "outside": pl.Boolean}
    frame = pl.DataFrame(images, schema=schema, orient="row").sort("file_path")
    return SourceFiles(root, frame, tuple(sorted(others)), dict(notes))


def find_table(files: SourceFiles, source: str, metadata: str | None, names: Sequence[str], what: str) -> Path:
    """The metadata table: ``metadata`` (relative to the folder) if set, else a file called one of ``names``, any case.

    The least deeply nested wins. Raises :class:`SourceError` when there is none, or two with different content.
    """
    if metadata is not None:
        path = files.root / metadata
        if not os.path.isfile(path):
            raise SourceError(f"{path} is not there: set sources[{source}].metadata to the file that holds {what}")
        return path
    wanted = {name.lower() for name in names}
    found = [path for path in files.others if posixpath.basename(path).lower() in wanted]
    if not found:
        raise SourceError(
            f"{files.root} holds no {' or '.join(names)} ({what}): put it there or name it in "
            f"sources[{source}].metadata"
        )
    depth = min(path.count("/") for path in found)
    return only_one(files, source, [path for path in found if path.count("/") == depth])


def only_one(files: SourceFiles, source: str, paths: Sequence[str]) -> Path:
    """The first of ``paths`` when all hold the same bytes; raises :class:`SourceError` otherwise."""
    first = files.root / paths[0]
    for other in paths[1:]:
        if not _equal_bytes(first, files.root / other):
            raise SourceError(
                f"{files.root} holds both {paths[0]} and {other}, and they differ: say which in "
                f"sources[{source}].metadata"
            )
    return first


def locate(files: SourceFiles, names: pl.Series, *, are_paths: bool = False) -> tuple[pl.DataFrame, int]:
    """Find the file of every name: a bare file name or, if ``are_paths``, a path below the folder.

    A name without a suffix stands for a ``.jpg`` file and is claimed by an image of any suffix. Returns one row per
    distinct name (file_name, file_path, path_rule, path_note) and the number of images that no name means.
    ``path_rule``: null, ``path_outside_source``, ``image_missing`` or ``duplicate_id`` (two files, or two names for one
    file). ``path_note``: null or ``path:repaired``.
    """
    wanted = _wanted(names)
    images = files.images.select("file_path", "name", "outside", path_key=_key("file_path"), name_key=_key("name"))
    inside = wanted.filter(~pl.col("climbs"))
    if are_paths:
        by_path = inside.join(images, left_on="key", right_on="path_key").with_columns(
            exact=pl.col("file_path") == pl.col("expected")
        )
        lost = inside.join(by_path, on="file_name", how="anti").filter(~pl.col("path").str.contains("/", literal=True))
        by_name = lost.join(images, left_on="key", right_on="name_key").with_columns(exact=pl.lit(False))
        columns = ["file_name", "named", "backslash", "file_path", "outside", "exact"]
        candidates = pl.concat([by_path.select(columns), by_name.select(columns)])
    else:
        candidates = inside.join(images, left_on="key", right_on="name_key").with_columns(
            exact=pl.col("name") == pl.col("expected")
        )
    verdicts = _judge(files, wanted, candidates)
    return verdicts, images.filter(~pl.col("outside")).join(candidates, on="file_path", how="anti").height


def _wanted(names: pl.Series) -> pl.DataFrame:
    """Distinct names with their normalised posix ``path``, whether it ``climbs`` out, and the file name ``expected``.

    ``named``: the table itself names the suffix, so that only a file of that very name is meant while there is one.
    """
    rows = pl.DataFrame({"file_name": names.drop_nulls().unique().sort()}).with_columns(
        path=pl.col("file_name").str.replace_all("\\", "/", literal=True),
        backslash=pl.col("file_name").str.contains("\\", literal=True),
        named=pl.col("file_name").str.contains(_SUFFIX_PATTERN),
    )
    odd = rows.filter(pl.col("path").str.contains(r"(?:^|/)\.{0,2}(?:/|$)"))["path"].to_list()
    path = pl.col("path").replace({path: posixpath.normpath(path) for path in odd})
    rows = rows.with_columns(path=path)
    return rows.with_columns(
        climbs=pl.col("path").str.contains(_CLIMBING_PATTERN),
        expected=pl.when(pl.col("named")).then(pl.col("path")).otherwise(pl.col("path") + ".jpg"),
        key=_key("path"),
    )


def _key(column: str) -> pl.Expr:
    """What two spellings of one file share: no suffix, no case, composed letters."""
    return pl.col(column).str.replace(_SUFFIX_PATTERN, "").str.normalize("NFC").str.to_lowercase()


def _judge(files: SourceFiles, wanted: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
    """One verdict per name from all its candidates."""
    preferred = candidates.filter(~pl.col("named") | pl.col("exact") | ~pl.col("exact").any().over("file_name"))
    inside = preferred.filter(~pl.col("outside")).sort(~pl.col("exact"), "file_path")
    groups = inside.group_by("file_name", maintain_order=True).agg("file_path")
    differing = [
        name
        for name, (first, *others) in groups.filter(pl.col("file_path").list.len() > 1).iter_rows()
        if not all(_equal_bytes(files.root / first, files.root / other) for other in others)
    ]
    chosen = inside.unique("file_name", keep="first", maintain_order=True).select(
        "file_name", "file_path", repaired=~pl.col("exact") | pl.col("backslash")
    )
    leads_out = preferred.filter("outside").select("file_name", leads_out=pl.lit(True)).unique()
    found = pl.col("file_path").is_not_null()
    out = pl.col("climbs") | (~found & pl.col("leads_out").fill_null(False))
    plain = ~pl.col("repaired")
    contested = (pl.len().over("file_path") > 1) & ~(plain & (plain.sum().over("file_path") == 1))
    return (
        wanted.join(chosen, on="file_name", how="left")
        .join(leads_out, on="file_name", how="left")
        .select(
            "file_name",
            "file_path",
            path_rule=pl.when(out)
            .then(pl.lit("path_outside_source"))
            .when(~found)
            .then(pl.lit("image_missing"))
            .when(pl.col("file_name").is_in(differing) | contested)
            .then(pl.lit("duplicate_id")),
            path_note=pl.when("repaired").then(pl.lit("path:repaired")),
        )
    )


def _equal_bytes(first: Path, second: Path) -> bool:
    try:
        return os.path.samefile(first, second) or filecmp.cmp(first, second, shallow=False)
    except OSError:
        return False


def _kind(entry: os.DirEntry[str], base: Path) -> str:
    """hidden, folder, image, image_outside, other, or the note under which something unusable is counted."""
    if entry.name.startswith(".") or entry.name == "__MACOSX":
        return "hidden"
    try:
        entry.name.encode()
        if entry.is_dir():
            return "linked_folders_skipped" if entry.is_symlink() else "folder"
        outside = entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(base)
        if entry.name.lower().endswith(IMAGE_SUFFIXES):
            return "image_outside" if outside else "image" if entry.is_file() else "files_unreadable"
        return "linked_files_skipped" if outside else "other" if entry.is_file() else "files_unreadable"
    except UnicodeEncodeError:
        return "names_unreadable"
    except OSError:
        return "files_unreadable"
