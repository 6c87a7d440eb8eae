"""From evidence tables to certified policy files: split by prompt, learn on one part, test on the other [T10].

Several **families** of traces (other models, other benchmarks) can be fitted together: learned beliefs then share what
they learn of words and evidence, and families too small to be certified alone are certified in pools (`certify`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np

from msifr_calibration.beliefs.probe import fit_probe, probed
from msifr_calibration.beliefs.state_features import StateFeatures
from msifr_calibration.certify import Fit, HeldBack, certify_pools, key_of
from msifr_calibration.family import Family
from msifr_calibration.learn import fit_beliefs, fit_candidates
from msifr_calibration.options import FitChanges, FitOptions
from msifr_calibration.split import uniform
from msifr_calibration.to_certify import USE, attempts_to_certify
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import exit_columns
from msifr_policy.evidence.history import MOST_ATTEMPTS, has_history, in_quota, reads_history, with_history
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import Trace

_MOST = 0.8


def fit_policy(
    table: EvidenceTable,
    options: FitOptions | None = None,
    *,
    traces: Sequence[Trace] = (),
    states: StateFeatures | None = None,
    progress: Callable[[str], None] = lambda _: None,
    **changes: Unpack[FitChanges],
) -> Fit:
    """Fit a discard policy on part of the prompts of `table` and certify it on the others; see `FitOptions.scope`.

    `changes` are fields of `FitOptions`, such as max_false_reject=0.05. The method "learned" needs the `traces` behind
    the table, and torch. states: of the attempts at their checkpoints; a probe of them is then fitted with the rest, on
    the same prompts, and is evidence. When nothing can be certified the file holds the policy that never discards, and
    its certificate says why. The split hangs on which attempts these are, not on their order, so neither another seed
    nor another order gives another certificate.

    Raises `InputError` for options that do not fit, for states together with a quota, or where no attempt costs
    anything.
    """
    options, table = replace(options or FitOptions(), **changes), table.in_order()
    key = key_of([table])
    if options.scope == "these prompts" or options.exits:
        # The attempts of a prompt have to be independent of each other, or would know of each other's forced answers.
        options = replace(options, history=False)
    if states is not None and (options.accepted_per_prompt is not None or options.exits):
        remedy = "fit for the one or the other"
        raise InputError("are not read for a quota, nor for exits", where="hidden states", remedy=remedy)
    plain = table
    if options.accepted_per_prompt is not None:
        table, options = _of_quota(table, options)
    if options.history and has_history(table):
        table = with_history(table)
    held_out, half = (attempts_to_certify(table, key, options, share) for share in (_MOST, 0.5))
    if states is not None:  # a probe takes many prompts to learn from
        progress("probe of hidden states")
        learned = fit_probe(plain.take(np.flatnonzero(~half)), states, seed=options.seed)
        parts = learned.table, probed(plain.take(np.flatnonzero(half)), states, learned.hidden)
        fitting, certifying = (with_history(part) if reads_history(table) else part for part in parts)
        return _fit([Family("", fitting, traces)], [HeldBack(certifying)], options, progress, key)[0]
    if held_out.sum() > half.sum():
        least = table.take(np.flatnonzero(~held_out))
        if not (traces and _few_numbers(least, traces, options)):
            held_out = half
    fitting = Family("", table.take(np.flatnonzero(~held_out)), traces)
    return _fit([fitting], [HeldBack(table, np.flatnonzero(held_out))], options, progress, key)[0]


def fit_families(
    families: Sequence[Family],
    options: FitOptions | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
    **changes: Unpack[FitChanges],
) -> list[Fit]:
    """Fit families of traces together and certify them pool by pool; see `certify_pools`.

    A prompt that several families share is on the same side in all of them; half of the prompts certify unless
    `certify_share` says otherwise. Neither the order of families nor their names make a difference. `changes` and
    errors as for `fit_policy`.
    """
    options = replace(options or FitOptions(), **changes)
    if options.scope == "these prompts":
        raise InputError(
            "several families are certified for new prompts only", where="scope", remedy="fit each family by itself"
        )
    if len({family.name for family in families}) < len(families):
        raise InputError("two families have one name", where="fit_families", remedy="name each of its own")
    names = [family.name for family in families]
    families = sorted(
        (replace(family, table=family.table.in_order()) for family in families),
        key=lambda family: (family.table.fingerprint, family.name),
    )
    share = options.certify_share or 0.5
    key = key_of([family.table for family in families])
    several = [options.history and has_history(family.table) for family in families]
    if options.method == "learned":  # one network reads the columns of all
        several = [any(several)] * len(families)
    families = [
        replace(family, table=with_history(family.table)) if add else family
        for family, add in zip(families, several, strict=True)
    ]
    fitting, certifying = [], []
    for family in families:
        held_out = uniform(family.table.prompt_ids, key, USE) < share
        certifying.append(HeldBack(family.table, np.flatnonzero(held_out[family.table.prompt])))
        fitting.append(replace(family, table=family.table.where(~held_out)))
    fits = {fit.candidates.family.name: fit for fit in _fit(fitting, certifying, options, progress, key)}
    return [fits[name] for name in names]


def _fit(
    fitting: Sequence[Family],
    certifying: Sequence[HeldBack],
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
    held_back = []
    for each, part in zip(candidates, certifying, strict=True):
        traces, exits = each.family.traces, None
        if each.exit_columns is not None:
            recorded = each.exit_columns
            exits = exit_columns(part.whole(), traces, recorded.plan, prefill_price=recorded.prefill_price)
        read = each.fitted.words is None  # all columns are there
        here = part if read else HeldBack(each.fitted.extend(part.whole(), traces))
        held_back.append(replace(here, exits=exits))
    progress("certificates")
    return certify_pools(candidates, held_back, options, key=key)


def _of_quota(table: EvidenceTable, options: FitOptions) -> tuple[EvidenceTable, FitOptions]:
    """Return the attempts that a run for the quota makes, with their history; and the quota, its attempts settled."""
    most = int(np.bincount(table.prompt).max(initial=1))
    options = replace(options, attempts_per_prompt=options.attempts_per_prompt or min(most, MOST_ATTEMPTS))
    if most < 2:
        raise InputError(
            "prompts have one attempt each", where="accepted_per_prompt", remedy="a quota needs traces with several"
        )
    return with_history(in_quota(table, *options.wanted)), options


def _few_numbers(table: EvidenceTable, traces: Sequence[Trace], options: FitOptions) -> bool:
    """Return whether beliefs that only learn a few numbers are the best: then most accepted samples may certify.

    Said by `table`, prompts that are fitted on either way, so the certificate stays valid.
    """
    if options.method not in ("auto", "pretrained"):
        return False
    beliefs = fit_beliefs(Family("", table, traces), options)[0].beliefs
    return beliefs.method == "pretrained" and not any(any(g.coefficients) for g in beliefs.posterior_model.groups)
