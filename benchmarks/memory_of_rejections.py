"""What a memory of rejections saves on the embedded model, beside the same runs without.

    python -m benchmarks.memory_of_rejections [--quick] [--json] [--save] [-o FILE]

Two jobs at {PROMPTS} fresh problems: {ATTEMPTS} attempts at each; and a quota of {QUOTA} accepted samples, of at most
{MOST} attempts. Each is run without and with a memory of what the final filter rejected, by seeds of their own, without
a policy, at temperature 1. What counts is tokens per accepted sample; its interval is by drawing prompts again.
Processor time is that of the whole run, without loading the model; with a memory attempts at a prompt follow each
other, so that prompts may be computed more than once.

What the ledger says was avoided is an expectation: so many further attempts a run without a memory would draw in vain.
If it is right, a prompt of which a share a of plain attempts is accepted gives a·(n + avoided) accepted samples in n
attempts with a memory, in expectation. That is held against those it gave, over all prompts.

Needs nothing but the package; 4 minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
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
    """A run by prompt, in one order for all runs: tokens, accepted samples, attempts, attempts said to be avoided."""

    tokens: np.ndarray
    accepted: np.ndarray
    attempts: np.ndarray
    avoided: np.ndarray


def by_prompt(entries: Sequence[Entry]) -> AtPrompts:
    """Sum up a ledger."""
    sums: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(4))
    for entry in entries:
        avoided = 0.0 if entry.avoided is None else entry.avoided.attempts
        sums[entry.prompt_id] += entry.tokens, entry.outcome == "accepted", 1, avoided
    return AtPrompts(*np.array([sums[name] for name in sorted(sums)]).T)


def interval(of: Callable[[np.ndarray], np.ndarray], prompts: int) -> tuple[float, float, float]:
    """Return a number of prompts, which `of` makes of their places, and the ends of its 95 % interval."""
    draws = np.random.default_rng(0).integers(prompts, size=(RESAMPLES, prompts))
    with np.errstate(divide="ignore", invalid="ignore"):  # a handful of prompts may have nothing accepted
        low, high = np.quantile(of(draws), [0.025, 0.975])
        return float(of(np.arange(prompts))), float(low), float(high)


def job(what: str, folder: Path, prompts: int, *, quota: int | None, attempts: int) -> Iterator[Record]:
    """Run a job without and with a memory, and say how they compare."""
    drawn = {one.prompt_id: one.as_prompt() for one in problems(SEED, 2 * prompts)}
    todo = list(drawn.values())[:prompts]
    found: list[AtPrompts] = []
    for seed, (name, memory) in enumerate((("without", None), ("with", ()))):
        out = folder / f"{name}-{quota}.jsonl"
        options = GenerateOptions(
            attempts=attempts,
            accepted_per_prompt=quota,
            slots=16,
            max_new_tokens=192,
            seed=seed,
            rejection_memory=memory,
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

    def per_accepted(at: np.ndarray) -> np.ndarray:
        some, other = (run.tokens[at].sum(-1) / run.accepted[at].sum(-1) for run in found)
        return other / some

    def as_said(at: np.ndarray) -> np.ndarray:
        expected = plain.accepted / plain.attempts * (remembered.attempts + remembered.avoided)
        return remembered.accepted[at].sum(-1) / expected[at].sum(-1)

    factor, low, high = interval(per_accepted, prompts)
    yield Record(f"{what}: tokens per accepted, ratio", factor, "", "< 1", "without", factor < 1)
    yield Record(f"{what}: ratio, 95 % from", low)
    yield Record(f"{what}: ratio, 95 % to", high, "", "< 1", "without", high < 1)
    if quota is None:
        factor, low, high = interval(as_said, prompts)
        yield Record(f"{what}: accepted over what is said, ratio", factor, "", "1 in interval", "", low <= 1 <= high)
        yield Record(f"{what}: over what is said, 95 % from", low)
        yield Record(f"{what}: over what is said, 95 % to", high)
    else:
        yield Record(f"{what}: prompts with it, without", int((plain.accepted >= quota).sum()))
        yield Record(f"{what}: prompts with it, with", int((remembered.accepted >= quota).sum()))


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
