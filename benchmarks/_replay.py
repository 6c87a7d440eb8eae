"""An engine without a model: it replays texts that are made from the key of each attempt, a few tokens a step.

What a run costs beside its model is what is left; and texts are the same for a key whatever the run is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msifr_integrations.engine.base import Attempt, Event, Notice
from msifr_integrations.generation.engines import Opened
from msifr_policy.records.ledger import Session

PROMPT_TOKENS = 40
_STEPS = "Ada has some apples.", " She gives a few of them away.", " The rest is what is left."


def text_of(key: bytes) -> tuple[str, ...]:
    """Return what an attempt says: some steps of reasoning, and an answer from 0 to 2."""
    return (*_STEPS[: 1 + key[0] % len(_STEPS)], f" The answer is {key[1] % 3}.")


class Replay:
    """Every step a piece of the text of each attempt in a slot, counted as one token."""

    name, logprobs, asynchronous, waiting = "replay", False, False, 0

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._queue: deque[Attempt] = deque()
        self._rows: dict[str, deque[str]] = {}

    def submit(self, attempt: Attempt) -> None:
        """Queue an attempt."""
        self._queue.append(attempt)

    def cancel(self, attempt_id: str) -> None:
        """Stop an attempt."""
        if self._rows.pop(attempt_id, None) is None:
            self._queue = deque(attempt for attempt in self._queue if attempt.id != attempt_id)

    def drain(self, take: Callable[[Sequence[Notice]], None]) -> None:
        """Run until nothing is queued or running."""
        while self._queue or self._rows:
            while self._queue and len(self._rows) < self.slots:
                attempt = self._queue.popleft()
                self._rows[attempt.id] = deque(text_of(attempt.key))
            take([self._step(name) for name in list(self._rows)])

    def _step(self, name: str) -> Event:
        pieces = self._rows[name]
        piece = pieces.popleft()
        if not pieces:
            del self._rows[name]
        return Event(name, -1, -1.0, -1.0, "" if pieces else "end", piece)

    def spent(self) -> Session:
        """Return that it spends nothing besides."""
        return Session()

    def close(self) -> None:
        """Give nothing back."""


@contextmanager
def replayed(*asked: Any) -> Iterator[Opened]:
    """Open it for the options of a run."""
    yield Opened(Replay(asked[3].slots), lambda _: tuple(range(PROMPT_TOKENS)), {"engine": "replay", "chat": False})
