"""What the kernels for CUDA are to give, in plain torch, and modules of it to stand in their places on a CPU."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

_PLACE = "msifr_integrations.engine."


def attend(query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, scale: float) -> Tensor:
    """Keys beyond a row's own are not read, so that they may be anything."""
    assert lengths.is_contiguous()
    assert all(tensor.stride(-1) == 1 for tensor in (query, key, value))
    out = []
    for row, length in enumerate(lengths.tolist()):
        own = (tensor[row : row + 1, :, : length + 1] for tensor in (key, value))
        out.append(scaled_dot_product_attention(query[row : row + 1], *own, scale=scale, enable_gqa=True))
    return torch.cat(out)


def attend_pack(query: Tensor, key: Tensor, value: Tensor, starts: Tensor, scale: float) -> Tensor:
    assert starts.is_contiguous()
    assert all(tensor.stride(-1) == 1 for tensor in (query, key, value))
    seen = (starts[:, None] == starts).tril()
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale, enable_gqa=True).transpose(1, 2)


def rms_norm(x: Tensor, weight: Tensor, eps: float, plus: float) -> Tensor:
    wide = x.float()
    return (wide * (wide.pow(2).mean(-1, keepdim=True) + eps).rsqrt() * (weight.float() + plus)).to(x.dtype)


def silu_mul(both: Tensor) -> Tensor:
    assert both.is_contiguous()
    gate, up = both.float().chunk(2, -1)
    return (silu(gate) * up).to(both.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    assert x.stride(-1) == 1
    assert cos.is_contiguous()
    assert sin.is_contiguous()
    first, second = x.float().chunk(2, -1)
    cos, sin = cos.float()[:, None], sin.float()[:, None]
    return (torch.cat([first, second], -1) * cos + torch.cat([-second, first], -1) * sin).to(x.dtype)


def store(key: Tensor, value: Tensor, keys: Tensor, values: Tensor, rows: Tensor, positions: Tensor) -> None:
    assert keys.stride() == values.stride()
    assert all(tensor.stride(-1) == 1 for tensor in (key, value, keys))
    assert rows.is_contiguous()
    assert positions.is_contiguous()
    keys[rows, :, positions], values[rows, :, positions] = key, value


def stand_in(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Put modules in the kernels' places, which need no Triton; return them, `decode_kernel` and `fused_kernels`."""
    modules: dict[str, Any] = {
        "decode_kernel": [attend],
        "pack_kernel": [attend_pack],
        "fused_kernels": [rms_norm, silu_mul, rotate, store],
    }
    for name, functions in modules.items():
        module = modules[name] = types.ModuleType(name)
        for function in functions:
            setattr(module, function.__name__, function)
        module.BLOCK = 64  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, _PLACE + name, module)
    return types.SimpleNamespace(**modules, monkeypatch=monkeypatch)
