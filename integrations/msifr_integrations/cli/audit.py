"""`msifr audit`: whether the certificate of a run still holds."""

import time
from collections.abc import Iterator

import click

from msifr_calibration.monitor.monitor import MonitorState, RateSoFar
from msifr_integrations.cli.console import emit, examples, explained, prose
from msifr_integrations.cli.options import json_option
from msifr_integrations.cli.tables import load_policy
from msifr_integrations.generation.auditing import AuditReport, Stretch, audit_ledger
from msifr_integrations.generation.pilots import ALARM

SECONDS_BETWEEN = 1.0
"""Between two looks at a ledger that is followed."""

_MOST_GROUPS = 12
_WORDS = "alarm", "warning", "e-value", "f", "audited", "confidence sequence", "belief", "drift"


@click.command(
    epilog=examples("msifr audit out.jsonl policy.json", "msifr audit out.ledger.jsonl policy.json --follow")
)
@click.argument("ledger", type=click.Path(dir_okay=False))
@click.argument("policy", required=False, type=click.Path(dir_okay=False))
@click.option("--follow", is_flag=True, help="Go on as the run does, and say what changes; ends with it, or by Ctrl-C.")
@click.option(
    "--max-false-reject",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    show_default="the policy's, or the autopilot's",
    help="Largest share of good samples that may be lost.",
)
@json_option
def audit(ledger: str, policy: str | None, follow: bool, max_false_reject: float | None, as_json: bool) -> None:
    """Say whether the certificate of a run still holds, by what it finished although POLICY would have discarded it.

    LEDGER is the ledger of a run, or its output; the run may still go on. POLICY is what it was given; a run with an
    autopilot needs none. The exit status is 1 where there is an alarm.
    """
    file = None if policy is None else load_policy(policy)
    news = _News(follow=follow, as_json=as_json)
    try:
        report = audit_ledger(ledger, file, max_false_reject=max_false_reject, wait=news.wait)
    except KeyboardInterrupt:
        if news.last is None:
            raise
        report = news.last
    prose(*report_lines(report), explained(*_WORDS), json=as_json)
    if as_json:
        emit(report)
    if report.verdict == "alarm":
        click.get_current_context().exit(1)


class _News:
    """Says what has changed wherever a ledger that is followed ends for the moment, and waits for more."""

    def __init__(self, *, follow: bool, as_json: bool) -> None:
        self.last: AuditReport | None = None
        self._follow, self._as_json = follow, as_json
        self._course = self._drifts = 0
        self._verdict, self._calibration = "no alarm", ""
        self._due = 1  # prompts

    def wait(self, report: AuditReport | None) -> bool:
        """Return whether to go on."""
        if not self._follow:
            return False
        if report is not None and (self.last is None or report.attempts > self.last.attempts):
            self.last = report
            prose(*self._new(report), json=self._as_json)
        if report is not None and report.finished:
            return False
        time.sleep(SECONDS_BETWEEN)
        return True

    def _new(self, report: AuditReport) -> Iterator[str]:
        yield from map(_stretch_line, report.course[self._course :])
        self._course = len(report.course)
        state = report.monitor
        if state is None:
            return
        if report.verdict != self._verdict:
            yield _verdict_line(report)
            self._verdict = report.verdict
        if (found := state.calibration) is not None and found.words != self._calibration:
            self._calibration = found.words
            yield f"after {_prompts(report.prompts)}: {_beliefs_line(state)}"
        for drift in (state.drift or [])[self._drifts :]:
            yield f"drift: {drift.words} (seen after {drift.prompt:,} prompts)"
        self._drifts = len(state.drift or [])
        if report.prompts >= self._due:
            yield f"after {_prompts(report.prompts)}: {_rate_line(state)}"
            self._due = 2 * report.prompts


def report_lines(report: AuditReport) -> list[str]:
    """Return in words what is known of a run."""
    lines = [_verdict_line(report)]
    if report.unknown:
        lines += _remedy(report)
    if (state := report.monitor) is not None and report.audit:
        lines += _monitor_lines(state)
    of = f" of {report.prompts_planned:,}" if report.prompts_planned is not None else ""
    behind = f"; {report.waiting:,} more are begun, and wait for others" if report.waiting else ""
    lines.append(f"looked at: {report.prompts:,}{of} prompts, all of their attempts{behind}")
    if not report.in_order and report.audit:
        lines.append(
            "mind: this ledger does not say the order of the run, so prompts were taken as they first appear in it; "
            "where prompts that lose more come later, an alarm comes later"
        )
    if len(report.course) > 1 or any(each.note for each in report.course):
        lines += ["what was in force:", *(f"  {_stretch_line(each)}{_came_of(each)}" for each in report.course)]
    if state is not None and any(each.level is not None for each in report.course):
        lines.append(
            f"certified of each level, before it was put to work: at most {100 * state.max_false_reject:.3g}% of the "
            f"good samples are discarded, with confidence {state.confidence:g} over the whole run"
        )
    return lines


def _verdict_line(report: AuditReport) -> str:
    state = report.monitor
    if report.verdict == "not known" or state is None:
        return f"not known: {report.unknown}"
    alpha, prompts = f"{100 * state.max_false_reject:.3g}%", _prompts(state.prompts)
    if report.verdict == "alarm":
        ended = any(each.place >= (state.alarm_at or 0) and each.rate is None for each in report.course)
        then = "the run fell back to discarding nothing" if ended else (
            "the run discards on, or has not come to the block where it ends: if it does not say so itself, stop it"
        )  # fmt: skip
        return (
            f"alarm: more than {alpha} of the good samples are lost, seen after {_prompts(state.alarm_at or 0)} (a "
            f"run that loses no more comes to this with probability {100 * state.level:.3g}% at most); {then}"
        )
    if report.verdict == "warning":
        return (
            f"warning: after {prompts} more than {alpha} of the good samples may be lost (while they are not, that is "
            "said about once in 100,000 prompts); no alarm yet"
        )
    return (
        f"no alarm: after {prompts} nothing refutes that at most {alpha} of the good samples are lost (e-value "
        f"{state.e_value:.3g}; {1 / state.level:.3g} would be an alarm)"
    )


def _remedy(report: AuditReport) -> list[str]:
    if report.audit or not report.discarded:
        return []
    return [
        f"{report.discarded:,} of {report.attempts:,} attempts are discarded; to see what is lost while a run goes on: "
        "msifr generate --audit 0.05; afterwards: the same run with --policy none, and --compare"
    ]


def _monitor_lines(state: MonitorState) -> Iterator[str]:
    yield _rate_line(state)
    groups = sorted(state.by_group.items())
    for name, rate in groups[:_MOST_GROUPS] if len(groups) > 1 else ():
        yield f"  {name}: {_rate(rate)}"
    if len(groups) > _MOST_GROUPS:
        yield f"  and {len(groups) - _MOST_GROUPS} more groups (--json)"
    yield (
        f"audits: {state.audited:,} of {state.would_discard:,} would-be discards were finished, and "
        f"{state.audited_accepted:,} of these accepted"
    )
    yield _beliefs_line(state)
    if state.drift is None:
        yield "drift: not known, for want of a policy file that says how attempts looked that were certified on"
    elif not state.drift:
        yield "drift: none is seen against the attempts that were certified on"
    else:
        for each in state.drift:
            yield f"drift: {each.words} (seen after {each.prompt:,} prompts)"


def _rate_line(state: MonitorState) -> str:
    if state.rate.estimate is None:
        return f"f so far is {_rate(state.rate)}"
    return f"f so far = {_rate(state.rate)}, at {state.confidence:.0%} confidence whenever one looks"


def _prompts(n: int) -> str:
    return "1 prompt" if n == 1 else f"{n:,} prompts"


def _rate(rate: RateSoFar) -> str:
    """Return a rate that is known so far, with its interval."""
    if rate.estimate is None:
        return "undefined, as nothing was accepted"
    return f"{rate.estimate:.1%} [{rate.lower:.1%}, {rate.upper:.1%}]"


def _beliefs_line(state: MonitorState) -> str:
    found = state.calibration
    if found is not None:
        return f"beliefs are wrong {found.words} (e-value {state.calibration_e_value:.3g})"
    return f"beliefs: nothing speaks against them (e-value {state.calibration_e_value:.3g})"


def _stretch_line(each: Stretch) -> str:
    level = "" if each.level is None else f", level {each.level} of {each.path}"
    note = f": {each.note}" if each.note else ""
    return f"from prompt {each.place + 1:,} on: {_phase(each)}{level}{note}"


def _phase(each: Stretch) -> str:
    return {"": "the policy", "watched": "the policy, watched", ALARM: "nothing is discarded, after an alarm"}.get(
        each.phase, each.phase
    )


def _came_of(each: Stretch) -> str:
    """Return what came of the prompts of a stretch."""
    if not each.prompts:
        return ""
    f = (
        ""
        if each.rate is None
        else f"; {each.would_discard:,} would-be discards, {each.audited:,} of them audited, f = {_rate(each.rate)}"
    )
    return f" ({each.attempts:,} attempts, {each.accepted:,} accepted{f})"
