"""The path of policies from conservative to aggressive, by backward induction on the worth ω_k [T8, T9].

At total price Λ = λ + μ it is worth going on from checkpoint k when Λ·E[U; R | F_k] exceeds the expected cost to go,
both under the policy's own later decisions. By optional stopping [T4]

    E[U; R | F_k] = M_k − E[M_τ; discarded | F_k],

so with the **burden** B = cost to go + Λ·M_τ·1{discarded later} going on is worth Λ·M_k − E[B | F_k]. On recorded
attempts B is observed; the worth is an isotonic regression on ω_k (regression Monte Carlo: Longstaff and Schwartz 2001,
Tsitsiklis and Van Roy 2001), with F_k summarised by ω_k, which weighs the posterior against the cost to go. Reading the
lost utility from M_τ instead of the few accepted attempts in a low range keeps the thresholds smooth in Λ. So each
policy is one threshold per checkpoint: discard iff ω_k is below it.

The path is a sequence of prices from high to low, the same for every family of traces relative to its own cost per
accepted ρ: families that walk it in step lose good samples where they buy most [T9]. At each price

* each threshold is the mean of the recursion's and of ρ/(ρ + Λ), where going on to the end is worth nothing
  (Λ·M_k = r_k): the latter is optimal when later evidence changes nothing, and does not depend on the sample as the
  regressions do;
* a plain length cap (discard everything from a checkpoint on) is added if one lowers cost + Λ·lost: late in the text,
  where attempts are too few for a regression, a cap is what can still be learned;
* no threshold is below that of a higher price. So every policy discards all that those before it discard, no later,
  and loses no fewer good samples: a family that stays behind its pool loses no more than was tested.

It ends at the policy with the least cost per accepted sample, the sample's own fixed point of Dinkelbach's iteration.
Lost good samples are counted half as observed and half as Σ M_τ [T4]; the mean is steadier than either.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from msifr_policy.checkpoints import discards, first_rows
from msifr_policy.evidence.table import EvidenceTable

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_MIN_ROWS = 30
_MOST_BLOCKS = 40
_N_CAPS = 24
# Constant thresholds ρ/(ρ + Λ), which stand for the prices: close together where few good samples are lost.
_LEVELS = np.linspace(0.06, 0.85, 80) ** 2


@dataclass(frozen=True, slots=True)
class PolicyPath:
    """Policies from conservative to aggressive.

    thresholds: `[J, K]`, one row per policy; J is 0 when no policy makes accepted samples cheaper. prices: `[J]` total
    price Λ, decreasing; the j-th, relative to rho_full, is the same on every path. losses: `[J]` share of the good
    samples it loses, as estimated. rho_full, rho_best: cost per accepted sample without a policy, and with the last of
    the path, on the fitting data.
    """

    thresholds: Array
    prices: Array
    losses: Array
    rho_full: float
    rho_best: float


def thresholds_at_price(table: EvidenceTable, M: Array, worth: Array, price: float) -> Array:
    """Return `[K]` the optimal thresholds at total price Λ = `price`, by the recursion of the module docstring.

    M and worth `[R]` are cross-fitted. Consecutive checkpoints share a threshold until they have enough rows.
    """
    return _induct(table, M, _blocks(table, worth), price)


def good_samples_lost(table: EvidenceTable, M: Array, stop: Integers) -> Array:
    """Return `[N]` good samples lost by discarding at rows `stop` `[N]`: half as observed, half M_τ [T4]."""
    return np.where(stop >= 0, (table.accepted + M[np.maximum(stop, 0)]) / 2, 0.0)


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows of consecutive checkpoints that share a threshold, sorted; what the regression needs of their worth.

    An attempt may have several rows here: `owner` are the attempts, `first` where each begins in `rows`. `levels` are
    the distinct values of `worth`, `level` the one of each row, `counts` how often each occurs.
    """

    rows: Integers
    owner: Integers
    first: Integers
    worth: Array
    levels: Array
    level: Integers
    counts: Integers


def _blocks(table: EvidenceTable, worth: Array) -> list[_Block]:
    rows = np.flatnonzero(table.is_checkpoint)
    if len(rows) < _MIN_ROWS:
        return []
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
    blocks = []
    attempt = table.attempt
    for number in range(block + 1):
        here = rows[block_of[table.k[rows]] == number]
        owner, first = np.unique(attempt[here], return_index=True)
        levels, level, occurs = np.unique(worth[here], return_inverse=True, return_counts=True)
        blocks.append(_Block(here, owner, first, worth[here], levels, level, occurs))
    return blocks


def _induct(table: EvidenceTable, M: Array, blocks: list[_Block], price: float) -> Array:
    thresholds = np.zeros(max(table.n_checkpoints, 1))
    # Burden of each attempt seen from the row where it had `paid`; at the end there is none.
    burden = np.zeros(table.n_attempts)
    paid = table.cost.copy()
    attempt = table.attempt
    for block in reversed(blocks):
        rows, owner = block.rows, block.owner
        onward = (burden + paid)[attempt[rows]] - table.spent[rows]
        threshold = _zero_crossing(block, price * M[rows] - onward)
        thresholds[table.k[rows].min() - 1 : table.k[rows].max()] = threshold
        # The first row below the threshold discards the attempt.
        stop = first_rows(discards(block.worth, threshold), np.append(block.first, len(rows)))
        entry, discarded = rows[block.first], stop >= 0
        at = rows[np.maximum(stop, 0)]
        to_go = np.where(discarded, table.spent[at], (burden + paid)[owner]) - table.spent[entry]
        burden[owner] = to_go + np.where(discarded, price * M[at], 0.0)
        paid[owner] = table.spent[entry]
    return thresholds


def _zero_crossing(block: _Block, going_on: Array) -> float:
    """Return where the isotonic regression of `going_on` `[n]` on the worth becomes positive, in [0, 1]."""
    means = np.bincount(block.level, going_on) / block.counts
    worth = isotonic_regression(means, weights=block.counts).x > 0
    keeps = len(worth) - int(worth.sum())  # the regression increases: the first level worth going on from
    if keeps == 0:
        return 0.0
    if keeps == len(worth):
        return 1.0
    # Half way between the best that is discarded and the worst that is kept.
    return float(np.clip((block.levels[keeps - 1] + block.levels[keeps]) / 2, 0.0, 1.0))


def fit_path(table: EvidenceTable, M: Array, worth: Array) -> PolicyPath:
    """Return the path on `table` with cross-fitted posterior M and worth, `[R]` each."""
    n_accepted = table.n_accepted
    blocks = _blocks(table, worth)
    if n_accepted in (0, table.n_attempts) or not blocks:
        return PolicyPath(np.zeros((0, 1)), np.zeros(0), np.zeros(0), np.inf, np.inf)
    rho_full = table.cost_per_accepted
    prices = rho_full * (1 - _LEVELS) / _LEVELS
    caps = _caps(table.n_checkpoints)
    at_cap = [table.stops(worth, cap) for cap in caps]
    policies = []
    for level, price in zip(_LEVELS, prices, strict=True):
        thresholds = (level + _induct(table, M, blocks, float(price))) / 2
        stop = table.stops(worth, thresholds)
        outcomes = np.asarray([_spent_and_lost(table, M, _earlier(stop, other)) for other in at_cap])
        policies.append(np.maximum(thresholds, caps[(outcomes @ [1.0, price]).argmin()]))
    nested = np.maximum.accumulate(policies)
    spent, lost = np.asarray([_spent_and_lost(table, M, table.stops(worth, each)) for each in nested]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.append(rho_full, np.where(lost < n_accepted, spent / (n_accepted - lost), np.inf))
    end = int(rho.argmin())
    return PolicyPath(nested[:end], prices[:end], lost[:end] / n_accepted, rho_full, float(rho[end]))


def _caps(K: int) -> Array:
    """Return `[C, K]` thresholds: of no cap, then of caps at up to `_N_CAPS` checkpoints."""
    starts = np.unique(np.linspace(0, K, min(K, _N_CAPS) + 1).round().astype(np.int64))[::-1]
    return (np.arange(K) >= starts[:, None]).astype(np.float64)


def _earlier(one: Integers, other: Integers) -> Integers:
    """Return the earlier of two stopping rows, elementwise; −1 is never."""
    return np.where((one < 0) | ((other >= 0) & (other < one)), other, one)


def _spent_and_lost(table: EvidenceTable, M: Array, stop: Integers) -> tuple[float, float]:
    return float(table.cost_until(stop).sum()), float(good_samples_lost(table, M, stop).sum())
