"""Whose turn it is: which attempt may begin next, and when enough have been made.

Attempts come prompt by prompt, in the order of their numbers. Two things hold one back. A policy that reads **history**
is told what came of the earlier attempts at the prompt, so these are over and written down first. Under a **quota** of
N accepted samples per prompt an attempt begins only while fewer than N of those before it are accepted or in flight:
whatever comes of these, a run that made them one after the other would make it too. So exactly the attempts of such a
run are made, however many run side by side, and none is paid beyond. Where a prompt waits, another one begins; one that
has begun goes first again as soon as it may go on, so that few are open at a time.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

from msifr_integrations.generation.live import Task
from msifr_policy.policy import Policy
from msifr_policy.records.ledger import AtPrompt, Entry
from msifr_policy.validators import History


def reads_history(policy: Policy | None) -> bool:
    """Return whether a policy decides by what came of earlier attempts at the prompt."""
    return any(validator.name == History.name for validator in getattr(policy, "validators", ()))


class Goal(NamedTuple):
    """What a run is to make at each prompt: `attempts`, or with a quota until so many are `accepted`."""

    attempts: int
    accepted: int | None = None

    def filled(self, at: AtPrompt) -> bool:
        """Return whether a prompt has its quota."""
        return self.accepted is not None and at.kept >= self.accepted

    def met(self, at: AtPrompt) -> bool:
        """Return whether nothing more is to be made at a prompt."""
        return at.attempts >= self.attempts or self.filled(at)

    def most(self, at: AtPrompt) -> int:
        """Return how many attempts there will be at a prompt in the end, at most."""
        return at.attempts if self.met(at) else self.attempts


class Portion(NamedTuple):
    """Attempts at one prompt for one engine to make, in the order of their numbers.

    place: of the prompt among those of the run. accepted, rejected, audited_accepted: what earlier sessions made of
    others at it.
    """

    place: int
    numbers: Sequence[int]
    accepted: int = 0
    rejected: int = 0
    audited_accepted: int = 0


class _Open:
    """A portion that has begun: how many of its attempts have, how many are in flight, and what came of the others."""

    __slots__ = ("at", "begun", "in_flight", "portion")

    def __init__(self, portion: Portion) -> None:
        self.portion = portion
        self.begun = self.in_flight = 0
        self.at = AtPrompt(
            accepted=portion.accepted, rejected=portion.rejected, audited_accepted=portion.audited_accepted
        )


class Turns:
    """Gives out the attempts of portions, each when it may begin.

    more: returns the next portion, None if there is none for the moment. task: makes an attempt, of the place of its
    prompt, its number, and, where the policy reads history, what came of those before. one_by_one: whether it does.
    quota: accepted samples wanted per prompt, None for no quota. done: told each portion whose attempts are all over.
    """

    def __init__(
        self,
        more: Callable[[], Portion | None],
        task: Callable[[int, int, AtPrompt | None], Task],
        *,
        one_by_one: bool = False,
        quota: int | None = None,
        done: Callable[[Portion], None] = lambda _: None,
    ) -> None:
        self._more = more
        self._task = task
        self._one_by_one = one_by_one
        self._quota = quota
        self._done = done
        self._opened = 0
        self._ready: list[tuple[int, _Open]] = []  # a heap: the portion that was opened first goes first
        self._order: dict[str, tuple[int, _Open]] = {}  # of the attempts in flight, by id
        self.limited = one_by_one or quota is not None
        """Whether attempts wait for others."""

    def take(self) -> Task | None:
        """Return the next attempt, which begins now; None if none may for the moment."""
        if not self._ready and (portion := self._more()) is not None:
            heappush(self._ready, (self._opened, _Open(portion)))
            self._opened += 1
        if not self._ready:
            return None
        _, opened = first = self._ready[0]
        number = opened.portion.numbers[opened.begun]
        opened.begun += 1
        opened.in_flight += 1
        if not self._may_go_on(opened):
            heappop(self._ready)
        task = self._task(opened.portion.place, number, opened.at if self._one_by_one else None)
        self._order[task.attempt.id] = first
        return task

    def end(self, entry: Entry) -> int:
        """Take note of an attempt that was written down; return how many others need not be made for that."""
        _, opened = order = self._order.pop(entry.id)
        before = self._may_go_on(opened)
        opened.in_flight -= 1
        opened.at = opened.at.after(entry)
        now = self._may_go_on(opened)
        if now and not before:
            heappush(self._ready, order)
        if now or opened.in_flight:
            return 0
        self._done(opened.portion)
        return len(opened.portion.numbers) - opened.begun

    def _may_go_on(self, opened: _Open) -> bool:
        return (
            opened.begun < len(opened.portion.numbers)
            and not (self._one_by_one and opened.in_flight)
            and (self._quota is None or opened.at.kept + opened.in_flight < self._quota)
        )
