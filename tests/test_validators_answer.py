"""Final-answer markers in their forms, and what is counted of them."""

from __future__ import annotations

import math

import pytest

from msifr_policy.validators import AnswerMarker, Verdict


def scores(text: str, rule: AnswerMarker | None = None) -> dict[str, float]:
    rule = rule or AnswerMarker()
    return dict(zip(rule.columns, rule.start("").feed(text).scores, strict=True))


@pytest.mark.parametrize(
    "marker",
    [
        "#### 72\n",
        "####\n72\n",
        "<answer>72</answer>\n",
        "**Final Answer**\n\n72\n",
        "答案：72\n",
        "Antwort: 72\n",
        "A: 72\n",
        "\\boxed{72}",
        "\\boxed{\\frac{1}{2}}",
        "The answer is (C).\n",
        "The answer is: 72.\n",
        "Answer: 72\n",
        "the final answer is $\\boxed{5}",
        '"answer": "72"',
        '"answer" : 72\n',
        '"answer":\n "7\\"2"',
        '"answer": "[]"',
    ],
)
def test_a_marker_is_counted_once_complete(marker: str) -> None:
    """One answer, at its place, and not before its last character."""
    before = "First some words.\n"
    seen = scores(before + marker + " and more")
    assert (seen["markers"], seen["distinct"], seen["empty"]) == (1, 1, 0)
    assert len(before) <= seen["first_at"] <= len(before) + len("the final answer is $")
    assert seen["since_first"] == pytest.approx(len(" and more"), abs=1)
    assert scores(before + marker[:-1])["markers"] == 0


def test_nothing_yet() -> None:
    seen = scores("We have to answer the question. # Title\n ## Part\n\\box")
    assert seen["markers"] == seen["distinct"] == seen["empty"] == seen["since_first"] == seen["json"] == 0
    assert math.isnan(seen["first_at"])


@pytest.mark.parametrize("marker", ["\\boxed{}", "\\boxed{ }", "\\boxed{...}", '"answer": "" ', "<answer></answer>\n"])
def test_an_empty_marker(marker: str) -> None:
    seen = scores(marker)
    assert (seen["markers"], seen["distinct"], seen["empty"]) == (1, 0, 1)


def test_answers_are_compared_without_decoration() -> None:
    """The same answer in other clothes is not another answer."""
    assert scores("#### $1,200.\n\\boxed{1200} so the answer is: **1200**.\n")["distinct"] == 1
    assert scores("\\boxed{\\frac12} or \\boxed{\\dfrac12}")["distinct"] == 1
    assert scores("#### 5\n#### 6\n#### 5\n") == scores("#### 5\n#### 6\n#### 5\n") | {
        "markers": 3.0,
        "distinct": 2.0,
    }


def test_numbers_with_more_digits_than_python_writes_out_are_compared() -> None:
    """Few characters announce them."""
    text = "#### 1e9999\n#### 10^9999\n#### 1e-9999\nThe answer is 10 * 10^9998.\n"
    read = scores(text)
    assert (read["markers"], read["distinct"]) == (4.0, 2.0)


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 72 dollars.\n#### 72\n",
        "The answer is 0.5.\n\\boxed{\\frac{1}{2}}",
        "The answer is (B).\nAnswer: B\n",
        "The answer is (B) apples.\n\\boxed{\\text{B}}",
        "#### 1,200\n答案是1200。\n",
        '{"answer": "72"}\nThe answer is 72.\n',
        "Answer: Paris\n<answer>paris</answer>\n",
    ],
)
def test_one_answer_in_two_spellings_is_one(text: str) -> None:
    assert (scores(text)["markers"], scores(text)["distinct"]) == (2, 1)


@pytest.mark.parametrize(
    "text",
    [
        "#### Understanding\nWe add.\n#### Calculation\n6 + 7 = 13\n",
        "#### Step 1\nWe add.\n#### Step 2: multiply\n",
        "#### 1. Add the numbers\nfine\n",
        "Is the answer 12?\nSo the answer is 12? No.\n",
        "The answer is not 12. If the answer is 12, then it is even.\n",
        "The answer is in the box below.\n",
        "He wrote that his answer is 5. The wrong answer is 6.\n",
        "# Answer the question\nAnswers matter.\n",
    ],
)
def test_what_announces_no_answer_is_no_marker(text: str) -> None:
    assert scores(text)["markers"] == 0


@pytest.mark.parametrize(
    "heading", ["Finding the total", "Let us begin", "Why it works:", "**Key idea of it**", "2) Add"]
)
def test_a_title_behind_hashes_is_no_answer(heading: str) -> None:
    text = f"#### {heading}\nWe add.\nThe answer is 13.\n"
    assert (scores(text)["markers"], scores(text)["distinct"]) == (1, 1)
    assert AnswerMarker(answers=2).start("").feed(text).verdict is not Verdict.DEAD


@pytest.mark.parametrize("answer", ["13", "Paris", "(B)", "a dozen", "x + 1", "13 apples", "$13"])
def test_an_answer_behind_hashes_is_no_title(answer: str) -> None:
    assert scores(f"#### {answer}\nDone.\n")["markers"] == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.b", "ab"), ("1.5x", "15x"), ("2:1", "21"), ("f(x)", "fx"), ("(1,2)", "12x"), ("x - 1", "x1"), ("-x", "x")],
)
def test_signs_within_an_answer_tell_answers_apart(one: str, other: str) -> None:
    assert scores(f"\\boxed{{{one}}}\n#### {other}\nx\n")["distinct"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed 13\nBye\n",
        "Is it \\boxed{12}? No, \\boxed{13}\n",
        "Answer:\n- 13\n- 14\n\nBye\n",
        "Answer\r\n\r\n13\r\nBye\r\n",
        "<solution>13</solution>\n<solution>\nfirst\n</solution>\n",
        '{"answer": null}\n{"answer": 13}\n',
        "Answer (in dollars): 13\nWe get the answer 13.\n<|begin_of_box|>13<|end_of_box|>\n",
        "Answer: \\(13\\) apples\n#### 13<|im_end|>\n",
    ],
)
def test_the_same_is_counted_however_the_text_arrives(text: str) -> None:
    whole = AnswerMarker().start("").feed(text).scores
    state = AnswerMarker().start("")
    assert [state.feed(char) for char in text][-1].scores == pytest.approx(whole, nan_ok=True)
    assert whole[1] <= 2


def test_an_object_of_the_thinking_is_not_the_answer() -> None:
    rule = AnswerMarker(json_only=True)
    text = '<think>maybe {"a": 1} or so</think>\n{"answer": "1"}\n'
    for end in range(len(text) + 1):
        assert rule.start("").feed(text[:end]).verdict is not Verdict.DEAD
    assert scores(text)["json"] == 2
    assert rule.start("").feed('<think>x</think>{"a": 1}\n').verdict is Verdict.DEAD


def test_values_are_bounded() -> None:
    """A value that never ends is cut off and counts."""
    assert scores("\\boxed{" + "1" * 1000)["markers"] == 1
    assert scores('"answer": "' + "1" * 1000)["markers"] == 1
    assert scores("#### " + "1" * 1000)["markers"] == 0


@pytest.mark.parametrize(
    ("text", "state", "since"),
    [
        ("no object { here }", 0, 0),
        ('{\n  "reasoning": "a } b \\" } c", "answer": "', 1, 0),
        ('```json\n{"a": {"b": "}"}, "answer": "1"}\n```', 2, 4),
        ('{"answer": "1"} and on', 2, 7),
    ],
)
def test_the_json_object_is_followed(text: str, state: int, since: int) -> None:
    seen = scores(text)
    assert (seen["json"], seen["since_json"]) == (state, since)


def test_verdicts() -> None:
    """DEAD only on request: several answers, or an object closed without one."""
    two = "#### 5\n#### 6\n"
    assert AnswerMarker().start("").feed(two).verdict is Verdict.UNKNOWN
    assert AnswerMarker(answers=2).start("").feed(two).verdict is Verdict.DEAD
    assert AnswerMarker(answers=2, markers=("box",)).start("").feed(two).verdict is Verdict.UNKNOWN
    assert AnswerMarker(json_only=True).start("").feed('{"a": 1}').verdict is Verdict.DEAD
    assert AnswerMarker(json_only=True).start("").feed('{"answer": "1"}').verdict is Verdict.UNKNOWN
    assert AnswerMarker(json_only=True).start("").feed('{"answer": ""}').verdict is Verdict.DEAD
