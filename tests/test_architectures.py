"""Models of many architectures: greedy tokens are those of `generate()`, one prompt at a time, in either engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from architectures import ARCHITECTURES, WINDOW, Architecture, model, table
from msifr_integrations.engine import masks
from msifr_integrations.engine.base import (
    Attempt,
    Event,
    Sampling,
    longest_in_slots,
    longest_sequence,
    stream_key,
)
from msifr_integrations.engine.masks import layer_kinds
from msifr_integrations.engine.probe import make_engine, why_no_slots

ENDS = frozenset({0, 1})
GREEDY = Sampling(temperature=0)
PAGE = Path(__file__).parents[1] / "docs" / "generating.md"


def queued() -> list[Attempt]:
    """More attempts than slots, two at each prompt, of lengths around those of the windows and beyond."""
    draws = np.random.default_rng(5)
    prompts = [tuple(map(int, draws.integers(2, 97, length))) for length in (1, 4, 9, 9)]
    return [
        Attempt(f"{i}/{a}", prompt, stream_key(0, str(i), a), (6, 10)[a])
        for i, prompt in enumerate(prompts)
        for a in range(2)
    ]


@cache
def one_by_one(name: str) -> dict[str, list[int]]:
    """What `generate()` gives for each prompt alone."""
    found: dict[tuple[int, ...], list[int]] = {}
    for attempt in queued():
        if attempt.prompt not in found:
            ids = torch.tensor([attempt.prompt])
            whole = model(name).generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10, eos_token_id=sorted(ENDS)
            )
            found[attempt.prompt] = whole[0, ids.shape[1] :].tolist()
    return {attempt.id: found[attempt.prompt][: attempt.max_new_tokens] for attempt in queued()}


@pytest.mark.parametrize("kind", ["slots", "static"])
@pytest.mark.parametrize("one", ARCHITECTURES, ids=lambda one: one.name)
def test_greedy_tokens_are_those_of_generate(one: Architecture, kind: Any) -> None:
    """With refills, with attempts discarded on the way, and with a batch that shrinks at the end."""
    reason = why_no_slots(model(one.name))
    assert one.why_static in reason
    assert bool(reason) == bool(one.why_static), reason
    if reason and kind == "slots":
        return
    engine, _ = make_engine(model(one.name), kind=kind, slots=3, sampling=GREEDY, end=ENDS)
    discarded = {attempt.id: 2 + i for i, attempt in enumerate(queued()) if i % 3 == 1}
    tokens: dict[str, list[int]] = {attempt.id: [] for attempt in queued()}
    for attempt in queued():
        engine.submit(attempt)

    def take(events: Sequence[Event]) -> None:
        for event in events:
            tokens[event.id].append(event.token)
            if len(tokens[event.id]) == discarded.get(event.id):
                engine.cancel(event.id)

    engine.drain(take)
    engine.close()
    assert tokens == {name: whole[: discarded.get(name)] for name, whole in one_by_one(one.name).items()}


def test_positions_that_hang_on_the_longest_row_end_sequences_in_slots() -> None:
    """This model turns all rows otherwise once one is longer than 24; `generate()` goes on, a batch of one length."""
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [9.0] * 4}
    phi3 = next(one for one in ARCHITECTURES if one.kind == "phi3")
    torch.manual_seed(3)
    options = phi3.options | {"rope_parameters": rope, "original_max_position_embeddings": 24, "sliding_window": None}
    long = AutoModelForCausalLM.from_config(AutoConfig.for_model("phi3", **options)).eval()
    assert (longest_in_slots(long), longest_sequence(long)) == (24, 256)
    attempts = [Attempt(f"{n}", tuple(range(2, n + 2)), stream_key(0, f"{n}", 0), 30) for n in (20, 3)]
    tokens: dict[tuple[str, str], list[int]] = {}
    for kind in ("slots", "static"):
        engine, _ = make_engine(long, kind=kind, slots=2, sampling=GREEDY, end=frozenset())  # type: ignore[arg-type]
        for attempt in attempts:
            engine.submit(attempt)
        engine.drain(lambda made: [tokens.setdefault((kind, each.id), []).append(each.token) for each in made])  # noqa: B023
        engine.close()
    for attempt in attempts:
        own, theirs = (tokens[kind, attempt.id] for kind in ("slots", "static"))
        assert (len(own), len(theirs)) == (24 - len(attempt.prompt) + 1, 30)
        assert own == theirs[: len(own)]


@pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree")
def test_the_documents_name_these_models() -> None:
    assert table() in PAGE.read_text(encoding="utf-8"), f"the table is to be:\n{table()}"


@pytest.mark.parametrize("name", ["mistral windows", "gemma3_text windows", "llama4_text chunks-experts"])
def test_the_probe_notices_a_wrong_window(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows are shorter than the windows are: it makes these shorter while it lasts."""
    before = layer_kinds(model(name).config)
    assert max(before.values()) == WINDOW > 4
    assert why_no_slots(model(name)) == ""
    monkeypatch.setattr(masks, "first_seen", lambda _, size, lengths: lengths - size)
    assert why_no_slots(model(name)) == "decoding in slots gives other logits than the plain forward pass"
    assert layer_kinds(model(name).config) == before
