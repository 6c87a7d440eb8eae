r"""Surprisal of the sampled tokens: how unsure the model was, where the engine says so.

The surprisal of a token is −log p of that token, in nats. Its mean over tokens sampled at temperature one estimates
the mean entropy of the model's distributions without bias; the entropies themselves cannot be had from the
log-probabilities of the chosen tokens alone. The largest mean over `WINDOW` tokens in a row is the lowest **group
confidence**: one bad passage shows there and is lost in the mean of a long text.

The text is not read. Tokens without a log-probability do not count.
"""

import math
from itertools import accumulate
from operator import sub

from msifr_policy.validators.base import NO_TOKENS, Evidence, Rule, Tokens, ValidatorState, evidence

MOST = 100.0
"""Largest surprisal counted, in nats: an engine may give minus infinity."""
_UNIT = 2**24
_LARGEST = int(MOST * _UNIT)


class Logprobs(Rule, frozen=True):
    """Follows the surprisal of the tokens; `window` is the length of a group, in tokens.

    The verdict is always UNKNOWN: no surprise is too large for a right answer.
    """

    name = "logprobs"
    columns = ("mean", "recent", "worst_group", "worst")
    """`mean`: surprisal of all tokens so far; `recent`: of the last `window` of them; `worst_group`: the largest
    `recent` so far, NaN before `window` tokens; `worst`: the largest surprisal so far. All in nats per token, NaN
    before the first token with a log-probability.
    """
    window: int = 32

    def __post_init__(self) -> None:
        self._check("window", 1 <= self.window <= 4096, "be from 1 to 4096 tokens")

    def _state(self, _: str) -> ValidatorState:
        return _LogprobsState(self.window)


class _LogprobsState:
    """Sums are of whole units of 2⁻²⁴ nats, so that no rounding gathers however long the text is."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._number = self._sum = self._largest = 0
        self._worst_sum = -1  # of a whole window
        self._recent: list[int] = []  # the last window

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Count the new tokens."""
        del text
        if logprobs := [x for x in tokens.logprobs if x == x]:  # NaN differs from itself
            # What is positive is no log-probability and counts as 0.
            self._take([int(x * -_UNIT) if -MOST < x <= 0.0 else (x < 0.0) * _LARGEST for x in logprobs])
        n = self._number
        if n == 0:
            return evidence(*[math.nan] * 4)
        recent = sum(self._recent) / (len(self._recent) * _UNIT)
        worst_group = self._worst_sum / (self._window * _UNIT) if self._worst_sum >= 0 else math.nan
        return evidence(self._sum / (n * _UNIT), recent, worst_group, self._largest / _UNIT)

    def _take(self, new: list[int]) -> None:
        # In whole columns, which is faster than token by token.
        self._number += len(new)
        self._sum += sum(new)
        self._largest = max(self._largest, *new)
        units = self._recent + new
        sums = list(accumulate(units, initial=0))
        groups = map(sub, sums[self._window :], sums)
        self._worst_sum = max(self._worst_sum, max(groups, default=-1))
        self._recent = units[-self._window :]
