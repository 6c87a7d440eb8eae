"""What a report is given: policies, ledgers, outputs of runs and traces, told apart by what they hold."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from sys import intern
from typing import Any, Literal, NamedTuple, cast

import msgspec
import numpy as np

from msifr_integrations.generation.auditing import AuditReport, audit_ledger
from msifr_integrations.generation.inputs import read_records
from msifr_integrations.generation.journal import AttemptRecord, ledger_path
from msifr_integrations.report.attempts import Kind
from msifr_integrations.report.numbers import GroupNumbers, RunNumbers, Stage, funnel
from msifr_policy.errors import InputError
from msifr_policy.files import read_lines
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ids import group_of
from msifr_policy.records.ledger import Entry, Header, Session, Steer, scan_ledger, total

What = Literal["policy", "ledger", "run", "full run", "traces"]
"""A full run is the output of a run in which nothing was discarded: its attempts are traces as well."""

_HEAD = 4096
_KINDS: dict[str, Kind] = {
    "accepted": "kept", "unaccepted": "unaccepted", "discarded": "discarded", "failed": "failed",
}  # fmt: skip


class _Line(msgspec.Struct):
    """What tells the line of a run's output from a trace."""

    status: Literal["finished", "discarded", "failed"]
    seed: int
    correct: bool | None = None


def what_is(path: str) -> What:
    """Return what a file holds; a folder, a stream and whatever is not recognised are taken for traces.

    Raises `InputError` if there is no such file.
    """
    place = Path(path)
    if not place.exists():
        raise InputError("no such file or folder", where=path)
    if not place.is_file():
        return "traces"
    with suppress(InputError):
        for _, line in islice(read_lines(path), 1):
            if _is_policy(line, place):
                return "policy"
            record = _object(line)
            if record.get("kind") in ("run", "attempt", "session"):
                return "ledger"
            if record.keys() >= {"status", "seed", "token_ends"}:
                return "run" if _discards(path) else "full run"
    return "traces"


def _object(line: bytes) -> dict[str, Any]:
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        record = msgspec.json.decode(line)
        return record if isinstance(record, dict) else {}
    return {}


def _is_policy(line: bytes, place: Path) -> bool:
    """Whether a file is one JSON object of a policy, in one line or in many."""
    if line.strip() != b"{":
        record = _object(line)
        return {"schema_version", "thresholds"} <= record.keys()
    with open(place, "rb") as file:
        return b'"schema_version"' in file.read(_HEAD)


def _discards(path: str) -> bool:
    decoder = msgspec.json.Decoder(_Line)
    for _, line in read_lines(path):
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            if decoder.decode(line).status == "discarded":
                return True
    return False


class RunRead(NamedTuple):
    """A run as its ledger tells it: settings, sums, checkpoints, and for each attempt its id, kind and group."""

    settings: dict[str, Any]
    run: RunNumbers
    funnel: list[Stage]
    ids: list[str]
    kinds: list[Kind]
    groups: list[str]


def read_run(ledger: str | os.PathLike[str], file: PolicyFile | None = None) -> RunRead:
    """Read the ledger of a run under the policy of `file`, in one pass, and once more for its audits.

    Raises `InputError` as `scan_ledger`.
    """
    settings: dict[str, Any] = {}
    ids: list[str] = []
    kinds: list[Kind] = []
    groups: list[str] = []
    lengths: list[int] = []
    reasons: list[str] = []
    by_group: dict[str, Counter[str]] = {}

    def accounts() -> Iterator[Entry | Session | Steer]:
        for record, _ in scan_ledger(ledger):
            if isinstance(record, Header):
                settings.update(record.settings)
                continue
            if isinstance(record, Entry):
                group = intern(group_of(record.prompt_id, record.group))
                ids.append(record.id)
                kinds.append(_KINDS[record.outcome])
                groups.append(group)
                lengths.append(len(record.stages))
                reasons.append(intern(record.reason))
                by_group.setdefault(group, Counter())[record.outcome] += 1
            yield record

    totals = total(accounts())
    discarded = np.asarray([kind == "discarded" for kind in kinds], dtype=bool)
    ended = np.asarray(lengths, dtype=np.int64)
    # The last stage of an attempt that was not discarded ends with it, at no checkpoint.
    reached = np.where(discarded, ended, np.maximum(ended - 1, 0))
    run = RunNumbers(
        settings={name: value for name, value in settings.items() if isinstance(value, str | int | float | None)},
        totals=totals,
        tokens_per_accepted=totals.tokens / totals.accepted if totals.accepted else None,
        groups=[
            GroupNumbers(
                name=name, attempts=count.total(), accepted=count["accepted"], discarded=count["discarded"]
            )
            for name, count in sorted(by_group.items())
        ],
        audits=_audits(ledger, file, settings),
    )  # fmt: skip
    return RunRead(
        settings, run, funnel(reached, np.where(discarded, ended, 0), discarded, reasons, None), ids, kinds, groups
    )


def _audits(ledger: str | os.PathLike[str], file: PolicyFile | None, settings: dict[str, Any]) -> AuditReport | None:
    """Return what the audits of a run tell, None where there are none, or where its policy is not `file`."""
    if not (settings.get("audit") or settings.get("autopilot")):
        return None
    ran = settings.get("policy")
    with suppress(InputError):  # no budget is known, or shards are merged
        return audit_ledger(ledger, file if file is not None and file.policy().fingerprint == ran else None)
    return None


def same_but_for_the_policy(run: str, full: str) -> bool:
    """Whether two outputs are of runs at the same prompts with the same seed: then they are a pair."""
    settings = []
    for path in (run, full):
        try:
            first, _ = next(scan_ledger(ledger_path(path)))
        except (InputError, StopIteration):
            return False
        settings.append(cast(Header, first).settings)
    names = ("prompts", "prompt_count", "seed", "attempts", "model", "max_new_tokens", "shard")
    return all(settings[0].get(name) == settings[1].get(name) for name in names)


def records_of(run: str | os.PathLike[str]) -> Iterator[AttemptRecord]:
    """Return the attempts of a run's output, one at a time, as far as it is written.

    Raises `InputError` for a line that is no attempt.
    """
    return read_records(run, AttemptRecord, "name an output of msifr generate", growing=True)


def kinds_of(records: Iterable[AttemptRecord]) -> tuple[list[str], list[Kind], list[str]]:
    """Return ids, kinds and groups of attempts, where there is no ledger to tell them."""
    ids, kinds, groups = [], [], []
    for record in records:
        ids.append(record.id)
        ended: Kind = "kept" if record.correct else "unaccepted"
        kinds.append(ended if record.status == "finished" else _KINDS[record.status])
        groups.append(intern(group_of(record.prompt_id, record.group)))
    return ids, kinds, groups
