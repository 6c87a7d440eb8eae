"""Certificates: the most aggressive policy of a path whose false-reject rate is certified [T10], and its bias [T6].

Learn, then test: the path was fitted on other prompts. Its policies are tested from conservative to
aggressive, and the first that is not rejected ends the sequence; so the probability that a chosen policy
has f > α is at most δ = 1 − confidence, without assuming that f grows along the path.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

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
from msifr_policy.evidence import EvidenceTable
from msifr_policy.policy_file import Certificate, GroupBound

__all__ = ["Certified", "certify"]


@dataclass(frozen=True, slots=True)
class Certified:
    """Which policy of the path was certified (None: none), and the certificate."""

    index: int | None
    certificate: Certificate


def certify(
    discarded: Iterable[NDArray[np.bool_]],
    table: EvidenceTable,
    *,
    max_false_reject: float,
    confidence: float,
) -> Certified:
    """Test the policies of a path on held-out attempts by fixed-sequence testing.

    `discarded` gives, from conservative to aggressive, `[N]` which attempts of `table` each policy discards. With one
    attempt per prompt the accepted samples are independent and the test is exact binomial; otherwise
    prompts are the unit and the test is by betting.
    `n_accepted` and `false_rejects` of the certificate count what the test counted.

    Raises `InputError` for a budget or confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence} must lie strictly between 0 and 1")
    alpha, delta = max_false_reject, 1 - confidence
    # Decided before any loss is seen: where nearly every prompt has one attempt, the exact test on one attempt per
    # prompt is the stronger one; otherwise prompts are bet on whole.
    independent = table.n_prompts >= _MOSTLY_SINGLE * table.n_attempts
    counted = _first_attempts(table) if independent else np.ones(table.n_attempts, dtype=bool)
    accepted = table.accepted
    n_accepted = int((accepted & counted).sum())
    if independent:
        needed = accepted_needed(alpha, confidence)
    else:
        per_prompt = table.n_attempts / table.n_prompts
        needed = math.ceil(betting_prompts_needed(alpha, confidence) * per_prompt)
    best: int | None = None
    best_p, tested, first_losses = 1.0, 0, 0
    best_discarded = np.zeros(table.n_attempts, dtype=bool)
    if n_accepted >= needed:
        for j, gone in enumerate(discarded):
            tested += 1
            losses = int((gone & accepted & counted).sum())
            if independent:
                p = binomial_p_value(losses, n_accepted, alpha)
            else:
                p = betting_p_value(prompt_scores(table.prompt, accepted, gone, alpha), alpha)
            if p > delta:
                first_losses = losses
                break
            best, best_p, best_discarded = j, p, gone
    test = "exact binomial" if independent else "betting by prompt"
    if best is not None:
        message = (
            f"with confidence {confidence:g}, at most {alpha:.3g} of the good samples are discarded; the retained good "
            f"samples differ from all good samples by at most {alpha:.3g} in total variation"
        )
    elif n_accepted < needed:
        message = (
            f"nothing can be certified: {n_accepted} accepted samples to certify on, at least {needed} are needed "
            f"for a false-reject rate of {alpha:g} at confidence {confidence:g}; the policy never discards"
        )
    elif tested:
        message = (
            f"nothing could be certified: the most conservative policy lost {first_losses} of {n_accepted} accepted "
            f"samples ({test}); more accepted samples or better evidence are needed; the policy never discards"
        )
    else:
        message = "no policy was worth testing: discarding would not lower the cost per accepted sample"
    return Certified(
        best,
        Certificate(
            certified=best is not None,
            max_false_reject=alpha,
            confidence=confidence,
            method="none" if best is None else ("exact binomial" if independent else "betting by prompt"),
            unit_of_independence="prompt",
            n_prompts=table.n_prompts,
            n_accepted=n_accepted,
            false_rejects=int((best_discarded & accepted & counted).sum()),
            accepted_needed=needed,
            p_value=best_p,
            bias_bound=alpha if best is not None else 0.0,
            tested=tested,
            message=message,
            groups=_groups(table, best_discarded, confidence) if best is not None else {},
        ),
    )


_MOSTLY_SINGLE = 0.8


def _first_attempts(table: EvidenceTable) -> NDArray[np.bool_]:
    """Return `[N]` True for the first attempt of each prompt."""
    first = np.zeros(table.n_attempts, dtype=bool)
    first[np.unique(table.prompt, return_index=True)[1]] = True
    return first


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
