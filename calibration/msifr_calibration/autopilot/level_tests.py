"""Tests of all levels of a path at any time [T13]: which have a false-reject rate f ≤ α, with family-wise error ≤ δ.

**Score.** Level i of a path gives a prompt the score Z_i = (1/m)·Σ w·A·(1{first ≤ i} − α) over its m attempts: `first`
is the first level that discards the attempt, A its outcome, and its weight w is 0 if it was discarded, 1/ε if it was up
for discard and audited, else 1. Whatever level is in force, E[w | attempt] = 1, so E[Z_i] ≥ 0 iff f(π_i) ≥ α, where
prompts weigh equally. Z_i ≤ (1 − α)/ε for the least ε there can be at that prompt, and ≤ 1 − α while none is in force.

**One level.** The wealth Π (1 − ν_t·Z_t) with predictable bets 0 ≤ ν_t < 1/sup Z_t is a non-negative supermartingale
under H_i: f(π_i) ≥ α, so it ever reaches 1/δ' with probability δ' at most (Ville 1939). What is bet may hang on all
prompts before, and so may the level in force: both are settled before the prompt is drawn. Three fortunes bet 0.4, 0.7
and 0.95 of the most there is to bet, and their sum is the wealth; what each begins with is settled by the fitting
prompts. That is steadier than to learn what to bet (aGRAPA): a mean over m attempts varies so little that the best bet
is seldom below a third of the most, and where f is near α the learner bets too much too early.

**All levels.** They are tested in their order: level i is certified once its wealth and those of all levels before it
have reached 1/δ', each at any time. To certify a false one the first false one has to be certified too, which happens
with probability ≤ δ'. Nothing is paid for the number of levels.

**A whole life.** After an alarm, or without prospects, a new path is tested on later prompts. Path number i = 0, 1, …
is tested at δ_i = δ·(1 − q)·q^i with q = 1/5, given all that came before it; so P(some path ever certifies a false
level) ≤ Σ δ_i = δ, however often and for whatever reason a new path is begun: a union over i, each conditioned on the
prompts before the path. The first gets four fifths, since it is the one that every run has: it needs
log(1/0.8)/log(1/δ) = 10 % more evidence than if it were alone (δ = 10 %); halving δ every time would cost it 30 %.

**Whose f.** Prompts are taken in an order drawn by a hash of their ids. If they are a sample of the prompts there could
be, all this is about those, in whatever order a file has them: a sample in an order drawn without looking is the same
sample. If they are what they are, the statement is about f of the prompts from the path's first one on, N of them, and
drawing is without replacement. While everything is finished, it is exact there as well: under H the scores of all N sum
to at least 0, so if those so far sum to at most 0 the mean of the others is at least 0, and a bet then is fair; and
nothing is bet while the sum so far is positive. So each factor has a conditional expectation ≤ 1. (For constant bets
and a fixed number of prompts that also follows from Hoeffding 1963, theorem 4: the expectation of a convex function of
a sum, here exp of Σ log(1 − νZ), is largest with replacement. It does not speak of stopping at any time.) Once a level
discards, the sum so far is known up to weights only: then it is exact for a sample, and for given prompts up to that.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError

Array = NDArray[np.float64]

BETS = np.array([0.4, 0.7, 0.95])
"""Shares of the largest bet there can be: B of them."""
_PRIOR_PROMPTS = 20
"""How many prompts what is expected beforehand counts for in forecasts."""
_SHARED_OUT = 100
"""Fortunes begin with the shares of 1 that so many prompts would bring them to, if they grew as expected."""
_LATER = 0.2
"""q: what later paths have together, as a share of what an earlier one and all after it have."""


def delta_of(number: int, delta: float) -> float:
    """Return δ_i of path `number` i = 0, 1, … of a life: all of them sum to `delta`."""
    return delta * (1 - _LATER) * _LATER**number


def level_scores(
    first: NDArray[np.int64], accepted: NDArray[np.bool_], weight: Array, n_levels: int, alpha: float
) -> Array:
    """Return `[n, J]` the scores Z of n prompts for J levels; first, accepted, weight `[n, m]` of their m attempts.

    first is J or more where no level discards.
    """
    n, m = first.shape
    counted = np.where(accepted, weight, 0.0) / m
    place = np.minimum(first, n_levels) + np.arange(n)[:, None] * (n_levels + 1)
    lost = np.bincount(place.ravel(), counted.ravel(), n * (n_levels + 1)).reshape(n, n_levels + 1)
    result: Array = np.cumsum(lost[:, :n_levels], axis=1) - alpha * counted.sum(axis=1, keepdims=True)
    return result


def growth(Z: Array, most: float) -> Array:
    """Return `[..., B]` the mean of log(1 − νZ) over prompts at each of the bets; Z `[..., P]`, at most `most`."""
    result: Array = np.log1p(-(BETS[:, None] / most) * Z[..., None, :]).mean(axis=-1)
    return result


class LevelTests:
    """The e-processes of J levels, along the prompts from a path's first on.

    expected: `[J, B]` what other prompts tell of `growth`, while nothing is discarded. delta: δ' of the path.
    """

    def __init__(self, expected: Array, delta: float) -> None:
        if not 0 < delta < 1:
            raise InputError(f"level {delta} of a test must lie strictly between 0 and 1", where="certificate")
        self.log_level = math.log(1 / delta)
        self.n_prompts = 0
        J = len(expected)
        self.best = np.zeros(J)
        """`[J]` the largest log wealth so far."""
        weight = _SHARED_OUT * expected
        self._fortunes = weight - np.logaddexp.reduce(weight, axis=1, keepdims=True)  # in logs
        self._grown, self._prompts = _PRIOR_PROMPTS * expected, float(_PRIOR_PROMPTS)
        self._sum = np.zeros(J)

    @property
    def n_certified(self) -> int:
        """How many levels, from the first on, are certified."""
        failed = np.flatnonzero(self.best < self.log_level)
        return int(failed[0]) if len(failed) else len(self.best)

    @property
    def log_wealth(self) -> Array:
        """`[J]` log wealth now."""
        result: Array = np.logaddexp.reduce(self._fortunes, axis=-1)
        return result

    @property
    def prompts_to_certify(self) -> Array:
        """`[J]` about how many more prompts it takes until each level and all before it are certified.

        Prompts at which nothing is discarded; infinite where no fortune is expected to grow.
        """
        rate = self._grown / self._prompts
        left = self.log_level - self._fortunes
        needed = np.divide(left, rate, out=np.full(left.shape, np.inf), where=rate > 0).min(axis=1)
        result: Array = np.maximum.accumulate(np.where(self.best >= self.log_level, 0.0, needed))
        return result

    def add(self, Z: Array, most: float, *, whole: bool = True) -> None:
        """Take the scores `[n, J]` of n prompts in their order, none above `most`, which is known beforehand.

        whole: nothing was discarded there. Raises `InputError` for a score above.
        """
        if not Z.size:
            return
        if Z.max() > most * (1 + 1e-9):
            raise InputError(f"a score of {Z.max():g} is above {most:g}", where="certificate", remedy="which audit?")
        sums = self._sum + np.cumsum(Z, axis=0)
        grown = np.log1p(-Z[:, :, None] * (BETS / most))
        if whole:
            self._grown = self._grown + grown.sum(axis=0)
            self._prompts += len(Z)
        # A positive sum of given prompts would leave the others with a negative mean, even where f ≥ α.
        grown[sums - Z > 1e-12] = 0.0
        fortunes = self._fortunes + np.cumsum(grown, axis=0)
        self._fortunes, self._sum = fortunes[-1], sums[-1]
        self.best = np.maximum(self.best, np.logaddexp.reduce(fortunes, axis=-1).max(axis=0))
        self.n_prompts += len(Z)
