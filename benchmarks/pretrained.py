"""Pretrained beliefs: `python -m benchmarks.pretrained --traces FOLDER [--weights FOLDER] [--json] [--save] [--ship]`.

Each file of FOLDER is a family (one model on one benchmark), with the evidence of plain `msifr fit`. Beliefs are
learned on families elsewhere and judged on those held out, several at a time, since each learning takes minutes:

* **benchmark held out**: no family of the benchmark is learned from, nor any prompt that it shares with others;
* **model held out**: no family of the model, or of its line of models, is learned from;
* **nothing held out**: only the judged prompts are new;
* **benchmark known**: no family of the model is learned from, but other models' attempts at the very prompts that are
  judged are, as for a user with a new model and a known benchmark: sets of words are cross-fitted by prompt.

Learning sees the design half of prompts (see `real_traces`), where the benchmark is known all of them. A benchmark that
is held out or known is judged on all its prompts, the others on the judging half: but where the benchmark is known, no
judged prompt, not even one of another family, was learned from. Per family three beliefs are compared on the same rows,
each cross-fitted by prompt: the family's **own** linear ones, **pretrained** ones after recalibration, and **both**.
Then with few samples: fitted on 30, 60 or 120 attempts, judged on up to 300 others.

Where the benchmark is known, what is **remembered** of prompts is measured: log loss of pretrained beliefs when each
prompt is read by words, or by one of the five networks, that are new to it, and by those that know it, having learned
from it.

`--weights` keeps what was learned and how it was judged, and takes both from there again; `--tables` has evidence
tables (`msifr score`) named as the traces. `--ship` learns on all prompts and writes the package's own weights with
their card.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks.real_traces import LINES, in_design_half, say
from msifr_calibration.beliefs.fitted import FittedBeliefs, log_loss
from msifr_calibration.beliefs.linear import fit_linear_beliefs
from msifr_calibration.beliefs.pretrained import (
    PRETRAINED,
    Reads,
    fit_pretrained_beliefs,
    folds_and_questions,
    learn_pretrained,
    table_with_pretrained_words,
)
from msifr_calibration.beliefs.stack import FOLDS
from msifr_calibration.family import Family
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import auto_schedule
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.records.traces import find_trace_files, read_traces
from msifr_policy.validators import default_validators
from msifr_policy.weights import recall, remember, to_bytes

BENCHMARKS = (
    ("math500", "blocksworld", "bbh"),
    ("math_l5_json", "mrben", "livecodebench"),
    ("olympiadbench", "gsm8k", "aime24"),
    ("crux_json", "minerva_math", "game24", "amc23"),
    ("mmlu_pro", "math_x8", "bigbench_mistake"),
)
"""Benchmarks that are held out together: those of one kind stay apart, so that each has relatives to learn from."""

MODEL_GROUPS = 3
FEW = (30, 60, 120)
MOST_JUDGED = 300
CHECKPOINTS = (1, 4, 8, 12)
BELIEFS = ("own", "pretrained", "both")

LICENCES = {
    "aime24": ("NovaSky-AI/SkyThought", "Apache-2.0"),
    "amc23": ("NovaSky-AI/SkyThought", "Apache-2.0"),
    "bbh": ("suzgunmirac/BIG-Bench-Hard", "MIT"),
    "bigbench_mistake": ("WHGTyen/BIG-Bench-Mistake", "Apache-2.0"),
    "blocksworld": ("karthikv792/LLMs-Planning", "MIT"),
    "blocksworld3": ("karthikv792/LLMs-Planning", "MIT"),
    "crux_json": ("WildEval/ZeroEval", "Apache-2.0"),
    "game24": ("princeton-nlp/tree-of-thought-llm", "MIT"),
    "gsm8k": ("openai/grade-school-math", "MIT"),
    "gsm8k_json": ("WildEval/ZeroEval", "Apache-2.0"),
    "gsm8k_tora": ("microsoft/ToRA", "MIT"),
    "livecodebench": ("LiveCodeBench/submissions", "MIT"),
    "math500": ("NovaSky-AI/SkyThought", "Apache-2.0"),
    "math_l5_json": ("WildEval/ZeroEval", "Apache-2.0"),
    "math_x8": ("QwenLM/Qwen2.5-Math", "MIT"),
    "minerva_math": ("NovaSky-AI/SkyThought", "Apache-2.0"),
    "mmlu_pro": ("TIGER-AI-Lab/MMLU-Pro", "Apache-2.0"),
    "mrben": ("dvlab-research/Mr-Ben", "MIT"),
    "mystery_blocksworld": ("karthikv792/LLMs-Planning", "MIT"),
    "olympiadbench": ("NovaSky-AI/SkyThought", "Apache-2.0"),
}
"""Where the recorded outputs of a benchmark are from, and the licence of the repository that publishes them."""


@dataclass(frozen=True)
class Split:
    """What is learned without: families `held_out`, judged on `all_prompts` or on their judging half.

    known: whether all prompts are learned from, those that are judged too.
    """

    name: str
    held_out: frozenset[str]
    judged: frozenset[str]
    all_prompts: bool
    known: bool = False


@dataclass(frozen=True)
class Scores:
    """Of one family, per belief: area under the curve at checkpoints (None where one outcome is rare), and log loss.

    few: log loss when fitted on few attempts, by "30 own" and so on. remembered: log loss of pretrained beliefs by
    "words new to the prompt" and so on.
    """

    areas: dict[str, list[float | None]]
    losses: dict[str, float]
    few: dict[str, float]
    remembered: dict[str, float]


def benchmark_of(name: str) -> str:
    """Return the benchmark of a family; variants on the same prompts are one."""
    first = name.partition("-")[0]
    return next((one for one in ("gsm8k", "blocksworld") if one in first), first)


def model_of(name: str) -> str:
    """Return the model of a family, or its line of models."""
    full = name.partition("-")[2]
    return next((line for line in LINES if line in full), full.partition("-175b")[0].partition("-6b")[0])


def question(prompt_id: str) -> str:
    """Return what names the question in every file: the last part of its id."""
    return prompt_id.rpartition(":")[2]


def splits(names: Sequence[str]) -> list[Split]:
    """Return everything that is held out, so that all prompts that are judged are new."""
    result = [Split("nothing held out", frozenset(), frozenset(names), all_prompts=False)]
    for i, benchmarks in enumerate(BENCHMARKS):
        held = frozenset(name for name in names if benchmark_of(name) in benchmarks)
        result.append(Split(f"benchmark held out {i + 1}", held, held, all_prompts=True))
    counts = Counter(map(model_of, names))
    group = {model: i % MODEL_GROUPS for i, (model, _) in enumerate(counts.most_common())}
    for i in range(MODEL_GROUPS):
        held = frozenset(name for name in names if group[model_of(name)] == i)
        result.append(Split(f"model held out {i + 1}", held, held, all_prompts=False))
    return [split for split in result if split.judged and len(split.held_out) < len(names)]


def splits_of_known(names: Sequence[str]) -> list[Split]:
    """Return the models that are held out, judged on prompts that other models' attempts were learned from."""
    result = []
    for split in splits(names):
        if split.name.startswith("model held out"):
            known = {benchmark_of(name) for name in names if name not in split.held_out}
            judged = frozenset(name for name in split.held_out if benchmark_of(name) in known)
            name = split.name.replace("model held out", "benchmark known")
            result.append(Split(name, split.held_out, judged, all_prompts=True, known=True))
    return [split for split in result if split.judged]


def design_half(table: EvidenceTable, *, inside: bool) -> EvidenceTable:
    """Return the attempts at prompts of the design half, or of the judging half."""
    return table.where(np.asarray([in_design_half(p) == inside for p in table.prompt_ids], dtype=bool))


def training(families: Mapping[str, Family], split: Split) -> list[Family]:
    """Return the families to learn from: design halves, without prompts of a benchmark that is held out; or all."""
    if split.known:
        return [family for name, family in families.items() if name not in split.held_out]
    judged = [p for name in split.held_out for p in families[name].table.prompt_ids] if split.all_prompts else []
    banned = set(map(question, judged))
    result = []
    for name, family in families.items():
        if name not in split.held_out:
            table = design_half(family.table, inside=True)
            table = table.where(np.asarray([question(p) not in banned for p in table.prompt_ids], dtype=bool))
            if table.n_attempts:
                result.append(replace(family, table=table))
    return result


def kept_at(path: Path | None, make: Callable[[], bytes]) -> bytes:
    """Return the file at `path`, made and kept there if it does not exist."""
    if path is not None and path.exists():
        return path.read_bytes()
    raw = make()
    if path is not None:
        path.write_bytes(raw)
    return raw


def kept_in(folder: Path | None, name: str, suffix: str) -> Path | None:
    """Return where what was made under a name is kept, if anywhere."""
    return None if folder is None else folder / f"{name.replace(' ', '-')}.{suffix}"


def weights_for(
    families: Mapping[str, Family], split: Split, folder: Path | None, say_now: Callable[[str], None]
) -> str:
    """Return the name of what is learned for a split, remembered; kept in `folder` if there is one."""
    kept = kept_in(folder, split.name, "safetensors")
    return remember(kept_at(kept, lambda: learn_pretrained(training(families, split), progress=say_now)))


def areas(table: EvidenceTable, M: NDArray[np.float64]) -> list[float | None]:
    """Return the area under the curve at each of `CHECKPOINTS`; None with fewer than five of an outcome there."""
    result: list[float | None] = []
    for k in CHECKPOINTS:
        rows = table.is_checkpoint & (table.k == k)
        outcome = table.outcome[rows]
        enough = 5 <= outcome.sum() <= len(outcome) - 5
        result.append(float(roc_auc_score(outcome, M[rows])) if enough else None)
    return result


def fits(table: EvidenceTable, weights: str) -> dict[str, FittedBeliefs]:
    """Return the three beliefs fitted to a table that has the words."""
    wordless = [i for i, column in enumerate(table.columns) if not column.startswith("words.")]
    rules = replace(table, columns=tuple(table.columns[i] for i in wordless), values=table.values[:, wordless])
    return {
        "own": fit_linear_beliefs(rules),
        "pretrained": fit_pretrained_beliefs(table, weights=weights),
        "both": fit_pretrained_beliefs(table, weights=weights, own=True),
    }


def judge(family: Family, split: Split, weights: str) -> Scores:
    """Fit and judge the three beliefs on one family."""
    table = family.table if split.all_prompts else design_half(family.table, inside=False)
    table = table_with_pretrained_words(table, family.traces, weights)
    whole = fits(table, weights)
    rows, outcome = table.is_checkpoint, table.outcome
    few = {}
    prompts = np.random.default_rng(0).permutation(table.n_prompts)
    so_far = np.cumsum(np.bincount(table.prompt)[prompts])
    for n in FEW if split.all_prompts else ():
        # Whole prompts: attempts at one are on one side.
        inside = np.isin(table.prompt, prompts[: int(np.searchsorted(so_far, n)) + 1])
        outside = np.flatnonzero(~inside)
        if len(outside) < 30 or inside.sum() > 2 * n:
            continue
        judged = table.take(np.random.default_rng(0).permutation(outside)[:MOST_JUDGED])
        for name, fit in fits(table.take(np.flatnonzero(inside)), weights).items():
            columns = [table.columns.index(column) for column in fit.beliefs.columns]
            M, _ = fit.beliefs.predict(judged.k, judged.values[:, columns])
            few[f"{n} {name}"] = log_loss(M[judged.is_checkpoint], judged.outcome[judged.is_checkpoint])
    return Scores(
        {name: areas(table, fit.M) for name, fit in whole.items()},
        {name: log_loss(fit.M[rows], outcome[rows]) for name, fit in whole.items()},
        few,
        what_is_remembered(family, table, weights) if split.known else {},
    )


def what_is_remembered(family: Family, table: EvidenceTable, weights: str) -> dict[str, float]:
    """Return the log loss with words, and with single networks, that did not learn from the prompts, and that did.

    table: that of the family, with the words of each prompt's own set.
    """
    arrays = recall(weights)
    rows, outcome = table.is_checkpoint, table.outcome
    fold = folds_and_questions([family])[0][table.attempt][rows]

    def losses(table: EvidenceTable, **changed: NDArray[Any]) -> NDArray[np.float64]:
        """Return the log loss of each checkpoint."""
        M = fit_pretrained_beliefs(table, weights=to_bytes({**arrays, **changed})).M[rows]
        return -np.log(np.maximum(np.where(outcome[rows], M, 1 - M), 1e-12))

    rolled = {name: np.roll(array, 1, axis=0) for name, array in arrays.items() if name.startswith("words.")}
    known = table_with_pretrained_words(family.table, family.traces, to_bytes({**arrays, **rolled}))
    by_network = np.stack([losses(table, **one_network(arrays, n)) for n in range(FOLDS)])
    own = by_network[fold, np.arange(len(fold))]
    return {
        "words new to the prompt": float(losses(table).mean()),
        "words that know the prompt": float(losses(known).mean()),
        "a network new to the prompt": float(own.mean()),
        "a network that knows the prompt": float((by_network.sum(axis=0) - own).mean() / (FOLDS - 1)),
    }


def one_network(arrays: Mapping[str, NDArray[Any]], n: int) -> dict[str, NDArray[Any]]:
    """Return the tensors of a network alone."""
    width = arrays["beliefs.hidden_bias"].shape[1]
    first = slice(n * width, (n + 1) * width)
    result = {f"beliefs.{name}": arrays[f"beliefs.{name}"][n : n + 1] for name in ("hidden", "hidden_bias", "out")}
    for name in ("known", "unknown", "bias", "checkpoint"):
        result[f"beliefs.{name}"] = arrays[f"beliefs.{name}"][..., first]
    return result


def judge_all(families: Mapping[str, Family], split: Split, weights: str) -> bytes:
    """Return the scores of all judged families, as JSON."""
    return msgspec.json.encode({name: judge(families[name], split, weights) for name in sorted(split.judged)})


def records_of(kind: str, scores: Mapping[str, Scores]) -> list[Record]:
    """Return the means over families of one kind of split, and each family's losses."""
    records = [Record(f"{kind}: families", float(len(scores)))]
    for belief in BELIEFS:
        each = np.asarray([score.areas[belief] for score in scores.values()], dtype=np.float64)
        loss = float(np.mean([score.losses[belief] for score in scores.values()]))
        records.append(Record(f"{kind}: {belief}: log loss", loss, "nats"))
        records.append(Record(f"{kind}: {belief}: area under the curve", _mean(_mean_of_rows(each))))
        records += [
            Record(f"{kind}: {belief}: area under the curve at checkpoint {k}", _mean(each[:, i]))
            for i, k in enumerate(CHECKPOINTS)
        ]
    for n in FEW:
        of = [score.few for score in scores.values() if f"{n} own" in score.few]
        records += [
            Record(
                f"{kind}: {belief}: log loss, {n} attempts",
                float(np.mean([few[f"{n} {belief}"] for few in of])),
                "nats",
            )
            for belief in BELIEFS
            if of
        ]
    for what in sorted({what for score in scores.values() for what in score.remembered}):
        loss = float(np.mean([score.remembered[what] for score in scores.values()]))
        records.append(Record(f"{kind}: pretrained, {what}: log loss", loss, "nats"))
    worse = sum(score.losses["both"] > score.losses["own"] + 0.01 for score in scores.values())
    records.append(Record(f"{kind}: families where both lose 0.01 nats to own", float(worse)))
    for name, score in scores.items():
        for belief in BELIEFS:
            records.append(Record(f"{kind}: {name}: {belief}: log loss", score.losses[belief], "nats"))
            area = _mean(np.asarray(score.areas[belief], dtype=np.float64))
            records.append(Record(f"{kind}: {name}: {belief}: area under the curve", area))
    return [record for record in records if record.value == record.value]


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _mean_of_rows(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray([_mean(row) for row in values])


def read_families(folder: Path, tables: Path | None) -> dict[str, Family]:
    """Read all traces with the evidence of plain `msifr fit`; tables that exist are taken as they are."""
    families = {}
    for path in find_trace_files([folder]):
        name = path.name.split(".jsonl")[0]
        traces = list(read_traces(path))
        table = None if tables is None else tables / f"{name}.parquet"
        if table is not None and table.exists():
            evidence = EvidenceTable.read(table)
        else:
            schedule = auto_schedule([len(trace.text) for trace in traces[:2000]])
            evidence = build_evidence(traces, schedule, default_validators())
        families[name] = Family(name, evidence, traces)
    return families


def ship(families: Mapping[str, Family], raw: bytes, judged: Sequence[Record]) -> None:
    """Write the package's weights and their card."""
    reads = msgspec.json.decode(recall(remember(raw))["reads"].tobytes(), type=Reads)
    card = {
        "what": "Pretrained beliefs: word log-odds and an evidence network, learned on recorded generations.",
        "sha256": hashlib.sha256(raw).hexdigest(),
        "bytes": len(raw),
        "columns": reads.columns,
        "validators": [f"{spec.name} {spec.version}" for spec in reads.validators],
        "schedule": "auto: geometric in characters, from a fortieth of the median length on, 25 % apart",
        "families": [
            {
                "name": name,
                "attempts": family.table.n_attempts,
                "prompts": family.table.n_prompts,
                "accepted": family.table.n_accepted,
                "source": LICENCES[name.partition("-")[0]][0],
                "licence": LICENCES[name.partition("-")[0]][1],
            }
            for name, family in families.items()
        ],
        "cross_fitted": "Set s of the words is learned without the questions that any prompt of fold s asks; the fold, "
        "one of five, is a hash of a prompt's text, case and blanks aside. So a prompt that was learned from is read "
        "like a new one; the same question in other words is not recognised. The networks see scores and counts, not "
        "words, and are the same for all prompts: what they remember of prompts is among the results.",
        "terms": "The licence is that of the repository that publishes the recorded outputs. Benchmark questions keep "
        "the terms of their authors. Two families derive from BIG-Bench, whose authors ask that its data stay out "
        "of the corpora of language models. The weights hold coefficients of hashed words, no text.",
        "judged": "Weights learned alike without models, benchmarks or prompts, `python -m benchmarks.pretrained`; see "
        "benchmarks/results/pretrained.json. The weights shipped are learned on all prompts and were not judged.",
        "results": {r.metric: r.value for r in judged if r.metric.count(":") == 2 and "checkpoint" not in r.metric},
    }
    PRETRAINED.parent.mkdir(exist_ok=True)
    PRETRAINED.write_bytes(raw)
    PRETRAINED.with_name("card.json").write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, required=True, help="folder of trace files")
    parser.add_argument("--tables", type=Path, help="folder of evidence tables, to save time")
    parser.add_argument("--weights", type=Path, help="folder where what was learned is kept")
    parser.add_argument("--only", default="", help="judge only splits whose name begins so")
    parser.add_argument("--json", action="store_true", help="print records as JSON, last")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/pretrained.json")
    parser.add_argument("--ship", action="store_true", help="write the weights of the package")
    given = parser.parse_args()
    say_now = partial(say, time.perf_counter())

    if given.weights is not None:
        given.weights.mkdir(parents=True, exist_ok=True)

    families = read_families(given.traces, given.tables)
    say_now(f"{len(families)} families read")
    scores: dict[str, dict[str, Scores]] = {}
    for split in [*splits(list(families)), *splits_of_known(list(families))]:
        if not split.name.startswith(given.only):
            continue
        weights = weights_for(families, split, given.weights, say_now)
        judged = kept_at(kept_in(given.weights, split.name, "json"), partial(judge_all, families, split, weights))
        of_kind = scores.setdefault(split.name.rstrip(" 0123456789"), {})
        of_kind |= msgspec.json.decode(judged, type=dict[str, Scores])
        say_now(f"judged: {split.name}")
    records = [record for kind, of_families in scores.items() for record in records_of(kind, of_families)]
    if given.ship:
        ship(
            families,
            kept_at(
                kept_in(given.weights, "all", "safetensors"),
                partial(learn_pretrained, list(families.values()), progress=say_now),
            ),
            records,
        )
    records += environment("msifr-policy", "numpy", "scikit-learn", "torch")
    if given.save:
        save_records(records, "pretrained")
    print_records(records, given.json)


if __name__ == "__main__":
    main()
