"""A fitted policy under a model: compiled from evidence, evaluated exactly, and drawn from."""

from dataclasses import replace

import numpy as np

from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.exact.evaluation import evaluate
from msifr_policy.fitted_policy import FittedPolicy
from msifr_sim.chain import empirical_chain
from msifr_sim.montecarlo import Agreement, agreement, simulate_process
from msifr_sim.outcomes import Outcomes


def simulate_policy(
    policy: FittedPolicy, table: EvidenceTable, n_attempts: int, rng: np.random.Generator
) -> tuple[Agreement, Outcomes]:
    """Return what `policy` saves under a Markov model of `table` (`empirical_chain`): exactly, and `n_attempts` drawn.

    Raises `InputError` when the table is of other evidence than the policy's, or no attempt was accepted.
    """
    process, stage_policy = empirical_chain(table, policy.follow(table).worth, policy.thresholds)
    drawn = simulate_process(process, stage_policy, n_attempts, rng, unit=table.costing.unit)
    if table.begins_at_0:  # the first stage of the process leads to it
        drawn = replace(drawn, stop_k=np.maximum(drawn.stop_k - 1, 0), reached=drawn.reached - 1)
    return agreement(evaluate(process, stage_policy), drawn), drawn
