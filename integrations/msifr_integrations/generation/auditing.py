"""Whether the certificate of a run still holds, as its ledger tells: also while the run goes on [T11, T12, T14].

The ledger's finished prompts are given to a monitor in the order of the run, by the `place` of each, as the run itself
gives them to its own: a prompt that loses good samples must not come sooner or later for it. Prompts that are not
finished hold up those behind them. From a block on in which nothing is discarded any more, nothing speaks of a policy.

Memory: the entries of prompts that wait, and 16 bytes for each attempt.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from msifr_calibration.autopilot.course import PilotOptions
from msifr_calibration.monitor.confidence import ConfidenceSequence
from msifr_calibration.monitor.monitor import Monitor, MonitorState, RateSoFar
from msifr_calibration.monitor.scores import score_of
from msifr_integrations.generation.in_order import InOrder
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.pilots import ALARM
from msifr_integrations.generation.turns import Goal
from msifr_policy.audit import Audit
from msifr_policy.errors import InputError
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import Entry, Header, Session, Steer, scan_ledger

Verdict = Literal["no alarm", "warning", "alarm", "not known"]

_CONFIDENCE = 0.9
_LEDGER_ENDING = ".ledger.jsonl"


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What was in force from a block of prompts on, until the next; and what came of its `prompts` finished prompts.

    place: of the block's first prompt in the run, from 0. phase: in a word; level: of the path of policies in the file
    `path`, None and "" where there is none; note: why. rate: f there, None where nothing would be discarded.
    """

    block: int
    place: int
    phase: str
    level: int | None
    path: str
    note: str
    prompts: int
    attempts: int
    accepted: int
    would_discard: int
    audited: int
    rate: RateSoFar | None


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger tells of whether its run keeps what was certified.

    verdict: "alarm" if f ≤ α is refuted, "warning" if the detector warns, "not known" if nothing could tell, for which
    `unknown` gives the reason. prompts: finished ones that were looked at, of `prompts_planned`; waiting: finished ones
    behind such as are not finished yet, and these. in_order: whether the ledger says the order of the run; if not,
    prompts were taken as they first appear in it. audit: share of would-be discards that is finished, 0 for none.
    ended: whether what wrote it last has ended and given attempts up, at a goal or interrupted; what was killed does
    not say so. attempts, discarded: all so far. monitor: what it says of the policy, or the path, that discarded last;
    None if it was told nothing. course: what was in force.
    """

    ledger: str
    verdict: Verdict
    unknown: str
    prompts: int
    prompts_planned: int | None
    waiting: int
    in_order: bool
    ended: bool
    audit: float
    attempts: int
    discarded: int
    monitor: MonitorState | None
    course: list[Stretch]

    @property
    def finished(self) -> bool:
        """Whether nothing is to come, unless the run goes on."""
        return self.ended or self.prompts == self.prompts_planned


def ledger_of(path: str | os.PathLike[str]) -> str:
    """Return the ledger that a path means: itself, or the one beside the output of a run."""
    name = os.fspath(path)
    return name if name.endswith(_LEDGER_ENDING) else str(ledger_path(name))


def audit_ledger(
    path: str | os.PathLike[str],
    file: PolicyFile | None = None,
    *,
    max_false_reject: float | None = None,
    wait: Callable[[AuditReport | None], bool] = lambda _: False,
) -> AuditReport:
    """Return what a ledger, or that of an output, tells; half-written ones too.

    file: the policy of the run; without it nothing is known of drift, and the budget is `max_false_reject`, by default
    that of the run's autopilot. wait: told what is known wherever the ledger ends for the moment (None: it is empty);
    while it returns True, the ledger is read on as it grows.

    Raises `InputError` as `scan_ledger`, for another policy than that of the run, where no budget is known, and where
    several prompts have the same place: shards are watched each for itself.
    """
    name = ledger_of(path)
    auditor: _Auditor | None = None

    def go_on() -> bool:
        return wait(None if auditor is None else auditor.report)

    for record, _ in scan_ledger(name, go_on):
        if isinstance(record, Header):
            auditor = _Auditor(record.settings, file, max_false_reject, name)
        elif auditor is not None:
            auditor.add(record)
    assert auditor is not None  # noqa: S101 - the first record of a ledger is its header, or it is refused
    return auditor.report


class _InForce:
    """What was in force from a block on, and what came of it."""

    def __init__(self, steer: Steer, place: int, rate: ConfidenceSequence | None, attempts: int) -> None:
        self.steer, self._place = steer, place
        self.rate = rate
        self._most = attempts
        self._counts = [0] * 5  # prompts, attempts, accepted, would-be discards, audited

    @property
    def discards(self) -> bool:
        """Whether something may be discarded here."""
        return self.rate is not None

    def add(self, entries: list[Entry]) -> None:
        """Take the entries of a prompt."""
        counts = self._counts
        counts[0] += 1
        for entry in entries:
            counts[1] += 1
            counts[2] += entry.outcome == "accepted"
            counts[3] += entry.would_discard
            counts[4] += entry.audited is not None
        if self.rate is not None:
            self.rate.add(score_of(entries, self._most))

    @property
    def told(self) -> Stretch:
        """All of it."""
        prompts, attempts, accepted, would_discard, audited = self._counts
        steer, rate = self.steer, self.rate
        return Stretch(
            block=steer.block,
            place=self._place,
            phase=steer.phase,
            level=steer.level,
            path=steer.path,
            note=steer.note,
            prompts=prompts,
            attempts=attempts,
            accepted=accepted,
            would_discard=would_discard,
            audited=audited,
            rate=None if rate is None else RateSoFar(rate.estimate, *rate.interval),
        )


class _Auditor:
    """Takes the records of one ledger, and says what they tell so far."""

    def __init__(self, settings: Mapping[str, Any], file: PolicyFile | None, alpha: float | None, where: str) -> None:
        self._where = where
        self._file = file
        self._attempts = int(settings.get("attempts", 1))
        self._planned = settings.get("prompt_count")
        self._size = settings.get("block")
        self._policy = settings.get("policy", "none")
        promise = settings.get("autopilot", {})
        self._autopilot = bool(promise)
        self._share = float(settings.get("audit") or (PilotOptions().audit if promise else 0.0))
        if self._policy == "none":  # nothing is up for discard, whatever share of it was to be audited
            self._share = 0.0
        self._by = settings.get("audit_by", "posterior")
        if file is not None:
            _check_policy(file, self._policy, where)
            alpha = file.certificate.max_false_reject if alpha is None else alpha
        self._alpha = promise.get("max_false_reject") if alpha is None else alpha
        self._confidence = float(promise.get("confidence", _CONFIDENCE))
        self._order = InOrder(Goal(self._attempts, settings.get("accepted_per_prompt")), where)
        self._steers: list[Steer] = []  # that are not in force yet at the prompts so far
        self._course: list[_InForce] = []
        self._monitor: Monitor | None = None
        self._watched = ""  # the path whose policies the monitor was told of
        self._prompts = self._n_attempts = self._n_discarded = 0
        self._ended = False

    def add(self, record: Entry | Session | Steer) -> None:
        """Take the next record."""
        self._ended = isinstance(record, Session)
        if isinstance(record, Steer):
            self._steers.append(record)
        elif isinstance(record, Entry):
            self._n_attempts += 1
            self._n_discarded += record.outcome == "discarded"
            for place, entries in self._order.add(record):
                self._prompts += 1
                if self._share:
                    self._take(place, entries)

    def _take(self, place: int, entries: list[Entry]) -> None:
        """Take a finished prompt."""
        block = place // self._size if self._size else 0
        while self._steers and self._steers[0].block <= block:
            self._begin(self._steers.pop(0))
        if not self._course:
            self._begin(Steer(block=0, phase=""))
        in_force = self._course[-1]
        in_force.add(entries)
        if in_force.discards and self._monitor is not None:
            self._monitor.add(entries)

    def _begin(self, steer: Steer) -> None:
        """Put into force what a steer says."""
        discards = steer.phase != ALARM and (steer.level is not None or not self._autopilot)
        rate = ConfidenceSequence(self._confidence_of, self._audit, self._attempts) if discards else None
        self._course.append(_InForce(steer, steer.block * (self._size or 0), rate, self._attempts))
        if discards and (self._monitor is None or self._watched != steer.path):
            self._watched = steer.path
            self._monitor = self._new_monitor()

    @property
    def _confidence_of(self) -> float:
        return self._confidence if self._file is None else self._file.certificate.confidence

    @property
    def _audit(self) -> Audit:
        """How would-be discards are audited; the least ε that can be is taken for granted where E[√M] is not known."""
        mean_root = None if self._file is None else self._file.mean_root_posterior
        return Audit(share=self._share, by=self._by, mean_root=mean_root or 1.0)

    def _new_monitor(self) -> Monitor:
        if self._alpha is None:
            raise InputError(
                "does not say how many good samples may be lost",
                where=self._where,
                remedy="name the policy of the run, or give a budget (--max-false-reject)",
            )
        return Monitor(
            self._file,
            max_false_reject=self._alpha,
            confidence=self._confidence_of,
            attempts=self._attempts,
            audit=self._audit,
        )

    @property
    def report(self) -> AuditReport:
        """What is known now; changes nothing."""
        state = None if self._monitor is None else self._monitor.state
        unknown = self._unknown(state)
        verdict: Verdict = "no alarm"
        if unknown or state is None:
            verdict = "not known"
        elif state.alarm:
            verdict = "alarm"
        elif state.warning:
            verdict = "warning"
        return AuditReport(
            ledger=self._where,
            verdict=verdict,
            unknown=unknown,
            prompts=self._prompts,
            prompts_planned=self._planned,
            waiting=self._order.waiting,
            in_order=self._order.by_place is not False,
            ended=self._ended,
            audit=self._share,
            attempts=self._n_attempts,
            discarded=self._n_discarded,
            monitor=state,
            course=[in_force.told for in_force in self._course],
        )

    def _unknown(self, state: MonitorState | None) -> str:
        """Return why nothing can be said, "" if something can."""
        if not self._share:
            if self._policy == "none":
                return "the run has no policy: nothing is discarded, and nothing lost"
            return "nothing that was discarded is finished, so nobody can know how much of it was good"
        if state is None:
            first = "the first prompt of the run is not finished yet"
            return "nothing was in force yet that discards" if self._prompts else first
        if self._file is not None and not self._file.certificate.certified:
            return "nothing is certified of the policy"
        return ""


def _check_policy(file: PolicyFile, ran: str, where: str) -> None:
    """Raise `InputError` if a policy is not the one that a run was made with."""
    if ran == file.policy().fingerprint:
        return
    if ran == "none":
        raise InputError("was made without a policy", where=where, remedy="leave the policy out")
    if ran == "autopilot":
        what = "was made with an autopilot, which had policies of its own on the way"
        raise InputError(what, where=where, remedy="leave the policy out")
    what, remedy = (
        "was made with another policy than the one that is named",
        "name the policy file that the run was given",
    )
    raise InputError(what, where=where, remedy=f"{remedy}, as it was then")
