"""Asking chat servers, many at once, in an event loop on a thread of its own, and what becomes of each request.

Whatever a server or a connection does becomes a fault here, without the traceback it came with: the frames of the HTTP
library hold headers, and those hold the key.
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx

from annotators.engines.answers import checked
from annotators.engines.chat import Fault, ImageUnusableError, answer_of, body_of, fault_of
from annotators.engines.credentials import Credential, credential_of
from annotators.engines.endpoints import EndpointState, Pool
from annotators.engines.protocol import Completion, Failure, Request
from annotators.engines.terms import TERMS_RULE, forbidden_everywhere, is_loopback
from schemas.engine_config import HttpSettings

_MOST_BYTES = 16 * 2**20  # of a response; an answer is a few thousand
_KEEP_ALIVE_SECONDS = 3.0  # shorter than servers' own, or a request meets a connection that is being closed

Result = Completion | Failure
Answered = Completion | Fault
Keep = Callable[[Completion], None]


class Run:
    """One call of ``generate``: its tasks (touched in the event loop alone) and what they came to."""

    def __init__(self, keep: Keep | None) -> None:
        self.keep = keep
        self.tasks: set[asyncio.Task[None]] = set()
        self.results: queue.SimpleQueue[Result | BaseException] = queue.SimpleQueue()


class Session:
    """One client per endpoint on an event loop on a thread, from its making to :meth:`close`.

    Raises :class:`UserError` when a key is missing.
    """

    def __init__(self, settings: HttpSettings, states: list[EndpointState]) -> None:
        self._settings, self._states = settings, states
        self._credentials: dict[str, Credential] = {
            state.settings.url: credential_of(state.settings) for state in states
        }
        self._pool = Pool(states, settings)
        self._idle: dict[str, list[httpx.AsyncClient]] = {state.settings.url: [] for state in states}
        self._clients: list[httpx.AsyncClient] = []
        self._certificates = httpx.create_ssl_context()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="http-engine", daemon=True)
        self._thread.start()

    def start(self, run: Run, request: Request) -> None:
        """Begin to answer a request."""
        self._loop.call_soon_threadsafe(self._start, run, request)

    def cancel(self, run: Run) -> None:
        """End all work of a run and wait until it has ended."""
        asyncio.run_coroutine_threadsafe(self._cancel(run), self._loop).result()

    def close(self) -> None:
        """End the thread and close all connections."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        await self._stop.wait()
        for client in self._clients:
            await client.aclose()

    @contextmanager
    def _client(self, url: str) -> Iterator[httpx.AsyncClient]:
        """A client of one connection, used again by whoever comes next: a pool of many costs more than the request."""
        idle = self._idle[url]
        if not idle:
            made = httpx.AsyncClient(
                timeout=httpx.Timeout(None, connect=self._settings.connect_timeout_seconds),
                limits=httpx.Limits(max_connections=1, keepalive_expiry=_KEEP_ALIVE_SECONDS),
                trust_env=not is_loopback(url),
                verify=self._certificates,
                follow_redirects=False,
            )
            self._clients.append(made)
            idle.append(made)
        client = idle.pop()
        try:
            yield client
        finally:
            idle.append(client)

    def _start(self, run: Run, request: Request) -> None:
        task = self._loop.create_task(self._answer(run, request))
        run.tasks.add(task)
        task.add_done_callback(run.tasks.discard)

    async def _cancel(self, run: Run) -> None:
        tasks = list(run.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, run: Run, request: Request) -> None:
        try:
            run.results.put(await self._result(request, run.keep))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            run.results.put(error)

    async def _result(self, request: Request, keep: Keep | None) -> Result:
        if forbidden_everywhere(self._settings.endpoints, may_leave=request.may_leave):
            return Failure(request.key, TERMS_RULE, "its terms forbid external processing, and no server is our own")
        attempts = tries = 0
        busy_since: float | None = None
        while True:
            state = await self._pool.take(may_leave=request.may_leave)
            outcome: Answered | None = None
            try:
                outcome = await self._ask(state, request, keep)
            except ImageUnusableError as error:
                return Failure(request.key, "image_unusable", str(error))
            finally:
                self._pool.give_back(state, outcome)
            if isinstance(outcome, Completion):
                return checked(request, outcome)
            if outcome.closes:
                continue
            tries += 1
            pause = self._pause(tries)
            if outcome.kind == "rate_limited":  # it lives, and asks for time: patience bounds it
                busy_since = busy_since or time.monotonic()
                attempts += not self._bears(busy_since, max(pause, outcome.retry_after or 0.0))
            else:
                attempts += outcome.reached
            if not outcome.again or attempts >= self._settings.max_attempts:
                times = f" (asked {attempts} times)" if attempts > 1 else ""
                return Failure(request.key, outcome.kind, outcome.detail + times)
            await asyncio.sleep(pause)

    def _bears(self, since: float, wait: float) -> bool:
        """Whether a request that a server has put off for so long waits once more; a server rests at least so long."""
        wait = max(wait, self._settings.backoff_seconds)
        return time.monotonic() + wait - since < self._settings.patience_seconds

    def _pause(self, tries: int) -> float:
        most = min(self._settings.backoff_seconds * 2.0 ** min(tries - 1, 20), self._settings.max_backoff_seconds)
        return random.uniform(0.5, 1.0) * most

    async def _ask(self, state: EndpointState, request: Request, keep: Keep | None) -> Answered:
        settings, most = state.settings, self._settings.max_image_megabytes * 1e6
        if request.images:
            body = await asyncio.to_thread(body_of, request, settings, most)
        else:
            body = body_of(request, settings, most)
        with self._client(settings.url) as client:
            outcome = await self._post(client, state, request, body, keep)
        if isinstance(outcome, Fault):
            return replace(outcome, detail=self._credentials[settings.url].scrubbed(outcome.detail))
        return outcome

    async def _post(
        self, client: httpx.AsyncClient, state: EndpointState, request: Request, body: bytes, keep: Keep | None
    ) -> Answered:
        url, settings = state.settings.url, self._settings
        begun, answering = time.monotonic(), False
        try:
            async with (
                asyncio.timeout(settings.timeout_seconds),
                client.stream(
                    "POST",
                    f"{url}/chat/completions",
                    content=body,
                    headers={"Content-Type": "application/json"},
                    auth=self._credentials[url].sign,
                ) as response,
            ):
                answering = True
                data = bytearray()
                async for piece in response.aiter_bytes():
                    data += piece
                    if len(data) > _MOST_BYTES:
                        return Fault("bad_response", f"{url} sent more than {_MOST_BYTES:,} bytes")
                if response.status_code != 200:
                    return fault_of(url, response.status_code, response.headers, bytes(data))
                outcome = answer_of(request, state.settings, bytes(data), time.monotonic() - begun)
                if keep is not None and isinstance(outcome, Completion):
                    keep(outcome)  # before anything else can be cancelled
                return outcome
        except TimeoutError:
            return Fault("timeout", f"{url} gave no whole answer within {settings.timeout_seconds:g} s")
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return Fault("connection", f"nothing answers at {url} ({type(error).__name__})", reached=False)
        except httpx.HTTPError as error:
            if answering:
                return Fault("bad_response", f"{url} broke off in the midst of its answer ({type(error).__name__})")
            return Fault("connection", f"{url} closed the connection without an answer ({type(error).__name__})")
