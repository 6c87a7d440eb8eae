"""Certified policies on recorded generations, against never discarding, the plain length cap and the oracle.

`python -m benchmarks.real_traces [--json] [--quick] [--save] [--traces FOLDER]`. Each file of FOLDER is split by prompt
into halves; a policy is fitted and certified (α = 5 %, confidence 90 %) on one and replayed on the other, for several
seeds. Captured share = (1 − factor)/(1 − oracle factor). Without FOLDER the traces recorded from the embedded model
are used.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from scipy.stats import binom

from benchmarks._records import Record, environment, print_records
from msifr_calibration import fit_policy, split_by_prompt
from msifr_integrations.cli.options import auto_schedule
from msifr_integrations.embedded import embedded_samples_path
from msifr_policy.evidence import EvidenceTable, build_evidence
from msifr_policy.traces import find_trace_files, read_traces
from msifr_policy.validators import default_validators
from msifr_sim import Summary, replay_policy, summarise

ALPHA, CONFIDENCE = 0.05, 0.9
FOUR = (
    "mmlu_pro-llama-3.1-8b-instruct",
    "math_l5_json-llama-3.1-8b-instruct",
    "math500-qwen2.5-math-7b",
    "gsm8k_json-qwen2-7b-instruct",
)


@dataclass(frozen=True)
class Run:
    """One split of one family: what the policy did on the prompts it never saw."""

    summary: Summary
    certified: bool
    seconds: float


def table_of(path: Path) -> EvidenceTable:
    """Return the evidence of a trace file under the default validators and the automatic schedule."""
    return build_evidence(read_traces(path), auto_schedule([str(path)], "raise"), default_validators())


def run_family(table: EvidenceTable, seed: int) -> Run:
    """Fit and certify on half of the prompts, replay on the other half."""
    started = time.perf_counter()
    train, test = split_by_prompt(table, 0.5, 1000 + seed)
    fit = fit_policy(train, max_false_reject=ALPHA, confidence=CONFIDENCE, seed=seed)
    summary = summarise(replay_policy(fit.file.policy(), test), length_cap=fit.file.length_cap.cap, draws=400)
    return Run(summary, fit.file.certificate.certified, time.perf_counter() - started)


def family_records(name: str, table: EvidenceTable, seeds: int) -> tuple[list[Record], list[Run]]:
    """Return the records of one family over `seeds` splits."""
    runs = [run_family(table, seed) for seed in range(seeds)]

    def mean(field: str) -> float:
        return float(np.mean([getattr(run.summary, field) for run in runs]))

    factor, cap, oracle = mean("net_cost_factor"), mean("length_cap_factor"), mean("oracle_factor")
    low = float(np.mean([(run.summary.net_cost_factor_ci or (1, 1))[0] for run in runs]))
    high = float(np.mean([(run.summary.net_cost_factor_ci or (1, 1))[1] for run in runs]))
    captured = (1 - factor) / (1 - oracle) if oracle < 1 else 0.0
    records = [
        Record(f"{name} net cost factor", factor, "", "<= 1 in its interval", f"length cap {cap:.3f}", low <= 1),
        Record(f"{name} interval low", low),
        Record(f"{name} interval high", high),
        Record(f"{name} length cap factor", cap),
        Record(f"{name} oracle factor", oracle),
        Record(f"{name} captured share", captured),
        Record(f"{name} false-reject rate", mean("false_reject_rate"), "", f"<= {ALPHA}"),
        Record(f"{name} splits certified", float(np.mean([run.certified for run in runs]))),
        Record(f"{name} fit and evaluate", float(np.mean([run.seconds for run in runs])), "s"),
    ]
    return records, runs


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="four families only, and two splits")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/real_traces.json")
    parser.add_argument("--traces", type=Path, help="folder of trace files")
    parser.add_argument("--seeds", type=int, help="splits per family (default 5, or 2 with --quick)")
    arguments = parser.parse_args()
    files = find_trace_files([arguments.traces]) if arguments.traces else [embedded_samples_path()]
    if arguments.quick and arguments.traces:
        files = [file for file in files if file.name.split(".jsonl")[0] in FOUR] or files[:4]
    seeds = arguments.seeds or (2 if arguments.quick else 5)
    records: list[Record] = []
    factors, caps, shares = [], [], []
    violations = certified = 0
    for file in files:
        name = "embedded" if file == embedded_samples_path() else file.name.split(".jsonl")[0]
        family, runs = family_records(name, table_of(file), seeds)
        records += family
        values = {record.metric.removeprefix(f"{name} "): record.value for record in family}
        factors.append(values["net cost factor"])
        caps.append(values["length cap factor"])
        shares.append(values["captured share"])
        for run in runs:
            certified += run.certified
            violations += (run.summary.false_reject_rate or 0) > ALPHA
        if not arguments.json:
            print_records(family, json=False)
    # An observed rate above α on a finite half is not yet a broken promise; this bound ignores that, so it is strict.
    allowed = int(binom.ppf(0.999, max(certified, 1), 1 - CONFIDENCE))
    records += [
        Record("mean net cost factor", float(np.mean(factors)), "", "", f"length cap {np.mean(caps):.3f}"),
        Record("mean captured share", float(np.mean(shares))),
        Record("largest net cost factor", float(np.max(factors)), "", "<= 1.02", "", bool(np.max(factors) <= 1.02)),
        Record("families where the cap is dearer", float(np.sum(np.asarray(factors) < np.asarray(caps)))),
        Record("families", float(len(files))),
        Record(
            "certified splits with observed f > α", float(violations), f"of {certified}", f"<= {allowed}", "",
            violations <= allowed,
        ),
    ]  # fmt: skip
    records += environment("msifr-policy", "numpy", "scikit-learn")
    if arguments.save:
        target = Path(__file__).parent / "results" / "real_traces.json"
        target.write_bytes(msgspec.json.format(msgspec.json.encode(records), indent=1) + b"\n")
    print_records(records, arguments.json)


if __name__ == "__main__":
    main()
