"""Numbers: how many the prompt gives, which of them the text has used, and where its own come from.

A prompt with many numbers is a harder one, a text that leaves them unused is not done, and a text full of
numbers that neither the prompt gave nor an equation computed makes them up. A number counts once `AHEAD` more
characters are there, since these may still belong to it.
"""

from __future__ import annotations

import math
import re

import msgspec

from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict

__all__ = ["Numbers"]

AHEAD = 5
"""Characters after a number that decide where it ends."""
BEHIND = 8
"""Characters before a number in which the equals sign that computes it is looked for."""
MEMORY = 4096
"""Different numbers remembered, of the prompt and of the text each."""
SMALL = 10
"""Numbers up to this one are nobody's: they count and name things."""

_NUMBER = re.compile(r"[0-9]{1,16}(?:,[0-9]{3}(?![0-9])){0,5}(?:\.[0-9]{1,16})?")
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


def _value(number: str) -> float:
    return float(number.replace(",", ""))


class NumbersState:
    """Counts, the numbers met, and the end of the text where a number may not be complete."""

    __slots__ = (
        "_at", "_count", "_given", "_known", "_new", "_prompt_characters", "_text", "_used",
    )  # fmt: skip

    def __init__(self, prompt: str) -> None:
        given: set[float] = set()
        for match in _NUMBER.finditer(prompt):
            if len(given) == MEMORY:
                break
            given.add(_value(match[0]))
        self._given = frozenset(given)
        self._prompt_characters = len(prompt)
        self._used: set[float] = set()
        self._known: set[float] = set()
        self._count = self._new = 0  # numbers in the text, and those made up
        self._text = ""  # the unfinished number, and `BEHIND` characters before it
        self._at = 0  # where it begins in _text

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Take the numbers that the new text completes."""
        del tokens
        text = self._text + text
        waiting = len(text)
        for match in _NUMBER.finditer(text, self._at):
            if match.end() + AHEAD > len(text):
                waiting = match.start()
                break
            self._take(_value(match[0]), text[max(0, match.start() - BEHIND) : match.start()])
        kept = max(0, waiting - BEHIND)
        self._text, self._at = text[kept:], waiting - kept
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
        twin._used, twin._known = self._used.copy(), self._known.copy()
        return twin

    def _take(self, value: float, before: str) -> None:
        self._count += 1
        if value in self._given:
            self._used.add(value)
        elif value not in self._known:
            self._new += value > SMALL and not before.rstrip(_WRAPPING).endswith("=")
            if len(self._known) < MEMORY:
                self._known.add(value)
