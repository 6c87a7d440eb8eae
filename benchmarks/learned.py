"""The learned posterior against boosted trees and logistic regression: `python -m benchmarks.learned [--json] …`.

All are fitted on the design half of every family and judged on the other prompts (see `real_traces`): mean log loss in
nats per checkpoint and area under the curve, each family weighing the same. On the **same columns**, those of the
rules:

* logistic regression, one per family and stage (the posterior `logistic`);
* scikit-learn's histogram gradient boosting on the columns, the checkpoint and the family, one model for all;
* the network without words.

Then the network with the words, without and with the temporal-difference term, and how consistent successive estimates
are: the mean over families of |E[M_{k+1} − M_k]| by thirds of M_k, zero for a martingale [T12]. And its speed:
milliseconds for a thousand checkpoints, words read and network evaluated. Without FOLDER the traces of the embedded
model are used.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks.real_traces import Family, read_family
from msifr_calibration import LearnOptions, fit_posterior, learn_beliefs, read_words, with_words
from msifr_calibration.learned import WordRows
from msifr_calibration.posterior import log_loss
from msifr_integrations.embedded import embedded_samples_path
from msifr_policy.evidence import EvidenceTable
from msifr_policy.posterior import signed_log1p
from msifr_policy.traces import find_trace_files

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
    options = LearnOptions(epochs=epochs)
    methods: dict[str, Callable[[], Predictions]] = {
        "acceptance rate": lambda: base,
        "logistic": lambda: {f.name: logistic(f) for f in families},
        "boosted trees": lambda: boosted(families),
        "network without words": lambda: network(families, options, words=False),
        "network, no consistency": lambda: network(families, replace(options, consistency=0.0), words=True),
        "network": lambda: network(families, options, words=True),
    }
    records = [Record("families", float(len(families)))]
    for method, predict in methods.items():
        started = time.perf_counter()
        M = predict()
        seconds = time.perf_counter() - started
        records += [
            Record(f"{method}: log loss", mean(families, M, loss), "nats"),
            Record(f"{method}: area under the curve", mean(families, M, area)),
            Record(f"{method}: drift of M", mean(families, M, drift)),
            Record(f"{method}: fit and predict", seconds, "s"),
        ]
    return [*records, *speed(families[0], epochs), *environment("msifr-policy", "numpy", "scikit-learn", "torch")]


def mean(
    families: list[Family], M: Predictions, measure: Callable[[EvidenceTable, NDArray[np.float64]], float]
) -> float:
    """Return the mean of a measure over families where it is defined."""
    return float(np.nanmean([measure(f.judging, M[f.name]) for f in families]))


def loss(table: EvidenceTable, M: NDArray[np.float64]) -> float:
    """Return the mean log loss per checkpoint in nats."""
    rows = table.is_checkpoint
    return log_loss(M[rows], table.accepted[table.attempt][rows])


def area(table: EvidenceTable, M: NDArray[np.float64]) -> float:
    """Return the mean over checkpoints 1, 4, 8 and 12 of the area under the curve."""
    areas = []
    for k in (1, 4, 8, 12):
        rows = table.is_checkpoint & (table.k == k)
        y = table.accepted[table.attempt][rows]
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


def logistic(family: Family) -> NDArray[np.float64]:
    """Fit the posterior `logistic` and predict."""
    posterior = fit_posterior(family.design, method="logistic").posterior
    return posterior.predict(family.judging.k, family.judging.values)


def boosted(families: list[Family]) -> Predictions:
    """Fit one histogram gradient boosting on all families, with early stopping off and mild settings."""

    def rows(table: EvidenceTable, number: int) -> NDArray[np.float64]:
        return np.column_stack([signed_log1p(table.values), table.k, np.full(len(table.k), number)])

    X, y, w = [], [], []
    for number, family in enumerate(families):
        table = family.design
        checks = table.is_checkpoint
        X.append(rows(table, number)[checks])
        y.append(table.accepted[table.attempt][checks])
        per_attempt = 1 / np.diff(table.start) / np.sqrt(table.n_attempts)
        w.append(per_attempt[table.attempt][checks])
    weights = np.concatenate(w)
    model = HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=80,
        l2_regularization=5.0,
        categorical_features=[X[0].shape[1] - 1] if len(families) > 1 else None,
        early_stopping=False,
        random_state=0,
    ).fit(np.concatenate(X), np.concatenate(y), sample_weight=weights / weights.mean())
    return {f.name: model.predict_proba(rows(f.judging, i))[:, 1] for i, f in enumerate(families)}


def network(families: list[Family], options: LearnOptions, *, words: bool) -> Predictions:
    """Learn the network and predict through the validator of words, as a policy does."""
    read = {f.name: read_words(f.design, f.traces) for f in families}
    if not words:
        read = {name: without_words(rows) for name, rows in read.items()}
        options = replace(options, dimensions=1)
    beliefs = learn_beliefs({f.name: f.design for f in families}, read, options=options)
    result = {}
    for f in families:
        mine = beliefs[f.name]
        if words:
            values = with_words(f.judging, f.traces, mine.words).values
        else:
            values = np.column_stack([f.judging.values, np.zeros((len(f.judging.k), 2 * mine.words.dimensions))])
        result[f.name] = mine.posterior.predict(f.judging.k, values)
    return result


def without_words(rows: WordRows) -> WordRows:
    """Return rows in which no text has words."""
    return WordRows(
        rows.buckets[:0],
        np.zeros_like(rows.new),
        rows.prompt_buckets[:0],
        np.zeros_like(rows.prompt_start),
        rows.prompt_of,
    )


def speed(family: Family, epochs: int) -> list[Record]:
    """Time the words and the network on the judging half: what a policy does at its checkpoints."""
    few = family.design.take(np.arange(min(200, family.design.n_attempts)))
    mine = learn_beliefs({"": few}, {"": read_words(few, family.traces)}, options=LearnOptions(epochs=min(epochs, 2)))[
        ""
    ]
    started = time.process_time()
    table = with_words(family.judging, family.traces, mine.words)
    reading = time.process_time() - started
    started = time.process_time()
    mine.posterior.predict(table.k, table.values)
    evaluating = time.process_time() - started
    thousands = len(table.k) / 1000
    size = int(table.position[table.end].sum())
    return [
        Record("words: read", reading / size * 1e9, "ns per character"),
        Record("words: read", reading / thousands * 1e3, "ms per 1,000 checkpoints"),
        Record("network: evaluate", evaluating / thousands * 1e3, "ms per 1,000 checkpoints"),
    ]


if __name__ == "__main__":
    main()
