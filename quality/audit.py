"""The audit of a set of free-form narratives: every text against the rules, then the set against itself.

One text after the other is read, so memory holds a small row and a signature for each, never the texts. What a text
says is read from what it *asserts*: a disease that is named to be ruled out agrees with no label.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quality.auditing.conclusions import against_label, conclusion_findings
from quality.auditing.content import certainty, content_findings
from quality.auditing.findings import FINDINGS, RULES, Finding
from quality.auditing.form import form_findings, shape
from quality.auditing.narrative_text import NarrativeText, read_narrative
from quality.auditing.own_layout import as_stated, own_layout_findings
from quality.auditing.sites import site_findings
from quality.auditing.twins import signature
from schemas.narrative import Narrative, rendered_narrative
from schemas.taxonomy import LabelMatch, Taxonomy

#: One row per text. ``first_start`` and ``first_end``: where its first sentence stands.
TEXTS = pl.Schema(
    {
        "id": pl.String(), "label": pl.String(), "label_node": pl.String(), "label_rule": pl.String(),
        "label_family": pl.String(), "concluded": pl.List(pl.String()), "concluded_words": pl.List(pl.String()),
        "concluded_family": pl.String(), "relation": pl.String(), "second_conclusion": pl.List(pl.String()),
        "certainty": pl.String(), "layout": pl.String(), "think_blocks": pl.Int64(), "balanced": pl.Boolean(),
        "markdown": pl.Boolean(), "headings": pl.Int64(), "items": pl.Int64(), "sentences": pl.Int64(),
        "words": pl.Int64(),
        "image_name": pl.String(), "text_digest": pl.String(), "first_sentence": pl.String(), "first_start": pl.Int64(),
        "first_end": pl.Int64(),
    }
)  # fmt: skip
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Audited:
    """What the audit of some rows gives: :data:`FINDINGS` and :data:`TEXTS` rows, and a signature for each text."""

    findings: pl.DataFrame
    texts: pl.DataFrame
    signatures: npt.NDArray[np.uint32]


def audit_text(
    text: str, label_node: str | None, taxonomy: Taxonomy, label_words: Sequence[str] = (), image: str | None = None
) -> list[Finding]:
    """Every finding of one text, in the order of its sentences; ``label_words``: what the label says of the site."""
    try:
        read = read_narrative(text, taxonomy, label_node, tuple(label_words), image)
    except ValueError as error:
        return [_unreadable(text, error)]
    return _findings(*_stated(read, taxonomy), taxonomy)


def _unreadable(text: str, error: ValueError) -> Finding:
    return Finding("unreadable_text", RULES["unreadable_text"][1], text[:200].strip(), 0, len(text[:200]), str(error))


def _stated(read: NarrativeText, taxonomy: Taxonomy) -> tuple[NarrativeText, Narrative | None]:
    """A text as read, or, in the narrative's own layout, with what its fields state."""
    narrative = rendered_narrative(read.document.raw)
    return (read if narrative is None else as_stated(read, narrative, taxonomy)), narrative


def _findings(read: NarrativeText, narrative: Narrative | None, taxonomy: Taxonomy) -> list[Finding]:
    found = [*form_findings(read), *site_findings(read, taxonomy)]
    if narrative is None:
        found += [*conclusion_findings(read, taxonomy), *content_findings(read)]
    else:
        found += [*against_label(read, taxonomy), *own_layout_findings(read, narrative)]
    order = {rule: nth for nth, rule in enumerate(RULES)}
    return sorted(found, key=lambda one: (one.start, order[one.rule]))


def audit(rows: pl.DataFrame, taxonomy: Taxonomy, dataset: str | None = None) -> Audited:
    """The findings and facts of ``rows`` (id, label, text, image_name), each text by itself."""
    found: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    signatures = []
    labels: dict[str | None, LabelMatch] = {}
    for name, label, text, image in rows.select("id", "label", "text", "image_name").iter_rows():
        if label not in labels:
            labels[label] = taxonomy.match(label, dataset)
        match = labels[label]
        fact: dict[str, Any] = {
            "id": name, "label": label, "label_node": match.node_id, "label_rule": match.rule,
            "label_family": family(taxonomy, match.node_id), "image_name": image, "words": len(_WORD.findall(text)),
            "text_digest": hashlib.sha256(text.encode("utf-8", "replace")).hexdigest(),
        }  # fmt: skip
        signatures.append(signature(text))
        try:
            node = None if match.rule == "folder" else match.node_id  # a folder holds more than its name says
            read = read_narrative(text, taxonomy, node, match.qualifiers, image)
        except ValueError as error:
            one = _unreadable(text, error)
            found.append({"id": name, **asdict(one)})
            place = {"first_sentence": one.sentence, "first_start": one.start, "first_end": one.end}
            relation = "absent" if match.node_id and match.rule != "folder" else "no_label"
            texts.append(fact | place | {"layout": "unreadable", "relation": relation})
            continue
        read, narrative = _stated(read, taxonomy)
        found += [{"id": name, **asdict(one)} for one in _findings(read, narrative, taxonomy)]
        texts.append(fact | _facts(read, taxonomy))
    return Audited(
        pl.DataFrame(found, schema=FINDINGS), pl.DataFrame(texts, schema=TEXTS), np.array(signatures, dtype=np.uint32)
    )


def _facts(read: NarrativeText, taxonomy: Taxonomy) -> dict[str, Any]:
    layout, first, end = read.document.layout, read.told[0][0], read.conclusion
    return {
        "concluded": list(read.concluded),
        "concluded_words": list(end.names) if end else [],
        "concluded_family": family(taxonomy, read.concluded[0]) if read.concluded else None,
        "relation": read.relation,
        "second_conclusion": list(end.other.names) if end and end.other else [],
        "certainty": certainty(read),
        "layout": shape(read),
        "think_blocks": layout.think_blocks,
        "balanced": layout.balanced,
        "markdown": layout.markdown,
        "headings": layout.headings,
        "items": layout.items,
        "sentences": len(read.told),
        "first_sentence": first.text,
        "first_start": first.start,
        "first_end": first.end,
    }


def family(taxonomy: Taxonomy, node: str | None) -> str | None:
    """The nearest family or group that a node lies in, by name."""
    if node is None:
        return None
    above = [taxonomy.node(one) for one in reversed(taxonomy.path(node))]
    return next((one.name for one in above if one.level in ("family", "group")), above[-1].name)
