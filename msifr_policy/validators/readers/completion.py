"""Can this text still be completed to one of a language? Asked of llguidance, byte by byte.

llguidance parses with a lexer of lazily built automata and an Earley parser, and keeps what it needs to
go back, some 30 bytes for each byte read. So reading stops after `LIMIT` bytes: a longer text
has no answer any more. The same happens where the grammar allows more than `MAX_ITEMS` ways to go on reading: an
ambiguous grammar (`sum: sum "+" sum`) would take cubic time. A language is one of bytes here, so that no tokenizer
of any model is needed.
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

    `state` is "open" while a completion exists, "dead" from the first character on after which there is none, and
    "lost" once nothing can be said any more. `characters` were read while it was open, NaN if it is lost.
    """

    def __init__(self, grammar: str) -> None:
        self._matcher = _matcher(grammar).deep_copy()
        self._bytes = 0
        self.state: Literal["open", "dead", "lost"] = "open"
        self.characters = 0.0

    def feed(self, text: str) -> None:
        """Read on."""
        if self.state != "open" or not text:
            return
        # What cannot be encoded is read as a question mark.
        data = text.encode("utf-8", "replace")
        left = LIMIT - self._bytes
        read = self._matcher.try_consume_tokens(list(data[:left]))
        self._bytes += read
        if read == len(data):
            self.characters += len(text)
            return
        if self._matcher.is_error() or read == left:
            self.state, self.characters = "lost", math.nan
        else:
            self.state = "dead"
            self.characters += len(data[:read].decode("utf-8", "ignore"))

    @property
    def complete(self) -> bool:
        """Whether the characters read are a text of the language."""
        return self.state != "lost" and self._matcher.is_accepting()

    @property
    def final(self) -> bool:
        """Whether they are, and nothing can follow them."""
        return self.complete and self._matcher.is_stopped()


def check_grammar(grammar: str, where: str) -> None:
    """Raise `InputError` if llguidance does not take the grammar, with its reason."""
    matcher = _matcher(grammar)
    if matcher.is_error():
        reason = " ".join(matcher.get_error().split())  # it is a drawing of several lines
        raise InputError(reason[:300] or "refused by llguidance", where=where)


@lru_cache(16)
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
