"""Are the beliefs calibrated, and if not, where? A test by betting that holds at every moment [T12].

Where M_k is P(A | F_k), its increments have conditional mean zero, and so has what becomes of a bet that is placed at
checkpoint k and held to the end: 1 + ν_k·(A − M_k) has expectation 1 for any ν_k that is a function of F_k, and so has
1 + ν_k·(M_τ − M_k) where the attempt is discarded at τ and its outcome never seen. Audited attempts are seen to their
end; that they were drawn says nothing of how they end. ν_k = (q − M_k)/(M_k(1 − M_k)) makes the factor the likelihood
ratio of the outcome under q against M_k; q is M_k shifted on the scale of log-odds, or with log-odds stretched (beliefs
that are too timid) or shrunk (too bold).

Bets are placed in **places**: at each checkpoint, in each range of M, in each range at each checkpoint, in each group,
at the first checkpoint of the attempt that is there; and, as one more, at every checkpoint anew, the product of
1 + ν_k(M_{k+1} − M_k). Where an attempt ends is not known beforehand, so "the last belief before the end" is no place.

Attempts of one prompt are not independent, so their factors must not be multiplied. Their mean is a valid factor
whatever they have to do with each other, and the product of such means over prompts an e-process. The mixture over all
places and bets is what is tested; where it has reached 1/δ, the **place** is named where the bets have won most.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement

import msgspec
import numpy as np
import scipy
from numpy.typing import NDArray

from msifr_policy.records.ledger import Entry

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

_SHIFTS = np.array([0.3, 0.6, 1.2])
_SLOPES = np.array([0.5, 0.7, 1.4, 1.9])
# Shares of bets: small shifts take longest to be seen; a stretch is seen best by bets that are placed anew.
_HELD = np.array([*(2 * [0.175, 0.18, 0.03]), *(4 * [0.0575])])
_ANEW = np.array([*(6 * [0.02]), *(4 * [0.22])])
_N_BETS = len(_HELD)
_CHECKPOINTS = 12  # the last stands for all beyond it too
_EDGES = np.array([0.2, 0.4, 0.6, 0.8])
_RANGES = len(_EDGES) + 1
_GROUPS = 20  # the last stands for all that come after it too
_SURE = 7.0  # log-odds beyond which bets are as for this
_BLOCK = 32
_MOST = 1e200  # wealth stops here

# Places: all checkpoints anew, each checkpoint, each range, each range at each checkpoint, each group.
_FAMILIES = np.array([1, _CHECKPOINTS, _RANGES, _CHECKPOINTS * _RANGES, _GROUPS])
_OFFSETS = np.concatenate([[0], np.cumsum(_FAMILIES)[:-1]])
_SHARES = np.repeat(np.array([0.22, 0.16, 0.05, 0.06, 0.05]) / _FAMILIES, _FAMILIES)
_SHARES[[1, 2]] += 0.33, 0.13  # beliefs that are wrong from the beginning are seen soonest at checkpoints 0 and 1
_PRIOR = _SHARES[:, None] * np.where(np.arange(len(_SHARES))[:, None] > 0, _HELD, _ANEW)
_N_PLACES = len(_SHARES)


class Miscalibration(msgspec.Struct, frozen=True, kw_only=True):
    """Where beliefs are wrong: at checkpoints first … last, for posteriors in [low, high], in `group` (None: any).

    more: whether accepted more often than believed; None: at both ends by turns, beliefs are too bold or too timid.
    """

    first: int
    last: int | None
    low: float
    high: float
    group: str | None
    more: bool | None
    words: str


class CalibrationTest:
    """The test along one run, at level δ at any time.

    Prompts are taken in blocks of 32, so that numpy works on many at once; it is looked at after each of them.
    """

    def __init__(self, level: float = 0.05) -> None:
        self._threshold = 1 / level
        self._wealth = _PRIOR
        self._by_cell = np.zeros((_CHECKPOINTS, _RANGES, _GROUPS, _N_BETS))
        self._visited = np.zeros((_CHECKPOINTS, _RANGES, _GROUPS), dtype=np.int64)
        self._largest = 1.0
        self._groups: dict[str | None, int] = {}
        self._waiting: list[list[tuple[tuple[float, ...], float, int]]] = []

    def add(self, entries: Sequence[Entry]) -> None:
        """Take the attempts of one prompt, by what was believed of each and what became of it."""
        seen = []
        for entry in entries:
            beliefs = entry.posteriors
            if not beliefs or entry.outcome == "failed":
                continue
            # What is forced, or discarded, has no outcome of its own: the bet ends with the last belief.
            unseen = entry.outcome == "discarded" or entry.exited is not None
            end = beliefs[-1] if unseen else float(entry.outcome == "accepted")
            if entry.group not in self._groups and len(self._groups) < _GROUPS - 1:
                self._groups[entry.group] = len(self._groups)
            seen.append((beliefs, end, self._groups.get(entry.group, _GROUPS - 1)))
        if seen:
            self._waiting.append(seen)
        if len(self._waiting) == _BLOCK:
            self._wealth, self._by_cell, self._visited, self._largest = self._settled()
            self._waiting = []

    def _settled(self) -> tuple[Array, Array, Integers, float]:
        """Return the state with the prompts that wait: wealth, by cell, visits, the largest value of the mixture."""
        if not self._waiting:
            return self._wealth, self._by_cell, self._visited, self._largest
        factors, cells, cell = _factors(self._waiting)
        steps = self._wealth * np.cumprod(factors, axis=0)
        by_cell, visited = self._by_cell.copy(), self._visited.copy()
        np.add.at(by_cell, cell, cells)
        np.add.at(visited, cell, 1)
        largest = max(self._largest, min(float(steps.sum(axis=(1, 2)).max()), _MOST))
        return np.minimum(steps[-1], _MOST), by_cell, visited, largest

    @property
    def largest(self) -> float:
        """The largest e-value that the mixture has reached, at most 1e200: from 1/δ on beliefs are wrong."""
        return self._settled()[3]

    @property
    def finding(self) -> Miscalibration | None:
        """Where beliefs are wrong, once the test says that they are."""
        _, by_cell, visited, largest = self._settled()
        if largest < self._threshold:
            return None
        return _place(by_cell, visited, list(self._groups))


def _bets(M: Array) -> Array:
    """Return `[n, B]` ν for beliefs M `[n]`, in (−1/(1 − M), 1/M)."""
    odds = np.clip(scipy.special.logit(np.clip(M, 1e-12, 1 - 1e-12)), -_SURE, _SURE)[:, None]
    shifts = np.concatenate([-_SHIFTS, _SHIFTS])
    q = scipy.special.expit(np.concatenate([odds + shifts, odds * _SLOPES], axis=1))
    p = scipy.special.expit(odds)
    result: Array = (q - p) / (p * (1 - p))
    return result


def _factors(
    prompts: Sequence[Sequence[tuple[tuple[float, ...], float, int]]],
) -> tuple[Array, Array, tuple[Integers, Integers, Integers]]:
    """Return `[P, places, B]` factors of prompts; and `[R, B]` logs of the factors of bets in their cells, `[R]` each.

    Each attempt is its beliefs from checkpoint 0 on, what its bets come to, and the number of its group.
    """
    attempts = [attempt for prompt in prompts for attempt in prompt]
    n_each = np.asarray([len(prompt) for prompt in prompts])
    length = np.asarray([len(beliefs) for beliefs, _, _ in attempts])
    M = np.asarray([x for beliefs, _, _ in attempts for x in beliefs])
    attempt = np.repeat(np.arange(len(attempts)), length)
    prompt = np.repeat(np.arange(len(prompts)), n_each)[attempt]
    start = np.cumsum(length) - length
    k = np.minimum(np.arange(len(M)) - start[attempt], _CHECKPOINTS - 1)
    end = np.asarray([end for _, end, _ in attempts])
    group = np.asarray([number for _, _, number in attempts])[attempt]
    within = np.digitize(M, _EDGES)

    nu = _bets(M)
    held = nu * (end[attempt] - M)[:, None]  # [R, B] what a bet held to the end comes to
    after = np.append(M[1:], 0.0)
    after[start + length - 1] = end
    anew = np.add.reduceat(np.log1p(nu * (after - M)[:, None]), start, axis=0)  # [N, B]

    factors = np.ones((len(prompts), _N_PLACES, _N_BETS))
    share = 1 / n_each
    of = np.repeat(np.arange(len(prompts)), n_each)
    np.add.at(factors, (of, np.zeros_like(of)), np.expm1(anew) * share[of, None])
    for place in (_OFFSETS[1] + k, _OFFSETS[2] + within, _OFFSETS[3] + k * _RANGES + within, _OFFSETS[4] + group):
        first = np.unique(attempt * _N_PLACES + place, return_index=True)[1]  # rows are in order: the first one there
        np.add.at(factors, (prompt[first], place[first]), held[first] * share[prompt[first], None])
    return factors, np.log1p(held) * share[prompt][:, None], (k, within, group)


def _place(by_cell: Array, visited: Integers, groups: Sequence[str | None]) -> Miscalibration:
    """Return where bets have won most: a range of checkpoints and of posteriors, in one group or in all.

    Of places nearly as good, within a factor of e, the one with the fewest restrictions, then the one most visited.
    """
    seen = np.flatnonzero(visited.any(axis=(1, 2)))
    n_ranges = range(_RANGES)
    found: list[tuple[float, int, int, tuple[int, int, int, int, int, int]]] = []
    in_groups = [(-1, by_cell.sum(axis=2), visited.sum(axis=2))]
    if len(groups) > 1:
        in_groups += [(g, by_cell[:, :, g], visited[:, :, g]) for g in range(len(groups))]
    for g, won, visits in in_groups:
        for first, last in combinations_with_replacement(seen.tolist(), 2):
            strip, there = won[first : last + 1].sum(axis=0), visits[first : last + 1].sum(axis=0)
            for low, high in combinations_with_replacement(n_ranges, 2):
                log_wealth = strip[low : high + 1].sum(axis=0)  # [B]
                bet = int(log_wealth.argmax())
                restrictions = (first, last) != (seen[0], seen[-1]), (low, high) != (0, _RANGES - 1), g >= 0
                size = int(there[low : high + 1].sum())
                found.append((float(log_wealth[bet]), sum(restrictions), -size, (first, last, low, high, g, bet)))
    best = max(each[0] for each in found)
    chosen = min(each[1:] for each in found if each[0] >= best - 1)
    first, last, low, high, g, bet = chosen[2]
    n_shifts = len(_SHIFTS)
    more = None if bet >= 2 * n_shifts else bet >= n_shifts
    everywhere = (first, last) == (seen[0], seen[-1])
    ends = (0.0, *_EDGES.tolist(), 1.0)
    place = []
    if not everywhere:
        beyond = " and later" if last == _CHECKPOINTS - 1 else ""
        place.append(f"at checkpoint{'' if first == last else 's'} {_span(first, last)}{beyond}")
    if (low, high) != (0, _RANGES - 1):
        place.append(f"for posteriors {ends[low]:g}-{ends[high + 1]:g}")
    if g >= 0:
        place.append(f"in group {groups[g]}")
    bold = "beliefs are too bold" if bet < 2 * n_shifts + int((_SLOPES < 1).sum()) else "beliefs are too timid"
    what = bold if more is None else f"accepted {'more' if more else 'less'} often than believed"
    return Miscalibration(
        first=first,
        last=None if last == _CHECKPOINTS - 1 else last,
        low=ends[low],
        high=ends[high + 1],
        group=groups[g] if g >= 0 else None,
        more=more,
        words=f"{', '.join(place) or 'everywhere'}: {what}",
    )


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first}-{last}"
