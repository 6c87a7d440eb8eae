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
from numpy.typing import ArrayLike, NDArray

from msifr_calibration.nested import nested
from msifr_policy.checkpoints import discards
from msifr_policy.evidence.table import EvidenceTable

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_MIN_ROWS = 30
_MOST_BLOCKS = 40
_N_CAPS = 24
_MOST_CAPS = 64
_AT_ONCE = 2**18  # attempts times prices
# Constant thresholds ρ/(ρ + Λ), which stand for the prices: close together where few good samples are lost.
_LEVELS = np.linspace(0.06, 0.85, 80) ** 2


@dataclass(frozen=True, slots=True)
class PolicyPath:
    """Policies from conservative to aggressive.

    thresholds: `[J, K + 1]`, one row per policy, checkpoint 0 first; J is 0 when no policy makes accepted samples
    cheaper. prices: `[J]` total price Λ, decreasing; the j-th, relative to rho_full, is the same on every path. losses:
    `[J]` share of the good samples it loses, as estimated. rho_full, rho_best: cost per accepted sample without a
    policy, and with the last of the path, on the fitting data. give_up: `[J, m, n]`, when each policy gives prompts up
    (`evidence.history`).
    """

    thresholds: Array
    prices: Array
    losses: Array
    rho_full: float
    rho_best: float
    give_up: NDArray[np.bool_] | None = None


def thresholds_at_price(table: EvidenceTable, M: Array, worth: Array, price: float) -> Array:
    """Return `[K + 1]` the optimal thresholds at total price Λ = `price`, by the recursion of the module docstring.

    M and worth `[R]` are cross-fitted. Consecutive checkpoints share a threshold until they have enough rows.
    """
    thresholds: Array = _induct(table, M, _blocks(table, worth), np.asarray([price]))[0]
    return thresholds


def good_samples_lost(table: EvidenceTable, M: Array, stop: Integers) -> Array:
    """Return `[N]` good samples lost by discarding at rows `stop` `[N]`: half as observed, half M_τ [T4]."""
    return np.where(stop >= 0, (table.accepted + M[np.maximum(stop, 0)]) / 2, 0.0)


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows `[n]` of consecutive checkpoints that share a threshold; what the regression needs of their worth.

    An attempt may have several rows here: `owner` are the attempts, `first` where each begins in `rows`. `order` sorts
    the worth, `last` `[L]` is where each of its distinct values ends there; `edges` `[L + 1]` are thresholds between
    them.
    """

    rows: Integers
    owner: Integers
    first: Integers
    worth: Array
    order: Integers
    last: Integers
    edges: Array


def rows_together(table: EvidenceTable) -> list[Integers]:
    """Return the rows of consecutive checkpoints that share a threshold: enough of them for a regression."""
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
    return [rows[block_of[table.k[rows]] == number] for number in range(block + 1)]


def _blocks(table: EvidenceTable, worth: Array) -> list[_Block]:
    if table.is_checkpoint.sum() < _MIN_ROWS:
        return []
    blocks = []
    attempt = table.attempt
    for here in rows_together(table):
        owner, first = np.unique(attempt[here], return_index=True)
        order = np.argsort(worth[here], kind="stable")
        sorted_worth = worth[here[order]]
        last = np.append(np.flatnonzero(np.diff(sorted_worth)), len(here) - 1)
        levels = sorted_worth[last]
        # Half way between the best that is discarded and the worst that is kept.
        edges = np.concatenate([[0.0], np.clip((levels[:-1] + levels[1:]) / 2, 0.0, 1.0), [1.0]])
        blocks.append(_Block(here, owner, first, worth[here], order, last, edges))
    return blocks


def _induct(table: EvidenceTable, M: Array, blocks: list[_Block], prices: Array) -> Array:
    """Return `[J, K + 1]` the thresholds of the recursion at each of `prices` `[J]`, some prices at a time."""
    thresholds = np.zeros((len(prices), table.n_checkpoints + 1))
    some = max(1, _AT_ONCE // max(table.n_attempts, 1))
    for start in range(0, len(prices), some):
        _induct_some(table, M, blocks, prices[start : start + some, None], thresholds[start : start + some])
    return thresholds


def _induct_some(table: EvidenceTable, M: Array, blocks: list[_Block], price: Array, thresholds: Array) -> None:
    """Fill `thresholds` `[J, K + 1]` for `price` `[J, 1]`."""
    attempt = table.attempt
    # Burden of each attempt, with what it has paid before: at the end all it costs.
    burden = np.repeat(table.cost[None], len(price), axis=0)
    for block in reversed(blocks):
        rows, owner = block.rows, block.owner
        going_on = price * M[rows] - (burden[:, attempt[rows]] - table.spent[rows])
        threshold = _zero_crossings(block, going_on)
        thresholds[:, table.k[rows].min() : table.k[rows].max() + 1] = threshold
        # The first row below the threshold discards the attempt.
        below = np.where(discards(block.worth, threshold), np.arange(len(rows)), len(rows))
        stop = np.minimum.reduceat(below, block.first, axis=1)
        at = rows[np.minimum(stop, len(rows) - 1)]
        burden[:, owner] = np.where(stop < len(rows), table.spent[at] + price * M[at], burden[:, owner])


def _zero_crossings(block: _Block, going_on: Array) -> Array:
    """Return `[J, 1]` where the isotonic regression of `going_on` `[J, n]` on the worth becomes positive, in [0, 1].

    The regression is the slope of the greatest convex minorant of the sums so far (Barlow et al. 1972): positive beyond
    the last place where these are least.
    """
    sums = np.zeros((len(going_on), len(block.last) + 1))
    sums[:, 1:] = np.cumsum(going_on[:, block.order], axis=1)[:, block.last]
    kept = np.argmin(sums[:, ::-1], axis=1)
    result: Array = block.edges[len(block.last) - kept, None]
    return result


def fit_path(table: EvidenceTable, M: Array, worth: Array, *, skip_prompts: bool = True) -> PolicyPath:
    """Return the path on `table` with cross-fitted posterior M and worth, `[R]` each.

    Without `skip_prompts` nothing is discarded at checkpoint 0: every attempt is begun.
    """
    n_accepted = table.n_accepted
    blocks = _blocks(table, worth)
    if n_accepted in (0, table.n_attempts) or not blocks:
        return NO_POLICIES
    prices = path_prices(table)
    caps = _caps(table.n_checkpoints)
    at_cap = np.asarray([table.stops(worth, cap) for cap in caps])
    policies = (_LEVELS[:, None] + _induct(table, M, blocks, prices)) / 2
    policies[:, 0] *= skip_prompts
    for price, thresholds in zip(prices, policies, strict=True):
        outcomes = _with_caps(table, M, table.stops(worth, thresholds), at_cap)
        np.maximum(thresholds, caps[(outcomes @ [1.0, price]).argmin()], out=thresholds)
    policies = np.maximum.accumulate(policies)
    return until_cheapest(table, policies, prices, nested(table, M, worth, policies).outcomes)


def fit_length_path(table: EvidenceTable, M: Array) -> PolicyPath:
    """Return the path of plain length caps at checkpoints, at the same prices; M `[R]` as for `fit_path`.

    At each price the cap with the least cost + Λ·lost, never a later one than at a higher price; before the first of
    them all later caps one by one, so that the path begins where nothing is lost, however few good samples there are.
    """
    K = table.n_checkpoints
    if table.n_accepted in (0, table.n_attempts) or not K:
        return NO_POLICIES
    prices = path_prices(table)
    caps = np.flip(np.triu(np.ones((K, K + 1)), 1), axis=0)  # the latest first
    outcomes = nested(table, M, np.zeros(len(table.k)), caps).outcomes
    chosen = np.maximum.accumulate([int((outcomes @ [1.0, price]).argmin()) for price in prices])
    # As many steps on every path: those of a pool are walked together, at one price.
    before = np.maximum(chosen[0] - np.arange(_MOST_CAPS, 0, -1), 0)
    chosen = np.concatenate([before, chosen])
    prices = np.concatenate([np.full(_MOST_CAPS, prices[0]), prices])
    return until_cheapest(table, caps[chosen], prices, outcomes[chosen])


NO_POLICIES = PolicyPath(np.zeros((0, 1)), np.zeros(0), np.zeros(0), np.inf, np.inf)
"""The path where no policy makes accepted samples cheaper."""


def path_prices(table: EvidenceTable) -> Array:
    """Return `[J]` the total prices of a path, from high to low: the same on all, relative to ρ."""
    result: Array = table.cost_per_accepted * (1 - _LEVELS) / _LEVELS
    return result


def until_cheapest(
    table: EvidenceTable,
    thresholds: Array,
    prices: Array,
    outcomes: ArrayLike,
    give_up: NDArray[np.bool_] | None = None,
) -> PolicyPath:
    """Return the path of `thresholds` `[J, K + 1]` to the least cost per accepted; outcomes `[J, 2]`: spent, lost."""
    spent, lost = np.asarray(outcomes).T
    n_accepted, rho_full = table.n_accepted, table.cost_per_accepted
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.append(rho_full, np.where(lost < n_accepted, spent / (n_accepted - lost), np.inf))
    end = int(rho.argmin())
    rules = None if give_up is None else give_up[:end]
    return PolicyPath(thresholds[:end], prices[:end], lost[:end] / n_accepted, rho_full, float(rho[end]), rules)


def _caps(K: int) -> Array:
    """Return `[C, K + 1]` thresholds: of no cap, then of caps at up to `_N_CAPS` checkpoints from 1 on."""
    starts = np.unique(np.linspace(1, K + 1, min(K, _N_CAPS) + 1).round().astype(np.int64))[::-1]
    return (np.arange(K + 1) >= starts[:, None]).astype(np.float64)


def _with_caps(table: EvidenceTable, M: Array, stop: Integers, at_cap: Integers) -> Array:
    """Return `[C, 2]` cost and good samples lost of stopping at row `stop` `[N]` or `at_cap` `[C, N]`, the earlier.

    −1 is never.
    """
    by_cap = (at_cap >= 0) & ((stop < 0) | (at_cap < stop))
    cap, attempt = np.nonzero(by_cap)
    rows = at_cap[cap, attempt]
    spent, lost = table.cost_until(stop), good_samples_lost(table, M, stop)
    more_spent = table.spent[rows] - spent[attempt]
    more_lost = (table.accepted[attempt] + M[rows]) / 2 - lost[attempt]
    more = [np.bincount(cap, each, len(at_cap)) for each in (more_spent, more_lost)]
    result: Array = np.stack(more, axis=1) + np.asarray([spent.sum(), lost.sum()])
    return result
