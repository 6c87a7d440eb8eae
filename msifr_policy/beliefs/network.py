"""Learned beliefs: one small network over all evidence columns gives posterior and cost to go at every checkpoint.

With g(x) = sign(x)·log(1 + |x|) of the evidence x, z = (g(x) − centre)/scale (0 where x is not known) and u = 1 where x
is not known,

    h = gelu(z W_z + u W_u + b + s_k),   h' = gelu(h W_h + b_h),
    M_k = 1/(1 + exp(−(h'·w_M + b_M))),   r_k = exp(h'·w_r + b_r)

with s_k an offset per checkpoint (the last for all beyond). Several networks stand side by side, and what is inside the
two outer functions is averaged over them. Only evaluation lives here, plain numpy in float64, so that
a policy runs without the library it was learned with.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from scipy.special import erf, expit

from msifr_policy.beliefs.linear import LARGEST_COST, Positive, signed_log1p
from msifr_policy.errors import InputError
from msifr_policy.weights import recall

__all__ = ["NetworkCostToGo", "NetworkPosterior"]

Array = NDArray[np.float64]

# Fixed numbers of rows at a time: BLAS chooses its kernel by shape, so one row must not differ from the same row among
# many. Rows are padded to whole blocks.
_BLOCK = 32


Weights = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class NetworkPosterior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """M_k by a learned network over evidence `columns` (D names); `weights` is the SHA-256 of its safetensors file.

    The file holds, for N networks of width H, float32 "beliefs.centre", "beliefs.scale" `[D]`, "beliefs.known",
    "beliefs.unknown" `[D, N·H]` (W_z, W_u), "beliefs.bias" `[N·H]`, "beliefs.checkpoint" `[K, N·H]` (s_k),
    "beliefs.hidden" `[N, H, H]`, "beliefs.hidden_bias" `[N, H]`, "beliefs.out" `[N, H, 2]` (w_M, w_r) and
    "beliefs.out_bias" `[2]`, the mean.
    """

    columns: tuple[str, ...]
    weights: Weights

    def predict(self, k: NDArray[np.int64], values: Array) -> Array:
        """Return `[R]` M_k in [0, 1] for checkpoints `k` `[R]` and evidence `values` `[R, D]`.

        Raises `InputError` if the weights are not known or do not fit the columns.
        """
        return self.predict_with_cost(k, values)[0]

    def predict_with_cost(self, k: NDArray[np.int64], values: Array) -> tuple[Array, Array]:
        """Return (M_k, r_k), `[R]` each, of one pass through the network; r_k as `NetworkCostToGo.predict` does."""
        outputs = _outputs(_layers(self.weights, len(self.columns)), k, values)
        return expit(outputs[:, 0]), _cost_to_go(outputs)

    def contributions(self, k: NDArray[np.int64], values: Array, owner: NDArray[np.int64]) -> Array:
        """Return `[R, V]` what each of V groups of columns adds to the log-odds, against being unknown; owner `[D]`."""
        return _contributions(_layers(self.weights, len(self.columns)), k, values, owner, 0)


class NetworkCostToGo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="network", tag_field="kind"):
    """r_k by the network of the posterior, in units of cost, between 1 and 10⁹.

    `cost_per_accepted` is ρ, the cost per accepted sample without a policy, by which it becomes a worth index.
    """

    columns: tuple[str, ...]
    weights: Weights
    cost_per_accepted: Positive

    def predict(self, k: NDArray[np.int64], values: Array) -> Array:
        """Return `[R]` r_k in units of cost for checkpoints `k` `[R]` and evidence `values` `[R, D]`.

        Raises `InputError` if the weights are not known or do not fit the columns.
        """
        return _cost_to_go(_outputs(_layers(self.weights, len(self.columns)), k, values))

    def contributions(self, k: NDArray[np.int64], values: Array, owner: NDArray[np.int64]) -> Array:
        """Return `[R, V]` what each of V groups of columns adds to log r, against being unknown; owner `[D]`."""
        return _contributions(_layers(self.weights, len(self.columns)), k, values, owner, 1)


def _cost_to_go(outputs: Array) -> Array:
    result: Array = np.exp(np.clip(outputs[:, 1], 0.0, np.log(LARGEST_COST)))
    return result


class _Layers(NamedTuple):
    centre: Array
    scale: Array
    known: Array
    unknown: Array
    bias: Array
    checkpoint: Array
    hidden: Array
    hidden_bias: Array
    out: Array
    out_bias: Array


@lru_cache(8)
def _layers(weights: str, n_columns: int) -> _Layers:
    arrays = recall(weights)
    try:
        layers = _Layers(*(arrays[f"beliefs.{name}"].astype(np.float64) for name in _Layers._fields))
    except KeyError as error:
        raise InputError(f"no tensor {error}", where="learned beliefs") from None
    D, K = n_columns, len(layers.checkpoint)
    N, H = layers.hidden_bias.shape if layers.hidden_bias.ndim == 2 else (1, 1)
    NH = N * H
    shapes = ((D,), (D,), (D, NH), (D, NH), (NH,), (K, NH), (N, H, H), (N, H), (N, H, 2), (2,))
    for name, layer, shape in zip(_Layers._fields, layers, shapes, strict=True):
        if layer.shape != shape or not K:
            raise InputError(
                f"posterior.{name} has shape {list(layer.shape)}, not {list(shape)}", where="learned beliefs"
            )
        if not np.isfinite(layer).all():
            raise InputError(f"posterior.{name} is not finite", where="learned beliefs")
    return layers


def _contributions(
    layers: _Layers, k: NDArray[np.int64], values: Array, owner: NDArray[np.int64], output: int
) -> Array:
    everything = _outputs(layers, k, values)[:, output]
    result = np.zeros((len(values), int(owner.max(initial=-1)) + 1))
    for group in range(result.shape[1]):
        without = values.copy()
        without[:, owner == group] = np.nan
        result[:, group] = everything - _outputs(layers, k, without)[:, output]
    return result


def _outputs(layers: _Layers, k: NDArray[np.int64], values: Array) -> Array:
    """Return `[R, 2]` log-odds of M and log r."""
    n = len(values)
    result = np.empty((-(-n // _BLOCK) * _BLOCK, 2))
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        block = np.full((_BLOCK, values.shape[1]), np.nan)
        block[:size] = values[start : start + size]
        at = np.ones(_BLOCK, dtype=np.int64)
        at[:size] = k[start : start + size]
        result[start : start + _BLOCK] = _block(layers, at, block)
    return result[:n]


def _block(layers: _Layers, k: NDArray[np.int64], values: Array) -> Array:
    known = np.isfinite(values)
    z = np.where(known, (signed_log1p(np.where(known, values, 0.0)) - layers.centre) / layers.scale, 0.0)
    first = z @ layers.known + (~known).astype(np.float64) @ layers.unknown + layers.bias
    first += layers.checkpoint[np.minimum(k, len(layers.checkpoint)) - 1]
    n, width = layers.hidden_bias.shape
    side_by_side = _gelu(first).reshape(len(values), n, width).transpose(1, 0, 2)
    second = side_by_side @ layers.hidden + layers.hidden_bias[:, None, :]
    result: Array = (_gelu(second) @ layers.out).mean(axis=0) + layers.out_bias
    return result


def _gelu(x: Array) -> Array:
    result: Array = x * 0.5 * (1 + erf(x * np.sqrt(0.5)))
    return result
