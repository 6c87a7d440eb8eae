"""A posterior that blends two: a network shared by many families, and a linear model of one family.

The network learns what families have in common, the linear model what is peculiar to one; they err differently. With
η = log(M/(1 − M)) of each, the blend is

    M_k = 1/(1 + exp(−(a·η_network + b·η_linear)))

where a, b ≥ 0 are fitted to cross-fitted estimates (stacking: Wolpert 1992).
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from scipy.special import expit, logit

from msifr_policy.beliefs.linear import CostToGo, Posterior
from msifr_policy.beliefs.network import NetworkCostToGo, NetworkPosterior
from msifr_policy.errors import InputError

__all__ = ["AnyCostToGo", "AnyPosterior", "BlendedPosterior", "blend", "log_odds", "predict_both"]

Array = NDArray[np.float64]
Share = Annotated[float, Meta(ge=0, le=10)]

_CERTAIN = 1e-9  # closest to 0 or 1 that a blended estimate may be


def blend(M_network: Array, M_linear: Array, a: float, b: float) -> Array:
    """Return the blend of two estimates, elementwise, by the formula of the module docstring."""
    result: Array = expit(a * log_odds(M_network) + b * log_odds(M_linear))
    return result


def log_odds(M: Array) -> Array:
    """Return η = log(M/(1 − M)), elementwise, of M kept away from 0 and 1."""
    result: Array = logit(np.clip(M, _CERTAIN, 1 - _CERTAIN))
    return result


class BlendedPosterior(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="blend", tag_field="kind"):
    """M_k blended of a network and a linear posterior on the same columns; a, b as in the module docstring."""

    network: NetworkPosterior
    linear: Posterior
    a: Share
    b: Share

    def __post_init__(self) -> None:
        if self.network.columns != self.linear.columns:
            raise InputError("network and linear model have different columns", where="posterior")

    @property
    def method(self) -> str:
        """`learned`."""
        return "learned"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the D evidence columns."""
        return self.network.columns

    @property
    def weights(self) -> str:
        """SHA-256 of the network's weights."""
        return self.network.weights

    def predict(self, k: NDArray[np.int64], values: Array) -> Array:
        """Return `[R]` M_k in [0, 1] for checkpoints `k` `[R]` and evidence `values` `[R, D]`."""
        return blend(self.network.predict(k, values), self.linear.predict(k, values), self.a, self.b)

    def contributions(self, k: NDArray[np.int64], values: Array, owner: NDArray[np.int64]) -> Array:
        """Return `[R, V]` what each of V groups of columns adds to the log-odds; owner `[D]`."""
        network, linear = self.network.contributions(k, values, owner), self.linear.contributions(k, values, owner)
        return self.a * network + self.b * linear


AnyPosterior = Posterior | BlendedPosterior
AnyCostToGo = CostToGo | NetworkCostToGo


def predict_both(
    posterior: AnyPosterior, cost_to_go: AnyCostToGo, k: NDArray[np.int64], values: Array
) -> tuple[Array, Array]:
    """Return (M_k, r_k), `[R]` each, as their `predict`; a network that gives both is evaluated once."""
    if not (
        isinstance(posterior, BlendedPosterior)
        and isinstance(cost_to_go, NetworkCostToGo)
        and posterior.weights == cost_to_go.weights
    ):
        return posterior.predict(k, values), cost_to_go.predict(k, values)
    M, r = posterior.network.predict_with_cost(k, values)
    return blend(M, posterior.linear.predict(k, values), posterior.a, posterior.b), r
