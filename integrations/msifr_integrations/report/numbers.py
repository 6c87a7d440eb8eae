"""The numbers of a report, made of outcomes, ledgers and policies: what `--json` prints and the page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from msifr_integrations.generation.auditing import AuditReport
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Certificate, FrontierPoint, LengthCap, PolicyFile, Weigh
from msifr_policy.records.ledger import Totals
from msifr_sim import Outcomes, Summary, summarise
from msifr_sim.intervals import rate_interval
from msifr_sim.outcomes import CI_LEVEL

MOST_GROUPS = 40
"""So many groups are shown, those with the most attempts."""

_BINS = 10
_DRAWS = 400  # of the bootstrap of a group


class Estimate(msgspec.Struct, frozen=True):
    """A number with its 95 % interval, null where none is known."""

    value: float
    low: float | None = None
    high: float | None = None

    def said(self, percent: bool = True) -> str:
        """Return it in words, such as "3.1% [1.9%, 4.8%]", the interval in one piece."""
        form = (lambda x: f"{x:.1%}") if percent else (lambda x: f"{x:.3f}")
        if self.low is None or self.high is None:
            return form(self.value)
        return f"{form(self.value)} [{form(self.low)},\N{NO-BREAK SPACE}{form(self.high)}]"


def estimate(value: float | None, interval: tuple[float, float] | None) -> Estimate | None:
    """Return an estimate, None where it is undefined."""
    return None if value is None else Estimate(value, *(interval or (None, None)))


def rate(summary: Summary, name: str) -> Estimate | None:
    """Return a rate of a summary with its interval: none where a single prompt cannot tell how prompts differ."""
    resampled = name != "false_reject_rate"
    interval = None if resampled and summary.n_prompts < 2 else getattr(summary, f"{name}_ci")
    return estimate(getattr(summary, name), interval)


class Bin(msgspec.Struct, frozen=True):
    """Attempts that were believed alike half way: mean posterior, and the share accepted with its 95 % interval."""

    posterior: float
    accepted: float
    low: float
    high: float
    n_attempts: int


class Stage(msgspec.Struct, frozen=True):
    """Attempts that reached checkpoint k, those discarded there by reason, and the good ones among them (if known)."""

    k: int
    reached: int
    discarded: dict[str, int]
    lost: int | None


Fate = Literal["accepted, kept", "accepted, discarded", "not accepted, finished", "not accepted, discarded"]


class Spending(msgspec.Struct, frozen=True):
    """What attempts with one fate cost in full and under the policy, in the cost unit."""

    fate: Fate
    attempts: int
    full: float
    spent: float


class GroupNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """One group of prompts: what the policy saves and loses there, as far as it is known.

    `upper` bounds f at the certificate's confidence, on the prompts it was certified on, for this group alone.
    `exceeds`: whether f is above the budget here: "no", "observed" (within chance), "surely" (the interval is above).
    """

    name: str
    attempts: int | None = None
    accepted: int | None = None
    discarded: int | None = None
    lost: int | None = None
    saving_rate: Estimate | None = None
    false_reject_rate: Estimate | None = None
    net_cost_factor: Estimate | None = None
    upper: float | None = None
    exceeds: Literal["no", "observed", "surely"] | None = None


class LeftOut(msgspec.Struct, frozen=True):
    """A section that is not in the report, and what would give it."""

    section: str
    needs: str


class RunNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger tells of its run: settings as the run was given them, sums, and the attempts by group.

    audits: what they tell of f, None without audits, or where it is not known which policy ran.
    """

    settings: dict[str, str | int | float | bool | None]
    totals: Totals
    tokens_per_accepted: float | None
    groups: list[GroupNumbers]
    audits: AuditReport | None = None


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy saved and lost: live, beside the same run without it ("paired"), or on traces ("replayed")."""

    how: Literal["paired", "replayed"]
    summary: Summary
    spending: list[Spending]
    groups: list[GroupNumbers]
    groups_left_out: int
    survivors: int | None = None
    survivors_changed: int | None = None
    seen: int = 0
    """Prompts on which the policy was fitted or certified: they flatter it."""


class PolicyNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy file says; the first `n_certified` points of the frontier are certified, `chosen` is its own."""

    name: str
    certificate: Certificate
    frontier: list[FrontierPoint]
    n_certified: int
    chosen: FrontierPoint | None
    length_cap: LengthCap
    models: list[str]
    datasets: list[str]
    filter: str
    sampling: str
    unit: str
    validators: list[str]


class ReportNumbers(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a report shows in numbers; what is null or empty there is among `left_out`."""

    statement: str
    remarks: list[str]
    left_out: list[LeftOut]
    made_on: str
    made_of: list[str]
    policy: PolicyNumbers | None
    measured: Measured | None
    simulated: Summary | None
    simulated_on: str
    run: RunNumbers | None
    funnel: list[Stage]
    reliability: list[Bin]
    attempts: dict[str, int]
    attempts_shown: int


def policy_numbers(file: PolicyFile, name: str) -> PolicyNumbers:
    """Return what a policy file says."""
    # Plain length caps are a path of their own, at the same prices: that one is not in the file.
    is_cap = set(file.thresholds) <= {0.0, 1.0}
    place = next((i for i, point in enumerate(file.frontier) if point.price == file.price and not is_cap), None)
    certified = file.certificate.certified and place is not None
    return PolicyNumbers(
        name=name,
        certificate=file.certificate,
        frontier=list(file.frontier),
        # Certifying walks the path from careful to bold and stops where it fails: all before the chosen one hold.
        n_certified=place + 1 if certified and place is not None else 0,
        chosen=file.frontier[place] if certified and place is not None else None,
        length_cap=file.length_cap,
        models=list(file.provenance.models),
        datasets=list(file.provenance.datasets),
        filter=file.provenance.filter,
        sampling=file.provenance.sampling,
        unit=file.costing.unit,
        validators=[spec.name for spec in file.validators],
    )


def measured(
    how: Literal["paired", "replayed"],
    outcomes: Outcomes,
    groups: Sequence[str],
    file: PolicyFile | None,
    *,
    seen: int = 0,
    survivors: tuple[int, int] | None = None,
    seed: int = 0,
) -> Measured:
    """Return what outcomes come to; groups: `[N]` names. survivors: their number, and of those that changed."""
    weigh: Weigh = file.certificate.weigh if file else "prompts"
    summary = summarise(outcomes, weigh=weigh, length_cap=file.length_cap.cap if file else None, seed=seed)
    of_groups, left_out = _groups(outcomes, groups, file.certificate if file else None, weigh, seed)
    kept, unchanged = survivors or (None, None)
    return Measured(
        how=how,
        summary=summary,
        spending=_spending(outcomes),
        groups=of_groups,
        groups_left_out=left_out,
        survivors=kept,
        survivors_changed=unchanged,
        seen=seen,
    )


def _spending(outcomes: Outcomes) -> list[Spending]:
    A, D = outcomes.accepted, outcomes.discarded
    fates: tuple[tuple[Fate, NDArray[np.bool_]], ...] = (
        ("accepted, kept", A & ~D),
        ("accepted, discarded", A & D),
        ("not accepted, finished", ~A & ~D),
        ("not accepted, discarded", ~A & D),
    )
    return [
        Spending(fate, int(i.sum()), float(outcomes.cost_full[i].sum()), float(outcomes.cost_policy[i].sum()))
        for fate, i in fates
    ]


def _groups(
    outcomes: Outcomes, groups: Sequence[str], certificate: Certificate | None, weigh: Weigh, seed: int
) -> tuple[list[GroupNumbers], int]:
    """Return the numbers of the largest groups by name, and how many are left out; none if all attempts are of one."""
    names, number, counts = np.unique(
        np.asarray(groups, dtype=object).astype(str), return_inverse=True, return_counts=True
    )
    if len(names) < 2:
        return [], 0
    largest = np.argsort(-counts, kind="stable")[:MOST_GROUPS]
    rows = []
    for i in sorted(largest.tolist()):
        here = number == i
        summary = summarise(_some(outcomes, here), weigh=weigh, seed=seed, draws=_DRAWS)
        f = rate(summary, "false_reject_rate")
        bound = certificate.groups.get(str(names[i])) if certificate else None
        rows.append(
            GroupNumbers(
                name=str(names[i]),
                attempts=summary.n_attempts,
                accepted=summary.n_accepted,
                discarded=int((outcomes.discarded & here).sum()),
                lost=int((outcomes.discarded & outcomes.accepted & here).sum()),
                saving_rate=rate(summary, "saving_rate"),
                false_reject_rate=f,
                net_cost_factor=rate(summary, "net_cost_factor"),
                upper=bound.upper if bound else None,
                exceeds=_exceeds(f, certificate),
            )
        )
    return rows, len(names) - len(rows)


def _exceeds(f: Estimate | None, certificate: Certificate | None) -> Literal["no", "observed", "surely"] | None:
    if f is None or certificate is None:
        return None
    alpha = certificate.max_false_reject
    return "surely" if (f.low or 0.0) > alpha else "observed" if f.value > alpha else "no"


def certified_groups(certificate: Certificate) -> list[GroupNumbers]:
    """Return what a certificate says of groups, where nothing else is known of them."""
    return [
        GroupNumbers(name=name, accepted=bound.n_accepted, lost=bound.false_rejects, upper=bound.upper)
        for name, bound in certificate.groups.items()
    ]


def _some(outcomes: Outcomes, which: NDArray[np.bool_]) -> Outcomes:
    arrays = ("cost_full", "cost_policy", "accepted", "discarded", "prompt", "stop_k", "reached")
    some: dict[str, Any] = {name: getattr(outcomes, name)[which] for name in arrays}
    prospect = None if outcomes.prospect is None else outcomes.prospect[which]
    return replace(outcomes, **some, reason=tuple(compress(outcomes.reason, which.tolist())), prospect=prospect)


def funnel(
    reached: NDArray[np.int64],
    stop_k: NDArray[np.int64],
    discarded: NDArray[np.bool_],
    reason: Sequence[str],
    accepted: NDArray[np.bool_] | None,
) -> list[Stage]:
    """Return the checkpoints, arguments `[N]` as of `Outcomes`; accepted None: it is not known what was lost.

    Checkpoint 0 is left out where nothing was discarded there.
    """
    if not len(reached):
        return []
    last = int(reached.max())
    passed = np.bincount(reached, minlength=last + 1)[::-1].cumsum()[::-1]
    by_reason: dict[str, NDArray] = {}
    for word in dict.fromkeys(compress(reason, discarded.tolist())):
        here = discarded & np.fromiter((each == word for each in reason), bool, len(reason))
        by_reason[word] = np.bincount(stop_k[here], minlength=last + 1)
    lost = None if accepted is None else np.bincount(stop_k[discarded & accepted], minlength=last + 1)
    stages = []
    for k in range(last + 1):
        there = {word: int(count[k]) for word, count in by_reason.items() if count[k]}
        if k or there:
            stages.append(Stage(k, int(passed[k]), there, None if lost is None else int(lost[k])))
    return stages


def reliability(M: NDArray[np.float64], table: EvidenceTable) -> list[Bin]:
    """Return bins of equal size of the posterior M `[R]` half way through each attempt of the table.

    Attempts without a checkpoint are left out. Intervals take prompts as independent.
    """
    middle = table.start[:-1] + (np.diff(table.start) - 1) // 2
    usable = np.flatnonzero(table.is_checkpoint[middle])
    order = usable[np.argsort(M[middle[usable]], kind="stable")]
    bins = []
    for some in np.array_split(order, min(_BINS, max(1, len(order) // 20))):
        if not len(some):
            continue
        _, prompt = np.unique(table.prompt[some], return_inverse=True)
        accepted = np.bincount(prompt, table.accepted[some]).astype(np.float64)
        interval = rate_interval(accepted, np.bincount(prompt).astype(np.float64), len(some), CI_LEVEL)
        if interval is not None:
            share = float(table.accepted[some].mean())
            bins.append(Bin(float(M[middle[some]].mean()), share, interval.low, interval.high, len(some)))
    return bins


def stops_by_reason(stages: Sequence[Stage]) -> Mapping[str, NDArray[np.int64]]:
    """Return per reason `[K + 1]` the attempts discarded at each checkpoint, the most frequent reason first."""
    length = 1 + max((stage.k for stage in stages), default=0)
    counts: dict[str, NDArray[np.int64]] = {}
    for stage in stages:
        for reason, n in stage.discarded.items():
            counts.setdefault(reason, np.zeros(length, dtype=np.int64))[stage.k] += n
    return dict(sorted(counts.items(), key=lambda item: -int(item[1].sum())))
