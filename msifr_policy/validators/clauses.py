r"""Cutting text into clauses, the same however the text arrives.

A clause ends at a newline (also the two characters `\n` of JSON text), at a punctuation mark before a
blank, at a calculator or display-mathematics delimiter, before a word that begins another thought (" so "),
or when it is `LIMIT` characters long. Where clauses end depends on the text alone, so any way of
chunking it gives the same clauses; each is given out as soon as its end is certain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["LIMIT", "Clause", "ClauseCutter"]

LIMIT = 400
"""Longest clause, in characters."""

_END = re.compile(
    r"""
    (?P<line> \n | \\n(?=[^a-z]) | \\n\\n )
  | (?P<sentence> (?<![0-9)!])!(?=\s) | [.?](?=[\s"]) )
  | (?P<clause> [,;](?=\s) | (?<!\s):(?=\s) | << | >> | \$\$ | \\\[ | \\\] | ",
  | \s(?=(?:so|which|then|because|therefore|thus|but|since|where|giving|leaving)\s) )
    """,
    re.VERBOSE,
)
_REACH = 16  # more than the longest end with what must follow it


class Clause(NamedTuple):
    """A piece of text and how it ends: `end` is its last position in the whole text (exclusive)."""

    text: str
    end: int
    kind: str  # "line", "sentence", "clause" or "cut"
    mark: str  # the characters of the end


class ClauseCutter:
    """The unfinished clause of a text, at most `LIMIT` + a few characters."""

    __slots__ = ("_position", "_searched", "_text")

    def __init__(self) -> None:
        self._text = ""
        self._position = 0  # of the start of _text
        self._searched = 0  # no end begins before this offset of _text

    def feed(self, text: str) -> Iterator[Clause]:
        """Yield the clauses that the new text completes. The iterator must be used up."""
        text = self._text + text
        start, searched = 0, self._searched
        while True:
            limit = start + LIMIT
            match = _END.search(text, searched, limit + _REACH)
            if match and match.start() <= limit:
                yield Clause(text[start : match.start()], self._position + match.end(), match.lastgroup or "", match[0])
                start = searched = match.end()
            elif len(text) >= limit + _REACH:
                yield Clause(text[start:limit], self._position + limit, "cut", "")
                start = searched = limit
            else:
                break
        self._text = text[start:]
        self._position += start
        self._searched = max(0, len(self._text) - _REACH)

    def copy(self) -> ClauseCutter:
        """Return an independent copy."""
        twin = ClauseCutter()
        twin._text, twin._position, twin._searched = self._text, self._position, self._searched
        return twin
