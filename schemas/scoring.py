"""What the scores mean: for each of the six dimensions a question and six anchors, from the data file that people read.

One wording for raters and for readers of scores, since a number is only as good as the sentence behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from schemas.errors import ConfigError
from schemas.tables import DIMENSIONS

#: The scores a person may give; evaluators also use decimals in between.
SCORES = (0, 1, 2, 3, 4, 5)

#: Short enough for one line of a hint on a small screen.
Anchor = Annotated[str, Field(min_length=10, max_length=100)]


class DimensionScale(BaseModel):
    """One dimension as raters see it; ``anchors[score]`` is the meaning of that score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=20)]
    question: Annotated[str, Field(min_length=10, max_length=100)]
    anchors: Annotated[tuple[Anchor, ...], Field(min_length=len(SCORES), max_length=len(SCORES))]


@cache
def scoring_scale() -> Mapping[str, DimensionScale]:
    """Dimension -> its scale, in the order of :data:`schemas.tables.DIMENSIONS`."""
    text = (files("schemas") / "data" / "scoring_anchors.yaml").read_text(encoding="utf-8")
    return scale_of(yaml.safe_load(text))


def scale_of(document: Any) -> Mapping[str, DimensionScale]:
    """The scale that a parsed YAML document states; :class:`ConfigError` when it is not one of all six dimensions."""
    try:
        scale = TypeAdapter(dict[str, DimensionScale]).validate_python(document)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise ConfigError(f"scoring_anchors.yaml: {place}: {fault['msg']}") from error
    if tuple(scale) != DIMENSIONS:
        raise ConfigError(f"scoring_anchors.yaml: its dimensions must be {', '.join(DIMENSIONS)}, in this order")
    return MappingProxyType(scale)
