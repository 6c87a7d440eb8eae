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
    DOUBT = "doubt"  # something not understood: what is read around it can hold but not be false


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
  | (?P<degree> \^\{?\\{1,2}circ\b\}? | \^?° )
  | (?P<sign> \\{1,2}[A-Za-z]+ | \\{1,2}[^A-Za-z\\] | [=<>!:~≈≠≡≤≥≃≅]+ | \.\.+ | \*\*+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)


def _table(**rows: object) -> dict[str, object]:
    return rows


_SIGNS: dict[str, _Mark | _Relation | str] = {
    **dict.fromkeys(("+",), "+"),
    **dict.fromkeys(("-", "−", "–"), "-"),
    **dict.fromkeys(("*", "×", "·", "⋅", "∙", "∗", "✕", r"\times", r"\cdot", r"\ast"), "*"),
    **dict.fromkeys(("/", "÷", "∕", r"\div"), "/"),
    **dict.fromkeys(("^",), "^"),
    **dict.fromkeys(("**",), "**"),
    **dict.fromkeys(("(", "[", "{"), "("),
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
_SUPERSCRIPTS = {"²": 2, "³": 3}


def _number(text: str) -> _Number | _Mark:
    digits = re.sub(r"[^0-9.]", "", text)
    if len(digits) > _MAX_DIGITS:
        return _Mark.DOUBT
    whole, _, decimals = digits.partition(".")
    if not decimals:
        return _Number(int(whole))
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
            side.append(_Word(text.lower(), glued, clause[end : end + 1] in ("(", "_")))
        elif kind == "times":
            side.append("x")
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
            meaning = _SIGNS.get(sign, _Mark.DOUBT)
            if isinstance(meaning, _Relation):
                side = []
                sides.append(side)
                relations.append(meaning)
            elif sign in (",", ".") and clause[end : end + 1].isdigit():
                side.append(_Mark.DOUBT)  # 1,2 and 3.4.5: a list or a version, not an end
            elif meaning is not _Mark.BLANK:
                side.append(meaning)
    return sides, relations


# --- 2. From atoms to items ---------------------------------------------------------------------------

_Item = _Number | _Mark | str

_WORD_OPERATORS = {
    "plus": "+", "minus": "-", "times": "*", "of": "*", "over": "/", "multiplied by": "*", "divided by": "/",
}  # fmt: skip
_UNITS_GLUED = frozenset(
    "kg km cm mm ml mg lb lbs oz mph ft hrs hr min mins sec secs kwh gb mb tb kb pm² m² cm² km² ft² am degree".split()
)
_STRUCTURE = frozenset(  # words of a clause, not of a unit
    "is are was were be has had have having he she it they we you i and or but then so that which if the this "
    "gives gave get gets got makes made will would need needs needed because since when while who therefore not "
    "equals equal than as from to his her their its at left total".split()
)
_LEADING = frozenset(  # words before a number that change its value
    "half twice thrice double triple third quarter of minus plus times by over squared cubed and or to negative "
    "per root log ln sin cos tan sec csc cot arcsin arccos arctan exp mod modulo sqrt gcd lcm max min point "
    "base less dozen hundred thousand million billion from".split()
)
_SCALES = frozenset("dozen dozens thousand thousands million millions billion hundred score pair pairs".split())
