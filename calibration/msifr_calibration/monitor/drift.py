"""Has the evidence changed, or the share of accepted samples, since the policy was certified?

The file of a policy tells how the evidence of certified attempts lay at one checkpoint (`msifr_policy.reference`). A
run is held against it at **looks**: after the first 200 prompts, after the next 400, after the next 800, and so on,
each time by the prompts since the look before, so that a change is not drowned in the time before it. One attempt of
each prompt counts, drawn by a hash of its id, as attempts of one prompt are not independent.

At look j = 1, 2, … all columns together have the level δ/2ʲ, shared by Holm's method: over a whole life, what names any
column falsely happens with probability δ at most. Each test is of two samples: chi-squared of the bins, and of how many
attempts come to the checkpoint; and the difference of acceptance rates, by weight, over its standard error. These are
right for many prompts, not exactly; bins with few attempts are joined. With many prompts a small change is found as
well, so its size is told: the total variation between the shares of the bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import scipy
from numpy.typing import NDArray

from msifr_policy.records.ledger import Entry, id_digest
from msifr_policy.reference import NOT_KNOWN, Reference

FIRST_LOOK = 200
REACHED, ACCEPTANCE = "attempts that come so far", "acceptance"

_SPARSE = 10
"""Attempts in both samples together below which a bin is joined to the next."""


class Drift(msgspec.Struct, frozen=True):
    """A column of evidence that has changed, or the attempts that come so far, or acceptance.

    size: total variation between the shares of the bins, or the difference of the shares; prompt: after how many
    prompts it was seen first.
    """

    column: str
    size: float
    p_value: float
    prompt: int
    words: str


class _Test(NamedTuple):
    column: str
    p_value: float
    size: float
    words: str


class DriftTest:
    """The looks along one run, with level δ for all of them; `columns` are those of the reference."""

    def __init__(self, reference: Reference, columns: Sequence[str], level: float = 0.05) -> None:
        self.found: list[Drift] = []
        self._reference, self._columns, self._level = reference, columns, level
        self._prompts = self._look = 0
        self._start_window()

    def _start_window(self) -> None:
        self._n = self._n_reached = 0
        self._bins = [np.zeros(len(counts), dtype=np.int64) for counts in self._reference.counts]
        self._weighted: list[float] = []
        self._unseen = False  # discards are never audited: by weight nothing can be said

    def add(self, entries: Sequence[Entry]) -> None:
        """Take the attempts of one prompt."""
        self._prompts += 1
        made = [entry for entry in entries if entry.outcome != "failed"]
        if not made:
            return
        entry = min(made, key=_draw) if len(made) > 1 else made[0]
        self._n += 1
        self._weighted.append(entry.weight if entry.outcome == "accepted" else 0.0)
        self._unseen |= entry.outcome == "discarded"
        if len(entry.bins) == len(self._bins):
            self._n_reached += 1
            for counts, bin_ in zip(self._bins, entry.bins, strict=True):
                place = -1 if bin_ == NOT_KNOWN else min(int(bin_), len(counts) - 2)
                counts[place] += 1
        if self._n == FIRST_LOOK * 2**self._look:
            self._take_look()

    def _take_look(self) -> None:
        self._look += 1
        tests = sorted(self._tests(), key=lambda test: test.p_value)
        level = self._level / 2**self._look
        named = {each.column for each in self.found}
        for i, test in enumerate(tests):
            if test.p_value > level / (len(tests) - i):
                break
            if test.column not in named:
                self.found.append(Drift(test.column, test.size, test.p_value, self._prompts, test.words))
        self._start_window()

    def _tests(self) -> list[_Test]:
        of = self._reference
        tests = []
        for column, counts, seen in zip(self._columns, of.counts, self._bins, strict=True):
            p_value, size = _compared(np.asarray(counts), seen)
            tests.append(_Test(column, p_value, size, f"{column}: {size:.0%} of its values lie elsewhere"))
        p_value, size = _compared(
            np.asarray([of.reached, of.n_prompts - of.reached]),
            np.asarray([self._n_reached, self._n - self._n_reached]),
        )
        then, now = of.reached / max(of.n_prompts, 1), self._n_reached / self._n
        tests.append(_Test(REACHED, p_value, size, f"{now:.0%} come to checkpoint {of.checkpoint}, not {then:.0%}"))
        weighted = np.asarray(self._weighted)
        if not self._unseen or weighted.max(initial=0.0) > 1:
            then, now = of.accepted / max(of.n_prompts, 1), float(weighted.mean())
            error = np.sqrt(then * (1 - then) / max(of.n_prompts, 1) + weighted.var() / len(weighted))
            p_value = float(2 * scipy.stats.norm.sf(abs(now - then) / error)) if error else float(now == then)
            tests.append(_Test(ACCEPTANCE, p_value, abs(now - then), f"{now:.0%} are accepted, not {then:.0%}"))
        return tests


def _draw(entry: Entry) -> bytes:
    return id_digest(entry.id)


def _compared(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[float, float]:
    """Return the p-value of the chi-squared test that two samples have the same shares, and their total variation."""
    if not one.sum() or not other.sum():
        return 1.0, 0.0
    size = float(np.abs(one / one.sum() - other / other.sum()).sum() / 2)
    table: list[NDArray[np.int64]] = []
    for column in np.stack([one, other], axis=1):
        if table and table[-1].sum() < _SPARSE:
            table[-1] = table[-1] + column
        else:
            table.append(column)
    if len(table) > 1 and table[-1].sum() < _SPARSE:
        last = table.pop()
        table[-1] = table[-1] + last
    joined = np.stack(table, axis=1)
    return (float(scipy.stats.chi2_contingency(joined, correction=False).pvalue) if len(table) > 1 else 1.0), size
