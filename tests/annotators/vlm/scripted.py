"""A model that answers as a test says: good answers by default, made from what the request asks for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
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


def good_rationale(words: str) -> str:
    """What an able author makes of a grounded prompt: its diagnosis, its typical look, and two look-alikes weighed.

    One fact a line, so that whoever writes it down can find each.
    """
    told = dict(re.findall(r"^- (typical \w+): (.+)$", words, re.MULTILINE))
    favoured = re.search(r"^The diagnosis: (.+)$", words, re.MULTILINE)
    lines = [f"favoured: {favoured[1]}"] if favoured else []
    lines += [f"{name}: {text}" for name, text in told.items()]
    rivals = re.findall(r"^- ([^:]+?)(?: \(must not be missed\))?: comes to mind for (.+?); (.+)$", words, re.MULTILINE)
    return "\n".join([*lines, *(f"rival: {name} | {why} | {apart}" for name, why, apart in rivals[:3])])


def good_narrative(
    request: Request, favoured: str | None = None, concepts: Iterable[str] = ("papule",)
) -> dict[str, Any]:
    """A narrative of the schema of a write request, from what its reasoning says."""
    assert request.schema is not None
    properties = request.schema["properties"]
    known = properties["differential"]["items"]["properties"]["diagnosis"]["enum"]
    words = words_of(request)
    told = dict(re.findall(r"^(typical \w+): (.+)$", words, re.MULTILINE))
    first = favoured or next(iter(re.findall(r"^favoured: (.+)$", words, re.MULTILINE)), known[0])
    seen = [f"The image shows {text}."[:240] for text in told.values()]
    look = told.get("typical form", "a papule")
    rivals = [(name, why, apart) for name, why, apart in re.findall(r"^rival: (.+?) \| (.+) \| (.+)$", words, re.MULTILINE)
              if name in known and name != first]  # fmt: skip
    rivals = rivals or [(next(name for name in known if name != first), "the shape would fit", "the rim does not fit")]
    evidence = [f"The lesion looks like {look}."[:240], *seen[1:3]]
    answer: dict[str, Any] = {
        "findings": [{"concept": c, "text": text} for c, text in zip_longest(concepts, seen, fillvalue=None)
                     if c is not None or text is not None],
        "differential": [
            {"diagnosis": first, "evidence_for": evidence, "evidence_against": []},
            *({"diagnosis": name, "evidence_for": [f"{why[0].upper()}{why[1:]}."[:240]],
               "evidence_against": [f"{apart[0].upper()}{apart[1:]}."[:240]]} for name, why, apart in rivals),
        ],
    }  # fmt: skip
    for nth, finding in enumerate(answer["findings"]):
        finding["concept"] = finding["concept"] or "papule"
        finding["text"] = finding["text"] or f"The image shows {finding['concept'].replace('_', ' ')} number {nth}."
    if "diagnosis" in properties:
        answer["diagnosis"] = first
    return answer | {
        "rationale": f"{evidence[0]} That speaks for {first} rather than {rivals[0][0]}."[:480],
        "limitations": ["A photograph leaves open how deep the lesion reaches."],
        "next_step": "Examine it with a dermatoscope, consider a biopsy, and review in three months, earlier if it changes.",
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
            return good_rationale(words_of(request)) or "A papule with a pearly rim, which speaks for one of them."
        return json.dumps(good_observation() if step == "observe" else good_narrative(request, self.favoured))


def words_of(request: Request) -> str:
    """Everything that the request says, without images."""
    return "\n".join(message.text for message in request.messages)


def with_changes(told: Mapping[str, Any], **changes: Any) -> str:
    """An answer with other values, as JSON."""
    return json.dumps({**told, **changes})
