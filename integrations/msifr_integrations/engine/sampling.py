"""Sampling by counter: the token an attempt draws depends on its own stream and logits, on nothing else.

**Coupling.** Attempt a of a prompt has the stream of key(run seed, prompt id, a); its uniform numbers at step t are a
function of (key, t) alone. So whoever shares the batch, whoever was discarded, and whether a run was resumed, the
tokens are the same, as long as the logits are. On one device in float32 these agree to rounding (about 1e-6), and the
token must not hang on that.

Plain inversion of the CDF does hang on it: its steps lie as dense as the vocabulary is large, and rounding shifts all
of them (with 150,000 tokens, noise of 1e-6 in the logits changed 4 of 1,000 tokens). Here the CDF is inverted by
halves: a tree over the token ids, and at each node a number of its own that says left or right. A share of two halves
moves by no more than the logits do, so a token changes with probability of about 1e-6.
"""

import math
import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from msifr_integrations.engine.base import Attempt, Event, Finish, Sampling, in_short, levels
from msifr_integrations.engine.memory import Weights
from msifr_integrations.engine.processors import Shaped
from msifr_policy.errors import MsifrError

Numbers = NDArray[np.float64]

_BLOCK = 32  # steps whose numbers are made at a time: a generator costs more to make than they do


class Stream:
    """`count` uniform numbers in [0, 1) per step: a function of (key, count, step)."""

    __slots__ = ("_block", "_count", "_key", "_numbers")

    def __init__(self, key: bytes, count: int) -> None:
        self._key = int.from_bytes(key, "little")
        self._count = count
        self._block = -1
        self._numbers: Numbers = np.empty((0, count))

    def uniforms(self, step: int) -> Numbers:
        """Return the numbers of step 0, 1, 2, …, shape (count,): multiples of 2⁻⁵³."""
        block, offset = divmod(step, _BLOCK)
        if block != self._block:
            size = _BLOCK * self._count
            generator = np.random.Philox(key=self._key)
            generator.advance(block * size // 4)  # its counter runs over groups of four numbers
            numbers: Numbers = (generator.random_raw(size) >> np.uint64(11)) * np.float64(2.0**-53)
            self._numbers = numbers.reshape(_BLOCK, self._count)
            self._block = block
        return self._numbers[offset]


class Row:
    """An attempt while it runs: what its next step feeds (token `last` at position `length`), and how far it is.

    node: where it is among the dead prefixes of its prompt, None if nothing is known of what begins as it does.
    tokens: what it has drawn. pending: tokens that a device draws, and that are not read yet.
    """

    __slots__ = ("attempt", "last", "length", "limit", "node", "pending", "sampled", "stream", "tokens")

    def __init__(self, attempt: Attempt, context: int, depth: int) -> None:
        self.attempt = attempt
        self.stream = Stream(attempt.key, depth)
        self.length = len(attempt.prompt) - 1
        self.last = attempt.prompt[-1]
        self.sampled = self.pending = 0
        self.tokens: list[int] = []
        self.node = None if attempt.memory is None else attempt.memory.root
        # The last sampled token is never fed, so a context of n positions yields n - len(prompt) + 1 tokens.
        self.limit = min(attempt.max_new_tokens, context - self.length)

    def uniforms(self) -> Numbers:
        """Return the numbers that draw the next token, after those that are pending."""
        return self.stream.uniforms(self.sampled + self.pending)

    def take(self, drawn: tuple[float, ...], end: frozenset[int]) -> Event:
        """Go on by a token drawn, behind whose log-probabilities a probe's numbers may stand.

        Raises `MsifrError` if the model gave no numbers.
        """
        token, logprob, sampled_logprob = int(drawn[0]), *drawn[1:3]
        if math.isnan(logprob):
            raise MsifrError(
                f"the model gave no numbers for attempt {self.attempt.id!r} at token {self.sampled + 1}"
                " (an overflow in half precision? try dtype bfloat16 or float32)"
            )
        self.last = token
        self.tokens.append(token)
        self.length += 1
        self.sampled += 1
        self.node = None if self.node is None else self.node.step(token)
        finish: Finish = "end" if token in end else "length" if self.sampled >= self.limit else ""
        return Event(self.attempt.id, token, logprob, sampled_logprob, finish, state=drawn[3:])


class Drawn(NamedTuple):
    """Tokens drawn, one a row: shape (rows,) each, on the logits' device; log-probabilities in float64."""

    token: Tensor
    logprob: Tensor
    sampled_logprob: Tensor

    def stacked(self) -> Tensor:
        """Return them as one tensor (3, rows) in float64, in which ids are exact."""
        return torch.stack([self.token.double(), self.logprob, self.sampled_logprob])


def read_rows(drawn: Tensor, ready: torch.cuda.Event | None = None) -> list[tuple[float, ...]]:
    """Return token, logprob and sampled_logprob of each row of a stacked `Drawn`, and what is under it, in one copy.

    ready: when what is drawn is there, if it is on its way.
    """
    if ready is not None:
        ready.synchronize()
    return list(zip(*drawn.tolist(), strict=True))


def draw(
    logits: Tensor,
    uniforms: Tensor,
    sampling: Sampling,
    remembered: Weights | None = None,
    shaped: Shaped | None = None,
) -> Drawn:
    """Draw a token a row from logits (rows, vocabulary) by uniforms (rows, levels) in [0, 1), float64.

    remembered: weights of tokens, for what the sampling makes of the logits (see `memory`); no matter to a greedy one.
    shaped: what the model's generation settings do to them, after which log-probabilities are the model's nonetheless.
    Tokens of probability 0 are never drawn. The log-probability is NaN if the logits are no numbers.
    """
    whole = sampling.temperature and not sampling.top_k and sampling.top_p == 1
    if whole and remembered is None and shaped is None and kernel_serves(logits):
        from msifr_integrations.engine import draw_kernel  # Triton is on GPU machines only

        return Drawn(*draw_kernel.draw(logits, uniforms, sampling.temperature))
    return _by_tree(logits.float(), uniforms, sampling, remembered, shaped)


def _by_tree(
    raw: Tensor,
    uniforms: Tensor,
    sampling: Sampling,
    remembered: Weights | None = None,
    shaped: Shaped | None = None,
) -> Drawn:
    logits = raw if shaped is None else shaped.before(raw)
    if sampling.temperature == 0:
        token = logits.argmax(-1)
        return Drawn(token, _at(raw, token).double() - raw.logsumexp(-1), uniforms.new_zeros(len(token)))
    plain = (sampling.temperature, sampling.top_k, sampling.top_p) == (1, 0, 1)
    scaled = logits.double() if plain else _truncated(logits.double() / sampling.temperature, sampling)
    scaled = scaled if shaped is None else shaped.after(scaled)
    scaled = scaled if remembered is None else remembered.added_to(scaled)
    scaled = scaled - scaled.amax(-1, keepdim=True)
    token, whole = descend(scaled.exp(), uniforms)
    sampled = _at(scaled, token) - whole.log()
    own = plain and remembered is None and shaped is None
    return Drawn(token, sampled if own else _at(raw, token).double() - raw.logsumexp(-1), sampled)


def descend(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Draw a leaf a row of the tree over weights (rows, leaves), by the first of `uniforms`, one a level from the top.

    Returns the leaves and the sums of all weights, (rows,) each.
    """
    tree = [weights]  # of leaves, of pairs, of pairs of pairs, …, of all
    while tree[-1].shape[-1] > 1:
        if tree[-1].shape[-1] % 2:
            tree[-1] = pad(tree[-1], (0, 1))
        tree.append(tree[-1][:, 0::2] + tree[-1][:, 1::2])
    *below, whole = tree
    node, both = torch.zeros(len(weights), 1, dtype=torch.long, device=weights.device), whole
    for level, at_level in enumerate(reversed(below)):
        left = at_level.gather(1, 2 * node)
        # u < 1, so u·both < both: with nothing on the right it goes left, with nothing on the left right.
        node = 2 * node + (uniforms[:, level : level + 1] * both >= left)
        both = at_level.gather(1, node)
    return node[:, 0], whole[:, 0]


KERNEL = True
"""Whether the kernel of our own draws on CUDA, where Triton is installed and it draws the same tokens."""


def kernel_serves(logits: Tensor) -> bool:
    """Return whether the kernel may draw from `logits`: there are several blocks of tokens, and it has been tried."""
    return KERNEL and logits.is_cuda and logits.shape[-1] >= 4096 and _tried(logits.device)


@cache
def _tried(device: torch.device) -> bool:
    try:
        from msifr_integrations.engine import draw_kernel

        draws = torch.Generator().manual_seed(0)
        logits = (4 * torch.randn(16, 5000, generator=draws)).to(device)
        uniforms = torch.rand(16, levels(5000), generator=draws, dtype=torch.float64).to(device)
        token, _, logprob = draw_kernel.draw(logits, uniforms, 0.7)
        plain = _by_tree(logits, uniforms, Sampling(temperature=0.7))
        why = "" if torch.equal(token, plain.token) else "it draws other tokens"
        if float((logprob - plain.sampled_logprob).abs().max()) > 1e-9:
            why = "its log-probabilities are off"
    except Exception as error:  # Triton is not there, or has no compiler, or does not know the card
        why = in_short(error)
    if why:
        warnings.warn(f"tokens are drawn the plain way, not by the kernel: {why}", RuntimeWarning, stacklevel=2)
    return not why


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
