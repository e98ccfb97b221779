"""Whom may material be sent to? Most images may be worked on and published, yet not handed to somebody else's service.

Only two kinds of server count as the house's own: one at a loopback address, and one that the configuration declares
``own``. Nothing is guessed from a private address or a host name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit

from schemas.engine_config import EndpointSettings

#: The rule under which a record is left out because no server may have it.
TERMS_RULE: Literal["terms_forbid_external_processing"] = "terms_forbid_external_processing"


def is_loopback(url: str) -> bool:
    """Whether an address is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_own(endpoint: EndpointSettings) -> bool:
    """Whether what is sent there stays in the house."""
    return endpoint.own or is_loopback(endpoint.url)


def may_serve(endpoint: EndpointSettings, *, may_leave: bool) -> bool:
    """Whether an endpoint may be sent a request; ``may_leave``: the terms allow external processing."""
    return may_leave or is_own(endpoint)


def forbidden_everywhere(endpoints: Iterable[EndpointSettings], *, may_leave: bool) -> bool:
    """Whether :data:`TERMS_RULE` keeps a request from every one of the endpoints."""
    return not any(may_serve(endpoint, may_leave=may_leave) for endpoint in endpoints)
