"""One narrative as the rubric reads it: beside its case, with what the six dimensions ask of it found once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from annotators.rubric_vocabulary import content, tells_a_look
from quality.checks import CheckFinding, check_narrative
from schemas.cards import DifferentialEdge, KnowledgeCard, card_for
from schemas.narrative import Differential, Finding, Narrative
from schemas.taxonomy import Taxonomy

#: A line of evidence belongs to another diagnosis when that one's knowledge explains this much more of its words.
_STRAY = 0.3
#: Findings describe another diagnosis when its card explains this much more of their words, if they are not too few.
_INSTEAD = 0.15
_FEW = 8
#: Words that frame a statement about any disease, or weigh a reported fact, and so are known of none in particular.
_FRAME = (
    "colour border surface warning signs general classed under form rest held benign malignant cancer forerunner "
    "confined epidermis non-neoplastic disorder "
    "mixed uncertain behaviour dermoscopy shows skin look range years light dark"
)
_WEIGHING = (
    "lies outside inside range years region regions belongs where occurs usually active lesion expected considered "
    "because feature support"
)


@dataclass
class Tally:
    """A score on its way down, with what it lost and why."""

    score: float
    losses: list[tuple[float, str]] = field(default_factory=list)

    def lose(self, points: float, why: str) -> None:
        """Take points off, saying why."""
        self.score -= points
        self.losses.append((points, why))

    def cap(self, limit: float, why: str) -> None:
        """Let the score be at most ``limit``."""
        if self.score > limit:
            self.lose(self.score - limit, why)

    def critique(self, otherwise: str) -> str:
        """The two costliest faults, or ``otherwise`` when there is none."""
        worst = sorted(self.losses, key=lambda loss: -loss[0])[:2]
        return " ".join(why for _, why in worst) or otherwise


@dataclass(frozen=True)
class Judged:
    """One narrative beside its case. ``row``: of :data:`schemas.tables.NARRATIVES`; ``case``: of CASES."""

    narrative: Narrative
    row: Mapping[str, Any]
    case: Mapping[str, Any]
    taxonomy: Taxonomy
    cards: Mapping[str, KnowledgeCard]

    @cached_property
    def faults(self) -> list[CheckFinding]:
        """What the deterministic checks find."""
        hidden = [str(self.case[name]) for name in ("lesion_id", "patient_id") if self.case.get(name)]
        return check_narrative(self.narrative, self.case["label_certainty"], [h.partition(":")[2] or h for h in hidden])

    def faults_of(self, *rules: str) -> list[CheckFinding]:
        """The findings of some rules."""
        return [fault for fault in self.faults if fault.rule in rules]

    @cached_property
    def concluded(self) -> str:
        """The node concluded."""
        return self.narrative.conclusion.taxonomy_id

    def card(self, node_id: str | None) -> KnowledgeCard | None:
        """The card of a node, if there is one."""
        return card_for(node_id, self.taxonomy, self.cards) if node_id and node_id in self.taxonomy else None

    @cached_property
    def own_cards(self) -> list[KnowledgeCard]:
        """The cards of the label and of the conclusion, those that there are."""
        found = {card.node_id: card for node in (self.case["node_id"], self.concluded) if (card := self.card(node))}
        return list(found.values())

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """The texts of all findings."""
        return tuple(finding.text for finding in self.narrative.findings)

    @cached_property
    def descriptive(self) -> list[Finding]:
        """Findings that speak of how the skin looks, whoever says so; age, sex and site are none."""
        return [
            finding
            for finding in self.narrative.findings
            if ("orpholog" in finding.text if finding.origin == "reported" else tells_a_look(finding.text))
        ]

    @cached_property
    def favoured(self) -> Differential | None:
        """The differential entry of what is concluded."""
        entries = [entry for entry in self.narrative.differential if entry.taxonomy_id == self.concluded]
        return entries[0] if entries else None

    @cached_property
    def alternatives(self) -> list[Differential]:
        """What else is weighed, a first impression among it."""
        return [entry for entry in self.narrative.weighed if entry.taxonomy_id != self.concluded]

    @cached_property
    def described(self) -> bool:
        """Whether the look of this case is known: its image was seen, or its morphology is reported and used."""
        if self.row["image_grounded"]:
            return True
        reported = " ".join(f.text for f in self.narrative.findings if f.origin == "reported").casefold()
        return any(concept.casefold() in reported for concept in self.case["concepts"])

    @cached_property
    def known(self) -> frozenset[str]:
        """Words of the cards of label and conclusion, of the groups they stand under, and of every such statement."""
        nodes = [node for node in (self.case["node_id"], self.concluded) if node in self.taxonomy]
        names = {self.taxonomy.node(step).name for node in nodes for step in self.taxonomy.path(node)}
        own = content(f"{self.narrative.conclusion.diagnosis} {' '.join(sorted(names))} {_FRAME}")
        weighed = [card for entry in self.alternatives if (card := self.card(entry.taxonomy_id))]
        return frozenset(own.union(*(_card_words(card) for card in [*self.own_cards, *weighed])))

    @cached_property
    def named_rightly(self) -> bool:
        """Whether the conclusion is called what its node is called."""
        if self.concluded not in self.taxonomy:
            return True
        match = self.taxonomy.match(self.narrative.conclusion.diagnosis)
        return match.node_id == self.concluded or self.concluded in match.candidates

    @cached_property
    def closes_on(self) -> str | None:
        """A rival that the rationale names as the diagnosis, or begins with instead of the conclusion."""
        end = self.narrative.conclusion
        told, own = end.rationale.casefold(), end.diagnosis.casefold()
        for entry in self.alternatives:
            rival = entry.diagnosis.casefold()
            known = entry.taxonomy_id in self.taxonomy and self.concluded in self.taxonomy
            if rival in own or own in rival:
                continue
            if known and self.taxonomy.on_one_branch(entry.taxonomy_id, self.concluded):
                continue
            if rival in told.split(". ")[0] and own not in told:
                return entry.diagnosis
            if re.search(rf"\b(?:diagnosis|answer|conclusion|verdict)\b[^.:;]{{0,60}}\b{re.escape(rival)}\b", told):
                return entry.diagnosis
        return None

    @cached_property
    def argues_for_another(self) -> bool:
        """Whether the rationale repeats what speaks for an alternative, and nothing that speaks for the conclusion."""
        told = self.narrative.conclusion.rationale
        own = [text for text in (self.favoured.evidence_for if self.favoured else ()) if text.rstrip(".") in told]
        other = [text for entry in self.alternatives for text in entry.evidence_for if text.rstrip(".") in told]
        return bool(other) and not own

    @cached_property
    def described_instead(self) -> str | None:
        """The look-alike whose card explains the described look clearly better than that of the conclusion."""
        own = self.card(self.concluded)
        said = frozenset[str]().union(*(content(finding.text) for finding in self.descriptive))
        if own is None or len(said) < _FEW:
            return None
        fits = len(said & _look_words(own)) / len(said)
        rivals = [(card, entry) for entry in self.alternatives if (card := self.card(entry.taxonomy_id))]
        shares = [(len(said & _look_words(card)) / len(said), entry.diagnosis) for card, entry in rivals]
        best = max(shares, default=(0.0, ""))
        return best[1] if best[0] >= fits + _INSTEAD else None

    @cached_property
    def stray(self) -> list[tuple[str, str, str]]:
        """Evidence under the wrong diagnosis: the line, where it stands, where it belongs.

        A line is known to a diagnosis by the words of its card and of what cards say to tell the two apart.
        """
        entries = self.narrative.weighed
        facts = content(" ".join(self.narrative.context_used)) | content(_WEIGHING)
        words = [self._words_about(entry) for entry in entries]
        found = []
        for at, entry in enumerate(entries):
            for text in (*entry.evidence_for, *entry.evidence_against):
                said = content(text) - facts
                if len(said) < 4:
                    continue
                shares = [len(said & known) / len(said) for known in words]
                best = max(range(len(shares)), key=shares.__getitem__)
                if shares[best] >= shares[at] + _STRAY:
                    found.append((text, entry.diagnosis, entries[best].diagnosis))
        return found

    def _words_about(self, entry: Differential) -> frozenset[str]:
        own, favoured = self.card(entry.taxonomy_id), self.card(self.concluded)
        words = set(content(f"{entry.diagnosis} {self.narrative.conclusion.diagnosis}"))  # each may be held to it
        if own is not None:
            words |= _feature_words(own)
        if favoured is not None and entry.taxonomy_id != self.concluded:
            edges = [edge for edge in favoured.differentials if edge.node_id == entry.taxonomy_id]
            if own is not None:
                edges += [edge for edge in own.differentials if edge.node_id == favoured.node_id]
            words = words.union(*(_edge_words(edge) for edge in edges))
        return frozenset(words)


@cache
def _card_words(card: KnowledgeCard) -> frozenset[str]:
    return content(json.dumps(card.model_dump(mode="json"), ensure_ascii=False))


@cache
def _feature_words(card: KnowledgeCard) -> frozenset[str]:
    return frozenset(content(json.dumps(card.model_dump(mode="json", exclude={"differentials"}), ensure_ascii=False)))


@cache
def _look_words(card: KnowledgeCard) -> frozenset[str]:
    tones = f"{card.skin_tones.light} {card.skin_tones.dark}"
    looks = (card.primary_morphology, card.colour, card.border, card.surface, tones, *card.dermoscopy)
    return frozenset(content(" ".join(looks)))


@cache
def _edge_words(edge: DifferentialEdge) -> frozenset[str]:
    return frozenset(content(f"{edge.argues_for} {edge.discriminator}"))
