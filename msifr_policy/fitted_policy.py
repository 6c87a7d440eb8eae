"""A fitted policy made ready: it decides live (`start`) and on tables (`stops`) by the same arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from msifr_policy.beliefs import Beliefs
from msifr_policy.checkpoints import at_checkpoint, discards
from msifr_policy.errors import InputError
from msifr_policy.evidence.history import COLUMNS as HISTORY_COLUMNS
from msifr_policy.evidence.history import Followed, Follower, PromptQuota, gives_up, with_history
from msifr_policy.evidence.schedule import Schedule, Unit
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.evidence.watch import Checkpoint, Watch, column_names
from msifr_policy.policy import NO_PARAMETERS, Action, Decision, Parameters
from msifr_policy.records.provenance import Provenance
from msifr_policy.validators import History, Validator, Verdict, describe


@dataclass(frozen=True, eq=False)
class FittedPolicy:
    """Discard at the first checkpoint k = 0, 1, … whose worth ω_k is below thresholds[k] (the last for those beyond).

    thresholds: `[K + 1]`, empty for the policy that never discards. quota: what it was fitted for, and when prompts are
    given up. fingerprint: what the settings of a run call it. unit: what costs are counted in, None if not known.
    provenance: of the attempts it was certified on. Raises `InputError` if the columns of beliefs and validators are
    not the same, or if any of them cannot work: live, a validator that fails says nothing, and nothing is discarded.
    """

    schedule: Schedule
    validators: tuple[Validator, ...]
    beliefs: Beliefs
    thresholds: NDArray[np.float64]
    fingerprint: str = ""
    provenance: Provenance = Provenance()  # noqa: RUF009 - frozen
    quota: PromptQuota | None = None
    unit: Unit | None = None

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

    def decide(self, checkpoint: Checkpoint) -> Decision:
        """Return the decision at one checkpoint."""
        k = np.asarray([checkpoint.k], dtype=np.int64)
        values = np.asarray([checkpoint.row], dtype=np.float64)
        M, worth = (float(x[0]) for x in self.beliefs.worth(k, values))
        threshold = float(at_checkpoint(self.thresholds, k)[0]) if len(self.thresholds) else 0.0
        action, reason, ahead = Action.CONTINUE, "", math.nan
        if discards(worth, threshold) or self._gives_up(k, values)[0]:
            verdicts = np.asarray([checkpoint.verdicts], dtype=np.int8)
            action, reason = Action.DISCARD, self.reasons(k, values, verdicts)[0]
            ahead = self._tokens_ahead(checkpoint, k, values)
        return Decision(
            action, checkpoint.k, checkpoint.position, checkpoint.tokens, M, threshold, reason, worth, ahead
        )

    def _tokens_ahead(self, checkpoint: Checkpoint, k: NDArray[np.int64], values: NDArray[np.float64]) -> float:
        """Return the cost to go r_k in tokens, by the attempt's own tokens per character if costs are characters."""
        r = float(self.beliefs.predict(k, values)[1][0])
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
        """Return what the policy does along the table, and what it believes; errors as for `worth`."""
        table = self._readable(table)
        return Follower(table, self.beliefs.worth, self._worth(table)).follow(self.thresholds, self._give_up)


class FittedRun:
    """A fitted policy along one attempt; `posteriors` are M_k at the checkpoints so far, in order."""

    def __init__(self, policy: FittedPolicy, prompt: str, parameters: Parameters) -> None:
        self.posteriors: list[float] = []
        self._policy = policy
        self._watch = Watch(policy.schedule, policy.validators, prompt, parameters)

    @property
    def failures(self) -> Mapping[str, int]:
        """Validators that failed on this attempt, and how often."""
        return dict(self._watch.failures)

    def begin(self) -> Decision | None:
        """Return the decision at checkpoint 0."""
        return self._decide(self._watch.begin())

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        """Take new text; return the first DISCARD it leads to, else the last CONTINUE, else None.

        Every checkpoint of the text is looked at, since whoever audits a discard feeds on.
        """
        decision = None
        for checkpoint in self._watch.feed(text, tokens, logprobs):
            here = self._decide(checkpoint)
            if decision is None or decision.action is Action.CONTINUE:
                decision = here
        return decision

    def _decide(self, checkpoint: Checkpoint) -> Decision:
        decision = self._policy.decide(checkpoint)
        self.posteriors.append(decision.posterior)
        return decision
