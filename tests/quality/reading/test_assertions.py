"""What sentences say of the diseases they name: asserted, denied, weighed, or only the scene."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.reading.assertions import statements
from quality.reading.mentions import SIGNS, introduced, vocabulary
from schemas.taxonomy import load_taxonomy


def said(sentence: str) -> dict[str, str]:
    return {s.mention.node_id: s.status for s in statements(sentence, vocabulary().mentions(sentence))}


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("The most likely diagnosis is psoriasis.", {"psoriasis": "asserted"}),
        ("This is most consistent with psoriasis rather than eczema.", {"psoriasis": "asserted", "eczema": "denied"}),
        ("The scale points to psoriasis; melanoma is unlikely.", {"psoriasis": "asserted", "melanoma": "denied"}),
        ("A biopsy would rule out melanoma.", {"melanoma": "denied"}),
        ("Scabies can be excluded.", {"scabies": "denied"}),
        ("It does not support a diagnosis of lichen planus.", {"lichen_planus": "denied"}),
        ("Psoriasis fits best.", {"psoriasis": "asserted"}),
        ("Scabies remains the leading diagnosis.", {"scabies": "asserted"}),
        ("Rosacea is less likely here.", {"rosacea": "denied"}),
        ("While rosacea could be, the picture favours melasma.", {"rosacea": "weighed", "melasma": "asserted"}),
        ("If the plaques were silvery, psoriasis would be the diagnosis.", {"psoriasis": "weighed"}),
        ("Psoriasis is a chronic disease of the skin.", {"psoriasis": "none"}),
        ("The clear skin argues against rosacea as the primary diagnosis.", {"rosacea": "denied"}),
        ("Vesicles would suggest impetigo.", {"impetigo": "weighed"}),
        ("I would conclude that this is psoriasis.", {"psoriasis": "asserted"}),
        ("There is a risk of melanoma.", {"melanoma": "scene"}),
        ("The absence of scale excludes tumours such as seborrheic keratosis.", {"seborrheic_keratosis": "denied"}),
        ("It favours lichen planus over psoriasis.", {"lichen_planus": "asserted", "psoriasis": "denied"}),
        ("Could this be an early presentation of vitiligo?", {"vitiligo": "weighed"}),
        ("It is highly suspicious for melanoma.", {"melanoma": "asserted"}),
        ("The bumps on the arm are keloids.", {"keloid": "asserted"}),
    ],
)  # fmt: skip
def test_each_disease_is_ruled_by_its_own_cue(sentence: str, expected: dict[str, str]) -> None:
    assert said(sentence) == expected


def test_what_is_joined_by_or_is_told_from_what_is_joined_by_and() -> None:
    sentence = "The diagnosis is tinea pedis or a chronic eczema."
    assert [s.joined for s in statements(sentence, vocabulary().mentions(sentence))] == ["", "or"]
    sentence = "The signs point to onychomycosis and paronychia."
    assert [s.joined for s in statements(sentence, vocabulary().mentions(sentence))] == ["", "and"]


def test_a_denial_of_the_last_is_a_denial_of_all_that_are_joined() -> None:
    assert said("Scabies and impetigo are less likely.") == {"scabies": "denied", "impetigo": "denied"}


@pytest.mark.parametrize(
    ("sentence", "nodes"),
    [
        ("Basal-cell carcinomas and Bowen's disease", ["basal_cell_carcinoma", "bowen_disease"]),
        ("A BCC, but no bcc of the taxonomy's spelling", ["basal_cell_carcinoma"]),
        ("Haemangioma; psoriatic nail disease", ["hemangioma", "nail_psoriasis"]),
        ("lichen, planus", []),
        ("The lesion asks for care", []),
    ],
)
def test_diseases_are_found_in_any_usual_spelling(sentence: str, nodes: list[str]) -> None:
    assert [mention.node_id for mention in vocabulary().mentions(sentence)] == nodes


def test_an_abbreviation_counts_once_it_was_introduced() -> None:
    first = "Chronic hand eczema (CHE) is likely."
    aliases = dict(introduced(first, vocabulary().mentions(first)))
    assert aliases == {"CHE": "hand_eczema"}
    assert [m.node_id for m in vocabulary().mentions("CHE fits.", aliases)] == ["hand_eczema"]
    assert not vocabulary().mentions("CHE fits.")


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_sentence_crashes_and_mentions_point_at_their_words(sentence: str) -> None:
    mentions = vocabulary().mentions(sentence)
    assert len(statements(sentence, mentions)) == len(mentions)
    assert all(sentence[m.start : m.end] == m.words for m in mentions)


def test_every_sign_is_a_node() -> None:
    assert all(node in load_taxonomy() for node in SIGNS)
