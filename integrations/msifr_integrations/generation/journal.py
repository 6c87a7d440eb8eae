"""The two files of a run, written so that killing it at any moment loses nothing that was finished.

`out.jsonl` has one record per attempt, `out.ledger.jsonl` beside it the run's settings and the account of
each attempt. Both only grow. An attempt's record is written before its account, one line each and unbuffered,
and an attempt is done when both lines are whole. Opening the files again cuts off what a killed run left
half-done: half a line at the end of either, and a record without an account.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal, Self

import msgspec

from msifr_policy.errors import InputError
from msifr_policy.records.ledger import Entry, Header, encode_line, read_ledger

__all__ = ["AttemptRecord", "Journal", "ledger_path"]


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of `out.jsonl`: a trace of a finished attempt, or what there is of a discarded one.

    The keys of a trace mean the same here (`msifr_policy.records.traces`); `seed` is the run's. If the attempt was
    discarded, `correct` is absent, and `k` (checkpoint), `position` (characters), `posterior`, `worth`, `threshold`
    and `reason` are present. `score` is what a filter that scores gave, unless it is infinite.
    """

    id: str
    prompt_id: str
    prompt: str
    text: str
    status: Literal["finished", "discarded"]
    seed: int
    model: str
    tokens: int
    prompt_tokens: int
    token_ends: list[int]
    correct: bool | None = None
    gold: str | None = None
    group: str | None = None
    logprobs: list[float] | None = None
    k: int | None = None
    position: int | None = None
    posterior: float | None = None
    worth: float | None = None
    threshold: float | None = None
    reason: str | None = None
    score: float | None = None


def ledger_path(out: str | os.PathLike[str]) -> Path:
    """Return the path of the ledger beside `out`: `a.jsonl` has `a.ledger.jsonl`."""
    out = Path(out)
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.ledger.jsonl")


class Journal:
    """Output and ledger of a run, opened to append.

    `done` are the ids of the attempts that earlier sessions of the run completed, `entries` their accounts.
    """

    def __init__(self, out: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        """Open the files, or begin them.

        Raises `InputError` if the files are another run's (the first setting that differs is named), are no
        pair, cannot be written, or are being written by another process.
        """
        self._out_path, self._ledger_path = Path(out), ledger_path(out)
        self.entries: list[Entry] = []
        try:
            self._out_path.parent.mkdir(parents=True, exist_ok=True)
            self._ledger: IO[bytes] = open(self._ledger_path, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise InputError(f"cannot be written: {error}", where=str(self._ledger_path)) from error
        try:
            _lock(self._ledger, self._ledger_path)
            _cut_to_lines(self._ledger_path)
            if self._ledger_path.read_bytes().count(b"\n") > 1:
                self._resume(settings)
            else:
                self._begin(settings)
            self._out: IO[bytes] = open(self._out_path, "ab", buffering=0)  # noqa: SIM115
        except BaseException:
            self._ledger.close()
            raise

    @property
    def done(self) -> set[str]:
        """Ids of the attempts that are complete."""
        return {entry.id for entry in self.entries}

    def write(self, record: AttemptRecord, entry: Entry) -> None:
        """Append an attempt. Whole lines, unbuffered: the operating system has them when this returns."""
        for stream, line in ((self._out, encode_line(record)), (self._ledger, encode_line(entry))):
            while line:
                line = line[stream.write(line) :]
        self.entries.append(entry)

    def close(self) -> None:
        """Close both files."""
        self._out.close()
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _begin(self, settings: Mapping[str, Any]) -> None:
        """Write the header; a run killed before its first attempt was done may change its settings."""
        begun = self._ledger_path.stat().st_size > 0
        if self._out_path.exists() and self._out_path.stat().st_size:
            if not begun:
                raise InputError(
                    f"exists, but its ledger {self._ledger_path.name} does not",
                    where=str(self._out_path),
                    remedy="name another output file",
                )
            if self._out_path.read_bytes().count(b"\n") > 1:
                raise InputError(
                    "has attempts, but its ledger has none",
                    where=str(self._out_path),
                    remedy="the files are no pair: name another output file",
                )
            os.truncate(self._out_path, 0)
        self._ledger.truncate(0)
        self._ledger.write(encode_line(Header(settings=dict(settings))))

    def _resume(self, settings: Mapping[str, Any]) -> None:
        ledger = read_ledger(self._ledger_path)
        # Compared as the file would hold them: tuples are lists there.
        now: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(settings)))
        for name in [*now, *ledger.settings]:
            if now.get(name) != ledger.settings.get(name):
                raise InputError(
                    f"was begun with {name} = {ledger.settings.get(name)!r}, not {now.get(name)!r}",
                    where=str(self._out_path),
                    remedy="resume with the same settings, or name another output file",
                )
        if not self._out_path.exists() and ledger.entries:
            raise InputError(
                f"is missing, but its ledger {self._ledger_path.name} is not",
                where=str(self._out_path),
                remedy="bring it back, or name another output file",
            )
        self._out_path.touch()
        _cut_to_lines(self._out_path)
        self.entries = ledger.entries
        self._cut_to_pairs()

    def _cut_to_pairs(self) -> None:
        """Cut whichever file is one attempt ahead; anything but a common beginning is not this run's work."""
        ends = [0]
        with open(self._out_path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    found = _id_decoder.decode(line).id
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise InputError(
                        f"not an attempt: {error}",
                        where=f"{self._out_path}, line {number}",
                        remedy="the file was changed: name another output file",
                    ) from None
                if number <= len(self.entries) and found != self.entries[number - 1].id:
                    raise InputError(
                        f"attempt {found!r} where the ledger has {self.entries[number - 1].id!r}",
                        where=f"{self._out_path}, line {number}",
                        remedy="the files are no pair: name another output file",
                    )
                ends.append(ends[-1] + len(line))
        pairs = min(len(ends) - 1, len(self.entries))
        if max(len(ends) - 1, len(self.entries)) > pairs + 1:
            raise InputError(
                f"has {len(ends) - 1} attempts, its ledger {len(self.entries)}",
                where=str(self._out_path),
                remedy="the files are no pair: name another output file",
            )
        os.truncate(self._out_path, ends[pairs])
        if len(self.entries) > pairs:
            whole = self._ledger_path.read_bytes()
            os.truncate(self._ledger_path, whole.rindex(b"\n", 0, len(whole) - 1) + 1)
            self.entries = self.entries[:pairs]


class _Id(msgspec.Struct):
    id: str


_id_decoder = msgspec.json.Decoder(_Id)


def _cut_to_lines(path: Path) -> None:
    """Cut off what follows the last newline."""
    with open(path, "rb+") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def _lock(file: IO[bytes], path: Path) -> None:
    """Keep other processes out until `file` is closed, where the system has such locks."""
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError("another run is writing this file", where=str(path), remedy="wait for it") from None
