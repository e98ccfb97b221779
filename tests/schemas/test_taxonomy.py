"""The shipped taxonomy covers every label of its datasets, and a contradictory one is refused with a plain sentence."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.taxonomy import LABEL_RULES, Node, Taxonomy, load_taxonomy, normalise_label, read_taxonomy

SHARED = Path(os.environ.get("DERMCOT_SHARED_DATA", Path(__file__).resolve().parents[2] / ".." / "shared" / "data"))

HAM10000 = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
PAD_UFES_20 = ["ACK", "BCC", "MEL", "NEV", "SCC", "SEK"]
ISIC_2019 = ["AK", "BCC", "BKL", "DF", "MEL", "NV", "SCC", "VASC"]


def _strings(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("|") if part.strip()]


FITZPATRICK17K = _strings(
    """
    acanthosis nigricans | acne | acne vulgaris | acquired autoimmune bullous diseaseherpes gestationis |
    acrodermatitis enteropathica | actinic keratosis | allergic contact dermatitis | aplasia cutis |
    basal cell carcinoma | basal cell carcinoma morpheiform | becker nevus | behcets disease | calcinosis cutis |
    cheilitis | congenital nevus | dariers disease | dermatofibroma | dermatomyositis |
    disseminated actinic porokeratosis | drug eruption | drug induced pigmentary changes | dyshidrotic eczema |
    eczema | ehlers danlos syndrome | epidermal nevus | epidermolysis bullosa | erythema annulare centrifigum |
    erythema elevatum diutinum | erythema multiforme | erythema nodosum | factitial dermatitis | fixed eruptions |
    folliculitis | fordyce spots | granuloma annulare | granuloma pyogenic | hailey hailey disease | halo nevus |
    hidradenitis | ichthyosis vulgaris | incontinentia pigmenti | juvenile xanthogranuloma | kaposi sarcoma | keloid |
    keratosis pilaris | langerhans cell histiocytosis | lentigo maligna | lichen amyloidosis | lichen planus |
    lichen simplex | livedo reticularis | lupus erythematosus | lupus subacute | lyme disease | lymphangioma |
    malignant melanoma | melanoma | milia | mucinosis | mucous cyst | mycosis fungoides | myiasis |
    naevus comedonicus | necrobiosis lipoidica | nematode infection | neurodermatitis | neurofibromatosis |
    neurotic excoriations | neutrophilic dermatoses | nevocytic nevus | nevus sebaceous of jadassohn |
    papilomatosis confluentes and reticulate | paronychia | pediculosis lids | perioral dermatitis | photodermatoses |
    pilar cyst | pilomatricoma | pityriasis lichenoides chronica | pityriasis rosea | pityriasis rubra pilaris |
    porokeratosis actinic | porokeratosis of mibelli | porphyria | port wine stain | prurigo nodularis | psoriasis |
    pustular psoriasis | pyogenic granuloma | rhinophyma | rosacea | sarcoidosis | scabies | scleroderma |
    scleromyxedema | seborrheic dermatitis | seborrheic keratosis | solid cystic basal cell carcinoma |
    squamous cell carcinoma | stasis edema | stevens johnson syndrome | striae | sun damaged skin |
    superficial spreading melanoma ssm | syringoma | telangiectases | tick bite | tuberous sclerosis | tungiasis |
    urticaria | urticaria pigmentosa | vitiligo | xanthomas | xeroderma pigmentosum
    """
)

#: The old ``diagnosis`` column of the ISIC Archive, without its residual class.
ISIC_OLD = _strings(
    """
    nevus | nevus spilus | lentigo simplex | atypical melanocytic proliferation | AIMP | atypical spitz tumor |
    melanoma | melanoma metastasis | cafe-au-lait macule | ephelis | mucosal melanosis | pigmented benign keratosis |
    seborrheic keratosis | lichenoid keratosis | lentigo NOS | solar lentigo | clear cell acanthoma |
    epidermal nevus | actinic keratosis | squamous cell carcinoma | basal cell carcinoma | merkel cell carcinoma |
    adnexal tumor | sebaceous adenoma | sebaceous hyperplasia | vascular lesion | angioma | angiokeratoma |
    pyogenic granuloma | angiofibroma or fibrous papule | dermatofibroma | acrochordon | scar | neurofibroma |
    verruca
    """
)

#: The ISIC Archive's newer hierarchy: group :: what lies below it, at any depth.
_ISIC_HIERARCHY = """
Benign melanocytic proliferations :: Nevus | Nevus, NOS, Junctional | Nevus, NOS, Compound | Nevus, NOS, Dermal |
    Nevus, Congenital | Nevus, Congenital, by history | Nevus, Congenital, by histopathological pattern |
    Nevus, Congenital, by history and histopathological pattern | Nevus, Atypical, Dysplastic, or Clark |
    Nevus, Atypical | Nevus, Dysplastic | Nevus, Clark | Blue nevus | Blue nevus, Common | Blue nevus, Cellular |
    Blue nevus, Epithelioid | Blue nevus, Plaque type | Blue nevus, Sclerosing | Nevus, Spitz | Nevus, Reed |
    Nevus, Halo | Nevus, Meyerson | Nevus, Spilus | Nevus, Acral | Nevus, Agminated | Nevus, Balloon cell |
    Nevus, BAP-1 deficient | Nevus, Combined | Nevus, Deep penetrating | Nevus, Lentiginous |
    Nevus, Of special anatomic site | Nevus, Recurrent or persistent | Dermal melanocytosis | Mongolian spot |
    Nevus of Ito | Nevus of Ota | Lentigo simplex | Lentiginous melanocytic proliferation |
    Proliferative nodule in congenital melanocytic nevi without atypia
Indeterminate melanocytic proliferations :: Atypical melanocytic neoplasm |
    Atypical intraepithelial melanocytic proliferation |
    Superficial atypical melanocytic proliferation of uncertain significance | Atypical Spitz tumor |
    Atypical Spitz tumor, Compound | Atypical Spitz tumor, Dermal | Atypical Spitz tumor, Junctional |
    Atypical pigmented spindle cell tumor | Atypical proliferative nodules in congenital melanocytic nevus |
    Melanocytic tumor of uncertain malignant potential
Malignant melanocytic proliferations (Melanoma) :: Melanoma, NOS | Melanoma in situ |
    Melanoma in situ, associated with a nevus | Melanoma in situ, Recurrent or persistent |
    Melanoma in situ, Lentigo maligna type | Melanoma in situ, Acral or acral-lentiginous |
    Melanoma in situ, Mucosal | Melanoma in situ, Superficial spreading | Melanoma Invasive |
    Melanoma Invasive, Associated with a nevus | Melanoma Invasive, Recurrent or persistent |
    Melanoma Invasive, Nodular | Melanoma Invasive, On chronically sun-exposed skin or lentigo maligna melanoma |
    Melanoma Invasive, Superficial spreading | Melanoma Invasive, Acral or Acral-lentiginous |
    Melanoma Invasive, Mucosal | Melanoma Invasive, Arising in a congenital nevus |
    Melanoma Invasive, Blue nevus-like | Melanoma Invasive, resembling blue nevus |
    Melanoma Invasive, originating from blue nevus | Melanoma Invasive, Desmoplastic |
    Melanoma Invasive, Heavily pigmented |
    Melanoma Invasive, Heavily pigmented, resembling epithelioid blue nevus or melanoma developing in animals |
    Melanoma Invasive, Neurotropic | Melanoma Invasive, Nevoid |
    Melanoma Invasive, Pigmented spindle cell nevus like | Melanoma Invasive, Spitzoid | Melanoma metastasis
Flat melanotic pigmentations - not melanocytic nevus :: Cafe au lait macule or patch | Ephelis |
    Mucosal melanotic macule | Lentigo NOS | Ink-spot lentigo
Benign epidermal proliferations :: Pigmented benign keratosis | Seborrheic keratosis |
    Seborrheic keratosis, Clonal | Melanoacanthoma | Lichen planus like keratosis | Solar lentigo |
    Clear cell acanthoma | Acantholytic acanthoma | Epidermolytic acanthoma | Large cell acanthoma | Epidermal nevus |
    Porokeratosis
Indeterminate epidermal proliferations :: Solar or actinic keratosis | Actinic keratosis, Acantholytic |
    Actinic keratosis, Atrophic | Actinic keratosis, Bowenoid | Actinic keratosis, Hypertrophic |
    Actinic keratosis, Lichenoid | Solar or actinic cheilitis
Malignant epidermal proliferations :: Squamous cell carcinoma, NOS | Squamous cell carcinoma in situ |
    Squamous cell carcinoma in situ, Bowens disease | Squamous cell carcinoma, Invasive |
    Squamous cell carcinoma, Invasive, NOS, well differentiated |
    Squamous cell carcinoma, Invasive, NOS, moderately differentiated |
    Squamous cell carcinoma, Invasive, NOS, poorly differentiated | Squamous cell carcinoma, Invasive, Acantholytic |
    Squamous cell carcinoma, Invasive, Adeno-squamous | Squamous cell carcinoma, Invasive, Clear cell |
    Keratoacanthoma | Squamous cell carcinoma, Invasive, Keratoacanthoma-type |
    Squamous cell carcinoma, Invasive, Sarcomatoid | Squamous cell carcinoma, Invasive, Spindle cell |
    Verrucous carcinoma | Squamous cell carcinoma, Invasive, Verrucous |
    Verrucous carcinoma, Carcinoma cuniculatum type | Verrucous carcinoma, Giant condyloma type |
    Verrucous carcinoma, Oral florid papilomatosis type | Bowenoid papulosis
Malignant adnexal epithelial proliferations - Follicular :: Basal cell carcinoma |
    Basal cell carcinoma, Combined subtypes | Basal cell carcinoma, Nodular | Basal cell carcinoma, Superficial |
    Basal cell carcinoma, Sclerosing or morpheaform | Basal cell carcinoma, Infiltrating |
    Basal cell carcinoma, Micronodular | Basal cell carcinoma, Fibroeipthelial |
    Basal cell carcinoma with adnexal differentiation | Basal cell carcinoma with sarcomatoid differentiation |
    Baso-squamous carcinoma | Matrical or pilomatrical carcinoma | Proliferating trichilemmal carcinoma
Merkel cell proliferation :: Merkel cell carcinoma
Benign adnexal epithelial proliferations - Apocrine or Eccrine :: Apocrine tubular adenoma | Cylindoma |
    Cystadenoma | Fibroadenoma | Hidradenoma | Hidradenoma, Poroid | Hidradenoma, Apocrine |
    Hidradenoma, Apocrine, Predominantly with clear cells | Hidradenoma papilliferum | Mixed tumor |
    Mixed tumor, Apocrine type | Mixed tumor, Eccrine type | Poroma | Spiradenoma | Supernumerary nipple |
    Syringocystadenoma papilliferum | Syringofibroadenoma | Syringoma
Benign adnexal epithelial proliferations - Follicular :: Folliculosebaceous cystic hamartoma | Nevus comedonicus |
    Panfolliculoma | Pilar sheath acanthoma | Pilomatricoma | Proliferating tricholemmal tumor | Trichoblastoma |
    Trichoepithelioma | Trichoepithelioma, Desmoplastic | Trichofolliculoma | Tricholemmoma |
    Tricholemmoma, Desmoplastic | Tumor of follicular infundibulum | Warty dyskeratoma
Benign adnexal epithelial proliferations - Sebaceous :: Fibrofolliculoma | Fordyce spots | Nevus sebaceus |
    Sebaceoma | Sebaceous adenoma | Sebaceous hyperplasia | Trichodiscoma
Malignant adnexal epithelial proliferations - Apocrine or Eccrine :: Adenoid cystic carcinoma |
    Adnexal adenocarcinoma arising in association with spiradenoma, cylindroma, or spiradenocylindroma |
    Apocrine carcinoma | Digital papillary carcinoma | Hidradenocarcinoma | Malignant mixed tumor |
    Microcystic adnexal carcinoma | Mucinous carcinoma | Paget disease | Paget disease, Extra-mammary |
    Paget disease, Mammary | Porocarcinoma | Tubular carcinoma
Malignant adnexal epithelial proliferations - Sebaceous :: Sebaceous carcinoma
Cysts :: Sebaceous cyst | Comedo | Dilated pore | Infundibular or epidermal cyst | Keratinous cyst |
    Infundibular, Keratinous | Epidermal, Keratinous | Infundibular, Sebaceous | Epidermal, Sebaceous |
    Steatocystoma | Milium | Digital mucous cyst | Pilar cyst | Trichilemmal or isthmic-catagen or pilar cyst |
    Trichilemmal cyst | Isthmic-catagen cyst
Benign soft tissue proliferations - Vascular :: Hemangioma | Hemangioma, Cherry | Hemangioma, Hobnail |
    Hemangioma, Infantile | Hemangioma, Tufted | Acquired elastotic hemangioma | Glomeruloid hemangioma |
    Noninvoluting congenital hemangioma | Rapidly involuting congenital hemangioma | Verrucous hemangioma |
    Angiokeratoma | Pyogenic granuloma | Acroangiodermatitis of Mali | Angiolymphoid hyperplasia with eosinophilia |
    Glomus tumor | Glomangiomyoma | Telangiectasia | Vascular spider | Venous lake |
    Other vascular or lymphatic malformation or hamartoma | Arterio-venous malformation |
    Capillary vascular malformation | Lymphangioma | Lymphangioma, superficial | Lymphangioma, deep | Nevus anemicus |
    Venous malformation
Hemorrhagic lesions :: Hemorrhage | Dermal and subcutaneous hemorhage | Mucosal hemorrhage |
    Subcorneal and intracorneal hemorrhage | Subungual hemorrhage
Benign soft tissue proliferations - Fibro-histiocytic :: Angiofibroma | Angiofibroma, Facial |
    Angiofibroma, Penile | Angiofibroma, Periungual | Dermatofibroma | Dermatofibroma, Aneurysmal |
    Dermatofibroma, Atypical | Dermatofibroma, Cellular | Dermatofibroma, Epithelioid |
    Dermatofibroma, Hemosiderotic | Fibroepithelial polyp | Fibroma | Fibroma, Pleomorphic | Fibroma, Sclerotic |
    Giant cell tumor of the tendon sheath | Non-Langerhans histiocytosis | Juvenile xanthogranuloma |
    Reticulohistiocytosis | Rosai-Dorfman disease | Cutaneous myxoma | Scar | Scar, Hypertrophic | Scar, Keloid
Benign soft tissue proliferations - Adipocytic :: Angiolipoma | Fibrolipoma | Lipoma | Lipoma, Spindle cell |
    Lipoma, Pleomorphic | Lipomatous nevus
Benign soft tissue proliferations - Cartilagenous and ossifying :: Accessory tragus | Extraskeletal chondroma |
    Osteoma cutis | Subungual osteochodroma
Benign soft tissue proliferations - Muscle tissue or myofibroblastic :: Angioleiomyoma |
    Dartoic muscle leiomyoma | Dermatomyofibroma | Nodular fasciitis | Piloleiomyoma | Smooth muscle hamartoma
Benign soft tissue proliferations - Myoepithelial :: Myoepithelioma
Benign soft tissue proliferations - Neural :: Granular cell tumor |
    Granular cell tumor, neural and s100 positive | Granular cell tumor, non-neural and s100 negative |
    Nerve sheath myxoma | Neurofibroma | Plexiform neurofibroma | Neuroma | Neuroma, Palisaded and encapsulated |
    Neuroma, Traumatic | Perineurioma | Schwannoma
Malignant soft tissue proliferations - Adipocytic :: Liposarcoma | Liposarcoma, Undifferentiated |
    Liposarcoma, Well differentiated
Malignant soft tissue proliferations - Cartilagenous and ossifying :: Extraskeletal osteosarcoma
Malignant soft tissue proliferations - Fibro-histiocytic :: Atypical fibroxanthoma |
    Dermatofibrosarcoma protuberans | Epithelioid sarcoma | Fibrosarcoma | Pleomorphic undifferntiated sarcoma

Malignant soft tissue proliferations - Muscle tissue or myofibroblastic :: Atypical intradermal smooth muscle tumor |
    Leiomyosarcoma, Cutaneous | Rhabdomyoscaroma, Cutaneous
Malignant soft tissue proliferations - Myoepithelial :: Myoepithelial sarcoma
Malignant soft tissue proliferations - Neural :: Malignant granular cell tumor |
    Malignant peripheral nerve sheath tumor
Malignant soft tissue proliferations - Unknown or other histiogenesis :: Ewing sarcoma, Primary cutaenous
Malignant soft tissue proliferations - Vascular :: Angiosarcoma cutaneous | Angiosarcoma cutaneous, Epithelioid |
    Angiosarcoma cutaneous, Face and scalp of elderly patients | Angiosarcoma cutaneous, Post-irradiation |
    Angiosarcoma cutaneous, With associated lymphedema | Hemangioendothelioma | Hemangioendothelioma, Kaposiform |
    Kaposi sarcoma | Malignant glomus tumor
Skin metastasis of internal solid cancer - non-hematological ::
Lymphocytic proliferations - B-Cell :: Lymphocytic proliferation, B-Cell, other |
    EBV positive mucocutaneous ulcer | Intravascular large B-cell lymphoma |
    Primary cutaneous follicle center lymphoma | Primary cutaneous large B-cell lymphoma |
    Primary cutaneous marginal zone lymphoma
Lymphocytic proliferations - T-Cell/NK :: Lymphocytic proliferation, T-Cell/NK |
    Adult T-cell leukemia or lymphoma | Chronic active EBV infection | Extranodal T-cell/NK lymphoma |
    Extranodal T-cell/NK lymphoma, Nasal type | Mycosis fungoides | Mycosis fungoides, Folliculotropic |
    Mycosis fungoides, Granulomatous slack skin | Mycosis fungoides, Pagetoid reticulosis |
    Mycosis fungoides, With large cell transformation | Primary cutaneous CD30+ lymphoproliferative disease |
    Cutanous anaplastic large cell lymphoma | Lymphomatoid papulosis |
    Primary cutaneous CD4+ small or medium T-cell lymphoproliferative disorder |
    Primary cutaneous peripheral T-cell lymphoma | Primary cutaneous peripheral T-cell lymphoma, Rare subtype |
    Sezary syndrome | Subcutaneous panniculitis-like T-cell lymphoma
Mast cell proliferations :: Mastocytosis | Mastocytosis, Diffuse or multifocal | Maculopapular mastocytoma |
    Mastocytosis, Diffuse cutaenous | Telangiectasia macularis eruptiva perstans | Mastocytoma, Solitary or unifocal
Langerhans cell proliferations :: Langerhans cell histiocytosis |
    Langerhans cell histiocytosis, Diffuse or multifocal | Langerhans cell histiocytosis, Solitary or unifocal |
    Erdheim-Chester disease | Indeterminate cell histiocytosis |
    Mixed Langerhans cell histiocytosis and Erdheim-Chester disease
Inflammatory or infectious diseases :: Verruca | Muluscum
Exogenous :: Foreign body granuloma | Tattoo
"""

_GRADES = ("well", "moderately", "poorly")
_GRADED = (
    "Acantholytic",
    "Adeno-squamous",
    "Clear cell",
    "Keratoacanthoma-type",
    "Sarcomatoid",
    "Spindle cell",
    "Verrucous",
)


def _isic_hierarchy() -> dict[str, list[str]]:
    groups = {}
    for block in re.split(r"\n(?=\S)", _ISIC_HIERARCHY.strip()):
        group, _, members = block.partition(" ::")
        groups[group] = _strings(members)
    groups["Malignant epidermal proliferations"] += [
        f"Squamous cell carcinoma, Invasive, {kind}, {grade} differentiated" for kind in _GRADED for grade in _GRADES
    ]
    return groups


ISIC_HIERARCHY = _isic_hierarchy()

#: Dataset, label and node of labels whose meaning is easily got wrong.
TRAPS = [
    ("ham10000", "akiec", "actinic_keratosis_or_squamous_cell_carcinoma"),
    ("ham10000", "bkl", "benign_keratosis"),
    ("ham10000", "nv", "melanocytic_nevus"),
    ("ham10000", "vasc", "vascular_lesion"),
    ("pad_ufes_20", "ACK", "actinic_keratosis"),
    ("pad_ufes_20", "SEK", "seborrheic_keratosis"),
    ("isic_2019", "BKL", "benign_keratosis"),
    ("isic_2019", "SCC", "squamous_cell_carcinoma"),
    ("isic_2020", "cafe-au-lait macule", "cafe_au_lait_macule"),
    ("isic_2020", "lichenoid keratosis", "lichen_planus_like_keratosis"),
    ("isic_archive", "Pigmented benign keratosis", "benign_keratosis"),
    ("isic_archive", "Melanoma, NOS", "melanoma"),
    ("isic_archive", "Nevus", "melanocytic_nevus"),
    ("isic_archive", "Pigmented epithelioid melanocytoma", "pigmented_epithelioid_melanocytoma"),
    ("isic_archive", "Squamous cell carcinoma in situ", "squamous_cell_carcinoma_in_situ"),
    ("isic_archive", "vascular lesion", "vascular_lesion"),
    ("isic_archive", "Verruca", "viral_wart"),
    ("fitzpatrick17k", "acne", "acne_vulgaris"),
    ("fitzpatrick17k", "acne vulgaris", "acne_vulgaris"),
    ("fitzpatrick17k", "granuloma pyogenic", "pyogenic_granuloma"),
    ("fitzpatrick17k", "malignant melanoma", "melanoma"),
    ("fitzpatrick17k", "porokeratosis actinic", "disseminated_superficial_actinic_porokeratosis"),
    ("fitzpatrick17k", "neurodermatitis", "lichen_simplex_chronicus"),
    ("fitzpatrick17k", "acquired autoimmune bullous diseaseherpes gestationis", "pemphigoid_gestationis"),
    ("fitzpatrick17k", "urticaria pigmentosa", "maculopapular_cutaneous_mastocytosis"),
    ("folder", "Naevus", "melanocytic_nevus"),
]

#: What the coarse labels of one dataset and the fine ones of another may both be said of.
COARSE_AND_FINE = [
    (
        ("ham10000", "akiec"),
        ("isic_2019", "AK"),
        ("isic_2019", "SCC"),
        ("isic_archive", "Squamous cell carcinoma in situ"),
    ),
    (("ham10000", "akiec"), ("pad_ufes_20", "ACK"), ("pad_ufes_20", "SCC"), ("isic_archive", "actinic keratosis")),
    (
        ("isic_2019", "BKL"),
        ("pad_ufes_20", "SEK"),
        ("isic_2020", "solar lentigo"),
        ("isic_2020", "lentigo NOS"),
        ("isic_2020", "lichenoid keratosis"),
        ("fitzpatrick17k", "seborrheic keratosis"),
    ),
    (
        ("ham10000", "vasc"),
        ("isic_archive", "angioma"),
        ("isic_archive", "Angiokeratoma"),
        ("isic_archive", "Subungual hemorrhage"),
        ("fitzpatrick17k", "pyogenic granuloma"),
    ),
    (("ham10000", "nv"), ("isic_archive", "Nevus, Spitz"), ("fitzpatrick17k", "halo nevus")),
    (
        ("ham10000", "mel"),
        ("isic_archive", "Melanoma in situ"),
        ("fitzpatrick17k", "superficial spreading melanoma ssm"),
    ),
    (("ham10000", "bcc"), ("fitzpatrick17k", "basal cell carcinoma morpheiform")),
    (("fitzpatrick17k", "eczema"), ("fitzpatrick17k", "dyshidrotic eczema")),
]

VOCABULARIES = {
    "ham10000": HAM10000,
    "pad_ufes_20": PAD_UFES_20,
    "isic_2019": ISIC_2019,
    "fitzpatrick17k": FITZPATRICK17K,
    "isic_archive": [*ISIC_OLD, *ISIC_HIERARCHY, *(label for labels in ISIC_HIERARCHY.values() for label in labels)],
}


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_taxonomy()


def _node(taxonomy: Taxonomy, dataset: str, label: str) -> str:
    node_id = taxonomy.match(label, dataset).node_id
    assert node_id is not None, (dataset, label)
    return node_id


@pytest.mark.parametrize("dataset", VOCABULARIES)
def test_every_label_of_a_dataset_has_a_node(taxonomy: Taxonomy, dataset: str) -> None:
    assert [label for label in VOCABULARIES[dataset] if taxonomy.match(label, dataset).node_id is None] == []


def test_the_vocabularies_here_are_complete() -> None:
    assert len(set(FITZPATRICK17K)) == 114
    assert len(set(VOCABULARIES["isic_archive"])) == 446


@pytest.mark.parametrize(("dataset", "label", "node_id"), TRAPS)
def test_label_means_this_node(taxonomy: Taxonomy, dataset: str, label: str, node_id: str) -> None:
    assert _node(taxonomy, dataset, label) == node_id


@pytest.mark.parametrize("labels", COARSE_AND_FINE)
def test_a_group_label_lies_above_its_members_and_is_none_of_them(
    taxonomy: Taxonomy, labels: tuple[tuple[str, str], ...]
) -> None:
    coarse, *fine = (_node(taxonomy, *label) for label in labels)
    for member in fine:
        assert taxonomy.is_ancestor(coarse, member)
        assert taxonomy.finer(coarse, member) == taxonomy.finer(member, coarse) == member


@pytest.mark.parametrize("label", ["akiec", "bkl", "vasc"])
def test_group_labels_map_to_group_nodes(taxonomy: Taxonomy, label: str) -> None:
    assert taxonomy.node(_node(taxonomy, "ham10000", label)).granularity == "group"


def test_the_archives_own_groups_lie_above_what_it_files_below_them(taxonomy: Taxonomy) -> None:
    for group, labels in ISIC_HIERARCHY.items():
        parent = _node(taxonomy, "isic_archive", group)
        off_branch = [label for label in labels if parent not in taxonomy.path(_node(taxonomy, "isic_archive", label))]
        assert off_branch == [], group


@pytest.mark.parametrize("dataset", [None, "folder", "isic_2019", "isic_2020", "isic_archive", "ham10000"])
@pytest.mark.parametrize(
    "label",
    [
        None,
        "",
        "  ",
        "-",
        "unknown",
        "Unknown",
        "UNK",
        "other",
        "Benign",
        "malignant",
        "Indeterminate",
        "Benign - Other",
    ],
)
def test_what_is_no_diagnosis_gets_no_node(taxonomy: Taxonomy, dataset: str | None, label: str | None) -> None:
    match = taxonomy.match(label, dataset)
    assert (match.node_id, match.rule, match.candidates) == (None, "not_a_diagnosis", ())


def test_an_ambiguous_label_names_its_candidates_unless_a_dataset_decides(taxonomy: Taxonomy) -> None:
    match = taxonomy.match("Neurodermatitis")
    assert (match.node_id, match.rule) == (None, "ambiguous")
    assert match.candidates == ("atopic_dermatitis", "lichen_simplex_chronicus")
    assert taxonomy.match("neurodermatitis", "fitzpatrick17k").rule == "crosswalk"


@pytest.mark.parametrize("label", ["melanom", "melanoma?", "akiec", "nv", "melanoma mimic", "no melanoma"])
def test_nothing_is_guessed(taxonomy: Taxonomy, label: str) -> None:
    assert taxonomy.match(label).rule == "unmapped"


def test_a_code_counts_only_in_its_dataset(taxonomy: Taxonomy) -> None:
    assert taxonomy.match("NV", "pad_ufes_20").rule == "unmapped"
    assert taxonomy.match("nev", "pad_ufes_20").node_id == "melanocytic_nevus"


def test_case_hyphens_and_spaces_do_not_matter(taxonomy: Taxonomy) -> None:
    for label in ("Seborrheic_keratosis", " seborrheic  KERATOSIS", "seborrheic\u2011keratosis"):
        assert taxonomy.match(label).node_id == "seborrheic_keratosis"


def test_paths_run_from_a_root_to_the_node(taxonomy: Taxonomy) -> None:
    for node in taxonomy.nodes:
        path = taxonomy.path(node.id)
        assert path[-1] == node.id and taxonomy.node(path[0]).parent is None
        assert [taxonomy.node(below).parent for below in path[1:]] == list(path[:-1])
    assert taxonomy.path("lentigo_maligna") == (
        "melanocytic_neoplasm",
        "melanoma",
        "melanoma_in_situ",
        "lentigo_maligna",
    )


def test_branches(taxonomy: Taxonomy) -> None:
    assert taxonomy.is_ancestor("melanoma", "nodular_melanoma")
    assert not taxonomy.is_ancestor("nodular_melanoma", "melanoma")
    assert not taxonomy.is_ancestor("melanoma", "melanoma")
    assert taxonomy.on_one_branch("melanoma", "melanoma")
    assert not taxonomy.on_one_branch("melanoma", "melanocytic_nevus")
    assert taxonomy.finer("melanoma", "melanoma") == "melanoma"
    assert taxonomy.finer("lentigo_maligna", "nodular_melanoma") is None
    assert "melanoma" in taxonomy and "mel" not in taxonomy
    with pytest.raises(KeyError):
        taxonomy.on_one_branch("no_such_node", "no_such_node")


def test_malignancy_of_what_must_not_be_confused(taxonomy: Taxonomy) -> None:
    expected = {
        "melanoma": "malignant",
        "lentigo_maligna": "in_situ",
        "bowen_disease": "in_situ",
        "actinic_keratosis": "premalignant",
        "actinic_keratosis_or_squamous_cell_carcinoma": "mixed",
        "basal_cell_carcinoma": "malignant",
        "melanocytic_nevus": "benign",
        "atypical_spitz_tumor": "indeterminate",
        "psoriasis": "not_neoplastic",
    }
    assert {node_id: taxonomy.node(node_id).malignancy for node_id in expected} == expected


def test_normalised_labels_are_words_with_single_spaces() -> None:
    assert normalise_label("\tCaf\u00c9_-au lait\u2013 ") == "caf\u00e9 au lait"


@given(st.text())
def test_normalising_twice_is_normalising_once(raw: str) -> None:
    assert normalise_label(normalise_label(raw)) == normalise_label(raw)


_TERMS = [term for node in load_taxonomy().nodes for term in (node.name, *node.synonyms)]


@given(
    st.one_of(st.none(), st.text(), st.sampled_from([*_TERMS, *VOCABULARIES["isic_archive"], *HAM10000, "melanosis"])),
    st.sampled_from([None, "folder", *load_taxonomy().datasets]),
)
def test_a_match_is_always_sound(raw: str | None, dataset: str | None) -> None:
    taxonomy = load_taxonomy()
    match = taxonomy.match(raw, dataset)
    assert match.rule in LABEL_RULES
    found = ("crosswalk", "name", "synonym", "variant", "compound", "qualifier", "misspelling", "folder")
    assert (match.node_id is not None) == (match.rule in found)
    assert match.node_id is None or match.node_id in taxonomy
    assert (len(match.candidates) > 1) == (match.rule == "ambiguous")
    assert all(candidate in taxonomy for candidate in match.candidates)
    assert raw is None or taxonomy.match(f" {raw}_\t", dataset) == match


def _small(nodes: list[Node], **vocabularies: Any) -> Taxonomy:
    given: dict[str, Any] = {"crosswalks": {}, "ambiguous": {}, "not_a_diagnosis": ["unknown"]} | vocabularies
    return Taxonomy("1", nodes, **given)


def _sound(**changes: Any) -> list[Node]:
    """A root and one child; ``changes`` are made to the child."""
    child = {"id": "melanoma", "name": "Melanoma", "parent": "tumor", "level": "diagnosis", "granularity": "exact"}
    root = Node("tumor", "Tumor", None, "group", "group", "malignant")
    return [root, Node(**(child | {"malignancy": "malignant", "synonyms": ("black tumor",)} | changes))]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id": "tumor"}, "used by two nodes"),
        ({"id": "Melanoma!"}, "not snake_case"),
        ({"parent": "no_such_node"}, "does not exist"),
        ({"parent": "melanoma"}, "each other's ancestors"),
        ({"malignancy": "benign"}, "is benign, but its parent 'tumor' is malignant"),
        ({"malignancy": "mixed"}, "only a group holds"),
        ({"malignancy": "bad"}, "none of benign"),
        ({"level": "species"}, "none of group"),
        ({"granularity": "fine"}, "none of exact"),
        ({"name": "TUMOR"}, "both called"),
        ({"synonyms": ("tumor",)}, "both called"),
    ],
)
def test_a_wrong_node_is_refused(changes: dict[str, Any], sentence: str) -> None:
    _small(_sound())
    with pytest.raises(ValueError, match=re.escape(sentence)):
        _small(_sound(**changes))


def test_a_node_coarser_than_its_parent_is_refused() -> None:
    nodes = [*_sound(), Node("kind", "Kind", "melanoma", "family", "group", "malignant")]
    with pytest.raises(ValueError, match="lies below 'melanoma', a diagnosis"):
        _small(nodes)


@pytest.mark.parametrize(
    ("vocabularies", "sentence"),
    [
        ({"crosswalks": {"d": {"mel": "no_such_node"}}}, "no taxonomy node"),
        ({"crosswalks": {"d": {"mel": "melanoma", "MEL": "tumor"}}}, "once case is folded"),
        ({"crosswalks": {"d": {"Unknown": "melanoma"}}}, "declared no diagnosis"),
        ({"ambiguous": {"mole": ["melanoma", "no_such_node"]}}, "no taxonomy node"),
        ({"ambiguous": {"mole": ["melanoma"]}}, "fewer than two"),
        ({"ambiguous": {"black tumor": ["melanoma", "tumor"]}}, "declared ambiguous"),
        ({"not_a_diagnosis": ["Black-tumor"]}, "declared no diagnosis"),
    ],
)
def test_a_wrong_vocabulary_is_refused(vocabularies: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        _small(_sound(), **vocabularies)


def test_the_digest_ignores_order_and_sees_every_change() -> None:
    crosswalks = {"d": {"mel": "melanoma", "t": "tumor"}}
    turned = {"d": {"t": "tumor", "mel": "melanoma"}}
    base = _small(_sound(), crosswalks=crosswalks).digest
    assert _small(_sound()[::-1], crosswalks=turned).digest == base
    others = [
        _small(_sound(synonyms=()), crosswalks=crosswalks),
        _small(_sound()),
        _small(_sound(malignancy="in_situ"), crosswalks=crosswalks),
        _small(_sound(), crosswalks=crosswalks, not_a_diagnosis=[]),
        _small(_sound(), crosswalks=crosswalks, ambiguous={"mole": ["melanoma", "tumor"]}),
        Taxonomy("2", _sound(), crosswalks=crosswalks, ambiguous={}, not_a_diagnosis=["unknown"]),
    ]
    assert len({base, *(other.digest for other in others)}) == 7


_LABELS = 'version: "1"\nnot_a_diagnosis: [unknown]\nambiguous: {}\n'
_NODE_LINE = "- {id: melanoma, name: Melanoma, level: diagnosis, malignancy: malignant, synonyms: [no]}\n"


def _folder(path: Path, **documents: str) -> Path:
    for name, text in (
        {"labels": _LABELS, "crosswalks": "d: {on: melanoma}\n", "nodes": _NODE_LINE} | documents
    ).items():
        (path / f"{name}.yaml").write_text(text, encoding="utf-8")
    return path


def test_labels_that_yaml_would_take_for_switches_stay_text(tmp_path: Path) -> None:
    taxonomy = read_taxonomy(_folder(tmp_path))
    assert taxonomy.match("no").node_id == taxonomy.match("ON", "d").node_id == "melanoma"
    assert taxonomy.node("melanoma").granularity == "exact"


@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ({"crosswalks": "d:\n  mel: melanoma\n  mel: melanoma\n"}, "'mel' is given twice"),
        ({"nodes": "- {id: melanoma"}, "nodes.yaml cannot be read"),
        ({"nodes": _NODE_LINE.replace("synonyms", "synonym")}, "misspells the field 'synonym'"),
        ({"nodes": _NODE_LINE.replace("level: diagnosis, ", "")}, "misspells the field 'level'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, documents: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_taxonomy(_folder(tmp_path, **documents))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    _folder(tmp_path)
    (tmp_path / "crosswalks.yaml").unlink()
    with pytest.raises(ValueError, match=re.escape("lacks crosswalks.yaml")):
        read_taxonomy(tmp_path)


def test_one_taxonomy_per_process() -> None:
    assert load_taxonomy() is load_taxonomy()
    assert re.fullmatch(r"[0-9a-f]{64}", load_taxonomy().digest)


def _column(file: str, column: str) -> set[str]:
    path = SHARED / "metadata" / file
    if not path.is_file():
        pytest.skip(f"{path} is not here: real-data test")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return {row[column] for row in csv.DictReader(lines)}


@pytest.mark.parametrize(
    ("dataset", "file", "column"),
    [
        ("ham10000", "ham10000/HAM10000_metadata.csv", "dx"),
        ("pad_ufes_20", "pad_ufes_20/metadata.csv", "diagnostic"),
        ("isic_2020", "isic_2020/ISIC_2020_Training_GroundTruth.csv", "diagnosis"),
        ("fitzpatrick17k", "fitzpatrick17k/fitzpatrick17k.csv", "label"),
    ],
)
def test_real_labels_map(taxonomy: Taxonomy, dataset: str, file: str, column: str) -> None:
    labels = _column(file, column)
    assert {label for label in labels if taxonomy.match(label, dataset).node_id is None} == labels & {"unknown"}


def test_real_isic_2019_columns_map(taxonomy: Taxonomy) -> None:
    path = SHARED / "metadata" / "isic_2019" / "ISIC_2019_Training_GroundTruth.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not here: real-data test")
    header = path.open(encoding="utf-8-sig").readline().strip().split(",")[1:]
    assert [label for label in header if taxonomy.match(label, "isic_2019").node_id is None] == ["UNK"]


def test_real_archive_download_maps(taxonomy: Taxonomy) -> None:
    folder = SHARED / "isic_uda1"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: real-data test")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("ISIC_*.json"))]
    table = SHARED / "metadata" / "isic_uda1" / "uda1_metadata.jsonl"
    records += [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    labels = {record["meta"]["clinical"].get("diagnosis") for record in records}
    assert labels >= {"nevus", "melanoma"}
    assert {label for label in labels if taxonomy.match(label, "isic_archive").node_id is None} == labels & {None}
