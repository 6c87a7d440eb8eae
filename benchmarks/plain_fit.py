"""What plain `msifr fit` saves, a family at a time: `python -m benchmarks.plain_fit --traces FOLDER [--save] …`.

Each file of FOLDER is a family (one model on one benchmark). Its prompts are cut into parts; a policy is fitted and
certified (α = 5 %, confidence 90 %) on all parts but one as the command does without flags, and judged on that one, in
turn. Pretrained beliefs are learned without the family's benchmark and without any prompt that it shares with others
(`benchmarks.pretrained`, which makes the weights and keeps them in `--weights`). Beside it, on the same parts: the same
with weights learned from other models' attempts at the family's own prompts, cross-fitted, where there are any; linear
beliefs alone, the cheapest certified length cap, and the best length cap with an observed f ≤ α, which no certificate
backs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks.pretrained import read_families, splits, splits_of_known, weights_for
from benchmarks.real_traces import say
from msifr_calibration import Family, FitOptions, fit_policy
from msifr_calibration.certify import Fit, certify
from msifr_calibration.path import NO_POLICIES
from msifr_calibration.split import folds
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.rates import capped, rates
from msifr_policy.records.traces import Trace

ALPHA, CONFIDENCE = 0.05, 0.9
METHODS = ("plain", "linear beliefs", "certified length cap", "observed length cap")
KNOWN = "benchmark known"
"""A fifth method, of families whose prompts other models have tried."""

Totals = NDArray[np.float64]


def outcome(fit: Fit, table: EvidenceTable, traces: Sequence[Trace] = ()) -> Totals:
    """Return `[4]` full cost, cost under the policy, accepted, accepted and lost on `table`."""
    table = fit.candidates.fitted.extend(table, traces)
    stop = fit.file.policy().stops(table)
    lost = (table.accepted & (stop >= 0)).sum()
    return np.asarray([table.cost.sum(), table.cost_until(stop).sum(), table.n_accepted, lost], dtype=np.float64)


def judge(family: Family, weights: str, known: str | None, n_parts: int, seed: int) -> dict[str, Totals]:
    """Return `[4]` totals over all parts by method; `known` are weights that know the benchmark."""
    options = FitOptions(max_false_reject=ALPHA, confidence=CONFIDENCE, pretrained=weights)
    part = folds(family.table.prompt_ids, n_parts, seed)
    totals = {method: np.zeros(4) for method in (METHODS if known is None else (*METHODS, KNOWN))}
    for number in range(n_parts):
        rest, judged = family.table.where(part != number), family.table.where(part == number)
        plain = fit_policy(rest, options, traces=family.traces)
        if known is not None:
            fit = fit_policy(rest, options, traces=family.traces, pretrained=known)
            totals[KNOWN] += outcome(fit, judged, family.traces)
        linear = fit_policy(rest, options, method="linear")
        cap = certify([replace(linear.candidates, path=NO_POLICIES)], [linear.certifying], options)[0]
        totals["plain"] += outcome(plain, judged, family.traces)
        totals["linear beliefs"] += outcome(linear, judged)
        totals["certified length cap"] += outcome(cap, judged)
        spent, cut = capped(judged.cost, plain.file.length_cap.cap)
        lost = (judged.accepted & cut).sum()
        totals["observed length cap"] += [judged.cost.sum(), spent.sum(), judged.n_accepted, lost]
    return totals


def net_cost_factors(totals: Sequence[Totals]) -> Totals:
    """Return the net cost factor of each; 1 where nothing accepted is kept."""
    factor = rates(np.asarray(totals)).net_cost_factor
    return np.where(np.isfinite(factor), factor, 1.0)


def families_above(totals: Sequence[Totals]) -> int:
    """Return in how many the observed f is above α."""
    return int((rates(np.asarray(totals)).false_reject_rate > ALPHA).sum())


def records_of(judged: Mapping[str, dict[str, Totals]], families: Mapping[str, Family]) -> list[Record]:
    """Return means over families of every method, and every family."""
    records = []
    factors = {}
    allowed = int(binom.ppf(0.95, len(judged), 1 - CONFIDENCE))
    for method in METHODS:
        each = [totals[method] for totals in judged.values()]
        factors[method] = factor = net_cost_factors(each)
        shares = [float(f.table.cost[f.table.accepted].sum() / f.table.cost.sum()) for f in families.values()]
        saved = [(1 - x) / (1 - share) for x, share in zip(factor, shares, strict=True) if share < 1]
        targets = method == "plain"
        records += [
            Record(f"{method}: mean net cost factor", float(factor.mean()), "", "<= 0.85" if targets else ""),
            Record(f"{method}: mean captured share", float(np.mean(saved)), "", ">= 0.30" if targets else ""),
            Record(f"{method}: largest net cost factor", float(factor.max()), "", "<= 1.01" if targets else ""),
            Record(
                f"{method}: families with observed f > α", families_above(each), f"of {len(judged)}", f"<= {allowed}"
            ),
        ]
    dearer = factors["plain"] - factors["certified length cap"]
    worst = int(dearer.argmax())
    if of_known := [totals for totals in judged.values() if KNOWN in totals]:
        where = f"of {len(of_known)}"
        for method in (KNOWN, "plain"):
            each = [totals[method] for totals in of_known]
            what = f"{method}, families of known benchmarks"
            records += [
                Record(f"{what}: mean net cost factor", float(net_cost_factors(each).mean()), where),
                Record(f"{what}: families with observed f > α", families_above(each), where),
            ]
    records.append(
        Record("plain: most above the certified length cap", float(dearer[worst]), list(judged)[worst], "<= 0.01")
    )
    met = {"<=": np.less_equal, ">=": np.greater_equal}
    for i, record in enumerate(records):
        if record.target:
            ok = bool(met[record.target[:2]](float(record.value), float(record.target[3:])))
            records[i] = msgspec.structs.replace(record, ok=ok)
    for name, totals in judged.items():
        for method, of_family in totals.items():
            factor, f = (
                float(net_cost_factors([of_family])[0]),
                float(np.nan_to_num(rates(of_family).false_reject_rate)),
            )
            records.append(Record(f"{name}: {method}", factor, f"f = {f:.3f}"))
    return records


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, required=True, help="folder of trace files")
    parser.add_argument("--tables", type=Path, help="folder of evidence tables, to save time")
    parser.add_argument("--weights", type=Path, help="folder where pretrained weights are kept")
    parser.add_argument("--only", default="", help="judge only families whose names begin so, comma-separated")
    parser.add_argument("--parts", type=int, default=4, help="parts of the prompts (default 4)")
    parser.add_argument("--seed", type=int, default=0, help="how prompts are cut into parts")
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/plain_fit.json")
    given = parser.parse_args()
    say_now = partial(say, time.perf_counter())

    families = read_families(given.traces, given.tables)
    weights: dict[bool, dict[str, str]] = {False: {}, True: {}}
    for split in [*splits(list(families)), *splits_of_known(list(families))]:
        if split.all_prompts:
            learned = weights_for(families, split, given.weights, say_now)
            weights[split.known] |= dict.fromkeys(split.judged, learned)
    judged: dict[str, dict[str, Totals]] = {}
    for name in sorted(weights[False]):
        if not given.only or any(name.startswith(only) for only in given.only.split(",")):
            known = weights[True].get(name)
            judged[name] = judge(families[name], weights[False][name], known, given.parts, given.seed)
            rate = {method: rates(of) for method, of in judged[name].items()}
            factors = [f"{method} {float(of[2]):.3f} (f = {float(of[1]):.3f})" for method, of in rate.items()]
            say_now(f"{name}: {', '.join(factors)}")
    records = records_of(judged, {name: families[name] for name in judged})
    records += environment("msifr-policy", "numpy")
    if given.save:
        save_records(records, "plain_fit")
    print_records(records, given.json)


if __name__ == "__main__":
    main()
