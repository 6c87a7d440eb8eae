"""Simulation: what a policy would save, by replay of traces and by Monte Carlo under a model."""

from msifr_sim.outcomes import CheckpointCount, Outcomes, Summary, summarise
from msifr_sim.replay import replay_policy

__all__ = [
    "CheckpointCount",
    "Outcomes",
    "Summary",
    "replay_policy",
    "summarise",
]
