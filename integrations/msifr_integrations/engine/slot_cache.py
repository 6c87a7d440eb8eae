"""The slot cache: one row of preallocated keys and values per attempt, each row at its own length.

Per layer two tensors (slots, kv_heads, capacity, width). A decode step writes row r at position `lengths[r]` and
attends to positions 0 … `lengths[r]`; a 4-D additive mask hides the rest. Freeing a slot is forgetting it, filling one
is copying a prompt's keys and values to its start. Nothing is padded on the left, and no row is ever without a visible
key: an empty row sees the one position it writes, and those before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache, DynamicLayer

from msifr_integrations.engine.prefill import Prefix, on
from msifr_integrations.engine.step_graphs import StepGraphs

BUCKET = 32
"""Keys attended to are rounded up to a multiple of this, so that few shapes occur."""


def _bucket(length: int) -> int:
    return -(-length // BUCKET) * BUCKET


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
        """Write (slots, kv_heads, 1, width) at each row's length and return what the step may attend to."""
        del args, kwargs
        rows, positions, shown = self._slots.rows, self._slots.positions, self._slots.shown
        self.keys[rows, :, positions] = key_states[:, :, 0]
        self.values[rows, :, positions] = value_states[:, :, 0]
        return self.keys[:, :, :shown], self.values[:, :, :shown]

    def get_seq_length(self, *args: Any) -> int:
        """Return the number of positions attended to."""
        del args
        return self._slots.shown


class SlotCache:
    """Keys and values of `slots` attempts, made from the first `Prefix` that shows the shapes.

    Capacity doubles when a row outgrows it, up to `max_length`. `layers` hold what is cached.
    """

    def __init__(self, like: Prefix, slots: int, max_length: int) -> None:
        self.max_length = max_length
        self.capacity = min(max_length, 4 * BUCKET)
        self.shown = 0
        self.used = 0  # positions that any row may have written since it was cleared
        device = like.layers[0][0].device
        self.rows = torch.arange(slots, device=device)
        self.positions = torch.zeros(slots, dtype=torch.long, device=device)
        self._columns = torch.arange(max_length, device=device)
        self.layers = [
            _SlotLayer(self, *(t.new_zeros(slots, t.shape[1], self.capacity, t.shape[3]) for t in pair))
            for pair in like.layers
        ]
        self._cache: Any = DynamicCache()
        self._cache.layers = list(self.layers)
        self._graphs: StepGraphs | None = None

    @property
    def captured(self) -> int:
        """The number of CUDA graphs that steps run by."""
        return 0 if self._graphs is None else self._graphs.captured

    def fill(self, slots: Sequence[int], prefix: Prefix, sources: Sequence[int]) -> None:
        """Copy prompt `sources[i]` of `prefix` to the start of row `slots[i]`, and clear the rest of the row.

        What a row held before is hidden by the mask, yet an overflow left there would pass through it (0·∞).
        """
        length = prefix.length
        self.reserve(length)
        self.used = max(self.used, length)
        to, source = (on(self.rows.device, index) for index in (slots, sources))
        for layer, (keys, values) in zip(self.layers, prefix.layers, strict=True):
            for cached, new in ((layer.keys, keys), (layer.values, values)):
                cached[to, :, :length] = new[source]
                cached[to, :, length : self.used] = 0

    def share(self, slots: Sequence[int], sources: Sequence[int], lengths: Sequence[int]) -> None:
        """Begin row `slots[i]` with the first `lengths[i]` positions of row `sources[i]`, and clear the rest of it."""
        to, source, kept = (on(self.rows.device, index) for index in (slots, sources, lengths))
        beyond = (self._columns[: self.used] >= kept[:, None])[:, None, :, None]
        for layer in self.layers:
            for cached in (layer.keys, layer.values):
                cached[to, :, : self.used] = cached[source, :, : self.used].masked_fill_(beyond, 0)

    def reserve(self, length: int) -> None:
        """Grow until rows can hold `length` positions."""
        if length <= self.capacity:
            return
        before, self.capacity = self.capacity, min(self.max_length, max(_bucket(length), 2 * self.capacity))
        self._change(lambda old: pad(old, (0, 0, 0, self.capacity - before)))

    def keep(self, slots: Sequence[int], rows: int) -> None:
        """Become a cache of `rows` rows that begin with the present rows `slots`; the others are empty."""
        index = torch.tensor(slots, device=self.rows.device)
        self._change(lambda old: torch.cat([old[index], old.new_zeros(rows - len(slots), *old.shape[1:])]))
        self.rows = torch.arange(rows, device=self.rows.device)

    def _change(self, function: Callable[[Tensor], Tensor]) -> None:
        if self._graphs is not None:
            self._graphs.forget()
        for layer in self.layers:
            layer.change(function)

    def step(self, model: Any, tokens: Tensor, lengths: Tensor, longest: int) -> Tensor:
        """Feed one token a row; return the next token's logits (slots, vocabulary), good until the next step.

        `model` is always the same; `tokens` and `lengths` are (slots,) on its device; `longest` is the largest length.
        """
        self.reserve(longest + 1)
        self.shown = min(self.capacity, _bucket(longest + 1))
        self.used = max(self.used, self.shown)
        if self._graphs is None:
            self._graphs = StepGraphs(model)
        return self._graphs.step(self.shown, partial(self._forward, model), tokens, lengths)

    def _forward(self, model: Any, tokens: Tensor, lengths: Tensor) -> Tensor:
        self.positions = lengths
        dtype = self.layers[0].keys.dtype
        hidden = self._columns[: self.shown] > lengths[:, None]
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        mask.masked_fill_(hidden, torch.finfo(dtype).min)
        out = model(
            input_ids=tokens[:, None],
            attention_mask=mask[:, None, None],
            position_ids=lengths[:, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = out.logits[:, -1]
        return logits
