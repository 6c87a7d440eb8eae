"""The ledger: every token spent, by attempt, stage, outcome and reason.

A ledger is a file of JSON lines that only ever grows: first a `Header` with the settings of the run, then an `Entry`
for each attempt, a `Session` whenever the run stopped, and a `Steer` where it is changed whether and how attempts are
discarded. A killed run may leave half a line at the end: readers ignore it, since an attempt whose line is not whole is
not in the ledger.

**Stage** k = 1, 2, … ends at checkpoint k; the last stage ends with the attempt. The tokens of an attempt's
stages sum to its tokens, and the tokens of all attempts to the run's, in whatever way they are cut. An attempt that is
discarded at checkpoint 0, before its first token, is **skipped**: it has no stage and costs nothing.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from errno import ENOENT
from hashlib import blake2b
from typing import Any, Literal, get_args

import msgspec

from msifr_policy.audit import Audited
from msifr_policy.dead_prefixes import Avoided
from msifr_policy.errors import InputError
from msifr_policy.records.compact import IdSet

Ending = Literal["accepted", "unaccepted", "discarded", "failed"]
"""Finished and accepted by the final filter, finished and not accepted, discarded by the policy, or never made: a
server refused the prompt, say."""

_FORMER_WORD = b'"outcome":"rejected"', b'"outcome":"unaccepted"'
"""What the filter did not accept was once called rejected. Within a string of JSON the quotes would be escaped."""

VERSION = 1


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="run", tag_field="kind"):
    """First line of a ledger: the settings of the run, which every resume must share."""

    settings: dict[str, Any]
    version: int = VERSION


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="attempt", tag_field="kind"):
    """What one attempt cost and what became of it.

    `tokens` were sampled, `wasted` of them after it was over for us (discarded, stopped or decided);
    `stages[k - 1]` of them in stage k. `lost` are the tokens of its broken tries, not among `tokens`.
    `prompt_tokens` are counted for every attempt, although attempts of one prompt may share its prefill; 0 if it takes
    text and the engine does not tell.
    `finish`: how it ended by itself ("end", "length", "stop", "decided" or a server's word), "" if it did not.
    `reason`: the evidence that spoke most against a discarded attempt; for an unaccepted one "filter", or
    "length" if it never came to an end; for a failed one what failed. `found`: in what kind of place the final filter
    found the answer of a finished one, "" if it shows none, None if it looks for none. `ahead`: tokens that a discarded
    one was expected still to take, by the policy's cost to go; None if it does not say. `failures` counts those of
    validators by `name: error type`. `seconds` is the wall time of the run, over all its sessions, when the attempt
    ended; `cpu_seconds` is the processor time of the process that ran it: a server's is not in it.

    Only in a run that is watched: `audited`, the would-be discard of an attempt that was finished nonetheless;
    `posteriors`, M_k at each checkpoint at which the policy was asked, from checkpoint 0 on if it has one; `bins`, of
    each evidence column at one checkpoint, see `msifr_policy.reference`; `place`, of its prompt in the run, from 0.
    Only under a path of policies: `level`, of the one in force (None: none was), and `first`, that of the first which
    would discard the attempt, their number if none would.

    `exited`: the checkpoint at which its answer was forced; its last stage is that answer, and what was read for it is
    among `prompt_tokens`. `forced`: tokens of answers that were forced in shadow, not among `tokens`, and
    `forced_prompts` those that were read for them.

    Only in a run with a memory of rejections: `avoided`, what the attempt could not come to, since it was proven dead
    at its prompt before.
    """

    id: str
    prompt_id: str
    outcome: Ending
    tokens: int
    prompt_tokens: int
    seconds: float
    cpu_seconds: float = 0.0
    stages: tuple[int, ...] = ()
    finish: str = ""
    reason: str = ""
    wasted: int = 0
    lost: int = 0
    group: str | None = None
    found: str | None = None
    ahead: int | None = None
    failures: dict[str, int] = msgspec.field(default_factory=dict)
    audited: Audited | None = None
    place: int | None = None
    level: int | None = None
    first: int | None = None
    posteriors: tuple[float, ...] = ()
    bins: str = ""
    exited: int | None = None
    forced: int = 0
    forced_prompts: int = 0
    avoided: Avoided | None = None

    def __post_init__(self) -> None:
        """Check that the account adds up; msgspec turns a ValueError into a validation error."""
        if sum(self.stages) != self.tokens:
            raise ValueError(f"`stages` sum to {sum(self.stages)}, not to {self.tokens} `tokens`")
        counts = self.tokens, self.prompt_tokens, self.wasted, self.lost, self.forced, self.forced_prompts
        if min(*counts, *self.stages) < 0 or self.wasted > self.tokens:
            raise ValueError("token counts must not be negative, nor `wasted` exceed `tokens`")
        if self.audited is not None and self.outcome == "discarded":
            raise ValueError("an audited attempt is not discarded")

    @property
    def weight(self) -> float:
        """How many attempts it stands for [T7]: 0 if discarded, 1/ε if audited, else 1."""
        if self.outcome == "discarded":
            return 0.0
        return 1.0 if self.audited is None else self.audited.weight

    @property
    def would_discard(self) -> bool:
        """Whether the policy would have discarded it, were nothing audited."""
        return self.outcome == "discarded" or self.audited is not None

    @property
    def skipped(self) -> bool:
        """Whether it was discarded at checkpoint 0, never made; at a later one it has a stage, even if of 0 tokens."""
        return self.outcome == "discarded" and not self.stages


class AtPrompt(msgspec.Struct, frozen=True):
    """How attempts at one prompt ended.

    accepted and rejected are its **history**; of rejected attempts tokens were made, and they were discarded at a
    checkpoint k ≥ 1 or not accepted. Those that were skipped, and those that failed, tell nothing of the prompt.
    An audited attempt is told as the discard that it would have been, so that the policy decides as it was certified;
    audited_accepted are those of them that were accepted.
    """

    accepted: int = 0
    rejected: int = 0
    skipped: int = 0
    failed: int = 0
    audited_accepted: int = 0

    @property
    def attempts(self) -> int:
        """All of them."""
        return self.accepted + self.rejected + self.skipped + self.failed

    @property
    def kept(self) -> int:
        """Accepted samples, audited ones too: what fills a quota."""
        return self.accepted + self.audited_accepted

    def after(self, entry: Entry) -> AtPrompt:
        """Return the counts with one more attempt."""
        audited, accepted = entry.audited, entry.outcome == "accepted"
        skipped = entry.skipped if audited is None else audited.k == 0
        known = entry.outcome != "failed" and not skipped
        return AtPrompt(
            self.accepted + (accepted and audited is None),
            self.rejected + (known and (not accepted or audited is not None)),
            self.skipped + skipped,
            self.failed + (entry.outcome == "failed"),
            self.audited_accepted + (accepted and audited is not None),
        )


NO_ATTEMPTS = AtPrompt()


class Session(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="session", tag_field="kind"):
    """What one session of a run spent in tokens beside the attempts that it finished.

    probe: of requests that only ask a server who it is. unfinished: of attempts that were in flight when it stopped;
    unfinished_prompts: of the prompts of those that had begun to answer, the mean of all where the engine does not tell
    them. arrived: over all its streams; made: in the same time by the server's own counter, everyone's requests
    included, None if it has none. A session that was killed leaves no such line.
    """

    probe: int = 0
    unfinished: int = 0
    unfinished_prompts: int = 0
    arrived: int = 0
    made: int | None = None

    @property
    def late(self) -> int:
        """Tokens that the server made and that never arrived: it went on for a moment after streams were closed."""
        return 0 if self.made is None else max(self.made - self.arrived - self.probe, 0)


class Steer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="steer", tag_field="kind"):
    """What steers a run from one block of prompts on: whether and how its policy discards there.

    block: the first, from 0. phase: in a word. level: of the path, None: nothing is discarded. path: its name.
    note: why.
    """

    block: int
    phase: str
    level: int | None = None
    path: str = ""
    note: str = ""


class Ledger(msgspec.Struct, frozen=True):
    """A ledger as read from a file."""

    settings: dict[str, Any]
    entries: list[Entry]
    sessions: list[Session] = msgspec.field(default_factory=list)
    steers: list[Steer] = msgspec.field(default_factory=list)

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

    `skipped` of the discarded attempts were discarded at checkpoint 0; `exited` of the others ended by a forced answer.
    `tokens` are those of the attempts; `tokens_beside` were spent besides: by probes, broken tries, attempts in flight
    at an interrupt, answers that were forced in shadow, and by a server that went on for a moment after streams were
    closed. `prompt_tokens_beside` are those of the prompts of attempts in flight at an interrupt, and what was read to
    force answers in shadow.
    `by_stage[k]` are the tokens spent in stage k, by the attempts that spent any there; `by_reason` covers all but
    accepted attempts; `by_finish` those that ended by themselves; `by_found` those in which an answer was looked for,
    by the kind of place where it was found, "" if nowhere; `cut_unanswered` of those "" were cut off at their limit.
    `prompts_counted` attempts told the tokens of their prompts.
    `discards` are the discarded attempts by reason, with what they spent. `audited` would have been discarded; `weight`
    and `weight_squared` are ΣW and ΣW² over accepted samples.
    `tokens_ahead` are those that discarded attempts were expected still to take: what was saved, as estimated; None if
    the policy did not say it of all of them.
    """

    attempts: int
    accepted: int
    unaccepted: int
    discarded: int
    skipped: int
    exited: int
    failed: int
    tokens: int
    prompt_tokens: int
    prompts_counted: int
    tokens_wasted_after_decision: int
    tokens_beside: int
    prompt_tokens_beside: int
    seconds: float
    cpu_seconds: float
    by_stage: dict[int, Spent]
    by_outcome: dict[str, Spent]
    by_reason: dict[str, Spent]
    by_finish: dict[str, Spent]
    by_found: dict[str, Spent]
    cut_unanswered: int
    failures: dict[str, int]
    tokens_ahead: int | None
    discards: dict[str, Spent]
    audited: int
    weight: float
    weight_squared: float

    @property
    def effective(self) -> float:
        """Kish's number of accepted samples of equal weight that are worth as much, (ΣW)²/ΣW² [T7]."""
        return self.weight**2 / self.weight_squared if self.weight_squared else 0.0


class RunningTotals:
    """The sums over a ledger that grows, record by record."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()
        self._by_outcome, self._by_reason, self._by_finish, self._by_found, self._by_stage, self._discards = (
            defaultdict[Any, Spent](Spent) for _ in range(6)
        )
        self._ahead: int | None = 0
        self._exited = self._skipped = self._audited = self._cut_unanswered = 0
        self._prompt_tokens = self._prompts_counted = self._wasted = self._beside = self._prompts_beside = 0
        self._seconds = self._cpu_seconds = self._weight = self._weight_squared = 0.0

    def add(self, record: Entry | Session | Steer) -> None:
        """Take the next record."""
        if isinstance(record, Entry):
            self._add_entry(record)
        elif isinstance(record, Session):
            self._beside += record.probe + record.unfinished + record.late
            self._prompts_beside += record.unfinished_prompts

    def _add_entry(self, entry: Entry) -> None:
        if entry.outcome == "accepted":
            self._weight += entry.weight
            self._weight_squared += entry.weight**2
        self._audited += entry.audited is not None
        spent = Spent(1, entry.tokens)
        self._by_outcome[entry.outcome] += spent
        if entry.outcome != "accepted":
            self._by_reason[entry.reason] += spent
        if entry.finish:
            self._by_finish[entry.finish] += spent
        if entry.found is not None:
            self._by_found[entry.found] += spent
            self._cut_unanswered += entry.found == "" and entry.finish == "length"
        for k, tokens in enumerate(entry.stages, 1):
            if tokens:
                self._by_stage[k] += Spent(1, tokens)
        if entry.outcome == "discarded":
            self._discards[entry.reason] += spent
            self._ahead = None if self._ahead is None or entry.ahead is None else self._ahead + entry.ahead
        if entry.failures:
            self._failures.update(entry.failures)
        self._skipped += entry.skipped
        self._prompt_tokens += entry.prompt_tokens
        self._prompts_counted += entry.prompt_tokens > 0
        self._wasted += entry.wasted
        self._beside += entry.lost + entry.forced
        self._prompts_beside += entry.forced_prompts
        self._exited += entry.exited is not None
        self._seconds = max(self._seconds, entry.seconds)
        self._cpu_seconds = max(self._cpu_seconds, entry.cpu_seconds)

    @property
    def totals(self) -> Totals:
        """The sums until now."""
        by_outcome = self._by_outcome
        all_of_them = sum(by_outcome.values(), Spent())
        accepted, unaccepted, discarded, failed = (
            by_outcome[ending].attempts if ending in by_outcome else 0 for ending in get_args(Ending)
        )
        return Totals(
            attempts=all_of_them.attempts,
            accepted=accepted,
            unaccepted=unaccepted,
            discarded=discarded,
            skipped=self._skipped,
            exited=self._exited,
            failed=failed,
            tokens=all_of_them.tokens,
            prompt_tokens=self._prompt_tokens,
            prompts_counted=self._prompts_counted,
            tokens_wasted_after_decision=self._wasted,
            tokens_beside=self._beside,
            prompt_tokens_beside=self._prompts_beside,
            seconds=self._seconds,
            cpu_seconds=self._cpu_seconds,
            by_stage=dict(sorted(self._by_stage.items())),
            by_outcome=dict(sorted(by_outcome.items())),
            by_reason=dict(sorted(self._by_reason.items())),
            by_finish=dict(sorted(self._by_finish.items())),
            by_found=dict(sorted(self._by_found.items())),
            cut_unanswered=self._cut_unanswered,
            failures=dict(sorted(self._failures.items())),
            tokens_ahead=self._ahead,
            discards=dict(sorted(self._discards.items())),
            audited=self._audited,
            weight=self._weight,
            weight_squared=self._weight_squared,
        )


def total(records: Iterable[Entry | Session | Steer]) -> Totals:
    """Sum up the accounts of attempts and sessions, in one pass."""
    running = RunningTotals()
    for record in records:
        running.add(record)
    return running.totals


def encode_line(record: msgspec.Struct) -> bytes:
    """Return a record as one line of a ledger or trace file."""
    return msgspec.json.encode(record) + b"\n"


Record = Header | Entry | Session | Steer

_decoder = msgspec.json.Decoder(Record)


def read_ledger(path: str | os.PathLike[str]) -> Ledger:
    """Read a ledger; half a line at its end is ignored. Raises `InputError` as `scan_ledger`."""
    settings: dict[str, Any] = {}
    entries: list[Entry] = []
    sessions: list[Session] = []
    steers: list[Steer] = []
    for record, _ in scan_ledger(path):
        if isinstance(record, Entry):
            entries.append(record)
        elif isinstance(record, Session):
            sessions.append(record)
        elif isinstance(record, Steer):
            steers.append(record)
        else:
            settings = record.settings
    return Ledger(settings, entries, sessions, steers)


def scan_ledger(path: str | os.PathLike[str], wait: Callable[[], bool] = lambda: False) -> Iterator[tuple[Record, int]]:
    """Yield the records of a ledger, the header first, and where in the file the line of each ends, in bytes.

    wait: asked wherever the file ends for the moment; while it returns True the ledger is read on as it grows. Memory:
    a record, and some 13 bytes of each attempt (`records.compact`).

    Raises `InputError`, with file and line, if the file cannot be read, does not begin with a header of this
    version, holds a whole line that is no ledger line, or the same attempt twice, or is begun anew while it is read.
    """
    seen = IdSet()
    number = end = 0
    try:
        with open(path, "rb") as lines:
            while True:
                line = lines.readline()
                if not line.endswith(b"\n"):  # not whole, or none
                    if not wait():
                        break
                    if os.fstat(lines.fileno()).st_size < end:
                        raise InputError("was begun anew", where=os.fspath(path), remedy="read it from the beginning")
                    lines.seek(end)
                    continue
                number += 1
                end += len(line)
                where = f"{os.fspath(path)}, line {number}"
                record = _record(line, where, first=number == 1)
                if isinstance(record, Entry) and not seen.add(record.id):
                    raise InputError(f"attempt {record.id!r} is in the ledger twice", where=where)
                yield record, end
    except OSError as error:
        remedy = "name the output of a run: msifr generate writes its ledger beside it" if error.errno == ENOENT else ""
        what = f"cannot be read: {error.strerror or error}"
        raise InputError(what, where=os.fspath(path), remedy=remedy) from error
    if not end:
        raise InputError("no header: not a ledger, or a run killed before it began", where=os.fspath(path))


def id_digest(attempt_id: str) -> bytes:
    """Return 16 bytes that tell this id from others: of a million attempts they take less memory than the ids."""
    return blake2b(attempt_id.encode(errors="surrogatepass"), digest_size=16).digest()


def _record(line: bytes, where: str, *, first: bool) -> Record:
    try:
        record: Record = _decoder.decode(line.replace(*_FORMER_WORD))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"not a ledger line: {error}", where=where, remedy="was the file edited?") from None
    if isinstance(record, Header) != first:
        raise InputError("a ledger has one header, its first line", where=where, remedy="was the file edited?")
    if isinstance(record, Header) and record.version != VERSION:
        raise InputError(f"ledger version {record.version}, this release reads {VERSION}", where=where)
    return record
