"""The configuration and the instruction: complete, safe, and noticed when changed."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest

from annotators.label_studio.controls import CHOICES, DECISIONS, KEYS, SECTIONS, TOLD
from annotators.label_studio.instruction import expert_instruction
from annotators.label_studio.project import project_settings
from annotators.label_studio.screen import assert_config, config_digest, labelling_config
from annotators.label_studio.tasks import task_of
from schemas.errors import UserError
from schemas.intended_use import intended_use
from schemas.scoring import scoring_scale
from tests.annotators.label_studio.cases import narrative


def test_the_configuration_has_every_dimension_and_only_plain_text() -> None:
    config = labelling_config()
    assert_config(config)
    root = Xml.fromstring(config)
    assert {element.tag for element in root.iter()} == {
        "View", "Style", "Image", "Text", "Header", "Choices", "Choice", "TextArea",
    }  # fmt: skip
    assert [element.attrib["value"] for element in root.iter("Text")] == [f"${name}" for name in (*TOLD, *SECTIONS)]
    [feedback] = [view for view in root.iter("View") if "dx-feedback" in view.attrib.get("className", "")]
    assert feedback.attrib["whenTagName"] == "decision"
    assert feedback.attrib["whenChoiceValue"].split(",") == list(DECISIONS)
    required = {element.attrib["name"] for element in root.iter() if element.attrib.get("required") == "true"}
    assert required == {*scoring_scale(), "decision", "critique", "corrected"}
    for name, scale in scoring_scale().items():
        [row] = [element for element in root.iter("Choices") if element.attrib["name"] == name]
        assert all(anchor in choice.attrib["html"] for anchor, choice in zip(scale.anchors, row, strict=True))


def test_label_studio_itself_takes_configuration_task_and_prefill() -> None:
    from label_studio_sdk.label_interface import LabelInterface

    for show_label in (False, True):
        interface = LabelInterface(labelling_config(show_label=show_label))
        interface.validate()
        task = task_of(narrative(), "/data/x.jpg", "k", label="Melanoma" if show_label else None)
        assert interface.validate_task({"data": task["data"]})
        assert interface.validate_prediction(task["predictions"][0], return_errors=True) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<TextArea", "<TextAria"),
        ('name="safety"', 'name="saftey"'),
        ('alias="certify"', 'alias="certified"'),
        ('toName="image"', 'toName="text_findings"'),
        ('hotkey="q"', 'hotkey="w"'),
        ('<Image name="image"', '<Image name="picture"'),
    ],
)
def test_a_configuration_that_differs_is_noticed(old: str, new: str) -> None:
    config = labelling_config()
    assert old in config
    with pytest.raises((ValueError, Xml.ParseError)):
        assert_config(config.replace(old, new).replace("</TextArea", "</TextAria" if "Aria" in new else "</TextArea"))


def test_every_choice_has_a_key_of_its_own_that_label_studio_does_not_use() -> None:
    assert {name: len(keys) for name, keys in KEYS.items()} == {name: len(c) for name, (c, _) in CHOICES.items()}
    keys = [key for keys in KEYS.values() for key in keys]
    assert len(set(keys)) == len(keys)
    assert not {"v", "h", "u", "shift+1", "shift+2"} & set(keys)


def test_the_style_sheet_has_no_character_that_label_studio_loses() -> None:
    style = Xml.fromstring(labelling_config()).findtext("Style")
    assert style
    assert not set("<>&$") & set(style)


def test_project_and_description_carry_the_digest() -> None:
    config = labelling_config()
    settings = project_settings("Round 1", config)
    assert config_digest(config) in settings["title"]
    assert config_digest(config) in settings["description"]
    assert config_digest(config) != config_digest(labelling_config(show_label=True))
    for title in ("", "x" * 40):
        with pytest.raises(UserError, match="is no title"):
            project_settings(title, config)


def test_the_instruction_is_plain_html_with_scale_keys_and_intended_use() -> None:
    html = expert_instruction()
    root = Xml.fromstring(f"<div>{html.replace('<br>', '<br/>')}</div>")
    assert {element.tag for element in root.iter()} <= {"div", "h3", "p", "b", "i", "br"}
    assert not any(element.attrib for element in root.iter())
    shown = " ".join("".join(root.itertext()).split())
    assert " ".join(intended_use().split("\n\n")[0].split()) in shown
    assert all(anchor in shown for scale in scoring_scale().values() for anchor in scale.anchors)
    assert "Ctrl+Enter" in shown
