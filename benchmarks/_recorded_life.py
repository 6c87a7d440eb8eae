"""One life of a run with an autopilot on recorded attempts: `python -m benchmarks._recorded_life TRACES`.

TRACES are finished attempts, as many at each prompt, made without a policy. A discarded attempt is the head of a
recorded one, so what an autopilot would have come to is known without generating: tokens until its discards, in an
order of prompts drawn by a hash, from the shadow to the end. What is possible at all is said beside it, in hindsight:
the best level of a path that half of the prompts are fitted to, among those that lose at most α of the other half's
good samples, at work from the first prompt to the last.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks._records import Record, print_records
from msifr_calibration.autopilot.course import BlockOutcomes, Course, PilotOptions, Steering
from msifr_calibration.autopilot.fit_levels import fit_best_levels
from msifr_calibration.options import FitOptions
from msifr_calibration.split import uniform
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps, auto_schedule
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.path_policy import LevelEstimate, PathFile
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import default_validators

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

ORDERS = 12
BLOCK = 32


class Life(NamedTuple):
    """What a run came to: 1 − net cost factor, the share of good samples lost, prompts until a level was at work (all
    if none was), the level's rate on all attempts, None if none was, and whether there was an alarm.
    """

    saving: float
    lost: float
    at_work: int
    f: float | None
    alarm: bool


class Levels(NamedTuple):
    """What the J levels of a path do to the N attempts of a table: M `[R]`, stops `[J, N]`, first `[N]`."""

    table: EvidenceTable
    M: Array
    stops: Integers
    first: Integers

    @classmethod
    def of(cls, path: PathFile, table: EvidenceTable) -> Levels:
        M, worth = path.beliefs.worth(table.k, table.values)
        J = path.n_levels
        stops = np.full((J, table.n_attempts), -1)
        for j, thresholds in enumerate(path.thresholds):
            stops[j] = table.stops(worth, np.asarray(thresholds))
        return cls(table, M, stops, J - (stops >= 0).sum(axis=0))


def live(tables: Sequence[EvidenceTable], options: PilotOptions, key: str) -> Life:
    """Live a run through all attempts, `options.attempts` at each prompt; a path takes the schedule of one table."""
    table = tables[0]
    order = np.argsort(uniform(table.prompt_ids, key))
    by_prompt = np.argsort(table.prompt, kind="stable").reshape(table.n_prompts, options.attempts)[order]
    U = uniform(table.attempt_ids, key, "audit")
    known: list[Levels] = []

    def fit(begin: int, end: int, number: int) -> Sequence[LevelEstimate]:
        del number
        fitting = np.sort(by_prompt[begin:end].ravel())
        path = fit_best_levels(
            [each.take(fitting) for each in tables], FitOptions(max_false_reject=options.max_false_reject)
        )
        known.append(Levels.of(path, next(each for each in tables if each.schedule == path.schedule)))
        return path.levels

    course = Course(options, fit)
    spent = kept = 0.0
    at_work, f = table.n_prompts, None
    for block, begin in enumerate(range(0, len(by_prompt), options.block)):
        attempts, steering = by_prompt[begin : begin + options.block], course.steering(block)
        outcomes, cost = _seen(table, known, steering, attempts, U)
        spent, kept = spent + cost, kept + float(outcomes.accepted.sum())
        if steering.level is not None and steering.path is not None:
            at_work = min(at_work, begin)
            f = float(table.accepted[known[steering.path].stops[steering.level] >= 0].sum() / table.n_accepted)
        course.close(outcomes)
    full = table.cost_per_accepted
    return Life(1 - spent / kept / full, 1 - kept / table.n_accepted, at_work, f, bool(course.alarms))


def _seen(
    table: EvidenceTable, known: Sequence[Levels], steering: Steering, attempts: Integers, U: Array
) -> tuple[BlockOutcomes, float]:
    """Return what is seen of `attempts` `[n, m]` under a steering, and what they cost."""
    accepted, weight = table.accepted[attempts], np.ones(attempts.shape)
    first, gone = np.zeros(attempts.shape, dtype=np.int64), np.zeros(attempts.shape, dtype=bool)
    cost = table.cost[attempts]
    if steering.path is not None:
        levels = known[steering.path]
        first = levels.first[attempts]
        if steering.level is not None and steering.audit is not None:
            stop = levels.stops[steering.level][attempts]
            gone = stop >= 0
            chance = np.ones(attempts.shape)
            chance[gone] = [steering.audit.probability(M) for M in levels.M[stop[gone]].tolist()]
            audited = gone & (chance > U[attempts])
            weight = np.where(gone, np.where(audited, 1 / chance, 0.0), 1.0)
            cost = np.where(weight > 0, cost, levels.table.spent[np.maximum(stop, 0)])
    return BlockOutcomes(accepted & (weight > 0), weight, first, gone), float(cost.sum())


def in_hindsight(tables: Sequence[EvidenceTable], alpha: float) -> float:
    """Return the largest saving of a level that loses at most α, at work from the beginning; see the module."""
    half = uniform(tables[0].prompt_ids, "half") < 0.5
    path = fit_best_levels([table.where(half) for table in tables], FitOptions(max_false_reject=alpha), most_levels=80)
    other = next(table for table in tables if table.schedule == path.schedule).where(~half)
    best = 0.0
    for stop in Levels.of(path, other).stops:
        lost = other.accepted[stop >= 0].sum() / other.n_accepted
        s = 1 - other.cost_until(stop).sum() / other.cost.sum()
        if lost <= alpha:
            best = max(best, 1 - (1 - s) / (1 - lost))
    return float(best)


def records(tables: Sequence[EvidenceTable], options: PilotOptions, orders: int = ORDERS) -> list[Record]:
    """Return what an autopilot comes to on average over orders of the prompts, and what is possible in hindsight."""
    lived = [live(tables, options, f"order {i}") for i in range(orders)]
    savings = [life.saving for life in lived]
    rates = [life.f for life in lived if life.f is not None]
    alpha = options.max_false_reject
    return [
        Record("saving of a level in hindsight, no shadow", in_hindsight(tables, alpha)),
        Record(f"saving of the whole run, mean of {orders} orders", float(np.mean(savings)), target=">= 0.2",
               ok=float(np.mean(savings)) >= 0.2),
        Record("the same, least and most", f"{min(savings):.3f} {max(savings):.3f}"),
        Record("good samples lost, most", max(life.lost for life in lived), target=f"<= {alpha}",
               ok=max(life.lost for life in lived) <= alpha),
        Record("prompts until a level is at work, mean", float(np.mean([life.at_work for life in lived]))),
        Record("f of levels at work, mean", float(np.mean(rates)) if rates else "none"),
        Record("levels at work with f above the budget", sum(f > alpha for f in rates), unit=f"of {orders}"),
        Record("alarms, all false", sum(life.alarm for life in lived), unit=f"of {orders}"),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Live on recorded attempts."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("traces", type=Path, help="finished attempts, the same number at each prompt")
    parser.add_argument("--orders", type=int, default=ORDERS, help="orders of the prompts")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    given = parser.parse_args(arguments)
    traces = list(read_traces(given.traces))
    schedules = auto_schedule([len(trace.text) for trace in traces]), NewlineSteps()
    tables = [build_evidence(traces, schedule, default_validators()) for schedule in schedules]
    n = tables[0].n_prompts
    options = PilotOptions(attempts=tables[0].n_attempts // n, prompts=n, block=BLOCK)
    print_records(records(tables, options, given.orders), given.json)


if __name__ == "__main__":
    main()
