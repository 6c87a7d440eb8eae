"""The ledger: every token spent, by attempt, stage, outcome and reason.

A ledger is a file of JSON lines that only ever grows. Its first line is a `Header` with the settings of the
run; each further line is an `Entry`, the account of one attempt. A killed run may leave half a line at the
end: readers ignore it, since an attempt whose line is not whole is not in the ledger.

**Stage** k = 1, 2, … ends at checkpoint k; the last stage ends with the attempt. The tokens of an attempt's
stages sum to its tokens, and the tokens of all attempts to the run's, in whatever way they are cut.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from msifr_policy.errors import InputError

__all__ = ["Entry", "Header", "Ledger", "Outcome", "Spent", "Totals", "encode_line", "read_ledger", "total"]

Outcome = Literal["accepted", "rejected", "discarded"]
"""Accepted by the final filter, finished and rejected by it, or discarded by the policy before its end."""

VERSION = 1


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="kind"):
    """First line of a ledger: the settings of the run, which every resume must share."""

    settings: dict[str, Any]
    version: int = VERSION


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="attempt", tag_field="kind"):
    """What one attempt cost and what became of it.

    `tokens` were sampled, `wasted` of them after the decision to discard; `stages[k - 1]` of them in stage k.
    `prompt_tokens` are counted for every attempt, although attempts of one prompt may share its prefill.
    `reason`: the evidence that spoke most against a discarded attempt; for a rejected one "filter", or
    "length" if it never came to an end. `failures` counts validator failures by `name: error type`.
    `seconds` is the wall time of the run, over all its sessions, when the attempt ended.
    """

    id: str
    prompt_id: str
    outcome: Outcome
    tokens: int
    prompt_tokens: int
    seconds: float
    stages: tuple[int, ...] = ()
    reason: str = ""
    wasted: int = 0
    group: str | None = None
    failures: dict[str, int] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the account adds up; msgspec turns a ValueError into a validation error."""
        if sum(self.stages) != self.tokens:
            raise ValueError(f"`stages` sum to {sum(self.stages)}, not to {self.tokens} `tokens`")
        if min(self.tokens, self.prompt_tokens, self.wasted, *self.stages) < 0 or self.wasted > self.tokens:
            raise ValueError("token counts must not be negative, nor `wasted` exceed `tokens`")


class Ledger(msgspec.Struct, frozen=True):
    """A ledger as read from a file."""

    settings: dict[str, Any]
    entries: list[Entry]

    @property
    def seconds(self) -> float:
        """Wall time of the run in seconds, over all its sessions; 0 without entries."""
        return max((entry.seconds for entry in self.entries), default=0.0)


class Spent(msgspec.Struct, frozen=True):
    """A number of attempts and the tokens they spent."""

    attempts: int = 0
    tokens: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.attempts + other.attempts, self.tokens + other.tokens)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over a ledger, in attempts, tokens and seconds.

    `by_stage[k]` are the tokens spent in stage k, by the attempts that spent any there; `by_reason` covers
    rejected and discarded attempts.
    """

    attempts: int
    accepted: int
    rejected: int
    discarded: int
    tokens: int
    prompt_tokens: int
    tokens_wasted_after_decision: int
    seconds: float
    by_stage: dict[int, Spent]
    by_outcome: dict[str, Spent]
    by_reason: dict[str, Spent]
    failures: dict[str, int]


def total(entries: Iterable[Entry]) -> Totals:
    """Sum up `entries`."""
    stages: dict[int, Spent] = {}
    outcomes: dict[str, Spent] = {}
    reasons: dict[str, Spent] = {}
    failures: Counter[str] = Counter()
    prompt_tokens = wasted = 0
    seconds = 0.0
    for entry in entries:
        prompt_tokens += entry.prompt_tokens
        wasted += entry.wasted
        seconds = max(seconds, entry.seconds)
        failures.update(entry.failures)
        one = Spent(1, entry.tokens)
        outcomes[entry.outcome] = outcomes.get(entry.outcome, Spent()) + one
        if entry.outcome != "accepted":
            reasons[entry.reason] = reasons.get(entry.reason, Spent()) + one
        for k, tokens in enumerate(entry.stages, 1):
            if tokens:
                stages[k] = stages.get(k, Spent()) + Spent(1, tokens)
    return Totals(
        attempts=sum(spent.attempts for spent in outcomes.values()),
        accepted=outcomes.get("accepted", Spent()).attempts,
        rejected=outcomes.get("rejected", Spent()).attempts,
        discarded=outcomes.get("discarded", Spent()).attempts,
        tokens=sum(spent.tokens for spent in outcomes.values()),
        prompt_tokens=prompt_tokens,
        tokens_wasted_after_decision=wasted,
        seconds=seconds,
        by_stage=dict(sorted(stages.items())),
        by_outcome=dict(sorted(outcomes.items())),
        by_reason=dict(sorted(reasons.items())),
        failures=dict(sorted(failures.items())),
    )


def encode_line(record: msgspec.Struct) -> bytes:
    """Return a record as one line of a ledger or trace file."""
    return msgspec.json.encode(record) + b"\n"


_decoder = msgspec.json.Decoder(Header | Entry)


def read_ledger(path: str | os.PathLike[str]) -> Ledger:
    """Read a ledger; half a line at its end is ignored.

    Raises `InputError`, with file and line, if the file cannot be read, does not begin with a header of this
    version, holds a whole line that is no ledger line, or the same attempt twice.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is not whole
    except OSError as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from error
    settings: dict[str, Any] | None = None
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, 1):
        where = f"{path}, line {number}"
        try:
            record = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"not a ledger line: {error}", where=where, remedy="was the file edited?") from None
        if isinstance(record, Header) != (number == 1):
            raise InputError("a ledger has one header, its first line", where=where, remedy="was the file edited?")
        if isinstance(record, Header):
            if record.version != VERSION:
                raise InputError(f"ledger version {record.version}, this release reads {VERSION}", where=where)
            settings = record.settings
        elif record.id in entries:
            raise InputError(f"attempt {record.id!r} is in the ledger twice", where=where)
        else:
            entries[record.id] = record
    if settings is None:
        raise InputError("no header: not a ledger, or a run killed before it began", where=str(path))
    return Ledger(settings, list(entries.values()))
