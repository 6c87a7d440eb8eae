"""Hidden states: the process an observer sees, whose states are beliefs.

Where part of the state is hidden (a fault, a prompt's difficulty), a policy may only use the labels it has seen. The
posterior over the states given all labels so far, the **belief**, is again a finite Markov process: from belief b at
checkpoint k the label o at k + 1 has probability Σ_t (b P_k)_t 1{label_t = o} and leads to that vector, normalised.
Costs and utilities are expectations under the belief. Optima on the process of beliefs are optima over all policies
that see the labels alone. Reference: Åström (1965), *Optimal control of Markov processes with incomplete state
information*.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from msifr_policy.errors import InputError
from msifr_policy.exact.process import StageProcess, Vector, as_vectors

_DIGITS = 12  # beliefs that agree to this many digits are one state


def hide(process: StageProcess, labels: Sequence[npt.ArrayLike], *, max_states: int = 100_000) -> StageProcess:
    """Return the process whose states are beliefs over `process`, for an observer who sees labels only.

    labels: K + 1 vectors `[S_k]` of integers or strings, what is seen in each state. Histories that lead to the same
    belief are one state, in order of their first appearance; in general their number grows with every stage. Raises
    `InputError` when labels do not fit or a checkpoint has more than `max_states` beliefs.
    """
    seen = as_vectors(labels, process.sizes, "labels", None)
    first = _split(process.initial, seen[0])
    beliefs = np.array([belief for _, belief in first])
    transitions, stage_costs, exit_costs, exit_utilities = [], [], [], []
    for k, P in enumerate(process.transitions):
        stage_costs.append(beliefs @ process.stage_costs[k])
        # EXIT is available to an observer only where it is in every state that is possible.
        available = np.isfinite(process.exit_costs[k])
        everywhere = ~((beliefs > 0) & ~available).any(axis=1)
        exit_costs.append(np.where(everywhere, beliefs @ np.where(available, process.exit_costs[k], 0.0), np.inf))
        exit_utilities.append(beliefs @ process.exit_utilities[k])
        following: dict[bytes, tuple[int, Vector]] = {}  # number and belief of each state at k + 1
        entries = []
        for b, mass in enumerate(np.asarray(beliefs @ P)):
            for p, belief in _split(mass, seen[k + 1]):
                key = (np.round(belief, _DIGITS) + 0.0).tobytes()
                t, _ = following.setdefault(key, (len(following), belief))
                entries.append((p, b, t))
        if len(following) > max_states:
            where = f"checkpoint {k + 1}"
            raise InputError(f"{len(following)} beliefs", where=where, remedy="use coarser labels or fewer stages")
        weights, rows, columns = zip(*entries, strict=True)
        transitions.append(sp.csr_array((weights, (rows, columns)), shape=(len(beliefs), len(following))))
        beliefs = np.array([belief for _, belief in following.values()])
    return replace(
        process,
        transitions=tuple(transitions),
        stage_costs=tuple(stage_costs),
        utility=beliefs @ process.utility,
        initial=np.array([p for p, _ in first]),
        exit_costs=tuple(exit_costs),
        exit_utilities=tuple(exit_utilities),
    )


def _split(mass: Vector, labels: npt.NDArray[np.generic]) -> list[tuple[float, Vector]]:
    """Return (probability, belief) for each label that has positive mass."""
    parts = [np.where(labels == label, mass, 0.0) for label in np.unique(labels)]
    return [(float(part.sum()), part / part.sum()) for part in parts if part.sum() > 0]
