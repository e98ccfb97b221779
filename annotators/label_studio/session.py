"""Requests to a Label Studio whose failures are told apart by what they leave behind.

A request that was refused changed nothing. One that was lost - no answer in time, a gateway's error, a connection that
broke - may have been carried out all the same: reading is then tried again, and whoever writes has to look before
writing again. So nothing but reading is ever repeated here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from annotators.label_studio.connection import checked, is_here
from schemas.errors import UserError

if TYPE_CHECKING:
    import httpx

#: Seconds for which a server that does not answer is asked again.
PATIENCE = 60.0
_ACCESS_SECONDS = 200.0
_LONGEST_WAIT = 10.0
_UNCLEAR = (408, 409, 425, 429)


class Lost(Exception):  # noqa: N818
    """No answer that says whether the request was carried out; ``told``: what came instead, if it says anything."""

    def __init__(self, what: str, told: str | None = None) -> None:
        super().__init__(what)
        self.told = told


class Gone(Exception):  # noqa: N818
    """What the request was about is not there."""


class Refused(UserError):  # noqa: N818
    """The server understood and would not; nothing was changed."""


class Session:
    """An open connection to the Label Studio at ``base``; see :func:`opened`."""

    def __init__(self, base: str, token: str, http: httpx.Client, patience: float) -> None:
        self.base = base
        self.patience = patience
        self._token = token
        self._http = http
        self._access: tuple[float, str] | None = None

    def get(self, path: str, **parameters: Any) -> Any:
        """What lies at a path; asked again while the server does not answer."""
        return self.patiently(lambda: self._send("GET", path, params=parameters))

    def post(self, path: str, body: Any, **parameters: Any) -> Any:
        """Send once. :class:`Lost` when nobody knows whether it was carried out."""
        return self._send("POST", path, json=body, params=parameters)

    def patch(self, path: str, body: Any) -> Any:
        """Change once, to what may be sent again; :class:`Lost` when nobody knows whether it was carried out."""
        return self._send("PATCH", path, json=body)

    def delete(self, path: str) -> None:
        """Delete once; what is gone already counts as deleted."""
        try:
            self._send("DELETE", path)
        except Gone:
            return

    def fetched(self, path: str) -> httpx.Response:
        """What a browser gets at a path, whatever the status; the token goes to the server alone."""
        import httpx

        try:
            return self._http.get(path, headers={"Authorization": self._authorization(False)})
        except httpx.TransportError as error:
            host = error.request.url.host
            raise Lost(f"{host} does not answer") from error

    def wait(self, waits: Iterator[float], error: Lost) -> None:
        """Sleep for the next of the waits; :class:`UserError` when there is none left."""
        wait = next(waits, None)
        if wait is None:
            raise self.silent(error) from error
        time.sleep(wait)

    def patiently(self, ask: Any) -> Any:
        """The result of ``ask``, which changes nothing, tried again for :attr:`patience` seconds while it is lost."""
        waits = backoff(self.patience)
        while True:
            try:
                return ask()
            except Lost as error:
                self.wait(waits, error)

    def silent(self, error: Lost) -> UserError:
        """The sentence for a server that has not answered for long enough."""
        return UserError(
            f"{self.base} does not answer ({error}): check that Label Studio runs there and that its disk is not full, "
            "and run the same command again; nothing is lost"
        )

    def _send(self, method: str, path: str, **how: Any) -> Any:
        import httpx

        for fresh in (False, True):
            try:
                headers = {"Authorization": self._authorization(fresh)}
                answer = self._http.request(method, path, headers=headers, **how)
            except httpx.TimeoutException as error:
                raise Lost("no answer in time") from error
            except httpx.TransportError as error:
                raise Lost("the connection broke") from error
            if answer.status_code != 401 or fresh:
                break
        return self._read(answer, path)

    def _authorization(self, fresh: bool) -> str:
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        now = time.monotonic()
        if fresh or self._access is None or now - self._access[0] > _ACCESS_SECONDS:
            answer = self._http.post("api/token/refresh", json={"refresh": self._token})
            self._access = (now, str(self._read(answer, "api/token/refresh")["access"]))
        return f"Bearer {self._access[1]}"

    def _read(self, answer: httpx.Response, path: str) -> Any:
        status = answer.status_code
        if status == 404:
            raise Gone(path)
        if status in _UNCLEAR or status >= 500:
            raise Lost(f"status {status}", _told(answer))
        if status == 401:
            raise Refused(
                f"{self.base} does not take the token any more (status {status}): it was revoked, has expired, or its "
                f"account was removed; make a new personal access token at {self.base}user/account"
            )
        if status >= 400:
            raise Refused(f"{self.base} refused a request (status {status}): {_told(answer)}")
        if status == 204 or not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise Lost("an answer that is not Label Studio's") from error


@contextmanager
def opened(url: str, token: str, patience: float = PATIENCE) -> Iterator[Session]:
    """A connection for the length of the block; :class:`UserError` with one sentence when there can be none."""
    import httpx

    base = checked(url, token)
    timeout = httpx.Timeout(300.0, connect=10.0)
    with httpx.Client(base_url=base, timeout=timeout, trust_env=not is_here(base), follow_redirects=True) as http:
        yield Session(base, token, http, patience)


def backoff(seconds: float) -> Iterator[float]:
    """Waits, longer and longer, ``seconds`` in all."""
    wait, left = 0.25, seconds
    while left > 0:
        yield min(wait, left)
        left -= wait
        wait = min(2 * wait, _LONGEST_WAIT)


def _told(answer: httpx.Response) -> str:
    """What a refusal says, short and on one line."""
    try:
        body = answer.json()
        said = str(body.get("validation_errors") or body.get("detail") or body)
    except (ValueError, AttributeError):
        said = "no reason given"
    return " ".join(said.split())[:300]
