"""Skin tone of a case as an interval on the Fitzpatrick scale.

Two raters agree exactly on fewer than half of the images that both have rated, so one number would claim too much: all
observations are kept and the case is reported by the interval they span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Rows of every table by skin tone, in order; ``spread``: an interval that crosses the three, ``unknown``: none stated.
TONE_GROUPS = ("I-II", "III-IV", "V-VI", "spread", "unknown")


def fitzpatrick_interval(observations: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Lowest and highest Fitzpatrick type (1-6) that any observation allows; None when there is none."""
    seen = [o for o in observations if o["scale"] == "fitzpatrick" and o["low"] is not None and o["high"] is not None]
    if not seen:
        return None
    return min(int(o["low"]) for o in seen), max(int(o["high"]) for o in seen)


def tone_group(observations: Sequence[Mapping[str, Any]]) -> str:
    """The row of :data:`TONE_GROUPS` a case belongs to."""
    interval = fitzpatrick_interval(observations)
    if interval is None:
        return "unknown"
    low, high = ((value - 1) // 2 for value in interval)
    return TONE_GROUPS[low] if low == high else "spread"
