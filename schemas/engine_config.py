"""Configuration of the ``vlm`` teacher and of the engine that answers it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from schemas.settings import Fraction, Settings


class EngineSettings(Settings):
    """Who answers requests; nothing here shapes a prompt.

    ``kind``: ``transformers`` in this process, or ``http`` for any server that speaks the OpenAI chat protocol.
    ``endpoints``: base addresses of such servers; ``own``: those of them that belong to whoever runs this, besides
    loopback, so that images may go there whose terms forbid external processing. ``key_variable``: the environment
    variable that holds their key, if they want one. ``in_flight``: most requests under way per endpoint;
    ``timeout``: seconds for one answer; ``prices``: per million prompt and completion tokens, in any currency.
    ``device``: of torch; null takes every GPU there is, else the CPU. ``batch``: most requests generated at once.
    """

    kind: Literal["transformers", "http"]
    endpoints: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    key_variable: str | None = None
    in_flight: Annotated[int, Field(ge=1)] = 16
    timeout: Annotated[float, Field(gt=0)] = 300.0
    prices: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] | None = None
    device: str | None = None
    batch: Annotated[int, Field(ge=1)] = 32

    @model_validator(mode="after")
    def _has_endpoints(self) -> EngineSettings:
        if (self.kind == "http") != bool(self.endpoints):
            raise ValueError("endpoints belong to the http engine, which needs at least one, and to no other")
        if strange := sorted(set(self.own) - set(self.endpoints)):
            raise ValueError(f"own names {strange[0]}, which is not among the endpoints")
        return self


class VlmSettings(Settings):
    """The teacher that looks: which model, how it is asked, and what of its answers is kept.

    ``model``: a checkpoint folder, or the name a server knows it by; ``revision``: of its weights, as you name it.
    ``blind_share``: of the candidates, written without being told the diagnosis and kept only where they agree with it.
    ``max_post_hoc``: findings of a narrative that the blind observation may lack. ``attempts``: most requests per step.
    ``max_tokens``: of one answer. ``terms``: the licence or terms under which the model's texts may be used.
    """

    SHAPING: ClassVar[tuple[str, ...]] = ("model", "revision", "seed", "temperature", "top_p", "max_tokens",
                                          "blind_share", "max_post_hoc", "attempts")  # fmt: skip

    engine: EngineSettings
    model: Annotated[str, Field(min_length=1)]
    revision: str = "unnamed"
    terms: Annotated[str, Field(min_length=1)]
    blind_share: Fraction = 0.5
    max_post_hoc: Annotated[int, Field(ge=0)] = 2
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Field(ge=16)] = 1500
    seed: int = 0
