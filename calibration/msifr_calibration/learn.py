"""Learning, the first half of learn-then-test: beliefs, and a path of policies to be tested on other prompts [T10]."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msifr_calibration.beliefs.blend import fit_learned_beliefs
from msifr_calibration.beliefs.fitted import FittedBeliefs
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.beliefs.words import read_words
from msifr_calibration.family import Family
from msifr_calibration.options import FitOptions
from msifr_calibration.path import PolicyPath, fit_path
from msifr_policy.errors import InputError


@dataclass(frozen=True, slots=True)
class Candidates:
    """What is tested: the policies of `path`, which act on `fitted` beliefs, of a family's fitting prompts."""

    family: Family
    fitted: FittedBeliefs
    path: PolicyPath


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
        fits = fit_learned_beliefs(families, words, options=options.network, seed=options.seed, progress=progress)
    else:
        progress("beliefs")
        method = options.method
        fits = [fit_linear_beliefs(family.table, method=method, seed=options.seed) for family in families]
    candidates = []
    for family, fitted in zip(families, fits, strict=True):
        progress(f"path {family.name}".strip())
        candidates.append(Candidates(family, fitted, fit_path(fitted.table, fitted.M, fitted.worth)))
    return candidates
