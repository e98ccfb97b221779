"""What stays true of the shipped tree, whoever edits it: one path each, ids kept for ever, one meaning a word."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from schemas.taxonomy import LEVELS, Node, Taxonomy, load_taxonomy, normalise_label

TAXONOMY = load_taxonomy()
#: One file of ids for every version that was released, so that no id is ever renamed or lost.
RELEASED = {int(path.stem.rsplit("_", 1)[1]): path.read_text(encoding="utf-8").split()
            for path in (Path(__file__).parent / "data").glob("taxonomy_ids_*.txt")}  # fmt: skip


def lost_ids(taxonomy: Taxonomy) -> list[str]:
    """Ids of any released version that the taxonomy no longer has."""
    return sorted({node_id for ids in RELEASED.values() for node_id in ids if node_id not in taxonomy})


def test_no_released_id_is_lost_and_new_ids_raise_the_version() -> None:
    assert set(RELEASED) >= {2, 3}
    assert lost_ids(TAXONOMY) == []
    assert TAXONOMY.version == str(max(RELEASED)), "write the ids of the new version to tests/schemas/data"
    assert sorted(RELEASED[max(RELEASED)]) == [node.id for node in TAXONOMY.nodes]


def test_a_lost_id_is_noticed() -> None:
    kept = [node for node in TAXONOMY.nodes if node.id != "perineurioma"]
    smaller = Taxonomy("3", kept, crosswalks={}, ambiguous={}, not_a_diagnosis=[])
    assert lost_ids(smaller) == ["perineurioma"]


def test_every_node_is_reached_from_exactly_one_root() -> None:
    children: dict[str | None, list[Node]] = {}
    for node in TAXONOMY.nodes:
        children.setdefault(node.parent, []).append(node)
    reached: Counter[str] = Counter()
    waiting = list(children[None])
    while waiting:
        node = waiting.pop()
        reached[node.id] += 1
        waiting += children.get(node.id, [])
    assert reached == Counter(node.id for node in TAXONOMY.nodes)
    assert {node.id for node in children[None]} == {TAXONOMY.path(node.id)[0] for node in TAXONOMY.nodes}
    assert {node.level for node in children[None]} == {"group"}


def test_the_tree_is_deep_and_wide_enough() -> None:
    levels = Counter(node.level for node in TAXONOMY.nodes)
    assert set(levels) == set(LEVELS)
    assert levels["diagnosis"] >= 900
    assert max(len(TAXONOMY.path(node.id)) for node in TAXONOMY.nodes) >= 6
    deep = [node for node in TAXONOMY.nodes if len({TAXONOMY.node(n).level for n in TAXONOMY.path(node.id)}) == 4]
    assert len(deep) >= 100


def test_a_family_is_no_leaf_unless_a_dataset_needs_it() -> None:
    parents = {node.parent for node in TAXONOMY.nodes}
    leaves = {node.id for node in TAXONOMY.nodes if node.level in ("group", "family") and node.id not in parents}
    assert leaves <= {"cutaneous_metastasis", "ehlers_danlos_syndrome"}


def test_every_word_means_one_node_and_none_is_written_twice() -> None:
    owner: dict[str, str] = {}
    for node in TAXONOMY.nodes:
        terms = [normalise_label(term) for term in (node.name, *node.synonyms)]
        assert len(terms) == len(set(terms)), f"{node.id} says one name twice"
        for term in terms:
            assert owner.setdefault(term, node.id) == node.id, term
    for label in owner:
        match = TAXONOMY.match(label)
        assert (match.node_id, match.rule in ("name", "synonym")) == (owner[label], True), label


def test_names_are_plain_text_and_ids_follow_them() -> None:
    for node in TAXONOMY.nodes:
        assert re.fullmatch(r"[A-ZÀ-Ž0-9][^\n\"<>]+", node.name), node.name
        assert node.name == " ".join(node.name.split())


@pytest.mark.parametrize(
    ("node_id", "malignancy"),
    [
        ("erythroplasia_of_queyrat", "in_situ"),
        ("arsenical_keratosis", "premalignant"),
        ("subungual_melanoma", "malignant"),
        ("leukemia_cutis", "malignant"),
        ("blastic_plasmacytoid_dendritic_cell_neoplasm", "malignant"),
        ("marjolin_ulcer", "malignant"),
        ("pseudolymphoma", "benign"),
        ("dermatosis_papulosa_nigra", "benign"),
        ("miescher_nevus", "benign"),
        ("scar", "not_neoplastic"),
        ("basal_cell_nevus_syndrome", "not_neoplastic"),
    ],
)
def test_malignancy(node_id: str, malignancy: str) -> None:
    assert TAXONOMY.node(node_id).malignancy == malignancy
