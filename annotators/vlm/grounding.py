"""What a grounded author is told of the diagnosis: its knowledge card, as general statements.

They are said to be typical, never of this image, so that an author who repeats one unseen is caught as post hoc.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.cards import KnowledgeCard, card_for
from schemas.taxonomy import Taxonomy


def grounding(case: Mapping[str, Any], taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]) -> list[str]:
    """Lines about the diagnosis of ``case`` (``node_id``, ``modality``) and its look-alikes; none without a card."""
    card = card_for(case["node_id"], taxonomy, cards)
    if card is None:
        return ["- there is no card; argue from what you see"]
    told = [
        f"- typical form: {card.primary_morphology}",
        f"- typical colour: {card.colour}; on dark skin: {card.skin_tones.dark}",
        f"- typical border: {card.border}",
        f"- typical surface: {card.surface}",
        f"- usual distribution: {card.distribution}",
    ]
    if case["modality"] != "clinical":
        told += [f"- under the dermatoscope: {structure}" for structure in card.dermoscopy]
    for edge in card.differentials:
        rival = taxonomy.node(edge.node_id).name
        weight = " (must not be missed)" if edge.node_id in card.must_not_miss else ""
        told.append(f"- {rival}{weight}: comes to mind for {edge.argues_for}; {edge.discriminator}")
    told += [f"- a photograph cannot show {hidden}" for hidden in card.photograph_cannot_show]
    return [*told, f"- usual next step: {card.next_step}"]
