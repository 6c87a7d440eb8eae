"""Do the final filters decide as the recorded outcomes say? And does DEAD contradict them?

    python -m benchmarks.filters [--json] [--save] [--traces FOLDER] [--control FILE] [NAME …]

For every family of recorded traces with gold answers: extract (`auto`) and compare, by the kind of gold answer (as a
number, a choice, mathematics, or letter by letter), against the recorded outcome. Where the outcome is the source's own
the targets hold; elsewhere it was computed from the same texts by another script, and is shown for comparison. Every
disagreement is written to `results/filters_disagreements.json` with what was read and why the two differ.

Then every built-in validator at its default reads all texts that the filter accepts (where a family has no gold: those
recorded as right), all recorded as wrong, and right solutions written by people, line by line; texts are counted that
were called DEAD anywhere.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, get_args

from benchmarks._records import Record, environment, print_records, save_records
from benchmarks.math_review import SHOWN, explained
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.filters import (
    ChoiceMatch,
    ExactMatch,
    Extract,
    FinalFilter,
    JsonSchema,
    MathVerify,
    NumericMatch,
    Prompt,
)
from msifr_policy.filters.answers import gold_answer
from msifr_policy.filters.base import Judgement
from msifr_policy.reading.json_find import Find
from msifr_policy.reading.thinking import answer_start
from msifr_policy.records.traces import find_trace_files, read_traces
from msifr_policy.validators import built_in_validators

SHARED = Path(__file__).parents[2] / "shared"
RESULTS = Path(__file__).parent / "results"

MATHEMATICS = ("math500", "math_x8", "math_l5_json", "olympiadbench", "minerva_math")
"""Families whose gold answers are mathematics; of others a gold answer says itself what it is."""
OTHERS = ("blocksworld", "blocksworld3", "mystery_blocksworld", "game24", "livecodebench")
"""Families that are judged by other means: plans, equations of given numbers, hidden tests."""

_NUMBER = re.compile(r"\s*\\?[$]?\s*[-−]?[\d,]*\.?\d+\s*(?:\\?%)?\s*")
_CHOICE = re.compile(r"\(?[A-Z]\)?")
_SOURCE_LABEL = re.compile(r"\| `([\w.-]+)\.jsonl\.gz` \|[^|]*\| source \|")


def is_number(gold: str) -> bool:
    """Say whether the answer that a gold answer holds is a plain number."""
    return _NUMBER.fullmatch(gold_answer(gold)) is not None


class Compared(NamedTuple):
    """One attempt: its gold answer and whether it is a plain number, what was found, and what both judges say."""

    id: str
    gold: str
    number: bool
    found: str | None
    accepted: bool
    recorded: bool
    why: str


def name_of(path: Path) -> str:
    """Return the name of a family: its benchmark and its model."""
    return path.name.removesuffix(".jsonl.gz")


class Judges:
    """The filters, by what a gold answer is."""

    def __init__(self, path: Path) -> None:
        self._of_numbers: FinalFilter = MathVerify() if name_of(path).startswith(MATHEMATICS) else NumericMatch()
        self._of_letters = ChoiceMatch()
        self._of_others = self._of_numbers if isinstance(self._of_numbers, MathVerify) else ExactMatch(answer="auto")

    def __call__(self, asked: Prompt, text: str) -> bool | Judgement:
        """Judge a text by the filter for its gold answer."""
        gold = asked.gold or ""
        if is_number(gold):
            return self._of_numbers(asked, text)
        return (self._of_letters if _CHOICE.fullmatch(gold_answer(gold)) else self._of_others)(asked, text)


def compare(path: Path) -> list[Compared]:
    """Judge the attempts of one family again, if they have gold answers."""
    if name_of(path).startswith(OTHERS):
        return []
    judges, extract, compared = Judges(path), Extract(), list[Compared]()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if record["gold"] is None:
                continue
            asked = Prompt(prompt_id="p", prompt=record["prompt"], gold=record["gold"])
            judged = judges(asked, record["text"])
            answer = extract(asked, record["text"])
            compared.append(
                Compared(
                    id=record["id"],
                    gold=record["gold"],
                    number=is_number(record["gold"]),
                    found=None if answer is None else answer.text,
                    accepted=bool(judged),
                    recorded=record["correct"],
                    why="" if bool(judged) == record["correct"] else _why(record, answer is not None, judged),
                )
            )
    return compared


def _why(record: dict[str, Any], found: bool, judged: bool | Judgement) -> str:
    """Return why the two judges differ, as far as the text tells."""
    if isinstance(judged, Judgement) and judged.failure:
        return f"not judged: {judged.failure}"
    if not found and answer_start(record["text"]) is None:
        return "the text breaks off while thinking; the source takes its last number or formula"
    if not found:
        return "the text announces no answer; the source takes its last number or formula"
    if record["correct"]:
        return "another answer than the gold answer, as it is read here"
    return "the gold answer, as it is read here"


def count_dead(path: Path, accepted: dict[str, bool]) -> dict[bool, Counter[str]]:
    """Count texts that are called DEAD after any line, by whether they are right and by validator; all under "".

    `accepted` says by id which are right, else the record does. Texts that the two disagree about are left out.
    """
    traces = [trace for trace in read_traces(path) if accepted.get(trace.id, trace.accepted) == trace.accepted]
    table = build_evidence(traces, NewlineSteps(1, 256), built_in_validators())
    dead = table.ever_dead()
    names = [validator.name for validator in table.validators]
    counts = {}
    for right in (True, False):
        rows = dead[table.accepted == right]
        counts[right] = Counter(dict(zip(names, rows.sum(axis=0).tolist(), strict=True)))
        counts[right] += Counter({"": len(rows), ANY: int(rows.any(axis=1).sum())})
    texts = {trace.id: trace.text for trace in traces}
    broken = dead[:, names.index("json_text")] & table.accepted
    counts[True][AS_JSON] = sum(_is_json(texts[table.attempt_ids[i]]) for i in broken.nonzero()[0])
    return counts


def _is_json(text: str) -> bool:
    """Say whether the filter of JSON accepts a text, wherever it looks for the document."""
    return any(accept(_NO_SCHEMA, text) for accept in _AS_JSON)


_NO_SCHEMA = Prompt(prompt_id="p", prompt="p")
_AS_JSON = [JsonSchema({}, find=find) for find in get_args(Find)]
AS_JSON = "json_text, and accepted by the filter of JSON"


ANY = "any of them"
LEAST = {True: 99.5, False: 98.0}
"""Agreement wanted, in percent, where the gold answer is a plain number and where it is not."""


class Judged(NamedTuple):
    """What came of one family."""

    name: str
    compared: list[Compared]
    dead: dict[bool, Counter[str]]


def judge(path: Path) -> Judged:
    """Judge one family, and have its texts read."""
    compared = compare(path)
    return Judged(name_of(path), compared, count_dead(path, {each.id: each.accepted for each in compared}))


def agreement(judged: Judged, *, source: bool) -> Iterator[Record]:
    """Yield on which share of a family's attempts the two judges agree: as recorded, and with errors put right.

    An error of the record is what `math_review` says of an attempt that somebody looked at.
    """
    seen, _ = explained((each.id, each.found) for each in judged.compared if each.why)
    for number, kind in ((True, "gold a number"), (False, "other gold")):
        rows = [each for each in judged.compared if each.number == number]
        if not rows:
            continue
        agree = sum(not each.why for each in rows)
        right = agree + sum(bool(each.why) and each.id in seen and seen[each.id].label for each in rows)
        found = sum(each.found is not None for each in rows)
        whose = "the source" if source else "computed"
        target = f">= {LEAST[number]}" if source else ""
        for what, n in ((f"agreement, {kind}", agree), (f"agreement, {kind}, errors of the record put right", right)):
            share = 100 * n / len(rows)
            yield Record(
                f"{judged.name}: {what}",
                share,
                f"% of {len(rows)}",
                target,
                peer=f"{whose}; {found} show an answer",
                ok=share >= LEAST[number] if source else None,
            )


def deaths(all_judged: Sequence[Judged], control: Counter[str] | None) -> Iterator[Record]:
    """Yield how many texts each validator calls DEAD: of those accepted, of human solutions, and of wrong ones."""
    right, wrong = (sum((judged.dead[each] for judged in all_judged), Counter[str]()) for each in (True, False))
    names = [rule.name for rule in built_in_validators()]
    for name in (*(name for name in names if right[name] or wrong[name]), AS_JSON, ANY):
        yield Record(
            f"DEAD though accepted: {name}", right[name], f"of {right['']}", peer=f"{wrong[name]} of {wrong['']} wrong"
        )
    if control is not None:
        prefix, unit = "DEAD though right, human solutions: ", f"% of {control['']}"
        arithmetic, by_any = (100 * control[name] / control[""] for name in ("arithmetic", ANY))
        yield Record(f"{prefix}arithmetic", arithmetic, unit, "<= 0.25", ok=arithmetic <= 0.25)
        yield Record(f"{prefix}{ANY}", by_any, unit)


def detection(judged: Judged) -> Record:
    """Return how many wrong texts of a family arithmetic calls DEAD, and how many right ones."""
    right, wrong = judged.dead[True], judged.dead[False]
    return Record(
        f"{judged.name}: wrong texts DEAD by arithmetic",
        100 * wrong["arithmetic"] / max(wrong[""], 1),
        f"% of {wrong['']}",
        peer=f"{right['arithmetic']} of {right['']} right",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON at the end")
    parser.add_argument("--save", action="store_true", help="write results/filters.json and the list of disagreements")
    parser.add_argument("--traces", default=str(SHARED / "traces"), help="folder of recorded traces with gold answers")
    parser.add_argument("--control", default=str(SHARED / "control"), help="right solutions written by people")
    parser.add_argument("name", nargs="*", help="families, by the beginning of their names; all by default")
    given = parser.parse_args(arguments)
    folder = Path(given.traces)
    paths = [path for path in find_trace_files([folder]) if name_of(path).startswith(tuple(given.name or [""]))]
    readme = folder / "README.md"
    sources = set(_SOURCE_LABEL.findall(readme.read_text())) if readme.exists() else set()
    all_judged = []
    with ProcessPoolExecutor(2) as pool:
        for judged in pool.map(judge, paths):
            all_judged.append(judged)
            sys.stderr.write(f"{len(all_judged)} of {len(paths)} families: {judged.name}\n")
    control = None
    if Path(given.control).exists() and not given.name:
        control = sum((count_dead(path, {})[True] for path in find_trace_files([given.control])), Counter[str]())
    records = [
        *environment("math-verify", "sympy"),
        *(record for judged in all_judged for record in agreement(judged, source=judged.name in sources)),
        *(detection(judged) for judged in all_judged if judged.dead[False]["arithmetic"]),
        *deaths(all_judged, control),
    ]
    if given.save:
        save_records(records, "filters")
        differ = [each for judged in all_judged for each in judged.compared if each.why]
        seen, _ = explained((each.id, each.found) for each in differ)
        lines = [
            each._asdict()
            | {
                "gold": each.gold[:SHOWN],
                "found": each.found and each.found[:SHOWN],
                "why": seen[each.id].why if each.id in seen else each.why,
            }
            for each in differ
        ]
        text = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
        (RESULTS / "filters_disagreements.json").write_text(f"[\n{text}\n]\n")
    print_records(records, given.json)
    return int(any(record.ok is False for record in records))


if __name__ == "__main__":
    sys.exit(main())
