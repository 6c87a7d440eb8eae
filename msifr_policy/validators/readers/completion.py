"""Can this text still be completed to one of a language? Asked of llguidance, byte by byte.

llguidance parses with a lexer of lazily built automata and an Earley parser, and keeps what it needs to
go back, some 30 bytes for each byte read. So reading stops after `LIMIT` bytes: a longer text
has no answer any more. The same happens where the grammar allows more than `MAX_ITEMS` ways to go on reading: an
ambiguous grammar (`sum: sum "+" sum`) would take cubic time. A language is one of bytes here, so that no tokenizer
of any model is needed.

The lexer takes the longest terminal and never goes back, so it may find no completion where there is one. A second
grammar of the same language, without such terminals, is then asked: only where both find none there is none.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

from msifr_policy.errors import InputError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

LIMIT = 2**16
"""Bytes of text that are read."""
MAX_ITEMS = 512
"""Items in a row of the parser."""


class Completion:
    """The text so far as a beginning of some text of the language.

    `second` is another grammar of the language, which may find completions that `grammar` does not; None if that cannot
    be, empty if there might be some but no such grammar is known.

    `state` is "open" while a completion exists, "dead" from the first character on after which there is none, and
    "lost" once nothing can be said any more. `characters` were read while it was open, NaN if it is lost.
    """

    def __init__(self, grammar: str, second: str | None = None) -> None:
        self._readings = [_Reading(grammar), *([_Reading(second)] if second else [])]
        self._unsure = second == ""
        self.state: Literal["open", "dead", "lost"] = "open"
        self.characters = 0.0

    def feed(self, text: str) -> None:
        """Read on."""
        if self.state != "open" or not text:
            return
        # What cannot be encoded is read as a question mark.
        data = text.encode("utf-8", "replace")
        states = [reading.feed(data) for reading in self._readings]
        if "open" in states:
            self.characters += len(text)
        elif "lost" in states or self._unsure:
            self.state, self.characters = "lost", math.nan
        else:
            self.state = "dead"
            read = max(reading.read for reading in self._readings)
            self.characters += len(data[:read].decode("utf-8", "ignore"))

    @property
    def complete(self) -> bool:
        """Whether the characters read are a text of the language."""
        return self.state != "lost" and any(reading.accepts for reading in self._current())

    @property
    def final(self) -> bool:
        """Whether they are, and nothing can follow them."""
        return self.complete and all(reading.stopped for reading in self._current())

    def _current(self) -> list[_Reading]:
        """Return the readings that have come as far as any."""
        return [reading for reading in self._readings if reading.state == self.state]


class _Reading:
    """A text read by one grammar, with its state; `read` counts the bytes of the last piece that were read."""

    def __init__(self, grammar: str) -> None:
        self._matcher = _matcher(grammar).deep_copy()
        self._bytes = 0
        self.state: Literal["open", "dead", "lost"] = "open"
        self.read = 0

    def feed(self, data: bytes) -> Literal["open", "dead", "lost"]:
        """Read on, and return the state."""
        self.read = 0
        if self.state == "open":
            left = LIMIT - self._bytes
            self.read = self._matcher.try_consume_tokens(list(data[:left]))
            self._bytes += self.read
            if self.read < len(data):
                self.state = "lost" if self._matcher.is_error() or self.read == left else "dead"
        return self.state

    @property
    def accepts(self) -> bool:
        """Whether what was read is a text of the language."""
        return self._matcher.is_accepting()

    @property
    def stopped(self) -> bool:
        """Whether nothing can follow what was read."""
        return self._matcher.is_stopped()


def check_grammar(grammar: str, where: str) -> None:
    """Raise `InputError` if llguidance does not take the grammar, with its reason."""
    matcher = _matcher(grammar)
    if matcher.is_error():
        reason = " ".join(matcher.get_error().split())  # it is a drawing of several lines
        raise InputError(reason[:300] or "refused by llguidance", where=where)


def is_grammar(grammar: str) -> bool:
    """Say whether llguidance takes the grammar."""
    return not _matcher(grammar).is_error()


@lru_cache(32)
def _matcher(grammar: str) -> LLMatcher:
    """Return a matcher at its beginning; only copies of it read."""
    from llguidance import LLMatcher, LLParserLimits

    return LLMatcher(_tokenizer(), grammar, log_level=0, limits=LLParserLimits(max_items_in_row=MAX_ITEMS))


class _Bytes:
    """A vocabulary of the 256 bytes and an end mark."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (256,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@cache
def _tokenizer() -> LLTokenizer:
    from llguidance import LLTokenizer, TokenizerWrapper

    return LLTokenizer(TokenizerWrapper(_Bytes()), slices=[])
