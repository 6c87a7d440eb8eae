"""What the martingale of conditional utility says about a policy, exactly, on a finite process [T4]-[T6], [T12].

M_k = E[U | F_k] is a Doob martingale and the stopping time τ ≤ K is bounded, so for every policy

    E[U] = E[U; finished] + E[M_τ; exited] + E[M_τ; discarded]                                       [T4]

and lost utility can be read off at the moment of each discard. This does **not** say that retained attempts look like
all attempts: with R the retention of a policy that never exits,

    E[U | R] − E[U] = (E[U] − E[M_τ | discarded]) P(discarded)/P(R),                                 [T5]

positive whenever the policy discards poor prospects. Nor does it say that what is accepted and retained looks like what
is accepted: for the finished sample Y,

    TV(L(Y | A, R), L(Y | A)) = f · TV(L(Y | A, R), L(Y | A, discarded)) ≤ f,                        [T6]

which bounds the bias of every statistic with values in [0, 1], overall and in each group. All this is about the true
M_k. Where an *estimate* M̂ stands in for it, it has to be calibrated, which can be tested: the increments of a
calibrated M̂ have conditional mean zero, and any bet ν_k(F_k) on them has

    E[Π_k (1 + ν_k (M̂_{k+1} − M̂_k))] = 1.                                                            [T12]

Reference: Williams (1991), *Probability with Martingales*, §10.10 (optional stopping).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import StagePolicy, check_never_exits, evaluate
from msifr_policy.exact.process import StageProcess, Vector, as_vectors, prospects, pull, reach


@dataclass(frozen=True, slots=True)
class OptionalStopping:
    """The parts of E[U] under a policy [T4], per attempt.

    utility_full: E[U]. finished: E[U; finished]. exited, discarded: E[M̂_τ; exited], E[M̂_τ; discarded].
    """

    utility_full: float
    finished: float
    exited: float
    discarded: float

    @property
    def gap(self) -> float:
        """What the parts leave unexplained: zero when the estimate is calibrated, for every policy."""
        return self.utility_full - self.finished - self.exited - self.discarded


def optional_stopping(
    process: StageProcess, policy: StagePolicy, estimate: Sequence[npt.ArrayLike] | None = None
) -> OptionalStopping:
    """Return the optional-stopping decomposition of E[U] [T4].

    estimate: K vectors `[S_k]`, an M̂_k to read lost utility with; default the true M_k. A gap other than zero shows a
    miscalibrated estimate where this policy stops; no gap under one policy does not show calibration (see `drift`).
    """
    result = evaluate(process, policy)
    estimate = prospects(process).utility[:-1] if estimate is None else estimate
    M = as_vectors(estimate, process.sizes[:-1], "estimate")

    def stopped(shares: tuple[Vector, ...]) -> float:
        return float(sum((D * share) @ M_k for D, share, M_k in zip(result.arriving, shares, M, strict=False)))

    finished = float(result.arriving[-1] @ process.utility)
    return OptionalStopping(result.utility_full, finished, stopped(policy.exiting), stopped(policy.discarding))


@dataclass(frozen=True, slots=True)
class RetainedShift:
    """How far the retained differ from all attempts in mean utility [T5].

    utility_full: E[U]. utility_retained: E[U | R]. utility_discarded: E[M_τ | discarded], NaN if nothing is discarded.
    discarded: P(discarded).
    """

    utility_full: float
    utility_retained: float
    utility_discarded: float
    discarded: float

    @property
    def shift(self) -> float:
        """E[U | R] − E[U]: positive when what is discarded had poorer prospects than the mean."""
        if not self.discarded:
            return 0.0
        return (self.utility_full - self.utility_discarded) * self.discarded / (1 - self.discarded)


def retained_shift(process: StageProcess, policy: StagePolicy) -> RetainedShift:
    """Return the retained shift of a policy [T5]. Raises `InputError` if it exits or retains nothing."""
    check_never_exits(policy, "retained_shift")
    result = evaluate(process, policy)
    retained = float(result.arriving[-1].sum())
    if not retained > 0:
        raise InputError("nothing is retained", where="retained_shift")
    return RetainedShift(
        utility_full=result.utility_full,
        utility_retained=result.utility_kept / retained,
        utility_discarded=result.utility_lost / result.discarded if result.discarded > 0 else float("nan"),
        discarded=result.discarded,
    )


@dataclass(frozen=True, slots=True)
class BiasBound:
    """The bias of retained accepted samples, exactly, and its bound [T6].

    false_reject_rate: f, the bound on |E[h(Y) | A, R] − E[h(Y) | A]| for every h with values in [0, 1]. bias:
    TV(L(Y | A, R), L(Y | A)), the largest such difference. contrast: TV(L(Y | A, R), L(Y | A, discarded)). bias =
    f · contrast; where one of the laws does not exist (f = 0 or f = 1) the contrast is counted as 1.
    """

    false_reject_rate: float
    bias: float
    contrast: float


def bias_bound(process: StageProcess, policy: StagePolicy, groups: npt.ArrayLike | None = None) -> dict[str, BiasBound]:
    """Return the bias of a policy that never exits, under the key "" overall and under each group's name [T6].

    The finished sample Y is the state at checkpoint K (of a tree: the whole history). groups: `[S_K]` labels of that
    state; within a group everything is conditional on it, so f_G protects the group's own diversity while f alone does
    not. Groups that are never accepted are left out. Laws are weighted by U, which is P(A | Y) when U = A. Says nothing
    about unaccepted samples, and nothing about the bias of an estimated f.
    """
    check_never_exits(policy, "bias_bound")
    retained = evaluate(process, policy).arriving[-1] * process.utility
    accepted = reach(process)[-1] * process.utility
    bounds = {"": _bound(accepted, retained)}
    if groups is not None:
        (names,) = as_vectors((groups,), process.sizes[-1:], "groups", str)
        for name in np.unique(names):
            inside = names == name
            if accepted[inside].sum() > 0:
                bounds[str(name)] = _bound(accepted[inside], retained[inside])
    return bounds


def total_variation(first: npt.ArrayLike, second: npt.ArrayLike) -> Any:
    """Return TV = ½ Σ|p − q| of two laws `[n]` on the same points. Exact for Fractions (object arrays)."""
    difference: Any = np.asarray(first) - np.asarray(second)
    return np.abs(difference).sum() / 2


def drift(process: StageProcess, estimate: Sequence[npt.ArrayLike]) -> tuple[Vector, ...]:
    """Return K vectors `[S_k]`, E[M̂_{k+1} | F_k] − M̂_k [T12].

    estimate: K + 1 vectors `[S_k]`; give U itself as the last. All zero iff M̂ is calibrated; else the entries name the
    checkpoints and states where it is not, positive where M̂_k is too low.
    """
    M = as_vectors(estimate, process.sizes, "estimate")
    return tuple(pull(P, M[k + 1][:, None])[:, 0] - M[k] for k, P in enumerate(process.transitions))


def bet_expectation(process: StageProcess, estimate: Sequence[npt.ArrayLike], bets: Sequence[npt.ArrayLike]) -> float:
    """Return E[Π_k (1 + ν_k (M̂_{k+1} − M̂_k))] over finished attempts [T12]; one if M̂ is calibrated.

    estimate: K + 1 vectors `[S_k]`. bets: K vectors `[S_k]`, ν_k as a function of what is known at k (predictable).
    """
    M, nu = as_vectors(estimate, process.sizes, "estimate"), as_vectors(bets, process.sizes[:-1], "bets")
    G = np.ones(process.utility.size)
    for k in reversed(range(process.K)):
        both = pull(process.transitions[k], np.column_stack([G, M[k + 1] * G]))
        G = (1 - nu[k] * M[k]) * both[:, 0] + nu[k] * both[:, 1]
    return float(process.initial @ G)


def _bound(accepted: Vector, retained: Vector) -> BiasBound:
    lost = np.maximum(0.0, accepted - retained)
    f = float(lost.sum() / accepted.sum())
    if not retained.sum() > 0 or not lost.sum() > 0:
        return BiasBound(f, f, 1.0)
    of_accepted, of_retained, of_lost = (mass / mass.sum() for mass in (accepted, retained, lost))
    bias, contrast = total_variation(of_retained, of_accepted), total_variation(of_retained, of_lost)
    return BiasBound(f, float(bias), float(contrast))
