"""Numbers: how many the prompt gives, which of them the text has used, and where its own come from.

A prompt with many numbers is a harder one, a text that leaves them unused is not done, and a text full of
numbers that neither the prompt gave nor an equation computed makes them up.
"""

from __future__ import annotations

import math

import msgspec

from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict
from msifr_policy.validators.readers.shown_numbers import NumberReader, shown_numbers

__all__ = ["Numbers"]

MEMORY = 4096
"""Different numbers remembered, of the prompt and of the text each."""
SMALL = 10
"""Numbers up to this one are nobody's: they count and name things."""

_WRAPPING = " $\\({-~"


class Numbers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Compares the numbers of the text with those of the prompt; the verdict is always UNKNOWN."""

    @property
    def name(self) -> str:
        """`numbers`."""
        return "numbers"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the scores.

        `prompt_characters`: length of the prompt; `unused`: different numbers of the prompt that the text has not
        used yet; both NaN without a prompt. `made_up`: share of the numbers in the text that are new there:
        above `SMALL`, not in the prompt, not right of an equals sign; NaN before the first number.
        """
        return ("prompt_characters", "unused", "made_up")

    def start(self, prompt: str) -> NumbersState:
        """Return the state of a fresh attempt."""
        return NumbersState(prompt)


class NumbersState:
    """Counts, and the numbers met."""

    __slots__ = ("_count", "_given", "_known", "_new", "_prompt_characters", "_reader", "_used")

    def __init__(self, prompt: str) -> None:
        given: set[float] = set()
        for value, _ in shown_numbers(prompt):
            if len(given) == MEMORY:
                break
            given.add(value)
        self._given = frozenset(given)
        self._prompt_characters = len(prompt)
        self._used: set[float] = set()
        self._known: set[float] = set()
        self._count = self._new = 0  # numbers in the text, and those made up
        self._reader = NumberReader()

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Take the numbers that the new text completes."""
        del tokens
        for value, before in self._reader.feed(text):
            self._take(value, before)
        with_prompt = self._prompt_characters > 0
        scores = (
            float(self._prompt_characters) if with_prompt else math.nan,
            float(len(self._given) - len(self._used)) if with_prompt else math.nan,
            self._new / self._count if self._count else math.nan,
        )
        return Evidence(Verdict.UNKNOWN, scores)

    def copy(self) -> NumbersState:
        """Return an independent copy."""
        twin = NumbersState("")
        for slot in self.__slots__:
            setattr(twin, slot, getattr(self, slot))
        twin._used, twin._known, twin._reader = self._used.copy(), self._known.copy(), self._reader.copy()
        return twin

    def _take(self, value: float, before: str) -> None:
        self._count += 1
        if value in self._given:
            self._used.add(value)
        elif value not in self._known:
            self._new += value > SMALL and not before.rstrip(_WRAPPING).endswith("=")
            if len(self._known) < MEMORY:
                self._known.add(value)
