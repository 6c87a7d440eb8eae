"""An engine of plain text that takes no time: its attempts are sums, and mostly right where all of them are."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from msifr_integrations.engine.base import Attempt, Event, Notice
from msifr_policy.records.ledger import Session

LINES = 8


def sums(key: bytes, *, swapped: bool) -> list[str]:
    """Return the lines of an attempt. A wrong sum means a wrong answer, but not to another model."""
    draw = random.Random(key)  # noqa: S311 - the text of an attempt is a function of its key
    lines, wrong = [], False
    for _ in range(draw.randint(LINES - 3, LINES)):
        a, b = draw.randint(2, 60), draw.randint(2, 60)
        slip = draw.random() < (0.3 if swapped else 0.12)
        wrong |= slip
        lines.append(f"{a} + {b} = {a + b + (draw.randint(1, 9) if slip else 0)}\n")
    right = draw.random() < (0.8 if swapped else 0.04 if wrong else 0.85)
    return [*lines, f"#### {int(right)}"]


class Sums:
    """An engine whose attempts are sums, a line a step; of another model where the prompt's place is `swap` or later.

    `dies` after so many steps, by an interrupt.
    """

    name, logprobs, asynchronous, waiting = "sums", False, False, 0

    def __init__(self, slots: int, places: Mapping[str, int], swap: int | None, dies: int | None) -> None:
        self.slots, self._places, self._swap, self._dies = slots, places, swap, dies
        self._queue: dict[str, list[str]] = {}
        self._steps = 0

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt."""
        prompt_id, _, number = attempt.id.partition("/")
        if " exit " in number:
            lines = [" ", str(random.Random(attempt.key).randint(0, 1))]  # noqa: S311 - likewise
        else:
            lines = sums(attempt.key, swapped=self._swap is not None and self._places[prompt_id] >= self._swap)
        self._queue[attempt.id] = lines[::-1]

    def cancel(self, attempt_id: str) -> None:
        """Drop an attempt."""
        self._queue.pop(attempt_id, None)

    def drain(self, take: Callable[[Sequence[Notice]], None]) -> None:
        """Give a line of each of the first attempts until there are none."""
        while self._queue:
            if self._steps == self._dies:
                raise KeyboardInterrupt
            self._steps += 1
            take([self._step(name) for name in list(self._queue)[: self.slots]])

    def _step(self, name: str) -> Event:
        lines = self._queue[name]
        text = lines.pop()
        if not lines:
            del self._queue[name]
        return Event(name, -1, -1.0, -1.0, "" if lines else "end", text)

    def spent(self) -> Session:
        """Return that nothing was spent beside attempts."""
        return Session()

    def close(self) -> None:
        """There is nothing to give back."""
