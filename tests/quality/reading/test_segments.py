"""Sentences of free-form texts: where they stood, what they belong to, and that their places are true."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.reading.segments import MOST_CHARACTERS, read_text


def test_a_list_run_into_one_line_is_a_list() -> None:
    text = "I weigh these: - **Psoriasis**: Silvery scale. Thick. - **Eczema**: Weeping. 2. **Tinea**: A ring."
    found = [(sentence.lead, sentence.text) for sentence in read_text(text).sentences]
    assert found == [
        ("", "I weigh these:"),
        ("Psoriasis", "Psoriasis: Silvery scale."),
        ("Psoriasis", "Thick."),
        ("Eczema", "Eczema: Weeping."),
        ("Tinea", "Tinea: A ring."),
    ]


def test_tags_make_zones_and_blocks() -> None:
    text = "Before. <think>Inside.</think> Between. <Thinking> Again. </thinking><answer>Psoriasis</answer>"
    assert [(s.text, s.zone, s.block) for s in read_text(text).sentences] == [
        ("Before.", "open", 0),
        ("Inside.", "think", 1),
        ("Between.", "open", 2),
        ("Again.", "think", 3),
        ("Psoriasis", "answer", 5),
    ]
    layout = read_text(text).layout
    assert (layout.think_blocks, layout.answer_blocks, layout.balanced) == (2, 1, True)


@pytest.mark.parametrize("text", ["a <think> b", "a </think> b", "<think> a <think> b </think>", "<think> a </answer>"])
def test_tags_that_do_not_close_each_other_are_unbalanced(text: str) -> None:
    assert not read_text(text).layout.balanced


def test_a_stop_after_an_abbreviation_ends_no_sentence() -> None:
    text = "Fungi, e.g. Candida, or S. Aureus vs. Streptococci grow. It is 3.5 cm wide. The end."
    assert [s.text for s in read_text(text).sentences] == [
        "Fungi, e.g. Candida, or S. Aureus vs. Streptococci grow.",
        "It is 3.5 cm wide.",
        "The end.",
    ]


def test_headings_stand_over_what_follows() -> None:
    text = "## Findings\nRed.\n\n**Conclusion:**\nPsoriasis."
    found = [(s.heading, s.text) for s in read_text(text).sentences if not s.is_heading]
    assert found == [("Findings", "Red."), ("Conclusion:", "Psoriasis.")]


def test_json_is_read_as_headed_lines() -> None:
    document = read_text('{"final_diagnosis": "Psoriasis.", "findings": ["Scale.", {"site": "Elbow."}]}')
    assert document.layout.is_json
    assert [(s.heading, s.text) for s in document.sentences if not s.is_heading] == [
        ("final diagnosis", "Psoriasis."),
        ("findings", "Scale."),
        ("site", "Elbow."),
    ]


@given(st.text(min_size=1, max_size=300))
@settings(max_examples=300, deadline=None)
def test_places_point_at_the_words_of_the_sentence(text: str) -> None:
    try:
        document = read_text(text)
    except ValueError:
        return
    if document.layout.is_json or document.layout.is_html:
        return
    for sentence in document.sentences:
        here = text[sentence.start : sentence.end]
        assert "".join(c for c in sentence.text if c.isalnum()) == "".join(c for c in here if c.isalnum())
    places = [(sentence.start, sentence.end) for sentence in document.sentences]
    assert places == sorted(places)


@pytest.mark.parametrize(("text", "reason"), [(" \n", "empty"), ("x" * (MOST_CHARACTERS + 1), "200,001 characters")])
def test_what_cannot_be_a_narrative_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_text(text)
