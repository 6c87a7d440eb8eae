"""Programs: the name that was asked for, found in prompts, and whether a text defines it or another."""

from __future__ import annotations

import ast
import math
import time
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from msifr_policy.filters.programs import is_python
from msifr_policy.reading.blocks import Block, after_thinking, blocks
from msifr_policy.testing import check_validator
from msifr_policy.testing.validators import check_chunking, check_memory
from msifr_policy.validators import Program, Verdict, program
from msifr_policy.validators.program import LONGEST, REACH, asked_for

ASKED = "Write a Python function reverse(text) that returns the string reversed."
FRAGMENTS = (
    "```python\n", "```\n", "```py\n", "````\n", "```text\n", "  ```Python \n", "```python", "```", "``", "`",
    "def reverse(text):\n", "def reverse_text(", "def rev", "erse", "async def reverse(", "class Node:\n",
    "class reverse", "reverse = lambda text: text\n", "reverse == 3\n", "helper: int = 3\n", "    return text[::-1]\n",
    "  def inner():\n", "def helper(x):\n    return x\n", "Here is the function.\n", "\n", "\n\n", " ", "def ",
    "print(reverse('a'))\n", "x" * 450, "def " + "y" * 450 + "(\n", "\r\n", "\ud800",
    "~~~py\n", "~~~\n", "<think>\n", "</think>\n", "</think>", "```<|im_end|>\n", "> ```py\n", "> def reverse(x): 1\n",
)  # fmt: skip
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=25).map("".join)


def scores(text: str, prompt: str = ASKED) -> tuple[float, ...]:
    evidence = Program().start(prompt).feed(text)
    assert evidence.verdict is Verdict.UNKNOWN
    return evidence.scores


def same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Say whether scores are the same, NaN being the same as NaN."""
    return repr(tuple(map(float, one))) == repr(tuple(map(float, other)))


NAN = math.nan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (NAN, NAN, 0)),
        ("Here is how to define it:\n", (NAN, NAN, 0)),
        ("```python\ndef rev", (NAN, NAN, 0)),
        ("```python\ndef reverse", (NAN, NAN, 0)),
        ("```python\ndef reverse(", (0, NAN, 0)),
        ("```python\ndef reverse_", (1, NAN, 0)),
        ("```python\ndef reverse_text(text):\n    return text[::-1]\n```", (1, 1, 1)),
        ("```python\ndef reverse(text):\n    return text[::-1]\n```", (0, 0, 1)),
        (
            "```python\ndef reverse(text):\n    return text[::-1]\n```\nExample:\n```python\nreverse('a')\n```\n",
            (0, 0, 2),
        ),
        ("```python\ndef helper(x):\n", (1, NAN, 0)),
        ("```python\ndef helper(x):\n    return x\n\nasync def reverse(text):\n", (0, NAN, 0)),
        ("```python\nclass Solution:\n    def reverse(self):\n        pass\n```\n", (NAN, 1, 1)),
        ("```python\nreverse = lambda text: text[::-1]\n```\n", (0, 0, 1)),
        ("```python\nreverse: Any = str.upper\n```\n", (0, 0, 1)),
        ("```python\nreverse == 3\n```\n", (NAN, 1, 1)),
        ("```\ndef reverse(text):\n```\n", (0, 0, 1)),
        ("```\n'dlrow'\n```\n", (NAN, NAN, 0)),
        ("~~~python\ndef reverse(text):\n~~~<|im_end|>", (0, 0, 1)),
        ("<think>\n```python\ndef reverse(text):\n```\n", (NAN, NAN, 0)),
        ("<think>\n```python\ndef reverse(text):\n</think>\nSo:\n", (NAN, NAN, 0)),
        ("```python\ndef other(text):\n```\n</think>```python\ndef reverse(text):\n```", (0, 0, 1)),
        ("1. So:\n   ```python\n   def reverse(text):\n   ```\n", (0, 0, 1)),
        ("```javascript\ndef other(text):\n```\n", (1, NAN, 0)),
        ("````py\ndef reverse(text):\n```\n````\n", (0, 0, 1)),
        ("define this\ndef\n", (NAN, NAN, 0)),
    ],
)
def test_what_texts_define(text: str, expected: tuple[float, ...]) -> None:
    assert same(scores(text), expected)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        (ASKED, "reverse"),
        ("Complete this:\ndef add_all(numbers: list[int]) -> int:\n", "add_all"),
        ("Write the function `is_even`.", "is_even"),
        ("Write the function `is_even(n)`.", "is_even"),
        ("Write a function called is_even that says whether", "is_even"),
        ("Write a FUNCTION named 'größe'.", "größe"),
        ("Its name: it is called `fib`, of n.", "fib"),
        ("Write a function fib(n), where fib(0) = 0. The function fib(n) is recursive.", "fib"),
        ("Write a function that (quickly) adds. It is called by main.", None),
        ("a function called by main", None),
        ("a function if(x)", None),
        ("Write a function add(a), not a function sub(a).", None),
        ("A dog called Rex.", None),
        (f"function {'x' * LONGEST}(a)", "x" * LONGEST),
        (f"function {'x' * (LONGEST + 1)}(a)", None),
        ("function early(a)" + " " * REACH, None),
        ("function early(a)" + " " * REACH + "function late(a)", "late"),
        ("", None),
    ],
)
def test_names_are_found_in_prompts(prompt: str, name: str | None) -> None:
    assert asked_for(prompt) == name


def test_the_parameter_comes_before_the_prompt() -> None:
    text = "```python\ndef reverse(text):\n```\n"
    assert same(Program("flip").start(ASKED).feed(text).scores, (1, 1, 1))
    assert same(Program("reverse").start("").feed(text).scores, (0, 0, 1))


def test_prompts_that_name_none_or_several_are_left_alone() -> None:
    for prompt in ("", "Tell me a story.", "Write a function f(x) and a function g(x)."):
        assert same(scores("```python\ndef other(x):\n```\n", prompt), (NAN, NAN, NAN))


def test_it_keeps_the_contract() -> None:
    check_validator(Program, prompts=[ASKED, ""], texts=[*FRAGMENTS, "```python\ndef reverse(a):\n    return a\n```\n"])
    check_memory(Program("reverse"), "```python\ndef reverse(a):\n```\n")
    check_memory(Program("reverse"), "def x")


@given(text=TEXTS, seed=st.integers(0, 2**32))
@example(text="```python\ndef reverse_text(\n```", seed=0)
@settings(max_examples=300)
def test_chunking_does_not_matter(text: str, seed: int) -> None:
    check_chunking(Program(), text, prompt=ASKED, seed=seed)


def defines(block: Block) -> set[str] | None:
    """Names that a block defines, by Python's own reader; None if it is no program."""
    try:
        body = ast.parse(block.content).body
    except (SyntaxError, ValueError):
        return None
    targets = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign) and node.value]
    names = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    return names | {target.id for target in targets if isinstance(target, ast.Name)}


def blocks_are_the_filters(text: str) -> bool:
    """Say whether the blocks in which the final filter looks define the name as the rule says."""
    _, without, count = scores(text)
    found = [block for block in blocks(after_thinking(text) or "") if block.closed]
    said = [block for block in found if is_python(block.language)]
    bare = [block for block in found if block.language == "" and "def " in block.content]
    defined = list(map(defines, said + bare))
    if None in defined:
        return len(said) <= count  # what is no program cannot be compared
    return len(defined) == count and (
        not count or bool(without) == all("reverse" not in names for names in defined if names is not None)
    )


LINES = [f for f in FRAGMENTS if f.endswith("\n") and f != "\r\n" and "=" not in f and "class" not in f]
LINES += ["def helper(x): return x\n", "def reverse(x): 1\n"]


@given(text=st.lists(st.sampled_from(LINES), max_size=25).map("".join))
@example(text="```python\ndef reverse(x): 1\n```\n```py\nx = 1\n```\n")
@settings(max_examples=300)
def test_blocks_are_those_of_the_final_filter(text: str) -> None:
    assert blocks_are_the_filters(text)


def test_comparing_blocks_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that takes any block for Python is caught."""
    draw = Random(0)  # noqa: S311 (not for secrets)
    texts = ["".join(draw.choices(LINES, k=12)) for _ in range(2000)]
    assert all(map(blocks_are_the_filters, texts))
    monkeypatch.setattr(program, "is_python", lambda _: True)
    assert not all(map(blocks_are_the_filters, texts))


def test_prompts_are_searched_once_and_in_linear_time() -> None:
    for unit in ("function ", "def a", "called `", "function called ", "x", " ", "function\t" + "a" * 63):
        prompt = (unit * (200_000 // len(unit)))[:200_000]
        start = time.process_time()
        Program().start(prompt)
        assert time.process_time() - start < 0.1, unit
        start = time.process_time()
        for _ in range(1000):
            Program().start(prompt)
        assert time.process_time() - start < 0.05, unit  # 50 µs each
