"""The language of OpenAI-compatible chat servers: a request as the body of a POST, and what its response means.

Servers differ in what they ignore and in how they fail, so nothing of a response is trusted but what is checked here:
whether all of it came, whether it is an answer of a chat server at all, and what kind of failure it is otherwise.
"""

from __future__ import annotations

import base64
import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from annotators.engines.protocol import Completion, FailureKind, Image, Message, Request
from schemas.engine_config import EndpointSettings

_SHOWN = 200  # characters of what a server says that a sentence shows
_MEDIA_TYPES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n", "image/png"), (b"RIFF", "image/webp"))


class ImageUnusableError(ValueError):
    """An image that cannot be put into a request; the text says why."""


@dataclass(frozen=True)
class Fault:
    """No answer, and what that means: whether asking ``again`` may help, whether the whole endpoint ``closes`` for this
    run, how many seconds it asks to be left alone, and whether the server was ``reached``."""

    kind: FailureKind
    detail: str
    again: bool = True
    closes: bool = False
    retry_after: float | None = None
    reached: bool = True


def body_of(request: Request, endpoint: EndpointSettings, most_bytes: float) -> bytes:
    """The body of the POST.

    Raises :class:`ImageUnusableError` for an image that is larger than ``most_bytes``, or is none.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": endpoint.model or request.model,
        "messages": [_turn(message, most_bytes) for message in request.messages],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        endpoint.max_tokens_field: sampling.max_tokens,
        "stream": False,
    }
    if endpoint.send_seed:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if request.schema is not None and endpoint.structured == "json_schema":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": dict(request.schema)},
        }
    elif request.schema is not None and endpoint.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    return json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()


def _turn(message: Message, most_bytes: float) -> dict[str, Any]:
    if all(isinstance(part, str) for part in message.parts):
        return {"role": message.role, "content": message.text}
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": _data_url(part, most_bytes)}}
        for part in message.parts
    ]
    return {"role": message.role, "content": parts}


def _data_url(image: Image, most_bytes: float) -> str:
    try:
        data = image.load()
    except Exception as error:  # whatever a store may raise: one image is no reason to end a run
        raise ImageUnusableError(f"image {image.digest} cannot be loaded ({type(error).__name__}: {error})") from error
    if len(data) > most_bytes:
        raise ImageUnusableError(
            f"image {image.digest} has {len(data):,} bytes and at most {most_bytes:,.0f} may be sent: make it smaller, "
            "or raise max_image_megabytes"
        )
    for begin, media_type in _MEDIA_TYPES:
        if data.startswith(begin) and (begin != b"RIFF" or data[8:12] == b"WEBP"):
            return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
    raise ImageUnusableError(f"image {image.digest} is neither JPEG nor PNG nor WebP")


def answer_of(request: Request, endpoint: EndpointSettings, data: bytes, seconds: float) -> Completion | Fault:
    """What the body of a response with status 200 holds."""
    try:
        told = json.loads(data)
        choice = told["choices"][0]
        message = choice["message"]
        text, reason = _text(message.get("content")), str(choice.get("finish_reason") or "stop")
        if message.get("refusal"):
            text, reason = str(message["refusal"]), "refusal"
        usage = told.get("usage") or {}
        return Completion(
            key=request.key,
            text=text,
            finish_reason=reason,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            seconds=round(seconds, 4),
            endpoint=endpoint.url,
            model=str(told.get("model") or ""),
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        return Fault("bad_response", f"status 200 with what is no chat answer ({type(error).__name__}): {_shown(data)}")


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part.get("type", "text") == "text")


def fault_of(url: str, status: int, headers: Mapping[str, str], data: bytes) -> Fault:
    """What a response with another status than 200 means."""
    said = f"{url} answered with status {status}: {_shown(data)}"
    if status == 429:
        return Fault("rate_limited", said, retry_after=retry_after(headers))
    if status in (401, 403):  # what it says may quote the key
        return Fault("bad_request", f"{url} does not take the key (status {status})", again=False, closes=True)
    if status in (404, 405, 410) or 300 <= status < 400:
        return Fault("bad_request", f"{said}: does it serve this model?", again=False, closes=True)
    if status in (408, 409, 425) or status >= 500:
        kind: FailureKind = "timeout" if status in (408, 504) else "server_error"
        return Fault(kind, said, retry_after=retry_after(headers))
    return Fault("bad_request", said, again=False)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait as the header ``Retry-After`` says it, in seconds or as a date; None without a readable one.

    A date counts from the server's own ``Date``, whose clock need not be ours.
    """
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until = _moment(value)
        now = _moment(headers.get("date", "")) or time.time()
        if until is None:
            return None
        seconds = until - now
    return min(max(seconds, 0.0), 86_400.0) if seconds == seconds else None


def _moment(text: str) -> float | None:
    try:
        told = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _shown(data: bytes) -> str:
    flat = " ".join(data[: 4 * _SHOWN].decode("utf-8", errors="replace").split())
    return repr(flat if len(flat) <= _SHOWN else flat[:_SHOWN] + "...")
