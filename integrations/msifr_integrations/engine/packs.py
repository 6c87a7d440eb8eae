"""Prompts computed in packs: one sequence of a fixed number of tokens, straight into the rows of the cache, by a graph.

A pass of padded prompts launches a thousand kernels for every shape that comes up: a GPU waits for the host, and then
computes padding. A pack holds prompts of any lengths end to end, of which each sees its own tokens only, and comes in
few sizes, so that it is one launch and hardly any padding. For models whose steps attend by the kernel, on CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from msifr_integrations.engine.attention import in_packs
from msifr_integrations.engine.prefill import Prompt, on
from msifr_integrations.engine.slot_cache import SlotCache
from msifr_integrations.engine.step_graphs import StepGraphs

SIZES = (256, 512, 1024)
"""Tokens of a pack: at the largest, arithmetic takes the time, and attention to other prompts' keys little of it."""

_IDS, _POSITIONS, _STARTS, _ROWS = range(4)


def pack(lengths: Sequence[int], room: int = SIZES[-1]) -> list[list[int]]:
    """Return packs of prompts, by their places in `lengths`: each prompt goes, the longest first, where there is room.

    No prompt is longer than `room`, in tokens.
    """
    packs: list[list[int]] = []
    left: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        at = next((at for at, tokens in enumerate(left) if tokens >= lengths[place]), len(packs))
        if at == len(packs):
            packs.append([])
            left.append(room)
        packs[at].append(place)
        left[at] -= lengths[place]
    return packs


def sequence(prompts: Mapping[int, Prompt], spare: int, size: int) -> list[list[int]]:
    """Return what a pack of `size` tokens is fed, four rows of numbers: ids, positions, prompts' starts, cache rows.

    prompts: by the row that each goes to, none empty. What is left over is nobody's prompt and goes to the row `spare`.
    """
    columns: list[tuple[int, int, int, int]] = []
    for row, prompt in prompts.items():
        start = len(columns)
        columns += [(token, at, start, row) for at, token in enumerate(prompt)]
    columns += [(0, 0, len(columns), spare)] * (size - len(columns))
    return [list(numbers) for numbers in zip(*columns, strict=True)]


class _PackLayer(DynamicLayer):
    """Writes keys and values of a pack into their rows, and lets the pack attend to itself."""

    def __init__(self, packs: Packs, number: int) -> None:
        super().__init__()
        self._packs, self._number = packs, number
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write (1, kv_heads, tokens, width) each, and return them."""
        from msifr_integrations.engine.fused_kernels import store  # Triton is on GPU machines only

        del args, kwargs
        layer, fed = self._packs.cache.layers[self._number], self._packs.fed
        key, value = (states[0].transpose(0, 1) for states in (key_states, value_states))
        store(key, value, layer.keys, layer.values, fed[_ROWS], fed[_POSITIONS])
        return key_states, value_states

    def get_seq_length(self, *args: Any) -> int:
        """Return that nothing comes before."""
        del args
        return 0


class Packs:
    """Computes prompts into rows of `cache`, which has one to spare: what fills up a pack goes there."""

    def __init__(self, model: Any, cache: SlotCache, graphs: StepGraphs) -> None:
        self.cache = cache
        self._model, self._graphs = model, graphs
        self._on_device = torch.zeros(4, SIZES[-1], dtype=torch.long, device=cache.index.device)
        self.fed = self._on_device
        self._cache: Any = DynamicCache()
        self._cache.layers = [_PackLayer(self, number) for number in range(len(cache.layers))]

    def fill(self, prompts: Mapping[int, Prompt]) -> None:
        """Compute prompts, by the row that each goes to; none is longer than the largest size. There must be room."""
        rows = list(prompts)
        for places in pack([len(prompts[row]) for row in rows]):
            packed = {rows[place]: prompts[rows[place]] for place in places}
            tokens = sum(map(len, packed.values()))
            self.cache.used = max(self.cache.used, *map(len, packed.values()))
            size = next(size for size in SIZES if size >= tokens)
            self.fed = self._on_device[:, :size]
            self.fed.copy_(on(self.fed.device, sequence(packed, self.cache.rows, size)), non_blocking=True)
            self._graphs.step(("pack", size), self._forward(size), lambda logits: logits)

    def _forward(self, size: int) -> Callable[[], Tensor]:
        fed, dtype = self._on_device[:, :size], self.cache.layers[0].keys.dtype

        def forward() -> Tensor:
            starts = fed[_STARTS]
            seen = (starts[:, None] == starts[None, :]).tril()
            mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
            mask.masked_fill_(~seen, torch.finfo(dtype).min)
            with in_packs(starts):
                out = self._model(
                    input_ids=fed[_IDS][None],
                    attention_mask=mask[None, None],
                    position_ids=fed[_POSITIONS][None],
                    past_key_values=self._cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
            logits: Tensor = out.logits[:, -1]
            return logits

        return forward
