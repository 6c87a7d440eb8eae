"""A filter that accepts JSON documents which satisfy a schema, by the library jsonschema.

What jsonschema leaves to Python is done here as Draft 2020-12 has it: patterns are those of ECMA-262, and numbers
are compared, and divided for `multipleOf`, as the decimals that they are written as.
"""

import json
import math
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, get_args

from msifr_policy.errors import InputError
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.decided import DecidedReader
from msifr_policy.filters.json_end import JsonBlockEnd, JsonEnd
from msifr_policy.filters.worker import Answerer, AsksWorker, Worker, require
from msifr_policy.reading.json_find import Find, find_document
from msifr_policy.reading.json_syntax import JsonSyntax

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_VERSION: Final = 3
"""Changes with the rules of this file, of `json_find` and of `ecma`."""


class JsonSchema(AsksWorker):
    """Accepts a text whose JSON document satisfies `schema`, or the prompt's own schema if none is given.

    find: "whole", "fence" or "object": where in the text the document is; see `msifr_policy.reading.json_find`.
    seconds, memory: limits of one judgement, in seconds and in bytes of address space.

    Schemas are of Draft 2020-12: `format` is an annotation, keywords that the draft does not know are ignored, patterns
    are of ECMA-262 (see `msifr_policy.filters.ecma`), and nothing is fetched from the network: references lead into the
    schema or to the drafts themselves. A document is refused if readers of JSON may disagree about it: a key occurs
    twice in one object, a number is NaN or beyond the range of floats, or a string has half of a surrogate pair; so is
    one that is nested more than 900 levels deep, or has an integer of more than 4,300 digits. The document is found,
    read and validated in a `Worker`, as a pattern of the schema can be driven to exponential time by a text: when the
    limits are reached, the text is not accepted and counts as a failure.

    Raises `InputError` if jsonschema is not installed, the schema is none, or an option is out of range.
    """

    def __init__(
        self, schema: dict[str, Any] | None = None, *, find: Find = "whole", seconds: float = 5.0, memory: int = 1 << 30
    ) -> None:
        packages = ", ".join(f"{package} {require(package, 'json-schema')}" for package in ("jsonschema", "regress"))
        if find not in get_args(Find):
            known = ", ".join(get_args(Find))
            raise InputError(f"unknown place {find!r}", where="json-schema filter", remedy=f"known: {known}")
        self._schema = None if schema is None else _encode(schema, where="json-schema filter")
        self._find: Find = find
        self.worker = Worker(__name__, seconds=seconds, memory=memory)
        which = "the prompt's" if self._schema is None else blake2b(self._schema.encode(), digest_size=8).hexdigest()
        self.name = f"json-schema {_VERSION}[{which}, {find}, {packages}, {seconds:g} s, {memory} bytes]"
        """`json-schema`, with a fingerprint of the schema, the options, and the versions that decide."""
        self._given = schema

    def reader(self, prompt: Prompt) -> DecidedReader:
        """Return a reader that ends an attempt with its first document; see `msifr_policy.filters.decided`.

        No such end is exact: with "fence" and "object" a later document would count instead, and with "whole" what
        follows the first object or array would make the text no document.
        """
        if self._find == "fence":
            return JsonBlockEnd()
        schema = prompt.schema if self._given is None else self._given
        return JsonEnd(anywhere=self._find == "object", bracket=bracket_of(schema))

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the schema must come from the prompt, which has none or one that is no schema."""
        if self._schema is None:
            where = f"prompt {prompt.prompt_id!r}, field schema"
            if prompt.schema is None:
                raise InputError("no schema", where=where, remedy="add one, or give the filter one for all prompts")
            _encode(prompt.schema, where=where)

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Find the document, read it and validate it."""
        schema = self._schema
        if schema is None and prompt.schema is not None:
            schema = json.dumps(prompt.schema)
        return schema is not None and self.worker.ask({"schema": schema, "find": self._find, "text": text})


def bracket_of(schema: dict[str, Any] | None) -> str:
    """Return what documents that are searched for begin with: `[` if the schema allows arrays, but no objects."""
    types = _types(schema, schema or {}, {})
    return "[" if "array" in types and "object" not in types else "{"


_BOTH: Final = frozenset({"array", "object"})
_DEEPEST: Final = 100  # parts within parts, and references, that are followed


def _types(part: Any, schema: dict[str, Any], known: dict[int, frozenset[str]]) -> frozenset[str]:
    """Return which of array and object a part of a schema may allow; `known` is of parts that were seen before."""
    if not isinstance(part, dict) or len(known) > _DEEPEST:
        return frozenset() if part is False else _BOTH
    if id(part) in known:
        return known[id(part)]
    known[id(part)] = _BOTH  # where it refers to itself
    named = part.get("type", [*_BOTH])
    types = _BOTH.intersection([named] if isinstance(named, str) else named)
    if "const" in part or "enum" in part:
        values = [part["const"]] if "const" in part else part["enum"]
        types &= {
            "array" if isinstance(value, list) else "object" for value in values if isinstance(value, (list, dict))
        }
    if part.get("$ref", "").startswith("#"):
        target: Any = schema
        for key in part["$ref"].split("/")[1:]:
            target = target.get(key) if isinstance(target, dict) else None
        types &= _types(target, schema, known)
    for each in part.get("allOf", ()):
        types &= _types(each, schema, known)
    for keyword in ("anyOf", "oneOf"):
        if keyword in part:
            types &= frozenset[str]().union(*(_types(each, schema, known) for each in part[keyword]))
    known[id(part)] = types
    return types


def _encode(schema: dict[str, Any], *, where: str) -> str:
    """Return a schema as JSON; raises `InputError` if it is none of Draft 2020-12 or refers to what is not there."""
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError
    from referencing.exceptions import Unresolvable

    dialect = schema.get("$schema", _DIALECT)
    if not isinstance(dialect, str) or dialect.rstrip("#") != _DIALECT:
        raise InputError(f"the schema is written for {dialect!r}", where=where, remedy=f"use {_DIALECT}")
    try:
        encoded = json.dumps(schema, allow_nan=False)
        encoded.encode()
        formats = FormatChecker(())
        formats.checks("regex", ValueError)(_is_pattern)
        read = json.loads(encoded)
        Draft202012Validator.check_schema(read, format_checker=formats)
        _check_references(read)
    except (SchemaError, TypeError, ValueError, RecursionError) as error:
        reason = str(error)
        if isinstance(error, SchemaError):
            reason = str(error.cause or error.message)
        raise InputError(f"not a schema of Draft 2020-12: {reason}", where=where) from error
    except _EndlessError as error:
        raise InputError(
            "a part of the schema is applied to the same value again and again", where=where, remedy="break the circle"
        ) from error
    except Unresolvable as error:
        remedy = "nothing is fetched: put what it refers to in the schema's $defs"
        raise InputError(
            f"the schema refers to {error.ref!r}, which is not there", where=where, remedy=remedy
        ) from error
    return encoded


def _is_pattern(value: object) -> bool:
    from msifr_policy.filters.ecma import compiled

    return not isinstance(value, str) or compiled(value) is not None


class _EndlessError(Exception):
    """A schema is applied to the same value again and again."""


def _on_same_value(schema: dict[str, Any]) -> list[Any]:
    """Return the parts of a schema that are applied to the value which it is applied to."""
    one = [schema[keyword] for keyword in ("not", "if", "then", "else") if keyword in schema]
    several = [each for keyword in ("allOf", "anyOf", "oneOf") for each in schema.get(keyword, ())]
    return [*one, *several, *schema.get("dependentSchemas", {}).values()]


def _check_ends(applies: dict[int, list[Any]]) -> None:
    """Raise `_EndlessError` if a schema comes to be applied to a value to which it is being applied already."""
    done, under_way = set[int](), set[int]()
    for root in applies:
        path = [(root, iter(applies[root]))] if root not in done else []
        under_way = {root}
        while path:
            number, rest = path[-1]
            part = next(rest, None)
            if part is None:
                done.add(number)
                under_way.discard(number)
                path.pop()
            elif id(part) in under_way:
                raise _EndlessError
            elif id(part) in applies and id(part) not in done:
                under_way.add(id(part))
                path.append((id(part), iter(applies[id(part)])))


def _check_references(schema: dict[str, Any]) -> None:
    """Raise Unresolvable for a reference that leads to nothing that is there, `_EndlessError` for circles."""
    from jsonschema_specifications import REGISTRY
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(schema)
    to_read = [(root, REGISTRY.resolver_with_root(root))]
    seen = set[int]()
    applies: dict[int, list[Any]] = {}  # what is applied to the same value as a schema
    while to_read:
        resource, resolver = to_read.pop()
        content = resource.contents
        if not isinstance(content, dict) or id(content) in seen:
            continue
        seen.add(id(content))
        applies[id(content)] = _on_same_value(content)
        for keyword in ("$ref", "$dynamicRef"):
            if keyword in content:
                found = resolver.lookup(content[keyword])
                to_read.append((DRAFT202012.create_resource(found.contents), found.resolver))
                applies[id(content)].append(found.contents)
        to_read += [(part, resolver.in_subresource(part)) for part in resource.subresources()]
    _check_ends(applies)


def load() -> Answerer:
    """Import jsonschema and return what answers {schema, find, text}; the schema is JSON text."""
    from jsonschema_specifications import REGISTRY

    exact = _exact_validator()
    sys.setrecursionlimit(50_000)  # jsonschema calls some ten functions for each level of a document

    @lru_cache(maxsize=256)
    def validator(schema: str) -> tuple[Any, str]:
        read = json.loads(schema, parse_float=Decimal)
        # With a registry of its own nothing is ever fetched from the network.
        return exact(read, registry=REGISTRY), bracket_of(read)

    def answer(request: dict[str, Any]) -> bool:
        judge, bracket = validator(request["schema"])
        document = find_document(request["text"], request["find"], bracket)
        if document is None:
            return False
        try:
            return bool(judge.is_valid(read_document(document)))
        except ValueError:
            return False  # it is none, or one to refuse

    return answer


def read_document(text: str) -> Any:
    """Return the value of a JSON document, with its fractions as Decimal; raises ValueError for one to refuse."""
    syntax = JsonSyntax()
    syntax.feed(text)
    if syntax.state in ("broken", "too deep"):
        raise ValueError(f"the document is {syntax.state}")
    value = _decoder.decode(text)
    if _HALF_PAIR.search(text):
        json.dumps(value, ensure_ascii=False, default=str).encode()  # raises UnicodeEncodeError if it is a half
    return value


_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(members := dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return members


def _finite(digits: str) -> Decimal:
    value, approximate = Decimal(digits), float(digits)
    if not math.isfinite(approximate) or (approximate == 0) != (value == 0):
        raise ValueError("a number is beyond the range of floats")
    return value if value else Decimal(0)


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)


def _exact_validator() -> Any:
    """Return jsonschema's class of validators with the patterns of ECMA-262 and exact numbers.

    What it leaves to Python is its own module `re`, which its keywords look patterns up in: for them another takes its
    place, in the process that this is called in.
    """
    from jsonschema import Draft202012Validator, ValidationError, _keywords, _utils, validators

    from msifr_policy.filters import ecma

    def multiple_of(validator: Any, divisor: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
        if validator.is_type(instance, "number") and (Fraction(instance) / Fraction(divisor)).denominator != 1:
            yield ValidationError(f"{instance} is no multiple of {divisor}")

    def additional_properties(validator: Any, additional: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        # jsonschema joins all patterns to one, which groups do not survive.
        if validator.is_type(instance, "object"):
            patterns, properties = schema.get("patternProperties", {}), schema.get("properties", {})
            for key, value in instance.items():
                if key not in properties and not any(ecma.search(pattern, key) for pattern in patterns):
                    yield from validator.descend(value, additional, path=key)

    def is_integer(_: object, value: object) -> bool:
        whole = isinstance(value, Decimal) and value == value.to_integral_value()
        return whole or (isinstance(value, int) and not isinstance(value, bool))

    vars(_keywords)["re"] = vars(_utils)["re"] = ecma
    return validators.extend(
        Draft202012Validator,
        {"multipleOf": multiple_of, "additionalProperties": additional_properties},
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer),
    )
