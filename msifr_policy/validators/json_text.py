r"""JSON that no completion can make valid, judged by jiter in time linear in the text.

jiter reads whole documents only, and reading the whole prefix again at each checkpoint would be quadratic. But
what may follow a prefix depends on very little of it: on the brackets still open, on what came last between
them, and on the token that is unfinished. So the prefix that was read is replaced by a **skeleton**, a document of
a few characters with the same completions: `[{"a": [1, 2], "b": "long te` by `[{"":"`. The new text is judged after
the skeleton: it can be completed if and only if one of the few possible ends of its last token, followed by the
brackets that close what is open, makes a valid document. A feed costs O(new text + depth), and the depth
is at most `MAX_DEPTH`; deeper text is left alone, since parsers differ in what they take.

Valid is what RFC 8259 says: no control characters in strings, no `NaN`, no trailing commas or comments; half
surrogate pairs in escapes and numbers of any size are valid.
"""

import math
import re
from contextlib import suppress
from typing import Literal

import jiter

from msifr_policy.validators.base import Evidence, Rule, TextState, Verdict
from msifr_policy.validators.readers.json_place import JsonPlace, Place

MAX_DEPTH = 128
"""Brackets open at once that are followed; jiter itself takes 200."""


class JsonText(Rule, frozen=True):
    """Follows the JSON document of the text; `place` says where it begins (see `json_place`).

    The verdict is UNKNOWN before a document begins and for one nested too deep, DEAD once no completion of the
    document is valid (with `place = "whole"` also once anything but white space follows it), else ALIVE. What
    follows a document elsewhere is not judged.
    """

    name = "json_text"
    columns = ("state", "depth", "since")
    """`state`: 0 before a document begins, 1 in it, 2 after it, -1 if it is broken, NaN if it is nested too deep;
    `depth`: brackets open, NaN unless in a document; `since`: characters after it, 0 before its end and
    if it is broken.
    """
    place: Place = "auto"

    def _state(self, _: str) -> TextState:
        return _JsonTextState(self.place)


class _JsonTextState(TextState):
    def __init__(self, place: Place) -> None:
        self._place = JsonPlace(place)
        self._whole = place == "whole"
        self._document = _Document()
        self._since = 0

    def _read(self, text: str) -> Evidence:
        document = self._document
        if text := self._place.feed(text):
            rest = document.feed(text)
            self._since += len(rest)
            if self._whole and rest.strip(" \t\n\r"):
                document.state = "broken"
                self._since = 0
        if not self._place.found:
            return Evidence(Verdict.UNKNOWN, (0.0, math.nan, 0.0))
        verdict, state = _SAYS[document.state]
        depth = float(len(document.open)) if document.state == "open" else math.nan
        return Evidence(verdict, (state, depth, float(self._since)))


_State = Literal["open", "closed", "broken", "too deep"]
_SAYS: dict[_State, tuple[Verdict, float]] = {
    "open": (Verdict.ALIVE, 1.0),
    "closed": (Verdict.ALIVE, 2.0),
    "broken": (Verdict.DEAD, -1.0),
    "too deep": (Verdict.UNKNOWN, math.nan),
}

# A string as far as its escapes are whole, or a sign that shapes the document.
_SIGN = re.compile(r'(?P<string>"[^"\\]*+(?:\\(?:u[0-9A-Fa-f]{4}|[^u])[^"\\]*+)*+)(?P<end>")?+|[\[\]{},]', re.DOTALL)
_CLOSING = {"[": "]", "{": "}"}
# What an open bracket is replaced by: the last one, by what came last in it, and those around it.
_AFTER = {
    "bracket": {"[": "[", "{": "{"},
    "value": {"[": "[0", "{": '{"":0'},
    "comma": {"[": "[0,", "{": '{"":0,'},
}
_AROUND = {"[": "[", "{": '{"":'}
# Every way in which a last token can end, the likely ones first.
_ENDS = ("", "0", ":0", '"":0', "e", "ue", "rue", "se", "lse", "alse", "l", "ll", "ull")
_STRING_ENDS = tuple(end + rest for rest in ("", ":0") for end in ('"', 'n"', '0"', '00"', '000"', '0000"'))


class _Document:
    """One document: its open brackets, what came last in the innermost one, and the text since then."""

    def __init__(self) -> None:
        self.state: _State = "open"
        self.open = ""  # brackets
        self._last = "bracket"
        self._tail = ""

    def feed(self, text: str) -> str:
        """Read on; return what comes after the end of the document."""
        if self.state != "open":
            return text if self.state == "closed" else ""
        skeleton = "".join(map(_AROUND.__getitem__, self.open[:-1]))
        if self.open:
            skeleton += _AFTER[self._last][self.open[-1]]
        text = self._tail + text
        stack, last = list(self.open), self._last
        tail: list[str] = []  # pieces since the last sign; what is in strings is left out
        unfinished = False  # the last token is a string
        at = 0
        for match in _SIGN.finditer(text):
            sign = match[0]
            if match["string"]:
                tail += (text[at : match.start()], '""' if match["end"] else '"')
                at = match.end()
                if match["end"]:
                    continue
                unfinished = True
                break
            if sign in "[{":
                if len(stack) == MAX_DEPTH:
                    # What came before may be broken, whatever comes now.
                    alive = _completes(skeleton + text[: match.start()], stack, _ENDS)
                    self.state = "too deep" if alive else "broken"
                    return ""
                stack.append(sign)
                last = "bracket"
            elif not stack:
                break  # judged below
            elif sign == ",":
                last = "comma"
            else:
                stack.pop()
                if not stack:
                    end = match.end()
                    self.state = "closed" if _completes(skeleton + text[:end], [], ("",)) else "broken"
                    return text[end:] if self.state == "closed" else ""
                last = "value"
            tail.clear()
            at = match.end()
        if not _completes(skeleton + text, stack, _STRING_ENDS if unfinished else _ENDS):
            self.state = "broken"
            return ""
        tail.append(text[at:])
        self.open, self._last = "".join(stack), last
        # A text of bounded length that has the same completions.
        self._tail = _DIGITS.sub(r"\1", _BLANKS.sub(" ", "".join(tail)))
        return ""


_BLANKS = re.compile(r"[ \t\n\r]+")
_DIGITS = re.compile(r"([0-9]{16})[0-9]+")
_HALF_PAIR = re.compile(r"\\u[dD][89A-Fa-f]")


def _completes(text: str, stack: list[str], ends: tuple[str, ...]) -> bool:
    """Say whether one of `ends` and the brackets that close `stack` make `text` a valid document."""
    # jiter refuses numbers of thousands of digits and half a surrogate pair, which are valid.
    text = _DIGITS.sub(r"\1", text)
    if "\\u" in text:
        text = _HALF_PAIR.sub(r"\\u00", text)
    # What cannot be encoded is a character like others in a string, and wrong outside, as is the question mark.
    data = text.encode("utf-8", "replace")
    closing = "".join(map(_CLOSING.__getitem__, reversed(stack)))
    for end in ends:
        with suppress(ValueError):
            jiter.from_json(data + (end + closing).encode(), allow_inf_nan=False, cache_mode="none")
            return True
    return False
