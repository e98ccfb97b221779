"""Checkpoints with random weights that come to an end: their tokenizers know the prompts, and they like it short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from annotators.vlm import prompts
from schemas.cards import load_cards
from schemas.taxonomy import load_taxonomy
from tests.annotators.engines.tiny_checkpoints import build


def brief_checkpoint(family: str, folder: Path) -> Path:
    """Write one of :data:`tests.annotators.engines.tiny_checkpoints.FAMILIES` into ``folder``."""
    taxonomy = load_taxonomy()
    names = "; ".join(taxonomy.node(node).name for node in sorted(load_cards()) if node in taxonomy)
    told: dict[str, Any] = {"certainty": "histopathology", "known": "Melanoma"}
    words = [*(prompts.rendered(name, **told) for name in prompts.PROMPTS), names, '": "'] * 3
    return build(family, folder, words=words, tokens=1500, context=16384, brevity=5)
