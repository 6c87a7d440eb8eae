"""The two files of a run, written so that killing it at any moment loses nothing that was finished.

`out.jsonl` has one record per attempt, `out.ledger.jsonl` beside it the run's settings and the account of each attempt.
Both only grow. An attempt's record is written before its account, one line each and unbuffered, and an attempt is done
when both lines are whole. Opening the files again cuts off what a killed run left half-done: half a line at the end of
either, and a record without an account.
"""

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import msgspec

from msifr_integrations.generation.live import Live, Task
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.turns import Goal
from msifr_policy.audit import Audited
from msifr_policy.dead_prefixes import DeadPrefix
from msifr_policy.errors import InputError
from msifr_policy.files import check_writable
from msifr_policy.filters import Judgement, Message
from msifr_policy.records.compact import IdMap
from msifr_policy.records.exits import Exits
from msifr_policy.records.ledger import (
    NO_ATTEMPTS,
    AtPrompt,
    Ending,
    Entry,
    Header,
    RunningTotals,
    Session,
    Steer,
    Totals,
    encode_line,
    scan_ledger,
)

FILTER_FAILURE = "final filter: "
"""What the ledger's name of a failure begins with if it was the final filter that failed."""


_LONGEST_REASON = 80


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of `out.jsonl`: a trace of a finished attempt, or what there is of a discarded one.

    The keys of a trace mean the same here (`msifr_policy.records.traces`); `seed` is the run's. If the attempt was
    discarded, `correct` is absent, and `k` (checkpoint, 0 before the first token), `position` (characters),
    `posterior`, `worth`, `threshold` and `reason` are present; if it failed, `error` says why. A log-probability that
    the engine did not tell is null. `finish` is how an attempt ended if not by itself or at its limit: "stop",
    "decided", or a server's word. `score` is what a filter that scores gave, unless it is infinite. `audited` is the
    would-be discard of an attempt that was finished nonetheless, and `weight` then how many attempts it stands for.
    Of an attempt that exited (`finish` "exit") `k` is the checkpoint and `position` where the words begin that asked
    for its answer, the last of `text`. `exits` are the answers that were forced in shadow. `dead` is what a run with a
    memory of rejections remembers of it: a prefix that is not drawn again.
    """

    id: str
    prompt_id: str
    prompt: str
    text: str
    status: Literal["finished", "discarded", "failed"]
    seed: int
    model: str
    tokens: int
    prompt_tokens: int
    token_ends: list[int]
    correct: bool | None = None
    gold: str | None = None
    group: str | None = None
    messages: tuple[Message, ...] | None = None
    schema: dict[str, Any] | None = None
    parameters: dict[str, dict[str, Any]] | None = None
    logprobs: list[float | None] | None = None
    states: list[tuple[float, ...]] | None = None
    finish: str = ""
    error: str = ""
    k: int | None = None
    position: int | None = None
    posterior: float | None = None
    worth: float | None = None
    threshold: float | None = None
    reason: str | None = None
    score: float | None = None
    weight: float = 1.0
    audited: Audited | None = None
    exits: Exits | None = None
    dead: DeadPrefix | None = None


def record_of(
    task: Task,
    live: Live | None,
    judgement: Judgement | None,
    options: GenerateOptions,
    error: str = "",
    dead: DeadPrefix | None = None,
) -> AttemptRecord:
    """Return the record of an attempt that has left.

    There is no judgement of one that was discarded, and nothing but the error of one that failed. dead: what is
    remembered of it.
    """
    prompt, stop = task.prompt, None if live is None else live.decision
    ending: dict[str, Any] = {}
    if judgement is not None:
        ending = {"correct": judgement.accepted, "score": judgement.score}
    elif stop is not None:
        ending = {name: getattr(stop, name) for name in ("k", "position", "posterior", "threshold", "reason")}
        ending["worth"] = None if math.isnan(stop.worth) else stop.worth
    if live is not None and live.exited is not None:
        ending |= {"k": live.exited.k, "position": live.points[0].position}
    if live is not None and live.audited is not None:
        ending |= {"audited": live.audited, "weight": live.audited.weight}
    finish = "" if live is None or live.finish in ("end", "length") else live.finish
    return AttemptRecord(
        id=task.attempt.id,
        prompt_id=prompt.prompt_id,
        prompt=prompt.prompt,
        text="" if live is None else live.text,
        status="failed" if error else "discarded" if judgement is None else "finished",
        gold=prompt.gold,
        group=prompt.group,
        messages=prompt.messages,
        schema=prompt.schema,
        parameters=prompt.parameters or None,
        model=options.model_name,
        seed=options.seed,
        tokens=0 if live is None else live.tokens,
        prompt_tokens=prompt_tokens_of(task, live),
        token_ends=[] if live is None else live.token_ends,
        logprobs=_known(live.logprobs) if options.logprobs and live is not None else None,
        states=(live.states or None) if live is not None and live.finish != "exit" else None,
        finish=finish,
        error=error,
        exits=None if live is None else live.exits,
        dead=dead,
        **ending,
    )


def _known(logprobs: list[float]) -> list[float | None] | None:
    """Return them as JSON has them, or None if none is known."""
    known = [None if math.isnan(logprob) else logprob for logprob in logprobs]
    return None if known and set(known) == {None} else known


def prompt_tokens_of(task: Task, live: Live | None) -> int:
    """Return the tokens of the prompt, and of what was read to force an answer where the attempt exited.

    0 if the engine was not given it, or takes text and does not tell them.
    """
    if live is not None and live.skipped:
        return 0
    read = 0 if live is None else live.read
    if all(isinstance(part, int) for part in task.attempt.prompt):
        return len(task.attempt.prompt) + read
    return 0 if live is None else live.prompt_tokens + read


class Elapsed(NamedTuple):
    """Time of a run until now, over all its sessions, in seconds: on the wall, and of this process's processors."""

    seconds: float
    cpu_seconds: float


def entry_of(
    task: Task, live: Live | None, judgement: Judgement | None, spent: Elapsed, *, lost: int = 0, error: str = ""
) -> Entry:
    """Return the account of an attempt that left at a time; `lost` tokens were of broken tries."""
    ahead: int | None = None
    outcome: Ending = "failed" if error else "accepted" if judgement else "unaccepted"
    reason, finish, failures = error.partition(": ")[0][:_LONGEST_REASON], "", dict[str, int]()
    watched: dict[str, Any] = {"level": task.level, "place": task.place}
    if live is not None:
        watched |= live.watched | live.forced
        if task.attempt.memory is not None and not live.skipped and (avoided := task.attempt.memory.avoided):
            # Its law is another one than that of attempts that a policy was fitted to: it tells monitors nothing.
            watched |= {"avoided": avoided, "posteriors": (), "bins": ""}
        failures = dict(live.failures)
        finish, reason = live.finish, "length" if live.finish == "length" else "filter"
        if live.decision is not None:
            outcome, finish, reason = "discarded", "", live.decision.reason
            ahead = round(live.decision.ahead) if math.isfinite(live.decision.ahead) else None
    if judgement is not None and judgement.failure:
        failures[FILTER_FAILURE + judgement.failure] = 1
    return Entry(
        id=task.attempt.id,
        prompt_id=task.prompt.prompt_id,
        group=task.prompt.group,
        outcome=outcome,
        finish=finish,
        reason="" if outcome == "accepted" else reason,
        tokens=0 if live is None else live.tokens,
        prompt_tokens=prompt_tokens_of(task, live),
        stages=() if live is None else live.stages,
        wasted=0 if live is None else live.wasted,
        lost=lost,
        found=None if judgement is None else judgement.found,
        ahead=ahead,
        failures=failures,
        seconds=round(spent.seconds, 6),
        cpu_seconds=round(spent.cpu_seconds, 6),
        **watched,
    )


def other_content(name: str, other: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Return in words how a setting differs of which settings keep a hash alone, "" for one that can be shown."""
    if name == "prompts":
        sizes = other.get("prompt_count"), own.get("prompt_count")
        return "other prompts" if sizes[0] == sizes[1] else f"other prompts ({sizes[0]} of them, {sizes[1]} here)"
    if name == "policy":
        return {"none": "no policy"}.get(
            other.get(name, ""), "a policy" if own.get(name) == "none" else "another policy"
        )
    return "other weights of the model" if name == "weights" else ""


def _otherwise(name: str, before: Any, now: Any) -> str:
    """Return in words how a setting differs, of several in one the first that does."""
    if isinstance(before, dict) and isinstance(now, dict):
        inner = next(each for each in {**now, **before} if before.get(each) != now.get(each))
        return _otherwise(f"{name}.{inner}", before.get(inner), now.get(inner))
    return f"without {name}, not with {now!r}" if before is None else f"with {name} = {before!r}, not {now!r}"


def ledger_path(out: str | os.PathLike[str]) -> Path:
    """Return the path of the ledger beside `out`: `a.jsonl` has `a.ledger.jsonl`."""
    out = Path(out)
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.ledger.jsonl")


class Journal(AbstractContextManager["Journal"]):
    """Output and ledger of a run, opened to append.

    `settings` are those the run was begun with, None before an attempt is done; `before` are the sums over the attempts
    that earlier sessions completed, `done` the ids of those of them at prompts to which more are to come; `count`
    attempts are complete by now; `steers` is what steered the run until now. Both files are read once, side by side.
    Memory: some 17 bytes for each prompt, and while the files are read 13 for each attempt (`records.compact`).
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
        self.done: frozenset[str] = frozenset()
        self.count = 0
        self.steers: list[Steer] = []
        self._running = RunningTotals()
        self._at = IdMap(NO_ATTEMPTS)  # by prompt
        self._spent_in_vain: list[Session] = []  # of sessions that finished no attempt
        self._out: IO[bytes]
        with ExitStack() as files:
            self._ledger: IO[bytes] = files.enter_context(open(self._ledger_path, "ab", buffering=0))
            lock(self._ledger, self._ledger_path)
            files.callback(self._drop_if_empty)
            self._read()
            self.before = self.totals()
            self._files = files.pop_all()

    def totals(self) -> Totals:
        """Return the sums over all sessions, as the ledger has them now."""
        return self._running.totals

    def at(self, prompt_id: str) -> AtPrompt:
        """Return how the attempts at a prompt ended that are complete by now."""
        return self._at[prompt_id]

    def at_all(self, prompts: int) -> dict[AtPrompt, int]:
        """Return at how many of the run's `prompts` attempts ended in each way until now."""
        counts = self._at.counts()
        untouched = prompts - sum(counts.values())
        return counts | {NO_ATTEMPTS: untouched} if untouched else counts

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise `InputError` with the first of these settings that the run was begun with otherwise."""
        # Compared as the file would hold them: tuples are lists there.
        now: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(settings)))
        before = now if self.settings is None else self.settings
        for name, value in now.items():
            if value != before.get(name):
                other = other_content(name, before, now)
                raise InputError(
                    f"was begun {f'with {other}' if other else _otherwise(name, before.get(name), value)}",
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
            self.steers.clear()
            self._append(self._ledger, Header(settings=dict(settings)))
            for session in self._spent_in_vain:
                self._append(self._ledger, session)
        self._out = self._files.enter_context(open(self.path, "ab", buffering=0))  # noqa: SIM115
        self.settings = dict(settings)

    def write(self, record: AttemptRecord, entry: Entry) -> None:
        """Append an attempt; `begin` comes first. Whole lines, unbuffered: the system has them when this returns.

        Raises `InputError` if the disk is full; then too the run can go on later.
        """
        self._append(self._out, record)
        self._append(self._ledger, entry)
        self._note(entry)

    def steer(self, record: Steer) -> None:
        """Append what steers the run from now on. Raises `InputError` as `write`."""
        self._append(self._ledger, record)
        self._note(record)

    def end_session(self, session: Session) -> None:
        """Append what a session spent beside attempts, if anything. Raises `InputError` as `write`."""
        if session != Session(made=session.made) or session.made:
            self._append(self._ledger, session)
            self._note(session)

    def _append(self, stream: IO[bytes], record: msgspec.Struct) -> None:
        line = encode_line(record)
        try:
            while line:
                line = line[stream.write(line) :]
        except OSError as error:
            raise InputError(
                f"cannot be written: {error.strerror or error}; {self.count} attempts are done and kept",
                where=str(self.path),
                remedy="make room and start the run again: it goes on from there",
            ) from error

    def accounts(self) -> Iterator[Entry | Session | Steer]:
        """Yield what the ledger holds after its header; nothing before the run is begun."""
        if self._ledger_path.stat().st_size:
            yield from (record for record, _ in scan_ledger(self._ledger_path) if not isinstance(record, Header))

    def _note(self, account: Entry | Session | Steer) -> None:
        """Count what the ledger has one more of."""
        self._running.add(account)
        if isinstance(account, Entry):
            self.count += 1
            self._at[account.prompt_id] = self.at(account.prompt_id).after(account)
        elif isinstance(account, Steer):
            self.steers.append(account)

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
        settings: dict[str, Any] | None = None
        written = end = without = whole = 0
        done: dict[str, list[str]] = {}  # ids of attempts, by the prompts to which more are to come
        lines = whole_lines(self.path)
        if any(True for _ in whole_lines(self._ledger_path)):
            goal = _goal({})
            for record, until in scan_ledger(self._ledger_path):
                if isinstance(record, Header):
                    settings, goal = record.settings, _goal(record.settings)
                elif isinstance(record, Entry):
                    line = next(lines, b"")
                    without += not line
                    if line:
                        written += 1
                        end += len(line)
                        self._check_pair(line, written, record.id)
                        done.setdefault(record.prompt_id, []).append(record.id)
                if without:  # nothing is taken up from here on
                    continue
                whole = until
                if not isinstance(record, Header):
                    self._note(record)
                if isinstance(record, Session):
                    self._spent_in_vain.append(record)
                if isinstance(record, Entry) and goal.met(self.at(record.prompt_id)):
                    del done[record.prompt_id]
        elif self.path.exists() and self.path.stat().st_size and not self._ledger_path.stat().st_size:
            raise self._no_pair(f"exists, but its ledger {self._ledger_path.name} does not")
        beyond = 0
        for beyond, line in enumerate(lines, 1):
            self._check_pair(line, written + beyond)
        if max(without, beyond) > 1:
            raise self._no_pair(f"has {written + beyond} attempts, its ledger {written + without}")
        if self.path.exists():
            os.truncate(self.path, end)
        if settings is not None:
            os.truncate(self._ledger_path, whole)
        self.done = frozenset(chain.from_iterable(done.values()))
        if self.count:
            self.settings = settings

    def _check_pair(self, line: bytes, number: int, own: str | None = None) -> None:
        """Raise `InputError` for a line of the output that is no attempt, or not the ledger's `own`."""
        where = f", line {number}"
        try:
            found = msgspec.json.decode(line, type=AttemptId).id
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._no_pair(f"not an attempt: {error}", where) from None
        if own is not None and found != own:
            raise self._no_pair(f"attempt {found!r} where the ledger has {own!r}", where)

    def _no_pair(self, what: str, line: str = "") -> InputError:
        remedy = "output and ledger are no pair: name another output file"
        return InputError(what, where=f"{self.path}{line}", remedy=remedy)


def _goal(settings: Mapping[str, Any]) -> Goal:
    """Return what is to be made at each prompt of a run with these settings; without end, if they do not say it."""
    attempts, accepted = settings.get("attempts"), settings.get("accepted_per_prompt")
    return Goal(attempts if isinstance(attempts, int) else sys.maxsize, accepted if isinstance(accepted, int) else None)


class AttemptId(msgspec.Struct):
    """What is read of a line of the output to tell whose it is."""

    id: str


def whole_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file that may not exist; half a line at its end is none."""
    with suppress(FileNotFoundError), open(path, "rb") as lines:
        yield from (line for line in lines if line.endswith(b"\n"))


def lock(file: IO[bytes], path: Path) -> None:
    """Keep other processes out until `file` is closed, where the system has such locks."""
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError("another run is writing this file", where=str(path), remedy="wait for it") from None
