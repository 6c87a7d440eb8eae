"""The slot engine on a GPU: `bash benchmarks/gpu.sh [--tiny] [--traces FOLDER] [--seconds N] [--only WORDS]`.

Llama shapes of 1 and 8 billion weights, random, in bfloat16, with the real vocabulary of 128,256 tokens. Recorded texts
are forced through the real decode loop: everything is computed and drawn, then the recorded token takes the place of
the drawn one. Texts are those of a folder of traces, else generations that travel with the package; a byte-pair
tokenizer of at most 8,192 tokens is trained on them.

The floor of a decode step is the time to read the weights (embeddings aside, where they are not the output layer too)
and the keys and values of all rows at the bandwidth of a large copy on this device. Where half of the attempts are
discarded after 30 % of their tokens, the conversion efficiency is (1 - time/time_full) / (1 - tokens/tokens_full);
the full run has no policy and no validators, so what these cost counts. At the end slots are empty in both runs, the
more so the fewer attempts a slot has; so it is measured too until the last attempt begins, where prompts may be priced
as they were measured: every attempt has one, discarded or not. Host time is split by what runs, each part without the
parts inside it; reading the clock adds some 3 %.

Every section has its own time budget. What fails in it is recorded as `NAME: failed`, and the next one runs. Records
are kept in `--out` as they come, and printed as one JSON list at the end. With `--tiny`, small shapes on any device.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from unittest.mock import patch

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, PreTrainedTokenizerFast
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from benchmarks._parts import Parts
from benchmarks._records import Record, environment, print_records, write_records
from benchmarks.engine import PEER, Scripted, device_name, limits_of, synchronise
from msifr_integrations.embedded import embedded_model_path, embedded_samples_path, problems
from msifr_integrations.engine import attention, fused, sampling, slot_engine, static_engine, step_graphs
from msifr_integrations.engine.base import Attempt, Event, Sampling, end_tokens, levels, stream_key
from msifr_integrations.engine.fused import Fused
from msifr_integrations.engine.packs import Packs
from msifr_integrations.engine.prefill import passes, prefill
from msifr_integrations.engine.probe import why_no_slots
from msifr_integrations.engine.sampling import Drawn, Row, draw
from msifr_integrations.engine.slot_cache import SlotCache
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.engine.static_engine import StaticEngine
from msifr_integrations.engine.step_graphs import StepGraphs, capture
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.live import Live
from msifr_integrations.generation.text import Pieces
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.evidence.watch import Watch
from msifr_policy.filters import Prompt
from msifr_policy.policy import NEVER_DISCARD, Decision, Policy
from msifr_policy.records.traces import find_trace_files, read_traces
from msifr_policy.validators import default_validators

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LLAMA = {"vocab_size": 128_256, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 2048}
SHAPES: dict[str, dict[str, Any]] = {
    "1B": LLAMA
    | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "8B": LLAMA | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32},
}
TINY = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
TINY |= {"num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2}
TINY_SHAPES = {
    "1B": TINY | {"num_hidden_layers": 1, "tie_word_embeddings": True},
    "8B": TINY | {"num_hidden_layers": 2},
}
RULES = default_validators()


@dataclass(frozen=True)
class Plan:
    """How much is measured: `slots`, the middle one of which also meets the peers; keys a row of a single step has;
    calls a timing takes; attempts a slot, and the most tokens of a prompt and of an attempt."""

    shapes: dict[str, dict[str, Any]]
    slots: tuple[int, int, int] = (64, 128, 256)
    keys: int = 512
    calls: int = 20
    per_slot: int = 4
    cap: int = 256
    copied: int = 1 << 32  # bytes
    problems: int = 192


FULL = Plan(SHAPES)
SMALL = Plan(TINY_SHAPES, (2, 4, 6), keys=160, calls=2, per_slot=2, cap=24, copied=1 << 22, problems=4)


# --- clocks --------------------------------------------------------------------------------------------------------


def milliseconds(call: Callable[[], object], calls: int) -> tuple[float, float]:
    """Return the milliseconds of a call, and those until it returns: the best of three rounds, and the median.

    Rounds are of `calls` calls one upon the other, fewer if a call is slow; a call whose return is timed finds the
    device idle.
    """
    for _ in range(3):
        synchronise()
        started = time.perf_counter()
        call()
        synchronise()
        one = time.perf_counter() - started
    calls = max(2, min(calls, int(0.3 / one)))
    rounds, returns = [], []
    for _ in range(3):
        synchronise()
        started = time.perf_counter()
        for _ in range(calls):
            call()
        synchronise()
        rounds.append(time.perf_counter() - started)
    for _ in range(calls):
        started = time.perf_counter()
        call()
        returns.append(time.perf_counter() - started)
        synchronise()
    return 1e3 * min(rounds) / calls, 1e3 * median(returns)


class Span:
    """Device time of a function: between two events on a GPU, else by the clock."""

    def __init__(self) -> None:
        self._spans: list[tuple[Any, Any]] = []

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with its device time taken."""

        def spanned(*args: Any) -> Any:
            begin, result, end = self._now(), function(*args), self._now()
            self._spans.append((begin, end))
            return result

        return spanned

    def clear(self) -> None:
        """Begin anew."""
        self._spans.clear()

    def _now(self) -> Any:
        if DEVICE.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @property
    def seconds(self) -> float:
        """The sum; to be asked for when the device has come to rest."""
        return sum(a.elapsed_time(b) / 1e3 if DEVICE.type == "cuda" else b - a for a, b in self._spans)


# --- models, texts and policies ------------------------------------------------------------------------------------


def random_model(shape: dict[str, Any]) -> Any:
    """Return a Llama of this shape with random weights, in bfloat16 on the device."""
    torch.manual_seed(17)
    with torch.device(DEVICE):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**shape, eos_token_id=0), dtype=torch.bfloat16)
    return model.eval()


class Work(NamedTuple):
    """Attempts, and by id what they are to say and what was asked."""

    tokenizer: Any
    attempts: list[Attempt]
    tokens: dict[str, list[int]]
    prompts: dict[str, str]


def recorded_work(traces: str | None, vocabulary: int, count: int, cap: int) -> Work:
    """Return `count` attempts that say what traces say, over again if there are fewer; cut at `cap` tokens."""
    files = find_trace_files([traces or embedded_samples_path()])
    read = [trace for path in files for trace in islice(read_traces(path), 2000) if trace.text and trace.prompt]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=min(8192, vocabulary), initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator((text for trace in read for text in (trace.prompt, trace.text)), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, clean_up_tokenization_spaces=False)
    attempts, tokens, prompts = [], {}, {}
    for number, trace in enumerate(islice(cycle(read), count)):
        name = f"{number}"
        tokens[name], prompts[name] = tokenizer.encode(trace.text)[:cap], trace.prompt
        prompt = tuple(tokenizer.encode(trace.prompt)[-cap:])
        attempts.append(Attempt(name, prompt, stream_key(0, name, 0), len(tokens[name])))
    return Work(tokenizer, attempts, tokens, prompts)


class Watched(Scripted):
    """Discards after so many tokens, or never, while the default rules read along."""

    def start(self, prompt: str) -> Watched:
        """Begin to watch: one is made per attempt."""
        self.watch = Watch(NewlineSteps(), RULES, prompt)
        self.failures = self.watch.failures
        return self

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        """Have the rules read, and count the tokens."""
        self.watch.feed(text, tokens, logprobs)
        return super().feed(text, tokens, logprobs)


def slots_of(
    model: Any,
    slots: int,
    end: frozenset[int] = frozenset(),
    *,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    ahead: bool = False,
) -> Callable[[], SlotEngine]:
    """Return what makes the engine that is measured."""
    return partial(SlotEngine, model, slots=slots, sampling=sampling, end=end, ahead=ahead)


def without_graphs() -> AbstractContextManager[object]:
    """Have engines made in the block capture nothing."""
    return patch.object(step_graphs, "capturable", lambda _: False)


@contextmanager
def attention_of_slots(model: Any) -> Iterator[None]:
    """Have the model attend in the block as it does in slots."""
    before = attention.register(model)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def plain_attention() -> AbstractContextManager[object]:
    """Have engines made in the block attend without the kernel."""
    return patch.object(attention, "KERNEL", new=False)


def plain_parts() -> AbstractContextManager[object]:
    """Have engines made in the block leave the parts of the model as they are."""
    return patch.object(fused, "replaceable", lambda _: False)


@contextmanager
def fused_parts(model: Any) -> Iterator[dict[str, int]]:
    """Have the model run in the block by the fewer kernels that an engine gives it; yield how many parts it has."""
    replaced = Fused(model)
    try:
        yield dict(replaced.parts)
    finally:
        replaced.undo()


def eager_step(model: Any, slots: int, keys: int, *, kernel: bool = False) -> tuple[Callable[[], Tensor], Tensor]:
    """Return a decode step, done eagerly, of rows of many lengths below `keys`; and the lengths, (slots,)."""
    cache = SlotCache(prefill(model, [(1,)]), slots, keys, kernel=kernel)
    cache.reserve(keys)
    for layer in cache.layers:
        layer.change(torch.randn_like)
    lengths = torch.linspace(keys // 16, keys - 1, slots, device=DEVICE).long()
    tokens = torch.randint(model.config.vocab_size, (slots,), device=DEVICE)

    cache.show(keys - 1)
    return lambda: cache.forward(model, tokens, lengths), lengths


def products_alone(model: Any, rows: int) -> Callable[[], None]:
    """Return the products of a step with all weights of a Llama, and its gated activations, without what is between."""
    hidden = torch.randn(rows, model.config.hidden_size, dtype=model.dtype, device=DEVICE)

    def products() -> None:
        for layer in model.model.layers:
            attend = layer.self_attn
            for project in (attend.q_proj, attend.k_proj, attend.v_proj, attend.o_proj, layer.mlp):
                project(hidden)
        model.lm_head(hidden)

    return products


def eager_draw(logits: Tensor) -> Callable[[], Drawn]:
    """Return the drawing of the next tokens from logits, (rows, vocabulary)."""
    rows, vocabulary = logits.shape
    numbers = torch.rand(rows, levels(vocabulary), dtype=torch.float64, device=DEVICE)
    return lambda: draw(logits, numbers, Sampling())


# --- running an engine ---------------------------------------------------------------------------------------------


@dataclass
class Ran:
    """One drain: seconds, host seconds by part, device seconds of prefills, and what came out."""

    seconds: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    prefills: float = 0.0
    prefilled: int = 0
    dropped: int = 0
    steps: int = 0
    row_steps: int = 0
    failures: int = 0
    tokens: dict[str, list[int]] = field(default_factory=dict)
    begun: tuple[float, int] = (0.0, 0)  # seconds and tokens until the last attempt has begun
    graphs: int = 0  # most at a time

    @property
    def count(self) -> int:
        """Tokens sampled."""
        return sum(map(len, self.tokens.values()))


def warm_up(engine: SlotEngine, attempts: Sequence[Attempt]) -> None:
    """Have the engine run attempts like these for a few tokens each, so that every shape comes up.

    They might be as long, so that the cache is made large enough at once; their prompts are others.
    """
    tokens: Counter[str] = Counter()

    def take(events: Sequence[Event]) -> None:
        for event in events:
            tokens[event.id] += 1
            if tokens[event.id] > len(event.id) % 3 + int(event.id.split()[1]) % 7:
                engine.cancel(event.id)

    for attempt in attempts:
        engine.submit(replace(attempt, id=f"warm {attempt.id}", prompt=(attempt.prompt[0] ^ 1, *attempt.prompt[1:])))
    engine.drain(take)
    engine.prefilled = engine.dropped = engine.row_steps = 0


def run(
    make: Callable[[], SlotEngine | StaticEngine],
    work: Work,
    policies: dict[str, Policy],
    *,
    forced: bool,
    on: Sequence[Attempt] | None = None,
    warm: bool = False,
) -> Ran:
    """Run the attempts of `work` (or `on`), each under its policy, none if it has none; forced, as recorded.

    warm: begin when the engine has run them for some tokens each, so that all graphs are there.
    """

    class Forced(Row):
        __slots__ = ()

        def take(self, drawn: tuple[float, float, float], end: frozenset[int]) -> Event:
            token = work.tokens[self.attempt.id.removeprefix("warm ")][self.sampled]
            return super().take((token, *drawn[1:]), end)

    ran, parts, span = Ran(), Parts(), Span()
    row = Forced if forced else Row
    lives: dict[str, Live] = {}
    attempts = work.attempts if on is None else on

    def take(events: Sequence[Event]) -> None:
        ran.steps += 1
        for event in events:
            ran.tokens[event.id].append(event.token)
            begun.add(event.id)
            if lives[event.id].take(event):
                engine.cancel(event.id)
        if not ran.begun[1] and len(begun) == len(attempts):
            ran.begun = time.perf_counter() - started, ran.count
        ran.graphs = max(ran.graphs, getattr(engine, "captured", 0))

    begun: set[str] = set()
    with ExitStack() as patches:
        for owner, name, part in [
            (SlotEngine, "step", "engine"),
            (SlotEngine, "_launch", "inputs"),
            (SlotEngine, "_refill", "refill"),
            (SlotEngine, "_compact", "compaction"),
            (Packs, "fill", "prefill"),
            (StepGraphs, "step", "launching the step"),
            (StepGraphs, "_capture", "capturing"),
            (slot_engine, "read_rows", "waiting for the device"),
            (static_engine, "read_rows", "waiting for the device"),
            (row, "uniforms", "random numbers"),
            (Live, "take", "attempts"),
            (Pieces, "push", "detokenising"),
            (Watched, "feed", "policy and validators"),
        ]:
            patches.enter_context(patch.object(owner, name, parts.timed(getattr(owner, name), part)))
        for module in (slot_engine, static_engine):
            patches.enter_context(patch.object(module, "Row", row))
        for owner, name in ((slot_engine, "prefill"), (Packs, "fill")):
            patches.enter_context(patch.object(owner, name, span.around(getattr(owner, name))))
        engine = make()
        for attempt in attempts:
            prompt = Prompt(prompt_id=attempt.id, prompt=work.prompts[attempt.id])
            lives[attempt.id] = Live(prompt, policies.get(attempt.id, NEVER_DISCARD), work.tokenizer)
            ran.tokens[attempt.id] = []
        if warm and isinstance(engine, SlotEngine):
            warm_up(engine, attempts)
        synchronise()
        parts.clear()
        span.clear()
        started = time.perf_counter()
        for attempt in attempts:
            engine.submit(attempt)
        engine.drain(take)
        parts.switch("other")
        ran.seconds = time.perf_counter() - started
        ran.parts = parts.seconds
        synchronise()
        ran.prefills = span.seconds
        ran.row_steps, ran.prefilled = engine.row_steps, getattr(engine, "prefilled", 0)
        ran.dropped = getattr(engine, "dropped", 0)
        ran.failures = sum(sum(live.failures.values()) for live in lives.values())
        engine.close()
    return ran


# --- sections ------------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """What sections share: the plan, the folder of traces, models by shape, and the device's bandwidth."""

    plan: Plan
    traces: str | None
    models: dict[str, Any] = field(default_factory=dict)
    bandwidth: float = float("nan")  # bytes per second

    def machine(self) -> Iterator[Record]:
        """What is measured on, and the two ceilings: a large copy, a large product of matrices."""
        yield Record("environment device", device_name(DEVICE))
        if DEVICE.type == "cuda":
            yield Record("environment cuda", str(torch.version.cuda))
        texts = find_trace_files([self.traces or embedded_samples_path()])
        yield Record("texts", ", ".join(path.name for path in texts))
        source = torch.randint(0, 127, (self.plan.copied,), dtype=torch.int8, device=DEVICE)
        target = torch.empty_like(source)
        taken, _ = milliseconds(lambda: target.copy_(source), 5)
        self.bandwidth = 2e3 * self.plan.copied / taken
        yield Record("copy bandwidth, read and written", self.bandwidth / 1e12, "TB/s")
        side = 8192 if DEVICE.type == "cuda" else 256
        a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=DEVICE) for _ in range(2))
        taken, _ = milliseconds(lambda: a @ b, 5)
        yield Record("matrix product, bfloat16", 2 * side**3 / taken / 1e9, "TFLOP/s")

    def build(self, shape: str) -> Iterator[Record]:
        """Make the model, and see that it runs in slots and that a padded prefill leaves no trace."""
        model = self.models[shape] = random_model(self.plan.shapes[shape])
        yield Record(f"{shape} weights", float(model.num_parameters()))
        why = why_no_slots(model)
        yield Record(f"{shape} why it cannot run in slots", why, "", "none", ok=not why)
        yield from self._padding(shape, model)

    @torch.inference_mode()
    def _padding(self, shape: str, model: Any) -> Iterator[Record]:
        """Rows of very different lengths in one padded prefill, parts replaced, against plain forward passes."""
        rows, size = 8, model.config.vocab_size
        lengths = [2 + i * (self.plan.keys - 2) // rows for i in range(rows)]
        torch.manual_seed(3)
        prompts = [torch.randint(size, (length,)).tolist() for length in lengths]
        with attention_of_slots(model), fused_parts(model):
            prefix = prefill(model, [prompt[:-1] for prompt in prompts])
            cache = SlotCache(prefix, rows, self.plan.keys)
            cache.reserve(max(lengths))
            cache.fill(range(rows), prefix, range(rows))
            last, at = torch.tensor([(prompt[-1], len(prompt) - 1) for prompt in prompts], device=DEVICE).T
            cache.show(max(lengths) - 1)
            got = cache.forward(model, last, at).float()
        plain = torch.stack([_last_logits(model, prompt) for prompt in prompts])
        precise = deepcopy(model).float()
        expected = torch.stack([_last_logits(precise, prompt) for prompt in prompts])
        finite = bool(got.isfinite().all()) and all(
            bool(tensor.isfinite().all()) for layer in prefix.layers for tensor in layer
        )
        off, plain_off = (float((logits - expected).norm() / expected.norm()) for logits in (got, plain))
        yield Record(f"{shape} all numbers after a padded prefill", str(finite), "", "True", ok=finite)
        yield Record(f"{shape} logits of the plain pass, off float32", plain_off, "share")
        yield Record(
            f"{shape} logits after it, off float32", off, "share", "<= 1.5 times the plain pass",
            ok=off <= 1.5 * plain_off,
        )  # fmt: skip

    def floor(self, model: Any, lengths: Tensor | int, rows: int = 1) -> float:
        """Return the milliseconds that reading weights, and keys and values of so many positions, takes."""
        config, embeddings = model.config, model.get_input_embeddings().weight
        weights = sum(w.nbytes for w in model.parameters())
        weights -= 0 if config.tie_word_embeddings else embeddings.nbytes
        width = config.hidden_size // config.num_attention_heads
        position = 2 * config.num_hidden_layers * config.num_key_value_heads * width * embeddings.element_size()
        positions = int(lengths.sum()) if isinstance(lengths, Tensor) else rows * lengths
        return 1e3 * (weights + position * positions) / self.bandwidth

    @torch.inference_mode()
    def step(self, shape: str, slots: int) -> Iterator[Record]:
        """One decode step of rows of many lengths: eager, as a CUDA graph, and with transformers' own attention."""
        model, at, keys = self.models[shape], f"{shape} B={slots}", self.plan.keys
        step, lengths = eager_step(model, slots, keys)
        floor, shown = self.floor(model, lengths + 1), self.floor(model, keys, slots)
        yield Record(f"{at} floor of a step", floor, "ms")
        yield Record(f"{at} floor of a step that reads all {keys} keys of every row", shown, "ms")
        with attention_of_slots(model):
            eager, launching = milliseconds(step, self.plan.calls)
            yield Record(f"{at} step, eager", eager, "ms")
            yield Record(f"{at} step, eager: until it is launched", launching, "ms")
            yield Record(f"{at} floor over eager step", floor / eager, "ratio", ">= 0.9", ok=floor / eager >= 0.9)
            drawing = eager_draw(step())
            draws, launching = milliseconds(drawing, self.plan.calls)
            yield Record(f"{at} sampling, eager", draws, "ms")
            yield Record(f"{at} sampling, eager: until it is launched", launching, "ms")
            if DEVICE.type == "cuda":
                graph, _ = milliseconds(capture(step)[0], self.plan.calls)
                yield Record(f"{at} step, CUDA graph", graph, "ms")
                yield Record(f"{at} floor over CUDA graph", floor / graph, "ratio", ">= 0.9", ok=floor / graph >= 0.9)
                draws, _ = milliseconds(capture(drawing)[0], self.plan.calls)
                yield Record(f"{at} sampling, CUDA graph", draws, "ms")
            serves = attention.kernel_serves(model)
            if serves:
                own, _ = eager_step(model, slots, keys, kernel=True)
                with fused_parts(model):
                    own()  # compiled here, for it cannot be inside a capture
                    graph, _ = milliseconds(capture(own)[0], self.plan.calls)
                    products, _ = milliseconds(capture(products_alone(model, slots))[0], self.plan.calls)
                yield Record(f"{at} step by the kernels, CUDA graph", graph, "ms")
                yield Record(f"{at} floor over it", floor / graph, "ratio", ">= 0.9", ok=floor / graph >= 0.9)
                bound = floor / (products + floor - self.floor(model, 0))
                yield Record(f"{at} its products with weights alone, by cuBLAS", products, "ms")
                yield Record(f"{at} floor over these and the reading of keys and values", bound, "ratio")
        copying, _ = milliseconds(step, self.plan.calls)
        yield Record(f"{at} step, eager, transformers' attention", copying, "ms")

    @torch.inference_mode()
    def attend(self, shape: str, slots: int, keys: int) -> Iterator[Record]:
        """One layer's attention by every way there is, each as a graph of its own on a GPU."""
        config = self.models[shape].config
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        width, at = config.hidden_size // heads, f"{shape} B={slots}, {keys} keys, one layer's attention"
        make = {"dtype": torch.bfloat16, "device": DEVICE}
        query = torch.randn(slots, heads, 1, width, **make)
        # As in a cache with more capacity than is shown.
        key, value = (torch.randn(slots, kv_heads, 2 * keys, width, **make)[:, :, :keys] for _ in range(2))
        lengths = torch.linspace(keys // 16, keys - 1, slots, device=DEVICE).long()
        mask = torch.zeros(slots, 1, 1, keys, **make)
        mask.masked_fill_((torch.arange(keys, device=DEVICE) > lengths[:, None])[:, None, None], -3e38)
        grouped = query.view(slots, kv_heads, heads // kv_heads, width)
        floor = 1e3 * (2 * slots * kv_heads * keys * width * 2) / self.bandwidth
        yield Record(f"{at}: floor", floor, "ms")

        def plain() -> Tensor:
            k, v = (x.repeat_interleave(heads // kv_heads, 1) for x in (key, value))
            return scaled_dot_product_attention(query, k, v, attn_mask=mask)

        def packed() -> Tensor:
            return scaled_dot_product_attention(grouped, key, value, attn_mask=mask).reshape(query.shape)

        def packed_whole_mask() -> Tensor:
            whole = mask.expand(slots, kv_heads, heads // kv_heads, keys).contiguous()
            return scaled_dot_product_attention(grouped, key, value, attn_mask=whole).reshape(query.shape)

        def natively() -> Tensor:
            return scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)

        def products() -> Tensor:
            scores = (grouped @ key.transpose(2, 3)) * width**-0.5 + mask
            return (scores.float().softmax(-1).to(value.dtype) @ value).reshape(query.shape)

        ways = {
            "copied groups": plain,
            "packed groups": packed,
            "packed groups, whole mask": packed_whole_mask,
            "enable_gqa": natively,
            "two products": products,
        }
        if find_spec("triton") is not None:
            from msifr_integrations.engine.decode_kernel import attend

            ways["each row's own keys, by the kernel"] = lambda: attend(query, key, value, lengths, width**-0.5)
            own = 1e3 * 2 * int((lengths + 1).sum()) * kv_heads * width * 2 / self.bandwidth
            yield Record(f"{at}: floor of each row's own keys", own, "ms")
        for backend in (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH):
            ways[f"packed groups, {backend.name}"] = sdpa_kernel(backend)(packed)
            ways[f"enable_gqa, {backend.name}"] = sdpa_kernel(backend)(natively)
        expected = plain().float()
        for name, way in ways.items():
            try:
                off = float((way().float() - expected).norm() / expected.norm())
                taken, _ = milliseconds(capture(way)[0] if DEVICE.type == "cuda" else way, self.plan.calls)
            except RuntimeError as error:
                yield Record(f"{at}: {name}", f"{error}".partition("\n")[0][:120])
                continue
            yield Record(f"{at}: {name}", taken, "ms", "", f"off by {off:.1e}", None)

    def convert(self, shape: str, slots: int, *, kernel: bool = True, ahead: bool = True) -> Iterator[Record]:
        """Half of the attempts discarded after 30 %, against all of them run to their end without a policy."""
        at = f"{shape} B={slots}{'' if kernel else ', plain attention'}{'' if ahead else ', step by step'}"
        make = slots_of(self.models[shape], slots, ahead=ahead)
        with nullcontext() if kernel else plain_attention():
            yield from self._convert(make, at, slots)

    def _convert(self, make: Callable[[], SlotEngine], at: str, slots: int) -> Iterator[Record]:
        work = self._work(slots)
        full = run(make, work, {}, forced=True, warm=True)
        lengths = {name: len(tokens) for name, tokens in full.tokens.items()}
        limits = limits_of(lengths)
        some = run(make, work, {name: Watched(limits.get(name)) for name in lengths}, forced=True, warm=True)
        if slots == self.plan.slots[1]:
            read = run(make, work, {name: Watched(None) for name in lengths}, forced=True, warm=True)
            slower = read.seconds / full.seconds - 1
            yield Record(f"{at} time that the rules take of a run", slower, "share", "<= 0.02", ok=slower <= 0.02)
        exact = all(some.tokens[name] == work.tokens[name][: limits.get(name)] for name in lengths)
        saved, time_saved = 1 - some.count / full.count, 1 - some.seconds / full.seconds
        rows_saved = 1 - some.row_steps / full.row_steps
        useful = sum(length for name, length in lengths.items() if name not in limits)
        spent = some.parts["policy and validators"] / some.seconds
        (seconds, tokens), (seconds_some, tokens_some) = full.begun, some.begun
        steady_saved, tokens_saved = 1 - seconds_some / seconds, 1 - tokens_some / tokens
        price = (full.prefills / full.prefilled) / ((seconds - full.prefills) / tokens)
        cost_saved = 1 - (tokens_some + price * some.prefilled) / (tokens + price * full.prefilled)
        target = ">= 0.95" if slots >= 128 else ""
        ok = steady_saved / cost_saved >= 0.95 if target else None
        if DEVICE.type == "cuda":
            yield Record(f"{at} most memory so far", torch.cuda.max_memory_allocated() / 2**30, "GiB")
        yield Record(f"{at} attempts", len(lengths))
        yield Record(f"{at} mean tokens", full.count / len(lengths), "tokens")
        yield Record(f"{at} mean prompt", sum(len(a.prompt) for a in work.attempts) / len(lengths), "tokens")
        yield Record(f"{at} token saving", saved, "share")
        yield Record(f"{at} conversion efficiency", time_saved / saved, "ratio")
        yield Record(f"{at} the same until the last attempt begins", steady_saved / tokens_saved, "ratio")
        yield Record(f"{at} price of a prompt's token", price, "sampled tokens")
        yield Record(
            f"{at} the same until the last attempt begins, prompts priced",
            steady_saved / cost_saved,
            "ratio",
            target,
            ok=ok,
        )
        yield Record(f"{at} the same in rows computed", rows_saved / saved, "ratio")
        yield Record(f"{at} no token after a decision, each as recorded", str(exact), "", "True", ok=exact)
        yield Record(f"{at} tokens dropped after a decision", some.dropped, "tokens")
        yield Record(f"{at} validator failures", some.failures, "", "0", ok=some.failures == 0)
        yield Record(f"{at} seconds, full", full.seconds, "s")
        yield Record(f"{at} seconds, discarding", some.seconds, "s")
        yield Record(f"{at} tokens/s, full", full.count / full.seconds, "tokens/s")
        yield Record(f"{at} useful tokens/s, discarding", useful / some.seconds, "tokens/s")
        yield Record(f"{at} policy and validators, most of it while the device works", spent, "share of time")
        for name, ran in (("full", full), ("discarding", some)):
            yield Record(f"{at} steps, {name}", ran.steps)
            yield Record(
                f"{at} tokens/s until the last attempt begins, {name}", ran.begun[1] / ran.begun[0], "tokens/s"
            )
            yield Record(f"{at} CUDA graphs at a time, {name}", ran.graphs)
            yield Record(f"{at} time a step, {name}", 1e3 * ran.seconds / ran.steps, "ms")
            yield Record(f"{at} prompt tokens prefilled, {name}", ran.prefilled, "tokens")
            yield Record(f"{at} prefills on the device, {name}", ran.prefills, "s")
            yield Record(f"{at} prompt tokens/s of prefills, {name}", ran.prefilled / ran.prefills, "tokens/s")
            for part, seconds in sorted(ran.parts.items(), key=lambda part: -part[1]):
                yield Record(f"{at} {part}, {name}", 1e3 * seconds / ran.steps, "ms a step")

    def peer(self, shape: str) -> Iterator[Record]:
        """The same with `generate()` and stopping criteria, on the first two batches."""
        slots = self.plan.slots[1]
        model, at, work = self.models[shape], f"{shape} B={slots}", self._work(slots)
        on = work.attempts[: 2 * slots]
        lengths = {attempt.id: len(work.tokens[attempt.id]) for attempt in on}
        limits = limits_of(lengths)
        useful = sum(length for name, length in lengths.items() if name not in limits)
        speed = {}
        static = partial(StaticEngine, model, slots=slots, sampling=Sampling(), end=frozenset(), left_padding=True)
        for kind, make in (("static", static), ("slots", slots_of(model, slots))):
            run(make, work, {}, forced=True, on=[_short(a) for a in on[:slots]])
            ran = run(make, work, {name: Watched(limits.get(name)) for name in lengths}, forced=True, on=on)
            speed[kind] = useful / ran.seconds
            yield Record(f"{at} useful tokens/s of two batches, {kind}", speed[kind], "tokens/s")
            yield Record(f"{at} rows computed per token, {kind}", ran.row_steps / ran.count, "rows")
        ratio = speed["slots"] / speed["static"]
        yield Record(f"{at} speed under the policy", ratio, "times", ">= 2", PEER, ratio >= 2)

    def continuous(self, shape: str) -> Iterator[Record]:
        """Transformers' continuous batching, greedy, without a policy, at attempts of the same lengths."""
        slots = self.plan.slots[1]
        model, work = self.models[shape], self._work(slots)
        settings = ContinuousBatchingConfig(
            num_blocks=3 * slots, max_batch_tokens=4 * slots, allow_block_sharing=False,
            use_cuda_graph=False, use_async_batching=False,
        )  # fmt: skip
        generation = GenerationConfig(do_sample=False, max_new_tokens=self.plan.cap, eos_token_id=-1, pad_token_id=0)
        with model.continuous_batching_context_manager(generation, continuous_batching_config=settings) as manager:
            started, tokens, left = time.perf_counter(), 0, 2 * slots
            for attempt in work.attempts[:left]:
                manager.add_request(list(attempt.prompt), attempt.id, max_new_tokens=attempt.max_new_tokens)
            while left and manager.is_running():
                result = manager.get_result(timeout=1.0)
                if result is not None:
                    tokens, left = tokens + len(result.generated_tokens), left - 1
            seconds = time.perf_counter() - started
        at, speed = f"{shape} B={slots}", tokens / seconds
        yield Record(f"{at} continuous batching, two batches without a policy", speed, "tokens/s")
        if left:
            yield Record(f"{at} continuous batching, requests without a result", left)
            return
        ours = run(slots_of(model, slots), work, {}, forced=True, on=work.attempts[: 2 * slots])
        yield Record(f"{at} slots, two batches without a policy", ours.count / ours.seconds, "tokens/s")

    def coupling(self, shape: str | None, dtype: str) -> Iterator[Record]:
        """Survivors with the same tokens as in a run without discards, and in one with half the slots."""
        slots = self.plan.slots[0]
        if shape is None:
            model, tokenizer = load_model(embedded_model_path(), dtype=dtype)
            name, end, cap = "embedded model", end_tokens(model, tokenizer), 200
        else:
            model, tokenizer, end, cap = self.models[shape], self._work(slots).tokenizer, frozenset[int](), 64
            name = shape
        tasks = {task.prompt_id: task.prompt for task in problems(0, self.plan.problems)}
        attempts = [
            Attempt(name, tuple(tokenizer.encode(prompt)), stream_key(0, name, 0), min(cap, 4 * self.plan.cap))
            for name, prompt in tasks.items()
        ]
        work = Work(tokenizer, attempts, {}, tasks)
        make = slots_of(model, slots, end)
        full = run(make, work, {}, forced=False)
        limits = limits_of({name: len(tokens) for name, tokens in full.tokens.items()})
        some = run(make, work, {name: Watched(limit) for name, limit in limits.items()}, forced=False)
        half = run(slots_of(model, max(1, slots // 2), end), work, {}, forced=False)
        with without_graphs():
            eager = run(make, work, {}, forced=False)
        survivors = [name for name in full.tokens if name not in limits]
        same = sum(some.tokens[name] == full.tokens[name] for name in survivors) / len(survivors)
        again, alike = (
            sum(other.tokens[name] == tokens for name, tokens in full.tokens.items()) / len(attempts)
            for other in (half, eager)
        )
        at = f"{name}, {dtype}, B={slots}"
        strict = dtype == "float32"
        yield Record(f"{at} mean tokens", full.count / len(attempts), "tokens")
        yield Record(
            f"{at} survivors with the same tokens", same, "share",
            "1" if strict else "", ok=same == 1 if strict else None,
        )  # fmt: skip
        yield Record(f"{at} attempts with the same tokens in half the slots", again, "share")
        yield Record(f"{at} attempts with the same tokens without CUDA graphs", alike, "share")
        if self.kernel:
            with plain_attention():
                plain = run(make, work, {}, forced=False)
            with plain_parts(), patch.object(sampling, "KERNEL", new=False):
                whole = run(make, work, {}, forced=False)
            for other, what in ((plain, "the attention kernel"), (whole, "parts replaced")):
                alike = sum(other.tokens[name] == tokens for name, tokens in full.tokens.items()) / len(attempts)
                yield Record(f"{at} attempts with the same tokens without {what}", alike, "share")

    def fallback(self) -> Iterator[Record]:
        """A model whose steps ask the device cannot be captured: it must run as before."""
        shape = TINY_SHAPES["8B"]
        model, work = random_model(shape).float(), recorded_work(None, 512, 24, self.plan.cap)
        make = slots_of(model, 8)
        captured = run(make, work, {}, forced=False)
        with without_graphs():
            eager = run(make, work, {}, forced=False)
        asked = model.model.layers[0].register_forward_hook(lambda *args: bool(args[2].isnan().any()) or None)
        refused = run(make, work, {}, forced=False)
        asked.remove()
        after = run(make, work, {}, forced=False)
        on_gpu = DEVICE.type == "cuda"
        ok = (captured.graphs > 0, refused.graphs, after.graphs > 0) == (on_gpu, 0, on_gpu)
        counts = f"{captured.graphs}, {refused.graphs}, {after.graphs}"
        yield Record("CUDA graphs of a model, of one that asks, and of the first again", counts, ok=ok)
        truncated = run(slots_of(model, 8, sampling=Sampling(0.7, 20, 0.9)), work, {}, forced=False)
        ok = (truncated.graphs > 0) == on_gpu
        yield Record("CUDA graphs with top-k and top-p", truncated.graphs, ok=ok)
        if on_gpu:
            del make, model, asked
            gc.collect()
            torch.cuda.empty_cache()
            before = torch.cuda.memory_reserved()
            torch.empty(1 << 30, dtype=torch.int8, device=DEVICE)
            torch.cuda.empty_cache()
            kept = (torch.cuda.memory_reserved() - before) / 2**30
            yield Record("memory kept of what was freed after it", kept, "GiB", "0", ok=kept <= 0)
        same = captured.tokens == eager.tokens == refused.tokens == after.tokens
        yield Record("the same tokens from all of them, and eagerly", str(same), "", "True", ok=same)

    @torch.inference_mode()
    def fused(self, shape: str) -> Iterator[Record]:
        """A captured step with norms, rotations and activations compiled: what is left of small kernels."""
        slots, keys = self.plan.slots[1], self.plan.keys
        model, at = self.models[shape], f"{shape} B={slots}"
        step, _ = eager_step(model, slots, keys, kernel=True)
        with torch.inference_mode(), attention_of_slots(model):
            expected = step().float()
            plain, _ = milliseconds(capture(step)[0], self.plan.calls)
            drawing = eager_draw(step())
            drawing()
            drawn, _ = milliseconds(capture(drawing)[0], self.plan.calls)
            with patch.object(sampling, "KERNEL", new=False):
                drawing()
                by_tree, _ = milliseconds(capture(drawing)[0], self.plan.calls)
            with fused_parts(model) as parts:
                off = float((step().float() - expected).norm() / expected.norm())
                taken, _ = milliseconds(capture(step)[0], self.plan.calls)
        for kind, count in parts.items():
            yield Record(f"{at} {kind} replaced", count)
        yield Record(f"{at} step by the attention kernel, parts as they are", plain, "ms")
        yield Record(f"{at} step by the attention kernel, parts replaced", taken, "ms")
        yield Record(f"{at} logits of it, off the others", off, "share")
        yield Record(f"{at} sampling by the tree", by_tree, "ms")
        yield Record(f"{at} sampling by the kernel", drawn, "ms")

    @torch.inference_mode()
    def packs(self, shape: str) -> Iterator[Record]:
        """Prompts in packs, as graphs, against padded passes: keys and values, and tokens per second."""
        slots, model, at = self.plan.slots[1], self.models[shape], f"{shape} prompts"
        prompts = [list(attempt.prompt) for attempt in self._work(slots).attempts[:slots]]
        tokens = sum(map(len, prompts))
        with attention_of_slots(model), fused_parts(model):
            like = prefill(model, [(0,)])
            cache = SlotCache(like, slots, self.plan.keys, kernel=True, spare=True)
            cache.reserve(self.plan.keys)
            packs = Packs(model, cache, StepGraphs(model))
            rows = {row: tuple(prompt) for row, prompt in enumerate(prompts)}
            for _ in range(2):
                packs.fill(rows)
            off = 0.0
            for row, prompt in islice(rows.items(), 4):
                for layer, pair in zip(cache.layers, prefill(model, [prompt]).layers, strict=True):
                    for cached, new in zip((layer.keys, layer.values), pair, strict=True):
                        off = max(off, float((cached[row, :, : len(prompt)] - new[0]).norm() / new.norm()))
            taken, returned = milliseconds(lambda: packs.fill(rows), 3)
            padded, waited = milliseconds(lambda: [prefill(model, group) for group in passes(rows.values())], 3)
        yield Record(f"{at}, keys and values of packs, off one by one", off, "share", "<= 0.1", ok=off <= 0.1)
        yield Record(f"{at}, packed", 1e3 * tokens / taken, "tokens/s")
        yield Record(f"{at}, packed: until all is launched", returned, "ms")
        yield Record(f"{at}, in padded passes", 1e3 * tokens / padded, "tokens/s")
        yield Record(f"{at}, in padded passes: until all is launched", waited, "ms")

    def profile(self, shape: str) -> Iterator[Record]:
        """Device time of a decode step, model and sampling, by kernel."""
        slots = self.plan.slots[1]
        model, at = self.models[shape], f"{shape} B={slots}"
        activities = [torch.profiler.ProfilerActivity.CPU]
        if DEVICE.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.inference_mode(), attention_of_slots(model):
            step, _ = eager_step(model, slots, self.plan.keys, kernel=self.kernel)
            drawing = eager_draw(step())
            drawing()
            synchronise()
            with fused_parts(model), torch.profiler.profile(activities=activities) as profile:
                for _ in range(2):
                    step()
                    drawing()
                synchronise()
        kernels = [each for each in profile.key_averages() if each.device_type != torch.autograd.DeviceType.CPU]
        yield Record(f"{at} kernels a step", sum(each.count for each in kernels) / 2)
        yield Record(f"{at} kernels' time", sum(each.self_device_time_total for each in kernels) / 2e3, "ms a step")
        for each in sorted(kernels, key=lambda each: -each.self_device_time_total)[:16]:
            taken = each.self_device_time_total / 2e3
            yield Record(f"{at} kernel {each.key[:100]} × {each.count // 2}", taken, "ms a step")

    def _work(self, slots: int) -> Work:
        vocabulary = min(shape["vocab_size"] for shape in self.plan.shapes.values())
        return recorded_work(self.traces, vocabulary, self.plan.per_slot * slots, self.plan.cap)

    @property
    def kernel(self) -> bool:
        """Whether the kernel may run here."""
        return DEVICE.type == "cuda" and find_spec("triton") is not None

    def sections(self) -> Iterator[tuple[str, float, Callable[[], Iterator[Record]]]]:
        """Yield name, seconds at most, and function of each section, the most telling first."""
        small, middle, large = self.plan.slots
        yield "machine", 30, self.machine
        yield "graphs", 30, self.fallback
        for shape in self.plan.shapes:
            yield f"{shape} build", 40, lambda shape=shape: self.build(shape)
        for shape in reversed(self.plan.shapes):
            for slots in (middle, large, small):
                yield f"{shape} B={slots}", 60, lambda shape=shape, slots=slots: self.convert(shape, slots)
        yield f"8B step by step, B={middle}", 60, lambda: self.convert("8B", middle, ahead=False)
        if self.kernel:
            yield f"8B plain attention, B={middle}", 60, lambda: self.convert("8B", middle, kernel=False)
        yield "8B profile", 30, lambda: self.profile("8B")
        for keys in (self.plan.keys, 4 * self.plan.keys):
            yield f"8B attention, {keys} keys", 20, lambda keys=keys: self.attend("8B", middle, keys)
        if DEVICE.type == "cuda":
            yield "8B fused", 45, lambda: self.fused("8B")
            yield "8B packs", 45, lambda: self.packs("8B")
        for shape in self.plan.shapes:
            for slots in self.plan.slots:
                yield f"{shape} step, B={slots}", 15, lambda shape=shape, slots=slots: self.step(shape, slots)
        yield "coupling, 1B", 30, lambda: self.coupling("1B", "bfloat16")
        for dtype in ("bfloat16", "float32"):
            yield f"coupling, embedded model in {dtype}", 30, lambda dtype=dtype: self.coupling(None, dtype)
        yield "1B continuous batching", 60, lambda: self.continuous("1B")
        for shape in self.plan.shapes:
            yield f"{shape} peer", 60, lambda shape=shape: self.peer(shape)


@torch.inference_mode()
def _last_logits(model: Any, prompt: list[int]) -> Tensor:
    logits: Tensor = model(torch.tensor([prompt], device=DEVICE), use_cache=False, logits_to_keep=1).logits
    return logits[0, -1].float()


def _short(attempt: Attempt) -> Attempt:
    return Attempt(attempt.id, attempt.prompt, attempt.key, min(8, attempt.max_new_tokens))


def _alarm(*_: object) -> None:
    raise TimeoutError("over its time")


def guarded(name: str, seconds: float, section: Callable[[], Iterator[Record]]) -> Iterator[Record]:
    """Yield the records of a section; what ends it early becomes the last one."""
    signal.signal(signal.SIGALRM, _alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    started = time.perf_counter()
    try:
        yield from section()
    except Exception as error:
        yield Record(f"{name}: failed", f"{type(error).__name__}: {error}"[:500], ok=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.collect()
        if DEVICE.type == "cuda":
            torch.cuda.empty_cache()
    yield Record(f"{name}: took", time.perf_counter() - started, "s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small shapes, on any device")
    parser.add_argument("--traces", metavar="FOLDER", help="force these texts (default: those of the package)")
    parser.add_argument("--seconds", type=float, default=420, help="begin no section after so many (default: 420)")
    parser.add_argument("--out", metavar="FILE", help="keep the records here, as they come")
    parser.add_argument(
        "--only", metavar="WORDS", action="append", help="only sections whose name has these words, or others given"
    )
    options = parser.parse_args(arguments)
    if not options.tiny and DEVICE.type != "cuda":
        parser.error("there is no GPU; --tiny runs on a CPU")
    bench = Bench(SMALL if options.tiny else FULL, options.traces)
    records = environment("torch", "transformers")
    for name, seconds, section in bench.sections():
        if options.only and not any(words in name for words in ("machine", "build", *options.only)):
            continue
        left = options.seconds - (time.perf_counter() - started)
        if left < 5 and not options.tiny:
            records.append(Record(f"{name}: failed", "no time left", ok=False))
            continue
        print(f"[{time.perf_counter() - started:5.0f} s] {name}", file=sys.stderr)
        # A CPU that others use too takes its time, and nothing waits for it.
        for record in guarded(name, 10 * seconds if options.tiny else min(seconds, left), section):
            print(f"    {record.metric}: {record.value} {record.unit}", file=sys.stderr)
            records.append(record)
            if options.out:
                write_records(records, Path(options.out))
    print_records(records, json=True)


if __name__ == "__main__":
    main()
