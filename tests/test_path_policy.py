"""Paths of nested policies: live, on tables and in files a level does the same, and `first` tells of all of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from makers import make_table, make_traces
from msifr_calibration.autopilot.fit_levels import fit_best_levels, fit_levels, promised
from msifr_calibration.nested import NEVER, nested
from msifr_calibration.options import FitOptions
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.history import with_history
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.path_policy import PathFile, PathPolicy
from msifr_policy.policy import Action
from msifr_policy.records.traces import Trace
from msifr_policy.validators import default_validators

OPTIONS = FitOptions(max_false_reject=0.1, method="logistic")


@pytest.fixture(scope="module")
def path() -> PathFile:
    return fit_levels(make_table(150, attempts=2, seed=1), OPTIONS)


def pieces(text: str, rng: np.random.Generator) -> list[str]:
    cuts = np.unique(rng.integers(0, len(text) + 1, 6)).tolist()
    return [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def whole(path: PathFile, level: int | None, trace: Trace, rng: np.random.Generator) -> tuple[int, int | None]:
    """Run a whole attempt at a level: its first level, and the checkpoint of the first decision to discard it."""
    run = path.policy(level).start(trace.prompt)
    decisions = [run.begin(), *(run.feed(piece) for piece in pieces(trace.text, rng))]
    stops = [d.k for d in decisions if d is not None and d.action is Action.DISCARD]
    assert run.failures == {}
    return run.first, stops[0] if stops else None


def test_live_runs_tell_of_all_levels_what_tables_tell(path: PathFile) -> None:
    traces, rng = make_traces(24, attempts=2, seed=2), np.random.default_rng(0)
    table = build_evidence(traces, EveryUnits(20, "characters"), default_validators())
    M, worth = path.beliefs.worth(table.k, table.values)
    thresholds = np.asarray(path.thresholds)
    first = nested(table, M, worth, thresholds).first
    by_id = dict(zip(table.attempt_ids, np.where(first == NEVER, path.n_levels, first).tolist(), strict=True))
    assert len(set(by_id.values())) > 5
    for level in (None, path.n_levels // 2):
        stops = {} if level is None else dict(
            zip(table.attempt_ids, table.stops(worth, thresholds[level]).tolist(), strict=True)
        )  # fmt: skip
        for trace in traces:
            seen, stop = whole(path, level, trace, rng)
            assert seen == by_id[trace.id]
            row = stops.get(trace.id, -1)
            assert stop == (None if row < 0 else int(table.k[row]))
            assert (stop is not None) == (level is not None and seen <= level)


def test_a_level_discards_below_its_threshold_and_not_at_it() -> None:
    acting: Any = SimpleNamespace(reads_history=False)
    policy = PathPolicy(acting, np.array([[0.1, 0.3], [0.2, 0.3], [0.2, 0.5]]))
    assert [policy.first(0, worth) for worth in (0.05, 0.1, 0.15, 0.2, 0.9)] == [0, 1, 1, 3, 3]
    assert [policy.first(k, 0.3) for k in (1, 2, 9)] == [2, 2, 2]
    assert policy.first(1, 0.29) == 0


def test_all_checkpoints_are_looked_at_after_a_would_be_discard(path: PathFile) -> None:
    loop = next(t for t in make_traces(60, seed=3) if len(t.text) > 400)
    run = path.policy(path.n_levels - 1).start(loop.prompt)
    run.begin()
    decision = run.feed(loop.text)
    assert decision is not None
    assert decision.action is Action.DISCARD
    assert len(run.posteriors) == 1 + len(loop.text) // 20 > decision.k + 1


def test_levels_are_few_nested_and_well_apart(path: PathFile) -> None:
    assert 5 < path.n_levels <= 40
    thresholds = np.asarray(path.thresholds)
    assert (np.diff(thresholds, axis=0) >= 0).all()
    saved = [level.saving_rate for level in path.levels]
    assert saved == sorted(saved)
    assert len(set(saved)) == len(saved)
    assert max(level.false_reject_rate for level in path.levels) <= 0.2
    assert 1 < fit_levels(make_table(150, attempts=2, seed=1), OPTIONS, most_levels=4).n_levels <= 5
    for level in path.levels:
        assert level.mean_root is not None
        assert 0 < level.mean_root < 1
        factor = (1 - level.saving_rate) / (1 - level.false_reject_rate)
        assert level.net_cost_factor == pytest.approx(factor)


def test_the_same_attempts_give_the_same_path_in_any_order(path: PathFile) -> None:
    traces = make_traces(150, attempts=2, seed=1)
    shuffled = [traces[i] for i in np.random.default_rng(5).permutation(len(traces))]
    table = build_evidence(shuffled, EveryUnits(20, "characters"), default_validators())
    assert msgspec.json.encode(fit_levels(table, OPTIONS)) == msgspec.json.encode(path)


def test_a_file_that_was_written_is_read_as_it_was(path: PathFile, tmp_path) -> None:
    path.save(tmp_path / "path.json")
    read = PathFile.load(tmp_path / "path.json")
    assert read == path
    assert read.policy(3).fingerprint == path.policy(3).fingerprint != path.policy(4).fingerprint


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema_version": 2}, "schema version 2, this release reads 1"),
        ({"levels": []}, "levels differ in their number"),
        ({"thresholds": [[0.5, 0.5], [0.5, 0.4]]}, "lower threshold than the level before"),
        ({"thresholds": [[], []]}, "no thresholds"),
        ({"validators": []}, "the columns of the beliefs"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(path: PathFile, tmp_path, change, reason) -> None:
    few = msgspec.structs.replace(path, thresholds=path.thresholds[:2], levels=path.levels[:2])
    (tmp_path / "path.json").write_bytes(msgspec.json.encode(msgspec.to_builtins(few) | change))
    with pytest.raises(InputError, match=reason):
        PathFile.load(tmp_path / "path.json")


def test_what_is_no_nested_path_is_refused(path: PathFile) -> None:
    with pytest.raises(InputError, match="level 99 is none"):
        path.policy(99)
    with pytest.raises(InputError, match="level -1 is none"):
        path.policy(-1)
    with pytest.raises(InputError, match="not nested"):
        fit_levels(with_history(make_table(60, attempts=2)), OPTIONS)
    with pytest.raises(InputError, match="not nested"):
        fit_levels(make_table(60, attempts=2), FitOptions(accepted_per_prompt=1))
    reading: Any = SimpleNamespace(reads_history=True)
    with pytest.raises(InputError, match="not nested"):
        PathPolicy(reading, np.zeros((1, 1)))


def test_of_several_schedules_the_one_that_promises_most_is_taken(path: PathFile) -> None:
    traces = make_traces(150, attempts=2, seed=1)
    late = build_evidence(traces, EveryUnits(400, "characters"), default_validators())
    by_late = fit_levels(late, OPTIONS)
    assert promised(by_late, 0.1) < promised(path, 0.1)
    table = make_table(150, attempts=2, seed=1)
    assert fit_best_levels([late, table], OPTIONS) == path
    assert fit_best_levels([late], OPTIONS) == by_late
    with pytest.raises(InputError, match="no tables"):
        fit_best_levels([], OPTIONS)


def test_where_nothing_pays_there_are_no_levels() -> None:
    table = make_table(60, accept=1.0, loop=0.0)
    path = fit_levels(table, OPTIONS)
    assert path.n_levels == 0
    run = path.policy(None).start("How many?")
    run.feed("She has 5 and gets 2: 5+2=9.\n" * 9)
    assert run.first == 0
