"""Brackets: a text that closes a sequence of brackets and shows its stack after each symbol.

The prompt gives the symbols, `Input: [ { ( )` or nothing but these. A *step* is a line "2: { ; stack: [ {", numbered
or not, or in other words, "Read `{`, the stack is now [ {"; it reads the symbol of its number, or the next one. It is
*wrong* if it reads another one, or shows another stack than the true one: the brackets open by then, "empty" if
none is. After a line that shows a stack otherwise it is not known which symbol comes next, until a step has a number.
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
    version = "2"
    columns = ("steps", "wrong", "first_wrong", "unread")
    """`steps`: steps so far; `wrong`: those of them that were wrong; `first_wrong`: the symbol that the first of these
    should read, from 1, NaN without one; `unread`: symbols of the prompt still to be read, NaN if that is not known.
    All NaN if the prompt gives no sequence.
    """
    first_wrong_counts: bool = False

    def _state(self, prompt: str) -> TextState:
        symbols = _symbols(prompt)
        return _BracketsState(self, symbols) if symbols else Silence(self.columns)


_CLOSES = {")": "(", "]": "[", "}": "{", ">": "<"}
_SYMBOLS = frozenset("()[]{}<>")
_SIGNS = r"()\[\]{}<>"
_STEP = re.compile(
    rf"""
    \s* (?: [-*•|] \s )? (?: step \b \s* )? (?: \(? ([0-9]{{1,4}}) [:.)]{{0,2}} \s* )? (?: [-|] \s )?
    (?: (?: after | read | process | push | pop | open | close | input | symbol | next | see ) (?:s|es|ing|ping)? \b
        \s? :? \s? ){{0,2}}
    ["'`]? ([{_SIGNS}]) ["'`]? \s* (?: [;,:|–—-] | -> | → | => )? \s*
    (?: (?: so \s )? (?: push | pop ) (?: \s it )? (?: \s ["'`]? [{_SIGNS}] ["'`]? )? \s? [.;,] \s+ )?
    (?: (?: the | so | and | now | new | current ) \s ){{0,3}}
    stack (?: \s (?: is | becomes | now | then ) \b ){{0,2}} \s* [:=]? \s*
    ( (?: [{_SIGNS}"'`,] | \s ){{0,400}}+ | \(? (?: empty | nothing | none | ∅ ) \)? ) \s* [.|]? \s* $
    """,
    re.VERBOSE | re.IGNORECASE,
)
_QUOTES = frozenset("\"'`")
_QUOTED = re.compile(rf"""["'`]([{_SIGNS}])["'`]""")
_SHOWS_STACK = re.compile(rf"stack\b.*[{_SIGNS}]|[{_SIGNS}].*\bstack", re.IGNORECASE)


def _shown(stack: str) -> str:
    """Return the symbols of a stack as a step shows it."""
    if not _SYMBOLS.intersection(stack) or stack.strip("() ").isalpha():
        return ""
    if not _QUOTES.isdisjoint(stack):
        if quoted := _QUOTED.findall(stack.strip("` ")):
            return "".join(quoted)
        stack = stack.strip("\"'` ")
    symbols = "".join(stack.replace(",", " ").split())
    return "" if symbols in ("[]", "()", "{}") else symbols  # an empty list: a stack holds nothing that closes


def _symbols(prompt: str) -> str:
    """Return the symbols of the last input of a prompt, empty if it gives none that can be closed."""
    symbols = "".join(prompt.rpartition("Input:")[2].split())
    possible = len(symbols) <= MOST_SYMBOLS and _SYMBOLS.issuperset(symbols) and _stack(symbols) is not None
    return symbols if possible else ""


def _stack(symbols: str) -> str | None:
    """Return the open brackets after all these symbols, None if one closes another than the last."""
    stack = ""
    for symbol in symbols:
        after = push(stack, symbol)
        if after is None:
            return None
        stack = after
    return stack


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
        self._at = 0  # symbols read
        self._from_0 = False  # whether numbers begin at 0
        self._known = True  # whether it is known what symbol comes next
        self._first_wrong: float = math.nan

    def _read(self, text: str) -> Evidence:
        lines, self._line = cut_lines(self._line, text)
        for line in lines:
            if "stack" in line.lower():
                match = _STEP.match(line.replace("**", ""))
                if match is not None:
                    self._take(match[1], match[2], _shown(match[3]))
                elif _SHOWS_STACK.search(line):
                    self._known = False
        unread = max(0, len(self._symbols) - self._at) if self._known else math.nan
        dead = self._rule.first_wrong_counts and self._wrong > 0
        return evidence(self._steps, self._wrong, self._first_wrong, unread, dead=dead)

    def _take(self, number: str | None, symbol: str, shown: str) -> None:
        if number is not None:
            self._from_0 |= int(number) == 0
            at = int(number) - (not self._from_0)
            if not self._known or at != self._at:
                self._go_to(at)
        self._steps += 1
        if not self._known:
            return
        due = self._symbols[self._at : self._at + 1]  # empty when all are read
        self._at += 1
        self._stack = (due and push(self._stack, due)) or ""
        if symbol != due or shown != self._stack:
            self._wrong += 1
            if self._wrong == 1:
                self._first_wrong = self._at

    def _go_to(self, at: int) -> None:
        """Read the symbols before the one at `at` again."""
        self._known = True
        self._at = min(at, len(self._symbols))
        self._stack = _stack(self._symbols[: self._at]) or ""
