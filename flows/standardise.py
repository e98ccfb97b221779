"""A set of free-form texts as Narratives: read in batches, worked on by every core, written as they come.

For whoever has narratives from elsewhere, in whatever form. Nothing is lost: each text is a row with its narrative, its
residue and its original words, or a rejection with its reason. The tables get their names only when they are whole, so
a killed run leaves nothing that looks finished.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from annotators.free_form import standardise_text
from corpus.child_process import die_with
from corpus.digests import canonical_json, digest_bytes
from corpus.sources.narratives import Columns, read_narratives
from schemas.errors import UserError
from schemas.narrative import NO_DIAGNOSIS, UNMAPPED, narrative_to_json, render_sections, render_tagged
from schemas.stage import rejection, rejections_frame
from schemas.taxonomy import load_taxonomy

_STAGE = "standardise"
#: One row is one text. ``original``: as it was read; ``residue``: its sentences that no section took.
STANDARDISED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("label_node", pa.string()),
        pa.field("label_rule", pa.string()),
        pa.field("image_name", pa.string()),
        pa.field("diagnosis", pa.string(), nullable=False),
        pa.field("taxonomy_id", pa.string(), nullable=False),
        pa.field("narrative_json", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("tagged_text", pa.string(), nullable=False),
        pa.field("residue", pa.list_(pa.string()), nullable=False),
        pa.field("clinical_residue", pa.int64(), nullable=False),
        pa.field("think_blocks", pa.int64(), nullable=False),
        pa.field("answer_blocks", pa.int64(), nullable=False),
        pa.field("balanced_tags", pa.bool_(), nullable=False),
        pa.field("original", pa.string(), nullable=False),
        pa.field("original_sha256", pa.string(), nullable=False),
    ]
)
_BATCH = 250
Rejections = list[dict[str, str | None]]


def standardise_rows(
    rows: list[dict[str, Any]], certainty: str, dataset: str | None
) -> tuple[list[dict[str, Any]], Rejections]:
    """Rows of :data:`corpus.sources.narratives.NARRATIVES` as rows of :data:`STANDARDISED`, and those that are none."""
    taxonomy = load_taxonomy()
    kept: list[dict[str, Any]] = []
    rejected: Rejections = []
    for row in rows:
        try:
            found = standardise_text(row["text"], taxonomy, certainty)
        except ValueError as error:
            rejected.append(rejection("narrative", row["id"], _STAGE, "unparsable", detail=str(error)))
            continue
        label = taxonomy.match(row["label"], dataset)
        narrative = found.narrative
        kept.append(
            {
                "id": row["id"],
                "label": row["label"],
                "label_node": label.node_id,
                "label_rule": label.rule,
                "image_name": row["image_name"],
                "diagnosis": narrative.conclusion.diagnosis,
                "taxonomy_id": narrative.conclusion.taxonomy_id,
                "narrative_json": narrative_to_json(narrative),
                "text": render_sections(narrative),
                "tagged_text": render_tagged(narrative),
                "residue": [part.text for part in found.residue],
                "clinical_residue": sum(part.clinical for part in found.residue),
                "think_blocks": found.layout.think_blocks,
                "answer_blocks": found.layout.answer_blocks,
                "balanced_tags": found.layout.balanced,
                "original": row["text"],
                "original_sha256": digest_bytes(row["text"].encode()),
            }
        )
    return kept, rejected


def standardise_set(
    source: Path,
    out: Path,
    columns: Columns | None = None,
    certainty: str = "unstated",
    progress: Callable[[int], None] = lambda done: None,
    dataset: str | None = None,
) -> dict[str, int]:
    """Write ``narratives.parquet``, ``rejections.parquet`` and ``summary.json`` to the folder ``out``; returns counts.

    ``dataset``: whose label codes to read too; ``progress`` is told how many texts are done. Memory is bounded by the
    batches in flight, not by the set. Raises :class:`UserError` for a source that cannot be read and a folder that
    cannot be written.
    """
    batches = read_narratives(source, columns or Columns(), _BATCH)
    counts: Counter[str] = Counter(texts=0, narratives=0, rejected=0, residue_sentences=0, clinical_residue=0)
    rejections: Rejections = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        table, whole = out / "narratives.parquet.part", out / "narratives.parquet"
        with pq.ParquetWriter(table, STANDARDISED, compression="zstd") as writer:
            for kept, rejected in _worked(batches, certainty, dataset):
                writer.write_table(pa.Table.from_pylist(kept, STANDARDISED))
                rejections += rejected
                _count(counts, kept, rejected)
                progress(counts["texts"])
        _put(out / "rejections.parquet", lambda file: rejections_frame(rejections).write_parquet(file))
        _put(out / "summary.json", lambda file: file.write_bytes(canonical_json(counts)))
        os.replace(table, whole)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error}): name another folder") from error
    return dict(counts)


def _count(counts: Counter[str], kept: list[dict[str, Any]], rejected: Rejections) -> None:
    counts["texts"] += len(kept) + len(rejected)
    counts["narratives"] += len(kept)
    counts["rejected"] += len(rejected)
    counts["residue_sentences"] += sum(len(row["residue"]) for row in kept)
    counts["clinical_residue"] += sum(row["clinical_residue"] > 0 for row in kept)
    counts["no_diagnosis"] += sum(row["diagnosis"] == NO_DIAGNOSIS for row in kept)
    counts["diagnosis_unmapped"] += sum(row["taxonomy_id"] == UNMAPPED for row in kept)


def _put(file: Path, write: Callable[[Path], Any]) -> None:
    """A file under its name only when it is whole."""
    part = file.with_name(f"{file.name}.part")
    write(part)
    os.replace(part, file)


def _worked(
    batches: Iterator[Any], certainty: str, dataset: str | None
) -> Iterator[tuple[list[dict[str, Any]], Rejections]]:
    """Each batch standardised, in order; a second one starts the other cores, and few are ever in flight."""
    first = next(batches, None)
    second = next(batches, None)
    if first is None:
        return
    if second is None:
        kept, rejected = standardise_rows(first[0].to_dicts(), certainty, dataset)
        yield kept, [*first[1], *rejected]
        return
    workers = os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    waiting: deque[tuple[Future[tuple[list[dict[str, Any]], Rejections]], Rejections]] = deque()
    with ProcessPoolExecutor(workers, context, initializer=die_with, initargs=(os.getpid(),)) as pool:

        def submit(batch: Any) -> None:
            waiting.append((pool.submit(standardise_rows, batch[0].to_dicts(), certainty, dataset), batch[1]))

        submit(first)
        submit(second)
        for batch in batches:
            submit(batch)
            if len(waiting) > 2 * workers:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())


def _result(waiting: tuple[Future[Any], Rejections]) -> tuple[list[dict[str, Any]], Rejections]:
    kept, rejected = waiting[0].result()
    return kept, [*waiting[1], *rejected]
