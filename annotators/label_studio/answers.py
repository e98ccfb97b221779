"""What a dermatologist answered, read from one annotation, or every reason why it cannot be read.

Label Studio checks answers in the browser only; its API keeps whatever it is sent. So nothing is taken on trust here:
a control that the screen does not have, a choice it does not offer, a value too many or too few is a reason, and an
annotation with a reason gives no answers at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from annotators.label_studio.controls import CANNOT_JUDGE, CHOICES, CRITICISED, DECISIONS, FLAGS, IMAGE, TEXTS
from schemas.narrative import Narrative, NarrativeParseError, parse_sections
from schemas.tables import DIMENSIONS

#: More seconds than a day on one case is a clock gone wrong, not work.
MOST_SECONDS = 86_400.0
_SHOWN = 40


@dataclass(frozen=True)
class Answers:
    """One dermatologist's view of one narrative.

    ``scores``: dimension -> 0 to 5; empty, with ``decision`` None, when the case cannot be judged, which
    ``cannot_judge`` then explains. ``critique``: of a text to revise or reject. ``corrected``: of a text to revise.
    ``seconds``: time spent, as the browser counted it; None when it did not say.
    """

    scores: Mapping[str, int]
    decision: str | None
    critique: str | None
    corrected: Narrative | None
    flags: tuple[str, ...]
    cannot_judge: tuple[str, ...]
    seconds: float | None


@dataclass
class _Reading:
    """Values by control as they are found, and what was wrong on the way."""

    choices: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def read_answers(annotation: Mapping[str, Any], original: Narrative | None = None) -> Answers | list[str]:
    """The answers in one annotation as the API returns it, or the reasons why there are none, one sentence each.

    Reads ``result`` and ``lead_time``. With ``original``, the narrative that was shown, a revision that changed nothing
    is a reason too.
    """
    reading = _read(annotation.get("result"))
    seconds = _seconds(annotation.get("lead_time"), reading.reasons)
    if annotation.get("was_cancelled"):
        reading.reasons.append("The case was skipped.")
    if reading.reasons:
        return reading.reasons
    cannot_judge = tuple(name for name in CANNOT_JUDGE if name in reading.choices.get("cannot_judge", ()))
    flags = tuple(name for name in FLAGS if name in reading.choices.get("flags", ()))
    if (
        cannot_judge
    ):  # the browser also sends what was scored before that; the screen had hidden it, so it does not count
        return Answers({}, None, None, None, flags, cannot_judge, seconds)
    missing = [name for name in (*DIMENSIONS, "decision") if not reading.choices.get(name)]
    if missing:
        return [f"{name} was not answered." for name in missing]
    scores = {name: int(reading.choices[name][0]) for name in DIMENSIONS}
    decision = reading.choices["decision"][0]
    critique, corrected = _texts(decision, reading, original)
    if reading.reasons:
        return reading.reasons
    return Answers(scores, decision, critique, corrected, flags, cannot_judge, seconds)


def _read(result: object) -> _Reading:
    reading = _Reading()
    if not isinstance(result, list):
        reading.reasons.append("The annotation holds no list of results.")
        return reading
    names = [item.get("from_name") for item in result if isinstance(item, Mapping)]
    for name, count in Counter(name for name in names if isinstance(name, str)).items():
        if count > 1:
            reading.reasons.append(f"{_short(name)} was answered {count} times.")
    for item in result:
        _read_item(item, reading)
    return reading


def _read_item(item: object, reading: _Reading) -> None:
    if not isinstance(item, Mapping) or not isinstance(item.get("from_name"), str):
        reading.reasons.append("A result names no control.")
        return
    name, value = item["from_name"], item.get("value")
    if name not in CHOICES and name not in TEXTS:
        reading.reasons.append(f"The screen has no control called {_short(name)}.")
        return
    kind = "choices" if name in CHOICES else "textarea"
    if item.get("type") != kind or item.get("to_name") != IMAGE or not isinstance(value, Mapping):
        reading.reasons.append(f"{name} is not an answer of the kind {kind} about the image.")
        return
    given = value.get("choices" if kind == "choices" else "text")
    if kind == "textarea" and isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not given or not all(isinstance(part, str) for part in given):
        reading.reasons.append(f"{name} has no value.")
    elif kind == "choices":
        _read_choices(name, given, reading)
    elif len(given) > 1:
        reading.reasons.append(f"{name} has {len(given)} texts instead of one.")
    else:
        reading.texts[name] = given[0]


def _read_choices(name: str, given: list[str], reading: _Reading) -> None:
    offered, several = CHOICES[name]
    if unknown := sorted(set(given) - set(offered)):
        reading.reasons.append(f"{name} does not offer {', '.join(map(_short, unknown))}.")
    elif len(given) > 1 and (not several or len(set(given)) < len(given)):
        reading.reasons.append(f"{name} has {len(given)} values: {', '.join(given)}.")
    else:
        reading.choices[name] = given


def _texts(decision: str, reading: _Reading, original: Narrative | None) -> tuple[str | None, Narrative | None]:
    """The critique and the corrected narrative; what is wrong with them is added to the reasons."""
    assert decision in DECISIONS
    critique = reading.texts.get("critique", "").strip() or None
    if decision in CRITICISED and critique is None:
        reading.reasons.append(f"The decision is to {decision}, but there is no critique.")
    if decision not in CRITICISED and critique is not None:
        reading.reasons.append(f"The decision is to {decision}, yet there is a critique.")
    text = reading.texts.get("corrected", "").strip()
    if decision != "revise":
        if text:
            reading.reasons.append(f"The decision is to {decision}, yet there is a corrected narrative.")
        return critique, None
    if not text:
        reading.reasons.append("The decision is to revise, but there is no corrected narrative.")
        return critique, None
    try:
        corrected = parse_sections(text)
    except NarrativeParseError as error:
        reading.reasons.append(f"The corrected narrative is not in the layout: {error}.")
        return critique, None
    if corrected == original:
        reading.reasons.append("The decision is to revise, but the narrative was left as it was.")
    return critique, corrected


def _seconds(lead_time: object, reasons: list[str]) -> float | None:
    if lead_time is None:
        return None
    if isinstance(lead_time, bool) or not isinstance(lead_time, int | float) or not 0 <= lead_time <= MOST_SECONDS:
        reasons.append("The time spent is no possible number of seconds.")
        return None
    return float(lead_time)


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
