"""The process behind `JsonSchema`; nothing else imports it."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

from msifr_policy.filters.blocks import last_block
from msifr_policy.filters.serving import Answerer, serve

_LANGUAGES = frozenset({"json"})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a key occurs twice")
    return members


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is not finite")
    return value


_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)


def read_document(text: str, find: str) -> Any:
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
            document = read_document(request["text"], request["find"])
            return bool(validator(request["schema"]).is_valid(document))
        except (ValueError, RecursionError):
            return False  # no document, or one nested too deeply to be of use

    return answer


if __name__ == "__main__":
    serve(load)
