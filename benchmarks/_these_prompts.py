"""Certificates about further attempts at these prompts: `python -m benchmarks._these_prompts [--json] [--save]`.

In the worlds of `benchmarks.certificates`, prompts with 16 attempts each are fitted and certified on, once for new
prompts and once for these. Both are judged on 64 further attempts at the same prompts; the policy for new prompts also
has to hold at those, which is more than it needs to. Neither reads the history of a prompt. The share is of what the
oracle saves there, by the path of the true beliefs and with f ≤ α there. ρ is the correlation of two attempts of one
prompt: at ρ = 0 all prompts are alike, at ρ = 0.5 most of their attempts end as one attempt that their prompt has in
common.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import numpy as np

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks._worlds import World, draw_table, draw_world, true_beliefs
from benchmarks.certificates import ALPHA, DELTA, N_WORLDS, Array, ones, outcome, progress
from msifr_calibration import fit_policy
from msifr_calibration.path import fit_path
from msifr_policy.beliefs.blend import worth_of
from msifr_policy.evidence.table import EvidenceTable

ATTEMPTS, FURTHER = 16, 64
SETTINGS = {(100, 0.0): 12, (100, 0.5): 12, (30, 0.0): 12, (30, 0.5): 12}
"""Draws in each world by number of prompts and ρ."""
SCOPES = ("new prompts", "these prompts")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="one draw in one world: to see that it runs")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/these_prompts.json")
    options = parser.parse_args()
    records = [*compare(options.quick), *environment("msifr-policy", "numpy", "scipy", "scikit-learn")]
    if options.save:
        save_records(records, "these_prompts")
    print_records(records, options.json)


def compare(quick: bool) -> Iterator[Record]:
    """Yield what each scope certifies, saves and loses."""
    found: dict[tuple[int, float, str], list[tuple[float, float, float]]] = {}
    for number in range(1 if quick else N_WORLDS):
        world = draw_world(np.random.default_rng((1, number)))
        oracle = oracle_path(world, np.random.default_rng((4, number)))
        for (n_prompts, correlation), draws in SETTINGS.items():
            for draw in range(1 if quick else draws):
                rng = np.random.default_rng((10, number, n_prompts, round(10 * correlation), draw))
                name = f"s{number}-{n_prompts}-{correlation}-{draw}-"
                attempts = np.full(n_prompts, ATTEMPTS + FURTHER)
                every = draw_table(world, attempts, rng, correlation=correlation, name=name)
                first = np.tile(np.arange(ATTEMPTS + FURTHER) < ATTEMPTS, n_prompts)
                table, further = (every.take(np.flatnonzero(part)) for part in (first, ~first))
                best = oracle_saving(world, *oracle, further)
                for scope in SCOPES:
                    fit = fit_policy(table, max_false_reject=ALPHA, confidence=1 - DELTA, scope=scope, history=False)
                    saving, f = outcome(further, fit.file.policy().stops(further))
                    result = (fit.file.certificate.certified, saving / best, f)
                    found.setdefault((n_prompts, correlation, scope), []).append(result)
            progress(f"world {number + 1} of {N_WORLDS}, {n_prompts} prompts, ρ = {correlation}")
    for (n_prompts, correlation, scope), results in found.items():
        certified, share, f = np.asarray(results, dtype=float).T
        name = f"{n_prompts} prompts x {ATTEMPTS} attempts, ρ = {correlation}, certified for {scope}"
        error = share.std(ddof=1) / math.sqrt(len(share)) if len(share) > 1 else math.nan
        yield Record(f"{name}: share of the oracle's saving", float(share.mean()), f"± {error:.3f}")
        yield Record(f"{name}: certified", float(certified.mean()), f"of {len(certified)}")
        yield Record(f"{name}: f of further attempts above α", float(np.mean(f > ALPHA)), "of draws")


def oracle_path(world: World, rng: np.random.Generator) -> tuple[Array, float]:
    """Return thresholds `[J, K + 1]` of the path of the true beliefs, and the cost per accepted it was made at."""
    table = draw_table(world, ones(20_000), rng, name="o")
    M, r = true_beliefs(world, table)
    rho = table.cost_per_accepted
    return fit_path(table, M, worth_of(M, r, rho)).thresholds, rho


def oracle_saving(world: World, thresholds: Array, rho: float, further: EvidenceTable) -> float:
    """Return the largest saving on `further` of a policy of the path with f ≤ α there."""
    worth = worth_of(*true_beliefs(world, further), rho)
    outcomes = (outcome(further, further.stops(worth, each)) for each in thresholds)
    return max(saving for saving, f in outcomes if f <= ALPHA)


if __name__ == "__main__":
    main()
