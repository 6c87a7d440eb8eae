"""A confidence interval for the false-reject rate that holds at every moment of a run at once [T11, T13].

For each f₀ of a grid the score lost·(1 − f₀) − kept·f₀ of a prompt has expectation 0 where f = f₀, below 0 where f is
smaller, above where it is larger. Two mixtures of bets run against it, one on f > f₀, one on f < f₀; f₀ is excluded
from below or above while the e-process is at 1/δ or more, with δ half of 1 − confidence each. The lower end is the
last f₀ up to which all are excluded from below; so whatever f is, at the next grid point below it the e-process must
have been at 1/δ for the end to be above f, which at any time of the run happens with probability δ at most. The upper
end likewise. Ends are points of the grid: the interval is somewhat wide, never too short.

It is an interval for one f: where f changes on the way, it is one for what is common to the whole run. Bets on f < f₀
lose where a good sample is found among the audited, with the largest weight 1/ε there can be: so the least ε counts.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.monitor.alarms import likelihood_bet
from msifr_calibration.monitor.scores import Score
from msifr_policy.audit import Audit
from msifr_policy.errors import InputError

Array = NDArray[np.float64]

_RATES: Array = 1 / (1 + 1 / np.geomspace(5e-4 / (1 - 5e-4), 0.9 / (1 - 0.9), 128))
"""`[F]` the grid: neighbours are 5 to 8 % apart below f = 30 %."""
_ABOVE = np.geomspace(1.15, 8.0, 10)
_BELOW = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.02])
"""Odds of the alternatives bet on, as multiples of those of f₀."""
_MOST_WAITING = 1024


class ConfidenceSequence:
    """The interval along one run, at `confidence`; `attempts` at each prompt, audited by `audit`.

    Scores are counted, and bets settled when 1,024 different ones have come: what one prompt costs hangs on neither
    the grid nor the bets.
    """

    def __init__(self, confidence: float, audit: Audit, attempts: int = 1) -> None:
        if not 0 < confidence < 1:
            raise InputError(f"confidence {confidence} must lie strictly between 0 and 1", where="confidence sequence")
        self._log_level = np.log(2 / (1 - confidence))
        self._most = (1 / audit.floor) * (1 + 1e-12)
        above = np.concatenate([_ABOVE, _ABOVE[-1] * np.geomspace(1, attempts, 4)[1:]]) if attempts > 1 else _ABOVE
        rates = _RATES[:, None]
        self._nu = (
            likelihood_bet(above, rates, audit.share),  # [F, B] each
            likelihood_bet(_BELOW, rates, audit.floor),
        )
        self._log_wealth = [np.zeros(nu.shape) for nu in self._nu]
        self._waiting: Counter[Score] = Counter()
        self._lost = self._kept = 0.0

    def add(self, score: Score) -> None:
        """Take the score of one prompt. Raises `InputError` if a weight in it is above 1/(the least ε of the audit)."""
        if score.lost > self._most:
            raise InputError(
                f"a prompt has lost {score.lost:g} good samples an attempt by weight, more than 1/ε = {self._most:g}",
                where="confidence sequence",
                remedy="name the audit of the run",
            )
        if not score.lost and not score.kept:
            return
        self._lost += score.lost
        self._kept += score.kept
        self._waiting[score] += 1
        if len(self._waiting) >= _MOST_WAITING:
            self._log_wealth = self._settled()
            self._waiting.clear()

    def _settled(self) -> list[Array]:
        if not self._waiting:
            return self._log_wealth
        lost, kept = np.asarray(list(self._waiting), dtype=np.float64).T
        times = np.fromiter(self._waiting.values(), dtype=np.float64)
        Z = lost * (1 - _RATES[:, None]) - kept * _RATES[:, None]  # [F, n]
        return [
            wealth + np.stack([np.log1p(bets[:, None] * Z) @ times for bets in nu.T], axis=1)
            for wealth, nu in zip(self._log_wealth, self._nu, strict=True)
        ]

    @property
    def estimate(self) -> float | None:
        """The estimate of f, by weight; None before any good sample."""
        seen = self._lost + self._kept
        return self._lost / seen if seen else None

    @property
    def interval(self) -> tuple[float, float]:
        """The interval now; (0, 1) before anything is known."""
        above, below = (
            np.logaddexp.reduce(wealth, axis=1) - np.log(wealth.shape[1]) >= self._log_level
            for wealth in self._settled()
        )
        from_below = int(np.argmin(above)) if not above.all() else len(above)
        from_above = int(np.argmin(below[::-1])) if not below.all() else len(below)
        lower = float(_RATES[from_below - 1]) if from_below else 0.0
        upper = float(_RATES[len(_RATES) - from_above]) if from_above else 1.0
        return lower, upper
