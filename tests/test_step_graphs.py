"""Steps as CUDA graphs: captured when they may be, dropped when the cache moves, given up when the host takes part.

On a CPU a stand-in plays the graph: it does the captured work again, and fails where a graph's addresses or shapes
would no longer hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from msifr_integrations.engine import step_graphs
from msifr_integrations.engine.base import Attempt, Sampling, stream_key
from msifr_integrations.engine.slot_engine import SlotEngine
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

    spoil: what a replay does to the logits, if it is to go wrong.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, engine: SlotEngine) -> None:
        self.engine = engine
        self.captures = self.replays = 0
        self.spoil: Callable[[torch.Tensor], object] | None = None
        self.refuse = ""
        self.forbidden = False
        monkeypatch.setattr(step_graphs, "capturable", lambda _: True)
        monkeypatch.setattr(step_graphs, "new_pool", lambda: None)
        monkeypatch.setattr(step_graphs, "capture", self.capture)
        monkeypatch.setattr(step_graphs, "waiting_forbidden", self.waiting_forbidden)

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
        return [cache.shown, cache.rows.data_ptr(), *((t.data_ptr(), t.shape) for t in tensors)]

    def capture(self, work: Callable[[], Any], pool: Any) -> Callable[[], None]:
        assert pool is None
        assert self.forbidden
        if self.refuse == "cannot be captured":
            raise RuntimeError("operation not permitted when stream is capturing")
        self.captures += 1
        held = self.held()

        def replay() -> None:
            assert self.held() == held, "a graph outlived the cache it was captured on"
            self.replays += 1
            logits = work()
            if self.spoil is not None:
                self.spoil(logits)

        return replay


def test_captured_steps_give_the_tokens_of_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    eager = drained(engine_of(tiny.llama()))
    engine = engine_of(tiny.llama())
    stage = Stage(monkeypatch, engine)
    assert drained(engine) == eager
    # The cache has grown twice and shrunk, and its graphs with it: captured anew, and used far more often than made.
    assert stage.captures > 8
    assert stage.replays > 5 * stage.captures


@pytest.mark.parametrize("why", ["waits", "cannot be captured"])
def test_a_model_that_cannot_be_captured_runs_eagerly_and_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    eager = drained(engine_of(tiny.llama()))
    engine = engine_of(tiny.llama())
    stage = Stage(monkeypatch, engine)
    stage.refuse = why
    assert drained(engine) == eager
    assert engine.cache is not None
    assert stage.forbidden
    assert stage.replays == stage.captures == engine.cache.captured == 0


@pytest.mark.parametrize("factor", [0.5, float("nan")])
def test_a_replay_that_gives_other_logits_is_found_out(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """And what it wrote in the cache is written again."""
    eager = drained(engine_of(tiny.llama()))
    engine = engine_of(tiny.llama())
    stage = Stage(monkeypatch, engine)

    def spoil(logits: torch.Tensor) -> None:
        logits *= factor
        assert engine.cache is not None
        for layer in engine.cache.layers:
            layer.keys[engine.cache.rows, :, engine.cache.positions] = 7.0

    stage.spoil = spoil
    assert drained(engine) == eager
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
    monkeypatch.setattr(step_graphs, "capture", lambda work, _: work)
    monkeypatch.setattr(step_graphs, "waiting_forbidden", nullcontext)
    graphs = StepGraphs(None)
    zeros = torch.zeros(2, dtype=torch.long)
    for _ in range(2 * step_graphs.AFTER):
        assert graphs.step(32, lambda *_: lost, zeros, zeros).isnan().all()


def test_models_on_a_cpu_or_in_several_places_are_not_captured() -> None:
    assert not capturable(tiny.llama())
    spread = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta")])
    assert not capturable(spread)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.llama().to("cuda")
    try:
        captured = drained(engine_of(model))
        monkeypatch.setattr(step_graphs, "AFTER", 1 << 60)
        assert drained(engine_of(model)) == captured
    finally:
        model.to("cpu")
