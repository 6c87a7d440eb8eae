"""Other ways to read the numbers of a clause: as they are written in other languages, schools and trades.

Each function of `respelled` writes a clause anew where it shows the notation, so that the usual reading of the new
one is the other reading of the old one. An equation that holds so is not false.
"""

import re
from collections.abc import Iterator

_GROUPED = re.compile(r"(?<![\d.,])[0-9]{1,3}(?:\.[0-9]{3})+(?:,[0-9]{1,9})?(?![\d.]|,\d)")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])[0-9]{1,9},[0-9]{1,9}(?![\d.]|,\d)")
_DECIMAL_POINT = re.compile(r"\d\.\d")
_REPEATING = re.compile(r"(?<![\d.,])([0-9]{1,9})[.,]([0-9]{0,9})[(\[{]([0-9]{1,9})[)\]}]")
_MIXED = re.compile(r"(?<![\d.,/])([0-9]{1,6})(?:[-–]|\ ?\()([0-9]{1,3})\ ?/\ ?([0-9]{1,3})(?![\d/])\)?")
_CLOCK = re.compile(r"(?<![\d.,])([0-9]{1,2})\.([0-5][0-9])(?![\d.,])")
_CLOCK_WORDS = re.compile(r"(?i)\b(?:uhr|hours?|hrs?|std|stunden?|time|am|pm|heures?|horas?|ore|h)\b|час|时|時")
_LISTED = re.compile(r"(?<=\d),(?=\d)")
_RATIO = re.compile(r"(?<![\d./])([0-9]{1,4})\ ?/\ ?([0-9]{1,4})(?![\d/]|\.\d)")
_SCORE_WORDS = re.compile(
    r"(?i)\b(?:scor\w*|points?|marks?|goals?|games?|sets?|wins?|won|hits?|shots?|out of|quiz\w*|tests?|questions?)\b"
)
_DATE_WORDS = re.compile(r"(?i)\b(?:days?|weeks?|months?|dates?|calendar)\b")
_TUPLE = re.compile(r"[(\[{<]\s*([-+−]?)([0-9]{1,3}),([1-9][0-9]{2})\s*[)\]}>]")


def respelled(clause: str, lead: str) -> Iterator[tuple[str, ...]]:
    """Yield other readings of a clause, each as texts whose equations must all hold for that of the clause to hold.

    `lead` is what leads to the clause: its words count too.
    """
    words = f"{lead} {clause}"
    dot, comma = "." in clause, "," in clause
    if dot or comma:
        if (european := _from_decimal_comma(clause)) is not None:
            yield (european,)
        if comma:
            yield (_LISTED.sub(", ", clause),)
            if _TUPLE.search(clause):  # (100,300) is more likely a pair
                yield _TUPLE.sub(r"(\1\2)", clause), _TUPLE.sub(r"(\3)", clause)
        if (repeating := _REPEATING.sub(_fraction, clause)) != clause:
            yield (repeating,)
    if dot and _CLOCK_WORDS.search(words) and not _DECIMAL_POINT.search(_CLOCK.sub("", clause)):
        yield (_CLOCK.sub(r"(\1*60+\2)", clause),)
    if "/" in clause:
        if (mixed := _MIXED.sub(_mixed, clause)) != clause:
            yield (mixed,)
        if _DATE_WORDS.search(words):
            yield (_RATIO.sub(r"\1", clause),)
            yield (_RATIO.sub(r"\2", clause),)
        if _SCORE_WORDS.search(words):
            yield _RATIO.sub(r"\1", clause), _RATIO.sub(r"\2", clause)


def _from_decimal_comma(clause: str) -> str | None:
    """Return the clause with points for decimal commas and without grouping points, if all its numbers allow it."""
    rest = _DECIMAL_COMMA.sub("", _GROUPED.sub("", clause))
    if rest == clause or _DECIMAL_POINT.search(rest):
        return None
    plain = _GROUPED.sub(lambda match: match[0].replace(".", "").replace(",", "."), clause)
    return _DECIMAL_COMMA.sub(lambda match: match[0].replace(",", "."), plain)


def _fraction(repeating: re.Match[str]) -> str:
    """Write 0.1(6) as the fraction (15/90)."""
    whole, once, again = repeating.groups()
    return f"({int(whole + once + again) - int(whole + once)}/{'9' * len(again)}{'0' * len(once)})"


def _mixed(number: re.Match[str]) -> str:
    """Write 2-1/2 and 2(1/2) as (2+1/2), but leave 2-3/2."""
    whole, a, b = number.groups()
    if int(a) >= int(b) or ("(" in number[0]) != (number[0][-1] == ")"):
        return number[0]
    return f"({whole}+{a}/{b})"
