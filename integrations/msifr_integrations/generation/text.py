"""Text as it comes: from token ids to pieces of text that are never taken back.

A character may be spread over several tokens; until its last byte has come, decoding shows U+FFFD in its place. Such an
end is held back. The pieces of an attempt, joined, are the decoding of all its tokens.

(One exception, in tokenizers that fall back to bytes and replace a whole run of bytes if its end is broken: characters
complete before the break stay as they were given out. The joined pieces are the text then too.)
"""

from collections.abc import Sequence
from typing import Any

from msifr_integrations.generation.token_texts import decoded, remembered


class Pieces:
    """The text of one attempt, piece by piece.

    The tokens since the last piece are decoded together with those of the piece before, since what a token looks like
    may depend on its left neighbour. A character takes a few tokens; where many complete none, as in an endless run of
    broken bytes or special tokens, they are looked at ever more rarely, so that time stays linear.

    Where it does not (`token_texts`), what a token looked like once is remembered, for all attempts, and looked up when
    it comes again after complete text.
    """

    __slots__ = ("_before", "_held", "_known", "_look_at", "_recent", "_tokenizer")

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known = remembered(tokenizer)
        self._recent: list[int] = []  # tokens of the last piece
        self._before: str | None = ""  # their text, None if nobody has asked
        self._held: list[int] = []  # tokens since
        self._look_at = 0  # as soon as so many are held

    def push(self, token: int, *, last: bool = False) -> str:
        """Take a token; return the text it completes. The `last` token releases whatever is held back."""
        if self._known is None or self._held or not self._recent:  # a first token may look otherwise
            return self._look(token, last=last)
        piece = self._known.get(token, "")
        if piece:
            self._recent, self._before = [token], None
            return piece
        piece = self._look(token, last=last)
        if piece and "\ufffd" not in piece:
            self._known[token] = piece
        return piece

    def _look(self, token: int, *, last: bool) -> str:
        self._held.append(token)
        held = len(self._held)
        if held < self._look_at and not last:
            return ""
        if self._before is None:
            self._before = decoded(self._tokenizer, self._recent)
        seen = decoded(self._tokenizer, self._recent + self._held)
        piece = "" if seen.endswith("\ufffd") and not last else seen[len(self._before) :]
        if piece:  # a special token shows nothing, and waits for the next
            self._recent, self._held = self._held, []
            self._before = None
        self._look_at = 0 if piece or held < 16 else held + held // 4
        return piece


class Stops:
    """Stop strings, looked for in text as it comes: the text ends before the first that occurs.

    What may be the beginning of a stop string is held back until it is known not to be one, so that text given out is
    never taken back. Time is that of `str.find` on each piece and on what was held back before it.
    """

    __slots__ = ("_beginnings", "_held", "_longest", "_strings")

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._longest = max(map(len, strings), default=0)
        self._beginnings = {string[:size] for string in strings for size in range(1, len(string))}
        self._held = ""

    def push(self, piece: str, *, last: bool = False) -> tuple[str, bool]:
        """Take the next piece; return the text that is certain, and whether a stop string ends it here."""
        text = self._held + piece
        # What is complete first counts, so that it does not matter how the text was cut.
        found = [(place + len(string), place) for string in self._strings if (place := text.find(string)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)[1]], True
        held = 0
        if not last:
            sizes = range(min(self._longest - 1, len(text)), 0, -1)
            held = next((size for size in sizes if text[-size:] in self._beginnings), 0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held], False
