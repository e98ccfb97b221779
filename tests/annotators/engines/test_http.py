"""The HTTP engine against a real server that fails in every way it is told to."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image as Picture
from pydantic import ValidationError

from annotators.engines.credentials import credential_of
from annotators.engines.http import HttpEngine
from annotators.engines.protocol import Completion, Failure, Image, Request, Sampling
from schemas.engine_config import EndpointSettings, HttpSettings
from schemas.errors import UserError
from tests.annotators.engines.prompts import SCHEMA, scripted
from tests.annotators.engines.scripted_server import ScriptedServer, answer_text, scripted_server

KEY = "sk-never-to-be-seen-4711"
NOBODY = "http://127.0.0.1:9/v1"  # the discard port, on which nothing listens


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as running:
        yield running


def engine_on(*urls: str, endpoint: dict[str, Any] | None = None, **settings: Any) -> HttpEngine:
    """Quick to lose patience."""
    endpoints = tuple(EndpointSettings(url=url, **(endpoint or {})) for url in urls)
    quick = {"backoff_seconds": 0.01, "rest_seconds": 0.05, "timeout_seconds": 20, "patience_seconds": 20}
    return HttpEngine(HttpSettings(endpoints=endpoints, **quick | settings))


def only(engine: HttpEngine, request: Request) -> Completion | Failure:
    (result,) = engine.generate([request])
    assert result.key == request.key
    return result


def no_thread_is_left() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "http-engine"]


@pytest.mark.parametrize(
    ("script", "kind", "times"),
    [
        ("500", "server_error", 3),
        ("503", "server_error", 3),
        ("504", "timeout", 3),
        ("slow 5", "timeout", 3),
        ("drop", "connection", 3),
        ("half", "bad_response", 3),
        ("notjson", "bad_response", 3),
        ("nochoices", "bad_response", 3),
        ("huge", "bad_response", 3),
        ("400", "bad_request", 1),
        ("413", "bad_request", 1),
        ("422", "bad_request", 1),
        ("cut", "truncated", 1),
        ("refusal", "refusal", 1),
        ("refused", "refusal", 1),
        ("filtered", "refusal", 1),
        ("echo", "prompt_echo", 1),
        ("empty", "empty", 1),
        ("null", "empty", 1),
        ("prose", "invalid_json", 1),
        ("wrong", "invalid_json", 1),
        ("fenced", "invalid_json", 1),
    ],
)
def test_every_failure_has_its_kind(server: ScriptedServer, script: str, kind: str, times: int) -> None:
    case, kept = f"kind {script}", list[Completion]()
    seconds = 0.3 if script.startswith("slow") else 20
    engine = engine_on(server.url, max_attempts=3, timeout_seconds=seconds)
    (result,) = engine.generate([scripted(case, script, schema=SCHEMA)], kept.append)
    assert isinstance(result, Failure)
    assert (result.kind, server.times()[case]) == (kind, times), result
    assert kept == ([] if result.completion is None else [result.completion])
    assert (result.completion is not None) == (
        kind in {"truncated", "refusal", "prompt_echo", "empty", "invalid_json"}
    )  # these were paid for


def test_an_answer_and_what_was_asked(server: ScriptedServer) -> None:
    request = scripted("plain", schema=SCHEMA, sampling=Sampling(0.7, 0.9, 55, 3, ("END",)))
    engine = engine_on(
        server.url, endpoint={"price_per_million_prompt_tokens": 2.0, "price_per_million_completion_tokens": 30.0}
    )
    result = only(engine, request)
    (asked,) = server.of("plain")
    assert isinstance(result, Completion)
    assert result.text == answer_text("plain", asked.body)
    assert (result.finish_reason, result.prompt_tokens, result.completion_tokens) == ("stop", 100, 10)
    assert (result.endpoint, result.model) == (server.url, "tiny-served")
    assert {**asked.body, "messages": None} == {
        "model": "tiny", "messages": None, "temperature": 0.7, "top_p": 0.9, "max_tokens": 55, "seed": 3,
        "stop": ["END"], "stream": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
    }  # fmt: skip
    (usage,) = engine.usage()
    assert (usage["asked"], usage["answered"], usage["prompt_tokens"], usage["cost"]) == (1, 1, 100, 0.0005)
    assert only(engine, scripted("in parts", "parts")).text == "in parts"  # type: ignore[union-attr]


def test_servers_with_tastes_of_their_own(server: ScriptedServer) -> None:
    taste = {"model": "there", "structured": "none", "send_seed": False, "max_tokens_field": "max_completion_tokens"}
    only(engine_on(server.url, endpoint=taste), scripted("taste", schema=SCHEMA))
    (asked,) = server.of("taste")
    assert sorted(asked.body) == ["max_completion_tokens", "messages", "model", "stream", "temperature", "top_p"]
    assert asked.body["model"] == "there"


def test_images_go_as_data_urls_in_their_place(server: ScriptedServer) -> None:
    sink = io.BytesIO()
    Picture.new("RGB", (40, 30), (180, 120, 100)).save(sink, "JPEG")
    jpeg = sink.getvalue()
    only(engine_on(server.url), scripted("image", "ok", Image("d1", lambda: jpeg)))
    (asked,) = server.of("image")
    system, user = asked.body["messages"]
    assert isinstance(system["content"], str)
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    head, _, data = user["content"][1]["image_url"]["url"].partition(",")
    assert (head, base64.b64decode(data)) == ("data:image/jpeg;base64", jpeg)


@pytest.mark.parametrize(
    ("load", "reason"),
    [(lambda: b"\xff\xd8\xff" + b"x" * 3000, "at most 2,000"), (lambda: b"no image", "neither"),
     (lambda: 1 / 0, "loaded")],
)  # fmt: skip
def test_an_image_that_cannot_be_sent_fails_alone(server: ScriptedServer, load: Any, reason: str) -> None:
    engine = engine_on(server.url, max_image_megabytes=0.002)
    bad, good = scripted(f"unusable {reason}", "ok", Image("d", load)), scripted(f"beside {reason}")
    results = {result.key: result for result in engine.generate([bad, good])}
    failure = results[bad.key]
    assert isinstance(failure, Failure) and failure.kind == "image_unusable" and reason in failure.detail
    assert isinstance(results[good.key], Completion) and not server.of(f"unusable {reason}")


def test_what_passes_is_asked_again_until_it_is_answered(server: ScriptedServer) -> None:
    script = "500, 429, half, drop, notjson, ok"
    assert isinstance(only(engine_on(server.url, max_attempts=6), scripted("trouble", script)), Completion)
    assert server.times()["trouble"] == 6


def test_a_busy_server_is_waited_for_however_many_attempts_that_takes(server: ScriptedServer) -> None:
    script = ", ".join(["429 0.01"] * 5 + ["429"] * 3 + ["ok"])
    engine = engine_on(server.url, max_attempts=2, max_backoff_seconds=0.02)
    assert isinstance(only(engine, scripted("busy", script)), Completion)
    assert server.times()["busy"] == 9


def test_a_request_that_alone_is_always_too_much_fails_in_the_end(server: ScriptedServer) -> None:
    def others() -> Iterator[Request]:
        yield scripted("too much", "429 0.01")
        n = 0
        while True:
            n += 1
            yield scripted(f"beside too much {n}", "slow 0.01")

    engine = engine_on(server.url, max_attempts=3, patience_seconds=0.5, max_backoff_seconds=0.02)
    failed = next(result for result in engine.generate(others()) if isinstance(result, Failure))
    assert failed.kind == "rate_limited" and server.times()["too much"] >= 3


@pytest.mark.parametrize(("script", "least"), [("429 1, ok", 1.0), ("429 date 3, ok", 1.9), ("503, ok", 0.0)])
def test_a_server_is_left_alone_for_as_long_as_it_says(server: ScriptedServer, script: str, least: float) -> None:
    engine = engine_on(server.url)
    others = [scripted(f"other {script} {n}") for n in range(3)]
    results = list(engine.generate([scripted(f"wait {script}", script), *others]))
    first, second = server.of(f"wait {script}")
    assert second.at - first.at >= least - 0.01 and all(isinstance(result, Completion) for result in results)


def test_no_more_are_in_flight_than_allowed(server: ScriptedServer) -> None:
    server.most_in_flight = 0
    engine = engine_on(server.url, endpoint={"max_in_flight": 3})
    cases = [[scripted(f"bound {part} {n}", "slow 0.03") for n in range(12)] for part in range(2)]
    threads = [threading.Thread(target=lambda part=part: list(engine.generate(part))) for part in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.most_in_flight == 3 and no_thread_is_left()


def test_requests_are_read_no_further_ahead_than_can_be_worked_on(server: ScriptedServer) -> None:
    read = [0]

    def endless() -> Iterator[Request]:
        while True:
            read[0] += 1
            yield scripted(f"ahead {read[0]}")

    results = engine_on(server.url, endpoint={"max_in_flight": 4}).generate(endless())
    for n in range(1, 60):
        assert isinstance(next(results), Completion)
        assert read[0] <= n + 2 * 4
    results.close()  # type: ignore[attr-defined]
    asked = len(server.log)
    assert no_thread_is_left()
    time.sleep(0.2)
    assert len(server.log) <= asked + 4  # those that were on their way


def test_an_interrupt_leaves_nothing_running_and_loses_nothing_that_came(server: ScriptedServer) -> None:
    kept: list[Completion] = []

    def interrupted() -> Iterator[Request]:
        yield from (scripted(f"interrupt {n}", "ok" if n < 3 else "slow 30") for n in range(6))
        while len(kept) < 3:
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        for _ in engine_on(server.url).generate(interrupted(), kept.append):
            pass
    assert len(kept) == 3 and no_thread_is_left()


def test_it_works_where_an_event_loop_runs_already(server: ScriptedServer) -> None:
    async def inside() -> list[Completion | Failure]:
        return list(engine_on(server.url).generate([scripted("in a loop")]))

    assert isinstance(asyncio.run(inside())[0], Completion)


def test_a_dead_server_beside_a_living_one_costs_no_request(server: ScriptedServer) -> None:
    engine = engine_on(NOBODY, server.url)
    results = list(engine.generate(scripted(f"beside the dead {n}") for n in range(40)))
    assert len(results) == 40 and all(isinstance(result, Completion) for result in results)
    dead, living = engine.usage()
    assert (dead["answered"], living["answered"]) == (0, 40) and dead["faults"]["connection"] >= 1


def test_a_failing_server_rests_and_is_tried_with_one_request() -> None:
    with scripted_server() as broken:
        patience = {"rest_after": 4, "rest_seconds": 1.0, "patience_seconds": 2.5, "max_attempts": 50}
        engine = engine_on(broken.url, endpoint={"max_in_flight": 4}, **patience)
        with pytest.raises(UserError):  # the second rest would be longer than patience
            list(engine.generate(scripted(f"broken {n}", "500") for n in range(20)))
        before = broken.log[:-1]
        assert 4 <= len(before) <= 7  # those in flight when it began to rest
        assert broken.log[-1].at - before[-1].at >= 0.5


def test_a_server_that_comes_back_is_asked_on() -> None:
    with scripted_server() as gone:
        port = int(gone.url.split(":")[2].split("/")[0])
    results: list[Completion | Failure] = []
    engine = engine_on(f"http://127.0.0.1:{port}/v1", max_attempts=1, rest_after=2, patience_seconds=60)
    requests = [scripted(f"back {n}") for n in range(10)]
    worker = threading.Thread(target=lambda: results.extend(engine.generate(requests)))
    worker.start()
    while worker.is_alive() and engine.usage()[0]["faults"].get("connection", 0) < 3:
        time.sleep(0.01)
    with scripted_server(port=port):
        worker.join(60)
    assert len(results) == 10 and all(isinstance(result, Completion) for result in results)


@pytest.mark.parametrize(
    ("url", "script", "says"),
    [(NOBODY, "ok", "has answered for 0.3 s"), (None, "429 5000", "has answered for 0.3 s"), (None, "401", "the key"),
     (None, "404", "serve this model"), (None, "307", "307")],
)  # fmt: skip
def test_without_any_server_the_run_ends_with_a_sentence(
    server: ScriptedServer, url: str | None, script: str, says: str
) -> None:
    engine = engine_on(url or server.url, patience_seconds=0.3, rest_after=2)
    with pytest.raises(UserError, match=says) as caught:
        list(engine.generate(scripted(f"hopeless {script} {n}", script) for n in range(10)))
    assert "is kept" in str(caught.value) and no_thread_is_left()


def test_material_that_must_not_leave_goes_to_own_servers_only(server: ScriptedServer) -> None:
    elsewhere = EndpointSettings(url="https://models.example.org/v1")
    mixed = HttpEngine(HttpSettings(endpoints=(elsewhere, EndpointSettings(url=server.url))))
    assert all(isinstance(result, Completion) for result in mixed.generate(scripted(f"stay {n}") for n in range(8)))
    assert mixed.usage()[0]["asked"] == 0
    result = only(HttpEngine(HttpSettings(endpoints=(elsewhere,))), scripted("leave"))
    assert isinstance(result, Failure) and result.kind == "terms_forbid_external_processing"


def test_the_key_is_sent_and_shown_nowhere(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TEST_MODEL_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    engine = engine_on(server.url, endpoint={"api_key_env": "TEST_MODEL_KEY"}, max_attempts=2)
    assert isinstance(only(engine, scripted("with key")), Completion)
    assert server.of("with key")[0].headers["Authorization"] == f"Bearer {KEY}"
    shown = [repr(only(engine, scripted(f"key {script}", script))) for script in ("quote", "half", "drop", "500")]
    shown += [repr(credential_of(engine.settings.endpoints[0])), repr(engine), repr(engine.settings)]
    shown += [json.dumps(engine.describe()), json.dumps(engine.usage())]
    with pytest.raises(UserError) as caught:
        only(engine, scripted("key 401", "401"))
    inside = caught.tb.tb_next  # this test knows the key
    error = traceback.TracebackException(UserError, caught.value, inside, capture_locals=True)
    shown += ["".join(error.format()), caplog.text]
    assert not [text for text in shown if KEY in text]
    assert "***" in shown[0]


@pytest.mark.parametrize("value", ["", " ", "two words", "line\nbreak"])
def test_a_key_that_is_none_is_told_before_anything_is_sent(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TEST_MODEL_KEY", value)
    engine = engine_on(server.url, endpoint={"api_key_env": "TEST_MODEL_KEY"})
    with pytest.raises(UserError, match="TEST_MODEL_KEY") as caught:
        only(engine, scripted("no key"))
    assert not server.of("no key") and (not value.strip() or value not in str(caught.value)) and no_thread_is_left()


@pytest.mark.parametrize(
    "url", ["https://me:secret@models.example.org/v1", "models.example.org", "https://h/v1?key=secret", "http://h:x/v1"]
)
def test_an_address_holds_no_secrets(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        EndpointSettings(url=url)
    assert "secret" not in str(caught.value)
