"""Records as they come, read from JSON lines or Parquet and written again with all that they hold, streaming."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msifr_policy.errors import InputError
from msifr_policy.extras import needs
from msifr_policy.files import check_writable, is_stream, opened_anew, packed_by_ending, read_lines, replacing
from msifr_policy.records.lines import line_of, object_or_error
from msifr_policy.records.parquet import is_parquet, parquet_rows, write_parquet

if TYPE_CHECKING:
    import pyarrow as pa

Record = dict[str, Any]


def read_rows(path: str | os.PathLike[str], remedy: str) -> Iterator[tuple[str, Record | InputError]]:
    """Yield each record of a file, JSON lines (packed or not) or Parquet, after its place; memory: one, or 512 rows.

    In the place of a line without an object is the error, with what helps or else `remedy`. Raises `InputError` for a
    file that cannot be read.
    """
    if is_parquet(path):
        yield from parquet_rows(path)
    else:
        yield from ((where, object_or_error(line, where, remedy)) for where, line in read_lines(path))


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
    with replacing(to) as place, opened_anew(place) as file:
        if schema is not None:
            return write_parquet(file, records, schema)
        count = 0
        with packed_by_ending(file, to) as stream:
            for record in records:
                stream.write(line_of(record))
                count += 1
        return count
