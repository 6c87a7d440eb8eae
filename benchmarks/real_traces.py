"""Certified policies on recorded generations: `python -m benchmarks.real_traces --traces FOLDER [--json] [--save] …`.

Each file of FOLDER is a family (one model on one benchmark). Prompts are split by their hash into two halves. On the
**design half** everything is learned: beliefs, paths, and what a person tuned. The prompts of the **judging half** are
cut into parts; each part is judged once, by policies certified (α = 5 %, confidence 90 %) on the other parts.
Families with 300 accepted samples to certify on are certified alone, the others in pools of one model (or one benchmark
where the model has no other), see `pool_of`.

Per family: net cost factor with its interval by prompt, against never discarding (1), the best plain length cap with
the same budget (observed, not certified), each rule alone, the rules together, and the learned posterior; the cost
share of accepted attempts, which is the factor of a policy that discards exactly the others before they begin; and the
captured share (1 − factor)/(1 − cost share). Two more show what the learned posterior could give with f ≤ α on the
judged prompts: **uncertified**, its path's best policy there, and **hindsight**, where the path too is made on the
judged prompts. Without FOLDER the traces recorded from the embedded model are used.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks._records import Record, environment, print_records, save_records
from msifr_calibration import FitOptions, best_length_cap
from msifr_calibration.certify import certify_pools
from msifr_calibration.family import Family as Fitting
from msifr_calibration.learn import Candidates, fit_candidates
from msifr_calibration.path import fit_path
from msifr_calibration.split import folds
from msifr_integrations.embedded import embedded_samples_path
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import auto_schedule
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.rates import rates
from msifr_policy.records.traces import Trace, find_trace_files, read_traces
from msifr_policy.validators import default_validator, default_validators
from msifr_sim import Summary, replay_policy, summarise
from msifr_sim.outcomes import Outcomes

ALPHA, CONFIDENCE = 0.05, 0.9
FOUR = (
    "mmlu_pro-llama-3.1-8b-instruct",
    "math_l5_json-llama-3.1-8b-instruct",
    "math500-qwen2.5-math-7b",
    "gsm8k_json-qwen2-7b-instruct",
)
REPLAYED = ("blocks_plan", "countdown", "brackets", "word_order")
"""Validators that replay the steps of one kind of task, and are silent elsewhere."""

LINES = ("sky-t1", "qwen2.5-math")
"""Models that are variants or checkpoints of one line."""


@dataclass(frozen=True)
class Family:
    """Evidence of one file: the design half and the judging half, with the texts behind both."""

    name: str
    traces: list[Trace]
    design: EvidenceTable
    judging: EvidenceTable


@dataclass(frozen=True)
class Judged:
    """One method on one family: what its policies did to the judging half, every prompt judged once."""

    summary: Summary
    outcomes: Outcomes
    certified: float


def in_design_half(prompt_id: str) -> bool:
    """Return whether people and fits may look at this prompt."""
    return hashlib.sha256(prompt_id.encode()).digest()[-1] % 2 == 0


def read_family(path: Path) -> Family:
    """Replay the default validators and those that replay steps."""
    name = "embedded" if path == embedded_samples_path() else path.name.split(".jsonl")[0]
    traces = list(read_traces(path))
    validators = (*default_validators(), *map(default_validator, REPLAYED))
    table = build_evidence(traces, auto_schedule([len(trace.text) for trace in traces[:2000]]), validators)
    design = np.asarray([in_design_half(p) for p in table.prompt_ids])[table.prompt]
    return Family(name, traces, table.take(np.flatnonzero(design)), table.take(np.flatnonzero(~design)))


def pool_of(names: Sequence[str]) -> dict[str, str]:
    """Return the pool of each family: its model or line of models if that has several families, else its benchmark."""

    def model(name: str) -> str:
        full = name.partition("-")[2]
        return next((line for line in LINES if line in full), full)

    count = Counter(map(model, names))
    return {name: model(name) if count[model(name)] > 1 else name.partition("-")[0] for name in names}


def parts(families: Mapping[str, Family], n_parts: int, seed: int) -> Iterator[dict[str, NDArray[np.bool_]]]:
    """Yield, part by part, which attempts of the judging halves are judged; a prompt has one part in all families."""
    prompts = sorted({p for family in families.values() for p in family.judging.prompt_ids})
    part = dict(zip(prompts, folds(prompts, n_parts, seed).tolist(), strict=True))
    for number in range(n_parts):
        yield {
            name: np.asarray([part[p] == number for p in family.judging.prompt_ids])[family.judging.prompt]
            for name, family in families.items()
        }


def judge(
    families: Mapping[str, Family],
    candidates: Mapping[str, Candidates],
    tables: Mapping[str, EvidenceTable],
    *,
    n_parts: int,
    seed: int,
) -> dict[str, Judged]:
    """Certify on all parts but one and replay on that one, in turn; `tables`: judging halves with all columns."""
    options = FitOptions(max_false_reject=ALPHA, confidence=CONFIDENCE, seed=seed)
    outcomes: dict[str, list[Outcomes]] = {name: [] for name in families}
    certified = dict.fromkeys(families, 0)
    for judged in parts(families, n_parts, seed):
        fits = certify_pools(
            [candidates[name] for name in families],
            [tables[name].take(np.flatnonzero(~judged[name])) for name in families],
            options,
        )
        for name, fit in zip(families, fits, strict=True):
            if judged[name].any():
                table = tables[name].take(np.flatnonzero(judged[name]))
                outcomes[name].append(replay_policy(fit.file.policy(), table))
                certified[name] += fit.file.certificate.certified
    result = {}
    for name, runs in outcomes.items():
        whole = joined(runs)
        summary = summarise(whole, length_cap=best_length_cap([families[name].design], ALPHA).cap, draws=400)
        result[name] = Judged(summary, whole, certified[name] / len(runs))
    return result


def joined(runs: Sequence[Outcomes]) -> Outcomes:
    """Return the outcomes of disjoint prompts end to end."""
    offsets = np.cumsum([0, *(int(run.prompt.max()) + 1 for run in runs)])
    prospects = [run.prospect for run in runs if run.prospect is not None]
    return replace(
        runs[0],
        cost_full=np.concatenate([run.cost_full for run in runs]),
        cost_policy=np.concatenate([run.cost_policy for run in runs]),
        accepted=np.concatenate([run.accepted for run in runs]),
        discarded=np.concatenate([run.discarded for run in runs]),
        prompt=np.concatenate([run.prompt + o for run, o in zip(runs, offsets, strict=False)]),
        stop_k=np.concatenate([run.stop_k for run in runs]),
        reached=np.concatenate([run.reached for run in runs]),
        reason=tuple(reason for run in runs for reason in run.reason),
        prospect=np.concatenate(prospects) if len(prospects) == len(runs) else None,
    )


def fit_all(
    families: Mapping[str, Family],
    tables: Mapping[str, EvidenceTable],
    options: FitOptions,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Candidates]:
    """Fit beliefs and path of every family on `tables`."""
    pools = pool_of(list(families))
    fitting = [Fitting(name, tables[name], family.traces, pools[name]) for name, family in families.items()]
    return dict(zip(families, fit_candidates(fitting, options, progress=progress), strict=True))


def hindsight(candidates: Candidates, table: EvidenceTable, *, own_path: bool) -> float:
    """Return the least factor with observed f ≤ α when the choice sees the judged prompts: nothing is certified.

    Among the policies of the path that was learned, or of the judged prompts' own path.
    """
    M, worth = candidates.fitted.beliefs.worth(table.k, table.values)
    path = fit_path(table, M, worth) if own_path else candidates.path
    best = 1.0
    for thresholds in path.thresholds:
        stop = table.stops(worth, thresholds)
        lost = (table.accepted & (stop >= 0)).sum()
        _, f, factor = rates([table.cost.sum(), table.cost_until(stop).sum(), table.n_accepted, lost])
        best = min(best, float(factor)) if f <= ALPHA else best
    return best


def columns_of(table: EvidenceTable, validator: str) -> EvidenceTable:
    """Return the table as one validator alone would have made it."""
    keep = [i for i, column in enumerate(table.columns) if column.partition(".")[0] == validator]
    which = [spec.name for spec in table.validators].index(validator)
    return replace(
        table,
        columns=tuple(table.columns[i] for i in keep),
        values=table.values[:, keep],
        verdicts=table.verdicts[:, [which]],
        validators=(table.validators[which],),
    )


def saved_tokens(judged: Mapping[str, Judged]) -> dict[str, tuple[float, float, float]]:
    """Return per reason, as mean shares over families of the full cost: saved on bad attempts, on good ones, and f."""
    shares: dict[str, list[tuple[float, float, float]]] = {}
    for run in judged.values():
        o = run.outcomes
        saved = (o.cost_full - o.cost_policy) / o.cost_full.sum()
        reason = np.asarray(o.reason)
        for name in set(reason[o.discarded].tolist()):
            discarded = o.discarded & (reason == name)
            lost = float((discarded & o.accepted).sum() / max(o.accepted.sum(), 1))
            shares.setdefault(name, []).append(
                (float(saved[discarded & ~o.accepted].sum()), float(saved[discarded & o.accepted].sum()), lost)
            )
    n = len(judged)
    totals = {
        name: tuple(float(np.sum(column)) / n for column in zip(*rows, strict=True)) for name, rows in shares.items()
    }
    return dict(sorted(totals.items(), key=lambda item: -item[1][0]))  # type: ignore[arg-type]


def factor_of(run: Judged) -> float:
    """Return the net cost factor, 1 where nothing was accepted."""
    return 1.0 if run.summary.net_cost_factor is None else run.summary.net_cost_factor


def captured(factor: float, share: float | None) -> float:
    """Return (1 − factor)/(1 − share); NaN where there is nothing to save."""
    return (1 - factor) / (1 - share) if share is not None and share < 1 else float("nan")


def mean_records(method: str, runs: Sequence[Mapping[str, Judged]], *, targets: bool) -> list[Record]:
    """Return the means over families of one method, each family's numbers averaged over the seeds."""
    names = list(runs[0])
    factors = np.asarray([np.mean([factor_of(run[name]) for run in runs]) for name in names])
    cost_shares = [runs[0][name].summary.accepted_cost_share for name in names]
    shares = [captured(f, o) for f, o in zip(factors, cost_shares, strict=True)]
    f = np.asarray([np.mean([run[name].summary.false_reject_rate or 0.0 for run in runs]) for name in names])
    allowed = int(binom.ppf(0.95, len(names), 1 - CONFIDENCE))
    above, mean, share = int((f > ALPHA).sum()), float(factors.mean()), float(np.nanmean(shares))
    rows = [
        ("mean net cost factor", mean, "", "<= 0.80", mean <= 0.8),
        ("mean captured share", share, "", ">= 0.36", share >= 0.36),
        ("largest net cost factor", float(factors.max()), "", "<= 1.02", bool(factors.max() <= 1.02)),
        ("families with observed f > α", float(above), f"of {len(names)}", f"<= {allowed}", above <= allowed),
    ]
    return [
        Record(f"{method}: {what}", value, unit, target if targets else "", "", ok if targets else None)
        for what, value, unit, target, ok in rows
    ]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="four families, rules only, one seed")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/real_traces.json")
    parser.add_argument("--traces", type=Path, help="folder of trace files")
    parser.add_argument("--seeds", type=int, help="ways to cut the judging half (default 3, or 1 with --quick)")
    parser.add_argument("--parts", type=int, default=8, help="parts of the judging half (default 8)")
    parser.add_argument("--ablation", action="store_true", help="each rule alone instead; saved as rules.json")
    arguments = parser.parse_args()
    files = find_trace_files([arguments.traces]) if arguments.traces else [embedded_samples_path()]
    if arguments.quick and arguments.traces:
        files = [file for file in files if file.name.split(".jsonl")[0] in FOUR] or files[:4]
    seeds = arguments.seeds or (1 if arguments.quick else 3)
    families = read_families(files)
    if arguments.ablation:
        records = run_ablation(families, seeds, arguments.parts)
    else:
        records = run(families, seeds, arguments.parts, learned=not arguments.quick)
    if arguments.save:
        save_records(records, "rules" if arguments.ablation else "real_traces")
    print_records(records, arguments.json)


def say(started: float, what: str) -> None:
    """Say on the standard error where the run is: it takes minutes."""
    print(f"[{time.perf_counter() - started:5.0f} s] {what}", file=sys.stderr, flush=True)


def read_families(files: Sequence[Path]) -> dict[str, Family]:
    """Read all families, saying so."""
    started = time.perf_counter()
    families = {}
    for file in files:
        family = read_family(file)
        families[family.name] = family
    say(started, f"{len(families)} families read")
    return families


def run_ablation(families: Mapping[str, Family], seeds: int, n_parts: int) -> list[Record]:
    """Return the means over families of each rule alone."""
    started = time.perf_counter()
    records = []
    for validator in [spec.name for spec in next(iter(families.values())).design.validators]:
        design = {name: columns_of(f.design, validator) for name, f in families.items()}
        alone = fit_all(families, design, FitOptions(method="logistic"))
        tables = {name: columns_of(f.judging, validator) for name, f in families.items()}
        runs = [judge(families, alone, tables, n_parts=n_parts, seed=seed) for seed in range(seeds)]
        records += mean_records(f"{validator} alone", runs, targets=False)
        for name in families:
            factor = float(np.mean([factor_of(run[name]) for run in runs]))
            records.append(Record(f"{name}: {validator} alone", factor))
        say(started, f"{validator} alone: judged")
    return records + environment("msifr-policy", "numpy", "scikit-learn")


def run(families: Mapping[str, Family], seeds: int, n_parts: int, *, learned: bool) -> list[Record]:
    """Return all records: per family, then per method."""
    started = time.perf_counter()
    design = {name: family.design for name, family in families.items()}
    judging = {name: family.judging for name, family in families.items()}
    rules = fit_all(families, design, FitOptions(method="logistic"))
    say(started, "rules: fitted")
    by_rules = [judge(families, rules, judging, n_parts=n_parts, seed=seed) for seed in range(seeds)]
    say(started, "rules: judged")
    best = by_rules
    bounds: dict[str, dict[str, float]] = {}
    records: list[Record] = []
    if learned:
        nets = fit_all(families, design, FitOptions(method="learned"), lambda step: say(started, step))
        extended = {name: nets[name].fitted.extend(f.judging, f.traces) for name, f in families.items()}
        best = [judge(families, nets, extended, n_parts=n_parts, seed=seed) for seed in range(seeds)]
        for bound, own_path in (("uncertified", False), ("hindsight", True)):
            bounds[bound] = {name: hindsight(nets[name], extended[name], own_path=own_path) for name in families}
        say(started, "learned: judged")
    for name in families:
        records += family_records(name, [run[name] for run in by_rules], [run[name] for run in best])
        records += [Record(f"{name} {bound} factor", factors[name]) for bound, factors in bounds.items()]
    records += mean_records("rules together", by_rules, targets=not learned)
    if learned:
        records += mean_records("learned", best, targets=True)
    for bound, factors in bounds.items():
        shares = [captured(factors[name], best[0][name].summary.accepted_cost_share) for name in families]
        records.append(Record(f"{bound} bound: mean net cost factor", float(np.mean(list(factors.values())))))
        records.append(Record(f"{bound} bound: mean captured share", float(np.nanmean(shares))))
    caps = [run.summary.length_cap_factor or 1.0 for run in best[0].values()]
    cap_shares = [captured(c, run.summary.accepted_cost_share) for c, run in zip(caps, best[0].values(), strict=True)]
    records += [
        Record("length cap: mean net cost factor", float(np.mean(caps)), "", "", "observed budget, not certified"),
        Record("length cap: mean captured share", float(np.nanmean(cap_shares))),
        Record("families", float(len(families))),
    ]
    for reason, (bad, good, lost) in saved_tokens(best[0]).items():
        records.append(Record(f"saved by {reason}, on bad attempts", bad, "of all tokens"))
        records.append(Record(f"saved by {reason}, on good attempts", good, "of all tokens", "", f"f {lost:.4f}"))
    records.append(Record("seconds", time.perf_counter() - started, "s"))
    return records + environment("msifr-policy", "numpy", "scikit-learn", *(["torch"] if learned else []))


def family_records(name: str, by_rules: Sequence[Judged], best: Sequence[Judged]) -> list[Record]:
    """Return the records of one family, means over the seeds."""

    def mean(runs: Sequence[Judged], field: str) -> float:
        return float(np.mean([getattr(run.summary, field) or 0.0 for run in runs]))

    factor = float(np.mean([factor_of(run) for run in best]))
    low = float(np.mean([(run.summary.net_cost_factor_ci or (1, 1))[0] for run in best]))
    high = float(np.mean([(run.summary.net_cost_factor_ci or (1, 1))[1] for run in best]))
    summary = best[0].summary
    cap, share = summary.length_cap_factor or 1.0, summary.accepted_cost_share
    return [
        Record(f"{name} net cost factor", factor, "", "<= 1 in its interval", f"length cap {cap:.3f}", low <= 1),
        Record(f"{name} interval low", low),
        Record(f"{name} interval high", high),
        Record(f"{name} rules together", float(np.mean([factor_of(run) for run in by_rules]))),
        Record(f"{name} length cap factor", cap),
        Record(f"{name} accepted cost share", 1.0 if share is None else share),
        Record(f"{name} captured share", captured(factor, share)),
        Record(f"{name} false-reject rate", mean(best, "false_reject_rate"), "", f"<= {ALPHA}"),
        Record(f"{name} parts certified", float(np.mean([run.certified for run in best]))),
        Record(f"{name} judged accepted", float(summary.n_accepted)),
    ]


if __name__ == "__main__":
    main()
