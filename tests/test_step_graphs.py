"""Steps as CUDA graphs: captured when they may be, dropped when the cache moves, given up when the host takes part.

On a CPU a stand-in plays the graph: it does the captured work again, and fails where a graph's addresses or shapes
would no longer hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from msifr_integrations.engine import slot_engine, step_graphs
from msifr_integrations.engine.base import Attempt, Sampling, stream_key
from msifr_integrations.engine.slot_cache import BUCKET, rounded
from msifr_integrations.engine.slot_engine import SHRINK, SlotEngine, batch
from msifr_integrations.engine.step_graphs import StepGraphs, capturable, close


def attempts(count: int = 40) -> list[Attempt]:
    """Prompts and lengths that make a cache grow, refill and shrink."""
    rng = np.random.default_rng(5)
    return [
        Attempt(str(i), tuple(map(int, rng.integers(1, 257, rng.integers(1, 30)))), stream_key(0, str(i), 0), length)
        for i, length in enumerate(map(int, rng.integers(1, 150, count)))
    ]


def drained(engine: SlotEngine) -> dict[str, list[int]]:
    """Tokens of the attempts; every third is discarded after 20 tokens."""
    tokens: dict[str, list[int]] = {}
    for attempt in attempts():
        engine.submit(attempt)
    while engine.busy:
        for event in engine.step():
            tokens.setdefault(event.id, []).append(event.token)
            if int(event.id) % 3 == 0 and len(tokens[event.id]) == 20:
                engine.cancel(event.id)
    return tokens


def engine_of(model: Any) -> SlotEngine:
    return SlotEngine(model, slots=8, sampling=Sampling(), end=frozenset())


class Stage:
    """Stands in for CUDA: counts captures and replays, and checks at each replay what a graph would take for granted.

    spoil: what a replay does to logits and what is drawn, if it is to go wrong. room: positions that fit into memory.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int = 1 << 30) -> None:
        self.captures = self.replays = 0
        self.shapes: set[tuple[int, int]] = set()
        self.spoil: Callable[[torch.Tensor, torch.Tensor], object] | None = None
        self.refuse = ""
        self.forbidden = False
        monkeypatch.setattr(step_graphs, "capturable", lambda _: True)
        monkeypatch.setattr(step_graphs, "new_pool", lambda: None)
        monkeypatch.setattr(step_graphs, "capture", self.capture)
        monkeypatch.setattr(step_graphs, "waiting_forbidden", self.waiting_forbidden)
        monkeypatch.setattr(slot_engine, "affordable", lambda _: room)
        self.engine = engine_of(tiny.llama())

    @contextmanager
    def waiting_forbidden(self) -> Iterator[None]:
        assert not self.captures, "tried before the first capture, and only then"
        assert not self.forbidden
        self.forbidden = True
        yield
        if self.refuse == "waits":
            raise RuntimeError("called a synchronizing CUDA operation")

    def held(self) -> list[Any]:
        cache = self.engine.cache
        assert cache is not None
        tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return [cache.shown, cache.index.data_ptr(), *((t.data_ptr(), t.shape) for t in tensors)]

    def capture(self, work: Callable[[], Any], pool: Any) -> tuple[Callable[[], None], Any]:
        assert pool is None
        assert self.forbidden
        if self.refuse == "cannot be captured":
            raise RuntimeError("operation not permitted when stream is capturing")
        self.captures += 1
        held, made = self.held(), work()
        assert self.engine.cache is not None
        self.shapes.add((len(made[0]), self.engine.cache.shown))

        def replay() -> None:
            assert self.held() == held, "a graph outlived the cache it was captured on"
            self.replays += 1
            for place, new in zip(made, work(), strict=True):
                place.copy_(new)  # a graph writes where it wrote before
            if self.spoil is not None:
                self.spoil(*made)

        return replay, made


def test_captured_steps_give_the_tokens_of_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    eager = drained(engine_of(tiny.llama()))
    stage = Stage(monkeypatch)
    assert drained(stage.engine) == eager
    assert {rows for rows, _ in stage.shapes} == {8, 2, 1}
    assert stage.captures <= 10
    assert stage.replays > 20 * stage.captures


@pytest.mark.parametrize("room", [1 << 30, 600])
def test_graphs_do_not_outlive_a_cache_that_moves(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """It grows for prompts that are longer than all before, or has fewer rows for them, and more again after."""

    def run(engine: SlotEngine) -> dict[str, list[int]]:
        tokens: dict[str, list[int]] = {}
        for lengths in ([30] * 9, [140, 150], [30] * 12):
            for length in lengths:
                name = f"{len(tokens)}"
                tokens[name] = []
                engine.submit(Attempt(name, tuple(range(1, 1 + length)), stream_key(0, name, 0), length))
            while engine.busy:
                for event in engine.step():
                    tokens[event.id].append(event.token)
        return tokens

    eager = run(engine_of(tiny.llama()))
    stage = Stage(monkeypatch, room=room)
    assert run(stage.engine) == eager
    assert stage.replays > stage.captures > len(stage.shapes)


def test_a_shape_is_captured_once_where_memory_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch shrinks and grows again, slots are filled and shared: nothing of a graph moves."""
    eager, engine = [], engine_of(tiny.llama())
    eager = [drained(engine), drained(engine)]
    stage = Stage(monkeypatch)
    assert [drained(stage.engine), drained(stage.engine)] == eager
    assert stage.engine.cache is not None
    assert stage.engine.cache.capacity == 192  # the longest prompt and attempt, rounded up
    assert stage.captures == stage.engine.captured == len(stage.shapes)
    assert {shown for _, shown in stage.shapes} == {64, 128, 192}


@pytest.mark.parametrize("why", ["waits", "cannot be captured"])
def test_a_model_that_cannot_be_captured_runs_eagerly_and_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    eager = drained(engine_of(tiny.llama()))
    stage = Stage(monkeypatch)
    stage.refuse = why
    assert drained(stage.engine) == eager
    assert stage.forbidden
    assert stage.replays == stage.captures == stage.engine.captured == 0


@pytest.mark.parametrize("what", ["logits halved", "no numbers", "other tokens"])
def test_a_replay_that_gives_something_else_is_found_out(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """And what it wrote in the cache is written again."""
    eager = drained(engine_of(tiny.llama()))
    stage = Stage(monkeypatch)

    def spoil(logits: torch.Tensor, drawn: torch.Tensor) -> None:
        if what == "other tokens":
            drawn[0] += 1
        else:  # with what would be drawn from them
            logits *= 0.5 if what == "logits halved" else float("nan")
            uniforms = stage.engine._on_device[: len(logits), 2:]
            drawn.copy_(slot_engine.draw(logits, uniforms, Sampling()).stacked())
        cache = stage.engine.cache
        assert cache is not None
        for layer in cache.layers:
            layer.keys[cache.index[: len(logits)], :, cache.positions] = 7.0

    stage.spoil = spoil
    assert drained(stage.engine) == eager
    assert stage.replays == stage.captures == 1


def test_logits_that_are_no_numbers_are_left_to_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not-a-number in an eager step is an error of the model, and not a sign of a wrong capture."""
    lost = torch.full((2, 5), float("nan"))
    assert not close(lost, lost)  # no capture from such a step
    assert close(torch.ones(2, 5), torch.ones(2, 5) + 1e-5)
    assert not close(torch.ones(2, 5), torch.ones(2, 5) + 1e-2)
    half = torch.ones(2, 5, dtype=torch.bfloat16)
    assert close(half + 0.01, half)
    monkeypatch.setattr(step_graphs, "capturable", lambda _: True)
    monkeypatch.setattr(step_graphs, "new_pool", lambda: None)
    monkeypatch.setattr(step_graphs, "capture", lambda work, _: (lambda: None, work()))
    monkeypatch.setattr(step_graphs, "waiting_forbidden", nullcontext)
    graphs = StepGraphs(None)
    for _ in range(3):
        assert graphs.step("a shape", lambda: lost, lambda logits: logits).isnan().all()
    assert graphs.captured == 0


@given(st.integers(1, 300), st.integers(1, 300))
def test_a_batch_fits_and_few_sizes_occur(attempts: int, slots: int) -> None:
    attempts = min(attempts, slots)
    assert batch(attempts, slots, few=False) == attempts
    rows = batch(attempts, slots, few=True)
    assert attempts <= rows <= slots
    assert rows == slots or rows < SHRINK * attempts + SHRINK
    sizes = {batch(n, slots, few=True) for n in range(1, slots + 1)}
    assert len(sizes) <= 2 + math.log(slots, SHRINK)
    assert slots in sizes


@given(st.integers(1, 1 << 20))
def test_few_numbers_of_keys_are_shown_and_little_more_than_needed(length: int) -> None:
    assert length <= rounded(length) < length + BUCKET
    coarse = rounded(length, coarse=True)
    assert length <= coarse < length + max(2 * BUCKET, length / 4)
    assert rounded(coarse, coarse=True) == coarse


def test_there_are_four_numbers_of_keys_for_each_doubling() -> None:
    shown = {rounded(length, coarse=True) for length in range(1, 8193)}
    assert len(shown) == 8 + 4 * 4


def test_models_on_a_cpu_or_in_several_places_are_not_captured() -> None:
    assert not capturable(tiny.llama())
    spread = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta")])
    assert not capturable(spread)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.llama().to("cuda")
    try:
        captured = drained(engine_of(model))
        monkeypatch.setattr(step_graphs, "capturable", lambda _: False)
        assert drained(engine_of(model)) == captured
    finally:
        model.to("cpu")
