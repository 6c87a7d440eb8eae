r"""From atoms to expressions: what the words mean, which runs of items are expressions, what these are worth.

`ends` drops units and remarks, turns words such as "of" and "times" into operators, leaves breaks and doubts, and
cuts a side at its breaks; `Expression.value` evaluates exactly. Values are bounded (512 bits, nesting of 12, exponents
of 64), so that time and memory are linear in the clause.
"""

from fractions import Fraction
from math import comb, isqrt
from typing import NamedTuple, cast

from msifr_policy.validators.equations.atoms import Atom, Mark, Number, Word

_MAX_BITS = 512
_MAX_DEPTH = 12
_MAX_EXPONENT = 64
_MOST_CHOSEN_FROM = 256
_MAX_REMARK = 30
EASTERN = "\u2e80"
"""From here on come the scripts of Chinese, Japanese and Korean."""
_EASTERN_VALUES = frozenset(
    "万千百十亿億兆萬倍折成割分点點方根余餘半双乗乘除加減减的の和差積积商第零〇만억천백배분제의곱"
)
"""Characters of words that change the value of a number beside them, or join numbers."""

Item = Number | Mark | str
"""An atom that is no word; of the strings only operators, "(", ")", those of `_HEADS`, and "&", the plus in 2½."""


_HEADS = ("frac", "sqrt", "binom")
"""What stands before its operands."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD_OPERATORS = {
    "plus": "+", "minus": "-", "times": "*", "of": "*", "over": "/", "multiplied by": "*", "divided by": "/",
}  # fmt: skip
_GLUED_UNITS = _words("kg km cm mm ml mg lb lbs oz mph ft hrs hr min mins sec secs kwh gb mb tb kb m² cm² km² ft²")
_STRUCTURE = _words(
    # words of a clause, not of a unit
    "is are was were be has had have having he she it they we you i and or but then so that which if the "
    "this gives gave get gets got makes made will would need needs needed because since when while who "
    "therefore not equals equal than as from to his her their its at"
)
_NO_UNITS = _STRUCTURE | {words.split()[0] for words in _WORD_OPERATORS}
_LEADING = _words(
    # words before a number that change its value
    "half twice thrice double triple third quarter of minus plus times by over squared cubed or to negative "
    "day days week weeks month year hour step page number per root point "
    "base less dozen hundred thousand million billion from"
)
_MULTIPLES = _words(
    # the same in German, French, Spanish, Italian, Portuguese, Dutch, Polish and Russian
    "doppelte doppelten doppelt double dreifache dreifachen hälfte drittel moitié tiers doble mitad tercio doppio metà "
    "dobro metade dubbele helft derde podwojona połowa удвоенное удвоенная половина треть"
)
_FUNCTIONS = _words("root log ln sin cos tan sec csc cot arcsin arccos arctan exp sqrt gcd lcm max min det choose pi")
_SHORT_TIMES = _words("min sec")  # after a number: minutes, seconds


def _read_items(side: list[Atom], units: set[str], *, quantities: bool) -> list[Item]:
    """Turn words into units (added to `units`), operators, breaks and doubts, and free stray parentheses.

    For `quantities` a number keeps the first word after it as its unit, and 2 hours 5 minutes is a sum.
    """
    items: list[Item] = []
    n = len(side)
    i = 0
    while i < n:
        atom = side[i]
        last = items[-1] if items else Mark.BREAK
        operand = isinstance(last, Number) or last == ")"
        if _in_phrase(side, i) and (operand or atom != "/"):
            start = i
            while i < n and _in_phrase(side, i):
                i += 1
            phrase = [word for word in side[start:i] if isinstance(word, Word)]
            if operand and phrase[0].text == "and" and (mixed := _mixed(last, side[i : i + 3])):
                items[-1] = mixed
                i += 3
                continue
            following = side[i] if i < n else None
            if quantities and isinstance(last, Number) and phrase and phrase[0].text not in _NO_UNITS:
                items[-1] = last._replace(unit=phrase[0].text)
                if len(phrase) <= 2 and isinstance(following, Number) and i + 1 < n and isinstance(side[i + 1], Word):
                    items.append("+")
                    continue
            meaning = _phrase(phrase, last, operand, following, units)
            items += meaning
            if operand and not meaning:
                i = _after_exponent(side, i)
            continue
        i += 1
        following = side[i] if i < n else None
        if isinstance(atom, Number):
            if operand and (mixed := _mixed(last, side[i - 1 : i + 2])):
                items[-1] = mixed
                i += 2
            else:
                items += (Mark.GAP, atom) if operand else (atom,)
        elif atom == "x":
            items.append("*" if operand else Mark.GAP)
        elif atom == "**":  # a power, or bold type
            if operand and (isinstance(following, Number) or following == "("):
                items.append("^")
        elif atom == "(" and (end := _remark(side, i)):
            if end == n and isinstance(following, Word) and side[-1] != ")":
                items.append(Mark.BREAK)
            units.update(word.text for word in side[i:end] if isinstance(word, Word))
            i = end
        elif atom in ("(", "{"):
            if operand and not (atom == "{" and _is_numerator(items)):
                items.append(Mark.GAP)
            items.append("(")
        elif atom in _HEADS:
            if operand:
                items.append("&" if isinstance(last, Number) and atom == "frac" else "*")
            items.append(atom)
        else:
            items.append(cast(Item, atom))
    return _free_parentheses(items)


def _after_exponent(side: list[Atom], i: int) -> int:
    """Return where the exponent of a unit that begins at atom `i` ends: cm^3 and s^{-1} are no powers of a number."""
    match side[i : i + 5]:
        case ["^", Number(), *_]:
            return i + 2
        case ["^", "-", Number(), *_]:
            return i + 3
        case ["^", "(" | "{", Number(), ")", *_]:
            return i + 4
        case ["^", "(" | "{", "-", Number(), ")"]:
            return i + 5
    return i


def _remark(side: list[Atom], i: int) -> int:
    """Return where the parenthesis opened before atom `i` ends, if it holds a remark; else 0."""
    depth, words = 1, 0
    for j in range(i, min(i + _MAX_REMARK, len(side))):
        atom = side[j]
        if atom in ("(", "{"):
            depth += 1
        elif atom == ")":
            depth -= 1
            if depth == 0:
                return j + 1 if words else 0
        elif isinstance(atom, Word):
            if not _is_unit(atom) or atom.text in _FUNCTIONS:
                return 0
            words += 1
        elif atom is Mark.GAP:
            return 0
    return len(side) if words and isinstance(side[i], Word) else 0


def _is_numerator(items: list[Item]) -> bool:
    """Say whether the parenthesis that ends `items` is the first after `frac`."""
    depth = 0
    for j in range(len(items) - 1, max(-1, len(items) - 1 - _MAX_REMARK), -1):
        depth += (items[j] == ")") - (items[j] == "(")
        if depth == 0:
            return j > 0 and items[j - 1] in ("frac", "binom")
    return False


def _in_phrase(side: list[Atom], i: int) -> bool:
    per_unit = side[i] == "/" and i + 1 < len(side) and _is_unit(side[i + 1])  # $5/hour
    return per_unit or isinstance(side[i], Word)


def _is_unit(atom: Atom) -> bool:
    return isinstance(atom, Word) and len(atom.text) > 1 and not atom.calls


def _mixed(whole: Item, fraction: list[Atom]) -> Number | None:
    """Return the mixed number of `whole` and `fraction` (`2 1/2`), or None if they are none."""
    match [whole, *fraction]:
        case [Number(a, percent=False), Number(b, percent=False), "/", Number(c, percent=False)]:
            if all(isinstance(value, int) for value in (a, b, c)) and b < c:
                return Number(a + Fraction(b, c))
    return None


def _phrase(words: list[Word], last: Item, operand: bool, following: Atom | None, units: set[str]) -> tuple[Item, ...]:
    """Return what a run of words between `last` and `following` stands for."""
    texts = [word.text for word in words]
    eastern = texts[0] >= EASTERN  # written without spaces, and 3 个 4 is a product
    known = all(
        text.isalpha() and (len(text) > 1 or text >= EASTERN or (text == "a" and len(texts) > 1)) for text in texts
    )
    known &= texts[-1] != "a" or following not in _HEADS  # we find a \\sqrt{2}
    if not known or words[-1].calls or (words[0].glued and texts[0] not in _GLUED_UNITS and not eastern):
        return (Mark.GAP,)
    if eastern and not _EASTERN_VALUES.isdisjoint("".join(texts)):
        return (Mark.DOUBT,) if operand else (Mark.BREAK, Mark.DOUBT)
    functions = _FUNCTIONS - _SHORT_TIMES if operand else _FUNCTIONS
    if not functions.isdisjoint(texts):
        return (Mark.GAP,)
    number_next = isinstance(following, Number) or following == "(" or following in _HEADS
    if operand and not number_next:
        units.update(texts)
        if len(texts) <= 5 and _STRUCTURE.isdisjoint(texts):
            return ()
        return (Mark.BREAK, Mark.DOUBT) if following is None else (Mark.DOUBT,)
    if operand:
        operator = _WORD_OPERATORS.get(" ".join(texts))
        if operator is not None:
            doubt = operator == "*" and not (isinstance(last, Number) and last.percent)
            return (Mark.DOUBT, operator) if doubt else (operator,)
        units.update(texts)
        if eastern:
            return (Mark.DOUBT,)
        # Add 2 + 3 to the 4 + 5 that are there = 14; 2 to the power of 5.
        if texts[-2:] == ["to", "the"] or texts[:2] == ["to", "the"] or "power" in texts:
            return (Mark.BREAK, Mark.DOUBT)
    elif isinstance(last, str):
        return (Mark.DOUBT,) if number_next else (Mark.GAP,)
    changes = texts[-1] in _LEADING or not _MULTIPLES.isdisjoint(texts)
    return (Mark.BREAK, Mark.DOUBT) if changes else (Mark.BREAK,)


def _free_parentheses(items: list[Item]) -> list[Item]:
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
                items[i] = Mark.GAP if gaps else Mark.BREAK
                gaps = max(0, gaps - 1)
        elif item is Mark.BREAK or item is Mark.GAP:
            for j in open_at:
                items[j] = items[i]
            gaps += len(open_at) if item is Mark.GAP else 0
            open_at.clear()
    for j in open_at:
        items[j] = Mark.BREAK
    return items


_ZERO = cast(Fraction, 0)


class UnreadableError(Exception):
    """The items are no expression, or its value is out of bounds."""


class Value(NamedTuple):
    """A value and how far the value meant may be from it."""

    value: Fraction
    slack: Fraction = _ZERO


_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4, "&": 5}
_UNARY = 3


class Reading(NamedTuple):
    """A way to read an expression."""

    percent: Fraction = Fraction(1, 100)  # what a percent sign is worth
    sequential: bool = False  # strictly from left to right
    paired: bool = False  # 8 / 1/2 as 8 / (1/2)
    relative: bool = False  # 50 - 10% as 50 - 10% of 50


class Expression:
    """The items between two breaks, read as one expression."""

    def __init__(self, items: list[Item]) -> None:
        self.doubtful = Mark.DOUBT in items
        self.items = [item for item in items if not isinstance(item, Mark)]

    def value(self, reading: Reading) -> Value:
        """Evaluate. Raises `UnreadableError`."""
        return _Evaluation(_pair(self.items) if reading.paired else self.items, reading).value

    @property
    def plain(self) -> Fraction:
        """The value shown, read as usual. Raises `UnreadableError`."""
        return self.value(Reading()).value

    @property
    def number(self) -> Number | None:
        """The number that is all of this expression but a sign, if it is one."""
        last = self.items[-1] if self.items else None
        alone = len(self.items) == 1 or (len(self.items) == 2 and self.items[0] in ("+", "-"))
        return last if alone and isinstance(last, Number) else None


class _Evaluation:
    """Goes through the items from left to right, by precedence."""

    def __init__(self, items: list[Number | str], reading: Reading) -> None:
        self._items, self._reading = [*items, ""], reading  # the empty string ends them: it is nothing
        self._at = 0
        self.value = self._expression(0, 0)
        if self._at < len(items):
            raise UnreadableError

    def _expression(self, least: int, depth: int) -> Value:
        left = self._operand(depth)
        while True:
            operator = self._items[self._at]
            precedence = _PRECEDENCE.get(operator, 0) if isinstance(operator, str) else 0
            if self._reading.sequential and precedence == 2:
                precedence = 1
            if precedence <= least:
                return left
            self._at += 1
            # A power binds to the right: 2^3^2 is 2^9.
            right = self._expression(precedence - (operator == "^"), depth + 1)
            if self._reading.relative and precedence == 1 and self._is_rate():
                right = _apply("*", left, right)
            left = _apply(str(operator), left, right)

    def _is_rate(self) -> bool:
        """Say whether the operand just read is a percentage by itself, of something that is none."""
        first, operator, last = self._items[0], self._items[self._at - 2], self._items[self._at - 1]
        plain = not (isinstance(first, Number) and first.percent)
        return plain and operator in ("+", "-") and isinstance(last, Number) and last.percent

    def _operand(self, depth: int, *, group: bool = False) -> Value:
        item = self._items[self._at]
        self._at += 1
        if depth > _MAX_DEPTH or (group and item != "("):
            raise UnreadableError
        if isinstance(item, Number):
            if item.percent:
                return Value(item.value * self._reading.percent, item.slack * self._reading.percent)
            return Value(item.value, item.slack)
        if item == "(":
            value = self._expression(0, depth + 1)
            if self._items[self._at] != ")":
                raise UnreadableError
            self._at += 1
            return value
        if item == "frac":
            return _apply("/", self._operand(depth + 1, group=True), self._operand(depth + 1, group=True))
        if item == "binom":
            return _binomial(self._operand(depth + 1, group=True), self._operand(depth + 1, group=True))
        if item == "sqrt":
            return _root(self._operand(depth + 1, group=not isinstance(self._items[self._at], Number)))
        if item == "-" or (item == "+" and self._at == 1):  # 2 *+ 1 is a slip
            value = self._expression(_UNARY, depth + 1)
            return Value(-value.value, value.slack) if item == "-" else value
        raise UnreadableError


def _pair(items: list[Number | str]) -> list[Number | str]:
    """Put the fractions of each chain a / b / … in parentheses, paired from its end."""
    paired: list[Number | str] = []  # reversed
    left = list(items)
    while left:
        match left:
            case [*_, Number() as numerator, "/", Number() as denominator]:
                paired += (")", denominator, "/", numerator, "(")
                del left[-3:]
            case _:
                paired.append(left.pop())
    return paired[::-1]


def _apply(operator: str, a: Value, b: Value) -> Value:
    x, y, dx, dy = a.value, b.value, a.slack, b.slack
    if operator == "*":
        value, slack = x * y, abs(x) * dy + abs(y) * dx + dx * dy if dx or dy else _ZERO
    elif operator == "/":
        if abs(y) <= dy:
            raise UnreadableError
        value = Fraction(x) / y
        slack = (dx + abs(value) * dy) / (abs(y) - dy) if dx or dy else _ZERO
    elif operator == "-":
        value, slack = x - y, dx + dy
    elif operator == "^":
        if dy or y.denominator != 1 or abs(y) > _MAX_EXPONENT or (x == 0 and y < 0):
            raise UnreadableError
        n = int(y)
        if _bits(x) * abs(n) > _MAX_BITS:
            raise UnreadableError
        value = Fraction(x) ** n if n < 0 else x**n
        slack = (abs(x) + dx) ** n - abs(x) ** n if dx and n > 0 else _ZERO
    else:  # "+", and "&" of a mixed number
        value, slack = x + y, dx + dy
    if _bits(value) > _MAX_BITS or _bits(slack) > 2 * _MAX_BITS:
        raise UnreadableError
    return Value(value, slack)


def _root(x: Value) -> Value:
    """Return the square root, exactly where it is rational, else to 18 decimals."""
    value, slack = x
    if value < 0 or slack >= value > 0:
        raise UnreadableError
    n, d = isqrt(value.numerator), isqrt(value.denominator)
    if n * n == value.numerator and d * d == value.denominator:
        root = Fraction(n, d)
        return Value(root if d > 1 else cast(Fraction, n), slack / root if slack else _ZERO)
    root = Fraction(isqrt(value.numerator * 10**36 // value.denominator), 10**18)
    if not root:
        raise UnreadableError
    return Value(root, Fraction(1, 10**18) + slack / root)


def _binomial(n: Value, k: Value) -> Value:
    if n.value.denominator != 1 or k.value.denominator != 1 or not 0 <= k.value <= n.value <= _MOST_CHOSEN_FROM:
        raise UnreadableError
    return Value(cast(Fraction, comb(int(n.value), int(k.value))))


def _bits(x: Fraction) -> int:
    return max(x.numerator.bit_length(), x.denominator.bit_length())


def ends(side: list[Atom], units: set[str], *, quantities: bool = False) -> tuple[Expression, Expression]:
    """Return the first and the last expression of a side, and add its units to `units`.

    A gap or an operator beyond the break next to an expression makes it doubtful. For `quantities` the numbers keep
    their units.
    """
    items = _read_items(side, units, quantities=quantities)
    breaks = [i for i, item in enumerate(items) if item is Mark.BREAK or item is Mark.GAP]
    if not breaks:
        return (whole := Expression(items)), whole
    first, last = Expression(items[: breaks[0]]), Expression(items[breaks[-1] + 1 :])
    first.doubtful |= _hides(items[breaks[0] :])
    last.doubtful |= _hides(items[breaks[-1] :: -1]) or (bool(last.items) and last.items[0] in ("+", "-"))
    return first, last


def _hides(items: list[Item]) -> bool:
    """Say whether the breaks that `items` begin with hold a gap or end at an operator."""
    item = next((item for item in items if item is not Mark.BREAK), None)
    return item is Mark.GAP or item in _PRECEDENCE
