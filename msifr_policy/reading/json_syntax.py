"""Where a JSON document ends, or stops being one: an automaton that reads on with every piece of text.

The rules are those of RFC 8259, and of the reader that the filter uses: so no text that is called whole or broken here
is read otherwise there, whatever follows. Complete strings, numbers and words are passed over by one regular
expression; what a piece of text ends within is read character by character, and so is what breaks the document.
"""

import re
from typing import Final

MAX_DEPTH: Final = 900
"""Brackets open at once that are followed: Python's reader of JSON takes hardly more."""

STOPS: Final = frozenset({"whole", "broken", "too deep"})
"""States in which a document takes no more text."""

WHITE: Final = " \t\n\r"
"""White space of JSON."""
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
_BLANKS = re.compile(r"[ \t\n\r]++")

# A whole token with the blanks before it. What follows a number tells that it is whole.
_TOKEN = re.compile(
    r"""[ \t\n\r]*+(?:
      (?P<sign>[{}\[\],:])
    | (?P<string>"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})[^"\\\x00-\x1f]*+)*+")
    | (?P<value>true|false|null|-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+(?=[ \t\n\r,\]}]))
    )""",
    re.VERBOSE,
)

# Between tokens: the state after a whole string, or after another value, where one may come.
_EXPECTED: Final[dict[str, dict[str | None, str]]] = {
    "value": {"string": "after", "value": "after"},
    "first value": {"string": "after", "value": "after"},
    "key": {"string": "colon"},
    "first key": {"string": "colon"},
    "colon": {},
    "after": {},
}


class JsonSyntax:
    """One document that begins with the first character that is not white space.

    `state` is "whole" once an object or an array is closed, "broken" once no continuation is a document, "too deep"
    once more than `MAX_DEPTH` brackets are open, and tells else what is expected. A document that is a string, a number
    or a word is whole at the end of the text only.
    """

    def __init__(self) -> None:
        self.open: list[str] = []
        """The brackets that are open."""
        self.state = "value"
        self._key = False  # the string is a key
        self._word = ""  # what is still to come of a word
        self._digits = 0  # those still to come of an escape

    def feed(self, text: str, at: int = 0) -> int:
        """Read `text` from `at` on; return where reading stopped.

        That is the end of the text, or else right after the character that closes the document, breaks it, or opens
        one bracket too many.
        """
        state, length = self.state, len(text)
        while at < length and state not in STOPS:
            if state == "string":
                run = _ENDS_RUN.search(text, at)
                if run is None:
                    at = length
                    break
                at = run.start()
            elif state in _EXPECTED:
                token = _TOKEN.match(text, at)
                if token is not None:
                    kind = token.lastgroup
                    if kind == "sign":
                        state = self._shape(state, text[token.end() - 1])
                        at = token.end()
                        continue
                    following = _EXPECTED[state].get(kind)
                    if following is not None:
                        state, at = following, token.end()
                        continue
                if blanks := _BLANKS.match(text, at):
                    at = blanks.end()
                    continue
            self.state = state
            state = self._next(text[at])
            at += 1
        self.state = state
        return at

    def _next(self, character: str) -> str:
        """Return the state after this character."""
        state = self.state
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
        return state if character in WHITE else self._shape(state, character)

    def _shape(self, state: str, character: str) -> str:
        """Return the state after a character between strings, numbers and words."""
        inner = self.open[-1] if self.open else ""
        if state in ("after", "first key", "first value") and character == _CLOSES.get(inner):
            self.open.pop()
            return "after" if self.open else "whole"
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
            self.open.append(character)
            return _FIRST[character] if len(self.open) <= MAX_DEPTH else "too deep"
        if character in _WORDS:
            self._word = _WORDS[character]
            return "word"
        return _BEGINS_NUMBER.get(character, "broken")
