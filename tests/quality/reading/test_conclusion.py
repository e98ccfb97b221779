"""What whole texts conclude, where conclusions hide: last thinking blocks, second summaries, names only ruled out."""

from __future__ import annotations

import pytest

from quality.reading.conclusion import Conclusion, conclude
from quality.reading.segments import read_text
from schemas.taxonomy import load_taxonomy

TAXONOMY = load_taxonomy()
FILLER = "A scaly plaque lies on the elbow. Its border is sharp. The surface is dry. It is red. " * 2


def concluded(text: str) -> Conclusion | None:
    return conclude(read_text(text), TAXONOMY)


@pytest.mark.parametrize(
    ("ending", "nodes"),
    [
        ("In conclusion, this is most consistent with psoriasis. See a doctor to rule out melanoma.", ("psoriasis",)),
        ("<think> Therefore I conclude that the most likely diagnosis is **psoriasis**. </think>", ("psoriasis",)),
        ("The answer is psoriasis.", ("psoriasis",)),
        ("<answer>psoriasis</answer>", ("psoriasis",)),
        ("Diagnosis: psoriasis. Psoriasis is a chronic inflammatory skin disease.", ("psoriasis",)),
        ("You likely have psoriasis. Eczema remains possible.", ("psoriasis",)),
        ("The findings suggest a fungal infection, specifically tinea corporis.", ("tinea_corporis",)),
        ("I conclude that it is an inflammatory condition such as psoriasis.", ("psoriasis",)),
        ("The most likely diagnosis is eczema (atopic dermatitis).", ("atopic_dermatitis",)),
    ],
)
def test_the_conclusion_is_what_the_end_asserts(ending: str, nodes: tuple[str, ...]) -> None:
    found = concluded(FILLER + ending)
    assert found is not None
    assert found.nodes == nodes
    assert not found.is_open


def test_a_choice_that_is_left_open_is_told() -> None:
    found = concluded(FILLER + "In conclusion, the most likely diagnosis is scabies or a dyshidrotic eczema.")
    assert found is not None
    assert (found.nodes, found.is_open) == (("scabies", "dyshidrotic_eczema"), True)


def test_a_second_summary_that_differs_decides_and_the_first_is_kept() -> None:
    found = concluded(FILLER + "In conclusion, this is melanoma. In summary, the diagnosis is a blue nevus.")
    assert found is not None and found.other is not None
    assert found.nodes == ("blue_nevus",)
    assert found.other.nodes == ("melanoma",)


def test_a_name_that_no_taxonomy_has_is_kept_as_a_name() -> None:
    found = concluded(FILLER + "In conclusion, the most likely diagnosis is **Orbian glimmerosis**.")
    assert found is not None
    assert (found.nodes, found.names) == ((), ("Orbian glimmerosis",))


@pytest.mark.parametrize(
    "ending",
    [
        "Without a picture no diagnosis is possible.",
        "If the lesions were silvery, I would lean towards psoriasis.",
        "Psoriasis, eczema and tinea could all be considered.",
        "A biopsy is needed to rule out melanoma.",
    ],
)
def test_a_text_that_asserts_nothing_concludes_nothing(ending: str) -> None:
    assert concluded(FILLER + ending) is None


def test_a_sign_is_a_diagnosis_only_where_a_text_openly_concludes_it() -> None:
    seen = "The hyperkeratosis and the itching suggest an old lesion. In conclusion, this is consistent with eczema."
    found = concluded(FILLER + seen)
    assert found is not None and found.nodes == ("eczema",)
    openly = concluded(FILLER + "In conclusion, the most likely diagnosis is onycholysis.")
    assert openly is not None and openly.nodes == ("onycholysis",)


def test_a_disease_that_comes_with_another_is_told_beside_it() -> None:
    found = concluded(FILLER + "In conclusion, this appears to be psoriasis with signs of onychomycosis.")
    assert found is not None
    assert {*found.nodes, *found.beside} == {"psoriasis", "onychomycosis"}
