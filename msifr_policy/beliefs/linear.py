"""Linear models per group of checkpoints, in g(x) = sign(x)·log(1 + |x|) of the evidence x.

Checkpoint k uses group `group_of[k]`, and checkpoints beyond the list the last entry. A score that is not known
(NaN) contributes nothing, as if it were at its centre. Only evaluation lives here, plain numpy, so that a policy file
runs without the libraries it was fitted with.
"""

from functools import cached_property
from itertools import pairwise
from typing import Annotated, NamedTuple, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.checkpoints import at_checkpoint
from msifr_policy.errors import InputError

Array: TypeAlias = NDArray[np.float64]
Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Positive = Annotated[float, Meta(gt=0, le=1e12)]


def signed_log1p(x: Array) -> Array:
    """Return sign(x)·log(1 + |x|), elementwise: counts and lengths become comparable; NaN stays NaN."""
    result: Array = np.sign(x) * np.log1p(np.abs(x))
    return result


def by_column(values: Array) -> Array:
    """Return `[D, R]` g(x) of evidence `[R, D]`, each column in one piece."""
    return signed_log1p(np.ascontiguousarray(values.T))


class CheckpointGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Consecutive checkpoints that share η = intercept + Σ_d coefficients[d]·(g(x_d) − centre[d]) / scale[d]."""

    intercept: Finite
    centre: list[Finite]
    scale: list[Positive]
    coefficients: list[Finite]


class Knots(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An increasing piecewise-linear map of probabilities, of isotonic regression; constant outside its knots."""

    x: Annotated[list[Finite], Meta(min_length=1)]
    y: Annotated[list[Annotated[float, Meta(ge=0, le=1)]], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or any(a > b for values in (self.x, self.y) for a, b in pairwise(values)):
            raise InputError("knots must be two increasing lists of one length", where="beliefs")


class _Arrays(NamedTuple):
    """A linear model of G groups as arrays: group_of `[K + 1]`, intercept `[G]`, centre and slope `[D, G]`."""

    group_of: NDArray[np.int64]
    intercept: Array
    centre: Array
    slope: Array


class LinearModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """η per checkpoint; every group of checkpoints has a coefficient per evidence column."""

    group_of: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=4096)]
    groups: Annotated[list[CheckpointGroup], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if max(self.group_of) >= len(self.groups):
            raise InputError(f"group_of names group {max(self.group_of)} of {len(self.groups)}", where="beliefs")
        lengths = {len(part) for s in self.groups for part in (s.centre, s.scale, s.coefficients)}
        if len(lengths) > 1:
            raise InputError(f"groups have {sorted(lengths)} coefficients, not one number", where="beliefs")

    @property
    def n_columns(self) -> int:
        """Number D of evidence columns."""
        return len(self.groups[0].coefficients)

    def group(self, k: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `[R]` the group of checkpoints `k` `[R]`."""
        return at_checkpoint(self._arrays.group_of, k)

    @cached_property
    def _arrays(self) -> "_Arrays":
        groups = self.groups
        return _Arrays(
            np.asarray(self.group_of, dtype=np.int64),
            np.asarray([s.intercept for s in groups]),
            np.asarray([s.centre for s in groups]).T,
            np.asarray([np.divide(s.coefficients, s.scale) for s in groups]).T,
        )

    def terms(self, k: NDArray[np.int64], x: Array) -> Array:
        """Return `[D, R]` what each column adds to η at checkpoints `k` `[R]`; x `[D, R]` as from `by_column`."""
        group = self.group(k)
        terms = (x - self._arrays.centre.take(group, axis=1)) * self._arrays.slope.take(group, axis=1)
        return np.where(np.isfinite(terms), terms, 0.0)

    def predict(self, k: NDArray[np.int64], x: Array) -> Array:
        """Return `[R]` η at checkpoints `k` `[R]`; x `[D, R]` as from `by_column`."""
        eta: Array = self._arrays.intercept[self.group(k)]
        # Column by column: one row gives to the last bit what it gives among a million.
        for term in self.terms(k, x):
            eta = eta + term
        return eta
