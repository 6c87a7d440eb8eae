"""The path of policies from conservative to aggressive, by backward induction on M_k [T8, T9].

At total price Λ = λ + μ it is worth going on from checkpoint k when Λ·E[U; R | F_k] exceeds the expected cost to go,
both under the policy's own later decisions. By optional stopping [T4]

    E[U; R | F_k] = M_k − E[M_τ; discarded | F_k],

so with the **burden** B = cost to go + Λ·M_τ·1{discarded later} going on is worth Λ·M_k − E[B | F_k]. On recorded
attempts B is observed; the expectation is an isotonic regression on M_k (regression Monte Carlo: Longstaff and
Schwartz 2001, Tsitsiklis and Van Roy 2001), with F_k summarised by M_k and the worth taken to increase in it. Reading
the lost utility from M_τ instead of the few accepted attempts in a low range of M_k keeps the thresholds
smooth in Λ. So each policy is one threshold per checkpoint: discard iff M_k is below it.

The path runs over Λ from never discarding downwards, and ends at the policy with the least observed cost per accepted
sample on the fitting data, the sample's own fixed point of Dinkelbach's iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from msifr_policy.evidence import EvidenceTable
from msifr_policy.policy_file import first_rows

__all__ = ["Path", "fit_path", "threshold_stops", "thresholds_at_price"]

_MIN_ROWS = 30
_MOST_BLOCKS = 40
_N_PRICES = 60
_HIGHEST, _LOWEST = 1000.0, 0.1  # prices searched, as multiples of the cost per accepted without a policy


@dataclass(frozen=True, slots=True)
class Path:
    """Policies from conservative to aggressive.

    thresholds: `[J, K]`, one row per policy; J is 0 when no policy makes accepted samples cheaper. prices: `[J]` total
    price Λ in cost units per accepted sample. rho_full, rho_best: observed cost per accepted sample without a
    policy, and with the last of the path, on the fitting data.
    """

    thresholds: NDArray[np.float64]
    prices: NDArray[np.float64]
    rho_full: float
    rho_best: float


def threshold_stops(table: EvidenceTable, M: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return `[N]` the row where each attempt is discarded (−1: never), for M `[R]` and thresholds `[K]`."""
    at = thresholds[np.minimum(table.k, len(thresholds)) - 1]
    return first_rows((at > M) & table.is_checkpoint, table.start)


def thresholds_at_price(table: EvidenceTable, M: NDArray[np.float64], price: float) -> NDArray[np.float64]:
    """Return `[K]` the optimal thresholds at total price Λ = `price`, by the recursion of the module docstring.

    M `[R]` is the cross-fitted posterior. Consecutive checkpoints share a threshold until they have enough rows, and
    so do all from checkpoint K on.
    """
    attempt = table.attempt
    blocks = _blocks(table)
    thresholds = np.zeros(int(table.k[table.is_checkpoint].max()) if blocks else 1)
    # Burden of each attempt seen from the row where it had `paid`; at the end there is none.
    burden = np.zeros(table.n_attempts)
    paid = table.cost.copy()
    for rows in reversed(blocks):
        owner = attempt[rows]
        going_on = price * M[rows] - (burden[owner] + paid[owner] - table.spent[rows])
        threshold = _zero_crossing(M[rows], going_on)
        thresholds[table.k[rows].min() - 1 : table.k[rows].max()] = threshold
        # An attempt may have several rows here: the first below the threshold discards it.
        owner, first = np.unique(owner, return_index=True)
        stop = first_rows(M[rows] < threshold, np.append(first, len(rows)))
        entry, gone = rows[first], stop >= 0
        at = rows[np.maximum(stop, 0)]
        to_go = np.where(gone, table.spent[at], burden[owner] + paid[owner]) - table.spent[entry]
        burden[owner] = to_go + np.where(gone, price * M[at], 0.0)
        paid[owner] = table.spent[entry]
    return thresholds


def _blocks(table: EvidenceTable) -> list[NDArray[np.int64]]:
    """Return the checkpoint rows in blocks of consecutive checkpoints, each sorted, with enough rows per block."""
    rows = np.flatnonzero(table.is_checkpoint)
    counts = np.bincount(table.k[rows])
    enough = max(_MIN_ROWS, len(rows) // _MOST_BLOCKS)
    block_of = np.zeros(len(counts), dtype=np.int64)
    block = size = 0
    left = len(rows)
    for k, count in enumerate(counts):
        block_of[k] = block
        size, left = size + count, left - count
        if size >= enough and left >= enough:
            block, size = block + 1, 0
    if len(rows) < _MIN_ROWS:
        return []
    of_row = block_of[table.k[rows]]
    return [rows[of_row == b] for b in range(block + 1)]


def _zero_crossing(M: NDArray[np.float64], going_on: NDArray[np.float64]) -> float:
    """Return the M at which the isotonic regression of `going_on` `[n]` on M `[n]` becomes positive, in [0, 1]."""
    worth = IsotonicRegression().fit_transform(M, going_on) > 0
    if worth.all():
        return 0.0
    if not worth.any():
        return 1.0
    # Half way between the best that is discarded and the worst that is kept.
    return float(np.clip((M[~worth].max() + M[worth].min()) / 2, 0.0, 1.0))


def fit_path(table: EvidenceTable, M: NDArray[np.float64]) -> Path:
    """Return the path on `table` with cross-fitted posterior M `[R]`."""
    if table.accepted.all() or not table.accepted.any():
        return Path(np.zeros((0, 1)), np.zeros(0), np.inf, np.inf)
    rho_full = float(table.cost.sum() / table.accepted.sum())
    prices = rho_full * np.geomspace(_HIGHEST, _LOWEST, _N_PRICES)
    candidates = [thresholds_at_price(table, M, float(price)) for price in prices]
    rho = np.asarray([_cost_per_accepted(table, threshold_stops(table, M, t)) for t in candidates])
    best = int(rho.argmin())
    if not rho[best] < rho_full:
        return Path(np.zeros((0, len(candidates[0]))), np.zeros(0), rho_full, rho_full)
    thresholds = np.asarray(candidates[: best + 1])
    # Equal neighbours are one policy, at the lowest price that asks for it; never discarding needs no test.
    last_of_equals = np.append(np.any(np.diff(thresholds, axis=0) != 0, axis=1), True)
    use = last_of_equals & thresholds.any(axis=1)
    return Path(thresholds[use], prices[: best + 1][use], rho_full, float(rho[best]))


def _cost_per_accepted(table: EvidenceTable, stop: NDArray[np.int64]) -> float:
    kept = int(table.accepted[stop < 0].sum())
    spent = float(table.spent[np.where(stop >= 0, stop, table.end)].sum())
    return spent / kept if kept else np.inf
