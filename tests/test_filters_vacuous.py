"""Tests that cannot fail are told from tests that can, and the reason is said."""

from __future__ import annotations

import ast

import pytest

from msifr_policy.errors import InputError
from msifr_policy.filters import Prompt, UnitTests
from msifr_policy.filters import unit_tests as module
from msifr_policy.filters.vacuous import flaw

CASE = "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        "
CAUGHT = "try:\n    assert f(2) == 4\nexcept {}:\n    {}"

VACUOUS = {
    "": "line 1: nothing is asserted",
    "# later": "nothing is asserted",
    "'''Tests.'''\nimport math\nCASES = {}": "nothing is asserted",
    # What is not used.
    "f(2) == 4\nf(1) == 2": "line 1: the result of a comparison is not used; write: assert f.2. == 4",
    "x = 1\nf(2) is 4": "line 2: the result of a comparison",
    "f(2) == 4 and f(1) == 2": "comparison",
    "not f(2) != 4": "comparison",
    "x = f(2)\nx == 4": "line 2: the result of a comparison is not used .write: assert x == 4",
    "print(f(2) == 4)": "the program is run, but nothing is asserted",
    "f(2)": "the program is run, but nothing is asserted",
    "x = f(2)": "nothing is asserted",
    "all([f(2) == 4])": "nothing is asserted",
    "found = []\nfound.append(f(2) == 4)": "nothing is asserted",
    "if f(2) != 4:\n    print('wrong')": "nothing is asserted",
    "(f(x) == 2 * x for x in range(3))": "generator that is not used never runs",
    # What is always true.
    "assert (f(2) == 4, 'wrong')": "always true, as a tuple that is not empty is .remove the parentheses",
    "assert True": "line 1: the assertion is always true",
    "assert 'wrong'": "always true",
    "assert ('a' 'b')": "always true",
    "assert ...": "always true",
    "assert [f(2) == 4]": "always true",
    "assert {'two': f(2)}": "always true",
    "assert f'f(2) is {f(2)}'": "always true",
    "assert lambda: f(2) == 4": "as a lambda is",
    "assert (f(x) == y for x, y in [(1, 2)])": "as a generator is; put it in all",
    "assert f(2) == 4 or True": "always true",
    "assert f(2) == 4 or 'wrong'": "always true",
    "assert not (f(2) == 4 and False)": "always true",
    "assert not False": "always true",
    "assert 1 == 1": "always true",
    "x = f\nassert x is x": "always true",
    "assert (y := 4)": "always true",
    "assert f(2) == 4 if False else True": "always true",
    "assert bool((f(2) == 4,))": "always true",
    "assert len([f(2)]) >= 0": "always true",
    "assert f(2) == 4 or f(2) != 4": "always true",
    "assert f(2) is None or not f(2) is None": "always true",
    "assert 1 < 2 < 3 and 'a' in 'abc'": "always true",
    "assert isinstance(f(2), object)": "always true",
    "assert type(f(2))": "always true",
    "assert all([])": "always true",
    "assert all(f(x) == 2 * x for x in [])": "always true",
    "assert any([f(2) == 4, True])": "always true",
    "assert all([True, 'wrong'])": "always true",
    "four = 4\nassert four == 4": "line 2: the assertion is always true",
    "ok = True\nx = f(2)\nassert ok": "line 3: the assertion is always true",
    "cases = []\nfor x in cases:\n    assert f(x) == 2 * x": "never true",
    "DEBUG = False\nif DEBUG:\n    assert f(2) == 4": "never true",
    "for x in range(0):\n    assert f(x) == 2 * x": "never true",
    # What is never reached.
    "def check(g):\n    assert g(2) == 4": "line 1: function 'check' is never called; call it: check",
    "def check(g):\n    g(2) == 4\ncheck(f)": "line 2: the result of a comparison",
    "def check(g):\n    return g(2) == 4\ncheck(f)": "nothing is asserted of what it gives",
    "def check(g):\n    return\n    assert g(2) == 4\ncheck(f)": "nothing is asserted",
    "def outer():\n    def test_f():\n        assert f(2) == 4": "'test_f' is never called",
    "class Checks:\n    def go(self):\n        assert f(2) == 4\nChecks()": "'go' is never called",
    "async def check():\n    assert f(2) == 4\ncheck()": r"line 3: what check\(…\) gives is not used",
    "def check():\n    assert f(2) == 4\n    yield\ncheck()": "never runs",
    "def check(x):\n    assert f(x) == 2 * x\nmap(check, [1])": r"what map\(…\) gives is not used",
    "import asyncio\nasync def main():\n    f(2) == 4\nasyncio.run(main())": "line 3: the result of a comparison",
    "if False:\n    assert f(2) == 4": "line 1: .* under a condition that is never true",
    "if 0 and f:\n    assert f(2) == 4": "never true",
    "if __name__ == '__main__':\n    assert f(2) == 4": "never true here .move it out; the tests are not the main",
    "if __name__ == 'never':\n    assert f(2) == 4": "never true",
    "while None:\n    assert f(2) == 4": "never true",
    "for x in []:\n    assert f(x) == 2 * x": "never true",
    # What is caught.
    CAUGHT.format("AssertionError", "pass"): "line 3: what could fail is caught, and dropped",
    CAUGHT.format("Exception as error", "print(error)"): "caught, and dropped",
    CAUGHT.format("(ValueError, AssertionError)", "ok = False"): "caught, and dropped",
    CAUGHT.format("BaseException", "...").replace(" BaseException", ""): "caught, and dropped",
    "from contextlib import suppress\nwith suppress(AssertionError):\n    assert f(2) == 4": "line 2: .*caught",
    "def check():\n    assert f(2) == 4\ntry:\n    check()\nexcept Exception:\n    pass": "line 5: .*caught",
    # The same in what is run besides.
    "def test_f():\n    f(2) == 4": "line 2: the result of a comparison",
    "def test_f():\n    return f(2) == 4": "nothing is asserted",
    CASE + "f(2) == 4": "line 4: the result of a comparison",
    CASE + "self.assertTrue(True)": "line 4: assertTrue does not depend on the program",
    CASE + "self.assertTrue((f(2) == 4, 'wrong'))": "does not depend",
    CASE + "self.assertEqual(4, 4)": "does not depend",
    CASE.replace("test_f", "check_f") + "self.assertEqual(f(2), 4)": "'check_f' is never called",
}

ABLE = [
    "assert f(2) == 4",
    "assert f(2)",
    "assert f(2) == 4, 'wrong'",
    "assert (f(2) == 4), ('f', 2)",
    "assert f(2) == 4 or f(2) == 5",
    "assert all(f(x) == 2 * x for x in range(3))",
    "assert f(2) == f(2)",
    "assert [*f(2)]",
    "assert f(2) == 4 or f(0) != 0",
    "assert 1 < f(2) < 9",
    "assert 'a' in 'bcd' or f(2) == 4",
    "assert isinstance(f(2), int)",
    "assert all([True, f(2) == 4])",
    "assert any(f(x) == 2 * x for x in [1, 2])",
    "assert not any([f(x) != 2 * x for x in (1, 2)])",
    "four = 4\nassert f(2) == four",
    "ok = False\nif f(2) == 4:\n    ok = True\nassert ok",
    "count = 1\ncount += f(2) != 4\nassert count == 1",
    "ok = True\ndef note():\n    global ok\n    ok = f(2) == 4\nnote()\nassert ok",
    "cases = []\ncases.append(2)\nfor x in cases:\n    assert f(x) == 2 * x",
    "for x in range(1):\n    assert f(2) == 4",
    "assert len([f(2)] * (f(2) or 0)) > 0",
    "assert (x := f(2)) == 4",
    "x = 1\nf(2) == 4\nassert f(x) == 2",
    "for x in range(3):\n    y = f(x)\n    assert y == 2 * x, f'{x}: {y}'",
    "while True:\n    assert f(2) == 4\n    break",
    "with open('/dev/null'):\n    assert f(2) == 4",
    "if __name__ != '__main__':\n    assert f(2) == 4",
    "if f(2) != 4:\n    raise ValueError",
    "if f(2) == 4:\n    pass\nelse:\n    raise SystemExit(1)",
    "import sys\nif f(2) != 4:\n    sys.exit(1)",
    "import os\nf(2) == 4 or os._exit(1)",
    "if f(2) != 4: exit(1)",
    "from sys import exit as leave\nif f(2) != 4: leave(1)",
    "match f(2):\n    case 4: pass\n    case _: raise AssertionError",
    # Functions of the tests, however they come to run.
    "def check(g):\n    assert g(2) == 4\ncheck(f)",
    "check(f)\ndef check(g):\n    assert g(2) == 4",
    "def equal(a, b):\n    if a != b:\n        raise ValueError((a, b))\nequal(f(2), 4)",
    "def equal(a, b):\n    assert a == b\n[equal(f(x), 2 * x) for x in range(3)]",
    "def equal(a, b):\n    assert a == b\nlist(map(lambda x: equal(f(x), 2 * x), range(3)))",
    "def one():\n    assert f(2) == 4\nfor case in [one]:\n    case()",
    "cases = []\ndef case(g):\n    cases.append(g)\n@case\ndef one():\n    assert f(2) == 4\nfor g in cases:\n    g()",
    "def check_a():\n    assert f(2) == 4\nfor name, g in [*globals().items()]:\n    if name[:6] == 'check_': g()",
    "class Checks:\n    def run(self):\n        assert f(2) == 4\nChecks().run()",
    "class Checks:\n    def __init__(self):\n        assert f(2) == 4\nChecks()",
    "def one(n):\n    if n:\n        two(n - 1)\n    assert f(n) == 2 * n\ndef two(n):\n    one(n)\ntwo(3)",
    "def one(n):\n    if n:\n        two(n - 1)\n    assert f(n) == 2 * n\ndef two(n):\n    one(n)\n"
    + "try:\n    one(2)\nexcept AssertionError:\n    pass\ntwo(3)",
    "import asyncio\nasync def main():\n    assert f(2) == 4\nasyncio.run(main())",
    "exec('assert f(2) == 4')",
    "check(f)",
    "assert_equal(f(2), 4)",
    # Errors that are asked for, and failures that are caught and told.
    "try:\n    f(None)\nexcept TypeError:\n    pass\nelse:\n    raise AssertionError",
    "try:\n    f(None)\n    assert False\nexcept TypeError:\n    pass",
    "try:\n    f(2)\nexcept Exception:\n    raise AssertionError",
    CAUGHT.format("AssertionError", "raise"),
    CAUGHT.format("ValueError", "pass"),
    "wrong = 0\n" + CAUGHT.format("AssertionError", "wrong += 1") + "\nassert wrong == 0",
    "try:\n    assert f(2) == 4\nfinally:\n    print('done')",
    "from contextlib import suppress\nwith suppress(ValueError):\n    f(2)\n    raise AssertionError",
    # What is run besides.
    "def test_f():\n    assert f(2) == 4",
    CASE + "self.assertEqual(f(2), 4)",
    CASE + "self.assertTrue(f(2) == 4)\nunittest.main()",
    CASE + "with self.assertRaises(TypeError):\n            f(None)",
    CASE + "self.fail()",
    CASE.replace("test_f", "setUp") + "self.x = f(2)\n    def test_f(self):\n        self.assertIs(self.x, 4)",
    "import unittest\nunittest.TestCase().assertEqual(f(2), 4)",
]


@pytest.fixture(scope="module")
def accept() -> UnitTests:
    return UnitTests(unconfined=True)


@pytest.mark.parametrize("tests", VACUOUS)
def test_tests_that_cannot_fail_are_refused(accept: UnitTests, tests: str) -> None:
    with pytest.raises(InputError, match=f"field tests: the tests cannot fail: .*{VACUOUS[tests]}"):
        accept.check(Prompt(prompt_id="p", prompt="Write f.", tests=tests))


@pytest.mark.parametrize("tests", ABLE)
def test_tests_that_can_fail_are_taken(accept: UnitTests, tests: str) -> None:
    accept.check(Prompt(prompt_id="p", prompt="Write f.", tests=tests))


RIGHT = "def f(x):\n    return 2 * x"
WRONG = "def f(x):\n    return None if x else 0"


@pytest.mark.parametrize("tests", [tests for tests in VACUOUS if "check_f" not in tests])
def test_what_is_refused_would_accept_a_wrong_program(accept: UnitTests, tests: str) -> None:
    """Tests that are called vacuous pass with a program that gives nothing: the refusal is no false alarm.

    Cases without tests aside, which pass with none.
    """
    verdict = accept(Prompt(prompt_id="p", prompt="Write f.", tests=tests), f"```python\n{WRONG}\n```")
    assert verdict is True


# Some fail with this program, or pass with that, for they ask for something else.
ODD = ("None", "fail()", "f(2) == f(2)", "f(2)\n    raise", "[*f", "    f(2)\nexcept")


@pytest.mark.parametrize("tests", [tests for tests in ABLE if not any(odd in tests for odd in ODD)])
def test_what_is_taken_does_fail(accept: UnitTests, tests: str) -> None:
    helpers = "def check(g): assert g(2) == 4\ndef assert_equal(a, b): assert a == b"
    asked = Prompt(prompt_id="p", prompt="Write f.", tests=tests)
    for program, right in ((RIGHT, True), (WRONG, False)):
        assert accept(asked, f"```python\n{helpers}\n{program}\n```") is right


def test_tests_are_read_in_linear_time_and_depth() -> None:
    for tests in ("f(2) == 4\n" * 5000, "def check():\n    check()\n" * 100, "assert " + "not " * 80 + "f(2)"):
        flaw(ast.parse(tests))


def test_a_tuple_counts_as_a_test_where_truth_is_not_asked(monkeypatch: pytest.MonkeyPatch, accept: UnitTests) -> None:
    """The tests above fail where every assertion is believed."""
    monkeypatch.setattr(module.vacuous, "_truth", lambda _: (True, True))
    accept.check(Prompt(prompt_id="p", prompt="Write f.", tests="assert (f(2) == 4, 'wrong')"))
