"""The id of an attempt: one request of a teacher that asks a model, in the ledger of rejections.

``SLOT/STEP/NUMBER``: whose it was (a narrative, or the case that all its narratives look at), which step, and which
attempt, counted from 1. An attempt is no record that was lost: most are made again and come to something.
"""

from __future__ import annotations

#: The steps of the ``vlm`` teacher, in order.
STEPS = ("observe", "reason", "write")
#: Slot, step and number of an attempt's id, as the groups of a regular expression.
ATTEMPT = rf"^(.+)/({'|'.join(STEPS)})/(\d+)$"


def attempt_id(slot: str, step: str, number: int) -> str:
    """The id of an attempt."""
    return f"{slot}/{step}/{number}"
