"""Runs a vision-language model in this process, on one device: one engine per process and GPU.

Prompts are prepared ahead by threads; a batch is refilled while it runs, with prompts of like length read together.
What does not fit into memory is tried again with half the rows, so a batch size need not be right, only not hopeless.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from annotators.engines.answers import checked
from annotators.engines.protocol import Completion, Failure, Request
from annotators.engines.transformers_batch import Batch
from annotators.engines.transformers_checkpoint import devices, needed, open_checkpoint
from annotators.engines.transformers_prompts import Prompt, Prompts
from annotators.engines.transformers_rows import Allowed, Row
from corpus.digests import digest_of

_ROWS = {"cuda": 64, "cpu": 8}
_REFILL_SHARE = 4  # a running batch takes prompts in when one row in so many is free
_TRUSTED = 16  # times its limit of rows must be answered before a lowered limit is doubled
_TOLD_OF = ("torch", "transformers", "tokenizers", "llguidance", "pillow")


class TransformersEngine:
    """A checkpoint directory as an engine.

    ``device``: as torch names it, by default the first GPU, else the CPU. ``dtype``: bfloat16 on a GPU and float32 on a
    CPU unless named. ``attention``: an implementation that transformers knows, by default its choice. ``most_rows``:
    answers written at once; ``most_prompt_tokens``: prompts read at once, in tokens. ``most_pixels``: larger images are
    scaled down to it, keeping their form; None leaves them to the model's processor. ``threads``: that prepare prompts.
    """

    def __init__(
        self,
        directory: Path,
        *,
        device: str | None = None,
        dtype: str | None = None,
        attention: str | None = None,
        most_rows: int | None = None,
        most_prompt_tokens: int = 16384,
        most_pixels: int | None = None,
        threads: int = 4,
    ) -> None:
        self.device = device or devices()[0]
        kind = self.device.split(":")[0]
        self.dtype = dtype or ("float32" if kind == "cpu" else "bfloat16")
        self.most_rows = most_rows or _ROWS.get(kind, 8)
        self._most_prompt_tokens = most_prompt_tokens
        self._most_pixels = most_pixels
        self._threads = threads
        self.checkpoint = open_checkpoint(Path(directory), self.device, self.dtype, attention)

    @property
    def shaped_by(self) -> tuple[str, ...]:
        """Digest of the settings here that shape an answer, for :attr:`Request.shaped_by`."""
        return (digest_of("transformers", self.dtype, self._most_pixels),)

    def describe(self) -> Mapping[str, Any]:
        """Versions, checkpoint, its revision (see ``revision_of``), device and settings."""
        return {
            "engine": "transformers",
            "versions": {name: importlib.metadata.version(name) for name in _TOLD_OF},
            "model": self.checkpoint.directory.name,
            "directory": str(self.checkpoint.directory),
            "family": self.checkpoint.family,
            "revision": self.checkpoint.revision,
            "dtype": self.dtype,
            "device": self.device,
            "attention": self.checkpoint.model.config._attn_implementation,
            "most_rows": self.most_rows,
            "most_prompt_tokens": self._most_prompt_tokens,
            "most_pixels": self._most_pixels,
        }

    def generate(
        self, requests: Iterable[Request], keep: Callable[[Completion], None] | None = None
    ) -> Iterator[Completion | Failure]:
        """See :class:`annotators.engines.protocol.Engine`; the same requests in the same order are batched the same."""
        with Prompts(requests, self.checkpoint, 2 * self.most_rows, self._most_pixels, self._threads) as prompts:
            run = _Run(self, prompts)
            while prompts.left() or run.batch.live:
                results = [self._completed(result, keep) if isinstance(result, Row) else result for result in run.on()]
                yield from results  # all of them are kept before the first of them is given away

    def _completed(self, row: Row, keep: Callable[[Completion], None] | None) -> Completion | Failure:
        if row.finish is None:
            return Failure(
                row.request.key, "not_a_number",
                f"after {len(row.tokens)} tokens the scores are not numbers; try another dtype than {self.dtype}",
            )  # fmt: skip
        completion = Completion(
            row.request.key, row.text, row.finish, row.prompt_tokens, len(row.tokens), time.monotonic() - row.begun,
            self.device, self.checkpoint.directory.name,
        )  # fmt: skip
        if keep is not None:
            keep(completion)
        return checked(row.request, completion)


class _Run:
    """One run over requests: the batch, and how many rows memory is believed to hold."""

    def __init__(self, engine: TransformersEngine, prompts: Prompts) -> None:
        self._engine = engine
        self._prompts = prompts
        self._allowed = Allowed(engine.checkpoint.width)
        self._torch = needed()
        self._limit = engine.most_rows
        self._answered = 0  # since the limit last changed
        self.batch = Batch(engine.checkpoint, self._allowed)

    def on(self) -> list[Row | Failure]:
        """Take prompts in, or write one token of every row: whichever is next; what is finished or failed with it."""
        free = self._limit - len(self.batch.live)
        if free * _REFILL_SHARE >= self._limit and self._prompts.left():
            taken, failures = self._prompts.take(free, self._engine._most_prompt_tokens)
            if taken or failures:
                return [*failures, *(self._admit(taken) if taken else [])]
        return self._stepped() if self.batch.live else []

    def _admit(self, taken: list[Prompt]) -> list[Row | Failure]:
        if not self.batch.live:
            self.batch.clear()
        joining = Batch(self._engine.checkpoint, self._allowed)
        left: list[Row] | None = None
        with suppress(self._torch.OutOfMemoryError):
            left = joining.read(taken)
        if left is None:
            return self._relieved(taken)
        if not self.batch.live:
            self.batch = joining
            return self._done(left)
        with suppress(self._torch.OutOfMemoryError):
            self.batch.drop(joining)
            return self._done(left)
        return self._done(left) + self._started_over(joining.unanswered())

    def _stepped(self) -> list[Row | Failure]:
        with suppress(self._torch.OutOfMemoryError):
            return self._done(self.batch.step())
        return self._started_over([])

    def _done(self, left: list[Row]) -> list[Row | Failure]:
        """The same rows. When many were answered since memory was short, the limit is tried higher again."""
        self._answered += len(left)
        if self._limit < self._engine.most_rows and self._answered >= _TRUSTED * self._limit:
            self._limit, self._answered = min(2 * self._limit, self._engine.most_rows), 0
        return list(left)

    def _relieved(self, taken: list[Prompt]) -> list[Row | Failure]:
        """After prompts did not fit beside what runs: they wait, and are taken in again in smaller numbers."""
        running = len(self.batch.live)
        if running == 0 and len(taken) == 1:
            return [self._alone(taken[0])]
        self._prompts.give_back(taken)
        self._lower((running + len(taken)) // 2)
        return []

    def _started_over(self, waiting: list[Prompt]) -> list[Row | Failure]:
        """After the batch itself did not fit: its answers begin anew, half as many at once; the text is the same."""
        held = self.batch.unanswered() + waiting
        self.batch.clear()
        if len(held) == 1:
            return [self._alone(held[0])]
        self._prompts.give_back(held)
        self._lower(len(held) // 2)
        return []

    def _alone(self, prompt: Prompt) -> Failure:
        """One request that does not fit by itself; those after it may, so the limit is as at the start."""
        self._limit = self._engine.most_rows
        self._free()
        return Failure(
            prompt.request.key, "out_of_memory",
            f"its prompt of {prompt.length} tokens and its answer do not fit into the memory of {self._engine.device} "
            "even alone: scale images down, or ask for a shorter answer",
        )  # fmt: skip

    def _lower(self, limit: int) -> None:
        self._limit, self._answered = max(1, limit), 0
        self._free()

    def _free(self) -> None:
        if self._engine.device.startswith("cuda"):
            self._torch.cuda.empty_cache()


def share(requests: Iterable[Request], nth: int, of: int) -> Iterator[Request]:
    """The requests that process ``nth`` of ``of`` answers: by key, so it is the same share in every run and order."""
    return (request for request in requests if int(request.key[:16], 16) % of == nth)
