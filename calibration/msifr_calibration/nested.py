"""What all policies of a path do to a table, in one pass over its rows: each discards whatever those before it do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msifr_policy.evidence.table import EvidenceTable

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

NEVER = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Nested:
    """N attempts under J policies from conservative to aggressive.

    first: `[N]` the first policy that discards the attempt, NEVER if none does. spent: `[J]` cost of all attempts until
    then; lost: `[J]` accepted ones that are discarded; expected: `[J]` Σ M_τ over the discarded [T4].
    """

    first: Integers
    spent: Array
    lost: Array
    expected: Array


def nested(table: EvidenceTable, M: Array, worth: Array, thresholds: Array) -> Nested:
    """Return what the policies of `thresholds` `[J, K]`, which never fall from one to the next, do; M, worth `[R]`."""
    n_policies = len(thresholds)
    if not n_policies or not table.n_attempts:
        nothing = np.zeros(n_policies)
        return Nested(np.full(table.n_attempts, NEVER), nothing, nothing, nothing)
    attempt = table.attempt
    # At each row the first policy that discards there; along an attempt the least so far. Attempts lie end to end: what
    # is taken away grows from one to the next, so that none sees the least of those before.
    offset = attempt * (n_policies + 1)
    least = np.minimum.accumulate(_first_at_rows(table, worth, thresholds) - offset) + offset
    before = np.empty_like(least)
    before[1:] = least[:-1]
    before[table.start[:-1]] = n_policies
    drops = np.flatnonzero(least < before)
    rows_from, rows_to = least[drops], before[drops]

    def by_policy(amounts: Array) -> Array:
        """Return `[J]` the sums over all policies that stop at a row of what stopping there amounts to."""
        gains = np.bincount(rows_from, amounts, n_policies + 1) - np.bincount(rows_to, amounts, n_policies + 1)
        result: Array = np.cumsum(gains)[:n_policies]
        return result

    first = least[table.end]
    accepted = np.bincount(first, table.accepted, n_policies + 1)[:n_policies]
    return Nested(
        np.where(first < n_policies, first, NEVER),
        table.cost.sum() - by_policy(table.cost[attempt[drops]] - table.spent[drops]),
        np.cumsum(accepted),
        by_policy(M[drops]),
    )


def _first_at_rows(table: EvidenceTable, worth: Array, thresholds: Array) -> Integers:
    """Return `[R]` the first policy whose threshold is above the worth, J if none's is or no decision is due."""
    n_policies, K = thresholds.shape
    at = np.minimum(table.k, K) - 1
    first = np.empty(len(worth), dtype=np.int64)
    order = np.argsort(at, kind="stable")
    bounds = np.searchsorted(at[order], np.arange(K + 1))
    for k in range(K):
        rows = order[bounds[k] : bounds[k + 1]]
        first[rows] = np.searchsorted(thresholds[:, k], worth[rows], side="right")
    first[table.end] = n_policies
    return first
