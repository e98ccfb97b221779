"""Settings of the engines that answer teachers and judges. What of them shapes an answer is in every request."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from schemas.settings import Settings

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EndpointSettings(Settings):
    """One OpenAI-compatible server.

    ``url``: up to and with ``/v1``; ``model``: the name it serves the model under, where that is not the request's.
    ``api_key_env`` names an environment variable, ``api_key_block`` a Prefect Secret block. ``own``: run by whoever
    runs this program, so that nothing sent there leaves the house; a loopback address is own anyway.
    ``structured``: how it is told the schema; the answer is checked here whatever it says. Prices are per million
    tokens. ``max_tokens_field``: newer hosted models want ``max_completion_tokens``.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # a mistyped address may hold a password

    url: str
    model: str | None = None
    api_key_env: str | None = None
    api_key_block: str | None = None
    own: bool = False
    max_in_flight: Annotated[int, Field(ge=1, le=1024)] = 8
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    send_seed: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    price_per_million_prompt_tokens: Price = 0.0
    price_per_million_completion_tokens: Price = 0.0

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """What so many tokens cost, in the currency of its prices."""
        per_million = (
            self.price_per_million_prompt_tokens * prompt_tokens
            + self.price_per_million_completion_tokens * completion_tokens
        )
        return per_million / 1e6

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port_is_a_number = parts.port is None or parts.port > 0
        except ValueError:
            port_is_a_number, parts = False, urlsplit("")
        if parts.username or parts.password:
            raise ValueError("the address holds no name and no password: name the key with api_key_env instead")
        is_address = parts.scheme in ("http", "https") and parts.hostname and port_is_a_number
        if not is_address or parts.query or parts.fragment:
            raise ValueError("this is no address of a server: it looks like http://127.0.0.1:8000/v1")
        return url.rstrip("/")

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError("this is no name of an environment variable: put the key into one, and its name here")
        return name

    @model_validator(mode="after")
    def _one_key(self) -> EndpointSettings:
        if self.api_key_env is not None and self.api_key_block is not None:
            raise ValueError(f"{self.url}: give api_key_env or api_key_block, not both")
        return self


class HttpSettings(Settings):
    """Servers that answer, and how patiently they are asked.

    ``timeout_seconds``: of one whole answer. A request that got none is asked up to ``max_attempts`` times, first after
    about ``backoff_seconds``, then after twice that, up to ``max_backoff_seconds``; that a server is busy (429) counts
    only when it has been for ``patience_seconds``. A server that fails ``rest_after``
    times in a row is left alone for ``rest_seconds`` (twice that the next time, up to ten times), then tried with one
    request. When none has answered for ``patience_seconds`` the run ends with a sentence; what came is kept.
    ``max_image_megabytes``: 10^6 bytes of one image as sent, before base64.
    """

    endpoints: Annotated[tuple[EndpointSettings, ...], Field(min_length=1)]
    timeout_seconds: Seconds = 180.0
    connect_timeout_seconds: Seconds = 10.0
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 6
    backoff_seconds: Seconds = 1.0
    max_backoff_seconds: Seconds = 60.0
    rest_after: Annotated[int, Field(ge=1)] = 5
    rest_seconds: Seconds = 10.0
    patience_seconds: Seconds = 300.0
    max_image_megabytes: Annotated[float, Field(gt=0)] = 8.0

    @model_validator(mode="after")
    def _distinct(self) -> HttpSettings:
        urls = [endpoint.url for endpoint in self.endpoints]
        twice = sorted({url for url in urls if urls.count(url) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice: its max_in_flight would not hold")
        return self


class TransformersSettings(Settings):
    """A checkpoint run in this process, one engine per device; ``dtype`` and ``most_pixels`` shape its answers.

    ``devices``: as torch names them, by default every GPU, else the CPU. ``dtype``: bfloat16 on a GPU and float32 on a
    CPU unless named. ``attention``: an implementation that transformers knows. ``most_rows``: answers written at once;
    ``most_prompt_tokens``: prompts read at once, in tokens. ``most_pixels``: larger images are scaled down to it.
    """

    devices: tuple[str, ...] = ()
    dtype: Literal["bfloat16", "float16", "float32"] | None = None
    attention: str | None = None
    most_rows: Annotated[int, Field(ge=1)] | None = None
    most_prompt_tokens: Annotated[int, Field(ge=1)] = 16384
    most_pixels: Annotated[int, Field(ge=1)] | None = None
