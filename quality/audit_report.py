"""The HTML report of an audit: one file without network, for a person who has to decide what to do with a set.

Everything comes from texts that nobody vouched for, so every value is escaped; the same audit gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import polars as pl

from quality.auditing.findings import RULES
from schemas.taxonomy import Taxonomy

#: Relations in the order they are shown, what they mean, and how good they are.
_RELATIONS: Mapping[str, tuple[str, str]] = {
    "agree": ("concludes the label's disease", "good"),
    "descendant": ("concludes a finer form of it", "good"),
    "ancestor": ("concludes a family it lies in", "fair"),
    "sibling": ("concludes another form of the same disease", "fair"),
    "several": ("leaves several open, one of which fits", "fair"),
    "contradiction": ("concludes another disease", "bad"),
    "absent": ("concludes nothing the taxonomy knows", "bad"),
    "no_label": ("its label is not on the taxonomy", "none"),
}
_GROUPS = {
    "form": "Form", "conclusion": "Conclusion", "certainty": "Certainty", "content": "Content", "set": "The set",
}  # fmt: skip
_MOST_FAMILIES, _MOST_PAIRS, _MOST_LABELS = 8, 12, 40


@dataclass(frozen=True)
class Example:
    """A finding shown in its text: what stands before its sentence, the sentence, and what stands after it."""

    id: str
    label: str
    detail: str
    before: str
    sentence: str
    after: str


def render_audit(
    summary: Mapping[str, Any], texts: pl.DataFrame, examples: Mapping[str, Sequence[Example]], taxonomy: Taxonomy
) -> str:
    """The report as HTML."""
    from jinja2 import Environment, StrictUndefined

    folder = files("quality") / "data"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    total = max(1, summary["texts"])
    against = texts.filter(pl.col("relation") == "contradiction")
    return environment.from_string((folder / "audit.html.j2").read_text(encoding="utf-8")).render(
        style=_style((folder / "report.html.j2").read_text(encoding="utf-8")),
        summary=summary,
        total=summary["texts"],
        groups=_groups(summary),
        relations=_relation_bars(summary, total),
        grid=_grid(against),
        pairs=_pairs(against, taxonomy),
        layouts=sorted(summary["layouts"].items(), key=lambda pair: (-pair[1], pair[0])),
        forms=_forms(texts),
        examples=[(rule, RULES[rule], examples[rule]) for rule in RULES if examples.get(rule)],
        unmapped=summary["labels"]["commonest_unmapped"][:_MOST_LABELS],
    )


def _style(report: str) -> str:
    """The style of our other report, so that the two look alike."""
    return report.partition("<style>")[2].partition("</style>")[0]


def _groups(summary: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The rules by group, each with its counts; those that found nothing are told too."""
    shown = []
    for group, title in _GROUPS.items():
        rows = [
            {"rule": rule, "says": says, "severity": severity, **summary["rules"][rule]}
            for rule, (of, severity, says) in RULES.items()
            if of == group
        ]
        shown.append((title, rows))
    return shown


def _relation_bars(summary: Mapping[str, Any], total: int) -> list[dict[str, Any]]:
    counts = summary["relations"]
    longest = max(1, *counts.values())
    return [
        {"name": name.replace("_", " "), "says": says, "tone": tone, "n": counts[name],
         "share": 100 * counts[name] / total, "length": 100 * counts[name] / longest}
        for name, (says, tone) in _RELATIONS.items()
    ]  # fmt: skip


def _grid(against: pl.DataFrame) -> dict[str, Any] | None:
    """Contradictions as families of the label (rows) by families of the conclusion (columns), the largest of each."""
    pairs = Counter(against.select("label_family", "concluded_family").iter_rows())
    if not pairs:
        return None
    rows, columns = Counter[str](), Counter[str]()
    for (label, end), n in pairs.items():
        rows[label] += n
        columns[end] += n
    tops = sorted(columns, key=lambda name: (-columns[name], name))[:_MOST_FAMILIES]
    largest = max(pairs.values())
    cells = [
        (name, rows[name], [(pairs[(name, top)], round(100 * pairs[(name, top)] / largest)) for top in tops])
        for name in sorted(rows, key=lambda name: (-rows[name], name))[:_MOST_FAMILIES]
    ]
    shown = sum(n for _, _, line in cells for n, _ in line)
    return {"columns": tops, "rows": cells, "shown": shown, "total": against.height}


def _pairs(against: pl.DataFrame, taxonomy: Taxonomy) -> list[tuple[str, str, int]]:
    """The commonest contradictions, as names of diseases."""
    counts = Counter(
        (label, concluded[0]) for label, concluded in against.select("label_node", "concluded").iter_rows()
    )
    commonest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_PAIRS]
    return [(taxonomy.node(label).name, taxonomy.node(end).name, n) for (label, end), n in commonest]


def _forms(texts: pl.DataFrame) -> list[tuple[str, str]]:
    """Facts about the form of the set, in words."""
    words = texts["words"]
    quartiles = " · ".join(f"{int(words.quantile(q, 'nearest') or 0):,}" for q in (0.05, 0.25, 0.5, 0.75, 0.95))
    total = max(1, texts.height)

    def share(column: str) -> str:
        return f"{100 * int(texts[column].fill_null(False).sum()) / total:.1f} %"

    blocks = Counter(texts["think_blocks"].fill_null(0).to_list())
    told = ", ".join(f"{n} in {100 * count / total:.0f} %" for n, count in sorted(blocks.items())[:8])
    return [
        ("Words per text, at 5, 25, 50, 75 and 95 %", quartiles),
        ("Tags that open and close as they should", share("balanced")),
        ("Markdown", share("markdown")),
        ("Thinking blocks", told),
    ]
