"""The diagnosis taxonomy: a tree of diagnoses, and what each dataset's labels mean in it.

Two datasets that call one disease by different names, or one more finely than the other, must meet in one tree: label
conflicts, balance and narratives are all decided there. A label means a node by a name, a synonym or a rule that a
person can check (:mod:`schemas.label_rules`), or it is reported; a wrong diagnosis would cost more than a lost case.
The data are the YAML files of ``schemas/data/taxonomy``, whose ``labels.yaml`` explains their format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from schemas.label_paths import read_path
from schemas.label_rules import RULES_VERSION, LabelIndex
from schemas.taxonomy_files import read_folder
from schemas.taxonomy_tree import GRANULARITIES, LEVELS, MALIGNANCIES, Node, check_node, nodes_by_id, paths_of
from schemas.taxonomy_vocabulary import (
    SEPARATORS,
    check_folders,
    check_vocabularies,
    folded_crosswalk,
    normalise_label,
    terms_of,
)

__all__ = [
    "GRANULARITIES",
    "LABEL_RULES",
    "LEVELS",
    "MALIGNANCIES",
    "LabelMatch",
    "Node",
    "Taxonomy",
    "load_taxonomy",
    "normalise_label",
    "read_taxonomy",
]

#: How a label was matched; the last three leave it without a node.
LABEL_RULES = (
    *("crosswalk", "name", "synonym", "variant", "compound", "qualifier", "misspelling", "folder"),
    *("ambiguous", "unmapped", "not_a_diagnosis"),
)
#: No dataset's label is longer; a longer text is not read.
_LONGEST = 300


@dataclass(frozen=True)
class LabelMatch:
    """What a raw label means: a node or None, a rule of :data:`LABEL_RULES`, and the nodes an ambiguous label names.

    The one of an unmapped label is what its folder holds. ``qualifiers``: words of body site and course that
    were set aside to find the node.
    """

    node_id: str | None
    rule: str
    candidates: tuple[str, ...] = ()
    qualifiers: tuple[str, ...] = ()


class Taxonomy:
    """A validated tree of :class:`Node` with its label vocabularies; immutable once made.

    ``crosswalks``: adapter name -> raw label -> node id. ``ambiguous``: label -> the ids it may mean.
    ``not_a_diagnosis``: labels that state none. ``folders``: adapter name -> picture folder -> the nodes that it holds,
    for the datasets whose labels are paths. Contradictions raise ValueError.
    """

    def __init__(
        self,
        version: str,
        nodes: Iterable[Node],
        *,
        crosswalks: Mapping[str, Mapping[str, str]],
        ambiguous: Mapping[str, Sequence[str]],
        not_a_diagnosis: Iterable[str],
        folders: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
    ) -> None:
        self._version = version
        self._nodes = nodes_by_id(nodes)
        self._paths = paths_of(self._nodes)
        for node in self._nodes.values():
            check_node(node, self._nodes)
        self._terms = terms_of(self._nodes)
        self._ambiguous = {normalise_label(label): tuple(sorted(ids)) for label, ids in ambiguous.items()}
        self._not_a_diagnosis = frozenset(normalise_label(label) for label in not_a_diagnosis)
        self._crosswalks = {name: folded_crosswalk(name, table) for name, table in crosswalks.items()}
        self._folders = {
            name: {normalise_label(folder): tuple(ids) for folder, ids in table.items()}
            for name, table in (folders or {}).items()
        }
        check_vocabularies(self._nodes, self._terms, self._crosswalks, self._ambiguous, self._not_a_diagnosis)
        check_folders(self._nodes, self._folders)
        self._indexes: dict[str, LabelIndex] = {}
        self._digest = self._content_digest()

    @property
    def version(self) -> str:
        """Version of the mapping, as its editors count it."""
        return self._version

    @property
    def digest(self) -> str:
        """sha256 (hex) of everything that can change a match or a path, whatever the order it was written in."""
        return self._digest

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, sorted by id."""
        return tuple(self._nodes.values())

    @property
    def datasets(self) -> tuple[str, ...]:
        """The adapter names that have a crosswalk, sorted."""
        return tuple(sorted({*self._crosswalks, *self._folders}))

    @property
    def crosswalks(self) -> Mapping[str, Mapping[str, str]]:
        """Adapter name -> normalised label -> node id."""
        return self._crosswalks

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def node(self, node_id: str) -> Node:
        """The node with this id; KeyError if there is none."""
        return self._nodes[node_id]

    def path(self, node_id: str) -> tuple[str, ...]:
        """Ids from the root to ``node_id``, both included; KeyError for an unknown id."""
        return self._paths[node_id]

    def is_ancestor(self, a: str, b: str) -> bool:
        """Whether ``a`` lies above ``b``; a node is no ancestor of itself. KeyError for an unknown id."""
        path, depth = self._paths[b], len(self._paths[a])
        return depth < len(path) and path[depth - 1] == a

    def on_one_branch(self, a: str, b: str) -> bool:
        """Whether the labels agree: ``a`` is ``b``, or one lies above the other."""
        return self.finer(a, b) is not None

    def finer(self, a: str, b: str) -> str | None:
        """The deeper of two nodes on one branch, else None."""
        if a == b or self.is_ancestor(a, b):
            return self.node(b).id
        return a if self.is_ancestor(b, a) else None

    def match(self, raw: str | None, dataset: str | None = None) -> LabelMatch:
        """What ``raw`` means in ``dataset`` (an adapter name).

        Its crosswalk comes first, then any node's name or synonym, then the rules of :mod:`schemas.label_rules`. Where
        the labels of the dataset are paths, the file name is read so, and its folder decides only if the name says
        nothing; of a name that says something else, the folder gives the candidates.
        """
        text = raw or ""
        label = normalise_label(text)
        if dataset not in self._folders or (label in self._terms and label not in self._folders[dataset]):
            return self._match_words(text, dataset or "")
        if len(label) > 4 * _LONGEST:
            return LabelMatch(None, "unmapped")
        path = read_path(text, self._folders[dataset], SEPARATORS)
        held = self._folders[dataset].get(path.folder or "", ())
        if path.name:
            in_folder = self._crosswalks.get(dataset, {}).get(f"{path.folder}/{normalise_label(path.name)}")
            match = LabelMatch(in_folder, "crosswalk") if in_folder else self._match_words(path.name, dataset)
            if match.rule != "unmapped":
                return match
        elif len(held) == 1:
            return LabelMatch(held[0], "folder")
        if len(held) > 1:
            return LabelMatch(None, "ambiguous", held)
        return LabelMatch(None, "unmapped" if label else "not_a_diagnosis", held)

    def _match_words(self, raw: str, dataset: str) -> LabelMatch:
        label = normalise_label(raw)
        in_dataset = self._crosswalks.get(dataset, {})
        if not label or label in self._not_a_diagnosis:
            return LabelMatch(None, "not_a_diagnosis")
        if label in in_dataset:
            return LabelMatch(in_dataset[label], "crosswalk")
        if label in self._terms:
            return LabelMatch(*self._terms[label])
        if label in self._ambiguous:
            return LabelMatch(None, "ambiguous", self._ambiguous[label])
        reading = self._index(dataset if dataset in self._folders else "").read(raw) if len(label) <= _LONGEST else None
        if reading is None:
            return LabelMatch(None, "unmapped")
        if len(reading.nodes) > 1:
            return LabelMatch(None, "ambiguous", reading.nodes)
        return LabelMatch(reading.nodes[0], reading.rule, qualifiers=reading.qualifiers)

    def _index(self, dataset: str) -> LabelIndex:
        """The terms of the tree as sets of words, with the words of ``dataset``; made when a label first needs it."""
        if dataset not in self._indexes:
            terms = [(term, node.id) for node in self._nodes.values() for term in (node.name, *node.synonyms)]
            terms += [(label, node_id) for label, ids in self._ambiguous.items() for node_id in ids]
            terms += self._crosswalks.get(dataset, {}).items()
            self._indexes[dataset] = LabelIndex(terms, self._paths)
        return self._indexes[dataset]

    def _content_digest(self) -> str:
        content = {
            "version": self._version,
            "rules": RULES_VERSION,
            "nodes": [asdict(node) | {"synonyms": sorted(node.synonyms)} for node in self._nodes.values()],
            "crosswalks": self._crosswalks,
            "folders": self._folders,
            "ambiguous": self._ambiguous,
            "not_a_diagnosis": sorted(self._not_a_diagnosis),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@cache
def load_taxonomy() -> Taxonomy:
    """The taxonomy that ships with this package, read once per process."""
    return read_taxonomy(files("schemas") / "data" / "taxonomy")


def read_taxonomy(folder: Traversable) -> Taxonomy:
    """The taxonomy in the YAML files of ``folder``; ValueError says what contradicts what, and in which file."""
    nodes, documents = read_folder(folder)
    labels = documents["labels.yaml"]
    return Taxonomy(
        labels["version"],
        nodes,
        crosswalks=documents["crosswalks.yaml"],
        ambiguous=labels["ambiguous"],
        not_a_diagnosis=labels["not_a_diagnosis"],
        folders=documents.get("folders.yaml"),
    )
