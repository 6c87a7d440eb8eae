"""Steered runs: what is decided for a block depends on finished blocks alone, whatever the order of events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msifr_integrations.generation.steering import Blocks, Under, block_size
from msifr_integrations.generation.turns import Goal, Portion
from msifr_policy.errors import InputError
from msifr_policy.policy import NeverDiscard
from msifr_policy.records.ledger import Entry, Steer


class Named(NeverDiscard):
    """A policy that says by which decision it runs."""

    def __init__(self, steer: Steer) -> None:
        self.named = steer


class CountingPilot:
    """Says how many attempts were accepted at all prompts that it knows; remembers what it was told and asked."""

    def __init__(self, hidden: int = 0) -> None:
        self.told: list[str] = []
        self.accepted = hidden

    def begin(self) -> Steer:
        return Steer(block=0, phase="begin")

    def add(self, prompt_id: str, entries: Sequence[Entry]) -> None:
        assert [entry.id for entry in entries] == sorted(entry.id for entry in entries)
        self.told.append(prompt_id)
        self.accepted += sum(entry.outcome == "accepted" for entry in entries)

    def steer(self, block: int) -> Steer:
        return Steer(block=block, phase="counted", level=self.accepted // 3, note=f"{len(self.told)} prompts")

    def under(self, steer: Steer) -> Under:
        return Under(Named(steer))


def entry(prompt: int, number: int, accepted: bool) -> Entry:
    return Entry(
        id=f"p{prompt:03}/0/{number}", prompt_id=f"p{prompt:03}", outcome="accepted" if accepted else "unaccepted",
        tokens=1, prompt_tokens=1, seconds=0.0, stages=(1,), place=prompt,
    )  # fmt: skip


def live(
    prompts: int, attempts: int, size: int, seed: int, *, slots: int = 7, before: Sequence[Entry] = (),
    known: Sequence[Steer] = (), stop_after: int | None = None, fate: int = 0,
) -> tuple[list[Entry], list[Steer], dict[str, Steer]]:  # fmt: skip
    """Run attempts that end in random order; return the ledger, the decisions, and what each attempt ran under."""
    rng, fates = np.random.default_rng(seed), np.random.default_rng(fate)
    accepted = [[bool(fates.random() < 0.5) for _ in range(attempts)] for _ in range(prompts)]
    steers: list[Steer] = []
    ids = [f"p{i:03}" for i in range(prompts)]
    blocks = Blocks(CountingPilot(), prompts, Goal(attempts), size, write=steers.append, known=known)
    done = {each.id for each in before}

    def portions() -> Iterator[Portion]:
        for place in range(prompts):
            numbers = [n for n in range(attempts) if f"p{place:03}/0/{n}" not in done]
            if numbers:
                yield Portion(place, numbers)

    blocks.begin(before, portions())
    ledger, running, under = list(before), list[tuple[int, int]](), {}
    waiting: list[tuple[int, int]] = []
    while True:
        while len(running) < slots and (waiting or (portion := blocks.more()) is not None):
            waiting = waiting or [(portion.place, n) for n in portion.numbers]
            place, number = waiting.pop(0)
            finished = {i for i in range(prompts) if sum(e.prompt_id == ids[i] for e in ledger) == attempts}
            assert set(range(max(0, (place // size - 1) * size))) <= finished  # all blocks before the last one
            running.append((place, number))
            under[f"p{place:03}/0/{number}"] = blocks.under(place).policy.named
        if not running or (stop_after is not None and len(ledger) >= stop_after):
            return ledger, [*known, *steers], under
        place, number = running.pop(int(rng.integers(len(running))))
        ledger.append(entry(place, number, accepted[place][number]))
        blocks.end(ledger[-1])


WORLDS = {
    "prompts": st.integers(1, 40),
    "attempts": st.integers(1, 4),
    "size": st.integers(1, 9),
    "fate": st.integers(0, 10**6),
}


@settings(deadline=None, max_examples=60)
@given(
    **WORLDS, seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)), slots=st.tuples(st.integers(1, 30), st.just(3))
)
def test_neither_slots_nor_the_order_of_endings_changes_a_decision(
    prompts: int, attempts: int, size: int, fate: int, seeds: tuple[int, int], slots: tuple[int, int]
) -> None:
    one, other = (live(prompts, attempts, size, seed, slots=n, fate=fate) for seed, n in zip(seeds, slots, strict=True))
    assert one[1] == other[1]
    assert one[2] == other[2]
    assert {e.id for e in one[0]} == {e.id for e in other[0]}
    assert len(one[0]) == prompts * attempts


@settings(deadline=None, max_examples=60)
@given(**WORLDS, stops=st.lists(st.integers(0, 120), max_size=4))
def test_a_run_that_was_killed_goes_on_with_the_same_decisions(
    prompts: int, attempts: int, size: int, fate: int, stops: list[int]
) -> None:
    whole = live(prompts, attempts, size, 0, fate=fate)
    ledger, steers, under = list[Entry](), list[Steer](), dict[str, Steer]()
    for seed, stop in enumerate([*sorted(stops), None]):
        ledger, steers, new = live(
            prompts, attempts, size, seed, before=ledger, known=steers, stop_after=stop, fate=fate
        )
        under |= new
    assert steers == whole[1]
    assert under == whole[2]


def test_a_run_that_was_steered_otherwise_is_refused() -> None:
    ledger, steers, _ = live(30, 2, 3, 0)
    changed = [*steers[:-1], Steer(block=steers[-1].block, phase="other")]
    with pytest.raises(InputError, match="was steered otherwise: other from block"):
        live(30, 2, 3, 0, before=ledger, known=changed)


def test_blocks_give_each_slot_four_attempts() -> None:
    assert block_size(32, 4) == 32
    assert block_size(1, 4) == 8
    assert block_size(256, 1) == 1024
