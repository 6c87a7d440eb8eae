"""Tests of a false-reject rate: exact binomial, and betting over prompts [T10].

The null hypothesis is H: f ≥ α (the certificate's) where f is the false-reject rate. Both tests return a p-value valid
at any finite sample size. Martingales are kept in logs.

**Given prompts.** Where f is of further attempts at given prompts p, each with rates of its own, P(A | p) = a_p and
P(D | A, p) = f_p, independent attempts are not alike, and the number of losses is no longer binomial. The binomial test
stays right nonetheless:

* Given which of the counted attempts were accepted, n in all and n_p of prompt p, the losses are a sum of independent
  Bernoulli variables. Where its mean Σ n_p·f_p is at least α·n, P(losses ≤ c) ≤ P(Bin(n, α) ≤ c) for every
  c ≤ α·n − 1 (Hoeffding 1956, theorem 4): unlike rates only make them vary less. So the test is exact for H:
  Σ n_p·f_p / n ≥ α, the rate of good samples like those that were found; more losses than α·n − 1 never certify.
* The rate f = Σ a_p·f_p / Σ a_p has n_p at its expectation. At f = α the variance of losses − α·n is, summed over the
  counted attempts, Σ α·(1 − α)·a_p − (a_p·(f_p − α))²: again largest where rates are alike. That the test errs no more
  often than δ here too is not a theorem we know of. Among the laws that can be extreme, of few kinds of attempts, it is
  computed exactly, and none is found where it does (`tests/test_scope.py`).
"""

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from msifr_policy.errors import InputError

_MOST_BET = 0.95
"""Largest bet as a share of the largest admissible 1/(1 − α): the wealth is never all lost."""
_PRIOR_PROMPTS = 20
"""How many prompts what is expected beforehand counts for."""


def _check(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"false-reject budget {alpha} must lie strictly between 0 and 1")


def binomial_p_value(false_rejects: int, n_accepted: int, alpha: float, uniform: float = 1.0) -> float:
    """Return P(Bin(n, α) ≤ losses): valid when the accepted samples are independent [T10].

    With `uniform` U, drawn from (0, 1] beforehand, the test is randomised: P(Bin < losses) + U·P(Bin = losses) is
    uniform under f = α, so nothing of δ is lost to the steps of the distribution.
    """
    _check(alpha)
    if not n_accepted:
        return uniform
    below = float(scipy.stats.binom.cdf(false_rejects - 1, n_accepted, alpha)) if uniform < 1 else 0.0
    return below + uniform * (float(scipy.stats.binom.cdf(false_rejects, n_accepted, alpha)) - below)


def binomial_upper(false_rejects: int, n_accepted: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound on f at `confidence` (1 when nothing was accepted)."""
    if false_rejects >= n_accepted:
        return 1.0
    return float(scipy.stats.beta.ppf(confidence, false_rejects + 1, n_accepted - false_rejects))


def given_prompts_p_value(false_rejects: int, n_accepted: int, alpha: float, uniform: float = 1.0) -> float:
    """Return the binomial p-value where attempts at given prompts have unlike rates: 1 for losses above α·n − 1.

    Valid by Hoeffding's theorem, see above; `uniform` as for `binomial_p_value`.
    """
    p = binomial_p_value(false_rejects, n_accepted, alpha, uniform)
    return p if false_rejects <= alpha * n_accepted - 1 else 1.0


def given_prompts_needed(critical: int, alpha: float) -> int:
    """Return how many accepted samples make a certificate possible: the `critical` number, and no fewer than 1/α."""
    return max(critical, math.ceil(1 / alpha - 1e-9))


def given_prompts_upper(false_rejects: int, n_accepted: int, confidence: float) -> float:
    """Return the upper bound on f that the binomial test gives for unlike rates, at least (losses + 1)/n."""
    least = (false_rejects + 1) / n_accepted if n_accepted else 1.0
    return min(1.0, max(least, binomial_upper(false_rejects, n_accepted, confidence)))


def betting_prompts_needed(alpha: float, confidence: float) -> int:
    """Return how many prompts, all of whose attempts are accepted and kept, let the betting test certify.

    With share a of the attempts accepted, about 1/a times as many prompts are needed.
    """
    _check(alpha)
    return math.ceil(-math.log(1 - confidence) / math.log1p(_MOST_BET * alpha / (1 - alpha)) - 1e-9)


def prompt_scores(
    prompt: NDArray[np.int64],
    accepted: NDArray[np.bool_],
    discarded: NDArray[np.bool_],
    alpha: float,
    share: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return `[P]` Z_j = Σ over prompt j's attempts of share·A·(1{discarded} − α) ∈ [−α, 1 − α], by number of prompt.

    prompt `[N]`, accepted `[N]`, discarded `[N]`; share `[N]`: what an attempt counts for, at most 1 in all at a
    prompt: without it 1 of the number of its prompt's attempts. Then E[Z] ≥ 0 iff f ≥ α where prompts weigh as
    sampled [T10]; with equal shares everywhere, where attempts do.
    """
    _check(alpha)
    _, index = np.unique(prompt, return_inverse=True)
    if share is None:
        share = 1 / np.bincount(index)[index]
    Z: NDArray[np.float64] = np.bincount(index, share * accepted * (discarded - alpha)).astype(np.float64)
    return Z


class Expected(NamedTuple):
    """Mean and mean square of Z as other prompts tell; what is bet before any held-out prompt is seen."""

    mean: float
    square: float

    @classmethod
    def of(cls, Z: NDArray[np.float64]) -> "Expected":
        """Return those of `Z` `[P]`; a bet on nothing known without prompts."""
        return cls(float(Z.mean()), float((Z**2).mean())) if len(Z) else cls(0.0, 1.0)


def betting_log_wealth(Z: NDArray[np.float64], alpha: float, expected: Expected) -> NDArray[np.float64]:
    """Return `[..., P]` log Π_{i ≤ j} (1 − ν_i Z_i) after each prompt, against H: E[Z] ≥ 0, Z ∈ [−α, 1 − α] `[..., P]`.

    The bet ν_i = −mean/(mean of squares) of the prompts before i, cut to [0, 0.95/(1 − α)], nearly maximises the growth
    of the wealth (aGRAPA: Waudby-Smith and Ramdas 2024); what is `expected` counts as twenty prompts. It is
    predictable, so under H the wealth is a non-negative supermartingale that begins at 1. Raises `InputError` for
    scores outside.
    """
    _check(alpha)
    if Z.size and (Z.min() < -alpha - 1e-12 or Z.max() > 1 - alpha + 1e-12):
        raise InputError(f"scores must lie in [{-alpha}, {1 - alpha}], got [{Z.min()}, {Z.max()}]")
    n = _PRIOR_PROMPTS + np.arange(Z.shape[-1])
    mean = (_PRIOR_PROMPTS * expected.mean + np.cumsum(Z, axis=-1) - Z) / n
    square = (_PRIOR_PROMPTS * expected.square + np.cumsum(Z**2, axis=-1) - Z**2) / n
    nu = np.clip(-mean / np.maximum(square, 1e-12), 0.0, _MOST_BET / (1 - alpha))
    result: NDArray[np.float64] = np.cumsum(np.log1p(-nu * Z), axis=-1)
    return result


def betting_p_value(Z: NDArray[np.float64], alpha: float, expected: Expected) -> float:
    """Return min(1, 1/the largest wealth at any prompt), a p-value by Ville's inequality; Z `[P]` in the order bet."""
    return math.exp(-max(0.0, betting_log_wealth(Z, alpha, expected).max(initial=0.0)))
