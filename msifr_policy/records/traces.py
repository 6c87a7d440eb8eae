"""Traces: finished attempts, read and written as JSON lines and Parquet, streaming.

The keys are those of common public trace files; `correct` becomes `Trace.accepted`, the outcome A of the **final
filter**. Only finished attempts are traces: of a discarded one nobody knows the outcome.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.extras import needs
from msifr_policy.files import LONGEST_LINE, is_stream, read_lines
from msifr_policy.records.compact import IdSet
from msifr_policy.records.exits import Exits
from msifr_policy.records.ids import Numbering, group_of
from msifr_policy.records.lines import (
    LONGEST_MENDED,
    as_objects,
    as_texts,
    line_of,
    object_of,
    object_or_error,
    with_values,
)
from msifr_policy.records.mapping import FieldMap, mapped
from msifr_policy.records.others import known_as
from msifr_policy.records.parquet import is_parquet, parquet_rows
from msifr_policy.records.rows import write_rows

if TYPE_CHECKING:
    import pyarrow as pa

OnError = Literal["raise", "skip"]

EXAMPLE = '{"id": "a1", "prompt_id": "p1", "text": "2 + 3 = 5.", "correct": true}'

SCHEMA_HELP = f"""\
A trace is one finished attempt: a line of JSON (.jsonl, also .gz or .zst),
or a row of Parquet, such as
{EXAMPLE}
required: id (unique in all files), prompt_id, text, and correct: the outcome
by the final filter, true or false (or 1 or 0)
optional: prompt, group, dataset, model, gold, and judged_by (texts; the
last names the filter that gave the outcome); tokens (sampled, the
end of the sequence included) and prompt_tokens (counts); logprobs (natural,
one per token); token_ends (characters of the text complete after each
token); states (one per token: what a probe made of the model's states, by
msifr generate with a policy that reads them); stages (end offsets of its steps, in characters); step_labels (one
per stage: 1 before the first error, -1 at it, 0 after it); parameters (of
validators, as the prompt had them: by validator, then by parameter), schema
(the prompt's JSON schema) and exits (answers that were forced at checkpoints,
by msifr generate --record-exits); in Parquet these three are JSON texts
Other keys are ignored. In records of another shape --map tells where fields
are; msifr convert makes traces of what other tools write."""

_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_MOST = 2**63  # Parquet's integers are below


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finished attempt whose outcome is not known; `SCHEMA_HELP` says what each field holds."""

    id: str
    prompt_id: str
    text: str
    prompt: str = ""
    group: str | None = None
    dataset: str | None = None
    model: str | None = None
    gold: str | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    token_ends: list[int] | None = None
    logprobs: list[float] | None = None
    states: list[tuple[float, ...]] | None = None
    stages: list[int] | None = None
    step_labels: list[int] | None = None
    parameters: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)
    schema: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check what types alone cannot; msgspec turns a ValueError into a validation error."""
        if not self.id or not self.prompt_id:
            raise ValueError("`id` and `prompt_id` must not be empty")
        for name, count in (("tokens", self.tokens), ("prompt_tokens", self.prompt_tokens)):
            if count is not None and not 0 <= count < _MOST:
                raise ValueError(f"`{name}` is {count!s:.40}, must not be " + ("negative" if count < 0 else "so large"))
        if not all(-_MOST < label < _MOST for label in self.step_labels or ()):
            raise ValueError("`step_labels` are 1, -1 and 0")
        _check_offsets("token_ends", self.token_ends, len(self.text))
        _check_offsets("stages", self.stages, len(self.text))
        lists = (("token_ends", self.token_ends), ("logprobs", self.logprobs), ("states", self.states))
        for name, values in lists:
            if values is not None and self.tokens is not None and len(values) != self.tokens:
                raise ValueError(f"`{name}` has {len(values)} entries for {self.tokens} `tokens`")

    @property
    def group_name(self) -> str:
        """The group of the prompt: `group` if given, else the middle of a `set:group:hash` prompt id, else ""."""
        return group_of(self.prompt_id, self.group)


class Trace(Output, frozen=True, kw_only=True, omit_defaults=True, rename={"accepted": "correct"}):
    """One finished attempt and its outcome by the final filter, `judged_by` if that is known.

    exits: the answers that were forced in shadow at its checkpoints, by the same filter; None if none were recorded.
    """

    accepted: bool
    judged_by: str | None = None
    exits: Exits | None = None

    def __post_init__(self) -> None:
        """Check what types alone cannot."""
        super().__post_init__()
        for answer in self.exits.answers if self.exits is not None else ():
            if answer.position > len(self.text):
                raise ValueError(f"`exits` has an answer after {answer.position} of {len(self.text)} characters")


def _check_offsets(name: str, offsets: Sequence[int] | None, length: int) -> None:
    for previous, offset in pairwise([0, *(offsets or ())]):
        if not previous <= offset <= length:
            raise ValueError(f"`{name}` must increase within 0..{length} characters, got {offset} after {previous}")


class ReadReport(msgspec.Struct):
    """What a reader did: records `read`, records `skipped`, and the first few errors of the skipped.

    `failed` records were of attempts that a run could not make.
    """

    read: int = 0
    skipped: int = 0
    failed: int = 0
    errors: list[str] = msgspec.field(default_factory=list)

    def skip(self, error: InputError) -> None:
        """Count one skipped record; keep the messages of the first twenty."""
        self.skipped += 1
        if len(self.errors) < 20:
            self.errors.append(str(error))


def find_trace_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the trace files named by `paths`; a folder stands for the trace files in it, sorted.

    Raises `InputError` for a path that does not exist or a folder without trace files.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if _is_trace_file(p))
            if not inside:
                raise InputError(
                    "no trace files", where=str(path), remedy=f"name files ending in {', '.join(_ENDINGS)}"
                )
            files += inside
        elif path.is_file() or path.is_fifo():
            files.append(path)
        else:
            what = "is neither a file nor a folder" if path.exists() else "no such file or folder"
            raise InputError(what, where=str(path))
    if not files:
        raise InputError("no trace files were named")
    return files


def _is_trace_file(path: Path) -> bool:
    """Whether a file in a folder is one by its name; the ledger of a run lies beside its output."""
    name = path.name.lower()
    return name.endswith(_ENDINGS) and not name.endswith(".ledger.jsonl") and path.is_file()


def read_traces(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    on_error: OnError = "raise",
    report: ReadReport | None = None,
    mapping: FieldMap | None = None,
) -> Iterator[Trace]:
    """Yield the traces of files or folders, one at a time (memory: one record, or one Parquet batch).

    With a `mapping` (`field_map`) records of another shape are read, several attempts of each if it says so; ids are
    then made where there are none, of a prompt by its text.

    What a file holds says how it is packed, not its name. Numbers are read as ids and answers, 1 and 0 as outcomes, 3.0
    as a count, NaN like null as a field without a value, null as a log-probability that is not known (NaN), and half of
    a surrogate pair, which no encoding can hold, as U+FFFD.

    A malformed record raises `InputError` with file, line, field and remedy; with `on_error="skip"` it is counted in
    `report` instead. Duplicate ids within one file are malformed. An attempt that a run's policy discarded or had exit
    raises in any case: it is not malformed, and to fit on the others alone would mislead. So does one of a run with a
    memory of rejections, which are drawn by another law. One that could not be made (`status` "failed") is none, and is
    counted in `report.failed`.
    """
    report = ReadReport() if report is None else report
    files = find_trace_files([paths] if isinstance(paths, str | os.PathLike) else paths)
    tables = {path for path in files if is_parquet(path)}
    if tables:
        needs("pyarrow", extra="parquet", what="Parquet", where=str(min(tables)))
    numbering = Numbering()
    for path in files:
        names = frozenset(_FIELDS) | (mapping.columns if mapping else frozenset())
        records: Iterable[tuple[str, Any]] = parquet_rows(path, names) if path in tables else read_lines(path)
        if mapping:
            known = ((where, _opened(record, where)) for where, record in records)
            records = mapped(known, mapping, numbering, _FIELDS)
        yield from _traces(records, on_error, report)


def _opened(record: Any, where: str) -> dict[str, Any] | InputError:
    return object_or_error(record, where, _REMEDY) if isinstance(record, bytes) else record


def field_map(words: Iterable[str]) -> FieldMap:
    """Return how fields of traces are found in other records; raises `InputError` for a word that does not say so."""
    return FieldMap.parse(words, Trace.__struct_encode_fields__)


def _traces(records: Iterable[tuple[str, Any]], on_error: OnError, report: ReadReport) -> Iterator[Trace]:
    """Yield the traces among the records of one file: lines or rows."""
    seen = IdSet()
    for where, record in records:
        try:
            if isinstance(record, InputError):
                raise record
            trace = _decode(record, where) if isinstance(record, bytes) else _convert(record, where)
            if not seen.add(trace.id):
                raise InputError(f"id {trace.id!r} occurs twice", where=where, remedy="make ids unique per file")
        except InputError as error:
            if isinstance(error, _FailedError):
                report.failed += 1
                continue
            if on_error == "raise" or isinstance(error, _DiscardedError):
                raise
            report.skip(error)
            continue
        report.read += 1
        yield trace


class _DiscardedError(InputError):
    """Where a trace should be there is a discarded attempt."""


def discarded_attempt(where: str) -> InputError:
    """Return the error of a record that is an attempt which a policy discarded."""
    what = "a discarded attempt: a run with a policy wrote this file, and its survivors do not stand for all attempts"
    return _DiscardedError(what, where=where, remedy="use the output of a run with --policy none")


def _exited_attempt(where: str) -> InputError:
    what = "an attempt that exited: a run with a policy wrote this file, and what it would have come to is not known"
    return _DiscardedError(what, where=where, remedy="use the output of a run with --policy none")


def _remembered_attempt(where: str) -> InputError:
    what = "a run with a memory of rejections wrote this file: its attempts are accepted more often than others"
    return _DiscardedError(what, where=where, remedy="use the output of a run without --rejection-memory")


_EXITED = b'"finish":"exit"'
_REMEMBERED = b'"dead":{"token_ids":'
"""What a run writes of an attempt that exited, or was remembered; in a string of JSON the quotes would be escaped."""


class _FailedError(InputError):
    """Where a trace should be there is an attempt that could not be made."""


_decoder = msgspec.json.Decoder(Trace)
_FIELDS = (*Trace.__struct_encode_fields__, "status")
_SUCH = f"a trace is a line such as {EXAMPLE}"
_REMEDY = f"{_SUCH}; --on-error skip counts and skips what is none"
_JSON_FIELDS = ("parameters", "schema", "exits")
"""Objects of any shape: Parquet, which has no type for them, holds their JSON."""

_NUMBERS_TOO = ("id", "prompt_id", "group", "dataset", "model", "gold")
_COUNTS = ("tokens", "prompt_tokens", "token_ends", "stages", "step_labels")


def _decode(line: bytes, where: str) -> Trace:
    if _EXITED in line:
        raise _exited_attempt(where)
    if _REMEMBERED in line:
        raise _remembered_attempt(where)
    try:
        if len(line) <= LONGEST_LINE:
            return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if len(line) > LONGEST_MENDED:
            raise InputError(str(error), where=where, remedy=_REMEDY) from None
    return _convert(object_of(line, where, _REMEDY), where)


def _convert(given: dict[str, Any], where: str) -> Trace:
    """Return the trace that a record usually means; raises `InputError`."""
    record = as_texts(with_values(given, _FIELDS), _NUMBERS_TOO)
    correct = record.get("correct")
    if correct is None and record.get("status") == "discarded":
        raise discarded_attempt(where)
    if correct is None and record.get("status") == "failed":
        raise _FailedError("an attempt that could not be made", where=where)
    for name, value in record.items():
        if isinstance(value, bytes):
            with suppress(UnicodeDecodeError):  # what is no text is refused below
                record[name] = value.decode()
        elif name in _COUNTS:
            record[name] = [_whole(each) for each in value] if isinstance(value, list) else _whole(value)
    record = as_objects(record, _JSON_FIELDS)  # what is no JSON is no object either, and is refused below
    if isinstance(record.get("logprobs"), list):
        record["logprobs"] = [math.nan if value is None else value for value in record["logprobs"]]
    missing = [f"`{name}`" for name in ("id", "prompt_id", "text", "correct") if name not in record]
    remedy = _REMEDY
    if missing == ["`correct`"]:
        what = "no `correct`: only finished attempts have an outcome, a discarded attempt has none"
    elif missing:
        first, *others = missing
        what = f"missing required field {first}" + f" (and {', '.join(others)})" * bool(others)
        remedy = f"{_SUCH}; --map FIELD=PATH tells where a field is in other records, --on-error skip skips them"
        if (other := known_as(given, where)) is not None:
            what, remedy = f"{what}: this is {other.what}", f"{other.remedy}; {_SUCH}"
    elif correct not in (0, 1):
        what = f"`correct` is {correct!r:.40}, must be true or false (or 1 or 0)"
        if isinstance(correct, int | float):
            remedy = "compare it, for instance with --map 'correct=score>=0.5', quoted for the shell"
    else:
        try:
            return msgspec.convert(record | {"correct": bool(correct)}, Trace)
        except msgspec.ValidationError as error:
            what = str(error)
    raise InputError(what, where=where, remedy=remedy)


def _whole(number: Any) -> Any:
    """Return a whole number as an integer; tables make floats of a column where one value is missing."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def write_traces(path: str | os.PathLike[str], traces: Iterable[Trace]) -> int:
    """Write traces in the format that the name's ending says; return how many.

    The file appears whole or not at all, and `read_traces` reads it. Raises `InputError` for another ending, a place
    that cannot be written, and a trace that could not be read again (its id occurs twice, it is too long).
    """
    lines = ((f"{os.fspath(path)}, record {number}", line_of(trace)) for number, trace in enumerate(traces, 1))
    return write_outputs(path, _traces(lines, "raise", ReadReport()))


def write_outputs(path: str | os.PathLike[str], outputs: Iterable[Output]) -> int:
    """Write outputs, those that are traces with their outcomes, as `write_traces` does; their ids are not checked.

    A stream, such as the standard output, gets JSON lines. Raises `InputError` for another ending and a place that
    cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(_ENDINGS) and not is_stream(path):
        raise InputError("unknown ending", where=str(path), remedy=f"use one of {', '.join(_ENDINGS)}")
    if path.name.endswith(".parquet"):
        needs("pyarrow", extra="parquet", what="Parquet", where=str(path))
        return write_rows(path, map(_row, outputs), _columns())
    return write_rows(path, outputs)


def _row(output: Output) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(output)
    return row | {name: json.dumps(row[name]) for name in _JSON_FIELDS if name in row}


def _columns() -> "pa.Schema":
    import pyarrow as pa

    integer, integers, numbers = pa.int64(), pa.list_(pa.int64()), pa.list_(pa.float64())
    types: dict[Any, pa.DataType] = {
        bool: pa.bool_(),
        int | None: integer,
        list[int] | None: integers,
        list[float] | None: numbers,
        list[tuple[float, ...]] | None: pa.list_(numbers),
    }
    fields = msgspec.structs.fields(Trace)
    return pa.schema([(field.encode_name, types.get(field.type, pa.string())) for field in fields])
