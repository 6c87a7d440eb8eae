"""Prompts computed at once: their keys and values, in passes of prompts of similar length.

A pass pads its prompts to the longest, and padding costs what tokens cost: prompts of 60 and of 250 tokens in one pass
make two thirds of it padding. So prompts go by length, and a pass ends where padding would cost more than another pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

WASTE = 512
"""Tokens of padding that cost about as much as one pass more, which reads all weights and launches all kernels."""

MOST = 16_384
"""Tokens of a pass at most, padding included, so that what it needs beside its result stays small."""

Prompt = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values per layer, each (prompts, kv_heads, length, width), padded on the right."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def length(self) -> int:
        """The length of the longest prompt, in tokens."""
        return int(self.layers[0][0].shape[2])


def passes(prompts: Sequence[Prompt]) -> Iterator[list[Prompt]]:
    """Yield the prompts in passes, the longest first: at most `WASTE` tokens of padding and `MOST` tokens in each.

    A prompt longer than `MOST` has a pass of its own.
    """
    group: list[Prompt] = []
    padding = 0
    for prompt in sorted(prompts, key=len, reverse=True):
        width = len(group[0]) if group else len(prompt)
        padding += width - len(prompt)
        if group and (padding > WASTE or width * (len(group) + 1) > MOST):
            yield group
            group, padding = [], 0
        group.append(prompt)
    if group:
        yield group


def on(device: torch.device, values: Sequence[Any]) -> Tensor:
    """Return integers as a tensor on `device`; a GPU is not waited for."""
    tensor = torch.tensor(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def prefill(model: Any, prompts: Sequence[Sequence[int]]) -> Prefix:
    """Return keys and values of `prompts` (token ids, not all empty), computed in one pass.

    Prompts are padded on the right: under plain causal attention no real token sees the padding, so there is no mask,
    and what the padding leaves behind is overwritten before it can be seen.
    """
    width = max(map(len, prompts))
    ids = on(model.device, [[*prompt, *[0] * (width - len(prompt))] for prompt in prompts])
    cache: Any = DynamicCache()  # of plain layers: a window hides keys, it does not drop them
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return Prefix(tuple((layer.keys, layer.values) for layer in cache.layers))
