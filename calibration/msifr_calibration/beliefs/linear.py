"""Linear beliefs per group of checkpoints, cross-fitted by prompt: the posterior M_k [T4] and the cost to go r_k [T3].

Two methods for the posterior, the one chosen by grouped cross-validated log loss unless named:

* "logistic": one ridge-penalised logistic regression per group on all evidence columns;
* "isotonic": one logistic regression over all checkpoints makes a monotone score, and an isotonic regression
  per group turns it into a probability; fewer parameters, for small data.

The cost to go is a ridge regression per group of its logarithm: remaining costs are heavy-tailed (an attempt in a loop
runs to its limit), and the worth needs r_k up to a monotone map per checkpoint only, since thresholds are fitted on it.
A group is a run of checkpoints with enough attempts of both outcomes to be fitted on its own.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from msifr_calibration.beliefs.checkpoint_groups import group_checkpoints, prompt_folds, standardise
from msifr_calibration.beliefs.fitted import FittedBeliefs, log_loss
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.blend import calibrated, cost_of
from msifr_policy.beliefs.linear import Array, CheckpointGroup, Knots, LinearModel, signed_log1p
from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable

LinearMethod = Literal["auto", "logistic", "isotonic"]
"""How a linear posterior is fitted; "auto" is the better of the two."""

_PENALTIES = (0.003, 0.03, 0.3)
_COST_PENALTY = 30.0

Posterior = tuple[LinearModel, list[Knots]]
Model = TypeVar("Model")


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
    taken, (posterior, knots), M = fit_posterior(table, method=method, seed=seed)
    fit = partial(_cost_to_go, table, group_checkpoints(table))
    r = cost_of(_cross_fit(table, seed, fit, LinearModel.predict))
    beliefs = Beliefs(taken, table.columns, rho, posterior, knots, fit(np.flatnonzero(table.is_checkpoint)))
    return FittedBeliefs(beliefs, table, M, r)


@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_posterior(
    table: EvidenceTable, *, method: LinearMethod = "auto", seed: int = 0
) -> tuple[Literal["logistic", "isotonic"], Posterior, Array]:
    """Return the method, the posterior with its knots, and `[R]` M_k when a row's prompt is held out."""
    methods: dict[LinearMethod, tuple[Literal["logistic", "isotonic"], ...]] = {
        "auto": ("logistic", "isotonic"),
        "logistic": ("logistic",),
        "isotonic": ("isotonic",),
    }
    if method not in methods:
        raise InputError(f"unknown method {method!r} of a linear posterior", remedy=f"known: {', '.join(methods)}")
    group_of, rows, outcome = group_checkpoints(table), table.is_checkpoint, table.outcome
    fits = []
    for each, penalty in product(methods[method], _PENALTIES):
        fit = partial(_posterior, table, group_of, each, penalty)
        M = _cross_fit(table, seed, fit, _predict)
        fits.append((log_loss(M[rows], outcome[rows]) if rows.any() else 0.0, each, fit, M))
    _, best, fit, M = min(fits, key=lambda one: one[0])
    return best, fit(np.flatnonzero(rows)), M


def _cross_fit(
    table: EvidenceTable,
    seed: int,
    fit: Callable[[NDArray[np.int64]], Model],
    predict: Callable[[Model, NDArray[np.int64], Array], Array],
) -> Array:
    """Return `[R]` what models that did not see a row's prompt predict."""
    fold = prompt_folds(table, seed)[table.attempt]
    predicted = np.zeros(len(table.k))
    for held in range(int(fold.max(initial=0)) + 1):
        here = fold == held
        predicted[here] = predict(fit(np.flatnonzero(table.is_checkpoint & ~here)), table.k[here], table.values[here])
    return predicted


def _predict(posterior: Posterior, k: NDArray[np.int64], values: Array) -> Array:
    model, knots = posterior
    return calibrated(model.group(k), model.predict(k, values), knots)


def _posterior(
    table: EvidenceTable, group_of: NDArray[np.int64], method: str, penalty: float, rows: NDArray[np.int64]
) -> Posterior:
    """Fit one posterior on `rows`."""
    x, y = signed_log1p(table.values[rows]), table.outcome[rows]
    group = at_checkpoint(group_of, table.k[rows])
    n_groups = int(group_of.max()) + 1
    if method == "logistic":
        groups = [_logistic(x[group == i], y[group == i], penalty) for i in range(n_groups)]
        return LinearModel(group_of.tolist(), groups), []
    score = LinearModel(group_of.tolist(), [_logistic(x, y, penalty)] * n_groups)
    M = _predict((score, []), table.k[rows], table.values[rows])
    return score, [_isotonic(M[group == i], y[group == i]) for i in range(n_groups)]


def _logistic(x: Array, y: NDArray[np.bool_], penalty: float) -> CheckpointGroup:
    """Fit one logistic regression on x `[n, D]` (NaN = not known) and y `[n]`; `penalty` is the inverse ridge."""
    z, centre, scale = standardise(x)
    rate = (y.sum() + 0.5) / (len(y) + 1.0)
    coefficients = np.zeros(x.shape[1])
    intercept = float(np.log(rate / (1 - rate)))
    varies = z.any(axis=0)
    if varies.any() and 0 < y.sum() < len(y):
        model = LogisticRegression(C=penalty, max_iter=1000).fit(z[:, varies], y)
        coefficients[varies] = model.coef_[0]
        intercept = float(model.intercept_[0])
    return CheckpointGroup(intercept, centre.tolist(), scale.tolist(), coefficients.tolist())


def _isotonic(M: Array, y: NDArray[np.bool_]) -> Knots:
    if not len(M):
        return Knots([0.0, 1.0], [0.0, 1.0])
    model = IsotonicRegression(out_of_bounds="clip").fit(M, y)
    return Knots(model.X_thresholds_.tolist(), np.clip(model.y_thresholds_, 0, 1).tolist())


def _cost_to_go(table: EvidenceTable, group_of: NDArray[np.int64], rows: NDArray[np.int64]) -> LinearModel:
    x, y = signed_log1p(table.values[rows]), np.log1p(table.remaining[rows])
    group = at_checkpoint(group_of, table.k[rows])
    return LinearModel(
        group_of.tolist(), [_ridge(x[group == i], y[group == i]) for i in range(int(group_of.max()) + 1)]
    )


def _ridge(x: Array, y: Array) -> CheckpointGroup:
    z, centre, scale = standardise(x)
    intercept, coefficients = 0.0, np.zeros(x.shape[1])
    if len(y):
        model = Ridge(_COST_PENALTY).fit(z, y)
        intercept, coefficients = float(model.intercept_), model.coef_
    return CheckpointGroup(intercept, centre.tolist(), scale.tolist(), coefficients.tolist())
