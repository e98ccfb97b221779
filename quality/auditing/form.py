"""Rules on the form of one text; what is unusual in its set is told by :mod:`quality.audit`, which sees them all."""

from __future__ import annotations

from collections.abc import Iterator

from quality.auditing.findings import Finding, finding
from quality.auditing.narrative_text import NarrativeText
from quality.reading.segments import Layout


def form_findings(text: NarrativeText) -> Iterator[Finding]:
    """What is to be said of the tags of ``text``."""
    layout, first = text.document.layout, text.told[0][0]
    if not layout.balanced:
        count = f"{layout.think_blocks} thinking and {layout.answer_blocks} answer tags are opened"
        yield finding("unbalanced_tags", first, count)
    if layout.think_blocks > 1:
        second = next((s for s, _ in text.told if s.zone == "think" and s.block > first.block + 1), text.last)
        yield finding("several_think_blocks", second, f"{layout.think_blocks} thinking blocks")


def shape(text: NarrativeText) -> str:
    """The layout of a text in words that can be counted over a set."""
    layout: Layout = text.document.layout
    if layout.is_json:
        return "JSON"
    if layout.is_html:
        return "HTML"
    zones = [sentence.zone for sentence, _ in text.told]
    if layout.think_blocks == 0:
        return "answer tags only" if layout.answer_blocks else "no tags"
    many = "one think block" if layout.think_blocks == 1 else "several think blocks"
    if layout.answer_blocks:
        return f"{many}, answer tags"
    if zones[-1] == "think":
        return f"{many}, nothing after"
    outside = "open" in zones[: len(zones) - zones[::-1].index("think")]
    return f"{many}, prose between and after" if outside else f"{many}, then prose"
