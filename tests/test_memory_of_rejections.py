"""The memory of rejections: what is proven dead is not drawn again, and what is accepted keeps its distribution."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msifr_policy.dead_prefixes import LEAST_LEFT, LEAST_MASS, Avoided, DeadNode, DeadPrefixes

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
    node: DeadNode | None = memory.root
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
        for _ in range(2):
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
    assert seen > 500


def proven_mass(model: World, proven: set[Tokens]) -> Any:
    return sum((p for y, p in model.sequences.items() if any(y[: len(x)] == x for x in proven)), Fraction(0))


def runs_of(shape: Shape, seed: int) -> tuple[World, set[Tokens]]:
    """Return a model and what of it is rejected: not everything, and not nothing."""
    draw = random.Random(seed)  # noqa: S311
    model = world(shape, seed)
    leaves = sorted(model.sequences)
    return model, set(draw.sample(leaves, draw.randint(1, min(3, len(leaves) - 1))))


def remembering(model: World, proven: Sequence[Tokens]) -> DeadPrefixes:
    memory = DeadPrefixes()
    assert all(learn(model, memory, x) for x in proven)
    return memory


def until(model: World, rejected: set[Tokens], wanted: int) -> tuple[dict[tuple[Tokens, ...], Any], list[Any]]:
    """Run attempts one after the other until so many are accepted, through all that can happen.

    Return the joint distribution of the accepted, and expectations: attempts, tokens, avoided attempts and tokens.
    """
    accepted: dict[tuple[Tokens, ...], Any] = {}
    spent = [Fraction(0)] * 4

    def go(proven: tuple[Tokens, ...], kept: tuple[Tokens, ...], chance: Any) -> None:
        if len(kept) == wanted:
            accepted[kept] = accepted.get(kept, 0) + chance
            return
        memory = remembering(model, proven)
        avoided = memory.avoided
        spent[0] += chance
        if avoided is not None:
            spent[2] += chance * avoided.attempts
            spent[3] += chance * avoided.tokens
        for y, p in law(model, memory).items():
            spent[1] += chance * p * len(y)
            if p and y in rejected:
                go((*proven, y), kept, chance * p)
            elif p:
                go(proven, (*kept, y), chance * p)

    go((), (), Fraction(1))
    return accepted, spent


@pytest.mark.parametrize("number", range(2, 26, 2))
def test_what_is_accepted_is_drawn_independently_and_what_is_saved_is_what_is_said(number: int) -> None:
    """Over whole runs: accepted samples are independent draws of p given acceptance, though the memory grows on.

    And attempts and tokens with what was avoided are those of a run without a memory, by Wald's identity: 1 / P(A) of
    either for each accepted sample.
    """
    model, rejected = runs_of(shapes(3)[number], number)
    alive = {y: p for y, p in model.sequences.items() if y not in rejected}
    a = sum(alive.values())
    joint, (attempts, tokens, avoided_attempts, avoided_tokens) = until(model, rejected, 2)
    assert joint == {(y, z): alive[y] * alive[z] / a**2 for y in alive for z in alive}
    assert attempts + avoided_attempts == 2 / a
    assert tokens + avoided_tokens == 2 * sum(p * len(y) for y, p in model.sequences.items()) / a
    assert avoided_tokens > 0


def test_forgetting_is_exact_where_remembering_is_not_worth_it() -> None:
    """What is too rare, or would leave too little, is not taken, and the law is as it was."""
    memory = DeadPrefixes()
    assert not memory.add((1, 2), (0.5, LEAST_MASS))
    assert not memory.add((), ())
    assert memory.avoided is None
    assert not memory.root.after
    assert memory.add((1, 2), (0.5, 0.5))
    assert not memory.add((3,), (1 - LEAST_LEFT / 10,))  # drawn with nearly all that was left
    assert memory.avoided == Avoided(0.25, 0.5)
    assert memory.root.weights == ([1], [math.log(0.5)])


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), max_size=20), st.integers(0, 1000))
def test_floats_agree_with_exact_numbers(drawn: list[list[int]], seed: int) -> None:
    """Rounding: what is left by floats is what is left exactly, to 12 digits of the whole."""
    weights = random.Random(seed)  # noqa: S311
    after: dict[Tokens, list[Fraction]] = {}
    exact, rounded = DeadPrefixes(), DeadPrefixes()
    for tokens in drawn:
        given_exactly, as_floats = [], []
        node, other = exact.root, rounded.root
        for i, token in enumerate(tokens):
            raw = after.setdefault(tuple(tokens[:i]), [Fraction(weights.randint(1, 999)) for _ in range(3)])
            p = raw[token] / sum(raw)
            for at, into, q in ((node, given_exactly, p), (other, as_floats, float(p))):
                child = None if at is None else at.step(token)
                into.append(q * (1 if child is None else child.left) / (1 if at is None else at.left))
            node, other = (None if at is None else at.step(token) for at in (node, other))
            if given_exactly[-1] == 0:
                break
        if given_exactly[-1] != 0:
            assert exact.add(tokens[: len(given_exactly)], given_exactly) == rounded.add(tokens, as_floats)
        assert abs(exact.root.left - rounded.root.left) < 1e-12


def test_what_is_no_number_is_not_remembered() -> None:
    memory = DeadPrefixes()
    assert not memory.add([1, 2], [0.5, math.nan])
    assert memory.root.left == 1
