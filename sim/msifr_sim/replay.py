"""Replay: a policy over recorded attempts, paying for each only up to where it would have been stopped."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msifr_policy.evidence.exits import ExitColumns
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.fitted_policy import FittedPolicy
from msifr_sim.outcomes import Outcomes


def replay_policy(policy: FittedPolicy, table: EvidenceTable, exits: ExitColumns | None = None) -> Outcomes:
    """Return what every attempt of `table` costs with and without `policy`.

    exits: the answers that were forced in the attempts, for a policy that exits. Raises `InputError` when the table was
    built with another schedule or other validators, and where such a policy is not given them.
    """
    if policy.exit is not None and exits is not None:
        return _replay_with_exits(policy, table, exits)
    followed = policy.follow(table)
    stop = followed.stop
    discarded = stop >= 0
    rows = stop[discarded]
    reason = np.full(table.n_attempts, "", dtype=object)
    reason[discarded] = policy.reasons(table.k[rows], followed.values(rows), table.verdicts[rows])
    prospect = followed.M[table.start[:-1]] if table.begins_at_0 else None
    return stopped_at(table, stop, reason.tolist(), prospect)


def _replay_with_exits(policy: FittedPolicy, table: EvidenceTable, exits: ExitColumns) -> Outcomes:
    along = policy.along(table, exits)
    stops = along.stop >= 0
    discarded = stops & ~along.exited
    row = np.maximum(along.stop, 0)
    rows = along.stop[discarded]
    reason = np.full(table.n_attempts, "", dtype=object)
    reason[discarded] = policy.reasons(table.k[rows], table.values[rows], table.verdicts[rows])
    prospect = along.M[table.start[:-1]] if table.begins_at_0 else None
    k = table.k[np.where(stops, along.stop, table.end)]
    return Outcomes(
        unit=table.costing.unit,
        cost_full=table.cost,
        cost_policy=table.cost_until(along.stop) + np.where(along.exited, exits.cost[row], 0.0),
        accepted=table.accepted,
        discarded=discarded,
        prompt=table.prompt,
        stop_k=np.where(discarded, k, 0),
        reached=np.where(stops, k, k - 1),
        reason=tuple(reason.tolist()),
        prospect=prospect,
        exited=along.exited,
        forced=along.exited & exits.accepted[row],
    )


def stopped_at(
    table: EvidenceTable, stop: NDArray[np.int64], reason: Sequence[str], prospect: NDArray[np.float64] | None
) -> Outcomes:
    """Return the outcomes of discarding attempts at rows `stop` `[N]` (−1: never); the others as in `Outcomes`."""
    discarded = stop >= 0
    k = table.k[np.where(discarded, stop, table.end)]
    return Outcomes(
        unit=table.costing.unit,
        cost_full=table.cost,
        cost_policy=table.cost_until(stop),
        accepted=table.accepted,
        discarded=discarded,
        prompt=table.prompt,
        stop_k=np.where(discarded, k, 0),
        reached=np.where(discarded, k, k - 1),
        reason=tuple(reason),
        prospect=prospect,
    )
