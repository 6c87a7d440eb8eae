"""No valid value is ever rejected, in whatever order and spelling; what cannot become valid is, and early."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import re2
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from msifr_policy.errors import InputError
from msifr_policy.filters import JsonSchema, Prompt
from msifr_policy.reading.json_find import Find
from msifr_policy.validators import JsonSchemaPrefix, JsonText, Verdict
from msifr_policy.validators.readers.completion import LIMIT
from msifr_policy.validators.readers.relaxed_pattern import relaxed_pattern
from msifr_policy.validators.readers.relaxed_schema import RelaxedSchema

PROMPT = Prompt(prompt_id="p", prompt="Give JSON.")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string"},
        "answer": {"type": "integer", "minimum": 1, "maximum": 20},
        "letter": {"enum": ["A", "B", 3, None]},
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "maxItems": 2},
    },
    "required": ["reasoning", "answer"],
    "additionalProperties": False,
    "$defs": {
        "step": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 3}, "n": {"const": 1}}}
    },
}


def verdict(text: str, schema: dict[str, Any] = SCHEMA) -> Verdict:
    """The verdict, the same in one piece and character by character."""
    rule = JsonSchemaPrefix(schema, place="whole")
    whole, state = rule.start("").feed(text), rule.start("")
    for character in text:
        state.feed(character)
    assert repr(state.feed("")) == repr(whole)
    return whole.verdict


@pytest.mark.parametrize(
    "text",
    [
        '{"reasoning": "so", "answer": 3}',
        '{"answer": 3, "reasoning": "so"}',
        '{"steps": [{"n": 1, "text": "a"}, {"text": "b"}], "letter": null, "answer": 3, "reasoning": ""}',
        '\n{ "answer"\t:\r\n3 ,"reasoning":"so" }\n',
        '{"answer": 3.0, "reasoning": "so"}',
        '{"answer": 25e-1',
        '{"answer": 300e-2, "reasoning": "so"}',
        '{"letter": 3.0, "answer": 3',
        '{"\\u0061nswer": 3, "reasoning": "so"}',
        '{"reasoning": "caf\\u00e9 \\/ \x7f", "answer": 3}',
        '{"letter": "\\u0041", "reasoning": "',
        '{"answer": 3, "answer": 4, "reasoning": "so"}',
        '{"',
        "",
    ],
)
def test_valid_objects_are_left_alone(text: str) -> None:
    assert verdict(text) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"answer": "',
        '{"answer": 3, "r"',
        '{"o',
        '{"letter": "C',
        '{"letter": t',
        '{"steps": {',
        '{"steps": ["',
        '{"steps": [{"text": "long',
        '{"steps": [{}, {}, {',
        '{"steps": [{"n": "',
        '{"reasoning": "a\n',
        '{"answer": 03',
        '{"answer": 3}',
        '{"reasoning": "so"} and more',
        "{}",
    ],
)
def test_what_cannot_become_valid_is_dead_at_once(text: str) -> None:
    """At its last character, or at the end of an object that lacks what is required."""
    assert verdict(text) is Verdict.DEAD
    if "}" not in text:
        assert verdict(text[:-1]) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "number", "maximum": 20}, "25e-1"),
        ({"type": "integer", "multipleOf": 5}, "12E1"),
        ({"patternProperties": {"^a": {}}, "additionalProperties": False}, '{"ab": 1}'),
        ({"properties": {"a": {"type": "null"}}, "propertyNames": {}, "required": ["b"]}, '{"b": 1, "a": null}'),
        ({"const": {"a": 1, "b": [2]}}, '{"b": [2.0], "a": 1}'),
        ({"type": "string", "format": "date"}, '"some day"'),
        ({"oneOf": [{"type": "number"}, {"type": "null"}], "not": {"const": 3}}, "5"),
        ({"type": "array", "items": [{"type": "null"}], "uniqueItems": True}, "[null, 1]"),
        ({"type": "object", "allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, '{"a": 1}'),
    ],
)
def test_keywords_that_llguidance_reads_otherwise(schema: dict[str, Any], text: str) -> None:
    judge = Draft7Validator if isinstance(schema.get("items"), list) else Draft202012Validator
    assert judge(schema).is_valid(json.loads(text))
    assert verdict(text, schema) is Verdict.UNKNOWN


NAMES = st.sampled_from(["a", "b", "a.b", "é", '"', "a b", "x/y"])
SCALARS = st.sampled_from([None, True, 0, 1, 2.5, -3, 10**20, "", "a", "ab", "é", "abc", "\n"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
TYPES = ["string", "number", "integer", "boolean", "null", "object", "array"]


def with_parts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas with all kinds of keywords, side by side."""
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
        "properties": st.dictionaries(NAMES, inner, max_size=3),
        "additionalProperties": inner,
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner, max_size=1),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "items": inner,
        "prefixItems": st.lists(inner, min_size=1, max_size=2),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 3),
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "b", "^[a-z]{2}$"]),
        "minimum": st.integers(-5, 5),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "anyOf": st.lists(inner, min_size=1, max_size=2),
        "oneOf": st.lists(inner, min_size=1, max_size=2),
        "allOf": st.lists(inner, min_size=1, max_size=2),
        "not": inner,
        "uniqueItems": st.booleans(),
        "minProperties": st.integers(0, 2),
        "propertyNames": inner,
        "$ref": st.sampled_from(["#/$defs/d", "#/$defs/d", "#/properties/a"]),
    }
    return st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: keywords[name] for name in names})
    )


SCHEMAS = st.recursive(
    st.booleans() | st.just({}) | st.builds(lambda t: {"type": t}, st.sampled_from(TYPES)), with_parts
)


def written(value: Any, draw: st.DrawFn) -> str:
    """Write a value in one of the many ways JSON has for it."""
    blank = draw(st.sampled_from(["", " ", "\n\t"]))
    if isinstance(value, dict):
        items = draw(st.permutations(list(value.items())))
        inside = ("," + blank).join(f"{written(k, draw)}{blank}:{written(v, draw)}" for k, v in items)
        return "{" + blank + inside + "}"
    if isinstance(value, list):
        return "[" + (blank + ",").join(written(item, draw) for item in value) + blank + "]"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 100 and draw(st.booleans()):
        return draw(st.sampled_from([f"{value}.0", f"{value}e0", f"{value * 100}E-2"]))
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A schema, and some spelling of a value that the reference implementation finds valid."""
    schema = draw(SCHEMAS.filter(lambda schema: isinstance(schema, dict)))
    schema = {**schema, "$defs": {"d": draw(SCHEMAS)}}
    value = draw(VALUES)
    try:
        assume(Draft202012Validator(schema).is_valid(value))
    except Exception:  # a reference that leads nowhere
        assume(False)
    return schema, written(value, draw)


@given(case=cases())
@settings(max_examples=600, deadline=None)
def test_a_valid_value_is_never_dead(case: tuple[dict[str, Any], str]) -> None:
    """Nor is any beginning of one."""
    schema, text = case
    try:
        state = JsonSchemaPrefix(schema, place="whole").start("")
    except InputError:  # part of it allows nothing, which llguidance does not take
        assume(False)
    assert all(state.feed(character).verdict is Verdict.UNKNOWN for character in text)


def test_the_property_can_fail() -> None:
    """llguidance alone, without relaxing, rejects reordered keys: what the property above is there to catch."""
    from llguidance import LLMatcher

    from msifr_policy.validators.readers.completion import Completion

    reordered = '{"answer": 3, "reasoning": "so"}'
    strict = Completion(LLMatcher.grammar_from_json_schema(SCHEMA))
    strict.feed(reordered)
    assert strict.state == "dead"
    lax = Completion(LLMatcher.grammar_from_json_schema(RelaxedSchema(SCHEMA).schema))
    lax.feed(reordered)
    assert lax.final


def test_scores() -> None:
    rule = JsonSchemaPrefix(SCHEMA)
    assert rule.start("").feed("no JSON at all").verdict is Verdict.UNKNOWN
    complete, read, missing, dead = rule.start("").feed('```json\n {"answer": 1').scores
    assert (complete, read, dead) == (0, 12, 0)
    assert math.isnan(missing)
    assert rule.start("").feed('{"answer": 1} and').scores == (1, 13, 1, 1)
    assert rule.start("").feed('{"answer": 1, "reasoning": ""}').scores == (1, 30, 0, 0)
    spared = rule.start("").feed('{"reasoning": "\\u0041').scores
    assert math.isnan(spared[0])
    assert math.isnan(spared[3])
    assert rule.start("").feed('{"other": ').scores[3] == 1


def test_long_documents_are_left_alone() -> None:
    state = JsonSchemaPrefix(SCHEMA).start("")
    state.feed('{"reasoning": "')
    for _ in range(LIMIT // 1000 + 1):
        evidence = state.feed("a" * 1000)
    assert evidence.verdict is Verdict.UNKNOWN
    assert all(math.isnan(score) for score in evidence.scores)
    assert state.feed('"}').verdict is Verdict.UNKNOWN


SMALL: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "string", "pattern": r"^(?!x)[^\s\d]*$"}},
    "required": ["a"],
    "additionalProperties": False,
}
GOOD = [
    '{"a": 1}',
    '{"b": "y", "a": 2.0}',
    '{\n  "a": 1e2\n}',
    '{"a": 1, "b": "</think>"}',
    '{"a": -0, "b": "\\u0041\\/"}',
]
DRAFTS = [
    '{"a": "?"}',
    '{"a": 1,}',
    '{"a": ..., "b": ...}',
    '{"b": "y"}',
    "{a, b}",
    "{}",
    "[1]",
    '{"a": 1, "a": 2}',
    '{"a',
]
LINES = [
    "So.",
    "Let me think.",
    "The set {x}",
    "",
    "3",
    "```",
    "```json",
    "~~~",
    "```python",
    "<think>",
    "</think>",
    "[/THINK]",
]
FENCED = [f"{fence}\n{document}\n```" for fence in ("```json", "```", "```text") for document in GOOD[:3] + DRAFTS[:5]]
TEXTS = st.builds(
    lambda head, parts, joint, tail: head + joint.join(parts) + tail,
    st.sampled_from(["", "", " \n", "<think>Maybe\n", "<think>so</think>", "[THINK]{[/THINK]\n", "</think>\n\n"]),
    st.lists(st.sampled_from([*GOOD, *DRAFTS, *LINES, *FENCED]), min_size=1, max_size=5),
    st.sampled_from(["\n", "\n", " ", ""]),
    st.sampled_from(["", "", "\n", " "]) | st.sampled_from(GOOD),
)


@pytest.fixture(scope="module")
def filters() -> Iterator[dict[Find, JsonSchema]]:
    pytest.importorskip("regress")
    made: dict[Find, JsonSchema] = {find: JsonSchema(SMALL, find=find) for find in get_args(Find)}
    yield made
    for one in made.values():
        one.close()


ACCEPTED = Counter[str]()


@given(text=TEXTS)
@settings(max_examples=1000, deadline=None)
def test_what_the_filter_accepts_was_never_dead_with_its_place(filters: dict[Find, JsonSchema], text: str) -> None:
    """At no prefix, whatever thinking, drafts, fences and prose come before the document."""
    for find, accept in filters.items():
        accepted = accept(PROMPT, text) is True
        states = [JsonText(place=find).start(""), JsonSchemaPrefix(SMALL, place=find).start("")]
        dead = [state.feed(character).verdict is Verdict.DEAD for character in text for state in states]
        assert not (accepted and any(dead))
        if find != "whole":
            assert not any(dead)
        ACCEPTED[find] += accepted
        ACCEPTED[f"{find} dead"] += any(dead)


def test_the_property_saw_what_it_is_about() -> None:
    assert min(ACCEPTED[find] for find in get_args(Find)) > 20
    assert ACCEPTED["whole dead"] > 100


@pytest.mark.parametrize(
    ("part", "missing", "dead", "alive"),
    [
        ({"pattern": "^(?=a)b$"}, "#/properties/x/pattern: look-around", '{"x": "c', '{"x": "b'),
        ({"pattern": "(?<!a)b"}, "#/properties/x/pattern: look-around", '{"y": "', '{"x": "c'),
        ({"pattern": "^(a)\\1z$"}, "#/properties/x/pattern: back references", '{"x": "z', '{"x": "aqz'),
        ({"pattern": "^\\bfoo\\b$"}, "#/properties/x/pattern: word boundaries", '{"x": "g', '{"x": "fo'),
        ({"pattern": "^a$|b$"}, None, '{"x": "ab\n', '{"x": "aab'),
        ({"pattern": "^x(a$|b)"}, "#/properties/x/pattern: anchors within", '{"x": "y', '{"x": "xac'),
        ({"pattern": "^\\p{L}1$"}, "#/properties/x/pattern: properties of Unicode", '{"x": "é2', '{"x": "é1'),
        ({"pattern": "^(?i:a)$"}, "#/properties/x/pattern: modifiers", '{"y": "', '{"x": "A'),
        ({"pattern": "^a{5000}$"}, None, '{"x": "b', '{"x": "' + "a" * 2000),
        ({"pattern": "^\\s\\cJ$"}, None, '{"x": "a', '{"x": "\ufeff'),
        ({"pattern": "^" + "a?" * 3000 + "$"}, "#/properties/x/pattern: a long pattern", '{"y": "', '{"x": "b'),
        ({"contains": {"type": "integer"}, "type": "array"}, "#/properties/x/contains", '{"x": {', '{"x": ["a"]'),
        ({"not": {"type": "string"}}, "#/properties/x/not", '{"y": "', '{"x": "a'),
        ({"type": "integer", "multipleOf": 2}, "#/properties/x/multipleOf", '{"x": "', '{"x": 3'),
        ({"minItems": 10**9, "type": "array"}, "#/properties/x/minItems", '{"x": {', '{"x": [1'),
        ({"enum": [1, "a"]}, "#/properties/x/enum: any number", '{"x": "b', '{"x": 2'),
        ({"allOf": [{"type": "string"}, {"minLength": 3}]}, "#/properties/x/allOf/1", '{"x": 1', '{"x": "a"'),
    ],
)
def test_one_constraint_that_cannot_be_judged_disables_no_other(
    part: dict[str, Any], missing: str | None, dead: str, alive: str
) -> None:
    schema = {"properties": {"x": part, "y": {"type": "integer"}}, "required": ["y"], "additionalProperties": False}
    rule = JsonSchemaPrefix(schema, place="whole")
    assert verdict(dead, schema) is Verdict.DEAD
    assert verdict(alive, schema) is Verdict.UNKNOWN
    assert verdict('{"z', schema) is Verdict.DEAD
    assert verdict("{}", schema) is Verdict.DEAD
    assert missing in (*rule.relaxed, None)
    assert all(place.startswith(("#/properties/x", "#/properties/y/type: ")) for place in rule.relaxed)


def test_a_schema_that_allows_nothing_is_left_alone() -> None:
    rule = JsonSchemaPrefix({"type": "array", "prefixItems": [False], "minItems": 1}, place="whole")
    assert rule.start("").feed('{"a": 1}').verdict is Verdict.UNKNOWN
    assert rule.relaxed[0].startswith("#: ")


@pytest.mark.parametrize("pattern", ["(", "[a", "*a", "a++", "(?>a)", "(?P<n>a)", r"\Z", "\\", "[z-a]", r"\u{110000}"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="validator json_schema, parameter schema: no regular expression of ECMA-262"):
        JsonSchemaPrefix({"items": {"pattern": pattern}})


REGULAR = st.recursive(
    st.sampled_from(
        [
            *(
                "a",
                "b",
                "é",
                r"\d",
                r"\D",
                r"\w",
                r"\W",
                r"\s",
                r"\S",
                ".",
                "[ab]",
                "[^ab]",
                r"[^\s]",
                r"[\w.-]",
                r"\b",
            ),
            *(
                "^",
                "$",
                r"\n",
                r"\x41",
                r"\u{1F600}",
                r"\p{L}",
                r"[^\p{L}]",
                r"\-",
                r"\cJ",
                "[^]",
                "[a-z&&]",
                r"\B",
                "{",
            ),
        ]
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("({})".format, inner),
        st.builds("(?{}{})".format, st.sampled_from(["=", "!", "<=", "<!"]), inner),
        st.builds("(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,}", "*?"])),
    ),
    max_leaves=6,
)


@given(pattern=REGULAR, texts=st.lists(st.text(alphabet="abé1_ \n\r\u2028\ufeff\u0130A😀-{&", max_size=5), max_size=8))
@settings(max_examples=600, deadline=None)
def test_a_relaxed_pattern_matches_whatever_the_pattern_matches(pattern: str, texts: list[str]) -> None:
    """And nothing else, where nothing is said to be missing."""
    ecma = pytest.importorskip("msifr_policy.filters.ecma")
    found, missing = relaxed_pattern(pattern)
    for text in texts:
        matches, matches_relaxed = ecma.search(pattern, text), re2.compile(found).fullmatch(text) is not None
        assert matches_relaxed or not matches
        assert missing or matches_relaxed == matches


@given(pattern=REGULAR, text=st.text(alphabet="abé1_ \n\ufeffA😀-{&", max_size=5), ascii_only=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_string_that_matches_is_never_dead(pattern: str, text: str, ascii_only: bool) -> None:
    ecma = pytest.importorskip("msifr_policy.filters.ecma")
    assume(ecma.search(pattern, text))
    assert verdict(json.dumps(text, ensure_ascii=ascii_only), {"pattern": pattern}) is Verdict.UNKNOWN


def test_references_within_a_part_that_has_an_id_are_left_alone() -> None:
    """They lead into that part: the definition of the same name at the top is another."""
    inner = {"$id": "urn:x:part", "$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}
    for schema in (
        {"properties": {"x": inner}, "$defs": {"a": {"type": "integer"}}},
        {"properties": {"x": inner}},
    ):
        rule = JsonSchemaPrefix(schema=schema, place="whole")
        assert rule.start("").feed('{"x": "text"}').verdict is not Verdict.DEAD
    plain = JsonSchemaPrefix(schema={"properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "null"}}})
    assert plain.start("").feed('{"x": "text"}').verdict is Verdict.DEAD
