"""Answers compared as mathematics: the verdicts of math-verify itself, but bounded in time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.filters import Judgement, MathVerify, Prompt

math_verify = pytest.importorskip("math_verify")


@pytest.fixture(scope="module")
def accept() -> Iterator[MathVerify]:
    with MathVerify() as made:
        yield made


def prompt(gold: str | None) -> Prompt:
    return Prompt(prompt_id="p", prompt="How much?", gold=gold)


# (gold, answer, whether they are equal: by mathematics, not by any library)
ANSWERS = [
    (r"\frac{1}{2}", r"\boxed{0.5}", True),
    (r"\frac{1}{2}", r"\boxed{\frac{2}{4}}", True),
    (r"\frac{1}{2}", r"\boxed{0.51}", False),
    (r"\sqrt{8}", r"\boxed{2\sqrt{2}}", True),
    (r"\sqrt{8}", r"\boxed{2\sqrt{3}}", False),
    (r"x^2+2x+1", r"\boxed{(x+1)^2}", True),
    (r"x^2+2x+1", r"\boxed{(x-1)^2}", False),
    (r"(1,2)", r"\boxed{(1,2)}", True),
    (r"(1,2)", r"\boxed{(2,1)}", False),
    (r"\{1,2,3\}", r"\boxed{\{3,2,1\}}", True),
    (r"\{1,2,3\}", r"\boxed{\{1,2\}}", False),
    (r"[0,1)", r"\boxed{[0,1)}", True),
    (r"[0,1)", r"\boxed{(0,1]}", False),
    (r"\pi", r"\boxed{3.14}", False),
    (r"2\pi", r"\boxed{\pi+\pi}", True),
    (r"\sin^2 x+\cos^2 x", r"\boxed{1}", True),
    (r"10\%", r"\boxed{10\%}", True),
    (r"1{,}000", r"\boxed{1000}", True),
    (r"-3", r"The final answer is $-3$.", True),
    (r"-3", r"The final answer is $3$.", False),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\boxed{\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}}", True),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\boxed{\begin{pmatrix} 1 & 2 \\ 3 & 5 \end{pmatrix}}", False),
    (r"x = 5", r"\boxed{5}", True),
    (r"x = 5", r"\boxed{6}", False),
    (r"\frac{\sqrt{3}}{3}", r"\boxed{\frac{1}{\sqrt{3}}}", True),
    (r"2^{10}", r"\boxed{1024}", True),
    (r"2^{10}", r"\boxed{1023}", False),
    (r"3+4i", r"\boxed{4i+3}", True),
    (r"\log_2 8", r"\boxed{3}", True),
    (r"x < 5", r"\boxed{x < 5}", True),
    (r"x < 5", r"\boxed{x > 5}", False),
    (r"1 < x < 2", r"\boxed{(1,2)}", True),
    (r"90^\circ", r"\boxed{90}", True),
    (r"7", "I cannot say.", False),
    (r"7", "", False),
    (r"7", r"\boxed{7", False),
]


@pytest.mark.parametrize(("gold", "text", "equal"), ANSWERS)
def test_verdicts_are_those_of_mathematics(accept: MathVerify, gold: str, text: str, equal: bool) -> None:
    accept.check(prompt(gold))
    assert bool(accept(prompt(gold), text)) is equal


def test_verdicts_are_those_of_math_verify_called_directly(accept: MathVerify) -> None:
    """Every gold answer with every text: a thousand pairs."""
    golds = {gold: math_verify.parse(f"${gold}$") for gold, _, _ in ANSWERS}
    texts = {text: math_verify.parse(text) for _, text, _ in ANSWERS}
    verdicts = 0
    for gold, read_gold in golds.items():
        for text, read_text in texts.items():
            assert accept(prompt(gold), text) is math_verify.verify(read_gold, read_text), (gold, text)
            verdicts += 1
    assert verdicts > 600


@settings(max_examples=50)
@given(st.fractions(max_denominator=1000), st.integers(1, 50))
def test_any_form_of_a_rational_is_recognised_and_no_other_number(number: Fraction, factor: int) -> None:
    same = rf"\boxed{{\frac{{{number.numerator * factor}}}{{{number.denominator * factor}}}}}"
    with_gold = prompt(str(number))
    assert SHARED(with_gold, same)
    assert not SHARED(with_gold, rf"\boxed{{{number + 1}}}")


SHARED = MathVerify()


@pytest.mark.parametrize(
    "gold", [r"\frac{1}{2}", r"$\frac{1}{2}$", r"\boxed{\frac12}", "Half of one.\n#### 1/2", r"so \(\frac12\)"]
)
def test_a_gold_answer_may_be_bare_set_off_or_a_worked_solution(accept: MathVerify, gold: str) -> None:
    accept.check(prompt(gold))
    assert accept(prompt(gold), r"\boxed{0.5}")
    assert not accept(prompt(gold), r"\boxed{0.25}")


@pytest.mark.parametrize(
    ("gold", "says"), [(None, "no gold answer"), ("", "is not mathematics"), ("$$", "is not math")]
)
def test_a_gold_answer_that_cannot_be_read_is_refused_before_any_token(
    accept: MathVerify, gold: str | None, says: str
) -> None:
    with pytest.raises(InputError, match=rf"prompt 'p', field gold: .*{says}"):
        accept.check(prompt(gold))
    assert not accept(prompt(None), r"\boxed{1}")


@pytest.mark.parametrize(
    "answer", [r"\boxed{100000000!}", r"\boxed{10^{10^{10}}}", rf"\boxed{{{'(' * 1500}1{')' * 1500}}}"]
)
def test_a_text_that_takes_for_ever_is_stopped_in_time_and_counts_as_a_failure(answer: str) -> None:
    with MathVerify(seconds=1.0) as accept:
        accept.check(prompt("3"))
        started = time.monotonic()
        verdict = accept(prompt("3"), answer)
        assert time.monotonic() - started < 2.0
        assert verdict == Judgement(accepted=False, failure="timed out")
        assert accept(prompt("3"), r"\boxed{3}") is True  # judged by a new process


def test_memory_is_bounded() -> None:
    """With so little memory, a power that is a gigabyte of digits is a failure, at once."""
    with MathVerify(seconds=20.0, memory=200 << 20) as accept:
        started = time.monotonic()
        verdict = accept(prompt("3"), r"\boxed{2^{2^{32}} \bmod 7}")
        assert not verdict
        assert time.monotonic() - started < 20.0
        assert accept(prompt("3"), r"\boxed{3}") is True


@pytest.mark.parametrize(
    "unit", ["$", r"\boxed{", "final answer is ", "1", r"\frac{1}{", "x^", "1+", "\\(", "(", "\x00"]
)
def test_no_text_breaks_it(accept: MathVerify, unit: str) -> None:
    assert not accept(prompt("3"), unit * (3000 // len(unit)))


def test_only_the_end_of_a_text_is_read_so_repetition_takes_no_time() -> None:
    """On the whole of this text math-verify alone takes more than five seconds."""
    loop = "The final answer is $7$.\n" + r"The final answer is \boxed{}. " * 1000
    with MathVerify(seconds=3.0) as accept:
        accept.check(prompt("7"))
        assert accept(prompt("7"), loop) is False
        assert accept(prompt("7"), loop + "\n" * 4000 + r"\boxed{7}") is True
    with MathVerify(tail=20) as accept:
        assert accept(prompt("7"), "$1" + "\n so it is \\boxed{7}") is True
        assert accept(prompt("7"), r"\boxed{7}" + " " * 20) is False
        assert accept(prompt("7"), "x" * 50 + "$7$\n") is True  # a line that is the last leaves the cut as it is
        assert accept(prompt("7"), "$$$$$ and so\non $7$ on") is True


def test_the_name_holds_what_decides() -> None:
    names = {MathVerify().name, MathVerify(seconds=2.5).name, MathVerify(memory=1 << 30).name, MathVerify(tail=9).name}
    assert len(names) == 4
    with pytest.raises(InputError, match="tail = 0"):
        MathVerify(tail=0)
    assert f"math-verify {version('math-verify')}" in MathVerify().name
    assert f"sympy {version('sympy')}" in MathVerify().name
