"""Tasks hold what is shown and nothing else; keys are opaque and never collide."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotators.label_studio.controls import SECTIONS, TOLD
from annotators.label_studio.push import refuse_unfit
from annotators.label_studio.screen import labelling_config
from annotators.label_studio.tasks import (
    IMAGES,
    export_image,
    image_name,
    image_url,
    opaque_key,
    section_texts,
    task_of,
)
from schemas.errors import UserError
from schemas.narrative import FirstImpression, parse_sections
from tests.annotators.label_studio.cases import HOSTILE, SECRET, narrative

PARTS = st.tuples(st.text(), st.text(), st.integers(0, 99))


@given(PARTS, PARTS, st.binary(min_size=16, max_size=32))
def test_keys_are_opaque_stable_and_differ(
    one: tuple[str, str, int], other: tuple[str, str, int], secret: bytes
) -> None:
    key = opaque_key(secret, *one)
    assert key == opaque_key(secret, *one)
    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")
    assert (key == opaque_key(secret, *other)) == (one == other)
    assert key != opaque_key(secret + b"x", *one)


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert opaque_key(SECRET, "ab", "c", 1) != opaque_key(SECRET, "a", "bc", 1)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        opaque_key(b"short", "n", "r", 1)


def test_the_task_holds_the_key_the_image_and_the_sections() -> None:
    task = task_of(narrative(), "/data/x.jpg", "k")
    assert list(task) == ["data", "predictions"]
    assert set(task["data"]) == {"key", "image", *SECTIONS, *TOLD}
    assert {name for name, text in task["data"].items() if not text} == set(TOLD)
    told = task_of(narrative(), "/data/x.jpg", "k", note="Pause.", feedback="Practice.")["data"]
    assert (told["note"], told["feedback"]) == ("Pause.", "Practice.")
    assert task_of(narrative(), "/data/x.jpg", "k", label="Melanoma")["data"]["label"] == "Melanoma"


@pytest.mark.parametrize(
    ("changes", "refused"),
    [({}, None), ({"note": "Pause."}, None), ({"note": " \n"}, "note"), ({"feedback": None}, "feedback"),
     ({"findings": ""}, "findings")],
)  # fmt: skip
def test_only_a_note_and_feedback_may_be_empty(changes: dict[str, object], refused: str | None) -> None:
    task = task_of(narrative(), "/data/x.jpg", "k" * 32)
    task["data"] |= changes
    if refused is None:
        refuse_unfit([task], labelling_config())
    else:
        with pytest.raises(UserError, match=f"has no text for {refused}:"):
            refuse_unfit([task], labelling_config())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_as_it_is_and_can_be_corrected(text: str) -> None:
    hostile = narrative(extra=(text,))
    task = json.loads(json.dumps(task_of(hostile, "/data/x.jpg", "k")))
    assert f"• image: {text}" in task["data"]["findings"].split("\n")
    [prediction] = task["predictions"]
    [prefill] = prediction["result"]
    assert parse_sections(prefill["value"]["text"][0]) == hostile


def test_a_first_impression_that_was_given_up_is_shown_before_what_is_weighed() -> None:
    first = FirstImpression(diagnosis="Naevus", taxonomy_id="nevus", evidence_for=("small",), turned_by=("it grew",))
    texts = section_texts(narrative().model_copy(update={"first_impression": first}))
    assert texts["differential"].startswith("• First impression, given up: Naevus\n   + small\n   turned by: it grew\n")
    assert "taxonomy" not in str(texts)


def test_what_is_empty_says_so() -> None:
    empty = narrative().model_copy(update={"limitations": (), "next_step": None, "context_used": ()})
    texts = section_texts(empty)
    assert texts["limitations"] == texts["next_step"] == texts["context"] == "(none)"


def test_images_lie_under_opaque_names_and_again_changes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "ISIC_0024306.jpg"
    source.write_bytes(b"image")
    name = image_name(SECRET, "digest", ".JPG")
    assert name.endswith(".jpg")
    assert "ISIC" not in name
    root = tmp_path / "root"
    target = export_image(source, root, name)
    assert target == root / IMAGES / name
    assert target.read_bytes() == b"image"
    assert os.path.samefile(source, target)
    assert export_image(source, root, name) == target
    other = export_image(b"bytes", root, image_name(SECRET, "other", ".png"))
    assert other.read_bytes() == b"bytes"
    assert len(list((root / IMAGES).iterdir())) == 2
    assert image_url(name) == f"/data/local-files/?d={IMAGES}/{name}"
