"""Reading labels by rule: what is read, what is set aside, what stays ambiguous, and that nothing is guessed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.taxonomy import LABEL_RULES, load_taxonomy

TAXONOMY = load_taxonomy()
TERMS = [(node.id, term) for node in TAXONOMY.nodes for term in (node.name, *node.synonyms)]


@pytest.mark.parametrize(
    ("label", "node", "rule", "aside"),
    [
        ("warts plantar", "plantar_wart", "synonym", ()),
        ("Moles and nevi, dysplastic", None, "unmapped", ()),
        ("nevi dysplastic", "dysplastic_nevus", "variant", ()),
        ("basal cell carcinomas", "basal_cell_carcinoma", "variant", ()),
        ("carcinoma, basal cell", "basal_cell_carcinoma", "variant", ()),
        ("Sweet's syndromes", "sweet_syndrome", "variant", ()),
        ("glomus tumour", "glomus_tumor", "variant", ()),
        ("haemangiomata", "hemangioma", "variant", ()),
        ("psoriasis?", None, "unmapped", ()),
        ("PerioralDerm", "perioral_dermatitis", "variant", ()),
        ("PerioralDermEye", "perioral_dermatitis", "qualifier", ("eye",)),
        ("psoriasis scalp", "psoriasis", "qualifier", ("scalp",)),
        ("eczema fingertips", "eczema", "qualifier", ("fingertip",)),
        ("herpes zoster child", "herpes_zoster", "qualifier", ("child",)),
        ("Chronic psoriasis of the knees", "psoriasis", "qualifier", ("chronic", "knee")),
        ("hand eczema", "hand_eczema", "name", ()),
        ("eczema-hand-12.jpg", "hand_eczema", "variant", ()),
        ("granuloma anulare", None, "unmapped", ()),  # short words are never respelt
        ("dermatofibrma", "dermatofibroma", "misspelling", ()),
        ("pityrasis rosea", "pityriasis_rosea", "misspelling", ()),
        ("dermatos", None, "unmapped", ()),
        ("melanoma mimic", None, "unmapped", ()),
        ("patch testing", None, "unmapped", ()),
        ("IMG006", None, "unmapped", ()),
        ("scalp", None, "unmapped", ()),
        ("acute", None, "unmapped", ()),
        ("no psoriasis", None, "unmapped", ()),
        ("psoriasis or eczema", None, "unmapped", ()),
    ],
)
def test_labels_are_read_by_rule_or_not_at_all(label: str, node: str | None, rule: str, aside: tuple[str, ...]) -> None:
    match = TAXONOMY.match(label)
    assert (match.node_id, match.rule, match.qualifiers) == (node, rule, aside)


def test_a_label_that_fits_several_nodes_names_them() -> None:
    match = TAXONOMY.match("pityriasis lichenoides")
    assert (match.node_id, match.rule) == (None, "ambiguous")
    assert match.candidates == ("pityriasis_lichenoides_chronica", "pityriasis_lichenoides_et_varioliformis_acuta")


@given(st.sampled_from(TERMS), st.randoms(use_true_random=False))
def test_case_space_and_order_of_words_do_not_move_a_term_to_another_node(
    term: tuple[str, str], chance: random.Random
) -> None:
    node_id, text = term
    words = text.split()
    chance.shuffle(words)
    shuffled = "  ".join(chance.choice([str.upper, str.lower, str.title])(word) for word in words)
    match = TAXONOMY.match(shuffled)
    assert match.node_id == node_id or (match.node_id is None and node_id in match.candidates)


@given(st.text(max_size=200))
def test_any_text_is_mapped_ambiguous_or_reported(text: str) -> None:
    match = TAXONOMY.match(text)
    assert match.rule in LABEL_RULES
    assert (match.node_id is not None) == (match.rule not in ("ambiguous", "unmapped", "not_a_diagnosis"))
    assert TAXONOMY.match(f" {text.upper()} ").node_id == TAXONOMY.match(f" {text.upper()} ".lower()).node_id
