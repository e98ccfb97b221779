"""The sections of a narrative while the sentences of a free-form text are sorted into them.

The model bounds every line and list; texts do not. Sentences are packed into lines in their order, what a section
cannot hold is handed to the next one, and what is still over at the end is residue, never dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas.narrative import UNMAPPED, Conclusion, Differential, Finding, Narrative
from schemas.taxonomy import Taxonomy

#: The longest name of a diagnosis that the model takes, in characters.
NAME_LENGTH = 120
_LINE, _LONG_LINE = 600, 1200
_FINDINGS, _ENTRIES, _SIDE, _LIMITATIONS = 24, 16, 8, 8


@dataclass(frozen=True)
class Residue:
    """A sentence that no section took; ``clinical`` when it says something about skin, disease or care."""

    text: str
    clinical: bool


@dataclass
class Entry:
    """A diagnosis considered, while it is gathered."""

    name: str
    evidence_for: list[str] = field(default_factory=list)
    evidence_against: list[str] = field(default_factory=list)


@dataclass
class Sections:
    """The sections while they are filled; the first diagnosis in ``entries`` is the one concluded."""

    name: str
    node_id: str
    entries: dict[str, Entry]
    findings: list[str] = field(default_factory=list)
    rationale: list[str] = field(default_factory=list)
    limitations: list[str] = field(default_factory=list)
    next_step: list[str] = field(default_factory=list)
    residue: list[Residue] = field(default_factory=list)

    def narrative(self, certainty: str, taxonomy: Taxonomy) -> Narrative:
        """The sections as the model wants them: sentences packed into lines, what is over handed on."""
        concluded = next(iter(self.entries.values()))
        rationale, over = _packed(self.rationale, _LONG_LINE, 1)
        concluded.evidence_for += over
        next_step, over = _packed(self.next_step, _LONG_LINE, 1)
        self.limitations += over
        limitations, over = _packed(self.limitations, _LINE, _LIMITATIONS)
        self.findings += over
        differential = []
        for nth, (node_id, entry) in enumerate(self.entries.items()):
            if nth >= _ENTRIES:
                self.findings += [entry.name, *entry.evidence_for, *entry.evidence_against]
                continue
            sides = []
            for side in (entry.evidence_for, entry.evidence_against):
                lines, over = _packed(side, _LINE, _SIDE)
                self.findings += over
                sides.append(tuple(lines))
            differential.append(
                Differential(
                    diagnosis=entry.name,
                    taxonomy_id=node_id if node_id in taxonomy else UNMAPPED,
                    evidence_for=sides[0],
                    evidence_against=sides[1],
                )
            )
        findings, over = self.findings, []
        if len(findings) > _FINDINGS or any(len(finding) > _LINE for finding in findings):
            findings, over = _packed(findings, _LINE, _FINDINGS)
        self.residue += [Residue(text, True) for text in over]
        return Narrative(
            context_used=(),
            findings=tuple(Finding(origin="image", text=text) for text in findings),
            differential=tuple(differential),
            conclusion=Conclusion(
                diagnosis=self.name,
                taxonomy_id=self.node_id,
                malignancy=taxonomy.node(self.node_id).malignancy if self.node_id in taxonomy else "indeterminate",
                certainty=certainty,
                rationale=rationale[0],
            ),
            limitations=tuple(limitations),
            next_step=next_step[0] if next_step else None,
        )


def _packed(texts: Sequence[str], length: int, most: int) -> tuple[list[str], list[str]]:
    """``texts`` joined, in order, into at most ``most`` lines of ``length`` characters; and what found no room."""
    lines: list[str] = []
    for nth, text in enumerate(texts):
        for piece in _pieces(text, length):
            if lines and len(lines[-1]) + 1 + len(piece) <= length:
                lines[-1] += f" {piece}"
            else:
                lines.append(piece)
        if len(lines) > most:
            kept, over = lines[:most], lines[most:]
            return kept, [*over, *texts[nth + 1 :]]
    return lines, []


def _pieces(text: str, length: int) -> Iterable[str]:
    """A text longer than a line, cut at white space; a word longer than a line, anywhere."""
    while len(text) > length:
        cut = text.rfind(" ", 1, length + 1)
        cut = cut if cut > 0 else length
        yield text[:cut].strip()
        text = text[cut:].strip()
    if text:
        yield text
