"""Is an answer usable? One rule for every engine, applied to what arrives and again to what the cache gives back.

The cache keeps answers as they came, so a rule that changes judges old answers anew without asking for them again. An
answer is never repaired: what does not parse is a failure with its reason.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from annotators.engines.protocol import Completion, Failure, FailureKind, Request

_ECHO_LEAST, _ECHO_MOST = 40, 200  # characters of the prompt with which an answer must begin
_SHOWN = 120  # characters of an answer that a sentence shows
_SPEAKER = re.compile(r"^(?:<\|[a-z_]+\|>|\[inst\]|(?:system|user|human|assistant)\b|[:#*\s])+")
_REFUSAL = re.compile(
    r"(?:(?:i'm|i am) (?:very |so |really )?sorry|sorry|unfortunately|i apologi[sz]e|as an ai)?[^.!?]{0,60}?"
    r"\bi(?:'m| am)? ?(?:can't|cannot|can not|unable to|not able to|not allowed to|won't|will not|must decline to) "
    r"(?:help|assist|comply|fulfil|diagnose|interpret|analy[sz]e|provide|offer|give|do that|view|process"
    r"|see (?:any|the) (?:images?|pictures?|photo\w*|attachments?))"
)


def checked(request: Request, completion: Completion) -> Completion | Failure:
    """The completion itself when it is usable, else what is wrong with it."""
    fault = _fault(request, completion)
    return completion if fault is None else Failure(request.key, *fault, completion)


def _fault(request: Request, completion: Completion) -> tuple[FailureKind, str] | None:
    text = completion.text
    if completion.finish_reason in ("refusal", "content_filter"):
        return "refusal", f"the model or its server refused: {_shown(text)}"
    if not text.strip():
        return "empty", f"the answer holds no text ({completion.completion_tokens} tokens were drawn)"
    if completion.finish_reason in ("length", "max_tokens", "abort"):
        return "truncated", (
            f"the answer was cut after {completion.completion_tokens} tokens (max_tokens is "
            f"{request.sampling.max_tokens}): raise it, or ask for a shorter answer"
        )
    folded = _folded(text[: 4 * _ECHO_MOST])  # echoes and refusals show at the beginning
    if _echoes(request, folded):
        return "prompt_echo", f"the answer begins with the prompt: {_shown(text)}"
    wrong = None if request.schema is None else _schema_fault(request, text)
    if (request.schema is None or wrong) and _REFUSAL.match(folded):
        return "refusal", f"the model refused: {_shown(text)}"
    return None if wrong is None else ("invalid_json", wrong)


def _folded(text: str) -> str:
    return " ".join(text.casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split())


def _shown(text: str) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= _SHOWN else flat[:_SHOWN] + "...")


def _echoes(request: Request, folded: str) -> bool:
    said = _SPEAKER.sub("", folded)
    for message in request.messages:
        begin = _folded(message.text[: 2 * _ECHO_MOST])[:_ECHO_MOST]
        if message.role != "assistant" and len(begin) >= _ECHO_LEAST and said.startswith(_SPEAKER.sub("", begin)):
            return True
    return False


def _schema_fault(request: Request, text: str) -> str | None:
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twice)
    except (ValueError, RecursionError) as error:
        return f"the answer is no JSON ({error}): {_shown(text)}"
    validator = _validator(json.dumps(request.schema, sort_keys=True))
    wrong = next(iter(validator.iter_errors(value)), None)
    return None if wrong is None else f"the answer is not of its schema: at {wrong.json_path}, {_shown(wrong.message)}"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) < len(pairs):
        raise ValueError("a key is given twice")
    return held


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    from jsonschema.validators import validator_for

    held = json.loads(schema)
    return validator_for(held)(held)
