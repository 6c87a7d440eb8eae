"""The reference of a policy file: what the attempts looked like that it was certified on (`msifr_policy.reference`)."""

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.held_out import one_each
from msifr_policy.evidence.history import COLUMNS as HISTORY_COLUMNS
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.reference import MOST_BINS, Reference

_LEAST = 50
"""Prompts below which there is no reference, and attempts at the checkpoint."""


def reference_of(
    table: EvidenceTable,
    stop: NDArray[np.int64],
    key: str,
    *,
    evidence: EvidenceTable | None = None,
    attempts: NDArray[np.int64] | None = None,
) -> Reference | None:
    """Return the reference of attempts that a policy stops at rows `stop` `[N]` (−1: never); `key` of the draws.

    Where `table` is without evidence, it is that of `attempts` `[N]` (None: all) in the table `evidence`. The
    checkpoint is the last that half of the attempts come to without being stopped, or the first. None where prompts
    are too few. Columns of the history are not compared: they hang on how many attempts a prompt has.
    """
    evidence = table if evidence is None else evidence
    drawn = one_each(table.prompt, table.attempt_ids, key)
    if len(drawn) < _LEAST:
        return None
    first = table.start[drawn]
    last = np.where(stop[drawn] >= 0, stop[drawn], table.end[drawn] - 1)  # before `first` where there is no checkpoint
    come_to = np.where(last >= first, table.k[last], -1)
    checkpoint = max(1, int(np.sort(come_to)[len(drawn) // 2]))
    here = come_to >= checkpoint
    if here.sum() < _LEAST:
        return None
    start = evidence.start[drawn if attempts is None else attempts[drawn]]
    edges, counts = [], []
    for column, values in zip(
        evidence.columns, evidence.values[(start + checkpoint - table.k[first])[here]].T, strict=True
    ):
        edges.append([] if column in HISTORY_COLUMNS else _tenths(values[np.isfinite(values)]))
        bins = np.searchsorted(edges[-1], values[~np.isnan(values)], side="right")
        counts.append([*np.bincount(bins, minlength=len(edges[-1]) + 1).tolist(), int(np.isnan(values).sum())])
    return Reference(
        checkpoint=checkpoint,
        n_prompts=len(drawn),
        reached=int(here.sum()),
        accepted=int(table.accepted[drawn].sum()),
        edges=edges,
        counts=counts,
    )


def _tenths(values: NDArray[np.float64]) -> list[float]:
    """Return what lies between tenths of the values; a value that takes up several tenths has a bin of its own.

    So what is rare beside a common value, an error in one attempt of twenty, is told from it.
    """
    if not len(values):
        return []
    distinct = np.unique(values)
    inner = np.quantile(values, np.arange(1, MOST_BINS) / MOST_BINS, method="inverted_cdf")
    common, times = np.unique(inner, return_counts=True)
    common = common[(times > 1) | (common == distinct[0])]
    above = np.searchsorted(distinct, common) + 1
    edges = np.union1d(inner[inner > distinct[0]], distinct[above[above < len(distinct)]])
    result: list[float] = edges.tolist()
    return result
