"""Arithmetic over checkpoints: values that one checkpoint has, the stop rule, and where it first fires.

Checkpoint 0 is before the first token, where only the prompt and earlier attempts at it are known; those of a schedule
are 1, 2, … What there is per checkpoint is a list that begins with checkpoint 0.
"""

from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = float | NDArray[np.float64]
Values = TypeVar("Values", bound=np.generic)


def at_checkpoint(values: NDArray[Values], k: NDArray[np.int64]) -> NDArray[Values]:
    """Return `[R, …]` the values of checkpoints `k` `[R]`, `values[k]`; beyond `values` `[K + 1, …]` the last holds."""
    result: NDArray[Values] = values[np.minimum(k, len(values) - 1)]
    return result


def discards(worth: Floats, threshold: Floats) -> Any:
    """Return whether a policy of thresholds discards, elementwise: where the worth is below the threshold."""
    return worth < threshold


def first_rows(fires: NDArray[np.bool_], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `[N]` the first row of each attempt where `fires` `[R]` is True, −1 if there is none.

    `start` `[N + 1]` are row offsets: attempt i has the rows start[i] … start[i + 1] − 1.
    """
    rows = np.flatnonzero(fires)
    at = np.searchsorted(rows, start[:-1])
    found = np.append(rows, np.iinfo(np.int64).max)[at]
    result: NDArray[np.int64] = np.where(found < start[1:], found, -1)
    return result
