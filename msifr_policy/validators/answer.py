r"""Final answers that a text announces: whether one was given, how early, how often, and what came after it.

What announces an answer, and what an announcement without an answer is, say `msifr_policy.reading.markers`: the final
filters read the same. A marker counts once its answer is complete: at the closing brace, quote or tag, or when
something follows the sentence or line.
"""

import math
import re
from fractions import Fraction
from typing import Final, get_args

from msifr_policy.reading.choices import choice_of
from msifr_policy.reading.markers import LONGEST_MARKER, Announced, Marker, Place, markers, read
from msifr_policy.reading.number import parse_number
from msifr_policy.reading.thinking import LONGEST_MARK, marks
from msifr_policy.validators.base import Evidence, Rule, TextState, evidence

LIMIT: Final = 200
"""Longest announced answer that is read, in characters; a longer one counts as one without a value."""

_MAX_ANSWERS = 64


class AnswerMarker(Rule, frozen=True):
    """Watches for final answers.

    Only the kinds in `markers` count. The verdict is DEAD once `answers` different answers were given, or,
    with `json_only`, once the first JSON object of the text (after its thinking) has closed without a value under
    `"answer"`; both are off by default (0 and False), since whether such an attempt can still be accepted is
    for the final filter to say. Else it is UNKNOWN.
    """

    name = "answer"
    version = "2"
    columns = ("markers", "distinct", "empty", "first_at", "since_first", "json", "since_json")
    """`markers`: complete so far, without headings, questions and denials; `distinct`: different answers among them, as
    numbers, choices or else as texts; `empty`: markers without a value; `first_at`: characters before the first marker,
    NaN before one is complete; `since_first`: characters since it was complete, 0 before; `json`: 0 no JSON object,
    1 open, 2 closed; `since_json`: characters since it closed, 0 before.
    """
    markers: tuple[Place, ...] = ("box", "hash", "phrase", "json", "tag")
    answers: int = 0
    json_only: bool = False

    def __post_init__(self) -> None:
        known = set(self.markers) <= set(get_args(Place))
        once = known and 0 < len(self.markers) == len(set(self.markers))
        self._check("markers", once, f"name one or more of {', '.join(get_args(Place))}, each once")
        possible = self.answers == 0 or 2 <= self.answers <= _MAX_ANSWERS
        self._check("answers", possible, f"be 0 for never, or 2 to {_MAX_ANSWERS}")

    def _state(self, _: str) -> TextState:
        return _AnswerMarkerState(self)


_DECORATION = re.compile(r"\\(?:text|mathrm|mathbf|left|right|[()\[\]$,!; ])|[\s$*{}\"]")
# Two words or more: a heading behind `####`, not an answer of a word, a number or a formula.
_TITLE = re.compile(r"(?:[^\W\d_][\w'’-]*+[\s*]++)+[^\W\d_][\w'’-]*+[*:.]*+")


def _plain(value: str) -> Fraction | str:
    """Return what two spellings of one answer share: its number, its choice, or its text without decoration."""
    number = parse_number(value)
    if number is not None:
        return number  # not its digits: a few characters, 1e9999, announce more than Python writes out
    choice = choice_of(value)
    if choice is not None:
        return choice
    value = value.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac").strip()
    return (_DECORATION.sub("", value).strip("'.,:") or value.strip('"')).lower()


def _closes(marker: Marker) -> bool:
    """Say whether what a marker announces has a closing mark, behind which it is complete."""
    return marker.place == "box" and marker.name != "digits"


def _is_title(line: str) -> bool:
    return _TITLE.fullmatch(line) is not None and parse_number(line) is None


class _JsonObject:
    """Follows the first JSON object of a text: 0 none yet, 1 open, 2 closed."""

    def __init__(self) -> None:
        self.state = 0
        self.closed_at = 0
        self._depth = 0
        self._quoted = False
        self._tail = ""  # before it opens: a brace and blanks; after: a backslash that waits

    def feed(self, text: str, position: int) -> None:
        """Take the new `text`, which begins at `position`."""
        if self.state == 2:
            return
        position -= len(self._tail)
        text = self._tail + text
        at = 0
        if self.state == 0:
            match = _OPENING.search(text)
            if match is None:
                brace = text.rfind("{", max(0, len(text) - _MAX_INDENT))
                self._tail = text[brace:] if brace >= 0 else ""
                return
            self.state, self._depth, self._quoted, at = 1, 1, True, match.end()
        self._tail = ""
        for match in _SYNTAX.finditer(text, at):
            sign = match[0]
            if sign == "\\":  # at the end of the piece
                self._tail = sign
            elif sign == '"':
                self._quoted = not self._quoted
            elif len(sign) == 1 and not self._quoted:
                self._depth += 1 if sign == "{" else -1
                if self._depth == 0:
                    self.state, self.closed_at = 2, position + match.end()
                    return


_MAX_INDENT = 40
_OPENING = re.compile(r'\{\s{0,32}"')
_SYNTAX = re.compile(r'\\.|["{}\\]', re.DOTALL)


class _AnswerMarkerState(TextState):
    def __init__(self, rule: AnswerMarker) -> None:
        self._rule = rule
        self._json = _JsonObject()
        self._thinking = False
        self._mark_tail = ""  # what may be the beginning of a mark of thinking
        self._answers: set[Fraction | str] = set()
        self._markers = self._empty = 0
        self._first_at = math.nan
        self._first_end = 0
        self._key = False  # a value under "answer" was given
        self._end = 0  # characters fed
        self._text = (
            ""  # the last characters: a marker that is not complete, or what may become one, and what is before
        )
        self._from = 0  # where in it a marker may begin that is not counted yet

    def _read(self, text: str) -> Evidence:
        self._follow_json(text)
        self._end += len(text)
        self._scan(text)
        distinct = len(self._answers)
        json = self._json
        unanswered = json.state == 2 and not self._key and not self._thinking
        dead = 0 < self._rule.answers <= distinct or (self._rule.json_only and unanswered)
        since_first = self._end - self._first_end if self._markers else 0
        since_json = self._end - json.closed_at if json.state == 2 else 0
        return evidence(
            self._markers, distinct, self._empty, self._first_at, since_first, json.state, since_json, dead=dead
        )

    def _follow_json(self, text: str) -> None:
        """Follow the first object of what is not thinking."""
        tail, start = self._mark_tail, self._end
        joined = tail + text
        at = 0
        for mark in marks(joined):
            # A mark is known by the character after it.
            if mark.end() < len(joined) and mark.end() >= len(tail):
                self._thinking = mark["open"] is not None
                if not self._thinking:
                    self._json, self._key, at = _JsonObject(), False, mark.end()
        self._json.feed(joined[max(at, len(tail)) :] if at else text, start + max(at - len(tail), 0))
        self._mark_tail = joined[-LONGEST_MARK:]

    def _scan(self, text: str) -> None:
        text = self._text + text
        base = self._end - len(text)
        at, waits = self._from, False
        for marker in markers(text, at):
            if marker.start < at:
                continue
            announced = read(marker, text, LIMIT)
            if announced.state == "open" or (announced.end == len(text) and not _closes(marker)):
                at, waits = marker.start, True
                break
            self._take(marker.place, announced, base + marker.start, base + announced.end)
            at = announced.end
        if not waits:
            at = max(at, len(text) - LONGEST_MARKER)
        keep = max(0, at - LONGEST_MARKER)
        self._text, self._from = text[keep:], at - keep

    def _take(self, place: Place, announced: Announced, start: int, end: int) -> None:
        """Count a marker that is complete; `start` and `end` are in characters of the attempt."""
        given = announced.state == "given"
        self._key |= place == "json" and given
        # Prose that announces nothing, a heading say, is no marker.
        nothing = not given or (place == "hash" and _is_title(announced.text))
        if place not in self._rule.markers or (nothing and place in ("phrase", "hash")):
            return
        self._markers += 1
        if self._markers == 1:
            self._first_at, self._first_end = start, end
        if not given:
            self._empty += 1
        elif len(self._answers) < _MAX_ANSWERS:
            self._answers.add(_plain(announced.text))
