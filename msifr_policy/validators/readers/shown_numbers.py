"""Reading the numbers that a text shows, the same however it arrives.

A number is given out once `AHEAD` more characters are there, since these may still belong to it, together with
the characters before it that tell what it is: a result, a negative one, a part of another number.
"""

import re
from collections.abc import Iterator

AHEAD = 5
"""Characters after a number that decide where it ends."""
BEHIND = 8
"""Characters before a number that are given out with it."""

_NUMBER = re.compile(r"[0-9]{1,16}(?:,[0-9]{3}(?![0-9])){0,5}(?:\.[0-9]{1,16})?")


def shown_numbers(text: str) -> Iterator[tuple[float, str]]:
    """Yield each number of a whole text, without its sign, and up to `BEHIND` characters before it."""
    yield from NumberReader().feed(text + " " * AHEAD)


class NumberReader:
    """The unfinished number at the end of a text, and `BEHIND` characters before it."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0  # where the number begins in _text

    def feed(self, text: str) -> Iterator[tuple[float, str]]:
        """Yield what `shown_numbers` yields, for the numbers that the new text completes; must be used up."""
        text = self._text + text
        waiting = len(text)
        certain = waiting - AHEAD
        for match in _NUMBER.finditer(text, self._at):
            start, end = match.span()
            if end > certain:
                waiting = start
                break
            number = match[0]
            value = float(number.replace(",", "") if "," in number else number)
            yield value, text[start - BEHIND if start > BEHIND else 0 : start]
        begin = max(0, waiting - BEHIND)
        self._text, self._at = text[begin:], waiting - begin
