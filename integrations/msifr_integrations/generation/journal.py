"""The two files of a run, written so that killing it at any moment loses nothing that was finished.

`out.jsonl` has one record per attempt, `out.ledger.jsonl` beside it the run's settings and the account of each attempt.
Both only grow. An attempt's record is written before its account, one line each and unbuffered, and an attempt is done
when both lines are whole. Opening the files again cuts off what a killed run left half-done: half a line at the end of
either, and a record without an account.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from msifr_integrations.generation.live import Live, Task
from msifr_integrations.generation.options import GenerateOptions
from msifr_policy.errors import InputError
from msifr_policy.files import check_writable
from msifr_policy.filters import Judgement
from msifr_policy.records.ledger import Ending, Entry, Header, encode_line, read_ledger

FILTER_FAILURE = "final filter: "
"""What the ledger's name of a failure begins with if it was the final filter that failed."""


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


def record_of(task: Task, live: Live, judgement: Judgement | None, options: GenerateOptions) -> AttemptRecord:
    """Return the record of an attempt that has left; there is no judgement of one that was discarded."""
    prompt, stop = task.prompt, live.decision
    ending: dict[str, Any] = {}
    if judgement is not None:
        ending = {"correct": judgement.accepted, "score": judgement.score}
    elif stop is not None:
        ending = {name: getattr(stop, name) for name in ("k", "position", "posterior", "threshold", "reason")}
        ending["worth"] = None if math.isnan(stop.worth) else stop.worth
    return AttemptRecord(
        id=task.attempt.id,
        prompt_id=prompt.prompt_id,
        prompt=prompt.prompt,
        text=live.text,
        status="discarded" if judgement is None else "finished",
        gold=prompt.gold,
        group=prompt.group,
        model=options.model_name,
        seed=options.seed,
        tokens=live.tokens,
        prompt_tokens=len(task.attempt.prompt),
        token_ends=live.token_ends,
        logprobs=live.logprobs if options.logprobs else None,
        **ending,
    )


def entry_of(task: Task, live: Live, judgement: Judgement | None, seconds: float) -> Entry:
    """Return the account of an attempt that left `seconds` after the run began."""
    outcome: Ending = "accepted" if judgement else "discarded" if live.decision else "unaccepted"
    failures = dict(live.failures)
    if judgement is not None and judgement.failure:
        failures[FILTER_FAILURE + judgement.failure] = 1
    reason = live.decision.reason if live.decision else "length" if live.finish == "length" else "filter"
    return Entry(
        id=task.attempt.id,
        prompt_id=task.prompt.prompt_id,
        group=task.prompt.group,
        outcome=outcome,
        reason="" if judgement else reason,
        tokens=live.tokens,
        prompt_tokens=len(task.attempt.prompt),
        stages=live.stages,
        wasted=live.wasted,
        failures=failures,
        seconds=round(seconds, 6),
    )


def ledger_path(out: str | os.PathLike[str]) -> Path:
    """Return the path of the ledger beside `out`: `a.jsonl` has `a.ledger.jsonl`."""
    out = Path(out)
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.ledger.jsonl")


class Journal(AbstractContextManager["Journal"]):
    """Output and ledger of a run, opened to append.

    `settings` are those the run was begun with, None before an attempt is done; `entries` are the accounts of the
    attempts that are, by earlier sessions too.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        """Open the files, and cut off what a killed run left half-done.

        Raises `InputError` if they cannot be written, are no pair, or are being written by another process.
        """
        self.path, self._ledger_path = check_writable(out), check_writable(ledger_path(out))
        for path in (self.path, self._ledger_path):
            if path.exists() and not path.is_file():
                raise InputError("is no regular file, which a run needs to go on with", where=str(path))
        self.settings: dict[str, Any] | None = None
        self.entries: list[Entry] = []
        self._out: IO[bytes]
        with ExitStack() as files:
            self._ledger: IO[bytes] = files.enter_context(open(self._ledger_path, "ab", buffering=0))
            _lock(self._ledger, self._ledger_path)
            files.callback(self._drop_if_empty)
            self._read()
            self._files = files.pop_all()

    @property
    def done(self) -> set[str]:
        """Ids of the attempts that are complete."""
        return {entry.id for entry in self.entries}

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise `InputError` with the first of these settings that the run was begun with otherwise."""
        # Compared as the file would hold them: tuples are lists there.
        now: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(settings)))
        before = now if self.settings is None else self.settings
        for name, value in now.items():
            if value != before.get(name):
                raise InputError(
                    f"was begun with {name} = {before.get(name)!r}, not {value!r}",
                    where=str(self.path),
                    remedy="resume with the same settings, or name another output file",
                )

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Begin the run, or go on with it. Raises `InputError` as `check` does.

        A run killed before its first attempt was done may change its settings.
        """
        self.check(dict.fromkeys(self.settings or ()) | dict(settings))
        if self.settings is None:
            self._ledger.truncate(0)
            self._append(self._ledger, Header(settings=dict(settings)))
        self._out = self._files.enter_context(open(self.path, "ab", buffering=0))  # noqa: SIM115
        self.settings = dict(settings)

    def write(self, record: AttemptRecord, entry: Entry) -> None:
        """Append an attempt; `begin` comes first. Whole lines, unbuffered: the system has them when this returns.

        Raises `InputError` if the disk is full; then too the run can go on later.
        """
        self._append(self._out, record)
        self._append(self._ledger, entry)
        self.entries.append(entry)

    def _append(self, stream: IO[bytes], record: msgspec.Struct) -> None:
        line = encode_line(record)
        try:
            while line:
                line = line[stream.write(line) :]
        except OSError as error:
            raise InputError(
                f"cannot be written: {error.strerror or error}; {len(self.entries)} attempts are done and kept",
                where=str(self.path),
                remedy="make room and start the run again: it goes on from there",
            ) from error

    def close(self) -> None:
        """Close both files; a run that was not begun leaves none."""
        self._files.close()

    def _drop_if_empty(self) -> None:
        if os.fstat(self._ledger.fileno()).st_size == 0:
            self._ledger_path.unlink(missing_ok=True)

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self) -> None:
        """Take up what is done; cut whichever file is ahead of the other back to what they have in common."""
        ledger_ends = list(accumulate(map(len, _whole_lines(self._ledger_path))))
        if ledger_ends:
            ledger = read_ledger(self._ledger_path)
            self.settings, self.entries = ledger.settings, ledger.entries
        elif self.path.exists() and self.path.stat().st_size and not self._ledger_path.stat().st_size:
            raise self._no_pair(f"exists, but its ledger {self._ledger_path.name} does not")
        ends = [0]
        for line in _whole_lines(self.path):
            self._check_pair(line, len(ends))
            ends.append(ends[-1] + len(line))
        written, accounted = len(ends) - 1, len(self.entries)
        if abs(written - accounted) > 1:
            raise self._no_pair(f"has {written} attempts, its ledger {accounted}")
        pairs = min(written, accounted)
        if self.path.exists():
            os.truncate(self.path, ends[pairs])
        if ledger_ends:
            os.truncate(self._ledger_path, ledger_ends[pairs])  # the first line is the header
        self.entries = self.entries[:pairs]
        if not pairs:
            self.settings = None

    def _check_pair(self, line: bytes, number: int) -> None:
        where = f", line {number}"
        try:
            found = msgspec.json.decode(line, type=_Id).id
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._no_pair(f"not an attempt: {error}", where) from None
        if number <= len(self.entries) and found != self.entries[number - 1].id:
            raise self._no_pair(f"attempt {found!r} where the ledger has {self.entries[number - 1].id!r}", where)

    def _no_pair(self, what: str, line: str = "") -> InputError:
        remedy = "output and ledger are no pair: name another output file"
        return InputError(what, where=f"{self.path}{line}", remedy=remedy)


class _Id(msgspec.Struct):
    id: str


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file that may not exist; half a line at its end is none."""
    with suppress(FileNotFoundError), open(path, "rb") as lines:
        yield from (line for line in lines if line.endswith(b"\n"))


def _lock(file: IO[bytes], path: Path) -> None:
    """Keep other processes out until `file` is closed, where the system has such locks."""
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError("another run is writing this file", where=str(path), remedy="wait for it") from None
