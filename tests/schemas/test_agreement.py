"""Agreement along the tree: bounds, the published example, and what counts as on the path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.agreement import graded_reward, matched_depth, path_agreement
from schemas.taxonomy import Node, Taxonomy, load_taxonomy

TAXONOMY = load_taxonomy()
NODES = st.sampled_from([node.id for node in TAXONOMY.nodes])


def chain() -> Taxonomy:
    """Four levels on one branch, and a malignant neighbour."""
    levels = ("group", "family", "diagnosis", "subtype")
    nodes = [Node(f"n{i}", f"N{i}", f"n{i - 1}" if i else None, level, "group" if i < 2 else "exact", "benign")
             for i, level in enumerate(levels)]  # fmt: skip
    other = Node("m", "M", None, "diagnosis", "exact", "malignant")
    return Taxonomy("1", [*nodes, other], crosswalks={}, ambiguous={}, not_a_diagnosis=[])


def test_the_published_example_an_answer_at_depth_three_of_a_path_of_four() -> None:
    tree = chain()
    assert matched_depth(tree, "n2", "n3") == 3
    assert 0.75 * path_agreement(tree, "n2", "n3") == pytest.approx(0.5625)
    assert graded_reward(tree, "n2", "n3") == pytest.approx(0.5625 + 0.25)


def test_off_the_path_only_the_status_counts_and_another_status_counts_nothing() -> None:
    tree = chain()
    assert graded_reward(tree, "m", "n3") == 0.0
    assert graded_reward(tree, "n3", "n2") == 0.25  # finer than the truth: more than it says
    assert graded_reward(TAXONOMY, "psoriasis", "lichen_planus") == 0.25
    assert path_agreement(TAXONOMY, "psoriasis", "lichen_planus") > 0.5
    assert graded_reward(TAXONOMY, "melanoma", "melanocytic_nevus") == 0.0


def test_a_forerunner_is_acted_on_like_a_cancer() -> None:
    assert graded_reward(TAXONOMY, "actinic_keratosis", "squamous_cell_carcinoma") >= 0.25
    assert graded_reward(TAXONOMY, "seborrheic_keratosis", "squamous_cell_carcinoma") == 0.0


@given(NODES, NODES)
def test_bounds_and_the_truth_itself(answer: str, truth: str) -> None:
    assert 0 <= path_agreement(TAXONOMY, answer, truth) <= 1
    assert 0 <= graded_reward(TAXONOMY, answer, truth) <= 1
    assert graded_reward(TAXONOMY, truth, truth) == 1
    assert matched_depth(TAXONOMY, answer, truth) == matched_depth(TAXONOMY, truth, answer)
    parents = TAXONOMY.path(truth)[:-1]
    rewards = [graded_reward(TAXONOMY, node, truth) for node in parents if TAXONOMY.node(node).malignancy ==
               TAXONOMY.node(truth).malignancy]  # fmt: skip
    assert rewards == sorted(rewards)


def test_an_unknown_node_is_an_error() -> None:
    with pytest.raises(KeyError):
        graded_reward(TAXONOMY, "nowhere", "melanoma")
