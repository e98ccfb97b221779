"""Visible findings: the closed vocabulary in which an observer reports what an image shows.

Two texts can only be compared on what they saw when they name it in the same words. The clinical part is SkinCon's, so
that observations can also be held against its dermatologists' annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import yaml

#: Named by an observer for what the vocabulary has no word for; two such findings are never taken for the same.
OTHER = "other"


@cache
def visible_findings() -> Mapping[str, Mapping[str, str]]:
    """``clinical`` and ``dermoscopic`` -> concept -> what it means."""
    text = (files("schemas") / "data" / "visible_findings.yaml").read_text(encoding="utf-8")
    return MappingProxyType({kind: MappingProxyType(words) for kind, words in yaml.safe_load(text).items()})


@cache
def concepts() -> tuple[str, ...]:
    """Every concept, clinical before dermoscopic, and :data:`OTHER` last."""
    return (*(name for words in visible_findings().values() for name in words), OTHER)
