"""The history of an attempt: how earlier attempts at its prompt ended; and policies that read it, replayed exactly.

Attempts at one prompt follow each other: by the number that their ids end in, if all of the table do ("q1/7/0", …),
else in the order of the table, which is that of their ids. In no case by the place of their records in a file: a run
writes what ends first, first, and other files are sorted by outcome. An attempt knows how those before it ended
(`validators.history`). Where a policy discards an earlier one, its outcome is never seen: it counts as rejected, unless
it was discarded before its first token, which tells nothing. So what an attempt knows depends on the policy, and a
policy is replayed one attempt after the other.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.validators import History, Verdict, describe

COLUMNS = tuple(f"{History.name}.{column}" for column in History.columns)

MOST_ATTEMPTS: Final = 1024

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
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


def in_quota(table: EvidenceTable, accepted: int, attempts: int) -> EvidenceTable:
    """Return the attempts that a run makes that wants `accepted` samples of each prompt from at most `attempts`."""
    told = told_history(table)
    return table.take(np.flatnonzero((told[:, 0] < accepted) & (told.sum(axis=1) < attempts)))


class PromptQuota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many `accepted` samples of each prompt from at most so many `attempts`, and when to give a prompt up.

    give_up: `[attempts][accepted]`, whether to after i attempts with j accepted, by `exact.quota`.
    """

    accepted: Annotated[int, Meta(ge=1, le=MOST_ATTEMPTS)]
    attempts: Annotated[int, Meta(ge=1, le=MOST_ATTEMPTS)]
    give_up: list[list[bool]]

    def __post_init__(self) -> None:
        if len(self.give_up) != self.attempts or {len(row) for row in self.give_up} != {self.accepted}:
            raise InputError(f"give_up is not a table of {self.attempts} x {self.accepted}", where="quota")


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


def gives_up(give_up: Flags, told: Array) -> Flags:
    """Return `[N]` whether prompts are given up before attempts that are `told` `[N, 2]` this history.

    give_up: `[m, n]`, after i attempts with j accepted; nothing is given up where the history is beyond it or unknown.
    """
    known = np.isfinite(told).all(axis=1, keepdims=True)
    j, rejected = np.where(known, told, -1).astype(np.int64).T
    i = j + rejected
    m, n = give_up.shape
    result: Flags = give_up[np.clip(i, 0, m - 1), np.clip(j, 0, n - 1)]
    inside: Flags = (i >= 0) & (i < m) & (j >= 0) & (j < n)
    return result & inside


class Follower:
    """Follows policies along one table, each with the history that it makes itself.

    worth_of: M_k and ω_k of the policies' beliefs; known: those of the table as it is. Attempts that are not in the
    table count as they did when it was made.
    """

    def __init__(self, table: EvidenceTable, worth_of: Worth, known: tuple[Array, Array] | None = None) -> None:
        self._table, self._worth_of = table, worth_of
        self._M, self._worth = worth_of(table.k, table.values) if known is None else known
        if reads_history(table):
            self._order, self._places, self._first = _Order.of(table), _places(table), table.start[:-1]
            self._recorded: Array = table.values[self._first][:, self._places]

    def follow(self, thresholds: Array, give_up: Flags | None = None) -> Followed:
        """Return what the policy of `thresholds` `[K + 1]` does.

        give_up: `[m, n]`, after how many attempts with how many accepted no other one is begun (`gives_up`). Attempt i
        is right after i rounds, and a round only looks at attempts whose history has changed.
        """
        table, M, worth = self._table, self._M, self._worth
        if not reads_history(table):
            return Followed(table, M, worth, table.stops(worth, thresholds))
        told = self._recorded
        stop = self._stops(worth, thresholds, give_up, told)
        for _ in range(self._order.longest):
            now = self._told(stop)
            changed = np.flatnonzero((now != told).any(axis=1) & np.isfinite(now).all(axis=1))
            if not len(changed):
                break
            if told is self._recorded:
                M, worth = M.copy(), worth.copy()
            rows = table.rows_of(changed)
            values = table.values[rows]
            values[:, self._places] = now[table.attempt[rows]]
            M[rows], worth[rows] = self._worth_of(table.k[rows], values)
            told = now
            stop = self._stops(worth, thresholds, give_up, told)
        return Followed(table, M, worth, stop, told)

    def _told(self, stop: Integers) -> Array:
        """Return `[N, 2]` the history of each attempt when attempts stop at rows `stop`."""
        accepted, before = self._table.accepted, self._order.before
        discarded, begun = stop >= 0, self._table.k[np.maximum(stop, 0)] > 0
        unseen = before(~accepted & discarded & ~begun)
        moved = np.stack([-before(accepted & discarded), before(accepted & discarded & begun) - unseen], axis=1)
        result: Array = self._recorded + moved
        return result

    def _stops(self, worth: Array, thresholds: Array, give_up: Flags | None, told: Array) -> Integers:
        stop = self._table.stops(worth, thresholds)
        if give_up is None:
            return stop
        up: Flags = gives_up(give_up, told) & (self._table.k[self._first] == 0)
        return np.where(up, self._first, stop)


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
