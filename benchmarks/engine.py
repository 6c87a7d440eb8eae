"""Do saved tokens become saved seconds, and where does the time go? `python -m benchmarks.engine [--json] [--quick]`.

**Engines alone.** The slot engine against transformers' `generate()` with stopping criteria on static batches
(left-padded, as usual), in one process on one model. Every other attempt is discarded after 30 % of the tokens it would
have had; both engines draw the same tokens, decode them to text and ask the same policy, which only counts. Without a
policy, against transformers' continuous batching at attempts of the same lengths.

**Whole runs** (`_engine_split`). `generate` under two fitted policies and without one, and where the time of a token
goes in them, with the floor of each part.

The conversion efficiency is (1 - time/time_full) / (1 - tokens/tokens_full): 1 when all of the token saving arrives as
time. Discarding saves no prompts, so it is given in priced tokens too: a prompt's token costs what its prefill took,
measured in sampled tokens.

Times are the best of the repeats, which take turns. On a CPU they are processor time, which with one thread is what
wall time would be on a quiet machine; wall time stands beside it. Where wall exceeds processor time by a tenth, other
programs disturbed the measurement, and no verdict is passed on wall figures.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# Torch's threads spin while they wait, which ruins any timing; this must come before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from benchmarks._engine_split import ATTEMPTS, Job, converted, fitted_policies, fresh_prompts, split
from benchmarks._parts import Parts, timing
from benchmarks._records import Record, environment, print_records, save_records
from msifr_integrations.embedded import embedded_model_path
from msifr_integrations.engine.base import Attempt, Engine, Event, Sampling, end_tokens, stream_key
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.engine.static_engine import StaticEngine
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.live import Live
from msifr_policy.filters import Prompt
from msifr_policy.policy import Action, Decision

DISCARDED_AFTER = 0.3  # of an attempt's full length
CAP = 200  # tokens
TARGET = 0.95
PAGE, SMALL = 32, 16  # of the peer's cache: tokens of a page, and attempts in a small one
PEER = "generate() + StoppingCriteria"
CONTINUOUS = "continuous batching"


class Scripted:
    """A policy that discards after `limit` tokens, or never."""

    failures: Mapping[str, int] = {}

    def __init__(self, limit: int | None) -> None:
        self.limit, self.tokens = limit, 0

    def start(self, prompt: str) -> Scripted:
        """Return itself: one is made per attempt."""
        del prompt
        return self

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        """Count the tokens."""
        del logprobs
        self.tokens += tokens
        if self.tokens != self.limit:
            return None
        return Decision(Action.DISCARD, 1, len(text), self.tokens, 0.0, 1.0, "script")


def limits_of(lengths: Mapping[str, int]) -> dict[str, int]:
    """Return after how many tokens every other attempt is discarded."""
    return {name: max(1, round(DISCARDED_AFTER * lengths[name])) for name in list(lengths)[::2]}


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or how many threads of a CPU are used."""
    return torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Timed(NamedTuple):
    """One drain: wall and processor seconds, those of prefills; tokens by attempt and after a decision.

    prefilled: tokens of prompts computed; 0, and no seconds, where the engine does not tell. row_steps: rows computed.
    """

    seconds: float
    processor: float
    prefill: float
    tokens: dict[str, int]
    wasted: int
    row_steps: int
    prefilled: int

    def cost(self, price: float) -> float:
        """Return the tokens, those of prompts at a price."""
        return sum(self.tokens.values()) + price * self.prefilled


def drain(engine: Any, attempts: Sequence[Attempt], tokenizer: Any, limits: Mapping[str, int]) -> Timed:
    """Run `attempts`; those in `limits` are discarded after so many tokens."""
    lives = {a.id: Live(Prompt(prompt_id=a.id, prompt=" "), Scripted(limits.get(a.id)), tokenizer) for a in attempts}

    def take(events: Sequence[Event]) -> None:
        for event in events:
            if lives[event.id].take(event):
                engine.cancel(event.id)

    synchronise()
    parts = Parts(time.process_time)
    with timing(parts, [(SlotEngine, "_refill", "prefill")]):
        parts.clear()
        started, worked = time.perf_counter(), time.process_time()
        for attempt in attempts:
            engine.submit(attempt)
        engine.drain(take)
        seconds, processor = time.perf_counter() - started, time.process_time() - worked
        prefill = parts.net().get("prefill", 0.0)
    engine.close()
    tokens = {name: live.tokens for name, live in lives.items()}
    wasted = sum(live.wasted for live in lives.values())
    prefilled = getattr(engine, "prefilled", 0)
    return Timed(seconds, processor, prefill, tokens, wasted, engine.row_steps, prefilled)


def attempts_at(tokenizer: Any, count: int) -> list[Attempt]:
    """Return so many attempts, some at each prompt."""
    return [
        Attempt(f"{asked.prompt_id}/{i}", tuple(tokenizer.encode(asked.prompt)), stream_key(0, asked.prompt_id, i), CAP)
        for asked in fresh_prompts(count // ATTEMPTS)
        for i in range(ATTEMPTS)
    ]


def measure(model: Any, tokenizer: Any, slots: int, count: int, repeats: int) -> list[Record]:
    """Return the records of one batch size."""
    attempts = attempts_at(tokenizer, count)
    end, sampling = end_tokens(model, tokenizer), Sampling()

    def make(kind: str) -> Engine:
        if kind == "slots":
            return SlotEngine(model, slots=slots, sampling=sampling, end=end)
        return StaticEngine(model, slots=slots, sampling=sampling, end=end, left_padding=True)

    lengths = drain(make("slots"), attempts, tokenizer, {}).tokens  # and warm up
    drain(make("static"), attempts[:slots], tokenizer, {})
    limits = limits_of(lengths)
    # The four kinds of run take turns, so that a disturbance hits all of them.
    runs: dict[tuple[str, bool], list[Timed]] = {}
    for _ in range(repeats):
        for kind in ("slots", "static"):
            for discards in (False, True):
                one = drain(make(kind), attempts, tokenizer, limits if discards else {})
                runs.setdefault((kind, discards), []).append(one)

    def seconds(kind: str, discards: bool, clock: str = "seconds") -> float:
        return float(min(getattr(one, clock) for one in runs[kind, discards]))

    def tokens(kind: str, discards: bool) -> int:
        return sum(runs[kind, discards][0].tokens.values())

    useful = sum(length for name, length in lengths.items() if name not in limits)
    saved = 1 - tokens("slots", True) / tokens("slots", False)
    time_saved, processor_saved = (
        {kind: 1 - seconds(kind, True, clock) / seconds(kind, False, clock) for kind in ("slots", "static")}
        for clock in ("seconds", "processor")
    )
    wall_converted, quiet_converted = time_saved["slots"] / saved, processor_saved["slots"] / saved
    speed = {kind: useful / seconds(kind, True) for kind in ("slots", "static")}
    same = all(one.tokens == runs["slots", discards][0].tokens for (_, discards), ones in runs.items() for one in ones)
    wasted = sum(one.wasted for ones in runs.values() for one in ones)
    disturbed = max(one.seconds / one.processor for ones in runs.values() for one in ones)
    on_cpu = model.device.type == "cpu"
    quiet = not on_cpu or disturbed < 1.1
    computed = {k: runs[k, True][0].row_steps / tokens(k, True) for k in ("slots", "static")}
    # What a machine without fixed costs would make of it: free of noise, the same every time.
    rows_saved = {k: 1 - runs[k, True][0].row_steps / runs[k, False][0].row_steps for k in ("slots", "static")}
    whole = min(runs["slots", False], key=lambda one: one.processor)
    price = (whole.prefill / whole.prefilled) / ((whole.processor - whole.prefill) / tokens("slots", False))
    cost_saved = 1 - runs["slots", True][0].cost(price) / whole.cost(price)
    at = f"B={slots}"
    return [
        Record(f"{at} attempts", len(attempts), "", "", f"{ATTEMPTS} at each prompt"),
        Record(f"{at} token saving", saved, "share"),
        Record(f"{at} wall saving, slots", time_saved["slots"], "share"),
        Record(f"{at} wall saving, static", time_saved["static"], "share"),
        Record(
            f"{at} conversion efficiency, slots", wall_converted, "ratio", f">= {TARGET}", PEER,
            wall_converted >= TARGET if quiet else None,
        ),
        Record(f"{at} conversion efficiency, static", time_saved["static"] / saved, "ratio"),
        Record(
            f"{at} the same in processor time, slots", quiet_converted, "ratio", f">= {TARGET}", PEER,
            quiet_converted >= TARGET if on_cpu else None,
        ),
        Record(f"{at} price of a prompt's token", price, "sampled tokens"),
        Record(
            f"{at} the same in processor time, slots, prompts priced", processor_saved["slots"] / cost_saved, "ratio",
            f">= {TARGET}", PEER, processor_saved["slots"] / cost_saved >= TARGET if on_cpu else None,
        ),
        Record(f"{at} the same in processor time, static", processor_saved["static"] / saved, "ratio"),
        Record(f"{at} useful tokens/s, slots", speed["slots"], "tokens/s"),
        Record(f"{at} useful tokens/s, static", speed["static"], "tokens/s"),
        Record(
            f"{at} speed under the policy", speed["slots"] / speed["static"], "times", "> 1", PEER,
            speed["slots"] > speed["static"],
        ),
        Record(
            f"{at} the same in rows computed, slots", rows_saved["slots"] / saved, "ratio", f">= {TARGET}", PEER,
            rows_saved["slots"] / saved >= TARGET,
        ),
        Record(f"{at} the same in rows computed, static", rows_saved["static"] / saved, "ratio"),
        Record(f"{at} rows computed per token, slots", computed["slots"], "rows"),
        Record(f"{at} rows computed per token, static", computed["static"], "rows"),
        Record(f"{at} wall over processor time, worst", disturbed, "ratio"),
        Record(f"{at} tokens after a decision", wasted, "tokens", "0", ok=wasted == 0),
        Record(f"{at} same tokens from both engines", str(same), "", "True", ok=same),
    ]  # fmt: skip


def continuous(model: Any, tokenizer: Any, slots: int, count: int, repeats: int) -> list[Record]:
    """Return the records of runs without a policy, in slots and by transformers' continuous batching.

    Both sample, at attempts of the same lengths: those that they have in slots. The peer gets a cache for as many
    attempts, and a small one, since on a CPU its steps take longer the larger it is; the faster counts.
    """
    sampling, end = Sampling(), end_tokens(model, tokenizer)
    attempts = attempts_at(tokenizer, count)
    lengths = drain(SlotEngine(model, slots=slots, sampling=sampling, end=end), attempts, tokenizer, {}).tokens
    rate: dict[str, list[float]] = {"slots": [], CONTINUOUS: []}
    for _ in range(repeats):
        started = time.process_time()
        made = drain(SlotEngine(model, slots=slots, sampling=sampling, end=end), attempts, tokenizer, {}).tokens
        rate["slots"].append(sum(made.values()) / (time.process_time() - started))
        for rows in {slots, SMALL}:
            started = time.process_time()
            tokens = batched_continuously(model, attempts, lengths, rows)
            rate[CONTINUOUS].append(tokens / (time.process_time() - started))
    ours, theirs = (max(rate[name]) for name in ("slots", CONTINUOUS))
    at = f"B={slots} without a policy:"
    return [
        Record(f"{at} slots", ours, "tokens/s", "", "of processor time"),
        Record(f"{at} continuous batching", theirs, "tokens/s", "", "of processor time"),
        Record(f"{at} slots over continuous batching", ours / theirs, "times", ">= 1", CONTINUOUS, ours >= theirs),
    ]


def batched_continuously(model: Any, attempts: Sequence[Attempt], lengths: Mapping[str, int], rows: int) -> int:
    """Sample attempts of these lengths by continuous batching, about so many at a time; return the tokens that came."""
    page = "page_size" if hasattr(ContinuousBatchingConfig, "page_size") else "block_size"
    longest = max(len(attempt.prompt) + lengths[attempt.id] for attempt in attempts)
    settings = ContinuousBatchingConfig(
        num_blocks=rows * -(-longest // PAGE), max_batch_tokens=max(4 * rows, 256), allow_block_sharing=False,
        use_cuda_graph=False, use_async_batching=False, **{page: PAGE},
    )  # fmt: skip
    generation = GenerationConfig(do_sample=True, max_new_tokens=CAP, eos_token_id=-1, pad_token_id=0)
    tokens, left = 0, len(attempts)
    with model.continuous_batching_context_manager(generation, continuous_batching_config=settings) as manager:
        for attempt in attempts:
            manager.add_request(list(attempt.prompt), attempt.id, max_new_tokens=lengths[attempt.id])
        while left and manager.is_running():
            result = manager.get_result(timeout=1.0)
            if result is not None:
                tokens, left = tokens + len(result.generated_tokens), left - 1
    if left:
        raise RuntimeError(f"continuous batching left {left} requests without a result")
    return tokens


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="B = 16 only, fewer attempts, one repeat")
    parser.add_argument("--save", action="store_true", help="keep the records in results/engine.json")
    parser.add_argument("--traces", metavar="FOLDER", help="accepted by every benchmark; this one reads no traces")
    options = parser.parse_args(arguments)
    # float32, on a GPU too: in half precision the two engines would not draw the same tokens.
    model, tokenizer = load_model(embedded_model_path(), dtype="float32")
    records = environment("torch", "transformers")
    records += [
        Record("model", "the embedded model"),
        Record("model weights", float(model.num_parameters())),
        Record("device", device_name(model.device)),
        Record("dtype", str(model.dtype).removeprefix("torch.")),
    ]
    fitted = fitted_policies()
    for slots, count in [(16, 32)] if options.quick else [(16, 96), (32, 160), (64, 256)]:
        repeats = 1 if options.quick else 3
        records += measure(model, tokenizer, slots, count, repeats)
        records += continuous(model, tokenizer, slots, count, min(repeats, 2))
        clock = time.process_time if model.device.type == "cpu" else time.perf_counter
        # So many prompts that slots have work where attempts at one follow each other.
        job = Job(model, tokenizer, fresh_prompts(slots if options.quick else 4 * slots), slots, clock)
        records += converted(job, fitted, repeats)
        records += split(job, "without a policy", None)
        for name, each in fitted.items():
            records += split(job, f"policy with {name}", each)
    if options.save:
        save_records(records, "engine")
    print_records(records, options.json)


if __name__ == "__main__":
    main()
