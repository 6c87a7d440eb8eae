"""What makes a generated question well posed, and what gives it away."""

from __future__ import annotations

import math

import pytest

from msifr_policy.validators import Question, Verdict

GOOD = "Ann has 12 apples. She gives half of them to Bob. How many apples are left?"


def scores(text: str) -> dict[str, float]:
    return dict(zip(Question().columns, Question().start("").feed(text).scores, strict=True))


def test_a_good_question() -> None:
    assert scores(GOOD) == {"asks": 1, "quantities": 2, "dangling": 0, "placeholders": 0, "leaks": 0, "after": 0}


@pytest.mark.parametrize(
    "text",
    [
        "Find the area of a square of side 3.",
        "If x = 5, find 2x.",
        "1. Prove that 2 is even.",
        '"Is it 5?"',
        "Is $x=5$?",
    ],
)
def test_it_asks(text: str) -> None:
    assert scores(text)["asks"] == 1


@pytest.mark.parametrize(
    "text", ["the triangle in the figure", "Using the table above, add", "as shown below", "the previous problem"]
)
def test_it_refers_to_what_is_not_there(text: str) -> None:
    assert scores(text)["dangling"] == 1
    assert scores(text)["asks"] == 0


@pytest.mark.parametrize(
    "text", ["[Insert name] has 3 dogs", "{{name}} has 3", "Ann has ____ dogs", "<number> dogs", "TODO"]
)
def test_it_leaves_a_gap(text: str) -> None:
    assert scores(text)["placeholders"] == 1
    assert Question().start("").feed(text).verdict is Verdict.UNKNOWN
    assert Question(strict=True).start("").feed(text).verdict is Verdict.DEAD


@pytest.mark.parametrize(
    "text", ["The answer is 6.", "Answer: 6", "#### 6", "so \\boxed{6}", "**Solution:** we add", "Let's solve it"]
)
def test_it_gives_the_answer_away(text: str) -> None:
    seen = scores(f"{GOOD}\n{text}")
    assert seen["leaks"] == 1
    assert seen["after"] == len(text)
    assert Question(strict=True).start("").feed(f"{GOOD}\n{text}").verdict is Verdict.DEAD
    assert Question(strict=True).start("").feed(GOOD).verdict is Verdict.UNKNOWN


def test_nothing_asked_yet() -> None:
    assert math.isnan(scores("Ann has 12 apples.")["after"])
    assert math.isnan(scores("")["after"])
