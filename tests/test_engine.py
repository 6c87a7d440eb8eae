"""The engines: the right tokens, at the right price, whoever shares the batch."""

from __future__ import annotations

import itertools
import math
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import architectures
import tiny
from msifr_integrations.embedded import problems
from msifr_integrations.engine import attention, probe
from msifr_integrations.engine import slot_engine as engine_module
from msifr_integrations.engine.base import Attempt, Event, Sampling, end_tokens, levels, stream_key
from msifr_integrations.engine.probe import make_engine, why_no_slots
from msifr_integrations.engine.sampling import Stream, draw
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.engine.static_engine import StaticEngine
from msifr_integrations.generation.live import Live
from msifr_integrations.generation.text import Pieces
from msifr_policy.errors import InputError, MsifrError
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.filters import Prompt
from msifr_policy.policy import NEVER_DISCARD, Action, Decision
from msifr_policy.records.ledger import Session

ENDS = frozenset(range(0, 40, 8))  # several, so that random models come to an end
SAMPLED = Sampling()
GREEDY = Sampling(temperature=0)


def attempts(count: int, *, each: int = 1, longest: int = 40, cap: int = 60, seed: int = 0) -> list[Attempt]:
    """Prompts of 1 to `longest` tokens, `each` attempts at each, of at most 1 to `cap` tokens."""
    rng = np.random.default_rng(seed)
    return [
        Attempt(f"{i}/{a}", prompt, stream_key(seed, str(i), a), int(rng.integers(1, cap + 1)))
        for i in range(count)
        for prompt in [tuple(map(int, rng.integers(1, 257, rng.integers(1, longest + 1))))]
        for a in range(each)
    ]


class Taken:
    """Runs attempts and keeps what comes; `stop` may cancel: it sees an attempt's tokens and says so."""

    def __init__(self, engine: Any, queued: Sequence[Attempt], stop: Any = None) -> None:
        self.tokens: dict[str, list[int]] = {attempt.id: [] for attempt in queued}
        self.events: dict[str, list[Event]] = {attempt.id: [] for attempt in queued}
        self.cancelled: set[str] = set()
        for attempt in queued:
            engine.submit(attempt)

        def take(events: Sequence[Event]) -> None:
            for event in events:
                assert event.id not in self.cancelled, "a token after the decision"
                self.tokens[event.id].append(event.token)
                self.events[event.id].append(event)
                if stop is not None and stop(event.id, self.tokens[event.id]):
                    self.cancelled.add(event.id)
                    engine.cancel(event.id)

        engine.drain(take)
        engine.close()


def slots(model: Any, rows: int, sampling: Sampling = SAMPLED, end: frozenset[int] = ENDS) -> SlotEngine:
    return SlotEngine(model, slots=rows, sampling=sampling, end=end)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("rows", [1, 5, 16])
def test_greedy_is_what_generate_gives_one_by_one(kv_heads: int, rows: int) -> None:
    model, queued = tiny.llama(kv_heads), attempts(24)
    taken = Taken(slots(model, rows, GREEDY), queued)
    for attempt in queued:
        whole = model.generate(
            torch.tensor([attempt.prompt]), attention_mask=torch.ones(1, len(attempt.prompt)),
            do_sample=False, max_new_tokens=attempt.max_new_tokens, eos_token_id=sorted(ENDS), pad_token_id=0,
        )  # fmt: skip
        assert taken.tokens[attempt.id] == whole[0, len(attempt.prompt) :].tolist()
    finishes = [events[-1].finish for events in taken.events.values()]
    assert set(finishes) == {"end", "length"}  # both kinds occur


@pytest.mark.parametrize("sampling", [SAMPLED, Sampling(0.7, 20, 0.9)])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_tokens_do_not_depend_on_who_shares_the_batch(kv_heads: int, sampling: Sampling) -> None:
    model, queued = tiny.llama(kv_heads), attempts(12, each=3, cap=40)
    alone = Taken(slots(model, 1, sampling), queued)
    for rows in (5, 16):
        together = Taken(slots(model, rows, sampling), queued)
        assert together.tokens == alone.tokens
        for name, events in alone.events.items():
            for one, other in zip(events, together.events[name], strict=True):
                assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
    backwards = Taken(slots(model, 5, sampling), queued[::-1])
    assert backwards.tokens == alone.tokens


def test_other_architectures_run_in_slots() -> None:
    torch.manual_seed(0)
    gpt2 = GPT2LMHeadModel(
        GPT2Config(vocab_size=257, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0)
    ).eval()
    assert why_no_slots(gpt2) == ""
    queued = attempts(12, each=2)
    assert Taken(slots(gpt2, 7), queued).tokens == Taken(slots(gpt2, 1), queued).tokens


@pytest.mark.parametrize("kind", ["slots", "static"])
def test_survivors_are_the_same_and_discarded_attempts_are_prefixes(kind: str) -> None:
    model, queued = tiny.llama(), attempts(20, each=3)

    def make() -> Any:
        return make_engine(model, kind=kind, slots=8, sampling=SAMPLED, end=ENDS)[0]  # type: ignore[arg-type]

    full_engine, engine = make(), make()
    full = Taken(full_engine, queued)
    some = Taken(engine, queued, stop=lambda _, tokens: len(tokens) % 6 == 0 and tokens[-1] % 3 == 0)
    assert 10 < len(some.cancelled) < 50
    for name, tokens in some.tokens.items():
        if name in some.cancelled:
            assert tokens == full.tokens[name][: len(tokens)]
        else:
            assert tokens == full.tokens[name]
    saved = 1 - sum(map(len, some.tokens.values())) / sum(map(len, full.tokens.values()))
    computed = 1 - engine.row_steps / full_engine.row_steps
    assert saved > 0.2
    if kind == "slots":
        assert computed > 0.8 * saved  # what the hardware computes falls with the tokens


def test_both_engines_draw_the_same_tokens() -> None:
    model, queued = tiny.llama(), attempts(10, each=3)
    expected = Taken(slots(model, 8), queued)
    own = model.generation_config
    own.repetition_penalty = 1.7  # a setting of the model, which is not ours
    try:
        static = Taken(StaticEngine(model, slots=8, sampling=SAMPLED, end=ENDS), queued)
        padded = Taken(StaticEngine(model, slots=8, sampling=SAMPLED, end=ENDS, left_padding=True), queued)
        assert model.generation_config is own
    finally:
        own.repetition_penalty = None
    assert static.tokens == padded.tokens == expected.tokens
    for name, events in expected.events.items():
        assert [event.finish for event in events] == [event.finish for event in static.events[name]]
    endless = Taken(StaticEngine(model, slots=4, sampling=SAMPLED, end=frozenset()), queued[:4])
    assert [len(tokens) for tokens in endless.tokens.values()] == [a.max_new_tokens for a in queued[:4]]


def test_a_prompt_is_prefilled_once_for_all_its_attempts() -> None:
    queued = attempts(6, each=12)
    engine = slots(tiny.llama(), 8)
    Taken(engine, queued)
    assert engine.prefilled == sum(len(attempt.prompt) - 1 for attempt in queued[::12])


def test_refills_wait_for_a_quarter_of_the_slots() -> None:
    engine = slots(tiny.llama(), 16)
    for attempt in attempts(60):
        engine.submit(attempt)
    seen: list[int] = []  # free slots before each refill
    while engine.busy:
        before = engine.running
        if {event.id for event in engine.step()} - set(before):
            seen.append(16 - len(before))
    assert seen[0] == 16
    assert len(seen) > 3
    assert all(free >= 4 for free in seen)


def test_the_batch_shrinks_at_the_tail_and_grows_again() -> None:
    model, queued = tiny.llama(), [
        Attempt(str(i), (1 + i, 2, 3), stream_key(0, str(i), 0), 8 if i < 15 else 100) for i in range(16)
    ]  # fmt: skip
    engine = slots(model, 16, end=frozenset())
    for attempt in queued:
        engine.submit(attempt)
    tokens: dict[str, list[int]] = {attempt.id: [] for attempt in queued}
    for _ in range(50):
        for event in engine.step():
            tokens[event.id].append(event.token)
    assert engine.row_steps == 16 * 8 + 42  # alone in a batch of one after eight steps
    later = [Attempt(f"later {i}", (5, i), stream_key(1, str(i), 0), 20) for i in range(20)]
    for attempt in later:
        engine.submit(attempt)
        tokens[attempt.id] = []
    while engine.busy:
        for event in engine.step():
            tokens[event.id].append(event.token)
    assert tokens == Taken(slots(model, 1, end=frozenset()), [*queued, *later]).tokens
    assert engine.step() == []


def test_rows_grow_up_to_the_model_s_context() -> None:
    model = tiny.llama(positions=200)
    queued = [Attempt(str(n), tuple(range(1, n + 1)), stream_key(0, str(n), 0), 10_000) for n in (1, 20, 199, 200)]
    taken = Taken(slots(model, 4, end=frozenset()), queued)
    # The last token is sampled, never fed: it needs no position.
    assert {name: len(tokens) for name, tokens in taken.tokens.items()} == {
        "1": 200,
        "20": 181,
        "199": 2,
        "200": 1,
    }
    assert all(events[-1].finish == "length" for events in taken.events.values())
    assert Taken(slots(model, 1, end=frozenset()), queued).tokens == taken.tokens


def test_bad_attempts_are_refused_before_they_run() -> None:
    for make in (slots(tiny.llama(), 2), StaticEngine(tiny.llama(), slots=2, sampling=SAMPLED, end=ENDS)):
        for attempt, message in [
            (Attempt("a", (), b"0" * 16, 5), "prompt has no tokens"),
            (Attempt("a", (1,) * 257, b"0" * 16, 5), "has 257 tokens, the context 256"),
            (Attempt("a", (1,), b"0" * 16, 0), "max_new_tokens = 0"),
        ]:
            with pytest.raises(InputError, match=message):
                make.submit(attempt)
    with pytest.raises(InputError, match="slots = 0"):
        slots(tiny.llama(), 0)


def test_cancelling_is_exact_and_forgiving() -> None:
    queued = attempts(5, cap=30)
    engine = slots(tiny.llama(), 2, end=frozenset())
    for attempt in queued:
        engine.submit(attempt)
    engine.cancel("4/0")
    engine.cancel("nobody")
    engine.step()
    running = engine.running
    engine.cancel(running[0])
    engine.cancel(running[0])
    assert engine.running == running[1:]
    seen = {event.id for _ in range(200) if engine.busy for event in engine.step()}
    assert running[0] not in seen
    assert "4/0" not in seen


def test_an_engine_that_goes_ahead_delivers_the_same_and_counts_what_it_drops() -> None:
    """`Taken` makes sure that nothing is delivered after a decision."""
    model, queued = tiny.llama(), attempts(20, each=3)

    def stop(_: str, tokens: list[int]) -> bool:
        return len(tokens) % 6 == 0 and tokens[-1] % 3 == 0

    plain = slots(model, 8)
    expected = Taken(plain, queued, stop=stop)
    engine = SlotEngine(model, slots=8, sampling=SAMPLED, end=ENDS, ahead=True)
    ahead = Taken(engine, queued, stop=stop)
    assert ahead.tokens == expected.tokens
    assert ahead.cancelled == expected.cancelled
    last = {name: events[-1].finish for name, events in ahead.events.items()}
    running = {name for name in ahead.cancelled if not last[name]}
    ended = [name for name, finish in last.items() if finish == "end"]  # a limit is known beforehand, a token is not
    # One each, but where no step had begun yet since rows were to be moved.
    assert len(running) + len(ended) - 3 <= engine.dropped <= len(running) + len(ended)
    assert engine.dropped == engine.spent().late
    assert min(len(running), len(ended)) > 5
    assert (plain.dropped, plain.spent()) == (0, Session())


def test_an_engine_that_goes_ahead_always_leaves_work_to_the_device() -> None:
    """When a step is read the next one has begun, but where its rows are to be moved first."""
    engine = SlotEngine(tiny.llama(), slots=8, sampling=SAMPLED, end=ENDS, ahead=True)
    for attempt in attempts(20, each=3):
        engine.submit(attempt)
    under_way = []
    while engine.busy:
        engine.step()
        under_way.append(len(engine._under_way))
    assert set(under_way) == {0, 1}
    assert sum(under_way) > 0.9 * len(under_way)


def test_an_engine_that_goes_ahead_takes_new_attempts_at_any_time() -> None:
    model, queued = tiny.llama(), attempts(9, cap=30)
    engine = SlotEngine(model, slots=2, sampling=SAMPLED, end=frozenset(), ahead=True)
    tokens: dict[str, list[int]] = {attempt.id: [] for attempt in queued}
    for attempt in queued:
        engine.submit(attempt)
        for _ in range(3):
            for event in engine.step():
                tokens[event.id].append(event.token)
        engine.cancel("3/0")
    while engine.busy:
        for event in engine.step():
            tokens[event.id].append(event.token)
    expected = Taken(slots(model, 1, end=frozenset()), queued).tokens
    del expected["3/0"], tokens["3/0"]
    assert tokens == expected


def test_an_overflow_left_in_a_slot_does_not_reach_its_next_attempt() -> None:
    first, second = attempts(2, cap=30)
    engine = slots(tiny.llama(), 1, end=frozenset())
    engine.submit(first)
    engine.step()
    engine.cancel(first.id)
    assert engine.cache is not None
    with torch.inference_mode():
        for layer in engine.cache.layers:
            layer.keys[:, :, : engine.cache.used] = math.inf
            layer.values[:, :, : engine.cache.used] = math.nan
    assert Taken(engine, [second]).tokens == Taken(slots(tiny.llama(), 1, end=frozenset()), [second]).tokens


def test_output_that_is_not_a_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = slots(tiny.llama(), 2)
    engine.submit(attempts(1)[0])
    monkeypatch.setattr(engine_module, "draw", lambda logits, *rest: draw(logits * math.nan, *rest))
    with pytest.raises(MsifrError, match=r"no numbers for attempt '0/0' at token 1 .*bfloat16"):
        engine.step()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_steps_are_computed_ahead_where_the_device_would_wait_for_decisions(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = types.SimpleNamespace(training=False, device=torch.device(device))
    monkeypatch.setattr(probe, "why_no_slots", lambda _: "")
    monkeypatch.setattr(probe, "SlotEngine", lambda _, **options: options)
    made: Any = make_engine(model, slots=4, sampling=SAMPLED, end=ENDS)[0]
    assert made["ahead"] is (device == "cuda")


def test_models_that_do_not_fit_slots_are_recognised() -> None:
    torch.manual_seed(0)
    recurrent = architectures.model("jamba recurrent-layers-experts")
    alibi = BloomForCausalLM(
        BloomConfig(
            vocab_size=257,
            hidden_size=32,
            n_layer=2,
            n_head=4,
            bos_token_id=1,
            eos_token_id=0,
            pad_token_id=0,
        )
    ).eval()
    assert "LinearAttentionLayer" in why_no_slots(recurrent)
    assert "decoding in slots" in why_no_slots(alibi)
    with pytest.raises(InputError, match="cannot run in slots"):
        make_engine(alibi, kind="slots", slots=4, sampling=SAMPLED, end=ENDS)
    queued = attempts(4, each=3, cap=30)
    engine, why = make_engine(alibi, slots=4, sampling=SAMPLED, end=ENDS)
    assert engine.name == "static"
    assert why
    assert (
        Taken(engine, queued).tokens == Taken(make_engine(alibi, slots=1, sampling=SAMPLED, end=ENDS)[0], queued).tokens
    )
    with pytest.raises(InputError, match="unknown engine"):
        make_engine(tiny.llama(), kind="fast", slots=4, sampling=SAMPLED, end=ENDS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="training mode"):
        make_engine(alibi.train(), slots=4, sampling=SAMPLED, end=ENDS)


def test_the_probe_notices_a_wrong_position(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.llama()
    assert why_no_slots(model) == ""
    forward = model.forward

    def wrong(*ids: torch.Tensor, **given: Any) -> Any:
        if "position_ids" in given:
            given["position_ids"] = given["position_ids"] + 1
        return forward(*ids, **given)

    monkeypatch.setattr(model, "forward", wrong)
    assert why_no_slots(model) == "decoding in slots gives other logits than the plain forward pass"


@given(
    rows=st.integers(1, 4),
    groups=st.sampled_from([1, 2, 4]),
    keys=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_grouped_attention_is_sdpa(rows: int, groups: int, keys: int, seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, 4, 1, 8, generator=draws)
    key, value = torch.randn(2, rows, 4 // groups, keys, 8, generator=draws)
    hidden = torch.rand(rows, 1, 1, keys, generator=draws) < 0.5
    hidden[..., 0] = False
    mask = torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)
    module = torch.nn.Module()
    module.num_key_value_groups = groups  # type: ignore[assignment]
    own, _ = attention.grouped_attention(module, query, key, value, mask, scaling=0.3)
    theirs, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    assert own.shape == theirs.shape == (rows, 1, 4, 8)
    torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-5)


def test_the_model_gets_its_attention_back() -> None:
    grouped, plain = tiny.llama(2), tiny.llama(4)
    engine = slots(grouped, 2)
    assert grouped.config._attn_implementation == attention.NAME
    engine.close()
    assert grouped.config._attn_implementation == "sdpa"
    slots(plain, 2)
    assert plain.config._attn_implementation == "sdpa"  # nothing to gain without groups


# Sampling.


@given(
    key=st.binary(min_size=16, max_size=16),
    count=st.integers(0, 18),
    steps=st.lists(st.integers(0, 500), max_size=20),
)
def test_a_stream_is_a_function_of_key_and_step(key: bytes, count: int, steps: list[int]) -> None:
    jumping, generator = Stream(key, count), np.random.Philox(key=int.from_bytes(key, "little"))
    in_order = (generator.random_raw(count * (max(steps, default=0) + 1)) >> np.uint64(11)) / 2**53
    for step in steps:
        assert jumping.uniforms(step).tolist() == in_order[count * step : count * (step + 1)].tolist()


def test_streams_are_pinned() -> None:
    """Tokens of earlier releases must come out again: these numbers may never change."""
    stream = Stream(stream_key(0, "p", 1), 1)
    assert [stream.uniforms(step)[0] for step in (0, 1, 1000)] == [
        0.7477715036992016,
        0.7084846914515074,
        0.09193905500709965,
    ]
    keys = {
        stream_key(seed, prompt, number)
        for seed in (0, 1, 11)
        for prompt in ("p", "1p", "p\n1")
        for number in (0, 1, 11)
    }
    assert len(keys) == 27


def test_uniform_numbers_are_uniform_over_steps_and_over_attempts() -> None:
    """Kolmogorov-Smirnov, 20,000 numbers: false alarm 1e-4 each, misses a deviation of 0.032 once in 1e-4."""
    stream = Stream(stream_key(0, "p", 0), 8)
    along = [number for step in range(2500) for number in stream.uniforms(step)]
    across = [Stream(stream_key(0, "p", number), 1).uniforms(0)[0] for number in range(20_000)]
    for sample in (along, across):
        assert stats.kstest(sample, "uniform").pvalue > 1e-4
    # Dvoretzky-Kiefer-Wolfowitz: the empirical CDF is within 0.016 of the true one but for 1e-4.
    assert math.sqrt(math.log(2 / 1e-4) / (2 * 20_000)) + stats.kstwo.isf(1e-4, 20_000) < 0.032


def by_halves(p: np.ndarray, uniforms: Sequence[float]) -> tuple[int, float]:
    """The draw by definition: halve the ids while more than one is left. Also how close a call it was."""
    depth, first, close = levels(len(p)), 0, 1.0
    for level in range(depth):
        half = 2 ** (depth - 1 - level)
        left, right = p[first : first + half].sum(), p[first + half : first + 2 * half].sum()
        close = min(close, abs(uniforms[level] - left / (left + right)))
        first += half * int(uniforms[level] >= left / (left + right))
    return first, close


def kept_weights(values: Sequence[float], sampling: Sampling) -> np.ndarray:
    p = np.exp((np.asarray(values) - max(values)) / sampling.temperature)
    if 0 < sampling.top_k < len(values):
        p[p < np.sort(p)[-sampling.top_k]] = 0
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) / p.sum() - p[order] / p.sum()
    assume(np.abs(before - sampling.top_p).min() > 1e-9)  # there rounding decides
    p[order[before >= sampling.top_p]] = 0
    return p


SAMPLINGS = st.builds(
    Sampling, temperature=st.sampled_from([0.3, 1.0, 2.5]), top_k=st.integers(0, 25), top_p=st.floats(0.01, 1)
)


@given(st.lists(st.integers(-30, 30), min_size=1, max_size=40), SAMPLINGS, st.data())  # ties occur
def test_the_draw_is_the_one_by_definition(values: list[int], sampling: Sampling, data: st.DataObject) -> None:
    number = st.floats(0, 1, exclude_max=True)
    uniforms = data.draw(st.lists(number, min_size=levels(len(values)), max_size=levels(len(values))))
    p = kept_weights([value / 5 for value in values], sampling)
    expected, close = by_halves(p, uniforms)
    logits = torch.tensor([values], dtype=torch.float64) / 5
    drawn = draw(logits, torch.tensor([uniforms], dtype=torch.float64).view(1, -1), sampling)
    token = int(drawn.token[0])
    assert p[token] > 0
    if close > 1e-6:
        assert token == expected
    assert float(drawn.sampled_logprob[0]) == pytest.approx(math.log(p[token] / p.sum()), abs=1e-5)
    assert float(drawn.logprob[0]) == pytest.approx(float(logits.log_softmax(-1)[0, token]), abs=1e-5)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=7), st.integers(0, 2**32))
def test_halving_gives_the_distribution_exactly(weights: list[float], seed: int) -> None:
    """On a grid of numbers per level, each token's share is its probability but for the grid's coarseness."""
    n, depth = 12, levels(len(weights))
    grid = (np.arange(n) + np.random.default_rng(seed).random()) / n  # shifted: no share sits on the grid
    uniforms = torch.tensor(np.stack(np.meshgrid(*[grid] * depth), -1).reshape(-1, depth))
    logits = torch.tensor([weights]).log()
    drawn = draw(logits.expand(len(uniforms), -1), uniforms, SAMPLED)
    share = torch.bincount(drawn.token, minlength=len(weights)).double() / len(uniforms)
    exact = logits.double().softmax(-1)[0]
    assert float((share - exact).abs().max()) <= 1.5 / n


def test_impossible_tokens_are_never_drawn_not_even_at_the_edges() -> None:
    low, edge = -1e9, 1 - 2**-53
    for values in (
        [low, 0.0, low],
        [0.0, low, low],
        [low, low, 0.0],
        [low, 3.0, 3.0, low],
        [low] * 4 + [0.0],
    ):
        for at in itertools.product((0.0, 0.5, edge), repeat=levels(len(values))):
            drawn = draw(torch.tensor([values]), torch.tensor([at], dtype=torch.float64), SAMPLED)
            assert values[int(drawn.token[0])] != low
    assert int(draw(torch.tensor([[1.0, 5.0, 5.0]]), torch.zeros(1, 2, dtype=torch.float64), GREEDY).token[0]) == 1


def test_rounding_of_the_logits_hardly_ever_changes_a_token() -> None:
    """30,000 tokens, noise of 1e-6: of 600 draws none changes, where plain inversion of the CDF changes some.

    The chance that one of 600 changes is below 600 levels · 1e-6 < 1 %; the seed is fixed.
    """
    draws = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(600, 30_000, generator=draws)
    logits[:, 17] += 15.0
    uniforms = torch.rand(600, 15, generator=draws, dtype=torch.float64)
    noisy = logits + 1e-6 * torch.randn(logits.shape, generator=draws)
    assert torch.equal(draw(logits, uniforms, SAMPLED).token, draw(noisy, uniforms, SAMPLED).token)
    plain = [
        torch.searchsorted(values.double().softmax(-1).cumsum(-1), uniforms[:, :1].contiguous())
        for values in (logits, noisy)
    ]
    assert int((plain[0] != plain[1]).sum()) > 0


def test_what_is_sampled_follows_the_model() -> None:
    """First two tokens of 6,000 attempts against the model's own distribution, all 144 pairs.

    Pearson's test, cells of expected count under 5 pooled: false alarm 1e-4; a law that moves 10 % of mass
    between two halves of the cells evenly is missed with probability below 1e-4 (non-central chi-square).
    """
    model, n = tiny.llama(vocabulary=12, positions=64), 6000
    queued = [Attempt(str(i), (3, 1, 4), stream_key(0, "pairs", i), 2) for i in range(n)]
    taken = Taken(slots(model, 512, end=frozenset()), queued)
    with torch.no_grad():
        first = model(torch.tensor([[3, 1, 4]])).logits[0, -1].double().softmax(-1)
        second = model(torch.tensor([[3, 1, 4, token] for token in range(12)])).logits[:, -1].double().softmax(-1)
    expected = n * (first[:, None] * second).numpy().ravel()
    counts = np.bincount([12 * a + b for a, b in taken.tokens.values()], minlength=144)
    small = expected < 5
    expected = np.append(expected[~small], expected[small].sum())
    counts = np.append(counts[~small], counts[small].sum())
    cells = len(expected)
    statistic = float(((counts - expected) ** 2 / expected).sum())
    limit = stats.chi2.isf(1e-4, cells - 1)
    assert statistic < limit
    # A shift of 0.1 in total variation, spread in proportion, has non-centrality at least n·(2·0.1)².
    assert stats.ncx2.cdf(limit, cells - 1, n * 0.2**2) < 1e-4


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": math.nan}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}]
)
def test_bad_sampling_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Sampling(**wrong)


# The policy at the side of an attempt.


def event(token: int, finish: Any = "", logprob: float = -1.0) -> Event:
    return Event("a", token, logprob, logprob, finish)


PROMPT = Prompt(prompt_id="p", prompt="p")


def feed(live: Live, text: str) -> list[bool]:
    tokens = tiny.tokenizer().encode(text)
    return [live.take(event(token)) for token in tokens]


def test_stages_sum_to_the_tokens_and_checkpoints_carry_them() -> None:
    live = Live(PROMPT, tiny.TextPolicy(lambda _: False, EveryUnits(4, "tokens")), tiny.tokenizer())
    feed(live, "ten letters")
    assert live.stages == (4, 4, 3)
    assert live.tokens == len(live.token_ends) == len(live.logprobs) == 11
    feed(live, "!")
    assert live.stages == (4, 4, 4)
    live.take(event(tiny.END, "end"))
    assert (live.stages, live.finish, live.text) == ((4, 4, 4, 1), "end", "ten letters!")


def test_tokens_after_a_decision_are_counted_as_wasted() -> None:
    live = Live(PROMPT, tiny.TextPolicy(lambda _: True, EveryUnits(3, "tokens")), tiny.tokenizer())
    decisions = feed(live, "abcdef")
    assert decisions == [False, False, True, False, False, False]
    assert (live.tokens, live.wasted, live.text, live.stages) == (6, 3, "abc", (3, 3))


def test_an_attempt_s_end_is_no_checkpoint_unless_it_brings_text() -> None:
    for text, last, k in [("abcd", tiny.END, 1), ("abc", tiny.tokenizer().encode("d")[0], 0)]:
        policy = tiny.TextPolicy(lambda _: False, EveryUnits(len(text) + 1, "tokens"))
        live = Live(PROMPT, policy, tiny.tokenizer())
        feed(live, text)
        live.take(event(last, "end" if last == tiny.END else "length"))
        assert len(policy.decisions["p"][0]) == 1 - k


class Broken:
    """A policy that fails in the way it is told to."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.fed = 0
        self.failures = {"rule: KeyError": 1}

    def start(self, prompt: str) -> Broken:
        if self.how == "start":
            raise RuntimeError(prompt)
        return self

    def feed(self, text: str, *more: Any) -> Decision | None:
        del more
        self.fed += 1
        if self.how == "feed":
            raise ValueError(text)
        action = Action.EXIT if self.how == "exit" else Action.DISCARD
        return Decision(action, 1, 1, 1, math.nan if self.how == "nan" else 0.1, 0.5, "rule")


@pytest.mark.parametrize(
    ("how", "failure"),
    [
        ("start", "policy: RuntimeError"),
        ("feed", "policy: ValueError"),
        ("nan", "policy: posterior is not a number"),
    ],
)
def test_a_broken_policy_never_discards(how: str, failure: str) -> None:
    broken = Broken(how)
    live = Live(PROMPT, broken, tiny.tokenizer())
    assert feed(live, "abc") == [False, False, False]
    assert live.decision is None
    assert live.failures[failure] == 1
    assert ("rule: KeyError" in live.failures) == (how != "start")
    assert broken.fed == (how != "start")  # it is not asked again


def test_an_early_exit_is_refused_aloud() -> None:
    with pytest.raises(InputError, match=r"attempt 'a'.*early exit at checkpoint 1"):
        feed(Live(PROMPT, Broken("exit"), tiny.tokenizer()), "a")


def test_never_discard_has_one_stage() -> None:
    live = Live(PROMPT, NEVER_DISCARD, tiny.tokenizer())
    feed(live, "abc")
    assert (live.stages, dict(live.failures)) == ((3,), {})


def test_end_tokens_come_from_every_source() -> None:
    model = tiny.llama()
    assert end_tokens(model, tiny.tokenizer()) == {tiny.END}
    own, model.generation_config.eos_token_id = model.generation_config.eos_token_id, [7, 9]
    try:
        assert end_tokens(model) == {tiny.END, 7, 9}
    finally:
        model.generation_config.eos_token_id = own


def test_the_embedded_model_in_slots() -> None:
    """Greedy as `generate()`, sampled as one by one: on a trained model, whose text has a meaning to lose."""
    model, tokenizer = tiny.embedded()
    end = end_tokens(model, tokenizer)
    tasks = list(problems(0, 8))
    queued = [
        Attempt(
            f"{task.prompt_id}/{a}",
            tuple(tokenizer.encode(task.prompt)),
            stream_key(0, task.prompt_id, a),
            200,
        )
        for task in tasks
        for a in range(2)
    ]
    greedy = Taken(slots(model, 7, GREEDY, end), queued[::2])
    for attempt in queued[::2]:
        whole = model.generate(
            torch.tensor([attempt.prompt]), attention_mask=torch.ones(1, len(attempt.prompt)),
            do_sample=False, max_new_tokens=200, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        assert greedy.tokens[attempt.id] == whole[0, len(attempt.prompt) :].tolist()
    together = Taken(slots(model, 16, SAMPLED, end), queued)
    assert together.tokens == Taken(slots(model, 1, SAMPLED, end), queued).tokens
    for tokens in together.tokens.values():
        pieces = Pieces(tokenizer)
        text = "".join(pieces.push(token, last=i == len(tokens) - 1) for i, token in enumerate(tokens))
        assert text == tokenizer.decode(tokens, skip_special_tokens=True)
