"""Magnitude and sign of the numbers in the text, against those of the prompt.

The answer to a question with numbers up to a hundred is seldom in the millions, a question about apples has no negative
result, and one about whole things no result with decimals. None of this is certain, so all of it is scores.
A **result** is a number right of an equals sign.
"""

from __future__ import annotations

import math

import msgspec

from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict
from msifr_policy.validators.readers.shown_numbers import NumberReader, shown_numbers

__all__ = ["Magnitude"]

_WRAPPING = " $£€\\({~*"
_MINUS = ("-", "−")


class Magnitude(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Compares size, sign and wholeness of the text's numbers with the prompt's; the verdict is always UNKNOWN."""

    @property
    def name(self) -> str:
        """`magnitude`."""
        return "magnitude"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of the scores.

        `largest` and `result`: log10 of the largest number of the text and of the latest result, over the largest
        number of the prompt, NaN if either is missing or zero; `negative`: results below zero, 0 if the prompt
        shows such a number itself; `uneven`: share of results that are not whole, 0 if the prompt shows such a
        number itself, NaN before the first result. Without a prompt all are NaN.
        """
        return ("largest", "result", "negative", "uneven")

    def start(self, prompt: str) -> MagnitudeState:
        """Return the state of a fresh attempt."""
        return MagnitudeState(prompt)


class MagnitudeState:
    """Largest and latest numbers, and counts of results."""

    __slots__ = ("_given", "_largest", "_negative", "_reader", "_result", "_results", "_uneven")

    def __init__(self, prompt: str) -> None:
        self._given = _Given(prompt)
        self._reader = NumberReader()
        self._largest = self._result = 0.0
        self._results = self._negative = self._uneven = 0

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Take the numbers that the new text completes."""
        del tokens
        for value, before in self._reader.feed(text):
            if value > self._largest:
                self._largest = value
            if "=" not in before:
                continue
            before = before.rstrip(_WRAPPING)
            negative = before.endswith(_MINUS)
            if before.endswith("=") or (negative and before[:-1].rstrip(_WRAPPING).endswith("=")):
                self._results += 1
                self._result = value
                self._negative += negative
                self._uneven += value != int(value)
        given = self._given
        if not given.prompt:
            return Evidence(Verdict.UNKNOWN, (math.nan,) * 4)
        uneven = 0 if given.uneven else self._uneven
        scores = (
            _ratio(self._largest, given.largest),
            _ratio(self._result, given.largest),
            0.0 if given.negative else float(self._negative),
            uneven / self._results if self._results else math.nan,
        )
        return Evidence(Verdict.UNKNOWN, scores)

    def copy(self) -> MagnitudeState:
        """Return an independent copy."""
        twin = MagnitudeState("")
        for slot in self.__slots__:
            setattr(twin, slot, getattr(self, slot))
        twin._reader = self._reader.copy()
        return twin


class _Given:
    """What the prompt shows; never changed."""

    __slots__ = ("largest", "negative", "prompt", "uneven")

    def __init__(self, prompt: str) -> None:
        self.prompt = bool(prompt)
        self.largest = 0.0
        self.negative = self.uneven = False
        for value, before in shown_numbers(prompt):
            self.largest = max(self.largest, value)
            self.uneven |= value != int(value)
            # 5 - 3 and 5-3 are differences; a minus sign after a blank, a bracket or nothing is a sign.
            if before.endswith(_MINUS):
                self.negative |= not before[:-1] or before[-2] in " \n(,=$[{"


def _ratio(value: float, given: float) -> float:
    return math.log10(value / given) if value and given else math.nan
