"""All families end to end: rows, attempts, folds, as those need them who fit one model to many families."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.split import uniform
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable

Integers = NDArray[np.int64]

FOLDS: Final = 5


@dataclass(frozen=True, slots=True)
class Stack:
    """F families with R rows and N attempts in all.

    first_row: `[F + 1]` where each family's rows begin; start: `[N + 1]` where each attempt's do. attempt: `[R]` of
    each row; family, accepted, fold: `[N]` of each attempt; checks: `[R]` True at checkpoints. tells: `[N, S]` whether
    an attempt tells about prompts of a fold, always of its own. per_prompt: `[N]` attempts at the same prompt in the
    same family.
    """

    tables: Sequence[EvidenceTable]
    first_row: Integers
    start: Integers
    attempt: Integers
    family: Integers
    accepted: NDArray[np.bool_]
    fold: Integers
    tells: NDArray[np.bool_]
    checks: NDArray[np.bool_]
    per_prompt: Integers

    @property
    def folds(self) -> list[int]:
        """The folds that occur."""
        found: list[int] = np.unique(self.fold).tolist()
        return found

    def held_out(self, fold: int) -> NDArray[np.bool_]:
        """Return `[N]` the attempts at prompts of a fold."""
        return self.fold == fold

    def learned_from(self, fold: int) -> NDArray[np.bool_]:
        """Return `[N]` the attempts that what is said of the prompts of a fold is learned from: they tell nothing."""
        return ~self.tells[:, fold]

    def rows(self, family: int) -> slice:
        """Return the rows of a family."""
        return slice(int(self.first_row[family]), int(self.first_row[family + 1]))


def folds_by_id(tables: Sequence[EvidenceTable], seed: int) -> Integers:
    """Return `[N]` the fold of each attempt, one of five, a function of its prompt's id alone."""
    return np.concatenate([(uniform(t.prompt_ids, seed, "fold") * FOLDS).astype(np.int64)[t.prompt] for t in tables])


def stack_up(tables: Sequence[EvidenceTable], fold: Integers, question: Integers | None = None) -> Stack:
    """Lay `tables` end to end, their attempts in folds `fold` `[N]`.

    question: `[N]` a number per attempt; attempts at one question tell about each other's folds. As if there were one
    per fold unless given. Raises `InputError` if all prompts are in one fold.
    """
    if len(np.unique(fold)) < 2:
        raise InputError("too few prompts to learn from", where="learned beliefs", remedy="add prompts")
    question = fold if question is None else question
    tells = np.zeros((int(question.max()) + 1, int(fold.max()) + 1), dtype=bool)
    tells[question, fold] = True
    first_row = np.cumsum([0, *(len(table.k) for table in tables)])
    start = np.concatenate([[0], *(t.start[1:] + o for t, o in zip(tables, first_row, strict=False))])
    return Stack(
        tables,
        first_row,
        start,
        attempt=np.repeat(np.arange(len(start) - 1), np.diff(start)),
        family=np.repeat(np.arange(len(tables)), [table.n_attempts for table in tables]),
        accepted=np.concatenate([table.accepted for table in tables]),
        fold=fold,
        tells=tells[question],
        checks=np.concatenate([table.is_checkpoint for table in tables]),
        per_prompt=np.concatenate([np.bincount(table.prompt)[table.prompt] for table in tables]),
    )
