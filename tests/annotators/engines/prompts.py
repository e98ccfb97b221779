"""Requests as the tests of engines make them."""

from __future__ import annotations

from typing import Any

from annotators.engines.protocol import Image, Message, Request, Sampling
from tests.annotators.engines.scripted_server import SYSTEM

SCHEMA = {
    "type": "object",
    "properties": {"finding": {"type": "string"}, "score": {"type": "integer", "minimum": 0, "maximum": 5}},
    "required": ["finding", "score"],
    "additionalProperties": False,
}


def scripted(case: str, script: str = "ok", *images: Image, **fields: Any) -> Request:
    """A request that :mod:`tests.annotators.engines.scripted_server` answers by ``script``."""
    messages = (Message("system", (SYSTEM,)), Message("user", (f"case {case}: {script}", *images)))
    return Request(**{"model": "tiny", "revision": "1", "messages": messages, "sampling": Sampling(seed=7)} | fields)
