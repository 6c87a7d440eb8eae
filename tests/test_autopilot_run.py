"""Runs with an autopilot, end to end, on an engine whose texts are sums: where one is wrong, so is the answer."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

import letters
from msifr_integrations.engine.base import Attempt, Event
from msifr_integrations.generation import generate as generating
from msifr_integrations.generation.autopilot import in_drawn_order
from msifr_integrations.generation.engines import Opened
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.options import AutopilotOptions, GenerateOptions
from msifr_integrations.generation.result import Result
from msifr_policy.errors import InputError
from msifr_policy.evidence.exits import ExitPlan
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.filters import Prompt
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.ledger import read_ledger
from msifr_policy.validators import Arithmetic, History, Length

LINES = 8


def sums(key: bytes, *, swapped: bool = False) -> list[str]:
    """The lines of an attempt. A wrong sum makes a wrong answer nearly always, but means nothing to another model."""
    draw = random.Random(key)  # noqa: S311
    lines, wrong = [], False
    for _ in range(draw.randint(LINES - 3, LINES)):
        a, b = draw.randint(2, 60), draw.randint(2, 60)
        slip = draw.random() < (0.3 if swapped else 0.12)
        wrong |= slip
        lines.append(f"{a} + {b} = {a + b + (draw.randint(1, 9) if slip else 0)}\n")
    right = draw.random() < (0.8 if swapped else 0.04 if wrong else 0.85)
    return [*lines, f"#### {int(right)}"]


class Sums(letters.Letters):
    """A line a step; another model from the attempt on that is the `swap`-th to be submitted."""

    swap: int | None = None

    def drain(self, take: Any) -> None:
        while self.queue or self.rows:
            while self.queue and len(self.rows) < self.slots:
                attempt = self.queue.pop(0)
                self.rows[attempt.id] = self.lines(attempt), 0  # type: ignore[assignment]
            if self.dies is not None and len(self.busy) >= self.dies:
                raise KeyboardInterrupt
            self.busy.append(len(self.rows))
            take([self.step(name) for name in list(self.rows)])

    def lines(self, attempt: Attempt) -> list[str]:
        swapped = self.swap is not None and PLACES[attempt.id.partition("/")[0]] >= self.swap
        return sums(attempt.key, swapped=swapped)

    def step(self, name: str) -> Event:
        lines, done = self.rows[name]
        self.rows[name] = lines, done + 1
        last = done + 1 == len(lines)
        if last:
            del self.rows[name]
        return Event(name, -1, -1.0, -1.0, "end" if last else "", lines[done])


N = 700
PROMPTS = [Prompt(prompt_id=f"q{i}", prompt=f"Add up {i}", gold="1") for i in range(N)]
PLACES = {prompt.prompt_id: place for place, prompt in enumerate(in_drawn_order(PROMPTS, 0))}
PROMISE = AutopilotOptions(max_false_reject=0.1, confidence=0.9, validators=(Arithmetic(), Length()))


def run(out: Path, *, prompts: Any = None, autopilot: AutopilotOptions | None = PROMISE, **how: Any) -> Result:
    """Run `generate` on the engine of sums."""
    slots = how.pop("at_once", 16)
    dies, swap, tell = how.pop("dies", None), how.pop("swap", None), how.pop("tell", lambda _: None)
    progress = how.pop("progress", None)

    @contextmanager
    def opened(*_: Any) -> Iterator[Opened]:
        engine = Sums(slots, dies=dies)
        engine.swap = swap
        yield Opened(engine, lambda prompt: prompt.prompt, {"engine": "sums", "chat": False})  # type: ignore[arg-type]

    options = GenerateOptions(**{"attempts": 2, "slots": 16, "autopilot": autopilot, "max_new_tokens": 50} | how)
    with patch.object(generating, "open_engine", opened):
        given = PROMPTS if prompts is None else prompts
        return generate("sums", given, None, out, options, tell=tell, progress=progress)


def records(out: Path) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in map(json.loads, out.read_text().splitlines())}


def accounts(out: Path) -> tuple[dict[str, Any], list[Any]]:
    """The entries of a ledger without times, and the decisions."""
    ledger = read_ledger(ledger_path(out))
    timeless = {e.id: msgspec.structs.replace(e, seconds=0.0, cpu_seconds=0.0) for e in ledger.entries}
    return timeless, ledger.steers


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, list[str]]:
    """One whole run; tests only read it."""
    out, said = tmp_path_factory.mktemp("life") / "out.jsonl", list[str]()
    return out, run(out, tell=said.append), said


def test_from_nothing_to_a_certified_policy_that_works(life: tuple[Path, Result, list[str]]) -> None:
    out, result, said = life
    phases = [steer.phase for steer in read_ledger(ledger_path(out)).steers]
    assert phases[:2] == ["shadow", "certifying"]
    assert "discarding" in phases
    assert result.discarded > 100
    report = result.autopilot
    assert not isinstance(report, msgspec.UnsetType)
    assert report.policy == str(out.with_name("out.policy.json"))
    file = PolicyFile.load(report.policy)
    assert file.certificate.certified
    assert file.certificate.max_false_reject == 0.1
    assert file.reference is not None  # a run under it later is held against this
    assert file.reference.n_prompts == file.fitted_on.n_prompts
    assert any("good samples" in line for line in said)
    # What is lost is known here: the texts of discarded attempts go on as their keys say.
    lost = sum(
        sums(generating.stream_key(0, r["prompt_id"], int(r["id"].rpartition("/")[2])))[-1] == "#### 1"
        for r in records(out).values()
        if r["status"] == "discarded"
    )
    assert lost / (lost + result.accepted) < 0.1


def test_progress_says_phase_certificate_and_forecast(tmp_path: Path) -> None:
    said: list[str] = []
    run(tmp_path / "out.jsonl", progress=lambda progress: said.append(progress.steered))
    phases = [line.partition(":")[0].partition(" at ")[0] for line in said]
    assert list(dict.fromkeys(phases)) == ["shadow", "certifying", "discarding"]
    assert "f <= 0.1 certified, so far" in said[-1]
    assert "the whole run is expected to save" in said[-1]


def test_weights_make_up_for_what_is_discarded(life: tuple[Path, Result, list[str]]) -> None:
    out, _, _ = life
    entries = read_ledger(ledger_path(out)).entries
    weights = np.array([e.weight for e in entries if e.outcome == "accepted"])
    whole = sum(sums(generating.stream_key(0, p.prompt_id, a))[-1] == "#### 1" for p in PROMPTS for a in range(2))
    sd = np.sqrt(np.sum(weights * (weights - 1)))  # Horvitz and Thompson's, estimated
    assert abs(weights.sum() - whole) < 4 * max(sd, 20)


def test_neither_slots_nor_the_order_of_the_file_change_what_is_made(
    life: tuple[Path, Result, list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    run(out, prompts=PROMPTS[::-1], at_once=5)
    assert records(out) == records(life[0])
    assert accounts(out) == accounts(life[0])


@pytest.mark.parametrize("seed", range(2))
def test_a_run_that_is_killed_goes_on_as_if_nothing_had_been(
    life: tuple[Path, Result, list[str]], tmp_path: Path, seed: int
) -> None:
    out, draw = tmp_path / "out.jsonl", np.random.default_rng(seed)
    for _ in range(40):
        try:
            run(out, dies=int(draw.integers(1, 200)))
            break
        except KeyboardInterrupt:
            with open(ledger_path(out), "ab") as ledger:  # half a line, as a kill may leave it
                ledger.write(b'{"kind":"att')
    assert records(out) == records(life[0])
    assert accounts(out) == accounts(life[0])
    names = sorted(path.name for path in out.parent.iterdir())
    assert names == ["out.jsonl", "out.ledger.jsonl", "out.path-1.json", "out.policy.json"]
    for name in names[2:]:
        assert (out.parent / name).read_bytes() == (life[0].parent / name).read_bytes()


def test_a_goal_within_a_block_leaves_nothing_that_a_run_that_goes_on_would_take_up(
    life: tuple[Path, Result, list[str]], tmp_path: Path
) -> None:
    """The goal is reached in the block to whose end a path is fitted, when there is already enough to fit to."""
    ledger, out = read_ledger(ledger_path(life[0])), tmp_path / "out.jsonl"
    known = (ledger.steers[1].block - 1) * ledger.settings["block"]
    run(out, accepted=sum(e.outcome == "accepted" for e in ledger.entries if (e.place or 0) < known) - 5)
    assert not list(tmp_path.glob("*.path-*"))
    run(out)
    assert records(out) == records(life[0])
    assert accounts(out) == accounts(life[0])


def test_a_model_that_changes_raises_the_alarm_and_is_left_alone(tmp_path: Path) -> None:
    out, said = tmp_path / "out.jsonl", list[str]()
    result = run(out, swap=300, audit=0.25, tell=said.append)
    assert result.autopilot.state.alarms  # type: ignore[union-attr]
    ledger = read_ledger(ledger_path(out))
    after = [s for s in ledger.steers if "alarm" in s.note]
    assert [s.phase for s in after] == ["shadow"]
    assert any("alarm" in line for line in said)
    size = ledger.settings["block"]
    begins = after[0].block * size
    assert begins > 300
    spared = [e for e in ledger.entries if begins <= (e.place or 0) < begins + 2 * size]
    assert spared
    assert all(e.outcome != "discarded" for e in spared)


def test_a_policy_that_a_goal_left_goes_with_the_alarm(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run(out, swap=400, audit=0.25, accepted=300)
    assert result.autopilot.policy  # type: ignore[union-attr]
    policy = Path(result.autopilot.policy)  # type: ignore[union-attr]
    assert policy.exists()
    with pytest.raises(KeyboardInterrupt):
        run(out, swap=400, audit=0.25, dies=250)
    assert any("alarm" in steer.note for steer in read_ledger(ledger_path(out)).steers)
    assert not policy.exists()


def test_a_finished_run_is_told_again_and_a_fresh_one_forgets_old_paths(
    life: tuple[Path, Result, list[str]], tmp_path: Path
) -> None:
    said: list[str] = []
    again = run(life[0], tell=said.append)
    assert again.autopilot == life[1].autopilot
    assert any("already finished" in line for line in said)
    stale = tmp_path / "new.path-1.json"
    stale.write_text("{}")
    run(tmp_path / "new.jsonl", prompts=PROMPTS[:20])
    assert not stale.exists()


def test_a_run_that_was_renamed_with_its_files_goes_on(life: tuple[Path, Result, list[str]], tmp_path: Path) -> None:
    for file in life[0].parent.glob("*.*"):
        if file.is_file():
            shutil.copy(file, tmp_path / file.name.replace(life[0].stem, "renamed", 1))
    assert (tmp_path / "renamed.path-1.json").exists()
    assert run(tmp_path / "renamed.jsonl").autopilot.state == life[1].autopilot.state


def test_a_policy_file_that_is_there_is_not_lost_to_a_run_that_begins_anew(tmp_path: Path) -> None:
    kept = tmp_path / "new.policy.json"
    kept.write_text("{}")
    with pytest.raises(InputError, match="already there") as refused:
        run(tmp_path / "new.jsonl", prompts=PROMPTS[:20])
    assert refused.value.where == str(kept)
    assert kept.read_text() == "{}"
    kept.unlink()
    run(tmp_path / "new.jsonl", prompts=PROMPTS[:20])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"accepted_per_prompt": 1}, "quota"),
        ({"preview": 10}, "preview"),
        ({"shard": (1, 2)}, "shards"),
        ({"record_exits": ExitPlan(schedule=NewlineSteps())}, "forced answers"),
    ],
)
def test_what_an_autopilot_cannot_do_is_refused(tmp_path: Path, how: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        run(tmp_path / "out.jsonl", **how)
    with pytest.raises(InputError, match="fits its own policy"):
        generate("sums", PROMPTS, letters, tmp_path / "out.jsonl", GenerateOptions(autopilot=PROMISE))  # type: ignore[arg-type]


def test_another_promise_is_another_run(life: tuple[Path, Result, list[str]]) -> None:
    with pytest.raises(InputError, match=r"was begun with autopilot\.max_false_reject = 0\.1, not 0\.05"):
        run(life[0], autopilot=AutopilotOptions(max_false_reject=0.05, validators=PROMISE.validators))


def test_an_autopilot_that_would_read_the_history_is_refused_before_anything_is_paid_for() -> None:
    with pytest.raises(InputError, match="do not read the history"):
        AutopilotOptions(validators=(Arithmetic(), History()))
