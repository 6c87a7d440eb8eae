"""What the audits of a run tell: f so far, whether its certificate holds, and what was in force."""

from collections.abc import Iterator

from msifr_calibration.monitor.monitor import MonitorState, RateSoFar
from msifr_integrations.generation.auditing import AuditReport
from msifr_integrations.report.numbers import MOST_GROUPS, Estimate, RunNumbers
from msifr_integrations.report.parts import Section, Table

_VERDICTS = {
    "alarm": "Alarm: more is lost than {alpha}, as was promised",
    "warning": "Warning: more than the promised {alpha} may be lost; that is not sure enough for an alarm",
    "no alarm": "Nothing refutes that at most {alpha} of the good samples are lost",
}


def audits_section(run: RunNumbers | None) -> Section | None:
    """Return what audits tell, None of a run without."""
    audits = None if run is None else run.audits
    if audits is None or audits.monitor is None:
        return None
    state = audits.monitor
    verdict = _VERDICTS.get(audits.verdict, "").format(alpha=f"{100 * state.max_false_reject:.3g}%")
    sentences = [
        f"{state.audited:,} of {state.would_discard:,} attempts that would be discarded were finished nonetheless, and "
        f"{state.audited_accepted:,} of these accepted: f so far = {_said(state.rate)}, with an interval that holds at "
        f"{state.confidence:.0%} confidence at any time.",
        *([f"{verdict} (e-value {state.e_value:.3g}; {1 / state.level:.3g} is an alarm)."] if verdict else []),
        *([f"Beliefs are wrong {state.calibration.words}."] if state.calibration else []),
        *(f"Drift: {each.words}." for each in state.drift or []),
    ]
    tables = [*_groups(state), *_course(audits)]
    return Section("audits", "What audits tell", sentences, "", tables, ("audit stream", "alarm", "e-process", "drift"))


def _groups(state: MonitorState) -> Iterator[Table]:
    if len(state.by_group) > 1:
        rows = [(name, _said(rate)) for name, rate in sorted(state.by_group.items())[:MOST_GROUPS]]
        yield Table("f so far by group", ("group", "false-reject rate f"), rows, folded=True)


def _course(audits: AuditReport) -> Iterator[Table]:
    if len(audits.course) < 2:
        return
    rows = [
        (f"{each.place + 1:,}", each.phase, "–" if each.level is None else f"{each.level}", f"{each.attempts:,}",
         f"{each.accepted:,}", f"{each.would_discard:,}", f"{each.audited:,}",
         "–" if each.rate is None else _said(each.rate), each.note)
        for each in audits.course
    ]  # fmt: skip
    head = ("from prompt", "in force", "level", "attempts", "accepted", "would-be discards", "audited", "f", "why")
    yield Table("What was in force", head, rows)


def _said(rate: RateSoFar) -> str:
    return "undefined" if rate.estimate is None else Estimate(rate.estimate, rate.lower, rate.upper).said()
