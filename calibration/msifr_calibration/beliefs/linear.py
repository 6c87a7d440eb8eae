"""Linear beliefs per stage, cross-fitted by prompt: the posterior M_k [T4] and the cost to go r_k [T3].

Two shapes of the posterior, chosen by grouped cross-validated log loss unless named:

* "logistic": one ridge-penalised logistic regression per stage on all evidence columns;
* "isotonic": one logistic regression over all checkpoints makes a monotone score, and an isotonic regression
  per stage turns it into a probability; fewer parameters, for small data.

The cost to go is a ridge regression per stage of its logarithm: remaining costs are heavy-tailed (an attempt in a loop
runs to its limit), and the worth needs r_k up to a monotone map per checkpoint only, since thresholds are fitted on it.
A stage is a run of checkpoints with enough accepted and rejected attempts to be fitted on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from msifr_calibration.beliefs.fitted import FittedBeliefs, log_loss
from msifr_calibration.beliefs.stages import prompt_folds, stages_of, standardise
from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.blend import calibrated, cost_of
from msifr_policy.beliefs.linear import Array, Knots, LinearModel, LinearStage, signed_log1p
from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable

__all__ = ["Shape", "fit_linear_beliefs", "fit_posterior"]

Shape = Literal["auto", "logistic", "isotonic"]
"""Shapes of the linear posterior; "auto" is the better of the two."""

_PENALTIES = (0.003, 0.03, 0.3)
_COST_PENALTY = 30.0

Posterior = tuple[LinearModel, list[Knots]]
Model = TypeVar("Model")


# Many fits of a few columns: threads inside each cost twenty times what they give.
@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_linear_beliefs(table: EvidenceTable, *, shape: Shape = "auto", seed: int = 0) -> FittedBeliefs:
    """Fit posterior and cost to go of `table`, choosing shape and penalty by cross-validation grouped by prompt.

    With one outcome only, or a single prompt, the posterior is the acceptance rate, and no policy is worth having.
    Raises `InputError` for an unknown shape, or where no attempt costs anything.
    """
    rho = table.cost_per_accepted
    if not rho > 0:
        raise InputError("no attempt costs anything: every text is empty", remedy="check the texts of the traces")
    method, (posterior, knots), M = fit_posterior(table, shape=shape, seed=seed)
    stage_of = stages_of(table)
    cost_to_go, log_cost = _cross_fit(table, seed, partial(_cost_to_go, table, stage_of), LinearModel.predict)
    beliefs = Beliefs(method, table.columns, rho, posterior, knots, cost_to_go)
    return FittedBeliefs(beliefs, table, M, cost_of(log_cost))


@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_posterior(
    table: EvidenceTable, *, shape: Shape = "auto", seed: int = 0
) -> tuple[Literal["logistic", "isotonic"], Posterior, Array]:
    """Return the shape, the posterior with its knots, and `[R]` M_k when a row's prompt is held out."""
    shapes: dict[Shape, tuple[Literal["logistic", "isotonic"], ...]] = {
        "auto": ("logistic", "isotonic"),
        "logistic": ("logistic",),
        "isotonic": ("isotonic",),
    }
    if shape not in shapes:
        raise InputError(f"unknown shape {shape!r} of a linear posterior", remedy=f"known: {', '.join(shapes)}")
    stage_of, rows, outcome = stages_of(table), table.is_checkpoint, table.outcome
    fits = []
    for each, penalty in product(shapes[shape], _PENALTIES):
        posterior, M = _cross_fit(table, seed, partial(_posterior, table, stage_of, each, penalty), _predict)
        fits.append((log_loss(M[rows], outcome[rows]) if rows.any() else 0.0, each, posterior, M))
    _, best, posterior, M = min(fits, key=lambda fit: fit[0])
    return best, posterior, M


def _cross_fit(
    table: EvidenceTable,
    seed: int,
    fit: Callable[[NDArray[np.int64]], Model],
    predict: Callable[[Model, NDArray[np.int64], Array], Array],
) -> tuple[Model, Array]:
    """Return the model fitted on all checkpoints, and `[R]` what models that did not see a row's prompt predict."""
    fold = prompt_folds(table, seed)[table.attempt]
    predicted = np.zeros(len(table.k))
    for held in range(int(fold.max(initial=0)) + 1):
        here = fold == held
        predicted[here] = predict(fit(np.flatnonzero(table.is_checkpoint & ~here)), table.k[here], table.values[here])
    return fit(np.flatnonzero(table.is_checkpoint)), predicted


def _predict(posterior: Posterior, k: NDArray[np.int64], values: Array) -> Array:
    model, knots = posterior
    return calibrated(model.stage(k), model.predict(k, values), knots)


def _posterior(
    table: EvidenceTable, stage_of: NDArray[np.int64], shape: str, penalty: float, rows: NDArray[np.int64]
) -> Posterior:
    """Fit one posterior on `rows`."""
    x, y = signed_log1p(table.values[rows]), table.outcome[rows]
    stage = at_checkpoint(stage_of, table.k[rows])
    n_stages = int(stage_of.max()) + 1
    if shape == "logistic":
        return LinearModel(
            stage_of.tolist(), [_logistic(x[stage == i], y[stage == i], penalty) for i in range(n_stages)]
        ), []
    score = LinearModel(stage_of.tolist(), [_logistic(x, y, penalty)] * n_stages)
    M = _predict((score, []), table.k[rows], table.values[rows])
    return score, [_isotonic(M[stage == i], y[stage == i]) for i in range(n_stages)]


def _logistic(x: Array, y: NDArray[np.bool_], penalty: float) -> LinearStage:
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
    return LinearStage(intercept, centre.tolist(), scale.tolist(), coefficients.tolist())


def _isotonic(M: Array, y: NDArray[np.bool_]) -> Knots:
    if not len(M):
        return Knots([0.0, 1.0], [0.0, 1.0])
    model = IsotonicRegression(out_of_bounds="clip").fit(M, y)
    return Knots(model.X_thresholds_.tolist(), np.clip(model.y_thresholds_, 0, 1).tolist())


def _cost_to_go(table: EvidenceTable, stage_of: NDArray[np.int64], rows: NDArray[np.int64]) -> LinearModel:
    x, y = signed_log1p(table.values[rows]), np.log1p(table.remaining[rows])
    stage = at_checkpoint(stage_of, table.k[rows])
    return LinearModel(
        stage_of.tolist(), [_ridge(x[stage == i], y[stage == i]) for i in range(int(stage_of.max()) + 1)]
    )


def _ridge(x: Array, y: Array) -> LinearStage:
    z, centre, scale = standardise(x)
    intercept, coefficients = 0.0, np.zeros(x.shape[1])
    if len(y):
        model = Ridge(_COST_PENALTY).fit(z, y)
        intercept, coefficients = float(model.intercept_), model.coef_
    return LinearStage(intercept, centre.tolist(), scale.tolist(), coefficients.tolist())
