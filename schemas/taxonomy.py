"""The diagnosis taxonomy: a tree of diagnoses, and what each dataset's labels mean in it.

Two datasets that call one disease by different names, or one more finely than the other, must meet in one tree: label
conflicts, balance and narratives are all decided there. A label is matched exactly (after folding case, hyphens and
spaces) or not at all, so rare spellings stay unmapped until a person adds them; a wrong diagnosis would cost more than
a lost case. The data are the YAML files of ``schemas/data/taxonomy``, whose ``labels.yaml`` explains their format.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from schemas.label_rules import RULES_VERSION, LabelIndex

LEVELS = ("group", "family", "diagnosis", "subtype")
GRANULARITIES = ("exact", "group")
MALIGNANCIES = ("benign", "premalignant", "in_situ", "malignant", "not_neoplastic", "mixed", "indeterminate")
#: How a label was matched; the last three leave it without a node.
LABEL_RULES = (
    *("crosswalk", "name", "synonym", "variant", "qualifier", "misspelling"),
    *("ambiguous", "unmapped", "not_a_diagnosis"),
)

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
_NODE_FIELDS = {"id", "name", "parent", "level", "granularity", "malignancy", "synonyms"}
#: Whitespace, underscore, and the hyphens and dashes of Unicode.
_SEPARATORS = re.compile(r"[\s_\-\u2010-\u2015\u2212]+")


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


@dataclass(frozen=True)
class LabelMatch:
    """What a raw label means: a node or None, a rule of :data:`LABEL_RULES`, and the nodes an ambiguous label names.

    ``qualifiers``: words of body site and course that were set aside to find the node.
    """

    node_id: str | None
    rule: str
    candidates: tuple[str, ...] = ()
    qualifiers: tuple[str, ...] = ()


def normalise_label(raw: str) -> str:
    """``raw`` with case folded and every run of whitespace, hyphens and underscores as one space; idempotent."""
    return _SEPARATORS.sub(" ", raw.casefold()).strip()


class Taxonomy:
    """A validated tree of :class:`Node` with its label vocabularies; immutable once made.

    ``crosswalks``: adapter name -> raw label -> node id. ``ambiguous``: label -> the ids it may mean.
    ``not_a_diagnosis``: labels that state none. Contradictions raise ValueError.
    """

    def __init__(
        self,
        version: str,
        nodes: Iterable[Node],
        *,
        crosswalks: Mapping[str, Mapping[str, str]],
        ambiguous: Mapping[str, Sequence[str]],
        not_a_diagnosis: Iterable[str],
    ) -> None:
        self._version = version
        self._nodes = _by_id(nodes)
        self._paths = _paths(self._nodes)
        for node in self._nodes.values():
            _check_node(node, self._nodes)
        self._terms = _terms(self._nodes)
        self._ambiguous = {normalise_label(label): tuple(sorted(ids)) for label, ids in ambiguous.items()}
        self._not_a_diagnosis = frozenset(normalise_label(label) for label in not_a_diagnosis)
        self._crosswalks = {name: _fold(name, table) for name, table in crosswalks.items()}
        _check_vocabularies(self._nodes, self._terms, self._crosswalks, self._ambiguous, self._not_a_diagnosis)
        terms = [(term, node.id) for node in self._nodes.values() for term in (node.name, *node.synonyms)]
        self._index = LabelIndex(terms)
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
        return tuple(sorted(self._crosswalks))

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

        Its crosswalk comes first, then any node's name or synonym, then the rules of :mod:`schemas.label_rules`.
        """
        label = normalise_label(raw or "")
        in_dataset = self._crosswalks.get(dataset or "", {})
        if not label or label in self._not_a_diagnosis:
            return LabelMatch(None, "not_a_diagnosis")
        if label in in_dataset:
            return LabelMatch(in_dataset[label], "crosswalk")
        if label in self._terms:
            return LabelMatch(*self._terms[label])
        if label in self._ambiguous:
            return LabelMatch(None, "ambiguous", self._ambiguous[label])
        reading = self._index.read(raw or "")
        if reading is None:
            return LabelMatch(None, "unmapped")
        if len(reading.nodes) > 1:
            return LabelMatch(None, "ambiguous", reading.nodes)
        return LabelMatch(reading.nodes[0], reading.rule, qualifiers=reading.qualifiers)

    def _content_digest(self) -> str:
        content = {
            "version": self._version,
            "rules": RULES_VERSION,
            "nodes": [asdict(node) | {"synonyms": sorted(node.synonyms)} for node in self._nodes.values()],
            "crosswalks": self._crosswalks,
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
    documents = {file.name: _read_yaml(file) for file in folder.iterdir() if file.name.endswith(".yaml")}
    if missing := {"labels.yaml", "crosswalks.yaml"} - set(documents):
        raise ValueError(f"the taxonomy folder lacks {' and '.join(sorted(missing))}.")
    labels, crosswalks = documents.pop("labels.yaml"), documents.pop("crosswalks.yaml")
    nodes = [_node(fields, name) for name, entries in sorted(documents.items()) for fields in entries]
    return Taxonomy(
        labels["version"],
        nodes,
        crosswalks=crosswalks,
        ambiguous=labels["ambiguous"],
        not_a_diagnosis=labels["not_a_diagnosis"],
    )


#: libyaml's parser where PyYAML has it: the data files are read at every start.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _TextLoader(_Loader):  # type: ignore[misc]
    """Every scalar is text (``no`` and ``null`` may be labels); a key given twice is an error, not a lost line."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _read_yaml(file: Traversable) -> Any:
    try:
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_TextLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"taxonomy file {file.name} cannot be read: {' '.join(str(error).split())}") from error


def _node(fields: Mapping[str, Any], file_name: str) -> Node:
    missing = {"id", "name", "level", "malignancy"} - set(fields)
    if wrong := sorted(missing | (set(fields) - _NODE_FIELDS)):
        raise ValueError(f"taxonomy node {dict(fields)} in {file_name} lacks or misspells the field {wrong[0]!r}.")
    default = "group" if fields["level"] in ("group", "family") else "exact"
    return Node(
        id=fields["id"],
        name=fields["name"],
        parent=fields.get("parent"),
        level=fields["level"],
        granularity=fields.get("granularity", default),
        malignancy=fields["malignancy"],
        synonyms=tuple(fields.get("synonyms", ())),
    )


def _by_id(nodes: Iterable[Node]) -> dict[str, Node]:
    table: dict[str, Node] = {}
    for node in nodes:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", node.id):
            raise ValueError(f"taxonomy id {node.id!r} is not snake_case.")
        if node.id in table:
            raise ValueError(f"taxonomy id {node.id!r} is used by two nodes; give one of them another id.")
        table[node.id] = node
    return dict(sorted(table.items()))


def _paths(nodes: Mapping[str, Node]) -> dict[str, tuple[str, ...]]:
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


def _check_node(node: Node, nodes: Mapping[str, Node]) -> None:
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


def _terms(nodes: Mapping[str, Node]) -> dict[str, tuple[str, str]]:
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


def _fold(dataset: str, table: Mapping[str, str]) -> dict[str, str]:
    folded: dict[str, str] = {}
    for label, node_id in table.items():
        if folded.setdefault(normalise_label(label), node_id) != node_id:
            raise ValueError(f"the crosswalk of {dataset} maps {label!r} to two nodes once case is folded.")
    return folded


def _check_vocabularies(
    nodes: Mapping[str, Node],
    terms: Mapping[str, object],
    crosswalks: Mapping[str, Mapping[str, str]],
    ambiguous: Mapping[str, Sequence[str]],
    not_a_diagnosis: frozenset[str],
) -> None:
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
