"""Sampling by counter: the token an attempt draws depends on its own stream and logits, on nothing else.

**Coupling.** Attempt a of a prompt has the stream of key(run seed, prompt id, a); its uniform numbers at step
t are a function of (key, t) alone. So whoever shares the batch, whoever was discarded, and whether a run was
resumed, the tokens are the same, as long as the logits are. On one device in float32 these agree to rounding
(about 1e-6), and the token must not hang on that.

Plain inversion of the CDF does hang on it: its steps lie as dense as the vocabulary is large, and rounding
shifts all of them (with 150,000 tokens, noise of 1e-6 in the logits changed 4 of 1,000 tokens). Here the CDF
is inverted by halves: a tree over the token ids, and at each node a number of its own that says left or
right. A share of two halves moves by no more than the logits do, so a token changes with probability of about
1e-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from msifr_policy.errors import InputError

__all__ = ["Drawn", "Sampling", "Stream", "draw", "levels", "stream_key"]

_BLOCK = 32  # steps whose numbers are made at a time: a generator costs more to make than they do


@dataclass(frozen=True, slots=True)
class Sampling:
    """What to draw from: temperature (0 is greedy), then the `top_k` likeliest (0: all), then `top_p`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"temperature = {self.temperature} must be finite and not negative", where="sampling")
        if self.top_k < 0:
            raise InputError(f"top_k = {self.top_k} must not be negative", where="sampling", remedy="0 keeps all")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p = {self.top_p} must be above 0 and at most 1", where="sampling")


def stream_key(seed: int, prompt_id: str, attempt: int) -> bytes:
    """Return the 16-byte key of an attempt's random stream."""
    # Decimal numbers hold no newline, so that no two triples give the same text.
    return blake2b(f"{seed}\n{attempt}\n{prompt_id}".encode(), digest_size=16, person=b"msifr-stream").digest()


def levels(vocabulary: int) -> int:
    """Return how many uniform numbers a token takes: the depth of the tree over the vocabulary."""
    return max(vocabulary - 1, 0).bit_length()


class Stream:
    """`count` uniform numbers in [0, 1) per step: a function of (key, count, step)."""

    __slots__ = ("_block", "_count", "_key", "_numbers")

    def __init__(self, key: bytes, count: int) -> None:
        self._key = int.from_bytes(key, "little")
        self._count = count
        self._block = -1
        self._numbers: list[list[float]] = []

    def uniforms(self, step: int) -> list[float]:
        """Return the numbers of step 0, 1, 2, …: multiples of 2⁻⁵³."""
        block, offset = divmod(step, _BLOCK)
        if block != self._block:
            size = _BLOCK * self._count
            generator = np.random.Philox(key=self._key)
            generator.advance(block * size // 4)  # its counter runs over groups of four numbers
            numbers = (generator.random_raw(size) >> np.uint64(11)) * 2.0**-53
            self._numbers = numbers.reshape(_BLOCK, self._count).tolist()
            self._block = block
        return self._numbers[offset]


class Drawn(NamedTuple):
    """Tokens drawn, one a row: shape (rows,) each, on the logits' device; log-probabilities in float64."""

    token: Tensor
    logprob: Tensor
    sampled_logprob: Tensor


def draw(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> Drawn:
    """Draw a token a row from logits (rows, vocabulary) by uniforms (rows, levels) in [0, 1), float64.

    Tokens of probability 0 are never drawn. The log-probability is NaN if the logits are no numbers.
    """
    logits = logits.float()
    if sampling.temperature == 0:
        token = logits.argmax(-1)
        return Drawn(token, _at(logits, token).double() - logits.logsumexp(-1), uniforms.new_zeros(len(token)))
    plain = sampling.temperature == 1 and not sampling.top_k and sampling.top_p == 1
    kept = logits.double() if plain else _truncated(logits.double() / sampling.temperature, sampling)
    kept = kept - kept.amax(-1, keepdim=True)
    tree = [kept.exp()]  # weights of tokens, of pairs, of pairs of pairs, …, of all
    while tree[-1].shape[-1] > 1:
        below = tree[-1] if tree[-1].shape[-1] % 2 == 0 else pad(tree[-1], (0, 1))
        tree[-1] = below
        tree.append(below[:, 0::2] + below[:, 1::2])
    node = torch.zeros(len(logits), 1, dtype=torch.long, device=logits.device)
    for level, below in enumerate(reversed(tree[:-1])):
        left, both = below.gather(1, 2 * node), tree[-1 - level].gather(1, node)
        # u < 1, so u·both < both: with nothing on the right it goes left, with nothing on the left right.
        node = 2 * node + (uniforms[:, level : level + 1] * both >= left)
    token = node[:, 0]
    sampled = _at(kept, token) - tree[-1][:, 0].log()
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
