"""A model that answers as a test says: good answers by default, made from what the request asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from annotators.engines.answers import checked
from annotators.engines.protocol import Completion, Failure, Request

#: Says what a request is answered with: a text, a failure kind as ``!kind``, or None for the good answer.
Script = Callable[[str, Request], str | None]


def step_of(request: Request) -> str:
    """observe, reason or write."""
    if request.schema is None:
        return "reason"
    return "observe" if "quality" in request.schema["properties"] else "write"


def good_observation() -> dict[str, Any]:
    """What an honest observer might say."""
    return {
        "findings": [
            {"concept": "papule", "text": "a dome-shaped papule in the centre"},
            {"concept": "telangiectasia", "text": "fine branching vessels on its surface"},
            {"concept": "translucent", "text": "a pearly rim"},
        ],
        "site": "not visible",
        "skin_tone": "light",
        "quality": "good",
        "description": "One raised lesion on otherwise plain skin.",
    }


def good_narrative(
    request: Request, favoured: str | None = None, concepts: Iterable[str] = ("papule",)
) -> dict[str, Any]:
    """A narrative of the schema of a write request that favours one diagnosis."""
    assert request.schema is not None
    properties = request.schema["properties"]
    known = properties["differential"]["items"]["properties"]["diagnosis"]["enum"]
    first = favoured or known[0]
    other = next(name for name in known if name != first)
    told: dict[str, Any] = {
        "findings": [{"concept": c, "text": f"The image shows {c.replace('_', ' ')} number {i}."}
                     for i, c in enumerate(concepts)],
        "differential": [
            {"diagnosis": first, "evidence_for": ["The rim fits.", "So do the vessels."], "evidence_against": []},
            {"diagnosis": other, "evidence_for": ["The shape would."], "evidence_against": ["The rim does not fit."]},
        ],
    }  # fmt: skip
    if "diagnosis" in properties:
        told["diagnosis"] = first
    return told | {
        "rationale": "The rim and the vessels together make it stand out.",
        "limitations": ["A photograph leaves open how deep the lesion reaches."],
        "next_step": "See it with a dermatoscope and consider a biopsy.",
    }


@dataclass
class ScriptedModel:
    """Answers every request at once; ``asked`` keeps them."""

    script: Script = lambda step, request: None
    favoured: str | None = None
    asked: list[Request] = field(default_factory=list)

    def __call__(self, requests: Iterable[Request]) -> Iterator[Completion | Failure]:
        for request in requests:
            self.asked.append(request)
            said = self.script(step_of(request), request)
            if said is not None and said.startswith("!"):
                yield Failure(request.key, said[1:], "as scripted")  # type: ignore[arg-type]
                continue
            text = self._good(request) if said is None else said
            yield checked(request, Completion(request.key, text, "stop", 100, 10, 0.0, "scripted"))

    def _good(self, request: Request) -> str:
        step = step_of(request)
        if step == "reason":
            return "There is a papule with vessels and a pearly rim. The rim speaks for one, the shape for another."
        return json.dumps(good_observation() if step == "observe" else good_narrative(request, self.favoured))


def words_of(request: Request) -> str:
    """Everything that the request says, without images."""
    return "\n".join(message.text for message in request.messages)


def with_changes(told: Mapping[str, Any], **changes: Any) -> str:
    """An answer with other values, as JSON."""
    return json.dumps({**told, **changes})
