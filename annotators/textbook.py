"""The ``textbook`` teacher: narratives from a case's own metadata and the knowledge cards, without weights or network.

It makes the whole pipeline run anywhere and gives trainers grounded differentials, at a price: it never saw the image.
So metadata is phrased as reported, card content as typical of the disease, and nothing as seen. The k candidates differ
in substance: candidate 0 argues from morphology, 1 from the reported facts, 2 by exclusion of what must not be missed
(in an order that turns from case to case), each with other look-alikes. Everything is chosen by digests, so equal cases
get equal texts whatever their order.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from schemas.cards import SITE_REGION, DifferentialEdge, KnowledgeCard, card_for, cards_digest
from schemas.narrative import Conclusion, Differential, Finding, Narrative, render_tagged
from schemas.stage import StageResult, rejection, rejections_frame
from schemas.tables import NARRATIVES, polars_schema
from schemas.taxonomy import Node, Taxonomy
from schemas.tone import fitzpatrick_interval

VERSION = "textbook/2"
TERMS = "own text, Apache-2.0"
#: Cards name the clinically closest look-alikes first; of the later, rarer ones only what must not be missed is argued.
LEADING = 6
LENSES = ("morphology", "history", "exclusion")

#: Reported facts that a clinician would be told, and what they are called in a text. Others are left out: they say
#: nothing about the lesion, or they give the diagnosis away.
_SYMPTOMS = {
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
_SIZES = ("clin_size_long_diam_mm", "diameter_1_mm", "diameter_2_mm")
_ACTIVITY = ("grew", "changed", "bleed")
_YES_NO = {"true": "yes", "yes": "yes", "1": "yes", "false": "no", "no": "no", "0": "no"}
_ALERTING = {"malignant": True, "in_situ": True, "premalignant": True, "benign": False}
_ROMAN = ("", "I", "II", "III", "IV", "V", "VI")
#: First words that keep their capital inside a sentence.
_EPONYMS = frozenset({"Behcet", "Kaposi", "Langerhans", "Lyme", "Stevens-Johnson"})


def prompt_fields(case: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of one case row that shapes its narratives, cleaned and in a fixed order; ``case_id`` is not among it.

    ``image_digests`` takes part where the row has it. Texts are cut to one printable line.
    """
    facts = dict(sorted((str(fact["key"]), str(fact["value"])) for fact in case["facts"] or []))
    answers = {key: _YES_NO.get(facts[key].strip().lower()) for key in _SYMPTOMS if key in facts}
    tone = fitzpatrick_interval(case["tone_observations"] or [])
    fields: dict[str, Any] = {
        "node_id": case["node_id"],
        "label_certainty": case["label_certainty"],
        "age_years": case["age_years"],
        "sex": _clean(case["sex"]),
        "site": _clean(case["site"]),
        "modality": case["modality"],
        "fitzpatrick": None if tone is None else list(tone),
        "concepts": sorted({word for concept in case["concepts"] or [] if (word := _clean(concept, 40))})[:12],
        "answers": {key: answer for key, answer in answers.items() if answer},
        "sizes_mm": [number for key in _SIZES if (number := _millimetres(facts.get(key)))],
    }
    if case.get("image_digests") is not None:
        fields["image_digests"] = sorted(case["image_digests"])
    return fields


def case_prompt_digest(case: Mapping[str, Any]) -> str:
    """sha256 (hex) of :func:`prompt_fields`: the case's part of its row key, known without proposing anything."""
    return _digest(prompt_fields(case))


def teacher_revision(taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]) -> str:
    """What the teacher knows: its version, and digests of the cards and of the taxonomy that names the diagnoses."""
    return f"{VERSION}+cards.{cards_digest(cards)[:12]}+taxonomy.{taxonomy.digest[:12]}"


def narrative_id(case_id: str, prompt_digest: str, revision: str, candidate: int) -> str:
    """32 hex digits of everything that shaped one narrative."""
    return _digest([case_id, prompt_digest, revision, candidate])[:32]


def propose(
    cases: pl.DataFrame, n_candidates: int, taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]
) -> StageResult:
    """``n_candidates`` raw narratives for each case that has a card.

    ``cases``: rows of :data:`schemas.tables.CASES` with ``modality`` and ``tone_observations``, and ``image_digests``
    where known. Kept: :data:`schemas.tables.NARRATIVES`, by case and candidate. A case whose diagnosis has no card is
    rejected with rule ``no_card``. Candidate i is the same however many are asked for.
    """
    revision = teacher_revision(taxonomy, cards)
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, str | None]] = []
    missing: Counter[str] = Counter()
    for case in cases.sort("case_id").iter_rows(named=True):
        node_id = case["node_id"]
        card = card_for(node_id, taxonomy, cards) if node_id in taxonomy else None
        if card is None:
            unknown = f"label not in the taxonomy: {case['raw_label']}"
            detail = f"no knowledge card for {node_id}" if node_id in taxonomy else unknown
            rejected.append(rejection("case", case["case_id"], "propose", "no_card", value=node_id, detail=detail))
            missing[node_id or "(no node)"] += 1
            continue
        fields = prompt_fields(case)
        digest = _digest(fields)
        for candidate in range(n_candidates):
            narrative = compose(fields, candidate, card, taxonomy, cards)
            rows.append(_row(case["case_id"], candidate, digest, revision, narrative))
    return StageResult(
        kept=pl.DataFrame(rows, schema=polars_schema(NARRATIVES)),
        rejected=rejections_frame(rejected),
        stats={"cases": cases.height, "narratives": len(rows), "no_card": dict(sorted(missing.items()))},
    )


def _row(case_id: str, candidate: int, prompt_digest: str, revision: str, narrative: Narrative) -> dict[str, Any]:
    return {
        "narrative_id": narrative_id(case_id, prompt_digest, revision, candidate),
        "case_id": case_id,
        "candidate": candidate,
        "author_kind": "teacher",
        "author": "textbook",
        "author_revision": revision,
        "prompt_digest": prompt_digest,
        "sampling": json.dumps({"candidate": candidate}),
        "completion": render_tagged(narrative),
        "label_seen": True,
        "image_grounded": False,
        "teacher_terms": TERMS,
        "parse_status": "raw",
        "context_used": list(narrative.context_used),
    }


@dataclass(frozen=True)
class _Writer:
    """One candidate in the making: the case's fields, the favoured card and node, and the knowledge around them."""

    fields: Mapping[str, Any]
    card: KnowledgeCard
    taxonomy: Taxonomy
    cards: Mapping[str, KnowledgeCard]
    turn: int  # from the case's digest and the candidate; what is rotated is rotated by it

    @property
    def node(self) -> Node:
        return self.taxonomy.node(self.card.node_id)

    def name(self, node_id: str | None = None) -> str:
        name = self.taxonomy.node(node_id or self.card.node_id).name
        return name if name.split()[0] in _EPONYMS else name[0].lower() + name[1:]

    def one_of(self, *phrasings: str) -> str:
        return phrasings[self.turn % len(phrasings)]


def compose(
    fields: Mapping[str, Any],
    candidate: int,
    card: KnowledgeCard,
    taxonomy: Taxonomy,
    cards: Mapping[str, KnowledgeCard],
) -> Narrative:
    """One candidate for a case given as :func:`prompt_fields`; it concludes at the card's node."""
    offset = int(_digest(fields)[:8], 16)
    lens = LENSES[(offset + candidate) % len(LENSES)]
    writer = _Writer(fields, card, taxonomy, cards, turn=offset // len(LENSES) + candidate // len(LENSES))
    reported = _reported(writer)
    if lens == "morphology":  # argues from the look; of the facts only age, site and described morphology
        reported = {key: value for key, value in reported.items() if key in ("age", "site", "image", "morphology")}
    typical = _typical(writer, lens)
    facts_first = lens == "history"
    told = [Finding(origin="reported", text=sentence) for _, sentence in reported.values()]
    known = [Finding(origin="typical", text=sentence) for sentence in typical]
    alternatives = _alternatives(writer, lens, candidate)
    favoured = _favoured(writer, set(reported))
    others = [_alternative(writer, edge, set(reported)) for edge in alternatives]
    return Narrative(
        context_used=tuple(fact for fact, _ in reported.values()),
        findings=tuple([*told, *known] if facts_first else [*known, *told]),
        differential=tuple([*others, favoured] if lens == "exclusion" else [favoured, *others]),
        conclusion=_conclusion(writer, favoured, alternatives[0]),
        limitations=_limitations(writer, reported),
        next_step=_next_step(writer),
    )


def _reported(writer: _Writer) -> dict[str, tuple[str, str]]:
    """What the source reports: topic -> (context line, sentence)."""
    fields, facts = writer.fields, {}
    if fields["modality"] in ("dermoscopic", "clinical"):
        facts["image"] = (f"image type: {fields['modality']}", f"The image is reported to be {fields['modality']}.")
    if fields["age_years"] is not None:
        years = f"{fields['age_years']:g} years"
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
        what = _SYMPTOMS[key]
        state = "present" if answer == "yes" else "absent"
        facts[key] = (f"{what}: {answer}", f"{_capital(what)} is reported as {state}.")
    return facts


def _typical(writer: _Writer, lens: str) -> list[str]:
    """Sentences of the card, as typical of the disease; each lens tells another part of it."""
    card, name = writer.card, writer.name()
    ages = f"{card.typical_ages.low} to {card.typical_ages.high} years"
    said: dict[str, str] = {
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
    if tone := writer.fields["fitzpatrick"]:
        looks = {"light": card.skin_tones.light, "dark": card.skin_tones.dark}
        kinds = (["light"] if tone[0] <= 3 else []) + (["dark"] if tone[1] >= 4 else [])
        said["tone"] = " ".join(f"On {kind} skin the typical look is: {looks[kind]}." for kind in kinds)
    if card.dermoscopy and writer.fields["modality"] == "dermoscopic":
        said["dermoscopy"] = f"Under dermoscopy, {name} typically shows {_listed(card.dermoscopy)}."
    order = {
        "morphology": ("morphology", "colour", "border", "surface", "dermoscopy"),
        "history": ("ages", "distribution", "tone", "morphology", "colour"),
        "exclusion": ("red_flags", "morphology", "dermoscopy", "surface", "border"),
    }[lens]
    return [said[part] for part in order if part in said]


def _alternatives(writer: _Writer, lens: str, candidate: int) -> list[DifferentialEdge]:
    """Two or three look-alikes; by exclusion, those that must not be missed come first."""
    card = writer.card
    edges = [edge for at, edge in enumerate(card.differentials) if at < LEADING or edge.node_id in card.must_not_miss]
    start = (writer.turn + candidate) % len(edges)
    turned = edges[start:] + edges[:start]
    if lens == "exclusion":
        turned.sort(key=lambda edge: edge.node_id not in writer.card.must_not_miss)
    elif lens == "morphology":  # the first look-alike of a card is its classic one
        turned.sort(key=lambda edge: edge is not edges[0])
    return turned[: 2 + writer.turn % 2]


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
        where = "in" if fits else "outside"
        points.append((fits, f"the reported site ({fields['site']}) lies {where} its usual regions"))
    active = [_SYMPTOMS[key] for key in _ACTIVITY if key in used and fields["answers"].get(key) == "yes"]
    expected = _ALERTING.get(writer.taxonomy.node(card.node_id).malignancy)
    if active and expected is not None:
        why = "an active lesion is expected of it" if expected else "a benign lesion is expected to be stable"
        points.append((expected, f"{_listed(active)} reported: {why}"))
    return [_sentence(text) for fits, text in points if fits], [_sentence(text) for fits, text in points if not fits]


def _favoured(writer: _Writer, used: set[str]) -> Differential:
    card = writer.card
    fits, misfits = _fit(writer, card, used)
    supports = (
        f"A feature that would support it: {card.surface}.",
        f"A colour that would support it: {card.colour}.",
        f"A border that would support it: {card.border}.",
    )
    return Differential(
        diagnosis=writer.node.name,
        taxonomy_id=card.node_id,
        evidence_for=(*fits, f"Its typical picture is {card.primary_morphology}.", writer.one_of(*supports)),
        evidence_against=tuple(misfits),
    )


def _alternative(writer: _Writer, edge: DifferentialEdge, used: set[str]) -> Differential:
    other = writer.cards.get(edge.node_id)
    fits, misfits = _fit(writer, other, used) if other else ([], [])
    return Differential(
        diagnosis=writer.taxonomy.node(edge.node_id).name,
        taxonomy_id=edge.node_id,
        evidence_for=(f"Considered because {edge.argues_for}.", *fits[:1]),
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
    certainty = writer.fields["label_certainty"]
    reasons = " ".join(favoured.evidence_for[:2])
    against = f" Against it: {favoured.evidence_against[0]}" if favoured.evidence_against else ""
    other = f" {_capital(writer.name(set_aside.node_id))} is set apart by this: {set_aside.discriminator}."
    return Conclusion(
        diagnosis=writer.node.name,
        taxonomy_id=writer.card.node_id,
        malignancy=writer.node.malignancy,
        certainty=certainty,
        rationale=f"{_WORDING[certainty](writer.name())} {reasons}{against}{other}",
    )


def _limitations(writer: _Writer, reported: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    hidden, name = writer.card.photograph_cannot_show, writer.name()
    first = writer.turn % len(hidden)
    facts = _listed([fact for fact, _ in reported.values()]) or "nothing"
    missing = [topic for topic in ("age", "sex", "site") if not writer.fields["age_years" if topic == "age" else topic]]
    texts = [
        f"No feature of this image was inspected; of this case of {name} only what is reported is known ({facts}).",
        writer.one_of(
            f"A photograph of {name} cannot show {hidden[first]}.",
            f"For {name}, a photograph leaves open {hidden[first]}.",
        ),
    ]
    if missing:
        texts.append(f"Not reported for this case, which narrows the reasoning about {name}: {_listed(missing)}.")
    else:
        texts.append(f"Nor can a photograph of {name} show {hidden[(first + 1) % len(hidden)]}.")
    return tuple(text[:600].strip() for text in texts)


def _next_step(writer: _Writer) -> str:
    flags = writer.card.red_flags
    first = writer.turn % len(flags)
    return f"{writer.card.next_step} Earlier review for {flags[first]} or {flags[(first + 1) % len(flags)]}."


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _clean(text: str | None, longest: int = 60) -> str | None:
    """One printable line of at most ``longest`` characters without angle brackets, or None."""
    printable = "".join(c if c.isprintable() and c not in "<>" else " " for c in text or "")
    return " ".join(" ".join(printable.split())[:longest].split()) or None


def _millimetres(text: str | None) -> str | None:
    try:
        return f"{float(text):g}" if text else None
    except ValueError:
        return None


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _sentence(text: str) -> str:
    return f"{_capital(text)}."


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
