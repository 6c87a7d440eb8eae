"""Near-duplicate prompts: which texts under different ids are one prompt, so that certificates count them once.

Attempts at one prompt are not independent [T10], whatever its ids are. Two texts are **near-duplicates** if they are
the same once Unicode NFKC, case, blanks and sentence punctuation are put aside; or if their numbers are the same, in
order, and their sets of **shingles** (`WORDS` words in a row) have a Jaccard index |A ∩ B| / |A ∪ B| of at least
`ALIKE`, over all shingles and over the rare ones. A shingle is rare if few texts have it, at most `RARE` of them: what
more have is a template with its demonstrations and instructions, which must not make different questions one.

No such pair is missed (prefix filtering, Bayardo, Ma and Srikant 2007): with shingles in one order, rarest first, two
sets of index ≥ t share one of the first |A| - ⌈t|A|⌉ + 1 of each. The index of the pairs that do is then computed,
exactly up to hashes of 32 bits; of long texts by a sample, the shingles of smallest hash (Broder 1997).
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS = 3
ALIKE = 0.8
RARE = 50
FEWEST = 16  # rare shingles; with fewer, only the same words make one prompt: the rest is all template
KIN = 0.6  # index of the first texts of two groups that become one: a chain of small changes must not take in all
MOST = 2048  # shingles kept of a text, an index then has a standard error of about 1 %

_NO_BLANKS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
# A number; a letter of a script without blanks; a word; a symbol: "-" may be a sign, but a comma is not worth a word.
_TOKEN = re.compile(rf"\.?\d+(?:[.,]\d+)*|[{_NO_BLANKS}]|[^\W\d_{_NO_BLANKS}]+|[^\w\s.,;:?'\"`\u2018-\u201f\u2026]")
_PIECE = re.compile(r"\S{1,200}")  # a run of combining marks is normalised in quadratic time
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_IN_ALL = 2**25  # shingles compared at once, about 1 GB
_PAIRS = 4096  # of texts, compared at once
_PLACES = 2**16  # of shingles, from which pairs are found at once


class Sketch(NamedTuple):
    """What is kept of a text: digests of its words and of its numbers, `[≤ MOST]` its smallest hashes, increasing."""

    words: bytes
    numbers: bytes
    shingles: NDArray[np.uint32]


def sketch(text: str) -> Sketch:
    """Return the sketch of a text, in time linear in its length; it holds at most 8 kB."""
    if not text.isascii():
        text = _PIECE.sub(lambda piece: unicodedata.normalize("NFKC", piece[0]), text)
    tokens = _TOKEN.findall(text.casefold())
    numbers = " ".join(token for token in tokens if token[-1].isdecimal())
    words = " ".join(tokens).encode("utf-8", "surrogatepass")
    word = np.fromiter(map(zlib.crc32, words.split()), np.uint64, len(tokens))
    mixed = np.zeros(max(len(word) - WORDS + 1, 0), np.uint64)
    for i in range(WORDS if len(mixed) else 0):
        mixed = (mixed ^ (mixed >> _HALF) ^ word[i : i + len(mixed)]) * _ODD
    shingles = np.sort((mixed >> _HALF).astype(np.uint32))
    return Sketch(_digest(words), _digest(numbers.encode()), shingles[_is_first(shingles)][:MOST])


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _is_first(values: NDArray[np.unsignedinteger]) -> NDArray[np.bool_]:
    """Return `[n]` where each run of equal values begins."""
    first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def near_duplicates(sketches: Sequence[Sketch]) -> NDArray[np.int64]:
    """Return `[P]` the first prompt of the group of near-duplicates that each prompt is in, itself where it is alone.

    Two groups with a pair of near-duplicates between them are one, provided that their first texts have an index of at
    least `KIN`. Texts without words say nothing of their prompts, and one text that all prompts have does not tell
    them apart: these stay prompts of their own.
    """
    wordless = sketch("").words
    first_with: dict[bytes, int] = {}
    same = np.arange(len(sketches))
    for p, one in enumerate(sketches):
        if one.words != wordless:
            same[p] = first_with.setdefault(one.words, p)
    if len(first_with) < 2:
        return np.arange(len(sketches))
    texts = np.fromiter(first_with.values(), np.int64)
    alike = np.arange(len(sketches))
    alike[texts] = texts[_groups([sketches[p] for p in texts])]
    return alike[same]


class _Sets(NamedTuple):
    """Shingles of T texts. keys: `[n]` increasing, text · 2³² + hash; start: `[T + 1]`; reach: `[T]` the largest hash
    by which a text can be compared, below 2³² where there is but a sample of its shingles.
    """

    keys: NDArray[np.uint64]
    start: NDArray[np.int64]
    reach: NDArray[np.uint64]

    def only(self, chosen: NDArray[np.bool_]) -> "_Sets":
        """Return the sets of the shingles that are True in `chosen` `[n]`."""
        return _Sets(self.keys[chosen], np.concatenate(([0], np.cumsum(chosen)))[self.start], self.reach)

    def jaccard(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return `[m]` the Jaccard index of the texts a and b `[m]`."""
        reach = np.minimum(self.reach[a], self.reach[b])
        pairs, n_shingles = [], np.zeros(len(a), np.int64)
        for x in (a, b):
            size = self.keys.searchsorted(_key(x, reach), "right") - self.start[x]
            pair = np.repeat(np.arange(len(a)), size)
            place = np.arange(len(pair)) + np.repeat(self.start[x] - np.cumsum(size) + size, size)
            pairs.append(_key(pair, self.keys[place] & _LOW))
            n_shingles += size
        found = np.sort(np.concatenate(pairs))
        shared = np.bincount((found[~_is_first(found)] >> _HALF).astype(np.int64), minlength=len(a))
        index: NDArray[np.float64] = shared / np.maximum(n_shingles - shared, 1)
        return index


def _key(high: NDArray[np.int64], low: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return (high.astype(np.uint64) << _HALF) | low


def _sets(sketches: Sequence[Sketch]) -> _Sets:
    most = min(MOST, max(64, _IN_ALL // len(sketches)))
    sets = [one.shingles[:most] for one in sketches]
    length = np.asarray([len(one) for one in sets])
    keys = _key(np.repeat(np.arange(len(sets)), length), np.concatenate(sets).astype(np.uint64))
    reach = np.asarray([one[-1] if len(one) == most else _LOW for one in sets], dtype=np.uint64)
    return _Sets(keys, np.concatenate(([0], np.cumsum(length))), reach)


def _groups(sketches: Sequence[Sketch]) -> NDArray[np.int64]:
    """Return `[T]` the first text of the group of each of T texts, no two of which have the same words."""
    group = np.arange(len(sketches))
    every = _sets(sketches)
    in_texts = _in_texts(every)
    is_rare = in_texts <= min(max(5, len(sketches) // 10), RARE)
    rare, in_texts = every.only(is_rare), in_texts[is_rare]
    _, numbers = np.unique([one.numbers.hex() for one in sketches], return_inverse=True)

    for pairs in _candidates(rare, in_texts):
        pairs = pairs[numbers[pairs[:, 0]] == numbers[pairs[:, 1]]]
        for some in np.split(pairs, range(_PAIRS, len(pairs), _PAIRS)):
            a, b = some[group[some[:, 0]] != group[some[:, 1]]].T
            for sets in (rare, every):
                alike = sets.jaccard(a, b) >= ALIKE
                a, b = a[alike], b[alike]
            for x, y in zip(a.tolist(), b.tolist(), strict=True):
                first, other = sorted((_first(group, x), _first(group, y)))
                if (first, other) == (x, y) or _are_kin(every, first, other):
                    group[other] = first
            while (group[group] != group).any():
                group = group[group]
    return group


def _first(group: NDArray[np.int64], text: int) -> int:
    while group[text] != text:
        text = int(group[text])
    return text


def _are_kin(sets: _Sets, a: int, b: int) -> bool:
    return bool(sets.jaccard(np.asarray([a]), np.asarray([b]))[0] >= KIN)


def _in_texts(sets: _Sets) -> NDArray[np.int64]:
    """Return `[n]` how many texts have each shingle."""
    hashes = (sets.keys & _LOW).astype(np.uint32)
    order = np.argsort(hashes)
    begins = np.flatnonzero(_is_first(hashes[order]))
    times = np.diff(begins, append=len(hashes))
    in_texts = np.empty(len(hashes), np.int64)
    in_texts[order] = np.repeat(times, times)
    return in_texts


def _candidates(rare: _Sets, in_texts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield `[m, 2]` pairs of texts, the earlier first: all that share one of their first rare shingles, rarest first.

    The first yield is of the first text that has a shingle with each other one: most groups are found by it, and pairs
    within a group need no look.
    """
    text = (rare.keys >> _HALF).astype(np.int64)
    size = np.diff(rare.start)
    allowed = size - np.ceil(ALIKE * size - 1e-9).astype(np.int64) + 1
    alone = np.bincount(text[in_texts == 1], minlength=len(size))  # the rarest: they come first, and pair with none
    hopeful = (in_texts > 1) & ((size >= FEWEST) & (alone < allowed))[text]
    text, low = text[hopeful], rare.keys[hopeful] & _LOW
    order = np.argsort(text * (RARE + 1) + in_texts[hopeful], kind="stable")
    text, low = text[order], low[order]
    kept = np.arange(len(text)) - np.searchsorted(text, text) + alone[text] < allowed[text]
    by_text = np.flatnonzero(kept)
    order = by_text[np.lexsort((text[kept], low[kept]))]  # by shingle, then by text
    text, low = text[order], low[order]
    begin = np.maximum.accumulate(np.where(_is_first(low), np.arange(len(low)), 0))
    yield _distinct(text[begin], text)
    for places in np.array_split(np.argsort(text, kind="stable"), len(text) // _PLACES + 1):
        found = [np.empty((0, 2), np.int64)]
        for apart in range(1, RARE):
            places = places[places + apart < len(text)]
            places = places[low[places] == low[places + apart]]
            found.append(_distinct(text[places], text[places + apart]))
        yield np.unique(np.concatenate(found), axis=0)


def _distinct(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return `[m, 2]` each pair of different texts once."""
    pairs = np.unique(_key(a, b.astype(np.uint64)))
    split = np.column_stack([pairs >> _HALF, pairs & _LOW]).astype(np.int64)
    distinct: NDArray[np.int64] = split[split[:, 0] != split[:, 1]]
    return distinct
