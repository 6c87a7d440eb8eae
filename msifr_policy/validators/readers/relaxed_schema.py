"""JSON schemas as llguidance takes them: every value of the one, written in any way, is also one of the other.

llguidance turns a schema into a grammar of one way to write its values, as a generator needs it: keys in the order of
the schema, integers as `1` but never `1.0`, no escapes where a letter will do. A text that merely *reads* as valid
must not be called dead for that, so the schema is **relaxed** first:

* `properties` become patterns of keys, which may come in any order; what is required is left to who has the document;
* integers become numbers, and bounds on numbers go, since `25` may go on as `25e-1`;
* in an enumeration numbers stand for any number, objects for any object, arrays for any array;
* of several parts that must hold at once (`$ref`, `allOf`, `anyOf` and keywords beside them) one is kept;
  `oneOf` becomes `anyOf`; patterns are those of `relaxed_pattern`; what else is not named below goes.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

from msifr_policy.errors import InputError
from msifr_policy.validators.readers.completion import check_grammar
from msifr_policy.validators.readers.relaxed_pattern import relaxed_pattern

_TYPES = ("string", "number", "integer", "boolean", "null", "object", "array")
_LENGTHS = ("minLength", "maxLength", "minItems", "maxItems")
_MOST: Final = 10_000  # characters or items that are counted
_SAYS_NOTHING: Final = frozenset(
    {
        *("$schema", "$id", "$anchor", "$dynamicAnchor", "$vocabulary", "$comment", "$defs", "definitions"),
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "format"),
        *("contentEncoding", "contentMediaType", "contentSchema"),
    }
)
"""Keywords that no value is refused for."""
_REFERENCE = re.compile(r"#(?:/(?P<part>\$defs|definitions)/(?P<name>[A-Za-z0-9_.-]+))?")
_NOTHING: Final[dict[str, Any]] = {"anyOf": []}
_ANYTHING: Final[dict[str, Any]] = {"anyOf": [{}]}


class RelaxedSchema:
    """What is left of `schema`, and what is not; without `patterns` these are left out.

    `missing` has the place of each keyword that is left out, or judged by in part only, and why if it says so. Raises
    `InputError` for a pattern that is none, a definition that is not there, and no choices at all.
    """

    def __init__(self, schema: dict[str, Any], *, patterns: bool = True) -> None:
        self.missing: list[str] = []
        self._patterns = patterns
        self._several = _has_inner_id(schema)  # references may then be relative to another part
        self._definitions = {
            part: schema[part] for part in ("$defs", "definitions") if isinstance(schema.get(part), dict)
        }
        definitions = {
            part: {key: self._any(value, f"#/{part}/{key}") for key, value in schema[part].items()}
            for part in self._definitions
        }
        self.schema = {**self._any(schema, "#"), **definitions}

    def _miss(self, schema: dict[str, Any], kept: Iterable[str], at: str) -> None:
        """Note that of all keywords only these are kept."""
        self.missing += [f"{at}/{key}" for key in schema if key not in _SAYS_NOTHING and key not in kept]

    def _any(self, schema: Any, at: str) -> dict[str, Any]:
        """Relax one schema, or what stands in the place of one; what is not understood allows anything."""
        if schema is False:
            return _NOTHING
        if not isinstance(schema, dict):
            return _ANYTHING
        for keyword in ("anyOf", "oneOf", "allOf"):
            if schema.get(keyword) == []:
                raise InputError(f"{at}/{keyword} is empty")
        for keyword in ("const", "enum"):
            if keyword in schema:
                values = [schema[keyword]] if keyword == "const" else schema[keyword]
                self._miss(schema, [keyword], at)
                return self._one_of(values, f"{at}/{keyword}") if isinstance(values, list) else _ANYTHING
        if "$ref" in schema:
            reference = schema["$ref"]
            known = isinstance(reference, str) and not self._several and _REFERENCE.fullmatch(reference)
            if known and known["part"] and known["name"] not in self._definitions.get(known["part"], ()):
                raise InputError(f"the schema refers to {reference!r}, which is not there")
            self._miss(schema, ["$ref"] if known else [], at)
            return {"$ref": reference} if known else _ANYTHING
        if "type" not in schema and "properties" not in schema:
            for part in ("anyOf", "oneOf"):
                if isinstance(schema.get(part), list):
                    self._miss(schema, ["anyOf"], at)
                    return {"anyOf": [self._any(each, f"{at}/{part}/{i}") for i, each in enumerate(schema[part])]}
            if isinstance(schema.get("allOf"), list) and schema["allOf"]:
                self._miss(schema, ["allOf"], at)
                self.missing += [f"{at}/allOf/{i}" for i in range(1, len(schema["allOf"]))]
                return self._any(schema["allOf"][0], f"{at}/allOf/0")
        return self._keywords(schema, at)

    def _keywords(self, schema: dict[str, Any], at: str) -> dict[str, Any]:
        result: dict[str, Any] = {
            key: int(value)
            for key, value in schema.items()
            if key in _LENGTHS and isinstance(value, int | float) and 0 <= value <= _MOST
        }
        kept = [*result, "type", "properties", "items"]
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        if types and all(kind in _TYPES for kind in types):
            result["type"] = sorted({"number" if kind == "integer" else kind for kind in types})
            if "integer" in types and "number" not in types:
                self.missing.append(f"{at}/type: integers are any number")
        if isinstance(pattern := schema.get("pattern"), str) and self._patterns:
            result["pattern"], missing = relaxed_pattern(pattern)
            kept.append("pattern")
            if missing:
                self.missing.append(f"{at}/pattern: {', '.join(sorted(missing))}")
        if isinstance(properties := schema.get("properties"), dict):
            keys = {_SPECIAL.sub(r"\\\g<0>", key): (key, value) for key, value in properties.items()}
            result["patternProperties"] = {
                f"^({key})$": self._any(value, f"{at}/properties/{name}") for key, (name, value) in keys.items()
            }
        # Keys that other keywords allow must not be forbidden here.
        if "additionalProperties" in schema and "patternProperties" not in schema:
            kept.append("additionalProperties")
            result["additionalProperties"] = self._any(schema["additionalProperties"], f"{at}/additionalProperties")
        if isinstance(first := schema.get("prefixItems"), list):
            kept.append("prefixItems")
            result["prefixItems"] = [self._any(item, f"{at}/prefixItems/{i}") for i, item in enumerate(first)]
        if isinstance(items := schema.get("items"), dict | bool):  # a list is a tuple, in drafts before 2020
            result["items"] = self._any(items, f"{at}/items")
        if at == "#":
            kept.append("required")
        self._miss(schema, kept, at)
        return result

    def _one_of(self, values: list[Any], at: str) -> dict[str, Any]:
        """Return what an enumeration comes to: its texts and names as they are, of all else the type."""
        exact = [value for value in values if value is None or isinstance(value, str | bool)]
        choices: list[dict[str, Any]] = [{"enum": exact}] if exact else []
        for kind, types in (("number", int | float), ("object", dict), ("array", list)):
            if any(isinstance(value, types) and not isinstance(value, bool) for value in values):
                choices.append({"type": kind})
                self.missing.append(f"{at}: any {kind}")
        return {"anyOf": choices}


def _has_inner_id(schema: dict[str, Any]) -> bool:
    """Say whether a part of the schema has an `$id` of its own."""
    waiting: list[Any] = [*schema.values()]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("$id"), str):
                return True
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return False


_SPECIAL = re.compile(r"[.^$*+?{}\[\]\\|()]")


def grammar_of(schema: dict[str, Any], where: str) -> tuple[str, tuple[str, ...]]:
    """Return a relaxed schema as llguidance reads it, and what is missing from it.

    What llguidance refuses all the same is relaxed further: first all patterns go, then all but that it is JSON.
    Raises `InputError` for a pattern that is none.
    """
    from llguidance import LLMatcher

    refusal = ""
    for patterns in (True, False):
        try:
            left = RelaxedSchema(schema, patterns=patterns)
        except InputError as error:
            raise InputError(error.what, where=where) from error
        try:
            grammar = LLMatcher.grammar_from_json_schema(left.schema)
            check_grammar(grammar, where)
        except ValueError as error:
            refusal = str(error)
        else:
            return grammar, tuple(left.missing)
    return LLMatcher.grammar_from_json_schema(_ANYTHING), (f"#: {refusal}",)
