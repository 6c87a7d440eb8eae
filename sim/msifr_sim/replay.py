"""Replay: a policy over recorded attempts, paying for each only up to where it would have been stopped."""

from __future__ import annotations

import numpy as np

from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import FittedPolicy
from msifr_sim.outcomes import Outcomes

__all__ = ["replay_policy"]


def replay_policy(policy: FittedPolicy, table: EvidenceTable) -> Outcomes:
    """Return what every attempt of `table` costs with and without `policy`.

    Raises `InputError` when the table was built with another schedule or other validators.
    """
    stop = policy.stops(table)
    discarded = stop >= 0
    reason = [""] * table.n_attempts
    rows = stop[discarded]
    words = policy.reasons(table.k[rows], table.values[rows], table.verdicts[rows])
    for attempt, word in zip(np.flatnonzero(discarded), words, strict=True):
        reason[attempt] = word
    at = np.where(discarded, stop, table.end)
    return Outcomes(
        unit=table.costing.unit,
        cost_full=table.cost,
        cost_policy=table.spent[at],
        accepted=table.accepted,
        discarded=discarded,
        prompt=table.prompt,
        stop_k=np.where(discarded, table.k[at], 0),
        reached=np.where(discarded, table.k[at], table.k[table.end] - 1),
        reason=tuple(reason),
    )
