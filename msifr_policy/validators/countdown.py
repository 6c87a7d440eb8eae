"""Countdown: the steps of a text towards a target number, and whether the numbers left can still reach it.

The prompt gives up to `MOST_NUMBERS` numbers and a target. A *step* takes numbers away and adds what they make, exactly
(fractions); `readers.number_games` says how it is told. A number shown with decimals stands for any that it may be the
rounding of. If the numbers left are shown, these must be the true ones, with the result or beside it. A step that
is false or takes numbers that are not there is *wrong*; it is left out and the rest goes on. If such a step is possible
with the numbers before an earlier step, the text goes back to these and tries again from there.

Arithmetic that could not be read may have been a step. Unless it only announces the next one, what numbers are left is
not known then: no step is wrong for want of a number, until one shows the numbers left or the text begins anew.

The target is **reachable** from numbers x₁ … xₙ by all of them if n = 1 and x₁ is the target t, or if the numbers
fall into two parts, the first of which can be made some a and the second some b with t among a + b, a − b, b − a,
a·b, a/b, b/a. Values of up to three numbers are listed; beyond, given a the six b follow from t, and each is
asked for in turn: some thousand operations for five numbers.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence
from msifr_policy.validators.readers.lines import cut_lines
from msifr_policy.validators.readers.number_games import (
    Game,
    GameStep,
    Postfix,
    operands,
    read_game,
    read_line,
    worth,
)

MOST_NUMBERS = 6
"""A prompt with more numbers is none that is replayed."""
MOST_SEARCHES = 64
"""Times that one attempt may ask whether four or five numbers reach the target; later it is not known."""

_LISTED = 3
_SEARCHED = 5
"""With this many numbers their values are listed, or the target searched for; with more, it is not known."""


class Countdown(Rule, frozen=True):
    """Replays the steps of games such as 24, where numbers must be combined to a target.

    `use_all`: whether every number must be used, unless the prompt says that some are enough. The verdict is UNKNOWN,
    since a text may try again; with `first_try_counts` it is DEAD once a try failed.
    """

    name = "countdown"
    version = "2"
    columns = ("steps", "wrong", "left", "reachable", "failed")
    """`steps`: steps of the current try; `wrong`: those of them that were wrong; `left`: numbers left, NaN if that is
    not known; `reachable`: 1 if these can still reach the target, 0 if not, NaN if that is not known; `failed`: tries
    so far with a wrong step or a target out of reach. All NaN if the prompt states no such game.
    """
    use_all: bool = True
    first_try_counts: bool = False

    def _state(self, prompt: str) -> TextState:
        game = read_game(prompt, MOST_NUMBERS)
        return _CountdownState(self, game) if game else Silence(self.columns)


def stands_for(shown: str, number: Fraction) -> bool:
    """Say whether `shown` is the number, or with decimals may be its rounding."""
    if "/" in shown:  # in lowest terms, as numbers are written
        return shown == f"{number.numerator}/{number.denominator}"
    decimals = len(shown.partition(".")[2])
    return abs(Fraction(shown) - number) < Fraction(1, 10**decimals) if decimals else number == int(shown)


def _without(numbers: tuple[Fraction, ...], shown: str) -> tuple[Fraction | None, tuple[Fraction, ...]]:
    """Return the number that `shown` stands for, None if there is none, and the others."""
    for i, number in enumerate(numbers):
        if stands_for(shown, number):
            return number, numbers[:i] + numbers[i + 1 :]
    return None, numbers


def _after(numbers: tuple[Fraction, ...], step: GameStep) -> tuple[Fraction, ...] | None:
    """Return the numbers left after a step, sorted; None if it is wrong."""
    for postfix in step.readings:
        taken, others = _taken(numbers, operands(postfix))
        result = worth(postfix, taken) if taken else None
        if result is not None and stands_for(step.result, result):
            left = tuple(sorted((*others, result)))
            if step.left is None or _shows(step.left, left) or _shows(step.left, others):
                return left
    return None


def _taken(numbers: tuple[Fraction, ...], shown: Sequence[str]) -> tuple[list[Fraction], tuple[Fraction, ...]]:
    """Return the numbers that are shown, none if one of them is not there, and the others."""
    taken: list[Fraction] = []
    for text in shown:
        number, numbers = _without(numbers, text)
        if number is None:
            return [], numbers
        taken.append(number)
    return taken, numbers


def _shows(shown: Sequence[str], numbers: tuple[Fraction, ...]) -> bool:
    """Say whether the numbers shown are those left, in any order."""
    taken, others = _taken(numbers, shown)
    return len(taken) == len(shown) and not others


def _is_false(step: GameStep) -> bool:
    """Say whether the equation of a step is false, whatever numbers there are; of roundings that is not known."""
    return not any(_may_hold(postfix, step.result) for postfix in step.readings)


def _may_hold(postfix: Postfix, shown: str) -> bool:
    numbers = operands(postfix)
    if any("." in number or "/0" in number for number in numbers):
        return True
    result = worth(postfix, list(map(Fraction, numbers)))
    return result is not None and stands_for(shown, result)


def _shown_left(step: GameStep) -> tuple[Fraction, ...] | None:
    """Return the numbers left that a step shows exactly, its result among them, None if it does not."""
    if step.left is None or step.result not in step.left or any("." in shown or "/0" in shown for shown in step.left):
        return None
    return tuple(sorted(map(Fraction, step.left))) if len(step.left) <= MOST_NUMBERS else None


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
    """How far a try has come: numbers left, whether the target can be reached with them, if known, steps, wrong ones,
    the numbers before each step, and whether the numbers are known.
    """

    numbers: tuple[Fraction, ...]
    reachable: bool | None
    steps: int = 0
    wrong: int = 0
    before: tuple[tuple[Fraction, ...], ...] = ()
    known: bool = True

    @property
    def failed(self) -> bool:
        return self.wrong > 0 or self.reachable is False


class _CountdownState(TextState):
    def __init__(self, rule: Countdown, game: Game) -> None:
        self._use_all = rule.use_all and not game.some
        self._first_try_counts = rule.first_try_counts
        self._game = game
        self._given = frozenset(map(str, game.numbers))
        self._line = ""
        self._searches = 0
        self._unread: frozenset[str] | None = None  # numbers of arithmetic since the last step
        self._anew = False  # since the last step
        self._try = _Try(game.numbers, self._can_reach(game.numbers))
        self._failed = int(self._try.failed)  # tries

    def _read(self, text: str) -> Evidence:
        lines, self._line = cut_lines(self._line, text)
        for line in lines:
            said = read_line(line)
            self._anew |= said.anew
            for step in said.steps:
                self._take(step)
            if said.unread is not None and not self._restates(said.unread):
                self._unread = said.unread | (self._unread or frozenset())
        current = self._try
        left = len(current.numbers) if current.known else math.nan
        reachable = math.nan if current.reachable is None else current.reachable
        dead = self._first_try_counts and self._failed > 0
        return evidence(current.steps, current.wrong, left, reachable, self._failed, dead=dead)

    def _restates(self, numbers: frozenset[str]) -> bool:
        """Say whether these are the numbers of the game, as in the answer, which is no step."""
        return self._given <= numbers <= self._given | {str(self._game.target)}

    def _take(self, step: GameStep) -> None:
        shown = frozenset(operands(step.readings[0]))
        if self._unread is not None and not shown <= self._unread <= shown | {step.result}:
            self._try = self._try._replace(known=False, reachable=None)
        if self._anew and _after(self._game.numbers, step) is not None:
            self._try = _Try(self._game.numbers, None)
        self._unread, self._anew = None, False
        failed = self._try.failed
        went_back = self._go(step)
        self._failed += self._try.failed and (went_back or not failed)

    def _go(self, step: GameStep) -> bool:
        """Take a step; say whether from numbers that were there before an earlier one."""
        current = self._try
        if not current.known:
            left = _shown_left(step)
            if _is_false(step):
                self._try = current._replace(steps=current.steps + 1, wrong=current.wrong + 1)
            elif left is None:
                self._try = current._replace(steps=current.steps + 1)
            else:
                self._try = _Try(left, self._can_reach(left), current.steps + 1, current.wrong, (self._game.numbers,))
            return False
        if (left := _after(current.numbers, step)) is not None:
            before = (*current.before, current.numbers)[-MOST_NUMBERS:]
            self._try = _Try(left, self._can_reach(left), current.steps + 1, current.wrong, before)
            return False
        for i in reversed(range(len(current.before))):
            if (left := _after(current.before[i], step)) is not None:
                self._try = _Try(left, self._can_reach(left), i + 1, 0, current.before[: i + 1])
                return True
        self._try = current._replace(steps=current.steps + 1, wrong=current.wrong + 1)
        return False

    def _can_reach(self, numbers: tuple[Fraction, ...]) -> bool | None:
        if len(numbers) > _LISTED:
            self._searches += 1
        if len(numbers) > _SEARCHED or self._searches > MOST_SEARCHES:
            return None
        return reachable(numbers, self._game.target, self._use_all)
