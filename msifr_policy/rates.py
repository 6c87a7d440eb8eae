"""The headline numbers of theory §1, from totals: saving rate s, false-reject rate f, net cost factor [T2]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["capped", "rates"]


def rates(totals: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return s, f and the net cost factor `[...]` from `[..., 4]` totals: cost_full, cost_policy, accepted, lost."""
    full, policy, accepted, lost = np.moveaxis(totals, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = 1 - policy / full
        f = lost / accepted
        factor = np.where(accepted > lost, (1 - s) / (1 - f), np.inf)
    return s, f, factor


def capped(cost: NDArray[np.float64], cap: float | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (cost under a plain length cap, discarded): an attempt not finished at `cap` is stopped there."""
    if cap is None:
        return cost, np.zeros(len(cost), dtype=bool)
    return np.minimum(cost, cap), cost > cap
