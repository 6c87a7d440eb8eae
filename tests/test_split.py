"""Random choices by hashes of ids: functions of (key, use, id) alone, even, and independent between uses.

The statistical tests are wrong with probability 1e-6 each, if the hash is what it should be.
"""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, norm

from makers import make_table
from msifr_calibration.held_out import HeldOut, one_each
from msifr_calibration.split import uniform

FALSE_ALARM = 1e-6
KINDS = {
    "counted": [f"{i}" for i in range(40_000)],
    "padded": [f"gsm8k/test/{i:08d}" for i in range(40_000)],
    "attempts": [f"prompt-{i // 16}/{i % 16}" for i in range(40_000)],
    "last words differ": [f"a long name that all of them share/{i}" for i in range(40_000)],
    "first words differ": [f"{i:06d}: a long name that all of them share" for i in range(40_000)],
    "not ASCII": [f"问题 {i}" for i in range(40_000)],
    "whole prompts": [f"{i}. {'How many apples are left in the basket? ' * 3}" for i in range(40_000)],
}


def all_cells_alike(u: np.ndarray, v: np.ndarray, bins: int = 16) -> bool:
    """Return whether pairs fall evenly into bins x bins cells, so that both are uniform and independent."""
    counts = np.histogram2d(u, v, bins=bins, range=[[0, 1], [0, 1]])[0]
    expected = len(u) / bins**2
    return float(((counts - expected) ** 2 / expected).sum()) < chi2.isf(FALSE_ALARM, bins**2 - 1)


@pytest.mark.parametrize("ids", KINDS.values(), ids=KINDS.keys())
def test_numbers_are_even_and_independent_between_uses_keys_and_neighbours(ids):
    u = uniform(ids, "key", "use")
    assert u.min() >= 0
    assert u.max() < 1
    for v in (uniform(ids, "key", "another use"), uniform(ids, "other key", "use"), np.roll(u, 1), np.roll(u, 16)):
        assert all_cells_alike(u, v)
        assert abs(np.corrcoef(u, v)[0, 1]) * np.sqrt(len(u)) < norm.isf(FALSE_ALARM / 2)
    # A split inside a split: the half of one use is cut in halves by the other.
    inside = uniform(ids, "key", "another use")[u < 0.5] < 0.5
    assert abs(inside.mean() - 0.5) * 2 * np.sqrt(len(inside)) < norm.isf(FALSE_ALARM / 2)


def test_keys_that_follow_one_another_give_independent_numbers():
    """As over calibrations: one id, many keys."""
    u = np.asarray([uniform(["p1", "p2"], key) for key in range(20_000)])
    assert all_cells_alike(u[:, 0], u[:, 1], bins=10)
    assert all_cells_alike(u[1:, 0], u[:-1, 0], bins=10)


def test_numbers_are_functions_of_the_id_alone():
    ids = [
        "",
        "\0",
        "\0\0",
        "a",
        "a\0",
        "b",
        "12345678",
        "123456789",
        "é",
        "\udc80",
        "x" * 64,
        "x" * 64 + "a",
        "x" * 64 + "b",
        "y" * 5000,
    ]
    together = uniform(ids, "k", "u")
    assert len(set(together.tolist())) == len(ids)
    assert together.tolist() == [float(uniform([i], "k", "u")[0]) for i in ids]
    assert together[::-1].tolist() == uniform(ids[::-1], "k", "u").tolist()
    assert uniform([], "k").shape == (0,)


def test_key_and_use_are_not_run_together():
    assert uniform(["p"], "k", "use") != uniform(["p"], "ku", "se")
    assert uniform(["p"], 1) == uniform(["p"], "1")  # a seed, or what a command line says


def test_numbers_stay_what_they_are():
    """Against the same formula in integers of Python: whoever has the data can make the split again."""

    def stirred(z: int) -> int:
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> shift)) * factor % 2**64
        return z ^ (z >> 31)

    def slowly(text: str) -> float:
        digest = hashlib.sha256(b"7\0fold").digest()
        start, last = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")
        raw = text.encode()
        z = stirred((start + len(raw)) % 2**64)
        for i in range(0, len(raw), 8):
            z = stirred((z + int.from_bytes(raw[i : i + 8], "little")) % 2**64)
        return (stirred((z + last) % 2**64) >> 11) / 2**53

    ids = ["p0", "prompt-12/3", "", "问题 5", "a name of more than thirty-two bytes"]
    assert uniform(ids, 7, "fold").tolist() == [slowly(i) for i in ids]


def test_of_several_attempts_each_is_drawn_equally_often():
    ids, prompt = [f"p{i // 8}/{i % 8}" for i in range(80_000)], np.repeat(np.arange(10_000), 8)
    drawn = one_each(prompt, ids, "key")
    assert np.array_equal(prompt[drawn], np.arange(10_000))
    counts = np.bincount(drawn % 8, minlength=8)
    assert ((counts - 1250) ** 2 / 1250).sum() < chi2.isf(FALSE_ALARM, 7)


def test_of_attempts_with_one_id_the_first_is_drawn_and_a_prompt_without_attempts_gives_none():
    assert one_each(np.asarray([3, 3, 1]), ["same", "same", "same"], "k").tolist() == [2, 0]
    assert one_each(np.zeros(0, dtype=np.int64), [], "k").tolist() == []


def test_prompts_of_several_tables_are_one_where_they_have_one_id():
    """Their attempts make one score, one of them is drawn; groups are told apart by name."""
    one = make_table(6, attempts=2)
    other = replace(one, attempt_ids=tuple(f"{i}'" for i in one.attempt_ids)).where(np.arange(6) < 3)
    held_out = HeldOut.of([one, other], "k", by_group=True)
    names = [i.split("/")[0] for table in (one, other) for i in table.attempt_ids]
    assert held_out.n_prompts == 6
    assert {(name, n) for name, n in zip(names, held_out.prompt.tolist(), strict=True)} == {
        (f"p{i}", i) for i in range(6)
    }
    assert held_out.share.tolist() == [1 / 4] * 6 + [1 / 2] * 6 + [1 / 4] * 6
    assert held_out.prompt[held_out.drawn].tolist() == list(range(6))
    groups = [*one.groups, *other.groups]
    assert len(set(zip(groups, held_out.group.tolist(), strict=True))) == len(set(groups)) == 2
