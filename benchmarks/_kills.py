"""Runs that are killed at random moments and started again, beside the same runs that never were.

A run is a process of its own and is ended by SIGKILL, at a moment drawn evenly from the first 60 % of its time, or, on
the command line, from what follows its imports. So most runs are cut off several times, when they read what is there,
fit, steer, generate or write. Then they are started again with the same options. What is in the files in the end has to
be what a run that was never killed leaves: each attempt's record byte by byte, each account but for its times, each
decision in its order, and the files of paths and policies byte by byte. (The order of lines is that in which attempts
end, and those that a kill cut off end later.)

Where a goal ends the run, which attempts are in it depends on timing; there the number of accepted samples has to be
the one asked for, attempts those of a run to the end, and the account that of the output.

Most runs have an engine of plain text that takes no time, whose model is another one from some prompt on, so that
alarms, and what comes after them, are among what is cut off. The others are the embedded model on the command line.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import numpy as np

from benchmarks._embedded_life import prompts
from benchmarks._exchanged_model import certified_policy
from benchmarks._records import Record
from benchmarks._sums import Sums
from msifr_integrations.generation import generate as generating
from msifr_integrations.generation.autopilot import in_drawn_order
from msifr_integrations.generation.engines import Opened
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.options import AutopilotOptions, GenerateOptions
from msifr_policy.evidence.exits import ExitPlan
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.filters import Prompt
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import read_ledger
from msifr_policy.validators import Arithmetic, Length

KILLS, EMBEDDED_KILLS, INTERRUPTS = 11, 5, 5
"""Kills of each kind of run: four kinds of sums, two of the embedded model; and interrupts."""
EARLY, IMPORTED = (0.0, 0.6), (0.4, 0.95)
"""Between which shares of a run's time it is killed: one that is forked, and one that imports torch first."""
FORK = multiprocessing.get_context("fork")  # a child begins where its parent is: nothing is imported again
N, QUICK = 700, 160
PROMPTS = [Prompt(prompt_id=f"q{i}", prompt=f"Add up {i}", gold="1") for i in range(N)]
DRAWN = {prompt.prompt_id: place for place, prompt in enumerate(in_drawn_order(PROMPTS, 0))}
TIMES = ": times"
PROMISE = AutopilotOptions(max_false_reject=0.1, validators=(Arithmetic(), Length()))
EXITS = ExitPlan(schedule=NewlineSteps(), every=2, prompt="####", tokens=4)
EMBEDDED_PROMPTS, EMBEDDED_SEED = 16, 505


def records(folder: Path, quick: bool = False) -> Iterator[Record]:
    """Yield all records; `quick` with few prompts and one kill of each kind but one, to see that it works."""
    kills = 0
    parts = (
        of_sums(1 if quick else KILLS, 1 if quick else INTERRUPTS, folder / "sums", quick),
        of_embedded(1 if quick else EMBEDDED_KILLS, folder / "embedded", quick),
    )
    for record in (record for part in parts for record in part):
        kills += int(record.value) if record.metric.endswith(TIMES) else 0
        yield record
    yield Record("killed: times in all", float(kills), "", ">= 50", ok=kills >= 50)


class Kind(NamedTuple):
    """A run of the engine of sums: its name, options, policy; from which prompt on its model is another; its size."""

    name: str
    options: dict[str, Any]
    policy: Callable[[], Any] = lambda: None
    swap: int | None = None
    prompts: int = N

    def run(self, out: Path, dies: int | None = None) -> None:
        """Make the run, or go on with it."""
        places = DRAWN if "autopilot" in self.options else {each.prompt_id: i for i, each in enumerate(PROMPTS)}

        @contextmanager
        def opened(*_: Any) -> Iterator[Opened]:
            engine = Sums(16, places, self.swap, dies)
            yield Opened(engine, lambda prompt: prompt.prompt, {"engine": "sums", "chat": False})

        options = GenerateOptions(**{"attempts": 2, "slots": 16, "max_new_tokens": 50} | self.options)
        with patch.object(generating, "open_engine", opened):
            generate("sums", PROMPTS[: self.prompts], self.policy(), out, options, tell=lambda _: None)


class Files(NamedTuple):
    """What a run leaves, without times and in the order of ids."""

    records: dict[str, bytes]
    accounts: dict[str, Any]
    settings: dict[str, Any]
    steers: list[Any]
    others: dict[str, bytes]

    @classmethod
    def of(cls, out: Path) -> Files:
        """Read them; raises `ValueError` where an attempt is there twice."""
        lines = out.read_bytes().splitlines()
        ledger = read_ledger(ledger_path(out))
        made = {json.loads(line)["id"]: line for line in lines}
        timeless = {e.id: msgspec.structs.replace(e, seconds=0.0, cpu_seconds=0.0) for e in ledger.entries}
        if not len(lines) == len(made) == len(timeless) == len(ledger.entries):
            raise ValueError(f"{out}: attempts are there twice, or have no account")
        jsonl = {out.name, ledger_path(out).name}
        others = {path.name: path.read_bytes() for path in out.parent.iterdir() if path.name not in jsonl}
        return cls(made, timeless, ledger.settings, ledger.steers, others)


def same(out: Path, never: Path) -> bool:
    """Return whether a run left what the one that was never killed did."""
    try:
        return Files.of(out) == Files.of(never)
    except ValueError:
        return False


def meets_goal(out: Path, whole: Path, accepted: int) -> bool:
    """Return whether a run has just so many accepted samples, all its attempts are right, and the account is theirs."""
    some, full = Files.of(out), Files.of(whole)
    told = [entry.outcome for entry in some.accounts.values()].count("accepted")
    written = sum(json.loads(line).get("correct", False) for line in some.records.values())
    tokens = {name: json.loads(line)["tokens"] for name, line in some.records.items()}
    return (
        told == written == accepted
        and some.records.keys() == some.accounts.keys()
        and all(full.records[name] == line for name, line in some.records.items())
        and all(entry.tokens == tokens[name] for name, entry in some.accounts.items())
    )


class Killed(NamedTuple):
    """What came of runs of a kind: kills, those that left something written, runs, those that differ in the end."""

    kills: int
    amid: int
    runs: int
    other: int


def kill(
    start: Callable[[Path], Any],
    right: Callable[[Path], bool],
    seconds: float,
    kills: int,
    rng: np.random.Generator,
    folder: Path,
    when: tuple[float, float] = EARLY,
) -> Killed:
    """Kill runs so many times in all; each is started again until it is finished, and then looked at.

    start: begins the run in a process that can be killed and waited for. seconds: that the whole run takes; when:
    between which shares of them kills come.
    """  # fmt: skip
    done = amid = runs = other = 0
    while done < kills:
        out = folder / str(runs) / "out.jsonl"
        out.parent.mkdir(parents=True)
        while True:
            process = start(out)
            if done < kills:
                time.sleep(seconds * float(rng.uniform(*when)))
                process.kill()
            code = _ended(process)
            if code == 0:
                break
            if code != -signal.SIGKILL:
                raise RuntimeError(f"a run that was started again ended with {code}")
            done += 1
            amid += out.exists()
        runs += 1
        other += not right(out)
    return Killed(done, amid, runs, other)


def _ended(process: Any) -> int:
    """Return how a process ended, when it has."""
    if isinstance(process, subprocess.Popen):
        return process.wait()
    process.join()
    code: int = process.exitcode
    return code


def forked(kind: Kind, out: Path) -> Any:
    """Begin a run in a child of this process."""
    process = FORK.Process(target=kind.run, args=(out,))
    process.start()
    return process


def timed(start: Callable[[Path], Any], out: Path) -> float:
    """Make a run that is never killed; return its seconds."""
    out.parent.mkdir(parents=True)
    began = time.perf_counter()
    if (code := _ended(start(out))) != 0:
        raise RuntimeError(f"a run ended with {code}")
    return time.perf_counter() - began


def of_sums(kills: int, interrupts: int, folder: Path, quick: bool) -> Iterator[Record]:
    """Yield what came of runs on the engine of sums, `kills` of each kind."""
    n = QUICK if quick else N
    autopilot = Kind("autopilot", {"autopilot": PROMISE, "audit": 0.25}, swap=n // 2, prompts=n)
    kinds = [
        autopilot,
        Kind("forced answers recorded", {"record_exits": EXITS}, prompts=n),
        Kind("goal of accepted samples", {"accepted": n // 2}, prompts=n),
    ]
    if not quick:  # so few prompts certify nothing
        kinds.append(Kind("audited, with a monitor", {"audit": 0.25}, left_policy(autopilot, folder), n // 2, n))
    rng = np.random.default_rng(1)
    for kind in kinds:
        here = folder / kind.name
        never = here / "never" / "out.jsonl"
        seconds = timed(partial(forked, kind), never)
        right = partial(same, never=never)
        if "accepted" in kind.options:
            whole = here / "whole" / "out.jsonl"
            timed(partial(forked, kind._replace(options={})), whole)
            right = partial(meets_goal, whole=whole, accepted=kind.options["accepted"])
        found = kill(partial(forked, kind), right, seconds, kills, rng, here)
        yield from _records(kind.name, found)
        if kind.swap is not None:
            alarms = sum("alarm" in f"{steer.phase} {steer.note}" for steer in Files.of(never).steers)
            yield Record(f"killed, {kind.name}: alarms in the run", float(alarms), "", ">= 1", ok=alarms >= 1)
    never = folder / autopilot.name / "never" / "out.jsonl"
    yield from _records("autopilot, interrupted", interrupted(autopilot, never, interrupts, rng, folder / "interrupts"))


def left_policy(autopilot: Kind, folder: Path) -> Callable[[], Any]:
    """Return what loads the policy that an autopilot leaves where the model stays the same."""
    out = folder / "policy" / "out.jsonl"
    timed(partial(forked, autopilot._replace(swap=None)), out)
    return PolicyFile.load(out.with_name("out.policy.json")).policy


def interrupted(kind: Kind, never: Path, interrupts: int, rng: np.random.Generator, folder: Path) -> Killed:
    """Interrupt runs in this very process, as Ctrl-C does, at random steps; then go on to the end."""
    done = amid = runs = other = 0
    while done < interrupts:
        out = folder / str(runs) / "out.jsonl"
        out.parent.mkdir(parents=True)
        while True:
            try:
                # A step is a line of each slot, so that a run has about as many steps as prompts.
                kind.run(out, int(rng.integers(kind.prompts // 2)) if done < interrupts else None)
                break
            except KeyboardInterrupt:
                done += 1
                amid += out.exists()
        runs += 1
        other += not same(out, never)
    return Killed(done, amid, runs, other)


def of_embedded(kills: int, folder: Path, quick: bool) -> Iterator[Record]:
    """Yield what came of runs of the embedded model on the command line, `kills` of each kind."""
    folder.mkdir(parents=True)
    asked, policy = folder / "prompts.jsonl", folder / "policy.json"
    given = prompts(EMBEDDED_PROMPTS // (4 if quick else 1), EMBEDDED_SEED)
    asked.write_bytes(b"".join(msgspec.json.encode(prompt) + b"\n" for prompt in given))
    exits: tuple[str, ...] = ("--policy", "none", "--record-exits", "newline", "--exit-every", "2")
    kinds = {"embedded model, forced answers recorded": (*exits, "--exit-prompt", "####")}
    if not quick:
        certified_policy().save(policy)
        kinds["embedded model, audited"] = ("--policy", str(policy), "--audit", "0.25")
    rng = np.random.default_rng(2)
    for name, options in kinds.items():
        start = partial(on_the_command_line, asked, options)
        never = folder / name / "never" / "out.jsonl"
        seconds = timed(start, never)
        found = kill(start, partial(same, never=never), seconds, kills, rng, folder / name, IMPORTED)
        yield from _records(name, found)


def on_the_command_line(asked: Path, options: Sequence[str], out: Path) -> subprocess.Popen[bytes]:
    """Begin `msifr generate` with the embedded model."""
    program = "from msifr_integrations.cli.entry import run; run()"
    always = ("--model", "embedded", "--prompts", str(asked), "--max-new-tokens", "200", "--slots", "4")
    command = [sys.executable, "-c", program, "generate", *always, *options, "--json", "-o", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603


def _records(name: str, found: Killed) -> Iterator[Record]:
    yield Record(f"killed, {name}{TIMES}", float(found.kills), f"{found.amid} amid attempts, {found.runs} runs")
    yield Record(f"killed, {name}: runs that differ in the end", float(found.other), "", "0", ok=found.other == 0)
