"""Attempts that wait for a slot, those at one prompt together, wherever in the queue they were put.

So a prompt is computed once for all its attempts that are known, and slots need not hold it until the last of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msifr_integrations.engine.base import Attempt


class PromptQueue:
    """A queue in the order of prompts' first attempts; at each prompt in the order of arrival. Every call is O(1)."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Hashable, OrderedDict[str, Attempt]] = OrderedDict()
        self._prompts: dict[str, Hashable] = {}  # of each attempt, by its id

    def __len__(self) -> int:
        return len(self._prompts)

    def __iter__(self) -> Iterator[Attempt]:
        return (attempt for at_prompt in self._waiting.values() for attempt in at_prompt.values())

    def append(self, attempt: Attempt) -> None:
        """Put an attempt behind those at its prompt, or at the end; no other that waits has its id."""
        self._waiting.setdefault(attempt.prompt, OrderedDict())[attempt.id] = attempt
        self._prompts[attempt.id] = attempt.prompt

    def popleft(self) -> Attempt:
        """Take the first attempt out. Raises `StopIteration` if there is none."""
        attempt = next(iter(self))
        self.remove(attempt.id)
        return attempt

    def remove(self, attempt_id: str) -> None:
        """Take an attempt out; an id that is not here is ignored."""
        prompt = self._prompts.pop(attempt_id, None)
        if prompt is not None:
            del self._waiting[prompt][attempt_id]
            if not self._waiting[prompt]:
                del self._waiting[prompt]

    def clear(self) -> None:
        """Forget all."""
        self._waiting.clear()
        self._prompts.clear()
