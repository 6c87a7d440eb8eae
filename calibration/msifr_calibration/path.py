"""The path of policies from conservative to aggressive, by backward induction on M_k inside Dinkelbach [T8, T9].

On recorded attempts the expectation in V_k = max{0, E[V_{k+1} − C_{k+1} | F_k]} is an isotonic regression of the
realised value of going on, on M_k (regression Monte Carlo, with F_k summarised by M_k and the value taken to increase in
it). So each policy is one threshold per checkpoint: discard iff M_k is below it. The path runs over the total
price Λ = λ* + μ, from many times λ* down to λ*, the price at which cost per accepted is least; it begins with the
thresholds of the highest price scaled towards zero, so that it starts at never discarding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from msifr_policy.evidence import EvidenceTable
from msifr_policy.policy_file import first_rows

__all__ = ["Path", "fit_path", "threshold_stops", "thresholds_at_price"]

_MIN_ROWS = 20
_HIGHEST = 256.0
_N_PRICES = 40
_SCALES = (0.1, 0.2, 0.35, 0.5, 0.7, 0.85)


@dataclass(frozen=True, slots=True)
class Path:
    """Policies from conservative to aggressive.

    thresholds: `[J, K]`, one row per policy. prices: `[J]` total price Λ in cost units per accepted sample, the last is
    λ* (unless nothing is ever worth discarding: then the path is empty). rho_full: cost per accepted sample without a policy on the fitting data.
    """

    thresholds: NDArray[np.float64]
    prices: NDArray[np.float64]
    rho_full: float


def threshold_stops(
    table: EvidenceTable, M: NDArray[np.float64], thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return `[N]` the row where each attempt is discarded (−1: never), for M `[R]` and thresholds `[K]`."""
    at = thresholds[np.minimum(table.k, len(thresholds)) - 1]
    return first_rows((at > M) & table.is_checkpoint, table.start)


def thresholds_at_price(table: EvidenceTable, M: NDArray[np.float64], price: float) -> NDArray[np.float64]:
    """Return `[K]` the thresholds that are optimal at total price Λ = `price` [T8].

    M `[R]` is the cross-fitted posterior. Checkpoints with too few attempts take the threshold of the last that has
    enough, and are not optimised.
    """
    rows = table.is_checkpoint
    counts = np.bincount(table.k[rows], minlength=2)[1:]
    enough = np.flatnonzero(counts >= _MIN_ROWS)
    K = int(enough[-1]) + 1 if len(enough) else 1
    thresholds = np.zeros(K)
    if not len(enough):
        return thresholds
    # V_i and the cost already paid when it was reached, per attempt, from the end backwards.
    V = price * table.accepted.astype(np.float64)
    paid = table.cost.copy()
    for k in range(K, 0, -1):
        here = np.flatnonzero(rows & (table.k == k))
        attempt = table.attempt[here]
        going_on = V[attempt] - (paid[attempt] - table.spent[here])
        if len(here) >= _MIN_ROWS:
            fitted = IsotonicRegression().fit_transform(M[here], going_on)
            worth = fitted > 0
            if worth.all():
                threshold = 0.0
            elif not worth.any():
                threshold = 1.0
            else:
                # Half way between the best that is discarded and the worst that is kept.
                threshold = float((M[here][~worth].max() + M[here][worth].min()) / 2)
            thresholds[k - 1] = min(max(threshold, 0.0), 1.0)
        keep = M[here] >= thresholds[k - 1]
        V[attempt] = np.where(keep, going_on, 0.0)
        paid[attempt] = table.spent[here]
    return thresholds


def fit_path(table: EvidenceTable, M: NDArray[np.float64]) -> Path:
    """Return the path on `table` with cross-fitted posterior M `[R]`.

    Dinkelbach's update λ ← ρ(π_λ) is repeated until λ no longer falls.
    """
    A = table.accepted
    rho_full = float(table.cost.sum() / A.sum())
    lam = rho_full
    for _ in range(20):
        stop = threshold_stops(table, M, thresholds_at_price(table, M, lam))
        kept = int(A[stop < 0].sum())
        spent = float(table.spent[np.where(stop >= 0, stop, table.end)].sum())
        rho = spent / kept if kept else np.inf
        if not rho < lam * (1 - 1e-9):
            break
        lam = rho
    prices = lam * np.geomspace(_HIGHEST, 1.0, _N_PRICES)
    by_price = np.asarray([thresholds_at_price(table, M, float(price)) for price in prices])
    scaled = np.asarray([scale * by_price[0] for scale in _SCALES])
    thresholds = np.concatenate([scaled, by_price])
    all_prices = np.concatenate([np.full(len(scaled), prices[0]), prices])
    # Equal neighbours are one policy, at the lowest price that asks for it; never discarding needs no test.
    last_of_equals = np.append(np.any(np.diff(thresholds, axis=0) != 0, axis=1), True)
    use = last_of_equals & thresholds.any(axis=1)
    return Path(thresholds[use], all_prices[use], rho_full)
