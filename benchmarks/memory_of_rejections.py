"""What a memory of rejections saves on the embedded model, beside the same runs without.

    python -m benchmarks.memory_of_rejections [--quick] [--json] [--save] [-o FILE]

Two jobs at {PROMPTS} fresh problems: {ATTEMPTS} attempts at each; and a quota of {QUOTA} accepted samples, of at most
{MOST} attempts. Each is run without and with a memory of what the final filter rejected, by the same seeds, without a
policy, at temperature 1. What counts is tokens per accepted sample, which prompts share: the interval is by drawing
prompts again. Processor time is that of the whole run, without loading the model; with a memory attempts at a prompt
follow each other, so that each computes the prompt anew.

What the ledger says was avoided is an expectation: of the tokens that a run without a memory takes until it has as many
accepted samples. Under the quota it is held against the run without, at the prompts that have their quota in both.

Needs nothing but the package; 3 minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from benchmarks._records import Record, environment, print_records, save_records, write_records
from msifr_integrations.embedded import embedded_model_path, problems
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.journal import ledger_path
from msifr_integrations.generation.options import GenerateOptions
from msifr_integrations.generation.rejections import RejectionMemory
from msifr_policy.records.ledger import Entry, read_ledger

PROMPTS, ATTEMPTS, QUOTA, MOST = 48, 16, 3, 32
RESAMPLES = 4000
SEED = 511


class AtPrompts(NamedTuple):
    """A run by prompt, in one order for all runs: tokens sampled, samples accepted, tokens said to be avoided."""

    tokens: np.ndarray
    accepted: np.ndarray
    avoided: np.ndarray


def by_prompt(entries: Sequence[Entry]) -> AtPrompts:
    """Sum up a ledger."""
    sums: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for entry in entries:
        avoided = 0.0 if entry.avoided is None else entry.avoided.tokens
        sums[entry.prompt_id] += entry.tokens, entry.outcome == "accepted", avoided
    return AtPrompts(*np.array([sums[name] for name in sorted(sums)]).T)


def ratio(plain: AtPrompts, remembered: AtPrompts) -> tuple[float, float, float]:
    """Return tokens per accepted sample with a memory over without, and the ends of its 95 % interval."""
    draws = np.random.default_rng(0).integers(len(plain.tokens), size=(RESAMPLES, len(plain.tokens)))

    def of(at: np.ndarray) -> np.ndarray:
        some, other = ([each[at].sum(-1) for each in run[:2]] for run in (plain, remembered))
        with np.errstate(divide="ignore"):  # a handful of prompts may have nothing accepted
            return (other[0] / other[1]) / (some[0] / some[1])

    low, high = np.quantile(of(draws), [0.025, 0.975])
    return float(of(np.arange(len(plain.tokens)))), float(low), float(high)


def job(what: str, folder: Path, prompts: int, *, quota: int | None, attempts: int) -> Iterator[Record]:
    """Run a job without and with a memory, and say how they compare."""
    drawn = {one.prompt_id: one.as_prompt() for one in problems(SEED, 2 * prompts)}
    todo = list(drawn.values())[:prompts]
    found: list[AtPrompts] = []
    for name, memory in (("without", None), ("with", ())):
        out = folder / f"{name}-{quota}.jsonl"
        options = GenerateOptions(
            attempts=attempts, accepted_per_prompt=quota, slots=16, max_new_tokens=192, seed=3, rejection_memory=memory
        )
        result = generate(str(embedded_model_path()), todo, None, out, options, tell=lambda _: None)
        found.append(by_prompt(read_ledger(ledger_path(out)).entries))
        yield Record(f"{what}, {name}: accepted", result.accepted, "samples")
        yield Record(f"{what}, {name}: attempts", result.attempts)
        yield Record(f"{what}, {name}: tokens per accepted", result.tokens / max(result.accepted, 1), "tokens")
        yield Record(f"{what}, {name}: CPU per accepted", 1e3 * result.cpu_seconds / max(result.accepted, 1), "ms")
        if isinstance(result.rejection_memory, RejectionMemory):
            yield Record(f"{what}: proven dead, mean", result.rejection_memory.mass, "of attempts")
    plain, remembered = found
    factor, low, high = ratio(plain, remembered)
    yield Record(f"{what}: tokens per accepted, ratio", factor, "", "< 1", "without", factor < 1)
    yield Record(f"{what}: ratio, 95 % from", low)
    yield Record(f"{what}: ratio, 95 % to", high, "", "< 1", "without", high < 1)
    if quota is not None:
        both = (plain.accepted >= quota) & (remembered.accepted >= quota)
        spent, avoided = remembered.tokens[both].sum(), remembered.avoided[both].sum()
        yield Record(f"{what}: prompts with it, without", int((plain.accepted >= quota).sum()))
        yield Record(f"{what}: prompts with it, with", int((remembered.accepted >= quota).sum()))
        yield Record(f"{what}: said to be avoided", avoided / (spent + avoided), "of tokens")
        yield Record(f"{what}: was avoided", 1 - spent / plain.tokens[both].sum(), "of tokens")


def main() -> int:
    """Run the benchmark."""
    about = str(__doc__).format(PROMPTS=PROMPTS, ATTEMPTS=ATTEMPTS, QUOTA=QUOTA, MOST=MOST)
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="see that it runs: few prompts")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--save", action="store_true", help="write results/memory_of_rejections.json")
    parser.add_argument("-o", "--out", type=Path, help="write the records to a file")
    args = parser.parse_args()
    prompts = 6 if args.quick else PROMPTS
    with TemporaryDirectory() as made:
        folder = Path(made)
        records = [*environment("torch", "transformers"), Record("prompts", prompts)]
        records += job(f"{ATTEMPTS} attempts", folder, prompts, quota=None, attempts=ATTEMPTS)
        records += job(f"quota of {QUOTA}", folder, prompts, quota=QUOTA, attempts=MOST)
    print_records(records, args.json)
    if args.save:
        save_records(records, "memory_of_rejections")
    if args.out:
        write_records(records, args.out)
    return 0 if args.quick else int(any(record.ok is False for record in records))


if __name__ == "__main__":
    sys.exit(main())
