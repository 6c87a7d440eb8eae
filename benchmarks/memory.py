"""What a run of a million attempts keeps in memory: `python -m benchmarks.memory [--quick] [--save | -o FILE]`.

The texts are replayed without a model (`_replay`), so that what a run costs beside its model is what is measured.

    run       {PROMPTS:,} prompts with 4 attempts each, from a file: interrupted at half, and resumed to the end
    watched   a policy that reads history, under a quota and audited, at {WATCHED:,} prompts, and at a third of them
    readers   what reads a finished run: msifr audit, export, merge and report, of {FEW:,} and of {MANY:,} attempts

Each part is a process of its own. Memory is that of the process (resident), in MiB: when a tenth of the attempts are
done, and at the end; growth is the difference, by attempt between. What grows is what is kept for prompts that are
done; what was kept for those to come is in the memory of the beginning, so bytes per prompt are told apart: by the
largest memory of a run of all prompts and of one of a fifth. Rates are attempts per second of its processor time.
Takes less than {MINUTES} minutes on one core. Linux only.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from benchmarks._records import Record, environment, print_records, save_records, write_records
from benchmarks._replay import replayed
from msifr_integrations.generation.generate import generate, make_here
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.merge import merge_runs
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.progress import Progress
from msifr_policy.fitted_policy import Certified
from msifr_policy.policy import NO_PARAMETERS, Action, Decision, Parameters
from msifr_policy.validators import History

PROMPTS, WATCHED, FEW, MANY = 250_000, 45_000, 100_000, 300_000
QUICK = 50
"""A quick run is so many times smaller."""
ATTEMPTS, SLOTS = 4, 16
MINUTES = 10
GROWTH, PER_PROMPT, STEADY = 24.0, 64.0, 0.8
"""Targets: bytes by attempt, bytes by prompt, and the rate of the last tenth beside that of the first."""
MIB = 2**20
_PARTS = "run", "fifth", "resumed", "watched", "watched third"


class Seen(msgspec.Struct, frozen=True):
    """A moment of a run: attempts done, seconds of processor time since its process began, and memory in bytes."""

    done: int
    seconds: float
    memory: int


class Part(msgspec.Struct, frozen=True):
    """What a process saw of its run, and the most memory that it had, in bytes."""

    seen: list[Seen]
    peak: int


class Growth(NamedTuple):
    """From the first tenth of what a process made to its end; rates are of its first and its last tenth."""

    begin: float
    end: float
    by_attempt: float
    first: float
    last: float


class Reader:
    """A policy that reads history, and discards a third of the longer attempts at their second step."""

    fingerprint = "replay policy"
    validators = (History(),)
    certified = Certified(max_false_reject=0.5, confidence=0.9)
    failures: Mapping[str, int] = MappingProxyType({})

    def start(self, prompt: str, parameters: Parameters = NO_PARAMETERS) -> _Reading:
        """Begin an attempt."""
        del prompt
        return _Reading(parameters.get(History.name, {}).get("rejected", 0))


class _Reading:
    failures: Mapping[str, int] = MappingProxyType({})

    def __init__(self, rejected: int) -> None:
        self._rejected, self._k, self._characters = rejected, 0, 0

    def feed(self, text: str, tokens: int = 0, logprobs: Sequence[float] = ()) -> Decision | None:
        """Decide at the end of each step."""
        del tokens, logprobs
        self._k += 1
        self._characters += len(text)
        bad = self._k == 2 and "answer" not in text and self._rejected % 3 == 0
        action, reason = (Action.DISCARD, History.name) if bad else (Action.CONTINUE, "")
        return Decision(action, self._k, self._characters, self._k, 0.2 if bad else 0.6, 0.3, reason)


def memory() -> int:
    """Return the resident memory of this process, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def write_prompts(path: Path, count: int) -> Path:
    """Write so many prompts as lines of JSON."""
    if not path.exists():
        with open(path, "w", encoding="utf-8") as file:
            for i in range(count):
                asked = f"Ada has {i} apples and gives {i % 17} of them away. How many are left, and is that many?"
                line = f'{{"prompt_id":"set:algebra:{i:08d}","prompt":"{asked}","gold":"{i % 3}","group":"algebra"}}\n'
                file.write(line)
    return path


def make(folder: Path, name: str, prompts: int, stop: int | None = None, **options: Any) -> Part:
    """Make a run of so many prompts until `stop` attempts are done, None for all of them, and say what was seen."""
    seen: list[Seen] = []
    every = prompts * ATTEMPTS // 200

    def look(progress: Progress) -> None:
        if not seen or progress.done - seen[-1].done >= every or progress.done == progress.attempts:
            seen.append(Seen(progress.done, time.process_time(), memory()))
        if stop is not None and progress.done >= stop:
            raise KeyboardInterrupt

    policy = Reader() if "audit" in options else None
    usual: dict[str, Any] = {"attempts": ATTEMPTS, "slots": SLOTS, "answer": "last"}
    asked, out = write_prompts(folder / f"{prompts}.prompts", prompts), folder / f"{name}.jsonl"
    try:
        generate(
            "none",
            asked,
            policy,
            out,
            GenerateOptions(**usual | options),
            progress=look,
            tell=lambda _: None,
            make=partial(make_here, opening=replayed),
        )
    except KeyboardInterrupt:
        if stop is None:
            raise
    return Part(seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def made(part: str, folder: Path, scale: int) -> Part:
    """Make a part of the benchmark in this process."""
    prompts, watched = PROMPTS // scale, WATCHED // scale
    under: dict[str, Any] = {"audit": 0.1, "accepted_per_prompt": 2}
    parts: dict[str, Callable[[], Part]] = {
        "run": lambda: make(folder, "run", prompts, prompts * ATTEMPTS // 2),
        "fifth": lambda: make(folder, "fifth", prompts // 5),
        "resumed": lambda: make(folder, "run", prompts),
        "watched": lambda: make(folder, "watched", watched, **under),
        "watched third": lambda: make(folder, "third", watched // 3, **under),
    }
    return parts[part]()


def ask(part: str, folder: Path, scale: int) -> Part:
    """Make a part in a process of its own."""
    here = [sys.executable, "-m", "benchmarks.memory", "--part", part, "--folder", str(folder), "--scale", str(scale)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(here, check=True, stdout=subprocess.PIPE, cwd=root)  # noqa: S603
    return msgspec.json.decode(done.stdout, type=Part)


def growth(part: Part) -> Growth:
    """Return how memory and rate of a process went along."""
    first, last = part.seen[0], part.seen[-1]
    made = last.done - first.done
    tenth = next(seen for seen in part.seen if seen.done >= first.done + made / 10)
    ninth = next(seen for seen in part.seen if seen.done >= last.done - made / 10)
    return Growth(
        begin=tenth.memory / MIB,
        end=last.memory / MIB,
        by_attempt=(last.memory - tenth.memory) / (last.done - tenth.done),
        first=(tenth.done - first.done) / (tenth.seconds - first.seconds),
        last=(last.done - ninth.done) / (last.seconds - ninth.seconds),
    )


def told(name: str, part: Part, whole: bool) -> Iterator[Record]:
    """Yield what is told of a run; held to targets if it is a `whole` one."""
    found = growth(part)
    yield Record(f"{name}: attempts done", part.seen[-1].done)
    yield Record(f"{name}: memory at a tenth", round(found.begin, 1), "MiB")
    yield Record(f"{name}: memory at the end", round(found.end, 1), "MiB")
    yield held(Record(f"{name}: growth", round(found.by_attempt, 2), "B/attempt"), f"<= {GROWTH:g}", whole)
    yield Record(f"{name}: most memory", round(part.peak / MIB, 1), "MiB")
    yield Record(f"{name}: rate, first tenth", round(found.first), "attempts/s")
    yield Record(f"{name}: rate, last tenth", round(found.last), "attempts/s")
    yield held(Record(f"{name}: last beside first", round(found.last / found.first, 2)), f">= {STEADY:g}", whole)


def held(record: Record, target: str, whole: bool) -> Record:
    """Return a record with its target, a number that it must not exceed or fall below, if it is of a `whole` run."""
    sign, number = target.split()
    value, bound = float(record.value), float(number)
    met = value <= bound if sign == "<=" else value >= bound
    return msgspec.structs.replace(record, target=target, ok=met) if whole else record


def runs(folder: Path, scale: int) -> Iterable[Record]:
    """Make the runs, and yield what is told of them."""
    whole = scale == 1
    parts = {part: ask(part, folder, scale) for part in _PARTS}
    yield from told("run, to its half", parts["run"], whole)
    yield from told("run, resumed", parts["resumed"], whole)
    prompts = PROMPTS // scale
    for name, all_of_it, some, size, fewer in (
        ("run", "resumed", "fifth", prompts, prompts // 5),
        ("watched", "watched", "watched third", WATCHED // scale, WATCHED // scale // 3),
    ):
        if name == "watched":
            yield from told(name, parts["watched"], whole)
        each = round((parts[all_of_it].peak - parts[some].peak) / (size - fewer), 1)
        yield held(Record(f"{name}: memory by prompt", each, "B/prompt"), f"<= {PER_PROMPT:g}", whole)


def readers(folder: Path, scale: int) -> Iterable[Record]:
    """Yield how much memory takes what reads runs of few and of many attempts."""
    peaks: dict[str, list[int]] = {}
    sizes = FEW // scale, MANY // scale
    for size in sizes:
        at = folder / str(size)
        at.mkdir()
        for share in (1, 2):
            make(at, f"shard{share}", size // ATTEMPTS, shard=(share, 2))
        whole = at / "whole.jsonl"
        merge_runs([at / "shard1.jsonl", at / "shard2.jsonl"], whole)
        for name, command in {
            "audit": ["audit", str(ledger_path(whole))],
            "export": ["export", str(whole), "-o", str(at / "chat.jsonl")],
            "merge": ["merge", str(at / "merged.jsonl"), str(at / "shard1.jsonl"), str(at / "shard2.jsonl")],
            "report": ["report", str(whole), "-o", str(at / "report.html")],
        }.items():
            peaks.setdefault(name, []).append(peak_of(command))
    for name, (few, many) in peaks.items():
        yield Record(f"msifr {name}: most memory, {sizes[0]} attempts", round(few / MIB, 1), "MiB")
        yield Record(f"msifr {name}: most memory, {sizes[1]} attempts", round(many / MIB, 1), "MiB")
        yield Record(f"msifr {name}: growth", round((many - few) / (sizes[1] - sizes[0]), 1), "B/attempt")


def peak_of(command: Sequence[str]) -> int:
    """Run a command of msifr, and return the most memory that it had, in bytes. Raises RuntimeError if it fails."""
    asked = [sys.executable, "-c", "from msifr_integrations.cli.entry import run; run()", *command]
    with subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        said = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"msifr {' '.join(command)}: {said}")
    return usage.ru_maxrss * 1024


def main() -> int:
    """Run the benchmark."""
    about = str(__doc__).format(PROMPTS=PROMPTS, WATCHED=WATCHED, FEW=FEW, MANY=MANY, MINUTES=MINUTES)
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"see that it runs: {QUICK} times smaller")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--save", action="store_true", help="write results/memory.json")
    parser.add_argument("-o", "--out", type=Path, help="write the records to a file")
    parser.add_argument("--part", choices=_PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scale", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        sys.stdout.buffer.write(msgspec.json.encode(made(args.part, args.folder, args.scale)))
        return 0
    scale = QUICK if args.quick else 1
    with TemporaryDirectory() as folder:
        records = environment("msgspec", "numpy")
        records += [Record("prompts", PROMPTS // scale), Record("attempts at each", ATTEMPTS)]
        records += [*runs(Path(folder), scale), *readers(Path(folder), scale)]
    print_records(records, args.json)
    if args.save:
        save_records(records, "memory")
    if args.out:
        write_records(records, args.out)
    return int(any(record.ok is False for record in records))


if __name__ == "__main__":
    sys.exit(main())
