"""The Narrative model and its two renderings, which must parse back to the equal object whatever the texts hold."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.narrative import (
    SECTIONS,
    Narrative,
    NarrativeParseError,
    narrative_from_json,
    narrative_json_schema,
    narrative_to_json,
    parse_sections,
    parse_tagged,
    render_sections,
    render_tagged,
)
from schemas.tables import LABEL_CERTAINTIES

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
#: Texts made to look like the layout itself, mixed with any Unicode a text may hold.
_LAYOUT = [
    "## Findings",
    "(none)",
    "- ",
    "  - for: ",
    " [melanoma]",
    "]",
    "[",
    "reported: ",
    "- Diagnosis: ",
    "think>",
    "<",
]
_ANY = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=40)


def line(max_size: int = 600) -> st.SearchStrategy[str]:
    parts = st.lists(st.one_of(_ANY, st.sampled_from(_LAYOUT)), min_size=1, max_size=4).map("".join)
    return parts.map(lambda text: text.strip()[:max_size].strip()).filter(
        lambda text: bool(text) and not any(tag in text.lower() for tag in TAGS)
    )


node_ids = st.from_regex(r"[a-z0-9][a-z0-9_]{0,30}", fullmatch=True)


@st.composite
def narratives(draw: st.DrawFn) -> Narrative:
    texts = st.lists(line(), max_size=3)
    finding = st.fixed_dictionaries({"origin": st.sampled_from(["reported", "typical", "image"]), "text": line()})
    entry = st.fixed_dictionaries(
        {"diagnosis": line(120), "taxonomy_id": node_ids, "evidence_for": texts, "evidence_against": texts}
    )
    some = st.lists(line(), min_size=1, max_size=3)
    first = st.fixed_dictionaries(
        {"diagnosis": line(120), "taxonomy_id": node_ids, "evidence_for": some, "turned_by": some}
    )
    return Narrative.model_validate(
        {
            "context_used": draw(texts),
            "first_impression": draw(st.none() | first),
            "findings": draw(st.lists(finding, max_size=3)),
            "differential": draw(st.lists(entry, max_size=3)),
            "conclusion": {
                "diagnosis": draw(line(120)),
                "taxonomy_id": draw(node_ids),
                "malignancy": draw(st.sampled_from(["benign", "malignant", "premalignant"])),
                "certainty": draw(st.sampled_from(LABEL_CERTAINTIES)),
                "rationale": draw(line(1200)),
            },
            "limitations": draw(texts),
            "next_step": draw(st.none() | line(1200)),
        }
    )


def example(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "context_used": ["age: 60 years", "site: back"],
        "findings": [{"origin": "reported", "text": "The reported site is the back."}],
        "differential": [
            {
                "diagnosis": "Melanoma",
                "taxonomy_id": "melanoma",
                "evidence_for": ["Typically asymmetrical."],
                "evidence_against": [],
            }
        ],
        "conclusion": {
            "diagnosis": "Melanoma",
            "taxonomy_id": "melanoma",
            "malignancy": "malignant",
            "certainty": "histopathology",
            "rationale": "It fits best.",
        },
        "limitations": ["A photograph shows no depth."],
        "next_step": "Urgent referral.",
    }
    return record | changes


@given(narratives())
@settings(max_examples=200, deadline=None)
def test_every_rendering_parses_back_to_the_equal_narrative(narrative: Narrative) -> None:
    assert parse_sections(render_sections(narrative)) == narrative
    assert parse_tagged(render_tagged(narrative)) == narrative
    assert narrative_from_json(narrative_to_json(narrative)) == narrative
    render_tagged(narrative).encode("utf-8")


@given(narratives())
@settings(max_examples=50, deadline=None)
def test_the_tags_enclose_reasoning_and_answer_once_each(narrative: Narrative) -> None:
    text = render_tagged(narrative)
    assert re.findall(r"</?(?:think|answer)>", text) == [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
    ]
    answer = text.partition("<answer>\n")[2]
    assert answer.startswith(f"## Conclusion\n- Diagnosis: {narrative.conclusion.diagnosis} ")


def test_the_sections_read_as_a_person_expects() -> None:
    text = render_sections(Narrative.model_validate(example(limitations=[])))
    told = [name for name in SECTIONS if name != "First impression"]
    assert [row.removeprefix("## ") for row in text.split("\n") if row.startswith("## ")] == told
    assert "- Melanoma [melanoma]\n  - for: Typically asymmetrical." in text
    assert "## Limitations\n(none)" in text


FIRST = {
    "diagnosis": "Nevus",
    "taxonomy_id": "melanocytic_nevus",
    "evidence_for": ["A nevus may be as dark."],
    "turned_by": ["The reported age lies outside its usual range.", "A nevus typically is even."],
}


def test_a_revision_shows_the_first_impression_and_what_turned_it_before_the_findings() -> None:
    narrative = Narrative.model_validate(example(first_impression=FIRST))
    text = render_sections(narrative)
    assert [row.removeprefix("## ") for row in text.split("\n") if row.startswith("## ")] == list(SECTIONS)
    assert (
        "## First impression\n- Nevus [melanocytic_nevus]\n  - for: A nevus may be as dark.\n"
        "  - turned by: The reported age lies outside its usual range.\n  - turned by: A nevus typically is even.\n\n"
        "## Findings"
    ) in text
    assert [entry.taxonomy_id for entry in narrative.weighed] == ["melanocytic_nevus", "melanoma"]
    assert narrative.weighed[0].evidence_against == tuple(FIRST["turned_by"])
    for part in ("evidence_for", "turned_by"):  # a revision without a reason is none
        with pytest.raises(ValidationError):
            Narrative.model_validate(example(first_impression=FIRST | {part: []}))


def test_texts_written_before_there_were_first_impressions_still_parse_and_keep_their_bytes() -> None:
    old = json.dumps(example(), separators=(",", ":"))
    narrative = narrative_from_json(old)
    assert narrative.first_impression is None
    assert narrative_to_json(narrative) == old
    assert "First impression" not in render_tagged(narrative)
    assert narrative_from_json(json.dumps(example(first_impression=None))) == narrative


def test_white_space_a_writer_adds_between_lines_does_not_matter() -> None:
    narrative = Narrative.model_validate(example())
    text = "\n" + render_tagged(narrative).replace("\n", " \r\n\r\n").replace(
        "</think> \r\n\r\n<answer>", "</think><answer>"
    )
    assert parse_tagged(text) == narrative


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" a", "white space"),
        ("a\u00a0", "white space"),
        ("a\nb", "control character"),
        ("a\x00b", "control character"),
        ("a\x85b", "control character"),
        ("a\u2028b", "line break"),
        ("a\u2029b", "line break"),
        ("a\ud800b", "surrogate"),
        ("so </think> it", "tag </think>"),
        ("<Answer>", "tag <Answer>"),
        ("x" * 601, "601 characters"),
    ],
)
def test_a_text_the_renderings_cannot_carry_is_refused_in_plain_words(text: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        Narrative.model_validate(example(limitations=[text]))


def test_unknown_fields_certainties_and_ids_are_refused() -> None:
    conclusion = example()["conclusion"]
    for wrong in (
        example(extra=1),
        example(conclusion=conclusion | {"certainty": "sure"}),
        example(conclusion=conclusion | {"taxonomy_id": "Basal cell"}),
        example(findings=[{"origin": "seen", "text": "A plaque."}]),
        example(limitations=["x"] * 9),
    ):
        with pytest.raises(ValidationError):
            Narrative.model_validate(wrong)


def test_a_narrative_cannot_be_changed() -> None:
    narrative = Narrative.model_validate(example())
    with pytest.raises(ValidationError):
        narrative.next_step = "Nothing."  # type: ignore[misc]
    assert isinstance(narrative.findings, tuple)


@pytest.mark.parametrize("number", range(1, 25))
def test_a_text_cut_anywhere_is_a_parse_error_that_names_a_line(number: int) -> None:
    lines = render_tagged(Narrative.model_validate(example())).split("\n")
    assert len(lines) == 25
    with pytest.raises(NarrativeParseError) as caught:
        parse_tagged("\n".join(lines[:number]))
    assert caught.value.line in (number, number + 1)
    assert str(caught.value).startswith(f"line {caught.value.line}: expected ")


@pytest.mark.parametrize(
    ("old", "new", "line_number", "expected"),
    [
        ("## Findings", "## Observations", 5, "'## Findings'"),
        ("- reported: The", "- seen: The", 6, "'- reported: ', '- typical: ' or '- image: '"),
        ("- Melanoma [melanoma]", "- Melanoma", 9, "its taxonomy id"),
        ("- Diagnosis: Melanoma [melanoma]", "- Diagnosis: Melanoma [Mel anoma]", 13, "valid conclusion.taxonomy_id"),
        ("Certainty: histopathology", "Certainty: sure", 15, "valid conclusion.certainty"),
        ("## Limitations\n- A photograph shows no depth.", "## Limitations", 20, "a bullet or (none)"),
        ("- Urgent referral.", "- Urgent referral.\nAnd more.", 23, "the end of the text"),
        ("## Findings", "## First impression\n(none)\n## Findings", 6, "'- ' and a text"),
        ("## Findings", "## First impression\n- A [a]\n  - for: B.\n## Findings", 8, "'  - turned by: ' and a text"),
    ],
)
def test_a_parse_error_says_which_line_and_what_belongs_there(
    old: str, new: str, line_number: int, expected: str
) -> None:
    text = render_sections(Narrative.model_validate(example()))
    assert old in text
    with pytest.raises(NarrativeParseError) as caught:
        parse_sections(text.replace(old, new))
    assert (caught.value.line, expected in str(caught.value)) == (line_number, True), str(caught.value)


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_parses_or_fails_as_a_parse_error(text: str) -> None:
    for parse in (parse_sections, parse_tagged):
        with pytest.raises(NarrativeParseError):
            parse(text)


def test_the_json_schema_bounds_every_string_and_list_and_admits_nothing_else() -> None:
    schema = narrative_json_schema()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "string":
                assert "enum" in node or {"maxLength", "pattern"} <= set(node), node
            if node.get("type") == "array":
                assert "maxItems" in node, node
            if node.get("type") == "object":
                assert node["additionalProperties"] is False
                assert set(node["required"]) == set(node["properties"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(schema)
    assert json.loads(json.dumps(schema)) == schema


@given(line())
@settings(max_examples=100, deadline=None)
def test_the_schema_pattern_admits_every_valid_line(text: str) -> None:
    pattern = narrative_json_schema()["properties"]["limitations"]["items"]["pattern"]
    assert re.search(pattern, text)
    assert not re.search(pattern, text + "\n" + text)
    assert not re.search(pattern, " " + text)
