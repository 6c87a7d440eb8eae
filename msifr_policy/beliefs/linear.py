"""What a policy believes at a checkpoint: the posterior M_k, the cost to go r_k, and the worth index it decides by.

* **posterior** M_k = P(accepted | F_k), the conditional utility estimate [T4];
* **cost to go** r_k = E[Σ_{j>k} C_j | F_k], the expected remaining cost [T3];
* **worth index** ω_k = M_k / (M_k + r_k/ρ), in [0, 1], with ρ the cost per accepted sample without a policy: at total
  price Λ, going on to the end is worth Λ·M_k − r_k > 0 exactly when ω_k > ρ/(ρ + Λ) [T8].

Only evaluation lives here, plain numpy, so that a policy file runs without the libraries it was fitted with. Both
models are linear (learned ones are in `network`) in g(x) = sign(x)·log(1 + |x|) of the evidence x, stage by stage:
checkpoint k uses stage `stage_of[k - 1]`, and checkpoints beyond the list the last entry. A score that is not known
(NaN) contributes nothing, as if it were at its centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.errors import InputError

__all__ = ["LARGEST_COST", "CostToGo", "LinearStage", "Positive", "Posterior", "signed_log1p", "worth_index"]

Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Positive = Annotated[float, Meta(gt=0, le=1e12)]
StageOf = Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=4096)]

LARGEST_COST = 1e9
"""Largest cost to go a model may give."""


def signed_log1p(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sign(x)·log(1 + |x|), elementwise: counts and lengths become comparable; NaN stays NaN."""
    result: NDArray[np.float64] = np.sign(x) * np.log1p(np.abs(x))
    return result


def worth_index(
    M: NDArray[np.float64], cost_to_go: NDArray[np.float64], cost_per_accepted: float
) -> NDArray[np.float64]:
    """Return ω = M / (M + r/ρ), elementwise; r = `cost_to_go` > 0 and ρ = `cost_per_accepted` in one unit."""
    result: NDArray[np.float64] = M / (M + cost_to_go / cost_per_accepted)
    return result


class LinearStage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage: η = intercept + Σ_d coefficients[d]·(g(x_d) − centre[d]) / scale[d]."""

    intercept: Finite
    centre: list[Finite]
    scale: list[Positive]
    coefficients: list[Finite]


class Posterior(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="linear", tag_field="kind"):
    """M = 1/(1 + e^−η) per checkpoint over evidence `columns` (D names).

    `method` names how it was fitted ("logistic" or "isotonic"). Where the lists of knots are not empty, M is passed
    through the increasing piecewise-linear map (`knots_x[stage]`, `knots_y[stage]`).
    """

    method: str
    columns: tuple[str, ...]
    stage_of: StageOf
    stages: Annotated[list[LinearStage], Meta(min_length=1)]
    knots_x: list[list[Finite]] = msgspec.field(default_factory=list)
    knots_y: list[list[Annotated[float, Meta(ge=0, le=1)]]] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        _check_stages("posterior", self.columns, self.stage_of, self.stages)
        if self.knots_x or self.knots_y:
            if not len(self.knots_x) == len(self.knots_y) == len(self.stages):
                raise InputError("one list of knots per stage is needed", where="posterior")
            for i, (x, y) in enumerate(zip(self.knots_x, self.knots_y, strict=True)):
                increasing = all(a <= b for a, b in pairwise(x))
                if len(x) != len(y) or not x or not increasing or sorted(y) != y:
                    raise InputError(f"knots of stage {i} must be two increasing lists", where="posterior")

    def contributions(
        self, k: NDArray[np.int64], values: NDArray[np.float64], owner: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return `[R, V]` what each of V groups of columns adds to the log-odds η.

        k `[R]`, values `[R, D]`; owner `[D]` is the group of each column.
        """
        return _by_group(_contributions(self.stages, _stage(self.stage_of, k), values), owner)

    def predict(self, k: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[R]` M_k in [0, 1] for checkpoints `k` `[R]` and evidence `values` `[R, D]`."""
        stage = _stage(self.stage_of, k)
        M = 1.0 / (1.0 + np.exp(-np.clip(_linear(self.stages, stage, values), -500.0, 500.0)))
        if self.knots_x:
            for i, (x, y) in enumerate(zip(self.knots_x, self.knots_y, strict=True)):
                here = stage == i
                M[here] = np.interp(M[here], x, y)
        result: NDArray[np.float64] = M
        return result


class CostToGo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="linear", tag_field="kind"):
    """r = e^η per checkpoint over evidence `columns`, in units of cost; between 1 and 10⁹.

    `cost_per_accepted` is ρ, the cost per accepted sample without a policy, by which it becomes a worth index.
    """

    columns: tuple[str, ...]
    stage_of: StageOf
    stages: Annotated[list[LinearStage], Meta(min_length=1)]
    cost_per_accepted: Positive

    def __post_init__(self) -> None:
        _check_stages("cost to go", self.columns, self.stage_of, self.stages)

    def contributions(
        self, k: NDArray[np.int64], values: NDArray[np.float64], owner: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return `[R, V]` what each of V groups of columns adds to log r; arguments as for `Posterior`."""
        return _by_group(_contributions(self.stages, _stage(self.stage_of, k), values), owner)

    def predict(self, k: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[R]` r_k in units of cost for checkpoints `k` `[R]` and evidence `values` `[R, D]`."""
        eta = _linear(self.stages, _stage(self.stage_of, k), values)
        result: NDArray[np.float64] = np.exp(np.clip(eta, 0.0, np.log(LARGEST_COST)))
        return result


def _stage(stage_of: Sequence[int], k: NDArray[np.int64]) -> NDArray[np.int64]:
    stages = np.asarray(stage_of, dtype=np.int64)
    result: NDArray[np.int64] = stages[np.minimum(k, len(stages)) - 1]
    return result


def _by_group(contributions: NDArray[np.float64], owner: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.zeros((len(contributions), int(owner.max(initial=-1)) + 1))
    for d, group in enumerate(owner):
        result[:, group] += contributions[:, d]
    return result


def _contributions(
    stages: Sequence[LinearStage], stage: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    centre = np.asarray([s.centre for s in stages])[stage]
    slope = np.asarray([np.divide(s.coefficients, s.scale) for s in stages])[stage]
    terms = (signed_log1p(values) - centre) * slope
    return np.where(np.isfinite(terms), terms, 0.0)


def _linear(
    stages: Sequence[LinearStage], stage: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    eta = np.asarray([s.intercept for s in stages])[stage].copy()
    # Column by column: one row gives to the last bit what it gives among a million.
    for term in _contributions(stages, stage, values).T:
        eta += term
    return eta


def _check_stages(where: str, columns: Sequence[str], stage_of: Sequence[int], stages: Sequence[LinearStage]) -> None:
    if max(stage_of) >= len(stages):
        raise InputError(f"stage_of names stage {max(stage_of)} of {len(stages)}", where=where)
    for i, stage in enumerate(stages):
        if not len(stage.centre) == len(stage.scale) == len(stage.coefficients) == len(columns):
            raise InputError(f"stage {i} does not have {len(columns)} coefficients", where=where)
