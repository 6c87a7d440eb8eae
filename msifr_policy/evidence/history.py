"""The history of an attempt: how earlier attempts at its prompt ended; and policies that read it, replayed exactly.

Attempts at one prompt follow each other: by the number that their ids end in, if all of the table do ("q1/7/0", …),
else in the order of the table. An attempt knows how those before it ended (`validators.history`). Where a policy
discards an earlier one, its outcome is never seen: it counts as rejected, unless it was discarded before its first
token, which tells nothing. So what an attempt knows depends on the policy, and a policy is replayed one attempt after
the other.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.validators import History, Verdict, describe

COLUMNS = tuple(f"{History.name}.{column}" for column in History.columns)

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Worth = Callable[[Integers, Array], tuple[Array, Array]]
"""(M_k, ω_k) of checkpoints `[R]` with evidence `[R, D]`, as `Beliefs.worth` gives them."""


def reads_history(table: EvidenceTable) -> bool:
    """Return whether the table has the columns of the history."""
    return set(COLUMNS) <= set(table.columns)


def told_history(table: EvidenceTable) -> Array:
    """Return `[N, 2]` the columns of the history of each attempt, as if nothing were discarded."""
    order = _Order.of(table)
    return np.stack([order.before(table.accepted), order.before(~table.accepted)], axis=1)


def filled(table: EvidenceTable) -> EvidenceTable:
    """Return `table` with its columns of the history filled in; itself without them."""
    if not reads_history(table):
        return table
    values = table.values.copy()
    values[:, _places(table)] = told_history(table)[table.attempt]
    return replace(table, values=values)


def with_history(table: EvidenceTable) -> EvidenceTable:
    """Return `table` with the history as its last validator, as if it had been built with it; itself if it has it."""
    if reads_history(table):
        return table
    with_columns = table.with_scores(COLUMNS, told_history(table)[table.attempt])
    unknown = np.full((len(table.k), 1), Verdict.UNKNOWN, dtype=np.int8)
    return replace(
        with_columns,
        verdicts=np.hstack([table.verdicts, unknown]),
        validators=(*table.validators, describe(History())),
    )


def has_history(table: EvidenceTable) -> bool:
    """Return whether there are earlier attempts to learn from: two or more per prompt, on average."""
    return table.n_attempts >= 2 * table.n_prompts > 0


class Followed(NamedTuple):
    """A policy along a table, under the history that it makes itself.

    M, worth: `[R]` posterior and worth of the rows of `table`. stop: `[N]` the row where the attempt is discarded, −1:
    never. told: `[N, 2]` the columns of the history; None if the table has none.
    """

    table: EvidenceTable
    M: Array
    worth: Array
    stop: Integers
    told: Array | None = None

    def values(self, rows: Integers) -> Array:
        """Return the evidence `[n, D]` of some rows, as the policy saw it."""
        values: Array = self.table.values[rows]
        if self.told is not None:
            values[:, _places(self.table)] = self.told[self.table.attempt[rows]]
        return values


def follow(
    table: EvidenceTable, worth_of: Worth, thresholds: Array, known: tuple[Array, Array] | None = None
) -> Followed:
    """Return what the policy of `thresholds` `[K + 1]` does, each attempt with the history that the policy made.

    known: (M_k, ω_k) of the table as it is. Attempts that are not in the table count as they did when it was made.
    Attempt i is right after i rounds, and a round only looks at attempts whose history has changed.
    """
    M, worth = worth_of(table.k, table.values) if known is None else known
    stop = table.stops(worth, thresholds)
    if not reads_history(table):
        return Followed(table, M, worth, stop)
    M, worth = M.copy(), worth.copy()
    order, places = _Order.of(table), _places(table)
    told = recorded = table.values[table.start[:-1]][:, places]
    for _ in range(order.longest):
        discarded, begun = stop >= 0, table.k[np.maximum(stop, 0)] > 0
        lost = order.before(table.accepted & discarded)
        unseen = order.before(~table.accepted & discarded & ~begun)
        now = recorded + np.stack([-lost, order.before(table.accepted & discarded & begun) - unseen], axis=1)
        changed = np.flatnonzero((now != told).any(axis=1) & np.isfinite(now).all(axis=1))
        if not len(changed):
            break
        rows = table.rows_of(changed)
        values = table.values[rows]
        values[:, places] = now[table.attempt[rows]]
        M[rows], worth[rows] = worth_of(table.k[rows], values)
        stop, told = table.stops(worth, thresholds), now
    return Followed(table, M, worth, stop, told)


class _Order(NamedTuple):
    """order: `[N]` attempts, prompt by prompt, in the order of each; first: `[N]` where those of its prompt begin."""

    order: Integers
    first: Integers
    longest: int

    @classmethod
    def of(cls, table: EvidenceTable) -> "_Order":
        order = np.lexsort((np.arange(table.n_attempts), _numbers(table.attempt_ids), table.prompt))
        prompt = table.prompt[order]
        return cls(order, np.searchsorted(prompt, prompt), int(np.bincount(table.prompt).max(initial=0)))

    def before(self, counts: NDArray[np.bool_]) -> Array:
        """Return `[N]` how many of the earlier attempts at its prompt `counts` `[N]`."""
        sums = np.concatenate(([0], np.cumsum(counts[self.order])))
        result = np.empty(len(counts))
        result[self.order] = sums[:-1] - sums[self.first]
        return result


def _places(table: EvidenceTable) -> list[int]:
    return [table.columns.index(column) for column in COLUMNS]


def _numbers(attempt_ids: tuple[str, ...]) -> Integers:
    """Return `[N]` the number that each id ends in, or zeros unless all of them do."""
    last = [attempt_id.rpartition("/")[2] for attempt_id in attempt_ids]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in last):
        return np.zeros(len(last), dtype=np.int64)
    return np.asarray(list(map(int, last)), dtype=np.int64)
