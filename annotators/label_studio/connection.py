"""A Label Studio that runs somewhere: is it one, does it answer, does it take the token, is it new enough?

Every way in which this goes wrong is one sentence, since whoever types an address and a token mistypes them first. The
token comes from the environment or a file and goes into requests alone: no message, log or key holds it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from schemas.errors import UserError

if TYPE_CHECKING:
    import httpx
    from label_studio_sdk import LabelStudio

TOKEN_VARIABLE = "DERMCOT_LABEL_STUDIO_TOKEN"
OLDEST = (1, 21)
#: The first release that may answer otherwise than what was tried.
TOO_NEW = (2, 0)
_TIMEOUT = 60.0


def token_from(file: Path | None = None, stored: Callable[[], str] | None = None) -> str:
    """The token of the environment if there is one, else in ``file`` if one is named, else the ``stored`` one."""
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return token
    if file is None:
        token = stored().strip() if stored is not None else ""
        if not token:
            raise UserError(
                f"no token is given: put it into {TOKEN_VARIABLE}, into a file named as annotate.token_file, or into a "
                "Prefect block named as annotate.token_block"
            )
        return token
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the token cannot be read from {file}: name a text file that holds it alone") from error
    if text.startswith("{"):  # the account file of a local server
        try:
            text = str(json.loads(text).get("token") or "")
        except ValueError as error:
            raise UserError(f"{file} is damaged: name a text file that holds the token alone") from error
    if not text or len(text.split()) != 1:
        raise UserError(f"{file} holds no token: name a text file that holds it alone")
    return text


def connect(url: str, token: str) -> LabelStudio:
    """A client of the Label Studio at ``url`` that has been seen to take ``token``; it never repeats a request.

    Raises :class:`UserError` with one sentence for whatever is wrong.
    """
    try:
        from label_studio_sdk import LabelStudio
    except ImportError as error:
        raise UserError("Label Studio's client is not installed: pip install 'dermcot[studio]'") from error
    import httpx

    base = checked(url, token)
    http = httpx.Client(timeout=_TIMEOUT, trust_env=not is_here(base), follow_redirects=True)
    return LabelStudio(base_url=base, api_key=token, timeout=_TIMEOUT, max_retries=0, httpx_client=http)


def checked(url: str, token: str) -> str:
    """The address as requests need it, once what answers there has been seen to be a Label Studio that takes the token.

    Raises :class:`UserError` with one sentence for whatever is wrong.
    """
    import httpx

    base = _base(url)
    with httpx.Client(base_url=base, timeout=_TIMEOUT, trust_env=not is_here(base)) as client:
        _check_version(_ask(client, base, "GET", "api/version"), base)
        _check_token(client, base, token)
    return base


def _base(url: str) -> str:
    """With one slash at the end: the client drops the last part of a path that has none."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UserError(f"{url!r} is no address of a Label Studio: it looks like https://labels.example.org")
    if parts.username or parts.password:
        raise UserError("the address of a Label Studio holds no name and no password: leave them out")
    return url.strip().rstrip("/") + "/"


def is_here(base: str) -> bool:
    """Whether an address is of this machine, so that no proxy is asked for it."""
    return urlsplit(base).hostname in ("127.0.0.1", "::1", "localhost")


def _ask(client: httpx.Client, base: str, method: str, path: str, **how: Any) -> httpx.Response:
    import httpx

    try:
        return client.request(method, path, **how)
    except httpx.TimeoutException as error:
        raise UserError(
            f"{base} does not answer within {_TIMEOUT:.0f} s: is the server overloaded, or down?"
        ) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise UserError(f"nothing answers at {base}: check the address, and that Label Studio runs there") from error


def _check_version(answer: httpx.Response, base: str) -> None:
    try:
        told = answer.json()
        release, edition = str(told["release"]), str(told.get("edition", "Community"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"what answers at {base} is not Label Studio (status {answer.status_code}): check the address"
        ) from error
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise UserError(f"{base} runs Label Studio {release} ({edition}); {oldest} or newer is needed: update it")
    if numbers >= TOO_NEW:
        unknown = ".".join(map(str, TOO_NEW))
        raise UserError(
            f"{base} runs Label Studio {release} ({edition}), and nothing from {unknown} on was tried: update dermcot, "
            "or go back to an older Label Studio"
        )


def _check_token(client: httpx.Client, base: str, token: str) -> None:
    claims = _claims(token)
    if claims is None:
        answer = _ask(
            client, base, "GET", "api/current-user/whoami", headers={"Authorization": f"Token {_plain(token)}"}
        )
    else:
        if claims.get("token_type") != "refresh":
            raise UserError(f"this is a token for five minutes: make a personal access token at {base}user/account")
        if isinstance(expires := claims.get("exp"), int | float) and expires < time.time():
            raise UserError(f"the token has expired: make a new personal access token at {base}user/account")
        answer = _ask(client, base, "POST", "api/token/refresh", json={"refresh": token})
    if answer.status_code in (400, 401, 403):
        raise UserError(_refusal(answer.text.casefold(), base, legacy=claims is None))
    if answer.status_code != 200:
        raise UserError(f"{base} answered with status {answer.status_code} when asked about the token: see its log")


def _refusal(said: str, base: str, *, legacy: bool) -> str:
    place = f"make a personal access token at {base}user/account"
    if legacy and "legacy" in said:
        return f"{base} does not take tokens of the old kind any more: {place}"
    if "blacklisted" in said:
        return f"the token has been revoked or replaced by a newer one: {place}"
    if "expired" in said and "invalid or expired" not in said:
        return f"the token has expired: {place}"
    return f"{base} does not know the token: check that it was copied whole, or {place}"


def _claims(token: str) -> dict[str, Any] | None:
    """What a JSON web token states, unverified; None for a token of the old kind."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def _plain(token: str) -> str:
    if not re.fullmatch(r"[!-~]+", token):
        raise UserError("the token holds characters that no token has: check that it was copied whole")
    return token
