"""Whether the chat servers of a teacher are there: each one's key, its list of models, and one answer of each.

Every configured server counts as needed, though a run would go on with those that answer: who names four wants four.
Keys are told by where they were found, and scrubbed from whatever a server says.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from annotators.engines.credentials import Credential, credential_of
from annotators.engines.http import HttpEngine
from annotators.engines.protocol import Completion, Failure, Message, Request, Sampling
from annotators.engines.terms import is_loopback
from flows.doctor_trial import Check, judged, refused, trial_request
from schemas.engine_config import EndpointSettings, HttpSettings
from schemas.errors import UserError
from schemas.teacher_config import VlmSettings

_OFFERED = 3  # models of a server's list
_LONGEST = 80  # characters of a model's name, or of an answer
#: A schema that nothing in the prompt speaks of: an answer that keeps to it was held to it.
_FORCED = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": ["honoured"]}},
    "required": ["word"],
    "additionalProperties": False,
}


def servers(settings: VlmSettings, say: Callable[[str], None]) -> Iterator[Check]:
    """Checks of every endpoint, each as soon as it is done; ``say`` is told what takes long."""
    assert settings.http is not None
    for number, endpoint in enumerate(settings.http.endpoints):
        name = "server" if len(settings.http.endpoints) == 1 else f"server {number + 1}"
        field = f"propose.vlm.http.endpoints.{number}"
        yield Check(name, "ok", _told_of(endpoint, endpoint.model or settings.model))
        try:
            credential = credential_of(endpoint)
        except UserError as error:
            yield refused(f"{name} key", error)
            continue
        for check in _server(name, field, endpoint, credential, settings, say):
            yield replace(check, found=credential.scrubbed(check.found), todo=credential.scrubbed(check.todo))


def _told_of(endpoint: EndpointSettings, model: str) -> str:
    whose = "somebody else's: images go there only where their terms allow it"
    if endpoint.own:
        whose = "yours, as configured"
    elif is_loopback(endpoint.url):
        whose = "on this machine"
    return f"{endpoint.url}, {whose}; model {model!r}, up to {endpoint.max_in_flight} requests at once"


def _server(
    name: str, field: str, endpoint: EndpointSettings, credential: Credential, settings: VlmSettings,
    say: Callable[[str], None],
) -> Iterator[Check]:  # fmt: skip
    assert settings.http is not None
    wants = endpoint.api_key_env or endpoint.api_key_block
    yield Check(f"{name} key", "ok", f"found in {credential.origin}" if wants else "none is named")
    say(f"asking {endpoint.url} for its models")
    models = _models(f"{name} models", field, endpoint, credential, settings)
    yield models
    if models.state == "missing":
        return
    say(f"asking {endpoint.url} for one answer")
    engine = HttpEngine(_once(endpoint, settings.http))
    try:
        result = next(iter(engine.generate([trial_request(settings)])))
    except UserError as error:
        yield Check(f"{name} request", "missing", engine.last_faults()[0] or str(error), _unasked(credential, field))
        return
    yield judged(f"{name} request", settings, result, _price(endpoint, engine, result))
    if isinstance(result, Completion) or result.completion is not None:
        yield _schema_is_forced(f"{name} response_format", endpoint, settings)


def _models(about: str, field: str, endpoint: EndpointSettings, credential: Credential, settings: VlmSettings) -> Check:
    """Whether anything answers there, and whether it lists the model; only the former is needed."""
    assert settings.http is not None
    url, wanted = endpoint.url, endpoint.model or settings.model
    try:
        with httpx.Client(timeout=settings.http.connect_timeout_seconds, trust_env=not is_loopback(url)) as client:
            response = client.get(f"{url}/models", auth=credential.sign)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL, UnicodeError) as error:
        start = f"start it (for instance: vllm serve {wanted} --port {urlsplit(url).port or 80}), or "
        todo = f"{start if is_loopback(url) else 'see that it runs and may be reached from here, or '}mend {field}.url"
        return Check(about, "missing", f"nothing answers at {url}/models ({type(error).__name__})", todo)
    except httpx.HTTPError as error:
        return Check(about, "warning", f"{url}/models gave no answer ({type(error).__name__})", "see the server's log")
    if response.status_code in (401, 403):
        todo = f"only if the request below fails too: {_unasked(credential, field)}"
        return Check(about, "warning", f"{url}/models does not take the key (status {response.status_code})", todo)
    if response.status_code != 200:
        return Check(about, "ok", f"it answers and keeps no list of models (status {response.status_code})")
    return _listed(about, field, wanted, response)


def _listed(about: str, field: str, wanted: str, response: httpx.Response) -> Check:
    try:
        offered = sorted({str(model["id"]) for model in response.json()["data"]})
    except (ValueError, KeyError, TypeError, RecursionError):
        todo = f"{field}.url goes up to and with /v1"
        return Check(about, "warning", "it answers, and its list of models cannot be read", todo)
    if wanted in offered:
        return Check(about, "ok", f"it lists {wanted!r}")
    near = difflib.get_close_matches(wanted, offered, _OFFERED, cutoff=0.0)
    more = f" and {len(offered) - len(near):,} more" if len(offered) > len(near) else ""
    lists = ", ".join(repr(name[:_LONGEST]) for name in near) + more if offered else "nothing"
    todo = f"set propose.vlm.model or {field}.model to what it lists, unless the request below succeeds"
    return Check(about, "warning", f"it does not list {wanted!r}; it lists {lists}", todo)


def _once(endpoint: EndpointSettings, http: HttpSettings) -> HttpSettings:
    """The settings of one server that is asked one time."""
    once = {"max_attempts": 1, "rest_after": 1, "backoff_seconds": 0.01, "patience_seconds": 0.01}
    return http.model_copy(update={"endpoints": (endpoint,), **once})


def _unasked(credential: Credential, field: str) -> str:
    """What to do about a server that takes no request at all."""
    key = f"put the right key into {credential.origin}"
    if credential.origin == "no key":
        key = f"name the environment variable of its key as {field}.api_key_env"
    return f"{key}; see that {field}.url goes up to and with /v1 and that the model is one it serves"


def _price(endpoint: EndpointSettings, engine: HttpEngine, result: Completion | Failure) -> str:
    if not (endpoint.price_per_million_prompt_tokens or endpoint.price_per_million_completion_tokens):
        return ""
    answered = isinstance(result, Completion) or result.completion is not None
    return f"price {engine.usage()[0]['cost']:.6f}" if answered else ""


def _schema_is_forced(about: str, endpoint: EndpointSettings, settings: VlmSettings) -> Check:
    """A second request, of a few tokens: the first may have kept to its schema because its prompt asked for that."""
    assert settings.http is not None
    if endpoint.structured != "json_schema":
        return Check(about, "ok", f"not relied on (structured is {endpoint.structured}): the prompt asks for JSON")
    message = Message("user", ("Greet me with one word.",))
    request = Request(
        settings.model, settings.revision or "unnamed", (message,), Sampling(max_tokens=256), _FORCED, may_leave=True
    )
    engine = HttpEngine(_once(endpoint, settings.http))
    try:
        result = next(iter(engine.generate([request])))
    except UserError:
        return Check(about, "warning", f"it could not be seen whether it is honoured: {engine.last_faults()[0]}")
    if isinstance(result, Completion):
        return Check(about, "ok", "honoured: an answer kept to a schema that its prompt does not speak of")
    said = "" if result.completion is None else result.completion.text.strip()
    if not said or (said.startswith("{") and result.kind == "truncated"):
        return Check(about, "warning", f"it could not be seen whether it is honoured: {result.detail}")
    todo = "switch structured output on at the server, or set structured of the endpoint to what it knows"
    return Check(about, "warning", f"ignored: asked for an answer of a schema it said {said[:_LONGEST]!r}", todo)
