"""The memory of rejections: what is proven dead is not drawn again, and what is accepted keeps its distribution."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from msifr_policy.dead_prefixes import DeadPrefixes, Node

Tokens = tuple[int, ...]
Shape = Any
"""A tree of sequences over two tokens: None where one ends, else what comes after either token."""

_TOKENS = (0, 1)


def shapes(depth: int) -> list[Shape]:
    """Return all trees in which no sequence is longer than `depth`, 677 for a depth of 4."""
    if depth == 0:
        return [None]
    below = shapes(depth - 1)
    return [None, *itertools.product(below, below)]


class World(NamedTuple):
    """A model: by prefix the probabilities of the next token; and its whole sequences, with theirs."""

    after: Mapping[Tokens, tuple[Any, ...]]
    sequences: Mapping[Tokens, Any]

    def dead(self, rejected: set[Tokens]) -> list[Tokens]:
        """Return all prefixes of which every sequence is rejected."""
        prefixes = [*self.after, *self.sequences]
        return [x for x in prefixes if all(y in rejected for y in self.sequences if y[: len(x)] == x)]


def world(shape: Shape, seed: int = 0) -> World:
    """Return a model whose sequences are those of a tree, with probabilities of its own at each prefix."""
    draw = random.Random(seed)  # noqa: S311
    after: dict[Tokens, tuple[Any, ...]] = {}
    sequences: dict[Tokens, Any] = {}

    def grow(prefix: Tokens, below: Shape, mass: Fraction) -> None:
        if below is None:
            sequences[prefix] = mass
            return
        p = Fraction(draw.randint(1, 9), 10)
        after[prefix] = p, 1 - p
        for token in _TOKENS:
            grow((*prefix, token), below[token], mass * after[prefix][token])

    grow((), shape, Fraction(1))
    return World(after, sequences)


def along(model: World, memory: DeadPrefixes, tokens: Tokens) -> list[Any]:
    """Return the probability with which each token is drawn by a memory, as the engine draws: by weights."""
    node: Node | None = memory.root
    drawn = []
    for i, token in enumerate(tokens):
        known = {} if node is None else {t: child.left for t, (_, child) in node.after.items()}
        weighted = [p * known.get(t, 1) for t, p in zip(_TOKENS, model.after[tokens[:i]], strict=True)]
        assert node is None or sum(weighted) == node.left
        drawn.append(weighted[token] / sum(weighted))
        node = None if node is None else node.step(token)
        if drawn[-1] == 0:
            break
    return drawn


def law(model: World, memory: DeadPrefixes) -> dict[Tokens, Any]:
    """Return the probability with which each whole sequence is drawn by a memory."""
    found = {}
    for y in model.sequences:
        found[y] = Fraction(1)
        for p in along(model, memory, y):
            found[y] *= p
    return found


def learn(model: World, memory: DeadPrefixes, dead: Tokens) -> bool:
    return memory.add(dead, along(model, memory, dead))


def test_draws_are_those_of_the_model_that_are_not_proven_dead() -> None:
    """For each tree to depth 4, whatever of it is rejected and in whatever order that is found out: exactly so."""
    draw = random.Random(7)  # noqa: S311
    seen = 0
    for number, shape in enumerate(shapes(4)):
        model = world(shape, number)
        for _ in range(3):
            rejected = {y for y in model.sequences if draw.random() < 0.6}
            found = model.dead(rejected)
            draw.shuffle(found)
            memory, proven = DeadPrefixes(), set[Tokens]()
            for x in found[: draw.randint(0, len(found))]:
                if 0 in along(model, memory, x):
                    continue  # nobody draws it any more
                taken = learn(model, memory, x)
                assert taken == (proven_mass(model, proven | {x}) < 1)  # else nothing would be left
                proven |= {x} if taken else set()
            left = 1 - proven_mass(model, proven)
            assert memory.root.left == left
            alive = {y: p for y, p in model.sequences.items() if not any(y[: len(x)] == x for x in proven)}
            assert law(model, memory) == {y: alive.get(y, 0) / left for y in model.sequences}
            seen += bool(proven)
    assert seen > 1000


def proven_mass(model: World, proven: set[Tokens]) -> Any:
    return sum((p for y, p in model.sequences.items() if any(y[: len(x)] == x for x in proven)), Fraction(0))
