r"""Equations in running text: find them in one clause, read them charitably, judge them exactly.

`judge(clause)` takes a short piece of text and returns a `Judgement` for each relation sign between two
sides that look numeric. The rule is charity: an equation **holds** if some plain reading of it does; it is
**false** only if every reading fails and nothing in or around it was left unexplained; else it is
**skipped**. So `3 apples + 4 = 7`, `2/3 = 0.67` and `$5 \times 20\% = 1$` hold, `3 + 4 = 8` is false, and
`x + 4 = 8`, `2 hours + 5 minutes = 125 minutes`, `5! = 121` and `14 = 2 (mod 12)` are skipped.

Arithmetic is exact (`int` and `Fraction`) and bounded: numbers of at most 24 digits, values of at most
512 bits, nesting of at most 12, so that the time is linear in the clause. A value carries the error that
its digits allow: half a unit of the last decimal where a rounded-looking number is used, a whole unit
(rounded or cut off) where it is the result.

Reading a side goes in three steps:

1. `_atoms`: characters to numbers, operators, parentheses, words and breaks;
2. `_items`: words become units (dropped), operators ("of", "times"), breaks or doubts;
3. `_value`: a run of items between two breaks becomes a value.
"""

from __future__ import annotations

import re
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

__all__ = ["Judgement", "Outcome", "judge"]

_MAX_DIGITS = 24
_MAX_BITS = 512
_MAX_DEPTH = 12
_MAX_EXPONENT = 64
_MAX_REMARK = 30

_Rational = int | Fraction


class Outcome(Enum):
    """What became of one relation."""

    HOLDS = "holds"
    FALSE = "false"
    SKIPPED = "skipped"


class Judgement(NamedTuple):
    """One judged relation and its relative error |a − b| / max(|a|, |b|), in [0, 2], 0 unless false."""

    outcome: Outcome
    error: float = 0.0


_HOLDS = Judgement(Outcome.HOLDS)
_SKIPPED = Judgement(Outcome.SKIPPED)


# --- 1. From characters to atoms ----------------------------------------------------------------------


class _Number(NamedTuple):
    value: _Rational
    decimals: int = 0
    percent: bool = False
    slack: _Rational = 0  # how far the number meant may be from the number shown


class _Word(NamedTuple):
    text: str  # in lower case
    glued: bool = False  # to a number before it: `2x`, `5kg`
    calls: bool = False  # a parenthesis or index follows at once: `f(`, `a_`


class _Mark(Enum):
    BLANK = "blank"
    BREAK = "break"  # an expression cannot reach across
    GAP = "gap"  # a break at something not understood: what is read beside it can hold but not be false
    DOUBT = "doubt"  # the same inside an expression


class _Relation(Enum):
    EQUAL = "="
    ABOUT = "≈"
    OTHER = "≠"  # and the like: parts two sides, is not judged


_Atom = _Number | _Word | _Mark | str

_TOKEN = re.compile(
    r"""
    (?P<blank> [\s$€£¥₹`&]+ )
  | (?P<number> (?:[0-9]{1,3}(?:(?:,|\{,\}|,\\{1,2}!)[0-9]{3})+(?![0-9]) | [0-9]+) (?:\.[0-9]+)? | \.[0-9]+ )
  | (?P<times> [xX](?=[\s$€£]{0,3}[0-9(.]) )
  | (?P<word> [^\W\d_][^\W_]*(?:['’-][^\W\d_]+)* )
  | (?P<text> \\{1,2}(?:text|mathrm|mbox)\ ?\{ (?P<inside>[^{}\\0-9]{0,60}) \} )
  | (?P<degree> \^\\{1,2}circ\b | \^\{\\{1,2}circ\} | \^?° )
  | (?P<sign> \\{1,2}[A-Za-z]+ | \\{1,2}[^A-Za-z\\] | [=<>!:~≈≠≡≤≥≃≅]+ | \.\.+ | \*\*+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


_SIGNS: dict[str, _Mark | _Relation | str] = {
    **dict.fromkeys(("+",), "+"),
    **dict.fromkeys(("-", "−", "–"), "-"),
    **dict.fromkeys(("*", "×", "·", "⋅", "∙", "∗", "✕", r"\times", r"\cdot", r"\ast"), "*"),
    **dict.fromkeys(("/", "÷", "∕", r"\div"), "/"),
    **dict.fromkeys(("^",), "^"),
    **dict.fromkeys(("**",), "**"),
    **dict.fromkeys(("(", "["), "("),
    **dict.fromkeys(("{",), "{"),
    **dict.fromkeys((")", "]", "}"), ")"),
    **dict.fromkeys((r"\frac", r"\dfrac", r"\tfrac"), "frac"),
    **dict.fromkeys(("=",), _Relation.EQUAL),
    **dict.fromkeys(("≈", "≃", "≅", "~", "~=", "=~", "≈≈"), _Relation.ABOUT),
    **dict.fromkeys((r"\approx", r"\simeq", r"\sim", r"\thickapprox", r"\doteq"), _Relation.ABOUT),
    **dict.fromkeys(("==", "!=", "<", ">", "<=", ">=", ":=", "≠", "≡", "≤", "≥", "<>", "==="), _Relation.OTHER),
    **dict.fromkeys((r"\neq", r"\ne", r"\le", r"\leq", r"\ge", r"\geq", r"\lt", r"\gt"), _Relation.OTHER),
    **dict.fromkeys((r"\equiv", r"\cong", r"\propto", r"\leqslant", r"\geqslant", r"\in"), _Relation.OTHER),
    **dict.fromkeys((".", ",", ";", '"', "“", "”", "—", "→", "⇒", "⟹", "=>", "|", "?", "•"), _Mark.BREAK),
    **dict.fromkeys((r"\implies", r"\Rightarrow", r"\rightarrow", r"\to", r"\Longrightarrow"), _Mark.BREAK),
    **dict.fromkeys((r"\[", r"\]", r"\""), _Mark.BREAK),
    **dict.fromkeys((r"\left", r"\right", r"\big", r"\Big", r"\bigg", r"\Bigg", r"\quad", r"\qquad"), _Mark.BLANK),
    **dict.fromkeys((r"\displaystyle", r"\boxed", r"\(", r"\)", r"\$", r"\,", r"\;", r"\:", r"\!"), _Mark.BLANK),
    **dict.fromkeys(("\\ ", "\\\n", "***"), _Mark.BLANK),
}
_CALLS = frozenset("([{_")
_SUPERSCRIPTS = {"²": 2, "³": 3}


def _number(text: str) -> _Number | _Mark:
    digits = re.sub(r"[^0-9.]", "", text)
    if len(digits) > _MAX_DIGITS:
        return _Mark.GAP
    whole, _, decimals = digits.partition(".")
    if not decimals:
        # A leading zero: a time of day, a date, a code.
        return _Mark.GAP if whole[0] == "0" and len(whole) > 1 else _Number(int(whole))
    d = len(decimals)
    value = Fraction(int(whole + decimals), 10**d)
    # Two and more decimals that are no multiple of 0.05 look rounded: 0.33, 3.14.
    rounded = d >= 2 and (value * 20).denominator != 1
    return _Number(value, d, False, Fraction(1, 2 * 10**d) if rounded else 0)


def _sides(clause: str) -> tuple[list[list[_Atom]], list[_Relation]]:
    """Return the sides of a clause as atoms, and the relations between them (one fewer)."""
    side: list[_Atom] = []
    sides, relations = [side], []
    number_end = -1  # where the last atom ended if it was a number
    for match in _TOKEN.finditer(clause):
        kind, text, end = match.lastgroup, match[0], match.end()
        if kind == "blank":
            continue
        last = side[-1] if side else None
        glued = match.start() == number_end
        number_end = -1
        if kind == "number":
            side.append(_number(text))
            number_end = end
        elif kind == "word" and text in _SUPERSCRIPTS:
            side += ["^", _Number(_SUPERSCRIPTS[text])]
        elif kind == "word":
            side.append(_Word(text.lower(), glued, clause[end : end + 1] in _CALLS))
        elif kind == "times":
            # 2x3 is a product, 4x1x2 is more likely one of variables.
            glued_right = clause[end : end + 1].isdigit()
            side += (_Mark.DOUBT, "x") if glued and glued_right and "x" in side else ("x",)
        elif kind == "text":
            side += map(_Word, match["inside"].lower().split())
        elif kind == "degree":
            side.append(_Word("degree"))
        elif text in ("%", "\\%", "\\\\%") and isinstance(last, _Number):
            side[-1] = last._replace(percent=True)
        elif text[:2] == ".." and glued and isinstance(last, _Number) and last.decimals:
            side[-1] = last._replace(slack=Fraction(1, 10**last.decimals))
        else:
            sign = "\\" + text.lstrip("\\") if text[0] == "\\" else text
            meaning = _SIGNS.get(sign, _Mark.GAP)
            if isinstance(meaning, _Relation):
                side = []
                sides.append(side)
                relations.append(meaning)
            elif sign in (",", ".") and clause[end : end + 1].isdigit():
                side.append(_Mark.GAP)  # 1,2 and 3.4.5: a list or a version, not an end
            elif meaning is not _Mark.BLANK:
                if text == "(" and (glued or last == ")"):
                    side.append("*")
                side.append(meaning)
    return sides, relations


# --- 2. From atoms to items ---------------------------------------------------------------------------

_Item = _Number | _Mark | str

_WORD_OPERATORS = {
    "plus": "+", "minus": "-", "times": "*", "of": "*", "over": "/", "multiplied by": "*", "divided by": "/",
}  # fmt: skip
_GLUED_UNITS = frozenset(
    "kg km cm mm ml mg lb lbs oz mph ft hrs hr min mins sec secs kwh gb mb tb kb m² cm² km² ft² degree".split()
)
_STRUCTURE = frozenset(  # words of a clause, not of a unit
    "is are was were be has had have having he she it they we you i and or but then so that which if the this "
    "gives gave get gets got makes made will would need needs needed because since when while who therefore not "
    "equals equal than as from to his her their its at".split()
)
_LEADING = frozenset(  # words before a number that change its value
    "half twice thrice double triple third quarter of minus plus times by over squared cubed or to negative "
    "day days week weeks month year hour step page number per root point "
    "base less dozen hundred thousand million billion from".split()
)
_FUNCTIONS = frozenset(
    "root log ln sin cos tan sec csc cot arcsin arccos arctan exp sqrt gcd lcm max min det choose pi".split()
)


def _items(side: list[_Atom], units: set[str]) -> list[_Item]:
    """Turn words into units (added to `units`), operators, breaks and doubts, and free stray parentheses."""
    items: list[_Item] = []
    n = len(side)
    i = 0
    while i < n:
        atom = side[i]
        last = items[-1] if items else _Mark.BREAK
        operand = isinstance(last, _Number) or last == ")"
        if isinstance(atom, _Word) or (atom == "/" and operand and i + 1 < n and _is_unit(side[i + 1])):
            start = i = i if isinstance(atom, _Word) else i + 1
            while i < n and (isinstance(side[i], _Word) or (side[i] == "/" and i + 1 < n and _is_unit(side[i + 1]))):
                i += 1
            phrase = [word for word in side[start:i] if isinstance(word, _Word)]
            if operand and phrase[0].text == "and" and (mixed := _mixed(last, side[i : i + 3])):
                items[-1] = mixed
                i += 3
                continue
            items += _phrase(phrase, last, operand, side[i] if i < n else None, units)
            continue
        i += 1
        following = side[i] if i < n else None
        if isinstance(atom, _Number):
            if operand:
                if mixed := _mixed(last, side[i - 1 : i + 2]):
                    items[-1] = mixed
                    i += 2
                else:
                    items += (_Mark.GAP, atom)
            else:
                items.append(atom)
        elif atom == "x":
            items.append("*" if operand else _Mark.GAP)
        elif atom == "**":  # a power, or bold type
            if operand and (isinstance(following, _Number) or following == "("):
                items.append("^")
        elif atom == "(" and (end := _remark(side, i)):
            if end == n and isinstance(following, _Word) and side[-1] != ")":
                items.append(_Mark.BREAK)
            i = end
        elif atom in ("(", "{"):
            if operand and not (atom == "{" and _is_numerator(items)):
                items.append(_Mark.GAP)
            items.append("(")
        elif atom == "frac":
            if operand:
                items.append("&" if isinstance(last, _Number) else "*")
            items.append(atom)
        else:
            assert not isinstance(atom, _Word)
            items.append(atom)
    return _free_parentheses(items)


def _remark(side: list[_Atom], i: int) -> int:
    """Return where the parenthesis opened before atom `i` ends if it holds words, not an expression; else 0."""
    depth, words = 1, 0
    for j in range(i, min(i + _MAX_REMARK, len(side))):
        atom = side[j]
        if atom in ("(", "{"):
            depth += 1
        elif atom in (")",):
            depth -= 1
            if depth == 0:
                return j + 1 if words else 0
        elif isinstance(atom, _Word):
            if not _is_unit(atom) or atom.text in _FUNCTIONS:
                return 0
            words += 1
        elif atom is _Mark.GAP:
            return 0
    return len(side) if words and isinstance(side[i], _Word) else 0


def _is_numerator(items: list[_Item]) -> bool:
    """Say whether the parenthesis that ends `items` is the first after `frac`."""
    depth = 0
    for j in range(len(items) - 1, max(-1, len(items) - 1 - _MAX_REMARK), -1):
        depth += (items[j] == ")") - (items[j] == "(")
        if depth == 0:
            return j > 0 and items[j - 1] == "frac"
    return False


def _is_unit(atom: _Atom) -> bool:
    return isinstance(atom, _Word) and len(atom.text) > 1 and not atom.calls


def _mixed(whole: _Item, fraction: list[_Atom]) -> _Number | None:
    """Return the mixed number of `whole` and `fraction` (`2 1/2`), or None if they are none."""
    if len(fraction) < 3 or fraction[1] != "/":
        return None
    numbers = [x for x in (whole, fraction[0], fraction[2]) if isinstance(x, _Number)]
    values = [x.value for x in numbers if isinstance(x.value, int) and not x.percent]
    if len(values) < 3 or values[1] >= values[2]:
        return None
    return _Number(values[0] + Fraction(values[1], values[2]))


def _phrase(
    words: list[_Word], last: _Item, operand: bool, following: _Atom | None, units: set[str]
) -> tuple[_Item, ...]:
    """Return what a run of words between `last` and `following` stands for."""
    texts = [word.text for word in words]
    final = texts[-1]
    known = all(text.isalpha() and (len(text) > 1 or (text == "a" and len(texts) > 1)) for text in texts)
    if not known or words[-1].calls or (words[0].glued and texts[0] not in _GLUED_UNITS):
        return (_Mark.GAP,)
    if not _FUNCTIONS.isdisjoint(texts):
        return (_Mark.GAP,)
    number_next = isinstance(following, _Number) or following in ("(", "frac")
    if operand and not number_next:
        units.update(texts)
        if len(texts) <= 5 and _STRUCTURE.isdisjoint(texts):
            return ()
        return (_Mark.BREAK, _Mark.DOUBT) if following is None else (_Mark.DOUBT,)
    if operand:
        operator = _WORD_OPERATORS.get(" ".join(texts))
        if operator is not None:
            doubt = operator == "*" and not (isinstance(last, _Number) and last.percent)
            return (_Mark.DOUBT, operator) if doubt else (operator,)
        units.update(texts)
    elif isinstance(last, str):
        return (_Mark.DOUBT,) if number_next else (_Mark.GAP,)
    return (_Mark.BREAK, _Mark.DOUBT) if final in _LEADING else (_Mark.BREAK,)


def _free_parentheses(items: list[_Item]) -> list[_Item]:
    """Turn parentheses without a partner into breaks, and those around something not understood into gaps."""
    open_at: list[int] = []
    gaps = 0
    for i, item in enumerate(items):
        if item == "(":
            open_at.append(i)
        elif item == ")":
            if open_at:
                open_at.pop()
            else:
                items[i] = _Mark.GAP if gaps else _Mark.BREAK
                gaps = max(0, gaps - 1)
        elif item is _Mark.BREAK or item is _Mark.GAP:
            assert isinstance(item, _Mark)
            for j in open_at:
                items[j] = item
            gaps += len(open_at) if item is _Mark.GAP else 0
            open_at.clear()
    for j in open_at:
        items[j] = _Mark.BREAK
    return items


# --- 3. From items to values --------------------------------------------------------------------------


class _Unreadable(Exception):
    """A run of items is no expression, or its value is out of bounds."""


class _Value(NamedTuple):
    """A value and how far the value meant may be from it."""

    value: _Rational
    slack: _Rational = 0


_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4, "&": 5}
_UNARY = 3


class _Reading(NamedTuple):
    """A way to read an expression: the percent sign's worth, strictly from left to right, 8 / 1/2 as 8 / (1/2)."""

    percent: _Rational = Fraction(1, 100)
    sequential: bool = False
    paired: bool = False


class _Run:
    """A run of items between two breaks, read as one expression."""

    def __init__(self, items: list[_Item]) -> None:
        self.doubtful = _Mark.DOUBT in items
        self.items = [item for item in items if not isinstance(item, _Mark)]
        self._reading = _Reading()
        self._list: list[_Number | str] = []
        self._at = 0

    def value(self, reading: _Reading) -> _Value:
        """Evaluate. Raises `_Unreadable`."""
        self._reading, self._at = reading, 0
        self._list = _pair(self.items) if reading.paired else self.items
        value = self._expression(0, 0)
        if self._at < len(self._list):
            raise _Unreadable
        return value

    @property
    def number(self) -> _Number | None:
        """The number that is all of this run but a sign, if it is one."""
        last = self.items[-1] if self.items else None
        alone = len(self.items) == 1 or (len(self.items) == 2 and self.items[0] in ("+", "-"))
        return last if alone and isinstance(last, _Number) else None

    def _expression(self, least: int, depth: int) -> _Value:
        left = self._operand(depth)
        while self._at < len(self._list):
            operator = self._list[self._at]
            precedence = _PRECEDENCE.get(operator, 0) if isinstance(operator, str) else 0
            if precedence == 0:
                break
            if self._reading.sequential and precedence <= 2:
                precedence = 1
            if precedence <= least:
                break
            self._at += 1
            # A power binds to the right: 2^3^2 is 2^9.
            right = self._expression(precedence - (operator == "^"), depth + 1)
            left = _apply(str(operator), left, right)
        return left

    def _operand(self, depth: int) -> _Value:
        if depth > _MAX_DEPTH or self._at >= len(self._list):
            raise _Unreadable
        item = self._list[self._at]
        self._at += 1
        if isinstance(item, _Number):
            factor = self._reading.percent if item.percent else 1
            return _Value(item.value * factor, item.slack * factor)
        if item == "(":
            value = self._expression(0, depth + 1)
            self._close()
            return value
        if item == "frac":
            return _apply("/", self._group(depth), self._group(depth))
        if item in ("-", "+"):
            if item == "+" and self._at > 1:
                raise _Unreadable  # 2 *+ 1 is a slip
            value = self._expression(_UNARY, depth + 1)
            return _Value(-value.value, value.slack) if item == "-" else value
        raise _Unreadable

    def _group(self, depth: int) -> _Value:
        if self._at >= len(self._list) or self._list[self._at] != "(":
            raise _Unreadable
        return self._operand(depth + 1)

    def _close(self) -> None:
        if self._at >= len(self._list) or self._list[self._at] != ")":
            raise _Unreadable
        self._at += 1


def _pair(items: list[_Number | str]) -> list[_Number | str]:
    """Put the fractions of each chain a / b / … in parentheses, paired from its end."""
    paired: list[_Number | str] = []  # reversed
    i = len(items) - 1
    while i >= 0:
        denominator, slash, numerator = items[i], items[i - 1] if i else "", items[i - 2] if i > 1 else ""
        if isinstance(denominator, _Number) and slash == "/" and isinstance(numerator, _Number):
            paired += (")", denominator, slash, numerator, "(")
            i -= 3
        else:
            paired.append(denominator)
            i -= 1
    paired.reverse()
    return paired


def _apply(operator: str, a: _Value, b: _Value) -> _Value:
    x, y, dx, dy = a.value, b.value, a.slack, b.slack
    if operator == "*":
        value, slack = x * y, abs(x) * dy + abs(y) * dx + dx * dy if dx or dy else 0
    elif operator == "/":
        if abs(y) <= dy:
            raise _Unreadable
        value = Fraction(x) / y
        slack = (dx + abs(value) * dy) / (abs(y) - dy) if dx or dy else 0
    elif operator == "-":
        value, slack = x - y, dx + dy
    elif operator == "^":
        if dy or isinstance(y, Fraction) and y.denominator != 1 or abs(y) > _MAX_EXPONENT or (x == 0 and y < 0):
            raise _Unreadable
        n = int(y)
        if _bits(x) * abs(n) > _MAX_BITS:
            raise _Unreadable
        value = Fraction(x) ** n if n < 0 else x**n
        slack = (abs(x) + dx) ** n - abs(x) ** n if dx and n > 0 else 0
    else:  # "+", and "&" of a mixed number
        value, slack = x + y, dx + dy
    if _bits(value) > _MAX_BITS or _bits(slack) > 2 * _MAX_BITS:
        raise _Unreadable
    return _Value(value, slack)


def _bits(x: _Rational) -> int:
    return x.bit_length() if isinstance(x, int) else max(x.numerator.bit_length(), x.denominator.bit_length())


# --- 4. Two sides and the relation between them --------------------------------------------------------

_QUANTITIES = {
    "time": "second sec minute min hour hr day week month year quarter decade century weekend shift",
    "length": "mm cm m km inch inches foot feet ft yard mile meter metre kilometer centimeter millimeter",
    "weight": "mg g gram kg kilogram ounce oz pound lb lbs ton tonne",
    "volume": "ml l liter litre milliliter gallon quart pint cup tablespoon teaspoon ounce",
    "money": "dollar cent penny pennies nickel dime quarter",
    "count": "dozen thousand million billion hundred score pair couple percent half halves third quarter",
    "data": "kb mb gb tb byte bit",
    "clock": "am pm p.m a.m o'clock noon midnight remainder mod modulo base binary hex r",
}
_CONVERTIBLE = {unit: kind for kind, units in _QUANTITIES.items() for unit in units.split()}


def _conversion(units: set[str], money: bool) -> bool:
    """Say whether the units may need converting: several of one kind, or one that counts something else."""
    known = {word if word in _CONVERTIBLE else word.removesuffix("s") for word in units} & _CONVERTIBLE.keys()
    if money:
        known.add("dollar")
    if len(known) > 1:
        return True
    return any(_CONVERTIBLE[word] in ("count", "clock") for word in known)


def judge(clause: str) -> list[Judgement]:
    """Judge every relation of a clause whose two sides are numeric expressions, in order.

    A relation between two bare numbers, or with a side that is no numeric expression, gives nothing.
    Time is linear in the length of the clause.
    """
    if bullet := _BULLET.match(clause):
        judgements = _judge_clause(clause[bullet.end() :])
        if all(judgement.outcome is not Outcome.FALSE for judgement in judgements):
            return judgements
    return _judge_clause(clause)


_BULLET = re.compile(r"\s*[-*•–]\s+")


def _judge_clause(clause: str) -> list[Judgement]:
    sides, relations = _sides(clause)
    if all(relation is _Relation.OTHER for relation in relations):
        return []
    units: set[str] = set()
    runs = [_runs(_items(side, units)) for side in sides]
    judgements: list[Judgement] = []
    money: bool | None = None
    for k, relation in enumerate(relations):
        if relation is _Relation.OTHER:
            continue
        left, right = runs[k][1], runs[k + 1][0]
        judgement = _judge(left, right, relation)
        if judgement is None:
            continue
        if judgement.outcome is Outcome.FALSE:
            label = left.number is not None and (k == 0 or left is not runs[k][0])
            label |= k == 0 and right.number is None and isinstance(sides[0][-1], _Word)
            runs_on = k + 1 < len(relations) and _runs_on(left, right)
            if money is None:
                money = any(sign in clause for sign in "$€£")
            if label or runs_on or _conversion(units, money):
                judgement = _SKIPPED
        judgements.append(judgement)
    return judgements


def _runs(items: list[_Item]) -> tuple[_Run, _Run]:
    """Return the first and the last run of a side; a gap or an operator beyond the break is a doubt."""
    breaks = [i for i, item in enumerate(items) if item is _Mark.BREAK or item is _Mark.GAP]
    if not breaks:
        run = _Run(items)
        return run, run
    first, last = _Run(items[: breaks[0]]), _Run(items[breaks[-1] + 1 :])
    first.doubtful |= _hides(items[breaks[0] :])
    last.doubtful |= _hides(items[breaks[-1] :: -1]) or (bool(last.items) and last.items[0] in ("+", "-"))
    return first, last


def _hides(items: list[_Item]) -> bool:
    """Say whether the breaks that `items` begin with hold a gap or end at an operator."""
    for item in items:
        if item is not _Mark.BREAK:
            return item is _Mark.GAP or (isinstance(item, str) and item in _PRECEDENCE)
    return False


def _runs_on(left: _Run, right: _Run) -> bool:
    """Say whether `right` goes on computing from the value of `left`, as in 3 + 4 = 7 * 2 = 14."""
    first = right.items[0]
    return isinstance(first, _Number) and left.value(_Reading()).value == first.value


def _judge(left: _Run, right: _Run, relation: _Relation) -> Judgement | None:
    if not left.items or not right.items or (left.number and right.number):
        return None
    doubtful = left.doubtful or right.doubtful
    error = 2.0
    readings = [_Reading()]
    items = left.items + right.items
    if any(isinstance(item, _Number) and item.percent for item in items):
        readings.append(_Reading(percent=1))
    if items.count("/") > 1:
        readings.append(_Reading(paired=True))
    if len(items) > 4:
        readings.append(_Reading(sequential=True))
    for reading in readings:
        try:
            a, b = left.value(reading), right.value(reading)
        except _Unreadable:
            return None
        outcome = _compare(a, b, left.number, right.number, relation)
        if outcome is Outcome.HOLDS:
            return _HOLDS
        if outcome is Outcome.SKIPPED:
            doubtful = True
        else:
            error = min(error, float(abs(a.value - b.value) / max(abs(a.value), abs(b.value))))
            if _shifted(a.value, b.value):
                doubtful = True
    return _SKIPPED if doubtful else Judgement(Outcome.FALSE, error)


def _shifted(a: _Rational, b: _Rational) -> bool:
    """Say whether the two differ by cents, thousands or millions left out."""
    if not a or not b:
        return False
    ratio = Fraction(a) / b
    return ratio in _SHIFTS or 1 / ratio in _SHIFTS


_SHIFTS = frozenset((100, 1000, 10**6))


def _compare(a: _Value, b: _Value, left: _Number | None, right: _Number | None, relation: _Relation) -> Outcome:
    difference = abs(a.value - b.value)
    if not difference:
        return Outcome.HOLDS
    if difference <= _tolerance(a, left, b) + _tolerance(b, right, a):
        return Outcome.HOLDS
    if _rounded(a, left, b) or _rounded(b, right, a):
        return Outcome.SKIPPED
    if relation is _Relation.ABOUT and difference * 10 <= max(abs(a.value), abs(b.value)):
        return Outcome.HOLDS
    return Outcome.FALSE


def _tolerance(value: _Value, number: _Number | None, other: _Value) -> _Rational:
    """Return how far off `value` may be: a unit of the last digit if it is a rounded result, else its slack."""
    if number is None or not number.decimals:
        return value.slack
    unit = 10**number.decimals
    # More than five decimals were not counted out but printed: 0.30000000000000004.
    exact = number.decimals <= 5 and not other.slack and (other.value * unit) % 1 == 0
    return 0 if exact else Fraction(1, min(unit, 10**6))


def _rounded(value: _Value, number: _Number | None, other: _Value) -> bool:
    """Say whether `value` may be `other` cut off to whole numbers, to its zeros, or after a slip of a last digit."""
    difference = abs(value.value - other.value)
    if value.value % 1 == 0 and other.value % 1:
        zeros = number is not None and value.value % 10 == 0
        return difference < 1 or (zeros and difference * 100 <= abs(other.value))
    if number is None or not number.decimals:
        return False
    exact = other.value * 10**number.decimals % 1 == 0
    return not exact and difference * 200 <= abs(other.value)
