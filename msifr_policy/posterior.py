"""The posterior M_k = P(accepted | F_k): evidence at a checkpoint in, conditional utility estimate out [T4].

Only evaluation lives here, plain numpy, so that a policy file runs without the libraries it was fitted
with. Fitting is `msifr_calibration.posterior`. A posterior is a list of stage models; checkpoint k uses model
`stage_of[k - 1]`, and checkpoints beyond the list the last entry.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.errors import InputError

__all__ = ["LogisticStage", "Posterior", "signed_log1p"]

Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Scale = Annotated[float, Meta(gt=0, le=1e12)]


def signed_log1p(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sign(x)·log(1 + |x|), elementwise: counts and lengths become comparable; NaN stays NaN."""
    result: NDArray[np.float64] = np.sign(x) * np.log1p(np.abs(x))
    return result


class LogisticStage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """M = expit(intercept + Σ_d coefficients[d]·(g(x_d) − centre[d]) / scale[d]), g = signed log1p.

    A score that is not known (NaN) contributes nothing, as if it were at its centre.
    """

    intercept: Finite
    centre: list[Finite]
    scale: list[Scale]
    coefficients: list[Finite]


class Posterior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Posterior per checkpoint over evidence `columns` (D names).

    `method` names how it was fitted ("logistic" or "isotonic"). After the logistic stage, M is passed through
    the piecewise-linear increasing map (`knots_x[stage]`, `knots_y[stage]`) when the lists are not empty.
    """

    method: str
    columns: tuple[str, ...]
    stage_of: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=4096)]
    stages: Annotated[list[LogisticStage], Meta(min_length=1)]
    knots_x: list[list[Finite]] = msgspec.field(default_factory=list)
    knots_y: list[list[Annotated[float, Meta(ge=0, le=1)]]] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        width = len(self.columns)
        if max(self.stage_of) >= len(self.stages):
            raise InputError(f"stage_of names stage {max(self.stage_of)} of {len(self.stages)}", where="posterior")
        for i, stage in enumerate(self.stages):
            if not len(stage.centre) == len(stage.scale) == len(stage.coefficients) == width:
                raise InputError(f"stage {i} does not have {width} coefficients", where="posterior")
        if self.knots_x or self.knots_y:
            if not len(self.knots_x) == len(self.knots_y) == len(self.stages):
                raise InputError("one list of knots per stage is needed", where="posterior")
            for i, (x, y) in enumerate(zip(self.knots_x, self.knots_y, strict=True)):
                increasing = all(a <= b for a, b in pairwise(x))
                if len(x) != len(y) or not x or not increasing or sorted(y) != y:
                    raise InputError(f"knots of stage {i} must be two increasing lists", where="posterior")

    def stage(self, k: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `[R]` the stage model of checkpoints k = 1, 2, … `[R]`."""
        stage_of = np.asarray(self.stage_of, dtype=np.int64)
        result: NDArray[np.int64] = stage_of[np.minimum(k, len(stage_of)) - 1]
        return result

    def contributions(self, k: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[R, D]` what each column adds to the log-odds at checkpoints `k` `[R]`, `values` `[R, D]`."""
        stage = self.stage(k)
        centre = np.asarray([s.centre for s in self.stages])[stage]
        slope = np.asarray([np.divide(s.coefficients, s.scale) for s in self.stages])[stage]
        terms = (signed_log1p(values) - centre) * slope
        return np.where(np.isfinite(terms), terms, 0.0)

    def predict(self, k: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `[R]` M_k in [0, 1] for checkpoints `k` `[R]` and evidence `values` `[R, D]`."""
        stage = self.stage(k)
        intercept = np.asarray([s.intercept for s in self.stages])[stage]
        # Column by column: one row gives to the last bit what it gives among a million.
        logit = intercept.copy()
        for term in self.contributions(k, values).T:
            logit += term
        M = 1.0 / (1.0 + np.exp(-np.clip(logit, -500.0, 500.0)))
        if self.knots_x:
            for i, (x, y) in enumerate(zip(self.knots_x, self.knots_y, strict=True)):
                here = stage == i
                M[here] = np.interp(M[here], x, y)
        result: NDArray[np.float64] = M
        return result
