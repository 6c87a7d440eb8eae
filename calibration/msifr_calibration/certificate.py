"""Certificates: which policies of a path have a certified false-reject rate [T10], and the bias that implies [T6].

Learn, then test: the path was fitted on other prompts. Its policies are tested from conservative to
aggressive, and the first that is not rejected ends the sequence; so with probability at least 1 − δ = confidence
*every* policy before it has f ≤ α, without assuming that f grows along the path. Any of them may then be chosen,
by any rule.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.betting import (
    accepted_needed,
    betting_p_value,
    betting_prompts_needed,
    binomial_p_value,
    binomial_upper,
    prompt_scores,
)
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Certificate, GroupBound

# Where one attempt of each prompt, tested exactly, tells more than a bet on all of them: few attempts per prompt, or
# few prompts. With f = 2 % against α = 5 % and four attempts each, the exact test and the bet certify in 52 and 21 of
# 100 cases at 100 accepted among one attempt of each prompt, 59 and 49 at 125, 67 and 81 at 150 (sixteen: 70 and 98).
_FEW_ATTEMPTS = 3
_FEW_ACCEPTED = 130


@dataclass(frozen=True, slots=True)
class Tested:
    """Outcome of fixed-sequence testing.

    n_certified: how many policies at the head of the path are certified. p_values, losses: of those tested, the last
    being the first that failed, if one did. n_accepted: accepted samples the test counted, of accepted_in_all.
    n_prompts: distinct prompts; needed: how many accepted samples make a certificate possible at all.
    """

    max_false_reject: float
    confidence: float
    exact: bool
    n_certified: int
    p_values: tuple[float, ...]
    losses: tuple[int, ...]
    n_accepted: int
    accepted_in_all: int
    n_prompts: int
    needed: int

    @property
    def method(self) -> Literal["exact binomial", "betting by prompt"]:
        """Which test it was."""
        return "exact binomial" if self.exact else "betting by prompt"


def fixed_sequence_test(
    discarded: Iterable[NDArray[np.bool_]],
    prompt: NDArray[np.int64],
    accepted: NDArray[np.bool_],
    *,
    max_false_reject: float,
    confidence: float,
    seed: int = 0,
) -> Tested:
    """Test H_j: f(π_j) > α on N held-out attempts, from conservative to aggressive, until one is not rejected.

    `discarded` gives `[N]` which attempts each policy discards; `prompt` `[N]` numbers their prompts, `accepted`
    `[N]` is the outcome A. Where prompts are few or have few attempts each, one attempt of each, drawn by `seed`, is
    counted and the test is exact binomial; otherwise prompts are the unit and the test is by betting. That choice looks
    at counts alone, before any loss is seen.

    Raises `InputError` for a budget or confidence outside (0, 1).
    """
    alpha, delta = max_false_reject, 1 - confidence
    least = accepted_needed(alpha, confidence)
    n_prompts, n_attempts = len(np.unique(prompt)), len(prompt)
    of_one_each = float(accepted.mean()) * n_prompts if n_attempts else 0.0
    exact = n_attempts <= _FEW_ATTEMPTS * n_prompts or of_one_each < _FEW_ACCEPTED
    if exact:
        order = np.random.default_rng(seed).permutation(n_attempts)
        counted = order[np.unique(prompt[order], return_index=True)[1]]
    else:
        counted = np.arange(n_attempts)
        least = math.ceil(betting_prompts_needed(alpha, confidence) * n_attempts / n_prompts)
    good = counted[accepted[counted]]
    p_values: list[float] = []
    losses: list[int] = []
    for discards in discarded if len(good) >= least else ():
        losses.append(int(discards[good].sum()))
        if exact:
            p_values.append(binomial_p_value(losses[-1], len(good), alpha))
        else:
            p_values.append(betting_p_value(prompt_scores(prompt, accepted, discards, alpha), alpha))
        if p_values[-1] > delta:
            break
    n_certified = sum(p <= delta for p in p_values)
    in_all = int(accepted.sum())
    return Tested(
        alpha, confidence, exact, n_certified, tuple(p_values), tuple(losses), len(good), in_all, n_prompts, least
    )


def certificate_of(
    tested: Tested,
    table: EvidenceTable,
    step: int | None,
    discarded: NDArray[np.bool_],
    *,
    pool: Sequence[str] = (),
    remedy: str = "add prompts",
) -> Certificate:
    """Return the certificate of the policy at `step` of the sequence (None: never discard) for one family.

    It discards `discarded` `[N]` of `table`, the family's held-out attempts. `pool` names the families that were tested
    together, empty if this one was tested alone; `remedy` says what to do where accepted samples are too few. Raises
    `InputError` if the step is not among the certified.
    """
    if step is not None and not 0 <= step < tested.n_certified:
        raise InputError(f"policy {step} is not among the {tested.n_certified} certified", where="certificate")
    certified = step is not None
    return Certificate(
        certified=certified,
        max_false_reject=tested.max_false_reject,
        confidence=tested.confidence,
        method=tested.method if certified else "none",
        unit_of_independence="prompt",
        n_prompts=tested.n_prompts,
        n_accepted=tested.n_accepted,
        false_rejects=0 if step is None else tested.losses[step],
        accepted_needed=tested.needed,
        p_value=1.0 if step is None else tested.p_values[step],
        bias_bound=tested.max_false_reject if certified else 0.0,
        tested=len(tested.p_values),
        message=_promise(tested, pool) if certified else f"{_failure(tested, remedy)}; the policy never discards",
        groups=_groups(table, discarded, tested.confidence) if certified else {},
        pool=list(pool),
    )


def _promise(tested: Tested, pool: Sequence[str]) -> str:
    alpha = tested.max_false_reject
    whole = f" of {len(pool)} families taken together ({', '.join(pool)}), not of each" if len(pool) > 1 else ""
    return (
        f"with confidence {tested.confidence:g}, at most {alpha:.3g} of the good samples{whole} are discarded; the "
        f"retained good samples differ from all good samples by at most {alpha:.3g} in total variation"
    )


def _failure(tested: Tested, remedy: str) -> str:
    alpha, confidence, n = tested.max_false_reject, tested.confidence, tested.n_accepted
    if n < tested.needed:
        counted = ""
        if n < tested.accepted_in_all:
            counted = f" ({tested.accepted_in_all} at {tested.n_prompts} prompts; one attempt of each is counted)"
        return (
            f"nothing can be certified: {n} accepted samples to certify on{counted}, at least {tested.needed} are "
            f"needed for a false-reject rate of {alpha:g} at confidence {confidence:g}; {remedy}"
        )
    if tested.n_certified:
        return f"{tested.n_certified} policies could be certified, but none clearly lowers the cost per accepted sample"
    if tested.p_values:
        return (
            f"nothing could be certified: the most conservative policy lost {tested.losses[0]} of {n} accepted "
            f"samples ({tested.method}); more accepted samples or better evidence are needed"
        )
    return "discarding would not lower the cost per accepted sample"


def _groups(table: EvidenceTable, discarded: NDArray[np.bool_], confidence: float) -> dict[str, GroupBound]:
    """Bound f_G by group. Attempts of one prompt are not independent, so one attempt per prompt is counted."""
    names = np.asarray(table.groups)
    bounds: dict[str, GroupBound] = {}
    for name in sorted(set(table.groups) - {""}):
        good = np.flatnonzero((names == name) & table.accepted)
        counted = good[np.unique(table.prompt[good], return_index=True)[1]]
        losses = int(discarded[counted].sum())
        bounds[name] = GroupBound(len(counted), losses, binomial_upper(losses, len(counted), confidence))
    return bounds
