"""Certificates: which policies of a path have a certified false-reject rate [T10], and the bias that implies [T6].

Learn, then test: the path was fitted on other prompts. Its policies are tested from conservative to
aggressive, and the first that is not rejected ends the sequence; so with probability at least 1 − δ = confidence
*every* policy before it has f ≤ α, without assuming that f grows along the path. Any of them may then be chosen,
by any rule.
"""

from __future__ import annotations

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

__all__ = ["Tested", "certificate_of", "fixed_sequence_test"]

# Where one attempt of each prompt, tested exactly, tells more than a bet on all of them: few attempts per prompt, or
# few prompts. With f = 2 % against α = 5 % and four attempts each, the exact test and the bet certify in 52 and 21 of
# 100 cases at 100 accepted among one attempt of each prompt, 59 and 49 at 125, 67 and 81 at 150 (sixteen: 70 and 98).
_FEW_ATTEMPTS = 3
_FEW_ACCEPTED = 130


@dataclass(frozen=True, slots=True)
class Tested:
    """Outcome of fixed-sequence testing.

    n_certified: how many policies at the head of the path are certified. p_values, losses: of those tested, the last
    being the first that failed, if one did. n_accepted: accepted samples the test counted; n_prompts: distinct prompts;
    needed: how many accepted samples make a certificate possible at all. counted: `[N]` attempts the test counted.
    """

    max_false_reject: float
    confidence: float
    exact: bool
    n_certified: int
    p_values: tuple[float, ...]
    losses: tuple[int, ...]
    n_accepted: int
    n_prompts: int
    needed: int
    counted: NDArray[np.bool_]


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
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must lie strictly between 0 and 1")
    alpha, delta = max_false_reject, 1 - confidence
    n_prompts, n_attempts = len(np.unique(prompt)), len(prompt)
    of_one_each = float(accepted.mean()) * n_prompts if n_attempts else 0.0
    exact = n_attempts <= _FEW_ATTEMPTS * n_prompts or of_one_each < _FEW_ACCEPTED
    counted = np.ones(n_attempts, dtype=bool)
    if exact:
        counted[:] = False
        order = np.random.default_rng(seed).permutation(n_attempts)
        counted[order[np.unique(prompt[order], return_index=True)[1]]] = True
        needed = accepted_needed(alpha, confidence)
    else:
        needed = math.ceil(betting_prompts_needed(alpha, confidence) * n_attempts / n_prompts)
    n_accepted = int((accepted & counted).sum())
    n_certified = 0
    p_values: list[float] = []
    losses: list[int] = []
    if n_accepted >= needed:
        for gone in discarded:
            losses.append(int((gone & accepted & counted).sum()))
            if exact:
                p_values.append(binomial_p_value(losses[-1], n_accepted, alpha))
            else:
                p_values.append(betting_p_value(prompt_scores(prompt, accepted, gone, alpha), alpha))
            if p_values[-1] > delta:
                break
            n_certified += 1
    return Tested(
        alpha, confidence, exact, n_certified, tuple(p_values), tuple(losses), n_accepted, n_prompts, needed, counted
    )


def certificate_of(
    tested: Tested,
    table: EvidenceTable,
    step: int | None,
    discarded: NDArray[np.bool_],
    *,
    pool: Sequence[str] = (),
) -> Certificate:
    """Return the certificate of the policy at `step` of the sequence (None: never discard) for one family.

    It discards `discarded` `[N]` of `table`, the family's held-out attempts. `pool` names the families that were tested
    together, empty if this one was tested alone. Raises `InputError` if the step is not among the certified.
    """
    if step is not None and not 0 <= step < tested.n_certified:
        raise InputError(f"policy {step} is not among the {tested.n_certified} certified", where="certificate")
    alpha, confidence = tested.max_false_reject, tested.confidence
    method: Literal["exact binomial", "betting by prompt"] = "exact binomial" if tested.exact else "betting by prompt"
    return Certificate(
        certified=step is not None,
        max_false_reject=alpha,
        confidence=confidence,
        method="none" if step is None else method,
        unit_of_independence="prompt",
        n_prompts=tested.n_prompts,
        n_accepted=tested.n_accepted,
        false_rejects=0 if step is None else tested.losses[step],
        accepted_needed=tested.needed,
        p_value=1.0 if step is None else tested.p_values[step],
        bias_bound=0.0 if step is None else alpha,
        tested=len(tested.p_values),
        message=_message(tested, step, method, pool),
        groups={} if step is None else _groups(table, discarded, confidence),
        pool=list(pool),
    )


def _message(tested: Tested, step: int | None, method: str, pool: Sequence[str]) -> str:
    alpha, confidence, n = tested.max_false_reject, tested.confidence, tested.n_accepted
    if step is not None:
        whole = f" of {len(pool)} families taken together ({', '.join(pool)}), not of each" if len(pool) > 1 else ""
        return (
            f"with confidence {confidence:g}, at most {alpha:.3g} of the good samples{whole} are discarded; the "
            f"retained good samples differ from all good samples by at most {alpha:.3g} in total variation"
        )
    if n < tested.needed:
        return (
            f"nothing can be certified: {n} accepted samples to certify on, at least {tested.needed} are needed "
            f"for a false-reject rate of {alpha:g} at confidence {confidence:g}; the policy never discards"
        )
    if tested.n_certified:
        return (
            f"{tested.n_certified} policies could be certified, but none of them clearly lowers the cost per accepted "
            "sample; the policy never discards"
        )
    if tested.p_values:
        return (
            f"nothing could be certified: the most conservative policy lost {tested.losses[0]} of {n} accepted "
            f"samples ({method}); more accepted samples or better evidence are needed; the policy never discards"
        )
    return "discarding would not lower the cost per accepted sample; the policy never discards"


def _groups(table: EvidenceTable, discarded: NDArray[np.bool_], confidence: float) -> dict[str, GroupBound]:
    """Bound f_G by group. Attempts of one prompt are not independent, so one attempt per prompt is counted."""
    names = np.asarray(table.groups)
    bounds: dict[str, GroupBound] = {}
    for name in sorted(set(table.groups) - {""}):
        mine = np.flatnonzero((names == name) & table.accepted)
        _, first = np.unique(table.prompt[mine], return_index=True)
        one = mine[first]
        losses = int(discarded[one].sum())
        bounds[name] = GroupBound(len(one), losses, binomial_upper(losses, len(one), confidence))
    return bounds
