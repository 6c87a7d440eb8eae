"""The monitor of a run: it eats ledger entries prompt by prompt, and says whether the certificate still holds [T11].

Prompts are to come in the order of the run, not in that in which they end: a prompt that loses good samples must not
come sooner or later for it. All that it says is a function of the prompts it was given, so a run that goes on after an
interruption feeds it again and has the same monitor.

Its tests are apart: the alarm, the confidence interval, the test of beliefs and that of drift each err with their own
probability. Only the alarm asks for something to be done. What it costs when it is false is savings, not validity.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from msifr_calibration.monitor.alarms import Alarms, bets_on_excess
from msifr_calibration.monitor.calibration_test import CalibrationTest, Miscalibration
from msifr_calibration.monitor.confidence import ConfidenceSequence
from msifr_calibration.monitor.drift import Drift, DriftTest
from msifr_calibration.monitor.scores import Score, score_of
from msifr_policy.audit import Audit
from msifr_policy.errors import InputError
from msifr_policy.evidence.watch import column_names
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import Entry

MOST_GROUPS = 100
"""Groups that are followed: the first that come."""
DETECTOR_THRESHOLD = 1e5


class RateSoFar(msgspec.Struct, frozen=True):
    """The false-reject rate as audits tell it: an estimate (None before any good sample), and its interval."""

    estimate: float | None
    lower: float
    upper: float


class MonitorState(msgspec.Struct, frozen=True, kw_only=True):
    """What the monitor says after `prompts` prompts.

    would_discard: attempts that the policy discards or would have, but for the audit; audited: of them were finished,
    audited_accepted of these accepted; accepted: all that were. rate, by_group: f, at `confidence` at any time, each
    for itself. e_value: largest so far of the e-process that gives the `alarm` at 1/`level`; detector: of Shiryaev and
    Roberts now, at 100,000 it is a `warning`. alarm_at, warned_at: after how many prompts first. calibration: where
    beliefs are wrong, calibration_e_value: largest so far of that test; drift: what has changed since the certificate,
    None if the policy file does not tell what to hold the run against.
    """

    prompts: int
    attempts: int
    accepted: int
    would_discard: int
    audited: int
    audited_accepted: int
    max_false_reject: float
    confidence: float
    level: float
    rate: RateSoFar
    by_group: dict[str, RateSoFar]
    e_value: float
    detector: float
    alarm: bool
    alarm_at: int | None
    warning: bool
    warned_at: int | None
    calibration: Miscalibration | None
    calibration_e_value: float
    drift: list[Drift] | None


class Monitor:
    """Watches a run with `attempts` attempts at each prompt, whose would-be discards are audited by `audit`.

    file: the policy that runs; None: what is compared with its reference is left out. max_false_reject: the budget α
    that is watched, by default the certificate's; confidence: of intervals, by default the certificate's. level: δ of
    the alarm, of the test of beliefs and of that of drift, each for itself. Raises `InputError` where nothing says α,
    or for values outside (0, 1).
    """

    def __init__(
        self,
        file: PolicyFile | None = None,
        *,
        max_false_reject: float | None = None,
        confidence: float | None = None,
        attempts: int = 1,
        audit: Audit,
        level: float = 0.05,
    ) -> None:
        certificate = None if file is None else file.certificate
        alpha = certificate.max_false_reject if max_false_reject is None and certificate else max_false_reject
        if alpha is None:
            raise InputError("no false-reject budget", where="monitor", remedy="give max_false_reject")
        if not 0 < level < 1 or attempts < 1:
            raise InputError(f"level {level} and {attempts} attempts are no settings", where="monitor")
        self._alpha, self._level, self._attempts, self._audit = alpha, level, attempts, audit
        self._confidence = certificate.confidence if confidence is None and certificate else confidence or 0.9
        self._alarms = Alarms(bets_on_excess(alpha, audit.share, attempts))
        self._rate = self._sequence()
        self._by_group: dict[str, ConfidenceSequence] = {}
        self._calibration = CalibrationTest(level)
        self._drift: DriftTest | None = None
        if file is not None and file.reference is not None:
            columns = column_names(file.policy().validators)
            self._drift = DriftTest(file.reference, columns, level)
        self._counts = [0] * 6  # prompts, attempts, accepted, would-be discards, audited, audited and accepted
        self._e_value = 1.0
        self.alarm_at: int | None = None
        self.warned_at: int | None = None

    def _sequence(self) -> ConfidenceSequence:
        return ConfidenceSequence(self._confidence, self._audit, self._attempts)

    def add(self, entries: Sequence[Entry]) -> None:
        """Take all entries of one prompt, the next of the run.

        Raises `InputError` for entries of several prompts, more of them than attempts, or weights that the audit does
        not give.
        """
        score = score_of(entries, self._attempts)
        self._rate.add(score)
        self._count(entries)
        if score != (0.0, 0.0):
            self._take(score, entries[0].group)
        self._calibration.add(entries)
        if self._drift is not None:
            self._drift.add(entries)

    def _count(self, entries: Sequence[Entry]) -> None:
        counts = self._counts
        counts[0] += 1
        for entry in entries:
            accepted, audited = entry.outcome == "accepted", entry.audited is not None
            counts[1] += 1
            counts[2] += accepted
            counts[3] += entry.would_discard
            counts[4] += audited
            counts[5] += accepted and audited

    def _take(self, score: Score, group: str | None) -> None:
        if group is not None:
            if group not in self._by_group and len(self._by_group) < MOST_GROUPS:
                self._by_group[group] = self._sequence()
            if group in self._by_group:
                self._by_group[group].add(score)
        self._alarms.add(score.at(self._alpha))
        self._e_value = max(self._e_value, float(self._alarms.restarts))
        if self.alarm_at is None and self._e_value >= 1 / self._level:
            self.alarm_at = self._counts[0]
        if self.warned_at is None and self._alarms.detector >= DETECTOR_THRESHOLD:
            self.warned_at = self._counts[0]

    @property
    def alarm(self) -> bool:
        """Whether f ≤ α is refuted at level δ: from then on nothing may be discarded without a new certificate."""
        return self.alarm_at is not None

    @property
    def warning(self) -> bool:
        """Whether the detector is at its threshold or above, now."""
        return bool(self._alarms.detector >= DETECTOR_THRESHOLD)

    @property
    def state(self) -> MonitorState:
        """All that is known now; takes milliseconds, and changes nothing."""
        prompts, attempts, accepted, would_discard, audited, audited_accepted = self._counts
        return MonitorState(
            prompts=prompts,
            attempts=attempts,
            accepted=accepted,
            would_discard=would_discard,
            audited=audited,
            audited_accepted=audited_accepted,
            max_false_reject=self._alpha,
            confidence=self._confidence,
            level=self._level,
            rate=_rate(self._rate),
            by_group={group: _rate(self._by_group[group]) for group in sorted(self._by_group)},
            e_value=self._e_value,
            detector=float(self._alarms.detector),
            alarm=self.alarm,
            alarm_at=self.alarm_at,
            warning=self.warning,
            warned_at=self.warned_at,
            calibration=self._calibration.finding,
            calibration_e_value=self._calibration.largest,
            drift=None if self._drift is None else list(self._drift.found),
        )


def _rate(sequence: ConfidenceSequence) -> RateSoFar:
    return RateSoFar(sequence.estimate, *sequence.interval)
