"""The benchmark of engines: where time goes adds up, and each part has a floor."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import pytest

if not (Path(__file__).resolve().parents[1] / "benchmarks").exists():
    pytest.skip("the benchmarks are in the source tree only", allow_module_level=True)

from benchmarks import _engine_split
from benchmarks._engine_split import Fitted, Job, converted, fresh_prompts, split
from benchmarks._parts import Parts, timing
from msifr_calibration import fit_policy
from msifr_integrations.embedded import embedded_model_path, embedded_samples_path
from msifr_integrations.generation.inputs import load_model
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.records.traces import find_trace_files, read_traces
from msifr_policy.validators import default_validator


class Clock:
    """Goes on by one second whenever it is read, and by as many as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Work:
    """Work with other work inside."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def outer(self) -> None:
        self.inner()
        self.clock.now += 10
        self.inner()
        self.clock.now += 20

    def inner(self) -> None:
        self.clock.now += 100


def test_parts_count_apart_what_runs_inside_them_and_not_what_timing_them_takes() -> None:
    clock = Clock()
    parts = Parts(clock)
    with timing(parts, [(Work, "outer", "outer"), (Work, "inner", "inner")]):
        parts.clear()
        clock.now += 1000
        Work(clock).outer()
        assert parts.net() == pytest.approx({"other": 1000, "outer": 30, "inner": 200}, abs=1.1)
    before = dict(parts.calls)
    Work(clock).outer()
    assert parts.calls == before  # nothing is timed outside


@pytest.fixture(scope="module")
def job() -> Job:
    model, tokenizer = load_model(embedded_model_path(), dtype="float32")
    return Job(model, tokenizer, fresh_prompts(2), 4, time.process_time)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    (path,) = find_trace_files([embedded_samples_path()])
    table = build_evidence(islice(read_traces(path), 800), NewlineSteps(), [default_validator("arithmetic")])
    fit = fit_policy(table, max_false_reject=0.5, confidence=0.5, history=False, seed=0)
    return Fitted(fit.file.policy(), fit.certifying)


def test_the_parts_of_a_run_sum_to_all_of_it_and_each_has_a_floor(job: Job, fitted: Fitted) -> None:
    values = {one.metric.removeprefix("B=4 steps: "): one.value for one in split(job, "steps", fitted)}
    whole = values.pop("microseconds a token, all of it")
    del values["prompt tokens computed"]
    parts = {name: value for name, value in values.items() if not name.endswith(", at least")}
    assert set(parts) == {part for _, _, part in _engine_split.PARTS} | {_engine_split.RUN}
    assert sum(parts.values()) == pytest.approx(whole)
    floors = {name.removesuffix(", at least"): value for name, value in values.items() if name not in parts}
    assert floors.keys() == parts.keys()
    assert all(0 < floors[name] < 2 * parts[name] for name in parts), (parts, floors)


def test_a_run_is_compared_with_the_one_without_a_policy(job: Job, fitted: Fitted) -> None:
    values = {one.metric: one.value for one in converted(job, {"steps": fitted}, repeats=1)}
    under = "B=4 policy with steps:"
    assert 0 < values[f"{under} token saving"] < 1
    assert values[f"{under} the same, each pair of runs"] == f"{values[f'{under} conversion efficiency']:.2f}"
    assert values[f"{under} the same, prompts priced"] != values[f"{under} conversion efficiency"]
