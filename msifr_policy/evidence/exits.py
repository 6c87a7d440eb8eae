"""EXIT: stop reasoning and force the answer now. Where it may be, how the answer is asked for, what was recorded of it.

Whether EXIT pays can be certified only where it was tried: at a checkpoint at which an answer was forced in shadow, the
same text asked in the same way. So a plan fixes the checkpoints, the question and the budget, a run records a forced
answer at each of them, and a policy fitted to the record exits nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.schedule import Schedule
from msifr_policy.evidence.table import EvidenceTable
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
        for mark in marks(f"{prompt}\n{text}"):
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
    whether the forced answer was. prefill_price: what a token that was read costs in X_k, in sampled tokens.
    """

    plan: ExitPlan
    cost: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    prefill_price: float = 0.0

    @property
    def possible(self) -> NDArray[np.bool_]:
        """`[R]` where an answer was forced."""
        result: NDArray[np.bool_] = np.isfinite(self.cost)
        return result


def plan_of(traces: Iterable[Trace]) -> ExitPlan | None:
    """Return the plan by which answers were forced in all of `traces`, None if they were in none.

    Raises `InputError` where only some traces have forced answers, or by different plans.
    """
    plans: dict[bytes, str] = {}
    for trace in traces:
        # Decoded once per plan, not per trace: what two records of one plan hold is the same, to the byte.
        key = b"" if trace.exits is None else msgspec.json.encode(msgspec.structs.replace(trace.exits, answers=[]))
        plans.setdefault(key, trace.id)
    if len(plans) > 1:
        one, other = list(plans.values())[:2]
        where = f"traces {one!r} and {other!r}"
        raise InputError("answers were not forced in all traces by one plan", where=where, remedy=_ONE_WAY)
    for key, trace_id in plans.items():
        return ExitPlan.of(msgspec.json.decode(key, type=Exits), f"trace {trace_id!r}") if key else None
    return None


def exit_columns(
    table: EvidenceTable, traces: Iterable[Trace], plan: ExitPlan, *, prefill_price: float = 0.0
) -> ExitColumns:
    """Return the forced answers beside the rows of `table`; `traces` hold those of its attempts, by `plan`.

    prefill_price: what a token that is read costs, in sampled tokens; where costs are characters nothing that is read
    is counted. Raises `InputError` where the table has other checkpoints than the plan, a trace is missing, or an
    answer is missing at a checkpoint of the plan at which the attempt had not ended.
    """
    if table.schedule != plan.schedule:
        raise InputError(
            "the table has other checkpoints than those at which answers were forced",
            where="exits",
            remedy="build it with the schedule of the recording (msifr fit --exits does)",
        )
    cost, accepted = np.full(len(table.k), np.nan), np.zeros(len(table.k), dtype=bool)
    number = {attempt_id: i for i, attempt_id in enumerate(table.attempt_ids)}
    tokens, ahead = table.costing.unit == "tokens", table.remaining > 0
    seen = 0
    for trace in traces:
        if (i := number.get(trace.id)) is None:
            continue
        seen += 1
        answers = {} if trace.exits is None else {answer.k: answer for answer in trace.exits.answers}
        for row in range(int(table.start[i]), int(table.start[i + 1]) - 1):
            k = int(table.k[row])
            answer = answers.get(k) if plan.is_at(k) else None
            if answer is not None:
                cost[row] = answer.tokens + prefill_price * answer.prompt_tokens if tokens else len(answer.text)
                accepted[row] = answer.accepted
            elif plan.is_at(k) and ahead[row]:
                what = f"no answer was forced at checkpoint {k}"
                raise InputError(what, where=f"trace {trace.id!r}", remedy=_ONE_WAY)
    if seen < table.n_attempts:
        what = f"forced answers are known of {seen} of {table.n_attempts} attempts"
        raise InputError(what, where="exits", remedy="give the traces of all of them, each once")
    return ExitColumns(plan, cost, accepted, prefill_price)


_ONE_WAY = "record all traces in one way: msifr generate --record-exits"
