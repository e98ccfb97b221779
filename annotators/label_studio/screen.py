"""The labelling screen: what a dermatologist sees and answers, as Label Studio's configuration.

Look, read, judge: the image on the left, the narrative beside it with its own scroll bar, the questions on the right,
all of it inside 1366 x 768 so that nothing to answer hides below the fold. Texts of models are shown by ``Text`` only,
the tag that never takes them for markup. The meaning of a score stands under its row as soon as a pointer or a key
touches the score. The configuration is built with an XML library from the dimensions and their anchors.

The order in the configuration is the order of the Tab key: the decision comes first, and what a decision asks for comes
right after it; the style sheet places it under the scores. Every choice has its own key, since choices without one are
given keys by Label Studio, and a name of its own, since equal names would make rows one group to the browser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from xml.etree import ElementTree as Xml

from annotators.label_studio.controls import (
    CANNOT_JUDGE,
    CHOICES,
    CRITICISED,
    DECISION_WORDS,
    DECISIONS,
    FLAGS,
    IMAGE,
    KEYS,
    SECTIONS,
    TEXTS,
    TOLD,
)
from schemas.scoring import DimensionScale, scoring_scale

_DIGEST_LENGTH = 12
#: Pixels that the window needs besides the image: bars, tools and flags, and what the case is recorded as.
_TOOLS_AND_FLAGS, _LABEL = 254, 54
#: Shown unless the case cannot be judged. Label Studio looks the name up, so no choice needs to be named.
_JUDGED = {"visibleWhen": "choice-unselected", "whenTagName": "cannot_judge"}


def labelling_config(*, show_label: bool = False) -> str:
    """The configuration as XML. ``show_label``: also show what the case is recorded as, from a task's ``label``."""
    root = Xml.Element("View", className="dx")
    _add(root, "Style").text = (files("annotators.label_studio") / "screen.css").read_text(encoding="utf-8")
    _decide(root)
    _score(root)
    _flag(_add(root, "View", className="dx-flags"))
    _look(_add(root, "View", className="dx-look"), show_label=show_label)
    read = _add(root, "View", className="dx-read")
    _told(read)
    story = _add(read, "View", className="dx-story")
    for name, title in SECTIONS.items():
        _section(story, name, title)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode")


def config_digest(config: str) -> str:
    """Names a configuration: answers are read with the configuration they were given on."""
    return hashlib.sha256(config.encode()).hexdigest()[:_DIGEST_LENGTH]


def assert_config(config: str) -> None:
    """ValueError unless the configuration has exactly the controls whose answers are read.

    Neither Label Studio nor its client notices a misspelled tag.
    """
    root = Xml.fromstring(config)
    known = {"View", "Style", "Image", "Text", "Header", "Choices", "Choice", "TextArea"}
    if strange := sorted({element.tag for element in root.iter()} - known):
        raise ValueError(f"the configuration has unknown tags: {', '.join(strange)}")
    images = [element.attrib["name"] for element in root.iter("Image")]
    if images != [IMAGE]:
        raise ValueError(f"the configuration has the images {images}")
    for tag, wanted in (("Choices", set(CHOICES)), ("TextArea", set(TEXTS))):
        found = [element.attrib["name"] for element in root.iter(tag)]
        if sorted(found) != sorted(wanted):
            raise ValueError(f"the configuration has {tag} {found}")
        if any(element.attrib["toName"] != IMAGE for element in root.iter(tag)):
            raise ValueError(f"a {tag} is not about the image")
    for element in root.iter("Choices"):
        offered = tuple(choice.attrib["alias"] for choice in element.iter("Choice"))
        if offered != CHOICES[element.attrib["name"]][0]:
            raise ValueError(f"{element.attrib['name']} offers {offered}")
    keys = [choice.attrib["hotkey"] for choice in root.iter("Choice")]
    if len(set(keys)) != len(keys):
        raise ValueError("two choices have one key")


def _decide(root: Xml.Element) -> None:
    decision = _add(root, "View", className="dx-decision", **_JUDGED)
    _words(decision, "decision", DECISION_WORDS, DECISIONS, required="Please decide: certify, revise or reject.")
    critique = _add(root, "View", className="dx-critique", **_when("decision", *CRITICISED))
    _add(
        critique, "TextArea", name="critique", toName=IMAGE, maxSubmissions="1", editable="true", rows="3",
        required="true", requiredMessage="Please say what is wrong.",
        placeholder="What is wrong? One or two sentences.",
    )  # fmt: skip
    revise = _add(root, "View", className="dx-revise", **_when("decision", "revise"))
    _add(revise, "Header", value="Corrected text - pencil opens it, Shift+Enter keeps it", size="6")
    _add(
        revise, "TextArea", name="corrected", toName=IMAGE, maxSubmissions="1", editable="true", rows="12",
        required="true", requiredMessage="Please give the corrected text.",
    )  # fmt: skip


def _score(root: Xml.Element) -> None:
    """Every row is hidden by itself: a required control counts as hidden only when its own parent is."""
    scores = _add(root, "View", className="dx-scores")
    for name, scale in scoring_scale().items():
        _scores(_add(scores, "View", className="dx-score", **_JUDGED), name, scale)
    note = _add(scores, "View", **_when("cannot_judge", *CANNOT_JUDGE))
    _add(note, "Header", value="No scores and no decision are asked for. Flag what you see, and submit.", size="6")


def _flag(view: Xml.Element) -> None:
    for name, choices in (("flags", FLAGS), ("cannot_judge", CANNOT_JUDGE)):
        words = {choice: shown for choice, (shown, _) in choices.items()}
        hints = {choice: hint for choice, (_, hint) in choices.items()}
        _words(view, name, words, hints)


def _look(view: Xml.Element, *, show_label: bool) -> None:
    beneath = _TOOLS_AND_FLAGS + show_label * _LABEL
    _add(
        view, "Image", name=IMAGE, value="$image", zoom="true", zoomControl="true", rotateControl="true",
        brightnessControl="true", contrastControl="true", maxHeight=f"calc(100vh - {beneath}px)",
    )  # fmt: skip
    if show_label:
        _section(view, "label", "Recorded as")


def _told(view: Xml.Element) -> None:
    """What the rater is told along with the case, and after the decision; the style sheet hides what is empty."""
    note, feedback = TOLD
    _text(_add(view, "View", className="dx-told"), note)
    _text(_add(view, "View", className="dx-told dx-feedback", **_when("decision", *DECISIONS)), feedback)


def _scores(view: Xml.Element, name: str, scale: DimensionScale) -> None:
    _add(view, "Header", value=scale.name, size="6")
    _add(view, "View", className="dx-question").append(Xml.Element("Header", value=scale.question, size="6"))
    row = _choices(view, name, required=f"{scale.name} has no score yet.")
    for score, key, anchor in zip(CHOICES[name][0], KEYS[name], scale.anchors, strict=True):
        cap = "" if key == score else f"<small>{_key_cap(key)}</small>"
        shown = f"{score}{cap}<i>{escape(anchor)}</i>"
        _add(row, "Choice", value=f"{scale.name} {score}", alias=score, hotkey=key, html=shown)


def _words(
    view: Xml.Element, name: str, words: Mapping[str, str], hints: Mapping[str, str], required: str = ""
) -> None:
    row = _choices(view, name, required=required)
    for choice, key in zip(CHOICES[name][0], KEYS[name], strict=True):
        shown = f"{escape(words[choice])}<small>{_key_cap(key)}</small>"
        _add(row, "Choice", value=words[choice], alias=choice, hotkey=key, hint=hints[choice], html=shown)


def _choices(view: Xml.Element, name: str, required: str) -> Xml.Element:
    kind = "multiple" if CHOICES[name][1] else "single-radio"
    demanded = {"required": "true", "requiredMessage": required} if required else {}
    return _add(view, "Choices", name=name, toName=IMAGE, choice=kind, showInline="true", **demanded)


def _section(view: Xml.Element, name: str, title: str) -> None:
    _add(view, "Header", value=title, size="6")
    _text(view, name)


def _text(view: Xml.Element, name: str) -> None:
    _add(view, "Text", name=f"text_{name}", value=f"${name}", selectionEnabled="false")


def _when(tag: str, *choices: str) -> dict[str, str]:
    return {"visibleWhen": "choice-selected", "whenTagName": tag, "whenChoiceValue": ",".join(choices)}


def _add(parent: Xml.Element, tag: str, **attributes: str) -> Xml.Element:
    return Xml.SubElement(parent, tag, attributes)


def _key_cap(key: str) -> str:
    return key.replace("shift+", "⇧").upper()
