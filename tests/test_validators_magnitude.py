"""Size, sign and wholeness of numbers, against those of the prompt."""

from __future__ import annotations

import math

import pytest

from msifr_policy.validators import Magnitude, Verdict

PROMPT = "Ann has 100 apples in 4 boxes. How many are in each?"


def scores(text: str, prompt: str = PROMPT) -> dict[str, float]:
    evidence = Magnitude().start(prompt).feed(text + " and so")
    assert evidence.verdict is Verdict.UNKNOWN
    return dict(zip(Magnitude().columns, evidence.scores, strict=True))


@pytest.mark.parametrize(
    ("text", "largest", "result", "negative", "uneven"),
    [
        ("", math.nan, math.nan, 0, math.nan),
        ("there are 100", 0, math.nan, 0, math.nan),
        ("100 / 4 = 25", 0, math.log10(0.25), 0, 0),
        ("100 * 100 = 10,000", 2, 2, 0, 0),
        ("4 - 100 = -96", 0, math.log10(0.96), 1, 0),
        ("4 - 100 = $-\\(96", 0, math.log10(0.96), 1, 0),
        ("4 − 100 = −96, x = 5", 0, math.log10(0.05), 1, 0),
        ("10 / 4 = 2.5, so 2 * 2 = 4", -1, math.log10(0.04), 0, 0.5),
        ("100 = 0", 0, math.nan, 0, 0),
        ("5-3 is 2", math.log10(0.05), math.nan, 0, math.nan),
    ],
)
def test_numbers_are_compared(text: str, largest: float, result: float, negative: float, uneven: float) -> None:
    seen = scores(text)
    expected = {"largest": largest, "result": result, "negative": negative, "uneven": uneven}
    assert seen == pytest.approx(expected, nan_ok=True)


def test_what_the_prompt_shows_itself_is_no_surprise() -> None:
    assert scores("x = -5", "It is -3 degrees")["negative"] == 0
    assert scores("x = -5", "Take 10 - 3 or 10-3")["negative"] == 1
    assert scores("x = 2.5", "It costs $1.50")["uneven"] == 0
    assert scores("x = 2.5", "It costs $1")["uneven"] == 1


def test_without_a_prompt_or_its_numbers() -> None:
    assert all(math.isnan(score) for score in scores("x = -5", "").values())
    assert math.isnan(scores("x = 5", "no numbers")["largest"])
