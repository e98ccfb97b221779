"""The ``rubric`` evaluator: DermEval's six dimensions by rule, 0-5 with decimals, so that every build has scores.

Deterministic and cheap, it sees the label and the knowledge cards but no image, so it rewards what a text argues, not
whether the image agrees. It is not lenient: each dimension begins below five and loses points for faults it can
quote, and a text written without the image reaches three at most for description and coverage. Its numbers only rank
texts of one kind; calibration against dermatologists is what gives them a meaning. The dimensions themselves are in
:mod:`annotators.rubric_dimensions`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from annotators.rubric_dimensions import JUDGES
from annotators.rubric_narrative import Judged
from schemas.cards import KnowledgeCard
from schemas.narrative import narrative_from_json
from schemas.stage import StageResult, rejections_frame
from schemas.tables import DIMENSIONS, EVALUATIONS, polars_schema
from schemas.taxonomy import Taxonomy

EVALUATOR_ID = "rubric/4+label"


def evaluate(
    narratives: pl.DataFrame, cases: pl.DataFrame, taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]
) -> StageResult:
    """One row of :data:`schemas.tables.EVALUATIONS` per narrative, sorted by ``narrative_id``; nothing is rejected.

    ``narratives``: parsed rows of :data:`schemas.tables.NARRATIVES`; ``cases``: rows of :data:`schemas.tables.CASES`
    that hold every case they are about. ValueError for a narrative that is not parsed or whose case is not there.
    """
    wanted = cases.select("case_id", "node_id", "label_certainty", "concepts", "lesion_id", "patient_id")
    by_id = {row["case_id"]: row for row in wanted.iter_rows(named=True)}
    rows = []
    for row in narratives.sort("narrative_id").iter_rows(named=True):
        if row["parse_status"] != "parsed" or row["case_id"] not in by_id:
            raise ValueError(f"narrative {row['narrative_id']} is not parsed, or case {row['case_id']} is not given")
        judged = Judged(narrative_from_json(row["narrative_json"]), row, by_id[row["case_id"]], taxonomy, cards)
        rows.append(_evaluation(judged))
    frame = pl.DataFrame(rows, schema=polars_schema(EVALUATIONS))
    means = {name: frame[name].mean() for name in (*DIMENSIONS, "overall")} if rows else {}
    return StageResult(frame, rejections_frame([]), {"narratives": len(rows), "mean": means})


def _evaluation(judged: Judged) -> dict[str, Any]:
    scores: dict[str, float] = {}
    critique: dict[str, str] = {}
    for name in DIMENSIONS:
        judge, advice = JUDGES[name]
        tally = judge(judged)
        scores[name] = round(min(5.0, max(0.0, tally.score)), 2)
        critique[name] = tally.critique(advice)
    return {
        "narrative_id": judged.row["narrative_id"],
        "evaluator_id": EVALUATOR_ID,
        "saw_label": True,
        "scale_low": 0.0,
        "scale_high": 5.0,
        **scores,
        "overall": round(sum(scores.values()) / len(scores), 4),
        "critique": json.dumps(critique, ensure_ascii=False),
    }
