"""How a textbook narrative gets from findings to diagnosis: straight, keeping it against a rival, or giving up another.

A direct text argues the look-alike that must not be missed and one more. A kept text weighs one rival at length, with
its picture and its own card's side. A revised text begins with a neighbour of the diagnosis in the graph of
differentials that the reported facts make plausible. That first impression is made up by an author who knew the
diagnosis, so the text says so and its row is marked; what makes it plausible and what turns it are the same reported
facts and general knowledge as everywhere else.
"""

from __future__ import annotations

from annotators.textbook_differential import argued_back
from annotators.textbook_facts import Fact, facts_about, far_fetched, impossible
from annotators.textbook_writer import Writer, active_signs, capital, listed, sentence
from schemas.cards import DifferentialEdge
from schemas.narrative import FirstImpression

#: Of so many plausible first thoughts, the closest ones, one is taken.
_NEAREST = 5
#: A reported age this near to a disease's usual ages, in years, tells nothing apart.
_NEAR_AGE = 5
_CANCER = ("malignant", "in_situ")


def first_guess(writer: Writer, used: set[str]) -> DifferentialEdge | None:
    """The look-alike that a revised text begins with, one of the closest plausible ones; None where there is none.

    Plausible is what fits the reported age (or, without one, the site), is not argued from another part of the body,
    and is not graver than the diagnosis: giving up what must not be missed, on what is reported, would teach to miss
    it. A subtype has the neighbours of its whole disease and a family those of its members: their cards are made so.
    """
    near = [edge for edge in writer.card.differentials if _plausible(writer, edge, used)][:_NEAREST]
    return near[writer.turn % len(near)] if near else None


def _plausible(writer: Writer, edge: DifferentialEdge, used: set[str]) -> bool:
    if impossible(writer, edge) or far_fetched(writer, edge) or _graver(writer, edge):
        return False
    return all(rival.fits for rival, _ in _compared(writer, edge, used)[:1])


def _graver(writer: Writer, edge: DifferentialEdge) -> bool:
    """Whether to miss the look-alike would be worse than to miss the diagnosis."""
    cancer = writer.taxonomy.node(edge.node_id).malignancy in _CANCER and writer.node.malignancy not in _CANCER
    return cancer or edge.node_id in writer.card.must_not_miss


def _compared(writer: Writer, edge: DifferentialEdge, used: set[str]) -> list[tuple[Fact, Fact]]:
    """Each reported fact as it bears on the look-alike and on the diagnosis."""
    other = writer.cards.get(edge.node_id)
    if other is None:
        return []
    return list(zip(facts_about(writer, other, used), facts_about(writer, writer.card, used), strict=True))


def first_impression(writer: Writer, edge: DifferentialEdge, used: set[str]) -> FirstImpression:
    """The look-alike of ``edge`` as the first thought, what made it plausible, and what turned it.

    What turns it: reported facts that tell the two apart, and what separates them, as told on the card of each.
    """
    node = writer.taxonomy.node(edge.node_id)
    turned = [*_apart(writer, edge, used), sentence(edge.discriminator), *argued_back(writer, edge)]
    plausible = [
        writer.one_of(
            f"It may come to mind first because {edge.argues_for}.",
            f"It suggests itself at first, since {edge.argues_for}.",
        ),
        *(sentence(f"{rival.what} lies {rival.lies}") for rival, _ in _compared(writer, edge, used) if rival.fits),
    ]
    return FirstImpression(
        diagnosis=node.name,
        taxonomy_id=node.id,
        evidence_for=tuple(plausible[: len(turned) + 1]),  # what is given up must not outweigh what is concluded
        turned_by=tuple(turned),
    )


def _apart(writer: Writer, edge: DifferentialEdge, used: set[str]) -> list[str]:
    """The reported facts that speak for the diagnosis rather than the look-alike; none ever sets aside a graver one."""
    if _graver(writer, edge):
        return []
    name, rival = writer.node.spoken, writer.taxonomy.node(edge.node_id)
    told = [
        sentence(f"{other.what} lies {other.lies} but {own.lies}")
        for other, own in _compared(writer, edge, used)
        if own.fits and not other.fits and other.years_off > _NEAR_AGE
    ]
    signs = active_signs(writer, used)
    if signs and writer.node.malignancy in (*_CANCER, "premalignant") and rival.malignancy == "benign":
        which = "is reported, a warning sign" if len(signs) == 1 else "are reported, warning signs"
        told.append(sentence(f"{listed(signs)} {which} for which {name} is weighed before {rival.spoken}"))
    return told


def weighing(writer: Writer, edge: DifferentialEdge, used: set[str]) -> list[str]:
    """The sentences of a rationale that set the look-alike of ``edge`` aside, in the way of the text's kind."""
    rival, name, why = writer.taxonomy.node(edge.node_id).spoken, writer.node.spoken, edge.argues_for
    if writer.trajectory == "direct":
        missed = ", which must not be missed," if edge.node_id in writer.card.must_not_miss else ""
        return [f"{capital(rival)}{missed} is set apart by this: {edge.discriminator}."]
    told = {
        "kept": (
            f"The rival to weigh is {rival}, since {why}; {name} is kept on what separates them",
            f"{capital(rival)} is weighed against it, since {why}; {name} holds by this",
        ),
        "revised": (
            f"{capital(rival)} was the first thought, since {why}; it gives way to {name} on what separates them",
            f"First taken for {rival}, since {why}, the case is revised to {name} by what separates them",
        ),
    }[writer.trajectory]
    alike = [own.what for other, own in _compared(writer, edge, used) if other.fits and own.fits]
    s = "s" * (len(alike) == 1)
    shared = (
        [f"{capital(listed(alike))} fit{s} {rival} and {writer.name} alike and decide{s} nothing."] if alike else []
    )
    return [f"{writer.one_of(*told)}: {edge.discriminator}.", *_apart(writer, edge, used), *shared]


def construction(writer: Writer, edge: DifferentialEdge) -> str:
    """The limitation that tells a reader that the first impression was put in."""
    rival, site, years = writer.taxonomy.node(edge.node_id).spoken, writer.fields["site"], writer.fields["age_years"]
    where = f" for the reported site ({site})" if site else f" at a reported age of {years:g} years" if years else ""
    return writer.one_of(
        f"The first impression of {rival}{where} is constructed, to show its revision to {writer.node.spoken}.",
        f"No reader is known to have thought of {rival} first{where}; that step is constructed to show a revision.",
    )
