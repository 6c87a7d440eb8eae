"""What a model's hidden states add to evidence from its texts: `python -m benchmarks.states [--save] …`.

One model's attempts at prompts with several each: those of `--traces` by the model `--model`, or else recorded anew
with the embedded model. Its states are read in one forced pass (`generation.states`); prompts are cut into parts, and a
policy is fitted and certified (α = 5 %, confidence 90 %) on all parts but one and judged on that one, in turn. On every
rung beliefs are fitted alike (linear; logistic or isotonic and its penalty by held-out loss), so are path and
certificate, and the same prompts certify. Only the evidence differs:

* **length cap**: none; the cheapest certified length cap;
* **rules**: what validators say at each checkpoint;
* **prompt only**: what rules and words say before the first token, for the whole attempt;
* **text**: rules, and words by the pretrained weights of the package;
* **logprobs**: text, and the surprisal of the tokens;
* **states alone**: the log-odds of a probe of hidden states, learned with the rest on the fitting prompts alone;
* **states**: text and the probe; **all**: text, surprisal and the probe.

Per rung: the net cost factor, and that of its path's best policy with f ≤ α on the judged prompts, were it known
(**uncertified**); f by third of difficulty; log loss per checkpoint; areas under the curve before the first token and
half way, of all pairs and within prompt, as `benchmarks.ladder` has them. A probe that only told hard prompts from easy
ones would show in the first and not in the second. What states save more than another rung is the ratio of the factors,
with an interval from a bootstrap of prompts, the same draws for both: certified, and of the best policies with f ≤ α.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._records import Record, environment, print_records, write_records
from benchmarks.ladder import SHOWN, Rated, Seen, half_way, rated, totals, without_evidence
from benchmarks.real_traces import say
from msifr_calibration import FitOptions, fit_policy
from msifr_calibration.beliefs.pretrained import table_with_pretrained_words
from msifr_calibration.beliefs.probe import probed
from msifr_calibration.beliefs.state_features import StateFeatures
from msifr_calibration.certify import Fit, certify
from msifr_calibration.path import NO_POLICIES
from msifr_calibration.split import folds
from msifr_integrations.cli.words import parse_schedule, parse_validators
from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path
from msifr_integrations.embedded.record import MAX_NEW_TOKENS, record
from msifr_integrations.embedded.word_problems import problems
from msifr_integrations.engine.base import Attempt, Sampling, stream_key
from msifr_integrations.engine.probe import make_engine
from msifr_integrations.engine.slot_engine import SlotEngine
from msifr_integrations.engine.states import StateReader
from msifr_integrations.generation.inputs import load_model
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.states import StatePass, candidate_layers
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.history import Follower
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.rates import rates
from msifr_policy.records.traces import Trace, read_traces
from msifr_policy.validators import Hidden, Logprobs, make_validator
from msifr_policy.validators.hidden import NUMBERS
from msifr_policy.weights import remember, to_bytes
from msifr_sim.intervals import attempt_weights

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

ALPHA, DELTA = 0.05, 0.1
TARGET = 0.1
"""How much lower the factor of states is to be than that of text, as a share of it."""
MOST_OF_A_STEP = 0.005
DRAWS = 2000
RUNGS = ("length cap", "rules", "prompt only", "text", "logprobs", "states alone", "states", "all")
READ = ("states alone", "states", "all")
"""Rungs that read states."""
AGAINST = ("prompt only", "text", "logprobs")


@dataclass(frozen=True)
class Judged:
    """What a rung did to all attempts: `seen`, and of the best policy with f ≤ α where each stops (`best`, `[N]`)."""

    seen: Seen
    best: Integers


def tables_of(traces: list[Trace], schedule: str, validators: str) -> dict[str, EvidenceTable]:
    """Return by rung the table of the attempts with the evidence of that rung, but for the probe's."""
    where, rules_of = parse_schedule(schedule), parse_validators(validators)
    rules = build_evidence(traces, where, rules_of)
    text = table_with_pretrained_words(rules, traces)
    surprisal = build_evidence(traces, where, (Logprobs(),))
    both = text.with_scores(surprisal.columns, surprisal.values)
    none = without_evidence(rules)
    prompt = replace(text, values=text.values[text.start[:-1]][text.attempt])
    of_rung = (none, rules, prompt, text, both, none, text, both)
    return dict(zip(RUNGS, of_rung, strict=True))


def fit_to(table: EvidenceTable, rung: str, states: StateFeatures) -> Fit:
    """Fit and certify one rung on the prompts of `table`."""
    options = FitOptions(max_false_reject=ALPHA, confidence=1 - DELTA, method="linear", history=False)
    fit = fit_policy(table, options, states=states if rung in READ else None)
    if rung != "length cap":
        return fit
    return certify([replace(fit.candidates, path=NO_POLICIES)], [fit.certifying], options)[0]


def judge(table: EvidenceTable, rung: str, states: StateFeatures, part: Integers) -> Judged:
    """Fit to all parts but one and judge that one, in turn; part `[N]`."""
    weight = attempt_weights(table.prompt, "prompts")
    stop, M, certified = np.full(table.n_attempts, -1), np.zeros(len(table.k)), []
    paths: list[Array] = []
    stops: list[list[Integers]] = []
    for number in range(int(part.max()) + 1):
        fit = fit_to(table.take(np.flatnonzero(part != number)), rung, states)
        at = np.flatnonzero(part == number)
        rows, judged = table.rows_of(at), table.take(at)
        for spec in fit.file.validators:
            if spec.name == Hidden.name:
                hidden = make_validator(spec)
                assert isinstance(hidden, Hidden)
                judged = probed(judged, states, hidden)
        beliefs, path = fit.candidates.fitted.beliefs, fit.candidates.path
        known = beliefs.worth(judged.k, judged.values)
        follower = Follower(judged, beliefs.worth, known)

        def on_all(here: Integers, rows: Integers = rows) -> Integers:
            return np.where(here >= 0, rows[here], -1)

        M[rows] = known[0]
        stop[at] = on_all(follower.follow(np.asarray(fit.file.thresholds)).stop)
        thresholds = path.thresholds if len(path.prices) else fit.candidates.length.thresholds
        each = [np.full(len(at), -1), *(follower.follow(one).stop for one in thresholds)]
        paths.append(np.asarray([totals(judged, one, weight[at]) for one in each]))
        stops.append([on_all(one) for one in each])
        certified.append(fit.file.certificate.certified)
    longest = max(map(len, paths))  # a path that has ended waits for the others
    sums = np.sum([np.pad(p, ((0, longest - len(p)), (0, 0)), mode="edge") for p in paths], axis=0)
    _, f, factors = rates(sums)
    best = int(np.where(f > ALPHA, np.inf, factors).argmin())
    at_best = np.full(table.n_attempts, -1)
    for number, each in enumerate(stops):
        at_best[part == number] = each[min(best, len(each) - 1)]
    return Judged(Seen(stop, M, sums, float(np.mean(certified))), at_best)


def factor_of(table: EvidenceTable, stop: Integers, times: Array) -> Array:
    """Return the net cost factor of discarding at `stop` `[N]`; times `[B, P]`: how often each prompt is drawn."""
    weight = attempt_weights(table.prompt, "prompts")
    kept = table.accepted & (stop < 0)
    sums = [
        times @ np.bincount(table.prompt, weight * each, table.n_prompts)
        for each in (table.cost_until(stop), table.cost, table.accepted, kept)
    ]
    return sums[0] / sums[1] * sums[2] / sums[3]


def saves_more(table: EvidenceTable, one: Integers, other: Integers, seed: int = 0) -> tuple[float, float, float]:
    """Return how much lower the factor of `one` is than that of `other`, as a share, and its interval at 95 %."""
    drawn = np.random.default_rng(seed).multinomial(table.n_prompts, np.ones(table.n_prompts) / table.n_prompts, DRAWS)
    times = np.vstack([np.ones(table.n_prompts), drawn])
    less = 1 - factor_of(table, one, times) / factor_of(table, other, times)
    return float(less[0]), *np.quantile(less[1:], [0.025, 0.975]).tolist()


def records_of(tables: dict[str, EvidenceTable], judged: dict[str, Judged], part: Integers) -> list[Record]:
    """Return what every rung is worth, and what states save more than others."""
    table, text = tables["text"], judged["text"].seen.M
    assert text is not None
    records = [
        Record("attempts", float(table.n_attempts)),
        Record("prompts", float(table.n_prompts)),
        Record("share accepted", table.n_accepted / table.n_attempts),
        Record("checkpoint half way", float(half_way(table))),
    ]
    for rung, each in judged.items():
        known: Rated = rated(table, each.seen, text[table.start[:-1]], part)
        records.append(Record(f"{rung}: net cost factor", known.factor, f"f = {known.false_reject_rate:.3f}"))
        for field, words in SHOWN.items():
            if field not in ("factor", "captured") and np.isfinite(getattr(known, field)):
                records.append(Record(f"{rung}: {words.removeprefix('mean ')}", getattr(known, field)))
    for rung in (r for r in READ if r in judged):
        for other in AGAINST:
            for what, stops in (("certified", "stop"), ("best with f <= 5 %", "best")):
                one, two = (judged[name].seen.stop if stops == "stop" else judged[name].best for name in (rung, other))
                less, low, high = saves_more(table, one, two)
                aimed = (rung, other, stops) == ("states", "text", "stop")
                records.append(
                    Record(
                        f"{rung}: lower factor than {other}, {what}",
                        less,
                        f"[{low:.3f}, {high:.3f}]",
                        f">= {TARGET:g}" if aimed else "",
                        "",
                        less >= TARGET and low > 0 if aimed else None,
                    )
                )
    return records


def share_of_a_step(model: Any, rows: int = 16, steps: int = 40) -> float:
    """Return the processor time that reading states takes in a step of the slot engine, as a share of that of the step.

    A random probe of the layer at 0.7 of the depth; the fastest of several rounds, and the median step.
    """
    config = model.config.get_text_config()
    weights = np.random.default_rng(0).normal(size=(config.hidden_size, NUMBERS)).astype(np.float32)
    named = remember(to_bytes({"hidden.weights": weights, "hidden.bias": np.zeros(NUMBERS, np.float32)}))
    hidden = Hidden(named, candidate_layers(config.num_hidden_layers)[-2:][0])

    def seconds(work: Callable[[], Any], times: int = 500) -> float:
        began = time.process_time()
        for _ in range(times):
            work()
        return (time.process_time() - began) / times

    with torch.inference_mode():
        reader = StateReader(model, hidden, rows)
        state, drawn = torch.randn(rows, 1, config.hidden_size), torch.zeros(3, rows, dtype=torch.float64)

        def read() -> None:
            reader.take(state)
            reader.beside(drawn).tolist()

        with_states = min(seconds(read) for _ in range(9))
        without = min(seconds(drawn.tolist) for _ in range(9))
        reader.close()
    engine, _ = make_engine(model, kind="slots", slots=rows, sampling=Sampling(), end=frozenset())
    assert isinstance(engine, SlotEngine)
    for number in range(rows):
        engine.submit(Attempt(str(number), tuple(range(5, 40)), stream_key(0, str(number), 0), steps))
    engine.step()
    took = [seconds(engine.step, 1) for _ in range(steps - 1)]
    engine.close()
    return (with_states - without) / float(np.median(took))


def recorded(model: Any, tokenizer: Any, n_problems: int, attempts: int, seed: int) -> list[Trace]:
    """Return attempts of the embedded model at fresh problems, with log-probabilities."""
    options = GenerateOptions(attempts=attempts, seed=seed, slots=64, max_new_tokens=MAX_NEW_TOKENS, logprobs=True)
    return record(model, tokenizer, list(problems(seed, n_problems)), options)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, help="attempts with token_ends and logprobs; default: recorded anew")
    parser.add_argument("--model", type=Path, default=embedded_model_path(), help="folder of the model that made them")
    parser.add_argument("--schedule", default="newline", help="where checkpoints are, as for msifr score")
    parser.add_argument("--validators", default="default,question", help="the rules, as for msifr score")
    parser.add_argument("--problems", type=int, default=1500, help="problems to record (default 1500)")
    parser.add_argument("--parts", type=int, default=4, help="parts of the prompts (default 4)")
    parser.add_argument("--rungs", default=",".join(RUNGS), help="only these rungs")
    parser.add_argument("--quick", action="store_true", help="few problems, two parts: that it runs")
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--save", nargs="?", const="states", help="write benchmarks/results/NAME.json (default states)")
    given = parser.parse_args()
    say_now: Callable[[str], None] = partial(say, time.perf_counter())

    model, tokenizer = load_model(given.model, dtype="float32")
    n, parts = (60, 2) if given.quick else (given.problems, given.parts)
    traces = list(read_traces(given.traces)) if given.traces else recorded(model, tokenizer, n, 4, seed=77)
    say_now(f"{len(traces)} attempts")
    began = time.process_time()
    states = StatePass(model, tokenizer).features(traces, parse_schedule(given.schedule) or _no_schedule())
    forced = time.process_time() - began
    say_now("states")
    tables = tables_of(traces, given.schedule, given.validators)
    rules = tables["rules"]
    part = folds(rules.prompt_ids, parts, 0)[rules.prompt]
    judged = {}
    for rung in given.rungs.split(","):
        judged[rung] = judge(tables[rung], rung, states, part)
        say_now(rung)
    records = [
        Record("model", EMBEDDED_MODEL if given.model == embedded_model_path() else given.model.name),
        Record("schedule", given.schedule),
        Record("rules", given.validators),
    ]
    records += records_of(tables, judged, part)
    records.append(Record("processor time of the forced pass, per attempt", 1e3 * forced / len(traces), "ms"))
    share = share_of_a_step(model)
    what = "processor time of reading states in flight, as a share of a step of 16 rows"
    records.append(Record(what, share, "", f"<= {MOST_OF_A_STEP:g}", "", share <= MOST_OF_A_STEP))
    records.append(Record("processor time", sum(os.times()[:4]), "s"))
    records += environment("msifr-policy", "numpy", "torch", "transformers")
    if given.save:
        write_records(records, Path(__file__).with_name("results") / f"{given.save}.json")
    print_records(records, given.json)


def _no_schedule() -> Any:
    raise SystemExit("--schedule auto hangs on all attempts: name a schedule")


if __name__ == "__main__":
    main()
