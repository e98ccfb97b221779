"""How far two diagnoses agree, along the tree of the taxonomy: a label on the way to the truth is partly right.

Exact match calls a right family as wrong as another organ. Depth on the true path over its length grades that, and the
malignancy status is what a wrong answer may cost a person. The weights of :func:`graded_reward` are those that Skin-R1
(arXiv 2511.14900) publishes; its format term is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.taxonomy import Node, Taxonomy

PATH_WEIGHT, STATUS_WEIGHT = 0.75, 0.25
#: How a conclusion stands to a label, nearest first. ``several``: it leaves the choice open, and one of them fits.
RELATIONS = ("agree", "descendant", "ancestor", "sibling", "several", "contradiction")
#: Last words of nodes that only gather diseases; nobody is told to have one of these.
_GATHERING = frozenset(
    {
        *("anomaly", "change", "condition", "deposition", "disease", "diseases", "disorder"),
        *("dermatosis", "erythema", "hemorrhage", "infection", "infestation", "bite", "insufficiency"),
        *("lesion", "macule", "malformation", "metastasis", "neoplasm", "pigmentation", "precursor"),
        *("proliferation", "reaction", "syndrome", "vasculopathy", "photodamage", "histiocytosis"),
        *("hyperpigmentation", "hypopigmentation", "injury", "purpura", "infiltrate", "picking"),
    }
)
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


def names_a_disease(node: Node) -> bool:
    """Whether a person can be told to have it: any diagnosis or subtype, and a family such as eczema or lupus."""
    if node.level not in ("group", "family"):
        return True
    return node.level == "family" and node.name.split()[-1].casefold() not in _GATHERING


def relation(taxonomy: Taxonomy, concluded: Sequence[str], label: str, *, is_open: bool = False) -> str:
    """How the nodes a text concludes stand to its label, a word of :data:`RELATIONS`; KeyError for an unknown id.

    The nearest of them counts. Siblings are forms of one disease; what merely shares a group contradicts. ``is_open``:
    the text leaves open which of the nodes it is.
    """
    best = min((_relation(taxonomy, node, label) for node in concluded), key=RELATIONS.index)
    return "several" if is_open and len(set(concluded)) > 1 and best != "contradiction" else best


def _relation(taxonomy: Taxonomy, node: str, label: str) -> str:
    if node == label:
        return "agree"
    if taxonomy.is_ancestor(label, node):
        return "descendant"
    if taxonomy.is_ancestor(node, label):
        return "ancestor"
    parents = {taxonomy.node(node).parent, taxonomy.node(label).parent}
    shared = next(iter(parents)) if len(parents) == 1 else None
    return "sibling" if shared is not None and names_a_disease(taxonomy.node(shared)) else "contradiction"
