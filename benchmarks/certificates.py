"""Power, validity and speed of certificates: `python -m benchmarks.certificates [--json] [--quick] [--save] …`.

Power. In worlds whose truth is known (`_worlds`) the oracle walks the path of policies with the true beliefs and takes
the policy that saves most among those whose true false-reject rate is at most α. **Share** is what a certified policy
saves of that: (1 − its net cost factor) / (1 − the oracle's), both on many fresh attempts; 0 where nothing is
certified. n counts the accepted attempts there are in all, one attempt per prompt. "Plain" is `fit_policy` as anyone
calls it. "Beliefs from elsewhere": beliefs and paths are fitted in the other worlds, and all n certify. The peers,
e-valuator and MAPIE (`--peers PYTHON`, an interpreter that has them: `_peers`), get the same posterior at the same α
and δ: fitted on all n and cross-fitted by prompt on them, which is more than a split leaves us, or from elsewhere.

Validity. Policies of false-reject rate α exactly, the hardest case: each certificate is then wrong, and at most δ of
them may be. With {REPEATS} calibrations a right test is called wrong here with probability {FALSE_ALARM:g} per setting,
and one that errs in more than {NOTICED:.1%} of cases for δ = 10 % is let pass with the same probability.

Speed. 1,000,000 attempts x 16 checkpoints x 8 columns, fitted and certified in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import beta, binom

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks._worlds import World, draw_table, draw_world, large_table, stacked, table_of, true_beliefs
from msifr_calibration import Family, FitOptions, fit_policy
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.certificate import certificate_of, certify_in_order
from msifr_calibration.certify import certify
from msifr_calibration.held_out import HeldOut, Test
from msifr_calibration.learn import Candidates, fit_candidates
from msifr_calibration.path import fit_path
from msifr_policy.beliefs.blend import worth_of
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.fitted_policy import FittedPolicy
from msifr_policy.policy_file import Weigh
from msifr_policy.rates import rates

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

ALPHA, DELTA = 0.05, 0.1
REPEATS = 2000
FALSE_ALARM = 1e-6
ALLOWED = int(binom.isf(FALSE_ALARM, REPEATS, DELTA))
NOTICED = float(beta.isf(FALSE_ALARM, ALLOWED + 1, REPEATS - ALLOWED))
POWER = {60: (0.45, 200), 100: (0.58, 200), 200: (0.70, 200), 1000: (0.88, 200)}
"""By n: the share aimed at, and the number of draws."""
MANY_DRAWS = 40
N_WORLDS = 8


def main() -> None:
    """Run the benchmark."""
    about = str(__doc__).format(REPEATS=REPEATS, FALSE_ALARM=FALSE_ALARM, NOTICED=NOTICED)
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="few draws, small arrays: to see that it runs; no targets")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/certificates.json")
    parser.add_argument("--traces", metavar="FOLDER", help="accepted by every benchmark; this one reads no traces")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of an environment with e-valuator and MAPIE")
    parser.add_argument("--only", choices=("power", "validity", "speed"), help="one part of it")
    parser.add_argument("--speed-process", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.speed_process:
        sys.stdout.write(json.dumps(time_fit(options.speed_process, options.peers)))
        return
    parts: dict[str, Callable[[], list[Record]]] = {
        "power": lambda: power(options.peers, options.quick),
        "validity": lambda: validity(200 if options.quick else REPEATS),
        "speed": lambda: speed(20_000 if options.quick else 1_000_000, options.peers),
    }
    records = [r for name, part in parts.items() if options.only in (None, name) for r in part()]
    if options.quick:
        records = [replace_target(record) for record in records]
    records += environment(*(name for name in ("msifr-policy", "numpy", "scipy", "scikit-learn")))
    if options.save:
        save_records(records, "certificates")
    print_records(records, options.json)


def replace_target(record: Record) -> Record:
    """Return the record without a target: few draws say nothing about it."""
    return Record(record.metric, record.value, record.unit, "", record.peer, None)


def progress(line: str) -> None:
    """Say on stderr how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


# What of the package is not public is called here and nowhere else.


def certify_elsewhere(candidates: Candidates, table: EvidenceTable) -> FittedPolicy:
    """Return the policy certified on all of `table`, of candidates fitted elsewhere."""
    (fit,) = certify([candidates], [table], FitOptions(max_false_reject=ALPHA, confidence=1 - DELTA))
    return fit.file.policy()


def is_certified(
    paths: Sequence[Sequence[Flags]],
    tables: Sequence[EvidenceTable],
    test: Test,
    key: str,
    *,
    weigh: Weigh = "prompts",
    by_group: bool = False,
) -> bool:
    """Return whether any policy of `paths` is certified; each discards `[N]` of the attempts of `tables`."""
    held_out = HeldOut.of(tables, key, weigh, by_group=by_group)
    weights = np.full(len(paths), 1 / len(paths)).tolist()
    tested = certify_in_order(paths, held_out, max_false_reject=ALPHA, confidence=1 - DELTA, test=test, weights=weights)
    return any(path.n_certified for path in tested.paths)


def group_upper(table: EvidenceTable, discarded: Flags, group: str, key: str) -> float:
    """Return the upper bound on f of a group that a certificate shows."""
    none = np.zeros(table.n_attempts, dtype=bool)
    tested = certify_in_order([[none]], HeldOut.of([table], key), max_false_reject=ALPHA, confidence=1 - DELTA)
    return certificate_of(tested, table, (0, 0), discarded, key=key).groups[group].upper


# Power.


@dataclass(frozen=True, slots=True)
class Judged:
    """A world, fresh attempts to judge policies on, what the oracle saves there, and what is fitted in other worlds."""

    world: World
    test: EvidenceTable
    oracle: float
    elsewhere: Candidates


def judged_worlds(n_worlds: int, n_test: int) -> Iterator[Judged]:
    """Yield worlds; beliefs and path from elsewhere are fitted on 500 attempts of each of the others."""
    worlds = [draw_world(np.random.default_rng((1, i))) for i in range(n_worlds)]
    others = [draw_table(w, ones(500), np.random.default_rng((2, i)), name=f"e{i}-") for i, w in enumerate(worlds)]
    for i, world in enumerate(worlds):
        progress(f"world {i + 1} of {n_worlds}")
        test = draw_table(world, ones(n_test), np.random.default_rng((3, i)), name=f"t{i}-")
        (elsewhere,) = fit_candidates([Family("", stacked(others[:i] + others[i + 1 :]))])
        yield Judged(world, test, oracle_saving(world, test, np.random.default_rng((4, i))), elsewhere)


def ones(n: int) -> Integers:
    """Return `[n]` one attempt for each prompt."""
    return np.ones(n, dtype=np.int64)


def oracle_saving(world: World, test: EvidenceTable, rng: np.random.Generator) -> float:
    """Return the largest saving on `test` of a policy with f ≤ α there, on the path of the true beliefs."""
    table = draw_table(world, ones(20_000), rng, name="o")
    M, r = true_beliefs(world, table)
    rho = table.cost_per_accepted
    worth = worth_of(*true_beliefs(world, test), rho)
    path = fit_path(table, M, worth_of(M, r, rho))
    return max(saving for saving, f in (outcome(test, test.stops(worth, t)) for t in path.thresholds) if f <= ALPHA)


def outcome(table: EvidenceTable, stop: Integers) -> tuple[float, float]:
    """Return (1 − net cost factor, false-reject rate) of discarding at rows `stop` `[N]`."""
    lost = (table.accepted & (stop >= 0)).sum()
    _, f, factor = rates([table.cost.sum(), table.cost_until(stop).sum(), table.n_accepted, lost])
    return 1 - float(factor), float(f)


@dataclass(frozen=True, slots=True)
class Case:
    """What peers get of one draw: the posterior `[R]` of its attempts, and that of the fresh ones."""

    n: int
    table: EvidenceTable
    M: Array
    fresh: Array


def power(peers: str | None, quick: bool) -> list[Record]:
    """Return share and wrong certificates by n, of every method; and how often many attempts per prompt certify."""
    n_worlds, n_test = (2, 4000) if quick else (N_WORLDS, 20_000)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    differences, many = [], []
    for number, judged in enumerate(judged_worlds(n_worlds, n_test)):
        cases: dict[str, list[Case]] = {"cross-fitted": [], "from elsewhere": []}
        for n, (_, draws) in POWER.items():
            for draw in range(3 if quick else draws // n_worlds):
                rng = np.random.default_rng((5, number, n, draw))
                size = round(n / np.mean(judged.test.accepted))
                table = draw_table(judged.world, ones(size), rng, accepted=n, name=f"d{number}-{n}-{draw}-")
                fit = fit_policy(table, max_false_reject=ALPHA, confidence=1 - DELTA)
                stops = {
                    "plain": fit.file.policy().stops(judged.test),
                    "beliefs from elsewhere": certify_elsewhere(judged.elsewhere, table).stops(judged.test),
                }
                for method, stop in stops.items():
                    found.setdefault((method, n), []).append(shared(judged, stop))
                if peers:
                    own, there = fit_linear_beliefs(table), judged.elsewhere.fitted.beliefs
                    cases["cross-fitted"].append(Case(n, table, own.M, posterior(own.beliefs, judged.test)))
                    elsewhere = Case(n, table, posterior(there, table), posterior(there, judged.test))
                    cases["from elsewhere"].append(elsewhere)
            progress(f"  n = {n}")
        for scores, these in cases.items() if peers else ():
            answer = ask_peers(str(peers), these)
            differences.append(answer["check"])
            for case, said in zip(these, answer["cases"], strict=True):
                for peer, stop in peer_stops(judged.test, case.fresh, said).items():
                    found.setdefault((f"{peer}, {scores}", case.n), []).append(shared(judged, stop))
            progress(f"  peers, {scores}")
        for draw in range(1 if quick else MANY_DRAWS // n_worlds):
            rng = np.random.default_rng((9, number, draw))
            table = draw_table(judged.world, np.full(200, 8), rng, correlation=0.5, name=f"m{number}-{draw}-")
            fit = fit_policy(table, max_false_reject=ALPHA, confidence=1 - DELTA)
            many.append((fit.file.certificate.certified, *shared(judged, fit.file.policy().stops(judged.test))))
    return [*power_records(found, differences), *many_records(many)]


def many_records(many: Sequence[tuple[bool, float, float]]) -> list[Record]:
    """Return how often 200 prompts of 8 attempts certify, and what is saved."""
    certified, share, f = np.asarray(many, dtype=float).T.tolist()
    name = "power, 200 prompts x 8 attempts, ρ = 0.5"
    often = float(np.mean(certified))
    return [
        Record(f"{name}: certified", often, f"of {len(many)}", ">= 0.95", "", often >= 0.95),
        Record(
            f"{name}: share of the oracle's saving", float(np.mean(share)), f"± {np.std(share) / len(many) ** 0.5:.3f}"
        ),
        Record(f"{name}: f above α", float(np.mean(np.asarray(f) > ALPHA)), "of draws"),
    ]


def posterior(beliefs: Any, table: EvidenceTable) -> Array:
    """Return `[R]` the posterior of beliefs."""
    M: Array = beliefs.predict(table.k, table.values)[0]
    return M


def shared(judged: Judged, stop: Integers) -> tuple[float, float]:
    """Return (share of the oracle's saving, false-reject rate)."""
    saving, f = outcome(judged.test, stop)
    return saving / judged.oracle, f


def power_records(found: dict[tuple[str, int], list[tuple[float, float]]], differences: list[float]) -> list[Record]:
    """Return the records; methods of ours have targets."""
    peers = {"plain": "cross-fitted", "beliefs from elsewhere": "from elsewhere"}
    records = []
    for (method, n), results in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        share, f = np.asarray(results).T
        rivals = {
            rival: float(np.mean([one for one, _ in outcomes]))
            for (rival, m), outcomes in found.items()
            if m == n and method in peers and rival not in peers and rival.endswith(peers[method])
        }
        error = share.std(ddof=1) / np.sqrt(len(share))
        broken, allowed = int((f > ALPHA).sum()), int(binom.isf(FALSE_ALARM, len(f), DELTA))
        name = f"power, n = {n}, {method}"
        ours = method in peers
        target = POWER[n][0]
        records += [
            Record(
                f"{name}: share of the oracle's saving",
                float(share.mean()),
                f"± {error:.3f}",
                f">= {target}" if ours else "",
                "",
                bool(share.mean() >= target) if ours else None,
            ),
            Record(f"{name}: certified", float((share != 0).mean()), "of draws"),
            Record(
                f"{name}: f above α",
                broken / len(f),
                "of draws",
                f"<= {allowed}/{len(f)}" if ours else "",
                "",
                broken <= allowed if ours else None,
            ),
        ]
        for rival, theirs in rivals.items():
            margin = float(share.mean()) - theirs
            records.append(Record(f"{name}: share above", margin, "", "> 0", rival, margin > 0))
    if differences:
        largest = max(differences)
        records.append(
            Record("e-valuator step by step against row by row", largest, "", "<= 1e-9", "", largest <= 1e-9)
        )
    else:
        records.append(Record("power: peers", "not installed"))
    return records


def ask_peers(python: str, cases: Sequence[Case], *options: str, **arrays: Array) -> dict[str, Any]:
    """Return what `_peers` answers to the cases, with `options` and `arrays` of its speed."""
    tables = [case.table for case in cases]
    rows = [table.is_checkpoint for table in tables]
    lengths = np.concatenate([np.diff(table.start) - 1 for table in tables])
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "cases.npz"), Path(folder, "answers.json")
        np.savez(
            source,
            score=np.concatenate([case.M[at] for case, at in zip(cases, rows, strict=True)]),
            start=np.concatenate(([0], np.cumsum(lengths))),
            accepted=np.concatenate([table.accepted for table in tables]),
            case=np.cumsum([0, *(table.n_attempts for table in tables)]),
            alpha=ALPHA,
            delta=DELTA,
            **arrays,
        )
        script = str(Path(__file__).with_name("_peers.py"))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([python, script, source, target, *options], check=True, env=environment)  # noqa: S603
        answer: dict[str, Any] = json.loads(target.read_text())
    return answer


def peer_stops(test: EvidenceTable, M: Array, said: dict[str, Any]) -> dict[str, Integers]:
    """Return `[N]` the row where each peer discards, −1 for never."""
    never = np.full(test.n_attempts, -1)
    stops = {"e-valuator": never, "MAPIE": never}
    if said["mapie"] is not None:
        stops["MAPIE"] = test.stops(M, np.full(test.n_checkpoints, said["mapie"]))
    if said["evaluator"] is not None:
        e_values = evaluator_values(test, M, said["evaluator"]["steps"])
        # Discarded where the e-value is above its threshold: where its negative is below.
        stops["e-valuator"] = test.stops(-e_values, np.full(test.n_checkpoints, -said["evaluator"]["threshold"]))
    return stops


def evaluator_values(table: EvidenceTable, M: Array, steps: dict[str, Any]) -> Array:
    """Return `[R]` e-valuator's density ratios; a step without a regression keeps the one before, the first has 1."""
    e_values = np.ones(len(M))
    for k in range(1, table.n_checkpoints + 1):
        rows = np.flatnonzero((table.k == k) & table.is_checkpoint)
        if str(k) in steps:
            step = steps[str(k)]
            series = M[rows[:, None] + np.arange(1 - k, 1)]
            p = np.clip(expit(series @ step["coefficients"] + step["intercept"]), 1e-6, 1 - 1e-6)
            e_values[rows] = (1 - p) / p * step["base_odds"]
        elif k > 1:
            e_values[rows] = e_values[rows - 1]
    return e_values


# Validity.

TESTS: tuple[Test, ...] = ("exact binomial", "betting by prompt", "randomised exact binomial")
Calibration = tuple[list[list[Flags]], list[EvidenceTable]]
"""Paths of policies, all with f = α exactly, and the attempts they are tested on."""


def validity(repeats: int) -> list[Record]:
    """Return how often each test certifies what has f = α."""
    settings: dict[str, tuple[Callable[[np.random.Generator], Calibration], Weigh, bool]] = {
        "independent": (lambda rng: correlated(rng, ones(400), 0.0), "prompts", False),
        "ρ = 0.2, 4 attempts": (lambda rng: correlated(rng, np.full(150, 4), 0.2), "prompts", False),
        "ρ = 0.9, 4 attempts": (lambda rng: correlated(rng, np.full(150, 4), 0.9), "prompts", False),
        "ρ = 1, 4 attempts": (lambda rng: correlated(rng, np.full(150, 4), 1.0), "prompts", False),
        "1 to 20 attempts, prompts weigh equally": (lambda rng: unequal(rng, "prompts"), "prompts", False),
        "1 to 20 attempts, attempts weigh equally": (lambda rng: unequal(rng, "attempts"), "attempts", False),
        "pool of two families": (pooled, "prompts", False),
        "three paths": (lambda rng: several(rng, 3), "prompts", False),
        "every group": (grouped, "prompts", True),
    }
    records = []
    for name, (draw, weigh, by_group) in settings.items():
        wrong = dict.fromkeys(TESTS, 0)
        for i in range(repeats):
            paths, tables = draw(np.random.default_rng((6, i)))
            for test in TESTS:
                wrong[test] += is_certified(paths, tables, test, f"{name} {i}", weigh=weigh, by_group=by_group)
        progress(f"validity, {name}: {wrong}")
        records += [validity_record(f"validity, {name}, {test}: wrong", wrong[test], repeats) for test in TESTS]
    missed = sum(best_first(np.random.default_rng((7, i)), i) for i in range(repeats))
    records.append(validity_record("validity, bound of a group, best attempts first: missed", missed, repeats))
    return records


def validity_record(name: str, wrong: int, repeats: int) -> Record:
    """Return the record of a share that is to be at most δ."""
    allowed = int(binom.isf(FALSE_ALARM, repeats, DELTA))
    return Record(name, wrong / repeats, f"of {repeats}", f"<= {allowed / repeats:.3f}", "", wrong <= allowed)


def bare_table(attempts: Integers, accepted: Flags, groups: Sequence[str] = (), name: str = "p") -> EvidenceTable:
    """Return attempts without evidence: `attempts` `[P]` of each prompt, `accepted` `[N]`, `groups` `[N]`."""
    n = len(accepted)
    prompt = np.repeat(np.arange(len(attempts)), attempts)
    one = np.ones(n, dtype=np.int64)
    return table_of(prompt, accepted, np.arange(n + 1), one, np.zeros((n, 0)), groups=groups, name=name)


def fates(
    rng: np.random.Generator, attempts: Integers, accept: Array | float, f: Array | float, correlation: float
) -> tuple[Flags, list[Flags]]:
    """Return accepted `[N]`, and three policies' discards `[N]`, of attempts `[P]` at prompts of rates `[P]` or one.

    Any two attempts of a prompt have correlation ρ in outcome and discard: each copies its prompt's by chance √ρ.
    """
    prompt = np.repeat(np.arange(len(attempts)), attempts)
    n = len(prompt)
    source = np.where(rng.random(n) < np.sqrt(correlation), n + prompt, np.arange(n))  # its prompt's, or its own
    owner = np.append(prompt, np.arange(len(attempts)))
    A = (rng.random(len(owner)) < np.broadcast_to(accept, len(attempts))[owner])[source]
    rate = np.broadcast_to(f, len(attempts))[owner]
    return A, [(rng.random(len(owner)) < rate)[source] for _ in range(3)]


def correlated(rng: np.random.Generator, attempts: Integers, correlation: float) -> Calibration:
    """Prompts with the same number of attempts, correlated."""
    A, policies = fates(rng, attempts, 0.5, ALPHA, correlation)
    return [policies], [bare_table(attempts, A)]


def several(rng: np.random.Generator, n_paths: int) -> Calibration:
    """Independent paths on the same attempts."""
    attempts = ones(400)
    A = rng.random(400) < 0.5
    return [[rng.random(400) < ALPHA for _ in range(2)] for _ in range(n_paths)], [bare_table(attempts, A)]


def unequal(rng: np.random.Generator, weigh: Weigh) -> Calibration:
    """Hard prompts have up to 20 attempts, few accepted and many of these lost; easy ones have 1 to 5.

    The ratio of both kinds' false-reject rates is fixed, and their size such that f = α as `weigh` weighs.
    """
    hard = rng.random(400) < 0.4
    attempts = np.where(hard, rng.integers(6, 21, 400), rng.integers(1, 6, 400))
    accept = np.asarray([0.7, 0.3])
    mean_attempts = np.asarray([3.0, 13.0])
    share = np.asarray([0.6, 0.4]) * accept * (mean_attempts if weigh == "attempts" else 1.0)
    ratio = np.asarray([1.0, 4.0])
    f = ALPHA * ratio / ((share * ratio).sum() / share.sum())
    kind = hard.astype(np.int64)
    A, policies = fates(rng, attempts, accept[kind], f[kind], 0.5)
    return [policies], [bare_table(attempts, A)]


def pooled(rng: np.random.Generator) -> Calibration:
    """Two families of which one loses much and the other little; together they lose α."""
    sizes, accept = (150, 100), (0.6, 0.4)
    good = np.asarray(sizes) * accept
    f_one = 0.02
    f_other = (ALPHA * good.sum() - f_one * good[0]) / good[1]
    # A family's size is drawn too: prompts come from the mixture.
    n_one = int(rng.binomial(sum(sizes), sizes[0] / sum(sizes)))
    tables, policies = [], []
    for i, (n, a, f) in enumerate(zip((n_one, sum(sizes) - n_one), accept, (f_one, f_other), strict=True)):
        A, discards = fates(rng, ones(n), a, f, 0.0)
        tables.append(bare_table(ones(n), A, name=f"family{i}-"))
        policies.append(discards)
    return [[np.concatenate(each) for each in zip(*policies, strict=True)]], tables


def grouped(rng: np.random.Generator) -> Calibration:
    """Two groups; one loses nothing, the other α: that every group loses at most α is not to be certified."""
    attempts = np.full(300, 2)
    group = rng.random(300) < 0.5
    A, policies = fates(rng, attempts, 0.6, np.where(group, ALPHA, 0.0), 0.3)
    names = np.where(np.repeat(group, attempts), "loses", "keeps").tolist()
    return [policies], [bare_table(attempts, A, names)]


def best_first(rng: np.random.Generator, i: int) -> bool:
    """Return whether the bound of a group is below its f, where files list a prompt's kept attempts first."""
    attempts, f = np.full(150, 4), 0.1
    A, (discarded, *_) = fates(rng, attempts, 0.6, f, 0.0)
    prompt = np.repeat(np.arange(150), 4)
    order = np.lexsort((discarded, prompt))
    table = bare_table(attempts, A[order], ["one"] * len(A))
    return group_upper(table, discarded[order], "one", f"best {i}") < f


# Speed.


def speed(n: int, peers: str | None) -> list[Record]:
    """Time fit and certificate in a process of its own, whose peak of memory is then theirs."""
    progress(f"speed: {n} attempts")
    command = [sys.executable, "-m", "benchmarks.certificates", "--speed-process", str(n)]
    done = subprocess.run(  # noqa: S603
        command + (["--peers", peers] if peers else []),
        check=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    told = json.loads(done.stdout)
    wall, peak = told["wall"], told["peak"]
    records = [
        Record("speed: attempts", n),
        Record("speed: fit and certify", wall, "s", "<= 20", "", wall <= 20),
        Record("speed: processor time", told["cpu"], "s"),
        Record("speed: the table alone", told["table"], "GB"),
        Record("speed: peak memory", peak, "GB", "<= 3", "", peak <= 3),
        Record("speed: certified", str(told["certified"])),
    ]
    if not peers:
        return [*records, Record("speed: peers", "not installed")]
    scores, on = told["scores"]
    records.append(Record(f"speed: cross-fitted scores by scikit-learn, from {on} attempts", scores, "s"))
    for peer, name in (("e-valuator", "evaluator"), ("MAPIE", "mapie")):
        seconds, on = told[name]
        factor = (scores + seconds) / wall
        records += [
            Record(f"speed: {peer} on given scores, from {on} attempts", seconds, "s"),
            Record(f"speed: times faster than {peer} with its scores", factor, "", ">= 20", peer, factor >= 20),
        ]
    return records


def time_fit(n: int, peers: str | None) -> dict[str, Any]:
    """Return what fitting and certifying n attempts takes; then the peers on the same attempts."""
    table = large_table(n, np.random.default_rng(8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    fit = fit_policy(table, max_false_reject=ALPHA, confidence=1 - DELTA)
    told: dict[str, Any] = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "table": before / 1e6,
        "certified": fit.file.certificate.certified,
    }
    if peers:
        timed_on = {"evaluator": min(n, 2000), "scores": min(n, 50_000), "mapie": n}
        M = posterior(fit.file.beliefs, table)
        some = table.take(np.arange(timed_on["scores"]))
        options = ("--speed", str(timed_on["evaluator"]), str(timed_on["scores"]))
        answer = ask_peers(peers, [Case(n, table, M, M)], *options, evidence=some.values[some.is_checkpoint])
        told |= {name: (answer[name][0] * n / on, on) for name, on in timed_on.items()}
    return told


if __name__ == "__main__":
    main()
