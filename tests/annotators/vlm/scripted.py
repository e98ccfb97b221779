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
from quality.checks import BEYOND_A_PHOTOGRAPH

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

    One fact a line, so that whoever writes it down can find each. Nothing is claimed that a photograph cannot show.
    """
    told = re.findall(r"^- typical (\w+): (.+)$", words, re.MULTILINE)
    looks = [f"look: {name} | {text}" for name, said in told if (text := _visible(said.split("; on dark skin")[0]))]
    favoured = re.search(r"^The diagnosis: (.+)$", words, re.MULTILINE)
    step = re.search(r"^- usual next step: (.+)$", words, re.MULTILINE)
    weighed = re.findall(r"^- ([^:]+?)( \(must not be missed\))?: comes to mind for (.+?); (.+)$", words, re.MULTILINE)
    rivals = [(name, _visible(why), _visible(apart)) for name, _, why, apart in sorted(weighed, key=lambda m: not m[1])]
    return "\n".join([
        *([f"favoured: {favoured[1]}"] if favoured else []),
        *looks,
        *(f"rival: {name} | {why or 'the site would fit'} | {apart or 'its typical form is not what is seen here'}"
          for name, why, apart in rivals[:4]),
        *([f"step: {step[1]}"] if step else []),
        *(["warned"] if re.search(r"^(?:bleeding|growth|change): yes$", words, re.MULTILINE) else []),
    ])  # fmt: skip


def _visible(said: str) -> str:
    """The parts of a description that a photograph can show."""
    parts = re.split(r"(?<=[,;]) ", said)
    beyond = [pattern for pattern, _ in BEYOND_A_PHOTOGRAPH.values()]
    return " ".join(part for part in parts if not any(pattern.search(part) for pattern in beyond)).strip(",; ")


def good_narrative(
    request: Request, favoured: str | None = None, concepts: Iterable[str] = ("papule",)
) -> dict[str, Any]:
    """A narrative of the schema of a write request, from what its reasoning says."""
    assert request.schema is not None
    properties = request.schema["properties"]
    known = properties["differential"]["items"]["properties"]["diagnosis"]["enum"]
    words = words_of(request)
    looks = re.findall(r"^look: (\w+) \| (.+)$", words, re.MULTILINE) or [("form", "a dome-shaped papule")]
    first = favoured or next(iter(re.findall(r"^favoured: (.+)$", words, re.MULTILINE)), known[0])
    seen = [f"In this image the {name} is as follows: {text}."[:240] for name, text in looks]
    weighed = re.findall(r"^rival: (.+?) \| (.+) \| (.+)$", words, re.MULTILINE)
    other = next(name for name in known if name != first)
    rivals = [rival for rival in weighed if rival[0] in known and rival[0] != first]
    rivals = rivals or [(other, "the shape would fit", "the rim does not fit")]
    step = next(iter(re.findall(r"^step: (.+)$", words, re.MULTILINE)), "Refer to a dermatologist within two weeks")
    if re.search(r"^warned$", words, re.MULTILINE):
        step = f"Have it examined by a dermatologist and biopsied if in doubt; {step[0].lower()}{step[1:]}"
    answer: dict[str, Any] = {
        "findings": [{"concept": concept or "papule", "text": text or f"The image shows {concept} number {nth}."}
                     for nth, (concept, text) in enumerate(zip_longest(concepts, seen))],
        "differential": [
            {"diagnosis": first, "evidence_for": [f"What is seen is {text}."[:240] for _, text in looks[:3]],
             "evidence_against": []},
            *({"diagnosis": name, "evidence_for": [f"{why[0].upper()}{why[1:]}."[:240]],
               "evidence_against": [f"{apart[0].upper()}{apart[1:]}."[:240]]} for name, why, apart in rivals),
        ],
    }  # fmt: skip
    if "diagnosis" in properties:
        answer["diagnosis"] = first
    return answer | {
        "rationale": f"What is seen is {looks[0][1]}, which speaks for {first} rather than {rivals[0][0]}."[:480],
        "limitations": ["A photograph leaves open how deep the lesion reaches.", "One view shows one side of it."],
        "next_step": f"{step.rstrip('.')}; bring the review forward if it changes or bleeds."[:480],
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
