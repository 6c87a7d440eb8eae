"""One run: an engine's events go to the policy; what leaves goes to the final filter and into the files."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from msifr_integrations.engine.base import Engine, Event
from msifr_integrations.generation.journal import Journal, entry_of, record_of
from msifr_integrations.generation.live import Live, Task
from msifr_integrations.generation.options import GenerateOptions
from msifr_policy.errors import MsifrError
from msifr_policy.filters import FinalFilter, Judgement, Prompt
from msifr_policy.policy import Policy

_SHOW_EVERY = 0.2  # seconds


class Progress(NamedTuple):
    """How far a run is: attempts done (by earlier sessions too) of all, and what they came to."""

    done: int
    attempts: int
    accepted: int
    discarded: int
    tokens: int
    seconds: float


@dataclass
class Run:
    """Takes the events of `engine` for those of `tasks` that the journal does not have yet, until all have left.

    A discarded attempt is written down one step after the decision: a token that an engine should sample in between is
    counted as wasted.
    """

    engine: Engine
    tasks: Sequence[Task]
    policy: Policy
    accept: FinalFilter
    tokenizer: Any
    journal: Journal
    options: GenerateOptions
    progress: Callable[[Progress], None] | None = None

    def __post_init__(self) -> None:
        before, done = self.journal.entries, self.journal.done
        self._left = {task.attempt.id: task for task in self.tasks if task.attempt.id not in done}
        self._running: dict[str, Live] = {}
        self._discarded: list[str] = []  # in the last step
        self._outcomes = Counter(entry.outcome for entry in before)
        self._tokens = sum(entry.tokens for entry in before)
        self._started = time.perf_counter() - max((entry.seconds for entry in before), default=0.0)
        self._shown = 0.0

    def drain(self) -> None:
        """Run the engine dry."""
        for task in self._left.values():
            self.engine.submit(task.attempt)
        self.engine.drain(self._take)  # type: ignore[arg-type]
        self._take(())  # those discarded in the very last step
        self._show(at_once=True)

    def _take(self, events: Sequence[Event]) -> None:
        leaving, self._discarded = self._discarded, []
        for event in events:
            live = self._running.get(event.id)
            if live is None:
                if event.id not in self._left:
                    raise MsifrError(f"the engine sampled a token of attempt {event.id!r} after it was cancelled")
                prompt = self._left[event.id].prompt.prompt
                live = self._running[event.id] = Live(prompt, self.policy, self.tokenizer)
            self._tokens += 1
            if live.take(event) is not None:
                self.engine.cancel(event.id)
                self._discarded.append(event.id)
            elif live.finish and live.decision is None:
                self._leave(event.id)
        for attempt_id in leaving:
            self._leave(attempt_id)
        self._show()

    def _leave(self, attempt_id: str) -> None:
        """Judge the attempt if it is finished, and write it down."""
        live, task = self._running.pop(attempt_id), self._left.pop(attempt_id)
        judgement = self._judge(task.prompt, live.text) if live.decision is None else None
        entry = entry_of(task, live, judgement, time.perf_counter() - self._started)
        self.journal.write(record_of(task, live, judgement, self.options), entry)
        self._outcomes[entry.outcome] += 1

    def _judge(self, prompt: Prompt, text: str) -> Judgement:
        try:
            verdict = self.accept(prompt, text)
            return verdict if isinstance(verdict, Judgement) else Judgement(accepted=bool(verdict))
        except Exception as error:
            # Unlike a validator, the filter defines what is kept: without it there is nothing to go on with.
            raise MsifrError(
                f"the final filter {self.accept.name} failed on an attempt at prompt {prompt.prompt_id!r}: "
                f"{type(error).__name__}: {error} (mend it and start the run again: it goes on from here)"
            ) from error

    def _show(self, *, at_once: bool = False) -> None:
        now = time.perf_counter()
        if self.progress is None or (now - self._shown < _SHOW_EVERY and not at_once):
            return
        self._shown = now
        attempts, outcomes = sum(self._outcomes.values()) + len(self._left), self._outcomes
        self.progress(
            Progress(
                done=attempts - len(self._left),
                attempts=attempts,
                accepted=outcomes["accepted"],
                discarded=outcomes["discarded"],
                tokens=self._tokens,
                seconds=now - self._started,
            )
        )
