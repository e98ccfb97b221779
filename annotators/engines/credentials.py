"""Keys of servers: read when a run begins, put into requests, and shown nowhere.

A key is held by an object that prints its origin only, and is scrubbed from whatever a server says before that becomes
a message, since some servers quote it back.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from schemas.engine_config import EndpointSettings
from schemas.errors import UserError

if TYPE_CHECKING:
    import httpx


class Credential:
    """A key and where it came from; an empty one for servers that want none."""

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str) -> None:
        if value and not re.fullmatch(r"[!-~]+", value):
            raise UserError(f"the key in {origin} holds characters that no key has: check that it was copied whole")
        self._value, self.origin = value, origin

    def __repr__(self) -> str:
        return f"Credential({self.origin!r})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not stored")

    def sign(self, request: httpx.Request) -> httpx.Request:
        """Put it into a request."""
        if self._value:
            request.headers["Authorization"] = f"Bearer {self._value}"
        return request

    def scrubbed(self, text: str) -> str:
        """``text`` without the key."""
        return text.replace(self._value, "***") if self._value else text


def credential_of(endpoint: EndpointSettings) -> Credential:
    """The key of an endpoint.

    Raises :class:`UserError` when the place that the settings name holds none.
    """
    if endpoint.api_key_env is not None:
        value = os.environ.get(endpoint.api_key_env, "").strip()
        if not value:
            raise UserError(f"{endpoint.url} needs a key: put it into the environment variable {endpoint.api_key_env}")
        return Credential(value, f"the environment variable {endpoint.api_key_env}")
    if endpoint.api_key_block is not None:
        return Credential(_from_block(endpoint), f"the Prefect block {endpoint.api_key_block}")
    return Credential("", "no key")


def _from_block(endpoint: EndpointSettings) -> str:
    from prefect.blocks.system import Secret
    from prefect.settings import get_current_settings

    name = endpoint.api_key_block
    if not get_current_settings().api.url:
        raise UserError(
            f"the key of {endpoint.url} is to come from the Prefect Secret block {name!r}: set PREFECT_API_URL to the "
            "server that holds it, or name an environment variable as api_key_env"
        )
    load: Any = Secret.load  # its types do not say that it can be told to run as plain code
    try:
        value = str(load(name, _sync=True).get()).strip()
    except Exception as error:  # whatever a Prefect server may answer; it never holds the value
        raise UserError(
            f"the key of {endpoint.url} cannot be read from the Prefect Secret block {name!r} "
            f"({type(error).__name__}): create the block, or name an environment variable as api_key_env"
        ) from None
    if not value:
        raise UserError(f"the Prefect Secret block {name!r} is empty: put the key of {endpoint.url} into it")
    return value
