"""What a policy believes at a checkpoint, in one record: the posterior M_k, the cost to go r_k, and their worth.

* **posterior** M_k = P(accepted | F_k), the conditional utility estimate [T4];
* **cost to go** r_k = E[Σ_{j>k} C_j | F_k], the expected remaining cost [T3];
* **worth** ω_k = M_k / (M_k + r_k/ρ), in [0, 1], with ρ the cost per accepted sample without a policy: at total price
  Λ, going on to the end is worth Λ·M_k − r_k > 0 exactly when ω_k > ρ/(ρ + Λ) [T8].

Both are linear in the evidence, by groups of checkpoints (`linear`), or also by a `network` that many families of
traces share: it learns what they have in common, the linear model what is peculiar to one, and they err differently.
With η = log(M/(1 − M)) of each,

    M_k = 1/(1 + exp(−(a·η_network + b·η_linear))),    log r_k = the network's + d,

where a, b ≥ 0 and d are fitted to cross-fitted estimates (stacking: Wolpert 1992).
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, TypeVar, cast

import msgspec
import numpy as np
import scipy
from msgspec import Meta
from numpy.typing import NDArray

from msifr_policy.beliefs.linear import Array, Knots, LinearModel, Positive, by_column
from msifr_policy.beliefs.network import Network
from msifr_policy.errors import InputError

Share = Annotated[float, Meta(ge=0, le=10)]
Real = TypeVar("Real", float, Array)

MOST_LOG_ODDS = float(np.log(1e9))
LARGEST_LOG_COST = float(np.log(1e9))
# Rows at a time: what is made of them stays in the processor's cache, and a table takes little memory beside itself.
_BLOCK = 2**13


def blended(eta_network: Array, eta_linear: Array, a: float, b: float) -> Array:
    """Return M by the formula of the module docstring, elementwise; log-odds are kept within those of 10⁻⁹."""
    result: Array = scipy.special.expit(a * bounded(eta_network) + b * bounded(eta_linear))
    return result


def bounded(eta: Array) -> Array:
    """Return log-odds kept within those of 10⁻⁹ and 1 − 10⁻⁹, elementwise."""
    return np.clip(eta, -MOST_LOG_ODDS, MOST_LOG_ODDS)


def calibrated(group: NDArray[np.int64], eta: Array, knots: Sequence[Knots]) -> Array:
    """Return `[R]` M from log-odds η `[R]`, passed through the map of each row's `group` `[R]`, if there are maps."""
    M: Array = scipy.special.expit(bounded(eta))
    for i, each in enumerate(knots):
        M[group == i] = np.interp(M[group == i], each.x, each.y)
    return M


def cost_of(log_cost: Array) -> Array:
    """Return r in units of cost from its logarithm, elementwise, kept between 1 and 10⁹."""
    result: Array = np.exp(np.clip(log_cost, 0.0, LARGEST_LOG_COST))
    return result


def worth_of(M: Real, cost_to_go: Real, cost_per_accepted: float) -> Real:
    """Return ω = M / (M + r/ρ), elementwise; r = `cost_to_go` > 0 and ρ = `cost_per_accepted` in one unit."""
    return M / (M + cost_to_go / cost_per_accepted)


class Blend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network with its share a, b of the linear posterior, and d, which is added to its log r."""

    network: Network
    a: Share
    b: Share
    d: float = 0.0


class Beliefs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """M_k and r_k from evidence `columns` (D names).

    method: how they were fitted. cost_per_accepted: ρ, in units of cost. posterior_model: η of M, linear; calibration:
    per group of it a map of M ("isotonic"), or empty. Either cost_model gives log r, or blend does, and M with it.
    """

    method: Literal["logistic", "isotonic", "learned", "pretrained"]
    columns: tuple[str, ...]
    cost_per_accepted: Positive
    posterior_model: LinearModel
    calibration: list[Knots] = []
    cost_model: LinearModel | None = None
    blend: Blend | None = None

    def __post_init__(self) -> None:
        models = [self.posterior_model] if self.cost_model is None else [self.posterior_model, self.cost_model]
        if {model.n_columns for model in models} != {len(self.columns)}:
            raise InputError(f"the checkpoint groups do not have {len(self.columns)} coefficients", where="beliefs")
        by_network = self.method in ("learned", "pretrained")
        if (self.cost_model is None) == (self.blend is None) or by_network != (self.blend is not None):
            raise InputError(
                "a network gives the cost to go of learned beliefs, a model that of others", where="beliefs"
            )
        if self.calibration and (self.blend is not None or len(self.calibration) != len(self.posterior_model.groups)):
            raise InputError("one list of knots per checkpoint group is needed, and no network", where="beliefs")

    @property
    def weights(self) -> str | None:
        """SHA-256 of the learned weights, None if there is no network."""
        return None if self.blend is None else self.blend.network.weights

    def predict(self, k: NDArray[np.int64], values: Array) -> tuple[Array, Array]:
        """Return (M_k in [0, 1], r_k in units of cost), `[R]` each, at checkpoints `k` `[R]`; values `[R, D]`.

        Raises `InputError` if weights are not known or do not fit the columns.
        """
        return _in_blocks(self._predict_block, k, values)

    def worth(self, k: NDArray[np.int64], values: Array) -> tuple[Array, Array]:
        """Return (M_k, ω_k), `[R]` each; arguments as for `predict`."""
        return _in_blocks(self._worth_of_block, k, values)

    def _worth_of_block(self, k: NDArray[np.int64], values: Array) -> tuple[Array, Array]:
        M, r = self._predict_block(k, values)
        return M, worth_of(M, r, self.cost_per_accepted)

    def _predict_block(self, k: NDArray[np.int64], values: Array) -> tuple[Array, Array]:
        x = by_column(values)
        eta = self.posterior_model.predict(k, x)
        if self.blend is not None:
            both = self.blend.network.predict(k, values)
            return blended(both[:, 0], eta, self.blend.a, self.blend.b), cost_of(both[:, 1] + self.blend.d)
        M = calibrated(self.posterior_model.group(k), eta, self.calibration)
        return M, cost_of(cast(LinearModel, self.cost_model).predict(k, x))

    def contributions(self, k: NDArray[np.int64], values: Array, owner: NDArray[np.int64]) -> Array:
        """Return `[R, V]` what each of V groups of columns adds to log(odds of M / r); owner `[D]` is their group."""
        x = by_column(values)
        result = _by_group(self.posterior_model.terms(k, x), owner)
        if self.blend is not None:
            of_network = self.blend.network.contributions(k, values, owner)
            return self.blend.a * of_network[:, :, 0] + self.blend.b * result - of_network[:, :, 1]
        return result - _by_group(cast(LinearModel, self.cost_model).terms(k, x), owner)


def _in_blocks(
    function: Callable[[NDArray[np.int64], Array], tuple[Array, Array]], k: NDArray[np.int64], values: Array
) -> tuple[Array, Array]:
    """Return what `function` gives for all rows, `[R]` each, applied to some rows at a time."""
    one, other = np.empty(len(k)), np.empty(len(k))
    for start in range(0, len(k), _BLOCK):
        rows = slice(start, start + _BLOCK)
        one[rows], other[rows] = function(k[rows], values[rows])
    return one, other


def _by_group(terms: Array, owner: NDArray[np.int64]) -> Array:
    result = np.zeros((terms.shape[1], int(owner.max(initial=-1)) + 1))
    for term, group in zip(terms, owner, strict=True):
        result[:, group] += term
    return result
