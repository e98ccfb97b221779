"""Which server takes the next request: bounds, health, and when to give up.

A server that keeps failing is left alone for a while and then tried with a single request, so that neither a restart
costs thousands of requests their attempts nor a dead server holds up a living one. One that says it is asked too often
is left alone for as long as it says, and asked half as much at once afterwards. All of this runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from annotators.engines.chat import Fault
from annotators.engines.protocol import Completion
from annotators.engines.terms import is_own
from schemas.engine_config import EndpointSettings, HttpSettings
from schemas.errors import UserError

_LOG = logging.getLogger(__name__)


@dataclass
class EndpointState:
    """What is known of one server: what it did, and how it is."""

    settings: EndpointSettings
    asked: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    limit: float = 0.0
    failures: int = 0
    rests: int = 0
    rest_until: float = 0.0
    failing_since: float | None = None
    last_fault: str = ""
    closed: bool = False
    own: bool = field(init=False)

    def __post_init__(self) -> None:
        self.own = is_own(self.settings)
        self.limit = float(self.settings.max_in_flight)

    def may_serve(self, *, may_leave: bool) -> bool:
        """As :func:`annotators.engines.terms.may_serve`."""
        return may_leave or self.own

    @property
    def cost(self) -> float:
        """What its answers cost, in the currency of its prices."""
        return self.settings.cost(self.prompt_tokens, self.completion_tokens)

    def usage(self) -> dict[str, Any]:
        """Counts of all it was asked; ``seconds`` is the sum of its answers' times."""
        return {
            "endpoint": self.settings.url,
            "asked": self.asked,
            "answered": self.answered,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "seconds": round(self.seconds, 3),
            "cost": round(self.cost, 6),
            "faults": dict(sorted(self.faults.items())),
        }


class Pool:
    """Hands out endpoints, first come first served, never more of one than its bound."""

    def __init__(self, states: list[EndpointState], settings: HttpSettings) -> None:
        self._states, self._settings = states, settings
        self._waiting: deque[tuple[asyncio.Future[EndpointState], bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, *, may_leave: bool) -> EndpointState:
        """An endpoint that may be asked now; give it back with :meth:`give_back`.

        Raises :class:`UserError` when there is none to wait for any more.
        """
        turn: asyncio.Future[EndpointState] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, may_leave))
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give_back(turn.result(), None)
            raise

    def give_back(self, state: EndpointState, outcome: Completion | Fault | None) -> None:
        """``outcome``: what came of asking; None when nothing did because of us."""
        state.in_flight -= 1
        if isinstance(outcome, Completion):
            self._went_well(state)
            state.answered += 1
            state.prompt_tokens += outcome.prompt_tokens
            state.completion_tokens += outcome.completion_tokens
            state.seconds += outcome.seconds
        elif outcome is not None:
            state.faults[outcome.kind] += 1
            self._went_wrong(state, outcome)
        self._hand_out()

    # -- health -------------------------------------------------------------------------------------------------------

    def _went_well(self, state: EndpointState) -> None:
        state.failures = state.rests = 0
        state.failing_since = None
        state.limit = min(state.limit + 1 / state.limit, float(state.settings.max_in_flight))

    def _went_wrong(self, state: EndpointState, fault: Fault) -> None:
        now = time.monotonic()
        state.last_fault = fault.detail
        if fault.closes:
            state.closed = True
            _LOG.warning("%s is not asked any more: %s", state.settings.url, fault.detail)
        elif not fault.again:  # the request's fault: the server is well
            state.failures, state.failing_since = 0, None
        else:
            state.failing_since = now if state.failing_since is None else state.failing_since
            if fault.kind == "rate_limited":
                if now >= state.rest_until:
                    state.limit = max(1.0, state.limit / 2)
                self._rest(state, now, fault.retry_after or self._settings.backoff_seconds)
                return
            state.failures += 1
            if fault.retry_after:
                self._rest(state, now, fault.retry_after)
            elif state.failures >= self._settings.rest_after and now >= state.rest_until:
                self._rest(state, now, self._settings.rest_seconds * min(2**state.rests, 10))
                state.rests += 1

    def _rest(self, state: EndpointState, now: float, seconds: float) -> None:
        if now >= state.rest_until:
            _LOG.warning("%s is left alone for %.0f s: %s", state.settings.url, seconds, state.last_fault)
        state.rest_until = max(state.rest_until, now + seconds)

    def _is_free(self, state: EndpointState, now: float) -> bool:
        bound = 1 if state.failures >= self._settings.rest_after else int(state.limit)
        return not state.closed and now >= state.rest_until and state.in_flight < bound

    # -- whose turn it is ---------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        now = time.monotonic()
        for _ in range(len(self._waiting)):
            free = [state for state in self._states if self._is_free(state, now)]
            if not free:
                break
            turn, may_leave = self._waiting.popleft()
            if turn.done():  # cancelled
                continue
            fitting = [state for state in free if state.may_serve(may_leave=may_leave)]
            if fitting:
                chosen = min(fitting, key=lambda state: state.in_flight / state.limit)
                chosen.in_flight += 1
                chosen.asked += 1
                turn.set_result(chosen)
            else:
                self._waiting.append((turn, may_leave))
        self._give_up_on_the_hopeless(now)
        self._look_again_when_one_has_rested(now)

    def _give_up_on_the_hopeless(self, now: float) -> None:
        if all(state.failing_since is None and not state.closed for state in self._states):
            return
        for turn, may_leave in self._waiting:
            if not turn.done():
                states = [state for state in self._states if state.may_serve(may_leave=may_leave)]
                if all(self._is_hopeless(state, now) for state in states):
                    turn.set_exception(UserError(_no_endpoint(states, self._settings.patience_seconds)))

    def _is_hopeless(self, state: EndpointState, now: float) -> bool:
        if state.closed:
            return True
        if state.failing_since is None or state.in_flight:
            return False
        return max(now, state.rest_until) - state.failing_since > self._settings.patience_seconds

    def _look_again_when_one_has_rested(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ends = [state.rest_until for state in self._states if not state.closed and state.rest_until > now]
        if self._waiting and ends:
            self._timer = asyncio.get_running_loop().call_later(min(ends) - now, self._hand_out)


def _no_endpoint(states: list[EndpointState], patience: float) -> str:
    told = "; ".join(state.last_fault for state in states if state.last_fault) or "none is configured"
    if all(state.closed for state in states):
        return f"no server can be asked: {told}. Correct the configuration; what was answered is kept"
    return (
        f"no server has answered for {patience:g} s, or will within that: {told}. What was answered is kept: run the "
        "same command again once one is there"
    )
