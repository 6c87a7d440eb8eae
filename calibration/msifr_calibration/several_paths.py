"""Testing several paths of policies, each in its own order, at shares of one δ that pass on [T15]."""

import math
from collections.abc import Callable, Sequence

from msifr_policy.errors import InputError


def n_certified(p_value: Callable[[int, int], float | None], weights: Sequence[float], delta: float) -> list[int]:
    """Return per path how many policies at its head are certified, with family-wise error at most δ.

    `p_value(path, step)` is asked in order, None where the path has no such step; `weights` are the paths' shares of δ.
    A path with steps left is tested at its share among those that have: a level that depends only on what is left,
    never falls as hypotheses are rejected, and is δ in sum (Bretz, Maurer, Brannath and Posch 2009). Raises
    `InputError` for weights that are no shares.
    """
    if min(weights, default=0.0) < 0 or not math.isclose(sum(weights), 1.0):
        raise InputError(f"{tuple(weights)} are no shares: not negative, of sum 1", where="weights")
    certified = [0] * len(weights)
    p = [p_value(path, 0) for path in range(len(weights))]
    while live := {path: each for path, each in enumerate(p) if each is not None}:
        left = sum(weights[path] for path in live)
        passed = [i for i, each in live.items() if each <= delta * (weights[i] / left if left else 1 / len(live))]
        if not passed:
            break
        for path in passed:
            certified[path] += 1
            p[path] = p_value(path, certified[path])
    return certified
