"""Words: how much the words of prompt and text, and pairs of them, speak for acceptance, by learned weights.

A **gram** is a word, a digit, a mark, a newline, or a pair of neighbours, lower case, hashed to one of 65,536 buckets.
Each bucket counts once, when it first occurs. With v `[65,536]` the learned weights of the n buckets seen so far,

    text = Σ v / √(n + 4) in nats of log-odds,    prompt likewise over the last `PROMPT_REACH` characters of the prompt.

The weights are whole numbers (fixed point), so that sums are exact and do not depend on how the text was cut. A word
at the very end may still grow and is not counted yet.

Words remember how attempts at the prompts ended that their weights were learned from. Weights may therefore come in
sets, one per **fold** of prompts, each learned without the prompts of its fold: every prompt, old or new, is read by
the set of its own (cross-fitting: Chernozhukov et al. 2018).
"""

import hashlib
import math
import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.validators.base import Evidence, Rule, TextState, evidence
from msifr_policy.weights import recall

BUCKETS: Final = 2**16
PROMPT_REACH: Final = 4000
"""Characters of the prompt that are read, from its end."""
SMOOTHING: Final = 4.0
"""Added to the number of buckets under the root, so that the first words do not weigh too much."""
LONGEST: Final = 20
"""Characters of a word that count."""

# Letters in any script; everything else that is not white space stands alone.
_PIECE = re.compile(r"(?P<word>[^\W\d_]+)|\d|_|[^\w\s]|\n")


# Most words of a text are among a few thousand.
@lru_cache(2**14)
def _hashed(piece: str) -> tuple[bytes, int]:
    """Return a space and the piece, and the CRC-32 of the piece: that of a pair continues the one of its first."""
    raw = piece.lower().encode("utf-8", "surrogatepass")
    return b" " + raw, crc32(raw)


class GramReader:
    """Finds new buckets in a text that comes in pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._previous = 0
        self._seen = bytearray(BUCKETS)

    def feed(self, text: str) -> list[tuple[int, int]]:
        """Take new text; return (bucket, characters of `text` read when it was complete) for each new bucket."""
        offset = -len(self._held)
        text = self._held + text
        found: list[tuple[int, int]] = []
        self._held = ""
        end, seen, crc = len(text), self._seen, self._previous
        for match in _PIECE.finditer(text):
            ready = match.end()
            if match.lastindex:
                if ready == end:
                    # The first characters decide what the word is, however long it grows.
                    self._held = match[0][:LONGEST]
                    break
                ready += 1  # a word is complete when the character after it has been read
            piece, first = _hashed(match[0][:LONGEST])
            for bucket in (first % BUCKETS, crc32(piece, crc) % BUCKETS):
                if not seen[bucket]:
                    seen[bucket] = 1
                    found.append((bucket, ready + offset))
            crc = first
        self._previous = crc
        return found


def text_buckets(text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the buckets of a whole text in order of occurrence, and how many characters each needs to count."""
    both = np.asarray(GramReader().feed(text), dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def prompt_buckets(prompt: str) -> NDArray[np.int64]:
    """Return the buckets of a prompt; its last word is complete."""
    return text_buckets(prompt[-PROMPT_REACH:] + "\n")[0]


def prompt_fold(prompt: str, n: int) -> int:
    """Return which of `n` folds a prompt is in, a hash of its text, whatever its case and blanks."""
    folded = " ".join(prompt.split()).casefold().encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(folded, digest_size=8).digest(), "little") % n


class Words(Rule, frozen=True):
    """Learned log-odds of hashed words.

    weights: SHA-256 of a safetensors file with "words.text" and "words.prompt" int16 and "words.scale", the value of
    one unit in nats: `[65,536]` and a number, or `[S, 65,536]` and `[S]` in sets for S folds of prompts. Raises
    `InputError` when started with weights that are unknown or of another shape.
    """

    name = "words"
    version = "2"
    columns = ("text", "prompt")
    weights: str

    def _state(self, prompt: str) -> TextState:
        return _WordsState(*_of_prompt(self.weights, prompt))


class _Odds(NamedTuple):
    # Looked up one by one, which is slow in numpy.
    text: Sequence[int]
    prompt: Sequence[int]
    scale: float


@lru_cache(8)
def _odds(weights: str) -> tuple[_Odds, ...]:
    """Return the weights, set by set."""
    arrays = recall(weights)
    try:
        text, prompt, scale = (np.asarray(arrays[f"words.{name}"]) for name in _Odds._fields)
    except KeyError as error:
        raise InputError(f"no weights of words: {error}", where="validator words") from None
    if scale.ndim > 1 or not scale.size:
        raise InputError(f"words.scale has shape {scale.shape}, not () or one unit per set", where="validator words")
    if not np.isfinite(scale).all():
        raise InputError("words.scale is not finite", where="validator words")
    shape = (*scale.shape, BUCKETS)
    for weight in (text, prompt):
        if weight.shape != shape or weight.dtype != np.int16:
            found = f"weights of shape {weight.shape} and type {weight.dtype}, not {shape} int16"
            raise InputError(found, where="validator words")
    sets = zip(np.atleast_2d(text), np.atleast_2d(prompt), scale.reshape(-1).tolist(), strict=True)
    return tuple(_Odds(array("h", t.tobytes()), array("h", p.tobytes()), float(unit)) for t, p, unit in sets)


# Attempts at one prompt come together; the prompt is read once.
@lru_cache(256)
def _of_prompt(weights: str, prompt: str) -> tuple[_Odds, float]:
    """Return the set that reads the prompt, and the score of the prompt."""
    sets = _odds(weights)
    odds = sets[prompt_fold(prompt, len(sets))]
    buckets = prompt_buckets(prompt).tolist()
    return odds, _score(sum(map(odds.prompt.__getitem__, buckets)), len(buckets), odds.scale)


def _score(total: int, n: int, scale: float) -> float:
    return total * scale / math.sqrt(n + SMOOTHING)


class _WordsState(TextState):
    def __init__(self, odds: _Odds, prompt: float) -> None:
        self._odds = odds
        self._prompt = prompt
        self._reader = GramReader()
        self._total = self._n = 0

    def _read(self, text: str) -> Evidence:
        weights = self._odds.text
        for bucket, _ in self._reader.feed(text):
            self._total += weights[bucket]
            self._n += 1
        return evidence(_score(self._total, self._n, self._odds.scale), self._prompt)
