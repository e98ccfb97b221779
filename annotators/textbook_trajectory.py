"""How a textbook narrative gets from findings to diagnosis: straight, keeping it against a rival, or giving up another.

A direct text argues the look-alike that must not be missed and one more. A kept text weighs its closest rival from both
sides. A revised text begins with a rival: a neighbour of the diagnosis in the graph of differentials, chosen because
the reported facts make it plausible and, where they can, also tell the two apart. That first impression is made up by
an author who knew the diagnosis, so the text says so and its row is marked; what makes it plausible and what turns it
are the same reported facts and general knowledge as everywhere else.
"""

from __future__ import annotations

from annotators.textbook_differential import argued_back, possible
from annotators.textbook_facts import Fact, facts_about, far_fetched
from annotators.textbook_writer import Writer, capital, listed, sentence
from schemas.cards import DifferentialEdge
from schemas.narrative import FirstImpression

#: Nobody thinks first of a disease whose usual ages are further off than this, in years.
_FAR_FROM_AGE = 10


def first_guess(writer: Writer, used: set[str]) -> DifferentialEdge:
    """The look-alike that a revised text begins with: plausible by the reported facts, and told apart by one of them.

    Of equal claims the one whose turn it is is taken. A subtype has the neighbours of its whole disease and a family
    those of its members, since their cards are those, or made of those.
    """
    near = possible(writer)
    start = writer.turn % len(near)
    return max([*near[start:], *near[:start]], key=lambda edge: _claim(writer, edge, used))


def _claim(writer: Writer, edge: DifferentialEdge, used: set[str]) -> tuple[bool, bool, bool]:
    """How good a first guess a look-alike is: not far-fetched, suggested by a fact, and told apart by another."""
    other = writer.cards.get(edge.node_id)
    if other is None:
        return (False, False, False)
    years, ages = writer.fields["age_years"], other.typical_ages
    far = "age" in used and not ages.low - _FAR_FROM_AGE <= years <= ages.high + _FAR_FROM_AGE
    pairs = _compared(writer, edge, used)
    return (
        not far and not far_fetched(writer, edge),
        any(rival.fits for rival, _ in pairs),
        any(own.fits > rival.fits for rival, own in pairs),
    )


def _compared(writer: Writer, edge: DifferentialEdge, used: set[str]) -> list[tuple[Fact, Fact]]:
    """Each reported fact as it bears on the look-alike and on the diagnosis."""
    other = writer.cards.get(edge.node_id)
    if other is None:
        return []
    return list(zip(facts_about(writer, other, used), facts_about(writer, writer.card, used), strict=True))


def first_impression(writer: Writer, edge: DifferentialEdge, used: set[str]) -> FirstImpression:
    """The look-alike of ``edge`` as the first thought, what made it plausible, and what turned it.

    What turns it: reported facts that do not fit it, and what separates the two, as told on the card of each.
    """
    node, pairs, back = writer.taxonomy.node(edge.node_id), _compared(writer, edge, used), argued_back(writer, edge)
    turned = [sentence(edge.discriminator), *([sentence(back.discriminator)] if back else [])]
    turned = [*(_apart(rival, own) for rival, own in pairs if own.fits > rival.fits), *turned]
    plausible = [
        writer.one_of(
            f"It may come to mind first because {edge.argues_for}.",
            f"It suggests itself at first, since {edge.argues_for}.",
        ),
        *(sentence(f"{rival.what} lies {rival.lies}") for rival, _ in pairs if rival.fits),
    ]
    return FirstImpression(
        diagnosis=node.name,
        taxonomy_id=node.id,
        evidence_for=tuple(plausible[: len(turned) + 1]),  # what is given up must not outweigh what is concluded
        turned_by=tuple(turned),
    )


def _apart(rival: Fact, own: Fact) -> str:
    """A reported fact that fits the diagnosis and not the look-alike."""
    return sentence(f"{rival.what} lies {rival.lies} but {own.lies}")


def weighing(writer: Writer, edge: DifferentialEdge, used: set[str]) -> list[str]:
    """The sentences of a rationale that set the look-alike of ``edge`` aside, in the way of the text's kind."""
    rival, name = writer.taxonomy.node(edge.node_id).spoken, writer.name
    if writer.trajectory == "direct":
        missed = ", which must not be missed," if edge.node_id in writer.card.must_not_miss else ""
        return [f"{capital(rival)}{missed} is set apart by this: {edge.discriminator}."]
    why = edge.argues_for
    told = {
        "kept": (
            f"{capital(rival)} comes closest, since {why}; {name} is kept on what separates them",
            f"The strongest rival is {rival}, since {why}; {name} holds against it by this",
        ),
        "revised": (
            f"{capital(rival)} was the first thought, since {why}; it gives way to {name} on what separates them",
            f"What began as {rival}, since {why}, is revised to {name} by this",
        ),
    }[writer.trajectory]
    alike = [own.what for other, own in _compared(writer, edge, used) if other.fits and own.fits]
    s = "s" * (len(alike) == 1)
    shared = f"{capital(listed(alike))} fit{s} {rival} and {name} alike and decide{s} nothing." if alike else ""
    return [f"{writer.one_of(*told)}: {edge.discriminator}.", *([shared] if shared else [])]


def construction(writer: Writer, edge: DifferentialEdge) -> str:
    """The limitation that tells a reader that the first impression was put in."""
    rival, site, years = writer.taxonomy.node(edge.node_id).spoken, writer.fields["site"], writer.fields["age_years"]
    where = f" for the reported site ({site})" if site else f" at a reported age of {years:g} years" if years else ""
    return writer.one_of(
        f"The first impression of {rival}{where} is constructed, to show how it would be revised to {writer.name}.",
        f"No reader is known to have thought of {rival} first{where}; that step is constructed to show a revision.",
    )
