"""Answers in words, read from the canonical spelling: dates, numbers that are spelled out, whatever else is said."""

import re
from typing import Final

from msifr_policy.filters.formulas.forms import Form, Formula, Interval, NumberForm, Quantity, WordsForm
from msifr_policy.filters.formulas.text import without_text
from msifr_policy.reading.literals import words_value

_DATE = re.compile(r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2})")
_MONTH = re.compile(
    r"(?<![^\W\d_])(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)(?:uary|ruary|ch|il|e|y|ust|ember|ober)?(?![^\W\d_])",
    re.IGNORECASE,
)


def date_form(text: str) -> Form | None:
    """Return a date as words, with the month's first three letters, in whatever order they stand; None for no date."""
    if _DATE.fullmatch(text):
        return WordsForm((re.sub(r"[-/.]0?", "-", text),))
    plain = without_text(text)
    month = _MONTH.search(plain)
    rest = _MONTH.sub(" ", plain)
    if month is None or len(_MONTH.findall(plain)) > 1 or not re.search(r"\d", rest) or re.search(r"[^\d\s,.]", rest):
        return None
    return WordsForm((month[0][:3].casefold(), *sorted(re.findall(r"\d+", rest))))


# What makes another number of a numeral, or no statement of it.
_OTHER_NUMERAL = re.compile(
    r"\b(?:thirds?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|and|or|to|of|point|minus|plus|times|over|more|less"
    r"|fewer|than|per|not)\b"
)
_ALL: Final = ("all real numbers", "all reals", "real numbers", "reals", "all real number")
_NOTHING: Final = {
    **dict.fromkeys(("none", r"\emptyset", "empty set", "nosolution"), ("no", "solution")),
    **dict.fromkeys(("dne", "undefined", "not exist", "is undefined"), ("does", "not", "exist")),
}
_NO_SOLUTION = re.compile(
    r"(?:there (?:is|are|exists?) |has )?no (?:real |integer |positive |such |valid |possible )?(?:solutions?|roots?)"
    r"(?: exists?)?"
)
_INFINITELY = re.compile(r"(?:there (?:are|is) )?infinite(?:ly many)?(?: number of)?(?: solutions?)?")
_INFINITE: Final = {"infinity": r"\infty", "positive infinity": r"\infty", "negative infinity": r"-\infty"}
_PLAIN_WORDS = re.compile(r"(?:\\text\{[^{}]*\}|[^\W\d_]|[\s'.()-])+")
_LONG_WORD = re.compile(r"(?<![A-Za-z\\])[^\W\d_]{3,}")


def words_form(text: str) -> Form | None:
    """Return what words say: what is set as text, and plain runs of three letters or more that are no function.

    That may be a number, an infinite one or all of them; None for a text that is no words.
    """
    plain = without_text(text)
    if text != r"\emptyset" and not (_PLAIN_WORDS.fullmatch(text) and (plain != text or _LONG_WORD.search(text))):
        if not re.match(r"\s*(?:\\text\{[^{}]*[^\W\d_]{3,}[^{}]*\}|[^\W\d_]{3,}\s)\s*[\d\w]", text):
            return None
        if re.match(r"\s*(?:log|sin|cos|tan|sec|csc|cot|exp|max|min|gcd|lcm|sqrt|mod)\b", text):
            return None
    said = tuple(re.findall(r"[^\W_]+|\\emptyset", plain.casefold()))
    if not said:
        return None
    said = tuple(word for word in said if word not in ("the", "a", "an")) or said
    joined = " ".join(said)
    spelled = words_value(plain.casefold().replace(",", " ").split())
    if spelled is not None and not _OTHER_NUMERAL.search(joined.split(" ", spelled[1])[-1]):
        number = NumberForm(spelled[0])
        return number if spelled[1] == len(plain.split()) else Quantity(number, None, "")
    if joined in _INFINITE:
        return Formula(_INFINITE[joined])
    if _INFINITELY.fullmatch(joined):
        return WordsForm(("infinitely", "many"))
    if joined.endswith(" does not exist"):
        return WordsForm(("does", "not", "exist"))
    if _NO_SOLUTION.fullmatch(joined):
        return WordsForm(("no", "solution"))
    if joined in _ALL:
        return Interval(Formula(r"-\infty"), Formula(r"\infty"), (False, False))
    if len(joined) == 1:
        return Formula(plain.strip())
    return WordsForm(_NOTHING.get(joined, said))
