"""Do saved tokens become saved seconds? `python -m benchmarks.engine [--json] [--quick]`.

The slot engine against transformers' `generate()` with stopping criteria on static batches (left-padded, as
usual), in one process on one model. Every other attempt is discarded after 30 % of the tokens it would have
had; both engines draw the same tokens, decode them to text and ask the same policy. The conversion efficiency
is (1 - time/time_full) / (1 - tokens/tokens_full): 1 when all of the token saving arrives as time.

Times are the best of the repeats. On a CPU with one thread, processor time is what wall time would be on a
quiet machine, so both are given; where wall exceeds processor time by a tenth, other programs disturbed the
measurement, and no verdict is passed on wall figures.
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

from benchmarks._records import Record, environment, print_records
from msifr_integrations.embedded import embedded_model_path, problems
from msifr_integrations.engine.base import Attempt, Engine, Event, Sampling, end_tokens, stream_key
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.engine.static_engine import StaticEngine
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.live import Live
from msifr_policy.filters import Prompt
from msifr_policy.policy import Action, Decision

DISCARDED_AFTER = 0.3  # of an attempt's full length
CAP = 200  # tokens
PEER = "generate() + StoppingCriteria"


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
    """One drain: wall and processor seconds, tokens by attempt and after a decision, rows computed."""

    seconds: float
    processor: float
    tokens: dict[str, int]
    wasted: int
    row_steps: int


def drain(engine: Any, attempts: Sequence[Attempt], tokenizer: Any, limits: Mapping[str, int]) -> Timed:
    """Run `attempts`; those in `limits` are discarded after so many tokens."""
    lives = {a.id: Live(Prompt(prompt_id=a.id, prompt=" "), Scripted(limits.get(a.id)), tokenizer) for a in attempts}

    def take(events: Sequence[Event]) -> None:
        for event in events:
            if lives[event.id].take(event):
                engine.cancel(event.id)

    synchronise()
    started, worked = time.perf_counter(), time.process_time()
    for attempt in attempts:
        engine.submit(attempt)
    engine.drain(take)
    seconds, processor = time.perf_counter() - started, time.process_time() - worked
    engine.close()
    tokens = {name: live.tokens for name, live in lives.items()}
    return Timed(seconds, processor, tokens, sum(live.wasted for live in lives.values()), engine.row_steps)


def measure(model: Any, tokenizer: Any, slots: int, count: int, repeats: int) -> list[Record]:
    """Return the records of one batch size."""
    attempts = [
        Attempt(task.prompt_id, tuple(tokenizer.encode(task.prompt)), stream_key(0, task.prompt_id, 0), CAP)
        for task in {task.prompt_id: task for task in problems(0, count)}.values()
    ]
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
    converted, quiet_converted = time_saved["slots"] / saved, processor_saved["slots"] / saved
    speed = {kind: useful / seconds(kind, True) for kind in ("slots", "static")}
    same = all(one.tokens == runs["slots", discards][0].tokens for (_, discards), ones in runs.items() for one in ones)
    wasted = sum(one.wasted for ones in runs.values() for one in ones)
    disturbed = max(one.seconds / one.processor for ones in runs.values() for one in ones)
    on_cpu = model.device.type == "cpu"
    quiet = not on_cpu or disturbed < 1.1
    computed = {k: runs[k, True][0].row_steps / tokens(k, True) for k in ("slots", "static")}
    # What a machine without fixed costs would make of it: free of noise, the same every time.
    rows_saved = {k: 1 - runs[k, True][0].row_steps / runs[k, False][0].row_steps for k in ("slots", "static")}
    at = f"B={slots}"
    return [
        Record(f"{at} attempts", len(attempts)),
        Record(f"{at} token saving", saved, "share"),
        Record(f"{at} wall saving, slots", time_saved["slots"], "share"),
        Record(f"{at} wall saving, static", time_saved["static"], "share"),
        Record(
            f"{at} conversion efficiency, slots", converted, "ratio", ">= 0.8", PEER,
            converted >= 0.8 if quiet else None,
        ),
        Record(f"{at} conversion efficiency, static", time_saved["static"] / saved, "ratio"),
        Record(
            f"{at} the same in processor time, slots", quiet_converted, "ratio", ">= 0.8", PEER,
            quiet_converted >= 0.8 if on_cpu else None,
        ),
        Record(f"{at} the same in processor time, static", processor_saved["static"] / saved, "ratio"),
        Record(f"{at} useful tokens/s, slots", speed["slots"], "tokens/s"),
        Record(f"{at} useful tokens/s, static", speed["static"], "tokens/s"),
        Record(
            f"{at} speed under the policy", speed["slots"] / speed["static"], "times", "> 1", PEER,
            speed["slots"] > speed["static"],
        ),
        Record(
            f"{at} the same in rows computed, slots", rows_saved["slots"] / saved, "ratio", ">= 0.8", PEER,
            rows_saved["slots"] / saved >= 0.8,
        ),
        Record(f"{at} the same in rows computed, static", rows_saved["static"] / saved, "ratio"),
        Record(f"{at} rows computed per token, slots", computed["slots"], "rows"),
        Record(f"{at} rows computed per token, static", computed["static"], "rows"),
        Record(f"{at} wall over processor time, worst", disturbed, "ratio"),
        Record(f"{at} tokens after a decision", wasted, "tokens", "0", ok=wasted == 0),
        Record(f"{at} same tokens from both engines", str(same), "", "True", ok=same),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="B = 16 only, fewer attempts, one repeat")
    parser.add_argument("--traces", metavar="FOLDER", help="accepted by every benchmark; this one reads no traces")
    parser.add_argument("--model", default=None, help="model to use (default: the embedded one)")
    options = parser.parse_args(arguments)
    # float32, on a GPU too: in half precision the two engines would not draw the same tokens.
    model, tokenizer = load_model(options.model or embedded_model_path(), dtype="float32")
    records = environment("torch", "transformers")
    records += [
        Record("model", options.model or "the embedded model"),
        Record("model weights", float(model.num_parameters())),
        Record("device", device_name(model.device)),
        Record("dtype", str(model.dtype).removeprefix("torch.")),
    ]
    for slots, count in [(16, 48)] if options.quick else [(16, 96), (64, 256)]:
        records += measure(model, tokenizer, slots, count, repeats=1 if options.quick else 3)
    print_records(records, options.json)


if __name__ == "__main__":
    main()
