"""The path of an autopilot, fitted to the prompts of its shadow: few levels, well apart [T8, T9, T13].

Testing in order pays nothing for many levels, but levels that hardly differ tell nothing either. So of the path by
price, or of the path of length caps where that is estimated to save more within the budget, such levels are taken that
are spaced evenly by their estimated false-reject rate, up to twice the budget: what is above is not certified.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.autopilot.level_tests import growth
from msifr_calibration.beliefs.fitted import FittedBeliefs
from msifr_calibration.betting import prompt_scores
from msifr_calibration.family import Family
from msifr_calibration.learn import fit_candidates
from msifr_calibration.length_cap import best_length_cap
from msifr_calibration.nested import Nested, nested
from msifr_calibration.options import FitOptions
from msifr_calibration.path import PolicyPath
from msifr_policy.errors import InputError
from msifr_policy.evidence.history import reads_history
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.path_policy import LevelEstimate, PathFile
from msifr_policy.policy_file import Fingerprint
from msifr_policy.rates import Rates, rates
from msifr_policy.records.traces import Trace

Array = NDArray[np.float64]

_MOST_LOST = 2.0
"""Levels whose estimated rate is above so many times the budget are left out."""
_HOPED_FOR = 0.8
"""Paths are compared by what they save at an estimated rate of at most so much of the budget."""


def fit_levels(
    table: EvidenceTable,
    options: FitOptions | None = None,
    *,
    traces: Sequence[Trace] = (),
    most_levels: int = 40,
) -> PathFile:
    """Return the path of policies fitted to all of `table`, of at most so many levels; without any if none would pay.

    `options` as for `fit_policy`, without history and quota; of `traces`, the texts behind the table, "learned" beliefs
    have need. The same table gives the same path. Raises `InputError` for a quota, and a table with history.
    """
    options = options or FitOptions()
    if options.accepted_per_prompt is not None:
        raise InputError("policies that give prompts up are not nested", where="quota", remedy="leave it out")
    options = replace(options, history=False)
    if reads_history(table):
        raise InputError(
            "policies that read the history of prompts are not nested", remedy="leave out the validator history"
        )
    candidates = fit_candidates([Family("", table, traces)], options)[0]
    fitted = candidates.fitted
    alpha = options.max_false_reject
    taken = max(
        (_Levels.of(fitted, path) for path in (candidates.path, candidates.length)), key=lambda x: x.gain(alpha)
    )
    chosen = taken.spaced(_MOST_LOST * alpha, most_levels)
    return PathFile(
        costing=table.costing,
        schedule=table.schedule,
        validators=list(fitted.validators),
        beliefs=fitted.beliefs,
        thresholds=taken.path.thresholds[chosen].tolist(),
        levels=[taken.estimate(j, alpha) for j in chosen.tolist()],
        length_cap=best_length_cap((table,), alpha),
        fitted_on=Fingerprint.of(table),
        provenance=table.provenance,
        created_by=f"msifr-policy {version('msifr-policy')}",
    )


def fit_best_levels(
    tables: Sequence[EvidenceTable],
    options: FitOptions | None = None,
    *,
    traces: Sequence[Trace] = (),
    most_levels: int = 40,
) -> PathFile:
    """Return of the paths fitted to `tables`, the same attempts by several schedules, the one that promises most.

    The rest as for `fit_levels`; the first where none is better. Raises `InputError` without tables.
    """
    if not tables:
        raise InputError("there are no tables to fit to", where="path of policies")
    options = options or FitOptions()
    paths = [fit_levels(table, options, traces=traces, most_levels=most_levels) for table in tables]
    return max(paths, key=lambda path: promised(path, options.max_false_reject))


def promised(path: PathFile, max_false_reject: float) -> float:
    """Return the largest saving per accepted sample that is estimated well within the budget, 0 if there is none."""
    levels = [each for each in path.levels if each.false_reject_rate <= _HOPED_FOR * max_false_reject]
    return max([0.0, *(1 - each.net_cost_factor for each in levels)])


@dataclass(frozen=True, slots=True)
class _Levels:
    """The J policies of a path on the attempts it was fitted on: which discards what, and their rates `[J]`."""

    fitted: FittedBeliefs
    path: PolicyPath
    known: Nested
    rates: Rates

    @classmethod
    def of(cls, fitted: FittedBeliefs, path: PolicyPath) -> "_Levels":
        table = fitted.table
        known = nested(table, fitted.M, fitted.worth, path.thresholds)
        spent, lost = known.outcomes.T
        totals = np.broadcast_arrays(table.cost.sum(), spent, table.n_accepted, lost)
        return cls(fitted, path, known, rates(np.stack(totals, axis=1).reshape(-1, 4)))

    def gain(self, alpha: float) -> float:
        """Return the largest saving per accepted sample among levels well within the budget, 0 if there is none."""
        within = self.rates.false_reject_rate <= _HOPED_FOR * alpha
        return float((1 - self.rates.net_cost_factor[within]).max(initial=0.0))

    def spaced(self, most_lost: float, n: int) -> NDArray[np.int64]:
        """Return the numbers of at most `n` levels, evenly spaced by their rates up to `most_lost`, without repeats."""
        f, spent = self.rates.false_reject_rate, self.known.spent
        changes = np.flatnonzero(np.diff(spent, prepend=self.fitted.table.cost.sum()) < 0)
        within = changes[f[changes] <= most_lost]
        if not len(within):
            return within
        # By rank where rates are equal: the largest of a level's and of those before it.
        rate = np.maximum.accumulate(f[within])
        at = np.searchsorted(rate, np.linspace(rate[0], rate[-1], n))
        return within[np.unique(np.append(at, len(within) - 1))]

    def estimate(self, level: int, alpha: float) -> LevelEstimate:
        """Return what a level does."""
        table, thresholds = self.fitted.table, self.path.thresholds[level]
        discarded = self.known.first <= level
        Z = prompt_scores(table.prompt, table.accepted, discarded, alpha)
        stop = table.stops(self.fitted.worth, thresholds)
        roots = np.sqrt(np.clip(self.fitted.M[stop[stop >= 0]], 0, 1))
        return LevelEstimate(
            price=float(self.path.prices[level]),
            false_reject_rate=float(self.rates.false_reject_rate[level]),
            saving_rate=float(self.rates.saving_rate[level]),
            net_cost_factor=float(self.rates.net_cost_factor[level]),
            growth=tuple(growth(Z, 1 - alpha).tolist()),
            mean_root=float(roots.mean()) if len(roots) else None,
        )
