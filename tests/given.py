"""A folder with every file that the examples of help texts name, small: traces, prompts, runs, files of other tools."""

from __future__ import annotations

import json
import re
import shlex
from itertools import islice
from pathlib import Path
from typing import Any

import click

from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path, embedded_samples_path, problems
from msifr_integrations.generation.generate import generate
from msifr_integrations.generation.merge import merge_runs
from msifr_integrations.generation.options import GenerateOptions
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.traces import read_traces, write_traces

SERVER = "http://localhost:8000"
"""The server of the examples."""

GOOD, BAD = "2 + 3 = 5.\n#### 5", "2 + 3 = 6.\n#### 6"


def lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def fill(folder: Path, fit: Any) -> None:
    """Make the files; `fit` is what makes `policy.json` of `traces.jsonl.gz`."""
    traces = list(islice(read_traces(embedded_samples_path()), 400))
    write_traces(folder / "traces.jsonl.gz", traces[:280])
    write_traces(folder / "more-traces.jsonl", traces[280:])
    fields = ("prompt_id", "prompt", "gold", "group")
    asked = [{name: getattr(problem, name) for name in fields} for problem in problems(77, 5)]
    lines(folder / "prompts.jsonl", asked)
    fit()
    runs(folder)
    of_other_tools(folder)


def runs(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(embedded_model_path()).eval()
    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    policy = PolicyFile.load(folder / "policy.json").policy()
    for name, by, shard in (("full", None, (1, 1)), ("part1", policy, (1, 2)), ("part2", policy, (2, 2))):
        options = GenerateOptions(attempts=3, max_new_tokens=100, model_name=EMBEDDED_MODEL, shard=shard)
        out = folder / f"{name}.jsonl"
        generate(model, folder / "prompts.jsonl", by, out, options, tokenizer=tokenizer, tell=_silent)
    for name in ("run", "out"):
        merge_runs([folder / "part1.jsonl", folder / "part2.jsonl"], folder / f"{name}.jsonl")


def _silent(_: str) -> None:
    """Say nothing."""


def of_other_tools(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    asked, texts = [f"What is 2 + 3? ({i})" for i in range(6)], [GOOD, BAD] * 3
    outputs = [
        {"id": f"a{i}", "prompt_id": f"p{i}", "prompt": prompt, "gold": "5", "text": text}
        for i, (prompt, text) in enumerate(zip(asked, texts, strict=True))
    ]
    lines(folder / "outputs.jsonl", outputs)
    lm_eval = [
        {
            "doc_id": i,
            "doc": {"question": prompt, "answer": GOOD},
            "target": GOOD,
            "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["Q:"]}}},
            "resps": [[text]],
            "filtered_resps": [text[-1]],
            "filter": "strict-match",
            "metrics": ["exact_match"],
            "exact_match": float(text == GOOD),
        }
        for i, (prompt, text) in enumerate(zip(asked, texts, strict=True))
    ]
    lines(folder / "samples_gsm8k.jsonl", lm_eval)
    pq.write_table(
        pa.table({"prompt": asked, "completion": texts, "answer": ["5"] * len(asked)}), folder / "completions.parquet"
    )
    requests = [
        {"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions",
         "body": {"model": "m", "messages": [{"role": "user", "content": prompt}]}}
        for i, prompt in enumerate(asked)
    ]  # fmt: skip
    lines(folder / "batch_requests.jsonl", requests)
    answers = [
        {"id": f"b{i}", "custom_id": f"r{i}", "error": None,
         "response": {"status_code": 200, "body": {"object": "chat.completion", "model": "m", "choices": [
             {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
             "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}}}}
        for i, text in enumerate(texts)
    ]  # fmt: skip
    lines(folder / "batch_output.jsonl", answers)
    lines(folder / "gold.jsonl", [{"custom_id": f"r{i}", "gold": "5"} for i in range(len(asked))])
    rows = "".join(f'"{prompt}","{text}",{int(text == GOOD)}\n' for prompt, text in zip(asked, texts, strict=True))
    (folder / "answers.csv").write_text("query,reply,grade\n" + rows)


def examples_of(main: click.Group) -> list[str]:
    """Return the examples of all help texts, each once."""
    found: dict[str, None] = {}
    for command in (main, *main.commands.values()):
        shown = (command.epilog or "").partition("Examples:\n")[2].splitlines()
        assert shown, f"the help of {command.name} ends without an example"
        found |= dict.fromkeys(line.strip() for line in shown)
    return list(found)


def arguments_of(example: str) -> list[str]:
    """Return the arguments of an example, without what is the shell's."""
    inner = re.search(r"\$\((.*)\)", example)
    words = shlex.split(inner[1] if inner else example.partition(" > ")[0])
    assert words[0] == "msifr"
    return words[1:]
