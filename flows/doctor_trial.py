"""One real request, the teacher's own first, and what its answer says of a night of such requests.

The image is drawn by this program, so nothing of anybody's data is in the request and every server may have it. It is
asked past the request cache: what is wanted is an answer of today. One answer proves little of a model's worth, so what
may be chance of this one image is a warning; what would meet every other case too is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from annotators.engines.protocol import Completion, Failure, FailureKind, Request
from annotators.vlm.asking import UnusableError
from annotators.vlm.observation import read_observation
from annotators.vlm.requests import Teacher, observe
from corpus.digests import digest_bytes
from corpus.sample.encoding import jpeg
from corpus.sample.lesions import draw_photograph
from schemas.taxonomy import load_taxonomy
from schemas.teacher_config import VlmSettings

State = Literal["ok", "warning", "missing"]

_SIDE = 384  # pixels
_SHOWN = 80  # characters of a description

#: What a failure of the one request means for a run, and what to do.
_MEANING: Mapping[FailureKind, tuple[State, str]] = {
    "truncated": ("warning", "raise propose.vlm.max_tokens; a model that never ends its answers (random, tiny, or not "
                             "made to follow instructions) is of no use"),
    "refusal": ("warning", "try a small build (--limit 20): if real images are refused too, take another model"),
    "prompt_echo": ("missing", "the model was not made to follow instructions, or its chat template is not its own: "
                               "take the instruct version, with the template that came with it"),
    "invalid_json": ("missing", "answers are not held to their schema: switch structured output on at the server, or "
                                "take a model that keeps to JSON"),
    "empty": ("missing", "a model that thinks first needs a larger propose.vlm.max_tokens; else see the server's log"),
    "timeout": ("missing", "raise propose.vlm.http.timeout_seconds, or give the server more room"),
    "connection": ("missing", "see the server's log: it ended the connection"),
    "rate_limited": ("missing", "wait, or see to the quota of the key; a run would wait and ask again"),
    "server_error": ("missing", "see the server's log: it met an error of its own"),
    "bad_response": ("missing", "the address is of no chat server: it goes up to and with /v1"),
    "bad_request": ("missing", "the server says above what it does not take; send_seed, structured and "
                               "max_tokens_field of the endpoint say what it is sent"),
    "image_unusable": ("missing", "the model cannot be given an image: take one that reads images"),
    "not_a_number": ("missing", "name another propose.vlm.transformers.dtype, such as bfloat16 or float32"),
    "out_of_memory": ("missing", "set propose.vlm.transformers.most_pixels, free the device, or take a smaller model"),
}  # fmt: skip


_CONTEXT_ENDED = (
    "the context ended before max_tokens did: serve the model with a longer one, or scale images down (most_pixels)"
)


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, what was found in one line, and what to do where there is something to do."""

    about: str
    state: State
    found: str
    todo: str = ""


def refused(about: str, error: BaseException, todo: str = "") -> Check:
    """A check that ended in a sentence for people: what it says last is what to do, unless ``todo`` says it."""
    found, _, rest = str(error).rpartition(": ")
    return Check(about, "missing", str(error), todo) if todo or not found else Check(about, "missing", found, rest)


def trial_request(settings: VlmSettings, shaped_by: tuple[str, ...] = ()) -> Request:
    """The teacher's first look at a drawn image, as it is asked of every case."""
    data = jpeg(draw_photograph("nv", "clinical", 3, (_SIDE, _SIDE), np.random.default_rng(0)))
    revision = settings.revision or "unnamed"
    teacher = Teacher(settings, settings.model, revision, lambda requests: iter(()), lambda digest: data,
                      load_taxonomy(), {}, shaped_by)  # fmt: skip
    case = {"case_id": "doctor", "image_digests": [digest_bytes(data)], "external_processing": True}
    return observe(teacher, case, 0)


def judged(about: str, settings: VlmSettings, result: Completion | Failure, *more: str) -> Check:
    """What became of a :func:`trial_request`; ``more``: what else is to be told of it."""
    answer = result if isinstance(result, Completion) else result.completion
    told = ", ".join([*([] if answer is None else [_spent(answer)]), *(part for part in more if part)])
    if isinstance(result, Failure):
        state, todo = _MEANING.get(result.kind, ("missing", ""))
        if result.kind == "truncated" and answer and 0 < answer.completion_tokens < settings.max_tokens:
            todo = _CONTEXT_ENDED
        spent = f" ({told})" if told else ""
        return Check(about, state, f"no usable answer, {result.kind}: {result.detail}{spent}", todo)
    try:
        seen = read_observation(result)
    except UnusableError as error:
        todo = "the image was drawn by a program: try a small build (--limit 20) and see whether it sees skin there"
        return Check(about, "warning", f"{told}; it sees no skin: {str(error)[:_SHOWN]!r}", todo)
    n = len(seen.findings)
    said = f"it reports {n} finding{'s' * (n != 1)}, {seen.description[:_SHOWN]!r}"
    return Check(about, "ok", f"{told}; usable: {said}")


def _spent(answer: Completion) -> str:
    seconds, written = answer.seconds, answer.completion_tokens
    if not written:
        return f"{seconds:.1f} s, tokens not counted by the server"
    speed = f", {written / seconds:,.1f} tokens/s alone" if seconds > 0 else ""
    return f"{seconds:.1f} s, {answer.prompt_tokens:,} tokens read and {written:,} written{speed}"
