"""Which test, and how much of δ for each path: chosen on the fitting part, before any held-out loss is seen [T10, T15].

Prompts are drawn with replacement from the fitting part, as many as are held out, and tested in every way there is; the
way that certifies the most saving on average is taken. It tells what no rule of thumb does: how alike the attempts of a
prompt are, and which path is worth its share of δ.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from msifr_calibration.betting import Expected, betting_log_wealth
from msifr_calibration.held_out import HeldOut, Test
from msifr_calibration.several_paths import n_certified

_DRAWS = 24
_MOST_PROMPTS = 2000  # with more held out every way certifies nearly the same
_STEPS = 16
_CLEARLY = 0.002  # saving by which another way must be better than the first: all attempts, shares in equal parts

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class Way(NamedTuple):
    """How paths are tested: by which test, at which shares of δ."""

    test: Test
    weights: tuple[float, ...]


def choose_way(
    fitting: HeldOut,
    first: Sequence[Integers],
    saved: Sequence[Array],
    held_out: HeldOut,
    *,
    max_false_reject: float,
    confidence: float,
    key: str,
) -> Way:
    """Return the way that certifies most, by draws that hang on `key`.

    `first` gives per path `[N]` the first of its policies that discards each fitting attempt, `saved` `[J]` what each
    policy saves there. Of `held_out` only counts are looked at.
    """
    tests = fitting.tests
    shares = _shares([len(each) > 0 for each in saved])
    good = held_out.good("exact binomial")
    if not len(good) or not fitting.accepted.any() or (len(tests) == 1 and len(shares) == 1):
        return Way(tests[-1], shares[0])
    rng = np.random.default_rng(list(key.encode()))
    steps = [np.unique(np.linspace(0, max(len(s) - 1, 0), min(len(s), _STEPS)).round().astype(int)) for s in saved]
    saved_at = [s[at] for s, at in zip(saved, steps, strict=True)]
    worlds = _Worlds(fitting, first, steps, max_false_reject)
    totals = np.zeros((len(tests), len(shares)))
    n_prompts, n_good = (min(n, _MOST_PROMPTS) for n in (held_out.n_prompts, len(good)))
    for _ in range(_DRAWS):
        for t, test in enumerate(tests):
            p_values = worlds.exact(n_good, rng) if test == "exact binomial" else worlds.betting(n_prompts, rng)
            for w, weights in enumerate(shares):
                totals[t, w] += _certified(p_values, saved_at, weights, 1 - confidence)
    if not totals.any():
        return Way(tests[-1], shares[min(1, len(shares) - 1)])
    if totals[0, 0]:
        totals[0, 0] += _CLEARLY * _DRAWS
    t, w = divmod(int(totals.argmax()), len(shares))
    return Way(tests[t], shares[w])


def _shares(has_policies: Sequence[bool]) -> list[tuple[float, ...]]:
    """Return the shares of δ that are tried: equal ones, then each path alone; none for an empty path."""
    n = len(has_policies)
    some = [i for i in range(n) if has_policies[i]]
    alone = [tuple(float(i == j) for j in range(n)) for i in some]
    if len(some) < 2:
        return alone or [tuple(1 / n for _ in range(n))]
    return [tuple(1 / len(some) if has_policies[i] else 0.0 for i in range(n)), *alone]


class _Worlds:
    """What tests say of prompts drawn from the fitting part; `[J]` p-values per path at `steps`."""

    def __init__(self, fitting: HeldOut, first: Sequence[Integers], steps: Sequence[Integers], alpha: float) -> None:
        self.fitting, self.first, self.steps, self.alpha = fitting, first, steps, alpha
        # Where prompts weigh equally an attempt is drawn with the chance that its prompt gives it.
        good = np.flatnonzero(fitting.accepted)
        self.good, self.chance = good, fitting.share[good] / fitting.share[good].sum()
        self.scores = [
            np.asarray([fitting.scores(each <= step, alpha) for step in at]).reshape(len(at), fitting.n_prompts)
            for each, at in zip(first, steps, strict=True)
        ]
        self.expected = [[Expected.of(Z) for Z in scores] for scores in self.scores]

    def exact(self, n_good: int, rng: np.random.Generator) -> list[Array]:
        good = rng.choice(self.good, n_good, p=self.chance)
        losses = [
            np.searchsorted(np.sort(each[good]), at, side="right")
            for each, at in zip(self.first, self.steps, strict=True)
        ]
        return [np.asarray(binom.cdf(lost, n_good, self.alpha)) for lost in losses]

    def betting(self, n_prompts: int, rng: np.random.Generator) -> list[Array]:
        prompts = rng.integers(self.fitting.n_prompts, size=n_prompts)
        return [
            np.asarray(
                [
                    np.exp(-max(0.0, betting_log_wealth(Z[prompts], self.alpha, expected).max()))
                    for Z, expected in zip(scores, of_path, strict=True)
                ]
            )
            for scores, of_path in zip(self.scores, self.expected, strict=True)
        ]


def _certified(p_values: Sequence[Array], saved: Sequence[Array], weights: Sequence[float], delta: float) -> float:
    """Return the largest saving among the certified, 0 if there is none."""

    def p_value(path: int, step: int) -> float | None:
        return float(p_values[path][step]) if step < len(p_values[path]) else None

    counts = n_certified(p_value, weights, delta)
    return max([0.0, *(float(s[:n].max()) for s, n in zip(saved, counts, strict=True) if n)])
