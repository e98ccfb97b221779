"""Answers of raters as rows of the annotations table, for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from schemas.tables import ANNOTATIONS, DIMENSIONS, polars_schema

_START = datetime(2024, 1, 1, tzinfo=UTC)


def answer(
    narrative: str, rater: str, decision: str = "certify", score: float | None = 5.0, **changes: Any
) -> dict[str, Any]:
    """A first answer by a board certified person, all scores the same, with other values in some columns."""
    return {
        "annotation_id": f"{narrative}/{rater}/{changes.get('occasion', 'first')}",
        "server": "s",
        "project_id": 1,
        "task_id": 1,
        "server_annotation_id": 1,
        "revision": 0,
        "is_latest": True,
        "narrative_id": narrative,
        "case_id": f"case of {narrative}",
        "rater": rater,
        "rater_kind": "human",
        "credential": "board_certified",
        "occasion": "first",
        "planted": None,
        "inclusion_probability": None,
        **dict.fromkeys(DIMENSIONS, score),
        "scale_low": 0.0,
        "scale_high": 5.0,
        "decision": decision,
        "critique": None,
        "flags": [],
        "cannot_judge": [],
        "corrected": None,
        "pre_edit": "{}",
        "seconds": 60.0,
        "created_at": _START,
        "updated_at": _START + timedelta(seconds=changes.pop("later", 0)),
        "config_digest": "c",
        **changes,
    }  # fmt: skip


def snapshot(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows as the annotations table."""
    return pl.DataFrame(list(rows), schema=polars_schema(ANNOTATIONS))
