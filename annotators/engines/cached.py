"""An engine behind the request cache: what was answered once is read, whatever else is asked.

Answers are kept as they came, also those that turn out unusable (cut, refused, not of their schema): they were paid
for, and asking the same key again would buy the same. Whoever wants another answer asks with another seed. What never
became an answer (time-outs, busy servers, memory) is not kept, so the next run asks it again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from annotators.engines.answers import checked
from annotators.engines.cache import RequestCache
from annotators.engines.protocol import Completion, Engine, Failure, Request

_HITS_AHEAD = 1024  # answers from the cache that may wait while an engine is given its work

Result = Completion | Failure


@dataclass(frozen=True)
class CacheCounts:
    """Requests read from the cache, asked of the engine, equal to one being asked; tokens that need not be bought."""

    hits: int = 0
    misses: int = 0
    shared: int = 0
    prompt_tokens_saved: int = 0
    completion_tokens_saved: int = 0


class CachedEngine:
    """``engine`` behind ``cache``; ``counts`` is of all runs so far."""

    def __init__(self, engine: Engine, cache: RequestCache) -> None:
        self._engine, self._cache = engine, cache
        self._lock = threading.Lock()
        self.counts = CacheCounts()

    def describe(self) -> Mapping[str, Any]:
        """That of the engine."""
        return self._engine.describe()

    def generate(
        self, requests: Iterable[Request], keep: Callable[[Completion], None] | None = None
    ) -> Generator[Result, None, None]:
        """One result per request; cached ones at once, the others as they finish. ``keep`` is told of new ones."""
        run = _Run(self._cache, iter(requests), self._count)

        def kept(completion: Completion) -> None:
            self._cache.put(completion)
            if keep is not None:
                keep(completion)

        while True:
            yield from run.leading_hits()
            if run.exhausted and run.next_miss is None:
                return
            answers = self._engine.generate(run.misses(), kept)
            try:
                for answer in answers:
                    yield from run.settle(answer)
                    yield from run.waiting_hits()
            finally:
                close = getattr(answers, "close", None)
                if close is not None:
                    close()

    def _count(self, **more: int) -> None:
        with self._lock:
            self.counts = replace(self.counts, **{name: getattr(self.counts, name) + n for name, n in more.items()})


def cached(engine: Engine, cache: RequestCache) -> CachedEngine:
    """``engine``, asked only for what ``cache`` does not hold."""
    return CachedEngine(engine, cache)


class _Run:
    """One pass over requests: which are hits, which are asked, which wait for an equal one that is being asked."""

    def __init__(self, cache: RequestCache, requests: Iterator[Request], count: Callable[..., None]) -> None:
        self._cache, self._requests, self._count = cache, requests, count
        self._hits: deque[Result] = deque()
        self._asked: dict[str, int] = {}  # key -> requests that wait for its answer
        self.next_miss: Request | None = None
        self.exhausted = False

    def leading_hits(self) -> Iterator[Result]:
        """Hits up to the next request that must be asked."""
        yield from self.waiting_hits()
        while self.next_miss is None and not self.exhausted:
            self._advance()
            yield from self.waiting_hits()

    def waiting_hits(self) -> Iterator[Result]:
        """Hits that were met while looking for something to ask."""
        while self._hits:
            yield self._hits.popleft()

    def misses(self) -> Iterator[Request]:
        """What must be asked; ends early when too many hits wait, to be called again."""
        while True:
            while self.next_miss is None:
                if self.exhausted or len(self._hits) >= _HITS_AHEAD:
                    return
                self._advance()
            request, self.next_miss = self.next_miss, None
            yield request

    def settle(self, answer: Result) -> Iterator[Result]:
        """The answer, once for every request of its key."""
        for _ in range(self._asked.pop(answer.key)):
            yield answer

    def _advance(self) -> None:
        """Take one request: it becomes a hit, the next miss, or one more that waits for a key being asked."""
        request = next(self._requests, None)
        if request is None:
            self.exhausted = True
        elif request.key in self._asked:
            self._asked[request.key] += 1
            self._count(shared=1)
        elif (completion := self._cache.get(request.key)) is None:
            self._asked[request.key] = 1
            self.next_miss = request
            self._count(misses=1)
        else:
            self._hits.append(checked(request, completion))
            self._count(
                hits=1,
                prompt_tokens_saved=completion.prompt_tokens,
                completion_tokens_saved=completion.completion_tokens,
            )
