"""The ``textbook`` teacher: narratives from a case's own metadata and the knowledge cards, without weights or network.

It makes the whole pipeline run anywhere and gives trainers grounded differentials, at a price: it never saw the image.
This module decides what a narrative may be told and how it is found again; :mod:`annotators.textbook_narrative` writes
it. Everything is chosen by digests, so equal cases get equal texts whatever their order.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from annotators.case_facts import prompt_fields
from annotators.textbook_narrative import compose
from schemas.cards import KnowledgeCard, card_for, cards_digest
from schemas.narrative import Narrative, render_tagged
from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import NARRATIVES, TRAJECTORIES, polars_schema
from schemas.taxonomy import Taxonomy

VERSION = "textbook/7"
TERMS = "own text, Apache-2.0"
#: What of a case :func:`propose` reads, and its id.
CASE_COLUMNS = ("node_id", "label_certainty", "raw_label", "age_years", "sex", "site", "modality", "tone_observations",
                "concepts", "facts", "image_digests")  # fmt: skip


def prompt_digest(fields: Mapping[str, Any]) -> str:
    """sha256 (hex) of :func:`annotators.case_facts.prompt_fields`."""
    return _digest(fields)


def teacher_revision(taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]) -> str:
    """What the teacher knows: its version, and digests of the cards and of the taxonomy that names the diagnoses."""
    return f"{VERSION}+cards.{cards_digest(cards)[:12]}+taxonomy.{taxonomy.digest[:12]}"


def narrative_id(case_id: str, digest: str, revision: str, candidate: int, trajectory: str) -> str:
    """32 hex digits of everything that shaped one narrative."""
    return _digest([case_id, digest, revision, candidate, trajectory])[:32]


def trajectory_of(digest: str, candidate: int, trajectories: Sequence[str]) -> str:
    """The kind of one candidate: candidates take ``trajectories`` in turn, each case from a place of its own."""
    return trajectories[(int(digest[8:16], 16) + candidate) % len(trajectories)]


def propose(
    cases: pl.DataFrame,
    n_candidates: int,
    taxonomy: Taxonomy,
    cards: Mapping[str, KnowledgeCard],
    trajectories: Sequence[str] = TRAJECTORIES,
) -> StageResult:
    """``n_candidates`` raw narratives for each case that has a card, of the kinds that ``trajectories`` names in turn.

    A revised one is a kept one where no first impression would be plausible.

    ``cases``: rows of :data:`schemas.tables.CASES` with ``modality`` and ``tone_observations``, and ``image_digests``
    where known. Kept: :data:`schemas.tables.NARRATIVES`, by case and candidate. A case whose diagnosis has no card is
    rejected with rule ``no_card``. Candidate i is the same however many are asked for.
    """
    revision = teacher_revision(taxonomy, cards)
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, str | None]] = []
    missing: Counter[str] = Counter()
    for case in cases.sort("case_id").iter_rows(named=True):
        node_id = case["node_id"]
        card = card_for(node_id, taxonomy, cards) if node_id in taxonomy else None
        if card is None:
            unknown = f"label not in the taxonomy: {case['raw_label']}"
            detail = f"{node_id} has no knowledge card, or is too broad" if node_id in taxonomy else unknown
            rejected.append(rejection("case", case["case_id"], "propose", "no_card", value=node_id, detail=detail))
            missing[node_id or "(no node)"] += 1
            continue
        fields = prompt_fields(case)
        digest = prompt_digest(fields)
        for candidate in range(n_candidates):
            kind = trajectory_of(digest, candidate, trajectories)
            narrative = compose(fields, digest, candidate, kind, card, taxonomy, cards)
            if kind == "revised" and narrative.first_impression is None:
                kind = "kept"
            rows.append(_row(case["case_id"], candidate, digest, revision, kind, narrative))
    return StageResult(
        kept=pl.DataFrame(rows, schema=polars_schema(NARRATIVES)),
        rejected=rejections_frame(rejected),
        stats={"cases": cases.height, "narratives": len(rows), "no_card": dict(sorted(missing.items()))},
    )


def _row(
    case_id: str, candidate: int, digest: str, revision: str, trajectory: str, narrative: Narrative
) -> dict[str, Any]:
    return {
        "narrative_id": narrative_id(case_id, digest, revision, candidate, trajectory),
        "case_id": case_id,
        "candidate": candidate,
        "author_kind": "teacher",
        "author": "textbook",
        "author_revision": revision,
        "prompt_digest": digest,
        "trajectory": trajectory,
        "synthetic_trajectory": narrative.first_impression is not None,  # this teacher knew the diagnosis
        "sampling": json.dumps({"candidate": candidate}),
        "completion": render_tagged(narrative),
        "label_seen": True,
        "image_grounded": False,
        "teacher_terms": TERMS,
        "parse_status": "raw",
        "context_used": list(narrative.context_used),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
