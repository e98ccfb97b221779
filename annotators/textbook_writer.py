"""What every part of a textbook narrative is written with: the case and card at hand, and words in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from annotators.case_facts import SYMPTOMS
from schemas.cards import SITE_REGION, KnowledgeCard, Region
from schemas.taxonomy import Node, Taxonomy

LENSES = ("morphology", "history", "exclusion")

#: Reported signs that a lesion is alive.
ACTIVITY = ("grew", "changed", "bleed")


@dataclass(frozen=True)
class Writer:
    """One candidate in the making: the case's fields, the card and node of its label, and the knowledge around them."""

    fields: Mapping[str, Any]
    node: Node
    card: KnowledgeCard
    taxonomy: Taxonomy
    cards: Mapping[str, KnowledgeCard]
    lens: str
    trajectory: str  # of schemas.tables.TRAJECTORIES
    turn: int  # from the case's digest and the candidate; what is rotated is rotated by it

    @cached_property
    def region(self) -> Region | None:
        """The region of the body that the reported site lies in."""
        return SITE_REGION.get((self.fields["site"] or "").casefold())

    @cached_property
    def name(self) -> str:
        """The disease the card tells of: the label's, or of a subtype its whole disease."""
        return self.taxonomy.node(self.card.node_id).spoken

    def one_of(self, *phrasings: str) -> str:
        """The phrasing whose turn it is."""
        return phrasings[self.turn % len(phrasings)]


def active_signs(writer: Writer, used: set[str]) -> list[str]:
    """Reported signs that a lesion is alive, of the facts in ``used``: growth, change, bleeding."""
    return [SYMPTOMS[key] for key in ACTIVITY if key in used and writer.fields["answers"].get(key) == "yes"]


def on_dark_skin(writer: Writer) -> bool:
    """Whether the reported skin tone is Fitzpatrick IV or darker."""
    tone = writer.fields["fitzpatrick"]
    return tone is not None and tone[0] >= 4


def capital(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[0].upper() + text[1:]


def sentence(text: str) -> str:
    """A fragment as a sentence."""
    return f"{capital(text)}."


def listed(items: Sequence[str]) -> str:
    """``a, b and c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
