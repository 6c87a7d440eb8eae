"""Fitting the posterior M_k = P(accepted | F_k), cross-fitted by prompt [T4].

Two shapes, chosen by grouped cross-validated log loss unless named:

* "logistic": one ridge-penalised logistic regression per stage on all evidence columns;
* "isotonic": one logistic regression over all checkpoints makes a monotone score, and an isotonic regression
  per stage turns it into a probability; fewer parameters, for small data.

A stage is a run of checkpoints with enough accepted and rejected attempts to be fitted on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from msifr_calibration.beliefs.stages import prompt_folds, stages_of, standardise
from msifr_policy.beliefs.linear import LinearStage, Posterior, signed_log1p
from msifr_policy.evidence.table import EvidenceTable

__all__ = ["FittedPosterior", "Method", "fit_posterior", "log_loss"]

Method = Literal["auto", "logistic", "isotonic", "learned"]
"""Shapes of the posterior; "learned" is `learned.learn_beliefs`, "auto" the better of the other two."""

_PENALTIES = (0.003, 0.03, 0.3)


@dataclass(frozen=True, slots=True)
class FittedPosterior:
    """A posterior fitted on all prompts, and what it predicts for each row when its prompt is held out.

    cross_fitted: `[R]` M_k from the fold that did not see the row's prompt. log_loss: mean cross-fitted loss in nats
    per checkpoint; base_loss: that of the constant acceptance rate.
    """

    posterior: Posterior
    cross_fitted: NDArray[np.float64]
    log_loss: float
    base_loss: float


def log_loss(M: NDArray[np.float64], accepted: NDArray[np.bool_]) -> float:
    """Return the mean of −log P(outcome) in nats; M `[n]` probabilities, accepted `[n]`."""
    M = np.clip(M, 1e-6, 1 - 1e-6)
    return float(-np.where(accepted, np.log(M), np.log1p(-M)).mean())


# Many fits of a few columns: threads inside each cost twenty times what they give.
@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_posterior(table: EvidenceTable, *, method: Method = "auto", seed: int = 0) -> FittedPosterior:
    """Fit the posterior of `table`, choosing shape and penalty by cross-validation grouped by prompt.

    With one outcome only, or a single prompt, it is the constant acceptance rate, and no policy is worth having.
    """
    stage_of = stages_of(table)
    fold = prompt_folds(table, seed)
    shapes = ("logistic", "isotonic") if method == "auto" else (method,)
    rows = table.is_checkpoint
    accepted = table.accepted[table.attempt]
    fits = []
    for shape in shapes:
        for penalty in _PENALTIES:
            M = _cross_fit(table, stage_of, fold, shape, penalty)
            loss = log_loss(M[rows], accepted[rows]) if rows.any() else 0.0
            fits.append((loss, shape, penalty, M))
    loss, shape, penalty, M = min(fits, key=lambda fit: fit[0])
    everyone = np.ones(table.n_attempts, dtype=bool)
    base = log_loss(np.full(len(accepted), accepted[rows].mean() if rows.any() else 0.5), accepted)
    return FittedPosterior(_fit(table, stage_of, everyone, shape, penalty), M, loss, base)


def _cross_fit(
    table: EvidenceTable, stage_of: NDArray[np.int64], fold: NDArray[np.int64], shape: str, penalty: float
) -> NDArray[np.float64]:
    M = np.empty(len(table.k))
    row_fold = fold[table.attempt]
    for held in range(fold.max() + 1):
        posterior = _fit(table, stage_of, fold != held, shape, penalty)
        here = row_fold == held
        M[here] = posterior.predict(table.k[here], table.values[here])
    return M


def _fit(
    table: EvidenceTable, stage_of: NDArray[np.int64], use: NDArray[np.bool_], shape: str, penalty: float
) -> Posterior:
    """Fit one posterior on the attempts `use` `[N]`."""
    rows = np.flatnonzero(table.is_checkpoint & use[table.attempt])
    x = signed_log1p(table.values[rows])
    y = table.accepted[table.attempt[rows]]
    stage = stage_of[np.minimum(table.k[rows], len(stage_of)) - 1]
    n_stages = int(stage_of.max()) + 1
    if shape == "logistic":
        stages = [_logistic(x[stage == i], y[stage == i], penalty) for i in range(n_stages)]
        return Posterior(shape, table.columns, stage_of.tolist(), stages)
    pooled = _logistic(x, y, penalty)
    score = Posterior(shape, table.columns, stage_of.tolist(), [pooled] * n_stages)
    M = score.predict(table.k[rows], table.values[rows])
    knots = [_isotonic(M[stage == i], y[stage == i]) for i in range(n_stages)]
    return Posterior(
        shape, table.columns, stage_of.tolist(), score.stages, [k[0] for k in knots], [k[1] for k in knots]
    )


def _logistic(x: NDArray[np.float64], y: NDArray[np.bool_], penalty: float) -> LinearStage:
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


def _isotonic(M: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[list[float], list[float]]:
    if not len(M):
        return [0.0, 1.0], [0.0, 1.0]
    model = IsotonicRegression(out_of_bounds="clip").fit(M, y)
    return model.X_thresholds_.tolist(), np.clip(model.y_thresholds_, 0, 1).tolist()
