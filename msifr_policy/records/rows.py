"""Files of records, JSON lines or Parquet, written streaming: whole, or not at all."""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from msifr_policy.files import opened_anew, packed_by_ending, replacing
from msifr_policy.records.lines import line_of
from msifr_policy.records.parquet import write_parquet

if TYPE_CHECKING:
    import pyarrow as pa


def write_rows(
    to: str | os.PathLike[str],
    records: Iterable[msgspec.Struct | Mapping[str, Any]],
    schema: "pa.Schema | None" = None,
) -> int:
    """Write records, as Parquet with the columns of `schema`, else as JSON lines packed by the ending; return how many.

    Rows of Parquet are made of mappings, lines of structs too. The file appears whole or not at all, and the same
    records give the same bytes. Memory: one record, or one row group. Raises `InputError` for a place that cannot be
    written, and for a record that has no place in the columns.
    """
    with replacing(to) as place, opened_anew(place) as file:
        if schema is not None:
            return write_parquet(file, cast("Iterable[Mapping[str, Any]]", records), schema)
        count = 0
        with packed_by_ending(file, to) as stream:
            for record in records:
                stream.write(line_of(record))
                count += 1
        return count
