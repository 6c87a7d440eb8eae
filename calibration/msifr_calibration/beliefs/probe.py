"""Learning to read a model's states: a linear probe of one layer, and its cross-fitted log-odds as one more column.

States at checkpoints (`state_features`) are standardised and turned to their first principal components, of which a
ridge-penalised logistic regression learns the outcome. All of that is linear, so what comes out is a vector for the
last state, one for the mean of the step, one for the prompt's, and a constant (`validators.hidden`). Every attempt
weighs the same, spread over its checkpoints; n attempts at one prompt weigh √n, for they are not independent.

**Nested.** Layer, number of components and penalty are chosen by the loss at prompts held out. What is said of a fold
is said by a regression fitted without it, and chosen without it: by regressions without two folds, judged on the other
one. Axes are those of all rows; they know no outcomes. The probe that runs is chosen by all folds and fitted to all.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits

from msifr_calibration.beliefs.state_features import StateFeatures
from msifr_calibration.split import folds
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.validators import Hidden, Verdict, describe
from msifr_policy.weights import recall, remember, to_bytes

_FOLDS = 4
_COMPONENTS = (64, 128)
_PENALTIES = (100.0, 10.0, 1.0)
_ENOUGH = 1e-4
_MOST_STEPS = 30

Array = NDArray[np.float64]


class FittedProbe(NamedTuple):
    """A probe, the loss of its cross-fitted odds in nats per checkpoint, and the table with these in a last column."""

    hidden: Hidden
    components: int
    penalty: float
    log_loss: float
    table: EvidenceTable


class _Axes(NamedTuple):
    """Principal axes `[D, C]` of rows that were standardised by `centre` and `scale` `[D]`."""

    centre: Array
    scale: Array
    axes: Array

    def turned(self, x: NDArray[np.float32]) -> Array:
        result: Array = ((x - self.centre) / self.scale) @ self.axes
        return result


class _Choice(NamedTuple):
    layer: int
    components: int
    penalty: float


@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_probe(table: EvidenceTable, states: StateFeatures, *, seed: int = 0) -> FittedProbe:
    """Fit a probe on all attempts of `table` by the states at its checkpoints.

    Raises `InputError` if states are missing or of other checkpoints, or where there are fewer than two prompts or one
    outcome only.
    """
    if table.n_prompts < _FOLDS or table.n_accepted in (0, table.n_attempts):
        what = f"{table.n_prompts} prompts with {table.n_accepted} of {table.n_attempts} attempts accepted"
        raise InputError(what, where="probe of hidden states", remedy="it takes four prompts, and both outcomes")
    fold = folds(table.prompt_ids, _FOLDS, seed)[table.prompt][table.attempt]
    known = table.k > 0
    due = known & table.is_checkpoint & np.isfinite(states.rows(table, next(iter(states.by_layer)))[:, 0])
    accepted = table.outcome
    per_attempt = np.maximum(np.bincount(table.attempt, due, table.n_attempts), 1)
    per_prompt = np.bincount(table.prompt)[table.prompt]
    weight = (1 / (per_attempt * np.sqrt(per_prompt)))[table.attempt]

    without: dict[tuple[int, ...], dict[_Choice, Array]] = {}
    every: dict[_Choice, Array] = {}
    axes: dict[int, _Axes] = {}
    turned: dict[int, Array] = {}
    held = [(f,) for f in range(_FOLDS)] + [(f, g) for f in range(_FOLDS) for g in range(f)]
    for layer in states.by_layer:
        x = states.rows(table, layer)
        axes[layer] = _principal(x[due], max(_COMPONENTS))
        z = turned[layer] = np.nan_to_num(axes[layer].turned(x))
        for components in dict.fromkeys(min(each, z.shape[1]) for each in _COMPONENTS):
            design = np.concatenate([np.ones((len(z), 1)), z[:, :components]], axis=1)
            for out in [(), *held]:
                rows = due & ~np.isin(fold, out)
                theta = np.zeros(components + 1)
                for penalty in _PENALTIES:
                    theta = _logistic(design[rows], accepted[rows], weight[rows], penalty, theta)
                    choice = _Choice(layer, components, penalty)
                    if not out:
                        every[choice] = theta
                    else:
                        without.setdefault(out, {})[choice] = theta

    def odds(choice: _Choice, theta: Array, rows: NDArray[np.bool_]) -> Array:
        result: Array = turned[choice.layer][rows, : choice.components] @ theta[1:] + theta[0]
        return result

    def loss(choice: _Choice, theta: Array, f: int) -> float:
        rows = due & (fold == f)
        eta = odds(choice, theta, rows)
        return float(weight[rows] @ np.logaddexp(0, np.where(accepted[rows], -eta, eta)))

    cross_fitted = np.full(len(table.k), np.nan)
    for f in range(_FOLDS):
        judged = {
            choice: sum(loss(choice, without[max(f, g), min(f, g)][choice], g) for g in range(_FOLDS) if g != f)
            for choice in every
        }
        best = min(judged, key=judged.__getitem__)
        rows = known & (fold == f)
        cross_fitted[rows] = odds(best, without[(f,)][best], rows)
    totals = {choice: sum(loss(choice, without[(f,)][choice], f) for f in range(_FOLDS)) for choice in every}
    best = min(totals, key=totals.__getitem__)
    hidden = _probe(best, every[best], axes[best.layer], states.origin.model)
    signed = np.where(accepted[due], -cross_fitted[due], cross_fitted[due])
    told = float(np.logaddexp(0, signed).mean())
    return FittedProbe(hidden, best.components, best.penalty, told, with_odds(table, hidden, cross_fitted))


def odds_of(table: EvidenceTable, states: StateFeatures, hidden: Hidden) -> Array:
    """Return `[R]` the log-odds of a probe at the rows of `table`, NaN before the first token.

    Raises `InputError` if states are missing, of other checkpoints, or of another model than the probe's.
    """
    if hidden.model != states.origin.model:
        what = f"they are of model {states.origin.model}, the probe is of {hidden.model or '(unnamed)'}"
        raise InputError(what, where="hidden states", remedy="read those of the model that the policy was fitted to")
    arrays = recall(hidden.weights or "")
    x = states.rows(table, hidden.layer).astype(np.float64)
    of_state = arrays["hidden.weights"].astype(np.float64)
    result: Array = x @ of_state.T.ravel() + arrays["hidden.bias"].astype(np.float64).sum()
    return result


def probed(table: EvidenceTable, states: StateFeatures, hidden: Hidden) -> EvidenceTable:
    """Return `table`, of attempts that the probe was not fitted to, with its log-odds as the last column."""
    return with_odds(table, hidden, odds_of(table, states, hidden))


def with_odds(table: EvidenceTable, hidden: Hidden, odds: Array) -> EvidenceTable:
    """Return `table` with the column of `hidden`, `[R]`, as if it had been built with it last."""
    (column,) = (f"{hidden.name}.{each}" for each in hidden.columns)
    unknown = np.full((len(table.k), 1), Verdict.UNKNOWN, dtype=np.int8)
    return replace(
        table.with_scores((column,), odds[:, None]),
        verdicts=np.hstack([table.verdicts, unknown]),
        validators=(*table.validators, describe(hidden)),
    )


def _principal(x: NDArray[np.float32], most: int) -> _Axes:
    """Return the principal axes of rows `[n, D]`, those of the largest variance first."""
    centre = x.mean(axis=0, dtype=np.float64)
    spread = x.std(axis=0, dtype=np.float64)
    scale = np.where(spread > 1e-9, spread, 1.0)
    z = ((x - centre) / scale).astype(np.float32)
    n = z.shape[1]
    gram = (z.T @ z).astype(np.float64)
    _, axes = scipy.linalg.eigh(gram, subset_by_index=(max(n - most, 0), n - 1))
    return _Axes(centre, scale, axes[:, ::-1])


def _logistic(design: Array, y: NDArray[np.bool_], weight: Array, ridge: float, theta: Array) -> Array:
    """Return the minimum θ of Σ w·(−log P(y | σ(design·θ))) + ridge·|θ₁…|²/2, from `theta` on, by Newton's method."""
    curvature = np.full(len(theta), ridge)
    curvature[0] = 0.0
    sign = np.where(y, 1.0, -1.0)

    def loss(theta: Array) -> float:
        return float(weight @ np.logaddexp(0, -sign * (design @ theta)) + curvature @ theta**2 / 2)

    now = loss(theta)
    for _ in range(_MOST_STEPS):
        p = expit(design @ theta)
        gradient = design.T @ (weight * (p - y)) + curvature * theta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + np.diag(curvature + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        if gradient @ step < _ENOUGH:
            return theta - step
        while (trial := loss(theta - step)) > now and np.abs(step).max() > 1e-12:
            step /= 2
        theta, now = theta - step, trial
    return theta


def _probe(choice: _Choice, theta: Array, axes: _Axes, model: str) -> Hidden:
    """Return the validator that says what the regression says, in one vector for each of the three states."""
    slope = (axes.axes[:, : choice.components] @ theta[1:]) / axes.scale
    constant = theta[0] - axes.centre @ slope
    tensors = {
        "hidden.weights": slope.reshape(3, -1).T.astype(np.float32),
        "hidden.bias": np.asarray([constant, 0, 0], dtype=np.float32),
    }
    return Hidden(remember(to_bytes(tensors)), choice.layer, model)
