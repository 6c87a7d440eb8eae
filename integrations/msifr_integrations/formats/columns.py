"""Records of any shape as rows of Parquet: each field of ours has a column, what else there is shares one."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msifr_integrations.formats.rows import Record
from msifr_policy.records.lines import as_texts, line_of
from msifr_policy.records.parquet import is_parquet

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS: Final = (
    *("id", "prompt_id", "text", "prompt", "group", "dataset", "model", "gold", "tests", "status", "finish", "error"),
    *("reason", "judged_by"),
)
_WHOLE: Final = ("tokens", "prompt_tokens", "seed", "k", "position")
_TRUTHS: Final = ("correct", "correct_before")
_NUMBERS: Final = ("score", "posterior", "worth", "threshold", "weight")
_WHOLE_LISTS: Final = ("token_ends", "stages", "step_labels")
_AS_JSON: Final = ("parameters", "schema")
_OTHER: Final = "other"
"""The column of everything else, as JSON."""

ToRow = Callable[[Record], Record]


def columns_of(paths: Iterable[Path], more: Iterable[str]) -> "tuple[pa.Schema, ToRow]":
    """Return the columns for the records of files with the fields `more` of ours added, and what makes a row of one.

    Those of Parquet files that have the same columns are kept as they are; needs pyarrow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = list(paths)
    usual = _usual()
    if all(map(is_parquet, files)):
        schemas = [pq.read_schema(path).remove_metadata() for path in files]
        if all(schema.equals(schemas[0]) for schema in schemas):
            kept = [field for field in schemas[0] if field.name not in more]
            return pa.schema([*kept, *(usual.field(name) for name in more)]), lambda record: record
    return usual, _row


def _usual() -> "pa.Schema":
    import pyarrow as pa

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    return pa.schema(
        dict.fromkeys(_TEXTS, pa.string())
        | dict.fromkeys(_WHOLE, pa.int64())
        | dict.fromkeys(_TRUTHS, pa.bool_())
        | dict.fromkeys(_NUMBERS, pa.float64())
        | dict.fromkeys(_WHOLE_LISTS, pa.list_(pa.int64()))
        | {"logprobs": pa.list_(pa.float64()), "messages": pa.list_(message)}
        | dict.fromkeys((*_AS_JSON, _OTHER), pa.string())
    )


_KNOWN: Final = frozenset(
    (*_TEXTS, *_WHOLE, *_TRUTHS, *_NUMBERS, *_WHOLE_LISTS, *_AS_JSON, _OTHER, "logprobs", "messages")
)


def _row(record: Record) -> Record:
    row: dict[str, Any] = {name: value for name, value in record.items() if name in _KNOWN}
    row = as_texts(row, _TEXTS)
    row |= {name: json.dumps(row[name]) for name in _AS_JSON if isinstance(row.get(name), dict)}
    rest = {name: value for name, value in record.items() if name not in _KNOWN}
    return row | {_OTHER: line_of(rest).decode().rstrip("\n")} if rest else row
