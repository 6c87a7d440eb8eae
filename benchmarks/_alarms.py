"""How soon the monitor of a run sees that a certificate no longer holds, how often it is wrong, and what it costs.

The world of the design's numbers, which delays are held against: one attempt per prompt, half of them good, of the bad
ones 60 % discarded, and 5 % of would-be discards audited. A delay is counted in audited attempts, on average over
{RUNS} runs; from the start, or after a change from f = 2 % at prompt 10,000. Posteriors of would-be discards are drawn
from a Beta law of concentration 1 around the share of good samples among them, and calibrated. `benchmarks.live` puts
these numbers beside the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binom

from benchmarks._records import Record
from msifr_calibration.monitor.alarms import Alarms, bets_on_excess
from msifr_calibration.monitor.calibration_test import CalibrationTest
from msifr_calibration.monitor.confidence import ConfidenceSequence
from msifr_calibration.monitor.monitor import DETECTOR_THRESHOLD, Monitor
from msifr_calibration.monitor.scores import Score
from msifr_policy.audit import Audit, Audited
from msifr_policy.records.ledger import Entry

Array = NDArray[np.float64]

ALPHA, SHARE = 0.05, 0.05
GOOD, BAD_DISCARDED = 0.5, 0.6
RUNS = 600
SLACK = 1.15
CHANGE_AT, BEFORE = 10_000, 0.02
CONCENTRATION = 1.0
FALSE_ALARM = 1e-6

# Mean numbers of audits of the design, by f: from the start at δ = 5 % and 10 %; by √posterior; after a change.
START = {0.05: {0.08: 292, 0.15: 38}, 0.1: {0.08: 233, 0.15: 31}}
BY_ROOT = {0.08: 121, 0.15: 23}
CHANGE = {"detector": {0.08: 258, 0.15: 52}, "restarts": {0.08: 599, 0.15: 93}}
BELIEFS = {"shifted by 0.3": 475, "shifted by 0.6": 93, "too bold by 30 %": 220, "too timid by 30 %": 220}


def alarms(quick: bool = False) -> list[Record]:
    """Return all records; `quick` with few runs, to see that it works."""
    runs = 40 if quick else RUNS
    parts = (delays(runs), false_alarms(runs, 500 if quick else 20_000), beliefs(4 if quick else 100), speed(quick))
    return [record for part in parts for record in part]


class World(NamedTuple):
    """Attempts of a policy with false-reject rate f, audited by `audit`."""

    f: float
    audit: Audit

    @classmethod
    def of(cls, f: float, *, by_root: bool = False) -> World:
        """Return the world, whose audit knows E[√M] of would-be discards."""
        if not by_root:
            return cls(f, Audit(share=SHARE))
        M = _posteriors(f, 200_000, np.random.default_rng(0))
        return cls(f, Audit(share=SHARE, mean_root=float(np.sqrt(M).mean())))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Return lost, kept and whether it was audited, `[n]` each, of one attempt in each of n runs."""
        up = rng.random(n) < GOOD * self.f + (1 - GOOD) * BAD_DISCARDED
        M = _posteriors(self.f, n, rng)
        kept = GOOD * (1 - self.f) / (GOOD * (1 - self.f) + (1 - GOOD) * (1 - BAD_DISCARDED))
        good = rng.random(n) < np.where(up, M, kept)
        epsilon = np.full(n, self.audit.share)
        if self.audit.mean_root is not None:
            epsilon = np.clip(self.audit.share * np.sqrt(M) / self.audit.mean_root, self.audit.floor, 1)
        audited = up & (rng.random(n) < epsilon)
        return np.where(good & audited, 1 / epsilon, 0.0), (good & ~up).astype(np.float64), audited


def _posteriors(f: float, n: int, rng: np.random.Generator) -> Array:
    mean = GOOD * f / (GOOD * f + (1 - GOOD) * BAD_DISCARDED)
    result: Array = rng.beta(CONCENTRATION * mean, CONCENTRATION * (1 - mean), n)
    return result


def delays(runs: int) -> Iterator[Record]:
    """Yield mean numbers of audits until each alarm."""
    thresholds = {("restarts", 1 / delta): delta for delta in START}
    for f in (0.08, 0.15):
        found = _delay(World.of(f), runs, list(thresholds))
        for which, delta in thresholds.items():
            yield _delay_record(f"alarm at δ = {delta:.0%}, f = {f:.0%}", found[which], START[delta][f])
    for f in (0.08, 0.15):
        found = _delay(World.of(f, by_root=True), runs, [("restarts", 20.0)])
        yield _delay_record(f"alarm at δ = 5%, f = {f:.0%}, by √posterior", found["restarts", 20.0], BY_ROOT[f])
    after = {("restarts", 20.0): "alarm at δ = 5%", ("detector", DETECTOR_THRESHOLD): "warning"}
    for f in (0.08, 0.15):
        found = _delay(World.of(f), runs, list(after), before=World.of(BEFORE))
        for which, name in after.items():
            yield _delay_record(f"{name}, f from {BEFORE:.0%} to {f:.0%}", found[which], CHANGE[which[0]][f])


def _delay(
    world: World, runs: int, wanted: list[tuple[str, float]], before: World | None = None
) -> dict[tuple[str, float], Array]:
    """Return `[runs]` audits until each (statistic, threshold), without runs whose alarm rang before the change."""
    rng = np.random.default_rng(1)
    statistics = Alarms(bets_on_excess(ALPHA, SHARE), (runs,))
    found = {which: np.full(runs, np.nan) for which in wanted}
    early = {which: np.zeros(runs, dtype=bool) for which in wanted}
    audits, prompt = np.zeros(runs), 0
    while any((np.isnan(found[which]) & ~early[which]).any() for which in wanted):
        changed = before is None or prompt >= CHANGE_AT
        lost, kept, audited = (world if changed or before is None else before).draw(runs, rng)
        audits += audited if changed else 0
        statistics.add(lost * (1 - ALPHA) - kept * ALPHA)
        prompt += 1
        for which in wanted:
            over = getattr(statistics, which[0]) >= which[1]
            if changed:
                found[which][over & np.isnan(found[which])] = audits[over & np.isnan(found[which])]
            else:
                early[which] |= over
    return {which: each[~early[which]] for which, each in found.items()}


def _delay_record(name: str, audits: Array, design: float) -> Record:
    most = SLACK * design
    mean = float(audits.mean())
    error = float(audits.std(ddof=1) / np.sqrt(len(audits)))
    return Record(f"{name}: audits", mean, f"± {error:.1f}", f"<= {most:.0f}", ok=mean <= most)


def false_alarms(runs: int, prompts: int) -> Iterator[Record]:
    """Yield how often the alarm is false at f = α, and how long it takes until a detector of threshold 1,000 is."""
    for name, by_root in (("", False), (", by √posterior", True)):
        rng = np.random.default_rng(2)
        world = World.of(ALPHA, by_root=by_root)
        statistics = Alarms(bets_on_excess(ALPHA, SHARE), (runs,))
        most, warned = np.zeros(runs), np.full(runs, np.inf)
        for prompt in range(prompts):
            lost, kept, _ = world.draw(runs, rng)
            statistics.add(lost * (1 - ALPHA) - kept * ALPHA)
            most = np.maximum(most, statistics.restarts)
            warned = np.where((statistics.detector >= 1000) & np.isinf(warned), prompt + 1, warned)
        for delta in (0.05, 0.1):
            allowed = binom.isf(FALSE_ALARM, runs, delta) / runs
            rate = float((most >= 1 / delta).mean())
            yield Record(f"false alarms at δ = {delta:.0%} and f = α{name}", rate, f"of {runs}", f"<= {allowed:.3f}",
                         ok=rate <= allowed)  # fmt: skip
        mean = float(np.minimum(warned, prompts).mean())
        yield Record(f"mean prompts to a false warning at threshold 1,000{name}", mean, "at least", ">= 1000",
                     ok=mean >= 1000)  # fmt: skip


def beliefs(runs: int) -> Iterator[Record]:
    """Yield finished attempts until the test of beliefs is at 20, and how often it is where they are calibrated.

    Log-odds begin at 0 where beliefs are shifted, and are spread by 1 where they are stretched; they learn at six
    checkpoints. The test is looked at after each prompt. A test that knew the shift, and bet on it alone at the first
    checkpoint, is the peer.
    """
    kinds: dict[str, tuple[float, float, float]] = {
        "shifted by 0.3": (0.3, 1.0, 0.0),
        "shifted by 0.6": (0.6, 1.0, 0.0),
        "too bold by 30 %": (0.0, 1 / 0.7, 1.0),
        "too timid by 30 %": (0.0, 0.7, 1.0),
    }
    for name, (shift, slope, spread) in kinds.items():
        needed, knew = [], []
        for run in range(runs):
            odds, accepted = _odds(3000, spread, np.random.default_rng((3, run)))
            told = expit(odds * slope + shift)
            needed.append(_attempts_needed(told, accepted))
            q, p = expit(odds[:, 0]), told[:, 0]
            ratio = np.cumsum(np.log(np.where(accepted, q / p, (1 - q) / (1 - p))))
            knew.append(int(np.argmax(ratio >= np.log(20))) + 1 if (ratio >= np.log(20)).any() else len(ratio))
        mean, most = float(np.mean(needed)), SLACK * BELIEFS[name]
        peer = f"{np.mean(knew):.0f} knowing the shift" if shift else ""
        yield Record(f"beliefs {name}: attempts", mean, "", f"<= {most:.0f}", peer, ok=mean <= most)
    rung = 0
    for run in range(runs):
        odds, accepted = _odds(6000, 1.0, np.random.default_rng((4, run)))
        rung += _attempts_needed(expit(odds), accepted, each=False) < 6000
    allowed = binom.isf(FALSE_ALARM, runs, 0.05) / runs
    yield Record("calibrated beliefs called wrong in 6,000 attempts", rung / runs, f"of {runs}", f"<= {allowed:.3f}",
                 ok=rung / runs <= allowed)  # fmt: skip


def _odds(n: int, spread: float, rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """Return log-odds `[n, 7]` of calibrated beliefs, and outcomes `[n]`."""
    odds = np.empty((n, 7))
    odds[:, 0] = rng.normal(0, spread, n) if spread else 0.0
    accepted = rng.random(n) < expit(odds[:, 0])
    for k in range(6):
        odds[:, k + 1] = odds[:, k] + np.where(accepted, 0.18, -0.18) + rng.normal(0, 0.6, n)
    return odds, accepted


def _attempts_needed(told: Array, accepted: NDArray[np.bool_], *, each: bool = True) -> int:
    test = CalibrationTest()
    for i, (M, good) in enumerate(zip(told.tolist(), accepted.tolist(), strict=True)):
        outcome = "accepted" if good else "unaccepted"
        test.add([_entry(f"p{i}", outcome, tuple(M))])
        if (each or i % 32 == 31) and test.largest >= 20:
            return i + 1
    return len(told)


def _entry(prompt: str, outcome: str, posteriors: tuple[float, ...]) -> Entry:
    return Entry(id=prompt, prompt_id=prompt, outcome=outcome, tokens=0, prompt_tokens=0, seconds=0.0,
                 posteriors=posteriors)  # type: ignore[arg-type]  # fmt: skip


def speed(quick: bool) -> Iterator[Record]:
    """Yield processor seconds for 1,000,000 prompts, one after the other: alarms and interval; the whole monitor.

    The whole is measured on 50,000 prompts with four beliefs each.
    """
    n = 10_000 if quick else 1_000_000
    world = World.of(BEFORE, by_root=True)
    rng = np.random.default_rng(5)
    lost, kept, _ = world.draw(n, rng)
    scores = list(map(Score, lost.tolist(), kept.tolist()))
    statistics = Alarms(bets_on_excess(ALPHA, SHARE))
    sequence = ConfidenceSequence(0.9, world.audit)
    began = time.process_time()
    for score in scores:
        sequence.add(score)
        statistics.add(score.at(ALPHA))
    seconds = (time.process_time() - began) * 1_000_000 / n
    yield Record("alarms and interval for 1,000,000 prompts", seconds, "s", "< 60", ok=seconds < 60)
    n = min(n, 50_000)
    told = rng.beta(2, 2, (n, 4)).round(5).tolist()
    entries = []
    for i in range(n):
        outcome = "accepted" if kept[i] or lost[i] else "unaccepted"
        audited = Audited(float(1 / lost[i]), 1, 0.1) if lost[i] else None
        entries.append([msgspec.structs.replace(_entry(f"p{i}", outcome, tuple(told[i])), audited=audited)])
    monitor = Monitor(max_false_reject=ALPHA, audit=world.audit)
    began = time.process_time()
    for each in entries:
        monitor.add(each)
    yield Record("the whole monitor for 1,000,000 prompts", (time.process_time() - began) * 1_000_000 / n, "s")


if __name__ == "__main__":
    from benchmarks._records import print_records

    print_records(alarms(), json=False)
