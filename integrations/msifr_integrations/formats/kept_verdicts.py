"""The verdicts of a judge, kept beside its output until that is whole."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import IO

import msgspec

from msifr_integrations.generation.inputs import fingerprint
from msifr_integrations.generation.journal import lock, whole_lines
from msifr_integrations.generation.judging import Judged, ToJudge
from msifr_policy.errors import InputError
from msifr_policy.files import check_writable
from msifr_policy.records.ledger import encode_line


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """First line of what is kept: what must be the same when a judge goes on."""

    filter: str
    again: bool
    prompts: str
    version: int = 1


class KeptVerdict(msgspec.Struct, frozen=True, array_like=True):
    """What came of a text; `digest` tells the text, and all that it was judged by, from others."""

    digest: str
    judged: Judged


def digest_of(task: ToJudge) -> str:
    """Return the digest of what is judged."""
    return fingerprint((msgspec.json.encode(task.prompt), task.text.encode(errors="surrogatepass")))


class KeptVerdicts(AbstractContextManager["KeptVerdicts"]):
    """The verdicts of a judge in the order of its records, in the file `OUT.judging`, which only grows.

    Half a line at its end, of a judge that was killed, is cut off. A file without a verdict is not kept.

    Raises `InputError` if it cannot be written, is being written by another process, or was begun otherwise.
    """

    def __init__(self, out: str | os.PathLike[str], begun: Begun) -> None:
        self.path = check_writable(f"{os.path.realpath(out)}.judging")
        self._new = 0  # verdicts of this session
        self._file: IO[bytes] = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed on exit
        try:
            lock(self._file, self.path)
            self._begin(begun)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, begun: Begun) -> None:
        """Go on with what is there, or begin."""
        first = next(whole_lines(self.path), b"")
        try:
            before = msgspec.json.decode(first, type=Begun) if first else begun
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._other("is none of a judge's files") from None
        self._file.truncate(sum(map(len, whole_lines(self.path))))
        if not any(True for _ in self.read()):
            self._file.truncate(0)
            self._append(begun)
            return
        for name in begun.__struct_fields__:
            was, now = getattr(before, name), getattr(begun, name)
            if was != now:
                raise self._other(f"is of a judge that was killed, and was begun with {name} = {was!r}, not {now!r}")

    def _other(self, what: str) -> InputError:
        remedy = "go on with the same options, remove that file to begin anew, or name another output"
        return InputError(what, where=str(self.path), remedy=remedy)

    def read(self) -> Iterator[KeptVerdict]:
        """Yield what is kept. Raises `InputError` for a line that is no verdict."""
        for number, line in enumerate(islice(whole_lines(self.path), 1, None), 2):
            try:
                yield msgspec.json.decode(line, type=KeptVerdict)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                where, remedy = f"{self.path}, line {number}", "remove that file to begin anew"
                raise InputError(f"no verdict: {error}", where=where, remedy=remedy) from None

    def write(self, verdict: KeptVerdict) -> None:
        """Keep one more. Raises `InputError` if the disk is full; then too the judge can go on later."""
        self._append(verdict)
        self._new += 1

    def _append(self, record: msgspec.Struct) -> None:
        line = encode_line(record)
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise InputError(
                f"cannot be written: {error.strerror or error}; {self._new} texts were judged now, and are kept",
                where=str(self.path),
                remedy="make room and start the same command again: it goes on from there",
            ) from error

    def remove(self) -> None:
        """Remove the file: the output is whole."""
        self.path.unlink(missing_ok=True)

    def __exit__(self, *error: object) -> None:
        try:
            if self.path.exists() and next(islice(whole_lines(self.path), 1, None), None) is None:
                self.remove()
        finally:
            self._file.close()
