"""Roulette: discard at random, weight what survives, and stay exactly unbiased whatever the validator knows [T7].

At checkpoint k the attempt goes on with probability q_k and is discarded otherwise; what passes carries the weight
W = Π 1/q_k. For any h, E[W·1{R}·h(Y)·A] = E[h(Y)·A], calibrated or not. The price is variance. With D_k of
`msifr_policy.exact.evaluation` and U = A, the moments follow by forward recursion:

    D_{k+1} = (q_k D_k) P_k                 P(alive, state)
    B_{k+1} = (B_k / q_k) P_k               E[W²; alive, state]
    C = E[T],   E[W A; R] = E[A],   S = E[W² A; R] = B_K·U

By Kish's (ΣW)²/ΣW², n attempts are worth n E[A]²/S accepted samples, at C·S/E[A]² tokens each. C and S are sums of
exponentials of the numbers log q_k, so log C + log S is convex in them: **a stationary point is the optimum**. With r_k
the expected remaining cost after continuing and m_k the downstream second-moment factor,

    r_k = c_k + P_k (q_{k+1} r_{k+1}),    m_k = P_k (m_{k+1} / q_{k+1}),    with q_K = 1, r_K = 0, m_K = U,

it is q_k = min(1, sqrt(B_k m_k C / (D_k r_k S))) in every state. Where each state has one history, B_k/D_k = w² and
this is the rule min(1, w/w*) with the target weight w* = sqrt(r_k S / (m_k C)); elsewhere it is the best rule that
looks at the state only. References: Kahn and Marshall (1953) for roulette; Kish (1965), *Survey Sampling*; Boyd et al.
(2007), *A tutorial on geometric programming*.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import StagePolicy, check_never_exits
from msifr_policy.exact.process import StageProcess, Vector, at_end, go_on, prospects, push

_FAR = 1e6  # stands for an unbounded fixed point: survive for certain


@dataclass(frozen=True, slots=True)
class RouletteMoments:
    """Exact moments of a roulette, per attempt. Utility is read as P(accepted).

    tokens: C = E[T]. weight: E[W A; R], which is E[A]. second_moment: S = E[W² A; R].
    """

    tokens: float
    weight: float
    second_moment: float

    @property
    def variance(self) -> float:
        """Variance of W·A·1{R}, the unbiased estimate of E[A] that one attempt gives."""
        return self.second_moment - self.weight**2

    @property
    def effective(self) -> float:
        """n_eff per attempt in the limit of many attempts, E[W A; R]²/S accepted samples of equal weight."""
        return self.weight**2 / self.second_moment

    @property
    def cost_per_effective(self) -> float:
        """Tokens per effective accepted sample, C·S/E[A]²: what `optimal_roulette` minimises."""
        return self.tokens / self.effective


@dataclass(frozen=True, slots=True, eq=False)
class RouletteOptimum:
    """The roulette of least tokens per effective sample among those that look at the state only.

    policy, moments: it and what it gives. steps: descent steps. residual: the largest derivative of log C + log S that
    is still downhill; zero proves the optimum.
    """

    policy: StagePolicy
    moments: RouletteMoments
    steps: int
    residual: float


def roulette_weight(probabilities: Iterable[Any]) -> Any:
    """Return W = Π 1/q over the survival probabilities passed [T7]. Exact for Fractions; 1 for none."""
    weight: Any = 1
    for k, q in enumerate(probabilities):
        if not 0 < q <= 1:
            raise InputError(f"survival probability {q}", where=f"checkpoint {k}", remedy="in (0, 1]")
        weight = weight / q
    return weight


def target_weight(remaining_cost: Any, second_moment: Any, *, tokens: float, total_second_moment: float) -> Any:
    """Return w* = sqrt(r_k S/(m_k C)) [T7].

    remaining_cost: r_k in tokens; second_moment: m_k; tokens: C; total_second_moment: S. `inf` where m_k = 0.
    """
    r, m = np.asarray(remaining_cost, float), np.asarray(second_moment, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(r > 0, np.sqrt(r * total_second_moment / (m * tokens)), 0.0)


def survival_probability(weight: npt.ArrayLike, target: npt.ArrayLike) -> Any:
    """Return min(1, w/w*): survivors carry at least their target weight [T7]."""
    w, goal = np.asarray(weight, float), np.asarray(target, float)
    return np.where(w >= goal, 1.0, w / np.where(goal > 0, goal, 1.0))


def kish(weights: npt.ArrayLike) -> float:
    """Return Kish's effective sample size (ΣW)²/ΣW² of `[n]` weights; 0 for none."""
    w = np.asarray(weights, float)
    return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0


def audit(policy: StagePolicy, epsilon: float) -> StagePolicy:
    """Return the audit stream: whatever the policy would discard goes on with probability ε instead [T7].

    epsilon: in (0, 1]. The policy's own randomness stays; only DISCARD gives mass to CONTINUE.
    """
    if not 0 < epsilon <= 1:
        raise InputError(f"audit probability {epsilon}", where="audit", remedy="in (0, 1]")
    continuing = (q + epsilon * d for q, d in zip(policy.continuing, policy.discarding, strict=True))
    return StagePolicy(tuple(np.minimum(1.0, q) for q in continuing), policy.exiting)


def arrivals(process: StageProcess, policy: StagePolicy) -> tuple[list[Vector], list[Vector]]:
    """Return D_k and B_k of the module docstring, K + 1 vectors `[S_k]` each; raises as `roulette_moments` does."""
    check_never_exits(policy, "roulette")
    M = prospects(process).utility
    D, B = [process.initial], [process.initial]
    for k, (P, q) in enumerate(zip(process.transitions, policy.continuing, strict=True)):
        lost = (q == 0) & (D[k] > 0) & (M[k] > 0)
        if lost.any():
            s = int(np.argmax(lost))
            what = f"survival probability 0 though accepted with probability {M[k][s]:g}"
            remedy = "give every attempt that may be accepted a chance, see `audit`"
            raise InputError(what, where=f"checkpoint {k}, state {s}", remedy=remedy)
        D.append(push(q * D[k], P))
        B.append(push(_divide(B[k], q), P))
    return D, B


def roulette_moments(process: StageProcess, policy: StagePolicy) -> RouletteMoments:
    """Return the exact moments of the weights W = Π 1/q_k under a policy that never exits [T7].

    Raises `InputError`, naming checkpoint and state, where an attempt that could still be accepted has no chance to
    survive: the weights would not be unbiased.
    """
    return _moments(process, policy, *arrivals(process, policy))


@dataclass(frozen=True, slots=True)
class CappedMoments:
    """Exact moments when weights are cut at a cap, min(W, cap).

    bias: E[min(W, cap) A; R] − E[A] ≤ 0. variance: of min(W, cap)·A·1{R}.
    """

    bias: float
    variance: float

    @property
    def mean_squared_error(self) -> float:
        """Bias² + variance of one attempt's estimate of E[A]."""
        return self.bias**2 + self.variance


def capped_moments(
    process: StageProcess, policy: StagePolicy, cap: float, *, max_weights: int = 10_000
) -> CappedMoments:
    """Return bias and variance of weights cut at `cap`, from the exact law of W.

    cap: ≥ 1. Raises `InputError` when W takes more than `max_weights` values.
    """
    if not cap >= 1:
        raise InputError(f"cap {cap}", where="capped_moments", remedy="at least 1")
    moments = roulette_moments(process, policy)
    law = {1.0: process.initial}  # P(state) among survivors of each weight
    for k, (P, q_k) in enumerate(zip(process.transitions, policy.continuing, strict=True)):
        following: dict[float, Vector] = {}
        for weight, mass in law.items():
            for q in np.unique(q_k[(mass > 0) & (q_k > 0)]):
                passed = push(np.where(q_k == q, q * mass, 0.0), P)
                following[float(weight / q)] = following.get(float(weight / q), 0.0) + passed
        if len(following) > max_weights:
            raise InputError(f"{len(following)} weights", where=f"checkpoint {k}", remedy="use fewer values of q")
        law = following
    cut = [(min(weight, cap), float(mass @ process.utility)) for weight, mass in law.items()]
    mean = sum(w * p for w, p in cut)
    return CappedMoments(bias=mean - moments.weight, variance=sum(w * w * p for w, p in cut) - mean**2)


def optimal_roulette(
    process: StageProcess, *, floor: float = 0.0, tolerance: float = 1e-9, max_steps: int = 10_000
) -> RouletteOptimum:
    """Return the survival probabilities of least tokens per effective accepted sample [T7].

    floor: least survival probability anywhere (an audit stream within the roulette). With floor 0, states that can no
    longer be accepted are always discarded. Each step moves log q halfway to the stated fixed point, which is downhill
    in every coordinate of a convex function, and halves the move until the value falls. Raises `InputError` for a floor
    outside [0, 1) and when `max_steps` do not reach the tolerance.
    """
    if not 0 <= floor < 1:
        raise InputError(f"floor {floor}", where="optimal_roulette", remedy="in [0, 1)")
    M, r = prospects(process)
    q = [np.where((M[k] > 0) | (r[k] <= 0), 1.0, floor) for k in range(process.K)]
    moments, goals, slopes = _stationarity(process, q)
    for step in range(max_steps):
        residual = _downhill(q, slopes, floor)
        if residual <= tolerance:
            return RouletteOptimum(StagePolicy(tuple(q)), moments, step, residual)
        share = 0.5
        while True:
            trial = [
                np.where(q_k > 0, np.clip(q_k ** (1 - share) * goal**share, floor, 1.0), 0.0)
                for q_k, goal in zip(q, goals, strict=True)
            ]
            tried = _stationarity(process, trial)
            if tried[0].cost_per_effective <= moments.cost_per_effective or share < 1e-6:
                break
            share /= 2
        q, (moments, goals, slopes) = trial, tried
    raise InputError(f"residual {residual:g} after {max_steps} steps", remedy="raise max_steps or tolerance")


def _stationarity(process: StageProcess, q: list[Vector]) -> tuple[RouletteMoments, list[Vector], list[Vector]]:
    """Return the moments, the stated fixed point for q, and the derivatives of log C + log S in log q."""
    policy = StagePolicy(tuple(q))
    D, B = arrivals(process, policy)
    moments = _moments(process, policy, D, B)
    both = at_end(process)  # second moment, tokens to pay
    ahead: list[Vector] = []
    for k in reversed(range(process.K)):
        ahead.append(go_on(process, k, both))
        m, r = ahead[-1].T
        both = np.column_stack([_divide(m, q[k]), q[k] * r])
    goals, slopes = [], []
    for k, (m, r) in enumerate(both.T for both in reversed(ahead)):
        cost = D[k] * r / moments.tokens if moments.tokens else D[k] * 0
        spread = B[k] * m / moments.second_moment
        root = np.sqrt(np.divide(spread, cost, out=np.full(r.size, _FAR), where=cost > 0))
        goals.append(np.where((D[k] > 0) & (q[k] > 0), root, q[k]))
        slopes.append(cost * q[k] - _divide(spread, q[k]))
    return moments, goals, slopes


def _moments(process: StageProcess, policy: StagePolicy, D: list[Vector], B: list[Vector]) -> RouletteMoments:
    passed = zip(process.stage_costs, policy.continuing, D, strict=False)
    return RouletteMoments(
        tokens=float(process.prompt_cost + sum((q * D_k) @ c for c, q, D_k in passed)),
        weight=float(process.initial @ prospects(process).utility[0]),
        second_moment=float(B[-1] @ process.utility),
    )


def _divide(value: Vector, q: Vector) -> Vector:
    """Return value/q, 0 where nothing survives."""
    return np.divide(value, q, out=np.zeros_like(value), where=q > 0)


def _downhill(q: list[Vector], slopes: list[Vector], floor: float) -> float:
    """Return the largest derivative along which q may still move downhill."""
    every, slope = np.concatenate(q), np.concatenate(slopes)
    free = np.where(slope > 0, every > floor, every < 1)
    return float(np.abs(slope[free]).max(initial=0.0))
