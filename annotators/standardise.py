"""Any candidate becomes the same Narrative, or a rejection that says why it did not.

A candidate in the narrative's own layout is parsed strictly, because one mended by guessing would be scored, certified
and trained on as if its author had written it. Any other is read as free-form text, whose sentences are sorted word
for word into the sections, and what is left over is kept beside it. A narrative may be vaguer than its label but never
finer or surer: what the label does not say, no teacher can know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from quality.checks import certainty_beyond_label
from schemas.narrative import (
    NO_DIAGNOSIS,
    UNMAPPED,
    Narrative,
    NarrativeParseError,
    narrative_to_json,
    parse_sections,
    parse_tagged,
    render_sections,
    render_tagged,
)
from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import NARRATIVES, TRAJECTORIES, polars_schema
from schemas.taxonomy import Taxonomy

_STAGE = "standardise"


def standardise(candidates: pl.DataFrame, cases: pl.DataFrame, taxonomy: Taxonomy) -> StageResult:
    """Raw candidates as parsed narratives.

    ``candidates``: rows of :data:`schemas.tables.NARRATIVES`; ``cases``: the rows of :data:`schemas.tables.CASES` they
    are about. Kept rows have ``narrative_json``, ``text`` and ``tagged_text``. Rejected, kind ``narrative``:
    ``unknown_case``, ``unparsable``, ``no_diagnosis``, ``context_not_given`` (relies on facts not given to its author),
    ``unknown_diagnosis``, ``concludes_below_label``, ``contradicts_label``, ``certainty_beyond_label``,
    ``not_its_trajectory`` (marked revised without a first impression that it gives up, or the other way round) and
    ``construction_unmarked`` (a first impression by an author who knew the diagnosis, which is never one, and not
    marked as synthetic). A free-form text is also audited, and rejected with the rule of the first error found, such as
    ``refusal`` or ``site_mismatch``.
    """
    told = cases.select("case_id", "node_id", "label_certainty")
    labels = {row["case_id"]: row for row in told.iter_rows(named=True)}
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, str | None]] = []
    for row in candidates.sort("narrative_id").iter_rows(named=True):
        outcome = _standardised(row, labels, taxonomy)
        if "rule" in outcome:
            rejected.append(rejection("narrative", row["narrative_id"], _STAGE, **outcome))
        else:
            rows.append(row | outcome)
    kept = pl.DataFrame(rows, schema=polars_schema(NARRATIVES))
    return StageResult(
        kept=kept.sort("case_id", "candidate", "narrative_id"),
        rejected=rejections_frame(rejected),
        stats={"candidates": candidates.height, "parsed": len(rows), "rejected": len(rejected)},
    )


def _standardised(
    row: Mapping[str, Any], labels: Mapping[str, Mapping[str, Any]], taxonomy: Taxonomy
) -> dict[str, Any]:
    """The columns of a parsed row, or the keywords of its rejection."""
    label = labels.get(row["case_id"])
    if label is None:
        return {"rule": "unknown_case", "value": row["case_id"]}
    try:
        narrative, residue = _read(row["completion"], label["label_certainty"], taxonomy)
    except NarrativeParseError as error:
        return {"rule": "unparsable", "value": f"line {error.line}", "detail": str(error)}
    except ValueError as error:
        return {"rule": "unparsable", "detail": str(error)}
    if narrative.conclusion.diagnosis == NO_DIAGNOSIS:
        return {"rule": "no_diagnosis", "detail": narrative.conclusion.rationale[:200]}
    fault = _beyond_label(narrative, row["context_used"], label, taxonomy) or _misdeclared(narrative, row, taxonomy)
    if fault is None and residue is not None:
        fault = _audited(row["completion"], label["node_id"], taxonomy)
    if fault:
        return fault
    return {
        "narrative_json": narrative_to_json(narrative),
        "text": render_sections(narrative),
        "tagged_text": render_tagged(narrative),
        "parse_status": "parsed",
        "residue": residue,
        "context_used": list(narrative.context_used),
    }


#: Lines that only the narrative's own layout has; a text that holds one means to be in it.
_OWN_LINE = re.compile(r"^- (?:Malignancy|Certainty|Rationale): |^  - (?:for|against|turned by): ", re.MULTILINE)


def _read(completion: str, certainty: str, taxonomy: Taxonomy) -> tuple[Narrative, list[str] | None]:
    """A candidate's narrative, and what of a free-form text is not in it (None for one in our own layout)."""
    if _OWN_LINE.search(completion):
        return (parse_tagged if "<think>" in completion else parse_sections)(completion), None
    from annotators.free_form import standardise_text  # hundreds of patterns, which most runs never need

    found = standardise_text(completion, taxonomy, certainty)
    return found.narrative, None if found.is_strict else [part.text for part in found.residue]


def _beyond_label(
    narrative: Narrative, given: list[str], label: Mapping[str, Any], taxonomy: Taxonomy
) -> dict[str, Any] | None:
    """Why the narrative says more than its author could know; None when it does not."""
    invented = sorted(set(narrative.context_used) - set(given))
    if invented:
        return {"rule": "context_not_given", "value": invented[0], "detail": f"{len(invented)} facts were not given"}
    named = [narrative.conclusion.taxonomy_id, *(entry.taxonomy_id for entry in narrative.weighed)]
    for node_id in named:
        if node_id not in taxonomy:
            detail = f"{narrative.conclusion.diagnosis!r} is concluded" if node_id == UNMAPPED else None
            return {"rule": "unknown_diagnosis", "value": node_id, "detail": detail or "not a node of the taxonomy"}
    concluded, node_id = named[0], label["node_id"]
    if node_id is not None and node_id in taxonomy:
        if taxonomy.is_ancestor(node_id, concluded):
            return {"rule": "concludes_below_label", "value": concluded, "threshold": node_id}
        if not taxonomy.on_one_branch(node_id, concluded):
            return {"rule": "contradicts_label", "value": concluded, "threshold": node_id}
    for fault in certainty_beyond_label(narrative, label["label_certainty"]):
        return {
            "rule": fault.rule,
            "value": narrative.conclusion.certainty,
            "threshold": label["label_certainty"],
            "detail": f"{fault.sentence} ({fault.detail})",
        }
    return None


def _audited(completion: str, node_id: str | None, taxonomy: Taxonomy) -> dict[str, Any] | None:
    """The first error that an audit finds in a free-form text, with its sentence; None when it finds none."""
    from quality.audit import audit_text

    known = node_id if node_id is not None and node_id in taxonomy else None
    for found in audit_text(completion, known, taxonomy):
        if found.severity == "error":
            return {"rule": found.rule, "value": found.sentence[:200], "detail": found.detail}
    return None


def _misdeclared(narrative: Narrative, row: Mapping[str, Any], taxonomy: Taxonomy) -> dict[str, Any] | None:
    """Why the narrative is not what its row says of its kind; None when it is. All its nodes are of the taxonomy."""
    first, kind, concluded = narrative.first_impression, row["trajectory"], narrative.conclusion.taxonomy_id
    if (first is not None) != (kind == "revised") or kind not in TRAJECTORIES:
        detail = "has no first impression" if first is None else f"has the first impression {first.diagnosis!r}"
        return {"rule": "not_its_trajectory", "value": kind, "detail": detail}
    if first is None:
        return None
    if taxonomy.on_one_branch(first.taxonomy_id, concluded):
        detail = f"{first.taxonomy_id!r} is no other disease than {concluded!r}, so nothing is revised"
        return {"rule": "not_its_trajectory", "value": kind, "detail": detail}
    if row["label_seen"] and not row["synthetic_trajectory"]:
        return {"rule": "construction_unmarked", "value": first.taxonomy_id}
    return None
