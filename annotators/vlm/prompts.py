"""Prompt templates, each in a file of its own, and how what others wrote is put into them.

A template's digest is part of every request it shapes, so a changed word is another request. Texts of datasets and of
models stand between data marks that they cannot close themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from jinja2 import Environment, StrictUndefined, Template

from corpus.digests import digest_of
from schemas.visible_findings import visible_findings

Prompt = Literal["observe", "reason_grounded", "reason_blind", "write"]
PROMPTS: tuple[Prompt, ...] = ("observe", "reason_grounded", "reason_blind", "write")

_MARK = re.compile(r"<(?=\s*/?\s*data\b)", re.IGNORECASE)


def rendered(name: Prompt, **told: Any) -> str:
    """A template's text; a word it asks for that is not ``told`` is an error."""
    return _template(name).render(vocabulary=visible_findings(), **told).strip()


def digest(name: Prompt) -> str:
    """What a template says, whatever it is filled with."""
    return digest_of("prompt", _source(name), {kind: dict(words) for kind, words in visible_findings().items()})[:16]


def data(title: str, lines: Iterable[str]) -> str:
    """Lines that somebody else wrote, between marks; a mark among them is taken apart."""
    told = "\n".join(_MARK.sub("< ", line) for line in lines)
    return f"{title}:\n<data>\n{told}\n</data>"


@cache
def _template(name: Prompt) -> Template:
    made = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=False).from_string(_source(name))
    return made


@cache
def _source(name: Prompt) -> str:
    return (files("annotators.vlm") / "templates" / f"{name}.md").read_text(encoding="utf-8")
