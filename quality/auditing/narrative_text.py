"""A text as every rule of the audit sees it: read once, with its label and what it concludes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from quality.check_patterns import IN_GENERAL
from quality.reading.assertions import Statement
from quality.reading.conclusion import Conclusion, conclude, read_statements
from quality.reading.segments import Document, Sentence, read_text
from schemas.agreement import relation
from schemas.taxonomy import Taxonomy

Told = tuple[Sentence, list[Statement]]


@dataclass(frozen=True)
class NarrativeText:
    """A free-form text: its sentences with what they state, its conclusion, its label's node and words of site."""

    document: Document
    told: tuple[Told, ...]
    conclusion: Conclusion | None
    label_node: str | None
    label_words: tuple[str, ...]
    image_name: str | None
    relation: str

    @property
    def concluded(self) -> tuple[str, ...]:
        """The nodes it settles on; none when it settles on nothing the taxonomy knows."""
        return self.conclusion.nodes if self.conclusion else ()

    @property
    def last(self) -> Sentence:
        """Where a person should look when there is nothing better to point at: the conclusion, else the last one."""
        return self.conclusion.sentence if self.conclusion else self.told[-1][0]

    def of_this_case(self) -> Iterator[Told]:
        """The sentences that describe what was seen: no list of look-alikes, nothing general or supposed."""
        for sentence, statements in self.told:
            in_list = bool(sentence.lead) and any(s.mention.end <= len(sentence.lead) + 3 for s in statements)
            if not in_list and not sentence.is_heading and not IN_GENERAL.search(sentence.text):
                yield sentence, statements


def read_narrative(
    text: str, taxonomy: Taxonomy, label_node: str | None, label_words: tuple[str, ...] = (), image: str | None = None
) -> NarrativeText:
    """``text`` read; ValueError says why it cannot be (empty, too long, no word in it)."""
    document = read_text(text)
    if not document.sentences:
        raise ValueError("the text has no word in it")
    told = read_statements(document)
    conclusion = conclude(document, taxonomy, told)
    return NarrativeText(
        document, tuple(told), conclusion, label_node, label_words, image,
        relation_of(conclusion, label_node, taxonomy),
    )  # fmt: skip


def relation_of(conclusion: Conclusion | None, label_node: str | None, taxonomy: Taxonomy) -> str:
    """A word of :data:`schemas.agreement.RELATIONS`, ``absent`` (concludes nothing known) or ``no_label``."""
    if label_node is None:
        return "no_label"
    if conclusion is None or not conclusion.nodes:
        return "absent"
    found = relation(taxonomy, conclusion.nodes, label_node, is_open=conclusion.is_open)
    if found == "contradiction":  # "telangiectasia, with a spider angioma" does not contradict either of them
        found = relation(taxonomy, (*conclusion.nodes, *conclusion.beside), label_node)
    return found
