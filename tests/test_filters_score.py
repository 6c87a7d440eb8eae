"""Scores with a threshold, and what a judgement is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.filters import FunctionFilter, Judgement, Prompt, ScoreThreshold, final_filter

PROMPT = Prompt(prompt_id="p", prompt="Rate me.")


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False))
def test_a_score_is_accepted_from_its_threshold_on_and_kept(score: float, threshold: float) -> None:
    verdict = ScoreThreshold(lambda *_: score, threshold, "judge 1")(PROMPT, "text")
    assert verdict == Judgement(accepted=score >= threshold, score=score)
    assert bool(verdict) is (score >= threshold)


def test_the_score_sees_prompt_and_text() -> None:
    rate = ScoreThreshold(lambda prompt, text: text.count(prompt.prompt_id), 2, "count")
    rate.check(PROMPT)
    assert rate(PROMPT, "p p")
    assert not rate(PROMPT, "p")


def test_what_is_no_score_is_not_accepted_and_says_why() -> None:
    def chokes(_: Prompt, text: str) -> float:
        raise ConnectionError(text)

    below = -1e300
    assert ScoreThreshold(chokes, below, "x")(PROMPT, "secret").failure == "the score raised ConnectionError"
    assert ScoreThreshold(lambda *_: math.nan, below, "x")(PROMPT, "").failure == "the score is NaN"
    assert ScoreThreshold(lambda *_: "high", below, "x")(PROMPT, "").failure  # type: ignore[arg-type,return-value]
    assert ScoreThreshold(lambda *_: None, below, "x")(PROMPT, "").failure  # type: ignore[arg-type,return-value]
    assert not ScoreThreshold(chokes, below, "x")(PROMPT, "")


def test_an_interrupt_is_no_failure() -> None:
    def interrupted(*_: object) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ScoreThreshold(interrupted, 0, "x")(PROMPT, "")


def test_the_name_holds_scorer_and_threshold() -> None:
    assert ScoreThreshold(lambda *_: 1.0, 0.5, "judge 1").name == "score[judge 1 >= 0.5]"
    assert ScoreThreshold(lambda *_: 1.0, 1, "j").name == ScoreThreshold(lambda *_: 1.0, 1.0, "j").name
    with pytest.raises(InputError, match="no name"):
        ScoreThreshold(lambda *_: 1.0, 0.5, "")
    for threshold in (math.nan, math.inf, -math.inf):
        with pytest.raises(InputError, match="finite"):
            ScoreThreshold(lambda *_: 1.0, threshold, "x")


def test_a_function_may_return_a_judgement() -> None:
    given_ = Judgement(accepted=True, score=3.0)
    own = final_filter(lambda *_: given_)
    assert isinstance(own, FunctionFilter)
    assert own(PROMPT, "") is given_


def test_what_could_not_be_judged_cannot_be_accepted() -> None:
    with pytest.raises(ValueError, match="not accepted"):
        Judgement(accepted=True, failure="timed out")
    assert not Judgement(accepted=False, failure="timed out")
