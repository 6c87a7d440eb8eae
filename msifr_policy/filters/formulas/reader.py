"""What an answer says, read from its canonical spelling: its kind, and of what has parts, these one by one.

Nothing is evaluated but decimals and fractions as they are written.
"""

import re
from fractions import Fraction
from typing import Final, Literal

from msifr_policy.filters.formulas.forms import (
    ChoiceForm,
    Equation,
    Form,
    Formula,
    Interval,
    Matrix,
    NumberForm,
    Percent,
    Quantity,
    Ratio,
    RelationForm,
    Several,
    Union,
    WordsForm,
)
from msifr_policy.filters.formulas.intervals import all_but, both_hold, infinite
from msifr_policy.filters.formulas.numerals import based_form, number_form
from msifr_policy.filters.formulas.text import SET_AS_TEXT, canonical, closing, split, without_text
from msifr_policy.filters.formulas.units import Unit, unit
from msifr_policy.filters.formulas.wording import date_form, words_form
from msifr_policy.reading.literals import SCALES, words

_DEEPEST: Final = 12
"""Nested brackets that are read part by part; what is deeper is a formula."""

_AND = (
    r"\\text\{\s*,?\s*(?:and|or|und|oder|et|ou|y|e|и|или)\s*\}|(?<![A-Za-z\\])(?:and|or|und|oder)(?![A-Za-z])"
    r"|\\lor|\\land|[或和与及]"
)
_LIST = re.compile(rf",?\s*(?:{_AND})|[,;；]")
_OR = re.compile(r"\\text\{\s*,?\s*(?:or|oder|ou|или)\s*\}|\bor\b|\\lor|或")
_ASIDE = re.compile(
    r"\s*(?:\\text\{\s*)?(?:for|where|with|if|when|since|because|such that|and not|not"
    r"|as (?:desired|required|claimed|expected))\b|\s*[A-Za-z]\s*\\in\s*\\mathbb|\s*\\forall"
)
_FOR_ALL = re.compile(
    r"\\text\{\s*for (?:all|any|every|each)\b|(?<![A-Za-z\\])for (?:all|any|every|each)\b|\\forall(?![A-Za-z])"
)
_IS = r"\\text\{[^{}]{0,200}\b(?:is|are|equals)\s*\}|\b(?:is|are|equals)\b"
_SIGNS = re.compile(
    r"\\(?:le|ge|ne|approx|equiv|in|sim|Rightarrow|to|iff|cong|simeq|propto)(?![A-Za-z])|[<>]=?|:=|!=|="
    rf"|{_IS}"
)
_EQUAL = re.compile(rf"=|:=|\\(?:approx|equiv|sim|simeq|cong)|{_IS}")
_CUP = re.compile(r"\\cup(?![A-Za-z])")
_COLON = re.compile(r":|\\text\{\s*(?:to|out of)\s*\}|(?<=\d )out of(?= \d)|(?<=\d )to(?= \d)")
_ROW = re.compile(r"\\\\")
_CELL = re.compile(r"&|,(?=\s)")


def read(answer: str) -> Form | None:
    """Return what an answer says, or None if it says nothing."""
    text = canonical(answer)
    return read_canonical(text) if text else None


def read_canonical(text: str) -> Form:
    """Return what an answer, or a part of one, in the canonical spelling says."""
    return _whole(text, _DEEPEST)


def _whole(text: str, depth: int) -> Form:
    text = text.lstrip(" ,;:").rstrip(" .,;:")
    system = _SYSTEM.fullmatch(text)
    if system:
        text = ", ".join(row.strip(" ,;") for row in split(system[2].replace("&=", "="), _ROW)[0] if row.strip())
    with_commas = date_form(text) or _compound(text) or _excepted(text, depth)
    if with_commas is not None:
        return with_commas
    said = split(text, _FOR_ALL)[0][0].rstrip(" ,;")
    parts = _items(said or text)
    letters = [_letter(part) for part in parts] if len(parts) > 1 else []
    if letters and all(letter is not None and not letter[1] for letter in letters):
        return Several("list", tuple(ChoiceForm(letter[0], None) for letter in letters if letter))
    chosen = _letter(text)
    if chosen is not None:
        return ChoiceForm(chosen[0], _whole(chosen[1], depth - 1) if chosen[1] and depth > 1 else None)
    if len(parts) == 1:
        return _item(parts[0], depth)
    forms = [_item(part, depth) for part in parts]
    if all(isinstance(form, Interval) for form in forms) and _OR.search(text):
        return Union(tuple(forms))
    return both_hold(forms) or _several("list", forms)


_SYSTEM = re.compile(r"(?:\\\{)?\s*\\begin\{(cases|aligned|gathered)\}((?:[^&]|&=)*)\\end\{\1\}", re.DOTALL)


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
        both = [_item(_signed(text, upper, lower), depth - 1) for upper, lower in (("+", "-"), ("-", "+"))]
        return both_hold(both) or _several("list", both)
    if text == r"\mathbb{R}":
        text = r"\text{all real numbers}"
    return (
        date_form(text)
        or _bracketed(text, depth)
        or _related(text, depth)
        or _union(text, depth)
        or _matrix(text, depth)
        or number_form(text)
        or based_form(text)
        or _ratio(text, depth)
        or _percent(text, depth)
        or _restated(text, depth)
        or _negated(text, depth)
        or _measured(text, depth)
        or words_form(text)
        or Formula(text)
    )


_RESTATED = re.compile(
    r"(?P<value>.*[^\s(^_])\s*\(\s*(?P<mark>\\text\{\s*(?:or|about|approximately)\s*\}|or(?![A-Za-z])|=|\\approx|(?<=\s\())"
    r"(?P<again>[^()]+)\)"
)


def _restated(text: str, depth: int) -> Form | None:
    """Return a value and the same in brackets after it, as a list of both: `3/4 (0.75)`, or `(or 0.75)`."""
    found = _RESTATED.fullmatch(text)
    if found is None:
        return None
    forms = [_item(part, depth - 1) for part in (found["value"], found["again"])]
    numbers = [form.value for form in forms if isinstance(form, NumberForm)]
    marked = found["mark"] != ""
    close = len(numbers) == 2 and abs(numbers[0] - numbers[1]) * 100 <= abs(numbers[0])
    return _several("list", forms) if marked or close else None


_ABOUT = re.compile(
    r"\A(?:(?:\\text\{\s*)?(?:approximately|approx\.?|about|roughly|exactly)\s*\}?\s*|\\approx\s*|\\sim\s*|\\therefore\s*"
    r"|(?:\\text\{\s*)?(?:[Tt]he\s+)?(?:[Ff]inal\s+)?(?:[Aa]nswer|[Ss]olution|[Rr]esult)\s*:\s*\}?\s*|\\text\{[^{}\d:]{3,60}:\s*\}\s*|[A-Z][a-z]{2,20}(?:\s[a-z]{1,20}){0,4}:\s+"
    r"|(?:最终|最終)?答案\s*(?:是|为|為|:)\s*:?\s*|(?:[Aa]ntwort|[Rr]éponse|[Rr]espuesta|[Rr]esposta|[Rr]isposta|[Оо]твет)\s*:\s*)+"
)
_PLUS_MINUS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])")
_SIGN = re.compile(r"(?P<first>\A\s*|(?<=[=(,\[{<>])\s*)?\\(?P<which>[pm]{2})(?![A-Za-z])\s*")


def _signed(text: str, upper: str, lower: str) -> str:
    def sign(found: re.Match[str]) -> str:
        given = upper if found["which"] == "pm" else lower
        return "" if given == "+" and found["first"] is not None else given

    return _SIGN.sub(sign, text)


_PIECE = re.compile(r"\s*(?:,\s*)?(?:and\s+)?(\d{1,9}(?:\.\d{1,9})?)\s*([^\W\d_]+)\.?(?=[\s,\d]|\Z)")


def _compound(text: str) -> Form | None:
    """Return a quantity in several units, each smaller than the one before: `2 hours and 30 minutes`."""
    plain = without_text(text)
    total, at, last, first = Fraction(0), 0, None, None
    while at < len(plain.rstrip()):
        piece = _PIECE.match(plain, at)
        named = unit(piece[2]) if piece else None
        if piece is None or named is None or len(named.dimensions) != 1:
            return None
        first = first or named
        if last is not None and (named.dimensions != last.dimensions or named.factor >= last.factor):
            return None
        total += Fraction(piece[1]) * named.factor / first.factor
        at, last = piece.end(), named
    return Quantity(NumberForm(total), first, text) if first is not None and last is not first else None


_EXCEPT = re.compile(
    r"\s*(?:\\text\{\s*)?(?:all\s+)?(?:real\s+(?:numbers|values)|reals)\s+(?:except|other\s+than|besides|but)(?:\s+for)?\s*\}?"
    r"\s*(?:[a-z]\s*=\s*)?(\S.*)"
)


def _excepted(text: str, depth: int) -> Form | None:
    """Return the real numbers but for those that are named."""
    found = _EXCEPT.fullmatch(text)
    return all_but([_item(part, depth - 1) for part in _items(found[1])]) if found and depth else None


_CHOICE = re.compile(
    r"(?i:option|choice|answer)?\s*(?:\(\s*([A-Ja-j])\s*\)|([A-J])(?=[.):]|\s*\Z)[.):]?)\s*(.*)", re.DOTALL
)


def _letter(text: str) -> tuple[str, str] | None:
    """Return the letter of a choice that an answer begins with, and what follows it; None if it is another answer."""
    plain = SET_AS_TEXT.sub(r"\1", text).strip()
    found = _CHOICE.fullmatch(plain)
    if found is None:
        return None
    rest = SET_AS_TEXT.sub(lambda words: words[0] if not _CHOICE.match(words[1].strip()) else "", text)
    rest = rest[len(rest) - len(found[3]) :] if rest.endswith(found[3]) else found[3]
    rest = rest.strip(" .,:;")
    if rest.startswith(("^", "_", "+", "-", "*", "/", "=", "<", ">", "!", "(", "[", "\\c", "\\i", "\\l", "\\g", "\\n")):
        return None  # (a) + b
    if found[1] and found[1].islower() and rest:
        return None  # (a) b
    return (found[1] or found[2]).upper(), rest


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
    if inside.startswith(r"\begin"):
        return _matrix(inside, depth)
    described = _DESCRIBED.match(inside) if opener in (r"\{", "{") else None
    if described:
        return _item(described[1], depth - 1)
    parts = _items(inside, bracketed=True)
    if opener in (r"\{", "{") and closer in (r"\}", "}"):
        if not inside:
            return WordsForm(("no", "solution"))
        forms = [_item(part, depth - 1) for part in parts]
        return forms[0] if opener == "{" and len(forms) == 1 else _several("set", forms)
    if len(parts) == 1:
        return _item(parts[0], depth - 1) if opener == "(" and closer == ")" and _outer(parts[0]) else None
    forms = [_item(part, depth - 1) for part in parts]
    rows = [_fenced(part) for part in parts] if opener + closer == "[]" else []
    if rows and all(row is not None and row[0] + row[2] == "[]" for row in rows):
        cells = [_items(row[1], bracketed=True) for row in rows if row]
        return Matrix(tuple(tuple(_item(cell, depth - 1) for cell in row) for row in cells))
    fences = opener + closer
    if len(parts) == 2 and (fences in ("[]", "[)", "(]") or (fences == "()" and any(map(infinite, forms)))):
        return Interval(forms[0], forms[1], (opener == "[", closer == "]"))
    return _several("tuple", forms)


_DESCRIBED = re.compile(
    r"[A-Za-z]\s*(?:\\in\s*\\mathbb\s*\{?\s*R\s*\}?\s*)?(?:\||:|\\text\{\s*such that\s*\})(.+)\Z", re.DOTALL
)


def _outer(text: str) -> bool:
    """Say whether brackets around the text only enclose it, and do not count for what it says."""
    return not re.fullmatch(r"[A-Za-z]", text)


_TRANSPOSED = re.compile(r"(.+[\])}])\s*\^\{\s*(?:T|t|\\top|\\intercal)\s*\}", re.DOTALL)
_TIMES = re.compile(r"(?:\s|\\cdot(?![A-Za-z])|\\times(?![A-Za-z])|\*)+\Z")


def _matrix(text: str, depth: int) -> Form | None:
    """Return a matrix, perhaps transposed or with a factor before it; a tuple that is transposed is a column."""
    turned = _TRANSPOSED.fullmatch(text)
    if turned:
        inner = _item(turned[1], depth - 1)
        if isinstance(inner, Matrix) and len({len(row) for row in inner.rows}) == 1:
            return Matrix(tuple(zip(*inner.rows, strict=True)))
        if isinstance(inner, Interval) and not inner.name:
            return Matrix(((inner.low,), (inner.high,)))
        tuples = isinstance(inner, Several) and inner.kind == "tuple"
        return Matrix(tuple((item,) for item in inner.items)) if tuples and isinstance(inner, Several) else None
    begin = text.find(r"\begin")
    begin = len(text[:begin].rstrip("([ ")) if begin > 0 else begin
    if begin > 0:
        factor, inner = _TIMES.sub("", text[:begin]), _item(text[begin:], depth - 1)
        if (
            not isinstance(inner, Matrix)
            or not _balanced(factor)
            or re.search(r"[+=,\w})]\s*[-+=,]|[+=,&]\s*\Z", factor)
        ):
            return None
        return Matrix(tuple(tuple(_multiple(factor, cell, depth) for cell in row) for row in inner.rows))
    found = _MATRIX.fullmatch(text)
    if found is None or r"\begin" in found[2]:
        return None
    rows = [row for row in split(found[2], _ROW)[0] if row.strip()]
    return Matrix(tuple(tuple(_item(cell, depth - 1) for cell in split(row, _CELL)[0]) for row in rows))


def _multiple(factor: str, cell: Form, depth: int) -> Form:
    by = _item("-1" if factor.strip() == "-" else factor, depth - 1)
    if isinstance(by, NumberForm) and isinstance(cell, NumberForm):
        return NumberForm(by.value * cell.value)
    latex = cell.latex if isinstance(cell, Formula) else str(cell.value) if isinstance(cell, NumberForm) else ""
    return Formula(rf"({factor})\cdot({latex})") if latex else cell


_MATRIX = re.compile(r"\\begin\{([pbB]?matrix|smallmatrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}", re.DOTALL)


def _related(text: str, depth: int) -> Form | None:
    sides, signs = split(text, _SIGNS)
    if not signs:
        return None
    for arrow in (r"\Rightarrow", r"\to", r"\iff"):
        if arrow in signs:
            last = len(signs) - signs[::-1].index(arrow)
            after = _after(text, sides, signs, last)
            return _item(after, depth - 1) if after.strip() else RelationForm(text)
    if any(not side.strip() for side in sides[1:]):
        return RelationForm(text)
    if not sides[0].strip():
        # "= 5", "< 5": what is compared stands before the answer.
        said = text[len(sides[0]) + len(signs[0]) :]
        return _item(said, depth - 1) if _EQUAL.fullmatch(signs[0]) else RelationForm(text)
    if signs == [r"\ne"] and _NAME.fullmatch(sides[0].strip()):
        return all_but([_item(sides[1], depth - 1)], sides[0].strip()) or RelationForm(text)
    if signs == [r"\in"]:
        return _item(sides[1], depth - 1)
    if all(map(_EQUAL.fullmatch, signs)):
        return Equation(tuple(side.strip() for side in sides))
    turned = all(sign in _MORE for sign in signs)
    return _inequality(sides, signs, depth) or RelationForm(_turned(sides, signs) if turned else text)


def _turned(sides: list[str], signs: list[str]) -> str:
    """Return a > b > c as c < b < a."""
    less = [_MORE[sign] for sign in reversed(signs)]
    return "".join(side.strip() + sign for side, sign in zip(reversed(sides), [*less, ""], strict=True))


def _after(text: str, sides: list[str], signs: list[str], at: int) -> str:
    return text[sum(map(len, sides[:at])) + sum(map(len, signs[:at])) :]


_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{[^{}]*\})?(?:\([A-Za-z]\))?")
_LESS: Final = ("<", r"\le", "<=")
_MORE: Final = {">": "<", r"\ge": r"\le ", ">=": r"\le "}
"""Signs, and how they are written the other way round."""


def _inequality(sides: list[str], signs: list[str], depth: int) -> Form | None:
    """Return the interval that inequalities leave for one name, or None."""
    if len(sides) not in (2, 3) or not all(sign in _LESS or sign in _MORE for sign in signs):
        return None
    turned = [sign in _MORE for sign in signs]
    if any(turned) and not all(turned):
        return None
    written = "".join(side + sign for side, sign in zip(sides, [*signs, ""], strict=True))
    sides = [side.strip() for side in sides]
    closed = [sign not in ("<", ">") for sign in signs]
    if turned[0]:
        sides, closed = sides[::-1], closed[::-1]
    if len(sides) == 2 and any(map(_SIZE.fullmatch, sides)):
        return _sized(sides, closed[0], depth)
    names = [at for at, side in enumerate(sides) if _NAME.fullmatch(side) and side not in (r"\infty", r"\pi", "e")]
    if len(names) != 1 or (len(sides) == 3 and names != [1]):
        return None
    at = names[0]
    low = _item(sides[at - 1], depth - 1) if at else Formula(r"-\infty")
    high = _item(sides[at + 1], depth - 1) if at + 1 < len(sides) else Formula(r"\infty")
    return Interval(low, high, (bool(at) and closed[0], at + 1 < len(sides) and closed[-1]), sides[at], written)


_SIZE = re.compile(r"\|\s*([A-Za-z])\s*(?:([-+])\s*(\d{1,20}(?:\.\d{1,20})?))?\s*\|")


def _sized(sides: list[str], closed: bool, depth: int) -> Form | None:
    """Return the numbers that |x - a| < b, or >, leaves; `sides` are those of <."""
    at = 0 if _SIZE.fullmatch(sides[0]) else 1
    found, bound = _SIZE.fullmatch(sides[at]), _item(sides[1 - at], depth - 1)
    if found is None or not isinstance(bound, NumberForm) or bound.value <= 0:
        return None
    middle = Fraction(found[3] or 0) * (-1 if found[2] == "+" else 1)
    low, high = (NumberForm(middle + sign * bound.value) for sign in (-1, 1))
    if at == 0:
        return Interval(low, high, (closed, closed), found[1])
    below = Interval(Formula(r"-\infty"), low, (False, closed), found[1])
    return Union((below, Interval(high, Formula(r"\infty"), (closed, False), found[1])))


_EXCLUDED = re.compile(r"\\mathbb\s*\{?\s*R\s*\}?\s*(?:\\setminus|\\backslash|-|\\)\s*(\\\{.*\\\})", re.DOTALL)


def _union(text: str, depth: int) -> Form | None:
    excluded = _EXCLUDED.fullmatch(text)
    if excluded:
        inner = _item(excluded[1], depth - 1)
        return all_but(inner.items) if isinstance(inner, Several) else None
    parts, cups = split(text, _CUP)
    if not cups or not all(map(str.strip, parts)):
        return None
    forms = [_item(part, depth - 1) for part in parts]
    sets = [form for form in forms if isinstance(form, Several) and form.kind == "set"]
    if len(sets) == len(forms):
        return Several("set", tuple(item for form in sets for item in form.items))
    return Union(tuple(forms))


_CLOCK = re.compile(
    r"(\d{1,2})(?::([0-5]\d)|(?=\s*(?:\\text\{)?\s*[aApP]\.?\s?[mM]))\s*(?:\\text\{)?\s*([aApP])?\.?\s*(?:[mM]\.?|\.)?\s*\}?"
)


def _ratio(text: str, depth: int) -> Form | None:
    clock = _CLOCK.fullmatch(text)
    if clock and int(clock[1]) <= 24:
        hours, minutes = int(clock[1]), int(clock[2] or 0)
        half = (clock[3] or "").lower()
        if not half and (hours > 12 or hours == 0):
            # Of 24 hours, those that no clock with twelve has tell the half of the day too.
            half = "24p" if 12 <= hours < 24 else "24a"
        terms = (NumberForm(Fraction(hours)), NumberForm(Fraction(minutes)))
        return Ratio(terms, f"{60 * (hours % 12) + minutes} {half}")
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
    r"\\text\{|\\degree|\\pmod|\\bmod|\\(?:mod)(?![A-Za-z])"
    r"|(?:(?<=[\d}!)\]] )|(?<=\\pi ))[^\W\d_]+|(?<=\d)m(?=\^\{[23]\})"
    r"|(?<=\d)[A-Za-zµ]{2,}(?![A-Za-z(])|(?<=[\d} ])[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]|\\\$|[€£¥₹]"
)
_ANGULAR = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_UNITLIKE = re.compile(r"(?:\\\$|[€£¥₹]|\\text\{[^{}]*\}|\^\{?-?\d\}?|\\degree|\\cdot|[^\W\d_]|[/\s*.²³()'-])+")
_MICRO = re.compile(r"\A([^A-Za-z]{1,99}(?:10\^\{-?\d+\})?\s*)\\mu\s*(?:\\text\{\s*)?([mgsLAVCFNT]|Pa|mol)\s*\}?\s*\Z")
_OHM = re.compile(r"\A([^A-Za-z]{1,99}(?:10\^\{-?\d+\})?\s*)(?:\\text\{\s*)?([kMm]?)\s*\}?\s*\\Omega\s*\Z")
_SCALES: Final[dict[str, Fraction]] = {
    **{word: Fraction(scale) for word, scale in SCALES.items()},
    **{word: Fraction(10**power) for word, power in zip(words("万 萬 亿 億"), (4, 4, 8, 8), strict=True)},
    **{f"{word}s": Fraction(1, number) for word, number in zip(
        words("third fourth fifth sixth seventh eighth ninth tenth hundredth thousandth"),
        (3, 4, 5, 6, 7, 8, 9, 10, 100, 1000),
        strict=True,
    )},
}  # fmt: skip
"""Words after a number that make another number of it."""
_SCALED = re.compile(rf"\s*({'|'.join(sorted(_SCALES, key=len, reverse=True))})(?![A-Za-z])\s*(?:of\s)?", re.IGNORECASE)
_MINUTES = re.compile(r"\\degree\s*(\d{1,2}(?:\.\d+)?)\s*'(?:\s*(\d{1,2}(?:\.\d+)?)\s*'')?\s*")


def _measured(text: str, depth: int) -> Form | None:
    """Return a value with a unit, or another word, after it."""
    text = _MICRO.sub(r"\1\\text{ µ\2}", _OHM.sub(r"\1\\text{ \2Ω}", text))
    for tries, found in enumerate(_MEASURE.finditer(text)):
        value, rest = text[: found.start()].strip(), text[found.start() :].strip()
        if tries == 8:
            return None
        if not value or value[-1] in "+-*/^_=(" or value.endswith(("\\cdot", "\\times")):
            continue
        if found[0] in (r"\pmod", r"\bmod", r"\mod"):
            return Quantity(_item(value, depth - 1), Unit(((f"modulo {_bare(rest)}", 1),), Fraction(1)), text)
        minutes = _MINUTES.fullmatch(rest)
        whole = number_form(value) if minutes else None
        if minutes and isinstance(whole, NumberForm):
            parts = Fraction(minutes[1]) / 60 + Fraction(minutes[2] or 0) / 3600
            return Quantity(NumberForm(whole.value + parts), unit("°"), text)
        if not _UNITLIKE.fullmatch(rest) or not _balanced(value):
            continue
        named = without_text(rest)
        known = unit(named)
        if "degree" in dict(known.dimensions if known else ()) and _ANGULAR.search(value):
            continue
        form = _item(value, depth - 1)
        scaled = _SCALED.match(named)
        number = form.value if isinstance(form, Quantity) else form
        if scaled and isinstance(number, NumberForm):
            number = NumberForm(number.value * _SCALES[scaled[1].lower()])
            named = named[scaled.end() :].strip()
            if not named or isinstance(form, Quantity):
                return form._replace(value=number) if isinstance(form, Quantity) else number
            form, known = number, unit(named)
        if isinstance(form, WordsForm) or (
            isinstance(form, Formula) and known is None and not found[0].startswith("\\text")
        ):
            continue
        if known is None and not any(len(word) > 1 or not word.isascii() for word in re.findall(r"[^\W\d_]+", named)):
            continue
        return Quantity(form, known, f"{value} {named}")
    return None


_NEGATIVE = re.compile(r"(?:\\text\{\s*)?(?:negative|minus)\s*(\}\s*)?(.+)")


def _negated(text: str, depth: int) -> Form | None:
    """Return a number whose sign is said in a word."""
    found = _NEGATIVE.fullmatch(text)
    form = _item(found[2] if found[1] else found[2].rstrip(" }"), depth - 1) if found else None
    return form._replace(value=-form.value) if isinstance(form, NumberForm) and form.value > 0 else None


def _bare(text: str) -> str:
    return re.sub(r"\\[pb]?mod(?![A-Za-z])|[\s{}()]", "", text)


def _balanced(text: str) -> bool:
    return text.count("{") == text.count("}") and text.count("(") == text.count(")")
