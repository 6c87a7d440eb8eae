"""Learning, the first half of learn-then-test: beliefs, and a path of policies to be tested on other prompts [T10]."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from msifr_calibration.beliefs.blend import fit_learned_beliefs
from msifr_calibration.beliefs.fitted import FittedBeliefs
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.beliefs.pretrained import (
    fit_pretrained_beliefs,
    pretrained_supports,
    table_with_pretrained_words,
)
from msifr_calibration.beliefs.words import read_words
from msifr_calibration.family import Family
from msifr_calibration.options import FitOptions
from msifr_calibration.path import PolicyPath, fit_length_path, fit_path
from msifr_calibration.quota import fit_quota_path
from msifr_policy.errors import InputError


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is tested: the policies of `path`, which act on `fitted` beliefs, the plain length caps of `length`, and
    where there is a quota, when to give prompts up.

    Both were made on the family's fitting prompts. tried: the cross-fitted log loss of all beliefs that were fitted, in
    nats per checkpoint.
    """

    family: Family
    fitted: FittedBeliefs
    path: PolicyPath
    length: PolicyPath
    quota: PolicyPath | None = None
    tried: Mapping[str, float] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[PolicyPath, ...]:
        """The paths, in the order in which they are tested."""
        return (self.path, self.length) if self.quota is None else (self.path, self.length, self.quota)


def fit_beliefs(family: Family, options: FitOptions) -> tuple[FittedBeliefs, dict[str, float]]:
    """Fit the beliefs of one family by the method of `options`; return them and the log loss of each that was tried.

    "auto" takes the least cross-fitted log loss among linear beliefs, pretrained ones, and both blended; of the
    pretrained it needs the texts, and does without where they are missing or do not fit the validators. Raises
    `InputError` where texts are missing and needed.
    """
    table, seed, weights = family.table, options.seed, options.pretrained
    if options.method == "pretrained":
        fits = {"pretrained": fit_pretrained_beliefs(table, family.traces, seed=seed, weights=weights)}
    else:
        linear = fit_linear_beliefs(table, method="auto" if options.method == "linear" else options.method, seed=seed)
        fits = {linear.beliefs.method: linear}
        if options.method == "auto" and family.traces and not pretrained_supports(table, weights):
            extended = table_with_pretrained_words(table, family.traces, weights)
            for name, own in (("pretrained", False), ("both blended", True)):
                fits[name] = fit_pretrained_beliefs(extended, seed=seed, own=own, weights=weights)
    return min(fits.values(), key=lambda fitted: fitted.log_loss), {name: fit.log_loss for name, fit in fits.items()}


def fit_candidates(
    families: Sequence[Family], options: FitOptions | None = None, *, progress: Callable[[str], None] = lambda _: None
) -> list[Candidates]:
    """Fit beliefs and path of every family on all its attempts; learned beliefs are fitted to all families together.

    `progress` is called with a word per step. Raises `InputError` where texts or torch are missing and needed.
    """
    options = options or FitOptions()
    if options.method == "learned":
        if any(family.table.n_attempts and not family.traces for family in families):
            raise InputError("learned beliefs need the texts", where="method learned", remedy="pass the traces")
        words = [read_words(family.table, family.traces) for family in families]
        learned = fit_learned_beliefs(families, words, options=options.network, seed=options.seed, progress=progress)
        fits = [(fitted, {"learned": fitted.log_loss}) for fitted in learned]
    else:
        progress("beliefs")
        fits = [fit_beliefs(family, options) for family in families]
    candidates = []
    for family, (fitted, tried) in zip(families, fits, strict=True):
        progress(f"path {family.name}".strip())
        path = fit_path(fitted.table, fitted.M, fitted.worth, skip_prompts=options.skip_prompts)
        length, quota = fit_length_path(fitted.table, fitted.M), None
        if options.quota is not None and options.skip_prompts:
            quota = fit_quota_path(fitted.table, fitted.beliefs, (fitted.M, fitted.worth), *options.wanted)
        candidates.append(Candidates(family, fitted, path, length, quota, tried))
    return candidates
