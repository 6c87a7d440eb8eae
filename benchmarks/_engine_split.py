"""A run of the embedded model under a policy: what its discards convert to, and where the time of a token goes.

The policies are fitted to the generations that travel with the package, to a budget wide enough for them to discard
plenty: one with a checkpoint at each newline, which reads the history of prompts, and one with many checkpoints, as an
autopilot has them. `generate` does the whole job: validators, policy, final filter, files.

The floor of a part is measured in the same process, after the run: what it would take at least, done all at once.

* device, drawing: each step as fast as the fastest of its shape in the run;
* prefill: each distinct prompt once, or fewer where some were given up, at the fastest rate of a prefill in the run;
* the engine's host work: per step, inputs written and drawn tokens read as lists; per token an event made;
* the run's host work: per token an event looked up, and four lists appended to;
* detokenising: per token a look into a dictionary, and a list appended to;
* validators: each text read in one piece; policy: all rows in one table, the rule applied to all of them;
* filter: texts judged one after the other; journal: the same bytes, written line by line.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import numpy as np

from benchmarks._parts import Clock, Parts, timing
from benchmarks._records import Record
from msifr_calibration import fit_policy
from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_samples_path, problems
from msifr_integrations.engine import slot_engine
from msifr_integrations.engine.base import Event
from msifr_integrations.engine.slot_cache import SlotCache
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.generation import run as run_module
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import AttemptRecord, Journal, ledger_path
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.result import Result
from msifr_integrations.generation.run import Run
from msifr_integrations.generation.text import Pieces
from msifr_policy import filters
from msifr_policy.checkpoints import at_checkpoint, discards
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps, auto_schedule
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.evidence.watch import Watch
from msifr_policy.filters import Prompt
from msifr_policy.fitted_policy import FittedPolicy, FittedRun
from msifr_policy.records.traces import find_trace_files, read_traces
from msifr_policy.validators import default_validators

ATTEMPTS = 4
BUDGET, CONFIDENCE = 0.2, 0.8
RUN, ENGINE = "the run's host work", "the engine's host work"
PARTS = [
    (SlotEngine, "_refill", "prefill"),
    (SlotEngine, "step", ENGINE),
    (SlotCache, "forward", "device"),
    (slot_engine, "draw", "drawing"),
    (Pieces, "push", "detokenising"),
    (FittedPolicy, "start", "policy"),
    (FittedRun, "begin", "policy"),
    (FittedRun, "feed", "policy"),
    (Watch, "__init__", "validators"),
    (Watch, "_checkpoint", "validators"),
    (Run, "_judge", "filter"),
    (run_module, "record_of", "journal"),
    (run_module, "entry_of", "journal"),
    (Journal, "write", "journal"),
]


class Fitted(NamedTuple):
    """A policy, and a table of what it reads."""

    policy: FittedPolicy
    table: EvidenceTable


def fitted_policies() -> dict[str, Fitted]:
    """Return the policies by what their checkpoints are."""
    files = find_trace_files([embedded_samples_path()])
    traces = [trace for path in files for trace in read_traces(path)]
    found = {}
    for name, schedule, history in (
        ("newlines", NewlineSteps(), True),
        ("many checkpoints", auto_schedule([len(trace.text) for trace in traces]), False),
    ):
        table = build_evidence(traces, schedule, default_validators())
        fit = fit_policy(table, max_false_reject=BUDGET, confidence=CONFIDENCE, history=history, seed=0)
        found[name] = Fitted(fit.file.policy(), fit.certifying)
    return found


def fresh_prompts(count: int) -> list[Prompt]:
    """Return so many distinct problems, none of which the policies were fitted to."""
    drawn = {one.prompt_id: one.as_prompt() for one in problems(202, 2 * count + 100)}
    return list(drawn.values())[:count]


class Ran(NamedTuple):
    """What a run came to: the seconds of `clock`, its result, and its engine."""

    seconds: float
    wall: float
    result: Result
    engine: Any


class Job(NamedTuple):
    """A model, what it is asked, and the clock that counts: processor time on a CPU."""

    model: Any
    tokenizer: Any
    prompts: Sequence[Prompt]
    slots: int
    clock: Clock

    def run(self, policy: FittedPolicy | None, folder: Path) -> Ran:
        """Make the attempts, in files of a folder that is empty."""
        engines: list[Any] = []
        drain = SlotEngine.drain

        def kept(engine: Any, take: Any) -> None:
            engines.append(engine)
            drain(engine, take)

        options = GenerateOptions(attempts=ATTEMPTS, slots=self.slots, max_new_tokens=200, model_name=EMBEDDED_MODEL)
        with patch.object(SlotEngine, "drain", kept):
            wall, started = time.perf_counter(), self.clock()
            result = generate(
                self.model, self.prompts, policy, folder / "out.jsonl", options,
                tokenizer=self.tokenizer, tell=lambda _: None,
            )  # fmt: skip
            return Ran(self.clock() - started, time.perf_counter() - wall, result, engines[0])


def converted(job: Job, fitted: dict[str, Fitted], repeats: int) -> Iterator[Record]:
    """Runs under each policy and without one take turns; the fastest of each counts, and the middle of the ratios."""
    runs: dict[str, list[Ran]] = defaultdict(list)
    prefills: list[float] = []
    for _ in range(repeats):
        for name in ("", *fitted):
            parts = Parts(job.clock)
            with tempfile.TemporaryDirectory() as folder, timing(parts, PARTS[:1]):
                parts.clear()
                runs[name].append(job.run(fitted[name].policy if name else None, Path(folder)))
            if not name:
                prefills.append(parts.net()["prefill"])
    whole = min(runs[""], key=lambda ran: ran.seconds)
    prefill = min(prefills)
    tokens, prefilled = whole.result.tokens, whole.engine.prefilled
    price = (prefill / prefilled) / ((whole.seconds - prefill) / tokens)
    at = f"B={job.slots}"
    yield Record(f"{at} a whole run without a policy", whole.seconds, "s", peer=f"{whole.wall:.1f} s of wall")
    yield Record(f"{at} microseconds a token of it", 1e6 * whole.seconds / tokens, "us")
    yield Record(f"{at} price of a prompt's token in it", price, "sampled tokens")
    for name in fitted:
        some = min(runs[name], key=lambda ran: ran.seconds)
        saved = 1 - some.result.tokens / tokens
        cost, full_cost = (each.result.tokens + price * each.engine.prefilled for each in (some, whole))
        time_saved = 1 - some.seconds / whole.seconds
        each_saved = [1 - one.seconds / other.seconds for one, other in zip(runs[name], runs[""], strict=True)]
        under = f"{at} policy with {name}:"
        yield Record(f"{under} seconds", some.seconds, "s", peer=f"{some.wall:.1f} s of wall")
        yield Record(f"{under} token saving", saved, "share")
        yield Record(f"{under} microseconds a token", 1e6 * some.seconds / some.result.tokens, "us")
        yield Record(f"{under} conversion efficiency", time_saved / saved, "ratio")
        yield Record(f"{under} the same, each pair of runs", " ".join(f"{each / saved:.2f}" for each in each_saved))
        yield Record(f"{under} the same, prompts priced", time_saved / (1 - cost / full_cost), "ratio")
        rows_saved = 1 - some.engine.row_steps / whole.engine.row_steps
        yield Record(f"{under} the same in rows computed", rows_saved / saved, "ratio")


class _Shapes:
    """Seconds of calls by the shape of what they compute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds: dict[Any, list[float]] = defaultdict(list)

    def watching(self, owner: Any, name: str, shape: Callable[..., Any]) -> AbstractContextManager[Any]:
        """Take the times of a function in a block; shape: of what it is called with."""
        function = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            key, started = shape(*args), self._clock()
            result = function(*args, **options)
            self.seconds[key].append(self._clock() - started)
            return result

        return patch.object(owner, name, call)

    @property
    def fastest(self) -> float:
        """Seconds of all calls, each as fast as the fastest of its shape."""
        return sum(len(each) * min(each) for each in self.seconds.values())


def split(job: Job, name: str, fitted: Fitted | None) -> Iterator[Record]:
    """Yield where the time of a token goes under a policy, or without one, and the floor of each part."""
    device, drawing, prefills = _Shapes(job.clock), _Shapes(job.clock), _Shapes(job.clock)
    parts = Parts(job.clock)
    with (
        tempfile.TemporaryDirectory() as folder,
        device.watching(SlotCache, "forward", lambda cache, _, tokens, *__: (len(tokens), cache.shown)),
        drawing.watching(slot_engine, "draw", lambda logits, *_: logits.shape),
        prefills.watching(slot_engine, "prefill", lambda _, group: sum(map(len, group))),
        timing(parts, PARTS),
    ):
        parts.clear()
        ran = job.run(None if fitted is None else fitted.policy, Path(folder))
        seconds = parts.net()
        out = Path(folder) / "out.jsonl"
        checkpoints = parts.calls["validators"] - ran.result.attempts  # each begins a watch besides
        sizes = [rows for (rows, _), calls in device.seconds.items() for _ in calls]
        lines = [line for path in (out, ledger_path(out)) for line in path.read_bytes().splitlines(keepends=True)]
        floors = _floors(job, _attempts(out), fitted, checkpoints, sizes, lines, Path(folder))
    seconds[RUN] = seconds.pop("other", 0.0)
    tokens = ran.result.tokens
    distinct = sum(len(job.tokenizer.encode(prompt.prompt)) - 1 for prompt in job.prompts)
    rate = min(min(each) / size for size, each in prefills.seconds.items() if size)
    floors |= {
        "device": device.fastest,
        "drawing": drawing.fastest,
        "prefill": rate * min(distinct, ran.engine.prefilled),
    }
    at = f"B={job.slots} {name}:"
    yield Record(f"{at} microseconds a token, all of it", 1e6 * sum(seconds.values()) / tokens, "us")
    yield Record(f"{at} prompt tokens computed", float(ran.engine.prefilled), peer=f"{distinct} in distinct prompts")
    for part, taken in sorted(seconds.items(), key=lambda each: -each[1]):
        yield Record(f"{at} {part}", 1e6 * taken / tokens, "us a token")
        yield Record(f"{at} {part}, at least", 1e6 * floors[part] / tokens, "us a token")


def _attempts(out: Path) -> list[AttemptRecord]:
    decoder = msgspec.json.Decoder(AttemptRecord)
    return [decoder.decode(line) for line in out.read_bytes().splitlines()]


def _floors(
    job: Job,
    attempts: Sequence[AttemptRecord],
    fitted: Fitted | None,
    checkpoints: int,
    sizes: Sequence[int],
    lines: Sequence[bytes],
    folder: Path,
) -> dict[str, float]:
    """Return the seconds that the host's parts would take at least, for these attempts and lines of the files."""
    events: list[Event] = []
    inputs, drawings = np.zeros((job.slots, 16)), np.zeros((3, job.slots))
    tokens = [job.tokenizer.encode(attempt.text) for attempt in attempts]
    texts = {token: job.tokenizer.decode([token]) for each in tokens for token in each}
    prompts = {prompt.prompt_id: prompt for prompt in job.prompts}
    accept = filters.final_filter(GenerateOptions().final_filter, GenerateOptions().answer)
    finished = [attempt for attempt in attempts if attempt.status == "finished"]

    def step() -> None:
        for size in sizes:
            inputs.fill(0)
            drawn = zip(*drawings[:, :size].tolist(), strict=True)
            for token, logprob, sampled in drawn:
                events.append(Event("", int(token), logprob, sampled, ""))
            events.clear()

    def take() -> None:
        lives = {attempt.id: ([], [], [], []) for attempt in attempts}
        for attempt, each in zip(attempts, tokens, strict=True):
            for token in each:
                first, second, third, fourth = lives[attempt.id]
                first.append(token)
                second.append(-1.0)
                third.append(-1.0)
                fourth.append(0)

    def look_up() -> None:
        for each in tokens:
            pieces: list[str] = []
            for token in each:
                pieces.append(texts[token])  # noqa: PERF401 - they come one by one

    def judge() -> None:
        for attempt in finished:
            accept(prompts[attempt.prompt_id], attempt.text)

    def write() -> None:
        with open(folder / "again", "wb", buffering=0) as file:
            for line in lines:
                file.write(line)

    def read() -> None:
        for attempt in attempts:
            for validator in fitted.policy.validators if fitted else ():
                validator.start(attempt.prompt).feed(attempt.text)

    def decide() -> None:
        if fitted:
            _, worth = fitted.policy.beliefs.worth(fitted.table.k, fitted.table.values)
            discards(worth, at_checkpoint(fitted.policy.thresholds, fitted.table.k))

    fastest = {
        part: min(_seconds(call, job.clock) for _ in range(3))
        for part, call in (
            (ENGINE, step),
            (RUN, take),
            ("detokenising", look_up),
            ("filter", judge),
            ("journal", write),
            ("validators", read),
            ("policy", decide),
        )
    }
    if fitted:
        fastest["policy"] *= checkpoints / len(fitted.table.k)
    return fastest


def _seconds(call: Callable[[], None], clock: Clock) -> float:
    started = clock()
    call()
    return clock() - started
