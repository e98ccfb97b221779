"""What the labels of a table mean: the mapping, its coverage, and what stays unmapped, most frequent first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from corpus.sources.tabular import read_frame
from schemas.errors import UserError
from schemas.taxonomy import Taxonomy

MAPPING = pl.Schema(
    {
        "label": pl.String(),
        "count": pl.Int64(),
        "node": pl.String(),
        "name": pl.String(),
        "rule": pl.String(),
        "set_aside": pl.String(),
        "candidates": pl.String(),
    }
)


def map_column(values: pl.Series, taxonomy: Taxonomy, dataset: str | None = None) -> pl.DataFrame:
    """One :data:`MAPPING` row for each distinct value of a column, most frequent first."""
    counts = values.cast(pl.String).fill_null("").value_counts().sort("count", values.name, descending=[True, False])
    rows: list[dict[str, Any]] = []
    for label, count in counts.iter_rows():
        match = taxonomy.match(label, dataset)
        rows.append(
            {
                "label": label,
                "count": count,
                "node": match.node_id,
                "name": taxonomy.node(match.node_id).name if match.node_id else None,
                "rule": match.rule,
                "set_aside": " ".join(match.qualifiers) or None,
                "candidates": ", ".join(match.candidates) or None,
            }
        )
    return pl.DataFrame(rows, schema=MAPPING)


def read_column(file: Path, column: str) -> pl.Series:
    """A column of a CSV, TSV, JSON lines or Parquet file as text; :class:`UserError` says what is wrong with it."""
    try:
        frame = read_frame(file)
    except FileNotFoundError:
        raise UserError(f"{file} is not there: name a CSV, TSV, JSON lines or Parquet file") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{file} cannot be read as {file.suffix or 'a table'}: {str(error).splitlines()[0]}") from None
    if column not in frame.columns:
        raise UserError(f"{file} has no column {column!r}; it has {', '.join(frame.columns)}: name one with --column")
    return frame[column].cast(pl.String)


def summary(mapping: pl.DataFrame) -> str:
    """Coverage in words: values and rows mapped, and rows by rule."""
    total, mapped = int(mapping["count"].sum()), mapping.filter(pl.col("node").is_not_null())
    rules = mapping.group_by("rule").agg(pl.col("count").sum()).sort("count", "rule", descending=[True, False])
    by_rule = ", ".join(f"{rule.replace('_', ' ')} {count:,}" for rule, count in rules.iter_rows())
    known = int(mapped["count"].sum())
    share = 100 * known / max(1, total)
    return (
        f"{known:,} of {total:,} rows mapped ({share:.1f} %), {mapped.height:,} of {mapping.height:,} "
        f"labels; rows by rule: {by_rule}"
    )
