"""The state machine of an autopilot, on arrays: what steers a run from block to block of its prompts [T13, T14].

Prompts come in the order of the run, in **blocks**. What is in force at block b is settled by the finished prompts of
blocks up to b − 2, so nothing hangs on how many attempts run at once, on timing or on interruptions: the same outcomes
give the same course.

* **shadow**: nothing is discarded. When enough is known a path of policies is fitted to all prompts so far.
* **certifying**: the path is fixed, and every later prompt gives a score for each of its levels. If none of them has
  prospects to be certified in this run, another path is fitted, to more prompts.
* **discarding**: a certified level is in force, some of what it would discard is audited; a higher one takes its place
  as soon as it is certified.

An **alarm** says that the level in force loses more than α: from then on nothing is discarded, and a new shadow begins,
of later prompts only. It leads to a new path, tested at its own share of δ. A false alarm costs savings, not validity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_calibration.autopilot.level_tests import LevelTests, delta_of, level_scores
from msifr_calibration.autopilot.plan import Plan, plan_level
from msifr_calibration.monitor.alarms import Alarms, bets_on_excess
from msifr_calibration.options import check_share
from msifr_policy.audit import Audit, AuditBy
from msifr_policy.errors import InputError
from msifr_policy.path_policy import LevelEstimate

Array = NDArray[np.float64]

Phase = Literal["shadow", "certifying", "discarding"]

BLOCKS_AHEAD = 2
"""What the prompts of a block say is heard so many blocks later: those between are in flight."""
_MOST_SHADOW = 1000
"""Prompts of a shadow, unless a path could not be fitted: more make next to no better path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PilotOptions:
    """What is promised, and how a run gets there.

    max_false_reject: α; confidence: 1 − δ over the whole life of the run; attempts: m that the run asks for at each
    prompt; prompts: how many it has, None if that is not known. block: prompts of a block. audit: share ε of would-be
    discards that are finished; audit_by: what it hangs on. alarm: probability that an alarm is false, for each path.
    shadow: share of the prompts to come that a path is fitted to, and at least so many accepted and so many unaccepted
    attempts, least_fitted. most_levels: of a path, at most.
    Raises `InputError` for shares that are none and numbers that are not positive.
    """

    max_false_reject: float = 0.05
    confidence: float = 0.9
    attempts: int = 1
    prompts: int | None = None
    block: int = 32
    audit: float = 0.05
    audit_by: AuditBy = "posterior"
    alarm: float = 0.05
    shadow: float = 0.03
    least_fitted: int = 100
    most_levels: int = 40

    def __post_init__(self) -> None:
        for name in ("max_false_reject", "confidence", "audit", "alarm", "shadow"):
            check_share(name, getattr(self, name))
        for name in ("attempts", "block", "least_fitted", "most_levels"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} must be at least 1", where="autopilot")

    @property
    def delta(self) -> float:
        """δ, the probability that a level with f > α is ever put to work."""
        return 1 - self.confidence


class Steering(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is in force at a block: the phase, the number of the path from 0 and its level, None where there is none.

    audit: how would-be discards are audited; None where nothing is discarded. note: why, where it differs from before.
    """

    phase: Phase
    path: int | None = None
    level: int | None = None
    audit: Audit | None = None
    note: str = ""


class BlockOutcomes(NamedTuple):
    """The n prompts of a block with m attempts each, `[n, m]` all.

    accepted: A, False if not known. weight: 0 if discarded, 1/ε if audited, else 1. first: the first level of the path
    in force that discards the attempt, as many as there are levels if none does; any number where there is no path or
    the attempt is not accepted. gone: discarded or audited.
    """

    accepted: NDArray[np.bool_]
    weight: Array
    first: NDArray[np.int64]
    gone: NDArray[np.bool_]


class PathFit(Protocol):
    """How a path is fitted."""

    def __call__(self, begin: int, end: int, number: int) -> Sequence[LevelEstimate]:
        """Fit path `number` to the prompts `begin` … `end` − 1 of the run, and return its levels; none if in vain."""


class Course:
    """A run's course so far, fed block by block (`close`); `steering(b)` is what is in force at block b."""

    def __init__(self, options: PilotOptions, fit: PathFit) -> None:
        self.options = options
        self.n_prompts = 0
        self.path: int | None = None
        """Number of the path whose `levels` are tested, None in the shadow."""
        self.levels: Sequence[LevelEstimate] = ()
        self.tests: LevelTests | None = None
        self.tested_from = 0
        """Prompts before the first on which the levels were tested."""
        self.alarms: list[int] = []
        """After how many prompts there was an alarm."""
        self.deployed: int | None = None
        """Level in force, or to be from the next block on that is settled."""
        self._fit = fit
        self._fits = self._tested = 0  # paths that were fitted, and that were tested
        self._lost = np.zeros(0)  # [J] good samples seen that each level loses
        self._gained = 0.0  # in prompts, as `Plan.gain`
        self._alarm: Alarms | None = None
        self._shadow_from = 0
        self._fitted_at = 0  # prompts at the last fit
        self._fitting = np.zeros(2, dtype=np.int64)  # unaccepted and accepted attempts of the shadow
        shadow = Steering(phase="shadow", note="nothing is known yet")
        self._steering = [shadow] * BLOCKS_AHEAD

    @property
    def n_blocks(self) -> int:
        """Blocks closed so far."""
        return len(self._steering) - BLOCKS_AHEAD

    def steering(self, block: int) -> Steering:
        """Return what is in force at a block. Raises `InputError` for one that is not settled yet."""
        if not 0 <= block < len(self._steering):
            raise InputError(f"block {block} is not settled after {self.n_blocks} blocks", where="autopilot")
        return self._steering[block]

    @property
    def steerings(self) -> tuple[Steering, ...]:
        """What is in force at each block that is settled."""
        return tuple(self._steering)

    @property
    def n_certified(self) -> int:
        """How many levels of the path are certified, from the first on."""
        return 0 if self.tests is None else self.tests.n_certified

    @property
    def left(self) -> float:
        """Prompts to come, as far as known: if not, as many again."""
        planned = self.options.prompts
        return float(self.n_prompts if planned is None else max(planned - self.n_prompts, 0))

    def close(self, outcomes: BlockOutcomes, *, learn: bool = True) -> Steering:
        """Take the finished prompts of the next block; return what is in force at the one after the block to come.

        learn: whether a path may be fitted now: not at the end of a run, which nothing follows.
        """
        in_force = self._steering[self.n_blocks]
        self.n_prompts += len(outcomes.accepted)
        note = ""
        if self.tests is not None and in_force.path == self.path:
            self._test(outcomes, in_force, self.tests)
        if in_force.level is not None and self._alarm is not None and self._alarmed(outcomes, self._alarm):
            note = f"alarm after {self.n_prompts} prompts: more good samples are lost than promised"
            self._begin_again()
        elif learn and self.deployed is None and in_force.level is None and self.n_prompts > self._shadow_from:
            note = self._learned(outcomes)
        before = self._steering[-1]
        after = self._settled(note)
        if (after.phase, after.path, after.level) == (before.phase, before.path, before.level):
            after = before
        self._steering.append(after)
        return after

    def _test(self, outcomes: BlockOutcomes, in_force: Steering, tests: LevelTests) -> None:
        alpha = self.options.max_false_reject
        accepted, weight, first, _ = outcomes
        if not tests.n_prompts:
            self.tested_from = self.n_prompts - len(accepted)
        J = len(self.levels)
        self._lost += np.cumsum(np.bincount(np.minimum(first[accepted], J), minlength=J + 1))[:J]
        if in_force.level is not None:
            self._gained += len(accepted) * (1 - self.levels[in_force.level].net_cost_factor)
        Z = level_scores(first, accepted, weight, J, alpha)
        tests.add(
            Z, (1 - alpha) / (1.0 if in_force.audit is None else in_force.audit.floor), whole=in_force.level is None
        )

    def _alarmed(self, outcomes: BlockOutcomes, alarm: Alarms) -> bool:
        alpha, m = self.options.max_false_reject, self.options.attempts
        Z = (np.where(outcomes.accepted, outcomes.weight, 0.0) * (outcomes.gone - alpha)).sum(axis=1) / m
        for score in Z.tolist():
            alarm.add(score)
            if alarm.restarts >= 1 / self.options.alarm:
                return True
        return False

    def _begin_again(self) -> None:
        """Forget path and tests: a new shadow begins with the first block at which nothing is discarded any more."""
        self.alarms.append(self.n_prompts)
        self.path, self.levels, self.tests, self.deployed, self._alarm = None, (), None, None, None
        self._shadow_from = self._fitted_at = self.n_prompts + (BLOCKS_AHEAD - 1) * self.options.block
        self._fitting[:] = 0

    def _learned(self, outcomes: BlockOutcomes) -> str:
        """Count a block at which nothing was discarded, and fit a path if it is time; return what is to be said.

        Again where that was in vain, or no level has prospects any more: when there is twice as much to fit to.
        """
        options = self.options
        n = int(outcomes.accepted.sum())
        self._fitting += outcomes.accepted.size - n, n
        enough = 2.0 * (self._fitted_at - self._shadow_from)
        if self.tests is None:
            planned = self.left + self.n_prompts - self._shadow_from
            enough = max(enough, min(options.shadow * planned, _MOST_SHADOW))
        elif self.plan is not None and self.plan.gain > 0:
            return ""
        if self.n_prompts - self._shadow_from < enough or self._fitting.min() < options.least_fitted:
            return ""
        levels = self._fit(self._shadow_from, self.n_prompts, self._fits)
        self._fits += 1
        self._fitted_at = self.n_prompts
        if not levels:
            return ""
        self.tests = LevelTests(np.asarray([each.growth for each in levels]), delta_of(self._tested, options.delta))
        self.path, self.levels, self._lost = self._fits - 1, levels, np.zeros(len(levels))
        self._tested += 1
        return f"a path of {len(levels)} policies is fitted to {self.n_prompts - self._shadow_from} prompts"

    def _settled(self, note: str) -> Steering:
        """Return what is in force from the next block on that is not settled, and put it to work."""
        if self.tests is None:
            return Steering(phase="shadow", note=note)
        options, path = self.options, self.path
        plan = self.plan
        level = None if plan is None else plan.level
        if level is None:
            return Steering(phase="certifying", path=path, note=note)
        if level != self.deployed:
            note = f"level {level} of {len(self.levels)} is certified and put to work"
            self.deployed = level
        audit = Audit(share=options.audit, by=options.audit_by, mean_root=self.levels[level].mean_root or None)
        if self._alarm is None:
            self._alarm = Alarms(bets_on_excess(options.max_false_reject, options.audit, options.attempts))
        return Steering(phase="discarding", path=path, level=level, audit=audit, note=note)

    @property
    def best_certified(self) -> int | None:
        """The certified level that is expected to save most, None if none is certified."""
        n = self.n_certified
        return int(np.argmin([each.net_cost_factor for each in self.levels[:n]])) if n else None

    def lost(self, level: int) -> int:
        """Return how many good samples were seen that a level loses, among those that the path was tested on."""
        return int(self._lost[level])

    @property
    def expected_saving(self) -> float | None:
        """What the net cost factor of all prompts is expected to be below 1; None where nothing tells."""
        plan, left = self.plan, self.left
        if plan is None and not self._gained:
            return None
        return (self._gained + (0.0 if plan is None else plan.gain)) / max(self.n_prompts + left, 1.0)

    @property
    def plan(self) -> Plan | None:
        """Which level is to be in force, and what is expected of it; None without a path."""
        if self.tests is None:
            return None
        saved = np.asarray([1 - each.net_cost_factor for each in self.levels])
        return plan_level(self.tests, saved, self.left, self.deployed)
