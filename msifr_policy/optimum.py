"""Optimal policies on a finite stage process: for a price, for cost per accepted, for a false-reject budget.

For a price λ (tokens that one unit of utility is worth) backward induction [T8] reads, with the letters of
`msifr_policy.process`,

    V_K = λU,    V_k = max{ 0 [DISCARD],  λe_k − X_k [EXIT],  P_k V_{k+1} − c_k [CONTINUE] }

and F(λ) = π·V_0 − C_0 = max_π (λ E[U; R_π] − E[T_π]) is convex, increasing and piecewise linear in λ. Its root λ* is
the least cost per accepted ρ any policy can reach. Dinkelbach's update λ ← ρ(π_λ) is Newton's method on F: it falls
monotonically to λ* and ends there after finitely many steps; F(λ*) = 0 is the proof, and may be checked by one more
induction. Values are carried as pairs (u, t) of utility and tokens, V = λu − t, so that one pass over the transitions
gives the policy and its ρ.

**Tie rule.** DISCARD iff going on is worth ≤ 0 and there is cost ahead (r_k > 0); a finished attempt is never
discarded. EXIT only if it is worth more than both.

Prices Λ = λ* + μ with a multiplier μ ≥ 0 on lost utility sweep the frontier [T9]: the vertices of F are the vertices of
the lower convex hull of all achievable (f, s).

References: Dinkelbach (1967), *On nonlinear fractional programming*; Puterman (2005), chapter 4; Eisner and Severance
(1976), *Mathematical techniques for efficient record segmentation* (the search for vertices).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.evaluate import StagePolicy, mix, never_discard
from msifr_policy.policy import Action
from msifr_policy.process import Prospects, StageProcess, Vector, prospects, pull

__all__ = ["Budget", "Kept", "Optimum", "Path", "frontier", "keep_checkpoints", "path", "solve", "solve_budget"]

ALL_ACTIONS = frozenset(Action)
CHOICES = (Action.CONTINUE, Action.DISCARD, Action.EXIT)
"""What the codes 0, 1, 2 in `Path.choices` stand for."""

_CONTINUE, _DISCARD, _EXIT = 0, 1, 2
_PRICES_AT_ONCE = 256
_ROUNDING = 1e-13  # relative size of what is taken for rounding error in F


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Optimal policies for L prices, from conservative (high price) to aggressive (low) when the prices fall.

    prices: `[L]` tokens per unit of utility, Λ = λ* + μ; `inf` asks to lose nothing first and to save second.
    tokens, utility_kept: `[L]`, E[T] and E[U; R]. tokens_full, utility_full: E[N] and E[U].
    choices: K arrays `[S_k, L]` of codes into `CHOICES`.
    """

    prices: Vector
    tokens: Vector
    utility_kept: Vector
    tokens_full: float
    utility_full: float
    choices: tuple[npt.NDArray[np.int8], ...]

    @property
    def saving_rate(self) -> Vector:
        """`[L]`, s = 1 − E[T]/E[N]."""
        return 1 - self.tokens / self.tokens_full if self.tokens_full else np.zeros(self.tokens.size)

    @property
    def utility_loss(self) -> Vector:
        """`[L]`, 1 − E[U; R]/E[U]; for policies that never EXIT this is the false-reject rate f."""
        return 1 - self.utility_kept / self.utility_full

    def policy(self, i: int) -> StagePolicy:
        """Return the i-th policy."""
        exits = any((choice[:, i] == _EXIT).any() for choice in self.choices)
        return StagePolicy(
            tuple((choice[:, i] == _CONTINUE).astype(float) for choice in self.choices),
            tuple((choice[:, i] == _EXIT).astype(float) for choice in self.choices) if exits else (),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """The least cost per accepted, with its proof [T8].

    price: λ* = min ρ in tokens per unit of utility, a lower bound for every policy that sees the same evidence.
    policy: a policy with ρ = λ*. residual: F(λ*) = π·V_0(λ*) − C_0 in tokens, which the optimum makes zero.
    prices: the iterates λ_0 > λ_1 > … > λ*; each cost one backward induction.
    """

    price: float
    policy: StagePolicy
    residual: float
    prices: tuple[float, ...]

    @property
    def iterations(self) -> int:
        """Number of backward inductions."""
        return len(self.prices)


def path(
    process: StageProcess,
    prices: npt.ArrayLike,
    *,
    actions: Collection[Action] = ALL_ACTIONS,
    checkpoints: Collection[int] | None = None,
    finished: Prospects | None = None,
) -> Path:
    """Return the optimal policy for each price Λ, all by one sweep of backward induction [T8], [T9].

    prices: `[L]` tokens per unit of utility, in any order; `inf` allowed.
    actions: which of DISCARD and EXIT may be used. checkpoints: where they may be used, default 0 … K − 1.
    finished: `prospects(process)` when it is at hand already.
    Raises `InputError` for a price that is negative or NaN and for checkpoints outside 0 … K − 1.
    """
    grid = np.atleast_1d(np.asarray(prices, dtype=float))
    if not (grid >= 0).all():
        raise InputError(f"price {grid[~(grid >= 0)][0]:g}", where="path", remedy="tokens per utility, >= 0")
    finished = prospects(process) if finished is None else finished
    parts = [
        _induct(process, grid[i : i + _PRICES_AT_ONCE], frozenset(actions), _where(process, checkpoints), finished)
        for i in range(0, grid.size, _PRICES_AT_ONCE)
    ]
    return Path(
        prices=grid,
        tokens=np.concatenate([part[1] for part in parts]),
        utility_kept=np.concatenate([part[0] for part in parts]),
        tokens_full=_tokens_full(process, finished),
        utility_full=float(process.initial @ finished.utility[0]),
        choices=tuple(np.concatenate(columns, axis=1) for columns in zip(*(part[2] for part in parts), strict=True)),
    )


def solve(
    process: StageProcess,
    *,
    actions: Collection[Action] = ALL_ACTIONS,
    checkpoints: Collection[int] | None = None,
    start: float | None = None,
    finished: Prospects | None = None,
) -> Optimum:
    """Return the policy of least cost per accepted ρ, by Dinkelbach's method [T8].

    actions, checkpoints, finished: as in `path`. start: a price to begin with (that of a similar process), default
    ρ_full. Where the value of going on is exactly zero at λ*, discarding and continuing are both optimal; the policy
    returned is the one that attained λ*, never the empty one that keeps nothing.

    Checkpoint 0 is the start: where it tells prompts apart, the optimum may give whole prompts up. Pass
    `checkpoints=range(1, K)` to decide within attempts only.
    """
    finished = prospects(process) if finished is None else finished
    where, allowed = _where(process, checkpoints), frozenset(actions)
    full = _tokens_full(process, finished) / float(process.initial @ finished.utility[0])
    best, policy = full, never_discard(process)
    price = full if start is None else float(start)
    tried: list[float] = []
    while True:
        tried.append(price)
        kept, tokens, choices = _induct(process, np.array([price]), allowed, where, finished)
        ratio = float(tokens[0] / kept[0]) if kept[0] > 0 else np.inf
        if ratio < best * (1 - _ROUNDING):
            best, policy = ratio, _single(choices)
        elif price == best:
            return Optimum(best, policy, float(price * kept[0] - tokens[0]), tuple(tried))
        price = best


def frontier(
    process: StageProcess,
    *,
    max_points: int | None = None,
    actions: Collection[Action] = ALL_ACTIONS,
    checkpoints: Collection[int] | None = None,
) -> Path:
    """Return the frontier of saving against lost utility [T9]: its vertices, from losing nothing to λ*.

    Between neighbours the frontier is the straight line that `mix` reaches by randomising. The search solves at the
    price where two neighbours tie; a better policy there is a new vertex between them, and none proves the edge. All
    open edges are solved in one sweep. With `max_points` it stops at that many points: still optimal policies, but
    edges between them may hide further vertices.

    Entry i of `prices` is the highest price at which policy i was found optimal. actions, checkpoints as in `path`.
    """
    finished = prospects(process)
    end = solve(process, actions=actions, checkpoints=checkpoints, finished=finished)
    found = path(process, [np.inf, end.price], actions=actions, checkpoints=checkpoints, finished=finished)
    if found.utility_kept[1] <= 0:  # at λ* itself the empty policy ties with the one that attains λ*
        found = _join(found, [0], _from_optimum(process, end, found), [0])
    if found.utility_kept[0] - found.utility_kept[1] <= _ROUNDING * found.utility_full:
        return _select(found, [0])
    edges = [(0, 1)]
    order = [0, 1]
    while edges and (max_points is None or len(order) < max_points):
        if max_points is not None:
            edges = edges[: max_points - len(order)]
        u, t = found.utility_kept, found.tokens
        ties = np.array([(t[i] - t[j]) / (u[i] - u[j]) for i, j in edges])
        new = path(process, ties, actions=actions, checkpoints=checkpoints, finished=finished)
        above = [
            ties[n] * (new.utility_kept[n] - u[i]) - (new.tokens[n] - t[i]) for n, (i, _) in enumerate(edges)
        ]
        better = [n for n in range(len(edges)) if above[n] > _ROUNDING * 100 * found.tokens_full]
        base = found.tokens.size
        found = _join(found, range(base), new, better)
        split = []
        for m, n in enumerate(better):
            i, j = edges[n]
            order.insert(order.index(j), base + m)
            split += [(i, base + m), (base + m, j)]
        edges = split
    return _select(found, order)
