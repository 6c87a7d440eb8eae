"""What is lost of hard prompts and what of easy ones: a mean may hide that a policy gives the hard ones up."""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_sim.intervals import rate_interval

Third = Literal["hard", "middle", "easy"]
_NAMES: tuple[Third, ...] = ("hard", "middle", "easy")


class DifficultyGroup(msgspec.Struct, frozen=True):
    """The third of the good samples that are at prompts of one difficulty.

    low and high: share of the attempts at these prompts that are accepted, as `observed` where prompts have two
    attempts or more on average, otherwise as the policy believes before the first token. The interval is that of
    `Summary`.
    """

    name: Third
    low: float
    high: float
    n_accepted: int
    false_rejects: int
    false_reject_rate: float
    false_reject_rate_ci: tuple[float, float]
    observed: bool

    @property
    def range_in_words(self) -> str:
        """From `low` to `high`, as one share where they are shown alike."""
        low, high = f"{self.low:.0%}", f"{self.high:.0%}"
        return low if low == high else f"{low} to {high}"


def by_difficulty(
    accepted: NDArray[np.bool_],
    discarded: NDArray[np.bool_],
    prompt: NDArray[np.int64],
    weight: NDArray[np.float64],
    prospect: NDArray[np.float64] | None,
    level: float,
) -> list[DifficultyGroup]:
    """Return the thirds of the accepted attempts by difficulty, the hard ones first; one or none where all are alike.

    accepted, discarded, weight, prospect: `[N]`, prospect M_0 or None; prompt: `[N]` from 0, without gaps. level: of
    the intervals.
    """
    attempts = np.bincount(prompt)
    observed = len(prompt) >= 2 * len(attempts)
    share = (np.bincount(prompt, accepted) / attempts)[prompt] if observed else prospect
    if share is None or not accepted.any():
        return []
    ordered = np.sort(share[accepted])
    below, up_to = (np.searchsorted(ordered, share, side=side) for side in ("left", "right"))
    third = np.minimum(3 * (below + up_to) // (2 * len(ordered)), 2)  # equal ones stay together, where their middle is
    groups = []
    for i, name in enumerate(_NAMES):
        here = accepted & (third == i)
        lost, good = (np.bincount(prompt, weight * each).astype(np.float64) for each in (here & discarded, here))
        interval = rate_interval(lost, good, int(here.sum()), level)
        if interval is not None:
            f = float(lost.sum() / good.sum())
            ends = float(share[here].min()), float(share[here].max())
            counts = int(here.sum()), int((here & discarded).sum())
            groups.append(DifficultyGroup(name, *ends, *counts, f, (interval.low, interval.high), observed))
    return groups
