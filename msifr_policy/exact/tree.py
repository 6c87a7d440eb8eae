"""Finite trees of attempts, evaluated exactly in any number type.

A **tree** spells out a stage process history by history: a node at depth k is what is known at checkpoint k,
F_k, and a branch to a child has its probability and the cost C_{k+1} of the stage in between. Leaves are
finished attempts with their utility U; they may lie at different depths. With `fractions.Fraction` everything
here is exact rational
arithmetic: equalities of theory §2 hold without tolerance, and the array code is tested against it.

A policy on a tree maps nodes, addressed by the child indices on the way from the root, to a `Choice`; nodes
it does not mention continue. With the q and x of `msifr_policy.exact.evaluation`, at an inner node

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
from msifr_policy.exact.evaluation import StagePolicy
from msifr_policy.exact.process import SUM_TOLERANCE, StageProcess, Vector

__all__ = [
    "Address",
    "Branch",
    "Choice",
    "Node",
    "Scenario",
    "TreeEvaluation",
    "TreeOptimum",
    "TreePolicy",
    "nodes",
    "scenarios",
    "tree_evaluate",
    "tree_finish",
    "tree_induct",
    "tree_policy",
    "tree_process",
    "tree_solve",
    "tree_states",
    "unroll",
]

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
            if not branch.probability >= 0:
                raise InputError(f"probability {branch.probability}", where=f"branch {i}")
            if not branch.cost >= 0:
                raise InputError(f"cost {branch.cost}", where=f"branch {i}", remedy="tokens, >= 0")
        probabilities = [branch.probability for branch in self.branches]
        exact = all(isinstance(p, int | Fraction) for p in probabilities)
        if probabilities and not abs(sum(probabilities) - 1) <= (0 if exact else SUM_TOLERANCE):
            raise InputError(f"branch probabilities sum to {sum(probabilities)}", where="node", remedy="must be 1")
        for name in ("utility", "exit_utility", "exit_cost"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InputError(f"{name} {value}", where="node", remedy="must be >= 0")


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


class TreeEvaluation(NamedTuple):
    """Exact counterpart of `msifr_policy.exact.evaluation.Evaluation`, per attempt; costs in tokens.

    tokens E[T], tokens_full E[N], utility_kept E[U; R], utility_full E[U], utility_lost E[M_τ; discarded],
    discarded and exited: probabilities.
    """

    tokens: Number
    tokens_full: Number
    utility_kept: Number
    utility_full: Number
    utility_lost: Number
    discarded: Number
    exited: Number

    @property
    def saving_rate(self) -> Number:
        """Saving rate s; 0 if nothing costs anything."""
        return 1 - self.tokens / self.tokens_full if self.tokens_full else 0

    @property
    def false_reject_rate(self) -> Number:
        """False-reject rate f."""
        return self.utility_lost / self.utility_full

    @property
    def cost_per_accepted(self) -> Number:
        """Cost per accepted ρ; `inf` if nothing is kept."""
        return self.tokens / self.utility_kept if self.utility_kept else np.inf


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
    utility = remaining = 0
    for p, cost, child in node.branches:
        M, r = tree_finish(child)
        utility += p * M
        remaining += p * (cost + r)
    return utility, remaining


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

    A leaf above the deepest level stays on as a finished state, so its address appears at all later
    checkpoints.
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
    transitions, stage_costs, exit_costs, exit_utilities = [], [], [], []
    for here, following in pairwise(states):
        index = {address: t for t, address in enumerate(following)}
        P = np.zeros((len(here), len(following)))
        c, x, e = np.zeros(len(here)), np.full(len(here), np.inf), np.zeros(len(here))
        for s, address in enumerate(here):
            node = by_address[address]
            if not node.branches:
                P[s, index[address]] = 1.0
                continue
            for i, (p, cost, _) in enumerate(node.branches):
                P[s, index[*address, i]] = p
                c[s] += float(p * cost)
            if node.exit_cost is not None:
                x[s], e[s] = node.exit_cost, node.exit_utility
        transitions.append(P)
        stage_costs.append(c)
        exit_costs.append(x)
        exit_utilities.append(e)
    with_exit = any(np.isfinite(x).any() for x in exit_costs)
    return StageProcess(
        transitions=tuple(transitions),
        stage_costs=tuple(stage_costs),
        utility=np.array([float(by_address[address].utility) for address in states[-1]]),
        initial=np.ones(1),
        prompt_cost=float(prompt_cost),
        exit_costs=tuple(exit_costs) if with_exit else (),
        exit_utilities=tuple(exit_utilities) if with_exit else (),
    )


def tree_policy(root: Node, policy: TreePolicy) -> StagePolicy:
    """Return a tree's policy as a `StagePolicy` on its `tree_process`; finished attempts continue."""
    states = tree_states(root)[:-1]
    inner = {address for address, node in nodes(root) if node.branches}

    def column(here: list[Address], field: int) -> Vector:
        return np.array([float((policy.get(a, CONTINUE) if a in inner else CONTINUE)[field]) for a in here])

    exiting = any(choice.exiting for choice in policy.values())
    return StagePolicy(
        tuple(column(here, 0) for here in states),
        tuple(column(here, 1) for here in states) if exiting else (),
    )


def unroll(process: StageProcess, policy: StagePolicy) -> tuple[Node, dict[Address, Choice]]:
    """Return the tree of all histories of a process, and a policy on it, in Fractions.

    The address of a node is the states visited so far: (2, 0) is state 2 at checkpoint 0, then state 0 at checkpoint
    1. The stage before checkpoint 0 draws the first state and costs the prompt; the root always continues. Floats
    become the fractions they are, rows divided by their exact sums, so what `tree_evaluate` says of the result is the
    array code's answer without its rounding. The number of histories is up to S_0 · … · S_K: for small processes.
    """
    rows = [[_law(P[[s], :]) for s in range(P.shape[0])] for P in process.transitions]

    @cache
    def grow(k: int, s: int) -> Node:
        if k == process.K:
            return Node(utility=Fraction(float(process.utility[s])))
        cost = Fraction(float(process.stage_costs[k][s]))
        branches = tuple(Branch(p, cost, grow(k + 1, t) if p else Node()) for t, p in enumerate(rows[k][s]))
        if not process.has_exit or not np.isfinite(process.exit_costs[k][s]):
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
            x = Fraction(float(policy.exiting[k][s])) if policy.exiting else Fraction(0)
            choices[address] = Choice(q, min(x, 1 - q))
    return root, choices


def _law(row: Any) -> list[Fraction]:
    """Return a row of probabilities, dense or sparse, as Fractions that sum to one."""
    dense = row.toarray() if sp.issparse(row) else np.asarray(row)
    exact = [Fraction(p) for p in dense.ravel().tolist()]
    return [p / sum(exact) for p in exact]


def _run(node: Node, policy: TreePolicy, address: Address) -> tuple[Number, Number, Number, Number, Number]:
    """Return (t, u, lost, discarded, exited) from a node on."""
    if not node.branches:
        return 0, node.utility, 0, 0, 0
    q, x = choice = policy.get(address, CONTINUE)
    if not (q >= 0 and x >= 0 and choice.discarding >= 0):
        raise InputError(f"probabilities {q} of CONTINUE and {x} of EXIT", where=f"node {address}")
    if x and node.exit_cost is None:
        raise InputError("EXIT is not available", where=f"node {address}")
    tokens = x * (node.exit_cost or 0)
    kept = x * node.exit_utility
    lost = choice.discarding * tree_finish(node)[0]
    discarded, exited = choice.discarding, x
    for i, (p, cost, child) in enumerate(node.branches):
        t, u, gone, d, e = _run(child, policy, (*address, i))
        tokens += q * p * (cost + t)
        kept += q * p * u
        lost += q * p * gone
        discarded += q * p * d
        exited += q * p * e
    return tokens, kept, lost, discarded, exited
