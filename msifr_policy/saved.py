"""Records in a file of their own: validated JSON, with learned weights beside it, named by what is in them.

Weights lie in a safetensors file whose name is that of the record's file and the first digits of its SHA-256. No
pickle, no code.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.files import replacing
from msifr_policy.weights import MAX_WEIGHTS_BYTES, remember, weights_bytes

MAX_FILE_BYTES = 64 * 2**20

Record = TypeVar("Record", bound=msgspec.Struct)


def save_record(record: msgspec.Struct, path: str | os.PathLike[str], *weights: str | None) -> None:
    """Write the record, and before it all `weights` it names, by their SHA-256; each whole or not at all."""
    path = Path(path)
    for named in weights:
        if named is not None:
            with replacing(_beside(path, named)) as temporary:
                temporary.write_bytes(weights_bytes(named))
    with replacing(path) as temporary:
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")


def load_record(
    path: str | os.PathLike[str], kind: type[Record], *, version: int, what: str, remedy: str, again: str
) -> Record:
    """Read a record of `kind` with this `schema_version`.

    Raises `InputError` with the reason if the file cannot be read or is none: `what` says what it should be, `remedy`
    how one is made, and `again` what to do about one of another version.
    """
    raw = _read(Path(path), MAX_FILE_BYTES)
    try:
        found = msgspec.json.decode(raw, type=_Versioned).schema_version
        if found != version:
            raise InputError(f"schema version {found}, this release reads {version}", where=str(path), remedy=again)
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not {what}: {error}", where=str(path), remedy=remedy) from None


def load_weights(path: str | os.PathLike[str], weights: str | None, *, both: str) -> None:
    """Read the weights that the record in `path` names, and remember them.

    Raises `InputError` if they are not there or are others; `both` says that there are two files.
    """
    if weights is None:
        return
    beside = _beside(Path(path), weights)
    if remember(_read(beside, MAX_WEIGHTS_BYTES, both), where=str(beside)) != weights:
        raise InputError("not the weights that the file names", where=str(beside), remedy=both)


def _beside(path: Path, sha256: str) -> Path:
    return path.with_name(f"{path.stem}.{sha256[:12]}.safetensors")


def _read(path: Path, most: int, remedy: str = "") -> bytes:
    try:
        with open(path, "rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(path), remedy=remedy) from error
    if len(raw) > most:
        raise InputError(f"larger than {most} bytes", where=str(path))
    return raw


class _Versioned(msgspec.Struct):
    schema_version: int
