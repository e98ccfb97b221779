"""How the textbook teacher writes one candidate: reported facts, typical features, look-alikes weighed, a conclusion.

Metadata is phrased as reported, card content as typical of the disease, nothing as seen. Candidates differ in
substance, by the lens they reason through: from morphology (features first, the classic look-alike argued), from the
reported facts (facts first, the look-alikes that fit this age and site best), or by exclusion (dangers first, the
diagnosis last). Each lens supports the diagnosis with other features. Whatever the lens, a look-alike that must not be
missed is argued against, and the diagnosis is never finer than the label: of a family the member stays open, and of a
subtype it is said that its features are those of the whole disease.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from schemas.cards import SITE_REGION, DifferentialEdge, KnowledgeCard
from schemas.narrative import Conclusion, Differential, Finding, Narrative
from schemas.taxonomy import Node, Taxonomy

#: Cards name the clinically closest look-alikes first; of the later, rarer ones only what must not be missed is argued.
LEADING = 6
ARGUED = 3
LENSES = ("morphology", "history", "exclusion")

#: Reported facts that a clinician would be told, and what they are called in a text. Others are left out: they say
#: nothing about the lesion, or they give the diagnosis away.
SYMPTOMS = {
    "itch": "itching",
    "hurt": "pain",
    "grew": "growth",
    "changed": "change",
    "bleed": "bleeding",
    "elevation": "elevation",
    "skin_cancer_history": "history of skin cancer",
    "personal_hx_mm": "personal history of melanoma",
    "family_hx_mm": "family history of melanoma",
}
SIZES = ("clin_size_long_diam_mm", "diameter_1_mm", "diameter_2_mm")
_ACTIVITY = ("grew", "changed", "bleed")
YES_NO = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}
_ACTIVE = ("malignant", "in_situ", "premalignant")
_ROMAN = ("", "I", "II", "III", "IV", "V", "VI")
_BEHAVIOUR = {
    "benign": "benign",
    "premalignant": "a forerunner of cancer",
    "in_situ": "a cancer still confined to the epidermis",
    "malignant": "malignant",
    "not_neoplastic": "a non-neoplastic disorder",
    "mixed": "of mixed behaviour",
    "indeterminate": "of uncertain behaviour",
}
_RATIONALE = 1200


@dataclass(frozen=True)
class _Writer:
    """One candidate in the making: the case's fields, the card and node of its label, and the knowledge around them."""

    fields: Mapping[str, Any]
    node: Node
    card: KnowledgeCard
    taxonomy: Taxonomy
    cards: Mapping[str, KnowledgeCard]
    lens: str
    turn: int  # from the case's digest and the candidate; what is rotated is rotated by it

    @cached_property
    def name(self) -> str:
        """The disease the card tells of: the label's, or of a subtype its whole disease."""
        return self.taxonomy.node(self.card.node_id).spoken

    def one_of(self, *phrasings: str) -> str:
        return phrasings[self.turn % len(phrasings)]


def compose(
    fields: Mapping[str, Any],
    digest: str,
    candidate: int,
    card: KnowledgeCard,
    taxonomy: Taxonomy,
    cards: Mapping[str, KnowledgeCard],
) -> Narrative:
    """One candidate for a case given as :func:`annotators.textbook.prompt_fields` and their digest (hex).

    ``card`` is that of the case's node, of the diagnosis above a subtype, or of another diagnosis to be argued instead;
    the narrative concludes at the label's node when the card covers it, else at the card's.
    """
    offset = int(digest[:8], 16)
    label = fields["node_id"]
    covered = label in taxonomy and taxonomy.on_one_branch(label, card.node_id)
    writer = _Writer(
        fields,
        taxonomy.node(label if covered else card.node_id),
        card,
        taxonomy,
        cards,
        lens=LENSES[(offset + candidate) % len(LENSES)],
        turn=offset // len(LENSES) + candidate // len(LENSES),
    )
    reported = _reported(writer)
    if writer.lens == "morphology":  # argues from the look; of the facts only these, and every warning sign
        kept = {"age", "site", "tone", "image", "morphology"}
        kept |= {key for key in _ACTIVITY if fields["answers"].get(key) == "yes"}
        reported = {key: value for key, value in reported.items() if key in kept}
    told = [Finding(origin="reported", text=sentence) for _, sentence in reported.values()]
    known = [Finding(origin="typical", text=sentence) for sentence in _typical(writer)]
    favoured = _favoured(writer, set(reported))
    edges = _alternatives(writer, set(reported))
    others = [_alternative(writer, edge, set(reported), favoured) for edge in edges]
    return Narrative(
        context_used=tuple(fact for fact, _ in reported.values()),
        findings=tuple([*told, *known] if writer.lens == "history" else [*known, *told]),
        differential=tuple([*others, favoured] if writer.lens == "exclusion" else [favoured, *others]),
        conclusion=_conclusion(writer, favoured, edges[0]),
        limitations=_limitations(writer, reported),
        next_step=_next_step(writer, set(reported)),
    )


def _reported(writer: _Writer) -> dict[str, tuple[str, str]]:
    """What the source reports: topic -> (context line, sentence)."""
    fields, facts = writer.fields, {}
    if fields["modality"] in ("dermoscopic", "clinical"):
        facts["image"] = (f"image type: {fields['modality']}", f"The image is reported to be {fields['modality']}.")
    if fields["age_years"] is not None:
        years = f"{fields['age_years']:g} year{'s' * (fields['age_years'] != 1)}"
        facts["age"] = (f"age: {years}", writer.one_of(f"The reported age is {years}.", f"Age is reported as {years}."))
    if fields["sex"]:
        facts["sex"] = (f"sex: {fields['sex']}", f"The reported sex is {fields['sex']}.")
    if fields["site"]:
        site = fields["site"]
        facts["site"] = (f"site: {site}", writer.one_of(f"The reported site: {site}.", f"Site, as reported: {site}."))
    if fields["fitzpatrick"]:
        tone = " to ".join(_ROMAN[value] for value in sorted(set(fields["fitzpatrick"])))
        facts["tone"] = (f"skin tone: Fitzpatrick {tone}", f"Skin tone is reported as Fitzpatrick type {tone}.")
    if fields["concepts"]:
        words = ", ".join(fields["concepts"])
        facts["morphology"] = (f"described morphology: {words}", f"Morphology reported for this case: {words}.")
    if fields["sizes_mm"]:
        size = " by ".join(fields["sizes_mm"]) + " mm"
        facts["size"] = (f"size: {size}", f"The reported size is {size}.")
    for key, answer in fields["answers"].items():
        what = SYMPTOMS[key]
        state = "present" if answer == "yes" else "absent"
        facts[key] = (f"{what}: {answer}", f"{_capital(what)} is reported as {state}.")
    return facts


def _typical(writer: _Writer) -> list[str]:
    """Sentences of the card, as typical of the disease; each lens tells another part of it, in another order."""
    card, name = writer.card, writer.name
    ages = f"{card.typical_ages.low} to {card.typical_ages.high} years"
    said: dict[str, str] = {
        "kind": _kind(writer),
        "morphology": writer.one_of(
            f"{_capital(name)} typically presents as {card.primary_morphology}.",
            f"The typical presentation of {name} is {card.primary_morphology}.",
        ),
        "colour": f"Typical colour of {name}: {card.colour}.",
        "border": f"Typical border: {card.border}.",
        "surface": f"Typical surface: {card.surface}.",
        "distribution": f"Usual distribution of {name}: {card.distribution}.",
        "ages": f"The usual age range of {name} is {ages}.",
        "red_flags": f"Warning signs in {name} in general are {_listed(card.red_flags)}.",
    }
    tone = writer.fields["fitzpatrick"]
    if _on_dark_skin(writer):  # the colour that a card gives first is often that of light skin
        said["colour"] = f"Typical look of {name} on dark skin: {card.skin_tones.dark}."
    elif tone:
        looks = {"light": card.skin_tones.light, "dark": card.skin_tones.dark}
        kinds = (["light"] if tone[0] <= 3 else []) + (["dark"] if tone[1] >= 4 else [])
        said["tone"] = " ".join(f"On {kind} skin the typical look is: {looks[kind]}." for kind in kinds)[:600].strip()
    if card.dermoscopy and writer.fields["modality"] == "dermoscopic":
        said["dermoscopy"] = f"Under dermoscopy, {name} typically shows {_listed(card.dermoscopy)}."
    order: tuple[str, ...] = {
        "morphology": ("morphology", "colour", "border", "surface", "dermoscopy", "distribution", "tone"),
        "history": ("ages", "distribution", "tone", "colour", "morphology", "surface", "red_flags"),
        "exclusion": ("kind", "red_flags", "border", "colour", "dermoscopy", "distribution", "morphology"),
    }[writer.lens]
    if writer.node.id != card.node_id:  # that the features are those of the whole disease is said whatever the lens
        order = ("kind", *(part for part in order if part != "kind"))
    return [said[part] for part in order if part in said]


def _on_dark_skin(writer: _Writer) -> bool:
    tone = writer.fields["fitzpatrick"]
    return tone is not None and tone[0] >= 4


def _kind(writer: _Writer) -> str:
    """Where the diagnosis stands in the tree, from coarse to fine."""
    node, name = writer.node, writer.name
    if node.id != writer.card.node_id:
        return f"{_capital(node.spoken)} is usually held to be a form of {name}, of which the rest is typical."
    path = writer.taxonomy.path(node.id)
    behaviour = _BEHAVIOUR[node.malignancy]
    if len(path) == 1:
        return f"{_capital(name)} is typically {behaviour}."
    under = writer.taxonomy.node(path[-2]).spoken
    return f"{_capital(name)} is usually classed under {under} and is typically {behaviour}."


def _alternatives(writer: _Writer, used: set[str]) -> list[DifferentialEdge]:
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


def _impossible(writer: _Writer, edge: DifferentialEdge) -> bool:
    """Whether a look-alike is a disease of pregnancy in somebody who is reported to be a man, a child or old."""
    other = writer.cards.get(edge.node_id)
    if other is None or "pregnan" not in other.primary_morphology:
        return False
    years = writer.fields["age_years"]
    return writer.fields["sex"] == "male" or (years is not None and not 12 <= years <= 55)


def _misfits(writer: _Writer, edge: DifferentialEdge, used: set[str]) -> int:
    other = writer.cards.get(edge.node_id)
    return len(_fit(writer, other, used)[1]) if other else 1


def _active(writer: _Writer, used: set[str]) -> list[str]:
    """Reported signs that a lesion is alive: growth, change, bleeding."""
    return [SYMPTOMS[key] for key in _ACTIVITY if key in used and writer.fields["answers"].get(key) == "yes"]


def _fit(writer: _Writer, card: KnowledgeCard, used: set[str]) -> tuple[list[str], list[str]]:
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
    active = _active(writer, used)
    if active and writer.taxonomy.node(card.node_id).malignancy in _ACTIVE:
        points.append((True, f"{_listed(active)} reported: an active lesion is expected of it"))
    return [_sentence(text) for fits, text in points if fits], [_sentence(text) for fits, text in points if not fits]


def _favoured(writer: _Writer, used: set[str]) -> Differential:
    """The diagnosis itself, with the support of this lens and what of the facts speaks for and against it."""
    card = writer.card
    fits, misfits = _fit(writer, card, used)
    features = {
        "surface": f"A surface that would support it: {card.surface}.",
        "border": f"A border that would support it: {card.border}.",
        "colour": f"A colour that would support it: {card.skin_tones.dark if _on_dark_skin(writer) else card.colour}.",
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


def _alternative(writer: _Writer, edge: DifferentialEdge, used: set[str], favoured: Differential) -> Differential:
    other = writer.cards.get(edge.node_id)
    fits, misfits = _fit(writer, other, used) if other else ([], [])
    room = len(favoured.evidence_for) - len(favoured.evidence_against) + len(misfits) - 1
    return Differential(
        diagnosis=writer.taxonomy.node(edge.node_id).name,
        taxonomy_id=edge.node_id,
        evidence_for=(f"Considered because {edge.argues_for}.", *fits[: max(0, min(1, room))]),
        evidence_against=(_sentence(edge.discriminator), *misfits),
    )


#: How a conclusion may be worded for each certainty; only the first three may say that it is confirmed.
_WORDING: Mapping[str, Callable[[str], str]] = {
    "histopathology": lambda name: f"The diagnosis of {name} is confirmed by histopathology.",
    "confocal": lambda name: f"The diagnosis of {name} is confirmed by confocal microscopy.",
    "consensus": lambda name: f"The diagnosis of {name} is confirmed by expert consensus.",
    "follow_up": lambda name: f"The favoured diagnosis is {name}, supported by follow-up without histology.",
    "clinical": lambda name: f"The favoured clinical diagnosis is {name}, without histology.",
    "atlas": lambda name: f"The favoured diagnosis is {name}; no histology is known.",
    "self_report": lambda name: f"A possible diagnosis is {name}; it rests on what the person reported.",
    "unstated": lambda name: f"A possible diagnosis is {name}; nothing is known about how it was made.",
}


def _conclusion(writer: _Writer, favoured: Differential, set_aside: DifferentialEdge) -> Conclusion:
    certainty, node = writer.fields["label_certainty"], writer.node
    picture = f"Its typical picture is {writer.card.primary_morphology}."
    parts = [_WORDING[certainty](node.spoken), *dict.fromkeys([favoured.evidence_for[0], picture])]
    if favoured.evidence_against:
        doubt = favoured.evidence_against[0].removesuffix(".")
        parts.append(f"Against it, {doubt[0].lower()}{doubt[1:]}, which makes it less usual without excluding it.")
    if node.level in ("group", "family"):
        parts.append("A finer diagnosis within it stays open.")
    other = writer.taxonomy.node(set_aside.node_id).spoken
    parts.append(f"{_capital(other)} is set apart by this: {set_aside.discriminator}.")
    while len(" ".join(parts)) > _RATIONALE:
        parts.pop(2)
    return Conclusion(
        diagnosis=node.name,
        taxonomy_id=node.id,
        malignancy=node.malignancy,
        certainty=certainty,
        rationale=" ".join(parts),
    )


def _limitations(writer: _Writer, reported: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """What this text cannot know, in words of this case, so that trainers do not learn one phrase by heart."""
    hidden, name, fields = writer.card.photograph_cannot_show, writer.name, writer.fields
    first = writer.turn % len(hidden)
    facts = _listed([fact for fact, _ in reported.values()]) or "nothing"
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
        texts.append(f"Not reported for this case, which narrows the reasoning about {name}: {_listed(missing)}.")
    elif writer.lens != "history":
        other = hidden[(first + 1) % len(hidden)]
        texts.append(f"Nor does a photograph of {name}{where or whose} tell {other}.")
    return tuple(text[:600].strip() for text in texts)


def _next_step(writer: _Writer, used: set[str]) -> str:
    """The usual step of the card, sooner where a warning sign is reported, and what should bring review forward."""
    card, flags = writer.card, writer.card.red_flags
    if card.urgency == "emergency":
        return card.next_step
    first = (writer.turn + LENSES.index(writer.lens)) % len(flags)
    sooner = f"Earlier review for {flags[first]}, or for {flags[(first + 1) % len(flags)]}."
    active = _active(writer, used)
    if active and writer.node.malignancy not in ("malignant", "in_situ", "not_neoplastic") and card.urgency != "urgent":
        told = "is" if len(active) == 1 else "are"
        first_of_all = (
            f"Since {_listed(active)} {told} reported, refer for dermoscopy and possible biopsy within two weeks."
        )
        return f"{first_of_all} Otherwise: {card.next_step} {sooner}"[:600].strip()
    return f"{card.next_step} {sooner}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _sentence(text: str) -> str:
    return f"{_capital(text)}."


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
