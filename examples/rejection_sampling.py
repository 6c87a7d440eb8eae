"""Rejection sampling for fine-tuning: two accepted answers per prompt, round by round. Argument: a policy file."""

import json
import sys
from pathlib import Path

from msifr_integrations import GenerateOptions, generate, load_model, write_accepted
from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path, problems
from msifr_policy import PolicyFile

policy = PolicyFile.load(sys.argv[1]).policy()
model, tokenizer = load_model(embedded_model_path())
options = GenerateOptions(attempts=4, accepted_per_prompt=2, max_new_tokens=200, model_name=EMBEDDED_MODEL)
for step in range(2):
    prompts = [problem.as_prompt() for problem in problems(seed=step, n=8)]
    result = generate(model, prompts, policy, f"round-{step}.jsonl", options, tokenizer=tokenizer)
    write_accepted(f"round-{step}.jsonl", f"sft-{step}.jsonl")
    rows = [json.loads(line)["messages"] for line in Path(f"sft-{step}.jsonl").read_text().splitlines()]
    print(f"round {step}: {len(rows)} rows to train on, {result.tokens_per_accepted:.1f} tokens for each")
