"""Other number systems and operations: text that says so computes with them, and its equations are read so.

`mentioned` reads what a text says of them; `Systems.allow` tells whether an equation that is false in decimal
arithmetic may be true in them. Residues whose modulus is not shown are not computed: what is false may hold in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from operator import or_, xor
from typing import NamedTuple, cast

from msifr_policy.validators.equations.atoms import Number
from msifr_policy.validators.equations.expressions import Expression, Item, UnreadableError
from msifr_policy.validators.readers.sentences import PatternSets

_MENTIONS = PatternSets(
    {
        "residues": (
            r"\bp?mod\b|≡|\\equiv|modulo|modular|módulo|remainder|\\mathbb\{Z\}_|\\mathbb\{Z\} */|余数",
            r"\bGF\(|\bZ/|\\mathbb\{F\}|\bfield \$?F_",
            r"остат(?:ок|ка)|по модулю|вычет",
        ),
        "last": (r"\b(?:last|units?|ones|final|rightmost) digit", r"letzte ziffer|dernier chiffre|última cifra"),
        "roots": (r"\bdigital roots?",),
        "two": (r"\b(?:last|final) two digits",),
        "xor": (r"\bxor|⊕|\\oplus|bitwise|\bnim[- ]|exclusive or",),
        "clock": (r"\bclock(?:face|s)?\b",),
        "joined": (r"concat|konkat|\bstrings?\b",),
        "defined": (r"\bdefine|\boperation|\boperator|[a-z]\s?(?:[*^×·∗]|\\[a-z]{3,6}\s)\s?[a-z]\b",),
        "base": (r"\bbas(?:e|is)[ _-]|进制|進法",),
        "2": (r"\bbinary|\bbin[aä]r|\bbinaire|\bdwójkow|двоичн|二进制|二進|\bbase[ -]two\b|\bbits?\b|\bboolean",),
        "3": (r"\bternary|三进制|\bbase[ -]three\b",),
        "4": (r"\bbase[ -]four\b",),
        "5": (r"\bbase[ -]five\b",),
        "6": (r"\bbase[ -]six\b",),
        "7": (r"\bbase[ -]seven\b",),
        "8": (r"\bo[ck]tal|восьмеричн|八进制|八進|\bbase[ -]eight\b",),
        "9": (r"\bbase[ -]nine\b",),
        "12": (r"\bduodecimal|\bdozenal|\bbase[ -]twelve\b",),
        "16": (r"\bhexade[cz]im|\bhex\b|шестнадцатеричн|十六进制|十六進|\bbase[ -]sixteen\b",),
    },
    anchored=False,
)
HINTS = (
    "mod", "GF\\(", "Z/", "field",
    "≡", "equiv", "remainder", r"mathbb\{[ZF]\}", "余数", "остат", "вычет", "digit", "ziffer", "chiffre", "cifra",
    "xor", "⊕", "oplus", "bitwise", "nim[ -]", "exclusive or", "clock", "concat", "konkat", "string", "define",
    "operation", "operator", "base[ _-]", "basis[ _-]", "进制", "進法", "binar", "binär", "binaire", "dwójkow",
    "двоичн", "二進", "bits?", "boolean", "ternary", "octal", "oktal", "восьмеричн", "八進", "duodecimal", "dozenal",
    "hex", "шестнадцатеричн", "十六進", r"[a-z]\s?(?:[*^×·∗]|\\[a-z]{3,6}\s)\s?[a-z]\s?[=:ib]",
)  # fmt: skip
"""Patterns without which no text mentions another system, in any case: what to look for first."""
_BASE = re.compile(
    r"\b[Bb]as(?:e|is)[ _-]{1,2}(?:\$|\\\()?\{?([0-9]{1,2})\b|\b([0-9]{1,2})[ -]?进制|\b([0-9]{1,2})進法"
)
_MODULUS = re.compile(
    r"(?:mod(?:ulo|ular|ulus)?|модулю|módulo|divided by|divide by|\\mathbb\{Z\}[_/]) ?(?:\\[,;: ]|[ ({$=_])*"
    r"([0-9]{1,18})(?![0-9.,]?[0-9^!*a-zA-Z]| ?(?:\^|\\[a-z]))"
)
_MOST = 16
"""Moduli that are told apart."""
_WIDEST = 256
"""Binary digits up to which a number may wrap around."""
_PRODUCT = r"\b[a-zA-Z]\s?(\\[a-z]{3,6}\s|[*^×·∗])\s?[a-zA-Z]\b"
_SYMBOL = r"\b[a-zA-Z]\s?(\\[a-z]{3,6}\s|[-+*/^×·∗÷])\s?[a-zA-Z]\b"
_IS = r"\)?\s*(?:[:=]|is\b|as\b|means?\b|equals\b|denotes\b)"
_DEFINED = re.compile(
    rf"""(?is) \bdefin .{{0,80}}? {_PRODUCT} {_IS}
    | \boperat(?:ion|or) .{{0,80}}? {_SYMBOL} {_IS}
    | {_PRODUCT} \s*(?:is\ |be\ )?\s*(?:defined|denotes)
    | \b(?:let|where|given|rule|means?)\b\W{{0,3}}(?:that\ )? {_PRODUCT} \s?=\s?[^,;.\n]{{0,12}}?[a-z]\b""",
    re.VERBOSE,
)
_OPERATORS = {"+": "+", "-": "-", "/": "/", "÷": "/", "\\div": "/", "^": "^", "*": "*", "×": "*", "·": "*", "∗": "*"}
_OPERATORS |= {"\\ast": "*", "\\times": "*", "\\cdot": "*"}


class Systems(NamedTuple):
    """What a text has said that it computes with beside decimal arithmetic."""

    residues: bool = False  # of a modulus that is not shown
    moduli: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()  # powers of 10: only so many last digits are kept
    bases: frozenset[int] = frozenset()
    xor: bool = False
    clock: bool = False
    joined: bool = False  # + joins digits, as in strings
    redefined: frozenset[str] = frozenset()  # operators with a meaning of their own

    def also(self, other: Systems) -> Systems:
        """Return both together."""
        moduli = self.moduli | other.moduli
        return Systems(
            self.residues or other.residues or len(moduli) > _MOST,
            moduli if len(moduli) <= _MOST else frozenset(),
            self.last | other.last,
            self.bases | other.bases,
            self.xor or other.xor,
            self.clock or other.clock,
            self.joined or other.joined,
            self.redefined | other.redefined,
        )

    def allow(self, left: Expression, right: Expression) -> bool:
        """Say whether an equation that is false in decimal arithmetic may be true here."""
        if self.residues:
            return True
        items = (*left.items, *right.items)
        if any(isinstance(item, str) and item in self.redefined for item in items):
            return True
        if self.xor and ("^" in items or _reduced(left, xor) == _reduced(right, xor) is not None):
            return True
        if self.joined and _reduced(left, _join) == _reduced(right, _join) is not None:
            return True
        if self.clock and _on_clock(left, right):
            return True
        if any(_congruent(modulus, left, right) for modulus in self.moduli):
            return True
        result = left.number or right.number
        if result is not None and any(result.value < power and _congruent(power, left, right) for power in self.last):
            return True
        if 2 in self.bases and all(set(str(item.value)) <= set("01/") for item in items if isinstance(item, Number)):
            return _holds_in_bits(left, right)
        return any(_holds_in(base, left, right) for base in self.bases)


DECIMAL = Systems()
"""Nothing but decimal arithmetic."""


def mentioned(text: str) -> Systems:
    """Return what a piece of text says that it computes with."""
    if not (names := _MENTIONS.found(text)):
        return DECIMAL
    bases = {int(name) for name in names if name.isdigit()}
    if "base" in names:
        bases |= {int(digits) for match in _BASE.finditer(text) for digits in match.groups() if digits}
    moduli = frozenset(int(modulus) for modulus in _MODULUS.findall(text)) if "residues" in names else frozenset()
    return Systems(
        "residues" in names and not moduli,
        (moduli | {9} if "roots" in names else moduli) - {0},
        frozenset(power for name, power in (("last", 10), ("two", 100)) if name in names),
        frozenset(base for base in bases if 2 <= base <= 36 and base != 10),
        "xor" in names,
        "clock" in names,
        "joined" in names,
        _redefined(text) if "defined" in names else frozenset(),
    )


def given(prompt: str) -> Systems:
    """Return what a prompt says to compute with. That it asks for a remainder does not change how one gets there."""
    return mentioned(prompt)._replace(residues=False, moduli=frozenset())


def _redefined(text: str) -> frozenset[str]:
    """Return the operators that a piece of text defines: `a * b = 2a + b`."""
    symbols = (symbol.strip() for match in _DEFINED.finditer(text) for symbol in match.groups() if symbol)
    return frozenset(_OPERATORS[symbol] for symbol in symbols if symbol in _OPERATORS)


def _holds_in(base: int, left: Expression, right: Expression) -> bool:
    """Say whether both sides are equal if the digits of one of them or both are in `base`."""
    try:
        (a, a_base), (b, b_base) = ((side.plain, _in_base(base, side).plain) for side in (left, right))
    except UnreadableError:
        return False
    return a_base in (b, b_base) or a == b_base


def _congruent(modulus: int, left: Expression, right: Expression) -> bool:
    """Say whether both sides may leave the same remainder. Fractions may stand for inverses."""
    if "/" in left.items or "/" in right.items or "frac" in left.items or "frac" in right.items:
        return True
    try:
        difference = left.plain - right.plain
    except UnreadableError:
        return True
    return difference.denominator != 1 or difference % modulus == 0


def _holds_in_bits(left: Expression, right: Expression) -> bool:
    """Say whether both sides are equal in binary: as numbers, of so many bits as are shown, or bit by bit."""
    numbers = [item.value for item in (*left.items, *right.items) if isinstance(item, Number)]
    width = max(len(str(number)) for number in numbers)
    if any(number.denominator != 1 for number in numbers) or width > _WIDEST:
        return True
    a, b = _in_base(2, left), _in_base(2, right)
    if any(_reduced(a, operation) == _reduced(b, operation) is not None for operation in (xor, or_)):
        return True
    return _congruent(2**width, a, b) or _congruent(2**width - 1, a, b)


def _in_base(base: int, side: Expression) -> Expression:
    """Return the expression with its digits read in `base`, or as it is if they are none of it."""
    items: list[Item] = []
    for item in side.items:
        if not isinstance(item, Number):
            items.append(item)
        elif item.value.denominator == 1 and all(int(digit) < base for digit in str(item.value)):
            items.append(item._replace(value=cast(Fraction, int(str(item.value), base))))
        else:
            return side
    return Expression(items)


def _reduced(side: Expression, operation: Callable[[int, int], int]) -> int | None:
    """Return what `operation` makes of whole numbers between + or ^, or None of anything else."""
    numbers, operators = side.items[::2], side.items[1::2]
    whole = [int(item.value) for item in numbers if isinstance(item, Number) and item.value.denominator == 1]
    if len(whole) < len(numbers) or any(operator not in ("+", "^") for operator in operators):
        return None
    return reduce(operation, whole)


def _join(a: int, b: int) -> int:
    return int(f"{a}{b}") if a < 10**24 and b < 10**24 else 0


def _on_clock(left: Expression, right: Expression) -> bool:
    """Say whether adding and taking away hours may lead around a clock."""
    items = (*left.items, *right.items)
    if any(item not in ("+", "-", "(", ")") if isinstance(item, str) else item.value > 24 for item in items):
        return False
    try:
        return (left.plain - right.plain) % 12 == 0
    except UnreadableError:
        return False
