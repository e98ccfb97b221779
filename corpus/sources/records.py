"""The rules that all datasets share: an id once, a file for every row, a reason for every row that is left out.

A row gets one rejection, the first rule it breaks, rather than a list of all its faults: rows are then easy to count,
and mending the first fault shows the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from corpus.sources.files import SourceFiles, locate
from corpus.sources.tabular import ROW, Table
from schemas.config import SourceSettings
from schemas.stage import rejection, rejections_frame
from schemas.tables import SOURCE_RECORDS, polars_schema


@dataclass(frozen=True)
class SourceReading:
    """What a source says. ``records``: :data:`schemas.tables.SOURCE_RECORDS`, sorted by source_image_id.

    ``rejected``: :data:`schemas.tables.STAGE_REJECTIONS`. ``notes``: counts, among them ``rows`` (of the table) and
    ``rows_rejected``; the difference is the number of records.
    """

    records: pl.DataFrame
    rejected: pl.DataFrame
    notes: dict[str, int]


def assemble(
    settings: SourceSettings,
    files: SourceFiles,
    table: Table,
    draft: pl.DataFrame,
    *,
    are_paths: bool = False,
) -> SourceReading:
    """Turn a draft into a reading: every row becomes one record or one rejected row.

    ``draft`` has, in the order of ``table.rows``, the columns of SOURCE_RECORDS except file_path, and ``file_name`` (as
    in :func:`corpus.sources.files.locate`). Optional columns ``rule``, ``rule_value`` and ``rule_detail`` reject rows
    for a reason of the dataset's own.
    """
    extra = [
        pl.lit(None, pl.String()).alias(name)
        for name in ("rule", "rule_value", "rule_detail")
        if name not in draft.columns
    ]
    located, unmentioned = locate(files, draft["file_name"], are_paths=are_paths)
    rows = (
        draft.with_columns(table.rows[ROW], _repeats(table.rows, draft["source_image_id"]), *extra)
        .join(located, on="file_name", how="left", maintain_order="left")
        .with_columns(
            rule=pl.when(pl.col("source_image_id").is_null())
            .then(pl.lit("blank_id"))
            .when(pl.col("repeat").is_not_null())
            .then(pl.col("repeat"))
            .otherwise(pl.coalesce("rule", "path_rule")),
            notes=pl.concat_list("notes", "path_note").list.drop_nulls(),
        )
    )
    kept = rows.filter(pl.col("rule").is_null())
    dropped = rows.filter(pl.col("rule").is_not_null())
    schema = polars_schema(SOURCE_RECORDS)
    records = kept.select(pl.col(name).cast(kind) for name, kind in schema.items()).sort("source_image_id")
    rejected = [*_malformed(settings, table), *_rejections(settings, dropped)]
    counts = records["notes"].explode().drop_nulls().str.replace(r"^(archive_id):.*$", "$1").value_counts()
    notes = {
        **table.notes,
        **files.notes,
        **dict(counts.iter_rows()),
        "rows": table.rows.height + len(table.malformed),
        "rows_rejected": dropped.height + len(table.malformed),
        "files_without_row": unmentioned,
    }
    return SourceReading(records, rejections_frame(rejected), {key: notes[key] for key in sorted(notes)})


def _repeats(rows: pl.DataFrame, ids: pl.Series) -> pl.Series:
    """Per row ``duplicate_id`` when another row gives its id other content, ``duplicate_row`` for a later equal row."""
    cells = rows.drop(ROW).with_columns(ids.alias("#id"))
    later = cells.select(later=~pl.struct(pl.all()).is_first_distinct())["later"]
    variants = (~pl.col("later")).sum().over("id")
    return pl.DataFrame({"id": ids, "later": later}).select(
        repeat=pl.when(variants > 1).then(pl.lit("duplicate_id")).when("later").then(pl.lit("duplicate_row"))
    )["repeat"]


def _malformed(settings: SourceSettings, table: Table) -> Iterable[dict[str, str | None]]:
    for row, reason in table.malformed:
        yield rejection("image", f"{settings.name}:{row}", "ingest", "malformed_row", detail=f"{table.name}: {reason}")


def _rejections(settings: SourceSettings, dropped: pl.DataFrame) -> Iterable[dict[str, str | None]]:
    """One rejection per dropped row; rows that share an id share one, which counts them."""
    columns = ["rule", "source_image_id", ROW, "file_name", "rule_value", "rule_detail"]
    shared: dict[str, list[str]] = {}
    for rule, image, row, file_name, value, detail in dropped.select(columns).iter_rows():
        name = f"{settings.name}:{image}"
        if rule == "blank_id":
            yield rejection("image", f"{settings.name}:{row}", "ingest", rule)
        elif rule == "duplicate_row":
            yield rejection("image", f"{settings.name}:{row}", "ingest", rule, survivor=name)
        elif rule == "duplicate_id":
            shared.setdefault(name, []).append(row)
        else:
            given = file_name if rule in ("image_missing", "path_outside_source") else value
            yield rejection("image", name, "ingest", rule, value=given, detail=detail)
    for name, numbers in shared.items():
        claims = (
            f"{len(numbers)} rows with different content" if len(numbers) > 1 else "several files, or another row's"
        )
        yield rejection("image", name, "ingest", "duplicate_id", value=len(numbers), threshold=1, detail=claims)
