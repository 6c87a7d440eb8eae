"""JSON that no completion can make valid under a schema, as far as that can be told without error.

llguidance turns a schema into a grammar of one way to write its values, as a generator needs it: keys in the order of
the schema, integers as `1` but never `1.0`, no escapes where a letter will do. A text that merely *reads* as valid
must not be called dead for that, so the schema is **relaxed** first: every value of the schema, written
in any way, is also one of the relaxed schema.

* `properties` become patterns of keys, which may come in any order; what is required is checked once the
  document is closed, at its top level;
* integers become numbers, and bounds on numbers go, since `25` may go on as `25e-1`;
* in an enumeration numbers stand for any number, objects for any object, arrays for any array;
* of several parts that must hold at once (`$ref`, `allOf`, `anyOf` and keywords beside them) one is kept;
  `oneOf` becomes `anyOf`; `format`, `not`, `if`, `uniqueItems` and what else is not named below goes.

Two spellings remain that llguidance does not take: the escapes `\\u0041` and `\\/`, and the raw character 127. A text
that has one of them when it is rejected is left alone for good. Patterns of strings are read as ECMA-262 has it.
"""

import math
import re
from typing import Any

import jiter

from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence
from msifr_policy.validators.readers.completion import Completion, check_grammar
from msifr_policy.validators.readers.json_place import JsonPlace, Place


class JsonSchemaPrefix(Rule, frozen=True):
    """Follows the JSON document of the text under `schema` (a JSON schema); `place` says where it begins.

    Without a schema it is the prompt's: that of its parameters, else the one that its final filter judges by. Where
    there is none either, the verdict is UNKNOWN.

    The verdict is DEAD once no completion of the document is valid JSON under the relaxed schema, or once the document
    is closed without a key its top level requires; else UNKNOWN. Documents longer than `completion.LIMIT`
    bytes are left alone. Raises `InputError` for a schema that llguidance does not take.
    """

    name = "json_schema"
    version = "2"
    columns = ("complete", "read", "missing", "dead")
    """`complete`: 1 if the document so far fits the relaxed schema, else 0, NaN where that is not known; `read`:
    characters of the document that could be read, NaN if it is too long; `missing`: keys required at the top
    level that a closed document does not have, NaN before; `dead`: 1 if the verdict is DEAD, else 0, NaN as `complete`.
    """
    schema: dict[str, Any] | None = None
    place: Place = "auto"

    def __post_init__(self) -> None:
        if self.schema is not None:
            check_grammar(_grammar(self.schema), "validator json_schema, parameter schema")

    def _state(self, _: str) -> TextState:
        if self.schema is None:
            return Silence(self.columns)
        required = self.schema.get("required")
        keys = {key for key in required if isinstance(key, str)} if isinstance(required, list) else set()
        return _JsonSchemaState(JsonPlace(self.place), Completion(_grammar(self.schema)), frozenset(keys))


def _grammar(schema: dict[str, Any]) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(relaxed(schema))


_BLANKS = " \t\n\r"
# What llguidance may refuse though JSON has it. A lone backslash may be the first half of one.
_OTHER_SPELLING = re.compile(r"\\[u/]|\x7f|\\\Z")


class _JsonSchemaState(TextState):
    def __init__(self, place: JsonPlace, completion: Completion, required: frozenset[str]) -> None:
        self._place = place
        self._completion = completion
        self._required = required
        self._pieces: list[str] = []  # of the document, while it is open: at most `LIMIT` bytes and one feed
        self._missing: float = math.nan  # a number once the document is closed
        self._spared = False  # rejected, but perhaps for its spelling

    def _read(self, text: str) -> Evidence:
        completion = self._completion
        text = self._place.feed(text)
        if not completion.characters:
            text = text.lstrip(_BLANKS)
        if text and completion.state == "open" and math.isnan(self._missing):
            self._follow(text)
        known = completion.state != "lost" and not self._spared
        closed = not math.isnan(self._missing)
        dead = self._missing > 0 if closed else known and completion.state == "dead"
        complete = closed or (completion.state == "open" and completion.complete)
        fits, fails = (complete, dead) if known else (math.nan, math.nan)
        return evidence(fits, completion.characters, self._missing, fails, dead=dead)

    def _follow(self, text: str) -> None:
        completion = self._completion
        self._pieces.append(text)
        completion.feed(text)
        if completion.state == "open" and not completion.final:
            return
        document = "".join(self._pieces)
        self._pieces.clear()
        if completion.state == "lost":
            return
        # The first character after what was read, if any, is the one that does not fit.
        read = int(completion.characters)
        if completion.final or (completion.complete and document[read] in _BLANKS):
            self._missing = _missing(document[:read], self._required)
        else:
            self._spared = bool(_OTHER_SPELLING.search(document[: read + 1]))


def _missing(document: str, required: frozenset[str]) -> int:
    """Return how many of the `required` keys a valid document lacks."""
    try:
        value = jiter.from_json(document.encode("utf-8", "replace"), float_mode="lossless-float", cache_mode="none")
    except ValueError:  # a number or a nesting that jiter does not take
        return 0
    return len(required - value.keys()) if isinstance(value, dict) else 0


_TYPES = ("string", "number", "integer", "boolean", "null", "object", "array")
_UNCHANGED = {"minLength", "maxLength", "pattern", "minItems", "maxItems"}
_REFERENCE = re.compile(r"#(?:/(?:\$defs|definitions)/[A-Za-z0-9_.-]+)?")


def relaxed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that llguidance reads in full and that every value of `schema` fits, however it is written."""
    definitions = {
        part: {key: _relaxed(value) for key, value in schema[part].items()}
        for part in ("$defs", "definitions")
        if isinstance(schema.get(part), dict)
    }
    return {**_relaxed(schema), **definitions}


_NOTHING: dict[str, Any] = {"anyOf": []}
_ANYTHING: dict[str, Any] = {"anyOf": [{}]}


def _relaxed(schema: Any) -> dict[str, Any]:
    """Relax one schema, or what stands in the place of one; what is not understood allows anything."""
    if schema is False:
        return _NOTHING
    if not isinstance(schema, dict):
        return _ANYTHING
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return _one_of(values)
    if "$ref" in schema:
        reference = schema["$ref"]
        known = isinstance(reference, str) and _REFERENCE.fullmatch(reference)
        return {"$ref": reference} if known else _ANYTHING
    if "type" not in schema and "properties" not in schema:
        for part in ("anyOf", "oneOf"):
            if isinstance(schema.get(part), list):
                return {"anyOf": [_relaxed(choice) for choice in schema[part]]}
        if isinstance(schema.get("allOf"), list) and schema["allOf"]:
            return _relaxed(schema["allOf"][0])
    return _relaxed_keywords(schema)


def _relaxed_keywords(schema: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {key: value for key, value in schema.items() if key in _UNCHANGED}
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and all(kind in _TYPES for kind in types):
        result["type"] = sorted({"number" if kind == "integer" else kind for kind in types})
    if isinstance(properties := schema.get("properties"), dict):
        keys = {_SPECIAL.sub(r"\\\g<0>", key): value for key, value in properties.items()}
        result["patternProperties"] = {f"^({key})$": _relaxed(value) for key, value in keys.items()}
    # Keys that other keywords allow must not be forbidden here.
    if "additionalProperties" in schema and "patternProperties" not in schema:
        result["additionalProperties"] = _relaxed(schema["additionalProperties"])
    if isinstance(first := schema.get("prefixItems"), list):
        result["prefixItems"] = [_relaxed(item) for item in first]
    if isinstance(items := schema.get("items"), dict | bool):  # a list is a tuple, in drafts before 2020
        result["items"] = _relaxed(items)
    return result


_SPECIAL = re.compile(r"[.^$*+?{}\[\]\\|()]")


def _one_of(values: list[Any]) -> dict[str, Any]:
    """Return what an enumeration comes to: its texts and names as they are, of all else the type."""
    exact = [value for value in values if value is None or isinstance(value, str | bool)]
    choices: list[dict[str, Any]] = [{"enum": exact}] if exact else []
    for kind, types in (("number", int | float), ("object", dict), ("array", list)):
        if any(isinstance(value, types) and not isinstance(value, bool) for value in values):
            choices.append({"type": kind})
    return {"anyOf": choices}
