"""Generation settings of a model: what `generate()` would make of them, each row by itself, in either engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

import tiny
from msifr_integrations.engine.base import Attempt, Event, Sampling, stream_key
from msifr_integrations.engine.probe import make_engine
from msifr_integrations.engine.processors import generation_settings
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.provenance import provenance_of
from msifr_policy.errors import InputError
from msifr_policy.records.ledger import read_ledger
from msifr_policy.records.traces import read_traces

ENDS = frozenset(range(0, 257, 9))
ENGINES = pytest.mark.parametrize("kind", ["slots", "static"])


def queued(each: int = 1) -> list[Attempt]:
    """Prompts that repeat themselves, so that there is something to repeat."""
    draws = np.random.default_rng(2)
    prompts = [tuple(map(int, draws.integers(1, 30, length))) * 2 for length in (1, 3, 3, 8)]
    return [
        Attempt(f"{i}/{a}", prompt, stream_key(0, str(i), a), 24)
        for i, prompt in enumerate(prompts)
        for a in range(each)
    ]


def events(kind: Any, slots: int, sampling: Sampling, attempts: list[Attempt]) -> dict[str, list[Event]]:
    engine: Any = (
        SlotEngine(tiny.llama(), slots=slots, sampling=sampling, end=ENDS, ahead=True)
        if kind == "ahead"
        else make_engine(tiny.llama(), kind=kind, slots=slots, sampling=sampling, end=ENDS)[0]
    )
    taken: dict[str, list[Event]] = {attempt.id: [] for attempt in attempts}
    for attempt in attempts:
        engine.submit(attempt)
    engine.drain(lambda made: [taken[event.id].append(event) for event in made if isinstance(event, Event)])
    engine.close()
    return taken


@ENGINES
@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.8},
        {"repetition_penalty": 1.3, "suppress_tokens": list(range(40, 140))},
        {"no_repeat_ngram_size": 1},
        {"bad_words_ids": [[i] for i in range(60, 160)] + [[200, 201]]},
        {"min_new_tokens": 20},
        {"min_length": 12},
        {"begin_suppress_tokens": list(range(50, 250))},
        {"exponential_decay_length_penalty": [3, 1.5]},
        {"sequence_bias": [[[7], 30.0], [[7, 9], 60.0], [[250], -30.0]], "no_repeat_ngram_size": 3},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_greedy_tokens_are_those_of_generate(kind: Any, settings: dict[str, Any]) -> None:
    model = tiny.llama()
    taken = events(kind, 3, Sampling(temperature=0, more=settings), queued())
    plain = events(kind, 3, Sampling(temperature=0), queued())
    for attempt in queued():
        ids = torch.tensor([attempt.prompt])
        config = GenerationConfig(max_new_tokens=24, eos_token_id=sorted(ENDS), pad_token_id=0, **settings)
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        assert [event.token for event in taken[attempt.id]] == whole[0, ids.shape[1] :].tolist()
    assert taken != plain


FULL = {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_p": 0.02, "typical_p": 0.95}


@ENGINES
@pytest.mark.parametrize("more", [FULL, {"min_p": 0.05}, {"repetition_penalty": 1.2, "eta_cutoff": 0.01}], ids=str)
def test_sampled_tokens_follow_the_law_of_generate(kind: Any, more: dict[str, Any]) -> None:
    """The log-probability of each token is that of transformers' own list of processors; the model's stays its own."""
    model = tiny.llama()
    config = GenerationConfig(do_sample=True, temperature=0.8, top_k=50, top_p=0.95, **more)
    config._eos_token_tensor = torch.tensor(sorted(ENDS))
    taken = events(kind, 3, Sampling(0.8, 50, 0.95, more), queued())
    for attempt in queued():
        ids = list(attempt.prompt)
        theirs = model._get_logits_processor(config, input_ids_seq_length=len(ids), device="cpu")
        for event in taken[attempt.id]:
            with torch.no_grad():
                raw = model(torch.tensor([ids])).logits[:, -1]
            law = theirs(torch.tensor([ids]), raw.double())[0].log_softmax(-1)
            assert event.sampled_logprob == pytest.approx(float(law[event.token]), abs=1e-4)
            assert event.logprob == pytest.approx(float(raw[0].log_softmax(-1)[event.token]), abs=1e-4)
            ids.append(event.token)


@pytest.mark.parametrize("kind", ["slots", "static", "ahead"])
def test_tokens_do_not_depend_on_who_shares_the_batch(kind: Any) -> None:
    sampling = Sampling(0.8, 50, 0.95, FULL)
    alone = events("slots", 1, sampling, queued(3))
    assert {name: [event.token for event in made] for name, made in alone.items()} == {
        name: [event.token for event in made] for name, made in events(kind, 5, sampling, queued(3)[::-1]).items()
    }


def test_settings_are_read_as_generate_would_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.llama()
    assert generation_settings(model) == ({}, ())

    def read(**given: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        monkeypatch.setattr(model, "generation_config", GenerationConfig(**given))
        return generation_settings(model)

    assert read(temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0, do_sample=True) == ({}, ())
    assert read(temperature=0.6, top_k=20, min_p=0.1, do_sample=True)[0] == {
        "temperature": 0.6, "top_k": 20, "min_p": 0.1,
    }  # fmt: skip
    assert read(repetition_penalty=1.1, stop_strings="###")[0] == {"repetition_penalty": 1.1, "stop_strings": ["###"]}
    assert read(sequence_bias={(1, 2): -3.0})[0] == {"sequence_bias": [[[1, 2], -3.0]]}
    assert read(num_beams=4, forced_eos_token_id=2) == ({}, ("num_beams", "forced_eos_token_id"))


@pytest.fixture
def model_with_settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny model, which comes with settings as models of hubs do."""
    model = tiny.llama()
    own = GenerationConfig(
        do_sample=True, temperature=0.7, top_k=30, min_p=0.01, repetition_penalty=1.2, stop_strings=["e"], num_beams=2
    )
    monkeypatch.setattr(model, "generation_config", own)
    return model


@pytest.mark.usefixtures("model_with_settings")
def test_a_run_follows_the_model_s_settings_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    tiny.run(tmp_path / "own.jsonl", tell=said.append, stop=("Z",), top_k=50)
    assert (
        "the model's generation settings: stop_strings ['e'], repetition_penalty 1.2, temperature 0.7, min_p 0.01 "
        "(--no-generation-config leaves them out)"
    ) in said
    assert "generation settings of the model that are not followed: num_beams" in said
    settings = read_ledger(ledger_path(tmp_path / "own.jsonl")).settings
    told = {name: settings[name] for name in ("temperature", "top_k", "top_p", "stop", "generation_config")}
    assert told == {
        "temperature": 0.7, "top_k": 50, "top_p": 1.0, "stop": ["Z", "e"],
        "generation_config": {"repetition_penalty": 1.2, "min_p": 0.01},
    }  # fmt: skip
    assert "generation settings min_p 0.01, repetition_penalty 1.2" in provenance_of(settings).sampling
    texts = [record.text for record in read_traces(tmp_path / "own.jsonl")]
    assert not any("e" in text or "Z" in text for text in texts)
    assert len(texts) == 40


def test_settings_can_be_left_out_and_a_run_goes_on_with_its_own(tmp_path: Path, model_with_settings: Any) -> None:
    out, plain = tmp_path / "without.jsonl", tmp_path / "plain.jsonl"
    tiny.run(out, generation_config=False, max_tokens=500)
    settings = read_ledger(ledger_path(out)).settings
    assert (settings["temperature"], settings["top_k"], settings["top_p"], settings["stop"]) == (1.0, 0, 1.0, [])
    assert "generation_config" not in settings
    with pytest.raises(InputError, match=r"stop = \[\], not \['e'\]"):
        tiny.run(out)
    tiny.run(out, generation_config=False)
    model_with_settings.generation_config = GenerationConfig()
    tiny.run(plain)
    texts = [sorted((trace.prompt_id, trace.text) for trace in read_traces(path)) for path in (plain, out)]
    assert texts[0] == texts[1]
