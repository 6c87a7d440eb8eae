"""The benchmark of certificates that live runs, and notices a run that is not what it should be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if not (Path(__file__).parents[1] / "benchmarks").exists():
    pytest.skip("the benchmarks are in the source tree only", allow_module_level=True)

from benchmarks import _kills, live
from benchmarks._embedded_life import _Levels
from benchmarks._exchanged_model import Exchanged
from benchmarks._sums import Sums
from msifr_integrations.engine.base import Attempt, Notice, stream_key

ROOT = Path(__file__).parents[1]
SMALL = _kills.Kind("small", {}, prompts=12)


@pytest.mark.timeout(900)
def test_it_runs_and_keeps_what_it_prints(tmp_path: Path) -> None:
    kept = tmp_path / "live.json"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "benchmarks.live", "--quick", "--json", "-o", str(kept)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = {record["metric"]: record for record in json.loads(done.stdout.splitlines()[-1])}
    assert list(records.values()) == json.loads(kept.read_bytes())
    assert not [metric for metric, record in records.items() if record["ok"] is False]
    for part in live.ALL:
        assert records[f"{part}: processor time"]["value"] > 0
    for metric in (
        "violated lives of",
        "alarm at δ = 5%",
        "overthinking, both over the better alone",
        "embedded autopilot: tokens per accepted, change",
        "exchanged model: f of the policy there",
        "killed, autopilot: runs that differ in the end",
        "killed, embedded model, forced answers recorded: runs that differ in the end",
    ):
        assert any(name.startswith(metric) for name in records), metric
    assert records["embedded autopilot: survivors that differ"]["ok"] is True
    assert records["killed: times in all"]["value"] >= 5


def test_a_part_that_fails_is_a_record(tmp_path: Path) -> None:
    (record,) = live.run("embedded, compared", ["--folder", str(tmp_path), "--full", str(tmp_path / "none.jsonl")])
    assert record.metric == "embedded, compared: failed"
    assert record.ok is False
    assert "autopilot.ledger.jsonl: cannot be read" in str(record.value)


@pytest.fixture(scope="module")
def never(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never killed; tests only read it."""
    out = tmp_path_factory.mktemp("never") / "out.jsonl"
    SMALL.run(out)
    return out


@pytest.mark.parametrize("what", ["text", "verdict", "another", "twice", "file"])
def test_a_run_that_differs_is_noticed(never: Path, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out.jsonl"
    SMALL.run(out)
    assert _kills.same(out, never)
    lines = out.read_text().splitlines(keepends=True)
    ledger = out.with_name("out.ledger.jsonl")
    if what == "text":
        out.write_text("".join([lines[0].replace("=", "-"), *lines[1:]]))
    elif what == "verdict":
        told = ledger.read_text()
        ledger.write_text(told.replace('"accepted"', '"unaccepted"', 1))
    elif what == "another":
        out.write_text("".join(lines[1:]))
    elif what == "twice":
        out.write_text("".join([*lines, lines[0]]))
    else:
        (tmp_path / "out.policy.json").write_text("{}")
    assert not _kills.same(out, never)


def test_runs_that_are_killed_are_started_again_until_they_end(never: Path, tmp_path: Path) -> None:
    wrong: list[Path] = []

    def right(out: Path) -> bool:
        wrong.append(out)
        return _kills.same(out, never)

    found = _kills.kill(
        lambda out: _kills.forked(SMALL, out), right, 0.2, 3, np.random.default_rng(0), tmp_path
    )  # fmt: skip
    assert found.kills == 3
    assert found.runs == len(wrong) >= 1
    assert found.other == 0


def test_a_goal_is_met_exactly(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole" / "out.jsonl", tmp_path / "some" / "out.jsonl"
    for folder in (whole.parent, out.parent):
        folder.mkdir()
    SMALL.run(whole)
    SMALL._replace(options={"accepted": 5}).run(out)
    assert _kills.meets_goal(out, whole, 5)
    assert not _kills.meets_goal(out, whole, 4)
    assert not _kills.meets_goal(whole, whole, 5)


def test_what_a_level_would_have_saved_from_a_prompt_on() -> None:
    """Two prompts of 10 tokens with two good samples each, behind a shadow of 20 tokens with 4: by hand."""
    full, good = np.array([10.0, 10.0]), np.array([2.0, 2.0])
    levels = _Levels(
        np.array([[10.0, 4.0], [8.0, 2.0]]), np.array([[0.0, 0.0], [0.0, 1.0]]), full, good, np.zeros((2, 2))
    )
    assert levels.change(0, 0, (0.0, 0.0)) == pytest.approx(18 / 4 / (20 / 4) - 1)
    assert levels.change(1, 0, (0.0, 0.0)) == pytest.approx(6 / 3 / (20 / 4) - 1)
    assert levels.change(1, 1, (20.0, 4.0)) == pytest.approx((20 + 10 + 2) / 7 / (40 / 8) - 1)
    assert levels.change(1, 2, (20.0, 4.0)) == 0


def test_from_a_prompt_on_attempts_are_the_other_engines() -> None:
    given = [Attempt(f"q{i}/0/0", "p", stream_key(0, f"q{i}", 0), 9) for i in range(4)]
    places = {f"q{i}": i for i in range(4)}
    whole: dict[str, str] = {attempt.id: "" for attempt in given}
    one, other = (Sums(2, places, swap, None) for swap in (None, 0))
    engine = Exchanged(one, other, lambda name: places[name.partition("/")[0]] >= 2)
    waiting = [given[2], given[1], given[3]]  # to and fro

    def take(notices: Any) -> None:
        for notice in notices:
            whole[notice.id] += notice.text
            if notice.finish and waiting:
                engine.submit(waiting.pop(0))

    engine.submit(given[0])
    engine.drain(take)
    for swap, attempts in ((None, given[:2]), (0, given[2:])):
        for attempt in attempts:
            alone, texts = Sums(1, places, swap, None), list[Notice]()
            alone.submit(attempt)
            alone.drain(texts.extend)
            assert whole[attempt.id] == "".join(each.text for each in texts)  # type: ignore[union-attr, misc]
