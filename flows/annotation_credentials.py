"""Where the secrets of a study come from: the environment first, then files, then blocks of a Prefect server.

Prefect is asked, and imported, only where a block is named and nothing before it gave the secret. What it gives goes
where it is needed and nowhere else: no message, log, parameter of a run, or file of the workspace holds it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from annotators.label_studio.connection import token_from
from annotators.label_studio.images import KEYS
from annotators.label_studio.raters import annotation_secret
from schemas.config import AnnotateSettings
from schemas.errors import UserError

KEY_VARIABLES = {name: f"DERMCOT_LABEL_STUDIO_{name.upper()}" for name in KEYS}


def study_token(settings: AnnotateSettings) -> str:
    """The token for Label Studio; :class:`UserError` with one sentence when there is none."""
    file = None if settings.token_file is None else Path(settings.token_file)
    return token_from(file, _stored(settings.token_block, "token_block"))


def study_secret(settings: AnnotateSettings) -> bytes:
    """The secret behind keys and pseudonyms."""
    return annotation_secret(stored=_stored(settings.secret_block, "secret_block"))


def image_keys(settings: AnnotateSettings) -> Mapping[str, str]:
    """What Label Studio is given to sign the addresses of images with; nothing where it has keys of its own."""
    given = {name: value for name, variable in KEY_VARIABLES.items() if (value := os.environ.get(variable, "").strip())}
    if given:
        if lacking := [variable for name, variable in KEY_VARIABLES.items() if name not in given]:
            raise UserError(f"one of the two keys for images is given, but not {lacking[0]}: give both, or none")
        return given
    if settings.s3_block is None:
        return {}
    text = block_value(settings.s3_block, "s3_block")
    try:
        told = json.loads(text)
        return {name: str(told[name]) for name in KEYS}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"the block {settings.s3_block!r} named as annotate.s3_block is no JSON of {' and '.join(KEYS)}: mend it"
        ) from None


def block_value(name: str, field: str) -> str:
    """The text of the Secret block ``name``, which the configuration names as annotate.``field``."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    if url is None:
        raise UserError(f"annotate.{field} names a block of a Prefect server: set PREFECT_API_URL to that server")
    with prefect_refusals(url), get_client(sync_client=True) as client:
        try:
            value = client.read_block_document_by_name(name, "secret").data["value"]
        except ObjectNotFound:
            raise UserError(
                f"the Prefect server at {url} has no Secret block {name!r}: make one under Blocks, or mend "
                f"annotate.{field}"
            ) from None
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def prefect_refusals(url: str) -> Iterator[None]:
    """Turn what keeps a Prefect server from being asked into one sentence."""
    import httpx

    try:
        yield
    except httpx.HTTPStatusError as error:
        raise UserError(
            f"the Prefect server at {url} refused a request (status {error.response.status_code}): check "
            "PREFECT_API_URL and, if it asks for one, PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
        ) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise UserError(
            f"the Prefect server at {url} does not answer: check PREFECT_API_URL, and that the server runs"
        ) from error


def _stored(name: str | None, field: str) -> Callable[[], str] | None:
    return None if name is None else partial(block_value, name, field)
