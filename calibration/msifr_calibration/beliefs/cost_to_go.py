"""Fitting the cost to go r_k, cross-fitted by prompt: a ridge regression per stage of its logarithm on the evidence.

Remaining costs are heavy-tailed (an attempt in a loop runs to its limit), so the logarithm is what is regressed; the
worth index needs r_k up to a monotone map per checkpoint only, since thresholds are fitted on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from msifr_calibration.beliefs.stages import prompt_folds, stages_of, standardise
from msifr_policy.beliefs.linear import CostToGo, LinearStage, signed_log1p
from msifr_policy.evidence.table import EvidenceTable

__all__ = ["fit_cost_to_go"]

_PENALTY = 30.0


@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_cost_to_go(
    table: EvidenceTable, cost_per_accepted: float, *, seed: int = 0
) -> tuple[CostToGo, NDArray[np.float64]]:
    """Return the model fitted on all prompts, and `[R]` what it predicts for each row when its prompt is held out.

    `cost_per_accepted` is ρ without a policy, in units of cost.
    """
    stage_of = stages_of(table)
    fold = prompt_folds(table, seed)[table.attempt]
    predicted = np.ones(len(table.k))
    for held in range(int(fold.max(initial=0)) + 1):
        model = _fit(table, stage_of, fold != held, cost_per_accepted)
        here = fold == held
        predicted[here] = model.predict(table.k[here], table.values[here])
    return _fit(table, stage_of, np.ones(len(fold), dtype=bool), cost_per_accepted), predicted


def _fit(
    table: EvidenceTable, stage_of: NDArray[np.int64], use: NDArray[np.bool_], cost_per_accepted: float
) -> CostToGo:
    """Fit on the rows `use` `[R]`."""
    rows = np.flatnonzero(table.is_checkpoint & use)
    x = signed_log1p(table.values[rows])
    y = np.log1p(table.cost[table.attempt[rows]] - table.spent[rows])
    stage = stage_of[np.minimum(table.k[rows], len(stage_of)) - 1]
    stages = [_ridge(x[stage == i], y[stage == i]) for i in range(int(stage_of.max()) + 1)]
    return CostToGo(table.columns, stage_of.tolist(), stages, cost_per_accepted)


def _ridge(x: NDArray[np.float64], y: NDArray[np.float64]) -> LinearStage:
    z, centre, scale = standardise(x)
    if not len(y):
        return LinearStage(0.0, centre.tolist(), scale.tolist(), np.zeros(x.shape[1]).tolist())
    model = Ridge(_PENALTY).fit(z, y)
    return LinearStage(float(model.intercept_), centre.tolist(), scale.tolist(), model.coef_.tolist())
