"""A filter that accepts JSON documents which satisfy a schema, by the library jsonschema."""

import json
import math
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, Literal, get_args

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.filters.base import Judgement, Prompt
from msifr_policy.filters.blocks import BlockEnd, last_block
from msifr_policy.filters.decided import DecidedReader
from msifr_policy.filters.json_end import JsonEnd
from msifr_policy.filters.worker import Answerer, AsksWorker, Worker, require

Find = Literal["whole", "fence", "object"]
"""Where the document is: the whole text, its last closed block fenced as json, or what its first `{` begins."""

_LANGUAGES: Final = frozenset({"json"})
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class JsonSchema(AsksWorker):
    """Accepts a text whose JSON document satisfies `schema`, or the prompt's own schema if none is given.

    find: "whole", "fence" or "object": where in the text the document is.
    seconds, memory: limits of one judgement, in seconds and in bytes of address space.

    Schemas are of Draft 2020-12; `format` is an annotation, as that draft has it, and nothing is fetched from the
    network. A document is refused if readers of JSON may disagree about it: a key occurs twice in one object, or a
    number is NaN or beyond the range of floats; so is one that is nested too deeply for Python's recursion limit (some
    990 levels, 150 under a schema that refers to itself), or has an integer of more than 4,300 digits. The document is
    read and validated in a `Worker`, as a pattern of the schema can be driven to exponential time by a text (Python's
    `re` backtracks): when the limits are reached, the text is not accepted and counts as a failure.

    Raises `InputError` if jsonschema is not installed, the schema is none, or an option is out of range.
    """

    def __init__(
        self, schema: dict[str, Any] | None = None, *, find: Find = "whole", seconds: float = 5.0, memory: int = 1 << 30
    ) -> None:
        package = f"jsonschema {require('jsonschema', 'json-schema')}"
        if find not in get_args(Find):
            known = ", ".join(get_args(Find))
            raise InputError(f"unknown place {find!r}", where="json-schema filter", remedy=f"known: {known}")
        self._schema = None if schema is None else _encode(schema, where="json-schema filter")
        self._find = find
        self.worker = Worker(__name__, seconds=seconds, memory=memory)
        which = "the prompt's" if self._schema is None else blake2b(self._schema.encode(), digest_size=8).hexdigest()
        self.name = f"json-schema[{which}, {find}, {package}, {seconds:g} s, {memory} bytes]"
        """`json-schema`, with a fingerprint of the schema, the options, and the version that decides."""

    def reader(self, _: Prompt) -> DecidedReader:
        """Return a reader that ends an attempt with its document; see `msifr_policy.filters.decided`.

        With "object" that is exact: no continuation can change the verdict. With "whole" the first object or array
        becomes the document, whatever would have followed it, and with "fence" the first closed block does.
        """
        return BlockEnd(_LANGUAGES) if self._find == "fence" else JsonEnd(anywhere=self._find == "object")

    def check(self, prompt: Prompt) -> None:
        """Raise `InputError` if the schema must come from the prompt, which has none or one that is no schema."""
        if self._schema is None:
            where = f"prompt {prompt.prompt_id!r}, field schema"
            if prompt.schema is None:
                raise InputError("no schema", where=where, remedy="add one, or give the filter one for all prompts")
            _encode(prompt.schema, where=where)

    def __call__(self, prompt: Prompt, text: str) -> bool | Judgement:
        """Read the document and validate it."""
        schema = self._schema
        if schema is None and prompt.schema is not None:
            schema = msgspec.json.encode(prompt.schema).decode()
        return schema is not None and self.worker.ask({"schema": schema, "find": self._find, "text": text})


def _encode(schema: dict[str, Any], *, where: str) -> str:
    """Return a schema as JSON; raises `InputError` if it is not one of Draft 2020-12."""
    from jsonschema import Draft202012Validator, SchemaError

    if schema.get("$schema", _DIALECT).rstrip("#") != _DIALECT:
        raise InputError(f"the schema is written for {schema['$schema']}", where=where, remedy=f"use {_DIALECT}")
    try:
        Draft202012Validator.check_schema(schema)
        return msgspec.json.encode(schema).decode()
    except (SchemaError, TypeError) as error:
        reason = error.message if isinstance(error, SchemaError) else str(error)
        raise InputError(f"not a schema of Draft 2020-12: {reason}", where=where) from error


def load() -> Answerer:
    """Import jsonschema and return what answers {schema, find, text}; the schema is JSON text."""
    from jsonschema import Draft202012Validator
    from jsonschema_specifications import REGISTRY

    @lru_cache(maxsize=256)
    def validator(schema: str) -> Draft202012Validator:
        # With a registry of its own nothing is ever fetched from the network.
        return Draft202012Validator(json.loads(schema), registry=REGISTRY)

    def answer(request: dict[str, Any]) -> bool:
        try:
            document = _read_document(request["text"], request["find"])
            return bool(validator(request["schema"]).is_valid(document))
        except (ValueError, RecursionError):
            return False  # no document, or one nested too deeply to be of use

    return answer


def _read_document(text: str, find: str) -> Any:
    """Return the document in `text`; raises ValueError or RecursionError where there is none."""
    if find == "object":
        start = text.find("{")
        if start < 0:
            raise ValueError("no object")
        return _decoder.raw_decode(text, start)[0]
    document = last_block(text, _LANGUAGES) if find == "fence" else text
    if document is None:
        raise ValueError("no fenced block")
    return _decoder.decode(document)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(members := dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return members


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError("a number is not finite")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
