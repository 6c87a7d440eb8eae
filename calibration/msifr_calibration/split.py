"""Splits by prompt: attempts of one prompt are never on both sides."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable

# Bytes of an id that are read as they are; of a longer one, its digest of as many.
_LONGEST = 64


def uniform(ids: Sequence[str], key: str | int, use: str = "") -> NDArray[np.float64]:
    """Return `[len(ids)]` a number in [0, 1) per id of a prompt or attempt, a function of (key, use, id) alone.

    The side a prompt falls on does not depend on which other prompts are in the data. Numbers for different uses are
    independent, so that a split inside a split is not made by the same numbers. Each id is read as words of 64 bits,
    which are stirred in one after another, in all ids at once.
    """
    start, last = np.frombuffer(hashlib.sha256(f"{key}\0{use}".encode()).digest()[:16], dtype="<u8")
    texts: list[str | bytes] = list(ids)  # of ASCII, a character is a byte
    if not all(map(str.isascii, ids)):
        texts = [text.encode("utf-8", "surrogatepass") for text in ids]
    length = np.fromiter(map(len, texts), dtype=np.uint64, count=len(texts))
    for i in np.flatnonzero(length > _LONGEST).tolist():
        texts[i] = hashlib.blake2b(ids[i].encode("utf-8", "surrogatepass"), digest_size=_LONGEST).digest()
    n_words = -(-int(np.minimum(length, _LONGEST).max(initial=1)) // 8)
    words = np.array(texts, dtype=f"S{8 * n_words}").view("<u8").reshape(len(texts), n_words)
    state = _stirred(start + length)  # the length, since words are padded with zeros
    for read, word in enumerate(words.T):
        state = np.where(length > 8 * read, _stirred(state + word), state)
    return (_stirred(state + last) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _stirred(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the finaliser of SplitMix64 (Steele, Lea and Flood 2014), elementwise: a bit changed changes half."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def split_by_prompt(
    table: EvidenceTable, share: float, seed: int, use: str = ""
) -> tuple[EvidenceTable, EvidenceTable]:
    """Return (first, second): about `share` of the prompts, and the rest; `use` as in `uniform`.

    Raises `InputError` if `share` is not inside (0, 1) or there are fewer than two prompts.
    """
    if not 0 < share < 1:
        raise InputError(f"split share {share} must lie strictly between 0 and 1")
    if table.n_prompts < 2:
        raise InputError(f"{table.n_prompts} prompts cannot be split", remedy="add prompts")
    u = uniform(table.prompt_ids, seed, use)
    first = u < share
    if first.all() or not first.any():
        # Few prompts may all fall on one side: the one nearest to the other side goes there.
        first = u < u.max() if first.any() else u <= u.min()
    return table.where(first), table.where(~first)


def folds(prompt_ids: Sequence[str], n_folds: int, seed: int) -> NDArray[np.int64]:
    """Return `[P]` a fold 0 … n_folds − 1 per prompt, of sizes that differ by at most one."""
    order = np.argsort(uniform(prompt_ids, seed), kind="stable")
    fold = np.empty(len(prompt_ids), dtype=np.int64)
    fold[order] = np.arange(len(prompt_ids)) % n_folds
    return fold
