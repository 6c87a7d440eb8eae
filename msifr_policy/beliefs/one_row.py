"""What is believed at one checkpoint: to the last bit what `Beliefs` gives that row in a table, in far less time.

A policy that runs asks for one row at a time, and there numpy's calls cost a hundred times what the numbers do. So sums
and products are done on plain floats, which round alike, and columns that a model does not use are left out. What may
be computed in more than one way, logarithms and exponentials, is left to the same functions of arrays.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy

from msifr_policy.beliefs.blend import LARGEST_LOG_COST, MOST_LOG_ODDS, Beliefs, worth_of
from msifr_policy.beliefs.linear import CheckpointGroup, LinearModel


class Believed(NamedTuple):
    """M_k, r_k (in units of cost) and ω_k at one checkpoint."""

    posterior: float
    cost_to_go: float
    worth: float


class OneRow:
    """`beliefs`, made ready for one row at a time."""

    def __init__(self, beliefs: Beliefs) -> None:
        self._beliefs = beliefs
        self._posterior = _Eta(beliefs.posterior_model)
        self._cost = None if beliefs.cost_model is None else _Eta(beliefs.cost_model)

    def at(self, k: int, row: Sequence[float]) -> Believed:
        """Return what is believed at checkpoint `k`; row: a value per column, NaN where it is not known.

        Raises `InputError` as `Beliefs.predict`.
        """
        if self._cost is None:
            (M,), (r,) = self._beliefs.predict(np.asarray([k], dtype=np.int64), np.asarray([row], dtype=np.float64))
        else:
            values = np.asarray(row, dtype=np.float64)
            sizes = np.log1p(np.abs(values)).tolist()
            x = [-size if value < 0 else size for value, size in zip(row, sizes, strict=True)]
            group, eta = self._posterior.at(k, x)
            (M,) = scipy.special.expit(np.asarray([_clipped(eta, -MOST_LOG_ODDS, MOST_LOG_ODDS)]))
            if self._beliefs.calibration:
                knots = self._beliefs.calibration[group]
                M = np.interp(M, knots.x, knots.y)
            (r,) = np.exp(np.asarray([_clipped(self._cost.at(k, x)[1], 0.0, LARGEST_LOG_COST)]))
        posterior, cost = float(M), float(r)
        return Believed(posterior, cost, worth_of(posterior, cost, self._beliefs.cost_per_accepted))


class _Eta:
    """A linear model: of each checkpoint its group, and of each group what counts."""

    def __init__(self, model: LinearModel) -> None:
        self._group_of = model.group_of
        self._groups = [(group.intercept, _terms(group)) for group in model.groups]

    def at(self, k: int, x: Sequence[float]) -> tuple[int, float]:
        """Return the group of checkpoint `k` and η there; x: g of each column."""
        group = self._group_of[min(k, len(self._group_of) - 1)]
        eta, terms = self._groups[group]
        for column, centre, slope in terms:
            term = (x[column] - centre) * slope
            if term - term == 0:  # finite
                eta += term
        return group, eta


def _terms(group: CheckpointGroup) -> list[tuple[int, float, float]]:
    """Return column, centre and slope of what counts, in the order of columns, in which a table sums them up."""
    slopes = np.divide(group.coefficients, group.scale).tolist()
    return [(i, centre, slope) for i, (centre, slope) in enumerate(zip(group.centre, slopes, strict=True)) if slope]


def _clipped(value: float, low: float, high: float) -> float:
    return low if value < low else high if value > high else value
