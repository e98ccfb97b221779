"""What every stage returns, and how a rejection is written down.

A stage is a plain function over tables. It returns the rows it kept, one ``rejections`` row for each record it removed
or merged, and counts. Nothing is dropped without a row here, so "where did image X go?" always has an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from schemas.tables import STAGE_REJECTIONS, polars_schema


@dataclass(frozen=True)
class StageResult:
    """Outcome of one stage.

    ``kept``: the stage's table. ``rejected``: rows of :data:`schemas.tables.STAGE_REJECTIONS`. ``stats``: JSON-able
    counts and measurements for people.
    """

    kept: pl.DataFrame
    rejected: pl.DataFrame
    stats: Mapping[str, Any] = field(default_factory=dict)


def rejection(
    record_kind: str,
    record_id: str,
    stage: str,
    rule: str,
    *,
    value: object = None,
    threshold: object = None,
    survivor: str | None = None,
    detail: str | None = None,
) -> dict[str, str | None]:
    """One rejections row as a dict; ``value`` and ``threshold`` are stored as text so that any rule fits the table."""
    return {
        "record_kind": record_kind,
        "record_id": record_id,
        "stage": stage,
        "rule": rule,
        "value": None if value is None else str(value),
        "threshold": None if threshold is None else str(threshold),
        "survivor": survivor,
        "detail": detail,
    }


def rejections_frame(rows: Iterable[Mapping[str, str | None]]) -> pl.DataFrame:
    """Rows made by :func:`rejection` as one frame, each (kind, id, stage, rule) once, in a fixed order."""
    return in_order(pl.DataFrame(list(rows), schema=polars_schema(STAGE_REJECTIONS)))


def in_order(rejections: pl.DataFrame) -> pl.DataFrame:
    """Rejections, each (kind, id, stage, rule) once, in a fixed order."""
    keys = ["record_kind", "record_id", "stage", "rule"]
    return rejections.unique(keys, keep="first", maintain_order=True).sort(keys)
