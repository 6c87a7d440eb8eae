"""Rows of Parquet files, which are told by what they hold."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from msifr_policy.errors import InputError
from msifr_policy.extras import needs

_MARK: Final = b"PAR1"
_BATCH: Final = 512


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
