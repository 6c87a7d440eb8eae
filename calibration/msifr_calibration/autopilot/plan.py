"""When to put a certified level to work, and when to certify further first [T13].

Whatever is put to work, and when, certificates stay valid: it is settled by the prompts before. It is a question of
price. While nothing is discarded every prompt tells all of every level; once a level discards, what it discards is told
by audits alone, with weights 1/ε, and further levels take some 1/ε times as many prompts. So with N prompts to come,
putting level j to work now saves about N·s_j, and waiting n_i prompts more for level i (N − n_i)·s_i, where s is what
the net cost factor is below 1, and n_i what is left to log(1/δ') over the growth of the log wealth per prompt.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.autopilot.level_tests import LevelTests

Array = NDArray[np.float64]


class Plan(NamedTuple):
    """The level to be in force, None for none yet; and what the prompts to come are expected to save by this plan.

    gain: in prompts: Σ over them of 1 − net cost factor.
    """

    level: int | None
    gain: float


def plan_level(tests: LevelTests, saved: Array, left: float, deployed: int | None = None) -> Plan:
    """Return the plan that is expected to save most.

    saved: `[J]` what each level is expected to save, 1 − net cost factor. left: prompts to come. What is `deployed`
    stays, or gives way to a later level that is certified.
    """
    n = tests.n_certified
    best = int(saved[:n].argmax()) if n else 0
    if deployed is not None:
        level = max(best, deployed)
        return Plan(level, float(saved[level]) * left)
    now = float(saved[best]) * left if n else 0.0
    later = saved[n:] * np.maximum(left - tests.prompts_to_certify[n:], 0.0)
    gain = max(0.0, float(later.max(initial=0.0)))
    return Plan(best, now) if now > 0 and now >= gain else Plan(None, gain)
