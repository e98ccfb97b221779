"""An engine that asks OpenAI-compatible chat servers: vLLM, SGLang, TGI, ``transformers serve``, or somebody's cloud.

Requests are read in the calling thread, a bounded number ahead; asking happens in an event loop on a thread that lives
while somebody generates. An answer goes to ``keep`` from that thread as soon as its last byte is there: a slow reader
of results puts no paid answer at risk. Seeds and schemas are passed on, but servers are free to ignore them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from annotators.engines.endpoints import EndpointState
from annotators.engines.http_session import Keep, Result, Run, Session
from annotators.engines.protocol import Request
from annotators.engines.terms import is_own
from schemas.engine_config import HttpSettings


class HttpEngine:
    """Chat servers behind the engine protocol; several threads may generate at once, within the same bounds."""

    def __init__(self, settings: HttpSettings) -> None:
        self.settings = settings
        self._states = [EndpointState(endpoint) for endpoint in settings.endpoints]
        self._window = 2 * sum(endpoint.max_in_flight for endpoint in settings.endpoints)
        self._lock = threading.Lock()
        self._users = 0
        self._session: Session | None = None

    def describe(self) -> Mapping[str, Any]:
        """Endpoints with the names of their models; no keys."""
        return {
            "engine": "http",
            "endpoints": [
                {
                    "url": endpoint.url,
                    "model": endpoint.model,
                    "own": is_own(endpoint),
                    "structured": endpoint.structured,
                    "seed_sent": endpoint.send_seed,
                }
                for endpoint in self.settings.endpoints
            ],
        }

    def usage(self) -> list[dict[str, Any]]:
        """Counts per endpoint since this object was made, tokens and cost included."""
        return [state.usage() for state in self._states]

    def last_faults(self) -> list[str]:
        """What each endpoint did wrong last, as a sentence without its key; empty where it did nothing wrong."""
        return [state.last_fault for state in self._states]

    def generate(self, requests: Iterable[Request], keep: Keep | None = None) -> Iterator[Result]:
        """One result per request, as they finish; see :class:`annotators.engines.protocol.Engine`.

        Raises :class:`UserError` when a key is missing or no server can be asked any more.
        """
        session = self._enter()
        run = Run(keep)
        try:
            yield from self._results(session, run, iter(requests))
        finally:
            try:
                session.cancel(run)
            finally:
                self._leave()

    def _results(self, session: Session, run: Run, requests: Iterator[Request]) -> Iterator[Result]:
        waiting, exhausted = 0, False
        while True:
            while not exhausted and waiting < self._window and run.results.empty():
                request = next(requests, None)
                if request is None:
                    exhausted = True
                else:
                    session.start(run, request)
                    waiting += 1
            if not waiting:
                return
            result = run.results.get()
            waiting -= 1
            if isinstance(result, BaseException):
                raise result
            yield result

    def _enter(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = Session(self.settings, self._states)
            self._users += 1
            return self._session

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._session is None:
                return
            session, self._session = self._session, None
        session.close()
