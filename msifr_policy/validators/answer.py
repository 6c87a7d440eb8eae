r"""Final-answer markers: whether an answer was given, how early, how often, and what came after it.

Four kinds of markers are known: `hashes` (`#### 72`), `boxed` (`\boxed{72}`), `phrase` ("The answer is
(C)", "Answer: 72") and `json` (the key `"answer"` of a JSON object). A marker counts once its value is
complete: at the end of the line, at the closing brace, at the closing quote, or after `LIMIT` characters.
"""

import math
import re
from typing import Literal

from msifr_policy.validators.base import Evidence, Rule, TextState, evidence

Marker = Literal["hashes", "boxed", "phrase", "json"]

LIMIT = 200
"""Longest value of a marker, in characters."""

_MAX_ANSWERS = 64
_START = re.compile(
    r"""
    (?P<hashes> \#\#\#\# ) | \\(?P<boxed> boxed\{ )
  | (?P<phrase> [Aa]nswer(?:\ is|:) ) | (?P<json> "answer"\ ?: )
    """,
    re.VERBOSE,
)
_LONGEST_START = 10


class AnswerMarker(Rule, frozen=True):
    """Watches for final answers.

    Only the kinds in `markers` count. The verdict is DEAD once `answers` different answers were given, or,
    with `json_only`, once the first JSON object of the text has closed without a value under `"answer"`;
    both are off by default (0 and False), since whether such an attempt can still be accepted is
    for the final filter to say. Else it is UNKNOWN.
    """

    name = "answer"
    columns = ("markers", "distinct", "empty", "first_at", "since_first", "json", "since_json")
    """`markers`: complete so far; `distinct`: different answers among them; `empty`: markers without a
    value; `first_at`: characters before the first marker, NaN before one is complete; `since_first`:
    characters since it was complete, 0 before; `json`: 0 no JSON object, 1 open, 2 closed;
    `since_json`: characters since it closed, 0 before.
    """
    markers: tuple[Marker, ...] = ("hashes", "boxed", "phrase", "json")
    answers: int = 0
    json_only: bool = False

    def __post_init__(self) -> None:
        once = 0 < len(self.markers) == len(set(self.markers))
        self._check("markers", once, "name one or more kinds, each once")
        possible = self.answers == 0 or 2 <= self.answers <= _MAX_ANSWERS
        self._check("answers", possible, f"be 0 for never, or 2 to {_MAX_ANSWERS}")

    def _state(self, _: str) -> TextState:
        return _AnswerMarkerState(self)


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_STRING_END = re.compile(r'(?<!\\)(?:\\\\){0,100}"')
_ENDS = {
    "hashes": re.compile(r"\n"),
    # A letter in parentheses is complete at once; otherwise a sentence has to end.
    "phrase": re.compile(r"(?<=\([A-Z]\))|\n|\\n(?=[^a-z])|[.;,](?=[\s\"])|\\boxed\{|####"),
    "json": re.compile(r"[,}\n]"),
}


def _value_end(kind: str, text: str) -> tuple[int, int] | None:
    """Return where the value that `text` begins with ends and where the text goes on, or None if not yet."""
    if kind == "boxed":
        depth = 1
        for brace in _BRACE.finditer(text, 0, LIMIT):
            depth += (brace[0] == "{") - (brace[0] == "}")
            if depth == 0:
                return brace.start(), brace.end()
        return None
    blanks = 0
    if kind == "json":
        head = text[:LIMIT].lstrip()
        blanks = min(len(text), LIMIT) - len(head)
        if not head:
            return None
        if head[0] == '"':
            match = _STRING_END.search(text, blanks + 1, LIMIT)
            return (match.end() - 1, match.end()) if match else None
    match = _ENDS[kind].search(text, blanks, LIMIT + 1)
    if match is None or match.start() > LIMIT:
        return None
    # Another marker inside is left to speak for itself.
    return match.start(), match.start() if len(match[0]) > 3 else match.end()


_DECORATION = re.compile(r"\\(?:text|mathrm|mathbf|left|right|[()\[\]$,!; ])|[\s$*(){}\"'.,:]")


def _plain(value: str) -> str:
    """Strip what does not make an answer another one."""
    value = value.replace(r"\dfrac", r"\frac").replace(r"\tfrac", r"\frac").strip()
    return (_DECORATION.sub("", value) or value.strip('"')).lower()


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
        self._answers: set[str] = set()
        self._markers = self._empty = 0
        self._first_at = math.nan
        self._first_end = 0
        self._key = False  # a value under "answer" was given
        self._end = 0  # characters fed
        self._kind = ""  # of the marker whose value is being read
        self._start = 0  # of that marker
        self._pending = ""  # the last characters of the text: of the value, or of a marker

    def _read(self, text: str) -> Evidence:
        self._json.feed(text, self._end)
        self._end += len(text)
        self._scan(self._pending + text)
        distinct = len(self._answers)
        json = self._json
        unanswered = json.state == 2 and not self._key
        dead = 0 < self._rule.answers <= distinct or (self._rule.json_only and unanswered)
        since_first = self._end - self._first_end if self._markers else 0
        since_json = self._end - json.closed_at if json.state == 2 else 0
        return evidence(
            self._markers, distinct, self._empty, self._first_at, since_first, json.state, since_json, dead=dead
        )

    def _scan(self, text: str) -> None:
        at = 0
        while True:
            if not self._kind:
                match = _START.search(text, at)
                if match is None:
                    self._pending = text[max(at, len(text) - _LONGEST_START) :]
                    return
                self._kind = match.lastgroup or ""
                at = match.end()
                self._start = self._end - len(text) + match.start()
            # One character beyond the limit: an end may depend on what follows it.
            piece = text[at : at + LIMIT + 1]
            found = _value_end(self._kind, piece)
            if found is None and len(piece) <= LIMIT:
                self._pending = text[at:]
                return
            value_end, goes_on = found or (LIMIT, LIMIT)
            at += goes_on
            self._take(self._kind, piece[:value_end], self._end - len(text) + at)
            self._kind = ""

    def _take(self, kind: str, value: str, end: int) -> None:
        plain = _plain(value)
        self._key |= kind == "json" and bool(plain)
        # "The answer is" may go on with another marker, or with no answer at all.
        if kind not in self._rule.markers or (kind == "phrase" and not plain.strip("$*:([{\\ ")):
            return
        self._markers += 1
        if self._markers == 1:
            self._first_at, self._first_end = self._start, end
        if not plain:
            self._empty += 1
        elif len(self._answers) < _MAX_ANSWERS:
            self._answers.add(plain)
