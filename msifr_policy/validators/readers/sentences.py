"""Cutting text into sentences, the same however the text arrives.

A sentence ends at a newline, at `.`, `?`, `!` or `:` before white space (a quotation mark or bracket between them
belongs to it), or when it is `LIMIT` characters long. Rougher and several times faster than
`clauses`: for rules that look for words, not for equations.
"""

from __future__ import annotations

import re

__all__ = ["LIMIT", "Sentence", "SentenceCutter"]

LIMIT = 400
"""Longest sentence, in characters."""

_END = re.compile(r"""\n|[.?!:]["'”’)\]*_]{0,3}+\s""")
_REACH = 5  # the longest end


Sentence = tuple[str, bool, int]
"""A sentence with its end mark, whether it begins one (and is not the rest of one too long), and where it ends.

A plain tuple: a named one would cost as much as finding the sentence.
"""


class SentenceCutter:
    """The unfinished sentence of a text."""

    __slots__ = ("_fresh", "_offset", "_text")

    def __init__(self) -> None:
        self._text = ""
        self._offset = 0  # position of _text in the whole text
        self._fresh = True

    def feed(self, text: str) -> list[Sentence]:
        """Return the sentences that the new text completes."""
        searched = max(0, len(self._text) - _REACH)
        text = self._text + text
        sentences: list[Sentence] = []
        start = 0
        while True:
            match = _END.search(text, searched, start + LIMIT + _REACH)
            if match and match.start() < start + LIMIT:
                end, fresh = match.end(), True
            elif len(text) >= start + LIMIT + _REACH:
                end, fresh = start + LIMIT, False
            else:
                break
            sentences.append((text[start:end], self._fresh, self._offset + end))
            self._fresh = fresh
            start = searched = end
        self._text = text[start:]
        self._offset += start
        return sentences

    @property
    def unfinished(self) -> Sentence:
        """What may still grow: the text since the last sentence."""
        return self._text, self._fresh, self._offset + len(self._text)

    def copy(self) -> SentenceCutter:
        """Return an independent copy."""
        twin = SentenceCutter()
        for slot in self.__slots__:
            setattr(twin, slot, getattr(self, slot))
        return twin
