r"""Equations in running text: find them in one clause, read them charitably, judge them exactly.

`judge(clause)` returns a `JudgedEquation` for each relation sign between two sides that look numeric. The rule is
charity: an equation **holds** if some plain reading of it does; it is **false** only if every reading
fails and nothing in or around it was left unexplained; else it is **skipped**. So `3 apples + 4 = 7`,
`2/3 = 0.67` and `$5 \times 20\% = 1$` hold, `3 + 4 = 8` is false, and `x + 4 = 8`, `5! = 121`,
`2 hours + 5 minutes = 125 minutes` and `14 + 2 = 4 (mod 12)` are skipped or not seen at all.

Other readings are tried only where the usual one is false: conversions between units (`quantities`), other ways to
write numbers (`notations`), and other systems that the text mentions (`systems`).

Rounding follows the digits shown: a result may be rounded or cut off at its last decimal, and a number
that looks rounded (0.33) stands for all it may have been rounded from. A whole number in the place of a
fraction is skipped.
"""

import re
import string
from collections.abc import Sequence
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, cast

from msifr_policy.validators.equations.atoms import Atom, Number, Relation, Word, read_sides
from msifr_policy.validators.equations.expressions import EASTERN, Expression, Reading, UnreadableError, Value, ends
from msifr_policy.validators.equations.notations import respelled
from msifr_policy.validators.equations.quantities import alike, converts, may_convert
from msifr_policy.validators.equations.systems import DECIMAL, Systems


class Truth(Enum):
    """What became of one relation."""

    HOLDS = "holds"
    FALSE = "false"
    SKIPPED = "skipped"


class JudgedEquation(NamedTuple):
    """One judged relation. What follows `truth` is of a false one only.

    `error` is the relative error |a − b| / max(|a|, |b|), in [0, 2]; `place` is where the relation sign begins in the
    clause; `value` is what a single number on one side should be, if there is one; `values` are those of the sides.
    """

    truth: Truth
    error: float = 0.0
    place: int = 0
    sides: tuple[Expression, Expression] | None = None
    value: Fraction | None = None
    values: tuple[Fraction, Fraction] | None = None


_HOLDS = JudgedEquation(Truth.HOLDS)
_SKIPPED = JudgedEquation(Truth.SKIPPED)

_DIGIT = re.compile("[0-9]")
_RIGHT = re.compile(r"[\s$€£¥₹`&*({\[+\-−–]*+[0-9.\\]")
_MATHEMATICS = re.compile(r"\\[A-Za-z(]|[0-9)}]\$(?![0-9])")
_DOLLARS = re.compile(r"[=≈~\s*&<]{1,9}\$")
_BLANKS = " \t\n$€£¥₹`&*"
_BULLET = re.compile(r"\s*[-*•–]\s+")
_PROSE = f"{string.ascii_letters} ,'’"


def may_hold_equation(clause: str) -> bool:
    """Say quickly whether `judge` could find anything: a relation with something numeric on both sides."""
    digit = _DIGIT.search(clause)
    if digit is None:
        return False
    at = clause.find("=", digit.end())
    while at >= 0:
        if _RIGHT.match(clause, at + 1):
            left = clause[max(0, at - 8) : at].rstrip(_BLANKS)
            # A single letter is a variable: x = 5, but not 5人 = 5.
            if not left or not left[-1].isalpha() or left[-2:].isalpha() or left[-1] >= EASTERN:
                return True
        at = clause.find("=", at + 1)
    return "≈" in clause or "\\approx" in clause or "~" in clause


@lru_cache(256)  # texts repeat what they compute: more than half of what is judged has just been
def judge(clause: str, systems: Systems = DECIMAL, lead: str = "") -> Sequence[JudgedEquation]:
    """Judge every relation of a clause whose two sides are numeric expressions, in order.

    `systems` is what the text computes with beside decimal arithmetic, `lead` what leads to the clause by a colon.

    A relation between two bare numbers, or with a side that is no numeric expression, gives nothing.
    Time is linear in the length of the clause.
    """
    if bullet := _BULLET.match(clause):
        judged = _judge_clause(clause[bullet.end() :], systems, lead)
        if not some_false(judged):
            return judged
    return _judge_clause(clause, systems, lead)


def some_false(judged: Sequence[JudgedEquation]) -> bool:
    """Say whether any of these equations is false."""
    return any(equation.truth is Truth.FALSE for equation in judged)


def _trim(clause: str) -> tuple[str, int]:
    """Cut the words before and after all mathematics, but for the few next to it that may matter.

    Return what is left and where it begins.
    """
    start = len(clause) - len(clause.lstrip(_PROSE))
    for _ in range(3):
        start = max(0, clause.rfind(" ", 0, start))
    start += start > 0
    end = len(clause.rstrip(_PROSE)) + 60
    return clause[start:end], start


def _judge_clause(clause: str, systems: Systems, lead: str) -> list[JudgedEquation]:
    text, start = _trim(clause)
    sides, relations, places = read_sides(text)
    if all(relation is Relation.OTHER for relation in relations):
        return []
    units: set[str] = set()
    expressions = [ends(side, units) for side in sides]
    others: _OtherReadings | None = None
    judged: list[JudgedEquation] = []
    for k, relation in enumerate(relations):
        if relation is Relation.OTHER:
            continue
        left, right = expressions[k][1], expressions[k + 1][0]
        equation = _judge(left, right, relation)
        if equation is None:
            continue
        if equation.truth is Truth.FALSE:
            label = left.number is not None and (k == 0 or left is not expressions[k][0])
            label |= k == 0 and right.number is None and isinstance(sides[0][-1], Word)
            # In 3 + 4 = 7 * 2 = 14 the right side goes on computing from the value of the left.
            first = right.items[0] if k + 1 < len(relations) else None
            runs_on = isinstance(first, Number) and left.plain == first.value
            if label or runs_on or systems.allow(left, right):
                judged.append(_SKIPPED)
                continue
            others = others or _OtherReadings(text, lead, sides, relations, places)
            if may_convert(units, money=others.money) and not others.alike(k):
                equation = _SKIPPED
            else:
                equation = others.allow(k) or equation._replace(place=start + places[k])
        judged.append(equation)
    if len(judged) > 1 and some_false(judged) and _comes_back(expressions, relations):
        return [_SKIPPED if equation.truth is Truth.FALSE else equation for equation in judged]
    return judged


def _comes_back(expressions: list[tuple[Expression, Expression]], relations: list[Relation]) -> bool:
    """Say whether a chain ends at the value it begins with: what is false in between did no harm."""
    if Relation.OTHER in relations or any(first is not last for first, last in expressions[1:-1]):
        return False
    first, last = expressions[0][1], expressions[-1][0]
    try:
        return first.number is None and first.plain == last.plain
    except UnreadableError:
        return False


def _shows_money(clause: str) -> bool:
    """Say whether a clause shows a sum of money. Between dollar signs may also stand mathematics."""
    return any(sign in clause for sign in "€£¥₹") or ("$" in clause and _MATHEMATICS.search(clause) is None)


class _OtherReadings:
    """What else a clause with a false equation may mean, read once for all its equations."""

    def __init__(
        self, clause: str, lead: str, sides: list[list[Atom]], relations: list[Relation], places: list[int]
    ) -> None:
        self._relations = relations
        self._dollars = [_DOLLARS.match(clause, place) is not None for place in places]
        self.money = _shows_money(clause)
        self._quantities = [ends(side, set(), quantities=True) for side in sides]
        self._respelled: list[list[list[tuple[Expression, Expression]]]] = []
        for texts in respelled(clause, lead):
            read = [read_sides(text) for text in texts]
            if all(others == relations for _, others, _ in read):
                self._respelled.append([[ends(side, set()) for side in sides] for sides, _, _ in read])

    def alike(self, k: int) -> bool:
        """Say whether the units of relation `k` need no conversion, whatever others the clause mentions."""
        dollars = self.money and self._dollars[k]
        return alike(self._quantities[k][1], self._quantities[k + 1][0], dollars=dollars)

    def allow(self, k: int) -> JudgedEquation | None:
        """Return what relation `k` is if another reading than the usual one explains it, else None."""
        left, right = self._quantities[k][1], self._quantities[k + 1][0]
        if converts(left, right, money=self.money):
            return _SKIPPED
        return _HOLDS if any(all(self._holds(text, k) for text in texts) for texts in self._respelled) else None

    def _holds(self, expressions: list[tuple[Expression, Expression]], k: int) -> bool:
        judged = _judge(expressions[k][1], expressions[k + 1][0], self._relations[k])
        return judged is not None and judged.truth is Truth.HOLDS


def _judge(left: Expression, right: Expression, relation: Relation) -> JudgedEquation | None:
    if not left.items or not right.items or (left.number and right.number):
        return None
    doubtful = left.doubtful or right.doubtful
    error = 2.0
    readings = [Reading()]
    items = left.items + right.items
    if any(isinstance(item, Number) and item.percent for item in items):
        readings += (Reading(percent=cast(Fraction, 1)), Reading(relative=True))
    if items.count("/") > 1:
        readings.append(Reading(paired=True))
    if len(items) > 4:
        readings.append(Reading(sequential=True))
    doubtful |= "binom" in left.items and "binom" in right.items  # columns of vectors look the same
    roots = "sqrt" in items
    result = left.number or right.number
    values: tuple[Fraction, Fraction] | None = None
    for reading in readings:
        try:
            a, b = left.value(reading), right.value(reading)
        except UnreadableError:
            return None
        if result is not None and result.percent and reading.percent != 1:
            a, b = _in_percent(a), _in_percent(b)
        truth = _compare(a, b, left.number, right.number, relation)
        if truth is Truth.HOLDS:
            return _HOLDS
        if truth is Truth.FALSE:
            error = min(error, float(abs(a.value - b.value) / max(abs(a.value), abs(b.value))))
        doubtful |= truth is Truth.SKIPPED or _shifted(a.value, b.value)
        if roots:  # the other root, or one rounded in some way
            doubtful |= abs(a.value + b.value) <= a.slack + b.slack
            doubtful |= bool(a.slack or b.slack) and abs(a.value - b.value) * 200 <= abs(b.value)
        doubtful |= _cut_off(a, left, b) or _cut_off(b, right, a)
        values = values or (a.value, b.value)
    if doubtful:
        return _SKIPPED
    plain = values[result is left.number] if values and result is not None else None
    return JudgedEquation(Truth.FALSE, error, 0, (left, right), plain, values)


def _cut_off(value: Value, shown: Expression, other: Value) -> bool:
    """Say whether `value`, shown as 8.3 * 10^5, may be `other` rounded or cut off at its last digit."""
    match [item for item in shown.items if item not in ("(", ")")]:
        case [Number(mantissa, decimals) as first, "*", Number(10), "^", *exponent] if len(exponent) <= 2:
            unit = Fraction(value.value) / (mantissa * 10**decimals) if mantissa else Fraction(0)
            return (
                bool(unit)
                and isinstance(first, Number)
                and abs(value.value - other.value) < abs(unit)
                and (other.value / unit) % 1 != 0
            )
    return False


def _in_percent(value: Value) -> Value:
    """Return a value in percent: how far a result may be off is counted in its own last digit."""
    return Value(value.value * 100, value.slack * 100)


def _shifted(a: Fraction, b: Fraction) -> bool:
    """Say whether the two differ by cents, thousands or millions left out."""
    return any(a * shift == b or b * shift == a for shift in (100, 1000, 10**6))


def _compare(a: Value, b: Value, left: Number | None, right: Number | None, relation: Relation) -> Truth:
    difference = abs(a.value - b.value)
    if not difference or difference <= _tolerance(a, left, b) + _tolerance(b, right, a):
        return Truth.HOLDS
    about = relation is Relation.ABOUT
    if about and (
        difference * 10 <= max(abs(a.value), abs(b.value)) or difference <= max(half_place(left), half_place(right))
    ):
        return Truth.HOLDS
    if _rounded(a, left, b) or _rounded(b, right, a):
        return Truth.HOLDS if about else Truth.SKIPPED
    return Truth.FALSE


def half_place(number: Number | None) -> int:
    """Return half the place value of the last digit of a whole number that is not 0: 500 of 3000."""
    if number is None or number.value % 10 or not number.value:
        return 0
    shown = str(number.value)
    return int("1" + "0" * (len(shown) - len(shown.rstrip("0")))) // 2


def _tolerance(value: Value, number: Number | None, other: Value) -> Fraction:
    """Return how far off `value` may be: a unit of its last digit if it is a result, else its slack."""
    if number is None or not number.decimals:
        return value.slack
    unit = 10**number.decimals
    # More than five decimals were not counted out but printed: 0.30000000000000004.
    exact = number.decimals <= 5 and not other.slack and (other.value * unit) % 1 == 0
    return Fraction() if exact else Fraction(1, min(unit, 10**6))


def _rounded(value: Value, number: Number | None, other: Value) -> bool:
    """Say whether `value` may be `other` cut off to a whole number, to its zeros, or nearly rounded."""
    difference = abs(value.value - other.value)
    if value.value % 1 == 0 and other.value % 1:
        zeros = number is not None and value.value % 10 == 0
        return difference < 1 or (zeros and difference * 100 <= abs(other.value))
    if number is None or not number.decimals:
        return False
    exact = other.value * 10**number.decimals % 1 == 0
    return not exact and difference * 200 <= abs(other.value)
