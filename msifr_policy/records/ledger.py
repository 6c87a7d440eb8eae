"""The ledger: every token spent, by attempt, stage, outcome and reason.

A ledger is a file of JSON lines that only ever grows: first a `Header` with the settings of the run, then an `Entry`
for each attempt. A killed run may leave half a line at the end: readers ignore it, since an attempt whose line is not
whole is not in the ledger.

**Stage** k = 1, 2, … ends at checkpoint k; the last stage ends with the attempt. The tokens of an attempt's
stages sum to its tokens, and the tokens of all attempts to the run's, in whatever way they are cut.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from msifr_policy.errors import InputError

Ending = Literal["accepted", "unaccepted", "discarded"]
"""Finished and accepted by the final filter, finished and not accepted, or discarded by the policy."""

_FORMER_WORD = b'"outcome":"rejected"', b'"outcome":"unaccepted"'
"""What the filter did not accept was once called rejected. Within a string of JSON the quotes would be escaped."""

VERSION = 1


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="kind"):
    """First line of a ledger: the settings of the run, which every resume must share."""

    settings: dict[str, Any]
    version: int = VERSION


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="attempt", tag_field="kind"):
    """What one attempt cost and what became of it.

    `tokens` were sampled, `wasted` of them after the decision to discard; `stages[k - 1]` of them in stage k.
    `prompt_tokens` are counted for every attempt, although attempts of one prompt may share its prefill.
    `reason`: the evidence that spoke most against a discarded attempt; for an unaccepted one "filter", or
    "length" if it never came to an end. `failures` counts validator failures by `name: error type`.
    `seconds` is the wall time of the run, over all its sessions, when the attempt ended.
    """

    id: str
    prompt_id: str
    outcome: Ending
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
    unaccepted and discarded attempts.
    """

    attempts: int
    accepted: int
    unaccepted: int
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
    entries = list(entries)
    failures: Counter[str] = Counter()
    for entry in entries:
        failures.update(entry.failures)
    by_outcome = _sums((entry.outcome, entry.tokens) for entry in entries)
    accepted, unaccepted, discarded = (by_outcome.get(ending, Spent()).attempts for ending in get_args(Ending))
    return Totals(
        attempts=len(entries),
        accepted=accepted,
        unaccepted=unaccepted,
        discarded=discarded,
        tokens=sum(entry.tokens for entry in entries),
        prompt_tokens=sum(entry.prompt_tokens for entry in entries),
        tokens_wasted_after_decision=sum(entry.wasted for entry in entries),
        seconds=max((entry.seconds for entry in entries), default=0.0),
        by_stage=_sums((k, tokens) for entry in entries for k, tokens in enumerate(entry.stages, 1) if tokens),
        by_outcome=by_outcome,
        by_reason=_sums((entry.reason, entry.tokens) for entry in entries if entry.outcome != "accepted"),
        failures=dict(sorted(failures.items())),
    )


def _sums(tokens: Iterable[tuple[Any, int]]) -> dict[Any, Spent]:
    """Return, by key in order, how many tokens are listed under it, and how often."""
    sums: defaultdict[Any, Spent] = defaultdict(Spent)
    for key, count in tokens:
        sums[key] += Spent(1, count)
    return dict(sorted(sums.items()))


def encode_line(record: msgspec.Struct) -> bytes:
    """Return a record as one line of a ledger or trace file."""
    return msgspec.json.encode(record) + b"\n"


_decoder = msgspec.json.Decoder(Header | Entry)


def read_ledger(path: str | os.PathLike[str]) -> Ledger:
    """Read a ledger; half a line at its end is ignored.

    Raises `InputError`, with file and line, if the file cannot be read, does not begin with a header of this
    version, holds a whole line that is no ledger line, or the same attempt twice.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")[:-1]  # what follows the last newline is not whole
    except OSError as error:
        raise InputError(f"cannot be read: {error}", where=os.fspath(path)) from error
    settings: dict[str, Any] = {}
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, 1):
        where = f"{os.fspath(path)}, line {number}"
        try:
            record = _decoder.decode(line.replace(*_FORMER_WORD))
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
    if not lines:
        raise InputError("no header: not a ledger, or a run killed before it began", where=os.fspath(path))
    return Ledger(settings, list(entries.values()))
