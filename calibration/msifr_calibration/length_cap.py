"""The plain length cap: the policy that reads nothing, against which every other one has to stand."""

from collections.abc import Sequence

import numpy as np

from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import LengthCap
from msifr_policy.rates import capped, rates


def best_length_cap(tables: Sequence[EvidenceTable], max_false_reject: float) -> LengthCap:
    """Return the plain length cap with the least cost per accepted and an observed f ≤ α on all `tables` together.

    Every cost of an accepted attempt is tried as cap: in between, a cap only costs more. The rate is observed, not
    certified, which favours this base line.
    """
    cost = np.concatenate([table.cost for table in tables])
    A = np.concatenate([table.accepted for table in tables])
    best = LengthCap(None, 1.0, 0.0)
    n_accepted = int(A.sum())
    # A cap below the j-th smallest accepted cost loses the rest: only the last share α is admissible.
    allowed = int(max_false_reject * n_accepted + 1e-9)
    for cap in np.unique(np.sort(cost[A])[max(0, n_accepted - 1 - allowed) :]):
        spent, cut = capped(cost, float(cap))
        lost = int((A & cut).sum())
        _, f, factor = rates(np.asarray([cost.sum(), spent.sum(), n_accepted, lost], dtype=float))
        if lost <= allowed and factor < best.net_cost_factor:
            best = LengthCap(float(cap), float(factor), float(f))
    return best
