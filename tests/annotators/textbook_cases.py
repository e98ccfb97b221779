"""Cases for every knowledge card, over ages, sites, modalities, skin tones and certainties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from schemas.cards import SITE_REGION, KnowledgeCard
from schemas.tables import CASES, IMAGES, LABEL_CERTAINTIES, polars_schema
from schemas.taxonomy import Taxonomy

SCHEMA = {
    **polars_schema(CASES),
    "modality": pl.String(),
    "tone_observations": polars_schema(IMAGES)["tone_observations"],
    "image_digests": pl.List(pl.String),
}
_SITES = ("face", "back", "forearm", "lower extremity", "hand", "oral/genital")


def case(case_id: str = "src:1", **changes: Any) -> dict[str, Any]:
    """One case row; melanoma of the back unless changed."""
    record: dict[str, Any] = {
        **dict.fromkeys(SCHEMA),
        "case_id": case_id,
        "source": "src",
        "image_ids": [case_id],
        "node_id": "melanoma",
        "label_certainty": "histopathology",
        "age_years": 60.0,
        "sex": "female",
        "site": "back",
        "concepts": [],
        "facts": [{"key": "bleed", "value": "True"}, {"key": "biopsed", "value": "True"}],
        "modality": "dermoscopic",
        "tone_observations": [{"scale": "fitzpatrick", "low": 2, "high": 3, "origin": "x"}],
        "image_digests": ["ab", "cd"],
    }
    return record | changes


def cases_of_every_card(taxonomy: Taxonomy, cards: Mapping[str, KnowledgeCard]) -> pl.DataFrame:
    """Two cases a card, one typical of it, one with facts that turn with the card's place and little reported."""
    rows = []
    for number, (node_id, card) in enumerate(cards.items()):
        fitting = next(site for site in _SITES if SITE_REGION.get(site) in card.typical_sites)
        tone = 1 + number % 6
        rows.append(
            case(
                f"src:{node_id}/typical",
                node_id=node_id,
                site=fitting,
                age_years=float((card.typical_ages.low + card.typical_ages.high) // 2),
                facts=[{"key": "itch", "value": "True"}],
                modality=("dermoscopic", "clinical")[number % 2],
                label_certainty=LABEL_CERTAINTIES[number % 8],
                tone_observations=[{"scale": "fitzpatrick", "low": tone, "high": tone, "origin": "x"}],
                image_digests=[node_id],
            )
        )
        rows.append(
            case(
                f"src:{node_id}/turned",
                node_id=node_id,
                site=_SITES[number % len(_SITES)],
                age_years=float(number * 7 % 90),
                sex=None,
                facts=[{"key": "bleed", "value": "True"}],
                modality="clinical",
                label_certainty=LABEL_CERTAINTIES[(number + 3) % 8],
                tone_observations=[],
                image_digests=[node_id, "2"],
            )
        )
    return pl.DataFrame(rows, schema=SCHEMA)
