"""Which look-alikes a textbook narrative argues, and what speaks for and against each diagnosis.

Among the look-alikes are always the classic one and one that must not be missed, where the card names any; the others
turn from case to case, or are those that fit the reported age and site best. What speaks against the diagnosis itself
is kept and answered by further features, so that the reasons alone single out what is concluded.
"""

from __future__ import annotations

from annotators.textbook_writer import Writer, active_signs, listed, on_dark_skin, sentence
from schemas.cards import SITE_REGION, DifferentialEdge, KnowledgeCard
from schemas.narrative import Differential

#: Cards name the clinically closest look-alikes first; of the later, rarer ones only what must not be missed is argued.
LEADING = 6
ARGUED = 3
_ACTIVE = ("malignant", "in_situ", "premalignant")


def alternatives(writer: Writer, used: set[str]) -> list[DifferentialEdge]:
    """The look-alikes argued, in order; among them always one that must not be missed, where the card names any."""
    card = writer.card
    edges = [edge for at, edge in enumerate(card.differentials) if at < LEADING or edge.node_id in card.must_not_miss]
    edges = [edge for edge in edges if not _impossible(writer, edge)] or edges
    classic, rest = edges[0], edges[1:]  # the first look-alike of a card is its classic one
    start = writer.turn % max(1, len(rest))
    turned = [classic, *rest[start:], *rest[:start]]
    if writer.lens == "exclusion":
        turned.sort(key=lambda edge: edge.node_id not in card.must_not_miss)
    elif writer.lens == "history":
        turned.sort(key=lambda edge: _misfits(writer, edge, used))
    chosen = turned[:ARGUED]
    danger = [edge for edge in turned if edge.node_id in card.must_not_miss]
    if danger and not any(edge in danger for edge in chosen):
        chosen[-1] = danger[0]
    return chosen


def _impossible(writer: Writer, edge: DifferentialEdge) -> bool:
    """Whether a look-alike is a disease of pregnancy in somebody who is reported to be a man, a child or old."""
    other = writer.cards.get(edge.node_id)
    if other is None or "pregnan" not in other.primary_morphology:
        return False
    years = writer.fields["age_years"]
    return writer.fields["sex"] == "male" or (years is not None and not 12 <= years <= 55)


def _misfits(writer: Writer, edge: DifferentialEdge, used: set[str]) -> int:
    other = writer.cards.get(edge.node_id)
    return len(_fit(writer, other, used)[1]) if other else 1


def _fit(writer: Writer, card: KnowledgeCard, used: set[str]) -> tuple[list[str], list[str]]:
    """What the reported facts in ``used`` say for and against the disease of ``card``."""
    fields = writer.fields
    points: list[tuple[bool, str]] = []
    if "age" in used:
        years, low, high = fields["age_years"], card.typical_ages.low, card.typical_ages.high
        fits = low <= years <= high
        where = f"{'inside' if fits else 'outside'} its usual range of {low} to {high} years"
        points.append((fits, f"the reported age of {years:g} years lies {where}"))
    region = SITE_REGION.get((fields["site"] or "").casefold())
    if "site" in used and region:
        fits = region in card.typical_sites
        where = "belongs to a region where it occurs" if fits else "lies outside the regions where it usually occurs"
        points.append((fits, f"the reported site ({fields['site']}) {where}"))
    active = active_signs(writer, used)
    if active and writer.taxonomy.node(card.node_id).malignancy in _ACTIVE:
        points.append((True, f"{listed(active)} reported: an active lesion is expected of it"))
    return [sentence(text) for fits, text in points if fits], [sentence(text) for fits, text in points if not fits]


def weigh_favoured(writer: Writer, used: set[str]) -> Differential:
    """The diagnosis itself, with the support of this lens and what of the facts speaks for and against it."""
    card = writer.card
    fits, misfits = _fit(writer, card, used)
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
    # What speaks against it is answered by further features; the reasons must single out what is concluded.
    return Differential(
        diagnosis=writer.node.name,
        taxonomy_id=writer.node.id,
        evidence_for=tuple([*fits, *support[: 2 + len(misfits)]])[:8],
        evidence_against=tuple(misfits),
    )


def weigh_alternative(writer: Writer, edge: DifferentialEdge, used: set[str], favoured: Differential) -> Differential:
    """A look-alike, with why it comes to mind and what separates it."""
    other = writer.cards.get(edge.node_id)
    fits, misfits = _fit(writer, other, used) if other else ([], [])
    room = len(favoured.evidence_for) - len(favoured.evidence_against) + len(misfits) - 1
    return Differential(
        diagnosis=writer.taxonomy.node(edge.node_id).name,
        taxonomy_id=edge.node_id,
        evidence_for=(f"Considered because {edge.argues_for}.", *fits[: max(0, min(1, room))]),
        evidence_against=(sentence(edge.discriminator), *misfits),
    )
