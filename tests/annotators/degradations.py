"""Narratives made worse on purpose, one fault at a time, and what that does to each dimension's score.

A fault belongs to the dimension that a dermatologist would take points off for it. Each function changes the record of
a narrative (``Narrative.model_dump``) and nothing else about the case, or returns None where the fault cannot be made.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from annotators.case_facts import prompt_fields
from annotators.rubric import evaluate
from annotators.textbook_narrative import compose
from schemas.cards import KnowledgeCard, card_for
from schemas.config import Thresholds
from schemas.narrative import Narrative, narrative_from_json, narrative_to_json
from schemas.tables import DIMENSIONS
from schemas.taxonomy import Taxonomy

Record = dict[str, Any]
Fault = Callable[[Record], Record | None]


def _next_step(text: str) -> Fault:
    return lambda record: record | {"next_step": text}


def _reassured(record: Record) -> Record:
    return record | {"next_step": f"{record['next_step'][:500]} All of this is harmless and needs no further review."}


def _added(text: str) -> Fault:
    return lambda record: record | {"findings": [*record["findings"][:23], {"origin": "reported", "text": text}]}


def _one_alternative(record: Record) -> Record | None:
    """Only one look-alike is left, the one that must not be missed where there is one, or the first impression."""
    concluded = record["conclusion"]["taxonomy_id"]
    others = [entry for entry in record["differential"] if entry["taxonomy_id"] != concluded]
    if record["first_impression"] is not None:
        others.insert(0, record["first_impression"])
    if len(others) < 2:
        return None
    kept = next((entry for entry in others if entry["taxonomy_id"] in record["must_not_miss"]), others[0])
    if record["first_impression"] is not kept:
        record = record | {"first_impression": None}
    return record | {"differential": [e for e in record["differential"] if e is kept or e["taxonomy_id"] == concluded]}


def _findings_removed(record: Record) -> Record | None:
    """Reported facts and the first statement about the look are left."""
    typical = [finding for finding in record["findings"] if finding["origin"] == "typical"]
    first = next((finding for finding in typical if re.search("present", finding["text"])), None)
    if first is None:
        return None
    return record | {"findings": [f for f in record["findings"] if f["origin"] != "typical" or f is first]}


def _shuffled(record: Record) -> Record | None:
    """Each diagnosis gets the evidence of the next one."""
    entries = record["differential"]
    if len(entries) < 2:
        return None
    moved = [*entries[1:], entries[0]]
    taken = [
        entry | {"evidence_for": other["evidence_for"], "evidence_against": other["evidence_against"]}
        for entry, other in zip(entries, moved, strict=True)
    ]
    return record | {"differential": taken}


def _weighed(record: Record) -> list[Record]:
    """What is weighed, a first impression first, as entries of a differential."""
    entries = [dict(entry) for entry in record["differential"]]
    if record["first_impression"] is not None:
        first = dict(record["first_impression"])
        first["evidence_against"] = first.pop("turned_by")
        entries.insert(0, first)
    return entries


def _weighing(record: Record, entries: list[Record]) -> Record:
    """The record with what :func:`_weighed` gave, changed."""
    if record["first_impression"] is None:
        return record | {"differential": entries}
    first = dict(entries[0])
    first["turned_by"] = first.pop("evidence_against")
    return record | {"first_impression": first, "differential": entries[1:]}


def _turned_round(record: Record) -> Record:
    """What spoke for a diagnosis speaks against it, and the other way round."""
    turned = [
        entry | {"evidence_for": entry["evidence_against"], "evidence_against": entry["evidence_for"]}
        for entry in _weighed(record)
    ]
    return _weighing(record, turned)


def _vague(record: Record) -> Record:
    """Every description keeps its topic and loses its terms."""

    def blurred(finding: dict[str, str]) -> dict[str, str]:
        text = finding["text"]
        for pattern, instead in (
            (r"(typically presents as ).*", r"\1some kind of spot."),
            (r"(The typical presentation of .*? is ).*", r"\1some kind of spot."),
            (r"(On \w+ skin the typical look is: ).*", r"\1a bit odd."),
            (r"(Typical (?:colour|border|surface)[^:]*: ).*", r"\1something unusual."),
            (r"(Under dermoscopy, .*? typically shows ).*", r"\1something odd."),
        ):
            text = re.sub(pattern, instead, text)
        return finding | {"text": text}

    return record | {"findings": [blurred(finding) for finding in record["findings"]]}


def _dealt(record: Record) -> Record | None:
    """All evidence is pooled and dealt out again at random; each place keeps its number of lines."""
    entries = copy.deepcopy(_weighed(record))
    kinds = ("evidence_for", "evidence_against")
    pool = [text for entry in entries for kind in kinds for text in entry[kind]]
    random.Random(pool[0]).shuffle(pool)
    for entry in entries:
        for kind in kinds:
            entry[kind] = [pool.pop() for _ in entry[kind]]
    return _weighing(record, entries) if len(entries) > 1 else None


def _doubted(record: Record) -> Record:
    """Three objections to what is concluded are left standing."""
    concluded = record["conclusion"]["taxonomy_id"]
    doubts = ["The colour does not fit it.", "The border argues against it.", "Its usual surface is not described."]
    return record | {
        "differential": [
            entry | {"evidence_against": [*entry["evidence_against"], *doubts][:8]}
            if entry["taxonomy_id"] == concluded
            else entry
            for entry in record["differential"]
        ]
    }


def _revision_unexplained(record: Record) -> Record | None:
    """The first impression is given up for no reason."""
    first = record["first_impression"]
    return first and record | {"first_impression": first | {"turned_by": ["It was then reconsidered."]}}


#: fault -> (the dimension it belongs to, how it is made). ``another diagnosis`` needs the teacher: :func:`pairs`.
FAULTS: Mapping[str, tuple[str, Fault | None]] = {
    "another diagnosis, argued throughout": ("accuracy", None),
    "escalation missing": (
        "safety",
        _next_step("Photograph the area at home and keep a diary of its look, with an earlier visit if it changes."),
    ),
    "false reassurance": ("safety", _reassured),
    "palpation invented": ("medical_groundedness", _added("On palpation the lesion feels firm and indurated.")),
    "histology invented": ("medical_groundedness", _added("The biopsy of this lesion showed atypical cells.")),
    "history invented": ("medical_groundedness", _added("The patient has a family history of cancer for years.")),
    "differential removed": ("clinical_coverage", _one_alternative),
    "findings removed": ("clinical_coverage", _findings_removed),
    "evidence shuffled between diagnoses": ("reasoning_coherence", _shuffled),
    "evidence turned against the conclusion": ("reasoning_coherence", _turned_round),
    "evidence dealt out at random": ("reasoning_coherence", _dealt),
    "objections left standing": ("reasoning_coherence", _doubted),
    "findings of a look-alike": ("reasoning_coherence", None),
    "revision unexplained": ("reasoning_coherence", _revision_unexplained),
    "vague wording": ("description_precision", _vague),
}
#: Faults that are none for a harmless diagnosis.
_SERIOUS_ONLY = {"escalation missing"}


@dataclass(frozen=True)
class Outcome:
    """What one fault did over ``n`` pairs: how often its own dimension fell by 0.5 or more, how often
    the default thresholds refuse the result, and how often each other dimension stayed within 0.5."""

    fault: str
    dimension: str
    n: int
    fell: float
    mean_fall: float
    refused: float
    stayed: Mapping[str, float]


def study(
    parsed: pl.DataFrame, cases: pl.DataFrame, taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]
) -> Iterator[Outcome]:
    """Degrade every narrative of ``parsed`` (standardised rows about ``cases``) by every fault, and score the pairs."""
    before = {row["narrative_id"]: row for row in evaluate(parsed, cases, taxonomy, cards).kept.iter_rows(named=True)}
    limits = Thresholds().model_dump()
    for fault, (dimension, _) in FAULTS.items():
        worse = pl.DataFrame(list(_degraded(fault, parsed, cases, taxonomy, cards)), schema=parsed.schema)
        if worse.is_empty():  # no text here can have this fault
            continue
        after = evaluate(worse, cases, taxonomy, cards).kept
        falls = {name: [before[r["narrative_id"]][name] - r[name] for r in after.iter_rows(named=True)]
                 for name in DIMENSIONS}  # fmt: skip
        own = falls.pop(dimension)
        stayed = {name: sum(abs(fall) <= 0.5 + 1e-9 for fall in values) / len(values) for name, values in falls.items()}
        fell = sum(fall >= 0.5 - 1e-9 for fall in own) / len(own)
        passing = after.select(pl.all_horizontal(pl.col(name) >= limits[name] for name in DIMENSIONS)).to_series()
        yield Outcome(fault, dimension, len(own), fell, sum(own) / len(own), 1 - passing.sum() / len(own), stayed)


def _degraded(
    fault: str, parsed: pl.DataFrame, cases: pl.DataFrame, taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]
) -> Iterator[dict[str, Any]]:
    by_id = {row["case_id"]: row for row in cases.iter_rows(named=True)}
    change = FAULTS[fault][1]
    for row in parsed.iter_rows(named=True):
        case = by_id[row["case_id"]]
        card = card_for(case["node_id"], taxonomy, cards)
        assert card is not None
        serious = card.urgency in ("emergency", "urgent") or taxonomy.node(card.node_id).malignancy == "malignant"
        if fault in _SERIOUS_ONLY and not serious:
            continue
        if fault == "findings of a look-alike":
            text = _look_of_another(case, row, card, taxonomy, cards)
        elif change is None:
            text = _for_another(case, row, card, taxonomy, cards)
        else:
            record = narrative_from_json(row["narrative_json"]).model_dump(mode="json")
            changed = change(copy.deepcopy(record) | {"must_not_miss": card.must_not_miss})
            text = None if changed is None else _json(changed)
        if text is not None:
            yield row | {"narrative_json": text}


def _json(record: Record) -> str:
    record.pop("must_not_miss", None)
    return narrative_to_json(Narrative.model_validate(record))


def _for_another(
    case: Mapping[str, Any], row: Mapping[str, Any], card: KnowledgeCard, taxonomy: Taxonomy,
    cards: Mapping[str, KnowledgeCard],
) -> str | None:  # fmt: skip
    """The narrative that the teacher would write of a diagnosis of the same gravity that the case does not have."""
    kind = (card.urgency, taxonomy.node(card.node_id).malignancy)
    rivals = [
        node
        for node, other in cards.items()
        if (other.urgency, taxonomy.node(node).malignancy) == kind
        and not taxonomy.on_one_branch(node, case["node_id"])
        and taxonomy.node(node).level == taxonomy.node(card.node_id).level
    ]
    if not rivals:
        return None
    near = [edge.node_id for edge in card.differentials if edge.node_id in rivals]
    other = cards[(near or rivals)[0]]
    return narrative_to_json(
        compose(prompt_fields(case), row["prompt_digest"], row["candidate"], row["trajectory"], other, taxonomy, cards)
    )


def _look_of_another(
    case: Mapping[str, Any], row: Mapping[str, Any], card: KnowledgeCard, taxonomy: Taxonomy,
    cards: Mapping[str, KnowledgeCard],
) -> str | None:  # fmt: skip
    """The same narrative with the typical findings of a diagnosis that it argues against."""
    narrative = narrative_from_json(row["narrative_json"])
    rivals = [entry.taxonomy_id for entry in narrative.weighed if entry.taxonomy_id in cards]
    rivals = [node for node in rivals if node != card.node_id]
    if not rivals:
        return None
    fields, written = prompt_fields(case), (row["prompt_digest"], row["candidate"], row["trajectory"])
    other = compose(fields, *written, cards[rivals[0]], taxonomy, cards)
    looks = [finding for finding in other.findings if finding.origin == "typical"]
    findings = [finding for finding in narrative.findings if finding.origin != "typical"] + looks
    return narrative_to_json(narrative.model_copy(update={"findings": tuple(findings)}))
