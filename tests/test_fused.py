"""Parts of a model replaced by fewer kernels, prompts in packs, and the queue by prompts: the same numbers, sooner."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

import kernels
import tiny
from msifr_integrations.engine import attention, fused, packs
from msifr_integrations.engine.base import Attempt, Sampling, stream_key
from msifr_integrations.engine.fused import Fused, Joined
from msifr_integrations.engine.packs import SIZES, Packs, pack, sequence
from msifr_integrations.engine.prefill import prefill
from msifr_integrations.engine.prompt_queue import PromptQueue
from msifr_integrations.engine.slot_cache import SlotCache
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.engine.step_graphs import StepGraphs

IDS = torch.tensor([[1, 5, 9, 2, 7, 3, 8], [4, 4, 1, 6, 2, 9, 5]])
SIZE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
SIZE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}


@pytest.fixture
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """Have parts replaced on a CPU, by what the kernels are to give."""
    monkeypatch.setattr(fused, "replaceable", lambda _: True)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    return kernels.stand_in(monkeypatch)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        made: torch.Tensor = model(IDS).logits
    return made


@pytest.mark.usefixtures("on_cuda")
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: tiny.llama(2), {"projections": 4, "norms": 5, "activations": 2, "rotations": 1}),
        (  # biases beside projections
            lambda: Qwen2ForCausalLM(Qwen2Config(**SIZE)),
            {"projections": 4, "norms": 5, "activations": 2, "rotations": 1},
        ),
        (  # norms by 1 + weight, another activation, heads wider than its size says
            lambda: Gemma2ForCausalLM(Gemma2Config(**SIZE, head_dim=16)),
            {"projections": 4, "norms": 9, "activations": 0, "rotations": 1},
        ),
        (
            lambda: GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4)),
            {"projections": 0, "norms": 0, "activations": 0, "rotations": 0},
        ),
    ],
    ids=["llama", "qwen2", "gemma2", "gpt2"],
)
def test_a_part_is_replaced_where_it_gives_the_same(make: Any, expected: dict[str, int]) -> None:
    torch.manual_seed(1)
    model = make().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    plain, weights = logits(model), {name: weight.clone() for name, weight in model.state_dict().items()}
    replaced = Fused(model)
    assert replaced.parts == expected
    assert float((logits(model) - plain).abs().max()) < 1e-4 * float(plain.abs().max())
    replaced.undo()
    assert torch.equal(logits(model), plain)
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())
    owners = [weight.untyped_storage().data_ptr() for weight in model.parameters()]
    assert len(set(owners)) == len(owners)  # none is a view of a joined one any more: it could not be saved so
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_a_kernel_with_other_numbers_replaces_nothing(on_cuda: types.SimpleNamespace) -> None:
    on_cuda.fused_kernels.rms_norm = lambda *given: 1.01 * kernels.rms_norm(*given)
    on_cuda.fused_kernels.silu_mul = lambda both: kernels.silu_mul(both.flip(-1))
    on_cuda.fused_kernels.rotate = lambda x, cos, sin: kernels.rotate(x, cos, -sin)
    model = tiny.llama(2)
    plain = logits(model)
    replaced = Fused(model)
    assert replaced.parts == {"projections": 4, "norms": 0, "activations": 0, "rotations": 0}
    assert float((logits(model) - plain).abs().max()) < 1e-4
    replaced.undo()


def test_joined_projections_may_be_asked_in_any_order_and_of_anything() -> None:
    torch.manual_seed(2)
    projections = [torch.nn.Linear(6, size, bias=False) for size in (4, 2, 3)]
    alone = [deepcopy(each) for each in projections]
    joined = Joined(projections)
    inputs = torch.randn(3, 2, 6)
    for number, at in [(0, 0), (1, 1), (1, 0), (2, 0), (2, 0), (0, 2), (0, 2), (1, 2), (2, 2), (1, 1), (0, 1), (2, 1)]:
        x = inputs[at]
        for _ in range(2):
            assert torch.allclose(projections[number](x), alone[number](x), atol=1e-6)
    joined.undo()


def test_without_triton_nothing_is_replaced_and_that_is_said(on_cuda: types.SimpleNamespace) -> None:
    del on_cuda.fused_kernels.rms_norm
    model = tiny.llama(2)
    plain = logits(model)
    with pytest.warns(RuntimeWarning, match="all their small kernels: ImportError"):
        assert not any(Fused(model).parts.values())
    assert torch.equal(logits(model), plain)


def test_watched_parts_stay_and_a_cpu_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.llama(2)
    assert not any(Fused(model).parts.values())  # on a CPU
    monkeypatch.setattr(fused, "replaceable", lambda _: True)
    kernels.stand_in(monkeypatch)
    inputs: list[Any] = []
    hook = model.model.layers[0].self_attn.q_proj.register_forward_hook(lambda *given: inputs.append(given))
    replaced = Fused(model)
    assert replaced.parts["projections"] == 3
    logits(model)
    assert inputs
    replaced.undo()
    hook.remove()


@given(st.lists(st.integers(0, SIZES[-1]), max_size=60))
def test_packs_hold_each_prompt_once_and_no_more_than_fits(lengths: list[int]) -> None:
    made = pack(lengths)
    assert sorted(place for places in made for place in places) == list(range(len(lengths)))
    sums = [sum(lengths[place] for place in places) for places in made]
    assert all(total <= SIZES[-1] for total in sums)
    # First fit: of two packs, what the later one begins with did not fit into the earlier one.
    assert all(a + lengths[places[0]] > SIZES[-1] for i, places in enumerate(made) for a in sums[:i])


def test_a_sequence_tells_whose_each_token_is() -> None:
    ids, positions, starts, rows = sequence({3: (7, 8), 1: (9,)}, 5, 4)
    assert (ids, positions, starts, rows) == ([7, 8, 9, 0], [0, 1, 0, 0], [0, 0, 2, 3], [3, 3, 1, 5])


@pytest.mark.parametrize("by_kernel", [True, False])
def test_packs_compute_what_prompts_alone_do(on_cuda: types.SimpleNamespace, by_kernel: bool) -> None:
    model, asked = tiny.llama(2), 0

    def attend(*given: Any) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return kernels.attend_pack(*given)

    on_cuda.pack_kernel.attend_pack = attend
    if not by_kernel:
        on_cuda.monkeypatch.setattr(packs, "in_packs", nullcontext)
    prompts = {2: (5, 6, 7, 8, 9), 0: (1, 2, 3), 1: tuple(range(100, 170)), 3: tuple(range(7, 207)), 5: (4,)}
    with torch.inference_mode():
        cache = SlotCache(prefill(model, [(0,)]), 6, 256, kernel=True, expected=256, spare=True)
        for layer in cache.layers:
            layer.change(lambda old: torch.full_like(old, 7.0))
        before = attention.register(model)
        assert (before, model.config._attn_implementation) == ("sdpa", attention.NAME)
        Packs(model, cache, StepGraphs(model)).fill(prompts)
        assert (asked > 0) == by_kernel
        model.set_attn_implementation(before)
        for row, prompt in prompts.items():
            for layer, (keys, values) in zip(cache.layers, prefill(model, [prompt]).layers, strict=True):
                for cached, alone in ((layer.keys, keys), (layer.values, values)):
                    assert torch.allclose(cached[row, :, : len(prompt)], alone[0], atol=1e-4)
                    assert bool((cached[row, :, len(prompt) :] == 7).all())  # and nothing else
                    assert bool((cached[4] == 7).all())


def drained(engine: SlotEngine) -> dict[str, list[int]]:
    """Prompts of many lengths, some of several attempts that stand apart; every third is cancelled."""
    taken: dict[str, list[int]] = {}
    for i in range(24):
        prompt = tuple(range(1 + i % 9, 4 + 5 * (i % 9)))
        engine.submit(Attempt(f"{i}", prompt, stream_key(0, f"{i}", 0), 5 + 3 * (i % 7)))
    while engine.busy:
        for event in engine.step():
            taken.setdefault(event.id, []).append(event.token)
            if int(event.id) % 3 == 0 and len(taken[event.id]) == 4:
                engine.cancel(event.id)
    engine.close()
    return taken


@pytest.mark.usefixtures("on_cuda")
def test_an_engine_with_packs_and_replaced_parts_samples_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def engine() -> SlotEngine:
        return SlotEngine(tiny.llama(2), slots=6, sampling=Sampling(), end=frozenset())

    monkeypatch.setattr(torch.Tensor, "is_cuda", False)
    with monkeypatch.context() as before:
        before.setattr(fused, "replaceable", lambda _: False)
        plain = drained(engine())
    monkeypatch.setattr(attention, "kernel_serves", lambda _: True)
    monkeypatch.setattr(packs, "SIZES", SIZES)
    steps = engine()
    steps._graphs.usable = True  # as on a GPU; what would be captured is done instead
    monkeypatch.setattr(StepGraphs, "step", lambda _, __, forward, draw: draw(forward()))
    monkeypatch.setattr("msifr_integrations.engine.slot_engine.affordable", lambda _: 4096)
    assert drained(steps) == plain
    assert steps.prefilled == sum({i % 9: 2 + 4 * (i % 9) for i in range(24)}.values())  # each prompt once


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=30))
def test_a_queue_keeps_prompts_together(ops: list[tuple[int, bool]]) -> None:
    queue, expected = PromptQueue(), list[Attempt]()
    for number, (prompt, take) in enumerate(ops):
        if take and expected:
            assert queue.popleft() == expected.pop(0)
            continue
        attempt = Attempt(f"{number}", (prompt, 1), b"", 1)
        queue.append(attempt)
        at = max((i + 1 for i, other in enumerate(expected) if other.prompt == attempt.prompt), default=len(expected))
        expected.insert(at, attempt)
        if number % 5 == 4:
            queue.remove(attempt.id)
            expected.remove(attempt)
        queue.remove("unknown")
    assert list(queue) == expected
    assert len(queue) == len(expected)
    queue.clear()
    assert not queue


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_kernels_give_what_they_are_to_give() -> None:
    """Run by Triton's interpreter, in a process of its own, for it is chosen at import."""
    code = """
import sys
sys.path.insert(0, "tests")
import torch, kernels
from msifr_integrations.engine import draw_kernel, fused_kernels, sampling
from msifr_integrations.engine.base import Sampling, levels
torch.manual_seed(0)
x, weight = torch.randn(3, 2, 100), torch.randn(100)
assert torch.allclose(fused_kernels.rms_norm(x, weight, 1e-6, 1.0), kernels.rms_norm(x, weight, 1e-6, 1.0), atol=1e-5)
both = torch.randn(4, 3000)
assert torch.allclose(fused_kernels.silu_mul(both), kernels.silu_mul(both), atol=1e-5)
wide = torch.randn(2, 3, 10, 16)
x = wide[:, :, 2:7].transpose(1, 2)  # part of something wider
for batch in (1, 2):
    cos, sin = torch.randn(2, batch, 3, 16)
    cos[..., 8:], sin[..., 8:] = cos[..., :8], sin[..., :8]
    assert torch.allclose(fused_kernels.rotate(x, cos, sin), kernels.rotate(x, cos, sin), atol=1e-5)
caches = [torch.zeros(2, 5, 2, 8, 16) for _ in range(2)]
new, rows, at = torch.randn(2, 3, 2, 16), torch.tensor([1, 3, 4]), torch.tensor([2, 7, 0])
for cache, store in zip(caches, (fused_kernels.store, kernels.store)):
    store(*new, *cache, rows, at)
assert torch.equal(*caches)
for size in (4096, 5000, 8193):
    for temperature in (1.0, 0.7):
        logits = 3 * torch.randn(40, size)
        logits[:, 100:2500] = -torch.inf
        numbers = torch.rand(40, levels(size), dtype=torch.float64)
        drawn = draw_kernel.draw(logits, numbers, temperature)
        plain = sampling.draw(logits, numbers, Sampling(temperature))
        assert torch.equal(drawn[0], plain.token)
        assert torch.allclose(drawn[1], plain.logprob, atol=1e-5) and torch.allclose(drawn[2], plain.sampled_logprob)
"""
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, check=True)  # noqa: S603 - our own code
