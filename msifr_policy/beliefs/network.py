"""Networks side by side: a small one over all evidence columns gives log-odds of M and log r at every checkpoint.

With g(x) = sign(x)·log(1 + |x|) of the evidence x, z = (g(x) − centre)/scale (0 where x is not known) and u = 1 where x
is not known,

    h = gelu(z W_z + u W_u + b + s_k),   h' = gelu(h W_h + b_h),
    M_k = 1/(1 + exp(−(h'·w_M + b_M))),   r_k = exp(h'·w_r + b_r)

with s_k an offset per checkpoint (the last for all beyond). Several networks stand side by side, and what is inside the
two outer functions is averaged over them. Only evaluation lives here, plain numpy in float64, so that
a policy runs without the library it was learned with.
"""

from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import scipy
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.beliefs.linear import Array, signed_log1p
from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError
from msifr_policy.weights import recall

# Fixed numbers of rows at a time: BLAS chooses its kernel by shape, so one row must not differ from the same row among
# many. Rows are padded to whole blocks.
_BLOCK = 32


class Layers(NamedTuple):
    """The tensors of N networks of width H over D columns and checkpoints 0 … K, stored as float32 "beliefs.NAME"."""

    centre: Array
    """`[D]`"""
    scale: Array
    """`[D]`"""
    known: Array
    """`[D, N·H]` W_z"""
    unknown: Array
    """`[D, N·H]` W_u"""
    bias: Array
    """`[N·H]` b"""
    checkpoint: Array
    """`[K + 1, N·H]` s_k"""
    hidden: Array
    """`[N, H, H]` W_h"""
    hidden_bias: Array
    """`[N, H]` b_h"""
    out: Array
    """`[N, H, 2]` w_M, w_r"""
    out_bias: Array
    """`[2]` b_M, b_r, the mean over the networks"""


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Learned networks; `weights` is the SHA-256 of the safetensors file with their `Layers`."""

    weights: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

    def predict(self, k: NDArray[np.int64], values: Array) -> Array:
        """Return `[R, 2]` log-odds of M_k and log r_k for checkpoints `k` `[R]` and evidence `values` `[R, D]`.

        Raises `InputError` if the weights are not known or do not fit the columns.
        """
        layers = _layers(self.weights, values.shape[1])
        n = len(values)
        result = np.empty((-(-n // _BLOCK) * _BLOCK, 2))
        for start in range(0, n, _BLOCK):
            size = min(_BLOCK, n - start)
            block = np.full((_BLOCK, values.shape[1]), np.nan)
            block[:size] = values[start : start + size]
            at = np.ones(_BLOCK, dtype=np.int64)
            at[:size] = k[start : start + size]
            result[start : start + _BLOCK] = _outputs(layers, at, block)
        return result[:n]

    def contributions(self, k: NDArray[np.int64], values: Array, owner: NDArray[np.int64]) -> Array:
        """Return `[R, V, 2]` what each of V groups of columns adds to both, against being unknown; owner `[D]`."""
        everything = self.predict(k, values)
        result = np.zeros((len(values), int(owner.max(initial=-1)) + 1, 2))
        for group in range(result.shape[1]):
            result[:, group] = everything - self.predict(k, np.where(owner == group, np.nan, values))
        return result


@lru_cache(8)
def _layers(weights: str, n_columns: int) -> Layers:
    arrays = recall(weights)
    try:
        layers = Layers(*(arrays[f"beliefs.{name}"].astype(np.float64) for name in Layers._fields))
    except KeyError as error:
        raise InputError(f"no tensor {error}", where="learned beliefs") from None
    D, K = n_columns, layers.checkpoint.shape[0] if layers.checkpoint.ndim else 0
    N, H = layers.hidden_bias.shape if layers.hidden_bias.ndim == 2 else (1, 1)
    NH = N * H
    shapes = ((D,), (D,), (D, NH), (D, NH), (NH,), (K, NH), (N, H, H), (N, H), (N, H, 2), (2,))
    for name, layer, shape in zip(Layers._fields, layers, shapes, strict=True):
        if layer.shape != shape or not layer.size:
            raise InputError(
                f"beliefs.{name} has shape {list(layer.shape)}, not {list(shape)}", where="learned beliefs"
            )
        if not np.isfinite(layer).all():
            raise InputError(f"beliefs.{name} is not finite", where="learned beliefs")
    if not (layers.scale > 0).all():
        raise InputError("beliefs.scale is not above 0", where="learned beliefs")
    return layers


def _outputs(layers: Layers, k: NDArray[np.int64], values: Array) -> Array:
    known = np.isfinite(values)
    z = np.where(known, (signed_log1p(np.where(known, values, 0.0)) - layers.centre) / layers.scale, 0.0)
    first = z @ layers.known + (~known).astype(np.float64) @ layers.unknown + layers.bias
    first += at_checkpoint(layers.checkpoint, k)
    n, width = layers.hidden_bias.shape
    side_by_side = _gelu(first).reshape(len(values), n, width).transpose(1, 0, 2)
    second = side_by_side @ layers.hidden + layers.hidden_bias[:, None, :]
    result: Array = (_gelu(second) @ layers.out).mean(axis=0) + layers.out_bias
    return result


def _gelu(x: Array) -> Array:
    result: Array = x * 0.5 * (1 + scipy.special.erf(x * np.sqrt(0.5)))
    return result
