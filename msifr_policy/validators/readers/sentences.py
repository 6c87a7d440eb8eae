"""Cutting text into sentences, the same however the text arrives, and telling what a sentence shows.

A sentence ends at a newline, at `.`, `?`, `!`, `:` or their like in other scripts before white space (a quotation mark
or bracket between them belongs to it), at the wide marks of Chinese and Japanese, which no space follows, or when it is
`LIMIT` characters long. Rougher and several times faster than `clauses`: for rules that look for words, not for
equations. These words are sets of RE2 patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re2

LIMIT = 400
"""Longest sentence, in characters."""

# One set of characters first: the search then skips to them, several times faster than to either of two patterns.
_END = re.compile(
    r"""[\n.?!:؟۔।。！？：｡](?:(?<=\n)|(?<=[.?!:؟۔।])["'”’»)\]*_]{0,3}+\s"""
    r"""|(?<=[。！？：｡])[。！？"'”’»」』）)\]*_]{0,3}+(?=.))""",
    re.DOTALL,
)
_REACH = 5  # the longest end, and what follows a wide mark

_PLAIN = str.maketrans(dict.fromkeys("’‘ʼ´＇", "'") | dict.fromkeys("\u00a0\u2007\u2009\u202f\u3000", " "))
_SPACES = re.compile(" {2,}")
_NONE: frozenset[str] = frozenset()


Sentence = tuple[str, bool, int]
"""A sentence with its end mark, whether it begins one (and is not the rest of one too long), and where it ends.

A plain tuple: a named one would cost as much as finding the sentence.
"""


class SentenceCutter:
    """The unfinished sentence of a text."""

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


class PatternSets:
    """The patterns of `sets`, each after `lead`, as one automaton: one linear pass tells which sets a sentence shows.

    Capital and small letters are the same, and so are kinds of apostrophes and spaces; bold print (`**`) is left out.
    With `anchored` they match only at the beginning of a sentence.
    """

    def __init__(self, sets: Mapping[str, Iterable[str]], *, anchored: bool, lead: str = "") -> None:
        self._anchored = anchored
        self._patterns = [(name, f"{lead}(?:{pattern})") for name, patterns in sets.items() for pattern in patterns]

    @cached_property
    def _automaton(self) -> re2.Set:
        import re2

        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        automaton = (re2.Set.MatchSet if self._anchored else re2.Set.SearchSet)(options)
        for _, pattern in self._patterns:
            automaton.Add(pattern)
        automaton.Compile()
        return automaton

    def found(self, sentence: str) -> Set[str]:
        """Return the names of the sets of which `sentence` shows a pattern."""
        matches = self._automaton.Match(_plain(sentence).encode("utf-8", "replace"))
        return {self._patterns[i][0] for i in matches} if matches else _NONE


def _plain(sentence: str) -> str:
    if not sentence.isascii():
        sentence = sentence.translate(_PLAIN)
    if "**" in sentence:
        sentence = sentence.replace("**", "")
    if "  " in sentence:
        sentence = _SPACES.sub(" ", sentence)
    return sentence
