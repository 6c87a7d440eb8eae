"""What is believed at one checkpoint: to the last bit what `Beliefs` gives that row in a table, in far less time.

A policy that runs asks for one row at a time, and there numpy's calls on arrays cost a hundred times what the numbers
do. So sums and products are done on plain floats, which round alike, and columns that do not count are left out. What
can be computed in more than one way, logarithms and exponentials, is left to the same functions: those of the standard
library round otherwise.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from msifr_policy.beliefs.blend import LARGEST_LOG_COST, MOST_LOG_ODDS, Beliefs, worth_of
from msifr_policy.beliefs.linear import LinearModel


class Believed(NamedTuple):
    """M_k, r_k (in units of cost) and ω_k at one checkpoint."""

    posterior: float
    cost_to_go: float
    worth: float


class _Group(NamedTuple):
    """η of a group of checkpoints: its intercept, and of each column that counts index, centre and slope, in order."""

    number: int
    intercept: float
    terms: list[tuple[int, float, float]]


class OneRow:
    """`beliefs`, made ready for one row at a time."""

    def __init__(self, beliefs: Beliefs) -> None:
        self._beliefs = beliefs
        self._posterior = _by_checkpoint(beliefs.posterior_model)
        self._cost = None if beliefs.cost_model is None else _by_checkpoint(beliefs.cost_model)

    def at(self, k: int, row: Sequence[float]) -> Believed:
        """Return what is believed at checkpoint `k`; row: a value per column, NaN where it is not known.

        Raises `InputError` as `Beliefs.predict`.
        """
        if self._cost is None:
            (M,), (r,) = self._beliefs.predict(np.asarray([k], dtype=np.int64), np.asarray([row], dtype=np.float64))
        else:
            group, cost = self._posterior[min(k, len(self._posterior) - 1)], self._cost[min(k, len(self._cost) - 1)]
            logarithms: dict[int, float] = {}
            M = scipy.special.expit(_clipped(_eta(group, row, logarithms), -MOST_LOG_ODDS, MOST_LOG_ODDS))
            if self._beliefs.calibration:
                knots = self._beliefs.calibration[group.number]
                M = np.interp(M, knots.x, knots.y)
            r = np.exp(_clipped(_eta(cost, row, logarithms), 0.0, LARGEST_LOG_COST))
        posterior, cost_to_go = float(M), float(r)
        return Believed(posterior, cost_to_go, worth_of(posterior, cost_to_go, self._beliefs.cost_per_accepted))


def _by_checkpoint(model: LinearModel) -> list[_Group]:
    """Return the group of each checkpoint that the model has; that of the last is for all beyond."""
    groups = []
    for number, group in enumerate(model.groups):
        slopes = np.divide(group.coefficients, group.scale).tolist()
        terms = [(i, *each) for i, each in enumerate(zip(group.centre, slopes, strict=True)) if each[1]]
        groups.append(_Group(number, group.intercept, terms))
    return [groups[number] for number in model.group_of]


def _eta(group: _Group, row: Sequence[float], logarithms: dict[int, float]) -> float:
    """Return η; g of the columns is looked for in `logarithms`, and put there."""
    eta = group.intercept
    for column, centre, slope in group.terms:
        x = logarithms.get(column)
        if x is None:
            value = row[column]
            size = float(np.log1p(abs(value)))
            x = logarithms[column] = -size if value < 0 else size
        term = (x - centre) * slope
        if term - term == 0:  # finite
            eta += term
    return eta


def _clipped(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value
