"""Records as they come: read from JSON lines or Parquet with all that they hold, and where they may be written."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msifr_policy.errors import InputError
from msifr_policy.extras import needs
from msifr_policy.files import check_writable, is_stream, read_lines
from msifr_policy.records.lines import object_or_error
from msifr_policy.records.parquet import is_parquet, parquet_rows

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
