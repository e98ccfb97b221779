"""Label mapping: the raw label of every case becomes a taxonomy node, or the case is rejected with the reason.

Labels are looked up once per distinct (source, label), so the cost is that of a join, whatever the number of cases. A
label that is not in the taxonomy is never guessed; it is counted, so that whoever extends the taxonomy sees first what
costs the most cases.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import CASES, polars_schema
from schemas.taxonomy import LabelMatch, Taxonomy

STAGE = "map_labels"

_KEYS = ["source", "raw_label"]


def map_labels(cases: pl.DataFrame, datasets: Mapping[str, str], taxonomy: Taxonomy) -> StageResult:
    """Fill ``node_id`` and ``label_rule`` of ``cases``, a table of :data:`schemas.tables.CASES`.

    ``datasets`` maps a source's name to its adapter, whose vocabulary its labels are read in; a source it does not name
    is read by names and synonyms alone. ``kept``: the cases that have a node, sorted by ``case_id``. ``rejected``: the
    rest, rule ``unknown_label``. ``stats``: ``cases``, ``mapped``, ``rules`` (rule -> cases) and ``unmapped_labels``
    (source, raw label, rule and cases, most cases first).
    """
    counts = cases.group_by(_KEYS).len("n").sort("n", *_KEYS, descending=[True, False, False])
    matches = [taxonomy.match(label, datasets.get(source)) for source, label, _ in counts.iter_rows()]
    decided = counts.with_columns(
        pl.Series("node_id", [match.node_id for match in matches], pl.String),
        pl.Series("label_rule", [match.rule for match in matches], pl.String),
        pl.Series("detail", [_reason(match, taxonomy) for match in matches], pl.String),
    )
    mapped = cases.drop("node_id", "label_rule").join(decided, on=_KEYS, how="left", nulls_equal=True).sort("case_id")
    unknown = mapped.filter(pl.col("node_id").is_null())
    rejected = rejections_frame(
        rejection("case", case_id, STAGE, "unknown_label", value=label, detail=detail)
        for case_id, label, detail in unknown.select("case_id", "raw_label", "detail").iter_rows()
    )
    kept = mapped.filter(pl.col("node_id").is_not_null()).select(polars_schema(CASES).names())
    return StageResult(kept, rejected, _stats(decided))


def _reason(match: LabelMatch, taxonomy: Taxonomy) -> str | None:
    """Why a label has no node, in words; None when it has one."""
    match match.rule:
        case "ambiguous":
            return f"ambiguous: may mean {', '.join(match.candidates)}"
        case "not_a_diagnosis":
            return "not_a_diagnosis: the label states no diagnosis"
        case "unmapped":
            return f"unmapped: no name, synonym or crosswalk entry of taxonomy {taxonomy.version} says this"
        case _:
            return None


def _stats(decided: pl.DataFrame) -> dict[str, object]:
    unmapped = decided.filter(pl.col("node_id").is_null())
    rules = dict(decided.group_by("label_rule").agg(pl.col("n").sum()).sort("label_rule").iter_rows())
    cases = sum(rules.values())
    return {
        "cases": cases,
        "mapped": cases - sum(unmapped["n"].to_list()),
        "rules": rules,
        "unmapped_labels": unmapped.select(*_KEYS, rule="label_rule", cases="n").to_dicts(),
    }
