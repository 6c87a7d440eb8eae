"""JSON lines: from a record to its line, and back; where a line holds none, why, in words that name the remedy."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.files import LONGEST_LINE

LONGEST_MENDED: Final = 2**24
"""Bytes: of other lines Python's own reader could make objects of twenty times their size."""

_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")

_decoder = msgspec.json.Decoder(dict[str, Any])


def object_of(line: bytes, where: str, remedy: str) -> dict[str, Any]:
    """Return the object that a line of JSON holds.

    What Python writes is read too: NaN, infinities, and, as U+FFFD, half of a surrogate pair, which no encoding holds.
    Raises `InputError` for a line that holds no object, with the reason and what helps, or else with `remedy`.
    """
    if len(line) > LONGEST_LINE:
        raise InputError(f"longer than {LONGEST_LINE} bytes", where=where, remedy=remedy)
    try:
        return _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    if len(line) > LONGEST_MENDED:
        raise InputError(reason, where=where, remedy=remedy)
    try:
        record = json.loads(line.decode())
        written = json.dumps(record, ensure_ascii=False)
        if _HALF_PAIR.search(written):
            record = json.loads(_HALF_PAIR.sub("\ufffd", written))
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        return record
    raise _explained(line, where, reason, remedy)


def object_or_error(line: bytes, where: str, remedy: str) -> dict[str, Any] | InputError:
    """Return the object that a line of JSON holds, and in its place the error that `object_of` raises."""
    try:
        return object_of(line, where, remedy)
    except InputError as error:
        return error


def line_of(record: msgspec.Struct | Mapping[str, Any]) -> bytes:
    """Return a record as a line of JSON; NaN and infinities are spelled as Python spells them."""
    with suppress(UnicodeEncodeError):  # half of a surrogate pair
        line = msgspec.json.encode(record)
        if b"null" not in line or finite(_plain(record)):  # what is not finite becomes null
            return line + b"\n"
    return json.dumps(_plain(record), default=_as_text).encode() + b"\n"


def _plain(record: msgspec.Struct | Mapping[str, Any]) -> Any:
    return msgspec.to_builtins(record) if isinstance(record, msgspec.Struct) else record


def _as_text(value: Any) -> str:
    return msgspec.json.decode(msgspec.json.encode(value), type=str)


def with_values(record: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the members under these names that have a value: no null, and no NaN, which tables have in its place."""
    return {name: record[name] for name in names if record.get(name) is not None and not _is_nan(record[name])}


def as_texts(record: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return a record with the numbers under these names as texts; infinity and truth values stay what they are."""
    return record | {name: str(record[name]) for name in names if is_number(record.get(name))}


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and no truth value. A whole one may be too large for a float."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def as_objects(record: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return a record with the JSON under these names read; a text that is none stays what it is."""
    read = dict(record)
    for name in names:
        if isinstance(text := record.get(name), str):
            with suppress(ValueError, RecursionError):
                read[name] = json.loads(text)
    return read


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _explained(line: bytes, where: str, reason: str, remedy: str) -> InputError:
    """Return the error that says what is wrong with a line that holds no object; else it is the parser's `reason`."""
    try:
        text = line.decode().strip()
    except UnicodeDecodeError as error:
        what = f"the text is not UTF-8: byte 0x{line[error.start]:02x} is the line's byte {error.start + 1}"
        return InputError(
            what, where=where, remedy="save it as UTF-8, for instance with iconv -f WINDOWS-1252 -t UTF-8"
        )
    if "\0" in text:
        what = "holds NUL bytes: it is not text, or was not written to its end"
        remedy = "if it is text, take them out, for instance with tr -d '\\0'"
    elif text.startswith("["):
        what = "a JSON array, not an object: in JSON lines each object has a line of its own"
        remedy = "msifr convert reads it; or make lines of it, for instance with jq -c '.[]'"
    elif "\r" in text:
        what, remedy = "the lines end with CR alone", "write LF for them, for instance with tr '\\r' '\\n'"
    elif re.match(r"\{\s*'", text):
        what, remedy = "written as Python shows a dict: JSON has double quotes", "write records with json.dumps"
    elif not text.startswith("{"):
        what = f"not a JSON object: it begins with {text[:20]!r}"
        if re.match(r"[^,;\t]{1,200}[,;\t]", text):
            remedy = f"msifr convert makes traces of CSV; {remedy}"
    else:
        what, remedy = _within(text, reason, remedy)
    return InputError(what, where=where, remedy=remedy)


def _within(text: str, reason: str, remedy: str) -> tuple[str, str]:
    """Return what is wrong with a text that begins as an object, and what helps, else `remedy`."""
    rest: str | None = None
    with suppress(ValueError, RecursionError):
        rest = text[json.JSONDecoder().raw_decode(text)[1] :].lstrip()
    if rest == ",":
        return "a comma follows the record: in JSON lines the end of the line ends it", "take the commas away"
    if rest and rest.lstrip(", \t").startswith("{"):
        return "there is more than one record in the line", "put each into a line of its own, for instance with jq -c ."
    if rest:
        return f"something follows the record: {rest[:20]!r}", remedy
    if text in ("{", "{}") or "truncated" in reason:
        what = "the record does not end in its line: it is printed over several lines, or the file is cut short"
        return what, "msifr convert reads it, if it is whole; or make each record one line, for instance with jq -c ."
    return reason, remedy


def finite(value: Any) -> bool:
    """Whether there is no NaN and no infinity, which standard JSON cannot hold, in a value of lists and dicts."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return all(map(finite, value)) if isinstance(value, list | tuple) else True
