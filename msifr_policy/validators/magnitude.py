"""Magnitude and sign of the numbers in the text, against those of the prompt.

The answer to a question with numbers up to a hundred is seldom in the millions, a question about apples has no negative
result, and one about whole things no result with decimals. None of this is certain, so all of it is scores.
A **result** is a number right of an equals sign.
"""

import math

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence
from msifr_policy.validators.readers.shown_numbers import NumberReader, shown_numbers

_WRAPPING = " $£€\\({~*"
_MINUS = ("-", "−")


class Magnitude(Rule, frozen=True):
    """Compares size, sign and wholeness of the text's numbers with the prompt's; the verdict is always UNKNOWN."""

    name = "magnitude"
    columns = ("largest", "result", "negative", "uneven")
    """`largest` and `result`: log10 of the largest number of the text and of the latest result, over the largest
    number of the prompt, NaN if either is missing or zero; `negative`: results below zero, 0 if the prompt
    shows such a number itself; `uneven`: share of results that are not whole, 0 if the prompt shows such a
    number itself, NaN before the first result. Without a prompt all are NaN.
    """

    def _state(self, prompt: str) -> TextState:
        return _MagnitudeState(prompt) if prompt else Silence(self.columns)


class _MagnitudeState(TextState):
    def __init__(self, prompt: str) -> None:
        given = list(shown_numbers(prompt))
        self._largest_given = max((value for value, _ in given), default=0.0)
        self._whole_given = all(value == int(value) for value, _ in given)
        self._positive_given = not any(map(_is_negative, (before for _, before in given)))
        self._reader = NumberReader()
        self._largest = self._result = 0.0
        self._results = self._negative = self._uneven = 0

    def _read(self, text: str) -> Evidence:
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
        largest, result = _ratio(self._largest, self._largest_given), _ratio(self._result, self._largest_given)
        uneven = self._uneven * self._whole_given / self._results if self._results else math.nan
        return evidence(largest, result, self._negative * self._positive_given, uneven)


def _is_negative(before: str) -> bool:
    """Say whether what stands before a number is its sign: not so in 5 - 3 and 5-3, which are differences."""
    return before.endswith(_MINUS) and (not before[:-1] or before[-2] in " \n(,=$[{")


def _ratio(value: float, given: float) -> float:
    return math.log10(value / given) if value and given else math.nan
