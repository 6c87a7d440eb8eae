"""The autopilot of a run: it is told of finished prompts, and says what each block of prompts runs under [T13, T14].

A pilot is a function of the prompts it was told, in the order of the run, and of the paths that were fitted on the
way, which are kept in files: told them again it has the same course. So a run that was killed goes on as if nothing had
been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from msifr_calibration.autopilot.certified import certified_file
from msifr_calibration.autopilot.course import BlockOutcomes, Course, Phase, PilotOptions, Steering
from msifr_calibration.monitor.monitor import Monitor, MonitorState
from msifr_policy.audit import Audit
from msifr_policy.errors import InputError
from msifr_policy.path_policy import LevelEstimate, PathFile
from msifr_policy.policy import NEVER_DISCARD, Policy
from msifr_policy.policy_file import Fingerprint, PolicyFile
from msifr_policy.records.ledger import Entry, Steer


class PilotState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run with an autopilot is, after `prompts` prompts in `blocks` blocks that are finished.

    phase, path, level: what the next block that is not settled yet will run under at least; path: its number from 0,
    level: None while nothing is discarded. levels: of the path, certified: of them are, from the first on.
    max_false_reject: α that is certified, None if nothing is. log_wealth: `[levels]` largest so far, in nats; a level
    is certified where it and all before it have reached log_wealth_needed. alarms: after how many prompts they came.
    tokens: sampled so far; tokens_saved: that discarded attempts were expected still to take. saving: what the net cost
    factor of the whole run is expected to be below 1, shadow and audits included, None where nothing tells.
    monitor: of the level in force, with the false-reject rate as audits tell it; None if none is.
    """

    prompts: int
    blocks: int
    phase: Phase
    path: int | None
    level: int | None
    levels: int
    certified: int
    max_false_reject: float | None
    confidence: float
    log_wealth: tuple[float, ...]
    log_wealth_needed: float | None
    alarms: tuple[int, ...]
    tokens: int
    tokens_saved: int
    saving: float | None
    monitor: MonitorState | None


class Pilot:
    """Steers one run.

    options: with how many prompts a block of the run has. fit: returns the path of that number, fitted to the attempts
    at the prompts of these ids, or as it was saved before; `named`: the name of its file in the ledger.
    """

    def __init__(
        self,
        options: PilotOptions,
        fit: Callable[[Sequence[str], int], PathFile],
        named: Callable[[int], str] = "path-{}.json".format,
    ) -> None:
        self._options = options
        self._fit, self._named = fit, named
        self._ids: list[str] = []
        self._block: list[Sequence[Entry]] = []
        self._paths: dict[int, PathFile] = {}
        self._monitor: tuple[Steering, Monitor] | None = None
        self._tokens = self._saved = 0
        self._course = Course(options, self._fitted)

    def begin(self) -> Steer:
        """Return what the first blocks run under."""
        return self.steer(0)

    def add(self, prompt_id: str, entries: Sequence[Entry]) -> None:
        """Take the finished attempts at the next prompt of the run.

        Raises `InputError` where they do not agree with what the block was to run under, or are more than were asked.
        """
        steering = self._course.steering(self._course.n_blocks)
        for entry in entries:
            self._check(entry, steering)
            self._tokens += entry.tokens
            self._saved += entry.ahead or 0
        if len(entries) > self._options.attempts:
            where = f"prompt {prompt_id!r}"
            raise InputError(f"{len(entries)} entries for {self._options.attempts} attempts", where=where)
        self._watch(steering, entries)
        self._ids.append(prompt_id)
        self._block.append(entries)
        if len(self._block) == self._options.block:
            self._close()

    def end(self) -> None:
        """Take what was told of the last block, though it is not full; no prompt may be added then.

        No path is fitted to it: a run that goes on fits its paths at the end of full blocks.
        """
        if self._block:
            self._close(learn=False)

    def steer(self, block: int) -> Steer:
        """Return what `block` runs under. Raises `InputError` if prompts are missing that settle it."""
        it = self._course.steering(block)
        path = "" if it.path is None else self._named(it.path)
        return Steer(block=block, phase=it.phase, level=it.level, path=path, note=it.note)

    def policy(self, block: int) -> tuple[Policy, Audit | None]:
        """Return the policy of a block, and how its would-be discards are audited."""
        it = self._course.steering(block)
        if it.path is None:
            return NEVER_DISCARD, None
        return self._paths[it.path].policy(it.level), it.audit

    @property
    def scored(self) -> Sequence[str]:
        """The ids of the prompts that the levels of the present path were tested on."""
        return tuple(self._ids[self._course.tested_from :]) if self._course.tests is not None else ()

    @property
    def state(self) -> PilotState:
        """All that is known now."""
        course = self._course
        last = course.steerings[-1]
        tests = course.tests
        return PilotState(
            prompts=course.n_prompts,
            blocks=course.n_blocks,
            phase=last.phase,
            path=last.path,
            level=last.level,
            levels=len(course.levels),
            certified=course.n_certified,
            max_false_reject=self._options.max_false_reject if course.n_certified else None,
            confidence=self._options.confidence,
            log_wealth=() if tests is None else tuple(tests.best.tolist()),
            log_wealth_needed=None if tests is None else tests.log_level,
            alarms=tuple(course.alarms),
            tokens=self._tokens,
            tokens_saved=self._saved,
            saving=course.expected_saving,
            monitor=None if self._monitor is None else self._monitor[1].state,
        )

    def certified_policy(self, certified_on: Fingerprint) -> PolicyFile | None:
        """Return the policy that a run leaves: the certified level that saves most, None if nothing is certified.

        certified_on: the attempts at the prompts that are `scored`.
        """
        course = self._course
        level = course.best_certified
        if course.tests is None or course.path is None or level is None:
            return None
        path = self._paths[course.path]
        return certified_file(path, level, course.tests, self._options, certified_on, course.lost(level))

    def _fitted(self, begin: int, end: int, number: int) -> Sequence[LevelEstimate]:
        self._paths[number] = path = self._fit(self._ids[begin:end], number)
        return path.levels

    def _check(self, entry: Entry, steering: Steering) -> None:
        """Refuse what this pilot did not steer."""
        if entry.outcome == "failed":
            return
        where = f"attempt {entry.id!r}"
        if entry.level != steering.level or (entry.would_discard and steering.level is None):
            raise InputError(f"ran at level {entry.level}, not {steering.level}", where=where)
        if steering.path is not None and entry.outcome == "accepted" and entry.first is None:
            raise InputError("does not say which level would discard it", where=where)

    def _watch(self, steering: Steering, entries: Sequence[Entry]) -> None:
        """Keep a monitor of the level in force, from the first prompt that runs under it on."""
        if steering.audit is None:
            self._monitor = None
            return
        if self._monitor is None or self._monitor[0] is not steering:
            monitor = Monitor(
                max_false_reject=self._options.max_false_reject,
                confidence=self._options.confidence,
                attempts=self._options.attempts,
                audit=steering.audit,
            )
            self._monitor = steering, monitor
        self._monitor[1].add(entries)

    def _close(self, *, learn: bool = True) -> None:
        shape = len(self._block), self._options.attempts
        accepted, gone = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        weight, first = np.ones(shape), np.zeros(shape, dtype=np.int64)
        for i, entries in enumerate(self._block):
            for j, entry in enumerate(entries):
                accepted[i, j] = entry.outcome == "accepted"
                gone[i, j] = entry.would_discard
                weight[i, j] = entry.weight
                first[i, j] = entry.first or 0
        self._block = []
        self._course.close(BlockOutcomes(accepted, weight, first, gone), learn=learn)
