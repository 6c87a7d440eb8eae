"""Ways to attend in a decode step: each gives what transformers' own gives, or is given up aloud."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types
from contextlib import nullcontext
from typing import Any

import pytest
import torch

import kernels
import tiny
from kernels import attend as by_definition
from msifr_integrations.engine import attention
from msifr_integrations.engine.base import Attempt, Sampling, stream_key
from msifr_integrations.engine.slot_engine import SlotEngine


def tokens(engine: SlotEngine) -> dict[str, list[int]]:
    for i in range(12):
        engine.submit(Attempt(f"{i}", tuple(range(1, 3 + 5 * i)), stream_key(0, f"{i}", 0), 10 + 7 * i))
    taken: dict[str, list[int]] = {}
    while engine.busy:
        for event in engine.step():
            taken.setdefault(event.id, []).append(event.token)
    engine.close()
    return taken


def engine_of() -> SlotEngine:
    return SlotEngine(tiny.llama(2), slots=5, sampling=Sampling(), end=frozenset())


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module in the kernel's place, which needs no Triton."""
    return kernels.stand_in(monkeypatch).decode_kernel


def test_steps_by_the_kernel_give_the_same_tokens(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> None:
    plain, called = tokens(engine_of()), 0

    def attend(*given: Any) -> Any:
        nonlocal called
        called += 1
        return by_definition(*given)

    kernel.attend = attend  # type: ignore[attr-defined]
    monkeypatch.setattr(attention, "kernel_serves", lambda _: True)
    assert tokens(engine_of()) == plain
    assert called > 2 * max(map(len, plain.values()))  # each layer of each step, but no prefill


def test_groups_are_left_to_what_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tokens(engine_of())
    asked = []
    monkeypatch.setattr(attention, "knows_groups", lambda *given: asked.append(len(given)) or True)
    monkeypatch.setattr(attention, "sdpa_kernel", lambda _: nullcontext())  # whatever a CPU has
    assert tokens(engine_of()) == plain
    assert asked
    query = torch.zeros(2, 4, 1, 8)
    monkeypatch.undo()
    assert not attention.knows_groups(query, query[:, :2], query[:, :2], torch.zeros(2, 1, 1, 1))  # no GPU, no cuDNN


def test_the_kernel_is_checked_and_given_up_aloud(monkeypatch: pytest.MonkeyPatch, kernel: Any) -> None:
    model = types.SimpleNamespace(
        device=types.SimpleNamespace(type="cuda"),
        config=tiny.llama(2).config,
        parameters=lambda: iter([torch.zeros(1)]),
    )
    monkeypatch.setattr(model.config, "_attn_implementation", attention.NAME)
    monkeypatch.setattr(
        attention, "kernel_off", lambda *given, measure=attention.kernel_off: measure(*given[:4], torch.device("cpu"))
    )
    with monkeypatch.context() as without:
        without.setattr(attention, "KERNEL", False)
        assert not attention.kernel_serves(model)
    assert attention.kernel_serves(model)
    assert not attention.kernel_serves(tiny.llama(2))  # on a CPU
    with monkeypatch.context() as windows:  # the kernel knows of none
        windows.setattr(model.config, "sliding_window", 5, raising=False)
        assert not attention.kernel_serves(model)
    kernel.attend = lambda *given: 1.01 * by_definition(*given)  # type: ignore[attr-defined]
    with pytest.warns(RuntimeWarning, match=r"plain way, not by the kernel: its numbers are off by 1\.0e-02"):
        assert not attention.kernel_serves(model)
    kernel.attend = lambda *given: by_definition(*given) * float("nan")  # type: ignore[attr-defined]
    with pytest.warns(RuntimeWarning, match="off by nan"):
        assert not attention.kernel_serves(model)
    del kernel.attend
    with pytest.warns(RuntimeWarning, match="not by the kernel: ImportError: cannot import name 'attend'"):
        assert not attention.kernel_serves(model)


@pytest.mark.parametrize(("width", "options"), [(8, {"softcap": 30.0}), (8, {"s_aux": torch.zeros(4)}), (6, {})])
def test_what_the_kernel_does_not_know_is_left_to_others(
    width: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kernel: Any
) -> None:
    kernel.attend = lambda *_: pytest.fail("the kernel was asked")  # type: ignore[attr-defined]
    left = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *_, **__: left.append(1) or (torch.zeros(1), None))
    query, key, value = torch.zeros(2, 4, 1, 8), torch.zeros(2, 2, 3, 8), torch.zeros(2, 2, 3, width)
    with attention.by_kernel(torch.tensor([0, 2])):
        attention.grouped_attention(None, query, key, value, torch.zeros(2, 1, 1, 3), **options)
    assert bool(left) == bool(options)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
def test_the_kernel_is_attention_by_definition() -> None:
    """Run by Triton's interpreter, in a process of its own, for it is chosen at import."""
    code = """
import torch
from msifr_integrations.engine.attention import kernel_off
for dtype, heads, kv_heads, width in [
    (torch.float32, 4, 2, 8), (torch.float32, 5, 5, 80), (torch.float16, 8, 1, 64), (torch.float16, 8, 2, 128),
]:
    off = kernel_off(heads, kv_heads, width, dtype, torch.device("cpu"))
    assert off < (1e-6 if dtype == torch.float32 else 1e-3), (dtype, heads, kv_heads, width, off)
"""
    command = [sys.executable, "-c", code]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if "only 0-dimensional arrays can be converted" in ran.stderr:
        pytest.skip("Triton's interpreter has no loops with this NumPy")
    assert not ran.returncode, ran.stderr
