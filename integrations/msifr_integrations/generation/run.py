"""One run: an engine's events go to the policy; what leaves goes to the final filter and into the files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msifr_integrations.engine.base import Engine, Event
from msifr_integrations.generation.journal import AttemptRecord, Journal
from msifr_integrations.generation.live import Live
from msifr_policy.errors import MsifrError
from msifr_policy.filters import FinalFilter, Judgement, Prompt
from msifr_policy.policy import Policy
from msifr_policy.records.ledger import Entry, Outcome

__all__ = ["FILTER_FAILURE", "Progress", "Run", "Task"]

FILTER_FAILURE = "final filter: "
"""What the ledger's name of a failure begins with if it was the final filter that failed."""

_SHOW_EVERY = 0.2  # seconds


class Task(NamedTuple):
    """An attempt to be made: at which prompt, and how many tokens that has."""

    prompt: Prompt
    prompt_tokens: int


class Progress(NamedTuple):
    """How far a run is: attempts done (by earlier sessions too) of all, and what they came to."""

    done: int
    attempts: int
    accepted: int
    discarded: int
    tokens: int
    seconds: float


class Run:
    """Takes the events of `engine` for `tasks` (by attempt id) until all have left.

    A discarded attempt is written down one step after the decision: a token that an engine should sample in
    between is counted as wasted.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: dict[str, Task],
        policy: Policy,
        accept: FinalFilter,
        tokenizer: Any,
        journal: Journal,
        *,
        seed: int,
        model_name: str,
        logprobs: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._policy = policy
        self._accept = accept
        self._tokenizer = tokenizer
        self._journal = journal
        self._seed = seed
        self._model_name = model_name
        self._logprobs = logprobs
        self._running: dict[str, Live] = {}
        self._discarded: list[str] = []  # in the last step
        self._show = progress
        self._shown = 0.0
        before = journal.entries
        self._attempts = len(before) + len(tasks)
        self._accepted = sum(entry.outcome == "accepted" for entry in before)
        self._discards = sum(entry.outcome == "discarded" for entry in before)
        self._tokens = sum(entry.tokens for entry in before)
        self._started = time.perf_counter() - max((entry.seconds for entry in before), default=0.0)

    def drain(self) -> None:
        """Run the engine dry."""
        self._engine.drain(self._take)
        self._take(())  # those discarded in the very last step
        self._report(at_once=True)

    def _take(self, events: Sequence[Event]) -> None:
        left, self._discarded = self._discarded, []
        for event in events:
            live = self._running.get(event.id)
            if live is None:
                if event.id not in self._tasks:
                    raise MsifrError(f"the engine sampled a token of attempt {event.id!r} after it was cancelled")
                prompt = self._tasks[event.id].prompt.prompt
                live = self._running[event.id] = Live(prompt, self._policy, self._tokenizer)
            decision = live.take(event)
            self._tokens += 1
            if decision is not None:
                self._engine.cancel(event.id, decision.reason)
                self._discarded.append(event.id)
            elif live.finish and live.decision is None:
                self._leave(event.id)
        for attempt_id in left:
            self._leave(attempt_id)
        self._report()

    def _leave(self, attempt_id: str) -> None:
        """Judge the attempt if it is finished, and write it down."""
        live, task = self._running.pop(attempt_id), self._tasks.pop(attempt_id)
        prompt, decision = task.prompt, live.decision
        text = live.text
        outcome: Outcome = "discarded"
        judgement = Judgement(accepted=False)
        if decision is None:
            judgement = self._judge(prompt, text)
            outcome = "accepted" if judgement else "rejected"
        reason = decision.reason if decision else "length" if live.finish == "length" else "filter"
        entry = Entry(
            id=attempt_id,
            prompt_id=prompt.prompt_id,
            group=prompt.group,
            outcome=outcome,
            reason="" if outcome == "accepted" else reason,
            tokens=live.tokens,
            prompt_tokens=task.prompt_tokens,
            stages=live.stages,
            wasted=live.wasted,
            failures=dict(live.failures) | ({FILTER_FAILURE + judgement.failure: 1} if judgement.failure else {}),
            seconds=round(time.perf_counter() - self._started, 6),
        )
        record = AttemptRecord(
            id=attempt_id,
            prompt_id=prompt.prompt_id,
            prompt=prompt.prompt,
            text=text,
            status="finished" if decision is None else "discarded",
            correct=None if decision else outcome == "accepted",
            gold=prompt.gold,
            group=prompt.group,
            model=self._model_name,
            seed=self._seed,
            tokens=live.tokens,
            prompt_tokens=task.prompt_tokens,
            token_ends=live.token_ends,
            logprobs=live.logprobs if self._logprobs else None,
            k=decision.k if decision else None,
            position=decision.position if decision else None,
            posterior=decision.posterior if decision else None,
            worth=decision.worth if decision and not math.isnan(decision.worth) else None,
            threshold=decision.threshold if decision else None,
            reason=decision.reason if decision else None,
            score=judgement.score,
        )
        self._journal.write(record, entry)
        self._accepted += outcome == "accepted"
        self._discards += outcome == "discarded"

    def _judge(self, prompt: Prompt, text: str) -> Judgement:
        try:
            verdict = self._accept(prompt, text)
            return verdict if isinstance(verdict, Judgement) else Judgement(accepted=bool(verdict))
        except Exception as error:
            # Unlike a validator, the filter defines what is kept: without it there is nothing to go on with.
            raise MsifrError(
                f"the final filter {self._accept.name} failed on an attempt at prompt {prompt.prompt_id!r}: "
                f"{type(error).__name__}: {error} (mend it and start the run again: it goes on from here)"
            ) from error

    def _report(self, *, at_once: bool = False) -> None:
        now = time.perf_counter()
        if self._show is not None and (at_once or now - self._shown >= _SHOW_EVERY):
            self._shown = now
            done = self._attempts - len(self._tasks)
            self._show(
                Progress(done, self._attempts, self._accepted, self._discards, self._tokens, now - self._started)
            )
