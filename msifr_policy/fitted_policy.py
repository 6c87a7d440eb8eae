"""A fitted policy made ready: it decides live (`start`) and on tables (`stops`) by the same arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.one_row import OneRow
from msifr_policy.checkpoints import at_checkpoint, discards, first_rows
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import ExitColumns, ExitPlan
from msifr_policy.evidence.history import COLUMNS as HISTORY_COLUMNS
from msifr_policy.evidence.history import Followed, Follower, PromptQuota, gives_up, with_history
from msifr_policy.evidence.schedule import Schedule, Unit
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.evidence.watch import Checkpoint, Watch, column_names
from msifr_policy.exit_rule import ExitRule
from msifr_policy.policy import NO_PARAMETERS, Action, Decision, Parameters
from msifr_policy.records.provenance import Provenance
from msifr_policy.reference import Reference
from msifr_policy.validators import History, Validator, Verdict, describe


class Certified(NamedTuple):
    """What is certified of a policy: f ≤ α, with which confidence."""

    max_false_reject: float
    confidence: float


@dataclass(frozen=True, eq=False)
class FittedPolicy:
    """Discard at the first checkpoint k = 0, 1, … whose worth ω_k is below thresholds[k] (the last for those beyond).

    Where there is an `exit`, it comes first: what is better exited is not discarded.

    thresholds: `[K + 1]`, empty for the policy that never discards. quota: what it was fitted for, and when prompts are
    given up. fingerprint: what the settings of a run call it. unit: what costs are counted in, None if not known.
    certified: what is certified of it, None if nothing is; provenance: of the attempts that this was done on;
    reference: what they looked like. mean_root_posterior: E[√M_τ] over what it discards there. Raises `InputError` if
    the columns of beliefs and validators are not the same, or if any of them cannot work: live, a validator that fails
    says nothing, and nothing is discarded; for an exit at other checkpoints, by other evidence, or beside the history;
    and for a reference of other columns.
    """

    schedule: Schedule
    validators: tuple[Validator, ...]
    beliefs: Beliefs
    thresholds: NDArray[np.float64]
    fingerprint: str = ""
    provenance: Provenance = Provenance()  # noqa: RUF009 - frozen
    quota: PromptQuota | None = None
    unit: Unit | None = None
    exit: ExitRule | None = None
    reference: Reference | None = None
    mean_root_posterior: float | None = None
    certified: Certified | None = None

    def __post_init__(self) -> None:
        columns = column_names(self.validators)
        if columns != self.beliefs.columns:
            raise InputError(
                f"the columns of the beliefs are {', '.join(self.beliefs.columns)}",
                where="policy",
                remedy=f"those of its validators are {', '.join(columns)}",
            )
        if self.quota is not None and not self.reads_history:
            raise InputError("a quota needs the history", where="policy", remedy="add the validator history")
        if self.exit is not None:
            _check_exit(self.exit, self)
        if self.reference is not None and len(self.reference.edges) != len(columns):
            raise InputError("the reference is of other columns", where="policy", remedy="fit again")
        for validator in self.validators:
            validator.start("")
        self.beliefs.predict(np.ones(1, dtype=np.int64), np.full((1, len(columns)), np.nan))

    @cached_property
    def _owner(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.validators)), [len(v.columns) for v in self.validators])

    def start(self, prompt: str, parameters: Parameters = NO_PARAMETERS) -> FittedRun:
        """Return the run of a fresh attempt at `prompt`; its `parameters` take the place of those of the validators.

        Never raises for parameters that do not fit: the validator says nothing then, and the run counts a failure.
        """
        return FittedRun(self, prompt, parameters)

    @cached_property
    def _live_beliefs(self) -> OneRow:
        return OneRow(self.beliefs)

    @cached_property
    def _live_thresholds(self) -> list[float]:
        return self.thresholds.tolist() or [0.0]

    def decide(self, checkpoint: Checkpoint) -> Decision:
        """Return the decision at one checkpoint."""
        k, position, tokens, row, verdicts = checkpoint
        M, r, worth = self._live_beliefs.at(k, row)
        threshold = self._live_thresholds[min(k, len(self._live_thresholds) - 1)]
        action, reason, ahead = Action.CONTINUE, "", math.nan
        out = bool(discards(worth, threshold))
        if out or self.exit is not None or (k == 0 and self._give_up is not None):
            ks, values = np.asarray([k], dtype=np.int64), np.asarray([row], dtype=np.float64)
            out = out or bool(self._gives_up(ks, values)[0])
            if self.exit is not None and self._exits(self.exit, ks, values, np.asarray([out]))[0]:
                action = Action.EXIT
            elif out:
                action, reason = Action.DISCARD, self.reasons(ks, values, np.asarray([verdicts], dtype=np.int8))[0]
                ahead = self._tokens_ahead(checkpoint, r)
        return Decision(action, k, position, tokens, M, threshold, reason, worth, ahead)

    @property
    def exit_plan(self) -> ExitPlan | None:
        """How the answers are asked for where the policy exits, None if it never does."""
        return None if self.exit is None else self.exit.plan

    def _exits(
        self, rule: ExitRule, k: NDArray[np.int64], values: NDArray[np.float64], out: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return `[R]` where the policy exits that would else discard where `out` `[R]`."""
        return rule.exits(k, values, self.beliefs.predict(k, values), out)

    def _tokens_ahead(self, checkpoint: Checkpoint, r: float) -> float:
        """Return the cost to go r_k in tokens, by the attempt's own tokens per character if costs are characters."""
        if self.unit == "characters" and checkpoint.position:
            return r * checkpoint.tokens / checkpoint.position
        return r if self.unit == "tokens" else math.nan

    @cached_property
    def _give_up(self) -> NDArray[np.bool_] | None:
        return None if self.quota is None else np.asarray(self.quota.give_up, dtype=bool)

    def _gives_up(self, k: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return `[R]` whether a row is checkpoint 0 of an attempt at a prompt that is given up."""
        if self._give_up is None:
            return np.zeros(len(k), dtype=bool)
        places = [self.beliefs.columns.index(column) for column in HISTORY_COLUMNS]
        result: NDArray[np.bool_] = (k == 0) & gives_up(self._give_up, values[:, places])
        return result

    def reasons(self, k: NDArray[np.int64], values: NDArray[np.float64], verdicts: NDArray[np.int8]) -> list[str]:
        """Return `[R]` the validator that spoke most against each row.

        The first that says DEAD, else the one whose columns lower log(odds of M / r) most; one that knows nothing does
        not speak. The history, where it gives the prompt up.
        """
        by_validator = self.beliefs.contributions(k, values, self._owner)
        known = np.isfinite(values)
        for v in range(len(self.validators)):
            by_validator[~known[:, self._owner == v].any(axis=1), v] = np.inf
        dead = verdicts == Verdict.DEAD
        worst = np.where(dead.any(axis=1), dead.argmax(axis=1), by_validator.argmin(axis=1))
        gives_up = self._gives_up(k, values)
        return [History.name if up else self.validators[i].name for i, up in zip(worst, gives_up, strict=True)]

    @property
    def reads_history(self) -> bool:
        """Whether earlier attempts at the prompt are evidence: then they have to follow each other."""
        return any(validator.name == History.name for validator in self.validators)

    def worth(self, table: EvidenceTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (M_k, ω_k), `[R]` each: posterior and worth for every row of a table as it is.

        A table without the history gets it, if the policy reads it. Raises `InputError` if its evidence is of another
        kind.
        """
        return self._worth(self._readable(table))

    def _readable(self, table: EvidenceTable) -> EvidenceTable:
        return with_history(table) if self.reads_history and self.validators[-1].name == History.name else table

    def _worth(self, table: EvidenceTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        made = (table.columns, table.schedule, table.validators)
        if made != (self.beliefs.columns, self.schedule, tuple(map(describe, self.validators))):
            raise InputError(
                "the evidence table has other columns, schedule or validators than the policy",
                remedy="build the table with the policy's own (msifr evaluate does)",
            )
        return self.beliefs.worth(table.k, table.values)

    def stops(self, table: EvidenceTable) -> NDArray[np.int64]:
        """Return `[N]` the row at which each attempt is discarded, −1 if it never is."""
        return self.follow(table).stop

    def follow(self, table: EvidenceTable) -> Followed:
        """Return what the policy does along the table, and what it believes.

        Raises `InputError` as `worth`, and for a policy that exits: what that comes to is known where answers were
        forced alone (`along`).
        """
        if self.exit is not None:
            raise InputError(
                "the policy exits, and a table does not tell what its forced answers come to",
                where="policy",
                remedy="msifr evaluate reads them from the traces in which answers were forced",
            )
        table = self._readable(table)
        return Follower(table, self.beliefs.worth, self._worth(table)).follow(self.thresholds, self._give_up)

    def along(self, table: EvidenceTable, exits: ExitColumns) -> Stopping:
        """Return where the policy discards and exits along a table whose forced answers were recorded.

        Raises `InputError` as `worth`, and where answers were forced by another plan than the policy's.
        """
        if self.exit is None:
            followed = self.follow(table)
            return Stopping(followed.M, followed.worth, followed.stop, np.zeros(table.n_attempts, dtype=bool))
        if exits.plan != self.exit.plan:
            raise InputError(
                "answers were forced in another way than the policy forces them",
                where="exits",
                remedy="record them as those were that it was fitted to (msifr generate --record-exits)",
            )
        M, worth = self._worth(table)
        out = table.is_checkpoint & discards(worth, at_checkpoint(self.thresholds, table.k))
        leaves = table.is_checkpoint & exits.possible & self._exits(self.exit, table.k, table.values, out)
        stop = first_rows(out | leaves, table.start)
        return Stopping(M, worth, stop, (stop >= 0) & leaves[np.maximum(stop, 0)])


class Stopping(NamedTuple):
    """A policy along a table: M, worth `[R]`; stop: `[N]` the row where the attempt stops, −1: never; exited: `[N]`."""

    M: NDArray[np.float64]
    worth: NDArray[np.float64]
    stop: NDArray[np.int64]
    exited: NDArray[np.bool_]


def _check_exit(rule: ExitRule, policy: FittedPolicy) -> None:
    """Raise `InputError` for a rule that the policy cannot follow."""
    columns = rule.beliefs.columns == policy.beliefs.columns
    if not columns or rule.plan.schedule != policy.schedule or policy.reads_history:
        what = "is beside the history" if policy.reads_history else "is at other checkpoints"
        raise InputError(f"the exit {what if columns else 'reads other evidence'}", where="policy", remedy="fit again")


class WatchedRun:
    """A policy along one attempt, asked at every checkpoint of its evidence; `posteriors` are M_k so far, in order."""

    def __init__(
        self, schedule: Schedule, validators: Sequence[Validator], prompt: str, parameters: Parameters
    ) -> None:
        self.posteriors: list[float] = []
        self._watch = Watch(schedule, validators, prompt, parameters)

    @property
    def failures(self) -> Mapping[str, int]:
        """Validators that failed on this attempt, and how often."""
        return dict(self._watch.failures)

    def begin(self) -> Decision | None:
        """Return the decision at checkpoint 0."""
        return self._decide(self._watch.begin())

    def feed(
        self,
        text: str,
        tokens: int = 0,
        logprobs: Sequence[float] = (),
        states: Sequence[tuple[float, ...]] = (),
    ) -> Decision | None:
        """Take new text; return the first decision to stop it leads to, else the last CONTINUE, else None.

        Every checkpoint of the text is looked at, since whoever audits a discard feeds on.
        """
        decision = None
        for checkpoint in self._watch.feed(text, tokens, logprobs, states):
            here = self._decide(checkpoint)
            if decision is None or decision.action is Action.CONTINUE:
                decision = here
        return decision

    def _decide(self, checkpoint: Checkpoint) -> Decision:
        raise NotImplementedError


class FittedRun(WatchedRun):
    """A fitted policy along one attempt.

    `bins`: of the evidence at the checkpoint of the policy's reference; empty before it, and where the policy has
    stopped before it.
    """

    def __init__(self, policy: FittedPolicy, prompt: str, parameters: Parameters) -> None:
        super().__init__(policy.schedule, policy.validators, prompt, parameters)
        self.bins = ""
        self._stopped = False
        self._policy = policy

    def _decide(self, checkpoint: Checkpoint) -> Decision:
        decision = self._policy.decide(checkpoint)
        self.posteriors.append(decision.posterior)
        reference = self._policy.reference
        if reference is not None and reference.checkpoint == checkpoint.k and not self._stopped:
            self.bins = reference.bins(checkpoint.row)
        self._stopped |= decision.action is not Action.CONTINUE
        return decision
