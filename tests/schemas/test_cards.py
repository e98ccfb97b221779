"""The knowledge cards: they exist for what the data hold, agree with the taxonomy and with each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from quality.check_patterns import BOILERPLATE, DOSE, IDENTIFIER, LABEL_SOURCE, SECOND_PERSON
from schemas.cards import SITE_REGION, KnowledgeCard, card_for, cards_digest, load_cards, read_cards
from schemas.errors import ConfigError
from schemas.family_cards import knowledge
from schemas.taxonomy import load_taxonomy
from tests.schemas.test_taxonomy import FITZPATRICK17K, HAM10000, ISIC_2019, ISIC_OLD, PAD_UFES_20

CARDS = load_cards()
TAXONOMY = load_taxonomy()
#: Labels of datasets so broad that nothing can be argued of them.
TOO_BROAD = {"adnexal_neoplasm", "inflammatory_or_infectious_disease"}
#: Datasets whose labels are mapped but never argued: no adapter reads their cases.
MAPPED_ONLY = {"dermnet", "scin"}
DATASETS = {"ham10000": HAM10000, "pad_ufes_20": PAD_UFES_20, "isic_2019": ISIC_2019, "fitzpatrick17k": FITZPATRICK17K,
            "isic_archive": ISIC_OLD}  # fmt: skip


def test_every_label_of_every_dataset_can_be_argued_unless_it_is_too_broad() -> None:
    known = knowledge()
    nodes = {match.node_id for name, labels in DATASETS.items() for label in labels
             if (match := TAXONOMY.match(label, name)).node_id}  # fmt: skip
    nodes |= {node_id for name, crosswalk in TAXONOMY.crosswalks.items()
              if name not in MAPPED_ONLY for node_id in crosswalk.values()}  # fmt: skip
    assert len(nodes) > 150
    assert {node for node in nodes if node and card_for(node, TAXONOMY, known) is None} == TOO_BROAD


def test_every_malignancy_and_most_diagnoses_have_a_card() -> None:
    diagnoses = [node for node in TAXONOMY.nodes if node.level == "diagnosis"]
    assert len([node for node in diagnoses if node.id in CARDS]) >= 250
    assert [node.id for node in diagnoses if node.malignancy == "malignant" and node.id not in CARDS] == []


def test_every_node_a_card_names_is_in_the_taxonomy_and_off_its_own_branch() -> None:
    for card in CARDS.values():
        assert card.node_id in TAXONOMY
        for edge in card.differentials:
            assert edge.node_id in TAXONOMY, f"{card.node_id}: {edge.node_id}"
            assert not TAXONOMY.on_one_branch(card.node_id, edge.node_id), f"{card.node_id}: {edge.node_id}"


def test_a_differential_between_two_cards_is_argued_from_both_sides() -> None:
    one_sided = [
        (card.node_id, edge.node_id)
        for card in CARDS.values()
        for edge in card.differentials
        if (other := CARDS.get(edge.node_id))
        and not any(TAXONOMY.on_one_branch(back.node_id, card.node_id) for back in other.differentials)
    ]
    assert one_sided == []


def test_a_serious_card_presses_and_a_benign_one_names_what_must_not_be_missed() -> None:
    for card in CARDS.values():
        malignancy = TAXONOMY.node(card.node_id).malignancy
        if malignancy == "malignant":
            assert card.urgency in ("urgent", "soon"), card.node_id
        if malignancy in ("benign", "premalignant", "mixed"):
            kinds = {TAXONOMY.node(node).malignancy for node in card.must_not_miss}
            assert "malignant" in kinds, card.node_id


def test_no_text_of_a_card_is_used_by_another() -> None:
    seen: dict[str, str] = {}
    for card in CARDS.values():
        texts = [
            card.primary_morphology,
            card.next_step,
            card.distribution,
            card.skin_tones.light,
            card.skin_tones.dark,
        ]
        for text in (*texts, *(edge.discriminator for edge in card.differentials)):
            assert seen.setdefault(text, card.node_id) == card.node_id, text


def test_the_card_of_a_subtype_is_that_of_its_diagnosis_and_a_family_lends_none() -> None:
    found = card_for("lentigo_maligna", TAXONOMY, CARDS)
    assert found is not None
    assert found.node_id == "melanoma"
    assert TAXONOMY.node("eczema").level == "family"
    without = {node_id: card for node_id, card in CARDS.items() if node_id != "atopic_dermatitis"}
    assert card_for("atopic_dermatitis", TAXONOMY, without) is None
    own = card_for("eczema", TAXONOMY, CARDS)
    assert own is not None
    assert own.node_id == "eczema"


def test_the_digest_ignores_order_and_sees_every_text() -> None:
    assert cards_digest() == cards_digest(dict(reversed(CARDS.items())))
    changed = CARDS["scabies"].model_copy(update={"colour": "red"})
    assert cards_digest({**CARDS, "scabies": changed}) != cards_digest()


def test_sites_of_the_datasets_have_a_region() -> None:
    ham = "back,lower extremity,trunk,upper extremity,abdomen,face,chest,foot,neck,scalp,hand,ear,genital,acral"
    pad = "face,forearm,chest,back,arm,nose,hand,neck,thigh,ear,abdomen,lip,scalp,foot"
    isic = "anterior torso,posterior torso,lateral torso,head/neck,palms/soles,oral/genital"
    assert [site for site in f"{ham},{pad},{isic}".split(",") if site not in SITE_REGION] == []


def _fields() -> dict[str, Any]:
    return CARDS["melanocytic_nevus"].model_dump(mode="json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"urgency": "later"}, "urgency"),
        ({"urgency": None}, "urgency"),
        ({"colours": "red"}, "colours"),
        ({"must_not_miss": []}, "must_not_miss is empty"),
        ({"must_not_miss": ["scabies"]}, "'scabies', which differentials does not argue"),
        ({"typical_ages": {"low": 60, "high": 20}}, "low must be below high"),
        ({"typical_sites": ["elbow"]}, "typical_sites.0"),
        ({"next_step": "two\nlines"}, "control character"),
        ({"node_id": "nevus"}, "rename it nevus.yaml"),
    ],
)
def test_a_card_that_cannot_be_used_is_one_sentence_naming_file_and_field(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "melanocytic_nevus.yaml").write_text(yaml.safe_dump(_fields() | change), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_cards(tmp_path)
    assert message in str(caught.value)
    assert "melanocytic_nevus.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_yaml_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("node_id: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"x\.yaml is not YAML"):
        read_cards(tmp_path)


def test_a_diagnosis_cannot_be_argued_twice_or_against_itself() -> None:
    fields = _fields()
    for node_id in ("melanocytic_nevus", "dermatofibroma"):
        edge = fields["differentials"][0] | {"node_id": node_id}
        with pytest.raises(ValueError, match="once"):
            KnowledgeCard.model_validate(fields | {"differentials": [*fields["differentials"], edge]})


def test_no_text_of_a_card_breaks_a_rule_that_holds_for_any_sentence() -> None:
    broken = [
        (card.node_id, pattern.search(text.lower()).group())  # type: ignore[union-attr]
        for card in CARDS.values()
        for text in texts_of(card.model_dump())
        for pattern in (DOSE, SECOND_PERSON, LABEL_SOURCE, IDENTIFIER, BOILERPLATE)
        if pattern.search(text.lower())
    ]
    assert broken == []


def texts_of(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [text for part in inner for text in texts_of(part)]
