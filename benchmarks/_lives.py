"""Whole lives of runs with an autopilot: how often one puts to work what loses more than was promised [T13].

Each life is a run from nothing: shadow, path, certificate at any time, discarding with audits, alarm. What attempts
come to is drawn from a world whose truth is known, so the course of a life (`msifr_calibration.autopilot.course`) is
given outcomes alone and takes milliseconds. A life is **violated** if a level is certified whose false-reject rate is α
or above: whatever is put to work is certified.

* independent: attempts do not know of each other; clustered: all attempts of a prompt come to the same (ρ = 1);
  heterogeneous: hard prompts, of which fewer attempts are accepted, lose several times as many of them. The first level
  of the path is just on the budget: the hardest that there is;
* drifting: there is a level below the budget; once one is at work the world changes, and losses are 16 times as many.
  What is certified after the alarm is judged in the new world;
* resumed: as drifting; the course is forgotten at random blocks and told its past again, and has to be the same;
* adversarial order: the prompts are given, and sorted such that those without losses come first; as for any run, the
  order is drawn by a hash of their ids. Those after the shadow lose just α: the statement is about these very prompts.

The test of a setting rejects where there are more violations than P(Bin(lives, δ) > c) ≤ 10⁻⁴ allows, so all six
together are wrong with 6·10⁻⁴ at most where the rate is δ; 2,000 lives detect a rate of 1.4·δ with probability 0.96.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks._records import Record
from msifr_calibration.autopilot.course import BlockOutcomes, Course, PilotOptions, Steering
from msifr_calibration.autopilot.level_tests import growth
from msifr_calibration.split import uniform
from msifr_policy.path_policy import LevelEstimate

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

LIVES = 2000
FALSE_ALARM = 1e-4
PROMPTS, ATTEMPTS, BLOCK = 640, 4, 16
SHADOW = 48
TESTED_FROM = SHADOW + BLOCK
"""The block after the shadow is in flight when the path is fitted."""
ALPHA, CONFIDENCE = 0.05, 0.9
ACCEPTANCE = 0.45
BORDER, WITHIN = np.array([ALPHA, 0.06, 0.08]), np.array([0.01, ALPHA, 0.08])
"""f of each level: the first on the budget, or within it."""
BAD_DISCARDED = np.array([0.4, 0.5, 0.6])
AUDIT = 0.25
POSTERIOR = 0.1
"""M_τ of would-be discards: all alike."""
DRIFT = 16.0
SETTINGS = ("independent", "clustered", "heterogeneous", "drifting", "resumed", "adversarial order")
AS_IN_FILE = "order of the file"
"""As the last setting, but that prompts are taken in their order: what an autopilot never does, and why."""


class Prompts(NamedTuple):
    """What the attempts `[P, m]` at P prompts come to when they are finished; `first` level that discards each."""

    accepted: Flags
    first: Integers


@dataclass(slots=True)
class Tally:
    """What so many lives came to.

    at_work: prompts until a level was put to work, in lives where one was; told: from a drift to the alarm.
    """

    lives: int = 0
    violated: int = 0
    at_work: list[int] = field(default_factory=list)
    alarms: int = 0
    told: list[int] = field(default_factory=list)
    other_courses: int = 0


def rates_of(setting: str) -> Array:
    """Return `[J]` the false-reject rates of a setting's levels."""
    return WITHIN if setting in ("drifting", "resumed") else BORDER


def draw(rng: np.random.Generator, n: int, setting: str, worse: float = 1.0) -> Prompts:
    """Return n prompts of a world in which good samples are lost `worse` times as often."""
    shape = (n, 1 if setting == "clustered" else ATTEMPTS)
    if setting == "heterogeneous":
        # A fifth of the prompts has a third of the acceptance, and loses four times as much as the others.
        hard = (rng.random((n, 1)) < 0.2).astype(np.float64)
        rate = ACCEPTANCE / (0.8 + 0.2 / 3) * (1 - hard * 2 / 3)
        good = rng.random(shape) < rate
        times = (1 + 3 * hard) * (0.8 + 0.2 / 3) / (0.8 + 0.2 / 3 * 4)
    else:
        good, times = rng.random(shape) < ACCEPTANCE, np.ones((n, 1))
    lost = np.minimum(rates_of(setting) * worse * times[:, :, None], 1.0)
    U = rng.random((*shape, 1))
    first = np.where(good, (lost <= U).sum(axis=2), (BAD_DISCARDED <= U).sum(axis=2))
    return Prompts(np.broadcast_to(good, (n, ATTEMPTS)), np.broadcast_to(first, (n, ATTEMPTS)))


def sorted_against(rng: np.random.Generator, life: int, *, drawn: bool = True) -> Prompts:
    """Return prompts that come after the shadow and are given: the first level loses just α of their good samples.

    In the file those without losses come first; the order is that of a hash of their ids, if it is `drawn`.
    """
    n = PROMPTS - TESTED_FROM
    good, first = draw(rng, n, "independent")
    first = first.copy()
    places = rng.permutation(np.flatnonzero(good))
    first.flat[places] = len(BORDER)
    for level in reversed(range(len(BORDER))):
        first.flat[places[: int(np.ceil(BORDER[level] * len(places) - 1e-9))]] = level
    order = np.argsort((good & (first == 0)).sum(axis=1), kind="stable")
    if drawn:
        order = order[np.argsort(uniform([f"prompt {i}" for i in range(n)], f"life {life}"))]
    return Prompts(good[order], first[order])


def estimates(setting: str, rng: np.random.Generator) -> list[LevelEstimate]:
    """Return the levels as 60 prompts of a shadow tell them."""
    prompts = draw(rng, 60, setting)
    levels = []
    for level, (f, bad) in enumerate(zip(rates_of(setting), BAD_DISCARDED, strict=True)):
        Z = (prompts.accepted * ((prompts.first <= level) - ALPHA)).mean(axis=1)
        s = 0.7 * (ACCEPTANCE * f + (1 - ACCEPTANCE) * bad)
        levels.append(
            LevelEstimate(
                price=1.0,
                false_reject_rate=f,
                saving_rate=s,
                net_cost_factor=(1 - s) / (1 - f),
                growth=tuple(growth(Z, 1 - ALPHA).tolist()),
                mean_root=POSTERIOR**0.5,
            )
        )
    return levels


def under(steering: Steering, prompts: Prompts, U: Array) -> BlockOutcomes:
    """Return what is seen of `prompts` where `steering` is in force; U `[n, m]` draws the audits."""
    accepted, first = prompts
    gone, weight = np.zeros(accepted.shape, dtype=bool), np.ones(accepted.shape)
    if steering.level is not None and steering.audit is not None:
        gone = first <= steering.level
        probability = steering.audit.probability(POSTERIOR)
        weight = np.where(gone, np.where(probability > U, 1 / probability, 0.0), 1.0)
    return BlockOutcomes(accepted & (weight > 0), weight, first, gone)


def lives(setting: str, n: int, seed: int = 0) -> Tally:
    """Live n lives in a setting."""
    tally = Tally(n)
    for life in range(n):
        _live(setting, np.random.default_rng([seed, (*SETTINGS, AS_IN_FILE).index(setting), life]), life, tally)
    return tally


def _live(setting: str, rng: np.random.Generator, life: int, tally: Tally) -> None:
    options = PilotOptions(
        max_false_reject=ALPHA,
        confidence=CONFIDENCE,
        attempts=ATTEMPTS,
        prompts=PROMPTS,
        block=BLOCK,
        audit=AUDIT,
        shadow=SHADOW / PROMPTS,
        least_fitted=1,
    )
    levels = estimates(setting, rng)

    def fit(begin: int, end: int, number: int) -> Sequence[LevelEstimate]:
        del begin, end, number
        return levels

    now = draw(rng, PROMPTS, setting)
    if setting in ("adversarial order", AS_IN_FILE):
        given = sorted_against(rng, life, drawn=setting != AS_IN_FILE)
        now = Prompts(
            np.concatenate([now.accepted[:TESTED_FROM], given.accepted]),
            np.concatenate([now.first[:TESTED_FROM], given.first]),
        )
    later = draw(rng, PROMPTS, setting, DRIFT) if setting in ("drifting", "resumed") else now
    U = rng.random((PROMPTS, ATTEMPTS))
    forget = rng.random(PROMPTS // BLOCK) < 0.1
    past: list[BlockOutcomes] = []
    course = Course(options, fit)
    changed: int | None = None
    certified: dict[int, int] = {}
    of_new_world: set[int] = set()
    for block in range(PROMPTS // BLOCK):
        here = slice(block * BLOCK, (block + 1) * BLOCK)
        if setting == "resumed" and forget[block]:
            again = Course(options, fit)
            for outcomes in past:
                again.close(outcomes)
            tally.other_courses += again.steerings != course.steerings
            course = again
        steering = course.steering(block)
        if steering.level is not None and changed is None:
            changed = block + 2
            tally.at_work.append(block * BLOCK)
        world = later if changed is not None and block >= changed else now
        past.append(under(steering, Prompts(world.accepted[here], world.first[here]), U[here]))
        course.close(past[-1])
        if course.path is not None:
            if changed is not None and course.path not in certified:
                of_new_world.add(course.path)
            certified[course.path] = max(certified.get(course.path, 0), course.n_certified)
    tally.alarms += bool(course.alarms)
    if changed is not None and course.alarms:
        tally.told.append(course.alarms[0] - changed * BLOCK)
    tally.violated += any(
        (rates_of(setting)[:n] * (DRIFT if path in of_new_world and later is not now else 1.0) >= ALPHA).any()
        for path, n in certified.items()
    )


def allowed(n: int) -> int:
    """Return how many violations among n lives agree with a rate of δ, by the test of the module."""
    return int(binom.isf(FALSE_ALARM, n, 1 - CONFIDENCE))


def records(quick: bool = False) -> list[Record]:
    """Return how many lives were violated in each setting; `quick` with few lives, to see that it works."""
    n = 30 if quick else LIVES
    found = []
    for setting in SETTINGS:
        tally = lives(setting, n)
        target = f"<= {allowed(n)} (10 % allowed)"
        found.append(
            Record(f"violated lives of {n}, {setting}", tally.violated, target=target, ok=tally.violated <= allowed(n))
        )
        if setting == "resumed":
            other = tally.other_courses
            found.append(Record("courses that differ when told again", other, target="0", ok=not other))
        if tally.told:
            told = float(np.mean(tally.told))
            found += [
                Record(f"prompts until a level is at work, {setting}", float(np.mean(tally.at_work))),
                Record(f"share of drifts with an alarm before the end, {setting}", tally.alarms / len(tally.at_work)),
                Record(f"prompts from drift to alarm, {setting}", told),
            ]
    kept = lives(AS_IN_FILE, n // 10)
    found.append(Record("violated lives if the file's order were kept", kept.violated, unit=f"of {kept.lives}"))
    return found
