r"""Regular expressions of ECMA-262, which is what the patterns of JSON schemas are, by the library regress.

They are read with the flag `u`, as Draft 2020-12 recommends (section 6.4 of its core): `\d` is 0 to 9, `\w` and `\b`
are ASCII, `$` is the very end, a character is a code point, `\p{…}` are properties of Unicode. That flag also forbids
what browsers tolerate without it; what of this is common and has one meaning is read as it is meant: `\-`, `\@` and
other signs with a backslash they do not need; `{`, `}` and `]` that stand for themselves; `-` beside `\w` in a class.
"""

import re
from functools import lru_cache
from typing import Final

import regress

LONGEST: Final = 4096
"""Characters of a pattern: regress calls itself for each of its parts."""

_SYNTAX: Final = "^$\\.*+?()[]{}|/"  # signs that may have a backslash
_CLASS: Final = (r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\p{", r"\P{")
_PIECE = re.compile(r"\\(?:c[A-Za-z]|[pP]\{[^{}]*\}|u\{[^{}]*\}|k<[^<>]*>|.)|\{\d+(?:,\d*)?\}|.", re.DOTALL)


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> regress.Regex:
    """Return the expression compiled; raises ValueError, with a reason, if it is none or too long."""
    if len(pattern) > LONGEST:
        raise ValueError(f"a pattern of {len(pattern)} characters is too long: at most {LONGEST}")
    try:
        return regress.Regex(_strict(pattern), "u")
    except (regress.RegressError, UnicodeEncodeError) as error:
        raise ValueError(f"{pattern!r} is no regular expression of ECMA-262: {error}") from error


def search(pattern: str, text: str) -> bool:
    """Say whether an expression matches somewhere in `text`; half a surrogate pair is some character there."""
    try:
        return compiled(pattern).find(text) is not None
    except UnicodeEncodeError:
        whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return compiled(pattern).find(whole) is not None


def _strict(pattern: str) -> str:
    """Return the pattern as the flag `u` demands it."""
    pieces = _PIECE.findall(pattern)
    within = False  # a class
    result = []
    for i, piece in enumerate(pieces):
        read = piece
        if len(piece) == 2 and piece[0] == "\\" and piece[1].isascii() and not piece[1].isalnum():
            read = piece if piece[1] in _SYNTAX else f"\\x{ord(piece[1]):02x}"
        elif within and piece == "-" and any(beside.startswith(_CLASS) for beside in pieces[i - 1 : i + 2 : 2]):
            read = r"\-"
        elif not within and piece in ("{", "}", "]"):
            read = f"\\{piece}"
        if piece == "[" or piece == "]":
            within = piece == "["
        result.append(read)
    return "".join(result)
