"""Where a JSON document ends, or stops being one, read character by character.

The rules are those of Python's reader, which the filter uses: RFC 8259, without the NaN and Infinity that the filter
refuses. So no text that is called closed or broken here is read otherwise there, whatever follows.
"""

import re
from typing import Final

MAX_DEPTH: Final = 1000
"""Brackets open at once that are followed; a document nested more deeply is read to the end of its text."""

_WHITE = " \t\n\r"
_DIGITS = "0123456789"
_WORDS = {"t": "rue", "f": "alse", "n": "ull"}
_CLOSES = {"{": "}", "[": "]"}
_FIRST = {"{": "first key", "[": "first value"}
_AFTER_COMMA = {"{": "key", "[": "value"}


def _to(state: str, *characters: str) -> dict[str, str]:
    return dict.fromkeys("".join(characters), state)


# Within a number: what may come, and what it makes of the number. A number may end in a state of `_MAY_END`.
_NUMBER = {
    "minus": _to("zero", "0") | _to("integer", _DIGITS[1:]),
    "zero": _to("point", ".") | _to("e", "eE"),
    "integer": _to("integer", _DIGITS) | _to("point", ".") | _to("e", "eE"),
    "point": _to("fraction", _DIGITS),
    "fraction": _to("fraction", _DIGITS) | _to("e", "eE"),
    "e": _to("sign", "+-") | _to("exponent", _DIGITS),
    "sign": _to("exponent", _DIGITS),
    "exponent": _to("exponent", _DIGITS),
}
_MAY_END = {"zero", "integer", "fraction", "exponent"}
_BEGINS_NUMBER = _to("minus", "-") | _to("zero", "0") | _to("integer", _DIGITS[1:])
_ESCAPED = '"\\/bfnrt'
_HEXADECIMAL = _DIGITS + "abcdefABCDEF"
_ENDS_RUN = re.compile(r'["\\\x00-\x1f]')  # what in a string is not a character like others


class JsonEnd:
    """Ends after the object or array that is the document, or after the character that breaks the document.

    anywhere: the document is what the first `{` of the text begins. What follows it is not judged, so ending early is
        exact. Otherwise the document is the whole text: ending where it breaks is exact, but ending where it is whole
        makes an answer of what more text would have made none. A document that is a string, a number or a word is
        whole at the end of the text only.
    """

    def __init__(self, *, anywhere: bool) -> None:
        self.exact: Final = anywhere
        self._begun = not anywhere
        self._open: list[str] = []
        self._state = "value"
        self._key = False  # the string is a key
        self._word = ""  # what is still to come of a word
        self._digits = 0  # those still to come of an escape
        self._read = 0
        self._end: int | None = None

    def feed(self, text: str) -> int | None:
        """See `DecidedReader`."""
        at = 0
        if not self._begun:
            at = text.find("{")
            self._begun = at >= 0
        while self._begun and self._end is None and self._state != "too deep" and at < len(text):
            if self._state == "string":
                run = _ENDS_RUN.search(text, at)
                if run is None:
                    break
                at = run.start()
            self._state = self._next(text[at])
            at += 1
            if self._state in ("whole", "broken"):
                self._end = self._read + at
        self._read += len(text)
        return self._end

    def _next(self, character: str) -> str:
        """Return the state after this character."""
        state = self._state
        if state == "string":
            if character == '"':
                return "colon" if self._key else "after"
            return "escape" if character == "\\" else "broken"
        if state == "escape":
            self._digits = 4
            return "digits" if character == "u" else "string" if character in _ESCAPED else "broken"
        if state == "digits":
            self._digits -= 1
            return "broken" if character not in _HEXADECIMAL else "digits" if self._digits else "string"
        if state == "word":
            expected, self._word = self._word[0], self._word[1:]
            return "broken" if character != expected else "word" if self._word else "after"
        if state in _NUMBER:
            if character in _NUMBER[state]:
                return _NUMBER[state][character]
            if state not in _MAY_END:
                return "broken"
            state = "after"
        return state if character in _WHITE else self._shape(state, character)

    def _shape(self, state: str, character: str) -> str:
        """Return the state after a character between strings, numbers and words."""
        inner = self._open[-1] if self._open else ""
        if state in ("after", "first key", "first value") and character == _CLOSES.get(inner):
            self._open.pop()
            return "after" if self._open else "whole"
        if state == "after":
            return _AFTER_COMMA[inner] if character == "," and inner else "broken"
        if state == "colon":
            return "value" if character == ":" else "broken"
        self._key = state in ("key", "first key")
        if character == '"':
            return "string"
        if self._key:
            return "broken"
        if character in _CLOSES:
            self._open.append(character)
            return _FIRST[character] if len(self._open) <= MAX_DEPTH else "too deep"
        if character in _WORDS:
            self._word = _WORDS[character]
            return "word"
        return _BEGINS_NUMBER.get(character, "broken")
