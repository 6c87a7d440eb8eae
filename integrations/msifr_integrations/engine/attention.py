"""Attention for one query token a row with grouped key-value heads, without copying keys and values.

With a mask, transformers before 5.23 copies keys and values once per group and layer for each token. On an H100 the
copy is what costs: a step of a Llama of 8 billion weights in bfloat16, 128 rows of up to 512 keys, takes 61 ms with it,
and 19 ms without. Two ways need none: cuDNN knows groups itself, where it is there; elsewhere `groups` queries of one
key-value head take the place of the heads, measured equal to transformers' own to 1e-6 on a CPU. One layer of that step
takes 0.096 ms the first way and 0.120 ms the second.

A third way is a kernel of our own (`decode_kernel`), which reads each row's own keys only: for rows of 32 to 512 keys
that layer takes 0.057 ms, of which reading the keys takes 0.047. In float32 the tokens are the same with and without.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_cudnn_attention
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from msifr_integrations.engine.base import in_short
from msifr_integrations.engine.masks import layer_kinds

NAME = "msifr_grouped"

KERNEL = True
"""Whether the kernel of our own is used on CUDA, where Triton is installed and its numbers are right."""

_OTHERS = ("softcap", "s_aux", "position_bias")
"""What some models add to attention, and is left to transformers."""

_LENGTHS: ContextVar[Tensor | None] = ContextVar("lengths", default=None)
_STARTS: ContextVar[Tensor | None] = ContextVar("starts", default=None)


def grouped_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend: query (rows, heads, queries, width), key and value (rows, kv_heads, keys, width).

    Returns (rows, queries, heads, width). A decode step with a mask (rows, 1, 1, keys) is done here, everything else is
    left to transformers' `sdpa`.
    """
    rows, heads, queries, width = query.shape
    kv_heads = key.shape[1]
    known = all(options.get(name) is None for name in _OTHERS)
    if known and value.shape[-1] == width:
        scale = width**-0.5 if scaling is None else scaling
        if queries == 1 and (lengths := _LENGTHS.get()) is not None:
            from msifr_integrations.engine.decode_kernel import attend  # Triton is on GPU machines only

            return attend(query, key, value, lengths, scale).reshape(rows, 1, heads, width), None
        if rows == 1 and queries > 1 and (starts := _STARTS.get()) is not None:
            from msifr_integrations.engine.pack_kernel import attend_pack

            return attend_pack(query, key, value, starts, scale), None
    if queries != 1 or not known or heads == kv_heads or attention_mask is None or attention_mask.shape[1] != 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    if knows_groups(query, key, value, attention_mask):
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            out = scaled_dot_product_attention(
                query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
            )
    else:
        grouped = query.view(rows, kv_heads, heads // kv_heads, width)
        out = scaled_dot_product_attention(grouped, key, value, attn_mask=attention_mask, scale=scaling)
    return out.reshape(rows, 1, heads, value.shape[-1]), None


def knows_groups(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> bool:
    """Return whether cuDNN can do it with grouped heads: not in float32, and not everywhere."""
    return query.is_cuda and can_use_cudnn_attention(SDPAParams(query, key, value, mask, 0.0, False, True))


@contextmanager
def by_kernel(lengths: Tensor) -> Iterator[None]:
    """Have decode steps in the block done by the kernel: row r sees its first `lengths[r]` + 1 keys."""
    token = _LENGTHS.set(lengths)
    try:
        yield
    finally:
        _LENGTHS.reset(token)


@contextmanager
def in_packs(starts: Tensor) -> Iterator[None]:
    """Have one row of several tokens in the block done by the kernel for packs: token i sees `starts[i]` … i."""
    token = _STARTS.set(starts)
    try:
        yield
    finally:
        _STARTS.reset(token)


def register(model: Any) -> str:
    """Let `model` use this attention if it uses `sdpa` and gains by it; return what it used before."""
    before: str = model.config._attn_implementation
    config = model.config.get_text_config()
    heads, kv_heads = (getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads"))
    gains = heads != kv_heads or (KERNEL and model.device.type == "cuda")
    if before == "sdpa" and kv_heads is not None and gains:
        AttentionInterface.register(NAME, grouped_attention)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)
    return before


def kernel_serves(model: Any) -> bool:
    """Return whether the steps of a registered model go by the kernel; say so if they should, and cannot."""
    if not (KERNEL and model.device.type == "cuda" and model.config._attn_implementation == NAME):
        return False
    config = model.config.get_text_config()
    if any(layer_kinds(config).values()):  # the kernel shows every layer all keys
        return False
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    try:
        off = kernel_off(heads, kv_heads, width, next(model.parameters()).dtype, model.device)
    except Exception as error:  # Triton is not there, or has no compiler, or does not know the card
        off, why = float("nan"), in_short(error)
    else:
        why = f"its numbers are off by {off:.1e}"
    if off <= (2e-2 if next(model.parameters()).dtype in (torch.float16, torch.bfloat16) else 1e-4):
        return True
    warnings.warn(f"attention goes the plain way, not by the kernel: {why}", RuntimeWarning, stacklevel=2)
    return False


def kernel_off(heads: int, kv_heads: int, width: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return how far the kernels are from attention in float64, as a share of the largest number, on random numbers."""
    from msifr_integrations.engine.decode_kernel import attend
    from msifr_integrations.engine.pack_kernel import BLOCK, attend_pack

    draws, rows, keys = torch.Generator().manual_seed(0), 5, 200
    query = torch.randn(rows, heads, 1, width, generator=draws)
    key, value = torch.randn(2, rows, kv_heads, 2 * keys, width, generator=draws)[:, :, :, :keys]
    lengths = torch.tensor([0, 1, 62, 63, keys - 1])
    seen = (torch.arange(keys) <= lengths[:, None])[:, None, None]
    query, key, value = (tensor.to(device, dtype) for tensor in (query, key, value))
    q, k, v = (tensor.double().cpu() for tensor in (query, key, value))
    exact = scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
    got = attend(query, key, value, lengths.to(device), width**-0.5).double().cpu()
    off = (got - exact).abs().max() / exact.abs().max()

    tokens = 4 * BLOCK
    query, key, value = (
        torch.randn(1, tokens, count, width, generator=draws).to(device, dtype).transpose(1, 2)
        for count in (heads, kv_heads, kv_heads)
    )
    starts = torch.tensor([0] * 5 + [5] * 100 + [105] * 1 + [106] * (tokens - 106))
    seen = (starts[:, None] == starts).tril()
    q, k, v = (tensor.double().cpu() for tensor in (query, key, value))
    exact = scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True).transpose(1, 2)
    got = attend_pack(query, key, value, starts.to(device), width**-0.5).double().cpu()
    return float(max(off, (got - exact).abs().max() / exact.abs().max()))
