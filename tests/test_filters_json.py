"""JSON documents and schemas: what is found, what is refused, and that no text takes for ever."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.filters import JsonSchema, Judgement, Prompt
from msifr_policy.filters.json_schema import bracket_of
from msifr_policy.reading.json_find import Find, find_document

pytest.importorskip("jsonschema")
pytest.importorskip("regress")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"answer": {"type": "integer", "minimum": 0}, "why": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
PROMPT = Prompt(prompt_id="p", prompt="Give JSON.")


@pytest.fixture(scope="module")
def filters() -> Iterator[dict[Find, JsonSchema]]:
    made: dict[Find, JsonSchema] = {
        "whole": JsonSchema(SCHEMA),
        "fence": JsonSchema(SCHEMA, find="fence"),
        "object": JsonSchema(SCHEMA, find="object"),
    }
    yield made
    for one in made.values():
        one.close()


@pytest.mark.parametrize(
    ("find", "text", "accepted"),
    [
        ("whole", '{"answer": 3}', True),
        ("whole", ' {"answer": 3, "why": "it is"}\n', True),
        ("whole", '{"answer": 3.0}', True),  # an integer, in this draft
        ("whole", '{"answer": -3}', False),
        ("whole", '{"answer": "3"}', False),
        ("whole", '{"answer": true}', False),
        ("whole", '{"answer": 3, "more": 1}', False),
        ("whole", "{}", False),
        ("whole", "", False),
        ("whole", 'Here: {"answer": 3}', False),
        ("whole", '{"answer": 3} {"answer": 3}', False),
        ("whole", '{"answer": 3', False),
        ("whole", "{'answer': 3}", False),
        # Readers disagree about these, so they are refused.
        ("whole", '{"answer": 1, "answer": 3}', False),
        ("whole", '{"answer": NaN}', False),
        ("whole", '{"answer": 1e999}', False),
        ("whole", '{"answer": Infinity}', False),
        ("whole", '{"answer": ' + "9" * 5000 + "}", False),
        ("whole", '{"answer": 1e-999}', False),
        ("whole", '{"answer": 3, "why": "\\ud800"}', False),
        ("whole", '{"answer": 3, "why": "\\ud83c\\udf78"}', True),
        ("fence", 'So:\n```json\n{"answer": 3}\n```\nDone.', True),
        ("fence", '```json\n{"answer": "x"}\n```\n```json\n{"answer": 3}\n```', True),
        ("fence", '```json\n{"answer": 3}\n```\n```json\n{"answer": "x"}\n```', False),  # the last counts
        ("fence", '```json\n{"answer": 3}\n```\n```python\nprint(3)\n```', True),  # of its kind
        ("fence", '```json\n{"answer": 3}\n', False),
        ("fence", '{"answer": 3}', False),
        ("object", 'Here it is: {"answer": 3}. Is {it} well?', True),
        ("object", '[{"answer": 3}]', True),
        ("object", "none", False),
    ],
)
def test_what_is_accepted(filters: dict[Find, JsonSchema], find: Find, text: str, accepted: bool) -> None:
    assert filters[find](PROMPT, text) is accepted


GOOD, DRAFT = '{"answer": 3}', '{"answer": "?"}'


@pytest.mark.parametrize(
    ("find", "text", "accepted"),
    [
        # Thinking holds no document, and a text cut off while thinking has none.
        ("whole", f"<think>{DRAFT}</think>\n{GOOD}", True),
        ("whole", f"<think>{GOOD}</think>\n{DRAFT}", False),
        ("whole", f"<think>The set {{a, b}}.</think>\n\n{GOOD}\n", True),
        ("whole", f"</think>\n{GOOD}", True),
        ("whole", f"[THINK]so[/THINK]{GOOD}", True),
        ("whole", f"<|channel|>analysis<|message|>so<|channel|>final<|message|>{GOOD}", True),
        ("whole", f"<think>{GOOD}", False),
        ("whole", f"Let me see.</think>{GOOD}", False),  # a text that begins so is none from its first letter on
        ("whole", '{"answer": 3, "why": "a </think> b"}', True),
        ("whole", '{"answer": 3, "why": "<think>"}', True),
        ("object", f'<think>The set {{a, b}}, maybe {{"draft": 1}}.</think>\n{GOOD}', True),
        ("object", f"Maybe {DRAFT}.</think>{GOOD}", True),  # the prompt opened the thinking
        ("object", f"<think>{GOOD}</think> None.", False),
        ("object", f"<think>{GOOD}", False),
        ("object", f"{GOOD}\n<think>Or", False),
        # Marks in the strings of a document are spoken of, unless it is none.
        ("object", '{"answer": 3, "why": "a <think> tag"}', True),
        ("object", 'So {"answer": 3, "why": "<think> a </think> b"} it is', True),
        ("object", f'{{"answer": "so</think>{GOOD}', True),
        ("object", f'{{"answer": "so <think> and" so</think>{GOOD}', True),
        ("object", f'{{"answer": "so. <think> and" so {GOOD}', False),
        ("object", f'<think>{{"why": "a </think>{GOOD}', True),
        ("fence", '```json\n{"answer": 3, "why": "a </think> b"}\n```', True),
        ("fence", '```json\n{"answer": 3,\n "why": "a <think> b"}\n```\n', True),
        ("fence", f"<think>\n```json\n{DRAFT}\n```\n</think>\n```json\n{GOOD}\n```", True),
        ("fence", f"<think>\n```json\n{DRAFT}\n</think>\n```json\n{GOOD}\n```", True),  # not even closed
        ("fence", f"<think>\n```json\n{GOOD}\n```\n</think>\nNone.", False),
        # The last document counts, what is no JSON hides none.
        ("object", f"{DRAFT} No, wait: {GOOD}", True),
        ("object", f"{GOOD} No, wait: {DRAFT}", False),
        ("object", f"Here {{it}} is: {GOOD}", True),
        ("object", f"{GOOD} and {{it}} and {{ and", True),
        ("object", f'{{"answer": 3,}} Rather {GOOD}', True),
        ("object", f'{{"answer": ..., "why": ...}} as in {GOOD}', True),
        ("object", f'{{"answer\n{GOOD}', True),
        ("object", f"{{{{{GOOD}}}}}", True),  # as templates write it
        ("object", f"{GOOD} Use {{}} for nothing.", True),
        ("object", f"{{}} is nothing, {GOOD} is", True),
        ("object", f'{GOOD}\n```python\nshow({{"x": 1}})\n```', True),
        ("object", f"```bash\ncurl -d '{{\"x\": 1}}'\n```\n{GOOD}", True),
        ("object", f"```javascript\n{GOOD}\n```", True),  # no other
        ("object", f"```json\n{GOOD}\n```", True),
        ("object", '{"answer": 3} {"answer": 3, "answer": 4}', False),  # doubtful, but the last
        ("object", f"[{DRAFT}, {GOOD}]", True),
        ("fence", f"```json\n{DRAFT}\n```\nNo:\n```json\n{GOOD}\n```", True),
        ("fence", f"```json\n{GOOD}\n```\n```json\n{{\n```", False),
        ("fence", f"```json\n{GOOD}\n```\n```\n3\n```\n```\n{{a, b}}\n```\n```text\n{{}}\n```", True),
        ("fence", f"```json\n{GOOD}\n```\n```json5\n{{a: 1}}\n```", True),
        ("fence", f"```\n{GOOD}\n```", True),
        ("fence", f"```JSON\n{GOOD}```", True),
        ("fence", f"~~~json\n{GOOD}\n~~~", True),
        ("fence", f"```python\n{GOOD}\n```", False),
        ("fence", f"```answer.json\n{GOOD}\n```", True),
        ("fence", f"```package.json\n{GOOD}\n```\n```answer.json\n{DRAFT}\n```", False),
        ("fence", f"```\njson\n{GOOD}\n```", True),
        ("fence", f"```json\n{GOOD}\n``` This is it.", True),
    ],
)
def test_which_document_counts(filters: dict[Find, JsonSchema], find: Find, text: str, accepted: bool) -> None:
    assert filters[find](PROMPT, text) is accepted


def test_arrays_are_found_for_a_schema_of_arrays() -> None:
    with JsonSchema({"type": "array", "items": {"type": "integer"}}, find="object") as accept:
        for text in ("So: [1, 2].", "[x] and [1, 2]", '["a"], rather [1]', "[1] and []"):
            assert accept(PROMPT, text) is True
        for text in ('[1], rather ["a"]', "none", '{"a": 1}'):
            assert accept(PROMPT, text) is False


@pytest.mark.parametrize(
    ("schema", "bracket"),
    [
        ({"type": ["array", "null"]}, "["),
        ({"type": ["array", "object"]}, "{"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array"}}}, "["),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}, "{"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "{"),
        ({"anyOf": [{"type": "array", "maxItems": 2}, {"type": "string"}, False]}, "["),
        ({"oneOf": [{"type": "array"}, {}]}, "{"),
        ({"allOf": [{"type": ["array", "object"]}, {"type": ["array", "null"]}]}, "["),
        ({"enum": [[1], [2], "none"]}, "["),
        ({"const": {"a": 1}}, "{"),
        ({"items": {"type": "integer"}}, "{"),
        ({}, "{"),
        (None, "{"),
    ],
)
def test_arrays_are_searched_for_where_objects_are_not_allowed(schema: dict[str, Any] | None, bracket: str) -> None:
    assert bracket_of(schema) == bracket


UNITS = (
    '{"a":"</think>',
    '{"</think>","',
    "{",
    "[",
    '{"',
    '{"a":',
    "{}",
    '{"a":1}',
    '"',
    "`",
    "```\n",
    "```json\n{}\n```\n",
    "<think>",
    "</think>{",
    "\\",
    " ",
)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("find", get_args(Find))
def test_finding_a_document_takes_linear_time(find: Find, unit: str) -> None:
    started = time.process_time()
    for bracket in "{[":
        find_document(unit * (60_000 // len(unit)), find, bracket)
    assert time.process_time() - started < 10  # a quadratic search would take minutes


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000])
def test_what_readers_disagree_about_is_refused_under_any_schema(number: str) -> None:
    with JsonSchema({}) as accept:
        assert accept(PROMPT, number) is False
        assert accept(PROMPT, f'[{{"a": {number}}}]') is False
        assert accept(PROMPT, '[{"a": 1, "b": {"a": 1e300}}]') is True
        assert accept(PROMPT, '[{"a": 1, "a": 1}]') is False


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_verdicts_are_those_of_jsonschema_called_directly(document: Any) -> None:
    from jsonschema import Draft202012Validator

    for schema, accept in SHARED:
        for candidate in (document, {"a": document}):
            expected = Draft202012Validator(schema).is_valid(candidate)
            assert accept(PROMPT, json.dumps(candidate)) is expected
            assert accept(PROMPT, json.dumps(candidate, ensure_ascii=False, indent=1)) is expected


SHARED = [
    (schema, JsonSchema(schema))
    for schema in (
        {"type": ["object", "array", "null"]},
        {"properties": {"a": {"type": "array", "uniqueItems": True}}, "required": ["a"]},
        {
            "$ref": "#/$defs/tree",
            "$defs": {"tree": {"anyOf": [{"type": "integer"}, {"items": {"$ref": "#/$defs/tree"}}]}},
        },
    )
]


@pytest.mark.parametrize("depth", [10, 100])
def test_nesting_is_read(depth: int) -> None:
    tree = {"type": "array", "items": {"$ref": "#"}}
    with JsonSchema(tree) as accept:
        assert accept(PROMPT, "[" * depth + "]" * depth) is True


@pytest.mark.parametrize("depth", [1_000, 100_000, 3_000_000])
@pytest.mark.parametrize("schema", [{}, {"type": "array", "items": {"$ref": "#"}}])
def test_nesting_too_deep_is_refused_by_a_process_that_lives_on(depth: int, schema: dict[str, Any]) -> None:
    with JsonSchema(schema) as accept:
        assert accept(PROMPT, "[" * depth + "]" * depth) is False
        assert accept(PROMPT, '{"a":' * depth) is False
        assert accept(PROMPT, "[]") is True
        assert accept.worker.starts == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^(a+)+$"},
        {"type": "string", "pattern": "^(a|a)*$"},
    ],
)
def test_an_evil_pattern_is_stopped_in_time_and_counts_as_a_failure(schema: dict[str, Any]) -> None:
    """Sixty letters would take a backtracking matcher longer than the universe has existed."""
    with JsonSchema(schema, seconds=1.0) as accept:
        assert accept(PROMPT, json.dumps("a" * 60)) is True
        started = time.monotonic()
        assert accept(PROMPT, json.dumps("a" * 60 + "b")) == Judgement(accepted=False, failure="timed out")
        assert time.monotonic() - started < 2.0
        assert accept(PROMPT, json.dumps("ab")) is False


def test_a_pattern_that_any_engine_is_slow_at_in_keys_is_stopped_too() -> None:
    with JsonSchema({"patternProperties": {"^(a+)+$": {}}}, seconds=1.0) as accept:
        assert accept(PROMPT, json.dumps({"a" * 60 + "b": 1})) == Judgement(accepted=False, failure="timed out")


def test_memory_is_bounded() -> None:
    with JsonSchema({}, memory=256 << 20, seconds=60) as accept:
        verdict = accept(PROMPT, json.dumps("a" * 100_000_000))
        assert verdict == Judgement(accepted=False, failure="MemoryError")
        assert accept(PROMPT, "[]") is True


def test_nothing_is_fetched_from_the_network() -> None:
    """Of the references only those to the draft itself and within the schema can be followed; the rest is refused."""
    with JsonSchema({"$ref": "https://json-schema.org/draft/2020-12/schema"}) as accept:
        assert accept(PROMPT, '{"type": "object"}') is True
        assert accept(PROMPT, '{"type": "thing"}') is False
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        with pytest.raises(InputError, match=rf"refers to '{address}', which is not there \(nothing is fetched"):
            JsonSchema({"$ref": address})
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(
    "part",
    [
        {"$ref": "https://example.com/person.json"},
        {"$ref": "person.json#/a"},
        {"$ref": "file:///etc/hostname"},
        {"$ref": "#/$defs/nobody"},
        {"$ref": "#nobody"},
        {"$dynamicRef": "#nobody"},
        {"$id": "https://example.com/", "$ref": "other"},
        {"$ref": "#/$defs/one", "$defs": {"one": {"not": {"$ref": "#/$defs/two"}}}},
        {"$ref": "#/odd", "odd": {"items": {"$ref": "#/odder"}}},
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_references_that_lead_nowhere_are_refused(part: dict[str, Any], deep: bool) -> None:
    schema = {"properties": {"a": {"items": {"anyOf": [{"$id": "https://example.com/x/", **part}]}}}} if deep else part
    with pytest.raises(InputError, match=r"the schema refers to '.*', which is not there"):
        JsonSchema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}},
        {"$ref": "#a", "$defs": {"a": {"$anchor": "a", "type": "integer"}}},
        {"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a", "type": "integer"}}},
        {"$id": "https://example.com/s", "$ref": "a", "$defs": {"a": {"$id": "a", "type": "integer"}}},
        {"$id": "https://example.com/s", "$ref": "/s#/$defs/a", "$defs": {"a": {"type": "integer"}}},
        {"$id": "urn:example:s", "$ref": "urn:example:s#/$defs/a", "$defs": {"a": {"type": "integer"}}},
        {"$ref": "#/definitions/a~1b%25", "definitions": {"a/b%": {"type": "integer"}}},
        {"$ref": "#/odd", "odd": {"type": "integer"}},
        {"type": "integer", "const": 1, "default": {"$ref": "#/nobody"}, "examples": [{"$ref": "nobody"}]},
        {"enum": [1, {"$ref": "nobody"}], "x-known-to-nobody": {"$ref": "nobody"}},
        {"allOf": [{"properties": {"$ref": {"type": "string"}}}, {"type": "integer"}]},
    ],
)
def test_references_within_the_schema_are_followed(schema: dict[str, Any]) -> None:
    with JsonSchema(schema) as accept:
        assert accept(PROMPT, "1") is True
        assert accept(PROMPT, '"a"') is False


@pytest.mark.parametrize(
    ("pattern", "matches", "fails"),
    [
        (r"^\d+$", "0159", "\u0663"),
        (r"^\d+$", "5", "5\n"),
        (r"^\D$", "\u0663", "5"),
        (r"^\w$", "_", "\u00e9"),
        (r"^\W$", "\u00e9", "a"),
        (r"^\s$", "\ufeff", "\u180e"),
        (r"^\s$", "\u2028", "\x1c"),
        (r"^\S$", "\x85", "\xa0"),
        (r"^.$", "\x85", "\u2028"),
        (r"^.$", "\U0001f600", "\r"),
        (r"\bb", "\u00e9b", "ab"),
        (r"^a$", "a", "b\na"),
        (r"^[^]$", "\n", ""),
        (r"^\p{L}$", "\u00e9", "1"),
        (r"^\P{Lu}\p{Script=Greek}$", "a\u03b1", "A\u03b1"),
        (r"^(?<year>[0-9]{4})-\k<year>$", "1999-1999", "1999-2000"),
        (r"(?<=a)b(?!c)", "ab", "abc"),
        (r"(?<!a+)b", "cb", "aab"),
        (r"^\cJ\x41\u0042\u{1F600}\0$", "\nAB\U0001f600\0", "\nAB\U0001f600"),
        (r"^\uD83D\uDE00$", "\U0001f600", "\U0001f601"),
        (r"^[\b]$", "\b", "b"),
        (r"^a\/b\-\@\_$", "a/b-@_", "a/b"),
        (r"^[\w-.]+@[\d-]+$", "a-.@1-", "a,@1"),
        (r"^{a}]$", "{a}]", "a"),
        (r"^a{2}$", "aa", "a{2}"),
        (r"^[[&&a]]$", "&]", "a"),
    ],
)
def test_patterns_are_those_of_ecma_262(pattern: str, matches: str, fails: str) -> None:
    by_keys = {"type": "object", "patternProperties": {pattern: {"const": 1}}, "additionalProperties": False}
    unevaluated = {"patternProperties": {"^$": True, pattern: True}, "unevaluatedProperties": {"type": "string"}}
    with JsonSchema({"pattern": pattern}) as values, JsonSchema(by_keys) as keys, JsonSchema(unevaluated) as left:
        for text, right in ((matches, True), (fails, False)):
            assert values(PROMPT, json.dumps(text)) is right
            assert keys(PROMPT, json.dumps({text: 1})) is right
            assert left(PROMPT, json.dumps({text: 1})) is (right or text == "")


def test_patterns_do_not_share_their_groups() -> None:
    """Keys match one pattern or another; joined to one they would count their groups on."""
    schema = {"patternProperties": {r"^(?<n>a)\1$": {}, r"^(?<n>b)\1$": {}}, "additionalProperties": False}
    with JsonSchema(schema) as accept:
        assert accept(PROMPT, '{"aa": 1, "bb": 1}') is True
        assert accept(PROMPT, '{"b": 1}') is False


@pytest.mark.parametrize(
    "pattern",
    [
        *("(", ")", "[a", "*a", "a**", "a++", r"a\Z", r"\A", r"\a", r"\h", "(?i)a", "(?P<n>a)", "(?>a)", "(?#a)", "\\"),
        *(r"\1", r"\k<n>", r"\p{nothing}", r"\u{110000}", r"\u12", "[z-a]", "a{2,1}", "a|" * 5000),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    for schema in ({"pattern": pattern}, {"items": {"patternProperties": {pattern: {}}}}):
        with pytest.raises(InputError, match=r"not a schema .*(?:regular expression of ECMA-262|too long)"):
            JsonSchema(schema)
    with JsonSchema({"const": {"pattern": pattern}, "properties": {"pattern": {"const": pattern}}}) as accept:
        assert accept(PROMPT, json.dumps({"pattern": pattern})) is True


BIG = 10**30


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"multipleOf": 0.1}, ["1.1", "0.3", "1e22", "-7.7", "0"], ["0.30000000000000004", "0.05"]),
        ({"multipleOf": 0.01}, ["19.99", "4.35", "0.07", "1"], ["0.070000000000000000001"]),
        ({"multipleOf": 1e-8}, ["12391239123", "0.00075", "1e300"], ["1e-9"]),
        ({"multipleOf": 3}, [str(BIG - 1), "3e2", "3.0"], [str(BIG), "1e30"]),
        ({"multipleOf": 1e308}, ["0", "1e308"], ["1e307", "5"]),
        ({"const": BIG}, [str(BIG), "1e30", f"{BIG}.0"], [str(BIG + 1)]),
        ({"const": 2**53 + 1}, [str(2**53 + 1)], [str(2**53), "9007199254740992.0"]),
        ({"const": 0.1}, ["0.1", "1e-1", "0.10"], ["0.1000000000000000055511151231257827"]),
        ({"maximum": BIG}, [str(BIG)], [str(BIG + 1)]),
        ({"exclusiveMinimum": 0.1}, ["0.10000000000000000000001"], ["0.1"]),
        (
            {"type": "integer"},
            ["1.0", "1e30", str(BIG), "10e-1", "-0.0"],
            ["1.5", "1.0000000000000000000000001", "true"],
        ),
        ({"type": "number"}, ["1", "1.5"], ["true"]),
        ({"enum": [1]}, ["1", "1.0"], ["true", "2"]),
        ({"const": False}, ["false"], ["0", "0.0"]),
        ({"const": [0]}, ["[0]", "[0.0]"], ["[false]"]),
        ({"const": {"a": 1}}, ['{"a": 1.0}'], ['{"a": true}']),
        ({"uniqueItems": True}, ["[1, true]", "[0, false]", "[[1], [true]]"], ["[1, 1.0]", '[{"a": 1}, {"a": 1.0}]']),
        ({"uniqueItems": True}, [f"[{BIG}, {BIG + 1}]"], [f"[{BIG}, 1e30]"]),
        ({"maxLength": 1.0}, ['"\U0001f600"', '"\\ud83d\\ude00"'], ['"ab"']),
        ({"format": "email"}, ['"nobody"'], []),
        ({"unknown": 3, "x-type": {"type": "thing"}}, ["1"], []),
        ({"not": {}}, [], ["1", "{}"]),
        ({"properties": {"a": False, "b": True}}, ['{"b": 1}'], ['{"a": 1}']),
        (
            {"anyOf": [{"properties": {"a": {}}, "required": ["a"]}, True], "unevaluatedProperties": False},
            ['{"a": 1}', "{}"],
            ['{"b": 1}', '{"a": 1, "b": 1}'],
        ),
    ],
)
def test_values_are_compared_as_the_draft_says(schema: dict[str, Any], valid: list[str], invalid: list[str]) -> None:
    with JsonSchema(schema) as accept:
        assert [text for text in valid if accept(PROMPT, text) is not True] == []
        assert [text for text in invalid if accept(PROMPT, text) is not False] == []


def test_each_prompt_may_have_its_own_schema() -> None:
    def asked(schema: dict[str, Any] | None) -> Prompt:
        return Prompt(prompt_id="p", prompt="x", schema=schema)

    with JsonSchema() as accept:
        accept.check(asked(SCHEMA))
        for n in range(300):  # more than are remembered
            assert accept(asked({"const": n}), str(n)) is True
            assert accept(asked({"const": n}), str(n + 1)) is False
        with pytest.raises(InputError, match="prompt 'p', field schema: no schema"):
            accept.check(asked(None))
        assert not accept(asked(None), "{}")
        with pytest.raises(InputError, match=r"prompt 'p', field schema: not a schema .*'thing'"):
            accept.check(asked({"type": "thing"}))
    with JsonSchema(SCHEMA) as accept:
        accept.check(asked(None))


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": 3}, "not a schema"),
        ({"pattern": "("}, "not a schema"),
        ({"minimum": "x"}, "not a schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "written for .*draft-07"),
        ({"$schema": 3}, "written for 3"),
        ({"$schema": "https://json-schema.org/draft/2019-09/schema"}, "written for .*2019-09"),
        ({"const": {1, 2}, "enum": object()}, "not a schema"),
        ({"const": float("nan")}, "not a schema"),
        ({"properties": {"a": {"type": "thing"}}}, "not a schema"),
        ({"$defs": {"a": {"required": "b"}}}, "not a schema"),
        ({"allOf": [{"$ref": "#"}]}, "to the same value again"),
        ({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"if": {"$ref": "#/$defs/a"}}}}, "the same value"),
        ({"dependentSchemas": {"a": {"anyOf": [{"$ref": "#"}]}}}, "the same value"),
    ],
)
def test_what_is_no_schema_is_refused_at_once(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        JsonSchema(schema)


def test_options_are_checked_and_named() -> None:
    with pytest.raises(InputError, match="unknown place 'everywhere'"):
        JsonSchema(SCHEMA, find="everywhere")  # type: ignore[arg-type]
    variants = [
        JsonSchema(), JsonSchema(SCHEMA), JsonSchema({}), JsonSchema({}, find="fence"),
        JsonSchema({}, seconds=1.0), JsonSchema({}, memory=1 << 29),
    ]  # fmt: skip
    assert len({one.name for one in variants}) == len(variants)
    assert JsonSchema(SCHEMA).name == JsonSchema(dict(SCHEMA)).name
