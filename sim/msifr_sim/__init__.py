"""Simulation: what a policy would save, by replay of traces and by Monte Carlo under a model."""

from msifr_sim.chain import empirical_chain
from msifr_sim.hazard import simulate_hazard
from msifr_sim.montecarlo import Agreement, agreement, simulate_process
from msifr_sim.outcomes import CheckpointCount, Outcomes, Summary, summarise
from msifr_sim.replay import replay_policy

__all__ = [
    "Agreement",
    "CheckpointCount",
    "Outcomes",
    "Summary",
    "agreement",
    "empirical_chain",
    "replay_policy",
    "simulate_hazard",
    "simulate_process",
    "summarise",
]
