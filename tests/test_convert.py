"""`msifr convert`: what other tools write becomes traces, with ids and outcomes, and what is lost is said."""

import csv
import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from commands import run
from msifr_integrations.embedded import embedded_samples_path
from msifr_integrations.formats.importing.attempts import ForeignAttempt, Lost, OutcomeReader
from msifr_integrations.formats.importing.json_objects import json_objects
from msifr_integrations.formats.importing.own import OWN
from msifr_integrations.formats.importing.recognise import FORMATS, recognise
from msifr_integrations.formats.importing.sources import foreign_records
from msifr_policy.errors import InputError
from msifr_policy.records.traces import read_traces

FORMATS_AS_WRITTEN = Path(__file__).parent / "formats"


def converted(tmp_path, *arguments):
    """The traces that a conversion writes, and what it prints as JSON."""
    out = tmp_path / "converted.jsonl"
    result = run("convert", *arguments, "-o", out, "--json")
    return list(read_traces(out)), json.loads(result.stdout[result.stdout.index("{") :])


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# What the libraries themselves wrote.


def test_samples_of_lm_evaluation_harness(tmp_path):
    folder = FORMATS_AS_WRITTEN / "lm_eval"
    traces, came = converted(tmp_path, folder / "samples_pears_1.jsonl")
    assert came["files"][0]["format"] == "samples that lm-evaluation-harness logged"
    assert (came["attempts"], came["written"], came["without_place"]) == (6, 3, {})
    assert [t.text for t in traces] == [" 3+4=7.\n#### 7", " It is 15.", " 7+8=16.\n#### 16"]
    assert [t.accepted for t in traces] == [True, False, False]  # by strict-match, the first filter
    assert (
        traces[0].prompt == "Question: Ann has 3 pears and gets 4 more. How many has she?\nAnswer:"
    )  # no demonstration
    assert traces[0].gold == "3+4=7.\n#### 7"
    other, _ = converted(tmp_path, folder / "samples_pears_1.jsonl", "--metric", "exact_match,last-number")
    assert [t.accepted for t in other] == [True, True, False]
    assert [t.id for t in other] == [t.id for t in traces]
    both, _ = converted(tmp_path, folder, "--filter", "numeric")
    assert len(both) == 9
    assert len({t.prompt_id for t in both}) == 3  # in both files the same questions


def test_a_metric_of_several_responses_is_of_none_of_them(tmp_path):
    path = FORMATS_AS_WRITTEN / "lm_eval" / "samples_pears_2.jsonl"
    result = run("convert", path, "-o", tmp_path / "t.jsonl", code=2)
    assert "nothing says which outputs are accepted" in result.output
    traces, came = converted(tmp_path, path, "--filter", "numeric")
    assert [t.id.rpartition("/")[2] for t in traces] == ["0", "1"] * 3
    assert came["outcomes"] == "numeric[auto]"
    assert came["accepted"] == sum(t.accepted for t in traces) > 0


ASKED = "Be brief.\nQuestion: 1+1?\nAnswer:"


@pytest.mark.parametrize(
    "arguments",
    [
        {"gen_args_0": {"arg_0": ASKED, "arg_1": {}}},
        [[ASKED, {"until": []}]],
        [ASKED],
        {"gen_args_0": {"arg_0": [json.dumps([{"role": "user", "content": ASKED}])], "arg_1": {}}},
        [[json.dumps([{"role": "system", "content": "s"}, {"role": "user", "content": ASKED}]), {}]],
    ],
)
def test_what_lm_evaluation_harness_asked_is_read_as_its_versions_log_it(tmp_path, arguments):
    doc = {"question": "1+1?", "answer": "Be brief."}
    sample = {
        "doc_id": 0,
        "doc": doc,
        "arguments": arguments,
        "resps": [["2"]],
        "target": 2,
        "acc": 1,
        "exact_match": 0,
    }
    (trace,), _ = converted(tmp_path, write(tmp_path / "in.jsonl", [sample]))
    assert trace.prompt == "Be brief.\nQuestion: 1+1?\nAnswer:"  # the longest text of the document begins it
    (trace,), _ = converted(tmp_path, write(tmp_path / "in.jsonl", [sample | {"doc": {"q": "1+1?", "n": 3}}]))
    assert (trace.prompt, trace.gold, trace.accepted) == ("Question: 1+1?\nAnswer:", "2", False)
    (trace,), _ = converted(tmp_path, write(tmp_path / "in.jsonl", [sample]), "--metric", "acc")
    assert trace.accepted


def test_likelihoods_are_no_outputs(tmp_path):
    sample = {
        "doc_id": 0,
        "doc": {},
        "arguments": [["q", " a"]],
        "resps": [[[-1.5, True]]],
        "metrics": ["acc"],
        "acc": 1.0,
    }
    said = run("convert", write(tmp_path / "in.jsonl", [sample]), "-o", tmp_path / "t.jsonl", code=2).output
    assert "nothing was generated: the task compares likelihoods" in said


def sample_of(scores, **more):
    output = {
        "choices": [{"message": {"role": "assistant", "content": [{"type": "reasoning", "reasoning": "hm"}, "(B)"]}}]
    }
    about = {"task": "t", "model": "m", "dataset": {"name": "d"}}
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "Which?"}]
    return {"eval": about, "id": 1, "epoch": 1, "input": asked, "choices": ["x", "y"], "target": ["B"],
            "output": output, "scores": scores} | more  # fmt: skip


def test_samples_of_inspect_ai_with_choices_reasoning_and_several_scorers(tmp_path):
    def log(*samples):
        (tmp_path / "log.json").write_text(
            json.dumps({"version": 2, "eval": {"task": "t"}, "samples": samples}, indent=1)
        )
        return tmp_path / "log.json"

    (trace,), came = converted(
        tmp_path, log(sample_of({"choice": {"value": "C"}}), sample_of({}, error={"message": "x"}))
    )
    assert (trace.prompt, trace.text) == ("Which?\nA) x\nB) y", "<think>hm</think>\n(B)")
    assert (trace.accepted, trace.gold) == (True, "B")
    assert came["lost"] == {"the sample ended in an error": 1}
    both = log(sample_of({"a": {"value": "C"}, "b": {"value": 0.25}}))
    said = run("convert", both, "-o", tmp_path / "t.jsonl", code=2).output
    assert "several scorers, which disagree" in said
    assert "a, b with --metric" in " ".join(said.split())
    assert converted(tmp_path, both, "--metric", "b", "--reward-threshold", 0.5)[0][0].accepted is False
    assert "no scorer 'c'" in run("convert", both, "--metric", "c", "-o", tmp_path / "t.jsonl", code=2).output
    assert converted(tmp_path, log(sample_of({"a": {"value": "P"}})))[0][0].accepted is False


def test_what_is_no_record_among_those_that_a_document_holds_is_told_with_its_place(tmp_path):
    good = {"prompt": "q", "completion": "a", "reward": 1}
    skythought = {"p": {"responses": {"0.6": {"content": "a", "correctness": True}}}}
    for held, place in (
        ({"data": [good, 3]}, 2),
        ({"eval": {}, "samples": [7, sample_of({"a": {"value": "C"}})]}, 1),
        (skythought | {"q": 4}, 2),
        ([{"data": [good, good]}, {"rows": [good, [good]]}], 4),
    ):
        for indent in (None, 1):
            path = tmp_path / "held.json"
            path.write_text(json.dumps(held, indent=indent))
            records = list(foreign_records(path))
            wrong = [record for _, record in records if isinstance(record, InputError)]
            if held == skythought | {"q": 4} and indent is None:
                assert not wrong  # in one line it is a record
                continue
            assert [error.where for error in wrong] == [f"{path}, record {place}"], held
            assert len(records) > 1
    for log in ({"eval": {}, "samples": 5}, {"eval": 5, "samples": {}}):
        path.write_text(json.dumps(log))
        assert [record for _, record in foreign_records(path)] == [log]
    path.write_text(json.dumps({"eval": [], "samples": [sample_of({"a": {"value": "C"}})]}))
    (trace,), _ = converted(tmp_path, path)
    assert trace.accepted


def test_members_without_a_place_are_counted_in_the_order_of_the_record(tmp_path):
    names = [f"more_{n}" for n in (5, 2, 8, 1, 7, 3)]
    row = {"prompt": "q", "completion": "a", "reward": 1} | dict.fromkeys(names, 0)
    _, came = converted(tmp_path, write(tmp_path / "in.jsonl", [row, row]))
    assert list(came["without_place"].items()) == [(name, 2) for name in names]


def test_whole_numbers_may_be_larger_than_any_float(tmp_path):
    large = 10**400
    row = {"prompt": "q", "completion": "a", "reward": large, "uid": large, "answer": large}
    path = write(tmp_path / "large.jsonl", [row])
    said = run("convert", path, "-o", tmp_path / "t.jsonl", code=2).output
    assert "from which value on is an output accepted" in said
    (trace,), _ = converted(tmp_path, path, "--reward-threshold", 0.5)
    assert (trace.accepted, trace.prompt_id, trace.gold) == (True, str(large), str(large))
    given = {"id": large, "prompt_id": large, "text": f"#### {large}", "gold": large, "prompt": "q"}
    judged = tmp_path / "judged.jsonl"
    run("judge", write(path, [given]), "-o", judged)
    (trace,) = read_traces(judged)
    assert (trace.accepted, trace.id) == (True, str(large))
    with pytest.raises(InputError, match=r"`tokens` is 10{39}, must not be so large"):
        list(read_traces(write(path, [given | {"correct": True, "tokens": large}])))
    choice = {"message": {"content": "ab"}, "logprobs": {"content": [{"token": "ab", "logprob": -large}]}}
    path = write(tmp_path / "batch.jsonl", [{"custom_id": "1", "response": {"body": {"choices": [choice]}}}])
    run("convert", path, "--without-outcome", "-o", judged)
    assert "logprobs" not in json.loads(judged.read_text())


def test_a_log_of_inspect_ai_that_was_cut_short(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.eval", "w") as archive:
        archive.writestr("_journal/start.json", json.dumps({"eval": {"task": "t", "model": "m"}}))
        archive.writestr("samples/1_epoch_1.json", json.dumps(sample_of({"choice": {"value": "I"}}, eval=None)))
    (trace,), _ = converted(tmp_path, tmp_path / "a.eval")
    assert (trace.accepted, trace.text) == (False, "<think>hm</think>\n(B)")


@pytest.mark.parametrize("name", ["pears.eval", "pears.json.gz"])
def test_logs_of_inspect_ai(tmp_path, name):
    traces, came = converted(tmp_path, FORMATS_AS_WRITTEN / "inspect_ai" / name)
    assert came["files"][0]["format"] == "a log of inspect_ai"
    first = next(t for t in traces if t.text.startswith("3+4=7. 3+4"))
    assert first.text == "3+4=7. " * 20 + "\n7"
    assert (first.gold, first.tokens, first.model, first.group) == ("7", 8, "mockllm/model", "pears")
    assert sorted(t.accepted for t in traces) == [False, True, True, True]
    assert len({t.prompt_id for t in traces}) == 2
    assert len({t.id for t in traces}) == 4


@pytest.mark.parametrize("name", ["saved", "rows.jsonl"])
def test_rows_of_distilabel(tmp_path, name):
    path = FORMATS_AS_WRITTEN / "distilabel" / name
    assert "--filter" in run("convert", path, "-o", tmp_path / "t.jsonl", code=2).output
    traces, came = converted(tmp_path, path, "--filter", "numeric")
    assert came["files"][0]["format"] == "rows of distilabel"
    assert [(t.text, t.accepted, t.tokens) for t in traces[:3]] == [
        ("The answer is 6.", False, 5),
        ("The answer is 7.", True, 6),
        ("The answer is 8.", False, 7),
    ]
    assert {t.model for t in traces} == {"listed"}


def test_data_sets_that_hugging_face_datasets_saved(tmp_path):
    traces, came = converted(tmp_path, FORMATS_AS_WRITTEN / "datasets" / "saved")
    assert [each["attempts"] for each in came["files"]] == [1, 2]  # test, train
    assert [(t.prompt, t.text, t.accepted) for t in traces] == [
        ("What is 5+4?", "It is 9.", True),
        ("What is 3+4?", "It is 7.", True),
        ("What is 3+4?", "It is 8.", False),
    ]
    parquet, _ = converted(tmp_path, FORMATS_AS_WRITTEN / "datasets" / "train.parquet")
    assert parquet == traces[1:]


# The others, after what their authors publish of them: a record, and (text, outcome, and what else is to be seen).

PRM = {
    "labeler": "x", "is_quality_control_question": False, "is_initial_screening_question": False,
    "question": {"problem": "1+1?", "ground_truth_answer": "2", "pre_generated_steps": ["a", "bb", "c"],
                 "pre_generated_answer": "3"},
    "label": {"steps": [
        {"completions": [{"text": "a", "rating": 1, "flagged": False}], "chosen_completion": 0},
        {"completions": [{"text": "bb", "rating": -1, "flagged": False}], "chosen_completion": None},
    ], "total_time": 1, "finish_reason": "found_error"},
}  # fmt: skip
MMLU = {
    "question_id": 7,
    "question": "Which?",
    "options": ["x", "y"],
    "answer": "B",
    "answer_index": 1,
    "category": "law",
}
KNOWN = {
    "open_r1": (
        {"problem": "1+1?", "answer": "2", "uuid": "u", "generations": ["2", "3"], "is_reasoning_complete": [1, 1],
         "correctness_math_verify": [None, None], "correctness_llama": [True, False]},
        [("2", True, {"prompt": "1+1?", "gold": "2", "id": "u/0"}), ("3", False, {"prompt_id": "u"})],
    ),
    "vllm": (
        {"request_id": "0", "prompt": "1+1?", "reward": [1, 0.0],
         "outputs": [{"index": 0, "text": "2", "token_ids": [5, 6]}, {"index": 1, "text": "3", "token_ids": [5]}]},
        [("2", True, {"tokens": 2}), ("3", False, {"tokens": 1})],
    ),
    "trl": (
        {"prompt": [{"role": "user", "content": "1+1?"}],
         "completions": [[{"role": "assistant", "content": "2"}], [{"role": "assistant", "content": "3"}]],
         "rewards": [1.0, 0.0]},
        [("2", True, {"prompt": "1+1?"}), ("3", False, {"id": "/1"})],
    ),
    "trl_log": (
        {"step": 3, "prompt": "1+1?", "completion": "2", "accuracy": 1.0, "advantage": 0.3},
        [("2", True, {"prompt": "1+1?"})],
    ),
    "verl": ({"input": "1+1?", "output": "2", "score": 1.0, "step": 1, "gts": "2"}, [("2", True, {"gold": "2"})]),
    "share_gpt": (
        {"id": "c1", "correct": True, "conversations": [
            {"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"},
            {"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]},
        [("2", True, {"prompt": "1+1?", "id": "c1"})],
    ),
    "messages_as_text": (
        {"messages": json.dumps([{"role": "user", "content": "1+1?"},
                                 {"role": "assistant", "content": "2", "reasoning_content": "easy"}]), "reward": 1},
        [("<think>easy</think>\n2", True, {"prompt": "1+1?"})],
    ),
    "skythought": (
        {"0": {"problem": "1+1?", "answer": "2", "prompt": "1+1?",
               "responses": [{"content": "2", "correctness": True}, {"content": "3", "correctness": False}],
               "token_usages": [{"completion_tokens": 4, "prompt_tokens": 9}, {"completion_tokens": 5}]}},
        [("2", True, {"tokens": 4, "prompt_tokens": 9, "id": "0/0"}), ("3", False, {"tokens": 5})],
    ),
    "skythought_by_temperature": (
        {"0": {"problem": "1+1?", "responses": {"0.7": {"content": "2", "correctness": True}},
               "token_usages": {"0.7": {"completion_tokens": 4}}}},
        [("2", True, {"tokens": 4})],
    ),
    "mmlu_pro": (
        MMLU | {"pred": "A", "model_outputs": "The answer is (A)."},
        [("The answer is (A).", False, {"prompt": "Which?\n(A) x\n(B) y", "gold": "B", "group": "law"})],
    ),
    "mmlu_pro_nothing_found": (MMLU | {"pred": None, "response": "Hm."}, [("Hm.", False, {"prompt_id": "mmlu-pro/7"})]),
    "process_bench": (
        {"id": "gsm8k-0", "generator": "m", "problem": "1+1?", "steps": ["a", "bb", "c"], "final_answer_correct": False,
         "label": 1},
        [("a\nbb\nc", False, {"stages": [1, 4, 6], "step_labels": [1, -1, 0], "id": "gsm8k-0", "group": "gsm8k"})],
    ),
    "prm800k": (PRM, [("a\nbb\nc", False, {"stages": [1, 4, 6], "step_labels": [1, -1, 0], "gold": "2"})]),
    "gsm8k_models": (
        {"question": "1+1?", "ground_truth": "#### 2", "6B_finetuning": {"solution": "#### 2", "is_correct": True},
         "175B_finetuning": {"solution": "#### 3", "is_correct": False}},
        [("#### 2", True, {"model": "6B_finetuning"}), ("#### 3", False, {"model": "175B_finetuning"})],
    ),
    "table": (
        {"Id": 1, "question": "1+1?", "response": "2", "is_correct": "True", "answer": 2},
        [("2", True, {"prompt": "1+1?", "gold": "2"})],
    ),
    "own": (
        {"id": "a", "prompt_id": "p", "prompt": "1+1?", "text": "2", "correct": 1, "status": "finished"},
        [("2", True, {"id": "a", "prompt_id": "p"})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_known_records(tmp_path, name):
    record, wanted = KNOWN[name]
    traces, came = converted(tmp_path, write(tmp_path / "in.jsonl", [record]))
    assert [(t.text, t.accepted) for t in traces] == [(text, outcome) for text, outcome, _ in wanted]
    for trace, (_, _, more) in zip(traces, wanted, strict=True):
        for field, value in more.items():
            seen = getattr(trace, field)
            assert seen.endswith(value) if field == "id" else seen == value, field
    assert came["written"] == len(wanted)
    assert not came["malformed"]


def choice(text, **more):
    return {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | more


def test_the_output_of_a_batch_with_its_requests_and_gold_answers(tmp_path):
    usage = {"completion_tokens": 9, "prompt_tokens": 3}
    known = {"content": [{"token": "#### ", "logprob": -0.5}, {"token": "2", "logprob": -1}]}
    out = [
        {"id": "b1", "custom_id": "q1", "error": None, "response": {"status_code": 200, "body": {
            "model": "m", "choices": [choice("#### 2", logprobs=known), choice("#### 3")], "usage": usage}}},
        {"id": "b2", "custom_id": "q2", "error": None, "response": {"status_code": 200, "body": {
            "model": "m", "usage": {"output_tokens": 9},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "#### 5"}]}]}}},
        {"id": "b3", "custom_id": "q3", "response": None, "error": {"code": "batch_expired"}},
        {"custom_id": "q1", "result": {"type": "succeeded", "message": {
            "model": "c", "content": [{"type": "text", "text": "#### 2"}], "usage": {"output_tokens": 4}}}},
    ]  # fmt: skip
    requests = [
        {
            "custom_id": f"q{i}",
            "url": "/v1/chat/completions",
            "body": {"messages": [{"role": "user", "content": f"{i}+1?"}]},
        }
        for i in (1, 2)
    ]
    gold = [{"custom_id": "q1", "answer": "2", "level": "easy"}, {"custom_id": "q2", "answer": 3}]
    path = write(tmp_path / "out.jsonl", out)
    alone = run("convert", path, "--filter", "exact", "-o", tmp_path / "t.jsonl", code=2).output
    assert "no output can be judged" in alone
    assert "--prompts" in alone
    files = ("--requests", write(tmp_path / "requests.jsonl", requests), "--prompts", write(tmp_path / "g.jsonl", gold))
    traces, came = converted(tmp_path, path, *files, "--filter", "numeric")
    assert [(t.id, t.prompt, t.text, t.accepted) for t in traces] == [
        ("q1/0", "1+1?", "#### 2", True),
        ("q1/1", "1+1?", "#### 3", False),
        ("q2/0", "2+1?", "#### 5", False),
        ("q1/2", "1+1?", "#### 2", True),
    ]
    assert (traces[0].token_ends, traces[0].logprobs, traces[0].tokens, traces[0].group) == (
        [5, 6],
        [-0.5, -1.0],
        2,
        "easy",
    )
    assert (traces[1].tokens, traces[2].tokens, traces[3].tokens) == (
        None,
        9,
        4,
    )  # how nine tokens are shared by two choices is not told
    assert came["lost"] == {"the request failed": 1}
    assert (came["ids_made"], came["without_prompt"]) == (0, 0)


def test_gold_answers_are_found_by_what_is_asked(tmp_path):
    """A benchmark without ids beside outputs without ids, and prompts of a run with both."""
    outputs = write(tmp_path / "in.jsonl", [{"prompt": "1+1?", "completions": ["#### 2", "#### 3"]}])
    bench = write(
        tmp_path / "bench.jsonl", [{"question": "1+1?", "answer": "1+1=2.\n#### 2"}, {"question": "2?", "answer": "2"}]
    )
    traces, _ = converted(tmp_path, outputs, "--prompts", bench, "--filter", "numeric")
    assert [(t.gold, t.accepted) for t in traces] == [("1+1=2.\n#### 2", True), ("1+1=2.\n#### 2", False)]
    prompts = write(tmp_path / "p.jsonl", [{"prompt_id": "p1", "prompt": "1+1?", "gold": 3, "group": "sums"}])
    traces, _ = converted(tmp_path, outputs, "--prompts", prompts, "--filter", "numeric")
    assert [(t.gold, t.accepted, t.group) for t in traces] == [("3", False, "sums"), ("3", True, "sums")]
    nobody = write(tmp_path / "n.jsonl", [{"gold": 3}])
    said = run("convert", outputs, "--prompts", nobody, "-o", tmp_path / "t.jsonl", code=2).output
    assert "line 1: neither an id nor a prompt" in said


# Whatever they are packed in.

ROWS = [
    {"prompt": f"{i}+1?", "completion": f'It is “{i + 1}”\n{{[\\"', "reward": i % 2, "gold": str(i), "more": [{"a": 1}]}
    for i in range(40)
]


TABLES = ("csv", "tsv", "semicolons")


def packed(kind, tmp_path):
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    path = tmp_path / f"in.{kind}"
    table = pa.Table.from_pylist(ROWS)
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "arrow":
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    elif kind in TABLES:
        with open(path, "w", newline="", encoding="utf-8-sig") as file:
            names = [name for name in ROWS[0] if name != "more"]
            delimiter = {"csv": ",", "tsv": "\t", "semicolons": ";"}[kind]
            rows = csv.DictWriter(file, names, extrasaction="ignore", delimiter=delimiter)
            rows.writeheader()
            rows.writerows(ROWS)
    else:
        contents = {
            "jsonl": lines.encode(),
            "gz": gzip.compress(lines.encode()),
            "zst": zstd.compress(lines.encode()),
            "bom": b"\xef\xbb\xbf" + lines.encode(),
            "utf16": lines.encode("utf-16"),
            "utf16-array": json.dumps(ROWS, ensure_ascii=False, indent=1).encode("utf-16-le"),
            "array": json.dumps(ROWS).encode(),
            "printed": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
            "data": json.dumps({"data": ROWS}, indent=2).encode(),
            "nan": b"[" + b",".join(json.dumps(r | {"more": float("nan")}).encode() for r in ROWS) + b"]",
        }
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "jsonl",
        "gz",
        "zst",
        "bom",
        "utf16",
        "utf16-array",
        "array",
        "printed",
        "data",
        "nan",
        "parquet",
        "arrow",
        *TABLES,
    ],
)
def test_whatever_packs_them_the_records_are_the_same(tmp_path, kind):
    traces, came = converted(tmp_path, packed(kind, tmp_path))
    assert [(t.prompt, t.text, t.accepted, t.gold) for t in traces] == [
        (row["prompt"], row["completion"], bool(row["reward"]), row["gold"]) for row in ROWS
    ]
    assert came["without_place"] == ({} if kind in TABLES else {"more": 40})


@pytest.mark.skipif(os.name != "posix", reason="there are no pipes to read from")
def test_the_standard_input_is_read(tmp_path):
    path = packed("array", tmp_path)
    command = [sys.executable, "-m", "msifr_integrations.cli.main", "convert", "-", "-o", str(tmp_path / "o.jsonl")]
    done = subprocess.run(command, input=path.read_bytes(), capture_output=True, timeout=120)  # noqa: S603
    assert done.returncode == 0, done.stderr
    assert len(list(read_traces(tmp_path / "o.jsonl"))) == 40


@pytest.mark.skipif(os.name != "posix", reason="there are no named pipes")
def test_what_must_be_sought_in_is_not_read_from_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"PAR1" + bytes(99)), daemon=True)
    writer.start()
    with pytest.raises(InputError, match="cannot be read from a stream"):
        list(foreign_records(tmp_path / "pipe"))
    writer.join(10)


def test_a_folder_stands_for_its_files_and_what_is_not_known_is_said(tmp_path):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    write(folder / "samples.jsonl", ROWS)
    (folder / "results.json").write_text(json.dumps({"results": {"task": {"acc": 1}}, "n": 3}))
    (folder / ".hidden.jsonl").write_text("{")
    write(folder / "samples.ledger.jsonl", [{"kind": "run"}])
    traces, came = converted(tmp_path, tmp_path / "run")
    assert len(traces) == 40
    assert came["not_recognised"] == [str(folder / "results.json")]
    (tmp_path / "empty").mkdir()
    assert "holds no files of records" in run("convert", tmp_path / "empty", "-o", tmp_path / "t.jsonl", code=2).output


@given(
    st.lists(
        st.dictionaries(
            st.text('a"\\{[', max_size=3), st.text('a"\\{}[]\n', max_size=9) | st.lists(st.none()), max_size=3
        )
    ),
    st.integers(1, 7),
)
def test_objects_are_found_wherever_the_pieces_of_a_document_end(rows, size):
    """And whatever brackets and quotes are in strings."""

    class Pieces(io.BytesIO):
        def read(self, _=-1):
            return super().read(size)

    document = json.dumps([rows[:2], rows[2:]]) + "".join(map(json.dumps, rows))
    assert [json.loads(each) for each in json_objects(Pieces(document.encode()), "here")] == rows + rows
    with pytest.raises(InputError, match="middle of a record"):
        list(json_objects(Pieces(json.dumps([*rows, {"a": "b"}])[:-3].encode()), "here"))


# What is wrong, and what helps.


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        ([{"prompt": "q", "completion": "a", "reward": 0.7}], (), "from which value on.*--reward-threshold"),
        ([{"prompt": "q", "completion": "a"}], (), "nothing says which.*--filter.*no gold answers.*--without-outcome"),
        ([{"prompt": "q", "completion": "a", "gold": "1"}], (), "they have gold answers"),
        ([{"prompt": "q", "completion": "a"}], ("--filter", "numeric"), "no output can be judged.*no gold.*--map gold"),
        ([{"prompt": "q", "completion": ""}], (), "no attempts to write: no text 1"),
        ([{"prompt": "", "completion": "a", "reward": 1}], (), "neither the prompt nor an id"),
        ([{"a": 1, "b": 2}], (), "no known format; its records have a, b .*--map text=PATH"),
        ([{"prompt": "q", "chosen": "a", "rejected": "b"}], (), "pair of training data.*msifr generate"),
        ([{"kind": "run", "settings": {}, "version": 1}], (), "the ledger of a run"),
        ([{"prompt": "q", "completion": "a", "step": 1, "r1": 1.0, "r2": 0.0}], (), "several rewards.*r1, r2"),
        ([{"prompt": "q", "completion": "a", "reward": 1}], ("--metric", "x"), "no column 'x'"),
        ([{"prompt_id": "p", "text": "a", "status": "discarded"}], (), "a discarded attempt.*--policy none"),
        ([{"prompt": "q", "completion": "a", "reward": 1}, {"x": 1}], (), "line 2: is not of prompts and completions"),
        ([{"prompt": "q", "completion": "a", "reward": 1}], ("--map", "text=a["), "is not a path"),
        ([{"prompt": "q", "out": "a", "s": 1}], ("--map", "text=out", "--map", "correct=s>=x"), "cannot compare with"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_helps(tmp_path, rows, options, says):
    path = write(tmp_path / "in.jsonl", rows)
    result = run("convert", path, *options, "-o", tmp_path / "t.jsonl", code=2)
    assert not (tmp_path / "t.jsonl").exists()
    text = " ".join(result.output.split())
    assert re.search(says, text), text


def test_rewards_are_compared_with_the_threshold(tmp_path):
    rows = [{"prompt": "q", "completion": str(i), "reward": i / 4} for i in range(4)]
    traces, _ = converted(tmp_path, write(tmp_path / "in.jsonl", rows), "--reward-threshold", 0.5)
    assert [t.accepted for t in traces] == [False, False, True, True]


def test_outputs_without_an_outcome_are_written_for_judge(tmp_path):
    rows = [{"prompt": f"{i}+1?", "completion": f"#### {i}", "gold": "2"} for i in range(4)]
    path = write(tmp_path / "in.jsonl", rows)
    said = run("convert", path, "--without-outcome", "-o", tmp_path / "t.jsonl").output
    assert "4 are written without an outcome: msifr judge" in said
    run("judge", tmp_path / "t.jsonl", "--filter", "numeric", "-o", tmp_path / "judged.jsonl")
    assert [t.accepted for t in read_traces(tmp_path / "judged.jsonl")] == [False, False, True, False]
    at_once, _ = converted(tmp_path, path, "--filter", "numeric")
    assert at_once == list(read_traces(tmp_path / "judged.jsonl"))


def test_a_filter_takes_the_place_of_the_verdict_and_how_often_they_differ_is_said(tmp_path):
    rows = [{"prompt": f"{i}+1?", "completion": f"#### {i}", "gold": "2", "reward": i % 2} for i in range(4)]
    traces, came = converted(tmp_path, write(tmp_path / "in.jsonl", rows), "--filter", "numeric")
    assert [t.accepted for t in traces] == [False, False, True, False]
    assert (came["both_told"], came["disagree"]) == (4, 3)


def test_malformed_records_are_skipped_and_counted(tmp_path):
    good = json.dumps({"prompt": "q", "completion": "a", "reward": 1})
    path = tmp_path / "in.jsonl"
    path.write_text(f'{good}\n{{"prompt"\n[1]\n{good}\n{json.dumps({"x": 1})}\n')
    assert "line 2" in run("convert", path, "-o", tmp_path / "t.jsonl", code=2).output
    traces, came = converted(tmp_path, path, "--on-error", "skip")
    assert len(traces) == 2
    assert (came["malformed"], len(came["errors"])) == (3, 3)


def test_records_of_any_shape_with_a_map(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text('Query,Reply,Grade,Who\n"1+1?","2, I think",0.9,ann\n1+1?,3,0.2,bob\n')
    words = ("--map", "prompt=Query", "--map", "text=Reply", "--map", "correct=Grade>=0.5", "--map", "model=Who")
    traces, _ = converted(tmp_path, path, *words)
    assert [(t.text, t.accepted, t.model) for t in traces] == [("2, I think", True, "ann"), ("3", False, "bob")]
    assert traces[0].prompt_id == traces[1].prompt_id


def test_ids_that_occur_twice_are_made_anew(tmp_path):
    chat = {
        "id": "c",
        "reward": 1,
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    }
    traces, _ = converted(tmp_path, write(tmp_path / "in.jsonl", [chat, chat, chat]))
    assert len({t.id for t in traces}) == 3
    assert traces[0].id == "c"


def test_a_prompt_is_all_that_was_asked(tmp_path):
    """The same question is another prompt after another system's message or turn, and the same in another format."""
    user, said = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    first = {"role": "user", "content": "earlier"}
    chats = [[user, said], [{"role": "system", "content": "s"}, user, said], [first, said, user, said], [user, said]]
    traces, came = converted(tmp_path, write(tmp_path / "in.jsonl", [{"messages": c, "reward": 1} for c in chats]))
    assert [t.prompt for t in traces] == ["q"] * 4
    assert [t.prompt_id == traces[0].prompt_id for t in traces] == [True, False, False, True]
    assert (came["prompts"], came["asked_before"]) == (3, 2)
    rows = [{"prompt": "q", "completion": "a", "reward": 1}]
    assert converted(tmp_path, write(tmp_path / "other.jsonl", rows))[0][0].prompt_id == traces[0].prompt_id


def test_no_file_is_read_twice(tmp_path):
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / "a.jsonl", ROWS)
    (tmp_path / "link.jsonl").symlink_to(path)
    assert len(converted(tmp_path, tmp_path / "in", path, tmp_path / "link.jsonl")[0]) == 40


def test_the_same_files_give_the_same_bytes_and_the_output_is_none_of_them(tmp_path):
    path = packed("jsonl", tmp_path)
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        run("convert", path, "-o", tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert "one of the inputs" in run("convert", path, "-o", path, code=2).output
    assert "unknown ending" in run("convert", path, "-o", tmp_path / "a.txt", code=2).output


# Hostile contents.

VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("rolecntvaufm", max_size=7), inner, max_size=3),
    max_leaves=6,
)
SHAPES = [record for record, _ in KNOWN.values()] + [
    {"doc_id": 0, "doc": {}, "arguments": {}, "resps": [["a"]], "target": "1", "exact_match": 1.0, "metrics": []},
    {"custom_id": "q", "response": {"body": {"choices": [choice("a")], "usage": {}}}, "error": None},
    {"eval": {}, "id": 1, "input": "q", "output": {"choices": [choice("a")]}, "scores": {"m": {"value": "C"}}},
]


@pytest.mark.parametrize("response", ["", None, 3])
def test_a_response_without_text_is_lost_and_not_an_attempt(response):
    record = {"doc_id": 0, "doc": {}, "arguments": None, "resps": [["a", response]], "target": "1", "metrics": []}
    (known,) = [each for each in FORMATS if each.fits(record)]
    whole, lost = known.attempts(record, OutcomeReader(), "here")
    assert isinstance(whole, ForeignAttempt)
    assert isinstance(lost, Lost)


@given(st.sampled_from(SHAPES), st.data())
def test_whatever_a_record_holds_a_format_says_at_most_what_is_wrong(shape, data):
    record = dict(shape)
    for name in data.draw(st.sets(st.sampled_from(sorted(record)), max_size=3)):
        record[name] = data.draw(VALUE)
    for known in FORMATS:
        if known.fits(record):
            try:
                found = list(known.attempts(record, OutcomeReader(), "here"))
            except InputError:
                continue
            assert all(isinstance(each, ForeignAttempt | Lost) for each in found)
            texts = [each.text for each in found if isinstance(each, ForeignAttempt)]
            assert all(isinstance(text, str) for text in texts)
            assert all(texts) or known is OWN  # an attempt of a run may have ended at once
    recognise([record])


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"{", b"[", b"[[[[", b'{"a": "', b"\xff\xfe\x00", b"\x00" * 99, b"PK\x03\x04rest", b"PAR1",
     b"<!doctype html>", b"ARROW1", b"\xff\xff\xff\xff\x10\0\0\0",
     b"a,b\n\"", b"a,a\n1,2\n", b"\x1f\x8b\x08", b"}{", b"\x80,\x81\n1,2",
     b"[" * 100_000, b'[{"a":' * 20_000, b"[1, 2]", b'"text"', b"a,b\n1,2,3\n"],
    ids=lambda content: repr(content[:12]),
)  # fmt: skip
def test_hostile_bytes_are_an_error_of_one_line(tmp_path, content):
    path = tmp_path / "in"
    path.write_bytes(content)
    errors = []
    try:
        errors += [record for _, record in foreign_records(path) if isinstance(record, InputError)]
    except InputError as error:
        errors.append(error)
    assert errors
    assert not any("\n" in str(error) for error in errors)


def test_a_zip_archive_that_is_no_log_or_tells_a_wrong_size(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(InputError, match=r"a\.zip: is a zip archive"):
        list(foreign_records(tmp_path / "a.zip"))
    with zipfile.ZipFile(tmp_path / "b.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", "{}")
        archive.writestr("samples/1.json", b'{"a": "' + b"x" * (65 * 2**20) + b'"}')  # 64 kB that unpack to 65 MB
        archive.writestr("samples/2.json", b'{"a": 1}')
    (_, first), (_, second) = foreign_records(tmp_path / "b.eval")
    assert isinstance(first, InputError)
    assert "longer than" in str(first)
    assert second["a"] == 1


def test_an_interrupt_leaves_no_half_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    program = [sys.executable, "-c", "from msifr_integrations.cli.entry import run; run()"]
    command = [*program, "convert", str(tmp_path / "pipe"), "-o", str(tmp_path / "o.jsonl")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    with open(tmp_path / "pipe", "w") as pipe:
        for row in ROWS:
            pipe.write(json.dumps(row) + "\n")
        pipe.flush()
        for _ in range(400):
            if list(tmp_path.glob(".*.part")):
                break
            time.sleep(0.05)
        assert list(tmp_path.glob(".*.part"))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pipe"]


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Peak memory of a conversion of 30 MB, as lines and as one array, is that of one of 3 MB and little more."""
    text = "x" * 3000
    script = (
        "import resource, sys; from msifr_integrations.formats.importing.convert import ConvertOptions, convert; "
        "convert(sys.argv[1:2], sys.argv[2], ConvertOptions()); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = {}
    for name, n in (("small.jsonl", 1000), ("large.jsonl", 10_000), ("large.json", 10_000)):
        rows = (json.dumps({"prompt": f"{i % 500}?", "completion": text, "reward": 1}) for i in range(n))
        (tmp_path / name).write_text("[" + ",".join(rows) + "]" if name.endswith(".json") else "\n".join(rows))
        command = [sys.executable, "-c", script, str(tmp_path / name), str(tmp_path / "o.jsonl")]
        done = subprocess.run(command, capture_output=True, check=True, timeout=120)  # noqa: S603
        peaks[name] = int(done.stdout)
    kilobytes = 8_000 if sys.platform != "darwin" else 8_000_000
    assert peaks["large.jsonl"] < peaks["small.jsonl"] + kilobytes, peaks
    assert peaks["large.json"] < peaks["small.jsonl"] + kilobytes, peaks


# From nine foreign files to a certified policy, in two commands.


@pytest.fixture(scope="module")
def attempts():
    """Of 200 prompts, the four attempts that the embedded model made at each."""
    found = defaultdict(list)
    for trace in read_traces(embedded_samples_path()):
        found[trace.prompt_id].append(trace)
    return list(found.values())[:200]


def messages(trace):
    return [{"role": "user", "content": trace.prompt}, {"role": "assistant", "content": trace.text}]


ROWS_OF = {
    "lm_eval": lambda i, ts: [
        {"doc_id": i, "doc": {"question": t.prompt}, "target": t.gold, "arguments": {"gen_args_0": {"arg_0": t.prompt}},
         "resps": [[t.text]], "filtered_resps": ["?"], "filter": "none", "metrics": ["exact_match"],
         "exact_match": float(t.accepted)} for t in ts],
    "batch": lambda i, ts: [
        {"id": f"b{i}", "custom_id": f"q{i}", "error": None, "response": {"status_code": 200, "body": {
            "model": "m", "choices": [choice(t.text) for t in ts]}}}],
    "vllm": lambda _, ts: [
        {"prompt": ts[0].prompt, "gold": ts[0].gold,
         "outputs": [{"text": t.text, "token_ids": [0] * t.tokens} for t in ts]}],
    "trl": lambda _, ts: [
        {"prompt": messages(ts[0])[:1], "completions": [messages(t)[1:] for t in ts],
         "rewards": [t.accepted for t in ts]}],
    "sharegpt": lambda _, ts: [
        {"id": t.id, "gold": t.gold,
         "conversations": [{"from": "human", "value": t.prompt}, {"from": "gpt", "value": t.text}]} for t in ts],
    "messages": lambda _, ts: [{"messages": messages(t), "answer": t.gold} for t in ts],
    "distilabel": lambda _, ts: [
        {"instruction": t.prompt, "gold": t.gold, "generation": t.text, "model_name": "m", "distilabel_metadata": {
            "statistics_text_generation_0": {"output_tokens": t.tokens}}} for t in ts],
    "openr1": lambda i, ts: [
        {"problem": ts[0].prompt, "answer": ts[0].gold, "uuid": f"u{i}", "generations": [t.text for t in ts],
         "correctness_math_verify": [t.accepted for t in ts]}],
    "table": lambda _, ts: [{"question": t.prompt, "response": t.text, "is_correct": t.accepted} for t in ts],
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS_OF)
def test_nine_foreign_files_become_certified_policies_in_two_commands(tmp_path, attempts, name):
    rows = [row for i, ts in enumerate(attempts) for row in ROWS_OF[name](i, ts)]
    options = ["--filter", "numeric"] if name in ("batch", "vllm", "sharegpt", "messages", "distilabel") else []
    path = tmp_path / f"{name}.jsonl"
    if name == "messages":
        path = tmp_path / "messages.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name == "table":
        path = tmp_path / "table.csv"
        with open(path, "w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
    else:
        write(path, rows)
    # Given as it is, the file is refused with the command that converts it.
    refused = " ".join(run("fit", path, "-o", tmp_path / "p.json", code=2).output.split())
    assert "msifr convert" in refused
    if name == "batch":
        bodies = [{"custom_id": f"q{i}", "body": {"messages": messages(ts[0])[:1]}} for i, ts in enumerate(attempts)]
        gold = [{"custom_id": f"q{i}", "gold": ts[0].gold} for i, ts in enumerate(attempts)]
        options += [
            "--prompts",
            write(tmp_path / "bodies.jsonl", bodies),
            "--prompts",
            write(tmp_path / "gold.jsonl", gold),
        ]
    run("convert", path, *options, "-o", tmp_path / "traces.jsonl.gz")
    traces = list(read_traces(tmp_path / "traces.jsonl.gz"))
    assert [(t.text, t.accepted, t.prompt) for t in traces] == [
        (t.text, t.accepted, t.prompt) for ts in attempts for t in ts
    ]
    assert len({t.prompt_id for t in traces}) == 200
    fit = ("--max-false-reject", 0.1, "--posterior", "logistic", "--json")
    result = run("fit", tmp_path / "traces.jsonl.gz", "-o", tmp_path / "policy.json", *fit)
    assert json.loads(result.stdout[result.stdout.index("{") :])["certificate"]["certified"] is True


# Known beside the outputs: by ids, by all that was asked, by the question.


def test_gold_answers_are_found_by_the_question_whatever_stood_before_it(tmp_path):
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is\n2+3?\n"}]
    write(tmp_path / "gold.jsonl", [{"question": " What is 2+3?", "answer": "2+3=5\n#### 5"}])
    write(
        tmp_path / "chats.jsonl", [{"messages": [*said, {"role": "assistant", "content": f"#### {n}"}]} for n in (5, 6)]
    )
    gold = ("--prompts", tmp_path / "gold.jsonl", "--filter", "numeric", "-o", tmp_path / "t.jsonl")
    run("convert", tmp_path / "chats.jsonl", *gold)
    assert [trace.accepted for trace in read_traces(tmp_path / "t.jsonl")] == [True, False]
    # A batch: the requests tell by id what was asked, and that tells the gold answer.
    write(tmp_path / "requests.jsonl", [{"custom_id": f"r{n}", "body": {"messages": said}} for n in (5, 6)])
    bodies = [(n, {"choices": [{"message": {"content": f"#### {n}"}}]}) for n in (5, 6)]
    write(tmp_path / "batch.jsonl", [{"custom_id": f"r{n}", "response": {"body": body}} for n, body in bodies])
    result = run("convert", tmp_path / "batch.jsonl", "--prompts", tmp_path / "requests.jsonl", *gold)
    traces = list(read_traces(tmp_path / "t.jsonl"))
    assert [(trace.id, trace.prompt_id, trace.accepted) for trace in traces] == [
        ("r5/0", "r5", True),
        ("r5/1", "r5", False),
    ]
    assert "2 traces at 1 prompt, 1 accepted" in result.output  # two requests that ask the same


def test_a_record_of_no_known_format_is_told_in_the_words_of_map(tmp_path):
    rows = [{"m": {"q": "2+3?", "a.b": 1}, "out": [{"a": {"t": "5"}}], "n": []}]
    said = " ".join(
        run("convert", write(tmp_path / "in.jsonl", rows), "-o", tmp_path / "t.jsonl", code=2).output.split()
    )
    assert 'its records have m.q, m["a.b"], out[*].a.t, n (tell' in said
    words = ("--map", "prompt=m.q", "--map", "text=out.a.t")
    said = run("convert", tmp_path / "in.jsonl", *words, "-o", tmp_path / "t.jsonl", code=2).output
    assert "has no text where --map says; its records have m.q, " in said
    words = ("--map", "prompt=m.q", "--map", "text=out[*].a.t", "--without-outcome")
    run("convert", tmp_path / "in.jsonl", *words, "-o", tmp_path / "t.jsonl")


def test_the_standard_streams(tmp_path):
    """And nothing is said in the place of the traces; an empty input is told from a terminal."""
    make = [sys.executable, "-m", "msifr_integrations.cli.main", "convert", "-", "-o", "-"]
    row = json.dumps({"prompt": "q", "completion": "a", "reward": 1})
    done = subprocess.run(  # noqa: S603
        make, input=row, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["text"] == "a"
    assert "1 trace at 1 prompt" in done.stderr
    assert not done.stderr.startswith("\n")  # progress leaves nothing behind
    kept = tmp_path / "kept.jsonl"
    kept.write_text("{}\n")
    with open(kept, "a") as file:  # as `>>` does
        subprocess.run(make, input=row, stdout=file, stderr=subprocess.DEVNULL, text=True, check=True)  # noqa: S603
    assert [*map(json.loads, kept.read_text().splitlines())] == [{}, json.loads(done.stdout)]
    none = subprocess.run(  # noqa: S603
        make, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (none.returncode, "the standard input is empty" in none.stderr) == (2, True)
