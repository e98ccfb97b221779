"""The ``vlm`` teacher: per case an observation, and per candidate a rationale and a narrative written from it.

The observation is blind and one per case, so that all its candidates are held against the same look. A candidate is
``grounded`` (its author is told the diagnosis and what the knowledge card says of it) or ``blind`` (kept only where it
concludes on the label's branch); which of both is drawn from the case's content. Only cleaned metadata enters a prompt,
and none of it enters the observation.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, TypeVar

import polars as pl

from annotators.engines.protocol import Completion
from annotators.vlm.asking import Answer, Asker, Fault, UnusableError
from annotators.vlm.observation import Observation, read_observation
from annotators.vlm.requests import Candidate, Teacher, candidates_of, observe, reason, teacher_revision, write
from annotators.vlm.writing import Written, read_narrative
from corpus.digests import digest_of
from schemas.attempts import attempt_id
from schemas.narrative import render_sections
from schemas.stage import rejection
from schemas.tables import NARRATIVES, polars_schema

#: What of a case :func:`propose` reads, besides its id.
CASE_COLUMNS = ("node_id", "label_certainty", "age_years", "sex", "site", "modality", "tone_observations", "concepts",
                "facts", "image_digests", "external_processing")  # fmt: skip
_STAGE = "propose"
Slot = TypeVar("Slot")
#: Faults of what a text says: another one has to be reasoned, writing the same down again would not help.
_OF_CONTENT = ("label_disagreement", "concludes_below_label", "photograph_cannot_show", "too_many_post_hoc")
_DETAIL = 500  # most characters of a failure that the ledger keeps


#: A rejection, and the case it is about. One of a narrative also has ``candidate`` and ``label_seen``, since nothing
#: else is left that would tell them.
Rejected = tuple[str, dict[str, Any]]


def propose(cases: pl.DataFrame, n_candidates: int, teacher: Teacher) -> tuple[pl.DataFrame, list[Rejected]]:
    """``n_candidates`` raw narratives for each case, less what no attempt could bring about.

    ``cases``: rows of :data:`schemas.tables.CASES` with the columns :data:`CASE_COLUMNS`. Gives rows of
    :data:`schemas.tables.NARRATIVES`, and rejections with the case of each. By case: ``no_known_label``. By narrative,
    with the rule of its last failure: those of :data:`annotators.engines.protocol.FailureKind`, ``no_skin_seen``,
    ``schema``, ``label_disagreement``, ``concludes_below_label``, ``photograph_cannot_show``, ``too_many_post_hoc``. By
    attempt, whose id names narrative, step and number: every failure on the way. Raises
    :class:`schemas.errors.UserError` where the engine does not answer.
    """
    wanted: dict[str, Candidate] = {}
    unlabelled: list[Rejected] = []
    for case in cases.sort("case_id").iter_rows(named=True):
        if case["node_id"] not in teacher.taxonomy:
            row = rejection("case", case["case_id"], _STAGE, "no_known_label", value=case["node_id"])
            unlabelled.append((case["case_id"], row))
            continue
        wanted |= {c.id: c for c in candidates_of(case, n_candidates, teacher)}
    asker = Asker(teacher.ask)
    seen = _observations(teacher, asker, {c.case["case_id"]: c.case for c in wanted.values()})
    ready = {name: c for name, c in wanted.items() if c.case["case_id"] in seen}
    teacher.count(settled=len(wanted) - len(ready))
    told = _narratives(teacher, asker, ready, {case_id: answer.value for case_id, answer in seen.items()})
    rows = [
        _row(teacher, ready[name], seen[ready[name].case["case_id"]], *answers, asker)
        for name, answers in sorted(told.items())
    ]
    kept = pl.DataFrame(rows, schema=polars_schema(NARRATIVES)).sort("case_id", "candidate")
    return kept, unlabelled + _rejections(wanted, set(told), asker.faults, teacher.settings.attempts)


def _observations(
    teacher: Teacher, asker: Asker, cases: Mapping[str, Mapping[str, Any]]
) -> dict[str, Answer[Observation]]:
    found: dict[str, Answer[Observation]] = {}
    for attempt in range(teacher.settings.attempts):
        make = {name: partial(observe, teacher, case) for name, case in _open(cases, found, asker).items()}
        found |= asker.wave("observe", attempt, make, lambda _, completion: read_observation(completion))
    return found


def _narratives(
    teacher: Teacher, asker: Asker, wanted: Mapping[str, Candidate], seen: Mapping[str, Observation]
) -> dict[str, tuple[Answer[str], Answer[Written]]]:
    """Candidate -> its rationale and its narrative. One whose content is at fault is reasoned anew."""
    reasoned: dict[str, Answer[str]] = {}
    found: dict[str, Answer[Written]] = {}
    for attempt in range(teacher.settings.attempts):
        still = _open(wanted, found, asker)
        make = {
            name: partial(reason, teacher, c, seen[c.case["case_id"]])
            for name, c in still.items()
            if name not in reasoned
        }
        reasoned |= asker.wave("reason", attempt, make, lambda _, completion: completion.text.strip())
        ready = {name: c for name, c in still.items() if name in reasoned}
        make = {name: partial(write, teacher, c, reasoned[name].value) for name, c in ready.items()}
        written = asker.wave("write", attempt, make, partial(_read, teacher, wanted, seen))
        teacher.count(kept=len(written), lost=len(make) - len(written))
        found |= written
        for fault in asker.faults:
            if fault.attempt == attempt and fault.rule in _OF_CONTENT:
                del reasoned[fault.slot]
        is_last = attempt + 1 == teacher.settings.attempts
        teacher.count(settled=len(still) - (0 if is_last else len(_open(still, found, asker))))
    return {name: (reasoned[name], answer) for name, answer in found.items()}


def _open(wanted: Mapping[str, Slot], found: Collection[str], asker: Asker) -> dict[str, Slot]:
    """What has no answer yet and may still get one."""
    lost = {fault.slot for fault in asker.faults if fault.is_final}
    return {name: slot for name, slot in wanted.items() if name not in found and name not in lost}


def _read(
    teacher: Teacher,
    wanted: Mapping[str, Candidate],
    seen: Mapping[str, Observation],
    name: str,
    completion: Completion,
) -> Written:
    candidate = wanted[name]
    case, taxonomy, most = candidate.case, teacher.taxonomy, teacher.settings.max_post_hoc
    label = None if candidate.blind else case["node_id"]
    written = read_narrative(
        completion, candidate.known, label, case["label_certainty"], candidate.context, seen[case["case_id"]], taxonomy
    )
    concluded = written.narrative.conclusion
    if not taxonomy.on_one_branch(concluded.taxonomy_id, case["node_id"]):
        raise UnusableError("label_disagreement", f"{concluded.diagnosis!r} is concluded without knowing the diagnosis")
    if taxonomy.is_ancestor(case["node_id"], concluded.taxonomy_id):
        raise UnusableError("concludes_below_label", f"{concluded.diagnosis!r} says more than the label does")
    if len(written.post_hoc) > most:
        raise UnusableError(
            "too_many_post_hoc", f"{len(written.post_hoc)} findings, more than {most}, were not observed"
        )
    return written


def _row(
    teacher: Teacher,
    candidate: Candidate,
    seen: Answer[Observation],
    reasoned: Answer[str],
    written: Answer[Written],
    asker: Asker,
) -> dict[str, Any]:
    case, settings = candidate.case, teacher.settings
    narrative, post_hoc = written.value.narrative, written.value.post_hoc
    spent = [asker.tokens[candidate.id]]
    if candidate.number == 0:  # the look that all candidates share is paid for once
        spent.append(asker.tokens[case["case_id"]])
    return {
        "narrative_id": candidate.id,
        "case_id": case["case_id"],
        "candidate": candidate.number,
        "author_kind": "teacher",
        "author": f"vlm:{teacher.model}",
        "author_revision": teacher_revision(teacher.revision),
        "prompt_digest": digest_of(seen.request.key, reasoned.request.key, written.request.key),
        "trajectory": "direct",
        "synthetic_trajectory": False,
        "sampling": json.dumps(
            {
                "mode": "blind" if candidate.blind else "grounded",
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "seed": settings.seed,
                "attempts": [seen.attempt + 1, reasoned.attempt + 1, written.attempt + 1],
            }
        ),
        "prompt_tokens": sum(prompt for prompt, _ in spent),
        "completion_tokens": sum(completion for _, completion in spent),
        "completion": render_sections(narrative),
        "label_seen": not candidate.blind,
        "image_grounded": True,
        "post_hoc": len(post_hoc),
        "post_hoc_findings": list(post_hoc),
        "teacher_terms": settings.terms,
        "parse_status": "raw",
        "context_used": list(candidate.context),
    }


def _rejections(
    wanted: Mapping[str, Candidate], written: Collection[str], faults: list[Fault], attempts: int
) -> list[Rejected]:
    """Every failed attempt, and every narrative that never came about with the rule of its last failure."""
    case_of = {name: lost.case["case_id"] for name, lost in wanted.items()}
    rows: list[Rejected] = []
    last: dict[str, Fault] = {}
    for fault in faults:
        place = attempt_id(fault.slot, fault.step, fault.attempt + 1)
        row = rejection("attempt", place, _STAGE, fault.rule, detail=fault.detail[:_DETAIL])
        rows.append((case_of.get(fault.slot, fault.slot), row))
        last[fault.slot] = fault
    for name, case_id in case_of.items():
        if name in written:
            continue
        fault = last[name] if name in last else last[case_id]
        row = rejection("narrative", name, _STAGE, fault.rule, value=fault.step, threshold=f"{attempts} attempts",
                        detail=fault.detail[:_DETAIL])  # fmt: skip
        rows.append((case_id, {**row, "candidate": wanted[name].number, "label_seen": not wanted[name].blind}))
    return rows
