r"""Surprisal of the sampled tokens: how unsure the model was, where the engine says so.

The surprisal of a token is −log p of that token, in nats. Its mean over tokens sampled at temperature one estimates
the mean entropy of the model's distributions without bias; the entropies themselves cannot be had from the
log-probabilities of the chosen tokens alone. The largest mean over `WINDOW` tokens in a row is the lowest **group
confidence**: one bad passage shows there and is lost in the mean of a long text.

The text is not read. Tokens without a log-probability do not count.
"""

from __future__ import annotations

import math
from itertools import accumulate
from operator import sub

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict

__all__ = ["MOST", "Logprobs"]

MOST = 100.0
"""Largest surprisal counted, in nats: an engine may give minus infinity."""


class Logprobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Follows the surprisal of the tokens; `window` is the length of a group, in tokens.

    The verdict is always UNKNOWN: no surprise is too large for a right answer.
    """

    window: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.window <= 4096:
            raise InputError(f"window = {self.window} must be from 1 to 4096 tokens", where="validator logprobs")

    @property
    def name(self) -> str:
        """`logprobs`."""
        return "logprobs"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the scores.

        `mean`: surprisal of all tokens so far; `recent`: of the last `window` of them; `worst_group`: the largest
        `recent` so far, NaN before `window` tokens; `worst`: the largest surprisal so far. All in nats per token, NaN
        before the first token with a log-probability.
        """
        return ("mean", "recent", "worst_group", "worst")

    def start(self, prompt: str) -> LogprobsState:
        """Return the state of a fresh attempt."""
        del prompt
        return LogprobsState(self.window)


class LogprobsState:
    """Running sums over all tokens, and the last tokens.

    Sums are of whole units of 2⁻²⁴ nats, so that no rounding gathers however long the text is.
    """

    __slots__ = ("_largest", "_number", "_recent", "_sum", "_window", "_worst_sum")

    def __init__(self, window: int) -> None:
        self._window = window
        self._number = self._sum = self._largest = 0
        self._worst_sum = -1  # of a whole window
        self._recent: list[int] = []  # the last window

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Count the new tokens."""
        del text
        if tokens.logprobs:  # NaN differs from itself
            self._take([int(x * -_UNIT) if -MOST < x <= 0.0 else _odd(x) for x in tokens.logprobs if x == x])
        n = self._number
        if n == 0:
            return Evidence(Verdict.UNKNOWN, (math.nan,) * 4)
        scores = (
            self._sum / (n * _UNIT),
            sum(self._recent) / (len(self._recent) * _UNIT),
            self._worst_sum / (self._window * _UNIT) if self._worst_sum >= 0 else math.nan,
            self._largest / _UNIT,
        )
        return Evidence(Verdict.UNKNOWN, scores)

    def copy(self) -> LogprobsState:
        """Return an independent copy."""
        twin = LogprobsState(self._window)
        for slot in self.__slots__:
            setattr(twin, slot, getattr(self, slot))
        return twin

    def _take(self, new: list[int]) -> None:
        # In whole columns, which is faster than token by token.
        self._number += len(new)
        self._sum += sum(new)
        self._largest = max(self._largest, max(new, default=0))
        units = self._recent + new
        sums = list(accumulate(units, initial=0))
        groups = map(sub, sums[self._window :], sums)
        self._worst_sum = max(self._worst_sum, max(groups, default=-1))
        self._recent = units[-self._window :]


_UNIT = 2**24


def _odd(logprob: float) -> int:
    """Return the units of a log-probability that is none, or is very small."""
    return 0 if logprob > 0.0 else int(MOST * _UNIT)
