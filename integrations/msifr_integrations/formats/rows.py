"""Records as they come, read from JSON lines or Parquet and written again with all that they hold, streaming."""

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.extras import needs
from msifr_policy.files import check_writable, packed_by_zstandard, read_lines, replacing
from msifr_policy.records.lines import finite, object_of
from msifr_policy.records.parquet import is_parquet, parquet_rows

if TYPE_CHECKING:
    import pyarrow as pa

Record = dict[str, Any]

_GROUP_ROWS: Final = 10_000
_GROUP_BYTES: Final = 1 << 24
"""A row group of a Parquet file is written as soon as it has so many rows, or so many bytes as JSON."""


def read_rows(path: str | os.PathLike[str], remedy: str = "") -> Iterator[tuple[str, Record]]:
    """Yield each record of a file, JSON lines (packed or not) or Parquet, after its place; memory: one, or 512 rows.

    Raises `InputError` for a file that cannot be read and, with what helps or else `remedy`, for a line without an
    object.
    """
    if is_parquet(path):
        yield from parquet_rows(path)
    else:
        yield from ((where, object_of(line, where, remedy)) for where, line in read_lines(path))


def encode_record(record: Mapping[str, Any]) -> bytes:
    """Return a record as a line of JSON; NaN and infinities are spelled as Python spells them."""
    with suppress(UnicodeEncodeError):  # half of a surrogate pair
        line = msgspec.json.encode(record)
        if b"null" not in line or finite(record):  # what is not finite becomes null
            return line + b"\n"
    return json.dumps(record, default=_as_text).encode() + b"\n"


def _as_text(value: Any) -> str:
    return msgspec.json.decode(msgspec.json.encode(value), type=str)


def is_stream(to: str | os.PathLike[str]) -> bool:
    """Whether what is written to `to` flows on: a pipe, a device, or our own standard output, wherever that goes."""
    place = Path(to)
    return place.is_fifo() or place.is_char_device() or os.fspath(to) == "/dev/stdout"


def check_rows_out(to: str | os.PathLike[str], endings: tuple[str, ...]) -> Path:
    """Return where records written to `to` end up; a stream needs no ending, and gets JSON lines.

    Raises `InputError` if nothing can be written there; call it before any work.
    """
    if not os.fspath(to).endswith(endings) and not is_stream(to):
        raise InputError("unknown ending", where=os.fspath(to), remedy=f"use one of {', '.join(endings)}")
    if os.fspath(to).endswith(".parquet"):
        needs("pyarrow", extra="parquet", what="Parquet", where=os.fspath(to))
    return check_writable(to)


def write_rows(
    to: str | os.PathLike[str], records: Iterable[Mapping[str, Any]], schema: "pa.Schema | None" = None
) -> int:
    """Write records, as Parquet with the columns of `schema`, else as JSON lines packed by the ending; return how many.

    The file appears whole or not at all, and the same records give the same bytes. Memory: one record, or one row
    group. Raises `InputError` for a place that cannot be written, and for a record that has no place in the columns.
    """
    with replacing(to) as place, open(place, "wb") as file:
        if schema is not None:
            return write_parquet(file, records, schema)
        count = 0
        with packed_by_ending(file, to) as stream:
            for record in records:
                stream.write(encode_record(record))
                count += 1
        return count


@contextmanager
def packed_by_ending(file: IO[bytes], to: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Give a stream whose bytes go into `file`, packed as the ending of `to` says; without a time, so always equal."""
    name = os.fspath(to)
    with ExitStack() as stack:
        if name.endswith(".gz"):
            zipped = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
            yield cast(IO[bytes], stack.enter_context(zipped))
        else:
            yield stack.enter_context(packed_by_zstandard(file)) if name.endswith(".zst") else file


def write_parquet(file: IO[bytes], records: Iterable[Mapping[str, Any]], schema: "pa.Schema") -> int:
    """Write records as Parquet with these columns; return how many. Raises `InputError` for one that does not fit."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in _row_groups(records):
            try:
                table = pa.Table.from_pylist(rows, schema)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                where, remedy = f"records {count + 1} to {count + len(rows)}", "write JSON lines"
                raise InputError(f"do not fit into columns: {error}", where=where, remedy=remedy) from error
            writer.write_table(table)
            count += len(rows)
    return count


def _row_groups(records: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    rows: list[Mapping[str, Any]] = []
    size = 0
    for record in records:
        rows.append(record)
        size += len(encode_record(record))
        if len(rows) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
