"""The sections of a report, in the order in which they are read: each with sentences, a plot and the numbers of it."""

from collections.abc import Iterator

from msifr_integrations.report.audits import audits_section
from msifr_integrations.report.groups import groups_section
from msifr_integrations.report.numbers import (
    Estimate,
    Measured,
    ReportNumbers,
    RunNumbers,
    estimate,
    rate,
    stops_by_reason,
)
from msifr_integrations.report.parts import Section, Table
from msifr_integrations.report.plots import estimates_plot, frontier_plot, reliability_plot, stops_plot
from msifr_integrations.report.said import certified_on, headline, many
from msifr_sim import Summary


def sections(numbers: ReportNumbers) -> list[Section]:
    """Return the sections that these numbers give."""
    made = (
        _frontier(numbers),
        _funnel(numbers),
        audits_section(numbers.run),
        _ledger(numbers.run, numbers.measured),
        _reliability(numbers),
        groups_section(numbers),
        _simulated(numbers),
        _difficulty(numbers.measured),
    )
    return [section for section in made if section is not None]


def definitions(numbers: ReportNumbers) -> Table:
    """Return what the numbers are of: date, files, policy, model, and what is counted."""
    rows = [("made on", numbers.made_on), ("made of", "; ".join(numbers.made_of))]
    policy, settings = numbers.policy, numbers.run.settings if numbers.run else {}
    if numbers.run:
        rows += [(name, str(settings[name])) for name in ("model", "filter") if settings.get(name)]
    if policy:
        certificate = policy.certificate
        rows += [
            ("policy", f"{policy.name}, which reads {', '.join(policy.validators)}"),
            ("certificate", certificate.message),
            ("certified on", f"{certified_on(certificate)} ({certificate.method}); {certificate.false_rejects:,} lost"),
            ("made for model", ", ".join(policy.models)),
            ("made for data set", ", ".join(policy.datasets)),
            ("made for filter", policy.filter),
            ("made for sampling", policy.sampling),
        ]  # fmt: skip
    if numbers.measured:
        summary = numbers.measured.summary
        how = (
            "live, beside the same attempts without the policy"
            if numbers.measured.how == "paired"
            else "by replay over finished attempts, each paid for only up to where it would have been stopped"
        )
        fewest, most = summary.attempts_per_prompt
        at = f"{summary.n_attempts:,} at {many(summary.n_prompts, 'prompt')}, {summary.n_accepted:,} accepted"
        rows += [
            ("measured", how),
            ("attempts", at),
            ("weighing equally", summary.weigh if fewest < most else f"prompts and attempts alike: {most} at each"),
            ("intervals", f"{summary.ci_level:.0%}, prompts taken as independent"),
        ]
    return Table("What these numbers are of", ("", ""), [row for row in rows if row[1]])


def headlines(measured: Measured | None) -> Table | None:
    """Return s, f and the factor, always together, with what they are compared with."""
    if measured is None:
        return None
    summary = measured.summary
    s, f, factor = (said or "undefined" for said in headline(summary))
    rows = [
        ("saving rate s", s, f"share of the {summary.unit} not spent"),
        ("false-reject rate f", f, "share of the good samples that were lost"),
        ("net cost factor", factor, "cost per accepted sample, with over without the policy: it pays below 1"),
    ]
    if summary.length_cap_factor is not None:
        rows.append(
            ("plain length cap", f"{summary.length_cap_factor:.3f}", "the factor of stopping all at one length")
        )
    if summary.accepted_cost_share is not None:
        least = "the factor if exactly the attempts that fail were never begun"
        rows.append(("accepted cost share", f"{summary.accepted_cost_share:.3f}", least))
    return Table("In numbers", ("number", "estimate and interval", "what it is"), rows)


def _frontier(numbers: ReportNumbers) -> Section | None:
    policy, measured = numbers.policy, numbers.measured
    if policy is None or not policy.frontier:
        return None
    summary, realised = measured.summary if measured else None, None
    if summary and summary.saving_rate is not None and summary.false_reject_rate is not None:
        realised = (summary.false_reject_rate, summary.saving_rate)
    chosen = (policy.chosen.false_reject_rate, policy.chosen.saving_rate) if policy.chosen else None
    alpha = policy.certificate.max_false_reject
    svg = frontier_plot(
        policy.frontier,
        chosen=chosen,
        realised=realised,
        max_false_reject=alpha,
        n_certified=policy.n_certified,
        intervals=_both_intervals(summary),
    )
    sentences = [
        "Each mark is a policy of one path, from careful to bold, on the prompts that were held out to certify."
    ]
    if policy.n_certified:
        of = f"Of {len(policy.frontier)} the first {policy.n_certified} are certified"
        rest = f"{of}; the bolder ones only show what more risk would save."
        sentences.append(
            rest if policy.n_certified < len(policy.frontier) else f"All {policy.n_certified} are certified."
        )
    elif policy.certificate.certified:
        sentences.append(
            "The policy in use is of another path, of plain length caps, so none of these is marked as certified."
        )
    else:
        sentences.append("None of them is certified, so none is used.")
    rows = [
        (f"{i}", _standing(i, policy.n_certified), f"{p.saving_rate:.1%}", f"{p.false_reject_rate:.1%}",
         _factor(p.saving_rate, p.false_reject_rate))
        for i, p in enumerate(policy.frontier, 1)
    ]  # fmt: skip
    head = ("policy", "certified", "saving rate s", "false-reject rate f", "net cost factor")
    table = Table("The path in numbers (held-out prompts)", head, rows, folded=True)
    return Section("frontier", "What risk buys", sentences, svg, [table], ("frontier", "path", "break-even", "budget"))


def _both_intervals(summary: Summary | None) -> tuple[tuple[float, float], tuple[float, float]] | None:
    if summary is None or summary.n_prompts < 2 or not summary.false_reject_rate_ci or not summary.saving_rate_ci:
        return None
    return summary.false_reject_rate_ci, summary.saving_rate_ci


def _standing(place: int, n_certified: int) -> str:
    return "no" if place > n_certified else "yes" if place < n_certified else "yes, and in use"


def _factor(s: float, f: float) -> str:
    return f"{(1 - s) / (1 - f):.3f}" if f < 1 else "undefined"


def _funnel(numbers: ReportNumbers) -> Section | None:
    if not numbers.funnel:
        return None
    stops = stops_by_reason(numbers.funnel)
    total = int(sum(count.sum() for count in stops.values()))
    known = any(stage.lost is not None for stage in numbers.funnel)
    lost = sum(stage.lost or 0 for stage in numbers.funnel)
    reasons = ", ".join(f"{reason} {int(count.sum()):,}" for reason, count in stops.items())
    sentence = f"{many(total, 'attempt')} {'was' if total == 1 else 'were'} discarded" + (
        f": {reasons}." if total else "."
    )
    if known and total:
        sentence += f" Of these, {lost:,} would have been accepted."
    head = ("checkpoint", "reached it", *(f"discarded: {reason}" for reason in stops), *(["lost"] if known else []))
    rows = [
        (str(stage.k), f"{stage.reached:,}", *(f"{stage.discarded.get(reason, 0):,}" for reason in stops),
         *([f"{stage.lost:,}"] if stage.lost is not None else []))
        for stage in numbers.funnel
    ]  # fmt: skip
    return Section(
        "funnel", "Where attempts stop, and why", [sentence], stops_plot(stops),
        [Table("By checkpoint", head, rows, folded=True)], ("checkpoint", "stage", "reason", "discarded"),
    )  # fmt: skip


def _ledger(run: RunNumbers | None, measured: Measured | None) -> Section | None:
    tables = [*(_spent(run) if run else ()), *(_fates(measured) if measured else ())]
    if not tables:
        return None
    sentences = []
    if run:
        totals = run.totals
        each = f"{run.tokens_per_accepted:,.1f} tokens per accepted sample" if run.tokens_per_accepted else (
            "nothing was accepted"
        )  # fmt: skip
        took = f"{totals.seconds:,.1f} s by the clock" if totals.seconds else "no time was recorded"
        sentences.append(f"{totals.tokens:,} tokens in all, {each}; {took}.")
    of_run = ("ledger", "failed", "wasted", "tokens beside") if run else ()
    terms = ("accepted", "unaccepted", "discarded", *of_run)
    return Section("ledger", "Where tokens went", sentences, "", tables, terms)


def _spent(run: RunNumbers) -> Iterator[Table]:
    totals = run.totals
    rows = [
        (outcome, f"{spent.attempts:,}", f"{spent.tokens:,}", _share(spent.tokens, totals.tokens))
        for outcome in ("accepted", "unaccepted", "discarded", "failed")
        if (spent := totals.by_outcome.get(outcome))
    ]
    rows.append(("all attempts", f"{totals.attempts:,}", f"{totals.tokens:,}", _share(totals.tokens, totals.tokens)))
    beside = (
        ("of these wasted: made when the attempt was over", totals.tokens_wasted_after_decision),
        ("besides: broken tries, probes, what was in flight", totals.tokens_beside),
    )
    rows += [(name, "", f"{n:,}", _share(n, totals.tokens)) for name, n in beside]
    rows.append(("prompts, read and not made", "", f"{totals.prompt_tokens:,}", ""))
    yield Table("The ledger of the run", ("outcome", "attempts", "tokens", "share"), rows)


def _fates(measured: Measured) -> Iterator[Table]:
    unit = measured.summary.unit
    full = sum(each.full for each in measured.spending)
    rows: list[tuple[str, ...]] = [
        (
            each.fate,
            f"{each.attempts:,}",
            f"{each.full:,.0f}",
            f"{each.spent:,.0f}",
            _share(each.full - each.spent, full),
        )
        for each in measured.spending
    ]
    spent = sum(each.spent for each in measured.spending)
    rows.append(
        ("all", f"{measured.summary.n_attempts:,}", f"{full:,.0f}", f"{spent:,.0f}", _share(full - spent, full))
    )
    head = ("fate", "attempts", f"{unit} without the policy", f"{unit} with it", "saved, of all")
    yield Table("What the policy did, every attempt weighing equally", head, rows)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _reliability(numbers: ReportNumbers) -> Section | None:
    bins = numbers.reliability
    if not bins:
        return None
    inside = sum(each.low <= each.posterior <= each.high for each in bins)
    sentences = [
        "What the policy believed half way through an attempt, beside what came true.",
        f"In {inside} of {len(bins)} groups the belief lies within the interval of what happened.",
    ]
    rows = [(f"{b.posterior:.1%}", f"{b.n_attempts:,}", f"{b.accepted:.1%} [{b.low:.1%}, {b.high:.1%}]") for b in bins]
    table = Table("In numbers", ("believed", "attempts", "accepted in the end"), rows, folded=True)
    return Section("reliability", "Can its beliefs be believed?", sentences, reliability_plot(bins), [table],
                   ("belief", "posterior", "interval"))  # fmt: skip


def _simulated(numbers: ReportNumbers) -> Section | None:
    measured, policy = numbers.measured, numbers.policy
    if measured is None or (numbers.simulated is None and (policy is None or policy.chosen is None)):
        return None
    here = "realised" if measured.how == "paired" else "measured here"
    rates = (
        ("saving rate s", "saving_rate"),
        ("false-reject rate f", "false_reject_rate"),
        ("net cost factor", "net_cost_factor"),
    )
    if numbers.simulated is not None:
        before, source = numbers.simulated, numbers.simulated_on
        said = [rate(before, name) for _, name in rates]
    else:
        point = policy.chosen if policy else None
        if point is None or point.false_reject_rate >= 1:
            return None
        factor = (1 - point.saving_rate) / (1 - point.false_reject_rate)
        values = (point.saving_rate, point.false_reject_rate, factor)
        said = [estimate(value, None) for value in values]
        source = "the prompts it was certified on (the policy file keeps no intervals of them)"
    rows = {word: [a, rate(measured.summary, name)] for (word, name), a in zip(rates, said, strict=True)}
    svg = estimates_plot(rows, ["simulated", here], x_label="rate or factor", percent=False)
    table = Table(
        "In numbers", ("number", "simulated", here),
        [(word, *(e.said("factor" not in word) if e else "undefined" for e in row)) for word, row in rows.items()],
    )  # fmt: skip
    sentence = (
        f"Simulated: on {source}. {here.capitalize()}: on the {measured.summary.n_attempts:,} attempts of this report."
    )
    return Section("simulated", f"Simulated against {here}", [sentence], svg, [table], ("interval", "net cost factor"))


def _difficulty(measured: Measured | None) -> Section | None:
    if measured is None or len(measured.summary.by_difficulty) < 2:
        return None
    groups = measured.summary.by_difficulty
    observed = groups[0].observed
    share = "the share of attempts accepted" if observed else "the share accepted as believed before the first token"
    rows = {f"{g.name} prompts": [estimate(g.false_reject_rate, g.false_reject_rate_ci)] for g in groups}
    svg = estimates_plot(rows, ["f of a third of the good samples, with 95% intervals"], x_label="false-reject rate f")
    table = Table(
        "In numbers", ("prompts", share, "good", "lost", "false-reject rate f"),
        [(g.name, g.range_in_words, f"{g.n_accepted:,}", f"{g.false_rejects:,}",
          Estimate(g.false_reject_rate, *g.false_reject_rate_ci).said()) for g in groups],
    )  # fmt: skip
    sentences = [
        f"A mean may hide that hard prompts are given up. Prompts are cut into thirds of the good samples by {share}."
    ]
    return Section("difficulty", "Hard and easy prompts", sentences, svg, [table], ("difficulty",))
