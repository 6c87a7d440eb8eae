"""Equations with known truth, in the forms people and models write them, and when they are judged."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from msifr_policy.validators import Arithmetic, Verdict
from msifr_policy.validators.equations.judge import Truth, judge
from msifr_policy.validators.readers.clauses import LIMIT, ClauseCutter

HOLDS = r"""
\sqrt{16} + 1 = 5
\sqrt{50} = 5\sqrt{2}
\sqrt{50} = 7.07
\sqrt{3^2 + 4^2} = \sqrt{25} = 5
\frac{\sqrt{3}}{2} = 0.866
(\sqrt{2})^2 = 2
\sqrt\left(25\right) = 5
√16 = 4
sqrt(169) = 13
\binom{8}{2} = \frac{8 \cdot 7}{2} = 28
30 min + 40 min = 70 min
一共有6 * 7 = 42个。
3人 + 4人 = 7人
총 3개 + 4개 = 7개
3 + 4 = 7
3+4=7
Natalia sold 48+24 = 72 clips altogether
3 apples + 4 apples = 7 apples
He pays $5 x 3 = $15
0.2 x 50 = $10
2x3=6
6 × 7 = 42
84 ÷ 2 = 42
6 · 7 = 42
10 - -3 = 13
10 − 3 = 7
-3 + 4 = 1
- 3 + 4 = 7
(6 - 4) * 5 = 10
2(3 + 4) = 14
(1 + 2)(3 + 4) = 21
[3*(-2) - 2]/(-2 - 2) = (-6 - 2)/(-4) = (-8)/(-4) = 2
1,234 + 1 = 1,235
97^3 = 912{,}673
97^3 = 912,\!673
12.5 * 4 = 50.00
.5 * 3 = 1.5
50 * 20% = 10
20% of 50 = 10
100% - 20% = 80%
20/100 = 20%
2^10 = 1024
2**10 = 1024
2^{3} = 8
5² = 25
2^-1 = 0.5
3/4 = 0.75
1/2 of 30 = 15
2 1/2 + 1/2 = 3
2 and 1/2 * 2 = 5
25 / 1/3 = 75
7/12 / 1/12 = 7
2/3 = 0.67
2/3 = 0.66
2/3 = 0.6667
2/3 ≈ 0.67
22/7 ≈ 3
0.33 * 3 = 1
0.333... * 3 = 1
4.20+9.45+1.35=14.999999999999998
0.5-0.4=0.09999999999999998
$150 / 3 = $50 each
5 miles/hour * 3 hours = 15 miles
$5/hour * 3 hours = $15
20 (red) + 5 (blue) = 25 marbles
5 times 6 = 30
7 plus 8 = 15
\frac{1}{2} + \frac{1}{3} = \frac{5}{6}
\dfrac{10}{4} = 2.5
2\frac{1}{2} * 2 = 5
3 \times 4 = 12
3 \cdot 4 = 12
12 \div 4 = 3
\left( 3 + 4 \right) \times 2 = 14
\(3 + 4\) = 7
$3 + 4 = 7$
3 + 4 &= 7
\frac{180^\circ}{9} = 20^\circ
3 \times 4 = \boxed{12}
3 \text{ apples} + 4 \text{ apples} = 7 \text{ apples}
3 * 4 = **12**
(3 + 4 = 7)
10 * 2 + 5 * 3 = 20 + 15 = 35
"""

FALSE = r"""
\sqrt{16} + 1 = 6
\sqrt{50} = 2\sqrt{5}
\sqrt{50} = 7.5
\frac{\sqrt{3}}{2} = 0.966
√(9 + 16) = 7
sqrt(169) = 12
\binom{8}{2} = 8 * 7
2.5 \times 3.31 \times 10^5 = 8.9 \times 10^5
30 min + 40 min = 80 min
一共有6 * 7 = 44个。
3人 + 4人 = 8人
총 3개 + 4개 = 8개
✅ 12 - 5 = 6
3 + 4 = 8
3+4=6
So he has 48+24 = 73 clips altogether
3 apples + 4 apples = 8 apples
2 x 3 = 7
$4200+$3000 = $8600
(6 - 4) * 5 = 24
10 * 1 = 24 (left
2/3 = 0.69
2/3 ≈ 0.9
12.5 * 4 = 51
1,234 + 1 = 1,236
50 * 20% = 12
2^10 = 1000
\frac{1}{2} + \frac{1}{3} = \frac{2}{5}
3 \times 4 = \boxed{13}
\( 3 \cdot 4 \) = 13
3 * 5 = **16**
14 ÷ 7 = 3
10 - -3 = 7
-3 + 4 = -1
3 + 4 = 7 = 2 * 4
(1 + 2)(3 + 4) = 20
20 (red) + 5 (blue) = 26 marbles
"""

NOT_JUDGED = r"""
x + 4 = 8
4 + x = 8
2x + 3 = 7
3x = 12 + 1
x_1 + 2 = 5
f(3) = 2*3
sin(30) = 1/3
\sin 30 + 1 = 2
\sqrt[3]{16} + 1 = 6
\sqrt2 = 1.5
a\sqrt{2} = 12
we get a \sqrt{2} = 12
AB\sqrt{2} = 10
\sqrt{x} = 5
\sqrt{50} = 7
\sqrt{25} = -5
\sqrt{-16} = 4
sqrt(1/500,000,000) = 1/22,360
\binom{4}{2} - \binom{1}{1} = \binom{3}{1}
\binom{n}{2} = 28
2.5 \times 3.31 \times 10^5 = 8.3 \times 10^5
2 to the power 5 + 1 = 33
3 个 4 + 2 = 14
3的平方 + 4的平方 = 25
半分の4 + 2 = 4
\frac{x}{2} + \frac{x}{3} = 5
\frac{x + 1}{2} = 5
x^2 + 4 = 20
\pi * 2 = 7
5! = 121
5!/3! = 21
14 + 2 = 4 (mod 12)
14 + 2 \equiv 5
14 + 2 ≡ 5
3 + 4 ≠ 8
3 + 4 != 8
3 + 4 == 8
3 + 4 < 8
1 hour + 30 minutes = 90 minutes
2 hours = 120 minutes
30 + 90 minutes = 2 hours
3 feet = 36 inches
5 * 25 cents = $1.25
2 dozen + 1 = 26
10:30 + 2 = 12
0900 - 0130 = 0730
3:4 = 6:9
1,2 + 3 = 5
gcd(4,6) = 2
1 + 2 + ... + 10 = 56
|3 - 5| = 3
7/2 = 3
4500 / 2.99 = 1500
one week and 2 days = 7 + 2
Remaining 10 = 62,300/10
3 + 4 = 7 * 2 = 14
12345678901234567890123456789 + 1 = 2
9^9^9 = 3
2^999 = 5
1/0 = 7
3 + = 7
= 7
array[1] = 2 + 1
4x1x2 + 256 = 2500
half of 3 + 4 = 5
6 / 0.7 = 9 remainder 2
"""


def rows(table: str) -> list[str]:
    return table.strip("\n").split("\n")


@pytest.mark.parametrize("text", rows(HOLDS))
def test_equations_that_hold(text: str) -> None:
    judgements = judge(text)
    assert judgements
    assert all(judgement.truth is Truth.HOLDS for judgement in judgements)


@pytest.mark.parametrize("text", rows(FALSE))
def test_equations_that_do_not_hold(text: str) -> None:
    assert any(judgement.truth is Truth.FALSE and 0 < judgement.error <= 2 for judgement in judge(text))


@pytest.mark.parametrize("text", rows(NOT_JUDGED))
def test_equations_that_are_not_judged(text: str) -> None:
    assert all(judgement.truth is not Truth.FALSE for judgement in judge(text))


@given(st.lists(st.tuples(st.integers(-99, 999), st.sampled_from("+-*/")), min_size=2, max_size=6), st.booleans())
def test_exact_arithmetic_agrees_with_python(terms: list[tuple[int, str]], spoil: bool) -> None:
    """Whole expressions follow the usual precedence; the right value holds and another is false."""
    terms = [(number or 1, operator) for number, operator in terms]
    value = Fraction(0)
    for sign, product in products(terms):
        value += sign * product
    left = " ".join(f"{number} {operator}" for number, operator in terms)[:-2]
    value += spoil * 5000
    (judgement,) = judge(f"{left} = {value.numerator} / {value.denominator}")
    if spoil:
        assert judgement.truth is not Truth.HOLDS or len(terms) > 2  # other readings of long ones may fit
    else:
        assert judgement.truth is Truth.HOLDS


def products(terms: list[tuple[int, str]]) -> list[tuple[int, Fraction]]:
    """The signed products of a sum; the operator of a term stands after it."""
    result = [(1, Fraction(terms[0][0]))]
    for (_, operator), (number, _) in pairwise(terms):
        sign, product = result[-1]
        if operator == "*":
            result[-1] = (sign, product * number)
        elif operator == "/":
            result[-1] = (sign, product / number)
        else:
            result.append((1 if operator == "+" else -1, Fraction(number)))
    return result


def test_an_equation_is_judged_once_it_is_complete() -> None:
    """Not before its last number is certain and its sentence has ended, and without waiting for the line to end."""
    state = Arithmetic().start("")
    assert state.feed("She has 3 + 4 = 8").verdict is Verdict.UNKNOWN
    assert state.feed(" apples").verdict is Verdict.UNKNOWN
    assert state.feed(", ").verdict is Verdict.UNKNOWN
    assert state.feed("all of them red. ").verdict is Verdict.DEAD
    state = Arithmetic().start("")
    for piece in ("3 + 4 = 7", "0 - 6", "3", ". "):
        evidence = state.feed(piece)
    assert evidence.verdict is Verdict.UNKNOWN
    assert evidence.scores[:3] == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 + 4 = 8\n", Verdict.DEAD),
        ("3 + 4 = 8\\nSo", Verdict.DEAD),
        ("3 + 4 = 8. So", Verdict.DEAD),
        ("<<3+4=8>>", Verdict.DEAD),
        ("\\[ 3 + 4 = 8 \\]", Verdict.DEAD),
        ('"reasoning": "3 + 4 = 8", ', Verdict.DEAD),
        ("3 + 4 \\\\\n&= 8\n", Verdict.DEAD),
        ("x = 3 + 4\n  = 8\n", Verdict.DEAD),
        ("3 + 4\n\n= 7\n", Verdict.UNKNOWN),
        ("Wait, 3 + 4 = 8.\n", Verdict.UNKNOWN),
        ("3 + 4 = 8.\nHmm, no.\n", Verdict.UNKNOWN),
        ("Modulo 12 this is simple: 8 = 8 mod 12 and 3 + 9 = 0.\n 7 + 7 = 2.\n", Verdict.UNKNOWN),
    ],
)
def test_verdicts(text: str, expected: Verdict) -> None:
    assert Arithmetic().start("").feed(text).verdict is expected


def test_strikes() -> None:
    """`strikes` false equations are needed, and `reflective` of them are allowed after a correction."""
    twice = "3 + 4 = 8\n2 + 2 = 5\n"
    assert Arithmetic(strikes=3).start("").feed(twice).verdict is Verdict.UNKNOWN
    assert Arithmetic(strikes=2).start("").feed(twice).verdict is Verdict.DEAD
    assert Arithmetic(reflective=2).start("").feed("wait\n" + twice).verdict is Verdict.UNKNOWN
    assert Arithmetic(reflective=1).start("").feed("wait\n" + twice).verdict is Verdict.DEAD


def test_scores() -> None:
    """Counts, share, distance since the first false equation, and the worst relative error."""
    text = "1+1=2\n3+4=8\n10*10=200\nx+1=2\nwait\n"
    scores = dict(zip(Arithmetic().columns, Arithmetic().start("").feed(text).scores, strict=True))
    assert scores["checked"] == 3
    assert scores["false"] == 2
    assert scores["false_share"] == 2 / 3
    assert scores["skipped"] == 0
    assert scores["since_false"] == len("10*10=200\nx+1=2\nwait\n")
    assert scores["worst"] == pytest.approx(math.log1p(50))
    assert scores["corrections"] == 1


@given(st.text('\n\\.,;:?!<>$" n3)[]a', max_size=40))
@example(">>: n3")
@example("a\n! 3")
def test_clauses_do_not_depend_on_chunks(text: str) -> None:
    """The same clauses come out of one piece and of two, wherever the text is cut."""
    whole = list(ClauseCutter().feed(text))
    for middle in range(len(text) + 1):
        cutter = ClauseCutter()
        assert [*cutter.feed(text[:middle]), *cutter.feed(text[middle:])] == whole


def test_clauses_are_bounded() -> None:
    """Text without any end is cut at the limit; nothing is lost."""
    cutter = ClauseCutter()
    text = "a" * 3000
    clauses = list(cutter.feed(text))
    assert {len(clause.text) for clause in clauses} == {LIMIT}
    assert [clause.end for clause in clauses] == [LIMIT * (i + 1) for i in range(len(clauses))]
