"""Helpers to test policies with: random models in exact arithmetic, and checks of the statements [T1]-[T8], [T12].

The `assert_…` functions take a tree (`exact.tree`) and a policy on it, compute both sides of a statement along
different ways (recursion over nodes, enumeration of scenarios) and raise `AssertionError` that names the statement and
the node to blame: of a statement about a whole tree the deepest node below which it does not hold. With Fractions they
compare without tolerance.

Your own policy becomes a policy on a tree in one of three ways: `threshold_policy` for a validator with a threshold,
`recorded_policy` for a `msifr_policy.Policy` that reads text, `tree.unroll` for a `StagePolicy` on a `StageProcess`.
The strategies draw trees, processes, policies, and calibrated and miscalibrated validators for hypothesis, which must
be installed (`pip install hypothesis`).
"""

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from msifr_policy.exact import martingale, roulette, tree
from msifr_policy.exact.evaluation import StagePolicy
from msifr_policy.exact.process import StageProcess, Vector, prospects, reach
from msifr_policy.exact.tree import Address, Branch, Choice, Node, Scenario, TreePolicy
from msifr_policy.policy import Action, Policy

Estimate: TypeAlias = Mapping[Address, Any]
"""A validator on a tree: M̂ at every node, leaves included."""


def assert_saving_identity(root: Node, policy: TreePolicy) -> None:
    """Check [T1] of a policy that never exits: E[N − T] = Σ E[C_{k+1} 1{τ ≤ k}], > 0 iff it discards ahead of cost."""

    def wrong(node: Node, policy: TreePolicy, _: Address) -> str:
        result = tree.tree_evaluate(node, policy)
        saved: Any = sum(
            p * cost * (1 - survival(policy, leaf[: k + 1]))
            for p, costs, _, leaf in tree.scenarios(node)
            for k, cost in enumerate(costs)
        )
        if result.tokens_full - result.tokens != saved:
            return f"saved {result.tokens_full - result.tokens}, not {saved}"
        ahead = [
            address
            for address, inner in _inner(node)
            if _arrives(node, policy, address) * _choice(policy, address).discarding > 0
            and tree.tree_finish(inner)[1] > 0
        ]
        return "" if (saved > 0) == bool(ahead) else f"saved {saved} with discards ahead of cost at {ahead}"

    _hold("[T1]", root, policy, wrong)


def assert_break_even(root: Node, policy: TreePolicy, *, prompt_cost: Any = 0) -> None:
    """Check [T2] of a policy that never exits: ρ/ρ_full = (1 − s)/(1 − f), and it helps iff s > f."""

    def wrong(node: Node, policy: TreePolicy, address: Address) -> str:
        result = tree.tree_evaluate(node, policy, prompt_cost=0 if address else prompt_cost)
        kept = sum(p * survival(policy, leaf) * U for p, _, U, leaf in tree.scenarios(node))
        if not kept:
            return ""
        s, f = result.saving_rate, result.false_reject_rate
        if kept != (1 - f) * result.utility_full:
            return f"kept {kept} but f = {f} of {result.utility_full}"
        if result.tokens * result.utility_full * (1 - f) != (1 - s) * result.tokens_full * kept:
            return f"net cost factor is not (1 − s)/(1 − f) for s = {s}, f = {f}"
        helps = result.tokens * result.utility_full < result.tokens_full * kept
        return "" if not result.tokens_full or helps == (s > f) else f"helps: {helps}, but s = {s} and f = {f}"

    _hold("[T2]", root, policy, wrong)


def assert_earlier_is_cheaper(root: Node, earlier: TreePolicy, later: TreePolicy) -> None:
    """Check [T3] for two deterministic policies that discard the same scenarios, one never later than the other.

    E[T] is no larger for the earlier one and the difference is what the later one pays in between; and the expected
    remaining cost falls on average at every node. An `AssertionError` names a scenario that is discarded by one only,
    or by the other first.
    """
    paid: Any = 0
    for scenario in tree.scenarios(root):
        first, second = stop_checkpoint(earlier, scenario), stop_checkpoint(later, scenario)
        n = len(scenario.costs)
        _check((first < n) == (second < n), "[T3]", f"only one policy discards scenario {scenario.leaf}")
        _check(first <= second, "[T3]", f"scenario {scenario.leaf} stops at {first} and {second}")
        paid += scenario.probability * sum(scenario.costs[first:second])
    difference = tree.tree_evaluate(root, later).tokens - tree.tree_evaluate(root, earlier).tokens
    _check(difference == paid, "[T3]", f"E[T] differs by {difference}, but {paid} is paid in between")
    for address, node in _inner(root):
        r = tree.tree_finish(node)[1]
        onward = sum(branch.probability * tree.tree_finish(branch.node)[1] for branch in node.branches)
        _check(onward <= r, "[T3]", f"node {address}: remaining cost rises from {r} to {onward}")


def assert_calibrated(root: Node, estimate: Estimate) -> None:
    """Check [T12]: M̂ is U at the leaves, and at every node the mean of M̂ over its children."""
    for address, node in tree.nodes(root):
        if node.branches:
            mean = sum(p * estimate[*address, i] for i, (p, _, _) in enumerate(node.branches))
            message = f"node {address}: the estimate is {estimate[address]}, the mean of the next ones {mean}"
            _check(estimate[address] == mean, "[T12]", message)
        else:
            _check(estimate[address] == node.utility, "[T12]", f"leaf {address}: {estimate[address]}, not U")


def assert_optional_stopping(root: Node, policy: TreePolicy, estimate: Estimate | None = None) -> None:
    """Check [T4]: E[U] = E[U; finished] + E[M_τ; exited] + E[M_τ; discarded], for any policy.

    With an estimate M̂ of your own lost utility is read off it; the equality may then fail, and the node named is one
    where the policy stops and M̂ is wrong.
    """

    def wrong(node: Node, policy: TreePolicy, at: Address) -> str:
        total = sum(p * U for p, _, U, _ in tree.scenarios(node))
        parts = sum(p * survival(policy, leaf) * U for p, _, U, leaf in tree.scenarios(node))
        lost: Any = 0
        for address, inner in _inner(node):
            choice, arrives = _choice(policy, address), _arrives(node, policy, address)
            M = tree.tree_finish(inner)[0] if estimate is None else estimate[at + address]
            parts += arrives * (1 - choice.continuing) * M
            lost += arrives * choice.discarding * M
        if total != parts:
            return f"E[U] = {total}, but the parts add up to {parts}"
        stated = tree.tree_evaluate(node, policy).utility_lost
        return "" if estimate is not None or stated == lost else f"lost {stated}, not {lost}"

    _hold("[T4]", root, policy, wrong)


def assert_retained_shift(root: Node, policy: TreePolicy) -> None:
    """Check [T5] of a policy that never exits: E[U | R] − E[U] = (E[U] − E[M_τ | discarded]) P(discarded)/P(R)."""

    def wrong(node: Node, policy: TreePolicy, _: Address) -> str:
        result = tree.tree_evaluate(node, policy)
        retained = sum(p * survival(policy, leaf) for p, _, _, leaf in tree.scenarios(node))
        kept = sum(p * survival(policy, leaf) * U for p, _, U, leaf in tree.scenarios(node))
        if not retained:
            return ""
        if not result.discarded:
            return "" if kept == result.utility_full else "nothing is discarded, yet the retained differ from all"
        shift = martingale.RetainedShift(
            result.utility_full, kept / retained, result.utility_lost / result.discarded, result.discarded
        ).shift
        if kept / retained - result.utility_full != shift:
            return f"shift {shift} of the mean {kept / retained}"
        poor = result.utility_lost < result.utility_full * result.discarded
        return "" if (shift > 0) == poor else f"shift {shift}, but poor prospects discarded: {poor}"

    _hold("[T5]", root, policy, wrong)


def assert_bias_bound(root: Node, policy: TreePolicy, groups: Mapping[Address, str] | None = None) -> None:
    """Check [T6] of a policy that never exits: TV(kept, accepted) = f · TV(kept, lost) ≤ f, laws of accepted leaves.

    groups: a name for each leaf; every group is checked too.
    """

    def wrong(node: Node, policy: TreePolicy, at: Address) -> str:
        everything = tree.scenarios(node)
        parts = {"": everything}
        for scenario in everything if groups is not None else ():
            parts.setdefault(f"group {groups[at + scenario.leaf]}: ", []).append(scenario)  # type: ignore[index]
        for name, part in parts.items():
            accepted = np.array([p * U for p, _, U, _ in part], dtype=object)
            kept = np.array([p * U * survival(policy, leaf) for p, _, U, leaf in part], dtype=object)
            if not (accepted.sum() > 0 and kept.sum() > 0):
                continue
            f = 1 - kept.sum() / accepted.sum()
            stated = f if name else tree.tree_evaluate(node, policy).false_reject_rate
            if f != stated:
                return f"f is {f}, not {stated}"
            bias = martingale.total_variation(kept / kept.sum(), accepted / accepted.sum())
            lost = accepted - kept
            contrast = martingale.total_variation(kept / kept.sum(), lost / lost.sum()) if f else 1
            if not bias == f * contrast <= f:
                return f"{name}bias {bias}, but f = {f} and contrast {contrast}"
        return ""

    _hold("[T6]", root, policy, wrong)


def assert_roulette_unbiased(root: Node, policy: TreePolicy) -> None:
    """Check [T7]: E[W·1{R}; Y = y, A] = P(Y = y, A) for every leaf y, and W 1{alive} is a mean-one martingale.

    An `AssertionError` names the node where an attempt that may be accepted has no chance to survive.
    """
    for address, node in _inner(root):
        hopeless = not _choice(policy, address).continuing and tree.tree_finish(node)[0]
        _check(not hopeless or not _arrives(root, policy, address), "[T7]", f"node {address}: no chance to survive")
    for p, costs, U, leaf in tree.scenarios(root):
        passed = [_choice(policy, leaf[:k]).continuing for k in range(len(costs))] if U and p else []
        for k in range(1, len(passed) + 1):
            weight, alive = roulette.roulette_weight(passed[:k]), survival(policy, leaf[:k])
            _check(weight * alive == 1, "[T7]", f"node {leaf[:k]}: weight {weight}, but survival {alive}")


def assert_optimal(root: Node, policy: TreePolicy, *, prompt_cost: Any = 0, tolerance: Any = 0) -> None:
    """Check [T8]: no policy has a lower cost per accepted than this one.

    At the price λ = ρ(policy) every reached choice must be best given the best continuation, and the value of the
    whole zero; within a tolerance in tokens, for policies that were computed in floats. An `AssertionError` names
    the node where the policy gives value away.
    """
    result = tree.tree_evaluate(root, policy, prompt_cost=prompt_cost)
    price = result.cost_per_accepted
    _check(result.utility_kept > 0, "[T8]", "the policy keeps nothing")
    for address, node in _inner(root):
        if not _arrives(root, policy, address) > 0:
            continue
        choice = _choice(policy, address)
        onward = sum(p * (tree.tree_induct(child, price)[0] - cost) for p, cost, child in node.branches)
        options = [(choice.continuing, "CONTINUE", onward), (choice.discarding, "DISCARD", 0)]
        if node.exit_cost is not None:
            options.append((choice.exiting, "EXIT", price * node.exit_utility - node.exit_cost))
        best = max(value for _, _, value in options)
        for probability, name, value in options:
            worth = f"{name} is worth {_short(value)} tokens at price {_short(price)}, the best {_short(best)}"
            _check(not probability or best - value <= tolerance, "[T8]", f"node {address}: {worth}")
    value = tree.tree_induct(root, price)[0] - prompt_cost
    message = f"a policy of cost per accepted below {_short(price)} exists: F = {_short(value)}"
    _check(value <= tolerance, "[T8]", message)


def threshold_policy(root: Node, estimate: Estimate, threshold: Any) -> dict[Address, Choice]:
    """Return the policy that discards unfinished attempts where a validator says M̂ < threshold."""
    return {address: Choice(0) for address, _ in _inner(root) if estimate[address] < threshold}


def recorded_policy(
    root: Node, policy: Policy, pieces: Mapping[Address, tuple[str, int]], *, prompt: str = ""
) -> dict[Address, Choice]:
    """Return what a policy that reads text does on a tree, by running it along every scenario.

    pieces: at every inner node below the root the text of the stage that ends there, and how many tokens it has. The
    decision after a piece is the choice at its node; that before the first, of a run that has one (`begin`), the choice
    at the root. Raises `AssertionError`, naming the node, where runs that have
    seen the same text decide differently: such a policy is no function of what is known, F_k (theory §1), and none of
    the statements apply to it.
    """
    choices: dict[Address, Choice] = {}
    for scenario in tree.scenarios(root):
        run = policy.start(prompt)
        begin = getattr(run, "begin", None)
        for k in range(0 if begin else 1, len(scenario.costs)):
            address = scenario.leaf[:k]
            decision = run.feed(*pieces[address]) if k or begin is None else begin()
            action = Action.CONTINUE if decision is None else decision.action
            choice = Choice(int(action is Action.CONTINUE), int(action is Action.EXIT))
            seen = choices.setdefault(address, choice)
            _check(seen == choice, "§1", f"node {address}: decided {choice} after {seen} on the same text")
            if action is not Action.CONTINUE:
                break
    return choices


def fractions(*, largest: int = 4) -> st.SearchStrategy[Fraction]:
    """Draw fractions between 0 and `largest` with small denominators."""
    return st.builds(Fraction, st.integers(0, 2 * largest), st.sampled_from([1, 2, 3])).filter(lambda x: x <= largest)


@st.composite
def trees(draw: st.DrawFn, *, depth: int = 3, width: int = 3, exits: bool = False, binary: bool = False) -> Node:
    """Draw a tree of at most `depth` stages with at most `width` branches per node, all numbers Fractions.

    exits: EXIT may be available. binary: U is 0 or 1 at leaves (U = A), else a fraction up to 1.
    """
    utility = st.sampled_from([Fraction(i, 3) for i in range(0, 4, 3 if binary else 1)])

    def grow(left: int, *, root: bool = False) -> Node:
        n = draw(st.integers(1 if root else 0, width if left else 0))
        if not n:
            return Node(utility=draw(utility))
        weights = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n).filter(any))
        branches = tuple(Branch(Fraction(w, sum(weights)), draw(fractions()), grow(left - 1)) for w in weights)
        if exits and draw(st.booleans()):
            return Node(branches, exit_cost=draw(fractions(largest=2)), exit_utility=draw(utility))
        return Node(branches)

    return grow(depth, root=True)


@st.composite
def tree_policies(draw: st.DrawFn, root: Node, *, randomised: bool = True) -> dict[Address, Choice]:
    """Draw a policy on a tree; it exits only where EXIT is available."""
    shares = st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(1, 2), Fraction(1)][:: 1 if randomised else 3])
    policy = {}
    for address, node in _inner(root):
        q = draw(shares)
        policy[address] = Choice(q, (1 - q) * draw(shares) if node.exit_cost is not None else Fraction(0))
    return policy


@st.composite
def survival_policies(draw: st.DrawFn, root: Node) -> dict[Address, Choice]:
    """Draw a roulette: a survival probability in (0, 1] at every node [T7]."""
    shares = st.sampled_from([Fraction(1, 5), Fraction(1, 3), Fraction(1, 2), Fraction(1)])
    return {address: Choice(draw(shares)) for address, _ in _inner(root)}


@st.composite
def estimates(draw: st.DrawFn, root: Node, *, calibrated: bool) -> dict[Address, Any]:
    """Draw a validator: the true M everywhere if calibrated, else wrong at one inner node or more."""
    truth = {address: tree.tree_finish(node)[0] for address, node in tree.nodes(root)}
    if calibrated:
        return truth
    wrong = draw(st.sets(st.sampled_from(sorted(address for address, _ in _inner(root))), min_size=1))
    return {a: M + draw(st.sampled_from([-1, 1])) * Fraction(1, 7) if a in wrong else M for a, M in truth.items()}


@st.composite
def stage_estimates(draw: st.DrawFn, process: StageProcess, *, calibrated: bool) -> tuple[Vector, ...]:
    """Draw a validator on a stage process, K + 1 vectors `[S_k]`: the true M if calibrated, else wrong somewhere.

    Somewhere is a state before checkpoint K that is reached with positive probability.
    """
    truth = prospects(process).utility
    if calibrated:
        return truth
    places = [(k, int(s)) for k, mass in enumerate(reach(process)[:-1]) for s in np.flatnonzero(mass)]
    wrong = draw(st.sets(st.sampled_from(places), min_size=1))
    shift = [np.zeros(M.size) for M in truth]
    for k, s in sorted(wrong):
        shift[k][s] = draw(st.sampled_from([-0.125, 0.125]))
    return tuple(M + by for M, by in zip(truth, shift, strict=True))


@st.composite
def processes(draw: st.DrawFn, *, stages: int = 4, states: int = 4, exits: bool = False) -> StageProcess:
    """Draw a stage process of at most this many stages and states, some transitions and costs zero."""
    K = draw(st.integers(1, stages))
    sizes = [draw(st.integers(1, states)) for _ in range(K + 1)]
    weights = st.integers(0, 5)

    def rows(n: int, size: int) -> Any:
        drawn = [draw(st.lists(weights, min_size=size, max_size=size).filter(any)) for _ in range(n)]
        return np.array([[w / sum(row) for w in row] for row in drawn])

    def vector(size: int, scale: float) -> Any:
        return np.array(draw(st.lists(weights, min_size=size, max_size=size))) * scale

    initial, utility = rows(1, sizes[0])[0], vector(sizes[-1], 0.2)
    transitions = tuple(rows(n, size) for n, size in pairwise(sizes))
    assume(reduce(np.matmul, transitions, initial) @ utility > 0)
    return StageProcess(
        transitions=transitions,
        stage_costs=tuple(vector(n, 10.0) for n in sizes[:-1]),
        utility=utility,
        initial=initial,
        prompt_cost=float(draw(weights)),
        exit_costs=tuple(vector(n, 5.0) for n in sizes[:-1]) if exits else (),
        exit_utilities=tuple(vector(n, 0.2) for n in sizes[:-1]) if exits else (),
    )


@st.composite
def stage_policies(draw: st.DrawFn, process: StageProcess) -> StagePolicy:
    """Draw a randomised policy on a stage process; it exits only where EXIT is available."""
    shares = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    continuing = [np.array([draw(shares) for _ in range(size)]) for size in process.sizes[:-1]]
    exiting = [
        np.array([(1 - q) * draw(shares) if np.isfinite(X) else 0.0 for q, X in zip(q_k, X_k, strict=True)])
        for q_k, X_k in zip(continuing, process.exit_costs, strict=True)
    ]
    return StagePolicy(tuple(continuing), tuple(exiting))


def survival(policy: TreePolicy, address: Address) -> Any:
    """Return the probability that an attempt on its way to a node is still alive there."""
    return math.prod(_choice(policy, address[:k]).continuing for k in range(len(address)))


def stop_checkpoint(policy: TreePolicy, scenario: Scenario) -> int:
    """Return the checkpoint at which a deterministic policy discards a scenario; its length if never."""
    n = len(scenario.costs)
    return next((k for k in range(n) if not _choice(policy, scenario.leaf[:k]).continuing), n)


def _check(holds: bool, statement: str, message: str) -> None:
    if not holds:
        raise AssertionError(f"{statement} {message}")


def _short(number: Any) -> str:
    """Return a number as it is, but a Fraction that stands for a float as that float."""
    return f"{float(number):g}" if isinstance(number, Fraction) and number.denominator > 10**6 else str(number)


def _hold(statement: str, root: Node, policy: TreePolicy, wrong: Callable[[Node, TreePolicy, Address], str]) -> None:
    """Check a statement about a tree and a policy; if it is wrong, name the deepest node below which it is.

    `wrong` says what is, of the tree below a node, the policy there, and the node's address in the whole tree.
    """
    if not wrong(root, policy, ()):
        return
    for address, node in sorted(_inner(root), key=lambda place: -len(place[0])):
        message = wrong(node, _below(policy, address), address)
        _check(not message, statement, f"node {address}: {message}")


def _inner(root: Node) -> list[tuple[Address, Node]]:
    return [(address, node) for address, node in tree.nodes(root) if node.branches]


def _below(policy: TreePolicy, address: Address) -> TreePolicy:
    n = len(address)
    return {place[n:]: choice for place, choice in policy.items() if place[:n] == address}


def _choice(policy: TreePolicy, address: Address) -> Choice:
    return policy.get(address, tree.CONTINUE)


def _arrives(root: Node, policy: TreePolicy, address: Address) -> Any:
    """Probability of arriving at a node under the policy."""
    probability, node = survival(policy, address), root
    for i in address:
        probability *= node.branches[i].probability
        node = node.branches[i].node
    return probability
