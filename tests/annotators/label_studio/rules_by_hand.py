"""The rules of certification as dermcot.yaml words them, written down a second time in plain Python.

Nothing is imported from the code that applies them. Answers are dictionaries: ``narrative_id``, ``case_id``, ``rater``,
``occasion``, ``planted``, ``decision``, ``flags`` and the six scores. All raters are board certified, nobody
adjudicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LEAST = {
    "accuracy": 4.0,
    "safety": 4.0,
    "medical_groundedness": 3.5,
    "clinical_coverage": 3.0,
    "reasoning_coherence": 3.5,
    "description_precision": 3.0,
}
RATERS, DECISIONS, MOST_SPREAD = 2, 2, 2.0
Answer = Mapping[str, Any]


def first_looks(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Narrative -> the answers that certification may count: first looks that judged."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        if answer["occasion"] == "first" and answer["decision"] != "cannot_judge":
            found.setdefault(answer["narrative_id"], []).append(answer)
    return found


def mean(looks: list[Answer], name: str) -> float:
    """The raters' mean score on a dimension."""
    return float(sum(look[name] for look in looks) / len(looks))


def overall(looks: list[Answer]) -> float:
    """The mean of the six means."""
    return sum(mean(looks, name) for name in LEAST) / len(LEAST)


def state(looks: list[Answer]) -> str:
    """What the first looks at one narrative make of it."""
    decided = [look["decision"] for look in looks]
    if "reject" in decided:
        return "rejected"
    if len(looks) < RATERS:
        return "needs_more_raters"
    apart = any(max(k[name] for k in looks) - min(k[name] for k in looks) > MOST_SPREAD for name in LEAST)
    if apart or ("certify" in decided and "revise" in decided):
        return "needs_adjudication"
    if decided.count("certify") < DECISIONS:
        return "rejected"
    if any(mean(looks, name) < least - 1e-9 for name, least in LEAST.items()):
        return "below_threshold"
    return "certified"


def flagged(answers: Iterable[Answer]) -> dict[str, str]:
    """Case -> the gravest flag that a rater gave it at a first look, whether or not the rater could judge it."""
    gravity = ["bad_image", "wrong_label", "identifiable_person"]
    found: dict[str, str] = {}
    for answer in answers:
        for flag in answer["flags"] if answer["occasion"] == "first" else ():
            found[answer["case_id"]] = max(flag, found.get(answer["case_id"], flag), key=gravity.index)
    return found


def certified(answers: Iterable[Answer]) -> dict[str, str]:
    """Case -> its certified narrative: of several the one with the best mean, then the one that more raters saw."""
    told = list(answers)
    gone = flagged(told)
    best: dict[str, tuple[tuple[float, int], str]] = {}
    for name, looks in sorted(first_looks(told).items()):
        case = looks[0]["case_id"]
        if case in gone or state(looks) != "certified":
            continue
        rank = (round(overall(looks), 9), len(looks))
        if case not in best or rank > best[case][0]:
            best[case] = (rank, name)
    return {case: name for case, (_, name) in best.items()}
