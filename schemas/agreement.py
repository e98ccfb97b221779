"""How far two diagnoses agree, along the tree of the taxonomy: a label on the way to the truth is partly right.

Exact match calls a right family as wrong as another organ. Depth on the true path over its length grades that, and the
malignancy status is what a wrong answer may cost a person. The weights of :func:`graded_reward` are those that Skin-R1
(arXiv 2511.14900) publishes; its format term is the caller's.
"""

from __future__ import annotations

from schemas.taxonomy import Taxonomy

PATH_WEIGHT, STATUS_WEIGHT = 0.75, 0.25
_STATUS = {"premalignant": "malignant", "in_situ": "malignant", "not_neoplastic": "benign"}


def matched_depth(taxonomy: Taxonomy, answer: str, truth: str) -> int:
    """How many nodes, from the root down, the paths of two nodes share; KeyError for an unknown id."""
    shared = 0
    for mine, true in zip(taxonomy.path(answer), taxonomy.path(truth), strict=False):
        if mine != true:
            break
        shared += 1
    return shared


def path_agreement(taxonomy: Taxonomy, answer: str, truth: str) -> float:
    """Matched depth over the length of the true path, 0 to 1; 1 for the truth and for anything below it."""
    return matched_depth(taxonomy, answer, truth) / len(taxonomy.path(truth))


def graded_reward(taxonomy: Taxonomy, answer: str, truth: str) -> float:
    """0.75 of the path agreement where the answer lies on the true path, else none of it, and 0.25 for the status.

    The status is benign or malignant; a forerunner and a cancer in situ count as malignant, since both are acted on,
    and a disease that is no growth as benign. An answer below the truth claims more than the truth says and is not on
    its path. A group of mixed or uncertain behaviour agrees only with itself.
    """
    on_path = answer == truth or taxonomy.is_ancestor(answer, truth)
    graded = path_agreement(taxonomy, answer, truth) if on_path else 0.0
    same = _status(taxonomy, answer) == _status(taxonomy, truth)
    return PATH_WEIGHT * graded + STATUS_WEIGHT * same


def _status(taxonomy: Taxonomy, node_id: str) -> str:
    malignancy = taxonomy.node(node_id).malignancy
    return _STATUS.get(malignancy, malignancy)
