"""What a run wrote, read for those who train on it: its attempts one by one, and what it and its policy say of them."""

import math
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from msifr_integrations.generation.journal import FILTER_FAILURE, ledger_path
from msifr_policy.errors import InputError
from msifr_policy.files import read_lines
from msifr_policy.filters import Message
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.compact import IdSet
from msifr_policy.records.ledger import Entry, Header, Session, Steer, Totals, scan_ledger, total
from msifr_policy.records.lines import as_texts, object_of, with_values
from msifr_policy.records.others import known_as
from msifr_policy.records.parquet import is_parquet, parquet_rows

_NONE, _AUTOPILOT = "none", "autopilot"
"""What the settings of a run call its policy where it was given none."""


class Written(msgspec.Struct, frozen=True):
    """An attempt of a run as its output has it, or a trace: one that has an outcome is finished.

    `weight` is what it stands for: 1 unless a policy that lets attempts go on by chance says otherwise.
    """

    id: str
    prompt_id: str
    text: str
    prompt: str = ""
    status: Literal["finished", "discarded", "failed"] | None = None
    correct: bool | None = None
    group: str | None = None
    messages: tuple[Message, ...] | None = None
    gold: str | None = None
    model: str | None = None
    seed: int | None = None
    tokens: int | None = None
    score: float | None = None
    reason: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check what types alone cannot; msgspec turns a ValueError into a validation error."""
        if self.status is None and self.correct is None:
            raise ValueError("neither `status` nor `correct`")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"`weight` is {self.weight}")

    @property
    def accepted(self) -> bool:
        """Whether it is finished and accepted."""
        return self.status in (None, "finished") and self.correct is True

    @property
    def asked(self) -> tuple[Message, ...]:
        """What it was asked, as the messages of a chat. Raises `InputError` if that was not written down."""
        if not self.messages and not self.prompt:
            what, remedy = "has neither `prompt` nor `messages`", "samples to train on need what was asked: add it"
            raise InputError(what, where=f"attempt {self.id!r}", remedy=remedy)
        return self.messages or (Message("user", self.prompt),)


_NUMBERS_TOO = ("id", "prompt_id", "group", "gold", "model")


def read_written(out: str | os.PathLike[str]) -> Iterator[Written]:
    """Yield the attempts of a run's output, or of a file of traces, JSON lines or Parquet; memory: one attempt.

    Raises `InputError`, with file and line, for what is neither.
    """
    if is_parquet(out):
        for where, row in parquet_rows(out):
            yield _converted(row, where)
        return
    decoder = msgspec.json.Decoder(Written)
    for where, line in read_lines(out):
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield _converted(_object(line, where), where)  # not as runs write it: as others do, or not at all


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        return object_of(line, where, "name the output of a run, or judged traces")
    except InputError as error:
        if not line.endswith(b"\n"):
            what = "not an attempt of a run: half a line, of a run that was killed or still goes on"
            remedy = "start the run again with the same command, which finishes it, or wait for it"
            raise InputError(what, where=where, remedy=remedy) from error
        raise InputError(f"not an attempt of a run: {error.what}", where=where, remedy=error.remedy) from error


def _converted(record: dict[str, Any], where: str) -> Written:
    given = as_texts(with_values(record, Written.__struct_encode_fields__), _NUMBERS_TOO)
    if given.get("correct") in (0, 1):
        given["correct"] = bool(given["correct"])
    try:
        return msgspec.convert(given, Written)
    except msgspec.ValidationError as error:
        what = str(error).removeprefix("Object ")
        remedy = "name the output of a run, or traces; msifr judge gives outcomes to those that have none"
        if (other := known_as(record, where)) is not None:
            what, remedy = f"this is {other.what}", other.remedy
        raise InputError(f"not an attempt of a run: {what}", where=where, remedy=remedy) from error


class GroupCounts(msgspec.Struct):
    """Attempts of a group by their outcome."""

    attempts: int = 0
    accepted: int = 0
    discarded: int = 0


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the run that wrote a file.

    settings: those of its ledger, empty if it has none. totals: of its ledger. groups: by name. cut, unjudged: the ids
    of unaccepted attempts that were cut off at their limit, and of those that the filter could not judge.
    day: UTC, when the ledger was last written. policy, policy_name: the policy that the run was under, if it was given,
    and the name of its file.
    """

    settings: dict[str, Any] = msgspec.field(default_factory=dict)
    totals: Totals | None = None
    groups: dict[str, GroupCounts] = msgspec.field(default_factory=dict)
    cut: IdSet = msgspec.field(default_factory=IdSet)
    unjudged: IdSet = msgspec.field(default_factory=IdSet)
    day: str = ""
    policy: PolicyFile | None = None
    policy_name: str = ""

    @property
    def under(self) -> str:
        """What discarded: "none", "autopilot", or the name of the policy's file, "" if that is not known."""
        ran = self.settings.get("policy")
        return ran if ran in (_NONE, _AUTOPILOT) else self.policy_name


def read_facts(out: str | os.PathLike[str], policy: str | os.PathLike[str] | None = None) -> RunFacts:
    """Return what the ledger beside `out` tells, if there is one, and `policy`, the file of the policy it was under.

    Memory: a few bytes for each attempt, and as many more for one that was cut off, or not judged (`records.compact`).
    Raises `InputError` for a ledger that cannot be read, and for a policy file that is not of this run.
    """
    ledger = ledger_path(out)
    if not ledger.exists():
        if policy is not None:
            what = f"has no ledger beside it ({ledger.name}): whether the policy made it is not known"
            raise InputError(what, where=os.fspath(out), remedy="leave the policy out")
        return RunFacts()
    settings: dict[str, Any] = {}
    groups: dict[str, GroupCounts] = {}
    cut, unjudged = IdSet(), IdSet()

    def entries() -> Iterator[Entry | Session | Steer]:
        for record, _ in scan_ledger(ledger):
            if isinstance(record, Header):
                settings.update(record.settings)
                continue
            if isinstance(record, Entry):
                counts = groups.setdefault(record.group or "", GroupCounts())
                counts.attempts += 1
                counts.accepted += record.outcome == "accepted"
                counts.discarded += record.outcome == "discarded"
                if record.outcome == "unaccepted" and record.finish == "length":
                    cut.add(record.id)
                if any(name.startswith(FILTER_FAILURE) for name in record.failures):
                    unjudged.add(record.id)
            yield record

    totals = total(entries())
    day = datetime.fromtimestamp(ledger.stat().st_mtime, UTC).date().isoformat()
    return RunFacts(
        settings=settings,
        totals=totals,
        groups=dict(sorted(groups.items())),
        cut=cut,
        unjudged=unjudged,
        day=day,
        policy=None if policy is None else _policy_of(settings, policy, out),
        policy_name="" if policy is None else Path(policy).name,
    )


def _policy_of(settings: dict[str, Any], policy: str | os.PathLike[str], out: str | os.PathLike[str]) -> PolicyFile:
    file = PolicyFile.load(policy)
    under = settings.get("policy")
    if under != file.policy().fingerprint:
        what = {_NONE: "the run had no policy", _AUTOPILOT: "the run had an autopilot, and no policy file"}.get(
            under or "", "the run was under another policy"
        )
        own = under in (_NONE, _AUTOPILOT)
        remedy = "leave the policy out" if own else "give the policy file that msifr generate was given"
        raise InputError(what, where=f"{os.fspath(out)}, {os.fspath(policy)}", remedy=remedy)
    return file
