"""How much a certificate lets one family save at most: `python -m benchmarks.certifiable --traces FOLDER [--save]`.

Each file of FOLDER is a family (one model on one benchmark). Of n accepted samples that certify, the exact test at
α = 5 % and confidence 90 % lets c(n) be lost: none of 45, 3 of 132, 5 of 184, 29 of 744. So no certified policy has
an observed f above c(n)/n on them, however good its evidence. Here n is all there is: the accepted samples (one attempt
of each prompt) at three quarters of the prompts, as if none were needed to fit, as `benchmarks.plain_fit` has them. The
path is made by linear beliefs on *all* prompts of the family and its step chosen in hindsight, as are length caps:
what is best at f ≤ 5 %, and what is best at f ≤ c(n)/n. Families that can certify nothing save nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import binom

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks.pretrained import read_families
from benchmarks.real_traces import say
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.held_out import one_each
from msifr_calibration.nested import nested
from msifr_calibration.path import fit_length_path, fit_path
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.rates import rates

ALPHA, CONFIDENCE = 0.05, 0.9
_CERTIFY = 0.75


def lost_at_most(n_accepted: int) -> float:
    """Return the largest share c/n of n accepted samples that may be lost for f ≤ α to be certified; −1: none may."""
    c = np.arange(n_accepted + 1)
    passes = binom.cdf(c, n_accepted, ALPHA) <= 1 - CONFIDENCE
    return float(c[passes].max() / n_accepted) if n_accepted and passes.any() else -1.0


def best_factors(table: EvidenceTable, limits: tuple[float, ...]) -> list[float]:
    """Return the least net cost factor in hindsight among policies with an observed f up to each of `limits`."""
    fitted = fit_linear_beliefs(table)
    factors, losses = [1.0], [-1.0]
    for path in (fit_path(table, fitted.M, fitted.worth), fit_length_path(table, fitted.M)):
        done = nested(table, fitted.M, fitted.worth, path.thresholds)
        full, accepted = np.full(len(done.spent), table.cost.sum()), np.full(len(done.spent), table.n_accepted)
        of_path = rates(np.stack([full, done.spent, accepted, done.lost], axis=1))
        kept = np.isfinite(of_path.net_cost_factor)
        factors += of_path.net_cost_factor[kept].tolist()
        losses += of_path.false_reject_rate[kept].tolist()
    return [float(np.min(np.asarray(factors)[np.asarray(losses) <= max(limit, -1.0)])) for limit in limits]


def bounds(tables: Mapping[str, EvidenceTable]) -> list[Record]:
    """Return the means over families, and every family."""
    rows, started = {}, time.perf_counter()
    for name, table in tables.items():
        counted = int(_CERTIFY * table.accepted[one_each(table.prompt, table.attempt_ids, "")].sum())
        limit = lost_at_most(counted)
        rows[name] = (counted, limit, *best_factors(table, (ALPHA, limit)))
        say(started, f"{name}: {counted} to certify on")
    budget, certifiable = np.asarray([row[2:] for row in rows.values()]).T
    where = f"of {len(rows)}"
    records = [
        Record("in hindsight at f <= 5 %: mean net cost factor", float(budget.mean()), where),
        Record("in hindsight at what n samples certify: mean net cost factor", float(certifiable.mean()), where),
        Record("families that can certify nothing", sum(row[1] < 0 for row in rows.values()), where),
    ]
    for name, (counted, limit, *best) in rows.items():
        told = f"{counted} to certify on, f <= {max(limit, 0):.3f}; {best[0]:.3f} at f <= 0.05"
        records.append(Record(f"{name}: certifiable", best[1], told))
    return records


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, required=True, help="folder of trace files")
    parser.add_argument("--tables", type=Path, help="folder of evidence tables, to save time")
    parser.add_argument("--save", action="store_true", help="write results/certifiable.json")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    families = read_families(args.traces, args.tables)
    records = bounds({name: family.table for name, family in families.items()}) + environment("numpy", "scipy")
    if args.save:
        save_records(records, "certifiable")
    print_records(records, args.json)


if __name__ == "__main__":
    main()
