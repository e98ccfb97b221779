"""Answers are read strictly: whatever a browser could not have sent is named, whatever it sends is read whole."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.label_studio.answers import Answers, read_answers
from annotators.label_studio.controls import CANNOT_JUDGE, DECISIONS, FLAGS
from schemas.narrative import render_sections
from schemas.tables import DIMENSIONS
from tests.annotators.label_studio.cases import narrative

TEXT = st.text(min_size=1, max_size=30).filter(str.strip)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


def choice(name: str, *values: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": list(values)}}


def text(name: str, *values: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": "image", "type": "textarea", "value": {"text": list(values)}}


def result(decision: str = "certify", *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(choice(name, "3") for name in DIMENSIONS), choice("decision", decision), *more]


def without(name: str) -> list[dict[str, Any]]:
    return [item for item in result() if item["from_name"] != name]


def reasons(items: object, **annotation: Any) -> str:
    read = read_answers({"result": items, "lead_time": 12.5, **annotation}, narrative())
    assert isinstance(read, list), read
    assert all(sentence.endswith(".") for sentence in read)
    return " ".join(read)


@given(
    st.lists(st.integers(0, 5), min_size=6, max_size=6), st.sampled_from(sorted(DECISIONS)), TEXT,
    st.sets(st.sampled_from(sorted(FLAGS))), st.floats(0, 86_400), st.randoms(),
)  # fmt: skip
def test_what_was_answered_is_what_is_read(
    scores: list[int], decision: str, critique: str, flags: set[str], seconds: float, random: Any
) -> None:
    items = [choice(name, str(score)) for name, score in zip(DIMENSIONS, scores, strict=True)]
    items.append(choice("decision", decision))
    corrected = narrative("Naevus")
    if decision != "certify":
        items.append(text("critique", critique))
    if decision == "revise":
        items.append(text("corrected", render_sections(corrected)))
    if flags:
        items.append(choice("flags", *flags))
    random.shuffle(items)
    read = read_answers({"result": items, "lead_time": seconds}, narrative())
    assert read == Answers(
        scores=dict(zip(DIMENSIONS, scores, strict=True)),
        decision=decision,
        critique=None if decision == "certify" else critique.strip(),
        corrected=corrected if decision == "revise" else None,
        flags=tuple(name for name in FLAGS if name in flags),
        cannot_judge=(),
        seconds=seconds,
    )


@given(JSON, JSON)
def test_nothing_that_json_can_hold_is_taken_for_answers_or_raises(items: Any, lead_time: Any) -> None:
    assert isinstance(read_answers({"result": items, "lead_time": lead_time}), list)


@given(st.data())
def test_one_value_replaced_by_anything_is_read_or_refused(data: st.DataObject) -> None:
    items: Any = copy.deepcopy(result("revise", text("critique", "x"), text("corrected", "y")))
    place = data.draw(st.integers(0, len(items) - 1))
    key = data.draw(st.sampled_from(["from_name", "to_name", "type", "value"]))
    items[place][key] = data.draw(JSON)
    read = read_answers({"result": items, "lead_time": None})
    assert isinstance(read, list)
    assert read


@pytest.mark.parametrize("name", [*DIMENSIONS, "decision"])
def test_a_missing_answer_is_named(name: str) -> None:
    assert reasons(without(name)) == f"{name} was not answered."


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (None, "holds no list"),
        ([], "accuracy was not answered"),
        ([7], "names no control"),
        (result("certify", choice("acuracy", "3")), "no control called 'acuracy'"),
        ([*without("safety"), choice("safety", "6")], "safety does not offer '6'"),
        ([*without("safety"), choice("safety", "3.5")], "safety does not offer '3.5'"),
        ([*without("safety"), choice("safety", "3", "4")], "safety has 2 values: 3, 4"),
        ([*without("safety"), choice("safety", "3", "3")], "safety has 2 values"),
        ([*without("safety"), choice("safety")], "safety has no value"),
        ([*without("safety"), text("safety", "3")], "not an answer of the kind choices"),
        (result("certify", choice("safety", "3")), "answered 2 times"),
        ([{**item, "to_name": "other"} for item in result()], "about the image"),
        (result("certify", choice("flags", "bad_image", "nonsense")), "flags does not offer 'nonsense'"),
        (result("reject"), "there is no critique"),
        (result("reject", text("critique", "  ")), "there is no critique"),
        (result("revise", text("corrected", "x")), "there is no critique"),
        (result("revise", text("critique", "x")), "there is no corrected narrative"),
        (result("revise", text("critique", "x"), text("corrected", "## Findings")), "not in the layout: line 1"),
        (result("revise", text("critique", "x"), text("corrected", render_sections(narrative()))), "left as it was"),
        (result("revise", text("critique", "x", "y")), "critique has 2 texts"),
        (result("certify", text("critique", "x")), "yet there is a critique"),
        (result("certify", text("corrected", "x")), "yet there is a corrected narrative"),
    ],
)
def test_whatever_the_screen_cannot_send_is_refused(items: object, said: str) -> None:
    assert said in reasons(items)


@pytest.mark.parametrize("lead_time", [-1, float("nan"), float("inf"), 10**400, "12", True, [1]])
def test_an_impossible_time_is_refused(lead_time: object) -> None:
    assert "no possible number of seconds" in reasons(result(), lead_time=lead_time)


def test_a_skipped_case_has_no_answers() -> None:
    assert "skipped" in reasons(result(), was_cancelled=True)


def test_a_case_that_cannot_be_judged_has_no_scores_whatever_was_begun() -> None:
    items = [choice("accuracy", "3"), choice("flags", "bad_image"), choice("cannot_judge", *reversed(CANNOT_JUDGE))]
    read = read_answers({"result": items, "lead_time": None})
    assert read == Answers({}, None, None, None, ("bad_image",), tuple(CANNOT_JUDGE), None)
