"""Certificates: which policies of which paths have a certified false-reject rate [T10, T15], and what it implies [T6].

Learn, then test: the paths were fitted on other prompts. The policies of one path are tested from conservative to
aggressive, and the first that is not rejected ends it; so with probability at least 1 − δ = confidence *every* policy
before it has f ≤ α, without assuming that f grows along the path. Several paths share δ; the share of one that is
certified to its end passes to the others (Bretz, Maurer, Brannath and Posch 2009). Any certified policy may then be
chosen, by any rule.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msifr_calibration.betting import (
    Expected,
    betting_prompts_needed,
    binomial_upper,
    given_prompts_needed,
    given_prompts_upper,
)
from msifr_calibration.held_out import HeldOut, Test
from msifr_calibration.sample_size import critical_number
from msifr_calibration.several_paths import n_certified
from msifr_policy.errors import InputError
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import Certificate, GroupBound

Discards = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PathOutcome:
    """One path: how many policies at its head are certified, and p-values and losses of those that were tested.

    The last tested is the first that failed, if one did.
    """

    n_certified: int
    p_values: tuple[float, ...]
    losses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """Outcome of testing paths.

    n_accepted: accepted samples the test counted, of accepted_in_all. n_prompts: distinct prompts; needed: how many
    accepted samples make a certificate possible at all.
    """

    max_false_reject: float
    confidence: float
    test: Test
    held_out: HeldOut
    paths: tuple[PathOutcome, ...]
    n_accepted: int
    needed: int

    @property
    def accepted_in_all(self) -> int:
        """Accepted held-out attempts, counted or not."""
        return int(self.held_out.accepted.sum())

    @property
    def n_prompts(self) -> int:
        """Distinct held-out prompts."""
        return self.held_out.n_prompts


def certify_in_order(
    paths: Sequence[Iterable[Discards]],
    held_out: HeldOut,
    *,
    max_false_reject: float,
    confidence: float,
    test: Test = "exact binomial",
    weights: Sequence[float] = (1.0,),
    expected: Callable[[int, int], Sequence[Expected]] | None = None,
) -> Tested:
    """Test H: f(π) ≥ α of the policies of each path in its order, until one is not rejected at the path's level.

    A path gives `[N]` which attempts each of its policies discards, from conservative to aggressive; `weights` are the
    paths' shares of δ, see `several_paths`; `expected(path, step)` is what other prompts tell of scores, see
    `HeldOut.p_value`. Where accepted samples are too few for any certificate nothing is tested. Raises `InputError` for
    a budget or confidence outside (0, 1), or weights that are no shares.
    """
    alpha, delta = max_false_reject, 1 - confidence
    good = held_out.good(test)
    none = np.zeros(len(held_out.accepted), dtype=bool)
    possible = held_out.p_value(none, test, alpha) <= delta  # if nothing at all were lost
    policies = [iter(path if possible else ()) for path in paths]
    seen: list[list[tuple[float, int]]] = [[] for _ in paths]

    def p_value(path: int, step: int) -> float | None:
        discards = next(policies[path], None)
        if discards is None:
            return None
        p = held_out.p_value(discards, test, alpha, () if expected is None else expected(path, step))
        seen[path].append((p, int(discards[good].sum())))
        return p

    counts = n_certified(p_value, weights, delta)
    done = tuple(
        PathOutcome(n, tuple(p for p, _ in tests), tuple(lost for _, lost in tests))
        for n, tests in zip(counts, seen, strict=True)
    )
    return Tested(alpha, confidence, test, held_out, done, len(good), _needed(held_out, test, alpha, confidence))


def _needed(held_out: HeldOut, test: Test, alpha: float, confidence: float) -> int:
    """Return how many accepted samples, in each group, make a certificate possible at all."""
    if test != "betting by prompt":
        critical = critical_number(0, alpha, confidence)
        return critical if held_out.alike else given_prompts_needed(critical, alpha)
    # Prompts all of whose attempts are accepted, or more of which fewer are.
    per_prompt = len(held_out.accepted) / max(held_out.n_prompts, 1)
    return math.ceil(betting_prompts_needed(alpha, confidence) * per_prompt)


def certificate_of(
    tested: Tested,
    table: EvidenceTable,
    chosen: tuple[int, int] | None,
    discarded: Discards,
    *,
    key: str = "",
    pool: Sequence[str] = (),
    remedy: str = "add prompts",
    exits: bool = False,
) -> Certificate:
    """Return the certificate of the policy `chosen`, (path, step) or None: never discard, for one family.

    It discards `discarded` `[N]` of `table`, the family's held-out attempts. `key`: of random choices; `pool` names the
    families that were tested together, empty if this one was tested alone; `remedy` says what to do where accepted
    samples are too few. exits: whether it exits; `discarded` is then all that it loses, and no bias is bounded, since
    what exits ends in other words than it would have [T6]. Raises `InputError` if the policy is none of the certified.
    """
    certified = chosen is not None
    losses, p_value = 0, 1.0
    if chosen is not None:
        path, step = chosen
        each = tested.paths[path]
        if not 0 <= step < each.n_certified:
            raise InputError(f"policy {step} is not among the {each.n_certified} certified", where="certificate")
        losses, p_value = each.losses[step], each.p_values[step]
    return Certificate(
        certified=certified,
        max_false_reject=tested.max_false_reject,
        confidence=tested.confidence,
        method=tested.test if certified else "none",
        unit_of_independence="prompt" if tested.held_out.alike else "attempt",
        n_prompts=tested.n_prompts,
        n_accepted=tested.n_accepted,
        false_rejects=losses,
        accepted_needed=tested.needed,
        p_value=p_value,
        bias_bound=(1.0 if exits else tested.max_false_reject) if certified else 0.0,
        tested=sum(len(each.p_values) for each in tested.paths),
        message=_promise(tested, pool, exits=exits)
        if certified
        else f"{_failure(tested, remedy)}; the policy never discards",
        groups=_groups(table, discarded, tested, key) if certified else {},
        pool=list(pool),
        weigh=tested.held_out.weigh,
        by_group=tested.held_out.by_group,
        scope=tested.held_out.scope,
    )


def _promise(tested: Tested, pool: Sequence[str], *, exits: bool) -> str:
    alpha = tested.max_false_reject
    whole = f" of {len(pool)} families taken together ({', '.join(pool)}), not of each" if len(pool) > 1 else ""
    whole += " of every group" if tested.held_out.by_group else ""
    equally = f" ({tested.held_out.weigh} weigh equally)" if tested.held_out.unequal else ""
    at, beyond = "at new prompts like these", ""
    if tested.held_out.scope == "these prompts":
        at = f"of further attempts at these {tested.n_prompts} prompts"
        equally = f" ({tested.held_out.weigh} weigh equally)"
        beyond = "; it says nothing about new prompts"
    lost = "discarded, or exited with a forced answer that is not accepted" if exits else "discarded"
    kept = f"the retained good samples differ from all good samples by at most {alpha:.3g} in total variation"
    if exits:
        kept = "what is exited ends otherwise than it would have, so that no bias is bounded"
    return (
        f"with confidence {tested.confidence:g}, at most {alpha:.3g} of the good samples{whole} {at} are {lost}"
        f"{equally}; {kept}{beyond}"
    )


def _failure(tested: Tested, remedy: str) -> str:
    alpha, confidence, n = tested.max_false_reject, tested.confidence, tested.n_accepted
    if n < tested.needed:
        counted = ""
        if n < tested.accepted_in_all:
            how = "one attempt of each is" if tested.held_out.alike else "as many of each as of the fewest are"
            counted = f" ({tested.accepted_in_all} at {tested.n_prompts} prompts; {how} counted)"
        return (
            f"nothing can be certified: {n} accepted samples to certify on{counted}, at least {tested.needed} are "
            f"needed for a false-reject rate of {alpha:g} at confidence {confidence:g}; {remedy}"
        )
    certified = sum(each.n_certified for each in tested.paths)
    if certified:
        return f"{certified} policies could be certified, but none clearly lowers the cost per accepted sample"
    losses = [each.losses[0] for each in tested.paths if each.losses]
    if losses:
        return (
            f"nothing could be certified: the most conservative policy lost {min(losses)} of {n} accepted samples "
            f"({tested.test}); more accepted samples or better evidence are needed"
        )
    return "discarding would not lower the cost per accepted sample"


def _groups(table: EvidenceTable, discarded: Discards, tested: Tested, key: str) -> dict[str, GroupBound]:
    """Bound f_G by group: by one attempt of each prompt, drawn at random, as attempts of one are not independent.

    Where the prompts are given they are, and all that the exact test counts are.
    """
    named = sorted(set(table.groups) - {""})
    if not named:
        return {}
    names = np.asarray(table.groups)
    drawn = HeldOut.of([table], key, tested.held_out.weigh, scope=tested.held_out.scope).drawn
    upper = binomial_upper if tested.held_out.alike else given_prompts_upper
    bounds: dict[str, GroupBound] = {}
    for name in named:
        counted = drawn[(names[drawn] == name) & table.accepted[drawn]]
        losses = int(discarded[counted].sum())
        bounds[name] = GroupBound(len(counted), losses, upper(losses, len(counted), tested.confidence))
    return bounds
