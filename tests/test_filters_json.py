"""JSON documents and schemas: what is found, what is refused, and that no text takes for ever."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.errors import InputError
from msifr_policy.filters import JsonSchema, Judgement, Prompt
from msifr_policy.filters.json_schema import Find

pytest.importorskip("jsonschema")

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
        ("object", f'```bash\ncurl -d \'{{"x": 1}}\'\n```\n{GOOD}', True),
        ("object", f"```javascript\n{GOOD}\n```", True),  # no other
        ("object", f"```json\n{GOOD}\n```", True),
        ("object", '{"answer": 3} {"answer": 3, "answer": 4}', False),  # doubtful, but the last
        ("object", f'[{DRAFT}, {GOOD}]', True),
        ("fence", f"```json\n{DRAFT}\n```\nNo:\n```json\n{GOOD}\n```", True),
        ("fence", f"```json\n{GOOD}\n```\n```json\n{{\n```", False),
        ("fence", f"```json\n{GOOD}\n```\n```\n3\n```\n```\n{{a, b}}\n```\n```text\n{{}}\n```", True),
        ("fence", f"```json\n{GOOD}\n```\n```json5\n{{a: 1}}\n```", True),
        ("fence", f"```\n{GOOD}\n```", True),
        ("fence", f"```JSON\n{GOOD}```", True),
        ("fence", f"~~~json\n{GOOD}\n~~~", True),
        ("fence", f"```python\n{GOOD}\n```", False),
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


UNITS = ("{", "[", '{"', '{"a":', "{}", '{"a":1}', '"', "`", "```\n", "```json\n{}\n```\n", "<think>", "</think>{", "\\", " ")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("find", get_args(Find))
def test_finding_a_document_takes_linear_time(find: Find, unit: str) -> None:
    started = time.process_time()
    for bracket in "{[":
        find_document(unit * (300_000 // len(unit)), find, bracket)
    assert time.process_time() - started < 20  # a quadratic search would take hours


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
        verdict = accept(PROMPT, "[" + "{}," * 10_000_000 + "{}]")
        assert verdict == Judgement(accepted=False, failure="MemoryError")
        assert accept(PROMPT, "[]") is True


def test_nothing_is_fetched_from_the_network() -> None:
    """Of the references only those to the draft itself and within the schema can be followed."""
    with JsonSchema({"$ref": "https://json-schema.org/draft/2020-12/schema"}) as accept:
        assert accept(PROMPT, '{"type": "object"}') is True
        assert accept(PROMPT, '{"type": "thing"}') is False
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        with JsonSchema({"$ref": f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"}) as accept:
XX        with pytest.raises(TimeoutError):
            server.accept()


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
        ({"const": {1, 2}, "enum": object()}, "not a schema"),
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
