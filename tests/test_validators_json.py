"""JSON is called broken exactly when no completion is valid, by a judge that tries them all."""

from __future__ import annotations

import json
import math
from itertools import product

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from msifr_policy.reading.json_syntax import MAX_DEPTH
from msifr_policy.testing.validators import state_size
from msifr_policy.validators import Evidence, JsonText, Verdict

WHOLE = JsonText(place="whole")
ENDS = [
    *("", "0", "e", "ue", "rue", "se", "lse", "alse", "l", "ll", "ull", '"":0'),
    *(hexes + end for end in ('"', '":0') for hexes in ("", "n", "0", "00", "000", "0000")),
    ":0",
]


BRACKETS = 4


def can_be_completed(text: str) -> bool:
    """Try every end of a token and every way to close up to `BRACKETS` brackets, with the parser of Python."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    for end in ENDS:
        for brackets in range(BRACKETS + 1):
            for closing in product("]}", repeat=brackets):
                try:
                    json.loads(text + end + "".join(closing), parse_constant=refuse)
                except ValueError:
                    continue
                return True
    return False


PIECES = st.sampled_from(
    [
        *(
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            '"',
            '"a"',
            "\\",
            "u",
            "\\u",
            "d8",
            "12",
            "0",
            "-",
            ".",
            "e",
            "E",
            "+",
            "true",
            "nul",
        ),
        *(
            "f",
            " ",
            "\n",
            "\\n",
            '\\"',
            "\x01",
            "a",
            '{"a":',
            "[1,",
            "é",
            "N",
            '"":',
            "\ud800",
            "\x7f",
            "[]",
            "{}",
            "1.5",
        ),
    ]
)


@given(pieces=st.lists(PIECES, min_size=1, max_size=7), size=st.integers(1, 5))
@example(pieces=["[", "1", " ", "2"], size=1)
@example(pieces=['"', "\\", "u", "d8"], size=1)
@example(pieces=["{", '"a"', "}"], size=2)
@settings(max_examples=1500, deadline=None)
def test_dead_is_what_no_completion_makes_valid(pieces: list[str], size: int) -> None:
    """In both directions, whatever the text and however it is cut."""
    text = "".join(pieces)
    assume(sum(map(text.count, "[{")) <= BRACKETS)
    state = WHOLE.start("")
    for i in range(0, len(text), size):
        evidence = state.feed(text[i : i + size])
    assert (evidence.verdict is Verdict.DEAD) == (not can_be_completed(text))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(value=VALUES, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 2), size=st.integers(1, 40))
def test_valid_documents_live(value: object, ascii_only: bool, indent: int | None, size: int) -> None:
    """At every prefix of whatever Python writes."""
    text = json.dumps([value], ensure_ascii=ascii_only, indent=indent)
    state = WHOLE.start("")
    seen = [state.feed(text[i : i + size]) for i in range(0, len(text), size)]
    # What may still be the mark [THINK] is no document yet.
    assert {evidence.verdict for evidence in seen[text[:size] == "[" :]} == {Verdict.ALIVE}
    assert seen[-1].scores[0] == 2


@pytest.mark.parametrize(
    ("text", "state", "depth", "verdict"),
    [
        ("The answer is {x}. [1] says so.", 0, math.nan, Verdict.UNKNOWN),
        ("\\frac{1}{2}", 0, math.nan, Verdict.UNKNOWN),
        ("{x + y}", 0, math.nan, Verdict.UNKNOWN),
        ("[1] is a reference", 0, math.nan, Verdict.UNKNOWN),
        ('{"a"', 1, 1, Verdict.ALIVE),
        ('\n {\n  "a": [{', 1, 3, Verdict.ALIVE),
        ('[{"a"', 1, 2, Verdict.ALIVE),
        ('["a"', 1, 1, Verdict.ALIVE),
        ('{"a": 1}', 2, math.nan, Verdict.ALIVE),
        ('{"a": 1} and more', 2, math.nan, Verdict.ALIVE),
        ('{"a" 1', -1, math.nan, Verdict.DEAD),
        ('{"a": 1,}', -1, math.nan, Verdict.DEAD),
        ('{"a": [{"b": 1,}, {"c": 2}],\n "d": {"e": 3}}', -1, math.nan, Verdict.DEAD),  # parts of it are no others
        ('{"a": 1,}\nRather:\n{"a"', 1, 1, Verdict.ALIVE),
        ('{"a": 1,}\n```json\n{"a": 1}\n```', 2, math.nan, Verdict.ALIVE),
        ('{"a": 1,}\n```json\n{"a" 1', -1, math.nan, Verdict.UNKNOWN),
        ('{"a": 1}\n\n{"b": [1', 1, 2, Verdict.ALIVE),
        ('{"a": 1,}</think>\nSo', 0, math.nan, Verdict.UNKNOWN),
        ('<think>{x}, "y".</think>\n{"a" 1', -1, math.nan, Verdict.DEAD),
        ('Here it is:\n```json\n{"a": [1, 2', 1, 2, Verdict.ALIVE),
        ("```json\n[1, 2]\n```", 2, math.nan, Verdict.ALIVE),
        ('```\n{"a": 1}\n```', 2, math.nan, Verdict.ALIVE),
        ('```json\n{"a": 1\n```', -1, math.nan, Verdict.UNKNOWN),  # a later block may replace it
        ('<think>\n```json\n{"a": ...}\n```\n</think>\n```json\n{"a": 1}\n```\n', 2, math.nan, Verdict.ALIVE),
        ('```json\n{"a": ...}\n```\nRather:\n```json\n{"a": 1', 1, 1, Verdict.ALIVE),
        ('<think>\n```json\n{"a": 1}\n```\nSo', 0, math.nan, Verdict.UNKNOWN),
        ('No mark opens it.\n```json\n{"a": 1}\n```\n</think>\nSo', 0, math.nan, Verdict.UNKNOWN),
        ('```python\n{"a" 1', 0, math.nan, Verdict.UNKNOWN),
        ('prose {"a" 1', 0, math.nan, Verdict.UNKNOWN),
    ],
)
def test_where_json_begins(text: str, state: int, depth: float, verdict: Verdict) -> None:
    """Prose has no JSON, however many braces it has."""
    for evidence in (JsonText().start("").feed(text), bytewise(JsonText(), text)):
        assert evidence.scores[0] == state
        assert evidence.scores[1] == pytest.approx(depth, nan_ok=True)
        assert evidence.verdict is verdict


def bytewise(rule: JsonText, text: str) -> Evidence:
    state = rule.start("")
    for character in text:
        state.feed(character)
    return state.feed("")


def test_a_text_that_is_one_document_is_judged_to_its_end() -> None:
    for dead in ("so", '{"a": 1}.', '{"a": 1} {"a": 1}', "<thing>", "3 apples", '</think>{"a" 1', "<think></think>so"):
        assert WHOLE.start("").feed(dead).verdict is Verdict.DEAD
    for alive in ('{"a": 1}\n \t', "<thin", "<think>so", '<think>{"a" 1', "[THI", '</think>\n{"a": 1', "3", ' {"a"'):
        assert WHOLE.start("").feed(alive).verdict is not Verdict.DEAD
        assert bytewise(WHOLE, alive) == WHOLE.start("").feed(alive)
    assert JsonText().start("").feed('{"a": 1} so').scores[2] == 3


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ('so {x} is { "a" 1', (-1, 0, 1)),
        ('so {x} is { "a": 1', (1, 0, 0)),
        ('{"a": 1,} no: {"a": 1}.', (2, 1, 1)),
        ('{"a" 1 {"a" 1 {"a" 1', (-1, 0, 3)),
        ('{"a": 1} then {} and {b}', (2, 16, 0)),  # neither is a document
        ('{"a" 1 </think>\n', (0, 0, 0)),
        ('<think>{"a": 1}', (0, 0, 0)),
        ('{"a": "so </think> b"}', (2, 0, 0)),  # spoken of in a document
        ('{"a": "so. <think> b', (1, 0, 0)),
        ('{"a": "so. <think> b" {"a": 1}', (0, 0, 0)),  # it is none
        ('<think>{"a": "so </think> b"}', (0, 0, 0)),
    ],
)
def test_documents_among_prose(text: str, scores: tuple[int, int, int]) -> None:
    rule = JsonText(place="object")
    for evidence in (rule.start("").feed(text), bytewise(rule, text)):
        state, _, since, broken = evidence.scores
        assert (state, since, broken) == scores
        assert evidence.verdict is (Verdict.ALIVE if state > 0 else Verdict.UNKNOWN)


def test_deep_nesting_is_left_alone() -> None:
    """What parsers refuse for its depth alone is not called broken; what was broken before, is."""
    assert WHOLE.start("").feed("[" * MAX_DEPTH).verdict is Verdict.ALIVE
    for evidence in (WHOLE.start("").feed("[" * (MAX_DEPTH + 1)), bytewise(WHOLE, "[" * 2000)):
        assert evidence.verdict is Verdict.UNKNOWN
        assert math.isnan(evidence.scores[0])
    assert WHOLE.start("").feed("{" + "[" * 1000).verdict is Verdict.DEAD


@pytest.mark.parametrize("text", ["9" * 100_000, "1e999999", "0." + "1" * 5000, '"\\ud800"', '"\\udc00\\ud800"', "-0"])
def test_what_parsers_merely_dislike_is_valid(text: str) -> None:
    for place in (f"[{text}", f"[{text}]"):
        assert WHOLE.start("").feed(place).verdict is Verdict.ALIVE
        assert bytewise(WHOLE, place[:3000]).verdict is Verdict.ALIVE


def test_little_is_kept_of_a_long_document() -> None:
    """Strings, numbers, blanks and finished members leave nothing behind."""
    for unit in ("a", "9", " ", "1, ", '"x", ', "\\u00e9", "{}, "):
        state = WHOLE.start("")
        state.feed('["' if unit in ("a", "\\u00e9") else "[")
        state.feed(unit)
        small = state_size(state)
        for _ in range(50):
            assert state.feed(unit * 100).verdict is Verdict.ALIVE
        assert state_size(state) < small + 100
