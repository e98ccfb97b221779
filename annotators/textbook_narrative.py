"""How the textbook teacher writes one candidate: reported facts, typical features, look-alikes weighed, a conclusion.

Metadata is phrased as reported, card content as typical of the disease, nothing as seen. Candidates differ in
substance, by the lens they reason through: from morphology (features first, the classic look-alike argued), from the
reported facts (facts first, the look-alikes that fit this age and site best), or by exclusion (dangers first, the
diagnosis last). Each lens supports the diagnosis with other features. The trajectory says how the diagnosis is reached
(:mod:`annotators.textbook_trajectory`) and goes with any lens. Whatever both are, a look-alike that must not be missed
is argued against, and the diagnosis is never finer than the label: of a family the member stays open, and of a subtype
it is said that its features are those of the whole disease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from annotators.case_facts import SYMPTOMS, context_lines, fitzpatrick, size, years
from annotators.textbook_conclusion import conclude
from annotators.textbook_differential import alternatives, weigh_alternative, weigh_favoured
from annotators.textbook_trajectory import construction, first_guess, first_impression
from annotators.textbook_writer import ACTIVITY, LENSES, Writer, active_signs, capital, listed, on_dark_skin
from schemas.cards import KnowledgeCard
from schemas.narrative import Finding, Narrative
from schemas.taxonomy import Taxonomy

_BEHAVIOUR = {
    "benign": "benign",
    "premalignant": "a forerunner of cancer",
    "in_situ": "a cancer still confined to the epidermis",
    "malignant": "malignant",
    "not_neoplastic": "a non-neoplastic disorder",
    "mixed": "of mixed behaviour",
    "indeterminate": "of uncertain behaviour",
}


def compose(
    fields: Mapping[str, Any],
    digest: str,
    candidate: int,
    trajectory: str,
    card: KnowledgeCard,
    taxonomy: Taxonomy,
    cards: Mapping[str, KnowledgeCard],
) -> Narrative:
    """One candidate for a case given as :func:`annotators.case_facts.prompt_fields` and their digest (hex).

    ``trajectory``: a word of :data:`schemas.tables.TRAJECTORIES`; revised becomes kept where no first impression is
    plausible. ``card`` is that of the case's node, of the diagnosis above a subtype, or of another diagnosis to be
    argued instead; the narrative concludes at the label's node when the card covers it, else at the card's.
    """
    offset = int(digest[:8], 16)
    label = fields["node_id"]
    covered = label in taxonomy and taxonomy.on_one_branch(label, card.node_id)
    writer = Writer(
        fields,
        taxonomy.node(label if covered else card.node_id),
        card,
        taxonomy,
        cards,
        lens=LENSES[(offset + candidate) % len(LENSES)],
        trajectory=trajectory,
        turn=offset // len(LENSES) + candidate // len(LENSES),
    )
    reported = _reported(writer)
    if writer.lens == "morphology":  # argues from the look; of the facts only these, and every warning sign
        kept = {"age", "site", "tone", "image", "morphology"}
        kept |= {key for key in ACTIVITY if fields["answers"].get(key) == "yes"}
        reported = {key: value for key, value in reported.items() if key in kept}
    told = [Finding(origin="reported", text=sentence) for _, sentence in reported.values()]
    known = [Finding(origin="typical", text=sentence) for sentence in _typical(writer)]
    used = set(reported)
    favoured = weigh_favoured(writer, used)
    first = first_guess(writer, used) if trajectory == "revised" else None
    if trajectory == "revised" and first is None:  # nobody would think of anything else first
        writer = replace(writer, trajectory="kept")
    edges = alternatives(writer, used, first)
    others = [
        weigh_alternative(writer, edge, used, favoured, at_length=writer.trajectory == "kept" and edge is edges[0])
        for edge in edges
    ]
    last = writer.lens == "exclusion" and trajectory != "direct"
    limits = _limitations(writer, reported)
    return Narrative(
        context_used=tuple(fact for fact, _ in reported.values()),
        first_impression=first_impression(writer, first, used) if first else None,
        findings=tuple([*told, *known] if writer.lens == "history" else [*known, *told]),
        differential=tuple([*others, favoured] if last else [favoured, *others]),
        conclusion=conclude(writer, favoured, first or edges[0], used),
        limitations=(*limits, construction(writer, first)) if first else limits,
        next_step=_next_step(writer, used),
    )


def _reported(writer: Writer) -> dict[str, tuple[str, str]]:
    """What the source reports: topic -> (context line, sentence)."""
    fields = writer.fields
    lines = context_lines(fields)
    said: dict[str, str] = {}
    if "image" in lines:
        said["image"] = f"The image is reported to be {fields['modality']}."
    if "age" in lines:
        age = years(fields["age_years"])
        said["age"] = writer.one_of(f"The reported age is {age}.", f"Age is reported as {age}.")
    if "sex" in lines:
        said["sex"] = f"The reported sex is {fields['sex']}."
    if "site" in lines:
        site = fields["site"]
        said["site"] = writer.one_of(f"The reported site: {site}.", f"Site, as reported: {site}.")
    if "tone" in lines:
        said["tone"] = f"Skin tone is reported as Fitzpatrick type {fitzpatrick(fields)}."
    if "morphology" in lines:
        said["morphology"] = f"Morphology reported for this case: {', '.join(fields['concepts'])}."
    if "size" in lines:
        said["size"] = f"The reported size is {size(fields)}."
    for key, answer in fields["answers"].items():
        said[key] = f"{capital(SYMPTOMS[key])} is reported as {'present' if answer == 'yes' else 'absent'}."
    return {topic: (line, said[topic]) for topic, line in lines.items()}


def _typical(writer: Writer) -> list[str]:
    """Sentences of the card, as typical of the disease; each lens tells another part of it, in another order."""
    card, name = writer.card, writer.name
    ages = f"{card.typical_ages.low} to {card.typical_ages.high} years"
    said: dict[str, str] = {
        "kind": _kind(writer),
        "morphology": writer.one_of(
            f"{capital(name)} typically presents as {card.primary_morphology}.",
            f"The typical presentation of {name} is {card.primary_morphology}.",
        ),
        "colour": f"Typical colour of {name}: {card.colour}.",
        "border": f"Typical border: {card.border}.",
        "surface": f"Typical surface: {card.surface}.",
        "distribution": f"Usual distribution of {name}: {card.distribution}.",
        "ages": f"The usual age range of {name} is {ages}.",
        "red_flags": f"Warning signs in {name} in general are {listed(card.red_flags)}.",
    }
    tone = writer.fields["fitzpatrick"]
    if on_dark_skin(writer):  # the colour that a card gives first is often that of light skin
        said["colour"] = f"Typical look of {name} on dark skin: {card.skin_tones.dark}."
    elif tone:
        looks = {"light": card.skin_tones.light, "dark": card.skin_tones.dark}
        kinds = (["light"] if tone[0] <= 3 else []) + (["dark"] if tone[1] >= 4 else [])
        said["tone"] = " ".join(f"On {kind} skin the typical look is: {looks[kind]}." for kind in kinds)[:600].strip()
    if card.dermoscopy and writer.fields["modality"] == "dermoscopic":
        said["dermoscopy"] = f"Under dermoscopy, {name} typically shows {listed(card.dermoscopy)}."
    order: tuple[str, ...] = {
        "morphology": ("morphology", "colour", "border", "surface", "dermoscopy", "distribution", "tone"),
        "history": ("ages", "distribution", "tone", "colour", "morphology", "surface", "red_flags"),
        "exclusion": ("kind", "red_flags", "border", "colour", "dermoscopy", "distribution", "morphology"),
    }[writer.lens]
    if writer.node.id != card.node_id:  # that the features are those of the whole disease is said whatever the lens
        order = ("kind", *(part for part in order if part != "kind"))
    return [said[part] for part in order if part in said]


def _kind(writer: Writer) -> str:
    """Where the diagnosis stands in the tree, from coarse to fine."""
    node, name = writer.node, writer.name
    if node.id != writer.card.node_id:
        return f"{capital(node.spoken)} is usually held to be a form of {name}, of which the rest is typical."
    path = writer.taxonomy.path(node.id)
    behaviour = _BEHAVIOUR[node.malignancy]
    if len(path) == 1:
        return f"{capital(name)} is typically {behaviour}."
    under = writer.taxonomy.node(path[-2]).spoken
    return f"{capital(name)} is usually classed under {under} and is typically {behaviour}."


def _limitations(writer: Writer, reported: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """What this text cannot know, in words of this case, so that trainers do not learn one phrase by heart."""
    hidden, name, fields = writer.card.photograph_cannot_show, writer.name, writer.fields
    first = writer.turn % len(hidden)
    facts = listed([fact for fact, _ in reported.values()]) or "nothing"
    missing = [topic for topic in ("age", "sex", "site") if not fields["age_years" if topic == "age" else topic]]
    where = f" of the reported site ({fields['site']})" if fields["site"] else ""
    whose = f" at a reported age of {fields['age_years']:g} years" if fields["age_years"] is not None else ""
    texts = [
        f"No feature of this image was inspected; this text on {name} rests on what is reported ({facts}) and on "
        "what is known of the disease.",
        writer.one_of(
            f"For {name}, a photograph{where} leaves open {hidden[first]}.",
            f"In {name}{whose}, a photograph cannot show {hidden[first]}.",
        ),
    ]
    if missing:
        texts.append(f"Not reported for this case, which narrows the reasoning about {name}: {listed(missing)}.")
    elif writer.lens != "history":
        other = hidden[(first + 1) % len(hidden)]
        texts.append(f"Nor does a photograph of {name}{where or whose} tell {other}.")
    return tuple(text[:600].strip() for text in texts)


def _next_step(writer: Writer, used: set[str]) -> str:
    """The usual step of the card, sooner where a warning sign is reported, and what should bring review forward."""
    card, flags = writer.card, writer.card.red_flags
    if card.urgency == "emergency":
        return card.next_step
    first = (writer.turn + LENSES.index(writer.lens)) % len(flags)
    sooner = f"Earlier review for {flags[first]}, or for {flags[(first + 1) % len(flags)]}."
    active = active_signs(writer, used)
    if active and writer.node.malignancy not in ("malignant", "in_situ", "not_neoplastic") and card.urgency != "urgent":
        told = "is" if len(active) == 1 else "are"
        first_of_all = (
            f"Since {listed(active)} {told} reported, refer for dermoscopy and possible biopsy within two weeks."
        )
        return f"{first_of_all} Otherwise: {card.next_step} {sooner}"[:600].strip()
    return f"{card.next_step} {sooner}"
