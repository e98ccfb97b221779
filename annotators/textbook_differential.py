"""Which look-alikes a textbook narrative argues, and what speaks for and against each diagnosis.

Among the look-alikes are always the classic one and one that must not be missed, where the card names any; the others
turn from case to case, or are those that fit the reported age and site best; one whose argument tells of another part
of the body or another age comes last. What speaks against the diagnosis itself is kept and answered by further
features, so that the reasons alone single out what is concluded.
"""

from __future__ import annotations

import re
from functools import lru_cache

from annotators.textbook_facts import facts_about, far_fetched, fit, impossible
from annotators.textbook_writer import Writer, on_dark_skin, sentence
from schemas.cards import DifferentialEdge
from schemas.narrative import Differential

#: Cards name the clinically closest look-alikes first; of the later, rarer ones only what must not be missed is argued.
LEADING = 6
#: Look-alikes argued; a direct text is short, and a revised one has argued its first impression already.
ARGUED = {"direct": 2, "kept": 3, "revised": 2}
#: Two sentences that share more of their words than this say the same.
_SAME = 0.6
_WORD = re.compile(r"[a-z]+")


def possible(writer: Writer) -> list[DifferentialEdge]:
    """The look-alikes that can be argued of this person, clinically closest first, dangers included however late."""
    card = writer.card
    edges = [edge for at, edge in enumerate(card.differentials) if at < LEADING or edge.node_id in card.must_not_miss]
    return [edge for edge in edges if not impossible(writer, edge)] or edges


def alternatives(writer: Writer, used: set[str], first: DifferentialEdge | None) -> list[DifferentialEdge]:
    """The look-alikes argued besides the ``first`` impression, in order; among them or it always one that must not be
    missed, where the card names any."""
    card, n = writer.card, ARGUED[writer.trajectory]
    edges = [edge for edge in possible(writer) if edge is not first]
    classic, rest = edges[0], edges[1:]  # the first look-alike of a card is its classic one
    start = writer.turn % max(1, len(rest))
    turned = [classic, *rest[start:], *rest[:start]]
    if writer.lens == "exclusion" or writer.trajectory == "direct":
        turned.sort(key=lambda edge: (edge.node_id not in card.must_not_miss, far_fetched(writer, edge)))
    else:
        misfits = writer.lens == "history"
        turned.sort(key=lambda edge: (far_fetched(writer, edge), _misfits(writer, edge, used) if misfits else 0))
    chosen = turned[:n]
    danger = [edge for edge in turned if edge.node_id in card.must_not_miss]
    if danger and not any(edge in danger for edge in chosen):
        chosen[-1] = danger[0]
    return chosen


def _misfits(writer: Writer, edge: DifferentialEdge, used: set[str]) -> int:
    other = writer.cards.get(edge.node_id)
    return sum(not fact.fits for fact in facts_about(writer, other, used)) if other else 1


def weigh_favoured(writer: Writer, used: set[str]) -> Differential:
    """The diagnosis itself, with the support of this lens and what of the facts speaks for and against it."""
    card = writer.card
    fits, misfits = fit(writer, card, used)
    features = {
        "surface": f"A surface that would support it: {card.surface}.",
        "border": f"A border that would support it: {card.border}.",
        "colour": f"A colour that would support it: {card.skin_tones.dark if on_dark_skin(writer) else card.colour}.",
        "distribution": f"A distribution that would support it: {card.distribution}.",
    }
    order = {
        "morphology": ("surface", "border", "colour", "distribution"),
        "history": ("distribution", "colour", "surface", "border"),
        "exclusion": ("colour", "border", "surface", "distribution"),
    }[writer.lens]
    support = [f"Its typical picture is {card.primary_morphology}.", *(features[part] for part in order)]
    n = (3 if writer.trajectory == "direct" else 2) + len(misfits)
    # What speaks against it is answered by further features; the reasons must single out what is concluded.
    return Differential(
        diagnosis=writer.node.name,
        taxonomy_id=writer.node.id,
        evidence_for=tuple([*fits, *support[:n]])[:8],
        evidence_against=tuple(misfits),
    )


def weigh_alternative(
    writer: Writer, edge: DifferentialEdge, used: set[str], favoured: Differential, *, at_length: bool
) -> Differential:
    """A look-alike, with why it comes to mind and what separates it; ``at_length`` with its own card's side."""
    other = writer.cards.get(edge.node_id)
    fits, misfits = fit(writer, other, used) if other else ([], [])
    reasons, separators = [f"Considered because {edge.argues_for}."], [sentence(edge.discriminator)]
    if at_length and other:
        reasons.append(f"A picture that would support it: {other.primary_morphology}.")
        separators += argued_back(writer, edge)
    ahead = len(favoured.evidence_for) - len(favoured.evidence_against)
    room = ahead + len(separators) + len(misfits) - len(reasons) - 1
    return Differential(
        diagnosis=writer.taxonomy.node(edge.node_id).name,
        taxonomy_id=edge.node_id,
        evidence_for=(*reasons, *fits[: max(0, min(1, room))]),
        evidence_against=(*separators, *misfits),
    )


def argued_back(writer: Writer, edge: DifferentialEdge) -> list[str]:
    """What separates the two as the look-alike's own card tells it, unless that is the same the other way round."""
    other = writer.cards.get(edge.node_id)
    backs = (back for back in (other.differentials if other else ()) if back.node_id == writer.card.node_id)
    return [sentence(back.discriminator) for back in backs if not _the_same(back.discriminator, edge.discriminator)]


@lru_cache(1 << 12)
def _the_same(one: str, other: str) -> bool:
    words, others = (set(_WORD.findall(text.casefold())) for text in (one, other))
    return len(words & others) > _SAME * len(words | others)
