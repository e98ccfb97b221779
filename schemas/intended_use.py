"""The statement of intended use: one source for the dataset card, the manifest and whatever else tells people of it.

Two wordings of one limit would contradict each other sooner or later, so nothing else in the project states it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def intended_use() -> str:
    """The statement, as Markdown paragraphs."""
    return (files("schemas") / "data" / "intended_use.md").read_text(encoding="utf-8").strip()
