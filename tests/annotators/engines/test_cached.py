"""Behind the cache: nothing answered is asked again, equal requests are asked once, and memory is bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from annotators.engines.answers import checked
from annotators.engines.cache import RequestCache
from annotators.engines.cached import cached
from annotators.engines.protocol import Completion, Failure, Request
from tests.annotators.engines.prompts import SCHEMA, scripted

Result = Completion | Failure


class Windowed:
    """Answers ``window`` requests behind what it reads, and counts what it is asked. Cases named ``busy`` fail."""

    def __init__(self, window: int = 4, text: str = "A brown macule.") -> None:
        self.window, self.text = window, text
        self.asked: Counter[str] = Counter()
        self.calls = 0

    def describe(self) -> Mapping[str, Any]:
        return {"engine": "windowed"}

    def generate(
        self, requests: Iterable[Request], keep: Callable[[Completion], None] | None = None
    ) -> Iterator[Result]:
        self.calls += 1
        held: list[Request] = []
        for request in requests:
            self.asked[request.key] += 1
            held.append(request)
            if len(held) > self.window:
                yield self._one(held.pop(0), keep)
        for request in reversed(held):  # in any order
            yield self._one(request, keep)

    def _one(self, request: Request, keep: Any) -> Result:
        if "busy" in request.messages[-1].text:
            return Failure(request.key, "rate_limited", "come back later")
        completion = Completion(request.key, self.text, "stop", 100, 10, 0.1, "here")
        keep(completion)
        return checked(request, completion)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[RequestCache]:
    with RequestCache(tmp_path / "completions") as opened:
        yield opened


def test_a_second_run_asks_nothing(cache: RequestCache, tmp_path: Path) -> None:
    requests = [scripted(str(n)) for n in range(50)]
    engine = Windowed()
    first = list(cached(engine, cache).generate(requests))
    again = cached(engine, cache)
    second = list(again.generate(requests))
    assert sorted(first, key=lambda result: result.key) == sorted(second, key=lambda result: result.key)
    assert set(engine.asked.values()) == {1} and len(engine.asked) == 50
    counts = again.counts
    assert (counts.hits, counts.misses, counts.prompt_tokens_saved, counts.completion_tokens_saved) == (
        50,
        0,
        5000,
        500,
    )
    cache.close()
    with RequestCache(tmp_path / "completions") as reopened:
        assert sorted(cached(engine, reopened).generate(requests), key=lambda result: result.key) == sorted(
            first, key=lambda result: result.key
        )


def test_one_result_per_request_whatever_is_cached_or_equal(cache: RequestCache) -> None:
    list(cached(Windowed(), cache).generate(scripted(str(n)) for n in range(0, 60, 3)))
    engine = Windowed()
    asked = [scripted(str(n % 60)) for n in range(180)]
    run = cached(engine, cache)
    results = Counter(result.key for result in run.generate(asked))
    assert results == Counter(request.key for request in asked)
    assert max(engine.asked.values()) == 1 and len(engine.asked) == 40
    assert run.counts.hits + run.counts.shared + run.counts.misses == 180


def test_equal_requests_in_flight_are_asked_once_also_when_they_fail(cache: RequestCache) -> None:
    engine = Windowed(window=8)
    run = cached(engine, cache)
    results = list(run.generate([scripted("busy"), scripted("a"), scripted("busy"), scripted("a")]))
    assert sorted(type(result).__name__ for result in results) == ["Completion"] * 2 + ["Failure"] * 2
    assert set(engine.asked.values()) == {1} and run.counts.shared == 2


def test_what_was_paid_for_is_kept_though_unusable_and_what_never_came_is_asked_again(cache: RequestCache) -> None:
    bad, busy = scripted("bad", schema=SCHEMA), scripted("busy")
    engine = Windowed()
    for _ in range(2):
        results = {result.key: result for result in cached(engine, cache).generate([bad, busy])}
        failure, later = results[bad.key], results[busy.key]
        assert isinstance(failure, Failure) and failure.kind == "invalid_json"
        assert failure.completion is not None and failure.completion.text == "A brown macule."
        assert isinstance(later, Failure) and later.kind == "rate_limited"
    assert engine.asked == {bad.key: 1, busy.key: 2}


def test_hits_before_the_first_miss_come_before_anything_is_asked(cache: RequestCache) -> None:
    known = [scripted(str(n)) for n in range(10)]
    list(cached(Windowed(), cache).generate(known))
    engine = Windowed()
    results = cached(engine, cache).generate([*known, scripted("new")])
    assert [next(results).key for _ in known] == [request.key for request in known] and not engine.asked


def test_however_many_hits_lie_between_misses_few_wait(cache: RequestCache) -> None:
    known = [scripted(str(n)) for n in range(4000)]
    list(cached(Windowed(), cache).generate(known))
    read = [0]

    def mixed() -> Iterator[Request]:
        for request in [scripted("first"), *known, scripted("last")]:
            read[0] += 1
            yield request

    engine, seen = Windowed(), 0
    for _ in cached(engine, cache).generate(mixed()):
        seen += 1
        assert read[0] - seen <= 1024 + engine.window + 1
    assert seen == 4002 and engine.calls <= 6


def test_a_damaged_record_is_asked_again_and_the_others_are_not(cache: RequestCache, tmp_path: Path) -> None:
    requests = [scripted(str(n)) for n in range(20)]
    list(cached(Windowed(), cache).generate(requests))
    cache.close()
    (segment,) = (tmp_path / "completions").glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 4
    segment.write_bytes(data)
    with RequestCache(tmp_path / "completions") as reopened:
        engine = Windowed()
        assert reopened.report.damaged == 1 and len(list(cached(engine, reopened).generate(requests))) == 20
        assert len(engine.asked) == 1


def test_closing_a_run_closes_the_engines(cache: RequestCache) -> None:
    closed: list[bool] = []

    class Closing(Windowed):
        def generate(
            self, requests: Iterable[Request], keep: Callable[[Completion], None] | None = None
        ) -> Iterator[Result]:
            try:
                yield from super().generate(requests, keep)
            finally:
                closed.append(True)

    results = cached(Closing(), cache).generate(scripted(str(n)) for n in range(100))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert closed == [True]
