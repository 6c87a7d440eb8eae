"""The learned posterior against boosted trees and logistic regression: `python -m benchmarks.learned [--json] …`.

All are fitted on the design half of every fourth family and judged on the other prompts (see `real_traces`): mean log
loss in nats per checkpoint and area under the curve, each family weighing the same.

* logistic: one regression per family and checkpoint group (the posterior `logistic`);
* boosted trees: scikit-learn's histogram gradient boosting on the columns, the checkpoint and the family, one model for
  all;
* network: five cross-fitted networks for all families, with and without the temporal-difference term;
* learned: network and logistic blended, what `--posterior learned` gives.

Each on the columns of the rules alone, and with the two scores of words. Also: learned from half of the prompts, to see
what more data would give; how consistent successive estimates are, as the mean over families of |E[M_{k+1} − M_k]| by
thirds of M_k, zero for a martingale [T12]; and speed, milliseconds for a thousand checkpoints, words read and posterior
evaluated. Without FOLDER the traces of the embedded model are used.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks.real_traces import Family, read_family
from msifr_calibration import NetworkOptions
from msifr_calibration.beliefs.blend import fit_learned_beliefs
from msifr_calibration.beliefs.fitted import FittedBeliefs, log_loss
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.beliefs.words import WordRows, read_words
from msifr_calibration.family import Family as Fitting
from msifr_calibration.split import uniform
from msifr_integrations.embedded import embedded_samples_path
from msifr_policy.beliefs.linear import signed_log1p
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import find_trace_files

Predictions = Mapping[str, NDArray[np.float64]]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--quick", action="store_true", help="fewer families and epochs; no targets")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/learned.json")
    parser.add_argument("--traces", type=Path, help="folder of trace files; every fourth is used")
    arguments = parser.parse_args()
    files = find_trace_files([arguments.traces])[::4] if arguments.traces else [embedded_samples_path()]
    if arguments.quick:
        files = files[:2]
    records = run([read_family(file) for file in files], 2 if arguments.quick else 5)
    if arguments.save:
        save_records(records, "learned")
    print_records(records, arguments.json)


def run(families: list[Family], epochs: int) -> list[Record]:
    """Return the records of every method."""
    base = {f.name: np.full(len(f.judging.k), f.design.accepted.mean()) for f in families}
    options = NetworkOptions(epochs=epochs)
    started = time.perf_counter()
    beliefs = learn({f.name: f.design for f in families}, families, options)
    seconds = time.perf_counter() - started
    wordless = learn({f.name: f.design for f in families}, families, options, words=False)
    inconsistent = learn({f.name: f.design for f in families}, families, replace(options, consistency=0.0))
    halves = learn({f.name: half(f.design) for f in families}, families, options)
    rules = {f.name: (f.design, f.judging) for f in families}
    words = {f.name: (beliefs[f.name].table, judged(f, beliefs[f.name])) for f in families}
    judging = {name: pair[1] for name, pair in words.items()}
    methods: dict[str, Callable[[], Predictions]] = {
        "acceptance rate": lambda: base,
        "logistic": lambda: {f.name: logistic(*rules[f.name]) for f in families},
        "logistic with words": lambda: {f.name: logistic(*words[f.name]) for f in families},
        "boosted trees": lambda: boosted(rules),
        "boosted trees with words": lambda: boosted(words),
        "network": lambda: network(families, wordless, {f.name: judged(f, wordless[f.name]) for f in families}),
        "network with words": lambda: network(families, beliefs, judging),
        "network with words, no consistency": lambda: network(families, inconsistent, judging),
        "learned": lambda: blended(families, beliefs, judging),
        "learned, half of the prompts": lambda: blended(
            families, halves, {f.name: judged(f, halves[f.name]) for f in families}
        ),
    }
    records = [Record("families", float(len(families)))]
    for method, predict in methods.items():
        M = predict()
        records += [
            Record(f"{method}: log loss", mean(families, M, loss), "nats"),
            Record(f"{method}: area under the curve", mean(families, M, area)),
            Record(f"{method}: drift of M", mean(families, M, drift)),
        ]
    records.append(Record("learned: fit", seconds, "s"))
    return [*records, *speed(families[0], beliefs), *environment("msifr-policy", "numpy", "scikit-learn", "torch")]


def mean(
    families: list[Family], M: Predictions, measure: Callable[[EvidenceTable, NDArray[np.float64]], float]
) -> float:
    """Return the mean of a measure over families where it is defined."""
    return float(np.nanmean([measure(f.judging, M[f.name]) for f in families]))


def loss(table: EvidenceTable, M: NDArray[np.float64]) -> float:
    """Return the mean log loss per checkpoint in nats."""
    rows = table.is_checkpoint
    return log_loss(M[rows], table.outcome[rows])


def area(table: EvidenceTable, M: NDArray[np.float64]) -> float:
    """Return the mean over checkpoints 1, 4, 8 and 12 of the area under the curve."""
    areas = []
    for k in (1, 4, 8, 12):
        rows = table.is_checkpoint & (table.k == k)
        y = table.outcome[rows]
        if 5 <= y.sum() <= len(y) - 5:
            areas.append(roc_auc_score(y, M[rows]))
    return float(np.mean(areas)) if areas else float("nan")


def drift(table: EvidenceTable, M: NDArray[np.float64]) -> float:
    """Return |E[M_{k+1} − M_k]| by thirds of M_k, averaged."""
    here = np.flatnonzero(table.is_checkpoint & np.append(table.is_checkpoint[1:], False))
    if len(here) < 30:
        return float("nan")
    steps = M[here + 1] - M[here]
    third = np.searchsorted(np.quantile(M[here], [1 / 3, 2 / 3]), M[here])
    return float(np.mean([abs(steps[third == i].mean()) for i in np.unique(third)]))


def logistic(fitting: EvidenceTable, judging: EvidenceTable) -> NDArray[np.float64]:
    """Fit the posterior `logistic` and predict."""
    return fit_linear_beliefs(fitting, method="logistic").beliefs.predict(judging.k, judging.values)[0]


def boosted(tables: Mapping[str, tuple[EvidenceTable, EvidenceTable]]) -> Predictions:
    """Fit one histogram gradient boosting on all families, with early stopping off and mild settings."""

    def rows(table: EvidenceTable, number: int) -> NDArray[np.float64]:
        return np.column_stack([signed_log1p(table.values), table.k, np.full(len(table.k), number)])

    X, y, w = [], [], []
    for number, (table, _) in enumerate(tables.values()):
        checks = table.is_checkpoint
        X.append(rows(table, number)[checks])
        y.append(table.outcome[checks])
        per_attempt = 1 / np.diff(table.start) / np.sqrt(table.n_attempts)
        w.append(per_attempt[table.attempt][checks])
    weights, evidence = np.concatenate(w), np.concatenate(X)
    known = np.isfinite(evidence).any(axis=0)  # a column that is never known cannot be binned
    model = HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=80,
        l2_regularization=5.0,
        categorical_features=[int(known.sum()) - 1] if len(tables) > 1 else None,
        early_stopping=False,
        random_state=0,
    ).fit(evidence[:, known], np.concatenate(y), sample_weight=weights / weights.mean())
    return {
        name: model.predict_proba(rows(judging, i)[:, known])[:, 1]
        for i, (name, (_, judging)) in enumerate(tables.items())
    }


def learn(
    tables: Mapping[str, EvidenceTable], families: list[Family], options: NetworkOptions, *, words: bool = True
) -> dict[str, FittedBeliefs]:
    """Learn the beliefs of all families together, from texts with words or as if they had none."""
    fitting = [Fitting(f.name, tables[f.name], f.traces) for f in families]
    read = [read_words(f.table, f.traces) for f in fitting]
    fits = fit_learned_beliefs(fitting, read if words else list(map(without_words, read)), options=options)
    return {f.name: fit for f, fit in zip(families, fits, strict=True)}


def half(table: EvidenceTable) -> EvidenceTable:
    """Return the attempts of about half of the prompts."""
    return table.take(np.flatnonzero((uniform(table.prompt_ids, 0, "half") < 0.5)[table.prompt]))


def judged(family: Family, beliefs: FittedBeliefs) -> EvidenceTable:
    """Return the judging half with the scores of words, replayed as in flight."""
    return beliefs.extend(family.judging, family.traces)


def network(
    families: list[Family], beliefs: Mapping[str, FittedBeliefs], judging: Mapping[str, EvidenceTable]
) -> Predictions:
    """Predict with the networks alone."""
    return {
        f.name: expit(beliefs[f.name].beliefs.blend.network.predict(judging[f.name].k, judging[f.name].values)[:, 0])
        for f in families
    }


def blended(
    families: list[Family], beliefs: Mapping[str, FittedBeliefs], judging: Mapping[str, EvidenceTable]
) -> Predictions:
    """Predict as a policy does."""
    return {f.name: beliefs[f.name].beliefs.predict(judging[f.name].k, judging[f.name].values)[0] for f in families}


def without_words(rows: WordRows) -> WordRows:
    """Return rows in which no text has words."""
    return WordRows(
        rows.buckets[:0],
        np.zeros_like(rows.new),
        rows.prompt_buckets[:0],
        np.zeros_like(rows.prompt_start),
        rows.prompt_of,
    )


def speed(family: Family, beliefs: Mapping[str, FittedBeliefs]) -> list[Record]:
    """Time the words and the posterior on the judging half: what a policy does at its checkpoints."""
    fitted = beliefs[family.name]
    started = time.process_time()
    table = judged(family, fitted)
    reading = time.process_time() - started
    started = time.process_time()
    fitted.beliefs.predict(table.k, table.values)
    evaluating = time.process_time() - started
    thousands = len(table.k) / 1000
    size = int(table.position[table.end].sum())
    return [
        Record("words: read", reading / size * 1e9, "ns per character"),
        Record("words: read", reading / thousands * 1e3, "ms per 1,000 checkpoints"),
        Record("posterior: evaluate", evaluating / thousands * 1e3, "ms per 1,000 checkpoints"),
    ]


if __name__ == "__main__":
    main()
