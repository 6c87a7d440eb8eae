"""Countdown: the steps of a text towards a target number, and whether the numbers left can still reach it.

The prompt gives up to `MOST_NUMBERS` numbers and a target. A *step* is a line that begins, marks of lists and
emphasis aside, with "a op b = c": it takes the numbers a and b away and adds c, exactly (fractions). A number
shown with decimals stands for any that it may be the rounding of. If the line also shows the numbers left,
"(left: 2 4 6)", these must be the true ones. A step that is false or takes numbers that are not there is *wrong*; it is
left out and the rest goes on. If such a step is possible with the numbers of the prompt, the text tries again.

The target is **reachable** from numbers x₁ … xₙ by all of them if n = 1 and x₁ is the target t, or if the numbers
fall into two parts, the first of which can be made some a and the second some b with t among a + b, a − b, b − a,
a·b, a/b, b/a. Values of up to three numbers are listed; beyond, given a the six b follow from t, and each is
asked for in turn: some thousand operations for five numbers.
"""

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence
from msifr_policy.validators.readers.lines import cut_lines

MOST_NUMBERS = 6
"""A prompt with more numbers is none that is replayed."""
MOST_SEARCHES = 64
"""Times that one attempt may ask whether four or five numbers reach the target; later it is not known."""

_LISTED = 3
_SEARCHED = 5
"""With this many numbers their values are listed, or the target searched for; with more, it is not known."""


class Countdown(Rule, frozen=True):
    """Replays the steps of games such as 24, where numbers must be combined to a target.

    `use_all`: whether every number must be used. The verdict is UNKNOWN, since a text may try again; with
    `first_try_counts` it is DEAD once a try failed.
    """

    name = "countdown"
    columns = ("steps", "wrong", "left", "reachable", "failed")
    """`steps`: steps of the current try; `wrong`: those of them that were wrong; `left`: numbers left;
    `reachable`: 1 if these can still reach the target, 0 if not, NaN if that is not known; `failed`: tries so far
    with a wrong step or a target out of reach. All NaN if the prompt states no such game.
    """
    use_all: bool = True
    first_try_counts: bool = False

    def _state(self, prompt: str) -> TextState:
        game = _game(prompt)
        return _CountdownState(self, game) if game else Silence(self.columns)


class _Game(NamedTuple):
    """The numbers given, sorted, and the target."""

    numbers: tuple[Fraction, ...]
    target: Fraction


_WHOLE = r"-?[0-9]{1,6}"
_TARGET = re.compile(
    rf"(?:obtain|reach|make|get|equals?(?: to)?|target(?: number)?(?: of| is)?)[ :*]{{1,3}}({_WHOLE})\b"
)
_NUMBERS = re.compile(rf"(?:Input:|[Nn]umbers:?) ?\[?({_WHOLE}(?:,? {_WHOLE})+)(?![0-9.])")


def _game(prompt: str) -> _Game | None:
    """Return the last game of a prompt, or None if it states none."""
    if "arithmetic operations" not in prompt:
        return None
    target, numbers = _last(_TARGET, prompt), _last(_NUMBERS, prompt)
    given = tuple(sorted(map(Fraction, numbers.replace(",", " ").split())))
    return _Game(given, Fraction(target)) if target and 2 <= len(given) <= MOST_NUMBERS else None


def _last(pattern: re.Pattern[str], text: str) -> str:
    """Return the group of the last match, empty if there is none."""
    return ["", *map(str, pattern.findall(text))][-1]


class _GameStep(NamedTuple):
    """What a line shows: a op b = result, and the numbers left, None where it does not say."""

    a: str
    operator: str
    b: str
    result: str
    left: list[str] | None


_SHOWN = r"-?[0-9]{1,9}(?:\.[0-9]{1,9}|/[0-9]{1,9})?"
_STEP = re.compile(
    rf"""
    (?: [\s>*_\#$`] | - (?=\s) ){{0,16}}+
    (?: step [ ]? [0-9]{{1,3}} [\s:.)*]{{1,4}}+ | [0-9]{{1,3}} [.):] [\s*$`]{{1,4}}+ )?
    \(? ({_SHOWN}) \)? \s? ([-+*/×÷x·−]) \s? \(? ({_SHOWN}) \)? \s? = \s? \(? ({_SHOWN}) (?![0-9/.]*[0-9])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_OPERATORS = {"×": "*", "x": "*", "X": "*", "·": "*", "÷": "/", "−": "-"}
_LEFT = re.compile(r"(?:left|remaining)(?: numbers)?[ :*]{1,4}[\[(]?([-0-9./, ]+)")
_NUMBER = re.compile(_SHOWN)


def _step(line: str) -> _GameStep | None:
    """Return the step that `line` is, if it is one."""
    match = _STEP.match(line)
    if match is None:
        return None
    a, operator, b, result = match.groups()
    left = _LEFT.search(line, match.end())
    return _GameStep(a, _OPERATORS.get(operator, operator), b, result, _NUMBER.findall(left[1]) if left else None)


def stands_for(shown: str, number: Fraction) -> bool:
    """Say whether `shown` is the number, or with decimals may be its rounding."""
    if "/" in shown:
        above, below = map(int, shown.split("/"))
        return below != 0 and Fraction(above, below) == number
    decimals = len(shown.partition(".")[2])
    return abs(Fraction(shown) - number) < Fraction(1, 10**decimals) if decimals else number == int(shown)


def _without(numbers: tuple[Fraction, ...], shown: str) -> tuple[Fraction | None, tuple[Fraction, ...]]:
    """Return the number that `shown` stands for, None if there is none, and the others."""
    for i, number in enumerate(numbers):
        if stands_for(shown, number):
            return number, numbers[:i] + numbers[i + 1 :]
    return None, numbers


def _after(numbers: tuple[Fraction, ...], step: _GameStep) -> tuple[Fraction, ...] | None:
    """Return the numbers left after a step, sorted; None if it is wrong."""
    a, others = _without(numbers, step.a)
    b, others = _without(others, step.b)
    if a is None or b is None or (step.operator == "/" and b == 0):
        return None
    result = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else a}[step.operator]
    left = tuple(sorted((*others, result)))
    right = stands_for(step.result, result) and (step.left is None or _shows(step.left, left))
    return left if right else None


def _shows(shown: list[str], numbers: tuple[Fraction, ...]) -> bool:
    """Say whether the numbers shown are those left, in any order."""
    for text in shown:
        number, numbers = _without(numbers, text)
        if number is None:
            return False
    return not numbers


@lru_cache(maxsize=512)
def _values(numbers: tuple[Fraction, ...]) -> frozenset[Fraction]:
    """Return what can be made of all the numbers, at most `_LISTED` of them."""
    if len(numbers) == 1:
        return frozenset(numbers)
    made: set[Fraction] = set()
    for part, rest in _splits(numbers):
        for a in _values(part):
            for b in _values(rest):
                made |= {a + b, a - b, b - a, a * b}
                if b:
                    made.add(a / b)
                if a:
                    made.add(b / a)
    return frozenset(made)


def _splits(numbers: tuple[Fraction, ...]) -> Iterator[tuple[tuple[Fraction, ...], tuple[Fraction, ...]]]:
    """Yield all ways to part the numbers in two, the shorter part first."""
    places = range(len(numbers))
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(places, size):
            yield tuple(numbers[i] for i in chosen), tuple(numbers[i] for i in places if i not in chosen)


def partners(a: Fraction, target: Fraction) -> set[Fraction]:
    """Return the numbers that one operation with `a` makes the target; `a` and the target are not both 0."""
    found = {target - a, a - target, target + a}
    if a:
        found |= {target * a, target / a}
        if target:
            found.add(a / target)
    return found


def _makes(numbers: tuple[Fraction, ...], target: Fraction) -> bool:
    """Say whether all the numbers together can make the target."""
    if len(numbers) <= _LISTED:
        return target in _values(numbers)
    return any(
        a == target == 0 or any(_makes(rest, b) for b in partners(a, target))  # 0 times anything is 0
        for part, rest in _splits(numbers)
        for a in _values(part)
    )


@lru_cache(maxsize=1 << 14)
def reachable(numbers: tuple[Fraction, ...], target: Fraction, use_all: bool) -> bool:
    """Say whether the numbers, at most `_SEARCHED`, or some of them if not `use_all`, can make the target."""
    sizes = (len(numbers),) if use_all else range(1, len(numbers) + 1)
    return any(_makes(chosen, target) for size in sizes for chosen in combinations(numbers, size))


class _Try(NamedTuple):
    """How far a try has come: numbers left, steps, wrong ones, and whether the target can be reached, if known."""

    numbers: tuple[Fraction, ...]
    reachable: bool | None
    steps: int = 0
    wrong: int = 0

    @property
    def failed(self) -> bool:
        return self.wrong > 0 or self.reachable is False


class _CountdownState(TextState):
    def __init__(self, rule: Countdown, game: _Game) -> None:
        self._rule = rule
        self._game = game
        self._line = ""
        self._searches = 0
        self._try = self._begin()
        self._failed = int(self._try.failed)  # tries

    def _read(self, text: str) -> Evidence:
        lines, self._line = cut_lines(self._line, text)
        for line in lines:
            if step := _step(line):
                self._take(step)
        numbers, reachable, steps, wrong = self._try
        known = math.nan if reachable is None else reachable
        dead = self._rule.first_try_counts and self._failed > 0
        return evidence(steps, wrong, len(numbers), known, self._failed, dead=dead)

    def _begin(self) -> _Try:
        return _Try(self._game.numbers, self._can_reach(self._game.numbers))

    def _take(self, step: _GameStep) -> None:
        left = _after(self._try.numbers, step)
        if left is None and (left := _after(self._game.numbers, step)) is not None:
            self._try = self._begin()
            self._failed += self._try.failed
        before = self._try
        if left is None:
            self._try = before._replace(steps=before.steps + 1, wrong=before.wrong + 1)
        else:
            self._try = _Try(left, self._can_reach(left), before.steps + 1, before.wrong)
        self._failed += self._try.failed and not before.failed

    def _can_reach(self, numbers: tuple[Fraction, ...]) -> bool | None:
        if len(numbers) > _LISTED:
            self._searches += 1
        if len(numbers) > _SEARCHED or self._searches > MOST_SEARCHES:
            return None
        return reachable(numbers, self._game.target, self._rule.use_all)
