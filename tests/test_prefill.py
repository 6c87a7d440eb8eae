"""Prompts in slots: computed once while a slot holds them, in passes of similar length, and put where they belong."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from msifr_integrations.engine import prefill as module
from msifr_integrations.engine.base import Attempt, Sampling, stream_key
from msifr_integrations.engine.places import places
from msifr_integrations.engine.prefill import MOST, WASTE, passes, prefill
from msifr_integrations.engine.slot_cache import SlotCache
from msifr_integrations.engine.slot_engine import SlotEngine


def engine_of(rows: int) -> SlotEngine:
    return SlotEngine(tiny.llama(), slots=rows, sampling=Sampling(), end=frozenset())


PROMPTS = st.lists(st.integers(0, 2).map(lambda kind: (kind,) * kind), max_size=8)


@given(prompts=PROMPTS, held=st.lists(st.integers(0, 3).map(lambda kind: (kind,) * kind), min_size=8, max_size=12),
       data=st.data())  # fmt: skip
def test_each_attempt_gets_a_slot_of_its_own_and_its_own_prompt(
    prompts: list[tuple[int, ...]], held: list[tuple[int, ...]], data: st.DataObject
) -> None:
    free = data.draw(st.permutations(range(len(held))))[: data.draw(st.integers(len(prompts), len(held)))]
    chosen = places(prompts, free, held)
    assert len(set(chosen.slots)) == len(prompts)
    assert set(chosen.slots) <= set(free)
    fresh = {slot: prompt for prompt, slots in chosen.fresh.items() for slot in slots}
    shared = {slot: held[source][:length] for slot, source, length in chosen.shared}
    assert not fresh.keys() & shared.keys()
    assert fresh | shared == dict(zip(chosen.slots, prompts, strict=True))
    assert not set(chosen.fresh) & {*held, ()}  # what a slot holds is not computed
    assert all(len(held[source]) == length or not length for _, source, length in chosen.shared)
    # Whoever finds its prompt in a free slot stays there: nothing is copied that need not be.
    for prompt in set(prompts) - {()}:
        there = sum(held[slot] == prompt for slot in free)
        stay = sum((slot, slot, len(prompt)) in chosen.shared for slot in chosen.slots if held[slot] == prompt)
        assert stay == min(there, prompts.count(prompt))


def test_slots_free_for_longest_are_taken_first() -> None:
    assert places([(7,), (8,), (9,)], [4, 2, 0, 3], [(1,), (), (8,), (), ()]).slots == [4, 2, 0]


@given(st.lists(st.integers(1, 3000), max_size=80))
def test_passes_hold_every_prompt_once_and_little_padding(lengths: list[int]) -> None:
    prompts = [(i,) * length for i, length in enumerate(lengths)]
    made = list(passes(prompts))
    assert sorted(prompt for group in made for prompt in group) == sorted(prompts)
    for group in made:
        width = max(map(len, group))
        assert sum(width - len(prompt) for prompt in group) <= WASTE
        assert width * len(group) <= MOST
    for before, after in pairwise(made):  # and a pass ends only where the next prompt does not fit
        width = len(before[0])
        padding = sum(width - len(prompt) for prompt in (*before, after[0]))
        assert padding > WASTE or width * (len(before) + 1) > MOST


def test_a_prompt_longer_than_a_pass_has_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 5)
    assert [[len(prompt) for prompt in group] for group in passes([(1,) * 2, (1,) * 9, (1,) * 2])] == [[9], [2, 2]]


def test_shared_prompts_are_copied_and_what_lies_behind_them_is_cleared() -> None:
    model = tiny.llama()
    with torch.inference_mode():
        prompts = [(1, 2, 3, 4, 5), (6, 7), (8, 9, 10)]
        cache = SlotCache(prefill(model, [(0,)]), 5, 64)
        cache.fill([0, 1, 2], prefill(model, prompts), [0, 1, 2])
        cache.show(5)
        cache.forward(model, torch.zeros(5, dtype=torch.long), torch.tensor([5, 2, 3, 0, 0]))
        before = [(layer.keys.clone(), layer.values.clone()) for layer in cache.layers]
        for layer in cache.layers:  # an overflow behind what is shared
            layer.keys[0, :, 5] = math.inf
            layer.values[0, :, 5] = math.nan
        # Row 0 goes on with its own, row 3 with the same; row 1 with that of row 2, which takes that of row 1.
        cache.share([0, 3, 1, 2], [0, 0, 2, 1], [5, 5, 3, 2])
        for layer, old in zip(cache.layers, before, strict=True):
            for now, then in zip((layer.keys, layer.values), old, strict=True):
                for slot, source, length in [(0, 0, 5), (3, 0, 5), (1, 2, 3), (2, 1, 2)]:
                    assert torch.equal(now[slot, :, :length], then[source, :, :length])
                    assert not now[slot, :, length:].any()


def drained(engine: SlotEngine, queued: list[Attempt]) -> dict[str, list[int]]:
    for attempt in queued:
        engine.submit(attempt)
    tokens: dict[str, list[int]] = {}
    while engine.busy:
        for event in engine.step():
            tokens.setdefault(event.id, []).append(event.token)
    return tokens


def test_attempts_one_after_another_share_a_prefill() -> None:
    """Each is known to the engine only when the one before it at its prompt is over; some are cancelled."""
    prompts = {f"p{i}": tuple(range(i + 1, 3 * i + 4)) for i in range(14)}
    attempts = {
        (name, a): Attempt(f"{name}/{a}", prompt, stream_key(0, name, a), 3 + (7 * a + len(prompt)) % 20)
        for name, prompt in prompts.items()
        for a in range(5)
    }
    alone = drained(engine_of(1), list(attempts.values()))
    engine = engine_of(6)
    waiting, tokens = list(prompts)[6:], {attempt.id: list[int]() for attempt in attempts.values()}
    for name in list(prompts)[:6]:
        engine.submit(attempts[name, 0])
    while engine.busy:
        for event in engine.step():
            tokens[event.id].append(event.token)
            stopped = event.id.endswith("/3") and len(tokens[event.id]) == 3
            if stopped:
                engine.cancel(event.id)
            if stopped or event.finish:
                name, a = event.id.split("/")
                if int(a) < 4:
                    engine.submit(attempts[name, int(a) + 1])
                elif waiting:
                    engine.submit(attempts[waiting.pop(0), 0])
    assert all(tokens[name] == whole[: 3 if name.endswith("/3") else None] for name, whole in alone.items())
    assert engine.prefilled == sum(len(prompt) - 1 for prompt in prompts.values())


def test_a_prompt_comes_back_after_the_batch_has_shrunk_and_grown() -> None:
    engine = engine_of(8)
    first = [Attempt(f"a{i}", (1 + i, 2, 3, 4), stream_key(0, "a", i), 5 + 10 * (i == 7)) for i in range(8)]
    tokens = drained(engine, first)
    again = [Attempt(f"b{i}", (1 + i, 2, 3, 4), stream_key(1, "b", i), 9) for i in range(8)]
    tokens |= drained(engine, again)
    assert tokens == drained(engine_of(1), [*first, *again])
    assert engine.prefilled < 8 * 3 * 2
