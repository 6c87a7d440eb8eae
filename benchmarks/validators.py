"""Cost of the rule validators: nanoseconds per byte of text, fed at checkpoints, against re-scanning.

    python -m benchmarks.validators [--json] [--quick] [--traces FOLDER] [--control FILE]

Each text is fed at checkpoints (`EVERY` characters, `PER_TOKEN` characters a token with a log-probability) to each
rule alone, to the default rules, and to all that need no parameter. The peer is what one would do without
incremental state: a fresh scan of the whole prefix at every checkpoint. Both must give the same evidence at every
checkpoint; the run fails otherwise. Text is that of recorded traces where a folder is given, else generated. Times
are processor seconds of this process.

With a file of right solutions written by people, or where the shared folder has one, also the share of them that
a rule calls dead at its default.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks._records import Record, environment, print_records, save_records
from msifr_policy.records.traces import find_trace_files, read_traces
from msifr_policy.testing.validators import same_evidence
from msifr_policy.validators import (
    Evidence,
    Tokens,
    Validator,
    Verdict,
    built_in_validators,
    default_validators,
)

EVERY = 512
"""Characters between checkpoints."""
PER_TOKEN = 4
"""Characters of a token."""
CONTROL = Path(__file__).parents[2] / "shared/control/gsm8k-human-solutions.jsonl.gz"
"""Right solutions written by people, where they are shared."""

PROMPT = "Ann has 12 apples and 1,250 pears and gives half of them to her friends. How many of each are left?"
WORDS = ["so", "we", "then", "add", "the", "number", "of", "apples", "and", "divide", "by", "what", "is", "left"]


def generated(n: int, seed: int = 0) -> Iterator[str]:
    """Yield `n` made-up derivations of 500 to 8,000 characters; two lines of three hold an equation."""
    draw = random.Random(seed)  # noqa: S311 (not for secrets)
    for _ in range(n):
        lines = []
        for _ in range(draw.randint(8, 120)):
            a, b = draw.randint(2, 99), draw.randint(2, 99)
            prose = " ".join(draw.choices(WORDS, k=draw.randint(5, 12)))
            equation = draw.choice((f"{a} + {b} = {a + b}.", rf"\({a} \times {b} = {a * b}\).", "and so on."))
            lines.append(f"{prose} {equation}\n")
        yield "".join(lines) + f"#### {draw.randint(1, 99)}\n"


def sampled(folder: str, per_file: int, seed: int = 0) -> Iterator[str]:
    """Yield the texts of `per_file` random traces of each file in `folder`."""
    draw = random.Random(seed)  # noqa: S311 (not for secrets)
    for path in find_trace_files([folder]):
        texts = [trace.text for trace in read_traces(path)]
        yield from draw.sample(texts, min(per_file, len(texts)))


def tokens_of(text: str) -> Tokens:
    """Return made-up tokens of a text, each with a log-probability that depends on its characters."""
    surprisals = (-(ord(text[i]) % 32) / 16 for i in range(0, len(text), PER_TOKEN))
    return Tokens(-(-len(text) // PER_TOKEN), tuple(surprisals))


def incremental(validators: Sequence[Validator], texts: Sequence[str]) -> tuple[float, list[Evidence]]:
    """Feed each text at its checkpoints; return the seconds and the evidence at each."""
    seen = []
    pieces = [[text[i : i + EVERY] for i in range(0, len(text), EVERY)] for text in texts]
    fed = [[(piece, tokens_of(piece)) for piece in row] for row in pieces]
    start = time.process_time()
    for row in fed:
        states = [validator.start(PROMPT) for validator in validators]
        for piece, tokens in row:
            seen += [state.feed(piece, tokens) for state in states]
    return time.process_time() - start, seen


def rescanning(validators: Sequence[Validator], texts: Sequence[str]) -> tuple[float, list[Evidence]]:
    """Scan the whole prefix at each checkpoint; return the seconds and the evidence at each."""
    seen = []
    spent = 0.0
    for text in texts:
        for i in range(0, len(text), EVERY):
            prefix = text[: i + EVERY]
            tokens = tokens_of(prefix)
            start = time.process_time()
            seen += [validator.start(PROMPT).feed(prefix, tokens) for validator in validators]
            spent += time.process_time() - start
    return spent, seen


def agree(a: Sequence[Evidence], b: Sequence[Evidence]) -> bool:
    """Say whether two runs gave the same evidence."""
    return len(a) == len(b) and all(map(same_evidence, a, b))


def measure(texts: Sequence[str], repeats: int) -> list[Record]:
    """Return the records of one corpus."""
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    everything = built_in_validators()
    records = [
        Record("texts", float(len(texts))),
        Record("mean length", size / len(texts), "bytes"),
        Record("checkpoint every", float(EVERY), "characters"),
    ]
    for rule in everything:
        best = min(incremental([rule], texts)[0] for _ in range(repeats))
        records.append(Record(f"{rule.name}: cost", best / size * 1e9, "ns/byte"))
    for name, rules in (("default rules", default_validators()), ("all rules", everything)):
        cost = min(incremental(rules, texts)[0] for _ in range(repeats)) / size * 1e9
        records.append(Record(f"{name}: cost", cost, "ns/byte", "<= 1000", ok=cost <= 1000))
    # Re-scanning is quadratic: long texts are cut, and ours is measured again on the same cut texts.
    short = [text[:20_000] for text in texts]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in short)
    ours, evidence = incremental(everything, short)
    theirs, again = rescanning(everything, short)
    peer = "a scan of the whole prefix at each checkpoint"
    same = agree(evidence, again)
    records += [
        Record(
            "first 20,000 characters: cost",
            ours / size * 1e9,
            "ns/byte",
            peer=f"{theirs / size * 1e9:.0f} ns/byte",
        ),
        Record("first 20,000 characters: times faster", theirs / ours, "x", "> 1", peer, theirs > ours),
        Record("same evidence as the peer", float(same), "", "1", peer, same),
    ]
    return records


def control(path: Path) -> list[Record]:
    """Return the shares of right solutions that a rule calls dead: of each that ever does, and of all together."""
    rules = built_in_validators()
    dead = dict.fromkeys((rule.name for rule in rules), 0)
    any_dead = n = 0
    for trace in read_traces(path):
        n += 1
        verdicts = [rule.start(trace.prompt).feed(trace.text + "\n").verdict for rule in rules]
        for rule, verdict in zip(rules, verdicts, strict=True):
            dead[rule.name] += verdict is Verdict.DEAD
        any_dead += Verdict.DEAD in verdicts
    share = 100 * any_dead / n
    return [
        Record("right solutions", float(n)),
        *(Record(f"{name}: right solutions called dead", 100 * k / n, "%") for name, k in dead.items() if k),
        Record("all rules: right solutions called dead", share, "%", "<= 0.5", ok=share <= 0.5),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if every target was met, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validators", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one line of JSON records last")
    parser.add_argument("--quick", action="store_true", help="few texts, one repeat")
    parser.add_argument("--traces", metavar="FOLDER", help="folder of recorded traces")
    parser.add_argument("--control", metavar="FILE", type=Path, help="traces of right solutions written by people")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/validators.json")
    options = parser.parse_args(arguments)
    if options.traces:
        texts = list(sampled(options.traces, 2 if options.quick else 20))
    else:
        texts = list(generated(20 if options.quick else 300))
    records = environment("msgspec", "google-re2", "jiter")
    records.append(Record("corpus", "recorded traces" if options.traces else "generated"))
    records += measure(texts, 1 if options.quick else 3)
    if options.control or CONTROL.exists():
        records += control(options.control or CONTROL)
    if options.save:
        save_records(records, "validators")
    print_records(records, options.json)
    return 0 if all(record.ok is not False for record in records) else 1


if __name__ == "__main__":
    raise SystemExit(main())
