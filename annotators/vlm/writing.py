"""The third step: the reasoning in the standard layout, as JSON of a schema, and from it the Narrative.

A model writes names and sentences; ids, malignancy and certainty are looked up, since nobody may guess them. Names come
from a closed list, which is the label's look-alikes where the label is known and every diagnosis with a card where it
is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from annotators.engines.protocol import Completion
from annotators.vlm.asking import UnusableError
from annotators.vlm.observation import Observation, fields, line, list_of, one_of
from quality.checks import check_narrative
from schemas.cards import KnowledgeCard, card_for
from schemas.narrative import Narrative
from schemas.taxonomy import Taxonomy
from schemas.visible_findings import OTHER, concepts

_MOST = {"findings": 8, "differential": 5, "evidence": 3, "limitations": 3}
_LINE = 240
#: Rules of :mod:`quality.checks` that make an answer unusable: nobody who had seen only a photograph could say this.
_BEYOND = ("photograph_cannot_show",)


@dataclass(frozen=True)
class Written:
    """A narrative, and the findings of it that the blind observation lacks, by their text."""

    narrative: Narrative
    post_hoc: tuple[str, ...]


def names(label: str | None, taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]) -> dict[str, str]:
    """Name -> node of what may be weighed: a label and its look-alikes, or everything that has a card."""
    card = None if label is None else card_for(label, taxonomy, cards)
    nodes = sorted(cards)
    if label is not None and card is not None:
        nodes = [label, *(e.node_id for e in card.differentials if not taxonomy.on_one_branch(e.node_id, label))]
    elif label is not None:
        nodes = [label, *(node for node in nodes if not taxonomy.on_one_branch(node, label))]
    return {taxonomy.node(node).name: node for node in nodes}


def narrative_schema(known: Mapping[str, str], *, blind: bool) -> dict[str, Any]:
    """What a writer may answer; ``known``: the names of :func:`names`."""
    diagnosis = one_of(*known)
    evidence = list_of(line(_LINE), _MOST["evidence"])
    told = {
        "findings": list_of(fields(concept=one_of(*concepts()), text=line(_LINE)), _MOST["findings"], 1),
        "differential": list_of(
            fields(diagnosis=diagnosis, evidence_for=evidence, evidence_against=evidence), _MOST["differential"], 2
        ),
        **({"diagnosis": diagnosis} if blind else {}),
        "rationale": line(2 * _LINE),
        "limitations": list_of(line(_LINE), _MOST["limitations"], 1),
        "next_step": line(2 * _LINE),
    }
    return fields(**told)


def read_narrative(
    completion: Completion,
    known: Mapping[str, str],
    label: str | None,
    certainty: str,
    context: tuple[str, ...],
    observation: Observation,
    taxonomy: Taxonomy,
) -> Written:
    """The narrative of an answer of :func:`narrative_schema`.

    ``label``: the node it is to conclude at, None where it was written blind. Raises :class:`UnusableError`:
    ``schema`` or ``photograph_cannot_show``.
    """
    told = json.loads(completion.text)
    node = taxonomy.node(known[told["diagnosis"]] if label is None else label)
    try:
        narrative = Narrative.model_validate(
            {
                "context_used": context,
                "findings": [{"origin": "image", "text": finding["text"]} for finding in told["findings"]],
                "differential": [{**e, "taxonomy_id": known[e["diagnosis"]]} for e in told["differential"]],
                "conclusion": {
                    "diagnosis": node.name,
                    "taxonomy_id": node.id,
                    "malignancy": node.malignancy,
                    "certainty": certainty,
                    "rationale": told["rationale"],
                },
                "limitations": told["limitations"],
                "next_step": told["next_step"],
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UnusableError("schema", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for fault in check_narrative(narrative, certainty):
        if fault.rule in _BEYOND:
            raise UnusableError(fault.rule, f"{fault.sentence} ({fault.detail})")
    seen = observation.concepts - {OTHER}
    return Written(narrative, tuple(f["text"] for f in told["findings"] if f["concept"] not in seen))
