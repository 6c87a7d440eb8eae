"""Learning, the first half of learn-then-test: beliefs, and a path of policies to be tested on other prompts [T10]."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from msifr_calibration.beliefs.blend import fit_learned_beliefs
from msifr_calibration.beliefs.fitted import FittedBeliefs
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.beliefs.pretrained import (
    fit_pretrained_beliefs,
    pretrained_supports,
    table_with_pretrained_words,
)
from msifr_calibration.beliefs.words import read_words
from msifr_calibration.exit_path import ExitPath, fit_exit_path, fit_forced_beliefs
from msifr_calibration.family import Family
from msifr_calibration.options import FitOptions
from msifr_calibration.path import PolicyPath, fit_length_path, fit_path
from msifr_calibration.quota import fit_quota_path
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import ExitColumns, exit_columns, plan_of


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is tested: the policies of `path`, which act on `fitted` beliefs, the plain length caps of `length`, and
    where there is a quota, when to give prompts up.

    All were made on the family's fitting prompts, and where answers were forced there (`exit_columns`), a path of
    policies that discard and exit. tried: the cross-fitted log loss of all beliefs that were fitted, in
    nats per checkpoint.
    """

    family: Family
    fitted: FittedBeliefs
    path: PolicyPath
    length: PolicyPath
    quota: PolicyPath | None = None
    exits: ExitPath | None = None
    exit_columns: ExitColumns | None = None
    tried: Mapping[str, float] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[PolicyPath | ExitPath, ...]:
        """The paths, in the order in which they are tested."""
        several = self.path, self.length, self.quota, self.exits
        return tuple(path for path in several if path is not None)


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
        exits, columns = _fit_exits(family, fitted, options) if options.exits else (None, None)
        candidates.append(Candidates(family, fitted, path, length, quota, exits, columns, tried))
    if any(each.exits is None for each in candidates):  # those of a pool walk the same paths
        return [replace(each, exits=None, exit_columns=None) for each in candidates]
    return candidates


def _fit_exits(
    family: Family, fitted: FittedBeliefs, options: FitOptions
) -> tuple[ExitPath | None, ExitColumns | None]:
    """Return the path of policies that discard and exit, and the forced answers it was fitted to; None if it has none.

    Raises `InputError` where no answers were forced, or not in all attempts in one way.
    """
    plan = plan_of(family.traces)
    if plan is None:
        raise InputError(
            "no answers were forced in these traces",
            where=f"family {family.name}" if family.name else "exits",
            remedy="record them: msifr generate --policy none --record-exits SCHEDULE",
        )
    columns = exit_columns(fitted.table, family.traces, plan, prefill_price=options.exit_prefill_price)
    forced = fit_forced_beliefs(fitted.table, columns, seed=options.seed)
    if forced is None or fitted.table.n_accepted in (0, fitted.table.n_attempts):
        return None, None
    path = fit_exit_path(fitted.table, columns, fitted, forced, skip_prompts=options.skip_prompts)
    return path, columns
