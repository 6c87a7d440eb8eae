"""Finite trees of attempts, evaluated exactly in any number type.

A **tree** spells out a stage process history by history: a node at depth k is what is known at checkpoint k, F_k, and a
branch to a child has its probability and the cost C_{k+1} of the stage in between. Leaves are finished attempts with
their utility U; they may lie at different depths. With `fractions.Fraction` everything here is exact rational
arithmetic: equalities of theory §2 hold without tolerance, and the array code is tested against it.

A policy on a tree maps nodes, addressed by the child indices on the way from the root, to a `Choice`; nodes it does not
mention continue. With the q and x of `msifr_policy.exact.evaluation`, at an inner node

    M = Σ p M_child                     r = Σ p (C + r_child)
    u = x e + q Σ p u_child             t = x X + q Σ p (C + t_child)
    lost = (1 − q − x) M + q Σ p lost_child

and V(λ) = max{0, λe − X, Σ p (V_child(λ) − C)} for the optimum at a price [T8].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

from msifr_policy.errors import InputError
from msifr_policy.exact.evaluation import Headline, StagePolicy
from msifr_policy.exact.process import SUM_TOLERANCE, StageProcess, check_number

Number: TypeAlias = Any  # int, float or Fraction
Address: TypeAlias = tuple[int, ...]
"""Child indices from the root to a node; its length is the node's checkpoint."""


@dataclass(frozen=True, slots=True)
class Node:
    """What is known at a checkpoint. A node without branches is a finished attempt.

    branches: to the next checkpoint; probabilities sum to one. utility: of a finished attempt, ≥ 0.
    exit_cost, exit_utility: of EXIT here, in tokens and utility; None where EXIT is not available.
    Raises `InputError` for probabilities, costs and utilities that are none.
    """

    branches: tuple[Branch, ...] = ()
    utility: Number = 0
    exit_cost: Number | None = None
    exit_utility: Number = 0

    def __post_init__(self) -> None:
        for i, branch in enumerate(self.branches):
            check_number(branch.probability, "probability", where=f"branch {i}")
            check_number(branch.cost, "cost", where=f"branch {i}")
        probabilities = [branch.probability for branch in self.branches]
        exact = all(isinstance(p, int | Fraction) for p in probabilities)
        if probabilities and not abs(sum(probabilities) - 1) <= (0 if exact else SUM_TOLERANCE):
            raise InputError(f"branch probabilities sum to {sum(probabilities)}", where="node", remedy="must be 1")
        for name in ("utility", "exit_utility", "exit_cost"):
            check_number(getattr(self, name) or 0, name, where="node")


class Branch(NamedTuple):
    """The stage between a node and one of its children: probability, cost in tokens, and the child."""

    probability: Number
    cost: Number
    node: Node


class Choice(NamedTuple):
    """What a policy does at a node: CONTINUE and EXIT with these probabilities, DISCARD with the rest."""

    continuing: Number
    exiting: Number = 0

    @property
    def discarding(self) -> Number:
        """Probability of DISCARD."""
        return 1 - self.continuing - self.exiting


TreePolicy: TypeAlias = Mapping[Address, Choice]
CONTINUE = Choice(1)


@dataclass(frozen=True, slots=True)
class TreeEvaluation(Headline[Any]):
    """The headline quantities of a policy on a tree, and the probabilities that it discards and that it exits."""

    discarded: Number
    exited: Number


class TreeOptimum(NamedTuple):
    """The exact least cost per accepted, a policy that attains it, and Dinkelbach's prices on the way."""

    price: Number
    policy: dict[Address, Choice]
    prices: tuple[Number, ...]


class Scenario(NamedTuple):
    """One way a finished attempt can go: its probability, the costs C_1 … C_n, U, and the leaf."""

    probability: Number
    costs: tuple[Number, ...]
    utility: Number
    leaf: Address


def nodes(root: Node) -> Iterator[tuple[Address, Node]]:
    """Yield every node with its address, parents first."""
    stack: list[tuple[Address, Node]] = [((), root)]
    while stack:
        address, node = stack.pop()
        yield address, node
        stack += [((*address, i), branch.node) for i, branch in reversed(list(enumerate(node.branches)))]


def scenarios(root: Node) -> list[Scenario]:
    """Return all ways a finished attempt can go; their probabilities sum to one."""
    if not root.branches:
        return [Scenario(1, (), root.utility, ())]
    return [
        Scenario(p * after.probability, (cost, *after.costs), after.utility, (i, *after.leaf))
        for i, (p, cost, child) in enumerate(root.branches)
        for after in scenarios(child)
    ]


def tree_finish(node: Node) -> tuple[Number, Number]:
    """Return (M, r) at a node: conditional utility and expected remaining cost if the attempt is finished."""
    if not node.branches:
        return node.utility, 0
    after = [(p, cost, *tree_finish(child)) for p, cost, child in node.branches]
    return sum(p * M for p, _, M, _ in after), sum(p * (cost + r) for p, cost, _, r in after)


def tree_evaluate(root: Node, policy: TreePolicy, *, prompt_cost: Number = 0) -> TreeEvaluation:
    """Return the exact evaluation of a randomised policy, by the recursion of the module docstring.

    Raises `InputError`, naming the node, where the policy gives no probabilities or exits without EXIT.
    """
    utility_full, remaining = tree_finish(root)
    tokens, kept, lost, discarded, exited = _run(root, policy, ())
    return TreeEvaluation(prompt_cost + tokens, prompt_cost + remaining, kept, utility_full, lost, discarded, exited)


def tree_induct(root: Node, price: Number) -> tuple[Number, dict[Address, Choice]]:
    """Return V at the root and an optimal policy for a price λ, by backward induction [T8]."""
    policy: dict[Address, Choice] = {}

    def value(node: Node, address: Address) -> Number:
        if not node.branches:
            return price * node.utility
        onward = sum(p * (value(child, (*address, i)) - cost) for i, (p, cost, child) in enumerate(node.branches))
        if node.exit_cost is not None:
            forced = price * node.exit_utility - node.exit_cost
            if forced > onward and forced > 0:
                policy[address] = Choice(0, 1)
                return forced
        if onward <= 0 and tree_finish(node)[1] > 0:
            policy[address] = Choice(0)
            return 0
        return onward

    return value(root, ()), policy


def tree_solve(root: Node, *, prompt_cost: Number = 0) -> TreeOptimum:
    """Return the exact least cost per accepted, by Dinkelbach's method [T8].

    Raises `InputError` if no leaf with positive utility can be reached.
    """
    full = tree_evaluate(root, {}, prompt_cost=prompt_cost)
    if not full.utility_full > 0:
        raise InputError("acceptance cannot be reached", where="tree", remedy="some leaf needs a utility > 0")
    price, best, tried = full.cost_per_accepted, dict[Address, Choice](), []
    while True:
        tried.append(price)
        _, policy = tree_induct(root, price)
        ratio = tree_evaluate(root, policy, prompt_cost=prompt_cost).cost_per_accepted
        if not ratio < price:
            return TreeOptimum(price, best, tuple(tried))
        price, best = ratio, policy


def tree_states(root: Node) -> list[list[Address]]:
    """Return, for each checkpoint k = 0 … K, the addresses of the states of `tree_process`, in order.

    A leaf above the deepest level stays on as a finished state, so its address appears at all later checkpoints.
    """
    everything = list(nodes(root))
    K = max(len(address) for address, _ in everything)
    return [[a for a, node in everything if len(a) == k or (len(a) < k and not node.branches)] for k in range(K + 1)]


def tree_process(root: Node, *, prompt_cost: Number = 0) -> StageProcess:
    """Return the tree as a `StageProcess` (floats); states are ordered as in `tree_states`.

    Raises `InputError` for a tree that is a single leaf or can never be accepted.
    """
    by_address = dict(nodes(root))
    states = tree_states(root)
    transitions, stage_costs = [], []
    for here, following in pairwise(states):
        index = {address: t for t, address in enumerate(following)}
        P, c = np.zeros((len(here), len(following))), np.zeros(len(here))
        for s, address in enumerate(here):
            branches = by_address[address].branches
            for i, (p, cost, _) in enumerate(branches):
                P[s, index[*address, i]] = p
                c[s] += float(p * cost)
            if not branches:
                P[s, index[address]] = 1.0
        transitions.append(P)
        stage_costs.append(c)
    inner = [[by_address[address] for address in here] for here in states[:-1]]
    exit_costs = [[np.inf if node.exit_cost is None else float(node.exit_cost) for node in here] for here in inner]
    return StageProcess(
        transitions=tuple(transitions),
        stage_costs=tuple(stage_costs),
        utility=np.array([float(by_address[address].utility) for address in states[-1]]),
        initial=np.ones(1),
        prompt_cost=float(prompt_cost),
        exit_costs=tuple(map(np.array, exit_costs)),
        exit_utilities=tuple(np.array([float(node.exit_utility) for node in here]) for here in inner),
    )


def tree_policy(root: Node, policy: TreePolicy) -> StagePolicy:
    """Return a tree's policy as a `StagePolicy` on its `tree_process`; finished attempts continue."""
    choices = {address: policy.get(address, CONTINUE) if node.branches else CONTINUE for address, node in nodes(root)}
    columns = [np.array([choices[address][:2] for address in here], float) for here in tree_states(root)[:-1]]
    return StagePolicy(tuple(column[:, 0] for column in columns), tuple(column[:, 1] for column in columns))


def unroll(process: StageProcess, policy: StagePolicy) -> tuple[Node, dict[Address, Choice]]:
    """Return the tree of all histories of a process, and a policy on it, in Fractions.

    The address of a node is the states visited so far: (2, 0) is state 2 at checkpoint 0, then state 0 at checkpoint 1.
    The stage before checkpoint 0 draws the first state and costs the prompt; the root always continues. Floats become
    the fractions they are, rows divided by their exact sums, so what `tree_evaluate` says of the result is the array
    code's answer without its rounding. The number of histories is up to S_0 · … · S_K: for small processes.
    """
    rows = [[_law(P[[s], :]) for s in range(P.shape[0])] for P in process.transitions]

    @cache
    def grow(k: int, s: int) -> Node:
        if k == process.K:
            return Node(utility=Fraction(float(process.utility[s])))
        cost = Fraction(float(process.stage_costs[k][s]))
        branches = tuple(Branch(p, cost, grow(k + 1, t) if p else Node()) for t, p in enumerate(rows[k][s]))
        if not np.isfinite(process.exit_costs[k][s]):
            return Node(branches)
        exit_cost, exit_utility = (Fraction(float(v[k][s])) for v in (process.exit_costs, process.exit_utilities))
        return Node(branches, exit_cost=exit_cost, exit_utility=exit_utility)

    prompt_cost = Fraction(process.prompt_cost)
    first = (Branch(p, prompt_cost, grow(0, s) if p else Node()) for s, p in enumerate(_law(process.initial)))
    root = Node(tuple(first))
    choices: dict[Address, Choice] = {}
    for address, node in nodes(root):
        if address and node.branches:
            k, s = len(address) - 1, address[-1]
            q = min(Fraction(1), Fraction(float(policy.continuing[k][s])))
            x = Fraction(float(policy.exiting[k][s]))
            choices[address] = Choice(q, min(x, 1 - q))
    return root, choices


def _law(row: Any) -> list[Fraction]:
    """Return a row of probabilities, dense or sparse, as Fractions that sum to one."""
    dense = row.toarray() if sp.issparse(row) else np.asarray(row)
    exact = [Fraction(p) for p in dense.ravel().tolist()]
    return [p / sum(exact) for p in exact]


def _run(node: Node, policy: TreePolicy, address: Address) -> list[Number]:
    """Return [t, u, lost, P(discarded), P(exited)] from a node on."""
    if not node.branches:
        return [0, node.utility, 0, 0, 0]
    q, x = choice = policy.get(address, CONTINUE)
    if not (q >= 0 and x >= 0 and choice.discarding >= 0):
        raise InputError(f"probabilities {q} of CONTINUE and {x} of EXIT", where=f"node {address}")
    if x and node.exit_cost is None:
        raise InputError("EXIT is not available", where=f"node {address}")
    lost = choice.discarding * tree_finish(node)[0]
    totals = [x * (node.exit_cost or 0), x * node.exit_utility, lost, choice.discarding, x]
    for i, (p, cost, child) in enumerate(node.branches):
        t, *others = _run(child, policy, (*address, i))
        totals = [total + q * p * after for total, after in zip(totals, (cost + t, *others), strict=True)]
    return totals
