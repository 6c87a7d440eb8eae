"""Beliefs as they were fitted: the record every shape of them ends in, and how good they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msifr_policy.beliefs import Beliefs
from msifr_policy.beliefs.blend import worth_of
from msifr_policy.evidence.history import reads_history, with_history
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import Trace
from msifr_policy.validators import ValidatorSpec, Words, describe


def log_loss(M: NDArray[np.float64], accepted: NDArray[np.bool_]) -> float:
    """Return the mean of −log P(outcome) in nats; M `[n]` probabilities, accepted `[n]`."""
    M = np.clip(M, 1e-6, 1 - 1e-6)
    return float(-np.where(accepted, np.log(M), np.log1p(-M)).mean())


@dataclass(frozen=True, slots=True)
class FittedBeliefs:
    """Beliefs fitted on all prompts of `table`, and what they say of each row when its prompt is held out.

    M, r: `[R]` posterior and cost to go by models that did not see the row's prompt (cross-fitted). words: the
    validator of words that was learned with them, if one was; its columns are then the last of the beliefs, and the
    table has cross-fitted scores in them.
    """

    beliefs: Beliefs
    table: EvidenceTable
    M: NDArray[np.float64]
    r: NDArray[np.float64]
    words: Words | None = None

    @property
    def validators(self) -> tuple[ValidatorSpec, ...]:
        """The validators a policy with these beliefs runs."""
        return self.table.validators + (() if self.words is None else (describe(self.words),))

    @property
    def worth(self) -> NDArray[np.float64]:
        """`[R]` cross-fitted worth ω."""
        return worth_of(self.M, self.r, self.beliefs.cost_per_accepted)

    @property
    def log_loss(self) -> float:
        """Mean cross-fitted loss of the posterior, in nats per checkpoint; 0 without checkpoints."""
        rows = self.table.is_checkpoint
        return log_loss(self.M[rows], self.table.outcome[rows]) if rows.any() else 0.0

    @property
    def base_loss(self) -> float:
        """The same of the constant acceptance rate."""
        outcome = self.table.outcome[self.table.is_checkpoint]
        return log_loss(np.full(len(outcome), outcome.mean()), outcome) if len(outcome) else 0.0

    def extend(self, table: EvidenceTable, traces: Sequence[Trace]) -> EvidenceTable:
        """Return a table of other attempts with all columns of the beliefs; `traces` hold their texts.

        A table that has them all is returned as it is.
        """
        from msifr_calibration.beliefs.words import with_words

        if set(self.beliefs.columns) <= set(table.columns):
            return table
        if reads_history(self.table):
            table = with_history(table)
        return table if self.words is None else with_words(table, traces, self.words)
