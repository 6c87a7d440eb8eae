"""A finite stage process compiled from evidence: states are ranges of the worth, counts become transitions.

The empirical model of theory §4, as a process like any other, with attempts of random length: those that end before
a checkpoint wait in a finished state. It is a Markov model: given its range of ω_k at checkpoint k, an attempt's future
does not depend on its past. That is an approximation (replay makes none), and what it buys is exact evaluation, an
exact optimum and endless Monte Carlo of policies and futures that were never recorded.
"""

import numpy as np
from numpy.typing import NDArray

from msifr_policy.checkpoints import at_checkpoint, discards
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.exact.evaluation import StagePolicy
from msifr_policy.exact.process import StageProcess


def empirical_chain(
    table: EvidenceTable, worth: NDArray[np.float64], thresholds: NDArray[np.float64], *, n_ranges: int = 12
) -> tuple[StageProcess, StagePolicy]:
    """Return the process of `table` and the threshold policy on it.

    worth `[R]`; thresholds `[K + 1]` of the policy (`EvidenceTable.stops`; none: never discard). At each checkpoint the
    states are up to `n_ranges` quantile ranges of ω, cut at the threshold too, then finished and not accepted, and
    finished and accepted. Costs are mean costs per state, in the table's unit.

    Raises `InputError` when no attempt was accepted or none has a checkpoint.
    """
    rows = np.flatnonzero(table.is_checkpoint)
    if not len(rows) or not table.n_accepted:
        raise InputError(
            f"{len(rows)} checkpoints and {table.n_accepted} accepted attempts make no model",
            remedy="add accepted attempts that pass a checkpoint",
        )
    last = table.n_checkpoints
    threshold = at_checkpoint(thresholds, np.arange(last + 1)) if len(thresholds) else np.zeros(last + 1)
    # state[i] of each attempt at the current checkpoint, from 0 (one state) to last + 1 (two states).
    A = table.accepted.astype(np.int64)
    state = np.zeros(table.n_attempts, dtype=np.int64)
    paid = np.zeros(table.n_attempts)
    size = 1
    transitions: list[NDArray[np.float64]] = []
    costs: list[NDArray[np.float64]] = []
    continuing: list[NDArray[np.float64]] = [np.ones(1)]
    for k in range(1 - table.begins_at_0, last + 2):
        here = rows[table.k[rows] == k]
        attempt = table.attempt[here]
        edges = _edges(worth[here], threshold[k], n_ranges) if k <= last else np.zeros(0)
        n_open = len(edges) + 1 if len(here) else 0
        following = n_open + A  # finished, unless it has this checkpoint
        following[attempt] = np.searchsorted(edges, worth[here], side="right")
        next_size = n_open + 2
        counts = np.zeros((size, next_size))
        np.add.at(counts, (state, following), 1.0)
        now = table.cost.copy()
        now[attempt] = table.spent[here]
        visits = counts.sum(axis=1)
        empty = visits == 0
        # Only the finished states can be empty, and they keep what they are.
        counts[np.flatnonzero(empty), next_size - size + np.flatnonzero(empty)] = 1.0
        transitions.append(counts / counts.sum(axis=1, keepdims=True))
        costs.append(np.bincount(state, now - paid, size) / np.maximum(visits, 1))
        state, paid, size = following, now, next_size
        if k <= last:
            # A range lies on one side of the threshold, because the threshold is an edge where it separates.
            keep = np.ones(size)
            keep[following[attempt[discards(worth[here], threshold[k])]]] = 0.0
            continuing.append(keep)
    process = StageProcess(tuple(transitions), tuple(costs), utility=np.asarray([0.0, 1.0]), initial=np.ones(1))
    return process, StagePolicy(tuple(continuing))


def _edges(worth: NDArray[np.float64], threshold: float, n_ranges: int) -> NDArray[np.float64]:
    """Return the inner edges of the ranges: quantiles of ω, and the threshold where it separates attempts.

    A range is [edge, next edge); no range is empty.
    """
    if not len(worth):
        return np.zeros(0)
    quantiles = np.quantile(worth, np.linspace(0, 1, n_ranges + 1)[1:-1])
    edges = np.unique(np.append(quantiles, threshold))
    kept: list[float] = []
    ordered = np.sort(worth)
    below = 0
    for edge in edges:
        at = int(np.searchsorted(ordered, edge, side="left"))
        if below < at < len(ordered):
            kept.append(float(edge))
            below = at
    return np.asarray(kept)
