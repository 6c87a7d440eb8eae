"""Monte Carlo of the hazard model under "discard at the first flag", as outcomes like any others."""

import numpy as np
from numpy.typing import NDArray

from msifr_policy.evidence.schedule import Unit
from msifr_policy.exact.hazard import HazardModel, sample_hazard
from msifr_sim.outcomes import Outcomes, draw_outcomes


def simulate_hazard(
    model: HazardModel, n_attempts: int, rng: np.random.Generator, *, unit: Unit = "tokens"
) -> Outcomes:
    """Draw `n_attempts` independent attempts and discard each at its first flag at checkpoints 1 … K − 1.

    Raises `InputError` for less than one attempt.
    """
    paid = np.cumsum([model.prompt_cost, *model.stage_costs], dtype=float)

    def draw(n: int) -> tuple[NDArray, ...]:
        sample = sample_hazard(model, n, rng)
        flags = sample.flags[:, :-1]
        discarded = np.asarray(flags.any(axis=1))
        stop_k = np.where(discarded, flags.argmax(axis=1) + 1 if model.K > 1 else 0, 0)
        at = np.where(discarded, stop_k, model.K)
        return np.full(n, paid[-1]), paid[at], sample.accepted, discarded, stop_k, np.minimum(at, model.K - 1)

    at_once = min(2**16, max(1, 2**22 // model.K))  # attempts × stages at a time
    return draw_outcomes(draw, n_attempts, unit=unit, reason="flag", at_once=at_once)
