"""Loops are found early and measured right; what merely looks alike is no loop."""

from __future__ import annotations

import gc
import math
from random import Random
from types import FunctionType, ModuleType

import pytest

from msifr_policy.validators import Repetition, Verdict


def draw_from(letters: str, k: int, seed: int) -> str:
    """`k` random letters that replay."""
    return "".join(Random(seed).choices(letters, k=k))  # noqa: S311 (not for secrets)


PROSE = "".join(f"Item {i}: {draw_from('0123456', 20, i)} of {draw_from('qrstuvw', 15, i)}.\n" for i in range(400))


def scores(text: str, rule: Repetition | None = None) -> dict[str, float]:
    rule = rule or Repetition()
    return dict(zip(rule.columns, rule.start("").feed(text).scores, strict=True))


@pytest.mark.parametrize("period", [2, 7, 31, 64, 100, 333, 1000, 1900])
@pytest.mark.parametrize("before", [0, 1, 500, 9000])
def test_a_loop_is_measured(period: int, before: int) -> None:
    """Period, length and repeats are exact at the last look, whatever comes before."""
    unit = "xy" + draw_from("abcdefghij klmnop", period - 2, period)
    text = PROSE[:before] + unit * (6000 // period)
    seen = scores(text)
    end = len(text) - len(text) % 64
    assert seen["period"] == period
    assert 0 <= seen["loop"] - (end - before) <= 2  # the text before may happen to fit
    assert seen["repeats"] == pytest.approx(seen["loop"] / period)
    assert seen["longest"] == seen["loop"]


def test_a_loop_is_found_early() -> None:
    """DEAD comes within one look of 300 characters and three repeats."""
    state = Repetition().start("")
    state.feed(PROSE[:1000])
    unit = "and then she adds the two numbers again, "
    fed = 0
    while state.feed(unit).verdict is not Verdict.DEAD:
        fed += len(unit)
        assert fed < 300 + 2 * 64 + len(unit)


def test_the_verdict_lasts_as_long_as_the_loop() -> None:
    state = Repetition().start("")
    assert state.feed("the same words " * 40).verdict is Verdict.DEAD
    after = state.feed(PROSE[:1000])
    assert after.verdict is Verdict.UNKNOWN
    assert after.scores[0] == 0
    assert after.scores[4] >= 500


@pytest.mark.parametrize(
    "text",
    [
        "-" * 900,
        "=" * 900,
        " " * 900,
        "|---|---|" * 90,
        "0" * 900,
        "\n" * 900,
        "0, " * 300,
        "| 0 | 0 |\n" * 80,
    ],
)
def test_trivial_loops_are_left_alone_until_long(text: str) -> None:
    """Rules, blanks, zeros and tables of them may be long."""
    seen = scores(text)
    assert seen["loop"] == 0
    assert seen["trivial"] >= len(text) - 64 - 1
    assert Repetition().start("").feed(text).verdict is Verdict.UNKNOWN
    assert Repetition().start("").feed(text + text).verdict is Verdict.DEAD


def test_text_without_a_loop() -> None:
    seen = scores(PROSE)
    assert seen["loop"] == seen["trivial"] == seen["longest"] == 0
    assert Repetition().start("").feed(PROSE).verdict is Verdict.UNKNOWN


def test_novelty_takes_digits_for_equal() -> None:
    """Counting up says nothing new; fresh words do."""
    fresh = " ".join(draw_from("abcdefgh", 6, i) for i in range(500))
    counting = "".join(f"In step {i} we try the number {i * i} and it does not work.\n" for i in range(200))
    assert scores(fresh)["novelty"] == 1.0
    assert scores(fresh + counting)["novelty"] == 0.0
    assert scores(fresh + counting)["old_lines"] == 1.0
    assert scores(counting)["loop"] == 0
    assert math.isnan(scores("few words")["novelty"])


def test_novelty_takes_numbers_and_capitals_for_equal() -> None:
    """A number is one word wherever the looks fall; capitals make nothing new."""
    near = "".join(f"{'We' if i % 2 else 'we'} add {10 ** (i % 9)} to it and go on.\n" for i in range(200))
    assert scores(near)["novelty"] == 0.0
    assert scores(near)["old_lines"] == 1.0


def test_evidence_is_the_same_in_every_process() -> None:
    """Salted hashes would make it depend on the process, if ever so rarely."""
    state = Repetition().start("")
    state.feed(PROSE)
    met, left = [], [state]
    while left:
        thing = left.pop()
        if isinstance(thing, set):  # what was seen
            met += thing
        left += [item for item in gc.get_referents(thing) if not isinstance(item, type | FunctionType | ModuleType)]
    assert {type(item) for item in met} == {int, tuple}
    assert all(type(word) is int for item in met if isinstance(item, tuple) for word in item)
