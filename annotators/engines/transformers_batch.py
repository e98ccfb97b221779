"""A batch of answers being written: prompts join it, a step writes one token of each, finished ones leave.

``model.generate`` holds a batch until its longest answer is finished and admits nothing meanwhile, and the continuous
batching of transformers reads no images; so this is an own loop over the model's forward pass. Of a family's ways it
uses what ``generate`` itself calls, which makes it equal to ``generate`` row by row: the tests hold it to that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from annotators.engines.transformers_cache import new_cache
from annotators.engines.transformers_checkpoint import Checkpoint
from annotators.engines.transformers_prompts import Prompt, collate
from annotators.engines.transformers_rows import Allowed, Row, choose

if TYPE_CHECKING:
    import torch

_DEAD_SHARE = 4  # rows are dropped when one in so many has left


class Batch:
    """Rows that a model writes at once. ``rows`` may hold some that have left and await being dropped."""

    def __init__(self, checkpoint: Checkpoint, allowed: Allowed) -> None:
        self._checkpoint = checkpoint
        self._allowed = allowed
        self.clear()

    def clear(self) -> None:
        """Drop everything."""
        self.rows: list[Row] = []
        self.prompts: list[Prompt] = []
        self._cache: Any = None
        self._mask: Any = None  # rows, columns: 1 where a column of the cache is the row's
        self._positions: Any = None  # ..., rows, 1: position of the last token

    @property
    def live(self) -> list[Row]:
        """The rows that have not left."""
        return [row for row in self.rows if not row.left]

    def unanswered(self) -> list[Prompt]:
        """The prompts of the rows that have not left."""
        return [prompt for prompt, row in zip(self.prompts, self.rows, strict=True) if not row.left]

    def drop(self, joining: Batch | None = None) -> None:
        """Forget the rows that have left, of which not all may have, and take in another batch, which is used up."""
        kept = [nth for nth, row in enumerate(self.rows) if not row.left]
        both = [self] if joining is None else [self, joining]
        longest = max(
            int(batch._mask[rows].sum(1).max())
            for batch, rows in zip(both, (kept, range(len(both[-1].rows))), strict=False)
        )
        for nth, layer in enumerate(self._cache.layers):
            layer.keep(kept, longest, None if joining is None else joining._cache.layers[nth])
        self._mask = _stacked([_last(self._mask[kept], longest)] + [_last(b._mask, longest) for b in both[1:]], 0)
        self._positions = _stacked([self._positions[..., kept, :]] + [b._positions for b in both[1:]], -2)
        self.rows = [self.rows[nth] for nth in kept] + [row for other in both[1:] for row in other.rows]
        self.prompts = [self.prompts[nth] for nth in kept] + [prompt for other in both[1:] for prompt in other.prompts]

    def read(self, prompts: list[Prompt]) -> list[Row]:
        """Read prompts and write the first token of each answer, into an empty batch; its rows, see :meth:`step`."""
        import torch

        model, begun = self._checkpoint.model, time.monotonic()
        pad = self._checkpoint.tokenizer.pad_token_id or 0
        features = {name: held.to(model.device, non_blocking=True) for name, held in collate(prompts, pad).items()}
        ids, mask = features.pop("input_ids"), features["attention_mask"]
        positions = model._prepare_position_ids_for_generation(ids, features)
        cache = new_cache()
        with torch.inference_mode():
            inputs = model.prepare_inputs_for_generation(
                ids, past_key_values=cache, position_ids=positions, use_cache=True, is_first_iteration=True,
                logits_to_keep=1, **features,
            )  # fmt: skip
            scores = model(**inputs, return_dict=True).logits[:, -1]
            self.prompts = list(prompts)
            self.rows = [
                Row(prompt.request, prompt.length, self._checkpoint.context - prompt.length,
                    None if prompt.matcher is None else prompt.matcher.deep_copy(), begun)
                for prompt in prompts
            ]  # fmt: skip
            self._cache, self._mask, self._positions = (
                cache,
                mask,
                positions[..., -1:].expand(*positions.shape[:-2], len(ids), 1),
            )
            return self._write(scores, self._allowed.bits(self.rows))

    def step(self) -> list[Row]:
        """Write one token of each answer; the rows that finish with it, or fail (then without ``finish``)."""
        import torch

        if len(self.live) * _DEAD_SHARE <= len(self.rows) * (_DEAD_SHARE - 1):
            self.drop()
        model = self._checkpoint.model
        with torch.inference_mode():
            last = torch.tensor([row.tokens[-1:] or [0] for row in self.rows], device=model.device)
            mask = torch.cat((self._mask, self._mask.new_ones(len(self.rows), 1)), 1)
            positions = self._positions + 1
            scores = model(
                input_ids=last, attention_mask=mask, position_ids=positions, past_key_values=self._cache,
                use_cache=True, logits_to_keep=1, return_dict=True,
            ).logits[:, -1]  # fmt: skip
            self._mask, self._positions = mask, positions
            return self._write(scores, self._allowed.bits(self.rows))

    def _write(self, scores: torch.Tensor, bits: Any) -> list[Row]:
        left = []
        for row, token in zip(self.rows, choose(scores, self.rows, bits), strict=True):
            if row.left:
                continue
            if token is not None:
                row.take(token, self._checkpoint.ends, self._checkpoint.tokenizer)
            if token is None or row.finish is not None:
                row.left = True
                left.append(row)
        return left


def _last(mask: Any, columns: int) -> torch.Tensor:
    """The last columns of a mask, with zeros before them where it has fewer."""
    from torch.nn.functional import pad

    return pad(mask, (columns - mask.shape[1], 0))


def _stacked(parts: list[Any], axis: int) -> torch.Tensor:
    import torch

    return torch.cat(parts, axis)
