"""The nodes of the taxonomy, and what makes a set of nodes a tree: one path each, levels and malignancy that agree."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LEVELS = ("group", "family", "diagnosis", "subtype")
GRANULARITIES = ("exact", "group")
MALIGNANCIES = ("benign", "premalignant", "in_situ", "malignant", "not_neoplastic", "mixed", "indeterminate")
#: What the children of a node may be; anything below ``mixed``.
_MALIGNANCY_BELOW = {
    "benign": {"benign", "not_neoplastic"},
    "premalignant": {"premalignant"},
    "in_situ": {"in_situ"},
    "malignant": {"malignant", "in_situ", "indeterminate"},
    "not_neoplastic": {"not_neoplastic"},
    "indeterminate": {"indeterminate"},
    "mixed": set(MALIGNANCIES),
}


#: First words of names that keep their capital inside a sentence.
_PROPER = frozenset(
    {
        *("BAP1-inactivated", "Becker", "Behçet", "Bowen", "DNA", "Darier", "EBV-positive", "Ehlers-Danlos"),
        *("Erdheim-Chester", "Fordyce", "Hailey-Hailey", "Kaposi", "Langerhans", "Lyme", "Merkel", "Meyerson"),
        *("Mongolian", "Non-Langerhans", "Paget", "Reed", "Rosai-Dorfman", "Spitz", "Stevens-Johnson", "Sézary"),
    }
)


@dataclass(frozen=True)
class Node:
    """One node of the tree; ``parent`` is None at a root. The fields are explained in ``labels.yaml``."""

    id: str
    name: str
    parent: str | None
    level: str
    granularity: str
    malignancy: str
    synonyms: tuple[str, ...] = ()

    @property
    def spoken(self) -> str:
        """The name as it stands inside a sentence."""
        return self.name if self.name.split()[0] in _PROPER else self.name[0].lower() + self.name[1:]


def nodes_by_id(nodes: Iterable[Node]) -> dict[str, Node]:
    """The nodes by id, sorted; ValueError for an id that is no snake case or is used twice."""
    table: dict[str, Node] = {}
    for node in nodes:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", node.id):
            raise ValueError(f"taxonomy id {node.id!r} is not snake_case.")
        if node.id in table:
            raise ValueError(f"taxonomy id {node.id!r} is used by two nodes; give one of them another id.")
        table[node.id] = node
    return dict(sorted(table.items()))


def paths_of(nodes: Mapping[str, Node]) -> dict[str, tuple[str, ...]]:
    """Ids from the root to every node; ValueError for a missing parent or a circle."""
    paths = {}
    for node_id in nodes:
        path = [node_id]
        while (parent := nodes[path[-1]].parent) is not None:
            if parent not in nodes:
                raise ValueError(f"taxonomy node {path[-1]!r} names the parent {parent!r}, which does not exist.")
            if parent in path:
                raise ValueError(f"taxonomy nodes {', '.join(sorted(path))} are each other's ancestors.")
            path.append(parent)
        paths[node_id] = tuple(reversed(path))
    return paths


def check_node(node: Node, nodes: Mapping[str, Node]) -> None:
    """ValueError for a field outside its vocabulary, or a level or malignancy that the parent rules out."""
    for value, allowed in (
        (node.level, LEVELS),
        (node.granularity, GRANULARITIES),
        (node.malignancy, MALIGNANCIES),
    ):
        if value not in allowed:
            raise ValueError(f"taxonomy node {node.id!r} says {value!r}, which is none of {', '.join(allowed)}.")
    if node.malignancy == "mixed" and node.granularity != "group":
        raise ValueError(f"taxonomy node {node.id!r} is mixed but exact; only a group holds several malignancies.")
    if node.parent is None:
        return
    parent = nodes[node.parent]
    if LEVELS.index(node.level) < LEVELS.index(parent.level):
        raise ValueError(f"taxonomy node {node.id!r} ({node.level}) lies below {parent.id!r}, a {parent.level}.")
    if node.malignancy not in _MALIGNANCY_BELOW[parent.malignancy]:
        raise ValueError(
            f"taxonomy node {node.id!r} is {node.malignancy}, but its parent {parent.id!r} is {parent.malignancy}."
        )
