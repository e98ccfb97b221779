"""How a textbook narrative concludes: no surer than its label, with the reasons taken up in the way of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from annotators.textbook_trajectory import weighing
from annotators.textbook_writer import Writer
from schemas.cards import DifferentialEdge
from schemas.narrative import Conclusion, Differential

_RATIONALE = 1200

#: How a conclusion may be worded for each certainty; only the first three may say that it is confirmed.
_WORDING: Mapping[str, Callable[[str], str]] = {
    "histopathology": lambda name: f"The diagnosis of {name} is confirmed by histopathology.",
    "confocal": lambda name: f"The diagnosis of {name} is confirmed by confocal microscopy.",
    "consensus": lambda name: f"The diagnosis of {name} is confirmed by expert consensus.",
    "follow_up": lambda name: f"The favoured diagnosis is {name}, supported by follow-up without histology.",
    "clinical": lambda name: f"The favoured clinical diagnosis is {name}, without histology.",
    "atlas": lambda name: f"The favoured diagnosis is {name}; no histology is known.",
    "self_report": lambda name: f"A possible diagnosis is {name}; it rests on what the person reported.",
    "unstated": lambda name: f"A possible diagnosis is {name}; nothing is known about how it was made.",
}


def conclude(writer: Writer, favoured: Differential, set_aside: DifferentialEdge, used: set[str]) -> Conclusion:
    """The conclusion at the label's node, weighed against ``set_aside``: the rival, or the first impression."""
    certainty, node = writer.fields["label_certainty"], writer.node
    n = 3 if writer.trajectory == "direct" else 1
    picture = f"Its typical picture is {writer.card.primary_morphology}."
    parts = [_WORDING[certainty](node.spoken), *dict.fromkeys([*favoured.evidence_for[:n], picture])]
    if favoured.evidence_against:
        doubt = favoured.evidence_against[0].removesuffix(".")
        parts.append(f"Against it, {doubt[0].lower()}{doubt[1:]}, which makes it less usual without excluding it.")
    if node.level in ("group", "family"):
        parts.append("A finer diagnosis within it stays open.")
    parts += weighing(writer, set_aside, used)
    while len(" ".join(parts)) > _RATIONALE:
        parts.pop(2)
    return Conclusion(
        diagnosis=node.name,
        taxonomy_id=node.id,
        malignancy=node.malignancy,
        certainty=certainty,
        rationale=" ".join(parts),
    )
