"""Prequential certificates against the split of the plain fit: `python -m benchmarks._prequential [--json] [--save]`.

Prompts come in an order drawn by chance; the first are fitted on, the others are cut into {N_BLOCKS} **blocks** with
equal numbers of accepted attempts. Beliefs and paths are fitted before each block on all prompts before it, and tested
on it: every prompt both fits and certifies, but the first that only fit and the last block that only certifies. What
is certified is the **mixture**: for each attempt one of the {N_BLOCKS} policies is drawn, with equal chances, all of
the same path and step. It is not the last of them, which alone a user would want; that one is measured beside it, as
if the certificate were of it.

The policy of a block hangs on the outcomes before it, so losses are not independent. Given what was before, an accepted
attempt of block b is lost with the probability f_b; f of the mixture is their mean over the accepted attempts. For a
step of the path that is **chosen beforehand** by each block, from what came before it, two tests of H: f ≥ α are valid:

* **Bets.** For a bet ν fixed beforehand E = Π (1 − ν(D − α)) over accepted attempts has E[E / Π (1 − ν(f_b − α))] = 1,
  and Π (1 − ν(f_b − α)) ≤ 1 where f ≥ α, as the arithmetic is above the geometric mean; so E ≥ 1/δ together with f ≥ α
  has at most the probability δ. With the best ν for c losses of n that is n·KL(c/n, α) ≥ log 1/δ.
* **Worst chance.** The largest probability of at most c losses together with f ≥ α that any choice of f_1, f_2, … in
  view of the losses before can bring about: by backward induction over blocks, on a grid of what is left of n·α,
  rounded so that it is never too small. It comes out within the rounding of P(Bin(n, α) ≤ c), which is what one f for
  all blocks gives: looking back is of no use to an adversary here, and the exact binomial test may be used.

**Along the path**, until a step fails, neither is proved: which step is the first with f ≥ α hangs on later blocks,
whose policies have seen the losses of earlier ones at all steps. In the split, where it hangs on the fitting part
alone, there is no such question. How often f is above α is shown. So nothing of this
is an option of the fit: what is proved saves less than the split, and what saves more is not proved.

Beside them stand splits that like the mixtures spend all of δ on the path by price.

The worlds, draws and judgement are those of `benchmarks.certificates`, one attempt per prompt.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
from scipy.special import rel_entr
from scipy.stats import binom

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks._worlds import draw_table
from benchmarks.certificates import (
    ALPHA,
    DELTA,
    N_WORLDS,
    POWER,
    Array,
    Integers,
    Judged,
    judged_worlds,
    ones,
    progress,
)
from msifr_calibration import Family, fit_policy
from msifr_calibration.learn import Candidates, fit_candidates
from msifr_calibration.nested import nested
from msifr_calibration.sample_size import critical_number
from msifr_calibration.split import uniform
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.rates import rates

N_BLOCKS = 4
SIZES = (60, 100, 200)
LEAST_TO_FIT = 0.2
"""Share of the accepted attempts that only fit, or fewer, where a certificate needs the others."""
SPLITS = (0.55,)
"""Shares of the accepted attempts that certify, at most, where prompts are split once."""
N_JUDGED = 6000
"""Fresh attempts that policies are judged on; of more there are the oracle's saving, and the draws' sizes."""
STEPS = 4000
"""Of the grid of the worst chance."""
TARGETS = (0.005, 0.01)
"""Shares of good samples lost, by the estimate of its fitting prompts, that steps are chosen beforehand by."""
BY_PRICE = 0
"""The path that all of δ is spent on."""
PLAIN = "split (plain fit)"

PValue = Callable[[int, tuple[int, ...]], float]
"""Of the losses among the accepted attempts of blocks of these sizes."""


def main() -> None:
    """Run the comparison."""
    about = str(__doc__).format(N_BLOCKS=N_BLOCKS)
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="few draws: to see that it runs")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/prequential.json")
    parser.add_argument("--worlds", type=int, default=N_WORLDS, help="of so many worlds, each with as many draws")
    options = parser.parse_args()
    records = compare(options.worlds, options.quick) + environment("msifr-policy", "numpy", "scipy", "scikit-learn")
    if options.save:
        save_records(records, "prequential")
    print_records(records, options.json)


def compare(worlds: int, quick: bool) -> list[Record]:
    """Return the share of the oracle's saving of every way, by n, and what each has above the split on equal draws."""
    n_worlds, n_test = (2, 4000) if quick else (N_WORLDS, 20_000)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for number, judged in zip(range(worlds), judged_worlds(n_worlds, n_test), strict=False):
        for n in SIZES:
            for draw in range(3 if quick else POWER[n][1] // n_worlds):
                rng = np.random.default_rng((5, number, n, draw))
                size = round(n / np.mean(judged.test.accepted))
                table = draw_table(judged.world, ones(size), rng, accepted=n, name=f"d{number}-{n}-{draw}-")
                some = replace(judged, test=judged.test.take(np.arange(min(N_JUDGED, n_test))))
                for way, result in judged_ways(some, table).items():
                    found.setdefault((way, n), []).append(result)
            progress(f"  n = {n}")
    return [record for (way, n), results in found.items() for record in records_of(way, n, results, found[PLAIN, n])]


def records_of(
    way: str, n: int, results: Sequence[tuple[float, float]], plain: Sequence[tuple[float, float]]
) -> list[Record]:
    """Return the records of one way at one n."""
    share, f = np.asarray(results).T
    more = share - np.asarray(plain)[:, 0]
    error, error_of_more = (each.std(ddof=1) / math.sqrt(len(share)) for each in (share, more))
    name = f"n = {n}, {way}"
    records = [
        Record(f"{name}: share of the oracle's saving", float(share.mean()), f"± {error:.3f}"),
        Record(f"{name}: certified", float(np.mean(share != 0)), "of draws"),
        Record(f"{name}: f above α", float(np.mean(f > ALPHA)), "of draws"),
    ]
    if way != PLAIN:
        records.append(Record(f"{name}: share above", float(more.mean()), f"± {error_of_more:.3f}", "", PLAIN))
    return records


def judged_ways(judged: Judged, table: EvidenceTable) -> dict[str, tuple[float, float]]:
    """Return (share of the oracle's saving, false-reject rate on fresh attempts) of every way."""
    plain = fit_policy(table, max_false_reject=ALPHA, confidence=1 - DELTA).file.policy().stops(judged.test)
    ways = {PLAIN: judge(judged, [plain])}
    for share in SPLITS:
        blocks = fit_blocks(table, 1, share)
        ways[f"split, at most {share:g} certify"] = judge(judged, stops_of(blocks, judged, along_path(blocks)))
    blocks = fit_blocks(table)
    worths = worths_of(blocks, judged)
    for test, p_value in (("worst chance", worst_chance), ("bets", bets_p_value)):
        stops = stops_of(blocks, judged, along_path(blocks, p_value), worths)
        ways[f"mixture along the path, {test}"] = judge(judged, stops)
        ways[f"the last of the mixture along the path, {test}"] = judge(judged, stops[-1:])
    for target in TARGETS:
        chosen = chosen_beforehand(blocks, target)
        ways[f"mixture, steps of loss {target:g} chosen beforehand"] = judge(
            judged, stops_of(blocks, judged, chosen, worths)
        )
    return ways


def stops_of(
    blocks: Sequence[Block], judged: Judged, steps: Sequence[int], worths: Sequence[Array] | None = None
) -> list[Integers]:
    """Return `[N]` where each block's policy stops the fresh attempts, at its step of the path; never at step −1."""
    stops = []
    for block, step, worth in zip(blocks, steps, worths or worths_of(blocks, judged), strict=True):
        thresholds = block.candidates.paths[BY_PRICE].thresholds
        at = thresholds[min(step, len(thresholds) - 1)] if step >= 0 and len(thresholds) else np.zeros(0)
        stops.append(judged.test.stops(worth, at))
    return stops


def worths_of(blocks: Sequence[Block], judged: Judged) -> list[Array]:
    """Return `[R]` the worth that each block's beliefs see in the fresh attempts."""
    return [block.candidates.fitted.beliefs.worth(judged.test.k, judged.test.values)[1] for block in blocks]


def judge(judged: Judged, stops: Sequence[Integers]) -> tuple[float, float]:
    """Return (share of the oracle's saving, false-reject rate) of a mixture of policies that stop at `stops`."""
    test = judged.test
    # Each attempt is counted once under each policy: that is the mixture's mean.
    spent = np.mean([test.cost_until(stop).sum() for stop in stops])
    lost = np.mean([(test.accepted & (stop >= 0)).sum() for stop in stops])
    _, f, factor = rates([test.cost.sum(), spent, test.n_accepted, lost])
    return (1 - float(factor)) / judged.oracle, float(f)


@dataclass(frozen=True, slots=True)
class Block:
    """A block: candidates fitted on all prompts before it; what their path by price does to its accepted attempts.

    first: `[n]` the first policy that discards each accepted attempt of the block. expected: `[J, 4]` per attempt what
    is spent without and with each policy, accepted, and lost, as the fitting attempts tell.
    """

    candidates: Candidates
    first: Integers
    expected: Array

    @classmethod
    def of(cls, before: EvidenceTable, table: EvidenceTable) -> Block:
        """Return the block of `table`, which comes after `before`."""
        (candidates,) = fit_candidates([Family("", before)])
        fitted, path = candidates.fitted, candidates.paths[BY_PRICE]
        M, worth = fitted.beliefs.worth(table.k, table.values)
        known = nested(before, fitted.M, fitted.worth, path.thresholds)
        lost = known.outcomes[:, 1]
        full, accepted = (np.full(len(lost), float(total)) for total in (before.cost.sum(), before.n_accepted))
        return cls(
            candidates,
            nested(table, M, worth, path.thresholds).first[table.accepted],
            np.stack([full, known.spent, accepted, lost], axis=1) / before.n_attempts,
        )


def fit_blocks(table: EvidenceTable, n_blocks: int = N_BLOCKS, share: float = 1 - LEAST_TO_FIT) -> list[Block]:
    """Return the blocks in their order; each has as many accepted attempts, give or take one.

    Together they have the largest critical number of accepted attempts that is no more than `share`, or the first.
    """
    order = np.argsort(uniform(table.prompt_ids, table.fingerprint, "order"), kind="stable")
    place = np.empty(table.n_prompts, dtype=np.int64)
    place[order] = np.arange(table.n_prompts)
    counted = np.cumsum(table.accepted[np.argsort(place[table.prompt])])
    n = table.n_accepted
    certify = max(c for c in critical_numbers(n) if c <= max(share * n, critical_numbers(n)[0]))
    ends = np.searchsorted(counted, np.linspace(n - certify, n, n_blocks + 1).round()) + 1
    ends[-1] = table.n_prompts
    return [
        Block.of(table.where(place < start), table.where((place >= start) & (place < end)))
        for start, end in pairwise(ends.tolist())
    ]


def critical_numbers(n: int) -> list[int]:
    """Return the numbers of accepted attempts at which one more loss is allowed, up to n or the first."""
    numbers = [critical_number(0, ALPHA, 1 - DELTA)]
    while (following := critical_number(len(numbers), ALPHA, 1 - DELTA)) <= n:
        numbers.append(following)
    return numbers


def along_path(blocks: Sequence[Block], p_value: PValue | None = None) -> list[int]:
    """Return the step of each block in the cheapest certified mixture, all at one step; −1 where none is certified.

    Steps are tested in order until one fails. A path that has ended waits at its last step.
    """
    first = np.concatenate([block.first for block in blocks])
    sizes = tuple(len(block.first) for block in blocks)
    best, chosen = 1.0, -1
    for step in range(max(len(block.expected) for block in blocks)):
        if (p_value or worst_chance)(int((first <= step).sum()), sizes) > DELTA:
            break
        totals = sum(b.expected[min(step, len(b.expected) - 1)] for b in blocks if len(b.expected))
        factor = float(rates(totals).net_cost_factor)
        if factor < best:
            best, chosen = factor, step
    return [chosen] * len(blocks)


def chosen_beforehand(blocks: Sequence[Block], target: float) -> list[int]:
    """Return for each block the last step that seems to lose no more than `target`; −1 where that is not certified."""
    steps = [int(np.searchsorted(block.candidates.paths[BY_PRICE].losses, target, "right")) - 1 for block in blocks]
    lost = sum(int((block.first <= step).sum()) for block, step in zip(blocks, steps, strict=True))
    certified = worst_chance(lost, tuple(len(block.first) for block in blocks)) <= DELTA
    return steps if certified else [-1] * len(blocks)


def bets_p_value(losses: int, sizes: tuple[int, ...]) -> float:
    """Return exp(−n·KL(losses/n, α)), 1 where more are lost than α.

    Its bet is the best for so many losses; a test at a fixed level needs one bet only, that for the most it allows.
    """
    n = sum(sizes)
    if losses >= ALPHA * n:
        return 1.0
    q = losses / n
    return math.exp(-n * float(rel_entr(q, ALPHA) + rel_entr(1 - q, 1 - ALPHA)))


@cache
def worst_chance(losses: int, sizes: tuple[int, ...]) -> float:
    """Return the largest chance of at most so many losses with f ≥ α, f_b chosen in view of the losses before.

    V `[G + 1, losses + 1]` is the chance of no more than `losses` by budget left of Σ n_b·f_b, and losses so far. A
    block spends between j and j + 1 steps of budget: it is as if it lost like j, and had spent j + 1. No less than what
    is left of the budget has to be spent; more only loses more. 1 where the binomial chance is above δ already.
    """
    n, c = sum(sizes), losses
    if len(sizes) == 1 or binom.cdf(c, n, ALPHA) > DELTA:
        return float(binom.cdf(c, n, ALPHA)) if len(sizes) == 1 else 1.0
    budget = np.linspace(0, ALPHA * n, STEPS + 1)
    lost = np.arange(c + 1)
    f = budget[:, None] / sizes[-1]
    V = np.where(f <= 1, binom.cdf(c - lost, sizes[-1], np.minimum(f, 1)), 0.0)
    for size in reversed(sizes[:-1]):
        f = budget / size
        chance = np.where(f[:, None] <= 1, binom.pmf(lost, size, np.minimum(f, 1)[:, None]), 0.0)
        before = np.zeros_like(V)
        for so_far in lost:
            after = chance[:, : c + 1 - so_far] @ V[:, so_far:].T  # [spent by this block, left then]
            for left in range(STEPS + 1):
                spent = np.arange(left + 1)
                before[left, so_far] = after[spent, np.maximum(left - spent - 1, 0)].max()
        V = before
    return float(V[-1, 0])


if __name__ == "__main__":
    main()
