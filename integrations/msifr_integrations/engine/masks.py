"""What each row of a decode step sees, by the kinds of attention that a model's layers have.

A row of length n writes position n and sees positions up to it: all of them where attention is full, the last `window`
where it slides, those of its own chunk where it is chunked. Keys that no window shows any more are kept nonetheless, so
that rows can be shared, moved and cleared alike in all layers; what is kept takes the memory of full attention.

Transformers leaves a mask of four dimensions alone, and takes one for each kind of layer, by its name, wherever the
configuration names kinds in `layer_types`; otherwise one for all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_SIZES = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
"""Kinds of layers that see less than all, and where a configuration says how much."""


def layer_kinds(config: Any) -> dict[str, int]:
    """Return how many positions layers of each kind see at most, 0 for all; config: of the text model."""
    named = getattr(config, "layer_types", None)
    if named is None:
        limited = [kind for kind, size in _SIZES.items() if getattr(config, size, None) is not None]
        named = limited[:1] or ["full_attention"]
    sizes = {kind: getattr(config, _SIZES[kind], None) if kind in _SIZES else None for kind in named}
    return {kind: size or 0 for kind, size in sizes.items()}


def first_seen(kind: str, size: int, lengths: Tensor) -> Tensor:
    """Return the first position that a layer of this kind sees in rows that write at `lengths`: (rows,)."""
    if kind == "sliding_attention":
        return lengths - (size - 1)
    return lengths - lengths % size


def step_masks(config: Any, columns: Tensor, lengths: Tensor, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
    """Return what is to be added to the scores of a decode step, as the model takes it: (rows, 1, 1, keys) each.

    columns: the positions of keys, (keys,). lengths: the position that each row writes, (rows,).
    """
    beyond = columns > lengths[:, None]
    masks = {}
    for kind, size in layer_kinds(config).items():
        hidden = beyond | (columns < first_seen(kind, size, lengths)[:, None]) if size else beyond
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
        masks[kind] = mask.masked_fill_(hidden, torch.finfo(dtype).min)[:, None, None]
    by_kind = getattr(config, "layer_types", None) is not None and any(layer_kinds(config).values())
    return masks if by_kind else next(iter(masks.values()))


@contextmanager
def shortest_windows(config: Any) -> Iterator[None]:
    """Let layers that see less than all see two positions while the block runs, so that short prompts show it."""
    before = {name: getattr(config, name, None) for name in _SIZES.values()}
    limited = {name: size for name, size in before.items() if size is not None}
    for name in limited:
        setattr(config, name, 2)
    try:
        yield
    finally:
        for name, size in limited.items():
            setattr(config, name, size)
