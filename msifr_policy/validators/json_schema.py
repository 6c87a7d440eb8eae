"""JSON that no completion can make valid under a schema, as far as that can be told without error.

The schema is relaxed for llguidance, see `readers.relaxed_schema`; what is required is checked once the document is
closed, at its top level. Two spellings remain that llguidance does not take: the escapes `\\u0041` and `\\/`, and the
raw character 127. A text that has one of them when it is rejected is left alone for good.
"""

import json
import math
import re
from functools import lru_cache
from typing import Any, Final

import jiter

from msifr_policy.filters.json_schema import bracket_of
from msifr_policy.reading.json_documents import Documents, Place
from msifr_policy.reading.json_syntax import STOPS, WHITE
from msifr_policy.validators.base import Evidence, Rule, Silence, TextState, evidence
from msifr_policy.validators.readers.completion import Completion
from msifr_policy.validators.readers.relaxed_schema import grammar_of

MAX_DOCUMENTS: Final = 64
"""Documents of a text that are read; of later ones nothing is known."""


class JsonSchemaPrefix(Rule, frozen=True):
    """Follows the JSON documents of the text, outside thinking, under `schema` (a JSON schema).

    Without a schema it is the prompt's: that of its parameters, else the one that its final filter judges by. Where
    there is none either, the verdict is UNKNOWN. place: where documents are, as for `JsonText`.

    The verdict is DEAD once no completion of the document is valid JSON under the relaxed schema, or once it is closed
    without a key its top level requires: where the text is one document from its beginning (see `JsonText`). Where
    a later document may replace it, and in all other cases, it is UNKNOWN. Documents longer than `completion.LIMIT`
    bytes are left alone. Raises `InputError` for a schema with a pattern that is none. What of a schema is not judged
    by, `relaxed` says.
    """

    name = "json_schema"
    version = "4"
    columns = ("complete", "read", "missing", "dead")
    """Of the last document that began: `complete`: 1 if it fits the relaxed schema so far, else 0, NaN where that is
    not known; `read`: its characters that could be read, NaN if it is too long; `missing`: keys required at the top
    level that it is closed without, NaN before; `dead`: 1 if it cannot become valid, else 0, NaN as `complete`.
    """
    schema: dict[str, Any] | None = None
    place: Place = "auto"

    def __post_init__(self) -> None:
        if self.schema is not None:
            self._grammar()

    @property
    def relaxed(self) -> tuple[str, ...]:
        """What of the schema is left out, or judged by in part only: places of keywords, and why."""
        return () if self.schema is None else self._grammar()[1]

    def _grammar(self) -> tuple[str, tuple[str, ...]]:
        return _grammar(json.dumps(self.schema))

    def _state(self, _: str) -> TextState:
        if self.schema is None:
            return Silence(self.columns)
        required = self.schema.get("required")
        keys = {key for key in required if isinstance(key, str)} if isinstance(required, list) else set()
        documents = Documents(self.place, bracket_of(self.schema))
        return _JsonSchemaState(documents, self._grammar()[0], frozenset(keys), strict=self.place == "whole")


@lru_cache(256)
def _grammar(schema: str) -> tuple[str, tuple[str, ...]]:
    return grammar_of(json.loads(schema), "validator json_schema, parameter schema")


# What llguidance may refuse though JSON has it. A lone backslash may be the first half of one.
_OTHER_SPELLING = re.compile(r"\\[u/]|\x7f|\\\Z")


class _JsonSchemaState(TextState):
    def __init__(self, documents: Documents, grammar: str, required: frozenset[str], *, strict: bool) -> None:
        self._documents = documents
        self._grammar = grammar
        self._required = required
        self._strict = strict  # nothing may follow the document
        self._begun = 0
        self._document = _SchemaDocument(grammar, required)

    def _read(self, text: str) -> Evidence:
        for part in self._documents.feed(text):
            if part.begins:
                self._begun += part.document is not None
                self._document = _SchemaDocument(self._grammar, self._required)
            if part.document is not None and self._begun <= MAX_DOCUMENTS:
                self._document.feed(part.text, ended=part.document.state in STOPS)
        fits, read, missing, dead = self._document.scores()
        if self._begun > MAX_DOCUMENTS:
            fits = read = missing = dead = math.nan
        elif self._strict and self._documents.followed:
            fits, dead = 0.0, 1.0
        return evidence(fits, read, missing, dead, dead=dead == 1 and self._documents.sole)


class _SchemaDocument:
    """One document as far as it is read."""

    def __init__(self, grammar: str, required: frozenset[str]) -> None:
        self._grammar = grammar
        self._required = required
        self._completion: Completion | None = None
        self._pieces: list[str] = []  # while it is open: at most `LIMIT` bytes and one feed
        self._missing: float = math.nan  # a number once it is closed
        self._spared = False  # rejected, but perhaps for its spelling

    def feed(self, text: str, *, ended: bool) -> None:
        """Read on; `ended`: this is the last of it."""
        completion = self._completion
        if completion is None:
            text = text.lstrip(WHITE)
            completion = self._completion = Completion(self._grammar)
        if completion.state == "open" and math.isnan(self._missing):
            self._pieces.append(text)
            completion.feed(text)
            self._judge(completion, ended=ended)

    def _judge(self, completion: Completion, *, ended: bool) -> None:
        if completion.state == "open" and not completion.final and not ended:
            return
        document = "".join(self._pieces)
        self._pieces.clear()
        if completion.state == "lost":
            return
        # The first character after what was read, if any, is the one that does not fit.
        read = int(completion.characters)
        if completion.final or (completion.complete and read < len(document) and document[read] in WHITE):
            self._missing = _missing(document[:read], self._required)
        elif completion.state == "dead":
            self._spared = bool(_OTHER_SPELLING.search(document[: read + 1]))

    def scores(self) -> tuple[float, float, float, float]:
        """Return the scores of `JsonSchemaPrefix.columns`."""
        completion = self._completion
        if completion is None:
            return 0.0, 0.0, math.nan, 0.0
        known = completion.state != "lost" and not self._spared
        closed = not math.isnan(self._missing)
        if not known:
            return math.nan, completion.characters, self._missing, math.nan
        dead = self._missing > 0 if closed else completion.state == "dead"
        complete = closed or (completion.state == "open" and completion.complete)
        return float(complete), completion.characters, self._missing, float(dead)


def _missing(document: str, required: frozenset[str]) -> int:
    """Return how many of the `required` keys a valid document lacks."""
    try:
        value = jiter.from_json(document.encode("utf-8", "replace"), float_mode="lossless-float", cache_mode="none")
    except ValueError:  # a number or a nesting that jiter does not take
        return 0
    return len(required - value.keys()) if isinstance(value, dict) else 0
