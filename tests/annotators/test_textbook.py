"""The textbook teacher: deterministic, different in substance, and never claiming what it cannot know."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators.case_facts import prompt_fields
from annotators.textbook import (
    narrative_id,
    prompt_digest,
    propose,
    teacher_revision,
    trajectory_of,
)
from annotators.textbook_writer import LENSES
from quality.checks import check_narrative
from schemas.cards import load_cards
from schemas.family_cards import MOST_MEMBERS, knowledge
from schemas.narrative import Narrative, parse_tagged
from schemas.tables import LABEL_CERTAINTIES, NARRATIVES, TRAJECTORIES, polars_schema
from schemas.taxonomy import load_taxonomy
from tests.annotators.textbook_cases import SCHEMA, case

TAXONOMY, CARDS = load_taxonomy(), knowledge()


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=SCHEMA)


def narratives(*rows: dict[str, Any], n: int = 3) -> list[Narrative]:
    kept = propose(frame(*rows), n, TAXONOMY, CARDS).kept
    return [parse_tagged(text) for text in kept["completion"]]


URGENCIES = ("emergency", "urgent", "soon", "routine")
EVERY_CARD = [
    case(f"src:{node}/{index}", node_id=node, label_certainty=LABEL_CERTAINTIES[(index + len(node)) % 8], **facts)
    for node in CARDS
    for index, facts in enumerate(
        [{}, {"age_years": 4.0, "site": "face", "modality": "clinical"}, {"age_years": None, "sex": None, "site": None}]
    )
]


def test_rows_are_raw_narratives_with_their_provenance() -> None:
    result = propose(frame(case()), 2, TAXONOMY, CARDS)
    assert result.kept.schema == polars_schema(NARRATIVES)
    row = result.kept.row(1, named=True)
    assert (row["parse_status"], row["narrative_json"], row["text"]) == ("raw", None, None)
    assert (row["author"], row["label_seen"], row["image_grounded"], row["post_hoc"]) == ("textbook", True, False, None)
    assert row["sampling"] == '{"candidate": 1}'
    assert row["prompt_digest"] == prompt_digest(prompt_fields(case()))
    revision = teacher_revision(TAXONOMY, CARDS)
    assert row["author_revision"] == revision
    kind = row["trajectory"]
    assert kind == trajectory_of(prompt_digest(prompt_fields(case())), 1, TRAJECTORIES)
    assert row["narrative_id"] == narrative_id("src:1", prompt_digest(prompt_fields(case())), revision, 1, kind)
    assert row["narrative_id"] != narrative_id("src:1", prompt_digest(prompt_fields(case())), revision, 1, "another")
    assert re.fullmatch(r"[0-9a-f]{32}", row["narrative_id"])
    assert row["context_used"] == list(parse_tagged(row["completion"]).context_used)


def test_no_cases_give_empty_tables() -> None:
    result = propose(frame(), 3, TAXONOMY, CARDS)
    assert (result.kept.height, result.rejected.height, result.kept.schema) == (0, 0, polars_schema(NARRATIVES))


def test_a_case_without_a_card_is_rejected_with_its_reason() -> None:
    broad = case("src:1", node_id="inflammatory_or_infectious_disease")
    rows = [broad, case("src:2", node_id=None, raw_label="odd"), case("src:3")]
    result = propose(frame(*rows), 3, TAXONOMY, CARDS)
    assert result.kept["case_id"].unique().to_list() == ["src:3"]
    assert result.rejected.select("record_kind", "record_id", "stage", "rule", "value").rows() == [
        ("case", "src:1", "propose", "no_card", "inflammatory_or_infectious_disease"),
        ("case", "src:2", "propose", "no_card", None),
    ]
    assert "odd" in result.rejected["detail"][1]


def test_neither_row_order_nor_company_nor_the_number_of_candidates_matters() -> None:
    rows = EVERY_CARD[:9]
    together = propose(frame(*rows), 3, TAXONOMY, CARDS).kept
    assert together.equals(propose(frame(*reversed(rows)), 3, TAXONOMY, CARDS).kept)
    alone = propose(frame(rows[4]), 5, TAXONOMY, CARDS).kept.head(3)
    assert alone.equals(together.filter(pl.col("case_id") == rows[4]["case_id"]))


def test_the_key_moves_with_every_field_that_shapes_the_text_and_with_no_other() -> None:
    base = prompt_digest(prompt_fields(case()))
    shaping: list[dict[str, Any]] = [
        {"node_id": "scabies"},
        {"label_certainty": "clinical"},
        {"age_years": 61.0},
        {"sex": "male"},
        {"site": "face"},
        {"modality": "clinical"},
        {"concepts": ["plaque"]},
        {"facts": [{"key": "bleed", "value": "False"}]},
        {"tone_observations": []},
        {"image_digests": ["ab"]},
    ]
    digests = [prompt_digest(prompt_fields(case(**change))) for change in shaping]
    assert len({base, *digests}) == len(shaping) + 1
    for change in ({"raw_label": "x"}, {"caption": "melanoma"}, {"patient_id": "p"}, {"image_ids": ["z"]}):
        assert prompt_digest(prompt_fields(case(**change))) == base
    reordered = case(image_digests=["cd", "ab"], facts=list(reversed(case()["facts"])))
    assert prompt_digest(prompt_fields(reordered)) == base
    without = {key: value for key, value in case().items() if key != "image_digests"}
    assert "image_digests" not in prompt_fields(without)


def test_candidates_differ_in_order_argument_and_facts() -> None:
    for row in EVERY_CARD:
        first, second, third = narratives(row)
        assert len({tuple(finding.text for finding in entry.findings) for entry in (first, second, third)}) == 3
        assert len({tuple(e.taxonomy_id for e in entry.differential) for entry in (first, second, third)}) >= 2
    many = narratives(case(), n=9)
    assert len({entry.model_dump_json() for entry in many}) == 9


def test_lenses_turn_from_case_to_case() -> None:
    starts = set()
    for index in range(30):
        (first,) = narratives(case(f"src:{index}", image_digests=[str(index)]), n=1)
        starts.add((first.findings[0].origin, first.findings[0].text.split()[0], first.differential[0].taxonomy_id))
    assert len(starts) > len(LENSES)


def test_metadata_is_reported_knowledge_is_typical_and_nothing_is_seen() -> None:
    for row in EVERY_CARD:
        for narrative in narratives(row):
            assert {finding.origin for finding in narrative.findings} <= {"reported", "typical"}
            for finding in narrative.findings:
                if finding.origin == "typical":
                    assert re.search(r"typical|usual|in general", finding.text, re.I), finding.text
                else:
                    assert re.search(r"report", finding.text), finding.text
            assert check_narrative(narrative, row["label_certainty"]) == []
            assert any("No feature of this image was inspected" in text for text in narrative.limitations)


def test_only_reported_clinical_facts_are_told() -> None:
    texts = " ".join(narrative.model_dump_json() for narrative in narratives(case(), n=6))
    assert "bleeding: yes" in texts
    assert "biopsed" not in texts
    bare = case(age_years=None, sex=None, site=None, facts=[], tone_observations=[], modality="unknown")
    for narrative in narratives(bare):
        assert narrative.context_used == ()
        assert all(finding.origin == "typical" for finding in narrative.findings)


@pytest.mark.parametrize("certainty", LABEL_CERTAINTIES)
def test_a_conclusion_is_no_surer_than_its_label(certainty: str) -> None:
    for narrative in narratives(case(label_certainty=certainty)):
        end = narrative.conclusion
        assert end.certainty == certainty
        assert ("confirmed" in end.rationale) == (certainty in ("histopathology", "confocal", "consensus"))


def test_a_conclusion_is_as_fine_as_its_label_and_no_finer() -> None:
    for label, concluded in [
        ("benign_keratosis", "benign_keratosis"),
        ("vascular_lesion", "vascular_lesion"),
        ("actinic_keratosis_or_squamous_cell_carcinoma", "actinic_keratosis_or_squamous_cell_carcinoma"),
        ("benign_vascular_proliferation", "benign_vascular_proliferation"),
        ("lentigo_maligna", "lentigo_maligna"),
    ]:
        for narrative in narratives(case(node_id=label)):
            assert narrative.conclusion.taxonomy_id == concluded
            assert narrative.conclusion.malignancy == TAXONOMY.node(concluded).malignancy
            assert not TAXONOMY.is_ancestor(label, concluded)
            assert narrative.differential.count(narrative.differential[0]) == 1
            told = " ".join(finding.text for finding in narrative.findings)
            assert ("held to be a form of melanoma" in told) == (label == "lentigo_maligna")
            open_end = "A finer diagnosis within it stays open." in narrative.conclusion.rationale
            assert open_end == (TAXONOMY.node(label).level in ("group", "family"))


def test_whatever_the_lens_what_must_not_be_missed_is_argued_against() -> None:
    for row in EVERY_CARD:
        dangers = set(CARDS[row["node_id"]].must_not_miss)
        for narrative in narratives(row):
            argued = {entry.taxonomy_id for entry in narrative.weighed if entry.evidence_against}
            assert not dangers or dangers & argued, row["case_id"]


def test_a_family_is_told_by_its_members_and_keeps_their_dangers() -> None:
    own, made = load_cards(), knowledge()
    families = [card for node, card in made.items() if node not in own]
    assert len(families) > 20
    for card in families:
        members = [node for node in own if TAXONOMY.is_ancestor(card.node_id, node)]
        assert 0 < len(members) <= MOST_MEMBERS
        assert all(not TAXONOMY.on_one_branch(edge.node_id, card.node_id) for edge in card.differentials)
        pressing = min(URGENCIES.index(own[node].urgency) for node in members)
        assert URGENCIES.index(card.urgency) == pressing
        assert any(TAXONOMY.node(node).spoken in card.primary_morphology for node in members)
        assert card.photograph_cannot_show[0].startswith("which member of the group it is")
    assert "inflammatory_or_infectious_disease" not in made  # half of dermatology argues nothing


def test_the_look_on_dark_skin_is_told_for_dark_skin() -> None:
    dark = [{"scale": "fitzpatrick", "low": 5, "high": 6, "origin": "x"}]
    texts = " ".join(n.model_dump_json() for n in narratives(case(node_id="psoriasis", tone_observations=dark)))
    assert CARDS["psoriasis"].skin_tones.dark in texts
    assert CARDS["psoriasis"].skin_tones.light not in texts


nasty = st.one_of(
    st.none(), st.text(max_size=80), st.sampled_from(["<think>", "a</answer>b", "back\nface", "\u2028", "x" * 900])
)


@given(
    site=nasty,
    sex=nasty,
    concepts=st.lists(st.text(max_size=60), max_size=20),
    fact=nasty,
    age=st.one_of(st.none(), st.floats(0, 120)),
)
@settings(max_examples=60, deadline=None)
def test_whatever_a_table_holds_the_narrative_is_well_formed(
    site: str | None, sex: str | None, concepts: list[str], fact: str | None, age: float | None
) -> None:
    facts = [{"key": key, "value": fact or ""} for key in ("itch", "diameter_1_mm", "grew")]
    encodable = [text.encode("utf-8", "ignore").decode() for text in concepts]
    row = case(site=site, sex=sex, concepts=encodable, facts=facts, age_years=age)
    assert len(narratives(row)) == 3
