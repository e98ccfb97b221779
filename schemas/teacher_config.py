"""Configuration of the ``vlm`` teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from schemas.engine_config import HttpSettings, TransformersSettings
from schemas.settings import Fraction, Settings


class VlmSettings(Settings):
    """The teacher that looks: which model, how it is asked, and what of its answers is kept.

    Either ``http`` or ``transformers`` says who answers. ``model``: a checkpoint folder, or the name a server knows it
    by; ``revision``: of its weights, as you name it; by default "unnamed" for a server and a digest for a checkpoint.
    ``blind_share``: of the candidates, written without being told the diagnosis and kept only where they agree with it.
    ``max_post_hoc``: findings of a narrative that the blind observation may lack. ``attempts``: most requests per step.
    ``again``: raised by one, what got no answer (time-outs, broken servers, memory) is asked again; answers stay.
    ``max_tokens``: of one answer. ``terms``: the licence or terms under which the model's texts may be used.
    """

    http: HttpSettings | None = None
    transformers: TransformersSettings | None = None
    model: Annotated[str, Field(min_length=1)]
    revision: str | None = None
    terms: Annotated[str, Field(min_length=1)]
    blind_share: Fraction = 0.5
    max_post_hoc: Annotated[int, Field(ge=0)] = 2
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    again: Annotated[int, Field(ge=0)] = 0
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Field(ge=16)] = 1500
    seed: int = 0

    @model_validator(mode="after")
    def _one_engine(self) -> VlmSettings:
        if (self.http is None) == (self.transformers is None):
            raise ValueError("give either http or transformers, which say who answers")
        return self

    def shaping(self) -> dict[str, Any]:
        """What shapes the text of a candidate, besides model, prompts and engine.

        How many candidates are blind and how often one is tried say which texts there are, not what they say.
        """
        shaping = {"seed", "temperature", "top_p", "max_tokens", "max_post_hoc"}
        return self.model_dump(mode="json", include=shaping)

    def published(self) -> dict[str, Any]:
        """What a release records of it: no server, device or path, since who answers is no part of what was asked."""
        record = self.model_dump(mode="json", exclude={"http", "transformers"})
        if self.transformers is None:
            return record
        inside = self.transformers.model_dump(mode="json", include={"dtype", "most_pixels"})
        return {**record, "model": Path(self.model).name, "transformers": inside}
