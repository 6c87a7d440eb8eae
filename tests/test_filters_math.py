"""Answers compared as mathematics: by their kind, exactly, in whatever spelling, and bounded in time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version
from itertools import combinations, permutations, product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.filters import Judgement, MathVerify, Prompt

pytest.importorskip("math_verify")

from msifr_policy.filters.formulas.equal import LONGEST, load, same
from msifr_policy.filters.formulas.forms import NumberForm, Percent, Quantity, Several
from msifr_policy.filters.formulas.reader import read
from msifr_policy.filters.formulas.text import canonical
from msifr_policy.filters.formulas.units import unit


@pytest.fixture(scope="module")
def accept() -> Iterator[MathVerify]:
    with MathVerify() as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _parser() -> None:
    load()  # what the parser learns from its first formulas takes seconds, and belongs to no test


def prompt(gold: str | None) -> Prompt:
    return Prompt(prompt_id="p", prompt="How much?", gold=gold)


def pairs(table: str) -> list[tuple[str, str]]:
    """Return the lines `gold  ~  answer` of a table."""
    lines = [line.strip() for line in table.strip().splitlines()]
    return [(gold.strip(), answer.strip()) for gold, _, answer in (line.partition("  ~ ") for line in lines if line)]


# Right and wrong by mathematics and usage, not by any library.
EQUAL = {
    "values": r"""
        \frac{3}{8}  ~  0.375
        \frac{3}{8}  ~  \frac{9}{24}
        \sqrt{12}  ~  2\sqrt{3}
        \frac{5}{\sqrt{5}}  ~  \sqrt{5}
        3^{7}  ~  2187
        \log_3 81  ~  4
        3\pi  ~  \pi+2\pi
        \binom{7}{3}  ~  35
        \frac{6!}{4!}  ~  30
        -\frac{7}{4}  ~  \frac{-7}{4}
        2.5 \times 10^{-4}  ~  0.00025
        7e5  ~  7 \times 10^{5}
        1e-7  ~  10^{-7}
        0.\overline{27}  ~  \frac{3}{11}
        0.1\overline{6}  ~  1/6
        2\frac{3}{4}  ~  \frac{11}{4}
        -3 1/5  ~  -3.2
        \frac{2}{3}  ~  0.666667
        4.358898943540674  ~  \sqrt{19}
        (2+i)^2  ~  3+4i
        \infty  ~  +\infty
        \cos 60^\circ  ~  \frac{1}{2}
        e^{\ln 5}  ~  5
        \frac{41}{333}  ~  0.123123...
        \frac{7}{9}  ~  0.\bar{7}
        \frac{2}{11}  ~  0.\dot{1}\dot{8}
        \frac{4}{9}  ~  0.(4)
        \frac{3}{8}  ~  \frac{3}{8} \text{ or } 0.375
        \frac{3}{8}  ~  \frac{3}{8} (0.375)
        \sqrt{7}  ~  \sqrt{7} (≈ 2.646)
        7000000  ~  7 million
        \$7 million  ~  \$7,000,000
        84  ~  7 dozen
        56  ~  \binom{8}{3}
        56  ~  {8 \choose 3}
        56  ~  C(8,3)
        15  ~  3 \cdot (5)
        56  ~  _{8}C_3
        -6  ~  negative six
    """,
    "formulas": r"""
        x^2-6x+9  ~  (x-3)^2
        \cos^2 t+\sin^2 t  ~  1
        \tan x  ~  \frac{\sin x}{\cos x}
        \sqrt{1/m}  ~  \frac{1}{\sqrt{m}}
        \frac{k(k-1)}{2}  ~  \binom{k}{2}
        \frac{x}{x+2}  ~  1-\frac{2}{x+2}
        3^{n+2}  ~  9 \cdot 3^n
        C_{1}e^{3t}+C_{2}  ~  C_2 + C_1 e^{3t}
        \frac{m v_{\text{max}}^{2}}{2}  ~  \frac{1}{2} m v_{\text{max}}^2
        \lceiln/3\rceil+2  ~  2+\lceil \frac{n}{3} \rceil
        2\pir^{2}  ~  2 \pi r^2
        5t  ~  5 \text{ t}
        |x|  ~  \sqrt{x^2}
        \frac{dv}{dt}=-kv  ~  \frac{dv}{dt} = -k v
        \frac{x^4}{4}+C  ~  \frac{x^4}{4} + c
        \frac{(x+2)^2}{2}+C  ~  \frac{x^2}{2}+2x+C
        \epsilon_0  ~  \varepsilon_0
        3n+1  ~  3n+1 \text{ for all } n \ge 1
        abd  ~  a \cdot b \cdot d
        2i+j  ~  2\hat{i} + \hat{j}
        x^2+x  ~  x (x+1)
    """,
    "equations": r"""
        y = 9  ~  9
        9  ~  n_{1} = 9
        9  ~  |AB| = 9
        4x+2y-6=0  ~  y = -2x + 3
        x^2 + y^2 = 25  ~  \frac{x^2}{25} + \frac{y^2}{25} = 1
        g(x) = x^3  ~  x^3
        \frac{3}{4}  ~  p = \frac{3}{4} \approx 0.75
        x^2 = 49  ~  x^2 - 49 = 0
        12  ~  \text{Total} = 12
        12  ~  \text{The sum is } 12
        12  ~  3 \cdot 4 = 12
        12  ~  \text{Answer: } 12
        2n+1, n \in \mathbb{Z}  ~  2n+1
        g(x) = x^3  ~  g(t) = t^3
        g(x) = x^3  ~  g(x) = x^3, \forall x \in \mathbb{R}
        y(x) = x^3  ~  y = x^3
        a_n = 4n-1  ~  a_k = 4k-1
        12  ~  \text{Total: } 12
        12  ~  d = \sqrt{144} = 12
    """,
    "lists": r"""
        -4, 9  ~  9, -4
        -4, 9  ~  x = -4 \text{ or } x = 9
        -4, 9  ~  \{-4, 9\}
        \{5, 6, 8\}  ~  \{8, 5, 6, 6\}
        3 \pm \sqrt{7}  ~  3+\sqrt{7}, 3-\sqrt{7}
        \pm 5  ~  5, -5
        \{2\pm\sqrt{3},-1\}  ~  -1, 2+\sqrt3, 2-\sqrt3
        512 and 729  ~  729 \text{ and } 512
        (1,4),(2,5)  ~  (2, 5) \text{ and } (1, 4)
        (4,7)  ~  x=4, y=7
        (4,7)  ~  (x,y) = (4,7)
        4  ~  x = 4, \text{ where } x > 0
        \{6\}  ~  6
        A, C  ~  (C) \text{ and } (A)
        \{2,4,6\}  ~  \{2,4\} \cup \{6\}
        (4,7)  ~  \{(4,7)\}
        (4,7)  ~  \begin{cases} x = 4 \\ y = 7 \end{cases}
        (x,y) = (4,8)  ~  y = 8, x = 4
        4  ~  4, not 7
        A, C  ~  AC
    """,
    "intervals": r"""
        [2,7)  ~  [2, 7)
        [2,7)  ~  2 \le x < 7
        (2,\infty)  ~  x > 2
        x < 8  ~  8 > x
        x \in [-5,1]  ~  -5 \leq x \leq 1
        x < 2  ~  -x > -2
        (-\infty,1)\cup(4,\infty)  ~  x<1 \text{ or } x>4
        (0,1)\cup(2,3]  ~  (2,3] \cup (0,1)
        \{x \mid x \ge 4\}  ~  [4,\infty)
        \mathbb{R}  ~  (-\infty,\infty)
        \text{all real numbers}  ~  \mathbb{R}
        \mathbb{R} \setminus \{2, -1\}  ~  (-\infty,-1)\cup(-1,2)\cup(2,\infty)
        x \ne 2  ~  (-\infty,2)\cup(2,\infty)
        (2,7)  ~  ]2, 7[
        [2,7)  ~  [2;7[
        (-\infty,2)\cup(5,\infty)  ~  (-\infty,2) \text{ and } (5,\infty)
        (-\infty,2)\cup(5,\infty)  ~  ]-\infty,2[ \cup ]5,+\infty[
        2 < x < 8  ~  x > 2 \text{ and } x < 8
        (-4,4)  ~  |x| < 4
        (-\infty,-4]\cup[4,\infty)  ~  |x| \ge 4
        (-\infty,3)\cup(3,\infty)  ~  \text{all real numbers except } 3
        (-\infty,-3)\cup(-3,3)\cup(3,\infty)  ~  x \ne \pm 3
        a < b < c  ~  c > b > a
    """,
    "matrices": r"""
        \begin{pmatrix} 1 & \frac12 \\ 0 & 5 \end{pmatrix}  ~  \begin{bmatrix} 1 & 0.5 \\ 0 & 5 \end{bmatrix}
        \begin{pmatrix} 3 \\ 4 \end{pmatrix}  ~  (3, 4)
        \langle 3, 4 \rangle  ~  \begin{pmatrix} 3 \\ 4 \end{pmatrix}
        \begin{pmatrix}1&2\\3&4\end{pmatrix}  ~  \left[\begin{array}{cc}1 & 2 \\ 3 & 4\end{array}\right]
        \begin{pmatrix} 4 & 6 \\ 10 & 12 \end{pmatrix}  ~  2\begin{pmatrix} 2 & 3 \\ 5 & 6 \end{pmatrix}
        \begin{pmatrix} 3 \\ 4 \end{pmatrix}  ~  (3, 4)^T
        \begin{pmatrix}1&2\\3&4\end{pmatrix}  ~  [[1, 2], [3, 4]]
    """,
    "units": r"""
        8  ~  8 \text{ cm}
        8  ~  8\ \mathrm{cm}^2
        8 \text{ kg}  ~  8
        3 \text{ m}  ~  300 \text{ cm}
        90 \text{ minutes}  ~  1.5 hours
        60 \text{ km/h}  ~  60 \text{ kilometers per hour}
        14 \text{ square feet}  ~  14 \text{ ft}^2
        \$7.50  ~  750 cents
        7.5  ~  \$7.50
        2450  ~  \$2{,}450.00
        8  ~  8 apples
        8  ~  8^{\text{th}} \text{ grade}
        60  ~  60°
        60^\circ  ~  60 \text{ degrees}
        60^\circ  ~  \frac{\pi}{3}
        20^\circ 30'  ~  20.5^\circ
        35  ~  35\%
        35\%  ~  0.35
        0.35  ~  35 percent
        \frac{5}{7} \mathrm{~m}  ~  \frac{5}{7}m
        19  ~  19 平方米
        19  ~  19个
        5 \pmod{9}  ~  x \equiv 5 \pmod 9
        3.5 \text{ hours}  ~  3 hours and 30 minutes
        7 \text{ feet } 3 \text{ inches}  ~  87 \text{ in}
        6 \mu\text{m}  ~  6000 nm
        8  ~  8 \Omega
        8  ~  8 руб.
        8  ~  US\$8
        8\pi  ~  8π cm²
        60  ~  \ang{60}
        60 \text{ km/h}  ~  \SI{60}{km/h}
        8  ~  8입니다
    """,
    "times and ratios": r"""
        6:45  ~  6:45 \text{ a.m.}
        2:5  ~  4:10
        2:5  ~  \frac{2}{5}
        2:5  ~  2 \text{ to } 5
        1:2:4  ~  3:6:12
        7:00 \text{ a.m.}  ~  7 am
        17:20  ~  5:20 pm
        2:5  ~  2∶5
        \frac{2}{5}  ~  2 out of 5
    """,
    "numerals": r"""
        1101_2  ~  1101_{2}
        1101_2  ~  1101_{\text{two}}
        1101_2  ~  (1101)_2
        47_{10}  ~  47
        63_8  ~  63 \text{ (base 8)}
        63_8  ~  63 in base eight
        63_8  ~  63_{(8)}
    """,
    "words": r"""
        \text{Tuesday}  ~  tuesday
        Marcus  ~  \text{Marcus}
        May 9  ~  9 May
        August 3rd, 2011  ~  3 Aug 2011
        \text{no solution}  ~  \emptyset
        \text{undefined}  ~  \text{does not exist}
        twelve  ~  12
        \text{thirty-four}  ~  34
        3  ~  \text{three sides}
        \text{no solution}  ~  There are no real solutions.
        \infty  ~  \text{infinity}
        \text{infinitely many}  ~  infinitely many solutions
        \text{undefined}  ~  \text{The limit does not exist}
    """,
    "choices": r"""
        C  ~  (C)
        C  ~  \textbf{(C)}\ 14
        C  ~  C. 14
        14  ~  \textbf{(C)} 14
        \text{(C)}  ~  \text{C}
        C  ~  c
    """,
    "spelling": r"""
        \frac{1}{6}  ~  \frac16
        \frac{1}{6}  ~  \dfrac{1}{6}
        \frac{1}{6}  ~  ⅙
        \frac{1}{6}  ~  \frac {1} {6}
        2\sqrt{5}  ~  2√5
        2\sqrt{5}  ~  2\sqrt5
        2\sqrt{5}  ~  2sqrt(5)
        x^{2}-3x  ~  x² − 3x
        4\pi  ~  4π
        6 \times 10^{9}  ~  6 × 10⁹
        26000  ~  26{,}000
        26000  ~  26,\!000
        26000  ~  26\,000
        26000  ~  26 000
        26000  ~  ２６，０００
        31  ~  31。
        31  ~  $31$.
        31  ~  \(31\)
        31  ~  **31**
        31  ~  \boxed{31}
        31  ~  \text{31}
        31  ~  31！
        0.7  ~  .7
        2.4  ~  2,4
        (5, \frac{\pi}{4})  ~  \left( 5, \tfrac{\pi}{4} \right)
        2-\frac{1}{\mathrm{e}}  ~  2 - e^{-1}
        2\sin x  ~  2 sin x
        \sin(\omegat)  ~  \sin(\omega t)
        -6  ~  −6
        \alpha+\beta  ~  α + β
        x \ne 5  ~  x != 5
        x^{4}  ~  x**4
        3  ~  \displaystyle 3
        3  ~  {3}
        3  ~  x = \color{red}{3}
        \frac{3}{2}  ~  1½
        31  ~  *31*
        31  ~  "31"
        31  ~  31 \blacksquare
        31  ~  31 ∎
        31  ~  31<br>
        31  ~  <b>31</b>
        31  ~  答案：31
        31  ~  \\(31\\)
        31  ~  \bbox[4px]{31}
        26000  ~  26'000
    """,
}
DIFFERENT = {
    "values": r"""
        \frac{37}{3}  ~  8 13/3
        \frac{104}{3}  ~  8 13/3
        8  ~  8 13/3
        \frac{\pi}{60!}  ~  \frac{\pi}{61!}
        \sqrt{2} \cdot 10^{-45}  ~  \sqrt{3} \cdot 10^{-45}
        4  ~  4 5/9
        \frac{1}{90!}  ~  \frac{1}{91!}
        \frac{1}{3^{70}}  ~  \frac{1}{3^{71}}
        0  ~  10^{-11}
        1e-9  ~  0
        3e-8  ~  5e-8
        2^{90}  ~  2^{90}+1
        \frac{2^{900}+1}{3}  ~  \frac{2^{900}}{3}
        87654321  ~  87654322
        0.25  ~  0.250001
        \frac{2}{3}  ~  0.67
        \pi  ~  3.1416
        \frac{355}{113}  ~  \pi
        7!  ~  7
        6  ~  6\sqrt(3)
        6  ~  6\sqrt3
        5+2i  ~  5-2i
        5+2i  ~  (5,2)
        1-e^{-2}  ~  1+e^{-2}
        -6  ~  6
        2,4  ~  2.4
        4,096  ~  4
        1.500  ~  1500
        \infty  ~  -\infty
        12  ~  \text{undefined}
        12  ~  NaN
        12  ~  ?
        1e4  ~  14
        3 1/2  ~  31/2
        \frac{41}{333}  ~  0.123
        0.7  ~  0.777...
        \frac{7}{9}  ~  0.787878...
        \frac{2}{11}  ~  0.1\dot{8}
        \frac{3}{8}  ~  \frac{3}{8} \text{ or } 0.4
        \frac{3}{8}  ~  \frac{3}{8} \text{ or } \frac{8}{3}
        15  ~  3 (5.1)
        3  ~  3 (5)
        7  ~  7 million
        7  ~  7 tenths
        \$7 million  ~  \$7
        7  ~  7 dozen
        1234  ~  1 2 3 4
        24  ~  4 6
        46  ~  4 6
        24x  ~  4 6x
        46x  ~  4 6x
        56  ~  C(8,2)
        6  ~  negative six
    """,
    "formulas": r"""
        x^2+1  ~  x^2-1
        y  ~  |y|
        3R  ~  3r
        x_1  ~  x_2
        x^{2}  ~  x_{2}
        \frac{a}{b}  ~  \frac{b}{a}
        \ln x  ~  \log_2 x
        f^{\prime}(x)  ~  f(x)
        2t  ~  2
        8  ~  8x
        \sum_{k=0}^{n} a_k  ~  \sum_{k=0}^{n-1} a_k
        1\cdot\sqrt{23}  ~  1
        \frac{x^4}{4}+C  ~  \frac{x^4}{4}
        \frac{x^4}{4}  ~  \frac{x^4}{4}+C
        \frac{x^4}{4}+C  ~  \frac{x^4}{4}+x+C
        abd  ~  b \cdot a \cdot d
        \overline{z}  ~  z
    """,
    "equations": r"""
        x = 9  ~  y = 9
        18  ~  2x = 18
        0  ~  x - 6 = 0
        5x-y+2=0  ~  5x-y+3=0
        \frac{x^2}{9}+\frac{y^2}{5}=1  ~  \frac{x^2}{36}+\frac{y^2}{20}=1
        a+5z=0  ~  0
        7 = 2a+c  ~  2a+c
        f(x) = x  ~  f(x) = -x
        5  ~  5 = 6
        n=3, 4, 5  ~  n=2, 3, 4
        D = (0, 2)  ~  D = (0, 2.5)
        g(x) = x^3  ~  g(t) = x^3
        g(x) = ax  ~  g(a) = ax
        g(x) = x^3  ~  h(x) = x^3
        9  ~  x = 9 = 10
    """,
    "lists": r"""
        \pm 31  ~  31
        31  ~  \pm 31
        512 and 729  ~  729
        729  ~  512 and 729
        6, 7  ~  6
        6  ~  6 \text{ or } 7
        14, 52, \text{ and } 90  ~  15, 51, and 90
        \{4,9\}  ~  \{4,9,16\}
        (1,4),(2,5)  ~  (1,4)
        x=2, y=8  ~  x=8, y=2
        1, 2, \ldots, n  ~  1, 4, \ldots, n^2
        1, 2, 3  ~  1, 2, 3, ...
        26731  ~  26, 731
        (A)  ~  (A) and (C)
        \{2,4,6\}  ~  \{2,4\} \cup \{5\}
        (x,y) = (4,7)  ~  y = 4, x = 7
        x = 4, y = 7  ~  (y,x) = (4,7)
        (4,7)  ~  \begin{cases} x = 7 \\ y = 4 \end{cases}
        7  ~  4, not 7
        6  ~  6, 6
        \emptyset  ~  \{\emptyset\}
        A, C  ~  AD
    """,
    "kinds": r"""
        (4,7)  ~  \{4,7\}
        \{4,7\}  ~  (4,7)
        [4,7]  ~  \{4,7\}
        (3,561)  ~  3561
        3561  ~  (3,561)
        (4,7)  ~  (7,4)
        (1,2,4)  ~  (1,2)
        4  ~  x > 4
        x > 4  ~  4
        5  ~  (5, \infty)
        \begin{pmatrix} 4 \\ 7 \end{pmatrix}  ~  \{4,7\}
    """,
    "intervals": r"""
        x > 3  ~  x < 3
        x \le 3  ~  x < 3
        x < 3  ~  y < 3
        [1,6)  ~  (1,6]
        [1,6]  ~  (1,6)
        (0,1)\cup(2,3)  ~  (0,1)\cup(2,3]
        (0,1)\cup(2,3)  ~  (0,1)
        \mathbb{R} \setminus \{2\}  ~  \mathbb{R}
        x \ne 2  ~  x = 2
        1 < x < 6  ~  1 \le x < 6
        [2,7]  ~  ]2, 7[
        [2,7)  ~  ]2,7]
        2 < x < 7  ~  x > 2 \text{ or } x < 7
        2 < x < 7  ~  x > 2 \text{ and } y < 7
        (-4,4)  ~  |x| > 4
        (-4,4)  ~  |x| \le 4
        (-1,7)  ~  |x+3| < 4
        (-\infty,3)\cup(3,\infty)  ~  \text{all real numbers except } -3
        a < b < c  ~  a > b > c
    """,
    "matrices": r"""
        \begin{pmatrix} 1 & 2 \\ 5 & 6 \end{pmatrix}  ~  \begin{pmatrix} 1 & 5 \\ 2 & 6 \end{pmatrix}
        \begin{pmatrix} 1 & 2 \end{pmatrix}  ~  \begin{pmatrix} 1 \\ 2 \end{pmatrix}
        \begin{pmatrix} 1 \\ 2 \end{pmatrix}  ~  \begin{pmatrix} 2 \\ 1 \end{pmatrix}
        \begin{pmatrix} 4 & 6 \\ 10 & 12 \end{pmatrix}  ~  3\begin{pmatrix} 2 & 3 \\ 5 & 6 \end{pmatrix}
        \begin{pmatrix} 1 & 2 \\ 5 & 6 \end{pmatrix}  ~  \begin{pmatrix} 1 & 2 \\ 5 & 6 \end{pmatrix}^T
        \begin{pmatrix} 1 & 2 \\ 5 & 6 \end{pmatrix}  ~  \begin{pmatrix} 1 & 2 \\ 5 & 6 \end{pmatrix}^{-1}
        \begin{pmatrix} 1 & 2 \\ 5 & 6 \end{pmatrix}  ~  [[1, 5], [2, 6]]
    """,
    "units": r"""
        8 \text{ cm}  ~  8 \text{ m}
        8 \text{ m}  ~  8 \text{ m}^2
        8 \text{ hours}  ~  8 \text{ minutes}
        8 dollars  ~  8 cents
        60^\circ  ~  60\%
        0.35  ~  35
        35  ~  0.35
        35\%  ~  3.5\%
        8 apples  ~  9 apples
        5 \pmod{9}  ~  5 \pmod{7}
        3.5 \text{ hours}  ~  3 hours and 50 minutes
        3 \text{ hours}  ~  3 hours and 30 minutes
        210 \text{ minutes}  ~  30 minutes, 3 hours
        6 \mu\text{m}  ~  6 nm
        60 \text{ km/h}  ~  \SI{60}{m/s}
    """,
    "times and ratios": r"""
        10:00  ~  3:00
        6:45 \text{ am}  ~  6:45 \text{ pm}
        2:5  ~  5:2
        1:2:4  ~  1:2:5
        1:2:4:\ldots  ~  1:4:16:\ldots
        7 am  ~  7 pm
        7:00 am  ~  19:00
        17:20  ~  5:20
        \frac{2}{5}  ~  5 out of 2
    """,
    "numerals": r"""
        1101_2  ~  1101
        1101_2  ~  13
        1101_2  ~  1101_3
        2112_3  ~  2122_3
        63_8  ~  63 \text{ (base 9)}
        63_8  ~  51
    """,
    "words": r"""
        abd  ~  dab
        \text{pots}  ~  \text{stop}
        Marcus  ~  Martha
        April 9  ~  May 9
        9 June  ~  9 July
        2019-03-07  ~  2019-07-03
        \text{two thirds}  ~  2
        \text{one or two}  ~  1
        thirty-four  ~  30
    """,
    "choices": r"""
        C  ~  (D)
        C  ~  A, C
        C  ~  \textbf{(D)} C
        14  ~  \textbf{(C)} 15
    """,
}


@pytest.mark.parametrize("kind", EQUAL)
def test_what_is_equal_in_whatever_spelling(kind: str) -> None:
    assert [pair for pair in pairs(EQUAL[kind]) if not same(*pair)] == []


@pytest.mark.parametrize("kind", DIFFERENT)
def test_another_value_or_another_kind_of_thing_is_not_equal(kind: str) -> None:
    assert [pair for pair in pairs(DIFFERENT[kind]) if same(*pair)] == []
    assert not any(same(gold, "") for gold, _ in pairs(DIFFERENT[kind]))


def test_a_gold_answer_equals_itself_and_no_other_that_differs() -> None:
    """Of a hundred golds, each with each in both directions: those are equal that the table above says, and no more."""
    golds = sorted({gold for table in EQUAL.values() for gold, _ in pairs(table)})
    assert all(same(gold, gold) for gold in golds)
    # Numbers are told apart in the tests of rationals.
    others = [gold for gold in golds if not isinstance(read(gold), NumberForm | Quantity | Percent)]
    equal = [pair for pair in combinations(others, 2) if same(*pair) or same(*pair[::-1])]
    alike = [{r"\mathbb{R}", r"\text{all real numbers}"}, {"C", r"\text{(C)}"}]
    alike.append({r"\begin{pmatrix} 3 \\ 4 \end{pmatrix}", r"\langle 3, 4 \rangle"})
    assert [pair for pair in equal if set(pair) not in alike] == []
    assert len(others) > 60


@settings(max_examples=60, deadline=None)
@given(st.fractions(max_denominator=1000), st.integers(1, 50), st.fractions(max_denominator=1000))
def test_any_form_of_a_rational_is_recognised_and_no_other_number(
    number: Fraction, factor: int, other: Fraction
) -> None:
    forms = [
        rf"\frac{{{number.numerator * factor}}}{{{number.denominator * factor}}}",
        f"{number.numerator}/{number.denominator}",
        rf"x = \dfrac{{{number.numerator}}}{{{number.denominator}}}",
        rf"\boxed{{{number}}} \text{{ units}}",
    ]
    whole, rest = divmod(abs(number), 1)
    if whole and rest:
        forms.append(rf"{'-' * (number < 0)}{whole}\frac{{{rest.numerator}}}{{{rest.denominator}}}")
    for form in forms:
        assert same(str(number), form)
        assert not same(str(number + 1), form)
        assert same(str(other), form) is (other == number)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=2, max_size=4, unique=True), st.integers(2, 9))
def test_order_counts_in_tuples_alone_and_brackets_make_kinds(numbers: list[int], base: int) -> None:
    spelled = ", ".join(map(str, numbers))
    forms = {"list": spelled, "set": rf"\{{{spelled}\}}", "tuple": f"({spelled})"}
    for order in permutations(numbers):
        said = ", ".join(map(str, order))
        assert same(forms["list"], said)
        assert same(forms["set"], rf"\{{{said}\}}")
        assert same(forms["set"], said)
        assert same(forms["tuple"], f"({said})") is (list(order) == numbers)
        assert same(forms["tuple"], said) is (list(order) == numbers)
        assert not same(forms["set"], f"({said})")
        assert not same(forms["tuple"], rf"\{{{said}\}}")
    for form in forms.values():
        assert not same(form, str(numbers[0]))
        assert not same(str(numbers[0]), form)
        assert not same(form, f"{forms['set'][:-2]}, {max(numbers) + base}\\}}")


ENDS = [("(", ")"), ("(", "]"), ("[", ")"), ("[", "]")]


@settings(max_examples=40, deadline=None)
@given(st.integers(-9, 9), st.integers(1, 9), st.sampled_from(ENDS), st.sampled_from(ENDS))
def test_intervals_are_equal_with_their_ends(
    low: int, size: int, first: tuple[str, str], second: tuple[str, str]
) -> None:
    gold, said = (f"{left}{low}, {low + size}{right}" for left, right in (first, second))
    signs = ["<" if side in "()" else r"\le" for side in second]
    assert same(gold, said) is (first == second)
    assert same(gold, f"{low} {signs[0]} x {signs[1]} {low + size}") is (first == second)
    assert not same(gold, f"{second[0]}{low}, {low + size + 1}{second[1]}")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 99), st.integers(1, 998))
def test_a_decimal_with_dots_goes_on_as_it_ends(first: int, period: int) -> None:
    value = Fraction(first, 100) + Fraction(period, 99900)
    assert not same(str(value), f"0.{first:02}{period:03}")
    for form in (rf"0.{first:02}\overline{{{period:03}}}", f"0.{first:02}{period:03}{period:03}..."):
        assert same(str(value), form)
        assert not same(str(value + Fraction(1, 10**5)), form)


@settings(max_examples=40, deadline=None)
@given(st.integers(-9, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_sizes_and_conditions_are_intervals(middle: int, size: int, closed: bool, outside: bool) -> None:
    low, high = middle - size, middle + size
    sign = {(False, False): "<", (True, False): r"\le", (False, True): ">", (True, True): r"\ge"}[closed, outside]
    said = rf"|x {'-' if middle >= 0 else '+'} {abs(middle)}| {sign} {size}"
    inner = rf"[{low}, {high}]" if closed else f"{low} < x < {high}"
    left, right = ("]", "[") if closed else (")", "(")
    outer = rf"(-\infty, {low}{left} \cup {right}{high}, \infty)"
    assert same(outer if outside else inner, said)
    assert not same(inner if outside else outer, said)
    assert not same((outer if outside else inner).replace(str(high), str(high + 1)), said)
    more, less = (r"\ge", r"\le") if closed else (">", "<")
    both = rf"x {more} {low} \text{{ and }} x {less} {high}"
    assert same(inner, both)
    assert not same(inner, both.replace("and", "or"))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=2, max_size=2), st.integers(2, 5))
def test_factors_and_transposes_of_matrices(rows: list[list[int]], factor: int) -> None:
    def matrix(of: list[list[int]]) -> str:
        lines = r" \\ ".join(" & ".join(map(str, row)) for row in of)
        return rf"\begin{{pmatrix}} {lines} \end{{pmatrix}}"

    turned = [list(column) for column in zip(*rows, strict=True)]
    multiple = [[factor * entry for entry in row] for row in rows]
    assert same(matrix(multiple), f"{factor}{matrix(rows)}")
    assert same(matrix(multiple), rf"-{factor} \cdot {matrix([[-entry for entry in row] for row in rows])}")
    assert same(matrix(turned), f"{matrix(rows)}^T")
    assert not same(matrix(turned), matrix(rows))
    assert same(matrix(rows), f"{factor}{matrix(rows)}") is (multiple == rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 59))
def test_several_units_are_one_quantity(hours: int, minutes: int) -> None:
    for said in (
        f"{hours} hours {minutes} minutes",
        f"{hours}h {minutes}min",
        rf"{hours} \text{{ hr and }} {minutes} min",
    ):
        assert same(f"{60 * hours + minutes} minutes", said)
        assert not same(f"{60 * hours + minutes + 1} minutes", said)
        assert not same(f"{hours} hours", said)
    assert not same(f"{60 * hours + minutes} minutes", f"{minutes} minutes and {hours} hours and 1 day")


LENGTHS = {"mm": 1, "cm": 10, "m": 1000, "km": 10**6, "kilometers": 10**6, "meter": 1000}
OTHERS = ("kg", "s", "minutes", "L", "dollars", r"m^{2}", "km/h", r"\degree")


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 10**6), st.sampled_from(sorted(LENGTHS)), st.sampled_from(sorted(LENGTHS)), st.sampled_from(OTHERS)
)
def test_units_are_converted_within_their_kind_only(size: int, first: str, second: str, other: str) -> None:
    converted = Fraction(size * LENGTHS[first], LENGTHS[second])
    gold = rf"{size} \text{{ {first}}}"
    assert same(gold, rf"{converted} \text{{ {second}}}")
    assert same(gold, str(size))
    assert same(str(size), gold)
    assert same(gold, rf"{size} \text{{ {second}}}") is (LENGTHS[first] == LENGTHS[second])
    assert not same(gold, rf"{size} \text{{ {other}}}")
    assert not same(gold, rf"{size + 1} \text{{ {first}}}")


def test_units_are_read_with_their_powers() -> None:
    speed, area = unit("km/h"), unit("square centimeters")
    assert speed is not None
    assert area is not None
    assert speed == unit("kilometers per hour") == unit(r"km \cdot h^{-1}") == unit("kph")
    assert speed.factor == Fraction(5, 18)
    assert area == unit("cm^{2}") == unit("sq cm")
    assert area.factor == Fraction(1, 10**4)
    assert unit("apples") is unit("") is unit("m @") is unit("^{2}") is unit("squared") is None


def test_commas_part_and_group() -> None:
    kinds = {"7,350": 1, "7, 350": 2, "7,350,000": 1, "(7,350)": 2, "(7,350, 2)": 2, "12,3456": 2, "0,125": 2}
    for answer, parts in kinds.items():
        form = read(answer)
        assert len(form.items) == parts if isinstance(form, Several) else parts == 1, answer
    assert same("7,350", "7350")
    assert same("7,350", "7, 350")  # as it is written, though it is two


def test_a_decimal_stands_for_what_rounds_to_it_if_it_is_long() -> None:
    for digits in range(1, 15):
        rounded = f"{1 / 7:.{digits}g}"
        assert same(r"\frac{1}{7}", rounded) is (digits >= 6), rounded
        assert same(rounded, r"\frac{1}{7}") is (digits >= 6), rounded
        assert not same(r"\frac{1}{7}", rounded[:-1] + str((int(rounded[-1]) + 2) % 10)), rounded
    assert same("2.718282", "e")
    assert not same("271828", "100000e")  # a whole number is exact


SAMPLES = [
    answer
    for table in (*EQUAL.values(), *DIFFERENT.values())
    for pair in pairs(table)
    for answer in pair
    if not answer.startswith("*")  # an emphasis within another mark is none
]


@given(
    st.sampled_from(SAMPLES),
    st.sampled_from(["", " ", "$", "**", "\\(", "\u200b"]),
    st.sampled_from(["", ".", "。", " "]),
)
def test_what_sets_an_answer_off_changes_nothing(answer: str, mark: str, end: str) -> None:
    closing = {"\\(": "\\)"}.get(mark, mark)
    assert canonical(f"{mark}{answer}{closing}{end}") == canonical(answer)
    assert canonical(rf"\boxed{{{answer}}}") == canonical(answer)
    assert canonical(canonical(answer)) == canonical(answer)


UNITS = (
    *(
        "(",
        "{",
        "[",
        "}",
        ")",
        "\\{",
        "|",
        "\\frac",
        "\\frac1",
        "\\frac{",
        "\\sqrt",
        "\\sqrt[",
        "√",
        "½",
        "²",
        "°",
        "\\text",
    ),
    *(
        "\\text{",
        "\\text{a",
        "\\boxed{",
        "\\mathrm{",
        "\\begin{pmatrix}",
        "&",
        "\\\\",
        "\\left",
        "\\color{",
        "\\phantom{",
        "^",
        "_",
    ),
    *(
        "^{",
        "x^",
        "10^{",
        "\\overline{",
        "1",
        "1,",
        "1,234",
        "1 000 ",
        "0{,}",
        "~",
        "\\!",
        "1/2",
        "1:",
        "-",
        "=",
        "<",
        "!",
        "'",
    ),
    *(
        "\\pm",
        "\\mp ",
        "%",
        "\\degree",
        "$",
        "\\$",
        "5 m ",
        "a ",
        "and ",
        "A) ",
        "(A)",
        "is ",
        "two ",
        "one hundred ",
        "\\sin ",
    ),
    *(
        "\\cup",
        "\\in",
        "\\pmod",
        "\\langle",
        "**",
        "`",
        "sqrt(",
        "\u3002",
        "\u200b",
        "\\mathbb{R}",
        "\\Rightarrow",
        "e5",
        "\x00",
        "\\begin{cases}",
        "0.123",
        "]1,",
        "C(1,",
        "_{1}C",
        "\\choose",
        "\\vec{a",
        "<br>",
        "\\SI{",
        "1 h ",
        "|x|<",
        "\\forall",
        "\\mu",
        "(=1)",
        "1 (1)",
        "x\\ne1,",
        "Total: ",
    ),
)


@pytest.mark.parametrize("head", ["", "5 ", "{", "("])
def test_no_text_takes_long_to_be_read(head: str) -> None:
    """The longest answers, of each unit: all together within seconds, where each may take as many in the worker."""
    for piece, tail in product(UNITS, ("", "1")):
        text = (head + piece * LONGEST)[: LONGEST - 1] + tail
        started = time.process_time()
        read(text)
        assert time.process_time() - started < 1.0, piece


def test_answers_that_are_too_long_equal_nothing() -> None:
    digits = "7" * LONGEST
    assert same(digits, digits)
    assert not same(digits + "7", digits + "7")


@pytest.mark.parametrize(
    ("gold", "text", "right"),
    [
        ("96", r"So it is \boxed{96\text{ cm}^2}", True),
        ("96", "所以答案是96。", True),
        ("96", "The answer is 96 cm.", True),
        ("96", r"The answer is \boxed{69}. Wait, actually \boxed{96}", True),
        ("96", "The answer is \\boxed{96}.\n\nThat is so since " + "each of them holds, and " * 300, True),
        ("96", r"First \boxed{96}, and corrected \boxed{", False),
        ("96", "I cannot say.", False),
        ("96", "", False),
        ("96", r"\boxed{96", False),
        (r"-2,5", r"$x=\boxed{5}$ or $\boxed{-2}$", True),
        (r"-2,5", r"$x=\boxed{5}$", False),
        ("C", r"\boxed{\textbf{(C)}\ 14}", True),
    ],
)
def test_verdicts_on_texts(accept: MathVerify, gold: str, text: str, right: bool) -> None:
    accept.check(prompt(gold))
    verdict = accept(prompt(gold), text)
    assert verdict.accepted is right
    assert not verdict.failure
    assert verdict.found is not None


def test_where_the_answer_is_may_be_told() -> None:
    text = 'Answer: 5\n{"result": "6"}'
    with MathVerify(answer="json:result") as named:
        assert named(prompt("6"), text)
        assert not named(prompt("5"), text)
        assert named(prompt("6"), text).found == "json"
    with pytest.raises(InputError):
        MathVerify(answer="nowhere")


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


@pytest.mark.parametrize("answer", [r"100000000!", r"10^{10^{10}}", r"\sum_{k=1}^{10^{9}} \frac{1}{k!+1}"])
def test_a_text_that_takes_for_ever_is_stopped_in_time_and_counts_as_a_failure(answer: str) -> None:
    with MathVerify(seconds=1.0) as accept:
        accept.check(prompt("3"))
        started = time.monotonic()
        verdict = accept(prompt("3"), rf"\boxed{{{answer}}}")
        assert time.monotonic() - started < 2.0
        assert verdict == Judgement(accepted=False, failure="timed out", found="box")
        with pytest.raises(InputError, match="cannot be read: timed out"):
            accept.check(prompt(answer))
        assert accept(prompt("3"), r"\boxed{3}").accepted  # judged by a new process


def test_memory_is_bounded() -> None:
    """With so little memory, a power that is a gigabyte of digits is a failure, at once."""
    with MathVerify(seconds=20.0, memory=200 << 20) as accept:
        started = time.monotonic()
        verdict = accept(prompt("3"), r"\boxed{2^{2^{32}} \bmod 7}")
        assert not verdict
        assert time.monotonic() - started < 20.0
        assert accept(prompt("3"), r"\boxed{3}").accepted


@pytest.mark.parametrize(
    "unit", ["$", r"\boxed{", "final answer is ", "1", r"\frac{1}{", "x^", "1+", "\\(", "(", "\x00"]
)
def test_no_text_breaks_it(accept: MathVerify, unit: str) -> None:
    assert not accept(prompt("3"), unit * (3000 // len(unit)))
    assert not accept(prompt("3"), rf"\boxed{{{unit * (LONGEST // 2 // len(unit))}}}")


def test_words_that_are_no_mathematics_hide_no_answer() -> None:
    accept = MathVerify()
    clear = "The answer is \\boxed{5}.\nThe answer is clearly marked."
    assert accept(Prompt(prompt_id="p", prompt="q", gold="5"), clear)
    assert accept(Prompt(prompt_id="p", prompt="q", gold="5"), "The answer is five.")
    assert not accept(Prompt(prompt_id="p", prompt="q", gold="5"), "The answer is 5.\nThe answer is $x$.")
    assert not accept(Prompt(prompt_id="p", prompt="q", gold="odd"), "The answer is odd.\nThe answer is even.")


def test_the_name_holds_what_decides() -> None:
    made = (MathVerify(), MathVerify(seconds=2.5), MathVerify(memory=1 << 30), MathVerify(answer="box"))
    assert len({one.name for one in made}) == 4
    assert f"math-verify {version('math-verify')}" in MathVerify().name
    assert f"sympy {version('sympy')}" in MathVerify().name


def test_nothing_of_the_comparison_is_imported_into_our_process() -> None:
    text = Path(__file__).parents[1].joinpath("msifr_policy", "filters", "mathematics.py").read_text()
    assert "import sympy" not in text
    assert "formulas.equal import" not in text
