"""Groups of prompts: what the policy saves and loses of each, and which lose more than the budget."""

from collections.abc import Iterator, Sequence

from msifr_integrations.report.numbers import (
    MOST_GROUPS,
    GroupNumbers,
    Measured,
    PolicyNumbers,
    ReportNumbers,
    certified_groups,
)
from msifr_integrations.report.parts import Section, Table
from msifr_integrations.report.plots import estimates_plot
from msifr_integrations.report.said import groups_remark


def groups_section(numbers: ReportNumbers) -> Section | None:
    """Return what is known of groups: measured here, else counts of the run, else what was certified of each."""
    policy, measured, run = numbers.policy, numbers.measured, numbers.run
    certificate = policy.certificate if policy else None
    if measured and measured.groups:
        return _measured_groups(measured, policy)
    if run and len(run.groups) > 1:
        head = ("group", "attempts", "accepted", "discarded")
        largest = sorted(run.groups, key=lambda g: -(g.attempts or 0))[:MOST_GROUPS]
        rows = [(_name(g), f"{g.attempts:,}", f"{g.accepted:,}", f"{g.discarded:,}") for g in largest]
        sentences = ["What was lost of each group is not known without the same run without a policy."]
        if len(rows) < len(run.groups):
            sentences.append(f"{len(run.groups) - len(rows):,} smaller groups are not shown.")
        tables = [
            Table("The run by group", head, rows),
            *_bounds(certified_groups(certificate) if certificate else [], policy),
        ]
        return Section("groups", "Groups of prompts", sentences, "", tables, ("group",))
    if certificate and certificate.groups:
        tables = list(_bounds(certified_groups(certificate), policy))
        return Section("groups", "Groups of prompts", [], "", tables, ("group",))
    return None


def _measured_groups(measured: Measured, policy: PolicyNumbers | None) -> Section:
    certificate = policy.certificate if policy else None
    alpha = certificate.max_false_reject if certificate else None
    remark = {"surely": "exceeds the budget", "observed": "above the budget, within chance", "no": "", None: ""}
    rows = [
        (_name(g), f"{g.attempts:,}", f"{g.accepted:,}", f"{g.lost:,}",
         g.saving_rate.said() if g.saving_rate else "undefined",
         g.false_reject_rate.said() if g.false_reject_rate else "undefined",
         g.net_cost_factor.said(percent=False) if g.net_cost_factor else "undefined",
         "–" if g.upper is None else f"{g.upper:.1%}", remark[g.exceeds])
        for g in measured.groups
    ]  # fmt: skip
    head = ("group", "attempts", "good", "lost", "saving rate s", "false-reject rate f", "net cost factor",
            "bound on f when certified", "remark")  # fmt: skip
    said = groups_remark(measured.groups, certificate)
    left = f"{measured.groups_left_out} smaller groups are not shown." if measured.groups_left_out else ""
    shown = {_name(g): [g.false_reject_rate] for g in measured.groups[:20] if g.false_reject_rate}
    svg = (
        estimates_plot(shown, ["measured here, with 95% intervals"], x_label="false-reject rate f", limit=alpha)
        if shown
        else ""
    )
    table = Table("By group", head, rows)
    return Section("groups", "Groups of prompts", [s for s in (said, left) if s], svg, [table], ("group", "budget"))


def _bounds(groups: Sequence[GroupNumbers], policy: PolicyNumbers | None) -> Iterator[Table]:
    if not groups or policy is None:
        return
    certificate = policy.certificate
    alpha = certificate.max_false_reject
    groups = sorted(groups, key=lambda g: -(g.accepted or 0))[:MOST_GROUPS]
    rows = [
        (_name(g), f"{g.accepted:,}", f"{g.lost:,}", f"{g.upper or 0:.1%}",
         "" if (g.upper or 0) <= alpha else f"not shown to be below {100 * alpha:.3g}%")
        for g in groups
    ]  # fmt: skip
    head = ("group", "good (held out)", "lost", f"upper bound on f at {certificate.confidence:.0%}", "remark")
    yield Table("What was certified of each group by itself", head, rows)


def _name(group: GroupNumbers) -> str:
    return group.name or "(no group)"
