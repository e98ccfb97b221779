"""Which answers are usable, and what a request's key is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.engines.answers import checked
from annotators.engines.protocol import ANSWERED, Completion, Failure, Image, Message, Request, Sampling
from tests.annotators.engines.prompts import SCHEMA, scripted
from tests.annotators.engines.scripted_server import SYSTEM


def kind_of(text: str, *, schema: Any = None, reason: str = "stop") -> str | None:
    request = scripted("x", schema=schema)
    result = checked(request, Completion(request.key, text, reason, 1, 1, 0.1, "here"))
    return result.kind if isinstance(result, Failure) else None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, I cannot help with identifying medical conditions.",
        "Sorry, I'm not able to provide a diagnosis.",
        "Unfortunately, I am unable to analyze this image.",
        "I can't view images.",
        "As an AI language model, I cannot diagnose skin conditions.",
    ],
)
def test_refusals(text: str) -> None:
    assert kind_of(text) == "refusal"
    assert kind_of(text, schema=SCHEMA) == "refusal"


@pytest.mark.parametrize(
    "text",
    [
        "The border cannot be judged: the image is blurred. I would not exclude melanoma.",
        "A brown macule. I cannot provide a size without a scale.",
        "This cannot be told from a photograph alone; a biopsy will help.",
        "You describe skin lesions well.",
        "In this image I cannot see any pigment network, and the border is sharp.",
    ],
)
def test_what_a_careful_answer_says_is_no_refusal(text: str) -> None:
    assert kind_of(text) is None


@pytest.mark.parametrize("text", [SYSTEM, f"<|im_start|>system\n{SYSTEM}\nmore", f"System:  {SYSTEM.upper()}"])
def test_echoes(text: str) -> None:
    assert kind_of(text) == "prompt_echo"


@pytest.mark.parametrize(
    "text",
    ['{"finding": "x", "score": 6}', '{"finding": "x"}', '{"finding": "x", "score": 1, "more": 2}', '{"score": NaN}',
     '{"finding": "x", "score": 1, "score": 2}', '[1]', '{"finding": "x", "score": 1} and more', "[" * 100_000],
)  # fmt: skip
def test_json_that_is_not_of_its_schema(text: str) -> None:
    assert kind_of(text, schema=SCHEMA) == "invalid_json"
    assert kind_of('\n{"score": 5, "finding": "x"} ', schema=SCHEMA) is None


@given(st.text(), st.sampled_from(["stop", "length", "content_filter", "refusal", "abort", "odd"]), st.booleans())
def test_any_text_is_the_answer_itself_or_a_failure_that_holds_it(text: str, reason: str, structured: bool) -> None:
    request = scripted("x", schema=SCHEMA if structured else None)
    completion = Completion(request.key, text, reason, 1, 1, 0.1, "here")
    result = checked(request, completion)
    if isinstance(result, Failure):
        assert result.completion is completion and result.kind in ANSWERED and result.detail
    else:
        assert result is completion and text.strip() and reason in ("stop", "odd")


def image(digest: str) -> Image:
    return Image(digest, lambda: b"")


def test_whatever_shapes_the_answer_is_in_the_key_and_nothing_else() -> None:
    base = Request("m", "r", (Message("user", ("a", image("1"), "b")),), Sampling(), SCHEMA, ("t1", "t2"))
    same = [
        base, replace(base, may_leave=True), replace(base, shaped_by=("t2", "t1")),
        replace(base, messages=(Message("user", ("a", Image("1", lambda: b"other bytes"), "b")),)),
    ]  # fmt: skip
    assert len({request.key for request in same}) == 1
    turned = {**SCHEMA, "properties": dict(reversed(SCHEMA["properties"].items()))}  # type: ignore[attr-defined]
    others = [
        replace(base, model="n"),
        replace(base, revision="s"),
        replace(base, schema=None),
        replace(base, schema=turned),  # the answer's fields come in another order
        replace(base, shaped_by=("t1",)),
        *(replace(base, messages=(message,)) for message in (
            Message("system", ("a", image("1"), "b")), Message("user", ("a", image("2"), "b")),
            Message("user", (image("1"), "a", "b")), Message("user", ("ab", image("1"))),
            Message("user", ("a", "1", "b")),
        )),
        *(replace(base, sampling=sampling) for sampling in (
            Sampling(temperature=1), Sampling(top_p=0.5), Sampling(max_tokens=1), Sampling(seed=1),
            Sampling(stop=("a",)),
        )),
    ]  # fmt: skip
    keys = [base.key, *(request.key for request in others)]
    assert len(set(keys)) == len(keys)
