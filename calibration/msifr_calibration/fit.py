"""From evidence tables to certified policy files: split by prompt, learn on one part, test on the other [T10].

Several **families** of traces (other models, other benchmarks) can be fitted together: learned beliefs then share what
they learn of words and evidence, and families too small to be certified alone are certified in pools (`certify`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.beliefs.pretrained import learned_from
from msifr_calibration.certify import Fit, certify_pools, key_of
from msifr_calibration.family import Family
from msifr_calibration.held_out import HeldOut
from msifr_calibration.learn import fit_beliefs, fit_candidates
from msifr_calibration.options import FitOptions
from msifr_calibration.sample_size import critical_number
from msifr_calibration.split import uniform
from msifr_policy.errors import InputError
from msifr_policy.evidence.history import has_history, with_history
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import Trace

_USE = "certify"
_LEFT_TO_FIT = 5
_MOST_SEEN = 0.1
_MOST_TO_FIT = 20_000
_MOST = 0.8


def fit_policy(
    table: EvidenceTable,
    options: FitOptions | None = None,
    *,
    traces: Sequence[Trace] = (),
    progress: Callable[[str], None] = lambda _: None,
    **changes: Any,
) -> Fit:
    """Fit a discard policy on part of the prompts of `table` and certify it on the others.

    `changes` are fields of `FitOptions`, such as max_false_reject=0.05. The method "learned" needs the `traces` behind
    the table, and torch. When nothing can be certified the file holds the policy that never discards, and its
    certificate says why. The split hangs on the data alone, so no other seed gives another certificate.

    Raises `InputError` for options that do not fit, or where no attempt costs anything.
    """
    options = replace(options or FitOptions(), **changes)
    key = key_of([table])
    note = ""
    if options.history and has_history(table):
        table = with_history(table)
    if table.n_attempts and traces and options.method in ("auto", "pretrained") and options.pretrained is None:
        table, options, note = _of_new_prompts(table, traces, options)
    held_out, half = (prompts_to_certify(table, key, options, share) for share in (_MOST, 0.5))
    if held_out.sum() > half.sum() and not (traces and _few_numbers(table.where(~held_out), traces, options)):
        held_out = half
    fitting, certifying = table.where(~held_out), table.where(held_out)
    fit = _fit([Family("", fitting, traces)], [certifying], options, progress, key)[0]
    return replace(fit, note=note)


def fit_families(
    families: Sequence[Family],
    options: FitOptions | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
    **changes: Any,
) -> list[Fit]:
    """Fit families of traces together and certify them pool by pool; see `certify_pools`.

    A prompt that several families share is on the same side in all of them; half of the prompts certify unless
    `certify_share` says otherwise. Pretrained beliefs are not used where they were learned from any of the prompts.
    `changes` and errors as for `fit_policy`.
    """
    options = replace(options or FitOptions(), **changes)
    share = options.certify_share or 0.5
    if options.method in ("auto", "pretrained") and options.pretrained is None:
        with_texts = [family for family in families if family.traces and family.table.n_attempts]
        if any(learned_from(family.table, family.traces).any() for family in with_texts):
            options = replace(options, method="linear")
    key = key_of([family.table for family in families])
    several = [options.history and has_history(family.table) for family in families]
    if options.method == "learned":  # one network reads the columns of all
        several = [any(several)] * len(families)
    families = [
        replace(family, table=with_history(family.table)) if add else family
        for family, add in zip(families, several, strict=True)
    ]
    if len({family.name for family in families}) < len(families):
        raise InputError("two families have one name", where="fit_families", remedy="name each of its own")
    fitting, certifying = [], []
    for family in families:
        held_out = uniform(family.table.prompt_ids, key, _USE) < share
        certifying.append(family.table.where(held_out))
        fitting.append(replace(family, table=family.table.where(~held_out)))
    return _fit(fitting, certifying, options, progress, key)


def _fit(
    fitting: Sequence[Family],
    certifying: Sequence[EvidenceTable],
    options: FitOptions,
    progress: Callable[[str], None],
    key: str,
) -> list[Fit]:
    for family in fitting:
        if not family.table.n_attempts:
            raise InputError(
                "no prompts are left to fit on",
                where=f"family {family.name}" if family.name else "fit",
                remedy="hold out fewer, or add prompts",
            )
    candidates = fit_candidates(fitting, options, progress=progress)
    held_out = [
        each.fitted.extend(table, each.family.traces) for each, table in zip(candidates, certifying, strict=True)
    ]
    progress("certificates")
    return certify_pools(candidates, held_out, options, key=key)


def _of_new_prompts(
    table: EvidenceTable, traces: Sequence[Trace], options: FitOptions
) -> tuple[EvidenceTable, FitOptions, str]:
    """Return what pretrained beliefs may be fitted to, how, and what to say of it.

    That is the table without the prompts that they were learned from; where these are more than a tenth, all of it and
    no pretrained beliefs. Raises `InputError` where only pretrained ones are asked for.
    """
    seen = learned_from(table, traces)
    if not seen.any():
        return table, options, ""
    what = f"{int(seen.sum())} of {table.n_prompts} prompts are among those that pretrained beliefs were learned from"
    if seen.mean() <= _MOST_SEEN:
        return table.where(~seen), options, f"{what}: left out"
    if options.method == "pretrained":
        remedy = "leave these prompts out, or use another posterior"
        raise InputError(what, where="posterior pretrained", remedy=remedy)
    return table, replace(options, method="linear"), f"{what}: they are not used"


def _few_numbers(table: EvidenceTable, traces: Sequence[Trace], options: FitOptions) -> bool:
    """Return whether beliefs that only learn a few numbers are the best: then most accepted samples may certify.

    Said by `table`, prompts that are fitted on either way, so the certificate stays valid.
    """
    if options.method not in ("auto", "pretrained"):
        return False
    beliefs = fit_beliefs(Family("", table, traces), options)[0].beliefs
    return beliefs.method == "pretrained" and not any(any(g.coefficients) for g in beliefs.posterior_model.groups)


def prompts_to_certify(table: EvidenceTable, key: str, options: FitOptions, share: float) -> NDArray[np.bool_]:
    """Return `[P]` which prompts are held out to certify on: `certify_share` of them, or by default as many as count.

    Among one attempt of each prompt, a certificate that m lost samples do not prevent needs as many accepted ones as
    its critical number (45, 77, 105, … for α = 5 % with confidence 90 %); between two of them nothing is gained.
    Prompts are held out, in an order drawn by `key`, until the critical number nearest to `share` of the accepted ones
    is reached (of each group, where groups are certified), or the first, if that leaves some to fit on; else half. No
    more than 20,000 attempts are fitted on, but by networks: linear beliefs and paths learn next to nothing from more,
    certificates do. Looks at outcomes alone, never at what a policy discards, so the certificate stays valid.
    """
    if not table.n_attempts:
        return np.zeros(0, dtype=bool)
    order = np.argsort(uniform(table.prompt_ids, key, _USE), kind="stable")
    if options.certify_share is not None:
        n = round(options.certify_share * table.n_prompts)
        n = min(max(n, 1), table.n_prompts - 1)
    else:
        counted = HeldOut.of([table], key, options.weigh, by_group=options.certify_groups)
        good = counted.good("exact binomial")
        numbers = []
        for group in np.unique(counted.group).tolist():
            of_group = np.bincount(table.prompt[good[counted.group[good] == group]], minlength=table.n_prompts)
            wanted = _to_certify(int(of_group.sum()), options, share)
            numbers.append(int(np.searchsorted(np.cumsum(of_group[order]), wanted)) + 1 if wanted else 0)
        n = max(numbers) if all(numbers) else table.n_prompts // 2
        if all(numbers) and options.method != "learned":
            attempts = np.cumsum(np.bincount(table.prompt)[order])
            n = max(n, int(np.searchsorted(attempts, attempts[-1] - _MOST_TO_FIT)))
    held_out = np.zeros(table.n_prompts, dtype=bool)
    held_out[order[:n]] = True
    return held_out


def _to_certify(n_accepted: int, options: FitOptions, share: float) -> int:
    """Return how many of so many accepted samples are to certify; 0 if no number of them can, and leave a few."""
    alpha, confidence = options.max_false_reject, options.confidence
    losses, numbers = 0, list[int]()
    while not numbers or numbers[-1] < n_accepted:
        numbers.append(critical_number(losses, alpha, confidence))
        losses += 1 + losses // 10  # far out the steps are close together
    possible = [n for n in numbers if n <= n_accepted - _LEFT_TO_FIT]
    return min(possible, key=lambda n: abs(n - share * n_accepted), default=0)
