"""The headline numbers of theory §1, from totals: saving rate s, false-reject rate f, net cost factor [T2]."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Rates(NamedTuple):
    """s, f and (1 − s)/(1 − f), `[...]` each; NaN where undefined, a factor of `inf` where nothing accepted is kept."""

    saving_rate: NDArray[np.float64]
    false_reject_rate: NDArray[np.float64]
    net_cost_factor: NDArray[np.float64]


def rates(totals: ArrayLike) -> Rates:
    """Return the rates of `[..., 4]` totals: cost in full, cost with the policy, accepted, accepted and lost."""
    full, policy, accepted, lost = np.moveaxis(np.asarray(totals, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = 1 - policy / full
        f = lost / accepted
        return Rates(s, f, np.where(accepted > lost, (1 - s) / (1 - f), np.inf))


def capped(cost: NDArray[np.float64], cap: float | None) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (cost under a plain length cap, discarded): an attempt not finished at `cap` is stopped there."""
    limit = np.inf if cap is None else cap
    return np.minimum(cost, limit), cost > limit
