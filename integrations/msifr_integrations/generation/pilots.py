"""What steers a run: a monitor that may call a halt, or an autopilot.

A run whose would-be discards are audited is watched by a **monitor** [T11, T14]: once it is in alarm nothing is
discarded any more, and the run goes on. To discard again takes a new certificate, on later data.
"""

from collections.abc import Callable, Sequence

from msifr_calibration.monitor.monitor import Monitor
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.steering import Steerer, Under
from msifr_policy.audit import Audit
from msifr_policy.fitted_policy import Certified
from msifr_policy.policy import NEVER_DISCARD, NeverDiscard, Policy
from msifr_policy.records.ledger import Entry, Steer

WATCHED, ALARM = "watched", "alarm"


def audit_of(policy: Policy | None, options: GenerateOptions) -> Audit | None:
    """Return how would-be discards of a policy are audited, None if they are not."""
    if not options.audit or policy is None or isinstance(policy, NeverDiscard):
        return None
    return Audit(
        share=options.audit, by=options.audit_by, mean_root=getattr(policy, "mean_root_posterior", None) or None
    )


def monitor_of(policy: Policy | None, options: GenerateOptions, say: Callable[[str], None]) -> Steerer | None:
    """Return what watches a run under a policy, None if nothing can; why it cannot is said."""
    audit = audit_of(policy, options)
    if policy is None or audit is None:
        if options.audit:
            say("without a policy nothing is discarded, so there is nothing to audit")
        return None
    certified: Certified | None = getattr(policy, "certified", None)
    if certified is None:
        say("nothing is certified of the policy: its discards are audited, and no alarm can be given")
        return None
    if options.accepted_per_prompt is not None:
        say(
            "under a quota all good samples weigh alike in the alarm, and hard prompts more than in the certificate: "
            "where these lose more, f is larger than what was certified"
        )
    monitor = Monitor(
        max_false_reject=certified.max_false_reject,
        confidence=certified.confidence,
        attempts=options.attempts,
        audit=audit,
    )
    return _Watch(policy, audit, monitor, say)


def settled(steers: Sequence[Steer], block: int, otherwise: Under) -> Under:
    """Return what attempts of a block run under by the `steers` of a watched run: `otherwise`, or never discarding."""
    phase = next((steer.phase for steer in reversed(steers) if steer.block <= block), WATCHED)
    return Under(NEVER_DISCARD) if phase == ALARM else otherwise


class _Watch:
    """Lets a policy run until its monitor is in alarm."""

    def __init__(self, policy: Policy, audit: Audit, monitor: Monitor, say: Callable[[str], None]) -> None:
        self._policy, self._audit, self._monitor, self._say = policy, audit, monitor, say
        self._warned = False

    def begin(self) -> Steer:
        """Return that the policy runs."""
        return Steer(block=0, phase=WATCHED)

    def add(self, prompt_id: str, entries: Sequence[Entry]) -> None:
        """Give the monitor a finished prompt."""
        del prompt_id
        self._monitor.add(entries)

    def steer(self, block: int) -> Steer:
        """Return that the policy runs, or never again once there was an alarm."""
        state = self._monitor.state
        if state.alarm:
            note = f"after {state.alarm_at} prompts more good samples are lost than was certified"
            return Steer(block=block, phase=ALARM, note=note)
        if state.warning and not self._warned:
            self._warned = True
            self._say("warning: more good samples may be lost than was certified; msifr audit says what is known")
        return Steer(block=block, phase=WATCHED)

    @property
    def said(self) -> str:
        """Whether there was an alarm, and what is known of f."""
        if self._monitor.alarm:
            return "alarm: nothing is discarded any more"
        rate = self._monitor.state.rate
        return f"watched: f so far {rate.lower:.1%} to {rate.upper:.1%}"

    def under(self, steer: Steer) -> Under:
        """Return the policy, or the one that never discards."""
        if steer.phase == WATCHED:
            return Under(self._policy, self._audit)
        self._say(f"alarm: {steer.note}; nothing is discarded from now on (msifr audit says more)")
        return Under(NEVER_DISCARD)
