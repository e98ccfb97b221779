"""Narratives that somebody else wrote, as further candidates of the cases they are about.

A text is matched to a case by the case's or the image's id or by the image's file name, and only where that says one
case: a narrative put to the wrong picture would be worse than none. From there on it goes the way of every candidate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from schemas.config import ImportedSettings
from schemas.stage import rejection

#: One row is one text with the case it is about; ``set_name``: the name of its set in the configuration.
TEXTS = pl.Schema(
    {
        "case_id": pl.String(),
        "set_name": pl.String(),
        "source_id": pl.String(),
        "text": pl.String(),
        "text_digest": pl.String(),
    }
)
_STAGE = "import"


def match_texts(
    name: str, rows: Iterable[Mapping[str, Any]], cases: pl.DataFrame, images: pl.DataFrame
) -> tuple[list[dict[str, Any]], list[dict[str, str | None]]]:
    """Texts with their cases, as rows of :data:`TEXTS`, and rejections of those that fit no case, or several.

    ``rows``: rows of :data:`corpus.sources.narratives.NARRATIVES`; ``cases`` with ``case_id`` and ``image_ids``;
    ``images`` with ``image_id``, ``source_image_id`` and ``file_path``. Rules: ``no_case``, ``several_cases``.
    """
    known = _cases_by_name(cases, images)
    texts, rejected = [], []
    for row in rows:
        named = [row["id"], row["image_name"], (row["image_name"] or "").rsplit(".", 1)[0]]
        found = next((known[key] for key in named if key and key in known), set())
        record = f"{name}:{row['id']}"
        if len(found) != 1:
            rule = "several_cases" if found else "no_case"
            value = row["image_name"] or row["id"]
            rejected.append(rejection("narrative", record, _STAGE, rule, value=value))
            continue
        digest = hashlib.sha256(row["text"].encode()).hexdigest()
        texts.append(
            {"case_id": next(iter(found)), "set_name": name, "source_id": row["id"], "text": row["text"],
             "text_digest": digest}
        )  # fmt: skip
    return texts, rejected


def _cases_by_name(cases: pl.DataFrame, images: pl.DataFrame) -> dict[str, set[str]]:
    """Every id and file name that may stand for a case, with the cases it stands for."""
    known: dict[str, set[str]] = {}
    told = cases.select("case_id", pl.col("image_ids").alias("image_id")).explode("image_id")
    columns = ["case_id", "image_id", "source_image_id", "file_path"]
    for row in told.join(images, on="image_id", how="left").select(columns).iter_rows(named=True):
        file_name = (row["file_path"] or "").replace("\\", "/").rsplit("/", 1)[-1]
        for key in {row["case_id"], row["image_id"], row["source_image_id"], file_name}:
            if key:
                known.setdefault(key, set()).add(row["case_id"])
    return known


def candidates(
    case_id: str, texts: Iterable[Mapping[str, Any]], first: int, sets: Mapping[str, ImportedSettings]
) -> list[dict[str, Any]]:
    """Rows of :data:`schemas.tables.NARRATIVES` of one case's texts, counted from ``first``, each text once."""
    rows = []
    unique = {(text["set_name"], text["text_digest"]): text for text in texts}
    for nth, ((name, digest), text) in enumerate(sorted(unique.items())):
        told = sets[name]
        shaped = json.dumps([case_id, name, digest, told.label_seen, told.image_grounded, told.terms])
        rows.append(
            {
                "narrative_id": hashlib.sha256(shaped.encode()).hexdigest()[:32],
                "case_id": case_id,
                "candidate": first + nth,
                "author_kind": "teacher",
                "author": name,
                "author_revision": f"imported+{digest[:12]}",
                "prompt_digest": digest,
                "trajectory": "direct",
                "synthetic_trajectory": False,
                "sampling": json.dumps({"imported": text["source_id"]}),
                "completion": text["text"],
                "label_seen": told.label_seen,
                "image_grounded": told.image_grounded,
                "teacher_terms": told.terms,
                "parse_status": "raw",
                "context_used": [],
            }
        )
    return rows
