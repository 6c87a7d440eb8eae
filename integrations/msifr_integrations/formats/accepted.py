"""The accepted samples of a run alone, in the forms that trainers read."""

import gzip
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, Literal, cast, get_args

import msgspec

from msifr_integrations.generation.journal import ledger_path
from msifr_policy.errors import InputError
from msifr_policy.extras import needs
from msifr_policy.files import check_writable, read_lines, replacing
from msifr_policy.filters import Message

AcceptedForm = Literal["chat", "text"]
"""`chat`: `messages`, the answer last. `text`: `prompt` (of a chat, what the user said last) and `completion`.

Both have `prompt_id`, `id`, and `group` where the prompt has one (a column that may be null in Parquet).
"""

_ENDINGS: Final = (".jsonl", ".jsonl.gz", ".parquet")
_GROUP_ROWS: Final = 10_000
_GROUP_BYTES: Final = 1 << 24
"""A row group of a Parquet file is written as soon as it has so many rows, or so many bytes as JSON."""


class _Written(msgspec.Struct, frozen=True):
    """What is read of a line of the run's output."""

    id: str
    prompt_id: str
    prompt: str
    text: str
    status: Literal["finished", "discarded", "failed"]
    correct: bool | None = None
    group: str | None = None
    messages: tuple[Message, ...] | None = None


def _sample(attempt: _Written, form: AcceptedForm) -> dict[str, Any]:
    if form == "chat":
        asked = attempt.messages or (Message("user", attempt.prompt),)
        said = (*asked, Message("assistant", attempt.text))
        sample: dict[str, Any] = {"messages": [msgspec.structs.asdict(message) for message in said]}
    else:
        sample = {"prompt": attempt.prompt, "completion": attempt.text}
    sample |= {"prompt_id": attempt.prompt_id, "id": attempt.id}
    return sample if attempt.group is None else sample | {"group": attempt.group}


def check_accepted_out(out: str | os.PathLike[str], to: str | os.PathLike[str]) -> None:
    """Raise `InputError` if the accepted samples of the run `out` cannot be written to `to`; call it before the run."""
    if not os.fspath(to).endswith(_ENDINGS):
        raise InputError("unknown ending", where=os.fspath(to), remedy=f"use one of {', '.join(_ENDINGS)}")
    if os.fspath(to).endswith(".parquet"):
        needs("pyarrow", extra="parquet", what="Parquet", where=os.fspath(to))
    place = check_writable(to)
    if place in [Path(os.path.realpath(path)) for path in (out, ledger_path(out))]:
        raise InputError("is written by the run itself", where=os.fspath(to), remedy="name another file")


def write_accepted(out: str | os.PathLike[str], to: str | os.PathLike[str], *, form: AcceptedForm = "chat") -> int:
    """Write the accepted samples of a run's output `out` to `to`, in the run's order; return how many.

    The ending of `to` says the format: JSON lines, plain or packed by gzip, or Parquet. The file appears whole or not
    at all. In memory is one sample, of Parquet one row group.

    Raises `InputError` for another ending or form, a place that cannot be written, and an `out` that is not the output
    of a run.
    """
    if form not in get_args(AcceptedForm):
        raise InputError(f"unknown form {form!r}", where=os.fspath(to), remedy="known: chat, text")
    check_accepted_out(out, to)
    samples = (_sample(attempt, form) for attempt in _accepted(out))
    with replacing(to) as place, ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(open(place, "wb"))
        if os.fspath(to).endswith(".parquet"):
            return _write_parquet(stream, form, samples)
        if os.fspath(to).endswith(".gz"):
            # mtime 0 and no name: the same samples always give the same bytes.
            zipped = gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0)
            stream = cast(IO[bytes], stack.enter_context(zipped))
        count = 0
        for sample in samples:
            stream.write(msgspec.json.encode(sample) + b"\n")
            count += 1
        return count


def _accepted(out: str | os.PathLike[str]) -> Iterator[_Written]:
    for where, line in read_lines(out):
        try:
            attempt = msgspec.json.decode(line, type=_Written)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"not an attempt of a run: {error}", where=where) from error
        if attempt.status == "finished" and attempt.correct:
            yield attempt


def _write_parquet(stream: IO[bytes], form: AcceptedForm, samples: Iterator[dict[str, Any]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    said = {"messages": pa.list_(message)} if form == "chat" else {"prompt": pa.string(), "completion": pa.string()}
    schema = pa.schema(said | dict.fromkeys(("prompt_id", "id", "group"), pa.string()))
    count = 0
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for rows in _row_groups(samples):
            writer.write_table(pa.Table.from_pylist(rows, schema))
            count += len(rows)
    return count


def _row_groups(samples: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for sample in samples:
        rows.append(sample)
        size += len(msgspec.json.encode(sample))
        if len(rows) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
