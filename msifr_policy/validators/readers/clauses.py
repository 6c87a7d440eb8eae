r"""Cutting text into clauses, the same however the text arrives.

A clause ends at a newline (also the two characters `\n` of JSON text), at a punctuation mark before a
blank, at a delimiter of calculator or display mathematics, or when it is `LIMIT` characters long. Where
clauses end depends on the text alone, so any way of chunking it gives the same clauses; each is given
out as soon as its end is certain.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

LIMIT = 400
"""Longest clause, in characters."""

# The set at the front lets the search run at full speed; what follows sorts the candidates.
_END = re.compile(
    r"""
    [\n\\.,;:?!<>$"]
    (?: (?<=\n)
      | (?<=\\) (?: n(?=[^a-z]) | n\\n | \[ | \] )
      | (?<=[.?]) (?=[\s"])
      | (?<=[,;]) (?=\s)
      | (?<=[^\s]:) (?=\s)          # not the ratio 3 : 4
      | (?<=[^0-9)!]!) (?=\s)       # not the factorial
      | (?<=<)< | (?<=>)> | (?<=\$)\$ | (?<="),
    )
    """,
    re.VERBOSE,
)
_REACH = 8  # more than the longest end with what must follow it


class Clause(NamedTuple):
    """A piece of text and the `mark` that ended it ("" at `LIMIT` characters).

    `end` is the position after the mark; `line` says whether that is a newline.
    """

    text: str
    end: int
    line: bool
    mark: str


class ClauseCutter:
    """The unfinished clause of a text: at most `LIMIT` characters and a few more."""

    def __init__(self) -> None:
        self._text = ""
        self._start = 0  # of the clause in _text; before it stands one more character, as an end may depend on it
        self._offset = 0  # position of _text in the whole text
        self._searched = 0  # no end begins before this index of _text

    def feed(self, text: str) -> Iterator[Clause]:
        """Yield the clauses that the new text completes. The iterator must be used up."""
        text = self._text + text
        start, searched = self._start, self._searched
        while True:
            limit = start + LIMIT
            match = _END.search(text, searched, limit + _REACH)
            if match and match.start() <= limit:
                mark = match[0]
                line = mark[0] == "\n" or mark[:2] == "\\n"
                yield Clause(text[start : match.start()], self._offset + match.end(), line, mark)
                start = searched = match.end()
            elif len(text) >= limit + _REACH:
                yield Clause(text[start:limit], self._offset + limit, False, "")
                start = searched = limit
            else:
                break
        begin = max(0, start - 1)
        self._text = text[begin:]
        self._start = start - begin
        self._offset += begin
        self._searched = max(self._start, len(self._text) - _REACH)
