"""Tests of a false-reject rate: exact binomial, and betting over prompts [T10].

The null hypothesis is H: f ≥ α (the certificate's) where f is the false-reject rate. Both tests return a p-value valid
at any finite sample size. Martingales are kept in logs.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, binom

from msifr_policy.errors import InputError

_BETS = np.asarray([0.1, 0.25, 0.45, 0.7, 0.92])
"""Bets ν as shares of the largest admissible 1/(1 − α): few, because a mixture of m bets costs a factor m."""


def _check(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InputError(f"false-reject budget {alpha} must lie strictly between 0 and 1")


def binomial_p_value(false_rejects: int, n_accepted: int, alpha: float) -> float:
    """Return P(Bin(n, α) ≤ losses): valid when the accepted samples are independent [T10]."""
    _check(alpha)
    return float(binom.cdf(false_rejects, n_accepted, alpha)) if n_accepted else 1.0


def binomial_upper(false_rejects: int, n_accepted: int, confidence: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound on f at `confidence` (1 when nothing was accepted)."""
    if false_rejects >= n_accepted:
        return 1.0
    return float(beta.ppf(confidence, false_rejects + 1, n_accepted - false_rejects))


def accepted_needed(alpha: float, confidence: float) -> int:
    """Return how many independent accepted samples make a certificate possible at all: (1 − α)ⁿ ≤ 1 − confidence.

    The epsilon keeps a confidence such as 0.9 from being pushed over a whole number by its rounding.
    """
    _check(alpha)
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must lie strictly between 0 and 1")
    return max(1, math.ceil(math.log(1 - confidence) / math.log1p(-alpha) - 1e-9))


def betting_prompts_needed(alpha: float, confidence: float) -> int:
    """Return how many prompts, all of whose attempts are accepted and kept, let the betting test certify.

    With share a of the attempts accepted, about 1/a times as many prompts are needed.
    """
    _check(alpha)
    nu = _BETS / (1 - alpha)

    def certifies(n: int) -> bool:
        wealth = np.logaddexp.reduce(n * np.log1p(nu * alpha)) - math.log(len(nu))
        return bool(wealth >= -math.log(1 - confidence))

    low, high = 0, 1
    while not certifies(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if certifies(middle) else (middle, high)
    return high


def prompt_scores(
    prompt: NDArray[np.int64], accepted: NDArray[np.bool_], discarded: NDArray[np.bool_], alpha: float
) -> NDArray[np.float64]:
    """Return `[P]` Z_j = mean over prompt j's attempts of A·(1{discarded} − α) ∈ [−α, 1 − α].

    prompt `[N]`, accepted `[N]`, discarded `[N]`. E[Z] ≥ 0 iff f ≥ α, prompts weighted as sampled [T10].
    """
    _check(alpha)
    _, index = np.unique(prompt, return_inverse=True)
    Z: NDArray[np.float64] = np.bincount(index, accepted * (discarded - alpha)) / np.bincount(index)
    return Z


def betting_log_e_value(Z: NDArray[np.float64], alpha: float) -> float:
    """Return the logarithm of the e-value mean_ν Π_j (1 − ν Z_j) against H: E[Z] ≥ 0, Z_j ∈ [−α, 1 − α] `[P]`.

    Each product is a non-negative supermartingale under H for a constant bet ν ∈ [0, 1/(1 − α)), and so is
    their mean: predictable without depending on the order of prompts.
    """
    _check(alpha)
    if len(Z) and (Z.min() < -alpha - 1e-12 or Z.max() > 1 - alpha + 1e-12):
        raise InputError(f"scores must lie in [{-alpha}, {1 - alpha}], got [{Z.min()}, {Z.max()}]")
    nu = _BETS / (1 - alpha)
    log_wealth = np.log1p(-nu[:, None] * Z[None, :]).sum(axis=1)
    return float(np.logaddexp.reduce(log_wealth) - math.log(len(nu)))


def betting_p_value(Z: NDArray[np.float64], alpha: float) -> float:
    """Return min(1, 1/e-value), a p-value by Markov's inequality."""
    return math.exp(min(0.0, -betting_log_e_value(Z, alpha)))
