"""Exact evaluation of any randomised policy on a finite stage process.

A **policy** gives, at each checkpoint k < K and state, the probabilities q_k of CONTINUE, x_k of EXIT and 1 − q_k − x_k
of DISCARD. Everything reported follows from two recursions over checkpoints (letters of `msifr_policy.exact.process`):

    forward     D_0 = π,       D_{k+1} = (q_k D_k) P_k                 attempts alive on arrival at k
    backward    u_K = U,       u_k = x_k e_k + q_k (P_k u_{k+1})       utility still to be kept
                t_K = 0,       t_k = x_k X_k + q_k (c_k + P_k t_{k+1})  tokens still to be paid

    E[T]    = C_0 + Σ_k D_k·(q_k c_k + x_k X_k)          = C_0 + π·t_0
    E[U; R] = D_K·U + Σ_k D_k·(x_k e_k)                  = π·u_0
    lost at k = D_k·(1 − q_k − x_k) M_k                  [T4]: read at the moment of the discard

With U = A, f = Σ_k lost_k / E[U] is P(discarded | A = 1 had it been finished).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.process import StageProcess, Vector, as_vectors, at_end, check_number, go_on, prospects, push

Number = TypeVar("Number", float, Fraction)


@dataclass(frozen=True, slots=True, eq=False)
class StagePolicy:
    """A randomised policy on a stage process.

    continuing: K vectors `[S_k]`, q_k. exiting: K vectors `[S_k]`, x_k; zeros if left out. DISCARD has the rest.
    Raises `InputError` naming checkpoint, state and value for what are no probabilities.
    """

    continuing: tuple[Vector, ...]
    exiting: tuple[Vector, ...] = ()

    def __post_init__(self) -> None:
        sizes = [np.size(q) for q in self.continuing]
        exiting = tuple(self.exiting) or map(np.zeros, sizes)
        object.__setattr__(self, "continuing", as_vectors(self.continuing, sizes, "continuing"))
        object.__setattr__(self, "exiting", as_vectors(exiting, sizes, "exiting"))
        for k, (q, x) in enumerate(zip(self.continuing, self.exiting, strict=True)):
            wrong = ~((q >= 0) & (x >= 0) & (q + x <= 1 + 1e-12))
            if wrong.any():
                s = int(np.argmax(wrong))
                raise InputError(
                    f"probabilities {q[s]:g} of CONTINUE and {x[s]:g} of EXIT", where=f"checkpoint {k}, state {s}"
                )

    @property
    def discarding(self) -> tuple[Vector, ...]:
        """K vectors `[S_k]`, the probability of DISCARD."""
        return tuple(np.maximum(0.0, 1 - q - x) for q, x in zip(self.continuing, self.exiting, strict=True))


def never_discard(process: StageProcess) -> StagePolicy:
    """Return the policy that always continues."""
    return StagePolicy(tuple(np.ones(size) for size in process.sizes[:-1]))


@dataclass(frozen=True, slots=True, eq=False)
class PolicyTotals(Generic[Number]):
    """What a policy costs and keeps per attempt, in floats or in exact Fractions; costs in tokens.

    tokens: E[T]. tokens_full: E[N]. utility_kept: E[U; R], EXIT's utility included. utility_full: E[U].
    """

    tokens: Number
    tokens_full: Number
    utility_kept: Number
    utility_full: Number

    @property
    def saving_rate(self) -> Number:
        """Saving rate s = 1 − E[T]/E[N]; 0 if nothing costs anything. Never report it without f [T2]."""
        return 1 - self.tokens / self.tokens_full if self.tokens_full else 0 * self.tokens

    @property
    def utility_loss(self) -> Number:
        """1 − E[U; R]/E[U], the false-reject rate f of policies that never exit."""
        return 1 - self.utility_kept / self.utility_full


@dataclass(frozen=True, slots=True, eq=False)
class Headline(PolicyTotals[Number]):
    """The headline quantities of theory §1. utility_lost: E[M_τ; discarded]."""

    utility_lost: Number

    @property
    def false_reject_rate(self) -> Number:
        """False-reject rate f = E[U; discarded]/E[U], with U what finishing would have brought."""
        return self.utility_lost / self.utility_full

    @property
    def cost_per_accepted(self) -> Number | float:
        """Cost per accepted ρ = E[T]/E[U; R]; `inf` if nothing is kept."""
        return self.tokens / self.utility_kept if self.utility_kept > 0 else np.inf

    @property
    def cost_per_accepted_full(self) -> Number:
        """ρ_full = E[N]/E[U]: what never discarding costs."""
        return self.tokens_full / self.utility_full

    @property
    def net_cost_factor(self) -> Number | float:
        """Net cost factor ρ/ρ_full, (1 − s)/(1 − f) when the policy never exits [T2]; below 1 the policy helps."""
        kept = self.utility_kept / self.utility_full
        return (1 - self.saving_rate) / kept if kept > 0 else np.inf


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation(Headline[float]):
    """What a policy costs and keeps, exactly: the headline quantities and where they come from, per attempt.

    cost_by_stage: `[K+1]` expected tokens of the prompt and of stages 1 … K, without exits. arriving: K + 1 vectors
    `[S_k]`, D_k. The other arrays are `[K]`. discards_by_reason, lost_by_reason: by the labels given, else empty.
    """

    cost_by_stage: Vector
    exit_cost_by_checkpoint: Vector
    exit_utility_by_checkpoint: Vector
    exits_by_checkpoint: Vector
    discards_by_checkpoint: Vector
    lost_by_checkpoint: Vector
    arriving: tuple[Vector, ...]
    discards_by_reason: dict[str, float]
    lost_by_reason: dict[str, float]

    @property
    def discarded(self) -> float:
        """Probability that an attempt is discarded."""
        return float(self.discards_by_checkpoint.sum())

    @property
    def exited(self) -> float:
        """Probability that an attempt exits early."""
        return float(self.exits_by_checkpoint.sum())


def evaluate(
    process: StageProcess, policy: StagePolicy, *, reasons: Sequence[npt.ArrayLike] | None = None
) -> Evaluation:
    """Return the exact `Evaluation` of a policy, by the forward recursion of the module docstring.

    reasons: K vectors `[S_k]` of labels; discards and lost utility are also summed by the label of the state.
    Raises `InputError` if policy and process do not fit or the policy exits where EXIT is not available.
    """
    _check_fit(process, policy)
    M, r = prospects(process)
    arriving, flows = [process.initial], []
    labels = as_vectors(reasons, process.sizes[:-1], "reasons", str) if reasons is not None else ()
    discards_by_reason, lost_by_reason = defaultdict[str, float](float), defaultdict[str, float](float)
    for k, P in enumerate(process.transitions):
        D = arriving[-1]
        going_on, exiting = D * policy.continuing[k], D * policy.exiting[k]
        discarding = np.maximum(0.0, D - going_on - exiting)
        exit_costs = np.where(exiting > 0, process.exit_costs[k], 0.0)
        paid = (going_on @ process.stage_costs[k], exiting @ exit_costs)
        brought = (exiting @ process.exit_utilities[k], discarding @ M[k])
        flows.append((*paid, *brought, exiting.sum(), discarding.sum()))
        arriving.append(push(going_on, P))
        for name in np.unique(labels[k]).tolist() if labels else ():
            stopped = np.where(labels[k] == name, discarding, 0.0)
            discards_by_reason[name] += float(stopped.sum())
            lost_by_reason[name] += float(stopped @ M[k])
    cost, exit_cost, exit_utility, lost, exits, discards = np.array(flows).T
    cost = np.append(process.prompt_cost, cost)
    return Evaluation(
        tokens=float(cost.sum() + exit_cost.sum()),
        tokens_full=float(process.prompt_cost + process.initial @ r[0]),
        utility_kept=float(arriving[-1] @ process.utility + exit_utility.sum()),
        utility_full=float(process.initial @ M[0]),
        utility_lost=float(lost.sum()),
        cost_by_stage=cost,
        exit_cost_by_checkpoint=exit_cost,
        exit_utility_by_checkpoint=exit_utility,
        exits_by_checkpoint=exits,
        discards_by_checkpoint=discards,
        lost_by_checkpoint=lost,
        arriving=tuple(arriving),
        discards_by_reason=dict(discards_by_reason),
        lost_by_reason=dict(lost_by_reason),
    )


def values(process: StageProcess, policy: StagePolicy) -> tuple[tuple[Vector, ...], tuple[Vector, ...]]:
    """Return (u_k, t_k) for k = 0 … K: utility still to be kept and tokens still to be paid under the policy.

    K + 1 vectors `[S_k]` each, by the backward recursion; π·u_0 and C_0 + π·t_0 agree with `evaluate`.
    """
    _check_fit(process, policy)
    backward = [at_end(process)]
    for k in reversed(range(process.K)):
        x = policy.exiting[k]
        forced = [x * process.exit_utilities[k], x * np.where(x > 0, process.exit_costs[k], 0.0)]
        backward.append(go_on(process, k, backward[-1]) * policy.continuing[k][:, None] + np.column_stack(forced))
    u, t = zip(*(both.T for both in reversed(backward)), strict=True)
    return u, t


def checkpoint_values(process: StageProcess, policy: StagePolicy) -> Vector:
    """Return `[K]`: tokens per accepted that the decisions at each checkpoint save.

    Entry k is ρ of the policy that always continues at checkpoint k and is unchanged elsewhere, minus ρ; negative where
    the checkpoint does harm. One forward and one backward pass serve all checkpoints.
    """
    result = evaluate(process, policy)
    u, t = values(process, policy)
    gains = np.zeros(process.K)
    for k in range(process.K):
        D, onward = result.arriving[k], go_on(process, k, np.column_stack([u[k + 1], t[k + 1]]))
        tokens = result.cost_by_stage[: k + 1].sum() + result.exit_cost_by_checkpoint[:k].sum() + D @ onward[:, 1]
        kept = result.exit_utility_by_checkpoint[:k].sum() + D @ onward[:, 0]
        gains[k] = (tokens / kept if kept > 0 else np.inf) - result.cost_per_accepted
    return gains


def mix(process: StageProcess, first: StagePolicy, second: StagePolicy, weight: float) -> StagePolicy:
    """Return the policy equivalent to following `second` with probability `weight` and `first` otherwise [T9].

    A coin tossed once per attempt is replaced by coins tossed at states that visit, pay and keep the same in
    expectation (Kuhn's theorem), so E[T], E[U; R] and f are exactly the weighted means. weight: in [0, 1].
    """
    check_number(weight, "weight", where="mix", most=1)
    arriving = zip(evaluate(process, first).arriving, evaluate(process, second).arriving, strict=True)
    shares = []  # of those who follow `second` among the arriving
    for D, E in arriving:
        total = (1 - weight) * D + weight * E
        shares.append(np.divide(weight * E, total, out=np.zeros(total.size), where=total > 0))

    def mean(these: tuple[Vector, ...], those: tuple[Vector, ...]) -> tuple[Vector, ...]:
        return tuple((1 - w) * p + w * q for w, p, q in zip(shares, these, those, strict=False))

    return StagePolicy(mean(first.continuing, second.continuing), mean(first.exiting, second.exiting))


def check_never_exits(policy: StagePolicy, where: str) -> None:
    """Raise `InputError` if the policy exits: the statement is about discarding only."""
    if any(x.any() for x in policy.exiting):
        raise InputError("the policy exits", where=where, remedy="the statement is about discarding only")


def _check_fit(process: StageProcess, policy: StagePolicy) -> None:
    as_vectors(policy.continuing, process.sizes[:-1], "policy")
    for k, (x, available) in enumerate(zip(policy.exiting, map(np.isfinite, process.exit_costs), strict=True)):
        wrong = (x > 0) & ~available
        if wrong.any():
            raise InputError("EXIT is not available", where=f"checkpoint {k}, state {int(np.argmax(wrong))}")
