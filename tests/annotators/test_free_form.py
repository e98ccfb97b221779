"""Free-form texts: identity on our own renderings, nothing lost of anybody else's, and sentences in their sections."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from annotators.free_form import Standardised, standardise_text
from quality.reading.segments import MOST_CHARACTERS
from schemas.narrative import (
    NO_DIAGNOSIS,
    UNMAPPED,
    Narrative,
    narrative_from_json,
    narrative_to_json,
    parse_sections,
    parse_tagged,
    render_sections,
    render_tagged,
)
from schemas.taxonomy import load_taxonomy
from tests.schemas.test_narrative import narratives

TAXONOMY = load_taxonomy()
TEXT = """<think> First, I look at what is there: 1. **Lesion:** a pearly papule of about 6 mm with a rolled border. \
2. **Vessels:** arborising telangiectasia cross its surface. </think>

Next, I consider the differential diagnosis:

- **Sebaceous hyperplasia**: Yellowish lobules around a dent would be expected, which are absent.
- **Squamous cell carcinoma**: Less likely without scale or a horn.
- **Basal cell carcinoma**: The rolled border and the vessels fit well.

<think> Without a history it cannot be told how long it has been there. In conclusion, the most likely diagnosis is \
**basal cell carcinoma** rather than sebaceous hyperplasia. </think>
I recommend seeing a dermatologist for a biopsy."""


def standardised(text: str) -> Standardised:
    return standardise_text(text, TAXONOMY)


def told(found: Standardised) -> list[str]:
    """Every text of a narrative and of its residue."""
    narrative = found.narrative
    texts = [finding.text for finding in narrative.findings]
    for entry in narrative.differential:
        texts += [*entry.evidence_for, *entry.evidence_against]
    texts += [narrative.conclusion.rationale, *narrative.limitations, narrative.next_step or ""]
    return [*texts, *(part.text for part in found.residue)]


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


def test_each_sentence_stands_in_its_section() -> None:
    narrative = standardised(TEXT).narrative
    assert [finding.text for finding in narrative.findings] == [
        "Lesion: a pearly papule of about 6 mm with a rolled border.",
        "Vessels: arborising telangiectasia cross its surface.",
    ]
    entries = {entry.taxonomy_id: entry for entry in narrative.differential}
    assert list(entries) == ["basal_cell_carcinoma", "sebaceous_hyperplasia", "squamous_cell_carcinoma"]
    assert entries["basal_cell_carcinoma"].evidence_for == (
        "Basal cell carcinoma: The rolled border and the vessels fit well.",
    )
    assert entries["sebaceous_hyperplasia"].evidence_for == ()
    assert len(entries["sebaceous_hyperplasia"].evidence_against) == 1
    assert entries["squamous_cell_carcinoma"].evidence_against == (
        "Squamous cell carcinoma: Less likely without scale or a horn.",
    )
    assert narrative.conclusion.taxonomy_id == "basal_cell_carcinoma"
    assert narrative.conclusion.malignancy == "malignant"
    assert narrative.conclusion.rationale.startswith("In conclusion, the most likely diagnosis is basal cell carcinoma")
    assert narrative.limitations == ("Without a history it cannot be told how long it has been there.",)
    assert narrative.next_step == "I recommend seeing a dermatologist for a biopsy."


def test_what_only_leads_on_is_residue_and_not_clinical() -> None:
    residue = standardised(TEXT).residue
    assert [(part.text, part.clinical) for part in residue] == [
        ("First, I look at what is there:", False),
        ("Next, I consider the differential diagnosis:", False),
    ]


def test_the_form_of_a_text_is_remembered() -> None:
    layout = standardised(TEXT).layout
    assert (layout.think_blocks, layout.answer_blocks, layout.balanced, layout.markdown) == (2, 0, True, True)
    assert not standardised("</think> The diagnosis is psoriasis.").layout.balanced
    assert not standardised("<think> The diagnosis is psoriasis.").layout.balanced


@pytest.mark.parametrize(
    "text",
    [
        "<think>Scaly plaques on the elbows.</think><answer>Psoriasis</answer>",
        "Scaly plaques on the elbows. The answer is psoriasis.",
        "## Findings\nScaly plaques on the elbows.\n## Diagnosis\nPsoriasis is the most likely diagnosis.",
        "<p>Scaly plaques on the elbows.</p><p>This is <b>psoriasis</b>.</p>",
        json.dumps({"findings": ["Scaly plaques on the elbows."], "diagnosis": "This is psoriasis."}),
        '```json\n{"observation": "Scaly plaques on the elbows.", "final_diagnosis": "Most likely psoriasis."}\n```',
        "1. Scaly plaques on the elbows.\n2. Conclusion: consistent with psoriasis.",
    ],
)
def test_texts_of_many_forms_become_the_same_kind_of_narrative(text: str) -> None:
    narrative = standardised(text).narrative
    assert narrative.conclusion.taxonomy_id == "psoriasis"
    assert "Scaly plaques on the elbows." in [finding.text for finding in narrative.findings]


def test_a_text_that_settles_on_nothing_says_so() -> None:
    end = standardised("There is no picture, so nothing can be said of the skin.").narrative.conclusion
    assert (end.diagnosis, end.taxonomy_id, end.malignancy) == (NO_DIAGNOSIS, UNMAPPED, "indeterminate")


def test_a_diagnosis_that_the_taxonomy_lacks_keeps_its_name() -> None:
    end = standardised("In conclusion, the findings are consistent with glimmer disease of Orb.").narrative.conclusion
    assert (end.diagnosis, end.taxonomy_id) == ("glimmer disease", UNMAPPED)


def test_a_choice_left_open_is_the_node_that_holds_both() -> None:
    end = standardised("The most likely diagnosis is tinea pedis or tinea corporis.").narrative.conclusion
    assert (end.diagnosis, end.taxonomy_id) == ("tinea pedis or tinea corporis", "dermatophytosis")
    apart = standardised("The most likely diagnosis is melanoma or psoriasis.").narrative.conclusion
    assert (apart.diagnosis, apart.taxonomy_id) == ("melanoma or psoriasis", UNMAPPED)


@given(narratives())
@settings(max_examples=150, deadline=None)
def test_our_own_renderings_come_back_unchanged(narrative: Narrative) -> None:
    for text in (render_sections(narrative), render_tagged(narrative), narrative_to_json(narrative)):
        found = standardised(text)
        assert found.narrative == narrative
        assert found.is_strict and not found.residue


#: Pieces of real texts and of what breaks parsers, to be put together in any order.
_PIECES = st.sampled_from(
    [
        "<think>", "</think>", "<answer>", "</answer>", "< think >", "<thi<think>nk>", "**", "`", "#### ", "\n\n",
        "\n- ",
        "1. ", "- **Psoriasis**: ", "The most likely diagnosis is ", "psoriasis", "melanoma", "rather than", " or ",
        ". ",
        "I recommend a biopsy. ", "{", "}", '"diagnosis": ', "\u202e", "\u2028", "\x00", "\x1b[31m", "<b>",
        "&lt;think&gt;",
        "e.g. ", "Scaly plaques. ", "(BCC)", "\ud800", "مرحبا ", "皮膚", "a" * 700, "word " * 300,
    ]
)  # fmt: skip


@given(st.one_of(st.text(max_size=400), st.lists(_PIECES, max_size=40).map("".join)))
@example("<think**>")
@example("<br>")
@settings(max_examples=300, deadline=None)
def test_no_word_of_any_text_is_lost_and_no_text_crashes(text: str) -> None:
    try:
        found = standardised(text)
    except ValueError:
        return
    if found.is_strict or found.layout.is_json:
        return
    assert parse_sections(render_sections(found.narrative)) == found.narrative
    assert parse_tagged(render_tagged(found.narrative)) == found.narrative
    assert narrative_from_json(narrative_to_json(found.narrative)) == found.narrative
    assert not lost(text, found)


def lost(text: str, found: Standardised) -> Counter[str]:
    """The characters of words that stand in a text and in no section; tags and marks of the form are no words."""
    import html

    from quality.reading.segments import _HTML, _TAG, _blank

    plain = _TAG.sub(" ", html.unescape(_HTML.sub(_blank, text)) if _HTML.search(text) else text)
    plain = re.sub(r"(?m)^\s*\(?(?:\d{1,2}|[a-hA-H])[.)]|(?<=[\s:.;!?)])\d{1,2}[.)]\s", " ", plain)
    gone = Counter(re.sub(r"[\W_]|think|answer", "", plain, flags=re.IGNORECASE))
    gone.subtract(Counter(re.sub(r"[\W_]|think|answer", "", " ".join(told(found)), flags=re.IGNORECASE)))
    return +gone


@pytest.mark.parametrize("text", ["", " \n\t", "!!! ---", "<think></think>", "x" * (MOST_CHARACTERS + 1)])
def test_what_holds_no_narrative_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"empty|no word|characters"):
        standardised(text)


def test_a_very_long_text_is_read_whole() -> None:
    text = "Scaly plaques lie on the elbow. " * (MOST_CHARACTERS // 40) + "The diagnosis is psoriasis."
    found = standardised(text)
    assert found.narrative.conclusion.taxonomy_id == "psoriasis"
    assert not lost(text, found)
    assert any(part.clinical for part in found.residue), "what finds no room is left over, and said to be clinical"
