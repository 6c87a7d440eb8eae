"""Files that are read line by line, whatever they are packed in, and files that appear whole or not at all."""

import codecs
import errno
import gzip
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, cast

from msifr_policy.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LONGEST_LINE = 64 * 2**20
"""Bytes: no record of one attempt is longer, and a hostile file must not fill the memory."""

BROKEN: Final = (OSError, EOFError, zlib.error, zstd.ZstdError)
"""What reading a file raises that is not there, cannot be read, or is cut short."""

_HEAD: Final = 512
"""Bytes by which files are told apart; a tar archive says at 257 what it is."""

_SKIPPABLE: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
"""How a frame begins that holds no data: some packers of Zstandard put one before the others."""

_OTHERS: Final = (
    (b"PAR1", "is a Parquet file", "write it as JSON lines, for instance with pandas: to_json(…, lines=True)"),
    (b"ARROW1", "is an Arrow file", "msifr convert makes traces of it"),
    (b"\xff\xff\xff\xff", "is an Arrow file", "msifr convert makes traces of it"),
    (b"BZh", "is compressed by bzip2, which is not read", "unpack it with bunzip2, or compress it by gzip"),
    (b"\xfd7zXZ", "is compressed by xz, which is not read", "unpack it with unxz, or compress it by gzip"),
    (b"]\0\0", "is compressed by LZMA, which is not read", "unpack it with unlzma, or compress it by gzip"),
    (b"\x04\x22M\x18", "is compressed by LZ4, which is not read", "unpack it with unlz4, or compress it by gzip"),
    (b"7z\xbc\xaf", "is a 7z archive, which is not read", "unpack it, and name the files in it"),
    (b"PK\x03\x04", "is a zip archive", "unpack it, and name the files in it; msifr convert reads logs of inspect_ai"),
    (b"SQLite format 3", "is an SQLite database", "write what it holds as JSON lines"),
    (b"version https://git-lfs.", "is the pointer of Git LFS to a file, not the file", "get it with git lfs pull"),
    (b"<!doctype", "is an HTML page, perhaps in the place of a download", "get the file itself"),
    (b"<html", "is an HTML page, perhaps in the place of a download", "get the file itself"),
)
"""How files begin that hold no lines of text, what they are, and what helps."""


def read_lines(path: str | os.PathLike[str], *, longest: int = LONGEST_LINE) -> Iterator[tuple[str, bytes]]:
    """Yield each line that is not blank, after its place; the text is UTF-8, plain or packed by gzip or Zstandard.

    Byte order marks before a line are left out. A line longer than `longest` bytes is cut one byte later. Memory: one
    line. Raises `InputError` for a file that cannot be read, is cut short, packed otherwise or in another encoding.
    """
    number = 0
    packed = ""
    try:
        with ExitStack() as stack:
            stream, packed = unpacking(stack, path)
            check_text(stream.peek(_HEAD)[:_HEAD], f"{os.fspath(path)}, line 1")
            while line := stream.readline(longest + 1):
                number += 1
                start = 0
                while line.startswith(codecs.BOM_UTF8, start):
                    start += len(codecs.BOM_UTF8)
                record = line[start:]
                if record and not record.isspace():
                    yield f"{os.fspath(path)}, line {number}", record
                while len(line) >= longest and not line.endswith(b"\n"):
                    line = stream.readline(longest)
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno:  # the system's word, not that of an unpacker
            raise InputError(f"cannot be read: {error.strerror}", where=os.fspath(path)) from error
        where = f"{os.fspath(path)}, line {number + 1}"
        raise InputError(f"{packed}cannot be read: {error}", where=where, remedy="the file may be cut short") from error


def unpacking(stack: ExitStack, path: str | os.PathLike[str]) -> "tuple[io.BufferedReader[Any] | gzip.GzipFile, str]":
    """Return what a file holds, unpacked if gzip or Zstandard packed it, and how it is packed, in words or "".

    It is closed with `stack`. Raises OSError, and while it is read what `BROKEN` lists too.
    """
    file = stack.enter_context(open(path, "rb"))  # noqa: SIM115 (the stack closes it)
    head = file.peek(4)
    if head.startswith(b"\x1f\x8b"):
        return stack.enter_context(gzip.GzipFile(fileobj=file)), "packed by gzip, it "
    if head.startswith(b"\x28\xb5\x2f\xfd") or _SKIPPABLE.match(head):
        return stack.enter_context(io.BufferedReader(zstd.ZstdFile(file))), "compressed by Zstandard, it "
    return file, ""


@contextmanager
def packed_by_ending(file: IO[bytes], path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Give a stream whose bytes go into `file`, packed as the ending of `path` says: `.gz`, `.zst`, or not at all.

    The same bytes are packed into the same ones: no time and no name is written. `file` stays open.
    """
    name = os.fspath(path)
    with ExitStack() as stack:
        if name.endswith(".gz"):
            zipped = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
            yield cast(IO[bytes], stack.enter_context(zipped))
        elif name.endswith(".zst"):
            yield cast(IO[bytes], stack.enter_context(zstd.ZstdFile(file, "wb")))
        else:
            yield file


def check_text(head: bytes, where: str) -> None:
    """Raise `InputError` if what begins so is no text in UTF-8."""
    for begins, what, remedy in _OTHERS:
        if head[: len(begins)].lower() == begins.lower():
            raise InputError(what, where=where, remedy=remedy)
    if head[257:262] == b"ustar":
        raise InputError("is a tar archive", where=where, remedy="unpack it, and name the files in it")
    if head.startswith(b"\x1f\x8b"):
        raise InputError("is packed twice by gzip", where=where, remedy="unpack it once with gunzip")
    encoding = json.detect_encoding(head).upper()[:6]
    if encoding.startswith(("UTF-16", "UTF-32")) and head.strip(b"\0"):
        remedy = f"save it as UTF-8, for instance with iconv -f {encoding} -t UTF-8"
        raise InputError(f"the text is encoded in {encoding}", where=where, remedy=remedy)


def check_writable(path: str | os.PathLike[str], *, folder: bool = False) -> Path:
    """Return where writing to `path` ends up, links followed; make the folders that are missing, and nothing else.

    A file may also be a character device or a pipe. Raises `InputError` for what cannot be written: call it before
    work is done for `path`.
    """
    place, where = Path(path), os.fspath(path)
    try:
        if place.exists() and place.is_dir() != folder:
            wanted, found = ("folder", "file") if folder else ("file", "folder")
            raise InputError(f"is a {found}, where a {wanted} is meant", where=where, remedy=f"name a {wanted}")
        if where.endswith(os.sep) and not folder:
            raise InputError("names a folder, where a file is meant", where=where, remedy="name a file in it")
        if not is_stream(place):
            # Not for streams: what a link in /proc leads to has no name.
            place = Path(os.path.realpath(place))
            if place.is_symlink():
                raise InputError("is a link that leads in a circle", where=where, remedy="name another place")
            home = place if folder else place.parent
            home.mkdir(parents=True, exist_ok=True)
            # Only trying tells: the superuser has every permission, and yet a disk may be read-only.
            tempfile.TemporaryFile(dir=home).close()
        if place.exists() and not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _cannot_write(where, error) from error
    return place


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a file to write that becomes `path` when the block ends well; otherwise `path` stays as it was.

    Links are followed, missing folders made, and permission bits kept. A character device or a pipe is given as it is,
    to be written directly. Raises `InputError`, also for an OSError in the block (a full disk, most often).
    """
    place = check_writable(path)
    whole = not is_stream(place)
    # Short whatever the name, and the same each time: what a killed run leaves is written over by the next.
    written = place.with_name(f".{zlib.crc32(os.fsencode(place.name)):08x}.part") if whole else place
    try:
        yield written
        if whole:
            if place.exists():
                shutil.copymode(place, written)
            os.replace(written, place)
    except OSError as error:
        raise _cannot_write(os.fspath(path), error) from error
    finally:
        if whole:
            written.unlink(missing_ok=True)


def opened_anew(place: Path) -> IO[bytes]:
    """Open what `replacing` gives, to write bytes. Of our own standard output nothing is cut off (`>>` in a shell)."""
    descriptor = _own_output(place)
    if descriptor is None or not place.is_file():
        return open(place, "wb")
    return os.fdopen(os.dup(descriptor), "wb")


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is written itself and flows on: a character device, a pipe, or what our own standard output is.

    Raises `InputError` for what can be neither written nor replaced, such as a disk.
    """
    place = Path(path)
    if place.is_char_device() or place.is_fifo():
        return True
    if place.is_block_device() or place.is_socket():
        raise InputError("is neither a file nor a stream", where=os.fspath(path), remedy="name a file")
    return _own_output(place) is not None


def _own_output(place: Path) -> int | None:
    """Return the descriptor of the standard stream that is written to `place`, None if none is."""
    for descriptor in (1, 2):
        with suppress(OSError):  # no such file, or that stream is closed
            if os.path.samestat(os.stat(place), os.fstat(descriptor)):
                return descriptor
    return None


def _cannot_write(path: str, error: OSError) -> InputError:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return InputError("is below a file, not below a folder", where=path, remedy="name another place")
    remedy = "make room there, or name another place" if error.errno == errno.ENOSPC else "name another place"
    return InputError(f"cannot be written: {error.strerror or error}", where=path, remedy=remedy)
