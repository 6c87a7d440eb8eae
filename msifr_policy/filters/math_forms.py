r"""What kind of thing an answer is: a number, a set, an interval, a time, a word … read from its canonical spelling.

Two answers can only be equal if they are of one kind: `\{2,3\}` is no pair, 11:00 is not 11, and `5\frac{11}{4}` is no
number at all. Only what a `Formula` holds needs algebra to be compared; everything else is compared part by part.
Nothing is evaluated here but decimals and fractions as they are written.
"""

import re
from fractions import Fraction
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from msifr_policy.filters.literals import words_value
from msifr_policy.filters.math_text import canonical, closing, split
from msifr_policy.filters.math_units import Unit, unit


class Number(NamedTuple):
    """A number as it is written; `places` are the decimal digits after the point, None if the number is exact."""

    value: Fraction
    places: int | None
    digits: int
    """Significant digits."""


class Formula(NamedTuple):
    """What only algebra can compare, in canonical LaTeX."""

    latex: str


class Quantity(NamedTuple):
    """A value with what is measured; `unit` is None for a word that is no unit known."""

    value: "Form"
    unit: Unit | None
    formula: str
    """The same with the unit read as symbols: `4t`."""


class Percent(NamedTuple):
    """So many hundredths."""

    value: "Form"


class Words(NamedTuple):
    """An answer in words: lower case, without articles."""

    words: tuple[str, ...]


class Choice(NamedTuple):
    """A letter of a multiple choice, and what it stands for if that is said."""

    letter: str
    meaning: "Form | None"


class Several(NamedTuple):
    """Several things: a `list` as it is said, a `set` in braces, or a `tuple` in brackets, the only one with order."""

    kind: Literal["list", "set", "tuple"]
    items: tuple["Form", ...]


class Interval(NamedTuple):
    """From `low` to `high`; of an inequality, with the variable's name."""

    low: "Form"
    high: "Form"
    closed: tuple[bool, bool]
    name: str
    latex: str
    """An inequality as it is written; empty for brackets."""


class Union(NamedTuple):
    """A union of sets."""

    parts: tuple["Form", ...]


class Equation(NamedTuple):
    """Sides that are said to be equal."""

    sides: tuple[str, ...]


class Relation(NamedTuple):
    """Another relation, as a formula."""

    latex: str


class Matrix(NamedTuple):
    """Rows of entries."""

    rows: tuple[tuple["Form", ...], ...]


class Ratio(NamedTuple):
    """`3:4`; a time of day is one too."""

    terms: tuple["Form", ...]
    clock: str
    """A time as minutes after midnight or noon, and the half of the day if it is said; else empty."""


class Based(NamedTuple):
    """A numeral to another base than ten."""

    digits: str
    base: str


Form = (
    Number | Formula | Quantity | Percent | Words | Choice | Several | Interval | Union | Equation | Relation | Matrix
    | Ratio | Based
)  # fmt: skip

_DEEPEST: Final = 12
"""Nested brackets that are read part by part; what is deeper is a formula."""

_AND = (
    r"\\text\{\s*,?\s*(?:and|or|und|oder|et|ou|y|e|и|или)\s*\}|(?<![A-Za-z\\])(?:and|or|und|oder)(?![A-Za-z])"
    r"|\\lor|\\land|[或和与及]"
)
_LIST = re.compile(rf",?\s*(?:{_AND})|[,;；]")
_OR = re.compile(r"\\text\{\s*,?\s*(?:or|oder|ou|или)\s*\}|\bor\b|\\lor|或")
_ASIDE = re.compile(
    r"\s*(?:\\text\{\s*)?(?:for|where|with|if|when|since|because|such that)\b|\s*[A-Za-z]\s*\\in\s*\\mathbb"
)
_IS = r"\\text\{[^{}]{0,200}\b(?:is|are|equals)\s*\}|\b(?:is|are|equals)\b"
_SIGNS = re.compile(
    r"\\(?:le|ge|ne|approx|equiv|in|sim|Rightarrow|to|iff|cong|simeq|propto)(?![A-Za-z])|[<>]=?|:=|!=|="
    rf"|{_IS}"
)
_EQUAL = re.compile(rf"=|:=|\\(?:approx|equiv|sim|simeq|cong)|{_IS}")
_CUP = re.compile(r"\\cup(?![A-Za-z])")
_COLON = re.compile(r":|\\text\{\s*to\s*\}|(?<=\d )to(?= \d)")
_ROW = re.compile(r"\\\\")
_CELL = re.compile(r"&|,(?=\s)")


def read(answer: str) -> Form | None:
    """Return what an answer says, or None if it says nothing."""
    text = canonical(answer)
    return _whole(text, _DEEPEST) if text else None


def read_canonical(text: str) -> Form:
    """Return what a part of an answer says."""
    return _whole(text, _DEEPEST)


def _whole(text: str, depth: int) -> Form:
    text = text.lstrip(" ,;:").rstrip(" .,;:")
    dated = _date(text, depth)  # which may hold a comma
    if dated is not None:
        return dated
    parts = _items(text)
    letters = [_letter(part) for part in parts] if len(parts) > 1 else []
    if letters and all(letter is not None and not letter[1] for letter in letters):
        return Several("list", tuple(Choice(letter[0], None) for letter in letters if letter))
    chosen = _letter(text)
    if chosen is not None:
        return Choice(chosen[0], _whole(chosen[1], depth - 1) if chosen[1] and depth > 1 else None)
    if len(parts) == 1:
        return _item(parts[0], depth)
    forms = [_item(part, depth) for part in parts]
    if all(isinstance(form, Interval) for form in forms) and _OR.search(text):
        return Union(tuple(forms))
    return _several("list", forms)


def _several(kind: Literal["list", "set", "tuple"], forms: list[Form]) -> Form:
    """Return the forms as one; a list within a list is part of it, and so are both values of a ±."""
    flat: list[Form] = []
    for form in forms:
        inner = isinstance(form, Several) and form.kind == "list" and kind != "tuple"
        flat.extend(form.items if inner and isinstance(form, Several) else (form,))
    return flat[0] if len(flat) == 1 and kind == "list" else Several(kind, tuple(flat))


def _items(text: str, *, bracketed: bool = False) -> list[str]:
    """Return the parts of a list; a comma before three digits groups thousands, in brackets only beside `, `."""
    parts, separators = split(text, _LIST)
    spaced = not bracketed or any(
        separator == "," and after.startswith(" ") for separator, after in zip(separators, parts[1:], strict=True)
    )
    items = [parts[0]]
    for separator, part in zip(separators, parts[1:], strict=True):
        groups = spaced and separator == "," and _GROUP.match(part) and _GROUPED.search(items[-1])
        if groups:
            items[-1] += "," + part
        else:
            items.append(part)
    kept = [item.strip() for item in items if item.strip()]
    # A condition after the answer is not another answer.
    return [item for at, item in enumerate(kept) if at == 0 or not _ASIDE.match(item)] or [""]


_GROUP = re.compile(r"\d{3}(?![\d,]*\d{4})(?!\d)")
_GROUPED = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})*\Z")


def _item(text: str, depth: int) -> Form:
    text = _ABOUT.sub("", text.lstrip(" ;:").rstrip(" .;:")).strip()
    if depth == 0:
        return Formula(text)
    if _PLUS_MINUS.search(text) and not text.startswith(r"\{"):
        both = [_signed(text, upper, lower) for upper, lower in (("+", "-"), ("-", "+"))]
        return _several("list", [_item(one, depth - 1) for one in both])
    if text == r"\mathbb{R}":
        text = r"\text{all real numbers}"
    for kind in (_date, _bracketed, _related, _union, _matrix, _number, _based, _ratio, _percent, _measured, _words):
        form = kind(text, depth)
        if form is not None:
            return form
    return Formula(text)


_ABOUT = re.compile(
    r"\A(?:(?:\\text\{\s*)?(?:approximately|approx\.?|about|roughly|exactly)\s*\}?\s*|\\approx\s*|\\sim\s*|\\therefore\s*"
    r"|(?:\\text\{\s*)?(?:[Tt]he\s+)?(?:[Ff]inal\s+)?(?:[Aa]nswer|[Ss]olution|[Rr]esult)\s*:\s*\}?\s*)+"
)
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
_SIGN = re.compile(r"(?P<first>\A\s*|(?<=[=(,\[{<>])\s*)?\\(?P<which>[pm]{2})(?![A-Za-z])\s*")


def _signed(text: str, upper: str, lower: str) -> str:
    def sign(found: re.Match[str]) -> str:
        given = upper if found["which"] == "pm" else lower
        return "" if given == "+" and found["first"] is not None else given

    return _SIGN.sub(sign, text)


_DATE = re.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2})")


_MONTH = re.compile(
    r"(?<![^\W\d_])(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)(?:uary|ruary|ch|il|e|y|ust|ember|ober)?(?![^\W\d_])",
    re.IGNORECASE,
)


def _date(text: str, _: int) -> Form | None:
    """Return a date as words, with the month's first three letters, in whatever order they stand."""
    if _DATE.fullmatch(text):
        return Words((re.sub(r"[-/.]0?", "-", text),))
    plain = _WITHOUT_TEXT.sub(r" \1 ", text)
    month = _MONTH.search(plain)
    rest = _MONTH.sub(" ", plain)
    if month is None or len(_MONTH.findall(plain)) > 1 or not re.search(r"\d", rest) or re.search(r"[^\d\s,.]", rest):
        return None
    return Words((month[0][:3].casefold(), *sorted(re.findall(r"\d+", rest))))


_WITHOUT_TEXT = re.compile(r"\\text\{([^{}]*)\}")
_CHOICE = re.compile(
    r"(?i:option|choice|answer)?\s*(?:\(\s*([A-Ja-j])\s*\)|([A-J])(?=[.):]|\s*\Z)[.):]?)\s*(.*)", re.DOTALL
)


def _letter(text: str) -> tuple[str, str] | None:
    """Return the letter of a choice that an answer begins with, and what follows it; None if it is another answer."""
    plain = _WITHOUT_TEXT.sub(r"\1", text).strip()
    found = _CHOICE.fullmatch(plain)
    if found is None:
        return None
    rest = _WITHOUT_TEXT.sub(lambda words: words[0] if not _CHOICE.match(words[1].strip()) else "", text)
    rest = rest[len(rest) - len(found[3]) :] if rest.endswith(found[3]) else found[3]
    rest = rest.strip(" .,:;")
    if rest.startswith(("^", "_", "+", "-", "*", "/", "=", "<", ">", "!", "(", "[", "\\c", "\\i", "\\l", "\\g", "\\n")):
        return None  # (a) + b
    if found[1] and found[1].islower() and rest:
        return None  # (a) b
    return (found[1] or found[2]).upper(), rest


_FENCES: Final = {"(": ")", "[": "]", r"\{": r"\}", "{": "}", r"\langle": r"\rangle", "|": "|"}


def _fenced(text: str) -> tuple[str, str, str] | None:
    """Return the bracket that opens a text, what is inside, and the bracket that closes it, at the text's end."""
    opener = next((bracket for bracket in (r"\langle", r"\{", "(", "[", "{") if text.startswith(bracket)), None)
    end = closing(text, 0) if opener else None
    if opener is None or end != len(text) - 1:
        return None
    closer = next((bracket for bracket in (r"\rangle", r"\}", ")", "]", "}") if text.endswith(bracket)), "")
    return opener, text[len(opener) : len(text) - len(closer)].strip(), closer


def _bracketed(text: str, depth: int) -> Form | None:
    fenced = _fenced(text)
    if fenced is None:
        return None
    opener, inside, closer = fenced
    if r"\begin" in inside and inside.startswith(r"\begin"):
        return _matrix(inside, depth)
    described = _DESCRIBED.match(inside) if opener in (r"\{", "{") else None
    if described:
        return _item(described[1], depth - 1)
    parts = _items(inside, bracketed=True)
    if opener in (r"\{", "{") and closer in (r"\}", "}"):
        if not inside:
            return Words(("no", "solution"))
        forms = [_item(part, depth - 1) for part in parts]
        return forms[0] if opener == "{" and len(forms) == 1 else _several("set", forms)
    if len(parts) == 1:
        return _item(parts[0], depth - 1) if opener == "(" and closer == ")" and _outer(parts[0]) else None
    forms = [_item(part, depth - 1) for part in parts]
    if len(parts) == 2 and "[" + "]" != opener + closer != "()" and {opener, closer} <= set("()[]"):
        return Interval(forms[0], forms[1], (opener == "[", closer == "]"), "", "")
    if len(parts) == 2 and opener + closer == "[]":
        return Interval(forms[0], forms[1], (True, True), "", "")
    return _several("tuple", forms)


_DESCRIBED = re.compile(
    r"[A-Za-z]\s*(?:\\in\s*\\mathbb\s*\{?\s*R\s*\}?\s*)?(?:\||:|\\text\{\s*such that\s*\})(.+)\Z", re.DOTALL
)


def _outer(text: str) -> bool:
    """Say whether brackets around the text only enclose it, and do not count for what it says."""
    return not re.fullmatch(r"[A-Za-z]", text)


def _matrix(text: str, depth: int) -> Form | None:
    found = _MATRIX.fullmatch(text)
    if found is None or r"\begin" in found[2]:
        return None
    rows = [row for row in split(found[2], _ROW)[0] if row.strip()]
    return Matrix(tuple(tuple(_item(cell, depth - 1) for cell in split(row, _CELL)[0]) for row in rows))


_MATRIX = re.compile(r"\\begin\{([pbB]?matrix|smallmatrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}", re.DOTALL)


def _related(text: str, depth: int) -> Form | None:
    sides, signs = split(text, _SIGNS)
    if not signs:
        return None
    for arrow in (r"\Rightarrow", r"\to", r"\iff"):
        if arrow in signs:
            last = len(signs) - signs[::-1].index(arrow)
            after = _after(text, sides, signs, last)
            return _item(after, depth - 1) if after.strip() else Relation(text)
    if any(not side.strip() for side in sides[1:]):
        return Relation(text)
    if not sides[0].strip():
        # "= 5", "< 5": what is compared stands before the answer.
        said = text[len(sides[0]) + len(signs[0]) :]
        return _item(said, depth - 1) if _EQUAL.fullmatch(signs[0]) else Relation(text)
    if signs == [r"\ne"] and _NAME.fullmatch(sides[0].strip()):
        return _without([_item(sides[1], depth - 1)], sides[0].strip()) or Relation(text)
    if signs == [r"\in"]:
        return _item(sides[1], depth - 1)
    if all(map(_EQUAL.fullmatch, signs)):
        return Equation(tuple(side.strip() for side in sides))
    return _inequality(sides, signs, depth) or Relation(text)


def _after(text: str, sides: list[str], signs: list[str], at: int) -> str:
    return text[sum(map(len, sides[:at])) + sum(map(len, signs[:at])) :]


_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{[^{}]*\})?(?:\([A-Za-z]\))?")
_LESS: Final = {"<": (False, True), r"\le": (True, True), "<=": (True, True)}
_MORE: Final = {">": (False, False), r"\ge": (True, False), ">=": (True, False)}


def _inequality(sides: list[str], signs: list[str], depth: int) -> Form | None:
    """Return the interval that inequalities leave for one name, or None."""
    if len(sides) not in (2, 3) or not all(sign in _LESS or sign in _MORE for sign in signs):
        return None
    turned = [sign in _MORE for sign in signs]
    if any(turned) and not all(turned):
        return None
    written = "".join(side + sign for side, sign in zip(sides, [*signs, ""], strict=True))
    sides = [side.strip() for side in sides]
    closed = [(_LESS.get(sign) or _MORE[sign])[0] for sign in signs]
    if turned[0]:
        sides, closed = sides[::-1], closed[::-1]
    names = [at for at, side in enumerate(sides) if _NAME.fullmatch(side) and side not in (r"\infty", r"\pi", "e")]
    if len(names) != 1:
        return None
    at = names[0]
    low = _item(sides[at - 1], depth - 1) if at else Formula(r"-\infty")
    high = _item(sides[at + 1], depth - 1) if at + 1 < len(sides) else Formula(r"\infty")
    if len(sides) == 3 and at != 1:
        return None
    return Interval(low, high, (bool(at) and closed[0], at + 1 < len(sides) and closed[-1]), sides[at], written)


_EXCLUDED = re.compile(r"\\mathbb\s*\{?\s*R\s*\}?\s*(?:\\setminus|\\backslash|-|\\)\s*(\\\{.*\\\})", re.DOTALL)


def _without(forms: list[Form], name: str) -> Form | None:
    """Return the real numbers without these, or None if they are not numbers."""
    numbers = sorted({form.value for form in forms if isinstance(form, Number)})
    if not forms or len(numbers) < len(forms):
        return None
    ends: list[Form] = [Formula(r"-\infty"), *(Number(number, None, 1) for number in numbers), Formula(r"\infty")]
    return Union(tuple(Interval(low, high, (False, False), name, "") for low, high in pairwise(ends)))


def _union(text: str, depth: int) -> Form | None:
    excluded = _EXCLUDED.fullmatch(text)
    if excluded:
        inner = _item(excluded[1], depth - 1)
        return _without(list(inner.items), "") if isinstance(inner, Several) else None
    parts, cups = split(text, _CUP)
    return Union(tuple(_item(part, depth - 1) for part in parts)) if cups and all(map(str.strip, parts)) else None


_NUMBER = re.compile(
    r"""(?P<sign>[-+]?)\s*(?P<money>\\\$|[€£¥₹])?\s*(?P<inner>-?)
    (?: (?P<whole>\d{1,3}(?:[,\ ]\d{3})+|\d+)?
        \s* (?:\\frac\{\s*(?P<minus>-?)\s*(?P<over>\d+)\s*\}\{\s*(?P<under>-?\d+)\s*\})
      | (?P<digits>[1-9]\d{0,2}(?:,\d{3})+|\d+|(?=\.\d)) (?P<decimals>\.\d*)?
        (?:\\overline\{(?P<again>\d{1,50})\}|\\dot\{(?P<again_1>\d)\})?
        (?: \s*(?:\\times|\\cdot|\*|x)\s*10\s*\^\{\s*(?P<power>[-+]?\d{1,3})\s*\} | [eE](?P<exponent>[-+]?\d{1,3}) )?
      | 10\^\{\s*(?P<ten>[-+]?\d{1,3})\s*\}
    )""",
    re.VERBOSE,
)


_SPACED = re.compile(r"-?\d{1,3}(?: \d{3})+(?:\.\d+)?")


def _number(text: str, _: int) -> Form | None:
    found = _NUMBER.fullmatch(text.replace(" ", "") if _SPACED.fullmatch(text) else text)
    if found is None:
        return None
    sign = -1 if (found["sign"] == "-") != (found["inner"] == "-") else 1
    form: Form
    if found["ten"]:
        form = Number(sign * Fraction(10) ** int(found["ten"]), None, 1)
    elif found["over"] is not None:
        over, under = int(found["over"]), int(found["under"])
        if found["whole"] and (found["minus"] or not 0 <= over < under):
            return Words((text,))  # neither a mixed number nor a product that anyone would write
        if under == 0:
            return Formula(text)
        whole = int(re.sub("[, ]", "", found["whole"] or "0"))
        form = Number(sign * (whole + Fraction(-over if found["minus"] else over, under)), None, 1)
    else:
        form = _decimal(found, sign)
    if found["money"]:
        return Quantity(form, unit(found["money"]), text)
    return form


def _decimal(found: re.Match[str], sign: int) -> Number:
    whole, decimals = found["digits"].replace(",", "") or "0", (found["decimals"] or "").removeprefix(".")
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    again = found["again"] or found["again_1"]
    if again:
        value += Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(decimals))
    power = int(found["power"] or found["exponent"] or 0)
    places = len(decimals) - power if decimals and not again else None
    return Number(sign * value * Fraction(10) ** power, places, len((whole + decimals).lstrip("0")))


_BASED = re.compile(r"\(?\s*([0-9A-F]+)\s*\)?\s*_\s*\{\s*(?:\\text\{\s*)?([a-z]+|\d{1,2})\s*\}?\s*\}")
_BASES: Final = {
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
}
_BASES_MORE: Final = {"ten": "10", "sixteen": "16", "hex": "16", "bin": "2", "oct": "8", "dec": "10", "twelve": "12"}


def _based(text: str, depth: int) -> Form | None:
    found = _BASED.fullmatch(text)
    base = found and (found[2] if found[2].isdigit() else {**_BASES, **_BASES_MORE}.get(found[2]))
    if not found or not base or (not found[1][0].isdigit() and int(base) <= 10):
        return None
    digits = found[1].lstrip("0") or "0"
    return _number(digits, depth) if base == "10" else Based(digits, base)


_CLOCK = re.compile(r"(\d{1,2}):([0-5]\d)\s*(?:\\text\{)?\s*([aApP])?\.?\s*(?:[mM]\.?|\.)?\s*\}?")


def _ratio(text: str, depth: int) -> Form | None:
    clock = _CLOCK.fullmatch(text)
    if clock and int(clock[1]) <= 24:
        hours = int(clock[1]) % 12 if clock[3] else int(clock[1])
        terms = (Number(Fraction(clock[1]), None, 1), Number(Fraction(clock[2]), None, 1))
        return Ratio(terms, f"{60 * hours + int(clock[2])}{(clock[3] or '').lower()}")
    parts, colons = split(text, _COLON)
    if not colons or not all(map(str.strip, parts)):
        return None
    return Ratio(tuple(_item(part, depth - 1) for part in parts), "")


_PERCENT = re.compile(r"\s*(?:%|\\text\{\s*(?:percent|per cent|pct|percentage)\s*\}|\b(?:percent|per cent|pct)\b)\s*\Z")


def _percent(text: str, depth: int) -> Form | None:
    found = _PERCENT.search(text)
    value = text[: found.start()].strip() if found else ""
    return Percent(_item(value, depth - 1)) if value and not value.endswith("%") else None


_MEASURE = re.compile(
    r"\\text\{|\\degree|\\pmod|\\bmod|\\(?:mod)(?![A-Za-z])|(?<=[\d}!)\]] )[A-Za-zµ]+|(?<=\d)m(?=\^\{[23]\})"
    r"|(?<=\d)[A-Za-zµ]{2,}(?![A-Za-z(])|(?<=[\d} ])[\u4e00-\u9fff]|\\\$|[€£¥₹]"
)
_ANGULAR = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_UNITLIKE = re.compile(r"(?:\\\$|[€£¥₹]|\\text\{[^{}]*\}|\^\{?-?\d\}?|\\degree|\\cdot|[^\W\d_]|[/\s*.²³()'-])+")
_MINUTES = re.compile(r"\\degree\s*(\d{1,2}(?:\.\d+)?)\s*'(?:\s*(\d{1,2}(?:\.\d+)?)\s*'')?\s*")


def _measured(text: str, depth: int) -> Form | None:
    """Return a value with a unit, or another word, after it."""
    for tries, found in enumerate(_MEASURE.finditer(text)):
        value, rest = text[: found.start()].strip(), text[found.start() :].strip()
        if tries == 8:
            return None
        if not value or value[-1] in "+-*/^_=(" or value.endswith(("\\cdot", "\\times")):
            continue
        if found[0] in (r"\pmod", r"\bmod", r"\mod"):
            return Quantity(_item(value, depth - 1), Unit(((f"modulo {_bare(rest)}", 1),), Fraction(1)), text)
        minutes = _MINUTES.fullmatch(rest)
        whole = _number(value, depth) if minutes else None
        if minutes and isinstance(whole, Number):
            parts = Fraction(minutes[1]) / 60 + Fraction(minutes[2] or 0) / 3600
            return Quantity(Number(whole.value + parts, None, 1), unit("°"), text)
        if not _UNITLIKE.fullmatch(rest) or not _balanced(value):
            continue
        words = _WITHOUT_TEXT.sub(r" \1 ", rest)
        known = unit(words)
        if "degree" in dict(known.dimensions if known else ()) and _ANGULAR.search(value):
            continue
        form = _item(value, depth - 1)
        if isinstance(form, Words) or (
            isinstance(form, Formula) and known is None and not found[0].startswith("\\text")
        ):
            continue
        if known is None and not any(len(word) > 1 or not word.isascii() for word in re.findall(r"[^\W\d_]+", words)):
            continue
        return Quantity(form, known, f"{value} {words}")
    return None


def _bare(text: str) -> str:
    return re.sub(r"\\[pb]?mod(?![A-Za-z])|[\s{}()]", "", text)


def _balanced(text: str) -> bool:
    return text.count("{") == text.count("}") and text.count("(") == text.count(")")


# What makes another number of a numeral, or no statement of it.
_OTHER_NUMERAL = re.compile(
    r"\b(?:thirds?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|and|or|to|of|point|minus|plus|times|over|more|less"
    r"|fewer|than|per|not)\b"
)
_ALL: Final = ("all real numbers", "all reals", "real numbers", "reals", "all real number")
_NOTHING: Final = {
    **dict.fromkeys(
        ("none", "no solutions", "no real solution", "no real solutions", r"\emptyset", "empty set", "nosolution"),
        ("no", "solution"),
    ),
    **dict.fromkeys(("dne", "undefined", "not exist", "does not exist", "is undefined"), ("does", "not", "exist")),
}
_PLAIN_WORDS = re.compile(r"(?:\\text\{[^{}]*\}|[^\W\d_]|[\s'.()-])+")
_LONG_WORD = re.compile(r"(?<![A-Za-z\\])[^\W\d_]{3,}")


def _words(text: str, _: int) -> Form | None:
    """Return words: what is set as text, and plain runs of three letters or more that are no function."""
    plain = _WITHOUT_TEXT.sub(r" \1 ", text)
    if text != r"\emptyset" and not (_PLAIN_WORDS.fullmatch(text) and (plain != text or _LONG_WORD.search(text))):
        if not re.match(r"\s*(?:\\text\{[^{}]*[^\W\d_]{3,}[^{}]*\}|[^\W\d_]{3,}\s)\s*[\d\w]", text):
            return None
        if re.match(r"\s*(?:log|sin|cos|tan|sec|csc|cot|exp|max|min|gcd|lcm|sqrt|mod)\b", text):
            return None
    words = tuple(re.findall(r"[^\W_]+|\\emptyset", plain.casefold()))
    if not words:
        return None
    words = tuple(word for word in words if word not in ("the", "a", "an")) or words
    joined = " ".join(words)
    spelled = words_value(plain.casefold().replace(",", " ").split())
    if spelled is not None and not _OTHER_NUMERAL.search(joined.split(" ", spelled[1])[-1]):
        number = Number(spelled[0], None, 1)
        return number if spelled[1] == len(plain.split()) else Quantity(number, None, "")
    if joined in _ALL:
        return Interval(Formula(r"-\infty"), Formula(r"\infty"), (False, False), "", "")
    if len(joined) == 1:
        return Formula(plain.strip())
    return Words(_NOTHING.get(joined, words))
