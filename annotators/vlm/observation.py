"""The first step: what the image shows, told by an observer who knows nothing else of the case.

It is the measure of the second: whatever the reasoning later claims to see is held against it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from annotators.engines.protocol import Completion
from annotators.vlm.asking import UnusableError
from schemas.cards import Region
from schemas.narrative import LINE_PATTERN
from schemas.visible_findings import concepts

QUALITIES = ("good", "usable", "poor", "no_skin")
_TONES = ("light", "medium", "dark", "not_judgeable")
_MOST_FINDINGS = 10


@dataclass(frozen=True)
class Observation:
    """``findings``: concept and words, in the order in which they were told."""

    findings: tuple[tuple[str, str], ...]
    site: str
    skin_tone: str
    quality: str
    description: str

    @property
    def concepts(self) -> frozenset[str]:
        """The concepts that were named."""
        return frozenset(concept for concept, _ in self.findings)

    def lines(self) -> list[str]:
        """It as lines of a prompt."""
        told = [f"- {concept}: {text}" for concept, text in self.findings] or ["- nothing of note"]
        return [self.description, *told, f"site as seen: {self.site}", f"skin tone as seen: {self.skin_tone}"]


def line(longest: int) -> dict[str, Any]:
    """JSON schema of one line of text."""
    return {"type": "string", "minLength": 1, "maxLength": longest, "pattern": LINE_PATTERN}


def one_of(*words: str) -> dict[str, Any]:
    """JSON schema of a closed vocabulary."""
    return {"type": "string", "enum": list(words)}


def fields(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an object whose fields are all there, in this order, and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def list_of(item: Mapping[str, Any], most: int, least: int = 0) -> dict[str, Any]:
    """JSON schema of a list."""
    return {"type": "array", "items": dict(item), "minItems": least, "maxItems": most}


def observation_schema() -> dict[str, Any]:
    """What an observer may answer."""
    return fields(
        findings=list_of(fields(concept=one_of(*concepts()), text=line(160)), _MOST_FINDINGS),
        site=one_of(*get_args(Region), "not visible"),
        skin_tone=one_of(*_TONES),
        quality=one_of(*QUALITIES),
        description=line(300),
    )


def read_observation(completion: Completion) -> Observation:
    """The observation of an answer of :func:`observation_schema`; :class:`UnusableError` where it saw no skin."""
    told = json.loads(completion.text)
    if told["quality"] == "no_skin":
        raise UnusableError("no_skin_seen", told["description"])
    found = tuple((finding["concept"], finding["text"]) for finding in told["findings"])
    return Observation(found, told["site"], told["skin_tone"], told["quality"], told["description"])
