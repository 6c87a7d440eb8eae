"""What all policies of a path do to a table.

Each discards whatever those before it do, so one pass over the rows tells it of all (`nested`), unless they read the
history, which each of them makes for itself: then one after the other is replayed (`replayed`).
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from msifr_policy.beliefs import Beliefs
from msifr_policy.checkpoints import at_checkpoint, discards
from msifr_policy.evidence.history import Follower, reads_history
from msifr_policy.evidence.table import EvidenceTable

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

NEVER = int(np.iinfo(np.int64).max)
_ROWS = 2**16


@dataclass(frozen=True, slots=True)
class Nested:
    """N attempts under J policies from conservative to aggressive.

    first: `[N]` the first policy that discards the attempt, NEVER if none does. spent: `[J]` cost of all attempts until
    then; lost: `[J]` accepted ones that are discarded; expected: `[J]` Σ M_τ over the discarded [T4]. discarded: `[J,
    N]` which attempts each policy discards, where these need not grow from one to the next.
    """

    first: Integers
    spent: Array
    lost: Array
    expected: Array
    discarded: NDArray[np.bool_] | None = None

    @property
    def outcomes(self) -> Array:
        """`[J, 2]`: cost, and good samples lost, half as observed and half Σ M_τ (`path.good_samples_lost`)."""
        return np.stack([self.spent, (self.lost + self.expected) / 2], axis=1)

    def discards(self, step: int) -> NDArray[np.bool_]:
        """Return `[N]` what policy `step` discards, or the last one for those beyond."""
        if self.discarded is None:
            return self.first <= step
        none = np.zeros(len(self.first), dtype=bool)
        return self.discarded[min(step, len(self.discarded) - 1)] if len(self.discarded) else none


def replayed(
    table: EvidenceTable,
    beliefs: Beliefs,
    known: tuple[Array, Array],
    thresholds: Array,
    give_up: NDArray[np.bool_] | None = None,
) -> Nested:
    """Return what the policies of `thresholds` `[J, K + 1]` do that act on `beliefs`.

    known: (M_k, ω_k) `[R]` each of the table as it is. give_up: `[J, m, n]`, when each gives prompts up.
    """
    if not reads_history(table):
        return nested(table, *known, thresholds)
    J, N = len(thresholds), table.n_attempts
    discarded, totals = np.zeros((J, N), dtype=bool), np.zeros((3, J))
    follower = Follower(table, beliefs.worth, known)
    for j, each in enumerate(thresholds):
        rule = None if give_up is None else give_up[j]
        if j and (each == thresholds[j - 1]).all() and (give_up is None or (rule == give_up[j - 1]).all()):
            discarded[j], totals[:, j] = discarded[j - 1], totals[:, j - 1]  # one policy at two prices
            continue
        followed = follower.follow(each, rule)
        discarded[j] = followed.stop >= 0
        expected = followed.M[followed.stop[discarded[j]]]
        spent, lost = table.cost_until(followed.stop), table.accepted & discarded[j]
        totals[:, j] = spent.sum(), lost.sum(), expected.sum()
    first = np.where(discarded.any(axis=0), discarded.argmax(axis=0), NEVER) if J else np.full(N, NEVER)
    return Nested(first, totals[0], totals[1], totals[2], discarded)


def nested(table: EvidenceTable, M: Array, worth: Array, thresholds: Array) -> Nested:
    """Return what policies do whose `thresholds` `[J, K + 1]` never fall from one to the next; M, worth `[R]`."""
    J, cost = len(thresholds), table.cost
    first = np.full(table.n_attempts, NEVER)
    changes = np.zeros((2, J + 1))
    # Some attempts at a time: sums add up, and what is made of their rows stays small.
    bounds = np.searchsorted(table.start, np.append(np.arange(0, len(table.k), _ROWS), len(table.k)))
    for i, j in pairwise(np.unique(bounds).tolist() if J else []):
        row, attempt, least = _stops(table, worth, thresholds, range(i, j))
        begins = np.ones(len(row), dtype=bool)
        begins[1:] = attempt[1:] != attempt[:-1]
        before = np.full(len(row), J)
        before[1:] = np.where(begins[1:], J, least[:-1])
        # Here stop the policies from `least` on that have not stopped before.
        new = least < before
        row, attempt, least, before = row[new], attempt[new], least[new], before[new]
        np.minimum.at(first, attempt, least)
        for change, amounts in zip(changes, (cost[attempt] - table.spent[row], M[row]), strict=True):
            change += np.bincount(least, amounts, J + 1) - np.bincount(before, amounts, J + 1)
    saved, expected = np.cumsum(changes, axis=1)[:, :J]
    lost = np.bincount(first[table.accepted & (first < NEVER)], minlength=J)
    return Nested(first, cost.sum() - saved, np.cumsum(lost, dtype=np.float64), expected)


def _stops(
    table: EvidenceTable, worth: Array, thresholds: Array, attempts: range
) -> tuple[Integers, Integers, Integers]:
    """Return where some policy discards, `[n]` each: row, attempt, and the first policy that has by then."""
    J, K = thresholds.shape  # checkpoint 0 among the K
    start = table.start[attempts.start : attempts.stop + 1]
    rows = slice(int(start[0]), int(start[-1]))
    # Where the last policy does not discard, none does.
    due = discards(worth[rows], at_checkpoint(thresholds[-1], table.k[rows]))
    due[start[1:] - 1 - start[0]] = False
    row = np.flatnonzero(due) + start[0]
    attempt = np.repeat(np.arange(len(start) - 1), np.diff(start))[row - start[0]]
    column = np.minimum(table.k[row], K - 1).astype(np.min_scalar_type(K))
    order = np.argsort(column, kind="stable")
    bounds = np.searchsorted(column[order], np.arange(K + 1))
    first = np.empty(len(row), dtype=np.int64)
    for k in np.flatnonzero(np.diff(bounds)).tolist():
        here = order[bounds[k] : bounds[k + 1]]
        first[here] = np.searchsorted(thresholds[:, k], worth[row[here]], side="right")
    # The least so far, along each attempt. They lie end to end: what is taken away grows from one to the next, so that
    # none sees the least of those before.
    offset = attempt * (J + 1)
    return row, attempt + attempts.start, np.minimum.accumulate(first - offset) + offset
