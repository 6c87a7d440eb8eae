"""All families end to end: rows, attempts, folds, as those need them who fit one model to many families."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.split import uniform
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable

Integers = NDArray[np.int64]

_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Stack:
    """F families with R rows and N attempts in all.

    first_row: `[F + 1]` where each family's rows begin; start: `[N + 1]` where each attempt's do. attempt: `[R]` of
    each row; family, accepted, fold: `[N]` of each attempt; checks: `[R]` True at checkpoints. per_prompt: `[N]`
    attempts at the same prompt in the same family.
    """

    tables: Sequence[EvidenceTable]
    first_row: Integers
    start: Integers
    attempt: Integers
    family: Integers
    accepted: NDArray[np.bool_]
    fold: Integers
    checks: NDArray[np.bool_]
    per_prompt: Integers

    @property
    def held_out(self) -> list[tuple[int, NDArray[np.bool_]]]:
        """The folds that occur, each with `[N]` the attempts that are held out in it."""
        return [(fold, self.fold == fold) for fold in np.unique(self.fold).tolist()]

    def rows(self, family: int) -> slice:
        """Return the rows of a family."""
        return slice(int(self.first_row[family]), int(self.first_row[family + 1]))


def stack_up(tables: Sequence[EvidenceTable], seed: int) -> Stack:
    """Lay `tables` end to end.

    The fold of an attempt, one of five, is a function of its prompt's id alone: no family tells about another's
    held-out prompts. Raises `InputError` if all prompts are in one fold.
    """
    fold = np.concatenate([(uniform(t.prompt_ids, seed, "fold") * _FOLDS).astype(np.int64)[t.prompt] for t in tables])
    if len(np.unique(fold)) < 2:
        raise InputError("too few prompts to learn from", where="learned beliefs", remedy="add prompts")
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
        checks=np.concatenate([table.is_checkpoint for table in tables]),
        per_prompt=np.concatenate([np.bincount(table.prompt)[table.prompt] for table in tables]),
    )
