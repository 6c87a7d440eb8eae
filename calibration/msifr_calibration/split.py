"""Splits by prompt: attempts of one prompt are never on both sides."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable


def uniform(ids: Sequence[str], key: str | int, use: str = "") -> NDArray[np.float64]:
    """Return `[len(ids)]` a number in [0, 1) per id of a prompt or attempt, a function of (key, use, id) alone.

    The side a prompt falls on does not depend on which other prompts are in the data. Numbers for different uses are
    independent, so that a split inside a split is not made by the same numbers.
    """
    start = hashlib.blake2b(digest_size=8, key=hashlib.sha256(f"{key}{use}".encode()).digest())

    def digest(text: str) -> bytes:
        one = start.copy()
        one.update(text.encode("utf-8", "surrogatepass"))
        return one.digest()

    return np.frombuffer(b"".join(map(digest, ids)), dtype=">u8") / 2.0**64


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
