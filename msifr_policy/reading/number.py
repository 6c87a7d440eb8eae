r"""The one number that an answer shows, and whether two answers show the same one.

An answer is what stands after a marker or in a box: `72`, `\$1{,}234.50`, `x = \frac{3}{4}`, `$45 - $15 = $30`,
`18 dollars every day`, `two thousand and five`. It is read from left to right:

- **Expressions** are evaluated exactly or refused, never cut: `2\sqrt{3}` and `x^6` show no number. A range (`3-5`), a
  ratio or time (`4:30`), a date, an inequality and a tuple are none.
- **Equations** come to their last side that is a number, whatever stands before: `a_{8} = 21` is 21.
- **Units**, currencies and prose after the number say nothing about it, up to a word that leaves the statement
  (`because`, `for`, `in`, `per`, ...). A second, different number before that makes the answer none: `72 apples and 3
  pears`. So does any different number if the answer begins like a sentence: `He sells 9 eggs for 18 dollars`.
- **Scales** multiply (`3 million`, `3k`); bounds and denials (`more than 5`, `not 5`, `5?`) are none.

Time is linear in the text; a text longer than `LONGEST` is read up to its first line end, if at all.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import Final

import msgspec

from msifr_policy.reading.expressions import (
    Refused,
    ShownExpression,
    Token,
    begins_operand,
    begins_signed,
    bits,
    is_bar,
    tokens_of,
)
from msifr_policy.reading.literals import ordinal_part, words_value
from msifr_policy.reading.number_words import (
    ABBREVIATIONS,
    ARITHMETIC,
    BOUNDS,
    CONNECTIVES,
    DENIALS,
    GLUED_LETTERS,
    GLUED_SCALES,
    HUNDREDTHS,
    JOINS,
    LEAD,
    LINKS,
    MONEY,
    NEGATIVE,
    OPERATIONS,
    PERCENT,
    REFUSALS,
    SHARES,
    UNIT_LETTERS,
    is_glued_unit,
    leaves,
    scale_of,
)

LONGEST: Final = 4000
"""Characters of the longest answer that is read."""


class ShownNumber(msgspec.Struct, frozen=True):
    """A number as an answer shows it."""

    value: Fraction
    """What is shown: 50 for `50%`."""

    percent: bool = False
    """Whether it is marked as a percentage."""

    exact: Fraction | None = None
    r"""What `value` was rounded from, if that stands before it: a third, for `\frac{1}{3} \approx 0.33`."""


@lru_cache(maxsize=1024)  # an answer is read to find it and to compare it, a gold answer with every attempt
def read_number(text: str, *, sentence: bool = False) -> ShownNumber | None:
    """Return the one number that an answer shows, or None if it shows none, several, or what is not evaluated.

    In a `sentence` a final exclamation mark is a mark; elsewhere `5!` is a factorial.
    """
    if len(text) > LONGEST:
        text = text.lstrip().partition("\n")[0]
        if len(text) > LONGEST:
            return None
    try:
        return _Statement(_unwrapped(tokens_of(text)), sentence=sentence).number()
    except Refused:
        return None


def parse_number(text: str, *, sentence: bool = False) -> Fraction | None:
    """Return the value of the one number that an answer shows, exactly, or None: see `read_number`.

    A percentage counts as shown: `50%` is 50.
    """
    number = read_number(text, sentence=sentence)
    return None if number is None else number.value


def same_number(gold: str, answer: str, *, sentence: bool = False) -> bool:
    r"""Say whether an answer shows the number that the gold answer shows.

    A percent sign that only one of them has may be a unit left away or a hundredth: `50%` is the same as 50 and as
    0.5, and `0.5` as `50%`, but `50` is not `0.5`. An answer that shows an exact value and what it rounds to
    (`\frac{1}{3} \approx 0.33`) shows both.
    """
    wanted, shown = read_number(gold), read_number(answer, sentence=sentence)
    if wanted is None or shown is None:
        return False
    return wanted.value in (shown.value, shown.exact) or _same(wanted, shown)


def _same(one: ShownNumber, other: ShownNumber) -> bool:
    """Say whether two numbers have the same value; of percentages, that is a hundredth of what is shown."""
    return one.value / (100 if one.percent else 1) == other.value / (100 if other.percent else 1)


def _with_part(value: Fraction, part: Fraction) -> Fraction:
    """Return a value with a part more, which has its sign: minus two and a half is -2 - 1/2."""
    return value + part if value >= 0 else value - part


def _rounds(exact: Fraction, shown: Fraction, decimals: int | None) -> bool:
    """Say whether a number with these decimals is an exact value up to its last digit."""
    return decimals is not None and abs(exact - shown) * Fraction(10) ** decimals < 1


_ENDS = frozenset((".", "line"))
_RELATIONS = frozenset(("=", "about", "other", "arrow"))
_PARTS = frozenset((",", ":", "?", ".", "line", "dash"))
"""Marks that part one equation from what precedes it."""
_MOST_WORDS = 24  # of a number in words
_MOST_LINKS = 6  # words between two numbers of an expression
_MOST_SCALED_BITS = 70_000
_CHOICES = frozenset("ABCDEFGHIJ")
_OPERATORS = frozenset(("+", "-", "–", "*", "/", "^", "!", "_"))


class _Statement:
    """Reads the tokens of one answer from left to right; see the module."""

    def __init__(self, tokens: Sequence[Token], *, sentence: bool) -> None:
        self._tokens = tokens
        self._position = 0
        self._expression = ShownExpression(tokens, sentence=sentence)
        self._closings = _closings(tokens)
        self._relations = _relations(tokens)
        self._words_before = _counts(tokens, "word")
        self._numbers_before = _counts(tokens, "number")
        self._claim: ShownNumber | None = None
        self._side: ShownNumber | None = None  # what stood before the last relation, if that is a number
        self._rounded = False  # whether the last relation is an approximate one
        self._unit = ""  # the word after the number
        self._claim_end = 0
        self._decimals: int | None = None  # of the last number, if it is a decimal or whole number as it stands
        self._joined = False  # whether another statement may have begun after the number
        self._free = False  # whether words before the number may make it one of several of a sentence

    def number(self) -> ShownNumber | None:
        """Return the number that the answer shows; raises `Refused` for one that is not evaluated, or several."""
        going = True
        while going and self._position < len(self._tokens):
            if self._relations[self._position] is not None:
                self._pass_side()
            elif (number := self._next_number()) is not None:
                self._claimed(number)
            else:
                going = self._pass(self._tokens[self._position])
        return self._claim or self._side

    def _token(self, ahead: int = 0) -> Token | None:
        position = self._position + ahead
        return self._tokens[position] if 0 <= position < len(self._tokens) else None

    def _kind(self, ahead: int = 0) -> str:
        token = self._token(ahead)
        return "" if token is None else token.kind

    def _word(self, ahead: int = 0) -> str:
        """Return the word there in lower case; empty if there is none."""
        token = self._token(ahead)
        return token.text.lower() if token is not None and token.kind == "word" else ""

    # The sides of equations.

    def _pass_side(self) -> None:
        """Go behind the next relation."""
        start, relation = self._position, self._relations[self._position] or 0
        kind = self._tokens[relation].kind
        if kind == "other" or relation + 1 == len(self._tokens):
            raise Refused
        side = self._clean_side(start, relation)
        self._side, self._rounded = side or self._side, kind == "about" and side is not None
        self._position = relation + 1
        if self._claim is None:
            self._free = False

    def _clean_side(self, start: int, end: int) -> ShownNumber | None:
        """Return the number that these tokens show, units and usual words aside; None if they are anything else."""
        self._position = start
        while self._position < end and self._word() in LEAD:
            self._position += 1
        try:
            number = self._next_number()
        except Refused:
            return None
        rest = self._tokens[self._position : end]
        return number if all(token.kind in ("word", "/") for token in rest) else None

    # Numbers.

    def _next_number(self) -> ShownNumber | None:
        """Read the number that begins here, with its sign, scale and percent sign; None if none does."""
        start, sign = self._position, 1
        if self._word() in NEGATIVE:
            sign = -1
            self._position += 1
        if self._begins_expression():
            self._check_before(start)
            value = self._expression.evaluate(self._position)
            self._decimals = _decimals(self._tokens[self._position : self._expression.position])
            self._position = self._expression.position
        elif (spelled := words_value(self._words())) is not None and self._counts(spelled[0]):
            value, self._decimals = spelled[0], None
            self._position += spelled[1]
        else:
            self._position = start
            return None
        value = self._with_cents(self._scaled(sign * value))
        percent = self._is_percent()
        self._check_after()
        return ShownNumber(value, percent, self._rounded_from(value))

    def _begins_expression(self) -> bool:
        token = self._token()
        if token is None or token.kind == "(":
            return token is not None and not self._is_remark()
        if token.kind == "|":
            first, second = self._token(1), self._token(2)
            return is_bar(token) and (begins_operand(first) or begins_signed(first, second))
        if token.kind in ("+", "-", "–"):
            return begins_operand(self._token(1)) or self._kind(1) == "|"
        return begins_operand(token)

    def _is_remark(self) -> bool:
        """Say whether the parenthesis here holds words only, or stands apart behind the number."""
        token, closing = self._tokens[self._position], self._closings[self._position]
        if self._claim is not None:
            return token.spaced
        words_inside = self._words_before[closing] - self._words_before[self._position]
        return words_inside > 0 and self._numbers_before[closing] == self._numbers_before[self._position]

    def _words(self) -> list[str]:
        """Return the next words in lower case, as many as a number can have."""
        words = []
        for ahead in range(_MOST_WORDS):
            word = self._word(ahead) or ("a" if self._is_article(ahead) else "")
            if not word:
                break
            words.append(word)
        return words

    def _is_article(self, ahead: int = 0) -> bool:
        token = self._token(ahead)
        return token is not None and token.kind == "variable" and token.text in ("a", "A") and token.blank_after

    def _counts(self, value: Fraction) -> bool:
        """Say whether a number in words is meant as one here: not in `one of them is 5`, nor in a remark."""
        if self._claim is None:
            return value != 1 or not self._numbers_before[-1]
        joined = self._word(-1) in ("and", "or") or self._kind(-1) == ","
        return value != 1 and (joined or self._position == self._claim_end)

    def _check_before(self, start: int) -> None:
        """Refuse a number that belongs to what stands before it: `x^6`, `x5`, `p - 30`."""
        if start == 0:
            return
        token, before = self._tokens[start], self._tokens[start - 1]
        if before.kind == "variable" and not (before.text in ("a", "A") and token.spaced):
            raise Refused
        if before.kind in _OPERATORS and not (before.kind == "_" and start == 1):
            raise Refused
        if token.kind == "(" and before.kind == "word" and not token.spaced:
            raise Refused  # abs(-5)
        if token.kind in ("+", "-", "–"):
            if before.kind in ("number", ")", "}", "%", "ordinal"):
                raise Refused
            if before.kind == "word" and (token.blank_after or not token.spaced):
                raise Refused
        elif before.kind == "word" and not token.spaced and before.text.isascii() and before.text.lower() not in LEAD:
            raise Refused

    def _scaled(self, value: Fraction) -> Fraction:
        """Return the value with what multiplies it: `3 million`, `3k`, `2 and a half million`, `2 thirds`."""
        if self._word() == "and" and self._is_article(1) and self._word(2) in ("half", "third", "quarter"):
            value = _with_part(value, Fraction(1, ordinal_part(self._word(2)) or 1))
            self._position += 3
        value = self._with_fraction(value)
        token = self._token()
        if token is not None and not token.spaced and token.text in GLUED_SCALES and self._kind(1) not in ("^", "("):
            self._position += 1
            return value * GLUED_SCALES[token.text]
        part = ordinal_part(self._word())
        if part is not None:
            if not self._word().endswith("s") or part in (2, 4):
                raise Refused  # 5 third graders, 3 quarters: an ordinal, a coin?
            value /= part
            self._position += 1
        scale = scale_of(self._word())
        while scale != 1:
            if scale is None or bits(value) > _MOST_SCALED_BITS:
                raise Refused
            value *= scale
            self._position += 1
            scale = scale_of(self._word())
        return value

    def _with_fraction(self, value: Fraction) -> Fraction:
        """Return the value with a proper fraction that is joined to it: `3 and 1/2`."""
        slash, above, below = self._kind(2), self._token(1), self._token(3)
        if self._word() != "and" or slash != "/" or above is None or below is None or value.denominator != 1:
            return value
        if not (above.text.isdigit() and below.text.isdigit() and 0 < int(above.text[:9]) < int(below.text[:9])):
            return value
        self._position += 4
        return _with_part(value, Fraction(int(above.text[:9]), int(below.text[:9])))

    def _with_cents(self, value: Fraction) -> Fraction:
        """Return the value of money with its hundredths: `5 dollars and 50 cents`, `$5 and 50 cents`."""
        ahead = 1 if self._word() in MONEY else 0
        cents = self._token(ahead + 1)
        if cents is None or not cents.text.isdigit() or len(cents.text) > 2 or self._word(ahead + 2) not in HUNDREDTHS:
            return value
        if self._word(ahead) != "and" or value.denominator != 1:
            return value
        self._position += ahead + 3
        return _with_part(value, Fraction(int(cents.text), 100))

    def _is_percent(self) -> bool:
        if self._kind() == "%" or self._word() in PERCENT:
            self._position += 1
            return True
        if self._word() == "per" and self._word(1) == "cent":
            self._position += 2
            return True
        return False

    def _check_after(self) -> None:
        """Refuse a number that goes on as something that is not understood: `5x`, `5 x`, `2e`, `5?`."""
        token = self._token()
        if token is None:
            return
        if token.kind in ("?", "%", "^", "*", "+"):
            raise Refused
        if token.kind == "variable":
            self._check_letter(token)
        elif token.kind == "word":
            glued = not token.spaced and not is_glued_unit(token.text)
            if glued or token.text.lower() in ("squared", "cubed", "factorial"):
                raise Refused

    def _check_letter(self, token: Token) -> None:
        if self._is_article() and token.spaced:
            return
        if token.text in "ap" and self._kind(1) == "." and self._token(2) is not None:
            return  # 5 p.m.
        if token.text not in (UNIT_LETTERS if token.spaced else GLUED_LETTERS):
            raise Refused

    def _rounded_from(self, value: Fraction) -> Fraction | None:
        """Return the exact value that stood before an approximate relation, if `value` is its rounding."""
        side = self._side if self._rounded else None
        return side.value if side is not None and _rounds(side.value, value, self._decimals) else None

    def _claimed(self, number: ShownNumber) -> None:
        """Take note of a number; refuse it beside a different one."""
        unit = "" if leaves(self._word()) or self._word() in JOINS else self._word()
        if self._claim is None:
            self._claim, self._unit = number, unit
        elif not self._restates(number):
            raise Refused
        elif not self._free and self._unit and unit and unit != self._unit:
            raise Refused  # 5 feet 5 inches
        self._claim_end = self._position

    def _restates(self, number: ShownNumber) -> bool:
        """Say whether a later number is the one read: its value, its percentage, or a decimal that it rounds to."""
        claim = self._claim
        if claim is None or _same(claim, number):
            return claim is not None
        rounded = claim.percent == number.percent and _rounds(claim.value, number.value, self._decimals)
        return rounded and self._decimals != 0

    # Words and marks.

    def _pass(self, token: Token) -> bool:
        """Go past a token that begins no number, and say whether to read on."""
        self._position += 1
        if token.kind == "word":
            return self._pass_word(token)
        if token.kind == "variable":
            return self._pass_variable(token)
        if token.kind == "(":
            return self._pass_remark(self._position - 1)
        if token.kind in _OPERATORS:
            return self._pass_operator(token)
        return self._pass_mark(token)

    def _pass_word(self, token: Token) -> bool:
        word = token.text.lower()
        if self._claim is None:
            if word in DENIALS or word.endswith("n't") or BOUNDS.search(word):
                raise Refused
            if word in ("plus", "mais", "au") and self._word() in ("de", "moins", "plus"):
                raise Refused  # more than, at least, at most
            before = self._word(-2)
            if word == "of" and before in OPERATIONS and self._begins_expression():
                raise Refused
            self._free = self._free or word not in LEAD
            return True
        if self._links(word) or BOUNDS.search(word):
            raise Refused
        if word in SHARES and self._claim.percent and begins_operand(self._token()):
            raise Refused
        if word in ("is", "are", "was", "were") and self._word() in REFUSALS:
            raise Refused
        if word.endswith("n't") or word == "cannot":
            raise Refused
        if (word == "or" and self._token() is None) or (word == "below" and self._word() == "zero"):
            raise Refused  # unfinished; negative
        if word == "which" and self._word() in ("is", "was") and self._word(1) in REFUSALS - {"no", "not", "too"}:
            raise Refused
        self._joined = self._joined or word in JOINS
        remark = leaves(word) or (word == "rather" and self._word() == "than")
        return self._free or self._joined or not remark

    def _links(self, word: str) -> bool:
        """Say whether words from this one on make an expression with a number: `times 3`, `to the power of 3`."""
        arithmetic, ahead = word in ARITHMETIC, 0
        while word in LINKS and self._word(ahead) in LINKS and ahead < _MOST_LINKS:
            arithmetic = arithmetic or self._word(ahead) in ARITHMETIC
            ahead += 1
        first, second = self._token(ahead), self._token(ahead + 1)
        return arithmetic and (begins_operand(first) or begins_signed(first, second))

    def _pass_variable(self, token: Token) -> bool:
        if self._claim is not None:
            # A unit, or a word of prose: 5 N m, 5 a day, 5 p.m.
            if (token.text in UNIT_LETTERS and token.blank_after) or self._token() is None:
                return True
            if token.text == "a" and self._kind() == "number":
                raise Refused  # 5 a 8: a range in Spanish and its like
            if token.text in ("a", "A", "p", "I") and token.spaced:
                return self._free or self._joined
            if token.text in UNIT_LETTERS:
                return True
            raise Refused
        if self._kind() in _OPERATORS or (self._kind() == "(" and not self._tokens[self._position].spaced):
            raise Refused
        self._free = True
        return True

    def _pass_remark(self, start: int) -> bool:
        closing = self._closings[start]
        if closing == len(self._tokens):
            return self._claim is None
        if self._claim is not None and self._tokens[self._position].text in REFUSALS | {"mod", "modulo", "base"}:
            raise Refused
        if self._claim is not None and self._is_footnote(start, closing):
            self._position = closing + 1
            return True
        if self._claim is not None and closing > start + 1 and self._differs(start + 1, closing):
            raise Refused
        self._position = closing + 1
        return True

    def _is_footnote(self, start: int, closing: int) -> bool:
        inside = self._tokens[start + 1]
        return (
            self._tokens[start].text == "[" and closing == start + 2 and inside.text.isdigit() and len(inside.text) < 3
        )

    def _differs(self, start: int, end: int) -> bool:
        """Say whether these tokens are one expression with another value than the number read."""
        try:
            value = self._expression.evaluate(start)
        except Refused:
            return False
        self._decimals = _decimals(self._tokens[start:end])
        return self._expression.position == end and not self._restates(ShownNumber(value))

    def _pass_operator(self, token: Token) -> bool:
        before = self._tokens[self._position - 2] if self._position > 1 else None
        following = self._token()
        if token.kind == "!":
            return True
        if token.kind == "_" and (before is None or following is None):
            return True  # Markdown
        if following is not None and following.kind == "word" and token.kind in ("-", "–"):
            if token.blank_after and self._claim is not None:
                return self._free or self._joined  # a dash of prose
            if scale_of(following.text.lower().partition("-")[0]) != 1:
                raise Refused  # 3-million
            if before is None or self._claim is not None:
                return True  # a bullet; a 5-year plan
        if self._claim is None or before is None:
            raise Refused
        if token.kind == "^" and (before.kind == "word" or before.text in UNIT_LETTERS):
            return self._pass_unit_power()
        unit = following is not None and (following.kind == "word" or following.text in UNIT_LETTERS)
        if unit and token.kind in ("/", "*"):
            return True  # km/h
        raise Refused

    def _pass_unit_power(self) -> bool:
        braced = self._kind() == "{"
        self._position += braced
        self._position += self._kind() == "-"
        if self._kind() != "number":
            raise Refused
        self._position += 1
        if braced and self._kind() != "}":
            raise Refused
        self._position += braced
        return True

    def _pass_mark(self, token: Token) -> bool:
        if token.kind in ("ordinal", ","):
            return True
        before = self._tokens[self._position - 2] if self._position > 1 else None
        if self._claim is None:
            return self._pass_mark_before(token, before)
        if token.kind in (":", ")", "dash") and begins_operand(self._token()):
            raise Refused  # 4 : 30; 1) 42; 3 — 5
        if token.kind in ("?", "bad"):
            raise Refused
        listed = token.kind in _ENDS and before is self._tokens[0] and before.text.isdigit() and len(before.text) < 3
        if listed and begins_operand(self._token()):
            raise Refused  # 1. 42: the first of a list
        if token.kind in _ENDS:
            return self._free
        return token.kind == "%" or (token.kind == "dash" and (self._free or self._joined))

    def _pass_mark_before(self, token: Token, before: Token | None) -> bool:
        if token.kind in ("dash", "|") and not token.blank_after and begins_operand(self._token()):
            raise Refused
        if token.kind == "|" and self._kind() in ("+", "-"):
            raise Refused
        if token.kind in (":", "dash"):
            self._free = False
            return True
        if token.kind in _ENDS:
            abbreviated = before is not None and before.text.lower() in ABBREVIATIONS
            return before is None or abbreviated or before.kind in (":", "=", "about", "arrow", ".", "line")
        if token.kind == "|":
            return True  # a table
        raise Refused


def _unwrapped(tokens: list[Token]) -> list[Token]:
    """Return the tokens without a parenthesis around all of an equation, and without the letter of a choice."""
    if len(tokens) > 2 and tokens[0].text.lower() in ("option", "choice"):
        tokens = tokens[1:]
        if tokens[0].text in _CHOICES:
            tokens = tokens[1 + (tokens[1].kind in (":", ".", "=", ",")) :]
    label = 1 if tokens and tokens[0].kind == "(" else 0
    closing = ")" if label else (")", ".", ":")
    if len(tokens) > label + 2 and tokens[label].text in _CHOICES and tokens[label + 1].kind in closing:
        return tokens[label + 2 :]
    wrapped = label and _closings(tokens)[0] == len(tokens) - 1
    return tokens[1:-1] if wrapped and any(token.kind in _RELATIONS for token in tokens) else tokens


def _decimals(tokens: Sequence[Token]) -> int | None:
    """Return the decimals of a number that these tokens are, its sign aside; None if they are an expression."""
    number = tokens[-1]
    alone = number.kind == "number" and all(token.kind in ("+", "-", "–") for token in tokens[:-1])
    return len(number.text.partition(".")[2]) if alone else None


def _counts(tokens: Sequence[Token], kind: str) -> list[int]:
    """Return for each position, the end included, how many tokens before it are of a kind."""
    return list(accumulate((token.kind == kind for token in tokens), initial=0))


def _closings(tokens: Sequence[Token]) -> list[int]:
    """Return for each opening parenthesis the position of its closing one; the number of tokens where there is none."""
    closings = [len(tokens)] * len(tokens)
    opened = []
    for position, token in enumerate(tokens):
        if token.kind == "(":
            opened.append(position)
        elif token.kind == ")" and opened:
            closings[opened.pop()] = position
    return closings


def _relations(tokens: Sequence[Token]) -> list[int | None]:
    """Return for each token the position of the relation whose left side it is part of, if it is part of one."""
    relations: list[int | None] = [None] * len(tokens)
    relation, depth = None, 0
    for position in range(len(tokens) - 1, -1, -1):
        token = tokens[position]
        if token.kind in (")", "}"):
            depth += 1
        elif token.kind in ("(", "{"):
            depth = max(depth - 1, 0)
        if depth == 0:
            if token.kind in _RELATIONS:
                relation = position
            elif token.kind in _PARTS or (token.kind == "word" and token.text.lower() in CONNECTIVES):
                relation = None
            relations[position] = relation
    return relations
