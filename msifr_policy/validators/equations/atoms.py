r"""From the characters of a clause to atoms: numbers, words, operators, relations and marks.

Plain text, LaTeX (also with doubled backslashes, as in JSON) and the usual typographic signs are known.
Everything unknown becomes a gap, which keeps the equation around it from being called false.
"""

import re
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, cast

_MAX_DIGITS = 24


class Number(NamedTuple):
    """A number as shown. `value` is an `int` where it is whole: same arithmetic as `Fraction`, far faster."""

    value: Fraction
    decimals: int = 0
    percent: bool = False
    slack: Fraction = cast(Fraction, 0)  # how far the number meant may be from the number shown
    unit: str = ""  # the words after it, where a reading asks for them


class Word(NamedTuple):
    """A word in lower case."""

    text: str
    glued: bool = False  # to a number before it: `2x`, `5kg`
    calls: bool = False  # a parenthesis or index follows at once: `f(`, `a_`


class Mark(Enum):
    """What is neither a number, a word nor an operator."""

    BLANK = "blank"
    BREAK = "break"  # an expression cannot reach across
    GAP = "gap"  # a break at something not understood: what is read beside it can hold but not be false
    DOUBT = "doubt"  # the same inside an expression


class Relation(Enum):
    """A sign between two sides."""

    EQUAL = "="
    ABOUT = "≈"
    OTHER = "≠"  # and the like: parts two sides, is not judged


Atom = Number | Word | Mark | str
"""A string is an operator (+ - * / ^), a parenthesis ( { ), a product sign "x", a power or bold sign "**", "frac",
"sqrt" or "binom"."""

_TOKEN = re.compile(
    r"""
    [\s$€£¥₹`&]*+ (?:
    (?P<number> (?:[0-9]{1,3}(?:(?:,|\{,\}|,\\{1,2}!)[0-9]{3})+(?![0-9]) | [0-9]+) (?:\.[0-9]+)? | \.[0-9]+ )
  | (?P<times> [xX](?=[\s$€£]{0,3}[0-9(.]) )
  | (?P<eastern> [⺀-⿿々〇぀-ヿ㐀-鿿가-힣]++ )  # no space parts it from a number
  | (?P<word> [^\W\d_][^\W_]*(?:['’-][^\W\d_]+)* )
  | (?P<text> \\{1,2}(?:text|mathrm|mbox)\ ?\{ (?P<inside>[^{}\\0-9]{0,60}) \} )
  | (?P<degree> \^\\{1,2}circ\b | \^\{\\{1,2}circ\} | \^?° )
  | (?P<sign> \\{1,2}[A-Za-z]+ | \\{1,2}[^A-Za-z\\] | [=<>!:~≈≠≡≤≥≃≅]+ | \.\.+ | \*\*+ | . )
    )
    """,
    re.VERBOSE | re.DOTALL,
)


_SPELLINGS: dict[Mark | Relation | str, str] = {
    "+": "+",
    "-": "- − –",
    "*": r"* × · ⋅ ∙ ∗ ✕ \times \cdot \ast",
    "/": r"/ ÷ ∕ \div",
    "^": "^",
    "**": "**",
    "(": "( [ （",
    "{": "{",
    ")": ") ] } ）",
    "frac": r"\frac \dfrac \tfrac",
    "sqrt": r"\sqrt √",
    "binom": r"\binom \dbinom \tbinom",
    Relation.EQUAL: "=",
    Relation.ABOUT: r"≈ ≃ ≅ ~ ~= =~ ≈≈ \approx \simeq \sim \thickapprox \doteq",
    Relation.OTHER: r"""== === != <> < > <= >= := ≠ ≡ ≤ ≥ \neq \ne \le \leq \ge \geq \lt \gt \equiv \cong
        \propto \leqslant \geqslant \in""",
    Mark.BREAK: r""". , ; " “ ” — → ⇒ ⟹ => | ? • 。 ， ； ： ！ ？ ✅ ✓ ✔ ☑ ▪ ● ▶ ➜ ∴
        \implies \Rightarrow \rightarrow \to \Longrightarrow
        \[ \] \" """,
    Mark.BLANK: r"""\left \right \big \Big \bigg \Bigg \quad \qquad \displaystyle \boxed
        \( \) \$ \, \; \: \! *** ️""",
}
_SIGNS = {sign: meaning for meaning, signs in _SPELLINGS.items() for sign in signs.split()}
_SIGNS |= {"\\ ": Mark.BLANK, "\\\n": Mark.BLANK}
_CALLS = frozenset("([{_")
_RADICAND = re.compile(r"\s?(?:\\{1,2}left\s?)?[({]")
_SUPERSCRIPTS = {"²": 2, "³": 3}


@lru_cache(4096)
def _number(text: str) -> Number | Mark:
    digits = text if text.isdigit() else re.sub(r"[^0-9.]", "", text)
    if len(digits) > _MAX_DIGITS:
        return Mark.GAP
    whole, _, decimals = digits.partition(".")
    if not decimals:
        # A leading zero: a time of day, a date, a code.
        return Mark.GAP if whole[0] == "0" and len(whole) > 1 else Number(cast(Fraction, int(whole)))
    d = len(decimals)
    value = Fraction(int(whole + decimals), 10**d)
    # Two and more decimals that are no multiple of 0.05 look rounded: 0.33, 3.14.
    rounded = d >= 2 and (value * 20).denominator != 1
    return Number(value, d, False, Fraction(1, 2 * 10**d) if rounded else Fraction())


def read_sides(clause: str) -> tuple[list[list[Atom]], list[Relation], list[int]]:
    """Return the sides of a clause as atoms, and the relations between them (one fewer) with their places."""
    side: list[Atom] = []
    sides: list[list[Atom]] = [side]
    relations: list[Relation] = []
    places: list[int] = []
    number_end = -1  # where the last atom ended if it was a number
    for match in _TOKEN.finditer(clause.rstrip()):
        kind, end = match.lastgroup, match.end()
        text = match[kind or 0]
        last = side[-1] if side else None
        glued = end - len(text) == number_end
        number_end = -1
        if kind == "number":
            side.append(_number(text))
            number_end = end
        elif kind == "word" and text in _SUPERSCRIPTS:
            side += ["^", Number(cast(Fraction, _SUPERSCRIPTS[text]))]
        elif text == "sqrt" and clause[end : end + 1] == "(":
            side.append("sqrt")
        elif kind == "word":
            side.append(Word(text.lower(), glued, clause[end : end + 1] in _CALLS))
        elif kind == "times":
            # 2x3 is a product, 4x1x2 is more likely one of variables.
            glued_right = clause[end : end + 1].isdigit()
            side += (Mark.DOUBT, "x") if glued and glued_right and "x" in side else ("x",)
        elif kind == "eastern":
            side.append(Word(text, glued))
        elif kind == "text":
            side += map(Word, match["inside"].lower().split())
        elif kind == "degree":
            side.append(Word("degree"))
        elif text in ("%", "\\%", "\\\\%") and isinstance(last, Number):
            side[-1] = last._replace(percent=True)
        elif text[:2] == ".." and glued and isinstance(last, Number) and last.decimals:
            side[-1] = last._replace(slack=Fraction(1, 10**last.decimals))
        else:
            sign = "\\" + text.lstrip("\\") if text[0] == "\\" else text
            meaning = _SIGNS.get(sign, Mark.GAP)
            if meaning in ("sqrt", "binom") and isinstance(last, Word) and clause[end - len(text) - 1].isalpha():
                side.append(Mark.GAP)  # AB\sqrt{2}
            single = text == "√" and clause[end : end + 1].isdigit()
            if meaning == "sqrt" and not single and not _RADICAND.match(clause, end):
                meaning = Mark.GAP  # another root, or of a single token
            if isinstance(meaning, Relation):
                side = []
                sides.append(side)
                relations.append(meaning)
                places.append(end - len(text))
            elif sign in (",", ".") and clause[end : end + 1].isdigit():
                side.append(Mark.GAP)  # 1,2 and 3.4.5: a list or a version, not an end
            elif meaning is not Mark.BLANK:
                if text in ("(", "（") and (glued or last == ")"):
                    side.append("*")
                side.append(meaning)
    return sides, relations, places
