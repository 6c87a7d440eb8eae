"""Exact evaluation of any randomised policy on a finite stage process.

A **policy** gives, at each checkpoint k < K and state, the probabilities q_k of CONTINUE, x_k of EXIT and
1 − q_k − x_k of DISCARD. Everything reported follows from two recursions over checkpoints (letters of
`msifr_policy.exact.process`):

    forward     D_0 = π,       D_{k+1} = (q_k D_k) P_k                 attempts alive on arrival at k
    backward    u_K = U,       u_k = x_k e_k + q_k (P_k u_{k+1})       utility still to be kept
                t_K = 0,       t_k = x_k X_k + q_k (c_k + P_k t_{k+1})  tokens still to be paid

    E[T]    = C_0 + Σ_k D_k·(q_k c_k + x_k X_k)          = C_0 + π·t_0
    E[U; R] = D_K·U + Σ_k D_k·(x_k e_k)                  = π·u_0
    lost at k = D_k·(1 − q_k − x_k) M_k                  [T4]: read at the moment of the discard

and s = 1 − E[T]/E[N], f = Σ_k lost_k / E[U], ρ = E[T]/E[U; R]. With U = A, f is P(discarded | A = 1 had it
been finished). For policies that never EXIT the net cost factor ρ/ρ_full is (1 − s)/(1 − f) [T2].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.process import StageProcess, Vector, prospects, pull, push

__all__ = ["Evaluation", "StagePolicy", "checkpoint_values", "evaluate", "mix", "never_discard", "values"]


@dataclass(frozen=True, slots=True, eq=False)
class StagePolicy:
    """A randomised policy on a stage process.

    continuing: K vectors `[S_k]`, probability q_k of CONTINUE.
    exiting: K vectors `[S_k]`, probability x_k of EXIT; empty if the policy never exits.
    DISCARD has the rest. Raises `InputError` naming checkpoint, state and value for what are no
    probabilities.
    """

    continuing: tuple[Vector, ...]
    exiting: tuple[Vector, ...] = ()

    def __post_init__(self) -> None:
        as_vectors = tuple(tuple(np.asarray(v, float) for v in vs) for vs in (self.continuing, self.exiting))
        object.__setattr__(self, "continuing", as_vectors[0])
        object.__setattr__(self, "exiting", as_vectors[1])
        if self.exiting and len(self.exiting) != len(self.continuing):
            raise InputError(f"{len(self.exiting)} exit vectors for {len(self.continuing)} checkpoints")
        for k, q in enumerate(self.continuing):
            x = self.exiting[k] if self.exiting else np.zeros(q.shape)
            wrong = ~((q >= 0) & (x >= 0) & (q + x <= 1 + 1e-12))
            if wrong.any():
                s = int(np.argmax(wrong))
                raise InputError(
                    f"probabilities {q[s]:g} of CONTINUE and {x[s]:g} of EXIT",
                    where=f"checkpoint {k}, state {s}",
                )

    @property
    def discarding(self) -> tuple[Vector, ...]:
        """K vectors `[S_k]`, the probability of DISCARD."""
        if not self.exiting:
            return tuple(1 - q for q in self.continuing)
        return tuple(np.maximum(0.0, 1 - q - x) for q, x in zip(self.continuing, self.exiting, strict=True))


def never_discard(process: StageProcess) -> StagePolicy:
    """Return the policy that always continues."""
    return StagePolicy(tuple(np.ones(size) for size in process.sizes[:-1]))


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What a policy costs and keeps per attempt, exactly. Costs in tokens, the rest per attempt.

    tokens: E[T]. tokens_full: E[N]. utility_kept: E[U; R], EXIT's utility included. utility_full: E[U].
    utility_lost: E[M_τ; discarded]. discarded, exited: probabilities.
    cost_by_stage: `[K+1]` expected tokens of the prompt and of stages 1 … K, without exits.
    exit_cost_by_checkpoint, exit_utility_by_checkpoint, exits_by_checkpoint, discards_by_checkpoint,
    lost_by_checkpoint: `[K]`.
    arriving: K + 1 vectors `[S_k]`, D_k.
    discards_by_reason, lost_by_reason: by the reason labels given, else empty.
    """

    tokens: float
    tokens_full: float
    utility_kept: float
    utility_full: float
    utility_lost: float
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
    def saving_rate(self) -> float:
        """Saving rate s = 1 − E[T]/E[N]; 0 if nothing costs anything. Never report it without f [T2]."""
        return 1 - self.tokens / self.tokens_full if self.tokens_full else 0.0

    @property
    def false_reject_rate(self) -> float:
        """False-reject rate f = E[U; discarded]/E[U], with U what finishing would have brought."""
        return self.utility_lost / self.utility_full

    @property
    def cost_per_accepted(self) -> float:
        """Cost per accepted ρ = E[T]/E[U; R] in tokens; `inf` if nothing is kept."""
        return self.tokens / self.utility_kept if self.utility_kept > 0 else np.inf

    @property
    def cost_per_accepted_full(self) -> float:
        """ρ_full = E[N]/E[U] in tokens: what never discarding costs."""
        return self.tokens_full / self.utility_full

    @property
    def net_cost_factor(self) -> float:
        """Net cost factor ρ/ρ_full, (1 − s)/(1 − f) when the policy never exits; below 1 the policy helps."""
        kept = self.utility_kept / self.utility_full
        return (1 - self.saving_rate) / kept if kept > 0 else np.inf

    @property
    def discarded(self) -> float:
        """Probability that an attempt is discarded."""
        return float(self.discards_by_checkpoint.sum())

    @property
    def exited(self) -> float:
        """Probability that an attempt exits early."""
        return float(self.exits_by_checkpoint.sum())


def evaluate(
    process: StageProcess,
    policy: StagePolicy,
    *,
    reasons: Sequence[npt.ArrayLike] | None = None,
) -> Evaluation:
    """Return the exact `Evaluation` of a policy, by the forward recursion of the module docstring.

    reasons: K vectors `[S_k]` of labels; discards and lost utility are summed by the label of the state.
    Raises `InputError` if policy and process do not fit or the policy exits where EXIT is not available.
    """
    _check_fit(process, policy)
    finished = prospects(process)
    K = process.K
    cost, exit_cost, exit_utility = np.zeros(K + 1), np.zeros(K), np.zeros(K)
    exits, discards, lost = np.zeros(K), np.zeros(K), np.zeros(K)
    discards_by_reason: dict[str, float] = {}
    lost_by_reason: dict[str, float] = {}
    cost[0] = process.prompt_cost
    arriving = [process.initial]
    for k, (P, c) in enumerate(zip(process.transitions, process.stage_costs, strict=True)):
        D = arriving[-1]
        going_on = D * policy.continuing[k]
        cost[k + 1] = going_on @ c
        discarding = D - going_on
        if policy.exiting and process.has_exit:
            exiting = D * policy.exiting[k]
            taken = exiting > 0
            discarding = np.maximum(0.0, discarding - exiting)
            exits[k] = exiting.sum()
            exit_cost[k] = exiting[taken] @ process.exit_costs[k][taken]
            exit_utility[k] = exiting @ process.exit_utilities[k]
        discards[k] = discarding.sum()
        lost[k] = discarding @ finished.utility[k]
        if reasons is not None:
            names, index = np.unique(np.asarray(reasons[k]).astype(str), return_inverse=True)
            for name, share, loss in zip(
                names.tolist(),
                np.bincount(index, discarding).tolist(),
                np.bincount(index, discarding * finished.utility[k]).tolist(),
                strict=True,
            ):
                discards_by_reason[name] = discards_by_reason.get(name, 0.0) + share
                lost_by_reason[name] = lost_by_reason.get(name, 0.0) + loss
        arriving.append(push(going_on, P))
    return Evaluation(
        tokens=float(cost.sum() + exit_cost.sum()),
        tokens_full=float(process.prompt_cost + process.initial @ finished.remaining_cost[0]),
        utility_kept=float(arriving[-1] @ process.utility + exit_utility.sum()),
        utility_full=float(process.initial @ finished.utility[0]),
        utility_lost=float(lost.sum()),
        cost_by_stage=cost,
        exit_cost_by_checkpoint=exit_cost,
        exit_utility_by_checkpoint=exit_utility,
        exits_by_checkpoint=exits,
        discards_by_checkpoint=discards,
        lost_by_checkpoint=lost,
        arriving=tuple(arriving),
        discards_by_reason=discards_by_reason,
        lost_by_reason=lost_by_reason,
    )


def values(process: StageProcess, policy: StagePolicy) -> tuple[tuple[Vector, ...], tuple[Vector, ...]]:
    """Return (u_k, t_k) for k = 0 … K: utility still to be kept and tokens still to be paid under the policy.

    K + 1 vectors `[S_k]` each, by the backward recursion; π·u_0 and C_0 + π·t_0 agree with `evaluate`.
    """
    _check_fit(process, policy)
    both = np.column_stack([process.utility, np.zeros(process.utility.size)])
    out = [both]
    for k in reversed(range(process.K)):
        both = _continue(process, k, both) * policy.continuing[k][:, None]
        if policy.exiting and process.has_exit:
            x = policy.exiting[k]
            both[:, 0] += x * process.exit_utilities[k]
            both[:, 1] += x * np.where(x > 0, process.exit_costs[k], 0.0)
        out.append(both)
    out.reverse()
    return tuple(b[:, 0] for b in out), tuple(b[:, 1] for b in out)


def checkpoint_values(process: StageProcess, policy: StagePolicy) -> Vector:
    """Return `[K]`: tokens per accepted that the decisions at each checkpoint save.

    Entry k is ρ of the policy that always continues at checkpoint k and is unchanged elsewhere, minus ρ.
    Negative where the checkpoint does harm. One forward and one backward pass serve all checkpoints.
    """
    result = evaluate(process, policy)
    u, t = values(process, policy)
    gains = np.zeros(process.K)
    for k in range(process.K):
        onward = _continue(process, k, np.column_stack([u[k + 1], t[k + 1]]))
        D = result.arriving[k]
        tokens = result.cost_by_stage[: k + 1].sum() + result.exit_cost_by_checkpoint[:k].sum() + D @ onward[:, 1]
        kept = result.exit_utility_by_checkpoint[:k].sum() + D @ onward[:, 0]
        gains[k] = (tokens / kept if kept > 0 else np.inf) - result.cost_per_accepted
    return gains


def mix(process: StageProcess, first: StagePolicy, second: StagePolicy, weight: float) -> StagePolicy:
    """Return the policy equivalent to following `second` with probability `weight` and `first` otherwise
    [T9].

    A coin tossed once per attempt is replaced by coins tossed at states that visit, pay and keep the same in
    expectation (Kuhn's theorem), so E[T], E[U; R] and f are exactly the weighted means. weight: in [0, 1].
    """
    if not 0 <= weight <= 1:
        raise InputError(f"weight {weight}", where="mix", remedy="a probability")
    D = [(1 - weight) * process.initial, weight * process.initial]
    continuing, exiting = [], []
    for k, P in enumerate(process.transitions):
        total = D[0] + D[1]
        safe = np.where(total > 0, total, 1.0)
        q = [first.continuing[k], second.continuing[k]]
        x = [p.exiting[k] if p.exiting else np.zeros(total.size) for p in (first, second)]
        continuing.append(np.where(total > 0, (D[0] * q[0] + D[1] * q[1]) / safe, q[0]))
        exiting.append(np.where(total > 0, (D[0] * x[0] + D[1] * x[1]) / safe, x[0]))
        D = [push(d * go, P) for d, go in zip(D, q, strict=True)]
    with_exit = bool(first.exiting or second.exiting)
    return StagePolicy(tuple(continuing), tuple(exiting) if with_exit else ())


def _continue(process: StageProcess, k: int, onward: Vector) -> Vector:
    """Return `[S_k, 2]`: utility and tokens of CONTINUE at checkpoint k, from `[S_{k+1}, 2]` beyond it."""
    both = pull(process.transitions[k], onward)
    both[:, 1] += process.stage_costs[k]
    return both


def _check_fit(process: StageProcess, policy: StagePolicy) -> None:
    shapes = tuple(q.shape for q in policy.continuing)
    if shapes != tuple((size,) for size in process.sizes[:-1]):
        raise InputError(f"policy of shape {shapes} for {process!r}", where="policy")
    for k, x in enumerate(policy.exiting):
        available = np.isfinite(process.exit_costs[k]) if process.has_exit else np.zeros(x.size, bool)
        if (x[~available] > 0).any():
            s = int(np.argmax((x > 0) & ~available))
            raise InputError("EXIT is not available", where=f"checkpoint {k}, state {s}")
