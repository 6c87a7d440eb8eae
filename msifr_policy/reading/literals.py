r"""Numbers written with digits, and numbers written with words: from the characters to an exact rational.

Digits may be grouped by commas, blanks, thin spaces, apostrophes, underscores or, before a decimal comma, points; in
threes, or in twos before the last three (`1,23,456`). One comma alone is a decimal comma unless three digits follow
it: `1,234` is 1234, `3,5` and `0,125` are decimals. Whatever is written in no such way (`1.2.3`, `1,2,3`) is no number.
"""

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

MOST_EXPONENT: Final = 10_000
"""The largest power of ten that is evaluated, and so about the most digits that a value has."""

_BLANK = r"(?:\ |~|\\[,;:!\ ])"
# Possessive quantifiers: no backtracking.
DIGITS: Final = rf"""(?:
    [0-9]++ (?: (?: \. | (?:\\!)?,(?:\\!)? | \{{,\}} | ' | (?:_|{_BLANK})(?=[0-9]{{3}}(?![0-9])) ) [0-9]++ )*+
  | \.[0-9]++
)"""
"""What may be a number in digits, as a pattern for `re.VERBOSE`; `digits_value` says whether it is one."""

_SEPARATOR = re.compile(rf"((?:\\!)?,(?:\\!)?|\{{,\}}|{_BLANK}|[.'_])")
_SAME = {",\\!": ",", "\\!,": ",", "\\!,\\!": ",", "{,}": ","} | dict.fromkeys(
    ("~", "\\,", "\\;", "\\:", "\\!", "\\ "), " "
)


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text that blanks part."""
    return tuple(text.split())


def digits_value(text: str) -> Fraction | None:
    """Return the value of digits with their separators, or None if they are grouped like no number."""
    parts = _SEPARATOR.split(text)
    groups, marks = parts[::2], [_SAME.get(mark, mark) for mark in parts[1::2]]
    decimals = ""
    point = next((place for place, mark in enumerate(marks) if mark in ".,"), len(marks))
    if set(marks[point + 1 :]) == {" "} and all(len(group) == 3 for group in groups[point + 1 :]):
        decimals = "".join(groups[point + 1 :])  # 3.141 592
        groups, marks = groups[: point + 1], marks[:point]
    elif marks and _last_is_decimal(groups, marks):
        decimals = groups.pop()
        marks.pop()
    if marks and not _grouped(groups, marks):
        return None
    return Fraction(int("".join(groups) + decimals or "0"), 10 ** len(decimals))


def _last_is_decimal(groups: Sequence[str], marks: Sequence[str]) -> bool:
    """Say whether the last separator is a decimal point or comma; the groups are grouped by the others, if any."""
    last = marks[-1]
    if marks.count(last) > 1 or last not in ".,":
        return False
    if last == "." or len(marks) > 1:
        return True
    # A comma alone.
    return len(groups[-1]) != 3 or not 1 <= len(groups[0]) <= 3 or groups[0].startswith("0")


def _grouped(groups: Sequence[str], marks: Sequence[str]) -> bool:
    first, *middle, last = groups
    if len(set(marks)) > 1 or len(last) != 3 or first.startswith("0"):
        return False
    in_threes = 1 <= len(first) <= 3 and all(len(group) == 3 for group in middle)
    in_twos = marks[0] == "," and 1 <= len(first) <= 2 and all(len(group) == 2 for group in middle)
    return in_threes or in_twos


def repeating(whole: str, before: str, period: str) -> Fraction:
    r"""Return the value of a decimal whose last digits repeat for ever: `0.1\overline{6}` is `("0", "1", "6")`."""
    start = Fraction(int(whole + before or "0"), 10 ** len(before))
    return start + Fraction(int(period), 10 ** len(before) * (10 ** len(period) - 1))


# The shortest period that is shown three times, or twice if it has more than two digits.
_SHOWN_PERIOD = re.compile(r"(\d{1,2}?)\1{2}$|(\d{3,6}?)\2$")


def unfinished(text: str) -> Fraction | None:
    """Return the value of a decimal that goes on with dots, if the digits shown say how: `0.1666` and dots is 1/6."""
    whole, _, decimals = text.partition(".")
    # A period has at most six digits, shown at most three times.
    tail = decimals[-18:]
    found = next((hit for start in range(len(tail)) if (hit := _SHOWN_PERIOD.match(tail, start))), None)
    if not whole.isdigit() or found is None:
        return None
    before = decimals[: len(decimals) - len(tail) + found.start()]
    return repeating(whole, before, found[1] or found[2])


_ONES = words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_CARDINALS = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value
    for value, word in enumerate(words("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
SCALES: Final = {
    "hundred": 100,
    "dozen": 12,
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
}
"""Words that multiply the number before them."""

_IRREGULAR = {"three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
_ORDINALS = {
    _IRREGULAR.get(word, word[:-1] + "ieth" if word.endswith("y") else word + "th"): value
    for word, value in (_CARDINALS | {"hundred": 100, "thousand": 1000, "million": 10**6}).items()
    if value > 2
}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4} | {
    part + plural: value for part, value in _ORDINALS.items() for plural in ("", "s")
}


def ordinal_part(word: str) -> int | None:
    """Return what a word like `thirds` divides by, or None for any other word."""
    return _PARTS.get(word)


def words_value(words: Sequence[str]) -> tuple[Fraction, int] | None:
    """Return the value that the first of these lower-case words spell, and how many they are; None if they do not.

    `two thousand and five`, `a dozen`, `twenty-one`, `three quarters`, `two and a half`. An ordinal (`third`) is none.
    """
    total, group, used = 0, 0, 0
    seen = False
    for position, word in enumerate(words):
        if word in SCALES and (seen or words[:position] in (["a"], ["an"])):
            scale = SCALES[word]
            if scale == 100:
                group = max(group, 1) * 100
            else:
                total, group = total + max(group, 1) * scale, 0
        elif (value := _cardinal(word)) is not None:
            # Five after twenty or hundred, not five after five.
            if seen and group % 100 and not (value < 10 and group % 10 == 0 and group % 100 >= 20):
                break
            group += value
        elif position == 0 and word in ("a", "an"):
            continue
        elif word == "and" and seen and words[position + 1 : position + 2] and _cardinal(words[position + 1]):
            if (total + group) % 100:  # five and six: two numbers
                break
            continue
        else:
            break
        seen, used = True, position + 1
    return _with_part(words, Fraction(total + group), used) if seen else _part_alone(words)


def _cardinal(word: str) -> int | None:
    tens, hyphen, ones = word.partition("-")
    if not hyphen:
        return _CARDINALS.get(word)
    if _CARDINALS.get(tens, 0) >= 20 and 0 < _CARDINALS.get(ones, 0) < 10:
        return _CARDINALS[tens] + _CARDINALS[ones]
    return None


def _with_part(words: Sequence[str], value: Fraction, used: int) -> tuple[Fraction, int]:
    after = words[used : used + 3]
    if len(after) == 3 and after[:2] == ["and", "a"] and after[2] in ("half", "quarter", "third"):
        return value + Fraction(1, _PARTS[after[2]]), used + 3
    if after and after[0] in _PARTS:
        return value / _PARTS[after[0]], used + 1
    return value, used


def _part_alone(words: Sequence[str]) -> tuple[Fraction, int] | None:
    """Return what `half`, `a quarter` or `three-quarters` is."""
    count, hyphen, part = words[0].partition("-") if words else ("", "", "")
    if hyphen and part in _PARTS and count in _CARDINALS:
        return Fraction(_CARDINALS[count], _PARTS[part]), 1
    if words[:1] == ["half"]:
        return (Fraction(6), 3) if words[1:3] == ["a", "dozen"] else (Fraction(1, 2), 1)
    if words[:1] == ["a"] and words[1:2] and words[1] in ("half", "third", "quarter"):
        return Fraction(1, _PARTS[words[1]]), 2
    return None


_SIGNS = {
    **dict.fromkeys("−‒﹣⁃➖‐‑", "-"),
    **dict.fromkeys("×✕⨯✖", "\\times "),
    **dict.fromkeys("·⋅∙∗", "\\cdot "),
    **dict.fromkeys("÷∕⁄➗", "/"),
    **dict.fromkeys("≈≃≅∼≒", "\\approx "),
    **dict.fromkeys("≤≥≠<>≡∈±∓", "\\ne "),
    **dict.fromkeys("→⇒⟹⟶➡", "\\to "),
    **dict.fromkeys("‘’ʼ′", "'"),
    **dict.fromkeys("“”«»„″「」『』", '"'),
    "➕": "+",
    "√": "\\sqrt ",
    "°": "\\degree ",
    "º": "\\degree ",
    "℃": "\\degree C",
    "℉": "\\degree F",
    "٫": ".",
    "٬": ",",
    "،": ", ",
    "٪": "%",
    "。": ". ",
    "、": ", ",
    "，": ",",
    "∎": " ",
    "।": ". ",
    "\u0338": "\\ne ",  # a stroke through what stands before
    "…": "...",
    "⋯": "...",
}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉", "0123456789+-0123456789")
_RAISED = re.compile(r"(?P<power>[⁺⁻]?[⁰¹²³⁴-⁹]++)|(?P<index>[₀-₉]++)|(?P<minus>⁻)")


# Signs, separators and numbers in other spellings of LaTeX.
_SPELLING = re.compile(
    r"""
    \{\s?(?P<sign> \\, | [.−-])\s?\}
  | (?P<comma> \\(?:mathord|mathpunct|text)\s?\{\s?,\s?\})
  | (?P<thin> \\(?:thinspace|medspace|thickspace|enspace)(?![A-Za-z])\s? | \\[hm]space\*?\s?\{[^{}]{1,12}\})
  | (?<![0-9])\\num\s?\{(?P<number>[^{}]{1,60})\}
  | \\(?:SI|qty)\s?\{(?P<quantity>[^{}]{1,60})\}\s?\{(?P<unit>[^{}]{0,60})\}
  | (?P<currency> \\(?:pounds|euro|yen|(?:text|math)(?:dollar|euro|sterling|yen))(?![A-Za-z])\s?)
  | (?P<minus> \\(?:text)?minus(?![A-Za-z])\s?)
  | (?<=[0-9])\s?\\(?:text|mathrm)\s?\{[eE]\}\s?\{?(?P<exponent>[+-]?[0-9]{1,5})\}?
  | (?P<underscore> (?<=[0-9])\\_(?=[0-9]{3}))
    """,
    re.VERBOSE,
)
_SPELLED: Final = {"comma": "{,}", "thin": "\\,", "currency": "$", "minus": "-", "underscore": "_"}


def _spelled(match: re.Match[str]) -> str:
    """Return the usual spelling of what `_SPELLING` found."""
    kind = match.lastgroup or ""
    if kind == "unit":
        unit = match["unit"].replace("\\", " ")
        return f"{match['quantity']}\\text{{ {unit}}}"
    return _SPELLED.get(kind) or ("e" if kind == "exponent" else "") + match[kind]


def plain(text: str) -> str:
    """Return the text with every digit, sign and blank of Unicode in its ASCII or LaTeX spelling; letters stay."""
    # A JSON string takes the backslash and first letter of \frac, \text, \times and \boxed for one character.
    text = text.replace("\x0crac", "\\frac").replace("\x09imes", "\\times").replace("\x09ext{", "\\text{")
    text = text.replace("\x08oxed", "\\boxed").replace("\x08inom", "\\binom")
    if "\\" in text or "{" in text:
        text = _SPELLING.sub(_spelled, text)
    if text.isascii():
        return text
    text = _RAISED.sub(
        lambda run: ("^{%s}" if run["power"] else "_{%s}" if run["index"] else "%s") % run[0].translate(_SUPERSCRIPTS),
        text,
    )
    return "".join(char if char.isascii() else _plain_character(char) for char in text)


def _plain_character(char: str) -> str:
    if char in _SIGNS:
        return _SIGNS[char]
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category == "Cf":
        return ""  # direction marks, zero-width blanks
    if category in ("Zs", "Zl", "Zp"):
        return " "
    if category == "Sc":
        return "$"
    if category in ("Mn", "Mc", "Me"):
        return char if char == "\u0305" else ""  # accents, vowel signs, the frames of keycaps
    if category in ("So", "Sk"):
        return " "  # emoji
    wide = unicodedata.normalize("NFKC", char)
    if category == "No" and "⁄" in wide:
        return "\\frac{" + wide.replace("⁄", "}{") + "}"
    return wide if wide.isascii() and len(wide) == 1 else char
