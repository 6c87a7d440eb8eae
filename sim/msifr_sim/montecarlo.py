"""Monte Carlo: attempts drawn from a finite stage process, each with and without the policy on the same path.

Cost O(n·K·log S) and memory O(n + S²): one uniform number per attempt and stage, inverted through the cumulative
transition rows laid end to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Unit
from msifr_policy.exact.evaluation import StagePolicy
from msifr_policy.exact.process import Matrix, StageProcess
from msifr_sim.outcomes import Outcomes

__all__ = ["Agreement", "Rates", "agreement", "simulate_process"]


def simulate_process(
    process: StageProcess,
    policy: StagePolicy,
    n_attempts: int,
    rng: np.random.Generator,
    *,
    unit: Unit = "tokens",
    reason: str = "policy",
) -> Outcomes:
    """Draw `n_attempts` independent attempts (each its own prompt); costs are stage means given the state.

    Raises `InputError` for a policy that exits, utilities above one, or a number of attempts below one.
    """
    if n_attempts < 1:
        raise InputError(f"{n_attempts} attempts", remedy="at least 1")
    if any(np.any(x > 0) for x in policy.exiting):
        raise InputError("Monte Carlo of EXIT is not available", remedy="evaluate the policy exactly")
    if process.utility.max() > 1:
        raise InputError(f"utility {process.utility.max():g} is no probability of acceptance", where="Monte Carlo")
    state = np.searchsorted(_cumulative(process.initial[None, :]), rng.random(n_attempts), side="right")
    state = np.minimum(state, len(process.initial) - 1)
    cost_full = np.full(n_attempts, process.prompt_cost)
    cost_policy = cost_full.copy()
    alive = np.ones(n_attempts, dtype=bool)
    stop_k = np.zeros(n_attempts, dtype=np.int64)
    reached = np.zeros(n_attempts, dtype=np.int64)
    for k, (P, c) in enumerate(zip(process.transitions, process.stage_costs, strict=True)):
        goes_on = rng.random(n_attempts) < policy.continuing[k][state]
        stop_k[alive & ~goes_on] = k
        reached[alive] = k
        alive &= goes_on
        cost_full += c[state]
        cost_policy += np.where(alive, c[state], 0.0)
        state = _next_state(P, state, rng)
    accepted = rng.random(n_attempts) < process.utility[state]
    return Outcomes(
        unit=unit,
        cost_full=cost_full,
        cost_policy=cost_policy,
        accepted=accepted,
        discarded=~alive,
        prompt=np.arange(n_attempts),
        stop_k=stop_k,
        reached=reached,
        reason=tuple("" if kept else reason for kept in alive),
    )


def _cumulative(P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cumulative rows of `[S, S']` end to end, row s within [s, s + 1]."""
    rows = np.cumsum(P, axis=1)
    rows /= rows[:, -1:]
    return (rows + np.arange(len(P))[:, None]).ravel()


def _next_state(P: Matrix, state: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    u = rng.random(len(state))
    if sp.issparse(P):
        weight = np.cumsum(P.data)
        before = np.concatenate(([0.0], weight))[P.indptr]
        mass = np.diff(before)
        at = np.searchsorted(weight, before[state] + u * mass[state], side="right")
        at = np.clip(at, P.indptr[state], P.indptr[state + 1] - 1)
        result: NDArray[np.int64] = P.indices[at].astype(np.int64)
        return result
    flat = np.searchsorted(_cumulative(P), state + u, side="right")
    return np.minimum(flat - state * P.shape[1], P.shape[1] - 1)


class Rates(Protocol):
    """Exact rates to compare with: an `Evaluation` of a stage process, or `HazardRates`."""

    @property
    def saving_rate(self) -> float:
        """Saving rate s."""

    @property
    def false_reject_rate(self) -> float:
        """False-reject rate f."""

    @property
    def net_cost_factor(self) -> float:
        """Net cost factor."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Exact rates beside a Monte Carlo run of the same model and policy.

    `saving_rate_se` is the standard error of the simulated saving rate, and `standard_errors` how many of
    them lie between the exact and the simulated one.
    """

    saving_rate: float
    false_reject_rate: float
    net_cost_factor: float
    simulated_saving_rate: float
    saving_rate_se: float
    standard_errors: float
    n_simulated: int


def agreement(exact: Rates, outcomes: Outcomes) -> Agreement:
    """Compare exact rates with a Monte Carlo run of independent attempts."""
    # s = 1 − ΣT/ΣN is a ratio: by the delta method its error is that of the mean of T − (1 − s)·N over the mean of N.
    full, paid = outcomes.cost_full, outcomes.cost_policy
    ratio = paid.sum() / full.sum()
    se = float(np.std(paid - ratio * full) / np.sqrt(len(full)) / full.mean())
    return Agreement(
        saving_rate=float(exact.saving_rate),
        false_reject_rate=float(exact.false_reject_rate),
        net_cost_factor=float(exact.net_cost_factor),
        simulated_saving_rate=float(1 - ratio),
        saving_rate_se=se,
        standard_errors=abs(float(1 - ratio - exact.saving_rate)) / se if se > 0 else 0.0,
        n_simulated=len(full),
    )
