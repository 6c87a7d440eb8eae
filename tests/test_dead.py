"""DEAD never contradicts the filter: what a filter accepts, no validator that is configured for it has called DEAD.

A text that is accepted may still hold a false equation or a loop; such texts are counted, and bounded, on recorded
outputs. Everything else is a contradiction.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from msifr_integrations.embedded import embedded_samples_path
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import NewlineSteps
from msifr_policy.filters import (
    ChoiceMatch,
    ExactMatch,
    FinalFilter,
    JsonSchema,
    NumericMatch,
    Prompt,
    UnitTests,
)
from msifr_policy.records.traces import read_traces
from msifr_policy.validators import Validator, Verdict, built_in_validators
from msifr_policy.validators.registry import validator_with

pytest.importorskip("jsonschema")
if not (Path(__file__).parents[1] / "benchmarks").exists():
    pytest.skip("the benchmarks are in the source tree only", allow_module_level=True)

from benchmarks.filters import AS_JSON, count_dead

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
BUILT_IN = built_in_validators()


def asked(question: str = "How many?", **more: object) -> Prompt:
    return Prompt(prompt_id="p", prompt=question, **more)  # type: ignore[arg-type]


def document_rules(place: str) -> tuple[Validator, ...]:
    named = (("json_text", {"place": place}), ("json_schema", {"place": place, "schema": PERSON}))
    return tuple(validator_with(name, parameters) for name, parameters in named)


ACCEPTED: list[tuple[FinalFilter, Prompt, tuple[Validator, ...], str]] = [
    *(
        (NumericMatch(), asked(gold="14"), BUILT_IN, text)
        for text in (
            "A student wrote 5 + 8 = 14, which is wrong: it is 13. With 1 more, the answer is 14.",
            "Is 7 + 6 = 14? No, it is 13, and 13 + 1 = 14.\n#### 14",
            "In binary 111 + 111 = 1110, which is 14 in decimal.\n\\boxed{14}",
            "Es sind 2 Stunden = 120 Minuten, also 14 Runden.\nAntwort: 14",
            "20 - 30% = 14\nThe answer is 14.",
            "|1|0|0|\n|0|1|0|\n|0|0|1|\n" * 3 + "#### 14",
            "<think>First 3 * 5 = 14, no, 15. So 14 is one less.</think>\n15 - 1 = 14\n#### 14",
            '{"reasoning": "7 * 2 = 14", "answer": 14}',
            "2.000 + 3.500 = 5.500 Euro, und 5.500 / 392,86 ist etwa 14. Antwort: 14",
            "At 11:00 + 3 hours = 2:00 it strikes 14.\nThe answer is 14.",
        )
    ),
    *(
        (ChoiceMatch(), asked("Which?\n(A) a = 1\n(B) a = 2", gold="B"), BUILT_IN, text)
        for text in ("(A) would give 2 + 2 = 5, which is false. The answer is (B).", "I cannot rule out (B). Answer: B")
    ),
    (ExactMatch(), asked(gold="0 0 0\n0 0 0\n0 0 0"), BUILT_IN, "0 0 0\n0 0 0\n0 0 0\n"),
    (ExactMatch(answer="tag:answer"), asked(gold="yes"), BUILT_IN, "Hmm, no, no, no.\n<answer>yes</answer>\n"),
    *(
        (JsonSchema(PERSON, find=find), asked(), document_rules(find), text)  # type: ignore[arg-type]
        for find, text in (
            ("whole", '{"age": 31, "name": "Mira"}\n'),
            ("whole", '<think>{"name": ...}</think>\n{"age": 31.0, "name": "M\\u0069ra"}'),
            (
                "fence",
                '<think>\n```json\n{"name": ..., "age"}\n```\n</think>\n```json\n{"name": "Mira", "age": 31}\n```\n',
            ),
            ("fence", '```json\n{"age": }\n```\nNo:\n```\n{"name": "Mira", "age": 31}```'),
            ("object", 'The set {a, b}, or {"draft": 1}, no: {"name": "Mira", "age": 31}'),
            ("object", '{"name": 5}\nSorry.\n{"name": "Mira", "age": 31} That is it.'),
        )
    ),
    *(
        (
            UnitTests(unconfined=True),
            asked("Write a function area(a, b).", tests="assert area(3, 4) == 12"),
            (*BUILT_IN, validator_with("program", {"function": "area"})),
            text,
        )
        for text in (
            "```python\ndef area(a, b):\n    return a * b\n```\nExample:\n```python\nprint(area(2, 5))\n```\n",
            "<think>\n```python\ndef volume(a):\n</think>\n~~~py\ndef area(a, b):\n    return a * b\n~~~\n",
            "```python\ndef f(a, b): return a * b\n```\nand\n```python\ndef area(a, b): return f(a, b)\n```<|im_end|>",
        )
    ),
]


@pytest.mark.parametrize("case", range(len(ACCEPTED)))
def test_no_prefix_of_an_accepted_text_is_dead(case: int) -> None:
    accept, prompt, rules, text = ACCEPTED[case]
    assert accept(prompt, text), "the text must be one that the filter accepts"
    for rule in rules:
        state = rule.start(prompt.prompt)
        dead = [i for i, letter in enumerate(text) if state.feed(letter).verdict is Verdict.DEAD]
        assert not dead, f"{rule.name} calls the text DEAD after {text[: dead[0] + 1]!r}"


def test_accepted_samples_of_the_embedded_model_are_dead_for_false_equations_only() -> None:
    traces = [trace for trace in read_traces(embedded_samples_path()) if trace.accepted]
    table = build_evidence(traces, NewlineSteps(1, 256), BUILT_IN)
    names = [validator.name for validator in table.validators]
    dead = Counter(dict(zip(names, table.ever_dead().sum(axis=0).tolist(), strict=True)))
    assert len(traces) > 100
    assert set(+dead) <= {"arithmetic"}  # it errs on the way, and is right by chance
    assert dead["arithmetic"] < 0.1 * len(traces)


FAMILIES = ("gsm8k-gpt3-6b-finetuned", "gsm8k_json-llama-3.1-8b-instruct", "math500-qwen2.5-math-7b", "mrben-gpt-3.5")


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_texts_that_are_accepted_are_dead_for_false_equations_and_loops_only(
    shared: Path, family: str
) -> None:
    """Counted over all families by `benchmarks.filters`; here no family may have more than 2 % of its own."""
    counts = count_dead(shared / "traces" / f"{family}.jsonl.gz", {})
    right = counts[True]
    assert right[AS_JSON] == 0
    assert right["arithmetic"] <= 0.02 * right[""]
    assert right["repetition"] <= 0.002 * right[""]
    known = {"", AS_JSON, "arithmetic", "repetition", "json_text", "any of them"}
    assert {name: n for name, n in right.items() if n and name not in known} == {}


def test_shared_cases_that_a_filter_accepts_are_not_dead(shared: Path) -> None:
    judged = 0
    for path in sorted((shared / "cases").rglob("*.json")):
        run = json.loads(path.read_text())["run"]
        if run["do"] != "filter" or not run["expect"].get("accepted") or not isinstance(run["text"], str):
            continue
        judged += 1
        rules = BUILT_IN
        if run["filter"] == "json-schema":
            rules = (validator_with("json_text", {"place": run.get("find", "whole")}),)
        for rule in rules:
            if rule.name != "repetition":  # one answer is followed by a loop
                assert rule.start("q").feed(run["text"]).verdict is not Verdict.DEAD, (path.name, rule.name)
    assert judged > 20
