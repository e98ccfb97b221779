"""Turns requests into what a model reads, in threads that work ahead of it: images scaled, prompts tokenized.

A model waits for its next prompts only when this is slower than writing answers. Every thread has a processor of its
own, since tokenizers cannot be shared while their padding is being set. What metadata says is text: control tokens in
it are tokenized as the characters they are, and where a processor cannot do that, the request is refused.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass
from io import BytesIO
from threading import Lock, local
from types import TracebackType
from typing import TYPE_CHECKING, Any

from annotators.engines.protocol import Failure, FailureKind, Image, Request
from annotators.engines.transformers_checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as Picture


_NOT_SANITIZED = frozenset({"idefics3"})  # their processors read token offsets, which a sanitized prompt has not


@dataclass(frozen=True)
class Prompt:
    """A request as the model reads it: features of one row, length in tokens, and what its schema allows at first."""

    request: Request
    features: dict[str, torch.Tensor]
    length: int
    matcher: Any

    @property
    def kind(self) -> tuple[str, ...]:
        """Names of its features; prompts with an image have others than those without, and are read apart."""
        return tuple(sorted(self.features))


class Prompts:
    """The prompts of a run of requests, in order, prepared ahead by threads.

    ``ahead``: requests that are read ahead of those taken. ``most_pixels``: larger images are scaled down to it.
    """

    def __init__(
        self, requests: Iterable[Request], checkpoint: Checkpoint, ahead: int, most_pixels: int | None, threads: int
    ) -> None:
        self._requests: Iterator[Request] | None = iter(requests)
        self._checkpoint = checkpoint
        self._ahead = ahead
        self._most_pixels = most_pixels
        self._pool = ThreadPoolExecutor(threads, "prompts")
        self._own = local()
        self._grammars: dict[str, Any] = {}
        self._grammar_lock = Lock()
        self._lexicon: Any = None
        self._coming: deque[Future[Prompt | Failure]] = deque()
        self._ready: list[Prompt] = []

    def __enter__(self) -> Prompts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def left(self) -> bool:
        """Whether there is a further prompt to take, as far as is known."""
        return bool(self._requests or self._coming or self._ready)

    def give_back(self, prompts: list[Prompt]) -> None:
        """Put prompts to the front again."""
        self._ready[:0] = prompts

    def take(self, most: int, most_tokens: int) -> tuple[list[Prompt], list[Failure]]:
        """The oldest prompt and those nearest to it in kind and length, and requests that cannot be made prompts.

        ``most``: prompts; ``most_tokens``: of all padded to the longest, though one prompt is always given. Which
        these are depends on the order of the requests alone, not on which thread was quicker.
        """
        failures = self._fill(self._ahead // 2)
        if not self._ready:
            return [], failures
        oldest = self._ready[0]
        likes = sorted(
            (prompt for prompt in self._ready if prompt.kind == oldest.kind),
            key=lambda prompt: abs(prompt.length - oldest.length),
        )
        taken: list[Prompt] = []
        for prompt in likes[:most]:
            longest = max(other.length for other in (*taken, prompt))
            if taken and longest * (len(taken) + 1) > most_tokens:
                break
            taken.append(prompt)
        chosen = {id(prompt) for prompt in taken}
        self._ready = [prompt for prompt in self._ready if id(prompt) not in chosen]
        self._read_on()
        return taken, failures

    def _read_on(self) -> None:
        while self._requests is not None and len(self._ready) + len(self._coming) < self._ahead:
            request = next(self._requests, None)
            if request is None:
                self._requests = None
            else:
                self._coming.append(self._pool.submit(self._prompt, request))

    def _fill(self, least: int) -> list[Failure]:
        failures = []
        self._read_on()
        while len(self._ready) < least and self._coming:
            made = self._coming.popleft().result()
            if isinstance(made, Failure):
                failures.append(made)
                self._read_on()
            else:
                self._ready.append(made)
        return failures

    def _prompt(self, request: Request) -> Prompt | Failure:
        if forged := self._forged(request):
            return Failure(
                request.key, "bad_request", f"the prompt's text holds {forged}, which the model takes for a command"
            )
        pictures: dict[int, Picture] = {}
        for image in request.images:
            try:
                pictures[id(image)] = opened(image, self._most_pixels)
            except Exception as error:  # Pillow and loaders raise whatever they meet; it concerns this image alone
                return _failed(request, "image_unusable", f"image {image.digest} cannot be read", error)
        try:
            features = self._features(request, pictures)
        except Exception as error:  # processors raise whatever they meet; it concerns this request alone
            kind: FailureKind = "image_unusable" if pictures else "bad_request"
            return _failed(request, kind, "the model's processor does not take this prompt", error)
        length, context = features["input_ids"].shape[1], self._checkpoint.context
        if length >= context:
            detail = (
                f"the prompt has {length} tokens and the model's context {context}: shorten it, or scale images down"
            )
            return Failure(request.key, "bad_request", detail)
        try:
            matcher = None if request.schema is None else self._matcher(json.dumps(request.schema))
        except ValueError as error:
            return _failed(request, "bad_request", "the schema cannot be forced on an answer", error)
        return Prompt(request, features, length, matcher)

    def _forged(self, request: Request) -> str | None:
        """A control token in the text of a request for a model that would obey it."""
        if self._checkpoint.family not in _NOT_SANITIZED:
            return None
        text = "\n".join(message.text for message in request.messages)
        return next((token for token in self._checkpoint.tokenizer.get_added_vocab() if token in text), None)

    def _features(self, request: Request, pictures: dict[int, Picture]) -> dict[str, torch.Tensor]:
        import torch

        if not hasattr(self._own, "processor"):
            self._own.processor = deepcopy(self._checkpoint.processor)
        turns = [
            {"role": message.role, "content": [
                {"type": "text", "text": part} if isinstance(part, str)
                else {"type": "image", "image": pictures[id(part)]}
                for part in message.parts
            ]} for message in request.messages
        ]  # fmt: skip
        read = self._own.processor.apply_chat_template(
            [turns], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
            sanitize_control_tokens=self._checkpoint.family not in _NOT_SANITIZED,
        )  # fmt: skip
        real = self._checkpoint.model.dtype
        return {
            name: held.to(real) if held.is_floating_point() else held
            for name, held in read.items()
            if isinstance(held, torch.Tensor)
        }

    def _matcher(self, schema: str) -> Any:
        """What a schema allows at the beginning of an answer; a ValueError for a schema that cannot be forced."""
        from llguidance import LLMatcher
        from llguidance.hf import from_tokenizer

        with self._grammar_lock:
            if self._lexicon is None:
                known = self._checkpoint
                self._lexicon = from_tokenizer(known.tokenizer, n_vocab=known.width, eos_token=list(known.ends))
            if schema not in self._grammars:
                grammar = LLMatcher.grammar_from_json_schema(schema, {"whitespace_flexible": False})
                self._grammars[schema] = LLMatcher(self._lexicon, grammar, log_level=0)
            matcher = self._grammars[schema]
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        return matcher


def opened(image: Image, most_pixels: int | None) -> Picture:
    """An image upright, in RGB, and scaled down where it has more pixels than asked."""
    from PIL import Image as Pictures
    from PIL import ImageOps

    with Pictures.open(BytesIO(image.load())) as held:
        picture = ImageOps.exif_transpose(held).convert("RGB")
    if most_pixels is not None and picture.width * picture.height > most_pixels:
        share = (most_pixels / (picture.width * picture.height)) ** 0.5
        size = max(1, int(picture.width * share)), max(1, int(picture.height * share))
        picture = picture.resize(size, Pictures.Resampling.BICUBIC, reducing_gap=3.0)
    return picture


def _failed(request: Request, kind: FailureKind, what: str, error: Exception) -> Failure:
    return Failure(request.key, kind, f"{what}: {type(error).__name__}: {' '.join(str(error).split())}"[:500])


def collate(prompts: list[Prompt], pad: int) -> dict[str, torch.Tensor]:
    """The features of prompts of one kind as one batch: what runs along the tokens is padded on the left, the rest, as
    many rows as there are images or patches, is padded to the largest and put one below the other."""
    import torch
    from torch.nn.functional import pad as padded

    batch = {}
    for name, first in prompts[0].features.items():
        parts = [prompt.features[name] for prompt in prompts]
        if first.shape == prompts[0].features["input_ids"].shape:
            longest = max(part.shape[1] for part in parts)
            fill = pad if name == "input_ids" else 0
            parts = [padded(part, (longest - part.shape[1], 0), value=fill) for part in parts]
        else:
            sizes = [max(part.shape[axis] for part in parts) for axis in range(1, first.dim())]
            parts = [
                padded(part, [bound for size, had in zip(reversed(sizes), reversed(part.shape[1:]), strict=True)
                              for bound in (0, size - had)])
                for part in parts
            ]  # fmt: skip
        batch[name] = torch.cat(parts)
    return batch
