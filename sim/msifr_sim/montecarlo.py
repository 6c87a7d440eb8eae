"""Monte Carlo: attempts drawn from a finite stage process, each with and without the policy on the same path.

Cost O(n·K·log S) and memory O(n + S²): one uniform number per attempt and stage, inverted through the cumulative
transition rows laid end to end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evaluate import Evaluation, StagePolicy, evaluate
from msifr_policy.process import StageProcess
from msifr_policy.schedule import Unit
from msifr_sim.outcomes import Outcomes

__all__ = ["Agreement", "agreement", "simulate_process"]


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
        raise InputError(
            f"utility {process.utility.max():g} is no probability of acceptance", where="Monte Carlo"
        )
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


def _next_state(P: NDArray[np.float64] | sp.csr_array, state: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
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


@dataclass(frozen=True, slots=True)
class Agreement:
    """The exact saving, false-reject rate and net cost factor beside a Monte Carlo run of them.

    `standard_errors` says how many standard errors lie between the exact and the simulated saving rate.
    """

    saving_rate: float
    false_reject_rate: float
    net_cost_factor: float
    simulated_saving_rate: float
    simulated_saving_rate_se: float
    standard_errors: float
    n_simulated: int


def agreement(process: StageProcess, policy: StagePolicy, outcomes: Outcomes) -> Agreement:
    """Compare the exact evaluation of `policy` with a Monte Carlo run of it."""
    exact: Evaluation = evaluate(process, policy)
    # s = 1 − ΣT/ΣN is a ratio: its standard error is that of the mean of T − (1 − s)·N over the mean of N.
    full, policy_cost = outcomes.cost_full, outcomes.cost_policy
    ratio = policy_cost.sum() / full.sum()
    se = float(np.std(policy_cost - ratio * full) / np.sqrt(len(full)) / full.mean())
    difference = (1 - ratio) - exact.saving_rate
    return Agreement(
        saving_rate=exact.saving_rate,
        false_reject_rate=exact.false_reject_rate,
        net_cost_factor=exact.net_cost_factor,
        simulated_saving_rate=float(1 - ratio),
        simulated_saving_rate_se=se,
        standard_errors=float(abs(difference) / se) if se > 0 else 0.0,
        n_simulated=len(full),
    )
