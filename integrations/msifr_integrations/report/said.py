"""What a report says in sentences: what was saved at what certified risk, and where numbers contradict each other."""

from collections.abc import Iterator

from msifr_integrations.report.numbers import Estimate, GroupNumbers, Measured, PolicyNumbers, RunNumbers, rate
from msifr_policy.policy_file import Certificate
from msifr_sim import Summary

_FEW = 20  # prompts


def statement(policy: PolicyNumbers | None, measured: Measured | None, run: RunNumbers | None) -> str:
    """Return in one sentence what was saved, what was lost, and what was certified."""
    if policy is not None and not policy.certificate.certified and not _discarded(measured, run):
        return f"Nothing was saved and nothing lost: {_rest(policy.certificate)}."
    if measured is not None:
        said = _measured(measured)
    elif run is not None:
        said = _run(run)
        if policy is None and run.settings.get("policy") == "none":
            return f"{said}: it had no policy."
    elif policy is not None:
        said = _on_certification(policy)
    else:
        return "These attempts were made, or read, without a policy: nothing was discarded and nothing saved."
    if run is not None and run.settings.get("policy") == "autopilot":
        return f"{said}; {_promise_of_autopilot(run)}."
    return f"{said}; {_promise(policy)}."


def _discarded(measured: Measured | None, run: RunNumbers | None) -> bool:
    if measured is not None:
        return bool(measured.summary.discards_by_reason)
    return run is not None and run.totals.discarded > 0


def _measured(measured: Measured) -> str:
    summary = measured.summary
    would = "" if measured.how == "paired" else "would have "
    at = f"{many(summary.n_attempts, 'attempt')} at {many(summary.n_prompts, 'prompt')}"
    s, f, factor = headline(summary)
    f_said = "no good sample was there to lose (f is undefined)" if f is None else f"lost f = {f} of the good samples"
    cost = "" if factor is None else f", so that an accepted sample costs {factor} times what it costs without it"
    return f"On {at} the policy {would}saved s = {s or 'an undefined share'} of the {summary.unit} and {f_said}{cost}"


def many(n: int, what: str) -> str:
    """Return so many of something, such as "1 prompt" or "1,200 prompts"."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def headline(summary: Summary) -> tuple[str | None, str | None, str | None]:
    """Return s, f and the net cost factor in words with their intervals, None where undefined."""
    s, f, factor = (rate(summary, name) for name in ("saving_rate", "false_reject_rate", "net_cost_factor"))
    return s.said() if s else None, f.said() if f else None, factor.said(percent=False) if factor else None


def _run(run: RunNumbers) -> str:
    totals = run.totals
    each = f", {run.tokens_per_accepted:,.1f} per accepted sample" if run.tokens_per_accepted else ""
    spent = (
        f"{totals.tokens:,} tokens on {many(totals.attempts, 'attempt')}, {totals.accepted:,} of them accepted{each}"
    )
    if not totals.discarded:
        return f"The run spent {spent}, and discarded none"
    discarded = f"The run discarded {many(totals.discarded, 'attempt')} and spent {spent}"
    if (f := rate_so_far(run)) is not None:
        return f"{discarded}; of the good samples it lost f = {f}, as {many(totals.audited, 'audit')} tell"
    return f"{discarded}; what it saved and lost is not known without the same run without a policy"


def rate_so_far(run: RunNumbers) -> str | None:
    """Return f as the audits of a run tell it, with the interval that holds at any time; None if they tell nothing."""
    state = None if run.audits is None else run.audits.monitor
    if state is None or state.rate.estimate is None:
        return None
    return Estimate(state.rate.estimate, state.rate.lower, state.rate.upper).said()


def _on_certification(policy: PolicyNumbers) -> str:
    point, n = policy.chosen, policy.certificate.n_accepted
    if point is None:
        return f"The policy was certified on {n:,} good samples"
    factor = "" if point.false_reject_rate >= 1 else (
        f", a net cost factor of {(1 - point.saving_rate) / (1 - point.false_reject_rate):.3f}"
    )  # fmt: skip
    return (
        f"On the {policy.certificate.n_prompts:,} prompts it was certified on, the policy saved s = "
        f"{point.saving_rate:.1%} of the {policy.unit} and lost f = {point.false_reject_rate:.1%} of the good "
        f"samples{factor} (measured there, not promised)"
    )


def _promise_of_autopilot(run: RunNumbers) -> str:
    if run.audits is None:
        return "what its autopilot certified is not known"
    if (state := run.audits.monitor) is None:
        return "its autopilot put nothing to work, as nothing was certified"
    return (
        f"what its autopilot put to work was certified on the way: f at most {100 * state.max_false_reject:.3g}% at "
        f"new prompts like these, with confidence {state.confidence:.0%} over the whole run"
    )


def _promise(policy: PolicyNumbers | None) -> str:
    if policy is None:
        return "no policy file was given, so what was certified is not known"
    certificate = policy.certificate
    if not certificate.certified:
        return f"none of this is certified: {_rest(certificate)}"
    about = "new prompts like those it was certified on" if certificate.scope == "new prompts" else (
        "further attempts at the prompts it was certified on"
    )  # fmt: skip
    of = ", in every group" if certificate.by_group else ""
    of += f", for the mixture of {', '.join(certificate.pool)}" if certificate.pool else ""
    return (
        f"certified beforehand: f at most {100 * certificate.max_false_reject:.3g}% at {about}{of}, with confidence "
        f"{certificate.confidence:.0%}"
    )


def _rest(certificate: Certificate) -> str:
    return certificate.message.rstrip(".")


def certified_on(certificate: Certificate) -> str:
    """Return in words which accepted samples were counted, such as "45 accepted samples at 97 prompts"."""
    drawn = certificate.unit_of_independence == "prompt" and "binomial" in certificate.method
    n, at = many(certificate.n_accepted, "accepted sample"), many(certificate.n_prompts, "prompt")
    return f"{n} at {at}" + ", of one attempt drawn at each" * drawn


def broken_promise(certificate: Certificate, summary: Summary) -> str:
    """Return in which words a certificate does not hold of the attempts of a summary, "" if they do not contradict."""
    alpha, ci = certificate.max_false_reject, summary.false_reject_rate_ci
    if not certificate.certified or ci is None or ci[0] <= alpha:
        return ""
    return (
        f"not true of these attempts: f at most {100 * alpha:.3g}% was certified, and the interval of f here is "
        f"[{ci[0]:.1%}, {ci[1]:.1%}]. Are they of other prompts, another model, filter or sampling? Certify again on "
        "attempts like these"
    )


def contradictions(policy: PolicyNumbers | None, measured: Measured | None) -> Iterator[str]:
    """Yield what in these numbers goes against the certificate, or flatters the policy."""
    if measured is None:
        return
    if policy is not None and (broken := broken_promise(policy.certificate, measured.summary)):
        yield f"The certificate is {broken}."
    if measured.seen:
        yield (
            f"The policy was fitted or certified on {measured.seen:,} of these "
            f"{many(measured.summary.n_prompts, 'prompt')}: the numbers measured here flatter it."
        )
    if measured.summary.n_prompts < _FEW:
        yield f"So few prompts ({measured.summary.n_prompts}) tell little of others."
    if measured.survivors_changed:
        yield (
            f"{measured.survivors_changed:,} of the {measured.survivors:,} attempts that were kept differ from the run "
            "without the policy: the two runs are not the same but for the policy, and the comparison is rough."
        )
    if measured.how == "paired" and not _discarded(measured, None):
        yield "The policy never discarded an attempt."


def groups_remark(groups: list[GroupNumbers], certificate: Certificate | None) -> str:
    """Return what to say of groups that lose more than the budget."""
    if certificate is None:
        return ""
    alpha = f"{100 * certificate.max_false_reject:.3g}%"
    surely = [group.name for group in groups if group.exceeds == "surely"]
    observed = [group.name for group in groups if group.exceeds == "observed"]
    said = []
    if surely:
        said.append(f"f exceeds the budget of {alpha} in {', '.join(surely)}: more than chance explains.")
    if observed:
        said.append(f"In {', '.join(observed)} more than {alpha} was lost here, which chance may explain.")
    if not said and any(group.exceeds == "no" for group in groups):
        said.append(f"In no group was more than {alpha} lost here.")
    if not certificate.by_group and (surely or observed):
        said.append("The certificate is of all groups together; msifr fit --certify-groups certifies each.")
    return " ".join(said)
