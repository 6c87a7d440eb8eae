"""What each rung of evidence adds: `python -m benchmarks.ladder --traces FOLDER [--peers PYTHON] [--save] …`.

Each file of FOLDER is a family (one model on one benchmark). Its prompts are cut into parts; a policy is fitted and
certified (α = 5 %, confidence 90 %) on all parts but one and judged on that one, in turn. On every rung beliefs are
fitted alike (linear, logistic or isotonic and its penalty by held-out loss), so are path and certificate, and the same
prompts certify. Only the evidence differs:

* **length cap**: none; the cheapest certified length cap;
* **rules**: what the default validators say at each checkpoint, the first of them before the first token;
* **prompt only**: what they and the words of the prompt say before the first token, for the whole attempt: it may be
  discarded then, or by the length that it has reached;
* **text**: rules and words at each checkpoint;
* **text and history**: and how earlier attempts at the prompt ended, where there are two or more per prompt.

Words have the weights of pretrained beliefs learned without the family's benchmark and without any prompt that it
shares with others (`benchmarks.pretrained`; kept in `--weights`): those of the family alone would be weak. **Plain** is
`msifr fit` without flags with these pretrained beliefs: more samples certify, and words have a network.

Per rung: the net cost factor, and that of its path's best policy with f ≤ α on the judged prompts, were it known
(**uncertified**: what the evidence could give if certificates cost nothing); f by third of difficulty, the same
thirds for all (`msifr_sim.difficulty`, before the first token as the text rung believes); log loss per checkpoint;
and the area under the curve before the first token and **half way**, at the checkpoint nearest to half of the median
attempt, of the attempts that get there. That place is one for all: half of each attempt's own length would give away
its length. **Within prompt** only pairs of attempts at one prompt count. There history misleads: the later one of two
knows how the earlier one ended, the opposite of how it will end itself. What history tells is which prompt is hard.

With `--peers` (an interpreter that has them: `_peers`) e-valuator and MAPIE decide by the posterior of the text rung at
the same α and δ: on **our split** they get what our certificate gets, fitted on the same prompts and with the same
held-out attempts; or the posterior cross-fitted on all prompts that are not judged, more than a split leaves us. Both
count every attempt as independent, which attempts at one prompt are not: they are compared where prompts have one.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, rankdata

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks.certificates import ALPHA, DELTA, Case, ask_peers, peer_stops
from benchmarks.pretrained import read_families, splits, weights_for
from benchmarks.real_traces import captured, say
from msifr_calibration import Family, FitOptions, fit_policy
from msifr_calibration.beliefs.fitted import log_loss
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.beliefs.words import with_words
from msifr_calibration.certify import Fit, certify
from msifr_calibration.path import NO_POLICIES
from msifr_calibration.split import folds
from msifr_policy.evidence.history import Follower, has_history, with_history
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.rates import rates
from msifr_policy.validators import Words
from msifr_sim import Summary, summarise
from msifr_sim.intervals import attempt_weights
from msifr_sim.replay import stopped_at

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

RUNGS = ("length cap", "rules", "prompt only", "text", "text and history")
PLAIN = "plain"
OURS = (*RUNGS, PLAIN)
PEERS = ("e-valuator", "MAPIE")
ONE, SEVERAL = "one attempt, ", "several attempts, "
"""What records begin with that are of families with one attempt per prompt only, or with two or more."""
SAVES = {
    "rules": ("length cap",),
    "prompt only": ("length cap",),
    "text": ("rules", "prompt only"),
    "text and history": ("text",),
    PLAIN: ("text",),
}
"""What each method is to save as much as: it has their evidence, or that of a length cap, and more."""
ENOUGH = 5
"""Attempts of each outcome that an area under the curve is told from."""
QUICK = (
    "amc23-sky-t1-math-32b-variants",
    "math_x8-qwen2.5-math-instruct",
    "math500-qwen2.5-math-7b",
    "minerva_math-gemma-2-27b-it",
)


class Rated(NamedTuple):
    """One method on one family; NaN where there is nothing to tell a number from.

    The fields from `before` on: areas under the curve before the first token and half way, of all pairs and within
    prompt; then f by third of difficulty.
    """

    factor: float
    false_reject_rate: float
    captured: float
    uncertified: float
    certified: float
    log_loss: float
    before: float
    half_way: float
    before_within: float
    half_way_within: float
    hard: float
    middle: float
    easy: float


SHOWN = {
    "factor": "mean net cost factor",
    "captured": "mean captured share",
    "uncertified": "mean uncertified factor",
    "certified": "share of parts certified",
    "log_loss": "log loss per checkpoint",
    "before": "area under the curve before the first token",
    "half_way": "area under the curve half way",
    "before_within": "area within prompt before the first token",
    "half_way_within": "area within prompt half way",
    "hard": "f at hard prompts",
    "middle": "f at middling prompts",
    "easy": "f at easy prompts",
}
"""What the mean over families of each field is called in records."""
OF_FAMILY = ("uncertified", "log_loss", "before", "half_way", "before_within", "half_way_within")
"""The fields of each family that are recorded, beside factor and f."""


@dataclass(frozen=True)
class Seen:
    """What a method did to the attempts of a family, each of them judged once.

    stop: `[N]` row where the attempt is discarded, −1 for never. M: `[R]` posterior at each row; path: `[J, 4]` totals
    (`rates`) under each policy of its path, the first of which never discards; certified: share of the parts that got
    a certificate. Of peers only `stop` is known.
    """

    stop: Integers
    M: Array | None = None
    path: Array | None = None
    certified: float = float("nan")


def evidence_of(family: Family, weights: str) -> dict[str, EvidenceTable]:
    """Return by rung the family's table with the evidence of that rung; rows and attempts are the same."""
    rules = family.table
    text = with_words(rules, family.traces, Words(weights))
    tables = {
        "length cap": without_evidence(rules),
        "rules": rules,
        "prompt only": replace(text, values=text.values[text.start[:-1]][text.attempt]),
        "text": text,
    }
    return tables | ({"text and history": with_history(text)} if has_history(text) else {})


def without_evidence(table: EvidenceTable) -> EvidenceTable:
    """Return the table as no validator would have made it."""
    none = np.zeros((len(table.k), 0))
    return replace(table, columns=(), values=none, verdicts=none.astype(np.int8), validators=())


def fits_of(family: Family, weights: str) -> dict[str, Callable[[EvidenceTable], Fit]]:
    """Return by method how a table is fitted and certified."""
    options = FitOptions(max_false_reject=ALPHA, confidence=1 - DELTA)
    rung = partial(fit_policy, options=replace(options, method="linear", history=False))

    def cap(table: EvidenceTable) -> Fit:
        fit = rung(table)
        return certify([replace(fit.candidates, path=NO_POLICIES)], [fit.certifying], options)[0]

    plain = partial(fit_policy, options=replace(options, pretrained=weights), traces=family.traces)
    return {**dict.fromkeys(RUNGS, rung), "length cap": cap, PLAIN: plain}


def judge(
    table: EvidenceTable, part: Integers, fit_to: Callable[[EvidenceTable], Fit], family: Family
) -> tuple[Seen, list[Case]]:
    """Fit to all parts but one and judge that one, in turn; part `[N]`. Also what peers get on our split."""
    weight = attempt_weights(table.prompt, "prompts")
    stop, M, certified = np.full(table.n_attempts, -1), np.zeros(len(table.k)), []
    paths, cases = [], []
    for number in range(int(part.max()) + 1):
        fit = fit_to(table.take(np.flatnonzero(part != number)))
        at = np.flatnonzero(part == number)
        fitted, path = fit.candidates.fitted, fit.candidates.path
        rows, judged = table.rows_of(at), fitted.extend(table.take(at), family.traces)
        known = fitted.beliefs.worth(judged.k, judged.values)
        follower = Follower(judged, fitted.beliefs.worth, known)
        here = follower.follow(np.asarray(fit.file.thresholds)).stop
        M[rows], stop[at] = known[0], np.where(here >= 0, rows[here], -1)
        thresholds = path.thresholds if len(path.prices) else fit.candidates.length.thresholds
        stops = [np.full(len(at), -1), *(follower.follow(each).stop for each in thresholds)]
        paths.append(np.asarray([totals(judged, each, weight[at]) for each in stops]))
        certified.append(fit.file.certificate.certified)
        held_out = fitted.beliefs.worth(fit.certifying.k, fit.certifying.values)[0]
        cases.append(Case(number, for_peers(fit.certifying), held_out, known[0]))
    # A path that has ended waits for the others: its last policy goes on.
    longest = max(map(len, paths))
    waiting = [np.pad(each, ((0, longest - len(each)), (0, 0)), mode="edge") for each in paths]
    return Seen(stop, M, np.sum(waiting, axis=0), float(np.mean(certified))), cases


def totals(table: EvidenceTable, stop: Integers, weight: Array) -> Array:
    """Return `[4]` totals for `rates` of attempts that weigh `weight` `[N]`."""
    lost = table.accepted & (stop >= 0)
    return np.asarray([weight @ each for each in (table.cost, table.cost_until(stop), table.accepted, lost)])


def for_peers(table: EvidenceTable) -> EvidenceTable:
    """Return the rows as peers count them, who know of no checkpoint 0: from 1 on, with nothing but scores."""
    return replace(without_evidence(table), k=table.k + 1)


def cross_fitted_cases(text: EvidenceTable, part: Integers) -> list[Case]:
    """Return what peers get where all prompts that are not judged certify."""
    cases = []
    for number in range(int(part.max()) + 1):
        rest, judged = (text.take(np.flatnonzero(side)) for side in (part != number, part == number))
        own = fit_linear_beliefs(rest)
        cases.append(Case(number, for_peers(rest), own.M, own.beliefs.predict(judged.k, judged.values)[0]))
    return cases


def seen_by_peers(python: str, judged: Mapping[str, Judged]) -> None:
    """Add what both peers do to each family, by each of their scores; all are asked at once."""
    asked = [
        (family, seed, scores, case)
        for family in judged.values()
        for seed, by_scores in enumerate(family.cases)
        for scores, cases in by_scores.items()
        for case in cases
    ]
    answers = ask_peers(python, [case for *_, case in asked])["cases"]
    for (family, seed, scores, case), said in zip(asked, answers, strict=True):
        at = np.flatnonzero(family.parts[seed] == case.n)
        rows, table = family.table.rows_of(at), for_peers(family.table.take(at))
        for peer, stop in peer_stops(table, case.fresh, said).items():
            never = Seen(np.full(family.table.n_attempts, -1))
            seen = family.seen[seed].setdefault(f"{peer}, {scores}", never)
            seen.stop[at] = np.where(stop >= 0, rows[stop], -1)


def rated(table: EvidenceTable, seen: Seen, prospect: Array, part: Integers) -> Rated:
    """Return what a method is worth on a family; prospect `[N]`: difficulty, where prompts have one attempt."""
    summary = summary_of(table, seen.stop, prospect)
    factor = 1.0 if summary.net_cost_factor is None else summary.net_cost_factor
    uncertified = loss = float("nan")
    areas = [float("nan")] * 4
    if seen.M is not None and seen.path is not None:
        _, f, factors = rates(seen.path)
        uncertified = float(factors[~(f > ALPHA)].min(initial=1.0))
        due = table.is_checkpoint
        loss = log_loss(seen.M[due], table.outcome[due])
        places = [np.flatnonzero(due & (table.k == k)) for k in (0, half_way(table))]
        several = has_history(table)
        areas = [area(table, seen.M, rows, part) for rows in places]
        areas += [area(table, seen.M, rows, table.prompt) if several else float("nan") for rows in places]
    thirds = {group.name: group.false_reject_rate for group in summary.by_difficulty}
    return Rated(
        factor,
        summary.false_reject_rate or 0.0,
        captured(factor, summary.accepted_cost_share),
        uncertified,
        seen.certified,
        loss,
        *areas,
        *(thirds.get(name, float("nan")) for name in ("hard", "middle", "easy")),
    )


def summary_of(table: EvidenceTable, stop: Integers, prospect: Array) -> Summary:
    """Return the summary of discarding at rows `stop` `[N]`."""
    outcomes = stopped_at(table, stop, ("",) * table.n_attempts, prospect)
    return summarise(outcomes, draws=10)  # of intervals, which are not shown


def half_way(table: EvidenceTable) -> int:
    """Return the checkpoint nearest to half of the median attempt, in characters."""
    due = table.is_checkpoint
    numbers = np.unique(table.k[due])
    typical = np.asarray([np.median(table.position[due & (table.k == k)]) for k in numbers])
    return int(numbers[np.abs(typical - np.median(table.position[table.end]) / 2).argmin()])


def area(table: EvidenceTable, M: Array, rows: Integers, group: Integers) -> float:
    """Return the share of pairs, accepted and not, that M `[R]` ranks rightly at `rows`; group `[N]`: pairs are inside.

    Equal ones count half. NaN where one outcome is rare.
    """
    accepted, group = table.outcome[rows], group[table.attempt[rows]]
    if min(accepted.sum(), (~accepted).sum()) < ENOUGH:
        return float("nan")
    right = pairs = 0.0
    for number in np.unique(group):
        here = group == number
        good = accepted[here]
        n = int(good.sum())
        right += rankdata(M[rows[here]])[good].sum() - n * (n + 1) / 2
        pairs += n * (len(good) - n)
    return right / pairs if pairs else float("nan")


@dataclass(frozen=True)
class Judged:
    """A family under all methods, per way of cutting it: parts `[N]`, what was seen, and what peers get."""

    table: EvidenceTable
    parts: list[Integers]
    seen: list[dict[str, Seen]]
    cases: list[dict[str, list[Case]]]

    def rated(self) -> dict[str, Rated]:
        """Return the methods' worth, means over the ways of cutting."""
        every: dict[str, list[Rated]] = {}
        for part, seen in zip(self.parts, self.seen, strict=True):
            text = seen["text"].M
            assert text is not None
            for method, each in seen.items():
                prospect = text[self.table.start[:-1]]
                every.setdefault(method, []).append(rated(self.table, each, prospect, part))
        return {method: Rated(*np.mean(each, axis=0).tolist()) for method, each in every.items()}


def judge_family(family: Family, weights: str, n_parts: int, seeds: int, *, peers: bool) -> Judged:
    """Judge every rung and the plain fit on one family."""
    tables, fits = evidence_of(family, weights), fits_of(family, weights)
    result = Judged(without_evidence(family.table), [], [], [])
    for seed in range(seeds):
        part = folds(family.table.prompt_ids, n_parts, seed)[family.table.prompt]
        seen, cases = {}, {}
        for method, table in {**tables, PLAIN: family.table}.items():
            seen[method], on_our_split = judge(table, part, fits[method], family)
            if method == "text" and peers:
                cases = {"our split": on_our_split, "cross-fitted": cross_fitted_cases(table, part)}
        result.parts.append(part)
        result.seen.append(seen)
        result.cases.append(cases)
    return result


def mean(values: Sequence[float]) -> float:
    """Return the mean of those that are known, NaN if none is."""
    known = np.asarray(values)[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def mean_records(of: Mapping[str, dict[str, Rated]], scope: str) -> list[Record]:
    """Return the means over families of every method that is known of all of them, and what each rung is to reach."""
    methods = [method for method in next(iter(of.values())) if all(method in rated for rated in of.values())]
    allowed = int(binom.ppf(0.95, len(of), DELTA))
    records = [Record(f"{scope}families", float(len(of)))]
    for method in methods:
        each = [rated[method] for rated in of.values()]
        for name, words in SHOWN.items():
            value = mean([getattr(one, name) for one in each])
            if np.isfinite(value):
                records.append(Record(f"{scope}{method}: {words}", value))
        above, ours = sum(one.false_reject_rate > ALPHA for one in each), method in OURS
        records.append(
            Record(
                f"{scope}{method}: families with observed f > α",
                float(above),
                f"of {len(of)}",
                f"<= {allowed}" if ours else "",
                "",
                above <= allowed if ours else None,
            )
        )
    rivals = {**SAVES, "text": (*SAVES["text"], *(m for m in methods if m.startswith(PEERS) and scope == ONE))}
    for method, others in rivals.items():
        for other in others if method in methods else ():
            more = np.asarray([rated[other].factor - rated[method].factor for rated in of.values()])
            error = f"± {more.std(ddof=1) / len(more) ** 0.5:.3f}" if len(more) > 1 else ""
            ok = bool(more.mean() >= 0)
            name = f"{scope}{method}: saves more than {other} by"
            records.append(Record(name, float(more.mean()), error, ">= 0", "", ok))
    return records


def family_records(name: str, of: Mapping[str, Rated]) -> list[Record]:
    """Return factor and f of every method on one family, and how good the beliefs are that it has."""
    records = []
    for method, each in of.items():
        records.append(Record(f"{name}: {method}", each.factor, f"f = {each.false_reject_rate:.3f}"))
        known = [field for field in OF_FAMILY if np.isfinite(getattr(each, field))]
        records += [Record(f"{name}: {method}: {SHOWN[f].removeprefix('mean ')}", getattr(each, f)) for f in known]
    return records


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, required=True, help="folder of trace files")
    parser.add_argument("--tables", type=Path, help="folder of evidence tables, to save time")
    parser.add_argument("--weights", type=Path, help="folder where pretrained weights are kept")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter of an environment with e-valuator and MAPIE")
    parser.add_argument("--parts", type=int, default=4, help="parts of the prompts (default 4)")
    parser.add_argument("--seeds", type=int, default=1, help="ways of cutting prompts into parts (default 1)")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/ladder.json")
    given = parser.parse_args()
    say_now = partial(say, time.perf_counter())

    families = read_families(given.traces, given.tables)
    wanted = QUICK if given.quick else tuple(families)
    judged: dict[str, Judged] = {}
    for split in splits(list(families)):
        names = sorted(split.judged.intersection(wanted))
        if not split.all_prompts or not names:
            continue
        weights = weights_for(families, split, given.weights, say_now)
        for name in names:
            judged[name] = judge_family(families[name], weights, given.parts, given.seeds, peers=bool(given.peers))
            say_now(name)
    if given.peers:
        seen_by_peers(given.peers, judged)
        say_now("peers")
    of = {name: judged[name].rated() for name in families if name in judged}
    several = {name: each for name, each in of.items() if has_history(families[name].table)}
    one = {name: each for name, each in of.items() if name not in several}
    records = [
        r for scope, these in (("", of), (ONE, one), (SEVERAL, several)) if these for r in mean_records(these, scope)
    ]
    records += [record for name, each in of.items() for record in family_records(name, each)]
    spent = sum(os.times()[:4])
    records.append(Record("processor time, with that of peers", spent, "s", "<= 1500", "", spent <= 1500))
    records += environment("msifr-policy", "numpy", "scipy")
    if given.save:
        save_records(records, "ladder")
    print_records(records, given.json)


if __name__ == "__main__":
    main()
