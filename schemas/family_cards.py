"""What is typical of a family or group, put together from the cards of its members.

Public labels are often no finer than a family ("benign vascular proliferation"), and nobody should write a second,
vaguer text for it that can drift from the members' own. A made-up card says whose feature each feature is, keeps the
dangers of its members, and names as first limitation that the member stays open. Very broad groups get none: what holds
for half of dermatology argues nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

from schemas.cards import AgeRange, DifferentialEdge, KnowledgeCard, SkinTones, load_cards
from schemas.taxonomy import Node, Taxonomy, load_taxonomy

#: A group with more carded members than this is too broad to be argued.
MOST_MEMBERS = 24
_SPOKEN = 3
_MOST_EDGES = 6
_LONGEST = 300
_URGENCIES = ("emergency", "urgent", "soon", "routine")
_PLAN = {
    "emergency": "Send to hospital the same day to have the member of this group named, because it includes {worst}.",
    "urgent": "Refer urgently to dermatology for biopsy and an exact diagnosis, because this group includes {worst}.",
    "soon": "Refer to dermatology within weeks for an exact diagnosis, which decides what {worst} and the others need.",
    "routine": "Have dermatology name the member of this group at a routine visit, {worst} being among them.",
}


@cache
def knowledge() -> Mapping[str, KnowledgeCard]:
    """Every card that ships with this package, and those of families made from them."""
    return with_families(load_cards(), load_taxonomy())


def with_families(cards: Mapping[str, KnowledgeCard], taxonomy: Taxonomy) -> Mapping[str, KnowledgeCard]:
    """``cards`` and one for every group or family without its own whose members can be told apart from something."""
    members: dict[str, list[str]] = {}
    for node_id in cards:
        for ancestor in taxonomy.path(node_id)[:-1]:
            if ancestor not in cards and taxonomy.node(ancestor).level in ("group", "family"):
                members.setdefault(ancestor, []).append(node_id)
    known = Counter(edge.node_id for card in cards.values() for edge in card.differentials)
    made = {}
    for node_id, below in members.items():
        ranked = sorted(below, key=lambda member: (-known[member], member))
        if len(below) <= MOST_MEMBERS and (card := _card(taxonomy.node(node_id), ranked, cards, taxonomy)):
            made[node_id] = card
    return MappingProxyType(dict(sorted({**cards, **made}.items())))


def _card(
    node: Node, members: Sequence[str], cards: Mapping[str, KnowledgeCard], taxonomy: Taxonomy
) -> KnowledgeCard | None:
    """The card of ``node`` from its ``members``, best known first; None when nothing outside it can be argued."""
    own = [cards[member] for member in members]
    first = own[:_SPOKEN]
    names = [_name(taxonomy, card.node_id) for card in first]
    edges = _edges(node, own, taxonomy)
    if len(edges) < 2:
        return None
    worst = min(own, key=lambda card: _URGENCIES.index(card.urgency))
    dangers = {danger for card in own for danger in card.must_not_miss}
    must_not_miss = tuple(edge.node_id for edge in edges if edge.node_id in dangers)
    if not must_not_miss and worst.urgency not in ("emergency", "urgent"):
        must_not_miss = (edges[0].node_id,)

    def told(texts: Sequence[str]) -> str:
        parts = [f"{text} ({name})" for text, name in zip(texts, names, strict=True)]
        while len(parts) > 1 and len("; ".join(parts)) > _LONGEST:
            parts.pop()
        return "; ".join(parts)

    hidden = tuple(dict.fromkeys(text for card in first for text in card.photograph_cannot_show[:1]))
    return KnowledgeCard(
        node_id=node.id,
        primary_morphology=told([card.primary_morphology for card in first]),
        colour=told([card.colour for card in first]),
        border=told([card.border for card in first]),
        surface=told([card.surface for card in first]),
        distribution=told([card.distribution for card in first]),
        typical_sites=tuple(dict.fromkeys(site for card in own for site in card.typical_sites)),
        typical_ages=AgeRange(
            low=min(card.typical_ages.low for card in own), high=max(card.typical_ages.high for card in own)
        ),
        skin_tones=SkinTones(
            light=told([card.skin_tones.light for card in first]), dark=told([card.skin_tones.dark for card in first])
        ),
        dermoscopy=tuple(
            f"{card.dermoscopy[0]} ({name})" for card, name in zip(first, names, strict=True) if card.dermoscopy
        ),
        differentials=tuple(edges),
        red_flags=tuple(dict.fromkeys(flag for card in [worst, *first] for flag in card.red_flags[:2])),
        urgency=worst.urgency,
        must_not_miss=must_not_miss,
        next_step=_PLAN[worst.urgency].format(worst=_name(taxonomy, worst.node_id)),
        photograph_cannot_show=(f"which member of the group it is, such as {' or '.join(names)}", *hidden),
    )


def _edges(node: Node, own: Sequence[KnowledgeCard], taxonomy: Taxonomy) -> list[DifferentialEdge]:
    """What the members are mistaken for outside their group: dangers first, then as the members rank them."""
    found: dict[str, tuple[bool, DifferentialEdge]] = {}
    for rank in range(_MOST_EDGES):
        for card in own:
            if rank < len(card.differentials):
                edge = card.differentials[rank]
                if not taxonomy.on_one_branch(edge.node_id, node.id):
                    found.setdefault(edge.node_id, (edge.node_id in card.must_not_miss, edge))
    ranked = sorted(found.values(), key=lambda entry: not entry[0])
    return [edge for _, edge in ranked[:_MOST_EDGES]]


def _name(taxonomy: Taxonomy, node_id: str) -> str:
    return taxonomy.node(node_id).spoken
