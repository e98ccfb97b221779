"""Keys and values of a running batch, from which finished answers leave and which new prompts join.

The cache of transformers copies itself whole for every token and cannot take rows in. This one writes in place into
buffers with room to spare, and copies only when rows come or go. All rows end in the same column; a shorter row begins
later, and the attention mask hides the columns before it. Every column is kept even in layers that look back only some
way, since rows are shifted against each other.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_ROOM = 128  # columns to spare in a new buffer


def new_cache() -> Any:
    """An empty ``transformers.Cache`` whose layers are of :class:`GrowingLayer`."""
    from transformers.cache_utils import Cache

    return Cache(layer_class_to_replicate=_layer_class())


@cache
def _layer_class() -> Any:
    from transformers.cache_utils import DynamicLayer

    return type("GrowingDynamicLayer", (GrowingLayer, DynamicLayer), {})


class GrowingLayer:
    """One layer's keys and values, each ``[rows, heads, columns, size]``."""

    def __init__(self) -> None:
        self.columns = 0
        self.buffers: list[torch.Tensor] = []

    @property
    def is_initialized(self) -> bool:
        """Whether anything was written."""
        return bool(self.buffers)

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the keys and values of further columns; give back all."""
        end = self.columns + keys.shape[-2]
        if not self.buffers:
            self.buffers = [_empty(new, len(new), end + _ROOM) for new in (keys, values)]
        elif end > self.buffers[0].shape[-2]:
            self._rebuild([(self, range(len(keys)))], self.columns, end + _ROOM)
        for buffer, new in zip(self.buffers, (keys, values), strict=True):
            buffer[:, :, self.columns : end] = new
        self.columns = end
        return self.buffers[0][:, :, :end], self.buffers[1][:, :, :end]

    def keep(self, rows: list[int], columns: int, other: GrowingLayer | None = None) -> None:
        """Keep some rows and their last columns, and take in all rows of another layer, which is used up."""
        parts: list[tuple[GrowingLayer, Any]] = [(self, rows)] if rows else []
        if other is not None:
            parts.append((other, range(len(other.buffers[0]))))
        self._rebuild(parts, columns, columns + _ROOM)
        self.columns = columns
        if other is not None:
            other.buffers = []

    def _rebuild(self, parts: list[tuple[GrowingLayer, Any]], columns: int, room: int) -> None:
        n_rows = sum(len(rows) for _, rows in parts)
        for nth in range(2):
            built = _empty(parts[0][0].buffers[nth], n_rows, room)
            begin = 0
            for layer, rows in parts:
                held, taken = layer.buffers[nth], min(columns, layer.columns)
                into = built[begin : begin + len(rows), :, :columns]
                into[:, :, : columns - taken] = 0  # never read, but what is masked must still be a number
                into[:, :, columns - taken :] = held[list(rows), :, layer.columns - taken : layer.columns]
                begin += len(rows)
            if not self.buffers:
                self.buffers = [built, built]
            self.buffers[nth] = built

    def get_seq_length(self) -> int:
        """Columns written."""
        return self.columns

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that a query of this length sees, and the first of them."""
        return self.columns + query_length, 0


def _empty(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return like.new_empty((rows, like.shape[1], columns, like.shape[3]))
