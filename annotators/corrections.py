"""Texts that raters corrected, as new candidates of the cases they are about.

A correction is another text than the one that was scored, so it begins anew: it has no human score, goes through the
same standardisation and evaluation as any candidate, and refers to its parent. Its author had the image and the text
with its diagnosis before them, so ``image_grounded`` and ``label_seen`` are true. Who wrote it is kept apart from it;
the text says only what kind of author it had.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from schemas.stage import rejection
from schemas.tables import NARRATIVES, polars_schema

AUTHORS = {False: "dermatologist", True: "simulated rater"}
_STAGE = "correct"


def correction_id(row: Mapping[str, Any]) -> str:
    """The id of a correction: its case, the narrative it corrects and its text, never who wrote it."""
    shaped = json.dumps(["correction", row["case_id"], row["parent_narrative_id"], row["text_digest"]])
    return hashlib.sha256(shaped.encode()).hexdigest()[:32]


def corrected_candidates(
    corrections: pl.DataFrame, parents: pl.DataFrame, held_out: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame, list[dict[str, str | None]]]:
    """Rows of :data:`schemas.tables.NARRATIVES`, their authors (``narrative_id``, ``rater``, ``simulated``), and
    rejections.

    ``corrections``: as :mod:`corpus.annotations` gives them; ``parents``: ``narrative_id``, ``case_id``, ``candidate``,
    ``trajectory`` and ``teacher_terms`` of what was written; ``held_out``: cases that are certified or may be. A
    correction may correct a correction. Rejected by narrative: ``unknown_parent``, ``not_held_out``.
    """
    known = {row["narrative_id"]: row for row in parents.iter_rows(named=True)}
    told = {correction_id(row): row for row in corrections.iter_rows(named=True)}
    written: dict[str, dict[str, Any]] = {}
    waiting = dict(sorted(told.items()))
    while ready := [name for name, row in waiting.items() if row["parent_narrative_id"] in known]:
        for name in ready:
            row = waiting.pop(name)
            parent = known[row["parent_narrative_id"]]
            if parent["case_id"] == row["case_id"]:
                written[name] = known[name] = _candidate(name, row, parent)
    cases = set(held_out)
    rejected: list[dict[str, str | None]] = []
    for name, row in sorted(told.items()):
        if name not in written:
            rejected.append(rejection("narrative", name, _STAGE, "unknown_parent", value=row["parent_narrative_id"]))
        elif row["case_id"] not in cases:
            del written[name]
            rejected.append(rejection("narrative", name, _STAGE, "not_held_out", value=row["case_id"]))
    people = [(name, rater, told[name]["simulated"]) for name in written for rater in told[name]["authors"]]
    schema = {"narrative_id": pl.String, "rater": pl.String, "simulated": pl.Boolean}
    authors = pl.DataFrame(sorted(people), schema=schema, orient="row")
    rows = [written[name] for name in sorted(written)]
    return pl.DataFrame(rows, schema=polars_schema(NARRATIVES)), authors, rejected


def _candidate(name: str, row: Mapping[str, Any], parent: Mapping[str, Any]) -> dict[str, Any]:
    kind = "direct" if parent["trajectory"] == "revised" else parent["trajectory"]
    return {
        "narrative_id": name,
        "case_id": row["case_id"],
        "candidate": parent["candidate"],
        "author_kind": "rater",
        "author": AUTHORS[row["simulated"]],
        "author_revision": f"correction+{row['text_digest'][:12]}",
        "prompt_digest": row["shown_digest"],
        "trajectory": "revised" if row["revised"] else kind,
        "synthetic_trajectory": row["revised"],
        "sampling": "{}",
        "completion": row["completion"],
        "label_seen": True,
        "image_grounded": True,
        "parent_narrative_id": row["parent_narrative_id"],
        "teacher_terms": parent["teacher_terms"],
        "parse_status": "raw",
        "context_used": row["given"],
    }
