r"""Filters that compare a text's answer with the prompt's `gold`: as numbers, or letter by letter.

They evaluate nothing, and read at most `REACH` characters after a marker, so their time is linear in the text.
"""

import re
from fractions import Fraction
from typing import Final

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.filters.base import Prompt
from msifr_policy.filters.decided import AnswerEnd, Ends, box_end, line_end

MARKERS: Final = ("####", "\\boxed{", "answer is")
"""What stands before a final answer; upper and lower case are alike."""

REACH: Final = 200
"""Characters read after a marker."""

# Possessive quantifiers: no backtracking.
_NUMBER = re.compile(
    r"(?P<sign>[-+−]?)\s?\$?(?P<value>(?:\d{1,3}(?:,\d{3})++|\d++)(?:\.\d++)?+|\.\d++)(?:\s?/\s?(?P<divisor>\d++))?+"
)
# What shows that the number is part of a longer expression.
_GOES_ON = re.compile(r"\s*+(?:[.,:/eE]?\d|[-+*×=]\s?\d|\^(?!\s?\{?\\circ)|√|π|\\(?:sqrt|pi|frac))")
_LONGEST_LINE: Final = 4000  # characters of an exact answer that a reader sees the end of
_BEFORE: Final = " \t\r\n:*"  # what may stand between a marker and its answer
_FRACTION = re.compile(r"\\[dt]?frac\s?\{(-?\d{1,99})\}\s?\{(\d{1,99})\}")


def parse_number(text: str, *, whole: bool = False) -> Fraction | None:
    r"""Return the first number in the first `REACH` characters of `text`, exactly, or None.

    Understood are signs, decimals, thousands separators, `3/4` and `\frac{3}{4}`; a currency sign may
    precede. A number that goes on as an expression (`2\sqrt{3}`, `4:30`, `5-3`) is none. With `whole`,
    nothing but marks and white space may stand around it.
    """
    # Marks that only set off digits are taken away: \$1{,}234 is $1,234.
    text = text[:REACH].replace("{,}", ",").replace("\\!", "").replace("\\$", "$")
    text = _FRACTION.sub(r" \1/\2", text)
    match = _NUMBER.search(text)
    if match is None or _GOES_ON.match(text, match.end()):
        return None
    if whole and (text[: match.start()] + text[match.end() :]).strip(" \t\r\n$.%"):
        return None
    divisor = int(match["divisor"] or 1)
    if divisor == 0:
        return None
    value = Fraction(match["value"].replace(",", "")) / divisor
    return value if match["sign"] in ("", "+") else -value


def _after_last(text: str, markers: tuple[str, ...]) -> str:
    """Return up to `REACH` characters of the line that the last marker begins; empty without a marker."""
    found = (hit.end() for marker in markers for hit in re.finditer(re.escape(marker), text, re.IGNORECASE))
    end = max(found, default=len(text))
    # The answer may stand on the next line, but nothing after the answer's line counts.
    return text[end : end + REACH].lstrip(_BEFORE).partition("\n")[0]


class NumericMatch(msgspec.Struct, frozen=True):
    """Accepts a text whose first number after the last marker equals the gold number, as exact rationals."""

    markers: tuple[str, ...] = MARKERS

    @property
    def name(self) -> str:
        """`numeric`, with the markers if they are not the usual ones."""
        return "numeric" if self.markers == MARKERS else f"numeric{list(self.markers)}"

    def reader(self, prompt: Prompt) -> AnswerEnd:
        r"""Return a reader that ends an attempt after its first complete answer; see `msifr_policy.filters.decided`.

        That is not exact: the first answer counts, not the last. An answer is a number alone: the rest of the line
        after a marker, or of the sentence after a marker that ends in a letter; after one that ends in a brace it ends
        with the line in which the brace is closed. An answer of the latter two kinds that the prompt holds too, marker
        and all, may be a repetition, and is none.
        """
        ends = [(marker, _number_ends(marker, prompt.prompt)) for marker in self.markers if marker]
        return AnswerEnd(ends, reach=REACH, flags=re.IGNORECASE)

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt's gold answer is not a number."""
        if prompt.gold is None or _gold_number(prompt.gold) is None:
            where, remedy = f"prompt {prompt.prompt_id!r}, field gold", "give a number, or use the exact filter"
            raise InputError(f"gold answer {prompt.gold!r} is not a number", where=where, remedy=remedy)

    def __call__(self, prompt: Prompt, text: str) -> bool:
        """Compare the answers."""
        answer = parse_number(_after_last(text, self.markers))
        return answer is not None and prompt.gold is not None and answer == _gold_number(prompt.gold)


# What sets off an answer, and says nothing about it.
_FORMULA = re.compile(r"\\[()\[\]]")
_MARKS = " \t\r\n*_`"
_LINE_END = re.compile(r"\n")
_SENTENCE_END = re.compile(r"\n|(?<=\.)(?=\s)")  # but 3! is 6


def _is_number(answer: str) -> bool:
    return parse_number(_FORMULA.sub(" ", answer).lstrip(_MARKS).rstrip(_MARKS + "."), whole=True) is not None


def _number_ends(marker: str, asked: str) -> Ends:
    """Return what finds the end of an answer that is a number, and nothing else, after this marker."""

    def boxed(answer: str) -> int | None:
        return box_end(answer, lambda inside: _is_number(inside) and f"{marker}{inside}}}" not in asked)

    def said(answer: str) -> int | None:
        end = number(answer, _SENTENCE_END)
        return None if end and marker + answer[:end] in asked else end

    def number(answer: str, delimiter: re.Pattern[str] = _LINE_END) -> int | None:
        start = len(answer) - len(answer.lstrip(_BEFORE))
        end = delimiter.search(answer, start)
        return end.start() if end and _is_number(answer[start : end.start()]) else None

    return boxed if marker.endswith("{") else said if marker[-1].isalpha() else number


def _gold_number(gold: str) -> Fraction | None:
    """Return the number of a gold answer, which may itself be a solution that ends in a marked answer."""
    return parse_number(_after_last(gold, MARKERS) or gold, whole=True)


class ExactMatch(msgspec.Struct, frozen=True):
    """Accepts a text that equals the gold answer, white space at both ends aside.

    With a `marker` only the rest of the line after its last occurrence is compared.
    """

    marker: str = ""

    @property
    def name(self) -> str:
        """`exact`, with the marker if there is one."""
        return f"exact[{self.marker!r}]" if self.marker else "exact"

    def reader(self, _: Prompt) -> AnswerEnd | None:
        """Return a reader that ends an attempt with the first line that the marker begins, if it is not blank.

        That is not exact: the first answer counts, not the last; see `msifr_policy.filters.decided`. Without a marker
        the whole text is the answer, and there is no reader.
        """
        return AnswerEnd([(self.marker, line_end)], reach=_LONGEST_LINE) if self.marker else None

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the prompt has no gold answer."""
        if prompt.gold is None:
            raise InputError("no gold answer", where=f"prompt {prompt.prompt_id!r}, field gold", remedy="add one")

    def __call__(self, prompt: Prompt, text: str) -> bool:
        """Compare the answers."""
        if self.marker:
            _, found, text = text.rpartition(self.marker)
            if not found:
                return False
            text = text.partition("\n")[0]
        return prompt.gold is not None and text.strip() == prompt.gold.strip()
