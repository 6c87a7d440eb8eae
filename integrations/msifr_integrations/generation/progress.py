"""How far a run is, as it is told while it runs, and the counts that this is told by."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from msifr_integrations.generation.goals import NO_GOALS, RunGoals, RunSpent, prompts_of_all
from msifr_policy.records.ledger import Entry, Totals

_SHOW_EVERY = 0.2  # seconds


class Progress(NamedTuple):
    """How far a run is: attempts done (by earlier sessions too) of all there may be, and what they came to.

    Under a quota `attempts` falls whenever a prompt has its accepted samples: the others at it are not made.
    `running` attempts are in the engine, in `slots` places (0 if it is not known how many); `waiting` of a server's
    streams have no token yet. `skipped` of the discarded were never begun. `tokens` are those of attempts in flight,
    too; those of prompts, told by `prompts_counted` attempts, and `tokens_ahead`, what discarded attempts were expected
    still to take, are those of attempts that are done (`Totals`). `tokens_beside` and `prompt_tokens_beside` are those
    of earlier sessions. `by_reason` counts discarded attempts. `goals` are those of the whole run, and `spent` what
    counts for them. `steered`: where a run is that is steered, in a few words.
    """

    done: int
    attempts: int
    accepted: int
    discarded: int
    tokens: int
    seconds: float
    waiting: int = 0
    running: int = 0
    slots: int = 0
    unaccepted: int = 0
    skipped: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    prompts_counted: int = 0
    tokens_beside: int = 0
    tokens_ahead: int | None = 0
    by_reason: Mapping[str, int] = MappingProxyType({})
    prompt_tokens_beside: int = 0
    goals: RunGoals = NO_GOALS
    spent: RunSpent = RunSpent()
    steered: str = ""


class RunCount:
    """What a run has come to, over all its sessions; told at most five times a second.

    before: the sums over earlier sessions. expected: attempts in all, at most. started: when the run began, by
    `time.perf_counter`, as if the sessions had followed each other. goals: those of the whole run.
    steered: says where a run is that is steered.
    """

    def __init__(
        self,
        before: Totals,
        expected: int,
        tell: Callable[[Progress], None] | None,
        goals: RunGoals = NO_GOALS,
        steered: Callable[[], str] = str,
    ) -> None:
        self._outcomes = Counter({name: spent.attempts for name, spent in before.by_outcome.items()})
        # What the filter did not accept has reasons of its own, which are no validators' names.
        self._reasons = Counter({name: spent.attempts for name, spent in before.discards.items()})
        self._skipped, self._ahead, self._beside = before.skipped, before.tokens_ahead, before.tokens_beside
        self._prompt_tokens, self._prompts_counted = before.prompt_tokens, before.prompts_counted
        self._prompts_beside = before.prompt_tokens_beside
        self._expected = expected
        self._goals = goals
        self._steered = steered
        self._tell = tell
        self._told = 0.0
        self.tokens = before.tokens
        self.started = 0.0

    def add(self, entry: Entry) -> None:
        """Count an attempt that was written down."""
        self._outcomes[entry.outcome] += 1
        self._skipped += entry.skipped
        self._prompt_tokens += entry.prompt_tokens
        self._prompts_counted += entry.prompt_tokens > 0
        self._prompts_beside += entry.forced_prompts
        if entry.outcome == "discarded":
            self._reasons[entry.reason] += 1
            self._ahead = None if self._ahead is None or entry.ahead is None else self._ahead + entry.ahead

    @property
    def accepted(self) -> int:
        """Accepted samples that were written down."""
        return self._outcomes["accepted"]

    def spent(self, in_flight: Sequence[int] = ()) -> RunSpent:
        """Return what counts for goals; in_flight: tokens of the prompt of each attempt under way, 0 if not told."""
        return RunSpent(self.accepted, self.tokens + self._beside, self._prompts_beside + self.prompts(in_flight))

    def prompts(self, in_flight: Sequence[int] = ()) -> float:
        """Return the tokens of prompts of attempts that were begun, as `prompts_of_all` has them."""
        begun = sum(self._outcomes.values()) - self._skipped - self._outcomes["failed"] + len(in_flight)
        counted = self._prompts_counted + sum(tokens > 0 for tokens in in_flight)
        return prompts_of_all(self._prompt_tokens + sum(in_flight), counted, begun)

    def spare(self, attempts: int) -> None:
        """Take note that so many attempts need not be made."""
        self._expected -= attempts

    def show(
        self,
        waiting: int = 0,
        running: int = 0,
        slots: int = 0,
        *,
        in_flight: Callable[[], Sequence[int]] = tuple,
        at_once: bool = False,
    ) -> None:
        """Tell, if it is time; in_flight: as for `spent`."""
        now = time.perf_counter()
        if self._tell is None or (now - self._told < _SHOW_EVERY and not at_once):
            return
        self._told = now
        self._tell(
            Progress(
                done=sum(self._outcomes.values()),
                attempts=self._expected,
                accepted=self._outcomes["accepted"],
                discarded=self._outcomes["discarded"],
                tokens=self.tokens,
                seconds=now - self.started,
                waiting=waiting,
                running=running,
                slots=slots,
                unaccepted=self._outcomes["unaccepted"],
                skipped=self._skipped,
                failed=self._outcomes["failed"],
                prompt_tokens=self._prompt_tokens,
                prompts_counted=self._prompts_counted,
                tokens_beside=self._beside,
                tokens_ahead=self._ahead,
                by_reason=dict(self._reasons.most_common()),
                prompt_tokens_beside=self._prompts_beside,
                goals=self._goals,
                spent=self.spent(in_flight()),
                steered=self._steered(),
            )
        )
