"""The statements [T1]-[T9] and [T12] as properties of random trees and processes; each is shown to fail.

Tree properties are exact: Fractions, no tolerance. Array code must agree with them to 1e-12.
`test_properties_can_fail` breaks the code under test in one place at a time, at source level, and demands
that a property turns red.
"""

import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from msifr_policy import testing as t
from msifr_policy.errors import InputError
from msifr_policy.exact.tree import Choice, Node
from msifr_policy.policy import Action, Decision
from msifr_policy.testing.policies import stop_checkpoint, survival

# By name, because the package may export functions of the same names.
belief, evaluate, gaussian, hazard, martingale, optimum, prices, process, quota, roulette, tree = map(
    import_module,
    [
        "msifr_policy.exact.hidden",
        "msifr_policy.exact.evaluation",
        "msifr_policy.exact.gaussian",
        "msifr_policy.exact.hazard",
        "msifr_policy.exact.martingale",
        "msifr_policy.exact.optimum",
        "msifr_policy.exact.prices",
        "msifr_policy.exact.process",
        "msifr_policy.exact.quota",
        "msifr_policy.exact.roulette",
        "msifr_policy.exact.tree",
    ],
)
Data = st.DataObject
near = pytest.approx


def close(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    expected = np.asarray(expected, float)
    np.testing.assert_allclose(
        np.asarray(actual, float),
        expected,
        rtol=tolerance,
        atol=tolerance * (1 + np.abs(expected).max(initial=0)),
    )


def all_policies(root: Node) -> list[dict[tuple[int, ...], Choice]]:
    """Every deterministic policy on a tree."""
    inner = [(address, node) for address, node in tree.nodes(root) if node.branches]
    options = [[Choice(1), Choice(0), *([Choice(0, 1)] if node.exit_cost is not None else [])] for _, node in inner]
    addresses = [address for address, _ in inner]
    return [dict(zip(addresses, choices, strict=True)) for choices in itertools.product(*options)]


def accepted_tree(data: Data, **options: Any) -> Node:
    root = data.draw(t.trees(**options))
    assume(tree.tree_finish(root)[0] > 0)
    return root


def keeping(data: Data, root: Node) -> dict[tuple[int, ...], Choice]:
    policy = data.draw(t.tree_policies(root))
    assume(tree.tree_evaluate(root, policy).utility_kept > 0)
    return policy


# --- exact statements on trees


def saving_identity(data: Data) -> None:
    root = data.draw(t.trees())
    t.assert_saving_identity(root, data.draw(t.tree_policies(root)))


def break_even(data: Data) -> None:
    root = accepted_tree(data)
    t.assert_break_even(root, keeping(data, root), prompt_cost=data.draw(t.fractions()))


def earliness(data: Data) -> None:
    root = data.draw(t.trees())
    later = data.draw(t.tree_policies(root, randomised=False))
    discarded = {s.leaf for s in tree.scenarios(root) if stop_checkpoint(later, s) < len(s.costs)}
    doomed = [
        address
        for address, node in tree.nodes(root)
        if node.branches and all(s.leaf in discarded for s in tree.scenarios(root) if s.leaf[: len(address)] == address)
    ]
    sooner = data.draw(st.sets(st.sampled_from(doomed))) if doomed else set()
    t.assert_earlier_is_cheaper(root, {**later, **dict.fromkeys(sooner, Choice(0))}, later)


def optional_stopping(data: Data) -> None:
    root = data.draw(t.trees(exits=True))
    t.assert_optional_stopping(root, data.draw(t.tree_policies(root)))


def validator_stopping(data: Data) -> None:
    """The statements hold for policies of any validator; [T4] with its own estimate needs calibration."""
    root = accepted_tree(data)
    calibrated = data.draw(st.booleans())
    estimate = data.draw(t.estimates(root, calibrated=calibrated))
    policy = t.threshold_policy(root, estimate, data.draw(t.fractions(largest=1)))
    t.assert_saving_identity(root, policy)
    t.assert_optional_stopping(root, policy)
    if calibrated:
        t.assert_calibrated(root, estimate)
        t.assert_optional_stopping(root, policy, estimate)
    else:
        with pytest.raises(AssertionError, match="node"):
            t.assert_calibrated(root, estimate)


def retained_shift(data: Data) -> None:
    root = accepted_tree(data)
    t.assert_retained_shift(root, keeping(data, root))


def bias_bound(data: Data) -> None:
    root = accepted_tree(data)
    groups = {s.leaf: data.draw(st.sampled_from("ab")) for s in tree.scenarios(root)}
    t.assert_bias_bound(root, keeping(data, root), groups)


def roulette_unbiased(data: Data) -> None:
    root = data.draw(t.trees())
    t.assert_roulette_unbiased(root, data.draw(t.survival_policies(root)))


def optimal_choices(data: Data) -> None:
    root = accepted_tree(data, exits=True)
    prompt_cost = data.draw(t.fractions())
    best = tree.tree_solve(root, prompt_cost=prompt_cost)
    t.assert_optimal(root, best.policy, prompt_cost=prompt_cost)
    assert all(before > after for before, after in pairwise(best.prices))


def optimum_is_brute_force(data: Data) -> None:
    exits = data.draw(st.booleans())
    root = accepted_tree(data, depth=2 if exits else 3, width=2, exits=exits)
    prompt_cost = data.draw(t.fractions())
    every = [tree.tree_evaluate(root, policy, prompt_cost=prompt_cost) for policy in all_policies(root)]
    least = min(result.cost_per_accepted for result in every if result.utility_kept > 0)
    best = tree.tree_solve(root, prompt_cost=prompt_cost)
    assert best.price == least
    assert tree.tree_evaluate(root, best.policy, prompt_cost=prompt_cost).cost_per_accepted == least


# --- arrays agree with exact trees


def arrays_evaluate(data: Data) -> None:
    root = accepted_tree(data, exits=True)
    policy, prompt_cost = data.draw(t.tree_policies(root)), data.draw(t.fractions())
    exact = tree.tree_evaluate(root, policy, prompt_cost=prompt_cost)
    chain, stage_policy = tree.tree_process(root, prompt_cost=prompt_cost), tree.tree_policy(root, policy)
    reasons = [[str(a) for a in here] for here in tree.tree_states(root)[:-1]]
    result = evaluate.evaluate(chain, stage_policy, reasons=reasons)
    for name in ("tokens", "tokens_full", "utility_kept", "utility_full", "utility_lost", "discarded", "exited"):
        close(getattr(result, name), getattr(exact, name))
    for name in ("saving_rate", "false_reject_rate", *(["cost_per_accepted"] if exact.utility_kept else [])):
        close(getattr(result, name), getattr(exact, name))
    close(result.cost_by_stage.sum() + result.exit_cost_by_checkpoint.sum(), exact.tokens)
    close(sum(result.lost_by_reason.values()), exact.utility_lost)
    close(sum(result.discards_by_reason.values()), exact.discarded)
    finished = process.prospects(chain)
    by_address = dict(tree.nodes(root))
    for k, here in enumerate(tree.tree_states(root)):
        both = [tree.tree_finish(by_address[address]) for address in here]
        close(finished.utility[k], [M for M, _ in both])
        close(finished.remaining_cost[k], [r for _, r in both])


def unrolled(data: Data) -> None:
    """A process, whose states have many histories, is its tree: arrays agree with it and the statements hold on it."""
    chain = data.draw(t.processes(stages=3, states=3, exits=data.draw(st.booleans())))
    policy = data.draw(t.stage_policies(chain))
    root, choices = tree.unroll(chain, policy)
    exact, result = tree.tree_evaluate(root, choices), evaluate.evaluate(chain, policy)
    for name in (field.name for field in dataclasses.fields(exact)):
        close(getattr(result, name), getattr(exact, name))
    t.assert_optional_stopping(root, choices)
    if not result.exited:
        t.assert_saving_identity(root, choices)
        t.assert_break_even(root, choices)
        t.assert_retained_shift(root, choices)
        t.assert_bias_bound(root, choices)
    best = optimum.solve(chain)
    t.assert_optimal(*tree.unroll(chain, best.policy), tolerance=Fraction(1, 10**9))


def backward_is_forward(data: Data) -> None:
    chain = data.draw(t.processes(exits=True))
    policy = data.draw(t.stage_policies(chain))
    result = evaluate.evaluate(chain, policy)
    u, tokens = evaluate.values(chain, policy)
    close(chain.initial @ u[0], result.utility_kept)
    close(chain.prompt_cost + chain.initial @ tokens[0], result.tokens)
    assert result.cost_per_accepted >= optimum.solve(chain).price * (1 - 1e-12)
    if result.exited == 0 and result.utility_kept > 0:
        close(result.net_cost_factor, (1 - result.saving_rate) / (1 - result.false_reject_rate))


def checkpoint_value(data: Data) -> None:
    chain = data.draw(t.processes(exits=True))
    policy = optimum.solve_prices(chain, [optimum.solve(chain).price * 1.1]).policy(0)
    before = evaluate.evaluate(chain, policy).cost_per_accepted
    for k, gain in enumerate(evaluate.checkpoint_values(chain, policy)):

        def without(vectors: Any, fill: float, k: int = k) -> Any:
            return tuple(np.full(v.size, fill) if j == k else v for j, v in enumerate(vectors))

        other = evaluate.StagePolicy(without(policy.continuing, 1.0), without(policy.exiting, 0.0))
        close(gain, evaluate.evaluate(chain, other).cost_per_accepted - before, 1e-9)


def mixing(data: Data) -> None:
    chain = data.draw(t.processes(exits=True))
    first, second = data.draw(t.stage_policies(chain)), data.draw(t.stage_policies(chain))
    w = data.draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    a, b, both = (evaluate.evaluate(chain, p) for p in (first, second, evaluate.mix(chain, first, second, w)))
    for name in ("tokens", "utility_kept", "utility_lost", "discarded"):
        close(getattr(both, name), (1 - w) * getattr(a, name) + w * getattr(b, name))


def products(data: Data) -> None:
    """`pull` and `push` in blocks are plain products."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    P, X, mass = rng.random((7, 5)), rng.random((5, 2)), rng.random(7)
    close(process.pull(P, X, block_bytes=2 * 5 * 8), P @ X)
    close(process.push(mass, P, block_bytes=2 * 5 * 8), mass @ P)


# --- optima


def arrays_optimum(data: Data) -> None:
    root = accepted_tree(data, exits=True)
    prompt_cost = data.draw(t.fractions())
    exact = tree.tree_solve(root, prompt_cost=prompt_cost)
    chain = tree.tree_process(root, prompt_cost=prompt_cost)
    best = optimum.solve(chain)
    close(best.price, exact.price)
    close(evaluate.evaluate(chain, best.policy).cost_per_accepted, exact.price)
    close(best.residual, 0.0, 1e-10)
    assert all(before > after for before, after in pairwise(best.prices))
    close(optimum.solve(chain, start=3 * float(exact.price)).price, exact.price)
    for price in (exact.price + Fraction(1, 2), exact.price * 2):
        value, _ = tree.tree_induct(root, price)
        found = optimum.solve_prices(chain, [float(price)])
        close(float(price) * found.utility_kept[0] - found.tokens[0], value - prompt_cost)
        reached = evaluate.evaluate(chain, found.policy(0))
        close([reached.tokens, reached.utility_kept], [found.tokens[0], found.utility_kept[0]])


def frontier_is_hull(data: Data) -> None:
    """[T9] The frontier's vertices are those of the brute-force hull, and budgets lie on it."""
    exits = data.draw(st.booleans())
    root = accepted_tree(data, depth=2 if exits else 3, width=2, exits=exits)
    chain = tree.tree_process(root)
    points = {
        (result.utility_kept, result.tokens)
        for result in (tree.tree_evaluate(root, policy) for policy in all_policies(root))
    }
    hull = lower_hull(points)
    found = optimum.frontier(chain)
    kept, tokens = found.utility_kept, found.tokens
    exact = [(float(u), float(c)) for u, c in hull if u >= Fraction(kept[-1]) - Fraction(1, 10**9)]
    close(sorted(zip(kept, tokens, strict=True)), sorted(exact), 1e-10)
    for i in range(kept.size):
        result = evaluate.evaluate(chain, found.policy(i))
        close([result.utility_kept, result.tokens], [kept[i], tokens[i]], 1e-10)
    capped = optimum.frontier(chain, max_points=3)
    assert set(np.round(capped.utility_kept, 9)) <= set(np.round(kept, 9))
    alpha = data.draw(st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]))
    budget = optimum.solve_budget(chain, alpha)
    result = evaluate.evaluate(chain, budget.policy)
    loss = 1 - result.utility_kept / result.utility_full
    assert loss <= alpha + 1e-9
    close([budget.saving_rate, budget.utility_loss], [result.saving_rate, loss], 1e-9)
    ends = (evaluate.evaluate(chain, vertex).utility_loss for vertex in (budget.conservative, budget.aggressive))
    close(np.dot([1 - budget.weight, budget.weight], list(ends)), loss, 1e-9)
    target = Fraction(1 - alpha) * tree.tree_finish(root)[0]
    ratios = [
        interpolate(hull, u) / u
        for u in {target, *(u for u, _ in hull)}
        if u >= target and u > 0 and hull[0][0] <= u <= hull[-1][0]
    ]
    close(result.cost_per_accepted, min(ratios), 1e-9)


def lower_hull(points: set[tuple[Fraction, Fraction]]) -> list[tuple[Fraction, Fraction]]:
    """Vertices (u, t) of the least t for each u, by rising u (Andrew's monotone chain)."""
    least: dict[Fraction, Fraction] = {}
    for u, c in points:
        least[u] = min(c, least.get(u, c))
    hull: list[tuple[Fraction, Fraction]] = []
    for u, c in sorted(least.items()):
        while len(hull) > 1 and (hull[-1][1] - hull[-2][1]) * (u - hull[-2][0]) >= (c - hull[-2][1]) * (
            hull[-1][0] - hull[-2][0]
        ):
            hull.pop()
        hull.append((u, c))
    return hull


def interpolate(hull: list[tuple[Fraction, Fraction]], u: Fraction) -> Fraction:
    for (a, c), (b, d) in pairwise(hull):
        if a <= u <= b:
            return c + (d - c) * (u - a) / (b - a)
    return next(c for a, c in hull if a == u)


def linear_program(data: Data) -> None:
    """[T8] The ratio optimum as a linear program over occupation measures (Charnes and Cooper, 1962)."""
    chain = data.draw(t.processes(exits=True, stages=3))
    sizes, K = chain.sizes, chain.K
    going = np.concatenate([[0], np.cumsum(sizes)])  # y_k(s, CONTINUE); at K, y_K(s)
    leaving = going[-1] + np.concatenate([[0], np.cumsum(sizes[:-1])])  # y_k(s, EXIT)
    stopping = leaving[-1] + np.concatenate([[0], np.cumsum(sizes[:-1])])  # y_k(s, DISCARD)
    z = stopping[-1]
    cost, gain = np.zeros(z + 1), np.zeros(z + 1)
    cost[z] = chain.prompt_cost
    gain[going[K] : going[K + 1]] = chain.utility
    flow = np.zeros((going[-1], z + 1))
    for k in range(K + 1):
        rows = slice(going[k], going[k + 1])
        flow[rows, going[k] : going[k + 1]] = np.eye(sizes[k])
        if k < K:
            cost[going[k] : going[k + 1]] = chain.stage_costs[k]
            cost[leaving[k] : leaving[k + 1]] = chain.exit_costs[k]
            gain[leaving[k] : leaving[k + 1]] = chain.exit_utilities[k]
            flow[rows, leaving[k] : leaving[k + 1]] = np.eye(sizes[k])
            flow[rows, stopping[k] : stopping[k + 1]] = np.eye(sizes[k])
        if k:
            flow[rows, going[k - 1] : going[k]] -= chain.transitions[k - 1].T
        else:
            flow[rows, z] = -chain.initial
    answer = linprog(
        cost,
        A_eq=np.vstack([flow, gain]),
        b_eq=np.append(np.zeros(len(flow)), 1.0),
        bounds=(0, None),
        method="highs",
    )
    assert answer.status == 0
    close(optimum.solve(chain).price, answer.fun, 1e-7)


def kept_checkpoints(data: Data) -> None:
    chain = data.draw(t.processes(exits=data.draw(st.booleans()), stages=3))
    costs = np.array([data.draw(st.sampled_from([0.0, 0.5, 3.0])) for _ in range(chain.K)])
    found = optimum.keep_checkpoints(chain, costs)
    ahead = [r > 0 for r in process.prospects(chain).remaining_cost]
    least = evaluate.evaluate(chain, evaluate.never_discard(chain)).cost_per_accepted
    for n in range(1, chain.K + 1):
        for kept in itertools.combinations(range(chain.K), n):
            least = min(least, looking_price(chain, kept, costs, ahead))
    close(found.price, least, 1e-10)
    close(found.price_without, evaluate.evaluate(chain, evaluate.never_discard(chain)).cost_per_accepted)
    result = evaluate.evaluate(chain, found.policy)
    looks = sum(costs[k] * (result.arriving[k] @ ahead[k]) for k in found.checkpoints)
    close((result.tokens + looks) / result.utility_kept, found.price, 1e-10)


def looking_price(chain: Any, kept: Any, costs: Any, ahead: Any) -> float:
    """λ* when the kept checkpoints cost something: paying to look is a stage of its own before the
    decision."""
    transitions, stage_costs, exit_costs, exit_utilities = [], [], [], []
    for k, P in enumerate(chain.transitions):
        size = P.shape[0]
        transitions += [np.eye(size), P]
        stage_costs += [costs[k] * ahead[k] if k in kept else np.zeros(size), chain.stage_costs[k]]
        if chain.has_exit:
            exit_costs += [np.full(size, np.inf), chain.exit_costs[k]]
            exit_utilities += [np.zeros(size), chain.exit_utilities[k]]
    longer = process.StageProcess(
        tuple(transitions),
        tuple(stage_costs),
        chain.utility,
        chain.initial,
        chain.prompt_cost,
        tuple(exit_costs),
        tuple(exit_utilities),
    )
    return optimum.solve(longer, checkpoints=[2 * k + 1 for k in kept]).price


def hidden_states(data: Data) -> None:
    """Beliefs: nothing is lost if everything is seen, and seeing less never helps."""
    chain = data.draw(t.processes(exits=True, stages=3, states=3))
    full = optimum.solve(chain).price
    close(optimum.solve(belief.hide(chain, [np.arange(n) for n in chain.sizes])).price, full, 1e-10)
    labels = [np.array([data.draw(st.integers(0, 1)) for _ in range(n)]) for n in chain.sizes]
    seen = belief.hide(chain, labels)
    assert optimum.solve(seen).price >= full * (1 - 1e-10)
    a, b = (evaluate.evaluate(p, evaluate.never_discard(p)) for p in (chain, seen))
    close([a.tokens, a.utility_kept], [b.tokens, b.utility_kept])
    blind = belief.hide(chain, [np.zeros(n) for n in chain.sizes])
    assert blind.sizes == (1,) * (chain.K + 1)


# --- lengths, prompts and prices


def lengths_tell_nothing(data: Data) -> None:
    """Finishing early leaves M as it is, and what is saved is the cost that was ahead."""
    chain = data.draw(t.processes(exits=data.draw(st.booleans())))
    as_sparse = data.draw(st.booleans())
    if as_sparse:
        chain = dataclasses.replace(chain, transitions=tuple(map(sp.csr_array, chain.transitions)))
    shares = st.sampled_from([0.0, 0.25, 1.0])
    finishing = [np.array([data.draw(shares) for _ in range(n)]) for n in chain.sizes[1:-1]]
    shorter = process.random_lengths(chain, finishing)
    assert all(sp.issparse(P) == as_sparse for P in shorter.transitions)
    before, after = process.prospects(chain), process.prospects(shorter)
    r = np.zeros(chain.sizes[-1])
    for k in reversed(range(chain.K + 1)):
        n = chain.sizes[k]
        if k < chain.K:
            going = 1 - finishing[k] if k + 1 < chain.K else np.ones(chain.sizes[k + 1])
            r = chain.stage_costs[k] + chain.transitions[k] @ (going * r)
        close(after.utility[k][:n], before.utility[k])
        close(after.remaining_cost[k][:n], r)
        close(after.remaining_cost[k][n:], np.zeros(2 * (k > 0)))
    if not chain.has_exit:  # what finishes cannot EXIT any more, which may be worth more than finishing
        assert optimum.solve(shorter).price <= optimum.solve(chain).price * (1 + 1e-12)


def mixture_is_its_classes(data: Data) -> None:
    """Prompts of different difficulty and length: every number per attempt is the weighted mean of the classes'."""
    chains = [data.draw(t.processes(stages=3, states=3, exits=data.draw(st.booleans()))) for _ in range(2)]
    policies = [data.draw(t.stage_policies(chain)) for chain in chains]
    w = data.draw(st.sampled_from([0.25, 0.5]))
    both = process.mixture([w, 1 - w], chains)
    assert max(chain.K for chain in chains) == both.K
    columns: list[list[Any]] = [[], []]
    for k in range(both.K):
        for column, vectors in zip(columns, ("continuing", "exiting"), strict=True):
            parts = []
            for chain, policy in zip(chains, policies, strict=True):
                given = getattr(policy, vectors)
                default = np.full(chain.sizes[min(k, chain.K)], float(vectors == "continuing"))
                parts.append(given[k] if k < len(given) else default)
            column.append(np.concatenate(parts))
    result = evaluate.evaluate(both, evaluate.StagePolicy(tuple(columns[0]), tuple(columns[1])))
    easy, hard = (evaluate.evaluate(chain, policy) for chain, policy in zip(chains, policies, strict=True))
    for name in ("tokens", "tokens_full", "utility_kept", "utility_full", "utility_lost", "discarded", "exited"):
        close(getattr(result, name), w * getattr(easy, name) + (1 - w) * getattr(hard, name))


def paid_validators(data: Data) -> None:
    """Paying in the stage that ends at a checkpoint is paying in a stage of its own before the decision."""
    chain = data.draw(t.processes(exits=data.draw(st.booleans()), stages=3))
    kept = data.draw(st.sets(st.sampled_from(range(chain.K))))
    costs = np.array([data.draw(st.sampled_from([0.0, 0.5, 3.0])) for _ in range(chain.K)])
    ahead = [r > 0 for r in process.prospects(chain).remaining_cost]
    best = optimum.keep_checkpoints(chain, costs)
    charged = prices.charge_checkpoints(chain, [cost * (k in kept) for k, cost in enumerate(costs)])
    price = optimum.solve(charged, checkpoints=kept).price
    close(price, looking_price(chain, kept, costs, ahead), 1e-10)
    assert best.price <= price * (1 + 1e-10)
    looks = prices.charge_checkpoints(chain, [cost * (k in best.checkpoints) for k, cost in enumerate(costs)])
    if best.checkpoints:
        close(evaluate.evaluate(looks, best.policy).cost_per_accepted, best.price, 1e-10)


# --- martingales and roulette on arrays


def martingale_on_arrays(data: Data) -> None:
    chain = data.draw(t.processes(exits=True))
    policy = data.draw(t.stage_policies(chain))
    M = process.prospects(chain).utility
    close(martingale.optional_stopping(chain, policy).gap, 0.0)
    close(martingale.optional_stopping(chain, policy, M[:-1]).gap, 0.0)
    for change in martingale.drift(chain, M):
        close(change, np.zeros(change.size))
    bets = [np.array([data.draw(st.sampled_from([-0.5, 0.0, 0.8])) for _ in range(n)]) for n in chain.sizes[:-1]]
    close(martingale.bet_expectation(chain, M, bets), 1.0)
    calibrated = data.draw(st.booleans())
    estimate = data.draw(t.stage_estimates(chain, calibrated=calibrated))
    assert calibrated == all(np.abs(change).max() < 1e-12 for change in martingale.drift(chain, estimate))
    wrong = [M_k + 0.1 * (k == 0) for k, M_k in enumerate(M)]
    close(martingale.drift(chain, wrong)[0], np.full(chain.sizes[0], -0.1))
    first = [np.full(n, float(k == 0)) for k, n in enumerate(chain.sizes[:-1])]
    close(martingale.bet_expectation(chain, wrong, first), 0.9)


def shift_and_bias_on_arrays(data: Data) -> None:
    root = accepted_tree(data)
    policy = keeping(data, root)
    chain, stage_policy = tree.tree_process(root), tree.tree_policy(root, policy)
    leaves = tree.tree_states(root)[-1]
    groups = [data.draw(st.sampled_from("ab")) for _ in leaves]
    shares = {s.leaf: s.probability * s.utility for s in tree.scenarios(root)}
    kept = {s.leaf: shares[s.leaf] * survival(policy, s.leaf) for s in tree.scenarios(root)}
    bounds = martingale.bias_bound(chain, stage_policy, groups)
    for name, bound in bounds.items():
        inside = [leaf for leaf, group in zip(leaves, groups, strict=True) if name in ("", group)]
        total, rest = (sum(law[leaf] for leaf in inside) for law in (shares, kept))
        close(bound.false_reject_rate, 1 - rest / total)
        if rest:
            exact = sum(abs(kept[leaf] / rest - shares[leaf] / total) for leaf in inside) / 2
            close(bound.bias, exact, 1e-10)
            assert bound.bias <= bound.false_reject_rate + 1e-12
            if bound.false_reject_rate > 1e-9:
                close(bound.bias, bound.false_reject_rate * bound.contrast, 1e-10)
    exact_result = tree.tree_evaluate(root, policy)
    shift = martingale.retained_shift(chain, stage_policy)
    retained = 1 - exact_result.discarded
    close(shift.utility_retained, exact_result.utility_kept / retained, 1e-10)
    close(shift.shift, exact_result.utility_kept / retained - exact_result.utility_full, 1e-10)


def roulette_moments(data: Data) -> None:
    root = accepted_tree(data)
    policy = data.draw(t.survival_policies(root))
    chain, stage_policy = tree.tree_process(root), tree.tree_policy(root, policy)
    moments = roulette.roulette_moments(chain, stage_policy)
    laws = [(s.probability * s.utility, survival(policy, s.leaf)) for s in tree.scenarios(root)]
    close(moments.tokens, tree.tree_evaluate(root, policy).tokens)
    close(moments.weight, sum(p for p, _ in laws))
    close(moments.second_moment, sum(p / q for p, q in laws))
    cap = data.draw(st.sampled_from([1, 2, 5, 1000]))
    capped = roulette.capped_moments(chain, stage_policy, cap)
    mean = sum(p * q * min(1 / q, cap) for p, q in laws)
    close(capped.bias, mean - sum(p for p, _ in laws))
    close(capped.variance, sum(p * q * min(1 / q, cap) ** 2 for p, q in laws) - mean**2)


def roulette_optimum(data: Data) -> None:
    """[T7] No survival probabilities beat the fixed point; on a tree it is min(1, w/w*)."""
    root = accepted_tree(data)
    chain = tree.tree_process(root, prompt_cost=1)
    best = roulette.optimal_roulette(chain, tolerance=1e-8, max_steps=500)
    least = best.moments.cost_per_effective
    other = tree.tree_policy(root, data.draw(t.survival_policies(root)))
    assert roulette.roulette_moments(chain, other).cost_per_effective >= least * (1 - 1e-7)
    near_by = tuple(np.minimum(1, q * data.draw(st.sampled_from([0.9, 1.0, 1.1]))) for q in best.policy.continuing)
    moved = roulette.roulette_moments(chain, evaluate.StagePolicy(near_by))
    assert moved.cost_per_effective >= least * (1 - 1e-9)
    D, B = roulette.arrivals(chain, best.policy)
    for k, q in enumerate(best.policy.continuing):
        reached = (D[k] > 0) & (q > 0)
        w = np.sqrt(B[k][reached] / D[k][reached])
        u = second_moments(chain, best.policy)[k][reached]
        r = evaluate_remaining(chain, best.policy)[k][reached]
        goal = roulette.target_weight(r, u, tokens=best.moments.tokens, total_second_moment=best.moments.second_moment)
        weight = 0.5 * D[k][reached] * r / best.moments.tokens  # how much each state matters
        assert np.all(np.abs(roulette.survival_probability(w, goal) - q[reached]) * weight <= 1e-5)


def second_moments(chain: Any, policy: Any) -> list[Any]:
    """m_k for k = 0 … K − 1, after continuing at k."""
    m, out = chain.utility, []
    for P, q in zip(reversed(chain.transitions), reversed(policy.continuing), strict=True):
        m = P @ m
        out.append(m)
        m = np.divide(m, q, out=np.zeros_like(m), where=q > 0)
    return out[::-1]


def evaluate_remaining(chain: Any, policy: Any) -> list[Any]:
    """r_k for k = 0 … K − 1, after continuing at k."""
    tokens = evaluate.values(chain, policy)[1]
    return [c + P @ tokens[k + 1] for k, (P, c) in enumerate(zip(chain.transitions, chain.stage_costs, strict=True))]


# --- hazard model and quotas


def hazard_is_process(data: Data) -> None:
    """The closed recursion, exact in Fractions, is the compiled process, and so are its beliefs."""
    share = st.sampled_from([Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(9, 10), Fraction(1)])
    K = data.draw(st.integers(1, 4))

    def drawn() -> tuple[Fraction, ...]:
        return tuple(data.draw(share) for _ in range(K))

    model = hazard.HazardModel(
        drawn(),
        drawn(),
        drawn(),
        Fraction(4, 5),
        data.draw(share),
        tuple(data.draw(t.fractions()) for _ in range(K)),
        2,
    )
    assume(model.accept_faulty > 0 or 1 not in model.hazard)
    keep = [data.draw(share) for _ in range(K - 1)]
    rates = hazard.hazard_rates(model, keep)
    assert isinstance(rates.tokens, Fraction | int)
    assert isinstance(rates.utility_kept, Fraction)
    chain = hazard.hazard_process(model)
    policy = evaluate.StagePolicy((np.ones(1), *(np.array([1, float(q), 1, float(q)]) for q in keep)))
    result = evaluate.evaluate(chain, policy)
    for name in ("tokens", "tokens_full", "saving_rate", "false_reject_rate", "net_cost_factor"):
        if name != "net_cost_factor" or rates.utility_kept:
            close(getattr(result, name), getattr(rates, name))
    seen = belief.hide(chain, hazard.hazard_flags(model))
    assert optimum.solve(seen, checkpoints=range(1, K)).price <= result.cost_per_accepted * (1 + 1e-12)
    assert optimum.solve(chain).price <= optimum.solve(seen).price * (1 + 1e-12)


def gaussian_model(data: Data, **options: Any) -> Any:
    K = data.draw(st.integers(1, 4))
    return gaussian.GaussianModel(
        prior=data.draw(st.sampled_from([0.1, 0.5, 0.8])),
        drift=tuple(data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0])) for _ in range(K)),
        stage_costs=tuple(data.draw(st.sampled_from([0.0, 1.0, 5.0])) for _ in range(K)),
        spacing=data.draw(st.sampled_from([0.25, 0.5])),
        bound=data.draw(st.sampled_from([0.5, 2.0, 6.0])),
        **options,
    )


def gaussian_posterior(data: Data) -> None:
    """M, found by backward recursion, is Bayes' posterior of the state's ℓ, right up to the ends of the grid."""
    model = gaussian_model(data)
    chain, odds = gaussian.gaussian_process(model), np.exp(gaussian.gaussian_grid(model)) * model.prior
    for M in process.prospects(chain).utility:
        close(M, odds / (odds + 1 - model.prior))


def gaussian_false_rejects(data: Data) -> None:
    """f ≤ e^a P(discarded | A = 0) for every policy that only discards where ℓ ≤ a."""
    model = gaussian_model(data, exit_cost=1.0)
    chain, grid = gaussian.gaussian_process(model), gaussian.gaussian_grid(model)
    a = data.draw(st.sampled_from([-0.25, -0.5, -1.5]))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    share = [rng.random(grid.size) * (grid <= a) for _ in range(model.K)]
    exits = [rng.random(grid.size) * (grid > a) for _ in range(model.K)]
    result = evaluate.evaluate(
        chain, evaluate.StagePolicy(tuple(1 - d - x for d, x in zip(share, exits, strict=True)), tuple(exits))
    )
    rejected = (result.discarded - result.utility_lost) / (1 - model.prior)
    assert result.false_reject_rate <= np.exp(a) * rejected * (1 + 1e-9) + 1e-15


def quota_is_brute_force(data: Data) -> None:
    """Every rule for giving up, valued by plain recursion in Fractions."""
    wanted, attempts = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    prior = data.draw(st.sampled_from([(1, 1), (Fraction(1, 10), Fraction(1, 10)), (1, 4), (3, 1)]))
    yes, no, start = (data.draw(t.fractions()) for _ in range(3))
    assume(yes + start > 0)

    def run(stops: set[tuple[int, int]], i: int = 0, j: int = 0) -> tuple[Fraction, Fraction]:
        if i == attempts or j == wanted or (i, j) in stops:
            return Fraction(0), Fraction(0)
        p = Fraction(prior[0] + j) / (prior[0] + prior[1] + i)
        (t_1, u_1), (t_0, u_0) = run(stops, i + 1, j + 1), run(stops, i + 1, j)
        return p * (yes + t_1) + (1 - p) * (no + t_0), p * (1 + u_1) + (1 - p) * u_0

    places = [(i, j) for i in range(1, attempts) for j in range(min(i + 1, wanted))]
    rules = [set(rule) for n in range(len(places) + 1) for rule in itertools.combinations(places, n)]
    found = quota.fill_quota(
        wanted,
        attempts,
        prior=(float(prior[0]), float(prior[1])),
        cost_accepted=float(yes),
        cost_rejected=float(no),
        start_cost=float(start),
    )
    close(found.price, min((start + tokens) / accepted for tokens, accepted in map(run, rules)), 1e-10)
    close(found.cost_per_accepted, found.price, 1e-10)
    tokens, accepted = run({(i, j) for i, j in places if found.give_up[i, j]})
    close([found.tokens, found.accepted], [start + tokens, accepted], 1e-10)


PROPERTIES: dict[str, Callable[[Data], None]] = {
    check.__name__: check
    for check in (
        saving_identity,
        break_even,
        earliness,
        optional_stopping,
        validator_stopping,
        retained_shift,
        bias_bound,
        roulette_unbiased,
        optimal_choices,
        optimum_is_brute_force,
        arrays_evaluate,
        unrolled,
        backward_is_forward,
        checkpoint_value,
        mixing,
        products,
        arrays_optimum,
        frontier_is_hull,
        linear_program,
        kept_checkpoints,
        hidden_states,
        lengths_tell_nothing,
        mixture_is_its_classes,
        paid_validators,
        martingale_on_arrays,
        shift_and_bias_on_arrays,
        roulette_moments,
        roulette_optimum,
        hazard_is_process,
        gaussian_posterior,
        gaussian_false_rejects,
        quota_is_brute_force,
    )
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_property(name: str) -> None:
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def prove(data: Data) -> None:
        PROPERTIES[name](data)

    prove()


# What is broken (module, function or Class.property, old text, new text), and the property that must notice.
MUTANTS = [
    # forget the last stage's cost
    (tree, "_run", "(cost + t, *", "((cost if child.branches else 0) + t, *", "saving_identity"),
    (tree, "_run", "q * p * after", "p * after", "earliness"),
    (tree, "tree_finish", "p * (cost + r)", "p * r", "saving_identity"),
    # stop one stage late: what is discarded still pays
    (tree, "_run", "q * p * after", "p * after", "saving_identity"),
    (evaluate, "evaluate", "going_on @ process", "D @ process", "arrays_evaluate"),
    (evaluate, "evaluate", "where(labels[k] == name, discarding, 0.0)", "asarray(discarding)", "arrays_evaluate"),
    # f over all attempts instead of accepted ones
    (evaluate, "Headline.false_reject_rate", "lost / self.utility_full", "lost", "break_even"),
    (evaluate, "Headline.false_reject_rate", "self.utility_lost / self.utility_full", "self.discarded", "bias_bound"),
    (evaluate, "Headline.false_reject_rate", "self.utility_lost", "self.tokens", "backward_is_forward"),
    (hazard, "hazard_rates", "accepted - kept", "kept", "hazard_is_process"),
    (evaluate, "Headline.saving_rate", "1 - self.tokens", "self.tokens", "break_even"),
    # M that is not calibrated
    (tree, "tree_finish", "sum(p * M for", "sum(M / len(after) for", "optional_stopping"),
    (tree, "tree_finish", "sum(p * M for", "sum(M / len(after) for", "validator_stopping"),
    (tree, "_run", "lost = choice.discarding *", "lost = (1 - q) *", "optional_stopping"),
    (martingale, "RetainedShift.shift", "/ (1 - self.discarded)", "", "retained_shift"),
    (
        martingale,
        "RetainedShift.shift",
        "self.utility_full - self.utility_discarded",
        "self.utility_discarded - self.utility_full",
        "retained_shift",
    ),
    (martingale, "total_variation", "/ 2", "", "bias_bound"),
    (
        martingale,
        "bias_bound",
        "evaluate(process, policy).arriving[-1] * process.utility",
        "evaluate(process, policy).arriving[-1]",
        "shift_and_bias_on_arrays",
    ),
    (
        martingale,
        "retained_shift",
        "result.utility_kept / retained",
        "result.utility_kept",
        "shift_and_bias_on_arrays",
    ),
    (martingale, "drift", "- M[k]", "- M[k] * 0.9", "martingale_on_arrays"),
    (martingale, "bet_expectation", "1 - nu[k] * M[k]", "1 + nu[k] * M[k]", "martingale_on_arrays"),
    # weights without 1/q
    (roulette, "roulette_weight", "weight = weight / q", "weight = weight", "roulette_unbiased"),
    (roulette, "arrivals", "_divide(B[k], q)", "B[k]", "roulette_moments"),
    (roulette, "capped_moments", "min(weight, cap)", "weight", "roulette_moments"),
    (roulette, "_stationarity", "np.sqrt(", "(", "roulette_optimum"),
    (
        roulette,
        "_stationarity",
        "B[k] * m / moments.second_moment",
        "D[k] * m / moments.second_moment",
        "roulette_optimum",
    ),
    # optimum: wrong sign, forgotten cost, stopping short
    (tree, "tree_induct", "onward <= 0 and", "onward >= 0 and", "optimal_choices"),
    (tree, "tree_induct", "- cost)", ")", "optimum_is_brute_force"),
    (
        tree,
        "tree_solve",
        "if not ratio < price",
        "if len(tried) > 1 or not ratio < price",
        "optimum_is_brute_force",
    ),
    (optimum, "_step", "go_on(process, k, onward)", "go_on(process, k, onward) - 0.1", "arrays_optimum"),
    (optimum, "_step", "weight * u - t <= 0", "weight * u - t <= -0.5", "arrays_optimum"),
    (optimum, "_step", "weight * e - X", "weight * e", "linear_program"),
    (optimum, "_dinkelbach", "best.ratio * (1 - _ROUNDING)", "-1.0", "linear_program"),
    (optimum, "_is_above", "gain >", "gain > 0.3 +", "frontier_is_hull"),
    (
        optimum,
        "solve_budget",
        "(1 - alpha) * problem.full.utility",
        "(1 - alpha**2) * problem.full.utility",
        "frontier_is_hull",
    ),
    (optimum, "_best_choice", "seen[:, 1] += costs[k] * problem.ahead[k]", "pass", "kept_checkpoints"),
    (
        optimum,
        "_bound",
        "both, _ = _step(problem, k, both, np.array([price]))",
        "both = go_on(problem.process, k, both) * [0.5, 2.0]",
        "kept_checkpoints",
    ),
    # arrays
    (evaluate, "values", "* policy.continuing[k][:, None]", "* 1.0", "backward_is_forward"),
    (
        evaluate,
        "mix",
        "(1 - weight) * D + weight * E",
        "(1 - weight) * E + weight * D",
        "mixing",
    ),
    (evaluate, "checkpoint_values", "[: k + 1]", "[:k]", "checkpoint_value"),
    (process, "go_on", "+= process.stage_costs[k][:, None]", "+= 0", "arrays_evaluate"),
    (process, "push", "out += mass[rows]", "out = mass[rows]", "products"),
    (process, "pull", ".swapaxes(1, 2)", "", "products"),
    (process, "pull", "P[whole:] @ values", "0.0", "products"),
    (belief, "_split", "part / part.sum()", "part", "hidden_states"),
    (tree, "unroll", "min(x, 1 - q)", "min(x, 1 - q) / 2", "unrolled"),
    (evaluate, "evaluate", "discarding @ M[k]", "D @ M[k]", "unrolled"),
    # lengths, prompts and prices
    (process, "random_lengths", "[share - accepted, accepted]", "[accepted, share - accepted]", "lengths_tell_nothing"),
    (process, "random_lengths", "P * (1 - share), ends]", "P * (1 - share), ends[:, ::-1]]", "lengths_tell_nothing"),
    (
        process,
        "pad",
        "nothing, never = (np.zeros(size),)",
        "nothing, never = (np.ones(size),)",
        "mixture_is_its_classes",
    ),
    (process, "mixture", "p * process.initial for p", "process.initial / len(w) for p", "mixture_is_its_classes"),
    (prices, "charge_checkpoints", "costs[k] * arriving", "costs[k]", "paid_validators"),
    (prices, "charge_checkpoints", "float(costs[0] *", "float(0 *", "paid_validators"),
    # evidence whose log-likelihood ratio is not what the state says
    (gaussian, "_transition", "(information, -information)", "(information, -0.9 * information)", "gaussian_posterior"),
    (gaussian, "_transition", "posterior[:, None] * up", "0.5 * up", "gaussian_posterior"),
    (gaussian, "gaussian_process", "+ grid", "+ 0.5 * grid", "gaussian_false_rejects"),
    (hazard, "hazard_rates", "faulty + clean * h", "clean * h", "hazard_is_process"),
    (hazard, "hazard_process", "[0.0, 0.0, 1 - d, d]", "[0.0, 0.0, 1 - a, a]", "hazard_is_process"),
    (quota, "_induct", "V[1:]", "0.0", "quota_is_brute_force"),
    (
        quota,
        "_follow",
        "accepted += float(hit.sum())",
        "accepted += float(trying.sum())",
        "quota_is_brute_force",
    ),
]


def mutate(patch: pytest.MonkeyPatch, module: Any, name: str, old: str, new: str) -> None:
    """Put a copy of a function with `old` replaced by `new` in its place."""
    owner: Any = module
    *classes, last = name.split(".")
    for each in classes:
        owner = getattr(owner, each)
    original = getattr(owner, last)
    source = textwrap.dedent(inspect.getsource(original.fget if isinstance(original, property) else original))
    assert old in source, f"{old!r} is no longer in {name}"
    made: dict[str, Any] = {}
    exec(compile(source.replace(old, new), f"<mutant of {name}>", "exec"), vars(module), made)  # noqa: S102
    patch.setattr(owner, last, made[last])


@pytest.mark.parametrize(
    ("module", "name", "old", "new", "notices"),
    MUTANTS,
    ids=[f"{m[1]}-{m[4]}-{i}" for i, m in enumerate(MUTANTS)],
)
def test_properties_can_fail(
    module: Any, name: str, old: str, new: str, notices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(
        max_examples=500,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def prove(data: Data) -> None:
        PROPERTIES[notices](data)

    mutate(monkeypatch, module, name, old, new)
    with pytest.raises((AssertionError, InputError)):
        prove()


# --- boundary cases, once each, by hand


def coin(p: Fraction, *, early: Node, late: Node, cost: int = 1) -> Node:
    return Node((tree.Branch(p, cost, early), tree.Branch(1 - p, cost, late)))


def test_one_stage_leaves_nothing_to_decide() -> None:
    root = coin(Fraction(1, 3), early=Node(utility=1), late=Node())
    best = tree.tree_solve(root)
    assert (best.price, best.policy) == (3, {})
    assert optimum.solve(tree.tree_process(root)).price == near(3)


def test_never_accepted_is_an_error_that_says_so() -> None:
    root = coin(Fraction(1, 3), early=Node(), late=Node())
    t.assert_saving_identity(root, {(): Choice(0)})
    t.assert_optional_stopping(root, {(): Choice(Fraction(1, 2))})
    t.assert_roulette_unbiased(root, {(): Choice(Fraction(1, 2))})
    with pytest.raises(InputError, match="acceptance cannot be reached"):
        tree.tree_solve(root)
    with pytest.raises(InputError, match="acceptance cannot be reached"):
        tree.tree_process(root)


def test_always_accepted_is_never_discarded() -> None:
    done = Node(utility=1)
    root = coin(Fraction(1, 2), early=coin(Fraction(1, 2), early=done, late=done), late=done)
    assert tree.tree_solve(root).policy == {}
    assert optimum.solve(tree.tree_process(root)).policy.discarding[1].max() == 0


def test_zero_costs_save_nothing_and_stop_nothing() -> None:
    root = coin(
        Fraction(1, 2),
        early=coin(Fraction(1, 2), early=Node(utility=1), late=Node(), cost=0),
        late=Node(),
        cost=0,
    )
    chain = tree.tree_process(root)
    best = optimum.solve(chain)
    assert best.price == 0
    assert evaluate.evaluate(chain, best.policy).discarded == 0
    assert evaluate.evaluate(chain, best.policy).saving_rate == 0


def two_stages(flag_right: Fraction) -> tuple[Node, dict[tuple[int, ...], Choice]]:
    """A flag after stage 1, right with this probability, on attempts of which half are accepted; discard on a
    flag."""
    good, bad = Node(utility=1), Node(utility=0)
    flagged = Node((tree.Branch(flag_right, 1, bad), tree.Branch(1 - flag_right, 1, good)))
    clean = Node((tree.Branch(flag_right, 1, good), tree.Branch(1 - flag_right, 1, bad)))
    return coin(Fraction(1, 2), early=flagged, late=clean), {(0,): Choice(0)}


def test_validator_that_is_always_right_loses_nothing() -> None:
    root, policy = two_stages(Fraction(1))
    result = tree.tree_evaluate(root, policy)
    assert (result.saving_rate, result.false_reject_rate) == (Fraction(1, 4), 0)
    t.assert_optimal(root, policy)
    t.assert_bias_bound(root, policy)


def test_validator_that_is_always_wrong_loses_everything() -> None:
    root, policy = two_stages(Fraction(0))
    result = tree.tree_evaluate(root, policy)
    assert (result.saving_rate, result.false_reject_rate) == (Fraction(1, 4), 1)
    with pytest.raises(AssertionError, match=r"\[T8\] the policy keeps nothing"):
        t.assert_optimal(root, policy)


def test_validator_that_knows_nothing_always_loses() -> None:
    """[T2] A share d discarded at random after a share c of the cost: f = d, s = d(1 − c) < d."""
    root, policy = two_stages(Fraction(1, 2))
    result = tree.tree_evaluate(root, policy)
    assert (result.saving_rate, result.false_reject_rate) == (Fraction(1, 4), Fraction(1, 2))
    with pytest.raises(AssertionError, match=r"\[T8\] node \(0,\): DISCARD is worth 0 tokens"):
        t.assert_optimal(root, policy)


def test_checks_name_the_node_that_breaks_them() -> None:
    root, _ = two_stages(Fraction(3, 4))
    with pytest.raises(AssertionError, match=r"\[T7\] node \(1,\): no chance to survive"):
        t.assert_roulette_unbiased(root, {(1,): Choice(0)})
    wrong = {address: tree.tree_finish(node)[0] for address, node in tree.nodes(root)} | {(1,): Fraction(1, 2)}
    with pytest.raises(AssertionError, match=r"\[T12\] node \(\): the estimate is 1/2"):
        t.assert_calibrated(root, wrong)
    with pytest.raises(AssertionError, match=r"\[T4\] node \(1,\): E\[U\] = 3/4, but the parts add up to 1/2"):
        t.assert_optional_stopping(root, {(1,): Choice(0)}, wrong)
    with pytest.raises(AssertionError, match=r"\[T3\] scenario \(0, 0\) stops at 1 and 0"):
        t.assert_earlier_is_cheaper(root, {(0,): Choice(0), (1,): Choice(0)}, {(): Choice(0)})


# Where anything is discarded, everything is taken for lost.
DISCARDS_ALL = ("choice.discarding * tree_finish", "(choice.discarding > 0) * tree_finish")


@pytest.mark.parametrize(
    ("mutant", "check", "message"),
    [
        (("q * p * after", "p * after"), "assert_saving_identity", r"\[T1\] node \(1,\): saved"),
        (DISCARDS_ALL, "assert_break_even", r"\[T2\] node \(1,\): kept"),
        (DISCARDS_ALL, "assert_optional_stopping", r"\[T4\] node \(1,\): lost"),
        (DISCARDS_ALL, "assert_retained_shift", r"\[T5\] node \(1,\): shift"),
        (DISCARDS_ALL, "assert_bias_bound", r"\[T6\] node \(1,\): f is"),
    ],
)
def test_statements_about_trees_name_the_node(
    mutant: tuple[str, str], check: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an evaluation that is wrong wherever something is discarded at random, the one such node is named."""
    root, _ = two_stages(Fraction(3, 4))
    policy = {(1,): Choice(Fraction(1, 2))}
    getattr(t, check)(root, policy)
    mutate(monkeypatch, tree, "_run", *mutant)
    with pytest.raises(AssertionError, match=message):
        getattr(t, check)(root, policy)


class Reader:
    """A policy that reads text and stops at a word; `moody` ones discard only every other attempt."""

    def __init__(self, *, moody: bool = False) -> None:
        self.moody, self.attempts = moody, 0

    def start(self, prompt: str) -> "Reader":
        assert prompt == "?"
        self.attempts += 1
        return self

    def feed(self, text: str, tokens: int = 0, logprobs: Any = ()) -> Decision | None:
        del logprobs
        if text == "plain" or (self.moody and self.attempts % 2):
            return None
        action = {"bad": Action.DISCARD, "done": Action.EXIT}.get(text, Action.CONTINUE)
        return Decision(action, 1, len(text), tokens, 0.5, 0.5)

    @property
    def failures(self) -> dict[str, int]:
        return {}


def test_a_policy_that_reads_text_is_checked_on_a_tree() -> None:
    inner = [coin(Fraction(1, 2), early=Node(utility=1), late=Node()) for _ in range(4)]
    root = Node(tuple(tree.Branch(Fraction(1, 4), 1, node) for node in inner))
    pieces = {(i,): (text, 1) for i, text in enumerate(("plain", "bad", "done", "fine"))}
    policy = t.recorded_policy(root, Reader(), pieces, prompt="?")
    assert policy == {(0,): Choice(1), (1,): Choice(0), (2,): Choice(0, 1), (3,): Choice(1)}
    del policy[2,]
    t.assert_saving_identity(root, policy)
    with pytest.raises(AssertionError, match=r"\[T8\] node \(1,\): DISCARD is worth"):
        t.assert_optimal(root, policy)
    with pytest.raises(AssertionError, match=r"§1 node \(1,\): decided"):
        t.recorded_policy(root, Reader(moody=True), pieces, prompt="?")

    class Hesitant(Reader):
        """Decides before the first token too."""

        stops = False

        def begin(self) -> Decision:
            return Decision(Action.DISCARD if self.stops else Action.CONTINUE, 0, 0, 0, 0.5, 0.5)

    assert t.recorded_policy(root, Hesitant(), pieces, prompt="?")[()] == Choice(1)
    Hesitant.stops = True
    policy = t.recorded_policy(root, Hesitant(), pieces, prompt="?")
    assert policy == {(): Choice(0)}
    t.assert_saving_identity(root, policy)
    assert tree.tree_evaluate(root, policy).tokens == 0


def test_perfectly_correlated_attempts_show_in_one() -> None:
    """When all attempts of a prompt share one outcome, a single failure gives the prompt up."""
    tiny = 1e-9
    found = quota.fill_quota(5, 9, prior=(tiny, tiny), cost_accepted=1, cost_rejected=1, start_cost=0.5)
    assert found.give_up[1, 0]
    assert not found.give_up[1, 1]
    assert found.price == near((0.5 + 0.5 * 5 + 0.5 * 1) / 2.5, rel=1e-6)


def test_savings_of_exit_and_rejection_do_not_multiply() -> None:
    """Early EXIT and rejection stop the same attempts, so together they save less than their product
    promises."""
    flagged = Node(
        (tree.Branch(Fraction(9, 10), 8, Node()), tree.Branch(Fraction(1, 10), 8, Node(utility=1))),
        exit_cost=1,
        exit_utility=Fraction(1, 10),
    )
    clean = Node((tree.Branch(1, 4, Node(utility=1)),))
    chain = tree.tree_process(coin(Fraction(1, 2), early=flagged, late=clean, cost=4))
    full = evaluate.evaluate(chain, evaluate.never_discard(chain)).cost_per_accepted
    discard, leave, both = (
        optimum.solve(chain, actions=actions).price / full
        for actions in ({Action.DISCARD}, {Action.EXIT}, {Action.DISCARD, Action.EXIT})
    )
    assert max(discard, leave) < 1
    assert both <= min(discard, leave)
    assert both > discard * leave * 1.2
