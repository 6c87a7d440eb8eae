"""Monte Carlo: attempts drawn from a finite stage process, each with and without the policy on the same path.

Cost O(n·K·log S) and memory O(n) beside the process: one uniform number per attempt and stage, inverted through the
cumulative transition rows laid end to end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Unit
from msifr_policy.exact.evaluation import Headline, StagePolicy
from msifr_policy.exact.process import Matrix, StageProcess
from msifr_sim.outcomes import Outcomes, draw_outcomes

States: TypeAlias = NDArray[np.int64]


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
    if any(np.any(x > 0) for x in policy.exiting):
        raise InputError("Monte Carlo of EXIT is not available", remedy="evaluate the policy exactly")
    if process.utility.max() > 1:
        raise InputError(f"utility {process.utility.max():g} is no probability of acceptance", where="Monte Carlo")
    first_state = _sampler(process.initial[None, :], rng)
    samplers = {id(P): _sampler(P, rng) for P in process.transitions}  # stages that share a matrix share its sampler

    def draw(n: int) -> tuple[NDArray, ...]:
        state = first_state(np.zeros(n, dtype=np.int64))
        cost_full = np.full(n, process.prompt_cost)
        cost_policy = cost_full.copy()
        alive = np.ones(n, dtype=bool)
        stop_k, reached = np.zeros((2, n), dtype=np.int64)
        for k, (P, c) in enumerate(zip(process.transitions, process.stage_costs, strict=True)):
            goes_on = rng.random(n) < policy.continuing[k][state]
            stop_k[alive & ~goes_on] = k
            reached[alive] = k
            alive &= goes_on
            cost_full += c[state]
            cost_policy += np.where(alive, c[state], 0.0)
            state = samplers[id(P)](state)
        accepted = rng.random(n) < process.utility[state]
        return cost_full, cost_policy, accepted, ~alive, stop_k, reached

    return draw_outcomes(draw, n_attempts, unit=unit, reason=reason)


def _sampler(P: Matrix, rng: np.random.Generator) -> Callable[[States], States]:
    """Return the function that draws the next states from the current ones."""
    entries, first = (P.data, P.indptr) if sp.issparse(P) else (P, np.arange(len(P) + 1) * P.shape[1])
    ends = np.cumsum(entries)
    before = np.concatenate(([0.0], ends))[first]
    mass = np.diff(before)

    def follow(state: States) -> States:
        at = np.searchsorted(ends, before[state] + rng.random(len(state)) * mass[state], side="right")
        at = np.clip(at, first[state], first[state + 1] - 1)
        return P.indices[at].astype(np.int64) if sp.issparse(P) else at - first[state]

    return follow


@dataclass(frozen=True, slots=True)
class Agreement:
    """Exact rates beside a Monte Carlo run of the same model and policy.

    `saving_rate_se` is the standard error of the simulated saving rate, and `standard_errors` how many of them lie
    between the exact and the simulated one.
    """

    saving_rate: float
    false_reject_rate: float
    net_cost_factor: float
    simulated_saving_rate: float
    saving_rate_se: float
    standard_errors: float
    n_simulated: int


def agreement(exact: Headline[Any], outcomes: Outcomes) -> Agreement:
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
