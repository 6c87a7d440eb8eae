"""Traces: finished attempts, read and written as JSON lines (plain or gzip) and Parquet, streaming.

One trace is one finished attempt: its prompt, text, and outcome. The JSON keys are those of common
public trace files: `id, prompt_id, text, correct` are required, the rest is optional and unknown keys
are ignored. `correct` becomes `Trace.accepted`, the outcome A of the **final filter**.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal, cast

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.files import replacing

__all__ = ["OnError", "ReadReport", "Trace", "find_trace_files", "read_traces", "write_traces"]

OnError = Literal["raise", "skip"]

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused: no attempt is that long, and a hostile file must not fill the memory."""

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_PARQUET_BATCH = 512


class Trace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"accepted": "correct"}):
    """One finished attempt.

    Fields with units: `tokens` counts the sampled tokens (end-of-sequence included); `token_ends[i]` is
    the number of characters of `text` complete after i + 1 tokens; `stages` are end offsets of recorded
    steps in characters (exclusive); `step_labels` holds one label per stage: 1 before the first error, -1 the
    first erroneous step, 0 after it; `logprobs` one natural log-probability per token.
    """

    id: str
    prompt_id: str
    text: str
    accepted: bool
    prompt: str = ""
    group: str | None = None
    dataset: str | None = None
    model: str | None = None
    gold: str | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None
    token_ends: list[int] | None = None
    logprobs: list[float] | None = None
    stages: list[int] | None = None
    step_labels: list[int] | None = None

    def __post_init__(self) -> None:
        """Check what types alone cannot; msgspec turns a ValueError into a validation error."""
        if not self.id or not self.prompt_id:
            raise ValueError("`id` and `prompt_id` must not be empty")
        if self.tokens is not None and self.tokens < 0:
            raise ValueError(f"`tokens` is {self.tokens}, must not be negative")
        _check_offsets("token_ends", self.token_ends, len(self.text))
        _check_offsets("stages", self.stages, len(self.text))
        if self.token_ends is not None and self.tokens is not None and len(self.token_ends) != self.tokens:
            raise ValueError(f"`token_ends` has {len(self.token_ends)} entries for {self.tokens} `tokens`")
        if self.logprobs is not None and self.tokens is not None and len(self.logprobs) != self.tokens:
            raise ValueError(f"`logprobs` has {len(self.logprobs)} entries for {self.tokens} `tokens`")

    @property
    def group_name(self) -> str:
        """The group of the prompt: `group` if given, else the middle of a `set:group:hash` prompt id, else ""."""
        if self.group is not None:
            return self.group
        parts = self.prompt_id.split(":")
        return parts[1] if len(parts) > 2 else ""


def _check_offsets(name: str, offsets: Sequence[int] | None, length: int) -> None:
    if offsets is None:
        return
    previous = 0
    for offset in offsets:
        if not previous <= offset <= length:
            raise ValueError(f"`{name}` must increase within 0..{length} characters, got {offset} after {previous}")
        previous = offset


class ReadReport(msgspec.Struct):
    """What a reader did: records `read`, records `skipped`, and the first few errors of the skipped."""

    read: int = 0
    skipped: int = 0
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
            inside = sorted(p for p in path.iterdir() if p.name.endswith(_SUFFIXES) and p.is_file())
            if not inside:
                raise InputError("no trace files", where=str(path), remedy=f"name files ending in {_SUFFIXES}")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise InputError("no such file or folder", where=str(path))
    if not files:
        raise InputError("no trace files were named")
    return files


def read_traces(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    on_error: OnError = "raise",
    report: ReadReport | None = None,
) -> Iterator[Trace]:
    """Yield the traces of files or folders, one at a time (memory: one record, or one Parquet batch).

    A malformed record raises `InputError` with file, line, field and remedy; with `on_error="skip"`
    it is counted in `report` instead. Duplicate ids within one file are malformed.
    """
    report = ReadReport() if report is None else report
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    for path in find_trace_files(paths):
        seen: set[str] = set()
        for where, raw in _records(path):
            try:
                if isinstance(raw, InputError):
                    raise raw
                trace = _decode(raw, where)
                if trace.id in seen:
                    raise InputError(f"id {trace.id!r} occurs twice", where=where, remedy="make ids unique per file")
            except InputError as error:
                if on_error == "raise":
                    raise
                report.skip(error)
                continue
            seen.add(trace.id)
            report.read += 1
            yield trace


_decoder = msgspec.json.Decoder(Trace)
_REMEDY = "see --help for the schema; --on-error skip counts and skips such records"


def _decode(raw: bytes | dict[str, Any], where: str) -> Trace:
    try:
        if isinstance(raw, bytes):
            return _decoder.decode(raw)
        return msgspec.convert({k: v for k, v in raw.items() if v is not None}, Trace)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "`$.correct`" in str(error) or "field `correct`" in str(error):
            raise InputError(
                f"no outcome: {error}",
                where=where,
                remedy="only finished attempts with `correct` true or false can be used; a discarded attempt has none",
            ) from None
        raise InputError(str(error), where=where, remedy=_REMEDY) from None


def _records(path: Path) -> Iterator[tuple[str, bytes | dict[str, Any] | InputError]]:
    """Yield (place, raw record) of a file; what cannot even be cut into records raises."""
    if path.name.endswith(".parquet"):
        yield from _parquet_records(path)
        return
    number = 0
    try:
        with open(path, "rb") as plain, ExitStack() as stack:
            stream: IO[bytes] = plain
            if plain.read(2) == b"\x1f\x8b":
                plain.seek(0)
                stream = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=plain, mode="rb")))
            else:
                plain.seek(0)
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}, line {number}"
                if len(line) > MAX_LINE_BYTES:
                    yield where, InputError(f"line longer than {MAX_LINE_BYTES} bytes", where=where)
                    while line and not line.endswith(b"\n"):
                        line = stream.readline(MAX_LINE_BYTES)
                elif not line.isspace():
                    yield where, line
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"cannot be read: {error}", where=f"{path}, line {number + 1}", remedy="the file may be cut short"
        ) from error


def _parquet_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            known = {field.encode_name for field in msgspec.structs.fields(Trace)}
            columns = [name for name in file.schema_arrow.names if name in known]
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot be read: {error}", where=f"{path}, row {number + 1}") from error


def write_traces(path: str | os.PathLike[str], traces: Iterable[Trace]) -> int:
    """Write traces to `.jsonl`, `.jsonl.gz` or `.parquet` by the name's ending; return how many.

    The file appears whole or not at all. Raises `InputError` for another ending.
    """
    path = Path(path)
    if not path.name.endswith(_SUFFIXES):
        raise InputError("unknown ending", where=str(path), remedy=f"use one of {', '.join(_SUFFIXES)}")
    with replacing(path) as temporary:
        if path.name.endswith(".parquet"):
            return _write_parquet(temporary, traces)
        count = 0
        with ExitStack() as stack:
            raw = stack.enter_context(open(temporary, "wb"))
            stream: IO[bytes] = raw
            if path.name.endswith(".gz"):
                # mtime 0 and no name: the same traces always give the same bytes.
                zipped = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0)
                stream = cast(IO[bytes], stack.enter_context(zipped))
            for trace in traces:
                stream.write(msgspec.json.encode(trace) + b"\n")
                count += 1
        return count


def _write_parquet(path: Path, traces: Iterable[Trace]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    integers, numbers = pa.list_(pa.int64()), pa.list_(pa.float64())
    types = {
        "correct": pa.bool_(),
        "tokens": pa.int64(),
        "prompt_tokens": pa.int64(),
        "token_ends": integers,
        "logprobs": numbers,
        "stages": integers,
        "step_labels": integers,
    }
    fields = msgspec.structs.fields(Trace)
    schema = pa.schema([(f.encode_name, types.get(f.encode_name, pa.string())) for f in fields])
    count = 0
    batch: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for trace in traces:
            batch.append({f.encode_name: getattr(trace, f.name) for f in fields})
            count += 1
            if len(batch) == _PARQUET_BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema))
    return count
