"""Reading labels by rule: what is read, what is set aside, what stays ambiguous, and that nothing is guessed."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.taxonomy import LABEL_RULES, Node, load_taxonomy

TAXONOMY = load_taxonomy()
TERMS = [(node.id, term) for node in TAXONOMY.nodes for term in (node.name, *node.synonyms)]


@pytest.mark.parametrize(
    ("label", "node", "rule", "aside"),
    [
        ("warts plantar", "plantar_wart", "synonym", ()),
        ("Moles and nevi, dysplastic", None, "ambiguous", ()),
        ("nevi dysplastic", "dysplastic_nevus", "variant", ()),
        ("basal cell carcinomas", "basal_cell_carcinoma", "variant", ()),
        ("carcinoma, basal cell", "basal_cell_carcinoma", "variant", ()),
        ("Sweet's syndromes", "sweet_syndrome", "variant", ()),
        ("glomus tumour", "glomus_tumor", "synonym", ()),
        (
            "melanocytic tumour of uncertain malignant potential",
            "melanocytic_tumor_of_uncertain_malignant_potential",
            "variant",
            (),
        ),
        ("haemangiomata", "hemangioma", "variant", ()),
        ("psoriasis?", None, "unmapped", ()),
        ("PerioralDerm", "perioral_dermatitis", "compound", ()),
        ("PerioralDermEye", "perioral_dermatitis", "compound", ("eye",)),
        ("sebaceoushyperplasiaface", "sebaceous_hyperplasia", "compound", ("face",)),
        ("Pseudomonfoll", "pseudomonas_folliculitis", "compound", ()),
        ("psoriasis scalp", "psoriasis", "qualifier", ("scalp",)),
        ("eczema fingertips", "eczema", "qualifier", ("fingertip",)),
        ("herpes zoster child", "herpes_zoster", "qualifier", ("child",)),
        ("Chronic psoriasis of the knees", "psoriasis", "qualifier", ("chronic", "knee")),
        ("hand eczema", "hand_eczema", "name", ()),
        ("eczema-hand-12.jpg", "hand_eczema", "variant", ()),
        ("lichen nitidis", "lichen_nitidus", "misspelling", ()),
        ("nitidis", None, "unmapped", ()),  # a short word is respelt only beside a word of its own term
        ("viral enanthem", None, "unmapped", ()),  # a word of its own, one letter from another
        ("dermatofibrma", "dermatofibroma", "misspelling", ()),
        ("pityrasis rosea", "pityriasis_rosea", "misspelling", ()),
        ("dermatos", None, "unmapped", ()),
        ("melanoma mimic", None, "unmapped", ()),
        ("patch testing", None, "not_a_diagnosis", ()),
        ("hives, acute urticaria", "acute_urticaria", "synonym", ()),
        ("squamous cell carcinoma keratoacanthoma of the nose", "keratoacanthoma", "qualifier", ("nose",)),
        ("Bowen_s-Disease", "bowen_disease", "variant", ()),
        ("seborrhoeic naevi", None, "unmapped", ()),
        ("onychomycosis toenail", "onychomycosis", "qualifier", ("toenail",)),
        ("herpes simplex type 2 buttocks", "herpes_simplex_type_2", "qualifier", ("buttock",)),
        ("rule out melanoma", None, "unmapped", ()),
        ("history of psoriasis", None, "unmapped", ()),
        ("IMG006", None, "unmapped", ()),
        ("scalp", None, "unmapped", ()),
        ("acute", None, "unmapped", ()),
        ("no psoriasis", None, "unmapped", ()),
        ("psoriasis or eczema", None, "ambiguous", ()),
    ],
)
def test_labels_are_read_by_rule_or_not_at_all(label: str, node: str | None, rule: str, aside: tuple[str, ...]) -> None:
    match = TAXONOMY.match(label)
    assert (match.node_id, match.rule, match.qualifiers) == (node, rule, aside)


@pytest.mark.parametrize(
    ("label", "candidates"),
    [
        ("neurodermatitis of the neck", ("atopic_dermatitis", "lichen_simplex_chronicus")),
        ("melanoma vs nevus", ("melanocytic_nevus", "melanoma")),
        ("melanoma nevus", ("melanocytic_nevus", "melanoma")),
        ("Acne/Rosacea", ("acne_vulgaris", "rosacea")),
        ("psoriasis or eczema", ("eczema", "psoriasis")),
        ("melanoma versus lentigo maligna", ("lentigo_maligna", "melanoma")),
        ("keratolysis", ("keratolysis_exfoliativa", "pitted_keratolysis")),
        ("RosaceaMilia", ("milium", "rosacea")),
    ],
)
def test_a_label_that_fits_several_nodes_names_them(label: str, candidates: tuple[str, ...]) -> None:
    match = TAXONOMY.match(label)
    assert (match.node_id, match.rule, match.candidates) == (None, "ambiguous", candidates)


#: Names that look like one disease and are another.
TRAPS = {
    "nevus sebaceous": "nevus_sebaceus",
    "nevus flammeus": "port_wine_stain",
    "nevus araneus": "spider_angioma",
    "lupus pernio": "lupus_pernio",
    "lupus vulgaris": "lupus_vulgaris",
    "pseudofolliculitis": "pseudofolliculitis_barbae",
    "acne keloidalis": "acne_keloidalis",
    "acne rosacea": "rosacea",
    "acne inversa": "hidradenitis_suppurativa",
    "tinea versicolor": "pityriasis_versicolor",
    "tinea amiantacea": "pityriasis_amiantacea",
    "herpes gestationis": "pemphigoid_gestationis",
    "dermatitis herpetiformis": "dermatitis_herpetiformis",
    "erythema ab igne": "erythema_ab_igne",
    "hot tub folliculitis": "pseudomonas_folliculitis",
    "swimmer's itch": "cercarial_dermatitis",
    "lichen sclerosus": "lichen_sclerosus",
    "lichen simplex": "lichen_simplex_chronicus",
    "pyogenic granuloma": "pyogenic_granuloma",
    "granuloma annulare": "granuloma_annulare",
    "bullous impetigo": "bullous_impetigo",
    "pseudo kaposi sarcoma": "acroangiodermatitis",
    "juvenile melanoma": "spitz_nevus",
    "urticaria pigmentosa": "maculopapular_cutaneous_mastocytosis",
    "keratosis pilaris": "keratosis_pilaris",
    "benign familial chronic pemphigus": "hailey_hailey_disease",
}


@pytest.mark.parametrize(("label", "node"), TRAPS.items())
def test_a_name_that_sounds_like_another_disease_is_not_taken_for_it(label: str, node: str) -> None:
    assert TAXONOMY.match(label).node_id == TAXONOMY.match(f"{label} hand").node_id == node


def test_lupus_pernio_is_sarcoidosis_and_lupus_vulgaris_tuberculosis() -> None:
    assert TAXONOMY.is_ancestor("sarcoidosis", "lupus_pernio")
    assert TAXONOMY.is_ancestor("cutaneous_tuberculosis", "lupus_vulgaris")
    assert not TAXONOMY.is_ancestor("dermatophytosis", "pityriasis_versicolor")
    assert not TAXONOMY.is_ancestor("folliculitis", "pseudofolliculitis_barbae")


@given(st.sampled_from(TERMS), st.randoms(use_true_random=False))
def test_case_space_and_order_of_words_do_not_move_a_term_to_another_node(
    term: tuple[str, str], chance: random.Random
) -> None:
    node_id, text = term
    words = re.sub(r"(?i)\b(type|hsv) (?=\d)", r"\1_", text).split()  # a number stays with what it numbers
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


@given(st.sampled_from(TAXONOMY.nodes), st.sampled_from([None, *TAXONOMY.datasets]))
def test_the_name_of_a_mapped_node_maps_to_it(node: Node, dataset: str | None) -> None:
    assert TAXONOMY.match(node.name, dataset).node_id == node.id


@given(st.sampled_from(TERMS), st.sampled_from([" ", "\t", "\n  ", "_", "-", "\u2011"]))
def test_how_words_are_set_apart_does_not_matter(term: tuple[str, str], gap: str) -> None:
    node_id, text = term
    assert TAXONOMY.match(f"  {gap.join(text.split(' '))} ").node_id == node_id


@given(st.text(alphabet=st.characters(categories=("L", "M", "Nd", "P", "Zs", "Cc", "Cf")), max_size=80),
       st.sampled_from([None, *TAXONOMY.datasets]))  # fmt: skip
def test_no_text_breaks_a_reading(text: str, dataset: str | None) -> None:
    assert TAXONOMY.match(text, dataset).rule in LABEL_RULES


@pytest.mark.parametrize(
    "text",
    [
        "psoriasis " * 10_000,
        "a" * 100_000,
        "/" * 100_000,
        "\u202e\u05de\u05dc\u200f",
        "\x00\x1b[31m",
        "x/" * 50_000,
        "psoriasis" + 50_000 * " " + "not" * 2_000,
    ],
)
@pytest.mark.parametrize("dataset", [None, "dermnet"])
def test_long_and_hostile_texts_are_reported_quickly(text: str, dataset: str | None) -> None:
    match = TAXONOMY.match(text, dataset)
    assert (match.node_id, match.rule in ("unmapped", "not_a_diagnosis")) == (None, True)
