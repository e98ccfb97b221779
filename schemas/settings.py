"""What every settings model has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Base of every settings model: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
