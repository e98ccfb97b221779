"""The words of the taxonomy: names, synonyms, crosswalks and folders, each of which must point at one known node."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from schemas.taxonomy_tree import Node

#: Whitespace, underscore, and the hyphens and dashes of Unicode.
SEPARATORS = re.compile(r"[\s_\-\u2010-\u2015\u2212]+")


def normalise_label(raw: str) -> str:
    """``raw`` with case folded and every run of whitespace, hyphens and underscores as one space; idempotent."""
    return SEPARATORS.sub(" ", raw.casefold()).strip()


def terms_of(nodes: Mapping[str, Node]) -> dict[str, tuple[str, str]]:
    """Normalised name or synonym -> (node id, rule); names win over the same node's synonyms."""
    terms: dict[str, tuple[str, str]] = {}
    for rule in ("name", "synonym"):
        for node in nodes.values():
            for text in (node.name,) if rule == "name" else node.synonyms:
                owner = terms.setdefault(normalise_label(text), (node.id, rule))[0]
                if owner != node.id:
                    raise ValueError(
                        f"taxonomy nodes {owner!r} and {node.id!r} are both called {text!r}; "
                        "take it from both and declare it under ambiguous in labels.yaml."
                    )
    return terms


def folded_crosswalk(dataset: str, table: Mapping[str, str]) -> dict[str, str]:
    """A crosswalk by normalised label; ValueError if two spellings of one label point at two nodes."""
    folded: dict[str, str] = {}
    for label, node_id in table.items():
        if folded.setdefault(normalise_label(label), node_id) != node_id:
            raise ValueError(f"the crosswalk of {dataset} maps {label!r} to two nodes once case is folded.")
    return folded


def check_vocabularies(
    nodes: Mapping[str, Node],
    terms: Mapping[str, object],
    crosswalks: Mapping[str, Mapping[str, str]],
    ambiguous: Mapping[str, Sequence[str]],
    not_a_diagnosis: frozenset[str],
) -> None:
    """ValueError for a label that names an unknown node, is both ambiguous and a term, or is declared no diagnosis."""
    targets = [(f"the crosswalk of {name}", *pair) for name, table in crosswalks.items() for pair in table.items()]
    targets += [("the ambiguous list", label, node_id) for label, ids in ambiguous.items() for node_id in ids]
    for where, label, node_id in targets:
        if node_id not in nodes:
            raise ValueError(f"{where} maps {label!r} to {node_id!r}, which is no taxonomy node.")
    for label, ids in ambiguous.items():
        if len(set(ids)) < 2:
            raise ValueError(f"{label!r} is declared ambiguous with fewer than two nodes; make it a synonym instead.")
        if label in terms:
            raise ValueError(f"{label!r} is declared ambiguous, but is also a taxonomy name or synonym.")
    for label in sorted(not_a_diagnosis):
        if label in terms or label in ambiguous or any(label in table for table in crosswalks.values()):
            raise ValueError(f"{label!r} is declared no diagnosis, but is also the name of one, ambiguous or mapped.")


def check_folders(nodes: Mapping[str, Node], folders: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """ValueError for a folder that holds nothing or an unknown node."""
    for name, table in folders.items():
        for folder, ids in table.items():
            if unknown := [node_id for node_id in ids if node_id not in nodes] or not ids:
                raise ValueError(f"the folder {folder!r} of {name} holds {unknown}, which is no taxonomy node.")
