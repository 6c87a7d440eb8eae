"""Optimal policies on a finite stage process: for a price, for cost per accepted, for a false-reject budget.

For a price λ (tokens that one unit of utility is worth) backward induction [T8] reads, with the letters of
`msifr_policy.exact.process`,

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

References: Dinkelbach (1967), *On nonlinear fractional programming*; Puterman (2005), chapter 4; Eisner and
Severance (1976), *Mathematical techniques for efficient record segmentation* (the search for vertices).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import PolicyTotals, StagePolicy, evaluate, mix
from msifr_policy.exact.prices import checked_costs
from msifr_policy.exact.process import StageProcess, Vector, at_end, check_number, check_values, go_on, prospects
from msifr_policy.policy import Action

Codes = npt.NDArray[np.int8]

ALL_ACTIONS = frozenset(Action)
CHOICES = (Action.CONTINUE, Action.DISCARD, Action.EXIT)
"""What the codes 0, 1, 2 in `PricedPolicies.choices` stand for."""

_CONTINUE, _DISCARD, _EXIT = 0, 1, 2
_ROUNDING = 1e-13  # relative size of what is taken for rounding error in F


@dataclass(frozen=True, slots=True, eq=False)
class PricedPolicies(PolicyTotals[Any]):
    """Optimal policies for L prices, from conservative (high price) to aggressive (low) when the prices fall.

    prices: `[L]` tokens per unit of utility, Λ = λ* + μ; `inf` asks to lose nothing first and to save second.
    tokens, utility_kept, and the rates made of them: `[L]`.
    choices: K arrays `[S_k, L]` of codes into `CHOICES`.
    """

    prices: Vector
    choices: tuple[Codes, ...]

    def policy(self, i: int) -> StagePolicy:
        """Return the i-th policy."""
        return _policy(tuple(choice[:, i] for choice in self.choices))


@dataclass(frozen=True, slots=True, eq=False)
class Optimum:
    """The least cost per accepted, with its proof [T8].

    price: λ* = min ρ in tokens per unit of utility, a lower bound for every policy that sees the same evidence.
    policy: a policy with ρ = λ*. residual: F(λ*) in tokens, which the optimum makes zero.
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


@dataclass(frozen=True, slots=True, eq=False)
class BudgetOptimum:
    """The policy of least cost per accepted whose utility loss stays within a budget α [T9].

    policy: follows the vertex `aggressive` of the frontier with probability `weight`, else the vertex `conservative`.
    price: Λ at which both are optimal, λ* if the budget does not bind. saving_rate, utility_loss: of `policy`.
    """

    policy: StagePolicy
    conservative: StagePolicy
    aggressive: StagePolicy
    weight: float
    price: float
    saving_rate: float
    utility_loss: float


@dataclass(frozen=True, slots=True, eq=False)
class KeptCheckpoints:
    """The checkpoints worth their cost.

    checkpoints: those kept, in order. price: least cost per accepted in tokens, the checkpoints' own cost included.
    policy: attains it. price_without: ρ with no checkpoint at all.
    """

    checkpoints: tuple[int, ...]
    price: float
    policy: StagePolicy
    price_without: float


class _Vertex(NamedTuple):
    """An optimal policy: found at `price`, with its E[U; R], E[T] and codes, K vectors `[S_k]`."""

    price: float
    utility: float
    tokens: float
    choices: tuple[Codes, ...]

    @property
    def ratio(self) -> float:
        """ρ, where something is kept."""
        return self.tokens / self.utility


class _Constrained(NamedTuple):
    """A process with what may be done to it, and what both say about finishing."""

    process: StageProcess
    discard: bool
    exit: bool
    checkpoints: frozenset[int]
    ahead: tuple[npt.NDArray[np.bool_], ...]
    full: _Vertex


def solve_prices(
    process: StageProcess,
    prices: npt.ArrayLike,
    *,
    actions: Collection[Action] = ALL_ACTIONS,
    checkpoints: Collection[int] | None = None,
    at_once: int = 256,
) -> PricedPolicies:
    """Return the optimal policy for each price Λ, by one sweep of backward induction for `at_once` of them [T8], [T9].

    prices: `[L]` tokens per unit of utility, in any order; `inf` allowed.
    actions: which of DISCARD and EXIT may be used. checkpoints: where they may be used, default 0 … K − 1.
    Raises `InputError` for a price that is negative or NaN and for checkpoints outside 0 … K − 1.
    """
    grid = np.atleast_1d(np.asarray(prices, dtype=float))
    check_values(grid, "price {}", infinite=True)
    problem = _problem(process, actions, checkpoints)
    return _priced(problem, _induct(problem, grid, at_once))


def solve(
    process: StageProcess,
    *,
    actions: Collection[Action] = ALL_ACTIONS,
    checkpoints: Collection[int] | None = None,
    start: float | None = None,
) -> Optimum:
    """Return the policy of least cost per accepted ρ, by Dinkelbach's method [T8].

    actions, checkpoints: as in `solve_prices`. start: a price to begin with (that of a similar process), default
    ρ_full. Where the value of going on is exactly zero at λ*, discarding and continuing are both optimal; the policy
    returned is the one that attained λ*, never the empty one that keeps nothing.

    Checkpoint 0 is the start: where it tells prompts apart, the optimum may give whole prompts up. Pass
    `checkpoints=range(1, K)` to decide within attempts only.
    """
    best, residual, tried = _dinkelbach(_problem(process, actions, checkpoints), start)
    return Optimum(best.ratio, _policy(best.choices), residual, tried)


def frontier(
    process: StageProcess,
    *,
    max_points: int | None = None,
    actions: Collection[Action] = ALL_ACTIONS,
    checkpoints: Collection[int] | None = None,
) -> PricedPolicies:
    """Return the frontier of saving against lost utility [T9]: its vertices, from losing nothing to λ*.

    Between neighbours the frontier is the straight line that `mix` reaches by randomising. The search solves at the
    price where two neighbours tie; a better policy there is a new vertex between them, and none proves the edge. All
    open edges are solved in one sweep. With `max_points` it stops at that many vertices, having searched the widest
    edges first: every point is on the frontier, but an edge may hide vertices above it.

    Entry i of `prices` is a price at which policy i is optimal. actions, checkpoints: as in `solve_prices`.
    """
    problem = _problem(process, actions, checkpoints)
    first, last = _ends(problem)
    if first is last:
        return _priced(problem, [first])
    vertices, edges = [first, last], [(first, last)]
    while edges and (max_points is None or len(vertices) < max_points):
        edges.sort(key=_width, reverse=True)
        room = len(edges) if max_points is None else max_points - len(vertices)
        now, edges = edges[:room], edges[room:]
        for (above, below), between in zip(now, _induct(problem, np.array([_tie(*edge) for edge in now])), strict=True):
            if _is_above(problem, between, above):
                vertices.append(between)
                edges += [(above, between), (between, below)]
    vertices.sort(key=lambda vertex: -vertex.utility)
    # Where several policies attain λ*, they lie on one line through nothing at all: its vertex loses least.
    while len(vertices) > 1 and vertices[-2].tokens <= last.price * vertices[-2].utility * (1 + _ROUNDING):
        vertices.pop()
    return _priced(problem, vertices)


def solve_budget(
    process: StageProcess,
    alpha: float,
    *,
    actions: Collection[Action] = ALL_ACTIONS,
    checkpoints: Collection[int] | None = None,
) -> BudgetOptimum:
    """Return the policy of least cost per accepted with utility loss ≤ α, exactly [T9].

    alpha: in [0, 1]; the budget on 1 − E[U; R]/E[U], the false-reject rate f of policies that never EXIT. If λ*'s own
    policy is within the budget it is the answer; else the budget binds, and the answer randomises between the two
    vertices of the frontier around it. Raises `InputError` for alpha outside [0, 1].
    """
    check_number(alpha, "budget", where="solve_budget", most=1)
    problem = _problem(process, actions, checkpoints)
    target = (1 - alpha) * problem.full.utility
    above, below = _ends(problem)
    if below.utility >= target:
        above = below
    weight, price = 0.0, below.ratio
    while above is not below:
        price = _tie(above, below)
        (between,) = _induct(problem, np.array([price]))
        if not _is_above(problem, between, above):
            weight = min(1.0, max(0.0, (above.utility - target) / (above.utility - below.utility)))
            break
        above, below = (between, below) if between.utility >= target else (above, between)
    conservative, aggressive = _policy(above.choices), _policy(below.choices)
    policy = mix(process, conservative, aggressive, weight)
    result = evaluate(process, policy)
    return BudgetOptimum(policy, conservative, aggressive, weight, price, result.saving_rate, result.utility_loss)


def keep_checkpoints(
    process: StageProcess, checkpoint_costs: npt.ArrayLike, *, actions: Collection[Action] = ALL_ACTIONS
) -> KeptCheckpoints:
    """Return which checkpoints to keep when looking costs something, for the least cost per accepted.

    checkpoint_costs: `[K]` tokens that checkpoint k = 0 … K − 1 costs each attempt that arrives there with cost still
    ahead, if it is kept; elsewhere the attempt continues unseen. The set is fixed in advance, so the choice is
    combinatorial: depth-first from the last checkpoint, with the value of getting all earlier ones for nothing as upper
    bound, inside Dinkelbach's method. Exact; at worst 2^K inductions, in practice few.
    """
    costs = checked_costs(process, checkpoint_costs)
    problem = _problem(process, actions, None)
    root = _Partial(process.K, at_end(process), ())
    full = np.array([[problem.full.utility, problem.full.tokens - process.prompt_cost]])
    best = _Partial(0, np.repeat(full, process.initial.size, axis=0), problem.full.choices)
    price = problem.full.ratio
    while True:
        found = _best_choice(problem, price, costs, root, best)
        u, t = process.initial @ found.both
        # At λ* the policy that keeps nothing is worth as much as the best one, and may win by rounding.
        if not (u > 0 and process.prompt_cost + t < u * price * (1 - _ROUNDING)):
            acting = tuple(k for k, code in enumerate(best.codes) if code.any())
            return KeptCheckpoints(acting, price, _policy(best.codes), problem.full.ratio)
        best, price = found, float((process.prompt_cost + t) / u)


def _problem(process: StageProcess, actions: Collection[Action], checkpoints: Collection[int] | None) -> _Constrained:
    every = range(process.K)
    where = frozenset(every if checkpoints is None else checkpoints)
    if outside := where.difference(every):
        raise InputError(f"checkpoints {sorted(outside)}", remedy=f"0 … {process.K - 1}")
    M, r = prospects(process)
    full = _Vertex(
        price=np.inf,
        utility=float(process.initial @ M[0]),
        tokens=float(process.prompt_cost + process.initial @ r[0]),
        choices=tuple(np.zeros(size, np.int8) for size in process.sizes[:-1]),
    )
    return _Constrained(
        process,
        Action.DISCARD in actions,
        Action.EXIT in actions and process.has_exit,
        where,
        tuple(r_k > 0 for r_k in r),
        full,
    )


def _induct(problem: _Constrained, prices: Vector, at_once: int = 256) -> list[_Vertex]:
    """Backward induction for every price: the recursion of the module docstring, in pairs (u, t)."""
    if prices.size > at_once:
        parts = np.split(prices, range(at_once, prices.size, at_once))
        return [vertex for part in parts for vertex in _induct(problem, part, at_once)]
    process = problem.process
    both = np.repeat(at_end(process), prices.size, axis=1)
    codes: list[Codes] = []
    for k in reversed(range(process.K)):
        both, code = _step(problem, k, both, prices)
        codes.append(code)
    kept, tokens = np.split(process.initial @ both, 2)
    totals = zip(prices.tolist(), kept.tolist(), (process.prompt_cost + tokens).tolist(), strict=True)
    return [_Vertex(*of, tuple(code[:, i] for code in reversed(codes))) for i, of in enumerate(totals)]


def _step(problem: _Constrained, k: int, onward: Vector, prices: Vector) -> tuple[Vector, Codes]:
    """One step from checkpoint k + 1 to k at L prices; onward: `[S_{k+1}, 2L]`, utilities then tokens."""
    process, L = problem.process, prices.size
    both = go_on(process, k, onward)
    code = np.zeros((both.shape[0], L), np.int8)
    if k not in problem.checkpoints:
        return both, code
    u, t = both[:, :L], both[:, L:]
    lexicographic = np.isinf(prices)
    weight = np.where(lexicographic, 0.0, prices)
    if problem.exit:
        e, X = process.exit_utilities[k][:, None], process.exit_costs[k][:, None]
        value = weight * e - X
        better = value > weight * u - t
        worth = value > 0 if problem.discard else better
        better[:, lexicographic] = ((e > u) | ((e == u) & (t > X)))[:, lexicographic] & np.isfinite(X)
        exiting = better & np.where(lexicographic, e > 0, worth)
        code[exiting] = _EXIT
        u[:] = np.where(exiting, e, u)
        t[:] = np.where(exiting, X, t)
    if problem.discard:
        worthless = np.where(lexicographic, u <= 0, weight * u - t <= 0)
        discarding = worthless & problem.ahead[k][:, None]
        code[discarding] = _DISCARD
        u[discarding] = t[discarding] = 0.0
    return both, code


def _dinkelbach(problem: _Constrained, start: float | None = None) -> tuple[_Vertex, float, tuple[float, ...]]:
    """Return the vertex that attains λ*, F(λ*) and the prices tried."""
    best = problem.full
    price = best.ratio if start is None else float(start)
    tried: list[float] = []
    while True:
        tried.append(price)
        (vertex,) = _induct(problem, np.array([price]))
        if vertex.utility > 0 and vertex.ratio < best.ratio * (1 - _ROUNDING):
            best = vertex
        elif price == best.ratio:
            return best, price * vertex.utility - vertex.tokens, tuple(tried)
        price = best.ratio


def _ends(problem: _Constrained) -> tuple[_Vertex, _Vertex]:
    """Return both ends of the frontier, no loss and λ*; the same vertex if they coincide."""
    (first,) = _induct(problem, np.array([np.inf]))
    last, _, _ = _dinkelbach(problem)
    last = last._replace(price=last.ratio)
    return first, last if first.utility - last.utility > _ROUNDING * problem.full.utility else first


def _tie(above: _Vertex, below: _Vertex) -> float:
    return (above.tokens - below.tokens) / (above.utility - below.utility)


def _width(edge: tuple[_Vertex, _Vertex]) -> float:
    above, below = edge
    return (above.tokens - below.tokens) * (above.utility - below.utility)


def _is_above(problem: _Constrained, new: _Vertex, end: _Vertex) -> bool:
    """Whether a policy is worth more, at the price it was found at, than an end of the edge tied there."""
    gain = new.price * (new.utility - end.utility) - (new.tokens - end.tokens)
    return gain > _ROUNDING * (problem.full.tokens + new.price * problem.full.utility)


class _Partial(NamedTuple):
    """A node of the search in `keep_checkpoints`: checkpoints k … K − 1 are decided, those that act are kept.

    both: `[S_k, 2]`, utility and tokens from checkpoint k on; codes: the policy there.
    """

    k: int
    both: Vector
    codes: tuple[Codes, ...]


def _best_choice(problem: _Constrained, price: float, costs: Vector, node: _Partial, best: _Partial) -> _Partial:
    """Return the better of `best` and all that can grow from `node`, by depth-first branch and bound."""
    if _bound(problem, price, node) <= _bound(problem, price, best):
        return best
    if node.k == 0:
        return node
    k, at = node.k - 1, np.array([price])
    seen, code = _step(problem, k, node.both, at)
    if code.any():  # a checkpoint that never acts is not worth looking at
        seen[:, 1] += costs[k] * problem.ahead[k]
        best = _best_choice(problem, price, costs, _Partial(k, seen, (code[:, 0], *node.codes)), best)
    unseen, code = _step(problem._replace(checkpoints=frozenset()), k, node.both, at)
    return _best_choice(problem, price, costs, _Partial(k, unseen, (code[:, 0], *node.codes)), best)


def _bound(problem: _Constrained, price: float, node: _Partial) -> float:
    """Return F at the price if every undecided checkpoint were free."""
    both = node.both
    for k in reversed(range(node.k)):
        both, _ = _step(problem, k, both, np.array([price]))
    u, t = problem.process.initial @ both
    return float(price * u - t) - problem.process.prompt_cost


def _policy(choices: tuple[Codes, ...]) -> StagePolicy:
    return StagePolicy(
        tuple((choice == _CONTINUE).astype(float) for choice in choices),
        tuple((choice == _EXIT).astype(float) for choice in choices),
    )


def _priced(problem: _Constrained, vertices: list[_Vertex]) -> PricedPolicies:
    return PricedPolicies(
        prices=np.array([vertex.price for vertex in vertices]),
        tokens=np.array([vertex.tokens for vertex in vertices]),
        utility_kept=np.array([vertex.utility for vertex in vertices]),
        tokens_full=problem.full.tokens,
        utility_full=problem.full.utility,
        choices=tuple(np.stack(columns, axis=1) for columns in zip(*(v.choices for v in vertices), strict=True)),
    )
