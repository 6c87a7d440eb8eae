"""Cost of the rule validators: nanoseconds per byte of text, fed at checkpoints, against re-scanning.

    python -m benchmarks.validators [--json] [--quick] [--traces FOLDER]

Each text is fed at checkpoints (`EVERY` characters) to each rule alone and to all of them. The peer is
what one would do without incremental state: a fresh scan of the whole prefix at every checkpoint. Both must
give the same evidence at every checkpoint; the run fails otherwise. Text is that of recorded traces where a
folder is given, else generated. Times are processor seconds of this process.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator, Sequence

from benchmarks._records import Record, environment, print_records
from msifr_policy.traces import find_trace_files, read_traces
from msifr_policy.validators import Evidence, Validator, default_validators

EVERY = 512
"""Characters between checkpoints."""


WORDS = [
    "so",
    "we",
    "then",
    "add",
    "the",
    "number",
    "of",
    "apples",
    "and",
    "divide",
    "by",
    "what",
    "is",
    "left",
]


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


def incremental(validators: Sequence[Validator], texts: Sequence[str]) -> tuple[float, list[Evidence]]:
    """Feed each text at its checkpoints; return the seconds and the evidence at each."""
    seen = []
    start = time.process_time()
    for text in texts:
        states = [validator.start("") for validator in validators]
        for i in range(0, len(text), EVERY):
            piece = text[i : i + EVERY]
            seen += [state.feed(piece) for state in states]
    return time.process_time() - start, seen


def rescanning(validators: Sequence[Validator], texts: Sequence[str]) -> tuple[float, list[Evidence]]:
    """Scan the whole prefix at each checkpoint; return the seconds and the evidence at each."""
    seen = []
    start = time.process_time()
    for text in texts:
        for i in range(0, len(text), EVERY):
            prefix = text[: i + EVERY]
            seen += [validator.start("").feed(prefix) for validator in validators]
    return time.process_time() - start, seen


def agree(a: Sequence[Evidence], b: Sequence[Evidence]) -> bool:
    """Say whether two runs gave the same evidence, NaN being equal to NaN."""
    return len(a) == len(b) and all(
        x.verdict == y.verdict
        and all(s == t or (math.isnan(s) and math.isnan(t)) for s, t in zip(x.scores, y.scores, strict=True))
        for x, y in zip(a, b, strict=True)
    )


def measure(texts: Sequence[str], repeats: int) -> list[Record]:
    """Return the records of one corpus."""
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    rules = default_validators()
    records = [
        Record("texts", float(len(texts))),
        Record("mean length", size / len(texts), "bytes"),
        Record("checkpoint every", float(EVERY), "characters"),
    ]
    for rule in rules:
        best = min(incremental([rule], texts)[0] for _ in range(repeats))
        records.append(Record(f"{rule.name}: cost", best / size * 1e9, "ns/byte"))
    runs = [incremental(rules, texts) for _ in range(repeats)]
    ours = min(seconds for seconds, _ in runs) / size * 1e9
    records.append(Record("all rules: cost", ours, "ns/byte", "<= 1000", ok=ours <= 1000))
    # Re-scanning is quadratic: long texts are cut, and ours is measured again on the same cut texts.
    short = [text[:20_000] for text in texts]
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in short)
    mine, evidence = incremental(rules, short)
    theirs, again = rescanning(rules, short)
    peer = "a scan of the whole prefix at each checkpoint"
    same = agree(evidence, again)
    records += [
        Record(
            "first 20,000 characters: cost",
            mine / size * 1e9,
            "ns/byte",
            peer=f"{theirs / size * 1e9:.0f} ns/byte",
        ),
        Record("first 20,000 characters: times faster", theirs / mine, "x", "> 1", peer, theirs > mine),
        Record("same evidence as the peer", float(same), "", "1", peer, same),
    ]
    return records


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 if every target was met, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validators", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one line of JSON records last")
    parser.add_argument("--quick", action="store_true", help="few texts, one repeat")
    parser.add_argument("--traces", metavar="FOLDER", help="folder of recorded traces")
    options = parser.parse_args(arguments)
    if options.traces:
        texts = list(sampled(options.traces, 2 if options.quick else 20))
    else:
        texts = list(generated(20 if options.quick else 300))
    records = environment("msgspec")
    records.append(Record("corpus", "recorded traces" if options.traces else "generated"))
    records += measure(texts, 1 if options.quick else 3)
    print_records(records, options.json)
    return 0 if all(record.ok is not False for record in records) else 1


if __name__ == "__main__":
    raise SystemExit(main())
