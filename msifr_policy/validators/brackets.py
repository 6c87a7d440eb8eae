"""Brackets: a text that closes a sequence of brackets and shows its stack after each symbol.

The prompt gives the symbols, `Input: [ { ( )` or nothing but these. A *step* is a line "2: { ; stack: [ {", numbered
or not; the k-th step reads the k-th symbol. It is *wrong* if it reads another one, or shows another stack than
the true one: the brackets open by then, "empty" if none is.
"""

import math
import re

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence
from msifr_policy.validators.readers.lines import cut_lines

MOST_SYMBOLS = 1000
"""A prompt with more symbols is none that is replayed."""


class Brackets(Rule, frozen=True):
    """Replays the stack of bracket sequences.

    The verdict is UNKNOWN, since a text may come back to the right stack; with `first_wrong_counts` it is DEAD from the
    first wrong step on.
    """

    name = "brackets"
    columns = ("steps", "wrong", "first_wrong", "unread")
    """`steps`: steps so far; `wrong`: those of them that were wrong; `first_wrong`: the number of the first of these,
    from 1, NaN without one; `unread`: symbols of the prompt still to be read. All NaN if the prompt gives no sequence.
    """
    first_wrong_counts: bool = False

    def _state(self, prompt: str) -> TextState:
        symbols = _symbols(prompt)
        return _BracketsState(self, symbols) if symbols else Silence(self.columns)


_CLOSES = {")": "(", "]": "[", "}": "{", ">": "<"}
_SYMBOLS = frozenset("()[]{}<>")
_STEP = re.compile(r"\s*(?:[0-9]{1,4}[:.)])?\s*([()\[\]{}<>])\s*;\s*stack:\s*([()\[\]{}<>\s]*|empty)\s*$")


def _symbols(prompt: str) -> str:
    """Return the symbols of the last input of a prompt, empty if it gives none that can be closed."""
    symbols = "".join(prompt.rpartition("Input:")[2].split())
    if len(symbols) > MOST_SYMBOLS or not _SYMBOLS.issuperset(symbols):
        return ""
    stack: str | None = ""
    for symbol in symbols:
        stack = push(stack, symbol) if stack is not None else None
    return "" if stack is None else symbols


def push(stack: str, symbol: str) -> str | None:
    """Return the open brackets after one more symbol, None if it closes another than the last."""
    if symbol not in _CLOSES:
        return stack + symbol
    return stack[:-1] if stack.endswith(_CLOSES[symbol]) else None


class _BracketsState(TextState):
    def __init__(self, rule: Brackets, symbols: str) -> None:
        self._rule = rule
        self._symbols = symbols
        self._stack = self._line = ""
        self._steps = self._wrong = 0
        self._first_wrong: float = math.nan

    def _read(self, text: str) -> Evidence:
        lines, self._line = cut_lines(self._line, text)
        for line in lines:
            if match := _STEP.match(line):
                self._take(match[1], "".join(match[2].split()).replace("empty", ""))
        unread = max(0, len(self._symbols) - self._steps)
        dead = self._rule.first_wrong_counts and self._wrong > 0
        return evidence(self._steps, self._wrong, self._first_wrong, unread, dead=dead)

    def _take(self, symbol: str, shown: str) -> None:
        due = self._symbols[self._steps : self._steps + 1]  # empty when all are read
        self._steps += 1
        self._stack = (due and push(self._stack, due)) or ""
        if symbol != due or shown != self._stack:
            self._wrong += 1
            if self._wrong == 1:
                self._first_wrong = self._steps
