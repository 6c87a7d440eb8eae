"""Alarms that a false-reject rate has passed its budget: e-processes over the scores of prompts [T11, T14].

With a bet ν in [0, 1/α) and Z ≥ −α the factor 1 + νZ is positive, and its expectation is at most 1 where f ≤ α: so the
product over prompts is an e-process, whatever the weights, and however the attempts of one prompt hang together. For
one attempt per prompt and a constant ε, ν can be chosen such that the factor is, in every outcome, the likelihood ratio
of "audited" among the good samples that are seen: odds ε·f/(1 − f), at an alternative f against α. Such bets are
mixed, over alternatives of 1.2 to 8 times the odds of α (6 % to 30 % at α = 5 %), small ones weighing more.

Of three statistics each answers another question:

* **start**: the mixture itself, from the first prompt on. P(it ever reaches 1/δ) ≤ δ while f ≤ α (Ville).
* **restarts**: the mixture, begun again at every prompt with prior weights that sum to 1, three quarters of them at the
  first. It is an e-process too, so it errs at most with δ over a whole life; and it forgets the good times before a
  change. It holds three quarters of `start`, so there is one alarm, this one, at level δ: a second test beside it
  would have to share δ with it and gain nothing.
* **detector** (Shiryaev and Roberts): begun again at every prompt with weight 1. Its mean time to a false warning is at
  least its threshold, in prompts with a score; it is the quickest after a change, but warns falsely some day.

A score of 0, a prompt without a good sample, tells nothing: it changes nothing and is not counted. What is seen
nevertheless has E[Z | Z ≠ 0] ≤ 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError

Array = NDArray[np.float64]

_ODDS_RATIOS = 1.2, 8.0
_ALTERNATIVES = 24
_FIRST = 0.75
"""Prior weight of the start among the restarts."""
_PRIOR_PROMPTS = 2500.0
"""The prior weight of restarts after n scores is 0.25/(1 + log(1 + n/2500)): half of it within 4,300, never used up."""
_MOST = 1e200
"""Statistics stop here: far above any threshold, far below overflow."""


@dataclass(frozen=True, slots=True)
class Bets:
    """Bets nu `[B]` on f > α, and their weights `[B]` in the mixture, which sum to 1."""

    nu: Array
    weight: Array


def likelihood_bet(ratio: Array, alpha: Array | float, probability: float) -> Array:
    """Return ν with 1 + νZ = the likelihood ratio of an alternative whose odds are `ratio` times those of α.

    Of a good sample that is seen, the odds to be an audited one are o = ε·α/(1 − α) where f = α; `probability` is ε.
    ν = (1/α)·o·(ratio − 1)/(1 + ratio·o) is inside (−ε/(1 − α), 1/α).
    """
    o = probability * alpha / (1 - alpha)
    return o * (ratio - 1) / (1 + ratio * o) / alpha


def bets_on_excess(alpha: float, probability: float, attempts: int = 1) -> Bets:
    """Return the mixture of bets on f > α for audits with `probability` ε on average, `attempts` at each prompt.

    A mean over m attempts varies less, so larger bets pay: alternatives go up to 8·m times the odds. Raises
    `InputError` for α or ε outside (0, 1) and (0, 1].
    """
    if not 0 < alpha < 1 or not 0 < probability <= 1:
        raise InputError(f"no bets at a budget of {alpha} and audits with probability {probability}", where="alarm")
    low, high = _ODDS_RATIOS
    ratio = np.geomspace(low, high * attempts, _ALTERNATIVES)
    weight = ratio**-0.5
    return Bets(likelihood_bet(ratio, alpha, probability), weight / weight.sum())


class Alarms:
    """The three statistics along one run, or along many at once.

    `shape` is that of the scores given to `add`: () of one run. Every statistic has this shape; `add` takes O(bets).
    """

    def __init__(self, bets: Bets, shape: tuple[int, ...] = ()) -> None:
        self._bets = bets
        self._wealth = np.zeros((3, *shape, len(bets.nu)))  # start, restarts, detector
        self._wealth[0] = bets.weight
        self._wealth[1] = _FIRST * bets.weight
        self._count = np.zeros(shape)
        self._entering = np.zeros((3, *shape, 1))  # weight that the statistics begin again with
        self._values = self._wealth.sum(axis=-1)

    def add(self, Z: float | Array) -> None:
        """Take the score of one prompt, of every run; each at least −1/max ν, which −α is."""
        told = np.not_equal(Z, 0.0)
        if not told.any():
            return
        after = self._count + told
        self._entering[1, ..., 0] = _weight_after(self._count) - _weight_after(after)
        self._entering[2, ..., 0] = told
        self._count = after
        self._wealth += self._entering * self._bets.weight
        self._wealth *= 1 + np.multiply.outer(Z, self._bets.nu)
        np.minimum(self._wealth, _MOST, out=self._wealth)
        self._values = self._wealth.sum(axis=-1)

    @property
    def start(self) -> Array:
        """The e-process from the start, in the shape of the scores."""
        return self._values[0]

    @property
    def restarts(self) -> Array:
        """The e-process of restarts with prior weights."""
        return self._values[1]

    @property
    def detector(self) -> Array:
        """The statistic of Shiryaev and Roberts."""
        return self._values[2]


def _weight_after(n: Array) -> Array:
    """Return the prior weight of all restarts after n scores."""
    result: Array = (1 - _FIRST) / (1 + np.log1p(n / _PRIOR_PROMPTS))
    return result
