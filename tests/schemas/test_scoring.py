"""The scale that raters read: all six dimensions, six anchors each, and faults in the file named."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import ConfigError
from schemas.scoring import SCORES, scale_of, scoring_scale
from schemas.tables import DIMENSIONS


def document() -> dict[str, Any]:
    return {name: scale.model_dump() for name, scale in scoring_scale().items()}


def test_every_score_of_every_dimension_has_its_own_words() -> None:
    scale = scoring_scale()
    assert tuple(scale) == DIMENSIONS
    anchors = [anchor for dimension in scale.values() for anchor in dimension.anchors]
    assert len(anchors) == len(DIMENSIONS) * len(SCORES)
    assert len(set(anchors)) == len(anchors)
    assert scale_of(document()) == scale


@pytest.mark.parametrize("fault", ["missing", "five anchors", "no text", "unknown field", "order", "nothing"])
def test_a_faulty_scale_is_refused(fault: str) -> None:
    told: Any = document()
    if fault == "missing":
        del told["safety"]
    elif fault == "five anchors":
        told["safety"]["anchors"] = told["safety"]["anchors"][:5]
    elif fault == "no text":
        told["safety"]["anchors"] = ["", *told["safety"]["anchors"][1:]]
    elif fault == "unknown field":
        told["safety"]["weight"] = 2
    elif fault == "order":
        told = dict(reversed(told.items()))
    else:
        told = None
    with pytest.raises(ConfigError, match=r"scoring_anchors\.yaml"):
        scale_of(told)
