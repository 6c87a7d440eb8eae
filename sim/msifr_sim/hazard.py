"""Monte Carlo of the hazard model under "discard at the first flag", as outcomes like any others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msifr_policy.evidence.schedule import Unit
from msifr_policy.exact.hazard import HazardModel, sample_hazard
from msifr_sim.outcomes import Outcomes

__all__ = ["simulate_hazard"]


def simulate_hazard(
    model: HazardModel, n_attempts: int, rng: np.random.Generator, *, unit: Unit = "tokens"
) -> Outcomes:
    """Draw `n_attempts` independent attempts and discard each at its first flag at checkpoints 1 … K − 1."""
    sample = sample_hazard(model, n_attempts, rng)
    flags = sample.flags[:, :-1]
    discarded: NDArray[np.bool_] = np.asarray(flags.any(axis=1))
    stop_k = np.where(discarded, flags.argmax(axis=1) + 1 if model.K > 1 else 0, 0)
    paid = np.cumsum(sample.costs, axis=1)
    return Outcomes(
        unit=unit,
        cost_full=paid[:, -1],
        cost_policy=np.where(discarded, paid[np.arange(n_attempts), stop_k], paid[:, -1]),
        accepted=sample.accepted,
        discarded=discarded,
        prompt=np.arange(n_attempts),
        stop_k=stop_k,
        reached=np.where(discarded, stop_k, model.K - 1),
        reason=tuple(np.where(discarded, "flag", "").tolist()),
    )
