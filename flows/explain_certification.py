"""What raters' answers came to for one narrative, in one line: decisions are counted, nobody is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.tables import DIMENSIONS


def certification_story(outcome: Mapping[str, Any]) -> str:
    """The line of an outcome (:data:`corpus.certified.OUTCOMES`)."""
    n = outcome["n_raters"]
    parts = [f"certification: [bold]{outcome['state'].replace('_', ' ')}[/]"]
    parts += ["; ".join(outcome["reasons"])] if outcome["reasons"] else []
    if n:
        decisions = [f"{outcome[f'n_{word}']} {word}" for word in ("certify", "revise", "reject")]
        parts.append(f"{n} rater{'s' * (n != 1)} counted ({', '.join(decisions)})")
        scores = [f"{name} {outcome[f'human_{name}']:.2f}" for name in DIMENSIONS]
        parts.append("mean scores " + ", ".join(scores))
    parts += ["adjudicated"] if outcome["adjudicated"] else []
    parts += ["simulated raters among them"] if outcome["simulated"] else []
    return "; ".join(parts)
