"""The slot cache: one row of preallocated keys and values per attempt, each row at its own length.

Per layer two tensors (slots, kv_heads, capacity, width). A decode step computes the first rows, as many as it is given:
it writes row r at position `lengths[r]` and attends to positions 0 … `lengths[r]`; a 4-D additive mask hides the rest.
Freeing a slot is forgetting it, filling one is copying a prompt's keys and values to its start. Nothing is padded on
the left, and no row is ever without a visible key: an empty row sees the one position it writes, and those before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from msifr_integrations.engine.attention import by_kernel
from msifr_integrations.engine.masks import step_masks
from msifr_integrations.engine.prefill import Prefix, on

BUCKET = 32
"""Keys attended to are rounded up to a multiple of this."""

BLOCK = 4 * BUCKET
"""Positions by which a row grows: all are copied then, once in so many steps that read all."""


def rounded(length: int, *, coarse: bool = False) -> int:
    """Return how many keys to show where `length` are needed.

    coarse: so that few shapes occur, in multiples of 64 at least and of an eighth of the next power of two: eight
    numbers up to 512, and four for each doubling beyond.
    """
    unit = max(2 * BUCKET, 1 << (length - 1).bit_length() >> 3) if coarse else BUCKET
    return -(-length // unit) * unit


class _SlotLayer(DynamicLayer):
    """One layer's keys and values of all slots; `SlotCache` says where to write and how much to show."""

    keys: Tensor
    values: Tensor

    def __init__(self, slots: SlotCache, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._slots = slots
        self.keys, self.values = keys, values
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def change(self, function: Callable[[Tensor], Tensor]) -> None:
        """Replace keys and values by a function of them."""
        self.keys, self.values = function(self.keys), function(self.values)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write (rows, kv_heads, 1, width) at each row's length and return what the step may attend to."""
        del args, kwargs
        at, rows, shown = self._slots, len(key_states), self._slots.shown
        if at.kernel:
            from msifr_integrations.engine.fused_kernels import store  # Triton is on GPU machines only

            new = key_states[:, :, 0], value_states[:, :, 0]
            store(*new, self.keys, self.values, at.index[:rows], at.positions)
        else:
            self.keys[at.index[:rows], :, at.positions] = key_states[:, :, 0]
            self.values[at.index[:rows], :, at.positions] = value_states[:, :, 0]
        return self.keys[:rows, :, :shown], self.values[:rows, :, :shown]

    def get_seq_length(self, *args: Any) -> int:
        """Return the number of positions attended to."""
        del args
        return self._slots.shown


class SlotCache:
    """Keys and values of `slots` attempts, made from the first `Prefix` that shows the shapes.

    It begins with room for `expected` positions, or a few more. Capacity grows by a block when a row outgrows it, up
    to `limit`, which is `max_length` unless another is set. `layers` hold what is cached; they stay where they are but
    for `reserve` and `resize`. coarse: see `rounded`.
    kernel: whether steps attend by the kernel of `attention`, which takes no notice of the mask and of what is shown.
    spare: whether there is one more row, the last, for what belongs to nobody.
    """

    def __init__(
        self,
        like: Prefix,
        slots: int,
        max_length: int,
        *,
        expected: int = 0,
        limit: int | None = None,
        coarse: bool = False,
        kernel: bool = False,
        spare: bool = False,
    ) -> None:
        self.max_length = max_length
        self.limit = max_length if limit is None else min(limit, max_length)
        self.capacity = min(self.limit, max(BLOCK, rounded(expected)))
        self.shown = 0
        self.used = 0  # positions that any row may have written since it was cleared
        self._coarse, self.kernel, self._spare = coarse, kernel, spare
        device = like.layers[0][0].device
        self.index = torch.arange(slots + spare, device=device)
        self.positions = torch.zeros(slots, dtype=torch.long, device=device)
        self._columns = torch.arange(max_length, device=device)
        self.layers = [
            _SlotLayer(self, *(t.new_zeros(slots + spare, t.shape[1], self.capacity, t.shape[3]) for t in pair))
            for pair in like.layers
        ]
        self._cache: Any = DynamicCache()
        self._cache.layers = list(self.layers)

    def fill(self, slots: Sequence[int], prefix: Prefix, sources: Sequence[int]) -> None:
        """Copy prompt `sources[i]` of `prefix` to the start of row `slots[i]`, and clear the rest of the row.

        What a row held before is hidden by the mask, yet an overflow left there would pass through it (0·∞). There must
        be room (`reserve`).
        """
        length = prefix.length
        self.used = max(self.used, length)
        to, source = (on(self.index.device, index) for index in (slots, sources))
        for layer, (keys, values) in zip(self.layers, prefix.layers, strict=True):
            for cached, new in ((layer.keys, keys), (layer.values, values)):
                cached[to, :, :length] = new[source]
                cached[to, :, length : self.used] = 0

    def share(self, slots: Sequence[int], sources: Sequence[int], lengths: Sequence[int]) -> None:
        """Begin row `slots[i]` with the first `lengths[i]` positions of row `sources[i]`, and clear the rest of it."""
        to, source, kept = (on(self.index.device, index) for index in (slots, sources, lengths))
        beyond = (self._columns[: self.used] >= kept[:, None])[:, None, :, None]
        for layer in self.layers:
            for cached in (layer.keys, layer.values):
                cached[to, :, : self.used] = cached[source, :, : self.used].masked_fill_(beyond, 0)

    def reserve(self, length: int) -> bool:
        """Grow until rows can hold `length` positions; return whether the layers have moved for it."""
        if length <= self.capacity:
            return False
        limit = min(self.max_length, max(self.limit, length))
        self.resize(self.rows, min(limit, max(rounded(length), self.capacity + BLOCK)))
        return True

    @property
    def rows(self) -> int:
        """The number of rows for attempts."""
        return len(self.index) - self._spare

    def resize(self, rows: int, capacity: int) -> None:
        """Have so many rows of so many positions; what there is no room for is gone. One layer at a time is copied."""
        kept, length = min(rows, self.rows), min(capacity, self.capacity)

        def resized(old: Tensor) -> Tensor:
            new = old.new_zeros(rows + self._spare, old.shape[1], capacity, old.shape[3])
            new[:kept, :, :length] = old[:kept, :, :length]
            return new

        for layer in self.layers:
            layer.change(resized)
        self.index = torch.arange(rows + self._spare, device=self.index.device)
        self.capacity, self.used = capacity, min(self.used, capacity)

    def show(self, longest: int) -> None:
        """Let steps attend to as many positions as a row of length `longest` needs that writes one more."""
        self.shown = self.capacity if self.kernel else min(self.capacity, rounded(longest + 1, coarse=self._coarse))
        self.used = max(self.used, longest + 1)

    def forward(self, model: Any, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Feed one token to each of the first rows; return the next token's logits (rows, vocabulary).

        tokens, lengths: (rows,), on the model's device; nothing is longer than what is shown.
        """
        self.positions = lengths = lengths.contiguous()
        dtype, config = self.layers[0].keys.dtype, model.config.get_text_config()
        masks = step_masks(config, self._columns[: self.shown], lengths, dtype)
        with by_kernel(lengths) if self.kernel else nullcontext():
            out = model(
                input_ids=tokens[:, None],
                attention_mask=masks,
                position_ids=lengths[:, None],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: Tensor = out.logits[:, -1]
        return logits
