"""What asking comes to while it goes on: answers, tokens, seconds of devices, money.

Engines and caches count for themselves; what people watch and what a run's record says is counted here, once, where
answers pass. Processes that work for one run count for themselves too, and send their totals.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

#: What is counted. ``results``: requests that got an answer or a failure, wherever from; ``answered``: answers that
#: came now, with their tokens, ``seconds`` (sum over answers) and ``cost``; ``device_seconds``: of a model in process;
#: ``kept`` and ``lost``: narratives that an answer gave, and answers to the writing step that gave none;
#: ``settled``: narratives that are there or will never be. Held now, in
#: bytes of GPUs: ``memory`` of ``memory_total``.
COUNTED = ("results", "failures", "answered", "prompt_tokens", "completion_tokens", "seconds", "device_seconds", "cost",
           "kept", "lost", "settled", "memory", "memory_total")  # fmt: skip


class Meter:
    """Counts of this process and of others; safe to use from several threads.

    ``ended``: set when the run that counts is over, however it ended, and nothing more is to be asked for it.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._own: Counter[str] = Counter()
        self._others: dict[str, Mapping[str, float]] = {}

    def add(self, **more: float) -> None:
        """Count more of some of :data:`COUNTED`."""
        with self._lock:
            for name, value in more.items():
                self._own[name] += value  # type: ignore[assignment]

    def holds(self, **now: float) -> None:
        """What some of :data:`COUNTED` stand at now."""
        with self._lock:
            for name, value in now.items():
                self._own[name] = value  # type: ignore[assignment]

    def told(self, origin: str, totals: Mapping[str, float]) -> None:
        """Another process's totals so far."""
        with self._lock:
            self._others[origin] = totals

    def totals(self) -> dict[str, float]:
        """All of :data:`COUNTED`, over all processes."""
        with self._lock:
            parts = [self._own, *self._others.values()]
            return {name: sum(part.get(name, 0) for part in parts) for name in COUNTED}
