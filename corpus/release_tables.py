"""The tables of a release that no gate can change, with what takes time to tell of them; asked while a gate works."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from corpus.digests import digest_of, table_digest
from corpus.release_rows import FORMAT, ROW_GROUP, cut_files

INDEX = ("case_id", "split", "group_id", "image_ids", "image_digests", "narrative_id", "licence_class")


@dataclass(frozen=True)
class DataFile:
    """Rows that go into one file, and what names what is in it."""

    rows: pl.DataFrame
    digest: str


@dataclass(frozen=True)
class ReleaseTables:
    """``rows``: one per published case (:data:`corpus.release_rows.SCALARS` plus ``split`` and ``row_digest``, the
    digest of narrative and evaluation). ``queue``: held-out cases (:data:`INDEX`); ``certification``: the narratives
    among them to be scored (:data:`corpus.certification.QUEUE`). ``candidates`` and ``duplicates``: what the report
    shows of candidates and of duplicate clusters (:mod:`corpus.release_evidence`).
    """

    rows: pl.DataFrame
    queue: pl.DataFrame
    certification: pl.DataFrame
    candidates: pl.DataFrame
    duplicates: pl.DataFrame
    rows_per_file: int

    @cached_property
    def digests(self) -> list[str]:
        """Digests of the five tables."""
        with ThreadPoolExecutor() as pool:
            tables = (self.rows, self.queue, self.certification, self.candidates, self.duplicates)
            return list(pool.map(table_digest, tables))

    @cached_property
    def files(self) -> dict[str, DataFile]:
        """The rows by file, ``data/SPLIT/CLASS-NNNNN.parquet``; at least the one that loads by default."""
        rows = self.rows.sort("split", "licence_class", "case_id")
        groups = rows.partition_by("split", "licence_class", as_dict=True, maintain_order=True)
        groups.setdefault(("train", "open"), rows.clear())
        parts: dict[str, pl.DataFrame] = {}
        for (split, licence_class), group in sorted(groups.items()):
            ranges = cut_files(group["case_id"].to_list(), self.rows_per_file) or [(0, 0)]
            for number, (start, end) in enumerate(ranges):
                parts[f"data/{split}/{licence_class}-{number:05d}.parquet"] = group.slice(start, end - start)
        with ThreadPoolExecutor() as pool:
            digests = pool.map(_rows_digest, parts.values())
            return {path: DataFile(rows, digest) for (path, rows), digest in zip(parts.items(), digests, strict=True)}

    def told(self) -> ReleaseTables:
        """These tables, their digests and files told already."""
        _ = self.digests, self.files
        return self

    def index(self) -> pl.DataFrame:
        """Which case is in which file."""
        indexes = [part.rows.select(*INDEX, pl.lit(path).alias("file")) for path, part in self.files.items()]
        return pl.concat(indexes).sort("split", "case_id")


def _rows_digest(rows: pl.DataFrame) -> str:
    import pyarrow

    return digest_of("rows", FORMAT, ROW_GROUP, pyarrow.__version__, table_digest(rows))
