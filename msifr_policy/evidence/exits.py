"""EXIT: stop reasoning and force the answer now. Where it may be, how the answer is asked for, what was recorded of it.

Whether EXIT pays can be certified only where it was tried: at a checkpoint at which an answer was forced in shadow, the
same text asked in the same way. So a plan fixes the checkpoints, the question and the budget, a run records a forced
answer at each of them, and a policy fitted to the record exits nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Schedule, Unit
from msifr_policy.reading.thinking import marks
from msifr_policy.records.exits import Exits, ForcedAnswer
from msifr_policy.records.traces import Trace

ASKED = "The answer is"
"""How an answer is asked for if nothing else is said."""


class ExitPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where and how answers are forced.

    schedule: of the checkpoints; EXIT may be chosen at every `every`-th of them, k = every, 2·every, …. prompt: the
    text that asks for the answer; tokens: the most that are sampled for it. The answer is one line.
    Raises `InputError` for a count below 1 or a prompt of no characters.
    """

    schedule: Schedule
    every: int = 1
    prompt: str = ASKED
    tokens: int = 32

    def __post_init__(self) -> None:
        for name in ("every", "tokens"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} must be at least 1", where="exits")
        if not self.prompt.strip():
            raise InputError("the text that asks for the answer is empty", where="exits", remedy=f"try: {ASKED}")

    def is_at(self, k: int) -> bool:
        """Return whether EXIT may be chosen at checkpoint `k`; never before the first token."""
        return k > 0 and k % self.every == 0

    def asked(self, prompt: str, text: str) -> str:
        """Return what is put after `text` to force the answer: an open thinking tag is closed first, on a line each."""
        opened = ""
        for mark in marks(prompt + text):
            opened = mark[0] if mark["open"] is not None else ""
        parts = [_closing(opened), self.prompt] if opened else [self.prompt]
        return ("" if not text or text.endswith("\n") else "\n") + "\n".join(parts)

    def recorded(self, answers: list[ForcedAnswer]) -> Exits:
        """Return forced answers as a trace holds them."""
        plan = msgspec.to_builtins(self)
        return Exits(**{name: plan[name] for name in ("schedule", "every", "prompt", "tokens")}, answers=answers)

    @classmethod
    def of(cls, exits: Exits, where: str) -> ExitPlan:
        """Return the plan that forced answers were recorded by. Raises `InputError` if it is none."""
        given = {name: getattr(exits, name) for name in cls.__struct_fields__}
        try:
            return msgspec.convert(given, cls)
        except msgspec.ValidationError as error:
            raise InputError(f"`exits` are by no plan: {error}", where=where) from None


_CLOSED = {"[think]": "[/THINK]", "◁think▷": "◁/think▷", "<|begin_of_thought|>": "<|end_of_thought|>",
           "<|start_thinking|>": "<|END_THINKING|>", "<unused94>thought": "<unused95>",
           "<|channel|>analysis": "<|channel|>final<|message|>", "<|channel>thought": "<channel|>",
           "<|think|>": "<|/think|>", "<|thinking|>": "<|/thinking|>"}  # fmt: skip
"""Opening marks of thinking that are not closed by their own name with a slash before it."""


def _closing(mark: str) -> str:
    """Return what closes the thinking that `mark` opened."""
    return _CLOSED.get(mark.lower(), mark.replace("<", "</", 1))


@dataclass(frozen=True, slots=True)
class ExitColumns:
    """Forced answers beside the R rows of an evidence table.

    cost: `[R]` X_k in the table's unit, NaN where no answer was forced: EXIT is not possible there. accepted: `[R]`
    whether the forced answer was.
    """

    plan: ExitPlan
    cost: NDArray[np.float64]
    accepted: NDArray[np.bool_]

    @property
    def possible(self) -> NDArray[np.bool_]:
        """`[R]` where an answer was forced."""
        result: NDArray[np.bool_] = np.isfinite(self.cost)
        return result

    def take(self, rows: NDArray[np.int64]) -> ExitColumns:
        """Return the columns of some rows."""
        return ExitColumns(self.plan, self.cost[rows], self.accepted[rows])


def exit_rows(
    trace: Trace, plan: ExitPlan, k: NDArray[np.int64], ahead: NDArray[np.bool_], unit: Unit, prefill_price: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return X_k in `unit`, NaN where there is none, and the outcome of the forced answer, `[R]` each, of one trace.

    k: `[R]` checkpoints, the end of the attempt last; ahead: `[R]` whether text or tokens are still to come there.
    prefill_price: what a token that is read costs, in sampled tokens. Raises `InputError` if the trace was recorded by
    another plan, or lacks an answer at a checkpoint of the plan.
    """
    where = f"trace {trace.id!r}"
    remedy = "record all traces in one way: msifr generate --record-exits"
    if trace.exits is None or ExitPlan.of(trace.exits, where) != plan:
        raise InputError("has other forced answers, or none", where=where, remedy=remedy)
    cost, accepted = np.full(len(k), np.nan), np.zeros(len(k), dtype=bool)
    answers = {answer.k: answer for answer in trace.exits.answers}
    for row, (checkpoint, more) in enumerate(zip(k[:-1].tolist(), ahead[:-1].tolist(), strict=True)):
        if not plan.is_at(checkpoint):
            continue
        answer = answers.get(checkpoint)
        if answer is None and more:
            raise InputError(f"no answer was forced at checkpoint {checkpoint}", where=where, remedy=remedy)
        if answer is not None:
            sampled = answer.tokens if unit == "tokens" else len(answer.text)
            cost[row] = sampled + prefill_price * answer.prompt_tokens
            accepted[row] = answer.accepted
    return cost, accepted
