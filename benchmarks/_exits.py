"""What forcing answers early is worth: where it pays, and on the embedded model, where it cannot.

Two measurements. In a world of overthinking (`_overthinking`) policies that discard, exit, or do both are fitted to
recorded exits, and held against the exact optimum of each [T8]. On the embedded model answers are forced in shadow at
the end of every line; the same three are fitted on half of the prompts and replayed on the other, both ways round, and
the numbers behind the outcome are told: what EXIT costs and comes to, by how many tokens were still ahead. Every
attempt is begun: what discarding prompts is worth is not the question here.
`benchmarks.live` puts these numbers beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks._overthinking import Overthinking, least_cost
from benchmarks._records import Record
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.exit_path import fit_exit_path, fit_forced_beliefs, stopped
from msifr_calibration.path import fit_path
from msifr_calibration.split import uniform
from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path, problems
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.options import GenerateOptions
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.exits import ExitColumns, ExitPlan, exit_columns
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy import Action
from msifr_policy.records.traces import Trace, read_traces
from msifr_policy.validators import default_validators

Array = NDArray[np.float64]
Both = tuple[EvidenceTable, ExitColumns]

PROBLEMS, ATTEMPTS, SEED = 250, 4, 14
RECORDED, FRESH = 3000, 20_000
PLAN = ExitPlan(schedule=NewlineSteps(), prompt="####", tokens=8)
WAYS = {"discard": {Action.DISCARD}, "exit": {Action.EXIT}, "discard and exit": {Action.DISCARD, Action.EXIT}}
NEAR = 1.05
"""So much above the exact optimum a fitted policy may be: 2 % of standard error, and what fitting misses."""

LAST_LINE = 7
"""Tokens of the answer's own line, its end included, at most: where no more are ahead the answer is already there."""


def exits(quick: bool = False) -> list[Record]:
    """Return all records; `quick` with few attempts, to see that it works."""
    return [*overthinking(quick), *embedded(quick)]


def overthinking(quick: bool) -> Iterator[Record]:
    """Yield what a kept sample costs by each way of stopping, found and exact, where EXIT pays."""
    world = Overthinking()
    recorded = world.sample(RECORDED // (5 if quick else 1), SEED)
    fresh = world.sample(FRESH // (10 if quick else 1), SEED + 1)
    costs = {}
    for name, actions in WAYS.items():
        exact = least_cost(world, actions)
        costs[name] = _cost(name, recorded, fresh)[0]
        yield Record(
            f"overthinking, {name}: tokens per accepted",
            costs[name],
            f"exact optimum {exact:.1f}, of {fresh[0].cost_per_accepted:.1f} in full",
            f"<= {NEAR * exact:.1f}",
            ok=costs[name] <= NEAR * exact,
        )
    alone = min(costs["discard"], costs["exit"])
    both = costs["discard and exit"]
    yield Record("overthinking, both over the better alone", both / alone, target="< 1", ok=both < alone)


def embedded(quick: bool) -> Iterator[Record]:
    """Yield the same on the embedded model, and why it is so there."""
    traces = _recorded(24 if quick else PROBLEMS)
    table = build_evidence(traces, PLAN.schedule, default_validators())
    exits = exit_columns(table, traces, PLAN)
    ahead = np.where(exits.possible, table.remaining, np.nan)
    there, before = ahead <= LAST_LINE, ahead > LAST_LINE
    rho = table.cost_per_accepted
    e = {name: float(exits.accepted[rows].mean()) for name, rows in (("there", there), ("before", before))}
    X = float(exits.cost[exits.possible].mean())
    yield Record(
        f"embedded, e where at most {LAST_LINE} tokens are ahead",
        e["there"],
        f"{float(table.outcome[there].mean()):.3f} of these attempts are accepted at their end",
    )
    yield Record("embedded, tokens ahead there", float(ahead[there].mean()), f"a forced answer takes {X:.1f}")
    yield Record("embedded, e before", e["before"], f"{int(before.sum())} forced answers")
    worth = rho * e["before"] - X
    yield Record("embedded, worth of EXIT before, in tokens", worth, f"Λe − X at the highest price of use, {rho:.0f}")
    most = _most_saved(table, exits)
    yield Record("embedded, share of tokens that exits could save at most, all of them foreseen", most)
    halves = [uniform(table.prompt_ids, SEED, "half") < 0.5]
    halves.append(~halves[0])
    factor = {}
    for name in WAYS:
        spent = kept = 0.0
        for half in halves:
            fitting, other = (_part(table, traces, part) for part in (half, ~half))
            cost, n = _cost(name, fitting, other)
            spent, kept = spent + cost * n, kept + n
        factor[name] = spent / kept / rho
        yield Record(f"embedded, {name}: net cost factor", factor[name], "by halves of the prompts")
    gain = min(factor["discard"], factor["exit"]) - factor["discard and exit"]
    reason = worth < 0 and most < 0.05
    yield Record(
        "embedded, both over the better alone",
        factor["discard and exit"] / min(factor["discard"], factor["exit"]),
        "pays" if gain > 0 else "cannot pay: the answer is right only once it is about to be written anyway",
        "< 1, or no exit before the answer is worth its tokens and all exits save less than 5 %",
        ok=gain > 0 or reason,
    )


def _most_saved(table: EvidenceTable, exits: ExitColumns) -> float:
    """Return the share of all tokens that is saved by the best exit of each attempt that loses nothing by it."""
    fine = exits.possible & (exits.accepted | ~table.outcome)
    saved = np.where(fine & exits.accepted, table.remaining - exits.cost, 0.0)
    best = np.maximum.reduceat(np.maximum(saved, 0.0), table.start[:-1])
    return float(best.sum() / table.cost.sum())


def _cost(name: str, recorded: Both, other: Both) -> tuple[float, float]:
    """Return tokens per kept sample on `other` of the cheapest policy found on `recorded`, and how many are kept."""
    table, exits = recorded
    fitted = fit_linear_beliefs(table, seed=SEED)
    M, r = fitted.beliefs.predict(other[0].k, other[0].values)
    worth = fitted.beliefs.worth(other[0].k, other[0].values)[1]
    forced = None if name == "discard" else fit_forced_beliefs(table, exits, seed=SEED)
    if forced is None:
        path = fit_path(table, fitted.M, fitted.worth, skip_prompts=False)
        stop = other[0].stops(worth, path.thresholds[-1]) if len(path.thresholds) else np.full(other[0].n_attempts, -1)
        kept = float((other[0].accepted & (stop < 0)).sum())
        return float(other[0].cost_until(stop).sum()) / kept, kept
    found = fit_exit_path(table, exits, fitted, forced, discard=name != "exit", skip_prompts=False)
    if not len(found.prices):
        return other[0].cost_per_accepted, float(other[0].n_accepted)
    predicted = forced.beliefs.predict(other[0].k, other[0].values)
    seen = stopped(*other, found, (M, r, worth), predicted)
    return float(seen.cost_per_accepted[-1]), float(seen.kept[-1].sum())


def _part(table: EvidenceTable, traces: list[Trace], prompts: NDArray[np.bool_]) -> Both:
    part = table.where(prompts)
    return part, exit_columns(part, traces, PLAN)


def _recorded(n: int) -> list[Trace]:
    """Return attempts of the embedded model at `n` fresh problems, with an answer forced after each line."""
    options = GenerateOptions(
        attempts=ATTEMPTS, slots=64, max_new_tokens=200, seed=SEED, model_name=EMBEDDED_MODEL, record_exits=PLAN
    )
    prompts = [problem.as_prompt() for problem in problems(SEED, n)]
    model, tokenizer = load_model(embedded_model_path(), dtype="float32")
    with TemporaryDirectory() as folder:
        out = Path(folder) / "exits.jsonl"
        generate(model, prompts, None, out, options, tokenizer=tokenizer, tell=lambda _: None)
        return list(read_traces(out))
