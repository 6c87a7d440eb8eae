"""Final filters: what is accepted, exactly, and in linear time."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.filters import (
    ChoiceMatch,
    ExactMatch,
    FunctionFilter,
    NumericMatch,
    Prompt,
    final_filter,
)
from msifr_policy.reading.markers import REACH
from msifr_policy.reading.number import parse_number


def prompt(gold: str | None) -> Prompt:
    return Prompt(prompt_id="p", prompt="How many?", gold=gold)


def test_filters_load_no_more_than_is_used() -> None:
    code = "import sys; from msifr_policy.filters import Prompt; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert {name for name in loaded.stdout.split() if name.startswith("msifr_policy.filters")} == {
        "msifr_policy.filters",
        "msifr_policy.filters.base",
    }


@given(
    st.fractions(max_denominator=10**6),
    st.sampled_from(["#### {}", "The answer is ${}$.", "so \\boxed{{{}}}"]),
)
def test_any_rational_is_recognised_and_no_other(number: Fraction, form: str) -> None:
    accept = NumericMatch()
    text = "First 3 + 4 = 7.\n" + form.format(number)
    assert accept(prompt(str(number)), text)
    assert not accept(prompt(str(number + Fraction(1, 10**12))), text)


@given(st.integers(0, 10**15))
def test_thousands_separators_do_not_matter(number: int) -> None:
    assert NumericMatch()(prompt(f"{number:,}"), f"#### {number}")
    assert NumericMatch()(prompt(str(number)), f"#### {number:,} in all")


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("#### 5\n#### 7", True),  # the last marker counts
        ("#### 7\n#### 5", False),
        ("#### 7\nThe answer is 5.", False),  # whatever its kind
        ("THE ANSWER IS: **7**", True),
        ("The answer is:\n\n$$7$$", True),
        ("####\n7", True),
        ("#### none\n7", False),  # another line than the answer's
        ("7", False),
        ("#### " + " " * REACH + "7", False),
    ],
)
def test_the_number_after_the_last_marker_counts(text: str, accepted: bool) -> None:
    assert NumericMatch()(prompt("7"), text).accepted is accepted


@pytest.mark.parametrize(
    ("text", "found"),
    [("#### 7", "hash"), ("\\boxed{x}", "box"), ('{"answer": 7}', "json"), ("Answer: 7", "phrase"), ("It is 7", "")],
)
def test_a_judgement_says_where_the_answer_stood(text: str, found: str) -> None:
    judged = NumericMatch()(prompt("7"), text)
    assert judged.found == found
    assert not judged.failure
    assert judged.accepted is (found not in ("", "box"))


def test_what_prose_announces_and_is_no_number_hides_no_number() -> None:
    assert NumericMatch()(prompt("7"), "The answer is 7.\nThe answer is clearly marked.")
    assert not NumericMatch()(prompt("7"), "\\boxed{7}\n\\boxed{x}")  # in a box it is an answer
    assert not NumericMatch()(prompt("7"), "The answer is 7.\nThe answer is 7 or 8.")


def test_a_gold_answer_may_be_a_worked_solution() -> None:
    assert NumericMatch()(prompt("He has 3*6=18.\n#### 18"), "The answer is 18.00")


@pytest.mark.parametrize("gold", [None, "", "x", "4:30 p.m.", "70\\sqrt{2}", "apples"])
def test_a_gold_answer_that_is_no_number_is_refused_before_any_token(gold: str | None) -> None:
    with pytest.raises(InputError, match=r"prompt 'p', field gold"):
        NumericMatch().check(prompt(gold))


@given(st.text(alphabet="0123456789,./-$#\\{}boxed fracansweris\n", max_size=300))
@example("####" * 75)
def test_no_text_breaks_a_filter(text: str) -> None:
    for accept in (NumericMatch(), ChoiceMatch(), ExactMatch("hash")):
        assert accept(prompt("7"), text).accepted in (True, False)
    parse_number(text)


@pytest.mark.parametrize(
    "unit", ["1", ",", "1,", "#### ", "answer is ", "\\frac{1", "1/", "$", "answer is 1+", "#### (", "\\boxed{1"]
)
def test_time_is_linear_in_the_text(unit: str) -> None:
    accept, text = NumericMatch(), unit * (500_000 // len(unit))
    started = time.process_time()
    accept(prompt("7"), text)
    assert time.process_time() - started < 5  # a quadratic filter would take hours


def test_exact_match() -> None:
    assert ExactMatch()(prompt("yes"), " yes\n")
    assert not ExactMatch()(prompt("yes"), "yes indeed")
    assert ExactMatch()(prompt("yes"), "<think>no?</think>yes")
    marked = ExactMatch(answer="phrase")
    assert marked(prompt("(B)"), "Answer: (A)\nno, Answer: (B) \nbecause")
    assert not marked(prompt("(B)"), "(B)")
    with pytest.raises(InputError, match="no gold answer"):
        marked.check(prompt(None))


CHOICES = "Which is a fruit?\n(A) carrot\n(B) apple\n(C) beet"


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("The answer is (B).", True),
        ("Answer: B", True),
        ("Answer: B. apple", True),
        ("The correct option is **B**.", True),
        ("\\boxed{\\text{B}}", True),
        ("The answer is apple.", True),
        ('{"answer": "B"}', True),
        ("The answer is (A).", False),
        ("The answer is (A) or (B).", False),
        ("B", False),  # nothing announces it
    ],
)
def test_choices_are_compared_by_letter_or_text(text: str, accepted: bool) -> None:
    asked = Prompt(prompt_id="p", prompt=CHOICES, gold="B")
    ChoiceMatch().check(asked)
    assert ChoiceMatch()(asked, text).accepted is accepted


@pytest.mark.parametrize("gold", [None, "", "apples and pears"])
def test_a_gold_answer_that_names_no_choice_is_refused(gold: str | None) -> None:
    with pytest.raises(InputError, match=r"prompt 'p', field gold"):
        ChoiceMatch().check(Prompt(prompt_id="p", prompt=CHOICES, gold=gold))


def test_filters_are_named_and_made_from_names_and_functions() -> None:
    def longer(asked: Prompt, text: str) -> bool:
        return len(text) > len(asked.prompt)

    assert final_filter("numeric") == NumericMatch()
    assert final_filter("exact") == ExactMatch()
    assert final_filter("numeric", "json:total").name == "numeric[json:total]"
    assert final_filter(NumericMatch(answer="box")).name == "numeric[box]"
    with pytest.raises(InputError, match="looks for no answer at 'box'"):
        final_filter("tests", "box")
    with pytest.raises(InputError, match="no place of an answer: 'bux'"):
        final_filter("numeric", "bux")
    own = final_filter(longer)
    assert isinstance(own, FunctionFilter)
    assert "longer" in own.name
    own.check(prompt(None))
    assert own(prompt(None), "a longer text")
    assert not own(prompt(None), "short")
    with pytest.raises(InputError, match="unknown final filter 'nummeric'"):
        final_filter("nummeric")
    with pytest.raises(InputError, match="not a final filter"):
        final_filter(3)  # type: ignore[arg-type]


def test_agreement_with_recorded_outcomes(shared: Path) -> None:
    """On recorded answers in `\\boxed{}`, the filter and the source's own judge agree in 99 of 100."""
    accept, agree = NumericMatch(), []
    with gzip.open(shared / "traces" / "math_x8-qwen2.5-math-instruct.jsonl.gz") as lines:
        for line in lines:
            record = json.loads(line)
            asked = prompt(record["gold"])
            try:
                accept.check(asked)
            except InputError:
                continue
            agree.append(accept(asked, record["text"]).accepted == record["correct"])
    assert len(agree) > 500
    assert sum(agree) >= 0.99 * len(agree)
