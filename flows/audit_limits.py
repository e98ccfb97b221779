"""Limits that fail an audit: a rule, a group of rules or a severity, and how many texts it may touch."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from quality.auditing.findings import RULES
from schemas.errors import UserError

_SEVERITIES = ("error", "warning", "info")
_MOST = re.compile(r"(?P<share>\d+(?:\.\d+)?)\s*%|(?P<count>\d+)")


@dataclass(frozen=True)
class Limit:
    """What is limited, the most texts it may touch (a share in percent, or a count), and how it was told."""

    name: str
    most: float
    is_share: bool
    told: str


def read_limit(told: str) -> Limit:
    """``RULE``, ``RULE=20`` or ``RULE=5%``; RULE may be a severity, or the part of a rule before its dot."""
    name, equals, most = (part.strip() for part in told.partition("="))
    known = [*RULES, *_SEVERITIES, *dict.fromkeys(rule.partition(".")[0] for rule in RULES if "." in rule)]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise UserError(f"there is no rule {name!r} to fail on; the nearest is {near!r}")
    match = _MOST.fullmatch(most) if equals else None
    if equals and match is None:
        raise UserError(f"--fail-on {told} has no limit that can be read: write {name}=20 (texts) or {name}=5%")
    if match is None:
        return Limit(name, 0, False, name)
    is_share = match.group("share") is not None
    return Limit(name, float(match.group("share") or match.group("count")), is_share, f"{name}={most}")


def exceeded(limits: list[Limit], summary: dict[str, Any]) -> list[str]:
    """The limits that a summary exceeds, each as a sentence."""
    over = []
    for limit in limits:
        texts = (summary["severities"] | summary["rules_together"]).get(limit.name)
        if texts is None:
            texts = summary["rules"][limit.name]["texts"]
        share = 100 * texts / max(1, summary["texts"])
        if (share if limit.is_share else texts) > limit.most:
            allowed = f"{limit.most:g} %" if limit.is_share else f"{limit.most:g}"
            over.append(f"{limit.name}: {texts:,} texts ({share:.1f} %), at most {allowed} allowed")
    return over
