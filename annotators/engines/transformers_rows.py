"""The answer that is being written to one request, and the choice of the next token for a batch of them.

A token is drawn by one uniform number per request and token, from a stream that the request's key seeds (the key
includes its seed): what is drawn depends on other rows of a batch only through the last digits of the model's scores.
The number is looked up in the cumulated probabilities in the order of the vocabulary, which small changes of the scores
hardly move. A JSON schema rules tokens out before the draw, so an answer is of its schema at every temperature.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Literal

from annotators.engines.protocol import Request

if TYPE_CHECKING:
    import torch

Finish = Literal["stop", "length"]


class Row:
    """One answer. ``room``: tokens left to it in the context. ``matcher``: what its schema still allows, None for free
    text. ``begun``: when its prompt was read, on the monotonic clock."""

    def __init__(self, request: Request, prompt_tokens: int, room: int, matcher: Any, begun: float) -> None:
        self.request = request
        self.prompt_tokens = prompt_tokens
        self.limit = min(request.sampling.max_tokens, room)
        self.matcher = matcher
        self.begun = begun
        self.tokens: list[int] = []
        self.text = ""
        self.finish: Finish | None = None
        self.left = False  # has left the batch: answered, or failed
        self._chance = Random(request.key)

    def uniform(self) -> float:
        """The number from [0, 1) that draws the next token; a greedy request draws none."""
        return self._chance.random() if self.request.sampling.temperature > 0 else 0.0

    def take(self, token: int, ends: tuple[int, ...], tokenizer: Any) -> None:
        """Append a token; see if it ends the answer: an end token, its schema, a stop string, its limit."""
        self.tokens.append(token)
        if token in ends:
            self.finish = "stop"
            self.text = _text(tokenizer, self.tokens[:-1])
            return
        if self.matcher is not None and (not self.matcher.consume_token(token) or self.matcher.is_stopped()):
            self.finish = "stop"
        stopped = self._stopped(tokenizer)
        if stopped is not None:
            self.finish, self.text = "stop", stopped
            return
        if self.finish is None and len(self.tokens) == self.limit:
            self.finish = "length"
        if self.finish is not None:
            self.text = _text(tokenizer, self.tokens)

    def _stopped(self, tokenizer: Any) -> str | None:
        """The text up to the first stop string, when there is one."""
        stops = [stop for stop in self.request.sampling.stop if stop]
        if not stops:
            return None
        tail = _text(
            tokenizer, self.tokens[-(max(len(stop.encode()) for stop in stops) + 4) :]
        )  # a byte a token at worst
        if not any(stop in tail for stop in stops):
            return None
        text = _text(tokenizer, self.tokens)
        places = [text.find(stop) for stop in stops if stop in text]
        return text[: min(places)] if places else None


def _text(tokenizer: Any, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class Allowed:
    """Which tokens the schemas of a batch allow, computed by several threads while the model computes scores."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._executor: Any = None

    def bits(self, rows: list[Row]) -> Any:
        """A bit per row and token, ``[rows, width / 32]`` as int32; None when no row has a schema."""
        ruled = [(row.matcher, nth) for nth, row in enumerate(rows) if row.matcher is not None and not row.left]
        if not ruled:
            return None
        import llguidance.numpy
        from llguidance import LLExecutor

        if self._executor is None:
            self._executor = LLExecutor()
        bits = llguidance.numpy.allocate_token_bitmask(len(rows), self._width)
        llguidance.numpy.fill_next_token_bitmask_par(self._executor, ruled, bits)
        return bits


def choose(scores: torch.Tensor, rows: list[Row], bits: Any) -> list[int | None]:
    """The next token of every row; None where the scores (``[rows, tokens]``) are not numbers."""
    import torch

    scores = scores.float()
    best, greedy = scores.max(-1)  # a NaN anywhere is the maximum
    finite = torch.isfinite(best)
    if bits is not None:
        scores = scores.masked_fill(~_unpacked(torch.from_numpy(bits).to(scores.device), scores.shape[-1]), -torch.inf)
        greedy = scores.argmax(-1)
    chosen = _drawn(scores, rows, greedy) if any(row.request.sampling.temperature > 0 for row in rows) else greedy
    tokens, sound = torch.stack((chosen, finite.long())).tolist()  # the one wait for the device in a step
    return [token if fine else None for token, fine in zip(tokens, sound, strict=True)]


def _unpacked(bits: torch.Tensor, width: int) -> torch.Tensor:
    import torch

    shifts = torch.arange(32, dtype=torch.int32, device=bits.device)
    return ((bits.unsqueeze(-1) >> shifts) & 1).flatten(1)[:, :width].bool()


def _drawn(scores: torch.Tensor, rows: list[Row], greedy: torch.Tensor) -> torch.Tensor:
    import torch

    samplings = [row.request.sampling for row in rows]
    heat, mass, uniform = torch.tensor(
        [[sampling.temperature or 1.0 for sampling in samplings], [sampling.top_p for sampling in samplings],
         [row.uniform() for row in rows]], device=scores.device,
    ).unsqueeze(-1)  # fmt: skip
    likely = torch.softmax(scores / heat, -1)
    if any(sampling.top_p < 1 for sampling in samplings):
        falling = likely.sort(-1, descending=True).values
        inside = (falling.cumsum(-1) - falling < mass).sum(-1, keepdim=True).clamp(min=1)
        likely = likely.masked_fill(likely < falling.gather(-1, inside - 1), 0.0)
    below = likely.cumsum(-1)
    drawn = torch.searchsorted(below, uniform * below[:, -1:], right=True).clamp(max=scores.shape[-1] - 1)
    sound = likely.gather(-1, drawn) > 0  # rounding of the sums can point beside the last token that is possible
    cold = torch.tensor([sampling.temperature <= 0 for sampling in samplings], device=scores.device)
    return torch.where(sound.squeeze(-1) & ~cold, drawn.squeeze(-1), greedy)
