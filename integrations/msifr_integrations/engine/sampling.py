"""Sampling by counter: the token an attempt draws depends on its own stream and logits, on nothing else.

**Coupling.** Attempt a of a prompt has the stream of key(run seed, prompt id, a). Its uniform number at step
t is a function of (key, t) alone, and the token is the inverse of the distribution's CDF at that number, in
float64. So whoever shares the batch, whoever was discarded, and whether a run was resumed, the tokens are the
same, as long as the logits are: on one device in float32 they agree to rounding (about 1e-5), which changes a
token only when a uniform number falls within that distance of a step of the CDF.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from msifr_policy.errors import InputError

__all__ = ["Drawn", "Sampling", "Stream", "draw", "stream_key"]

_BLOCK = 256  # uniform numbers made at a time: a generator costs more to make than 256 numbers


@dataclass(frozen=True, slots=True)
class Sampling:
    """What to draw from: temperature (0 is greedy), then the `top_k` likeliest (0: all), then `top_p`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(
                f"temperature = {self.temperature} must be finite and not negative", where="sampling"
            )
        if self.top_k < 0:
            raise InputError(
                f"top_k = {self.top_k} must not be negative", where="sampling", remedy="0 keeps all"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p = {self.top_p} must be above 0 and at most 1", where="sampling")


def stream_key(seed: int, prompt_id: str, attempt: int) -> bytes:
    """Return the 16-byte key of an attempt's random stream."""
    # Decimal numbers hold no newline, so that no two triples give the same text.
    return blake2b(
        f"{seed}\n{attempt}\n{prompt_id}".encode(), digest_size=16, person=b"msifr-stream"
    ).digest()


class Stream:
    """Uniform numbers in [0, 1), one per step: a pure function of (key, step) with a memory of one block."""

    __slots__ = ("_block", "_key", "_numbers")

    def __init__(self, key: bytes) -> None:
        self._key = int.from_bytes(key, "little")
        self._block = -1
        self._numbers: list[float] = []

    def uniform(self, step: int) -> float:
        """Return the number of step 0, 1, 2, …: a multiple of 2⁻⁵³."""
        block, offset = divmod(step, _BLOCK)
        if block != self._block:
            generator = np.random.Philox(key=self._key)
            generator.advance(block * (_BLOCK // 4))  # the counter runs over groups of four numbers
            self._numbers = ((generator.random_raw(_BLOCK) >> np.uint64(11)) * 2.0**-53).tolist()
            self._block = block
        return self._numbers[offset]


class Drawn(NamedTuple):
    """Tokens drawn, one a row: shape (rows,) each, on the logits' device; log-probabilities in float64."""

    token: Tensor
    logprob: Tensor
    sampled_logprob: Tensor


def draw(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Drawn:
    """Draw a token a row from logits (rows, vocabulary) by inverse CDF at uniforms (rows,), float64 in [0, 1)."""
    logits = logits.float()
    if sampling.temperature == 0:
        token = logits.argmax(-1)
        return Drawn(token, _at(logits, token).double() - logits.logsumexp(-1), torch.zeros_like(uniforms))
    plain = sampling.temperature == 1 and not sampling.top_k and sampling.top_p == 1
    kept = logits.double() if plain else _truncated(logits.double() / sampling.temperature, sampling)
    # Weights, not probabilities: the last cumulative weight takes the place of 1.
    cumulative = (kept - kept.amax(-1, keepdim=True)).exp_().cumsum(-1)
    whole = cumulative[:, -1:].contiguous()
    token = torch.searchsorted(cumulative, uniforms[:, None] * whole, right=True)
    # Rounding may carry u·whole up to whole; the last token with any weight is then meant.
    token = torch.minimum(token, torch.searchsorted(cumulative, whole))[:, 0]
    token.clamp_(max=logits.shape[-1] - 1)  # only NaN logits lead beyond; their log-probability tells
    sampled = _at(kept, token) - kept.logsumexp(-1)
    return Drawn(token, sampled if plain else _at(logits, token).double() - logits.logsumexp(-1), sampled)


def _at(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(-1, index[:, None])[:, 0]


def _truncated(logits: Tensor, sampling: Sampling) -> Tensor:
    """Put -inf for what top-k and top-p leave out (ties at the k-th place stay, the likeliest always)."""
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, -1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        weights = ordered.softmax(-1)
        beyond = weights.cumsum(-1) - weights >= sampling.top_p  # what stands before it is enough already
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
    return logits
