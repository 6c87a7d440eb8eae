"""Numbers: how many the prompt gives, which of them the text has used, and where its own come from.

A prompt with many numbers is a harder one, a text that leaves them unused is not done, and a text full of
numbers that neither the prompt gave nor an equation computed makes them up.
"""

import math
from itertools import islice

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.validators.readers.shown_numbers import NumberReader, shown_numbers

MEMORY = 4096
"""Different numbers remembered, of the prompt and of the text each."""
SMALL = 10
"""Numbers up to this one are nobody's: they count and name things."""

_WRAPPING = " $\\({-~"


class Numbers(Rule, frozen=True):
    """Compares the numbers of the text with those of the prompt; the verdict is always UNKNOWN."""

    name = "numbers"
    columns = ("prompt_characters", "unused", "made_up")
    """`prompt_characters`: length of the prompt; `unused`: different numbers of the prompt that the text has not
    used yet; both NaN without a prompt. `made_up`: share of the numbers in the text that are new there:
    above `SMALL`, not in the prompt, not right of an equals sign; NaN before the first number.
    """

    def _state(self, prompt: str) -> TextState:
        return _NumbersState(prompt)


class _NumbersState(TextState):
    def __init__(self, prompt: str) -> None:
        self._given = frozenset(islice(dict.fromkeys(value for value, _ in shown_numbers(prompt)), MEMORY))
        self._prompt_characters = len(prompt)
        self._used: set[float] = set()
        self._known: set[float] = set()
        self._count = self._made_up = 0  # numbers in the text
        self._reader = NumberReader()

    def _read(self, text: str) -> Evidence:
        for value, before in self._reader.feed(text):
            self._count += 1
            if value in self._given:
                self._used.add(value)
            elif value not in self._known:
                self._made_up += value > SMALL and not before.rstrip(_WRAPPING).endswith("=")
                if len(self._known) < MEMORY:
                    self._known.add(value)
        characters = self._prompt_characters
        unused = len(self._given) - len(self._used) if characters else math.nan
        return evidence(characters or math.nan, unused, self._made_up / self._count if self._count else math.nan)
