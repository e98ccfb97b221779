"""Knowledge cards: what dermatology says about a diagnosis, as data files a dermatologist can edit.

Text-only teachers and the rubric must share one body of knowledge, or the one would be scored against what the other
never read. A card is one YAML file named after its taxonomy node; texts are fragments in our own words that a sentence
can take up unchanged, so they are short, general, and never about one patient. What a card leaves out cannot be argued.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ConfigError
from schemas.narrative import Line, NodeId
from schemas.parsed_yaml import parsed
from schemas.taxonomy import Taxonomy

Region = Literal["head and neck", "trunk", "upper limb", "lower limb", "hands and feet", "genital or oral"]
Urgency = Literal["emergency", "urgent", "soon", "routine"]

_REGION_SITES: Mapping[Region, str] = {
    "head and neck": "head/neck|head and neck|head or neck|scalp|face|nose|ear|lip|eyelid|cheek|forehead|neck",
    "trunk": "trunk|torso|back|chest|abdomen|anterior torso|posterior torso|lateral torso|torso front|torso back",
    "upper limb": "upper extremity|arm|forearm|elbow|shoulder",
    "lower limb": "lower extremity|leg|thigh|knee|shin|lower leg",
    "hands and feet": "hand|foot|palm|sole|acral|palms/soles|back of hand|foot top or side|foot sole",
    "genital or oral": "genital|oral/genital|mouth|genitalia or groin",
}
#: Reported body sites, case-folded, to the region of a card. A site that tells no region, such as unknown, is absent.
SITE_REGION: Mapping[str, Region] = MappingProxyType(
    {site: region for region, sites in _REGION_SITES.items() for site in sites.split("|")}
)


class _CardPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AgeRange(_CardPart):
    """The usual ages, in years, both ends included."""

    low: Annotated[int, Field(ge=0, le=120)]
    high: Annotated[int, Field(ge=0, le=120)]

    @model_validator(mode="after")
    def _ordered(self) -> AgeRange:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class SkinTones(_CardPart):
    """The usual look on light (Fitzpatrick I to III) and on dark skin (IV to VI)."""

    light: Line
    dark: Line


class DifferentialEdge(_CardPart):
    """A look-alike: ``argues_for`` says why it comes to mind, ``discriminator`` the feature that separates the two."""

    node_id: NodeId
    argues_for: Line
    discriminator: Line


class KnowledgeCard(_CardPart):
    """What is typical of one diagnosis.

    ``typical_sites`` are regions; ``must_not_miss`` names those of ``differentials`` that have to be argued against.
    """

    node_id: NodeId
    primary_morphology: Line
    colour: Line
    border: Line
    surface: Line
    distribution: Line
    typical_sites: Annotated[tuple[Region, ...], Field(min_length=1)]
    typical_ages: AgeRange
    skin_tones: SkinTones
    dermoscopy: tuple[Line, ...]
    differentials: Annotated[tuple[DifferentialEdge, ...], Field(min_length=2)]
    red_flags: Annotated[tuple[Line, ...], Field(min_length=2)]
    urgency: Urgency
    must_not_miss: tuple[NodeId, ...]
    next_step: Line
    photograph_cannot_show: Annotated[tuple[Line, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _consistent(self) -> KnowledgeCard:
        partners = [edge.node_id for edge in self.differentials]
        if len(set(partners)) < len(partners) or self.node_id in partners:
            raise ValueError("differentials must name each other diagnosis once")
        if unargued := sorted(set(self.must_not_miss) - set(partners)):
            raise ValueError(f"must_not_miss names {unargued[0]!r}, which differentials does not argue")
        if not self.must_not_miss and self.urgency not in ("emergency", "urgent"):
            raise ValueError("must_not_miss is empty although the card is not urgent itself")
        return self


#: libyaml's parser where PyYAML has it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def load_cards() -> Mapping[str, KnowledgeCard]:
    """The cards that ship with this package by node id, sorted; read once per process."""
    return read_cards(files("schemas") / "data" / "cards")


def read_cards(folder: Traversable) -> Mapping[str, KnowledgeCard]:
    """The cards in the YAML files of ``folder`` by node id, sorted; :class:`ConfigError` names file and field."""
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in names}
    cards = [_card(name, document) for name, document in parsed(texts, _document).items()]
    return MappingProxyType({card.node_id: card for card in cards})


def _document(name: str, text: str) -> Any:
    try:
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise ConfigError(f"Knowledge card {name} is not YAML: {' '.join(str(error).split())}.") from error


def _card(name: str, document: Any) -> KnowledgeCard:
    try:
        card = KnowledgeCard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the card"
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"Knowledge card {name} cannot be used: {field}: {message}.") from error
    if name != f"{card.node_id}.yaml":
        raise ConfigError(f"Knowledge card {name} describes {card.node_id!r}; rename it {card.node_id}.yaml.")
    return card


def cards_digest(cards: Mapping[str, KnowledgeCard] | None = None) -> str:
    """sha256 (hex) of everything the cards say, whatever their order; of the shipped cards by default."""
    content = {key: _card_digest(card) for key, card in (cards or load_cards()).items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@cache
def _card_digest(card: KnowledgeCard) -> str:
    return hashlib.sha256(json.dumps(card.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def card_for(node_id: str, taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]) -> KnowledgeCard | None:
    """The card of a node, else of its nearest ancestor that is a diagnosis (melanoma for its subtypes), else None.

    Broader ancestors are passed over: what is typical of a whole family says too little about one of its members.
    """
    if node_id in cards:
        return cards[node_id]
    for ancestor in reversed(taxonomy.path(node_id)[:-1]):
        if ancestor in cards and taxonomy.node(ancestor).level == "diagnosis":
            return cards[ancestor]
    return None
