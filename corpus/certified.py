"""What raters' answers make of a narrative: the rules of certification.

One rejection blocks; a mean cannot outvote it, nor can an adjudicator. Where raters differ, others decide, and the mean
is then over everybody, so that no score is thrown away for being unwelcome. A correction is held to more: its author's
answers to the very text do not count, and the automatic evaluator has to accept it too, since it never stood in the
draw. Outcomes count raters and never name one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from corpus.annotations import counted, planted_ids
from schemas.config import CertificationSettings
from schemas.tables import DIMENSIONS

#: States, in the order in which they are told.
STATES = (
    "certified",
    "rejected",
    "below_threshold",
    "needs_adjudication",
    "needs_more_raters",
    "not_a_candidate",
)
#: States in which a narrative needs nobody's answer any more.
DECIDED = ("certified", "rejected", "below_threshold", "not_a_candidate")
#: Mean of the raters' scores, named after the dimension.
HUMAN = tuple(f"human_{name}" for name in DIMENSIONS)
#: ``n_raters``: distinct raters that count; ``n_certify`` ... : their decisions; ``human_overall``: mean of
#: the six means; ``simulated``: one of them was, or one of a correction's authors.
OUTCOMES = pl.Schema(
    {
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "state": pl.String(),
        "correction": pl.Boolean(),
        "n_raters": pl.Int64(),
        "n_certify": pl.Int64(),
        "n_revise": pl.Int64(),
        "n_reject": pl.Int64(),
        "adjudicated": pl.Boolean(),
        "simulated": pl.Boolean(),
        **{name: pl.Float64() for name in (*HUMAN, "human_overall")},
        "reasons": pl.List(pl.String()),
    }
)
#: A narrative that certification may speak about. ``authors``: pseudonyms of the raters who wrote it, empty for a
#: teacher's; ``shortfall``: what of it the automatic evaluator refuses, null when nothing.
KNOWN = pl.Schema(
    {
        "narrative_id": pl.String(),
        "case_id": pl.String(),
        "authors": pl.List(pl.String()),
        "simulated_author": pl.Boolean(),
        "shortfall": pl.String(),
    }
)
_ROUND = 9  # digits; less than a mean over raters can differ by, more than the order of a sum does


def outcomes(annotations: pl.DataFrame, known: pl.DataFrame, rules: CertificationSettings) -> pl.DataFrame:
    """:data:`OUTCOMES` of every known narrative that somebody was asked about, and of every correction.

    ``annotations``: the whole snapshot; ``known``: rows of :data:`KNOWN`.
    """
    planted = set(planted_ids(annotations))
    views: dict[str, list[dict[str, Any]]] = {}
    for view in counted(annotations, rules).iter_rows(named=True):
        views.setdefault(view["narrative_id"], []).append(view)
    measured = set(annotations.filter(pl.col("occasion").is_in(["gold", "practice"]))["narrative_id"])
    asked = set(annotations["narrative_id"])
    rows = []
    for row in known.sort("narrative_id").iter_rows(named=True):
        name, authors = row["narrative_id"], row["authors"]
        if name not in asked and not authors:
            continue
        of_others = [view for view in views.get(name, []) if view["rater"] not in authors]
        state, reasons = _state(of_others, rules, bool(authors), row["shortfall"])
        if name in planted or (name in measured and name not in views):
            state, reasons, of_others = "not_a_candidate", ["planted fault" if name in planted else "practice"], []
        rows.append(_outcome(row, state, reasons, of_others))
    return pl.DataFrame(rows, schema=OUTCOMES)


def _outcome(row: Mapping[str, Any], state: str, reasons: list[str], views: Sequence[dict[str, Any]]) -> dict[str, Any]:
    decisions = Counter(view["decision"] for view in views)
    scores = means(views) if views else dict.fromkeys(DIMENSIONS)
    overall = None if not views else round(sum(scores[name] or 0.0 for name in DIMENSIONS) / len(DIMENSIONS), _ROUND)
    return {
        "narrative_id": row["narrative_id"],
        "case_id": row["case_id"],
        "state": state,
        "correction": bool(row["authors"]),
        "n_raters": len(views),
        **{f"n_{decision}": decisions[decision] for decision in ("certify", "revise", "reject")},
        "adjudicated": any(view["occasion"] == "adjudication" for view in views),
        "simulated": row["simulated_author"] or any(view["rater_kind"] == "simulated" for view in views),
        **{f"human_{name}": scores[name] for name in DIMENSIONS},
        "human_overall": overall,
        "reasons": reasons,
    }


def means(views: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Mean of each dimension over raters, whose order makes no difference."""
    return {name: round(sum(sorted(view[name] for view in views)) / len(views), _ROUND) for name in DIMENSIONS}


def _state(
    views: Sequence[Mapping[str, Any]], rules: CertificationSettings, correction: bool, shortfall: str | None
) -> tuple[str, list[str]]:
    """State and reasons from the counted answers of one narrative, one a rater, its authors' left out."""
    raters, decisions = raters_needed(rules, correction), max(1, rules.decisions - correction)
    told = Counter(view["decision"] for view in views)
    first = [view for view in views if view["occasion"] == "first"]
    judges = [view for view in views if view["occasion"] == "adjudication"]
    if told["reject"]:
        return "rejected", [f"{told['reject']} of {len(views)} raters reject it"]
    if correction and shortfall is not None:
        return "below_threshold", [f"evaluator: {shortfall}"]
    if len(first) < raters:
        return "needs_more_raters", [f"{len(first)} of {raters} raters"]
    dispute = _dispute(first, rules)
    if dispute and len(judges) < rules.adjudicators:
        return "needs_adjudication", [*dispute, f"{len(judges)} of {rules.adjudicators} adjudicators"]
    unconvinced = sum(view["decision"] != "certify" for view in judges)
    if dispute and unconvinced:
        return "rejected", [f"{unconvinced} of {len(judges)} adjudicators want it revised"]
    if told["certify"] < decisions:
        return "rejected", [f"{told['certify']} of {decisions} decisions to certify, {told['revise']} to revise"]
    least = rules.thresholds.model_dump()
    scores = means(views)
    low = [f"{name} {score:g} below {least[name]:g}" for name, score in scores.items() if (score or 0.0) < least[name]]
    return ("below_threshold", low) if low else ("certified", [])


def raters_needed(rules: CertificationSettings, correction: bool) -> int:
    """Raters whose first answers a narrative needs; the author of a correction stands for one, but one has to read."""
    return max(1, rules.raters - correction)


def _dispute(first: Sequence[Mapping[str, Any]], rules: CertificationSettings) -> list[str]:
    """What raters differ about beyond what the rules allow, in words."""
    spreads = {name: max(view[name] for view in first) - min(view[name] for view in first) for name in DIMENSIONS}
    told = [f"{name} differs by {spread:g}" for name, spread in spreads.items() if spread > rules.max_spread]
    decisions = Counter(view["decision"] for view in first)
    if len(decisions) > 1:
        told.append(", ".join(f"{n} {decision}" for decision, n in sorted(decisions.items())))
    return told
