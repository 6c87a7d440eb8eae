"""Final filters in a run and on the command line: failures are counted and said, scores are kept."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import tiny
from msifr_integrations.cli import main
from msifr_integrations.cli.words import parse_filter
from msifr_integrations.generation.inputs import read_prompts
from msifr_integrations.generation.journal import ledger_path
from msifr_policy.errors import InputError
from msifr_policy.filters import (
    FunctionFilter,
    JsonSchema,
    Judgement,
    MathVerify,
    NumericMatch,
    Prompt,
    ScoreThreshold,
    UnitTests,
    final_filter,
)
from msifr_policy.records.ledger import read_ledger, total


def outputs(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_the_filter_could_not_judge_is_counted_and_said(tmp_path: Path) -> None:
    """Six of forty attempts: not accepted, in the ledger, and in the last words of the run, after a resume too."""

    def sometimes(prompt: Prompt, text: str) -> bool | Judgement:
        if prompt.prompt_id == "p7":
            return Judgement(accepted=False, failure="timed out")
        return tiny.even_length(prompt, text)

    out = tmp_path / "out.jsonl"
    said: list[str] = []
    tiny.run(out, final_filter=sometimes, tell=said.append)
    entries = read_ledger(ledger_path(out)).entries
    count = sum(entry.prompt_id == "p7" for entry in entries)
    assert count > 1
    assert total(entries).failures == {"final filter: timed out": count}
    assert {entry.outcome for entry in entries if entry.failures} == {"unaccepted"}
    remark = (
        f"attempts that the final filter could not judge, and that were therefore not accepted: timed out ({count}×)"
    )
    assert said.count(remark) == 1
    assert not any("no evidence" in words for words in said)
    said.clear()
    tiny.run(out, final_filter=sometimes, tell=said.append)
    assert said.count(remark) == 1


def test_scores_are_written_beside_what_they_judged(tmp_path: Path) -> None:
    rate = ScoreThreshold(lambda _, text: len(text) / 100, 0.3, "length")
    tiny.run(tmp_path / "out.jsonl", final_filter=rate)
    records = outputs(tmp_path / "out.jsonl")
    assert {record["correct"] for record in records} == {True, False}
    for record in records:
        assert record["score"] == len(record["text"]) / 100
        assert record["correct"] is (record["score"] >= 0.3)
    settings = read_ledger(ledger_path(tmp_path / "out.jsonl")).settings
    assert settings["filter"] == "score[length >= 0.3]"
    with pytest.raises(InputError, match=r"filter = .*0\.4"):
        tiny.run(tmp_path / "out.jsonl", final_filter=msgspec.structs.replace(rate, threshold=0.4))


def test_a_filter_that_does_not_score_writes_none(tmp_path: Path) -> None:
    tiny.run(tmp_path / "out.jsonl", final_filter=tiny.even_length)
    assert not any("score" in record for record in outputs(tmp_path / "out.jsonl"))


def test_prompts_may_bring_tests_and_a_schema(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt_id": "a", "prompt": "b", "tests": "assert f()", "schema": {"type": "object"}}\n')
    [prompt] = read_prompts(path)
    assert prompt.tests == "assert f()"
    assert prompt.schema == {"type": "object"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a judge and a schema."""
    (tmp_path / "judges_of_ours.py").write_text(
        "def rate(prompt, text):\n    return len(text)\ndef empty(prompt, text):\n    return not text\nnumber = 3\n"
    )
    (tmp_path / "judge_broken.py").write_text("raise RuntimeError('no model')\n")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    (tmp_path / "list.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    return tmp_path


ASKED = Prompt(prompt_id="p", prompt="x", gold="1", tests="assert f() == 1", schema={"type": "array"})


@pytest.mark.usefixtures("folder")
def test_functions_and_scores_of_the_user_have_a_word() -> None:
    assert parse_filter("numeric") == NumericMatch()
    assert parse_filter("exact") == final_filter("exact")
    own = parse_filter("function:judges_of_ours:empty")
    assert isinstance(own, FunctionFilter)
    assert own.name == "function:judges_of_ours:empty"
    assert own(ASKED, "")
    assert not own(ASKED, "x")
    rate = parse_filter("score:judges_of_ours:rate:2.5")
    assert rate.name == "score[judges_of_ours:rate >= 2.5]"
    assert rate(ASKED, "xxx")
    assert not rate(ASKED, "xx")


@pytest.mark.usefixtures("folder")
def test_schemas_have_a_word() -> None:
    pytest.importorskip("jsonschema")
    prompts_own, given, fenced = map(
        parse_filter, ("json-schema", "json-schema:schema.json", f"json-schema:{os.getcwd()}/schema.json:fence")
    )
    assert isinstance(given, JsonSchema)
    assert prompts_own(ASKED, "[]")
    assert not given(ASKED, "[]")
    assert given(ASKED, "{}")
    assert not fenced(ASKED, "{}")
    assert fenced(ASKED, "```json\n{}\n```")
    assert parse_filter("json-schema:object").name == JsonSchema(find="object").name


def test_math_has_a_word() -> None:
    pytest.importorskip("math_verify")
    accept = parse_filter("math:2.5")
    assert isinstance(accept, MathVerify)
    assert accept.name == MathVerify(seconds=2.5).name
    assert parse_filter("math").name == final_filter("math").name
    assert accept(ASKED, r"\boxed{\frac{2}{2}}")


@pytest.mark.skipif(os.name != "posix", reason="programs are run on POSIX systems only")
def test_tests_have_a_word() -> None:
    assert parse_filter("tests:unconfined") == UnitTests(unconfined=True)
    accept = parse_filter("tests:2.5:whole:unconfined")
    assert accept == UnitTests(seconds=2.5, find="whole", unconfined=True)
    assert accept(ASKED, "def f(): return 1")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("", "unknown final filter ''"),
        ("numeric:3", "unknown final filter"),
        ("maths", "unknown final filter"),
        ("math:soon", "unknown final filter"),
        ("math:1:2", "unknown final filter"),
        ("tests:soon", "unknown final filter"),
        ("tests:-1", "limits must be positive"),
        ("function:judges_of_ours", "unknown final filter"),
        ("score:judges_of_ours:rate", "unknown final filter"),
        ("score:judges_of_ours:rate:high", "unknown final filter"),
        ("score:judges_of_ours:rate:nan", "must be a finite number"),
        ("function:judges_of_ours:none", "judges_of_ours:none: cannot be imported: AttributeError"),
        ("function:judges_of_ours:number", "is not a function"),
        ("function:no_such_judge:f", "cannot be imported: ModuleNotFoundError"),
        ("function:judge_broken:f", "cannot be imported: RuntimeError: no model"),
        ("json-schema:missing.json", r"missing\.json: no schema can be read"),
        ("json-schema:list.json", r"list\.json: no schema can be read"),
    ],
)
def test_words_that_are_no_filter_are_answered_by_what_is_wrong(word: str, says: str) -> None:
    if word.startswith("json-schema"):
        pytest.importorskip("jsonschema")
    with pytest.raises(InputError, match=says):
        parse_filter(word)


@pytest.mark.usefixtures("folder")
def test_a_run_on_the_command_line_with_a_score_of_the_user(tmp_path: Path) -> None:
    from msifr_integrations.embedded import problems

    with open(tmp_path / "prompts.jsonl", "wb") as file:
        for problem in problems(5, 3):
            file.write(msgspec.json.encode({"prompt_id": problem.prompt_id, "prompt": problem.prompt}) + b"\n")
    arguments = [
        "generate", "--model", "embedded", "--prompts", "prompts.jsonl", "--policy", "none", "--attempts", "2",
        "--max-new-tokens", "60", "--filter", "score:judges_of_ours:rate:100", "-o", "out.jsonl",
    ]  # fmt: skip
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    records = outputs(tmp_path / "out.jsonl")
    assert len(records) == 6
    assert all(record["score"] == len(record["text"]) for record in records)
    assert all(record["correct"] is (record["score"] >= 100) for record in records)
    arguments[arguments.index("--filter") + 1] = "score:judges_of_ours:rates:100"
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "cannot be imported" in refused.stderr
