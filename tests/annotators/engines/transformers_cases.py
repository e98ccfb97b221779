"""Requests that differ in all that a batch has to even out, and the oracle: transformers' own generate, one by one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image as Pictures

from annotators.engines.protocol import Completion, Failure, Image, Message, Request, Sampling
from annotators.engines.transformers_checkpoint import Checkpoint


def picture(seed: int, width: int, height: int) -> Image:
    """A PNG of noise."""
    out = BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Pictures.fromarray(pixels).save(out, "PNG")
    held = out.getvalue()
    return Image(sha256(held).hexdigest(), lambda: held)


def ask(*parts: str | Image, schema: dict[str, Any] | None = None, **sampling: Any) -> Request:
    return Request("tiny", "0", (Message("user", parts),), Sampling(**{"max_tokens": 12} | sampling), schema)


def varied(n: int, most_tokens: int = 24, images: bool = True, **sampling: Any) -> list[Request]:
    """Requests with no, one or two images of many sizes, short and long prompts, short and long answers."""
    requests = []
    for nth in range(n):
        chance = random.Random(nth)
        shown = [
            picture(nth, chance.randint(40, 200), chance.randint(40, 200))
            for _ in range(chance.choice([0, 1, 1, 1, 2]) if images else 0)
        ]
        text = "Describe the lesion. " * chance.randint(1, 9) + str(nth)
        requests.append(ask(*shown, text, **{"max_tokens": chance.randint(1, most_tokens), "seed": nth} | sampling))
    return requests


def answers(results: Iterable[Completion | Failure]) -> dict[str, Completion]:
    """What was answered, usable or not, by key; a failure without an answer is an error here."""
    found = {}
    for result in results:
        completion = result if isinstance(result, Completion) else result.completion
        assert completion is not None, result
        found[result.key] = completion
    return found


def texts(results: Iterable[Completion | Failure]) -> dict[str, str]:
    return {key: completion.text for key, completion in answers(results).items()}


def prompted(checkpoint: Checkpoint, request: Request) -> Any:
    """A request as transformers' own processor makes it a prompt."""
    turns = [
        {"role": message.role, "content": [
            {"type": "text", "text": part} if isinstance(part, str)
            else {"type": "image", "image": Pictures.open(BytesIO(part.load()))}
            for part in message.parts
        ]} for message in request.messages
    ]  # fmt: skip
    return checkpoint.processor.apply_chat_template(
        [turns], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


def generated(checkpoint: Checkpoint, request: Request) -> str:
    """What transformers' generate makes of a request alone, greedily."""
    read = prompted(checkpoint, request)
    made = checkpoint.model.generate(**read, max_new_tokens=request.sampling.max_tokens, do_sample=False)
    tokens = made[0][read["input_ids"].shape[1] :]
    return str(checkpoint.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
