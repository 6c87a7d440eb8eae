"""The benchmark for GPUs runs on a CPU too: the same code with tiny shapes, all but the graphs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "benchmarks").exists():
    pytest.skip("the benchmarks are in the source tree only", allow_module_level=True)

from benchmarks import gpu  # noqa: E402 - not without benchmarks
from benchmarks._records import Record  # noqa: E402
from benchmarks.engine import limits_of  # noqa: E402

# What must hold on any machine, however fast; all other targets are those of a GPU.
TRUE_ANYWHERE = (
    "why it cannot run in slots",
    "all numbers after a padded prefill",
    "logits after it, off float32",
    "no token after a decision, each as recorded",
    "validator failures",
    "the same tokens from all of them, and eagerly",
    "CUDA graphs of a model, of one that asks",
    "float32, B=2 survivors with the same tokens",
)


def test_it_runs_from_a_bare_tree_and_keeps_what_it_prints(tmp_path: Path) -> None:
    kept = tmp_path / "gpu.json"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OUT")}
    done = subprocess.run(
        ["bash", "benchmarks/gpu.sh", "--tiny"],  # noqa: S607 - as one would call it
        cwd=ROOT, env=environment | {"PYTHON": sys.executable, "OUT": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    records = json.loads(done.stdout)
    assert records == json.loads(kept.read_bytes())
    failed = [record for record in records if record["metric"].endswith(": failed")]
    assert not failed
    for words in TRUE_ANYWHERE:
        found = [record for record in records if words in record["metric"]]
        assert found, words
        assert all(record["ok"] is True for record in found), found
    for words in ("conversion efficiency", "floor over eager step", "speed under the policy", "policy and validators"):
        assert any(words in record["metric"] for record in records), words


def test_traces_of_one_s_own_are_forced_as_they_are(tmp_path: Path) -> None:
    texts = ["2 + 3 = 5.\n#### 5", "Ünïcode → ✓\n" * 3, "x"]
    lines = [
        json.dumps({"id": f"a{i}", "prompt_id": "p", "prompt": "How much?", "text": text, "correct": True})
        for i, text in enumerate(texts)
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    work = gpu.recorded_work(str(tmp_path), 512, 5, 1000)
    assert [work.tokenizer.decode(work.tokens[str(i)]) for i in range(5)] == [*texts, *texts[:2]]
    assert [attempt.max_new_tokens for attempt in work.attempts] == [len(work.tokens[str(i)]) for i in range(5)]
    short = gpu.recorded_work(str(tmp_path), 512, 3, 4)
    assert [len(tokens) for tokens in short.tokens.values()] == [4, 4, 1]


def test_every_other_attempt_is_discarded_after_three_tenths() -> None:
    assert limits_of({"a": 10, "b": 10, "c": 101, "d": 1, "e": 1}) == {"a": 3, "c": 30, "e": 1}


def test_a_part_does_not_count_the_parts_inside_it() -> None:
    now = [100.0]

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    parts = gpu.Parts(lambda: now[0])
    inner = parts.timed(pass_time, "inner")

    def outer() -> None:
        pass_time(1)
        inner(20)
        pass_time(2)
        inner(30)
        raise ValueError("over")

    pass_time(400)
    with pytest.raises(ValueError, match="over"):
        parts.timed(outer, "outer")()
    pass_time(5)
    assert parts.switch("end") == "other"  # also after an exception
    assert parts.seconds == {"other": 405, "outer": 3, "inner": 50}


def test_what_fails_is_recorded_and_what_came_before_is_kept() -> None:
    def breaks() -> Iterator[Record]:
        yield Record("before", 1.0)
        raise RuntimeError("no such kernel")

    before, failed, took = gpu.guarded("a section", 60, breaks)
    assert before == Record("before", 1.0)
    assert failed == Record("a section: failed", "RuntimeError: no such kernel", ok=False)
    assert took.metric == "a section: took"


def test_a_section_that_takes_too_long_is_ended() -> None:
    def hangs() -> Iterator[Record]:
        yield Record("before", 1.0)
        time.sleep(60)

    started = time.perf_counter()
    _, failed, _ = gpu.guarded("a section", 0.2, hangs)
    assert time.perf_counter() - started < 10
    assert failed.metric == "a section: failed"
    assert "TimeoutError" in str(failed.value)
    time.sleep(0.3)  # no alarm is left behind
