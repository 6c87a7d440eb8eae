"""Which blocks are the program: what the tests need, and what that needs."""

from __future__ import annotations

import time

import pytest

from msifr_policy.filters.programs import chosen, is_python, needed
from msifr_policy.filters.unit_tests import ProgramEnd


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("assert f(2) == 4", {"f"}),
        ("def check(candidate):\n    assert candidate(2) == g\ncheck(f)", {"f", "g"}),
        ("from solution import f as double\nassert double(2) == 4", {"f"}),
        ("import solution as s\nassert s.f(2) == getattr(s, 'g')", {"f", "g", "getattr"}),
        ("class T:\n    x = f\n    def test(self):\n        global made\n        made = g\n", {"f", "g"}),
        ("for x, y in [(1, 2)]:\n    assert [f(z) for z in (x, y)] == (lambda a: a)(y)", {"f"}),
        ("import math\nassert math.pi", set()),
        ("assert len(x := f(1)) == 1", {"f", "len"}),
    ],
)
def test_names_that_tests_need(tests: str, names: set[str]) -> None:
    assert needed(tests) == names


F = "def f(x):\n    return 2 * x"


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        # Its use, tests of its own, an earlier and a later version, another function.
        ([F, "print(f(2))"], [0]),
        ([F, "def test_f():\n    assert f(2) == 4"], [0]),
        ([F, "def f(x):\n    return x + x"], [1]),
        (["f = lambda x: x", F, "result = f(2)"], [1]),
        ([F, "f = lambda x: x"], [1]),
        ([F, "def g(x):\n    return f(x)"], [0]),
        # A signature alone, and a version that is broken.
        ([F, "def f(x): ..."], [0]),
        ([F, "def f(x):\n    'doubles'"], [0]),
        ([F, "def f(x):\n    'doubles'\n    raise NotImplementedError"], [0]),
        ([F, "def f(x):\n    raise NotImplementedError('later')"], [0]),
        ([F, "def f(x):\n    raise ValueError"], [1]),
        ([F, "def f(x)\n    return x"], [1]),
        ([F, ">>> f(2)\n4"], [0]),
        ([F, "The function def f is right."], [0]),
        (["class f:\n    pass", "f()"], [0]),
        (["try:\n    import numpy\nexcept ImportError:\n    def f(x): return 2", "f(2)"], [0]),
        # What it needs, before and after it.
        (["def g(x): return x", "def f(x): return g(x)", "f(2)"], [0, 1]),
        (["def f(x): return g(x)", "f(input())", "def g(x): return x"], [0, 2]),
        (["import math", "TWO = math.floor(2.5)", "def f(x): return TWO * x", "TWO = 3\nf(2)"], [0, 1, 2]),
        (["from math import *", "def f(x): return floor(x)", "from os import *"], [0, 1]),
        (["from numpy import *", "def f(x): return floor(x)"], [1]),
        (["from os.path import *", "def f(x): return join(x)", "def join(x): return x"], [1, 2]),
        (["class Node: pass", "def f(x: Node) -> Node: return x"], [0, 1]),
        (["def g(h): return h", "@g\ndef f(x): return x"], [0, 1]),
        # What is defined anew after it, and what is only used there.
        (["def g(x): return 3\ndef f(x): return g(x)", "def g(x): return 2 * x", "f(2)"], [0, 1]),
        (["import math\ndef f(x): return math.floor(x)", "import math\nprint(math.pi)"], [0]),
        (["def main(): f(1)\n" + F, "def main():\n    f(input())\nmain()"], [0]),
        (["def g(x): return f(x)\ndef f(x): return g(x)", "f(2)"], [0]),
        # Names that are built in.
        (["def sum(x): return x\ndef f(x): return sum(x)", "sum = 3\nprint(f(2))"], [0]),
        (["def f(x): return list(x)", "list = [f(2)]"], [0]),
        (["def f(x): return max(x)", "def max(x): return x[-1]"], [0, 1]),
        # None defines it: the last.
        (["x = 1", "print(2)"], [1]),
        (["x = 1"], [0]),
    ],
)
def test_blocks_that_define_what_is_needed(blocks: list[str], expected: list[int]) -> None:
    assert chosen([(True, block) for block in blocks], ["f", "print"]) == expected


def test_a_block_that_is_not_said_to_be_python_must_be() -> None:
    assert chosen([(False, F), (True, "f(2)")], ["f"]) == [0]
    assert chosen([(True, F), (False, "def f(x)\n  x * 2\nend")], ["f"]) == [0]
    assert chosen([(True, F), (False, "4")], ["g"]) == [0]
    assert chosen([(False, "3"), (False, "4")], ["g"]) == [1]


def test_names_of_the_language() -> None:
    for language in ("python", "py", "python3", "py3", "python3.11", "ipython", "cpython", "main.py", "pypy3"):
        assert is_python(language)
    for language in ("", "text", "pycon", "pytb", "python-repl", "javascript", "happy", "cython", "output"):
        assert not is_python(language)


def test_hostile_blocks_are_read_in_linear_time() -> None:
    hostile = ("f = " + "(" * 100_000, "\0", "f = 1\n" * 50_000, "def f(): f()\n" * 5_000, "\ud800", "lambda: " * 500)
    for block in hostile:
        started = time.process_time()
        assert chosen([(True, F), (True, block), (True, "")], ["f"]) in ([0], [1])
        assert time.process_time() - started < 5
    many = [(True, f"def f{i}(): return f{i + 1}()") for i in range(3000)]
    started = time.process_time()
    assert chosen(many, ["f0"]) == list(range(3000))
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("```py\ndef f(): 1\n```\nmore", "```py\ndef f(): 1\n```"),
        ("```py\nf(2)\n```\n~~~\ndef f(): 1\n~~~\nmore\n", "```py\nf(2)\n```\n~~~\ndef f(): 1\n~~~"),
        ("```py\ndef f(): 1\n```", None),  # a longer fence?
        ("```js\ndef f(): 1\n```\n", None),
        ("```py\n  def f(): 1\n```\n", None),
        ("<think>\n```py\ndef f(): 1\n```\n", None),
        ("```py\ndef f(): 1\n</think>\n```\nf()\n```\n", None),
        ("<think>\n```py\ndef f(): 2\n```\n</think>```py\ndef f(): 1\n```\n.", "```py\ndef f(): 1\n```"),
    ],
)
def test_an_attempt_ends_with_its_first_program(text: str, kept: str | None) -> None:
    reader = ProgramEnd(frozenset({"f", "len"}))
    ends = {reader.feed(character) for character in text} - {None}
    assert ends == (set() if kept is None else {text.rindex(kept) + len(kept)})


def test_what_a_draft_defines_is_forgotten_when_the_thinking_ends() -> None:
    """Its beginning may be in the prompt."""
    reader = ProgramEnd(frozenset({"f", "g"}))
    before = "```py\ndef g(): 1\n```\n</think>\n```py\ndef f(): 1\n```\n"
    assert reader.feed(before) is None
    text = "```py\ndef g(): 1\n```\n"
    assert reader.feed(text) == len(before) + len(text) - 1


def test_without_names_any_python_block_ends_an_attempt() -> None:
    reader = ProgramEnd(frozenset({"len"}))
    assert reader.feed("```\n1\n```\n") is None
    assert reader.feed("```python\n1\n```\nx") == len("```\n1\n```\n```python\n1\n```")
    assert not reader.exact
