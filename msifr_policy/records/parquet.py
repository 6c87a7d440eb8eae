"""Rows of Parquet files, which are told by what they hold: read and written, streaming."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

from msifr_policy.errors import InputError
from msifr_policy.extras import needs
from msifr_policy.records.lines import line_of

if TYPE_CHECKING:
    import pyarrow as pa

_MARK: Final = b"PAR1"
_BATCH: Final = 512

_GROUP_ROWS: Final = 10_000
_GROUP_BYTES: Final = 1 << 24
"""A row group is written as soon as it has so many rows, or so many bytes as JSON."""


def is_parquet(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one by what it holds, or if empty by its name. Streams, which are read but once, are none."""
    if not os.path.isfile(path):
        return False
    with suppress(OSError), open(path, "rb") as file:  # that it cannot be read is said when it is read
        head = file.read(len(_MARK))
        return head == _MARK or (not head and os.fspath(path).endswith(".parquet"))
    return False


def parquet_rows(
    path: str | os.PathLike[str], names: frozenset[str] | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row of a file after its place; memory: 512 rows.

    Of `names`, columns by these are read, the others are there without a value: they tell what a table is. Raises
    `InputError` for a file that is broken, and if pyarrow is not installed.
    """
    needs("pyarrow", extra="parquet", what="Parquet", where=os.fspath(path))
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if names is None or name in names]
            others = dict.fromkeys(name for name in file.schema_arrow.names if name not in columns)
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{os.fspath(path)}, row {number}", others | row
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=f"{os.fspath(path)}, row {number + 1}") from error


def write_parquet(file: IO[bytes], records: Iterable[Mapping[str, Any]], schema: "pa.Schema") -> int:
    """Write records with these columns; return how many. Memory: one row group.

    Raises `InputError` for a record that does not fit into the columns.
    """
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
        size += len(line_of(record))
        if len(rows) == _GROUP_ROWS or size >= _GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows
