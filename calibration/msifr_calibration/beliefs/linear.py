"""Linear beliefs per group of checkpoints, cross-fitted by prompt: the posterior M_k [T4] and the cost to go r_k [T3].

Two methods for the posterior, the one chosen by grouped cross-validated log loss unless named:

* "logistic": one ridge-penalised logistic regression per group on all evidence columns;
* "isotonic": one logistic regression over all checkpoints makes a monotone score, and an isotonic regression
  per group turns it into a probability; fewer parameters, for small data.

The cost to go is a ridge regression per group of its logarithm: remaining costs are heavy-tailed (an attempt in a loop
runs to its limit), and the worth needs r_k up to a monotone map per checkpoint only, since thresholds are fitted on it.
A group is a run of checkpoints with enough attempts of both outcomes to be fitted on its own. All are fitted to their
exact minimum, by Newton's method and normal equations: columns are few, so rows are read a few times each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import expit
from threadpoolctl import threadpool_limits

from msifr_calibration.beliefs.checkpoint_groups import group_checkpoints, prompt_folds, standardise
from msifr_calibration.beliefs.fitted import FittedBeliefs, log_loss
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.blend import bounded, cost_of
from msifr_policy.beliefs.linear import Array, CheckpointGroup, Knots, LinearModel, signed_log1p
from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable

LinearMethod = Literal["auto", "logistic", "isotonic"]
"""How a linear posterior is fitted; "auto" is the better of the two."""
Taken = Literal["logistic", "isotonic"]

_PENALTIES = (0.003, 0.03, 0.3)
_COST_PENALTY = 30.0
_ENOUGH = 1e-5
"""Nats that a last Newton step may gain: what is left after it is about the square of that."""
_MOST_STEPS = 50

Posterior = tuple[LinearModel, list[Knots]]


@dataclass(frozen=True, slots=True)
class _GroupRows:
    """The n rows of one group of checkpoints, ends of attempts among them.

    rows: `[n]` of the table. x: `[n, D]` g of the evidence, NaN = not known. y: `[n]` outcome. fold: `[n]`. due: `[n]`
    where a decision is due; only these are fitted to.
    """

    rows: NDArray[np.int64]
    x: Array
    y: NDArray[np.bool_]
    fold: NDArray[np.int64]
    due: NDArray[np.bool_]

    def fitting(self, held: int) -> NDArray[np.int64]:
        """Return the rows to fit to when one fold is held out."""
        return np.flatnonzero(self.due & (self.fold != held))


# Many fits of a few columns: threads inside each cost twenty times what they give.
@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_linear_beliefs(table: EvidenceTable, *, method: LinearMethod = "auto", seed: int = 0) -> FittedBeliefs:
    """Fit posterior and cost to go of `table`, choosing method and penalty by cross-validation grouped by prompt.

    With one outcome only, or a single prompt, the posterior is the acceptance rate, and no policy is worth having.
    Raises `InputError` for an unknown method, or where no attempt costs anything.
    """
    rho = table.cost_per_accepted
    if not rho > 0:
        raise InputError("no attempt costs anything: every text is empty", remedy="check the texts of the traces")
    group_of, parts = _parts(table, seed)
    taken, (posterior, knots), M = _fit_posterior(table, group_of, parts, method)
    y = [np.log1p(table.remaining[part.rows]) for part in parts]
    log_cost = np.zeros(len(table.k))
    for held in range(_n_folds(parts)):
        for part, target in zip(parts, y, strict=True):
            fitting, here = part.fitting(held), part.fold == held
            log_cost[part.rows[here]] = _eta(_ridge(part.x[fitting], target[fitting]), part.x[here])
    costs = [_ridge(part.x[part.due], target[part.due]) for part, target in zip(parts, y, strict=True)]
    cost_model = LinearModel(group_of.tolist(), costs)
    return FittedBeliefs(Beliefs(taken, table.columns, rho, posterior, knots, cost_model), table, M, cost_of(log_cost))


@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_posterior(
    table: EvidenceTable, *, method: LinearMethod = "auto", seed: int = 0
) -> tuple[Taken, Posterior, Array]:
    """Return the method, the posterior with its knots, and `[R]` M_k when a row's prompt is held out."""
    return _fit_posterior(table, *_parts(table, seed), method)


def _fit_posterior(
    table: EvidenceTable, group_of: NDArray[np.int64], parts: Sequence[_GroupRows], method: LinearMethod
) -> tuple[Taken, Posterior, Array]:
    methods: dict[LinearMethod, tuple[Taken, ...]] = {
        "auto": ("logistic", "isotonic"),
        "logistic": ("logistic",),
        "isotonic": ("isotonic",),
    }
    if method not in methods:
        raise InputError(f"unknown method {method!r} of a linear posterior", remedy=f"known: {', '.join(methods)}")
    rows, outcome = table.is_checkpoint, table.outcome
    fits = []
    for each in methods[method]:
        cross_fitted = np.zeros((len(_PENALTIES), len(table.k)))
        for held in range(_n_folds(parts)):
            here = [part.fold == held for part in parts]
            seen = [part.fitting(held) for part in parts]
            for M, groups, knots in zip(cross_fitted, *_posteriors(each, parts, seen, _PENALTIES), strict=True):
                for i, (part, at) in enumerate(zip(parts, here, strict=True)):
                    M[part.rows[at]] = _probability(groups[i], part.x[at], knots[i] if knots else None)
        for penalty, M in zip(_PENALTIES, cross_fitted, strict=True):
            fits.append((log_loss(M[rows], outcome[rows]) if rows.any() else 0.0, each, penalty, M))
    _, taken, penalty, M = min(fits, key=lambda one: one[0])
    (groups,), (knots,) = _posteriors(taken, parts, [part.due for part in parts], (penalty,))
    return taken, (LinearModel(group_of.tolist(), groups), knots), M


def _parts(table: EvidenceTable, seed: int) -> tuple[NDArray[np.int64], list[_GroupRows]]:
    """Return `[K + 1]` the group of each checkpoint, and the rows of each group."""
    group_of = group_checkpoints(table)
    group = at_checkpoint(group_of, table.k)
    fold = prompt_folds(table, seed)[table.attempt]
    due, outcome = table.is_checkpoint, table.outcome
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(int(group_of.max()) + 2))
    parts = []
    for first, last in pairwise(ends):
        rows = order[first:last]
        x = signed_log1p(table.values[rows])
        parts.append(_GroupRows(rows, x, outcome[rows], fold[rows], due[rows]))
    return group_of, parts


def _n_folds(parts: Sequence[_GroupRows]) -> int:
    return max(int(part.fold.max(initial=0)) for part in parts) + 1


def _posteriors(
    method: Taken, parts: Sequence[_GroupRows], seen: Sequence[NDArray], penalties: Sequence[float]
) -> tuple[list[list[CheckpointGroup]], list[list[Knots]]]:
    """Return, per penalty, the groups' models and maps fitted to the rows `seen` of each part."""
    x = [part.x[at] for part, at in zip(parts, seen, strict=True)]
    y = [part.y[at] for part, at in zip(parts, seen, strict=True)]
    if method == "logistic":
        by_part = [_logistics(*each, penalties) for each in zip(x, y, strict=True)]
        return [list(each) for each in zip(*by_part, strict=True)], [[] for _ in penalties]
    scores = _logistics(np.concatenate(x), np.concatenate(y), penalties)
    knots = [[_isotonic(_probability(s, x_i), y_i) for x_i, y_i in zip(x, y, strict=True)] for s in scores]
    return [[score] * len(parts) for score in scores], knots


def _eta(group: CheckpointGroup, x: Array) -> Array:
    """Return `[n]` η of x `[n, D]`, as `LinearModel.predict` does of the evidence that x is g of."""
    slope = np.divide(group.coefficients, group.scale)
    deviation = x - np.asarray(group.centre)
    if not np.isfinite(deviation).all():
        deviation = np.where(np.isfinite(deviation), deviation, 0.0)
    result: Array = deviation @ slope + group.intercept
    return result


def _probability(group: CheckpointGroup, x: Array, knots: Knots | None = None) -> Array:
    M: Array = expit(bounded(_eta(group, x)))
    return M if knots is None else np.interp(M, knots.x, knots.y)


def _logistics(x: Array, y: NDArray[np.bool_], penalties: Sequence[float]) -> list[CheckpointGroup]:
    """Fit logistic regressions on x `[n, D]` (NaN = not known) and y `[n]`; a penalty is the inverse ridge."""
    z, centre, scale = standardise(x)
    rate = (y.sum() + 0.5) / (len(y) + 1.0)
    theta = np.zeros(x.shape[1] + 1)
    theta[0] = np.log(rate / (1 - rate))
    fitted = []
    learnable = 0 < y.sum() < len(y) and z.any()
    for penalty in penalties:
        if learnable:
            theta = _newton(z, y, 1 / penalty, theta)  # from the solution of the penalty before
        fitted.append(CheckpointGroup(float(theta[0]), centre.tolist(), scale.tolist(), theta[1:].tolist()))
    return fitted


def _newton(z: Array, y: NDArray[np.bool_], ridge: float, theta: Array) -> Array:
    """Return the minimum θ `[1 + D]` of Σ −log P(y | σ(θ₀ + z·θ₁…)) + ridge·|θ₁…|²/2, from where `theta` is.

    By Newton's method, halving steps that lead upwards, until one would gain next to nothing.
    """
    design = np.concatenate([np.ones((1, len(z))), z.T])  # a column's values lie side by side
    curvature = np.full(len(theta), ridge)
    curvature[0] = 0.0
    p, loss = _loss(design, y, curvature, theta)
    for _ in range(_MOST_STEPS):
        gradient = design @ (p - y) + curvature * theta
        hessian = (design * (p * (1 - p))) @ design.T + np.diag(curvature + 1e-12)
        step = np.linalg.solve(hessian, gradient)
        if gradient @ step < _ENOUGH:
            return theta - step
        for halved in range(_MOST_STEPS):
            trial = theta - step / 2**halved
            p, new = _loss(design, y, curvature, trial)
            if new <= loss:
                break
        theta, loss = trial, new
    return theta


def _loss(design: Array, y: NDArray[np.bool_], curvature: Array, theta: Array) -> tuple[Array, float]:
    """Return `[n]` probabilities and what `_newton` minimises."""
    p: Array = expit(theta @ design)
    of_outcome = np.maximum(np.where(y, p, 1 - p), 1e-300)
    return p, float((curvature * theta**2).sum() / 2 - np.log(of_outcome).sum())


def _isotonic(M: Array, y: NDArray[np.bool_]) -> Knots:
    """Fit an increasing map of M `[n]` to y `[n]`; of levels that map to one value the first and last are kept."""
    if not len(M):
        return Knots([0.0, 1.0], [0.0, 1.0])
    levels, level, count = np.unique(M, return_inverse=True, return_counts=True)
    fitted = isotonic_regression(np.bincount(level, y) / count, weights=count).x
    rises = np.diff(fitted) != 0
    kept = np.append(True, rises) | np.append(rises, True)
    return Knots(levels[kept].tolist(), np.clip(fitted[kept], 0, 1).tolist())


def _ridge(x: Array, y: Array) -> CheckpointGroup:
    z, centre, scale = standardise(x)
    coefficients = np.linalg.solve(z.T @ z + _COST_PENALTY * np.eye(z.shape[1]), z.T @ y)
    intercept = float(y.mean()) if len(y) else 0.0  # the columns of z have mean 0
    return CheckpointGroup(intercept, centre.tolist(), scale.tolist(), coefficients.tolist())
