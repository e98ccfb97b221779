"""The YAML files of ``schemas/data/taxonomy``, read as text: what is misspelt or given twice is an error."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from schemas.parsed_yaml import parsed
from schemas.taxonomy_tree import Node

_NODE_FIELDS = {"id", "name", "parent", "level", "granularity", "malignancy", "synonyms"}
#: The files that hold no nodes.
VOCABULARIES = ("labels.yaml", "crosswalks.yaml")

#: libyaml's parser where PyYAML has it.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _TextLoader(_Loader):  # type: ignore[misc]
    """Every scalar is text (``no`` and ``null`` may be labels); a key given twice is an error, not a lost line."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _read_yaml(name: str, text: str) -> Any:
    try:
        return yaml.load(text, Loader=_TextLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"taxonomy file {name} cannot be read: {' '.join(str(error).split())}") from error


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


def read_folder(folder: Traversable) -> tuple[list[Node], dict[str, Any]]:
    """The nodes of a taxonomy folder, and its other documents by file name; ValueError names what is missing."""
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    documents = parsed({name: (folder / name).read_text(encoding="utf-8") for name in names}, _read_yaml)
    if missing := set(VOCABULARIES) - set(documents):
        raise ValueError(f"the taxonomy folder lacks {' and '.join(sorted(missing))}.")
    others = {name: documents.pop(name) for name in (*VOCABULARIES, "folders.yaml") if name in documents}
    return [_node(fields, name) for name, entries in sorted(documents.items()) for fields in entries], others
