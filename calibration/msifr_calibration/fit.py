"""From evidence tables to certified policy files: split by prompt, learn on one part, test on the other [T10].

Several **families** of traces (other models, other benchmarks) can be fitted together: learned beliefs then share what
they learn of words and evidence, and families too small to be certified alone are certified in pools (`certify`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from msifr_calibration.betting import accepted_needed
from msifr_calibration.certify import MARGIN, MOST_TO_CERTIFY, Fit, certify_pools
from msifr_calibration.family import Family
from msifr_calibration.learn import fit_candidates
from msifr_calibration.options import FitOptions
from msifr_calibration.split import prompt_uniform, split_by_prompt
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import Trace

_USE = "certify"


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
    certificate says why.

    Raises `InputError` for options that do not fit, or where no attempt costs anything.
    """
    options = replace(options or FitOptions(), **changes)
    share = options.certify_share
    if share is None:
        share = default_certify_share(table, accepted_needed(options.max_false_reject, options.confidence))
        options = replace(options, certify_share=share)
    if table.n_prompts > 1:
        certifying, fitting = split_by_prompt(table, share, options.seed, _USE)
    else:
        certifying, fitting = table.take(np.zeros(0, dtype=np.int64)), table
    return _fit([Family("", fitting, traces)], [certifying], options, progress)[0]


def fit_families(
    families: Sequence[Family],
    options: FitOptions | None = None,
    *,
    progress: Callable[[str], None] = lambda _: None,
    **changes: Any,
) -> list[Fit]:
    """Fit families of traces together and certify them pool by pool; see `certify_pools`.

    A prompt that several families share is on the same side in all of them; half of the prompts certify unless
    `certify_share` says otherwise. `changes` and errors as for `fit_policy`.
    """
    options = replace(options or FitOptions(), **changes)
    share = options.certify_share or 0.5
    options = replace(options, certify_share=share)
    if len({family.name for family in families}) < len(families):
        raise InputError("two families have one name", where="fit_families", remedy="name each of its own")
    fitting, certifying = [], []
    for family in families:
        held_out = prompt_uniform(family.table.prompt_ids, options.seed, _USE) < share
        certifying.append(family.table.where(held_out))
        fitting.append(replace(family, table=family.table.where(~held_out)))
    return _fit(fitting, certifying, options, progress)


def _fit(
    fitting: Sequence[Family],
    certifying: Sequence[EvidenceTable],
    options: FitOptions,
    progress: Callable[[str], None],
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
    return certify_pools(candidates, held_out, options)


def default_certify_share(table: EvidenceTable, needed: int) -> float:
    """Return 0.35, or more where so few of the accepted samples could not carry a certificate.

    `needed` accepted samples certify only if none of them is lost; aiming at more allows for the luck of the split.
    Looks at counts alone, so the certificate stays valid.
    """
    return min(max(0.35, MARGIN * needed / max(table.n_accepted, 1)), MOST_TO_CERTIFY)
