"""What the labels of DermNet, DERM12345, DDI and SCIN mean, and that what they leave open is reported."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.taxonomy import Taxonomy, load_taxonomy

TAXONOMY = load_taxonomy()
SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))

#: The 23 picture folders; those with a node decide for names that say nothing, the others hold several families.
FOLDERS = {
    "Acne and Rosacea Photos": "acneiform_or_follicular_disorder",
    "Actinic Keratosis Basal Cell Carcinoma and other Malignant Lesions": None,
    "Atopic Dermatitis Photos": "atopic_dermatitis",
    "Bullous Disease Photos": None,
    "Cellulitis Impetigo and other Bacterial Infections": "bacterial_infection",
    "Eczema Photos": "eczema",
    "Exanthems and Drug Eruptions": None,
    "Hair Loss Photos Alopecia and other Hair Diseases": "hair_disorder",
    "Herpes HPV and other STDs Photos": "infectious_disease",
    "Light Diseases and Disorders of Pigmentation": None,
    "Lupus and other Connective Tissue diseases": "connective_tissue_disease",
    "Melanoma Skin Cancer Nevi and Moles": "melanocytic_neoplasm",
    "Nail Fungus and other Nail Disease": None,
    "Poison Ivy Photos and other Contact Dermatitis": "contact_dermatitis",
    "Psoriasis pictures Lichen Planus and related diseases": "inflammatory_dermatosis",
    "Scabies Lyme Disease and other Infestations and Bites": "infectious_disease",
    "Seborrheic Keratoses and other Benign Tumors": None,
    "Systemic Disease": None,
    "Tinea Ringworm Candidiasis and other Fungal Infections": "fungal_infection",
    "Urticaria Hives": "urticarial_disorder",
    "Vascular Tumors": None,
    "Vasculitis Photos": "vasculitis_or_vasculopathy",
    "Warts Molluscum and other Viral Infections": "viral_infection",
}


@pytest.mark.parametrize(("folder", "node"), FOLDERS.items())
def test_a_dermnet_folder_means_what_truly_covers_it(folder: str, node: str | None) -> None:
    for spelt in (folder, folder.upper(), f"test/{folder}", f"{folder}/IMG011.jpg", f"train\\{folder}\\07IMG0021.JPG"):
        match = TAXONOMY.match(spelt, "dermnet")
        assert (match.node_id, match.rule) == (node, "folder" if node else "ambiguous"), spelt
        assert node or len(match.candidates) > 1


def test_there_are_23_folders() -> None:
    assert len(FOLDERS) == 23


@pytest.mark.parametrize(
    ("name", "node", "rule"),
    [
        ("acne-cystic-103", "cystic_acne", "synonym"),
        ("acne-cystic-103.jpg", "cystic_acne", "synonym"),
        ("Acne and Rosacea Photos/acne-cystic-103.jpg", "cystic_acne", "synonym"),
        ("cot/Acne and Rosacea Photos/acne-cystic-103.jpg.txt", "cystic_acne", "synonym"),
        ("07RosaceaOK0828063.jpg", "rosacea", "name"),
        ("07RosaceaK0216.jpg", "rosacea", "name"),
        ("07PerlecheO1121.jpg", "angular_cheilitis", "synonym"),
        ("07PerioralDermEye.jpg", "perioral_dermatitis", "compound"),
        ("03ichthyosis040705.jpg", "ichthyosis", "name"),
        ("IchthosisIMG006-GP3.jpg", "ichthyosis", "synonym"),
        ("AtopicIMG002-GP3.jpg", "atopic_dermatitis", "crosswalk"),
        ("atopic", "atopic_dermatitis", "crosswalk"),
        ("05AtopicChild.jpg", "atopic_dermatitis", "compound"),
        ("herpes-type-2-primary-14.jpg", "herpes_simplex_type_2", "qualifier"),
        ("Bowen_s-Disease-3.jpg", "bowen_disease", "synonym"),
        ("warts-cryotherapy-30.jpg", "viral_wart", "qualifier"),
        ("actinic-keratosis-5FU-50.jpg", "actinic_keratosis", "name"),
        ("Nail Fungus and other Nail Disease/psoriasis-142.jpg", "nail_psoriasis", "crosswalk"),
        ("Nail Fungus and other Nail Disease/pseudomonas-15.jpg", "green_nail_syndrome", "crosswalk"),
        ("Psoriasis pictures Lichen Planus and related diseases/psoriasis-142.jpg", "psoriasis", "name"),
    ],
)
def test_a_dermnet_file_name_is_read(name: str, node: str, rule: str) -> None:
    match = TAXONOMY.match(name, "dermnet")
    assert (match.node_id, match.rule) == (node, rule)


@pytest.mark.parametrize(
    ("name", "rule", "candidates"),
    [
        ("IMG011.jpg", "unmapped", ()),
        ("unknown folder/IMG011.jpg", "unmapped", ()),
        ("Eczema Photos/fissure-4.jpg", "unmapped", ("eczema",)),
        ("Acne and Rosacea Photos/07RosaceaMilia0120.jpg", "ambiguous", ("milium", "rosacea")),
        ("Poison Ivy Photos and other Contact Dermatitis/patch-testing-9.jpg", "not_a_diagnosis", ()),
        ("pseudomonas-15.jpg", "ambiguous",
         ("green_nail_syndrome", "pseudomonas_folliculitis", "pseudomonas_infection")),
        ("x/actinic-cheilitis-sq-cell-lip-19.jpg", "ambiguous", ("actinic_cheilitis", "squamous_cell_carcinoma")),
        ("", "not_a_diagnosis", ()),
    ],
)  # fmt: skip
def test_a_dermnet_name_that_says_too_little_is_reported(name: str, rule: str, candidates: tuple[str, ...]) -> None:
    match = TAXONOMY.match(name, "dermnet")
    assert (match.node_id, match.rule, match.candidates) == (None, rule, candidates)


def test_a_word_of_the_catalogue_counts_only_there() -> None:
    assert TAXONOMY.match("atopic").rule == "unmapped"
    assert TAXONOMY.match("IMG011", "ddi").rule == "unmapped"
    assert TAXONOMY.match("Melanoma Skin Cancer Nevi and Moles").node_id is None


@given(st.sampled_from(sorted(FOLDERS)), st.sampled_from(TAXONOMY.nodes), st.integers(0, 999))
def test_a_file_named_after_a_disease_means_it_in_any_folder(folder: str, node: object, number: int) -> None:
    name = node.name  # type: ignore[attr-defined]
    if "/" in name:
        return
    match = TAXONOMY.match(f"{folder}/{name.replace(' ', '-')}-{number}.jpg", "dermnet")
    assert match.node_id is None or node.id in TAXONOMY.path(match.node_id)  # type: ignore[attr-defined]
    assert match.rule not in ("unmapped", "folder")


DERM12345 = (
    "acb acd ajb ajd ak alm angk anm bcc bd bdb cb ccb ccd cd ch cjb db df dfsp ha isl jb jd ks la lk lm lmm ls mcb "
    "mel mpd pg rd sa scc sk sl srjd"
)
#: The codes under each of the dataset's main classes.
DERM12345_GROUPS = {
    "melanocytic_nevus": "acb acd ajb ajd bdb cb ccb ccd cd cjb db jb jd mcb rd srjd",
    "melanoma": "alm anm lm lmm mel",
    "dysplastic_nevus": "acd ajd ccd cd jd rd",
    "lentigo": "isl sl",
    "benign_vascular_proliferation": "angk ha la pg sa",
    "keratinocyte_carcinoma_or_precursor": "ak bcc bd scc",
    "malignant_soft_tissue_neoplasm": "dfsp ks",
}


def test_every_code_of_derm12345_has_a_node_in_its_class() -> None:
    codes = {code: TAXONOMY.match(code, "derm12345").node_id for code in DERM12345.split()}
    assert len(codes) == 40
    assert None not in codes.values()
    assert TAXONOMY.match("acb").node_id is None
    for group, members in DERM12345_GROUPS.items():
        assert [code for code in members.split() if group not in TAXONOMY.path(codes[code] or "")] == []


#: Disease, node: what is easily got wrong among the 78.
DDI = {
    "melanoma-in-situ": "melanoma_in_situ",
    "melanoma-acral-lentiginous": "acral_lentiginous_melanoma",
    "nodular-melanoma-(nm)": "nodular_melanoma",
    "melanocytic-nevi": "melanocytic_nevus",
    "basal-cell-carcinoma-superficial": "superficial_basal_cell_carcinoma",
    "squamous-cell-carcinoma-keratoacanthoma": "keratoacanthoma",
    "seborrheic-keratosis-irritated": "irritated_seborrheic_keratosis",
    "subcutaneous-t-cell-lymphoma": "subcutaneous_panniculitis_like_t_cell_lymphoma",
    "arteriovenous-hemangioma": "arteriovenous_hemangioma",
    "abrasions-ulcerations-and-physical-injuries": "physical_injury",
    "metastatic-carcinoma": "cutaneous_metastasis",
    "graft-vs-host-disease": "graft_versus_host_disease",
    "condyloma-accuminatum": "genital_wart",
    "eczema-spongiotic-dermatitis": "eczema",
    "reactive-lymphoid-hyperplasia": "pseudolymphoma",
    "blastic-plasmacytoid-dendritic-cell-neoplasm": "blastic_plasmacytoid_dendritic_cell_neoplasm",
    "acral-melanotic-macule": "acral_melanotic_macule",
    "hematoma": "dermal_or_subcutaneous_hemorrhage",
    "mycosis-fungoides": "mycosis_fungoides",
}


@pytest.mark.parametrize(("label", "node"), DDI.items())
def test_a_disease_of_ddi_means_this_node(label: str, node: str) -> None:
    assert TAXONOMY.match(label, "ddi").node_id == node


SCIN = {
    "CD - Contact dermatitis": "contact_dermatitis",
    "Contact dermatitis, NOS": "contact_dermatitis",
    "Acute and chronic dermatitis": "inflammatory_dermatosis",
    "Lichen planus/lichenoid eruption": "papulosquamous_dermatosis",
    "SCC/SCCIS": "squamous_cell_carcinoma",
    "SK/ISK": "seborrheic_keratosis",
    "O/E - ecchymoses present": "dermal_or_subcutaneous_hemorrhage",
    "Cutaneous T Cell Lymphoma": "cutaneous_t_cell_or_nk_cell_lymphoproliferative_disorder",
    "Tinea Versicolor": "pityriasis_versicolor",
    "Insect Bite": "arthropod_bite",
    "Drug Rash": "drug_eruption",
    "Verruca vulgaris": "viral_wart",
    "RMSF - Rocky Mountain spotted fever": "rocky_mountain_spotted_fever",
    "Abrasion, scrape, or scab": "abrasion",
    "Cyst": "cyst",
}


@pytest.mark.parametrize(("label", "node"), SCIN.items())
def test_a_condition_of_scin_means_this_node(label: str, node: str) -> None:
    assert TAXONOMY.match(label, "scin").node_id == node


@pytest.mark.parametrize(
    "label", ["O/E - pustules", "Blister", "Skin lesion", "Skin cancer", "Foot ulcer", "Keratosis"]
)
def test_a_sign_in_scin_is_no_disease(label: str) -> None:
    assert TAXONOMY.match(label, "scin").node_id is None


def test_dermbench_maps_but_for_what_names_nothing() -> None:
    file = SHARED / "dermbench" / "data" / "manifest" / "dermbench_test.jsonl"
    if not file.is_file():
        pytest.skip(f"{file} is not here: real-data test")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for column, least in (("diagnosis", 0.97), ("dermnet_image_path", 0.98)):
        rules = Counter(TAXONOMY.match(row[column], "dermnet").rule for row in rows)
        left = rules["ambiguous"] + rules["unmapped"] + rules["not_a_diagnosis"]
        assert 1 - left / len(rows) >= least, (column, rules)
    for row in rows:
        told = TAXONOMY.match(row["diagnosis"], "dermnet").node_id
        path = TAXONOMY.match(row["dermnet_image_path"], "dermnet")
        assert TAXONOMY.match(row["category"], "dermnet").rule in ("folder", "ambiguous")
        if told and path.node_id and path.rule != "crosswalk":
            assert TAXONOMY.on_one_branch(told, path.node_id), row


def test_a_folder_must_hold_a_known_node() -> None:
    with pytest.raises(ValueError, match="holds"):
        Taxonomy("1", [], crosswalks={}, ambiguous={}, not_a_diagnosis=[], folders={"d": {"a": ["b"]}})
    with pytest.raises(ValueError, match="holds"):
        Taxonomy("1", [], crosswalks={}, ambiguous={}, not_a_diagnosis=[], folders={"d": {"a": []}})
