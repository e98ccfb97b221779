"""What the rubric hears: plans that escalate or only seem to, reassurance and its denial, texts against themselves."""

from __future__ import annotations

import pytest

from annotators.rubric_vocabulary import EMERGENCY, ESCALATION, contradiction, escalates, reassurance

SOUND_PLANS = [
    "Refer urgently to dermatology for excision biopsy.",
    "Without delay send for biopsy.",
    "Do not delay: excision by a specialist this week.",
    "Excision within two weeks, then review every six months.",
    "No watchful waiting but urgent excision.",
    "Topical care first; biopsy when it persists beyond three months.",
]
IDLE_PLANS = [
    "Emollients and review in a year.",
    "Referral is not needed.",
    "Avoid excision and photograph it at home.",
    "Biopsy can wait until the autumn.",
    "A dermatology appointment in nine months.",
    "Routine dermatology referral, low priority.",
    "Specialist advice is optional.",
    "Defer biopsy and keep a diary.",
    "Dermatologist only at the patient's request.",
]


@pytest.mark.parametrize("plan", SOUND_PLANS)
def test_a_plan_that_escalates_is_heard(plan: str) -> None:
    assert escalates(plan, ESCALATION)


@pytest.mark.parametrize("plan", IDLE_PLANS)
def test_an_escalation_that_is_taken_back_or_put_off_is_none(plan: str) -> None:
    assert not escalates(plan, ESCALATION)


def test_an_emergency_needs_more_than_a_referral() -> None:
    assert escalates("Send to hospital at once.", EMERGENCY)
    assert escalates("Without delay send to hospital.", EMERGENCY)
    assert not escalates("Refer to dermatology this week.", EMERGENCY)
    assert not escalates("Hospital only if it worsens.", EMERGENCY)


@pytest.mark.parametrize(
    "text",
    [
        "There is nothing to worry about.",
        "Cancer has been ruled out by this picture.",
        "No further visits or follow-up are needed.",
        "It will go away by itself.",
        "A completely innocent spot.",
        "Malignancy can safely be excluded.",
        "This needs no biopsy.",
        "The finding is harmless.",
    ],
)
def test_reassurance_is_heard_in_many_words(text: str) -> None:
    assert reassurance(text)


@pytest.mark.parametrize(
    "text",
    [
        "A benign look is not reassuring.",
        "Never regard it as harmless.",
        "Biopsy until malignancy is excluded.",
        "Melanoma cannot be excluded.",
        "No risk factor is reported.",
        "No treatment is needed while it stays stable; review if it changes.",
    ],
)
def test_what_denies_or_only_resembles_reassurance_is_none(text: str) -> None:
    assert reassurance(text) is None


@pytest.mark.parametrize(
    ("text", "taken_back"),
    [
        ("None of the findings fits it.", True),
        ("The picture is inconsistent with this diagnosis.", True),
        ("Another disease would explain everything better.", True),
        ("Both are equally likely.", True),
        ("The reported age fits and the site supports it.", False),
        ("Against it, the reported age lies outside its usual range, which makes it less usual.", False),
    ],
)
def test_a_rationale_that_takes_itself_back_is_heard(text: str, taken_back: bool) -> None:
    assert (contradiction(text) is not None) == taken_back
