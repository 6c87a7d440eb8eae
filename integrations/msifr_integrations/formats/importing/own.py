"""Our own records: traces, and outputs of runs, which are nearly that already; and records that `--map` describes."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from msifr_integrations.formats.importing.attempts import ForeignAttempt, Format, Lost, OutcomeReader, Record
from msifr_policy.errors import InputError
from msifr_policy.records.lines import as_objects, as_texts, with_values
from msifr_policy.records.mapping import FieldMap
from msifr_policy.records.traces import Trace, discarded_attempt

FIELDS: Final = (*(name for name in Trace.__struct_encode_fields__ if name != "exits"), "tests")
"""What `--map` can tell of: the fields of a trace, and the program that a final filter runs as a test. Answers that
were forced at checkpoints were judged by the filter of their run: they are left out, and counted among what is."""

AS_THEY_ARE: Final = "msifr fit takes them as they are"
NO_TEXT: Final = "no text where --map says"

_TEXTS: Final = ("id", "prompt_id", "group", "dataset", "model", "gold")
_OBJECTS: Final = ("parameters", "schema")


def _fits(record: Record) -> bool:
    return {"prompt_id", "text"} <= record.keys()


def _attempts(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
    if record.get("status") == "discarded" and record.get("correct") is None:
        raise discarded_attempt(where)
    if record.get("status") == "failed":
        yield Lost("an attempt that could not be made")
        return
    yield _attempt(record, reading, where)


def _any(record: Record) -> bool:
    del record
    return True


def mapped(mapping: FieldMap) -> Format:
    """Return the format of records whose fields are where `--map` says."""

    def attempts(record: Record, reading: OutcomeReader, where: str) -> Iterator[ForeignAttempt | Lost]:
        found = mapping.attempts(with_values(record, record), where, FIELDS)
        if not found:
            yield Lost("the list of attempts is empty")
        for attempt in found:
            yield _attempt(attempt, reading, where) if attempt.get("text") else Lost(NO_TEXT)

    return Format("records as --map tells", _any, attempts, mapping.columns | set(FIELDS))


def _attempt(record: dict[str, Any], reading: OutcomeReader, where: str) -> ForeignAttempt:
    known = as_objects(as_texts(with_values(record, FIELDS), _TEXTS), _OBJECTS)
    correct = known.pop("correct", None)
    known["outcome"] = None if correct is None else reading.outcome(correct, "correct", where)
    if correct is not None and known["outcome"] is None:
        raise InputError(f"`correct` is {correct!r:.40}, no outcome", where=where, remedy="true, false, or a number")
    try:
        return msgspec.convert(known, ForeignAttempt)
    except msgspec.ValidationError as error:
        remedy = (
            "--map FIELD=PATH tells where a field is, --map FIELD= leaves it out, --on-error skip counts and skips "
            "what is none"
        )
        raise InputError(str(error).removeprefix("Object "), where=where, remedy=remedy) from None


OWN: Final = Format(
    "traces or outputs of a run, as they should be",
    _fits,
    _attempts,
    frozenset((*FIELDS, "status", "outcome", "finish", "seed", "attempt", "messages", "weight", "spent", "reason")),
    note=AS_THEY_ARE,
)
