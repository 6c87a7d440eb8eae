"""Records out of whatever packs them: JSON lines, JSON, CSV, Parquet, Arrow, data sets on disk, logs of inspect_ai.

What a file holds says what it is, not its name. All is streamed: in memory is one record, or one batch of rows. Only a
JSON document that is one object is read whole. Each record comes with its place.
"""

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec

from msifr_integrations.formats.importing.attempts import Record
from msifr_integrations.formats.importing.json_objects import json_objects
from msifr_policy.errors import InputError
from msifr_policy.extras import needs
from msifr_policy.files import BROKEN, LONGEST_LINE, check_text, unpacking
from msifr_policy.records.lines import object_of, object_or_error
from msifr_policy.records.parquet import parquet_rows

_ENDINGS: Final = re.compile(
    r"\.(?:jsonl|ndjson|json|csv|tsv)(?:\.gz|\.zst)?\Z|\.(?:parquet|arrow|eval)\Z", re.IGNORECASE
)
_BESIDE: Final = re.compile(
    r"\.ledger\.jsonl\Z|\A(?:dataset_info|state|dataset_dict|dataset_infos|summary)\.json\Z|\A(?:cache-|tmp|indices)"
)
"""Files that lie beside records, and hold none: ledgers, what `datasets` keeps of a data set, its caches."""

_HEAD: Final = 4096
_ROWS: Final = 128
_DELIMITERS: Final = ",\t;|"
_REMEDY: Final = "a record is a JSON object, a row of Parquet or Arrow, or a line of CSV under a line of names"


def find_inputs(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that paths name; `-` is the standard input, a folder stands for the files in it, sorted.

    Raises `InputError` for a path that does not exist, and a folder without a file that may hold records.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if str(path) == "-":
            path = Path("/dev/stdin")
            if path.is_char_device():
                what = "is a terminal" if os.isatty(0) else "is empty"
                raise InputError(f"the standard input {what}", where="-", remedy="name a file, or pipe one in")
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if _may_hold_records(p, path)]
            if not inside:
                remedy = "name files, or a folder of JSON, CSV, Parquet, Arrow or .eval files"
                raise InputError("holds no files of records", where=str(path), remedy=remedy)
            files += inside
        elif path.exists() and not path.is_char_device():
            files.append(path)
        else:
            raise InputError("no such file or folder", where=str(path))
    if not files:
        raise InputError("no files were named", remedy="name those to convert")
    return list({os.path.realpath(path): path for path in reversed(files)}.values())[::-1]  # none is read twice


def _may_hold_records(path: Path, folder: Path) -> bool:
    inner = path.relative_to(folder).parts
    hidden = any(part.startswith(".") for part in inner)
    return not hidden and bool(_ENDINGS.search(path.name)) and not _BESIDE.search(path.name) and path.is_file()


def foreign_records(path: Path) -> Iterator[tuple[str, Record | InputError]]:
    """Yield the records of a file after their places, an `InputError` in the place of one that cannot be read.

    Raises `InputError` for a file that cannot be read or holds no records.
    """
    with _reading(path), ExitStack() as stack:
        stream, _ = unpacking(stack, path)
        head = stream.peek(_HEAD)[:_HEAD]
        if head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff", b"PK\x03\x04")) and not path.is_file():
            what = "holds Parquet, Arrow or a zip archive, which cannot be read from a stream"
            raise InputError(what, where=str(path), remedy="write it to a file, and name that")
        if head.startswith(b"PAR1"):
            yield from parquet_rows(path)
        elif head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
            needs("pyarrow", extra="parquet", what="Arrow", where=str(path))
            yield from _arrow_rows(path)
        elif head.startswith(b"PK\x03\x04"):
            from msifr_integrations.formats.importing.inspect_logs import read_eval

            yield from read_eval(path)
        else:
            yield from _text_records(path, _as_utf8(stream, head))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno:
            raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
        raise InputError(f"cannot be read: {error}", where=str(path), remedy="the file may be cut short") from error
    except UnicodeError as error:
        remedy = "save it as UTF-8, for instance with iconv -f WINDOWS-1252 -t UTF-8"
        raise InputError(f"the text is not {error.encoding.upper()}", where=str(path), remedy=remedy) from error  # type: ignore[attr-defined]


class _Recoded(io.RawIOBase):
    """A stream of UTF-8 over one in another encoding."""

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = self._stream.read(1 << 16)
            self._left = self._decoder.decode(piece, final=not piece).encode("utf-8", "surrogatepass")
            if not piece:
                break
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _as_utf8(stream: Any, head: bytes) -> io.BufferedReader:
    """Return the text of a stream in UTF-8, whichever encoding its first bytes show."""
    encoding = json.detect_encoding(head) if head.strip(b"\0") else "utf-8"
    if not encoding.startswith("utf-8"):
        return io.BufferedReader(_Recoded(stream, encoding))
    return cast(io.BufferedReader, stream)


def _text_records(path: Path, stream: io.BufferedReader) -> Iterator[tuple[str, Record | InputError]]:
    head = stream.peek(_HEAD)[:_HEAD].removeprefix(codecs.BOM_UTF8).lstrip()
    if not head:
        raise InputError("is empty", where=str(path))
    check_text(head, str(path))
    if head.startswith(b"{"):
        yield from _lines_or_documents(path, stream)
    elif head.startswith(b"["):
        yield from _documents(path, stream)
    else:
        yield from _csv_rows(path, stream)


def _lines_or_documents(path: Path, stream: io.BufferedReader) -> Iterator[tuple[str, Record | InputError]]:
    """Yield the records of JSON lines, or, if the first line is no record, of JSON that is printed over several."""
    number, line = 1, stream.readline(LONGEST_LINE + 1).removeprefix(codecs.BOM_UTF8)
    while line.isspace():
        number, line = number + 1, stream.readline(LONGEST_LINE + 1)
    first = f"{path}, line {number}"
    try:
        record = object_of(line, first, _REMEDY)
    except InputError as error:
        yield from _documents(path, stream, line, error)
        return
    if _may_hold_many(record) and (held := held_records(line)) is not None:
        yield from (_placed(each, f"{path}, record {n}") for n, each in enumerate(held, 1))
        return
    yield first, record
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if not line.isspace():
            yield _placed(_record(line.removeprefix(codecs.BOM_UTF8)), f"{path}, line {number}")
        while len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            line = stream.readline(LONGEST_LINE)


def _documents(
    path: Path, stream: io.BufferedReader, before: bytes = b"", error: InputError | None = None
) -> Iterator[tuple[str, Record | InputError]]:
    """Yield the records of JSON arrays and objects; `error` is what is wrong if they are none."""
    number = 0
    try:
        for raw in json_objects(stream, str(path), before):
            for record in held_records(raw) or (_record(raw),):
                number += 1
                yield _placed(record, f"{path}, record {number}")
    except InputError as broken:
        raise (error or broken) if not number else broken from None
    if not number:
        raise error or InputError("holds no JSON objects", where=str(path), remedy=_REMEDY)


def _record(raw: bytes) -> Record | InputError:
    return object_or_error(raw, "", _REMEDY)


def _placed(record: Record | InputError, where: str) -> tuple[str, Record | InputError]:
    """Return a record after its place, which an error names, too."""
    if isinstance(record, InputError):
        record = InputError(record.what, where=where, remedy=record.remedy)
    return where, record


_HOLDERS: Final = ("data", "rows", "records", "examples")


def _may_hold_many(record: Record) -> bool:
    """Say whether a record may hold many (`held_records`), which is not to be found out for each of a million lines."""
    return "samples" in record or len(record) == 1 or all(isinstance(value, dict) for value in record.values())


def held_records(raw: bytes) -> Iterator[Record | InputError] | None:
    """Return the records in a document that is one object and holds many, None if it is itself a record.

    In the place of one that is no object is an error, which does not know its place. Known are logs of inspect_ai (a
    sample each, with what the log says of all as `eval`), results of SkyThought (by id, which becomes `_id`), and
    objects whose only member is a list of records.
    """
    try:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        members = _mended(raw)
    if {"samples", "eval"} <= members.keys() and _begins(members["samples"], b"["):
        about = _record(bytes(members["eval"]))
        return _each({"eval": {} if isinstance(about, InputError) else about}, _list(members["samples"]))
    holder = next(iter(members), "")
    if len(members) == 1 and holder in _HOLDERS and _begins(members[holder], b"["):
        return _each({}, _list(members[holder]))
    first = next(iter(members.values()), msgspec.Raw(b""))
    if _begins(first, b"{") and isinstance(result := _record(bytes(first)), dict) and "responses" in result:
        return (
            record if isinstance(record, InputError) else {"_id": key} | record
            for key, record in zip(members, _each({}, members.values()), strict=True)
        )
    return None


def _begins(raw: msgspec.Raw, bracket: bytes) -> bool:
    return bytes(raw).lstrip().startswith(bracket)


def _list(raw: msgspec.Raw) -> list[msgspec.Raw]:
    return msgspec.json.decode(raw, type=list[msgspec.Raw])


def _each(shared: Record, values: Iterable[msgspec.Raw]) -> Iterator[Record | InputError]:
    """Yield the record in each value, with what all share."""
    for value in values:
        record = _record(bytes(value))
        yield record if isinstance(record, InputError) else shared | record


def _mended(raw: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of what Python wrote and standard JSON does not know: NaN, halves of surrogate pairs."""
    with suppress(ValueError, RecursionError):
        known = json.loads(raw, parse_constant=lambda _: None)
        if isinstance(known, dict):
            return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in known.items()}
    return {}


def _csv_rows(path: Path, stream: io.BufferedReader) -> Iterator[tuple[str, Record | InputError]]:
    """Yield the rows of CSV by the names in its first line; an empty cell is no value."""
    longest = csv.field_size_limit(LONGEST_LINE)
    try:
        lines = iter(lambda: stream.readline(LONGEST_LINE).decode(), "")
        header = next(lines).removeprefix("\ufeff")
        delimiter = max(_DELIMITERS, key=header.count)
        names = next(csv.reader([header], delimiter=delimiter), [])
        if len(names) < 2 or len(set(names)) < len(names):
            what = f"neither JSON nor a table: it begins with {header[:20]!r}"
            raise InputError(what, where=f"{path}, line 1", remedy=_REMEDY)
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter, strict=True), 1):
            where = f"{path}, row {number}"
            if len(row) > len(names):
                remedy = "put cells that hold a separator or a line's end into double quotes"
                yield where, InputError(f"{len(row)} cells under {len(names)} names", where=where, remedy=remedy)
            elif row:
                yield where, {name: cell for name, cell in zip(names, row, strict=False) if cell != ""}
    except csv.Error as error:
        raise InputError(f"no CSV: {error}", where=str(path), remedy="write it with a library for CSV") from error
    finally:
        csv.field_size_limit(longest)


def _arrow_rows(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield the rows of an Arrow file or stream, as `datasets` saves them."""
    import pyarrow as pa

    number = 0
    try:
        with pa.memory_map(str(path)) as source:
            for batch in _batches(source):
                for start in range(0, len(batch), _ROWS):
                    for row in batch.slice(start, _ROWS).to_pylist():
                        number += 1
                        yield f"{path}, row {number}", row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=f"{path}, row {number + 1}") from error


def _batches(source: Any) -> Iterator[Any]:
    import pyarrow as pa

    try:
        yield from pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        file = pa.ipc.open_file(source)
        yield from (file.get_batch(i) for i in range(file.num_record_batches))
