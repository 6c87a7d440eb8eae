"""Numbers are found whole however the text arrives, and compared with those of the prompt."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from msifr_policy.validators import Numbers, Verdict

PROMPT = "Ann has 12 apples, 1,250 pears and 3.5 kg of plums. She gives 12 away."
PADDING = " and so"


def scores(text: str, prompt: str = PROMPT) -> dict[str, float]:
    rule = Numbers()
    evidence = rule.start(prompt).feed(text)
    assert evidence.verdict is Verdict.UNKNOWN
    return dict(zip(rule.columns, evidence.scores, strict=True))


@pytest.mark.parametrize(
    ("text", "unused", "made_up"),
    [
        ("", 3, math.nan),
        ("12", 3, math.nan),  # more digits may follow
        ("12 apples", 2, 0),
        ("12 of 1250, then 3.5 kg of it", 0, 0),
        ("12 of 1,250, then 3.50 kg of it", 0, 0),
        ("1,25 and 12.5" + PADDING, 3, 2 / 3),  # 1, 25 and 12.5
        ("say 40 more", 3, 1),
        ("40 and 40 and 40" + PADDING, 3, 1 / 3),  # made up once
        ("12 + 28 = 40 pears", 2, 1 / 3),
        ("so $= \\(40\\)$ is it", 3, 0),
        ("step 1, step 2, step 10" + PADDING, 3, 0),
        ("step 11 of 12" + PADDING, 2, 1 / 2),
        ("9,9999 is two numbers", 3, 1 / 2),
    ],
)
def test_origin_of_numbers(text: str, unused: int, made_up: float) -> None:
    seen = scores(text)
    assert seen["prompt_characters"] == len(PROMPT)
    assert seen["unused"] == unused
    assert seen["made_up"] == pytest.approx(made_up, nan_ok=True)


def test_without_a_prompt() -> None:
    """Nothing is known of a prompt that is not there."""
    seen = scores("12 of 77 apples", "")
    assert math.isnan(seen["prompt_characters"])
    assert math.isnan(seen["unused"])
    assert seen["made_up"] == 1
    assert scores("12 of them", "no numbers")["unused"] == 0


@given(
    text=st.lists(
        st.sampled_from([*"0123456789", ",", ".", "=", " ", "$", "a", "1,000", "12", "= 40", "000" * 20]), max_size=40
    ).map("".join),
    cuts=st.lists(st.integers(0, 80), max_size=12),
)
@example(text="1,2505", cuts=[1, 3, 5])
@example(text="x = 40 and", cuts=[3, 4, 5])
@settings(max_examples=200)
def test_chunking_does_not_matter_with_a_prompt(text: str, cuts: list[int]) -> None:
    whole, pieces = Numbers().start(PROMPT), Numbers().start(PROMPT)
    at = 0
    for cut in [*sorted(cuts), len(text)]:
        pieces.feed(text[at : max(at, cut)])
        at = max(at, cut)
    assert repr(pieces.feed("")) == repr(whole.feed(text))
