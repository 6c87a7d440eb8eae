"""One whole run of the embedded model with an autopilot, from nothing, beside the same seeds without a policy.

Both make 4 attempts at the same 3,000 prompts, side by side on a core each. The run without shows what each discarded
attempt would have come to, so what is lost is counted, and no estimate. Tokens are all that were sampled: those of the
shadow and of audited attempts too. Times are processor seconds of a run's own process.

What is possible is said beside it, by what the levels of the run's own path do to the run without a policy: the best
level within the budget, in hindsight, and the best that can be done by a run to which every attempt is shown to its end
for nothing, and which puts a certified level to work at the moment that is best in hindsight.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import _recorded_life
from benchmarks._records import Record
from msifr_calibration.autopilot.course import BLOCKS_AHEAD, PilotOptions
from msifr_calibration.autopilot.level_tests import LevelTests, delta_of, level_scores
from msifr_calibration.nested import nested
from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path, problems
from msifr_integrations.generation.autopilot import in_drawn_order
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.options import AutopilotOptions, GenerateOptions
from msifr_integrations.generation.paired import pair_runs
from msifr_integrations.generation.result import conversion_efficiency
from msifr_integrations.generation.steering import block_size
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps, auto_schedule
from msifr_policy.filters import Prompt
from msifr_policy.path_policy import PathFile
from msifr_policy.records.ledger import Ledger, Totals, read_ledger, total
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import default_validators, make_validator
from msifr_sim import summarise

Array = NDArray[np.float64]

PROMPTS, ATTEMPTS, SLOTS = 3000, 4, 32
QUICK_PROMPTS = 16
LEAST_SAVED = 0.20
SEED = 303
OPTIONS = GenerateOptions(attempts=ATTEMPTS, slots=SLOTS, max_new_tokens=200, model_name=EMBEDDED_MODEL)
PROMISE = AutopilotOptions()


def prompts(n: int, seed: int = SEED) -> list[Prompt]:
    """Return n distinct problems."""
    drawn = {one.prompt_id: one.as_prompt() for one in problems(seed, 2 * n + 1000)}
    return list(drawn.values())[:n]


def prompts_of(quick: bool) -> int:
    """Return how many prompts the runs have."""
    return QUICK_PROMPTS if quick else PROMPTS


def make(out: Path, n: int, *, autopilot: bool) -> None:
    """Make the attempts at n prompts, with an autopilot or without a policy."""
    model, tokenizer = load_model(embedded_model_path(), dtype="float32")
    options = msgspec.structs.replace(OPTIONS, autopilot=PROMISE if autopilot else None)
    generate(model, prompts(n), None, out, options, tokenizer=tokenizer)


def records(out: Path, full: Path) -> Iterator[Record]:
    """Yield what an autopilot came to in `out`, beside the run without a policy in `full`."""
    ledger, whole = read_ledger(ledger_path(out)), read_ledger(ledger_path(full))
    some, all_of = (total([*each.entries, *each.sessions]) for each in (ledger, whole))
    change = _per_accepted(some) / _per_accepted(all_of) - 1
    yield Record("embedded autopilot: prompts", float(len({entry.prompt_id for entry in ledger.entries})))
    yield Record("embedded autopilot: tokens per accepted", _per_accepted(some), "tokens",
                 peer=f"{_per_accepted(all_of):.1f} never discarding")  # fmt: skip
    yield Record("embedded autopilot: tokens per accepted, change", change, "", f"<= -{LEAST_SAVED:.2f}",
                 "never discarding", change <= -LEAST_SAVED)  # fmt: skip
    yield from _lost(out, full, ledger)
    yield Record("embedded autopilot: accepted", float(some.accepted), peer=f"{all_of.accepted} never discarding")
    yield Record("embedded autopilot: effective number of accepted by weight", some.effective)
    yield Record("embedded autopilot: audited attempts", float(some.audited), f"of {some.audited + some.discarded}")
    per_token = some.cpu_seconds / some.tokens / (all_of.cpu_seconds / all_of.tokens) - 1
    yield Record("embedded autopilot: processor time per token, change", per_token, "with fits and beliefs")
    converted = conversion_efficiency(some, all_of, cpu=True)
    yield Record("embedded autopilot: processor seconds", some.cpu_seconds, "s", peer=f"{all_of.cpu_seconds:.0f} s")
    yield Record("embedded autopilot: conversion efficiency, processor time", converted or 0.0)
    yield from _course(ledger)
    yield from _possible(out, full, ledger)


def _per_accepted(totals: Totals) -> float:
    return (totals.tokens + totals.tokens_beside) / max(totals.accepted, 1)


def _lost(out: Path, full: Path, ledger: Ledger) -> Iterator[Record]:
    paired = pair_runs(full, out)
    f = summarise(paired.outcomes).false_reject_rate or 0.0
    budget = PROMISE.max_false_reject
    yield Record("embedded autopilot: good samples lost", f, "share", f"<= {budget}", "the same seeds", f <= budget)
    # What was promised is of a level: what it would have discarded, audited or not, where it was in force.
    good = dict(zip(paired.ids, paired.outcomes.accepted.tolist(), strict=True))
    at_work = [entry for entry in ledger.entries if entry.level is not None and good.get(entry.id)]
    if at_work:
        rate = sum(entry.would_discard for entry in at_work) / len(at_work)
        yield Record("embedded autopilot: f of the levels at work", rate, f"of {len(at_work)}", f"<= {budget}",
                     "the same seeds", rate <= budget)  # fmt: skip
    yield Record("embedded autopilot: survivors that differ", float(paired.changed), f"of {paired.survivors}", "0",
                 ok=paired.changed == 0)  # fmt: skip
    yield Record("embedded autopilot: discarded that are no prefix", float(paired.not_prefix), "", "0",
                 ok=paired.not_prefix == 0)  # fmt: skip


def _course(ledger: Ledger) -> Iterator[Record]:
    """Yield the phases, by the prompts from which on they were in force."""
    size = int(ledger.settings["block"])
    yield Record("embedded autopilot: prompts of a block", float(size))
    levels = ["" if steer.level is None else f" at level {steer.level}" for steer in ledger.steers]
    told = [f"{each.phase}{level} from {each.block * size}" for each, level in zip(ledger.steers, levels, strict=True)]
    yield Record("embedded autopilot: phases, by prompt", ", ".join(told))
    at_work = [steer.block * size for steer in ledger.steers if steer.level is not None]
    if at_work:
        yield Record("embedded autopilot: prompts before a level was at work", float(at_work[0]))
    alarms = sum(steer.note.startswith("alarm") for steer in ledger.steers)
    yield Record("embedded autopilot: alarms", float(alarms))


class _Levels(NamedTuple):
    """What each level does at each prompt after the shadow, in the order of the run: `[P, J]`, full and good `[P]`."""

    spent: Array
    lost: Array
    full: Array
    good: Array
    Z: Array

    def change(self, level: int, start: int, before: tuple[float, float]) -> float:
        """Return the change of tokens per accepted sample if a level is in force from prompt `start` on.

        before: tokens and accepted samples of the shadow.
        """
        tokens = before[0] + self.full[:start].sum() + self.spent[start:, level].sum()
        good = before[1] + self.good.sum() - self.lost[start:, level].sum()
        whole = (before[0] + self.full.sum()) / (before[1] + self.good.sum())
        return float(tokens / good / whole - 1)


def _possible(out: Path, full: Path, ledger: Ledger) -> Iterator[Record]:
    """Yield what the levels of the run's first path could have saved."""
    path_file = out.with_name(f"{out.name.removesuffix('.jsonl')}.path-1.json")
    if not path_file.exists():
        return
    path, size = PathFile.load(path_file), int(ledger.settings["block"])
    begins = next(steer.block for steer in ledger.steers if steer.path) * size
    yield Record("embedded autopilot: shadow's share of prompts", begins / int(ledger.settings["prompt_count"]))
    levels, before = _levels(path, full, begins)
    f = levels.lost.sum(axis=0) / levels.good.sum()
    allowed = [level for level in range(path.n_levels) if f[level] <= PROMISE.max_false_reject]
    known = {level: levels.change(level, 0, (0.0, 0.0)) for level in allowed}
    best = min(known, key=known.__getitem__, default=None)
    if best is not None:
        yield Record("embedded autopilot: in hindsight, best level", known[best], f"f = {f[best]:.3f}")
        yield Record("embedded autopilot: in hindsight, that level from the shadow on", levels.change(best, 0, before))
    yield Record(
        "embedded autopilot: in hindsight, best moment of a certified level", _certified(path, levels, before, size)
    )


def _levels(path: PathFile, full: Path, begins: int) -> tuple[_Levels, tuple[float, float]]:
    """Return what levels do at the prompts from `begins` on, and tokens and accepted samples of those before."""
    table = build_evidence(read_traces(full), path.schedule, [make_validator(spec) for spec in path.validators])
    M, worth = path.beliefs.worth(table.k, table.values)
    thresholds = np.asarray(path.thresholds)
    J, P = path.n_levels, table.n_prompts
    first = np.minimum(nested(table, M, worth, thresholds).first, J)
    spent = np.stack([table.cost_until(table.stops(worth, each)) for each in thresholds], axis=1)
    place = {name: i for i, name in enumerate(_in_order(table.prompt_ids, full))}
    at = np.asarray([place[name] for name in table.prompt_ids])[table.prompt]

    def by_prompt(amounts: Array) -> Array:
        return np.bincount(at, amounts, P).astype(np.float64)

    good = table.accepted.astype(np.float64)
    order = np.lexsort((np.arange(len(at)), at)).reshape(P, -1)
    Z = level_scores(first[order], table.accepted[order], np.ones(order.shape), J, PROMISE.max_false_reject)
    costs = np.stack([by_prompt(spent[:, j]) for j in range(J)], axis=1)
    lost = np.stack([by_prompt(good * (first <= j)) for j in range(J)], axis=1)
    whole, accepted = by_prompt(table.cost), by_prompt(good)
    before = float(whole[:begins].sum()), float(accepted[:begins].sum())
    here = slice(begins, None)
    return _Levels(costs[here], lost[here], whole[here], accepted[here], Z[here]), before


def _in_order(prompt_ids: tuple[str, ...], full: Path) -> list[str]:
    """Return the ids in the order that the run with an autopilot takes them in."""
    seed = int(read_ledger(ledger_path(full)).settings["seed"])
    return [
        each.prompt_id for each in in_drawn_order([Prompt(prompt_id=name, prompt="-") for name in prompt_ids], seed)
    ]


def _certified(path: PathFile, levels: _Levels, before: tuple[float, float], size: int) -> float:
    """Return the least change of tokens per accepted sample by one level, from the moment it is certified or later."""
    alpha = PROMISE.max_false_reject
    tests = LevelTests(np.asarray([each.growth for each in path.levels]), delta_of(0, 1 - PROMISE.confidence))
    best, certified = 0.0, 0
    for begin, end in pairwise(range(0, len(levels.Z) + 1, size)):
        tests.add(levels.Z[begin:end], 1 - alpha)
        start = end + (BLOCKS_AHEAD - 1) * size
        # Of levels that were certified before, later is no better: they would have been put to work then.
        for level in range(certified, tests.n_certified):
            best = min(best, levels.change(level, start, before))
        certified = max(certified, tests.n_certified)
    return best


def other_orders(full: Path, orders: int) -> Iterator[Record]:
    """Yield what an autopilot comes to on the same attempts with prompts in other orders, by replay."""
    traces = list(read_traces(full))
    schedules = auto_schedule([len(trace.text) for trace in traces]), NewlineSteps()
    tables = [build_evidence(traces, schedule, default_validators()) for schedule in schedules]
    n = tables[0].n_prompts
    options = PilotOptions(attempts=ATTEMPTS, prompts=n, block=block_size(SLOTS, ATTEMPTS))
    for record in _recorded_life.records(tables, options, orders):
        yield msgspec.structs.replace(record, metric=f"embedded, by replay in other orders: {record.metric}")
