"""The controls of the labelling screen: their names and what each offers, for the screen and for reading answers.

A name or a choice must never change its meaning: answers already given refer to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schemas.scoring import SCORES
from schemas.tables import DIMENSIONS

#: The object that every answer is about.
IMAGE = "image"

#: Decision -> what it says to the rater.
DECISIONS: Mapping[str, str] = MappingProxyType(
    {
        "certify": "The text may be used as it is.",
        "revise": "Usable once corrected: say what is wrong and correct the text.",
        "reject": "Not usable: say why.",
    }
)
DECISION_WORDS: Mapping[str, str] = MappingProxyType({name: name.capitalize() for name in DECISIONS})
#: Decisions that need a critique.
CRITICISED = ("revise", "reject")

#: Flag -> its words on the screen and what it is for. Flags stand beside a full set of scores.
FLAGS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "bad_image": ("Poor image", "Blurred, badly lit, wrongly framed or not of skin."),
        "wrong_label": (
            "Wrong label",
            "What the case is recorded as, or what the text concludes, is not what you see.",
        ),
        "identifiable_person": (
            "Identifiable person",
            "A face, a name, a tattoo or anything else that tells who it is.",
        ),
    }
)
#: Why a case cannot be judged; then no scores are asked for.
CANNOT_JUDGE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ungradable": ("Cannot be judged", "Image or text does not allow any judgement. No scores are asked for."),
        "outside_my_field": ("Outside my field", "Somebody else should judge this case. No scores are asked for."),
    }
)

#: Control of choices -> its choices and whether several may be taken.
CHOICES: Mapping[str, tuple[tuple[str, ...], bool]] = MappingProxyType(
    {
        **{name: (tuple(str(score) for score in SCORES), False) for name in DIMENSIONS},
        "decision": (tuple(DECISIONS), False),
        "flags": (tuple(FLAGS), True),
        "cannot_judge": (tuple(CANNOT_JUDGE), True),
    }
)
#: Controls of free text.
TEXTS = ("critique", "corrected")

#: Control -> the key of each of its choices. V, H and U, which Label Studio keeps for itself, are left out.
KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "accuracy": tuple("012345"),
        "safety": tuple("qwerty"),
        "medical_groundedness": tuple("asdfgj"),
        "clinical_coverage": tuple("zxcbnm"),
        "reasoning_coherence": tuple(f"shift+{key}" for key in "qwerty"),
        "description_precision": tuple(f"shift+{key}" for key in "asdfgj"),
        "decision": tuple("789"),
        "flags": tuple("iop"),
        "cannot_judge": tuple("kl"),
    }
)

#: Part of a task -> its heading, in reading order.
SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "context": "Reported",
        "findings": "Findings",
        "differential": "Differential",
        "conclusion": "Conclusion",
        "limitations": "Limitations",
        "next_step": "Next step",
    }
)
#: Parts of a task that may be empty: a note along with the case, and what is told after the decision.
TOLD = ("note", "feedback")
