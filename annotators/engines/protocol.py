"""What teachers and judges say to an engine, and what they get back.

A request names everything that shapes its answer, and :attr:`Request.key` is the digest of exactly that: which engine,
machine or batch answers is not part of it. Engines do not promise the same text twice, so the first answer to a key is
the artefact: it is kept, and the key is never asked again. Whoever wants another answer asks with another seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from corpus.digests import digest_of

#: Raised when the meaning of a request changes though its fields do not: every key changes with it.
KEY_VERSION = 1

Role = Literal["system", "user", "assistant"]

#: Why there is no usable answer. Those of :data:`ANSWERED` are judgements on an answer that came and was paid for.
FailureKind = Literal[
    "truncated",  # the answer was cut at max_tokens or at the end of the context
    "refusal",
    "prompt_echo",  # the answer repeats the prompt
    "invalid_json",  # not JSON, or not of the schema
    "empty",
    "timeout",
    "connection",  # nothing answers, or the connection broke
    "rate_limited",
    "server_error",
    "bad_response",  # half a body, or not an answer of a chat server
    "bad_request",  # the server will not take this request: too long a prompt, an unknown parameter
    "image_unusable",  # cannot be loaded, or is larger than may be sent
    "not_a_number",
    "out_of_memory",
    "terms_forbid_external_processing",
]
ANSWERED: frozenset[FailureKind] = frozenset({"truncated", "refusal", "prompt_echo", "invalid_json", "empty"})


@dataclass(frozen=True)
class Image:
    """An image of a prompt: ``load`` gives its encoded bytes, ``digest`` names those very bytes (size and all)."""

    digest: str
    load: Callable[[], bytes] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Message:
    """One turn: texts and images in the order in which the model sees them."""

    role: Role
    parts: tuple[str | Image, ...]

    @property
    def text(self) -> str:
        """Its texts, one per line."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. ``temperature`` 0 is greedy; ``max_tokens`` bounds the answer alone."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt to one model.

    ``model`` and ``revision``: what must answer. ``schema``: JSON schema of the answer, None for free text.
    ``shaped_by``: digests of whatever else shapes the answer (prompt templates, chat template, quantisation).
    ``may_leave``: whether the terms of all that is in it allow sending it to somebody else's server; not in the key.
    """

    model: str
    revision: str
    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    schema: Mapping[str, Any] | None = None
    shaped_by: tuple[str, ...] = ()
    may_leave: bool = False

    @cached_property
    def key(self) -> str:
        """sha256 (hex) of everything that shapes the answer; images count by their digest."""
        return digest_of(
            "request",
            KEY_VERSION,
            self.model,
            self.revision,
            [[m.role, [part if isinstance(part, str) else {"image": part.digest} for part in m.parts]]
             for m in self.messages],
            [float(self.sampling.temperature), float(self.sampling.top_p), self.sampling.max_tokens,
             self.sampling.seed, list(self.sampling.stop)],
            json.dumps(self.schema),  # its order is the order of the answer's fields
            sorted(self.shaped_by),
        )  # fmt: skip

    @property
    def images(self) -> tuple[Image, ...]:
        """Its images, in order."""
        return tuple(part for message in self.messages for part in message.parts if isinstance(part, Image))


@dataclass(frozen=True)
class Completion:
    """An answer as it came.

    ``finish_reason``: ``stop``, ``length``, ``content_filter`` or ``refusal`` (the text is then the refusal's), or what
    the engine says. ``seconds``: from asking to the whole answer. ``endpoint``: the address or device that answered.
    ``model``: as the engine names it.
    """

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    endpoint: str
    model: str = ""


@dataclass(frozen=True)
class Failure:
    """No usable answer. ``completion``: the answer that is at fault, where ``kind`` is of :data:`ANSWERED`."""

    key: str
    kind: FailureKind
    detail: str
    completion: Completion | None = None


class Engine(Protocol):
    """What answers requests."""

    def generate(
        self, requests: Iterable[Request], keep: Callable[[Completion], None] | None = None
    ) -> Iterator[Completion | Failure]:
        """One result per request, as they finish, in any order.

        Reads ``requests`` in the calling thread and no further ahead than it can work. ``keep`` is called with every
        answer the moment it is there, usable or not, before its result is yielded; perhaps from another thread.
        Results have passed :func:`annotators.engines.answers.checked`. Closing the iterator stops all work.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """What answers, JSON-able and free of secrets: engine, versions, model, devices or endpoints."""
        ...
