"""Asking until there is a usable answer, a bounded number of times, and writing down every answer that was none.

The steps of a case depend on each other, those of different cases do not, so a step is asked of all cases at once and
an engine always has enough to fill its batches. A new attempt is the same request with another seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from annotators.engines.protocol import Completion, Failure, Request
from schemas.errors import UserError

Ask = Callable[[Iterable[Request]], Iterator[Completion | Failure]]
Read = TypeVar("Read")

#: Kinds of failure that say something of the machines and nothing of the case: the next run may well succeed.
_OF_THE_MACHINES = frozenset({"connection", "rate_limited"})
#: Kinds that the same request would meet again, whatever its seed.
_FOR_GOOD = frozenset({"bad_request", "image_unusable", "out_of_memory", "terms_forbid_external_processing"})


class UnusableError(ValueError):
    """An answer that came and cannot be used; ``rule`` names why in the ledger."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule


@dataclass(frozen=True)
class Fault:
    """One attempt that failed: which step of which slot, counted from 0, the rule and what was wrong."""

    step: str
    slot: str
    attempt: int
    rule: str
    detail: str

    @property
    def is_final(self) -> bool:
        """Whether another attempt would meet the same."""
        return self.rule in _FOR_GOOD


@dataclass(frozen=True)
class Answer(Generic[Read]):
    """A usable answer: what was read from it, its request and which attempt it was."""

    value: Read
    request: Request
    attempt: int


class Asker:
    """Asks for the candidates of one shard, and keeps what went wrong and what was spent.

    ``faults``: in the order of waves, then of slots; ``tokens``: slot -> prompt and completion tokens of all attempts.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.faults: list[Fault] = []
        self.tokens: dict[str, tuple[int, int]] = {}

    def wave(
        self, step: str, attempt: int, make: Mapping[str, Callable[[int], Request]],
        read: Callable[[str, Completion], Read],
    ) -> dict[str, Answer[Read]]:  # fmt: skip
        """One attempt of one step for every slot of ``make``; slot -> its answer, for those that have a usable one.

        Slots may ask the same. ``read`` raises :class:`UnusableError`. Raises :class:`UserError` where nothing
        answers: what was answered so far is kept by whoever keeps it.
        """
        requests: dict[str, Request] = {}
        waiting: dict[str, list[str]] = {}
        for slot, maker in make.items():
            request = maker(attempt)
            requests[request.key] = request
            waiting.setdefault(request.key, []).append(slot)
        answers: dict[str, Answer[Read]] = {}
        faults: list[Fault] = []
        broken: list[Failure] = []
        for result in self._ask(requests.values()):
            if isinstance(result, Failure) and result.kind in _OF_THE_MACHINES:
                broken.append(result)
                continue
            for slot in waiting[result.key]:
                self._spend(slot, result)
                try:
                    value = read(slot, _usable(result))
                except UnusableError as error:
                    faults.append(Fault(step, slot, attempt, error.rule, str(error)))
                else:
                    answers[slot] = Answer(value, requests[result.key], attempt)
        if broken:
            raise UserError(
                f"{len(broken)} of {len(requests)} requests of the step {step} were not answered ({broken[0].detail}): "
                "what was answered is kept, so see to the server and run the same command again"
            )
        self.faults += sorted(faults, key=lambda fault: fault.slot)
        return answers

    def _spend(self, slot: str, result: Completion | Failure) -> None:
        told = result if isinstance(result, Completion) else result.completion
        if told is not None:
            prompt, completion = self.tokens.get(slot, (0, 0))
            self.tokens[slot] = (prompt + told.prompt_tokens, completion + told.completion_tokens)


def _usable(result: Completion | Failure) -> Completion:
    if isinstance(result, Failure):
        raise UnusableError(result.kind, result.detail)
    return result
