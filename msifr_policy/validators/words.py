"""Words: which words and pairs of words prompt and text contain, projected by learned weights.

A **gram** is a word, a digit, a mark, a newline, or a pair of neighbours, lower case, hashed to one of 65,536 buckets.
Each bucket counts once, when it first occurs. With V `[65,536, d]` the learned vectors of the n buckets seen so far,

    text_i = Σ V_i / √(n + 4),    prompt_i likewise over the last `PROMPT_REACH` characters of the prompt.

The vectors are whole numbers (fixed point), so that sums are exact and do not depend on how the text was cut. A word
at the very end may still grow and is not counted yet.
"""

from __future__ import annotations

import math
import re
import zlib
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.validators.base import NO_TOKENS, Evidence, Tokens, Verdict
from msifr_policy.weights import recall

__all__ = ["BUCKETS", "PROMPT_REACH", "GramReader", "Words", "prompt_buckets", "text_buckets"]

BUCKETS: Final = 2**16
PROMPT_REACH: Final = 4000
"""Characters of the prompt that are read, from its end."""

SMOOTHING: Final = 4.0
"""Added to the number of buckets under the root, so that the first words do not weigh too much."""

LONGEST: Final = 20
"""Characters of a word that count."""

# Letters in any script; everything else that is not white space stands alone.
_PIECE = re.compile(r"(?P<word>[^\W\d_]+)|\d|_|[^\w\s]|\n")


class GramReader:
    """Finds new buckets in a text that comes in pieces."""

    __slots__ = ("_held", "_previous", "_seen")

    def __init__(self) -> None:
        self._held = ""
        self._previous = ""
        self._seen = bytearray(BUCKETS)

    def feed(self, text: str) -> list[tuple[int, int]]:
        """Take new text; return (bucket, characters of `text` read when it was complete) for each new bucket."""
        offset = -len(self._held)
        text = self._held + text
        found: list[tuple[int, int]] = []
        self._held = ""
        for match in _PIECE.finditer(text):
            is_word = match["word"] is not None
            if is_word and match.end() == len(text):
                # The first characters decide what the word is, however long it grows.
                self._held = match[0][:LONGEST]
                break
            piece = match[0][:LONGEST].lower()
            # A word is complete when the character after it has been read.
            ready = match.end() + offset + is_word
            for gram in (piece, f"{self._previous} {piece}"):
                bucket = zlib.crc32(gram.encode("utf-8", "surrogatepass")) % BUCKETS
                if not self._seen[bucket]:
                    self._seen[bucket] = 1
                    found.append((bucket, ready))
            self._previous = piece
        return found

    def copy(self) -> GramReader:
        """Return an independent reader that has seen the same text."""
        twin = GramReader()
        twin._held, twin._previous, twin._seen = self._held, self._previous, self._seen[:]
        return twin


def text_buckets(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the buckets of a whole text in order of occurrence, and how many characters each needs to count."""
    found = GramReader().feed(text)
    both = np.asarray(found, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def prompt_buckets(prompt: str) -> NDArray[np.int64]:
    """Return the buckets of a prompt; its last word is complete."""
    return text_buckets(prompt[-PROMPT_REACH:] + "\n")[0]


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Learned projections of hashed words.

    weights: SHA-256 of a safetensors file with "words.text" and "words.prompt" `[65,536, d]` int16 and "words.scale",
    the value of one unit. dimensions: d. Raises `InputError` when started with weights that are unknown or of another
    shape.
    """

    weights: str
    dimensions: int

    @property
    def name(self) -> str:
        """`words`."""
        return "words"

    @property
    def version(self) -> str:
        """Version of the evidence."""
        return "1"

    @property
    def columns(self) -> tuple[str, ...]:
        """`text_i` and `prompt_i` for i < d, see the module docstring."""
        return tuple(f"{kind}_{i}" for kind in ("text", "prompt") for i in range(self.dimensions))

    def start(self, prompt: str) -> WordsState:
        """Return the state of a fresh attempt."""
        return WordsState(_vectors(self.weights, self.dimensions), _project_prompt(self, prompt))


class _Vectors(NamedTuple):
    text: NDArray[np.int16]
    prompt: NDArray[np.int16]
    scale: float


@lru_cache(8)
def _vectors(weights: str, dimensions: int) -> _Vectors:
    arrays = recall(weights)
    try:
        found = _Vectors(arrays["words.text"], arrays["words.prompt"], float(arrays["words.scale"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"no vectors of words: {error}", where="validator words") from None
    for vectors in found[:2]:
        if vectors.shape != (BUCKETS, dimensions) or vectors.dtype != np.int16:
            raise InputError(
                f"vectors of shape {vectors.shape} and type {vectors.dtype}, not [{BUCKETS}, {dimensions}] int16",
                where="validator words",
            )
    return found


# Attempts at one prompt come together; the prompt is read once.
@lru_cache(256)
def _project_prompt(words: Words, prompt: str) -> tuple[float, ...]:
    vectors = _vectors(words.weights, words.dimensions)
    buckets = prompt_buckets(prompt)
    return _scores(vectors.prompt[buckets].sum(axis=0, dtype=np.int64), len(buckets), vectors.scale)


def _scores(total: NDArray[np.int64], n: int, scale: float) -> tuple[float, ...]:
    return tuple((total * (scale / math.sqrt(n + SMOOTHING))).tolist())


class WordsState:
    """Sum of the vectors of the buckets seen."""

    __slots__ = ("_n", "_prompt", "_reader", "_total", "_vectors")

    def __init__(self, vectors: _Vectors, prompt: tuple[float, ...]) -> None:
        self._vectors = vectors
        self._prompt = prompt
        self._reader = GramReader()
        self._total = np.zeros(vectors.text.shape[1], dtype=np.int64)
        self._n = 0

    def feed(self, text: str, tokens: Tokens = NO_TOKENS) -> Evidence:
        """Add the vectors of the new buckets."""
        del tokens
        buckets = [bucket for bucket, _ in self._reader.feed(text)]
        if buckets:
            self._total = self._total + self._vectors.text[buckets].sum(axis=0, dtype=np.int64)
            self._n += len(buckets)
        return Evidence(Verdict.UNKNOWN, _scores(self._total, self._n, self._vectors.scale) + self._prompt)

    def copy(self) -> WordsState:
        """Return an independent state that has seen the same text."""
        twin = WordsState(self._vectors, self._prompt)
        twin._reader, twin._total, twin._n = self._reader.copy(), self._total, self._n
        return twin
