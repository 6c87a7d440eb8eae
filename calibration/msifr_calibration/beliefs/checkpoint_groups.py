"""What linear models share: groups of checkpoints with enough data, folds by prompt, standardised evidence."""

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.split import folds
from msifr_policy.evidence.table import EvidenceTable

_FOLDS = 5
_MIN_PER_CLASS = 25


def prompt_folds(table: EvidenceTable, seed: int) -> NDArray[np.int64]:
    """Return `[N]` the fold of each attempt, a function of its prompt; five folds, fewer if prompts are."""
    return folds(table.prompt_ids, max(2, min(_FOLDS, table.n_prompts)), seed)[table.prompt]


def group_checkpoints(table: EvidenceTable) -> NDArray[np.int64]:
    """Return `[K + 1]` the group of each checkpoint: consecutive ones merged until both outcomes are frequent."""
    rows = table.is_checkpoint
    k, accepted = table.k[rows], table.outcome[rows]
    if not len(k):
        return np.zeros(1, dtype=np.int64)
    good = np.bincount(k[accepted], minlength=k.max() + 1)
    bad = np.bincount(k[~accepted], minlength=k.max() + 1)
    group_of = np.zeros(len(good), dtype=np.int64)
    group = n_good = n_bad = 0
    for i, (g, b) in enumerate(zip(good, bad, strict=True)):
        group_of[i] = group
        n_good, n_bad = n_good + g, n_bad + b
        # Only close the group if what is left can fill another one.
        if min(n_good, n_bad, good[i + 1 :].sum(), bad[i + 1 :].sum()) >= _MIN_PER_CLASS:
            group, n_good, n_bad = group + 1, 0, 0
    return group_of


def standardise(
    x: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return (z, centre, scale) of x `[n, D]`: z = (x − centre)/scale, 0 where x is NaN or does not vary."""
    known = np.isfinite(x)
    if len(x) and known.all():  # the same with fewer passes
        centre = x.mean(axis=0)
        z = x - centre
        spread = np.sqrt(np.einsum("nd,nd->d", z, z) / len(z))
        varies = spread > 1e-9
        scale = np.where(varies, spread, 1.0)
        z /= scale
        z[:, ~varies] = 0.0
        return z, centre, scale
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, x, 0.0).sum(axis=0) / count
    deviation = np.where(known, x - centre, 0.0)
    spread = np.sqrt((deviation**2).sum(axis=0) / count)
    varies = spread > 1e-9
    scale = np.where(varies, spread, 1.0)
    return np.where(varies, deviation / scale, 0.0), centre, scale
