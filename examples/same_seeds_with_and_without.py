"""The slot engine with a policy and without, on the same seeds: survivors are the same. Argument: a policy file."""

import sys

import msgspec

from msifr_integrations import GenerateOptions, generate, load_model
from msifr_integrations.embedded import EMBEDDED_MODEL, embedded_model_path, problems
from msifr_policy import PolicyFile

model, tokenizer = load_model(embedded_model_path())
prompts = [problem.as_prompt() for problem in problems(seed=2, n=4)]
options = GenerateOptions(attempts=2, engine="slots", slots=8, max_new_tokens=200, model_name=EMBEDDED_MODEL)
full = generate(model, prompts, None, "full.jsonl", options, tokenizer=tokenizer)
policy = PolicyFile.load(sys.argv[1]).policy()
options = msgspec.structs.replace(options, compare="full.jsonl")
result = generate(model, prompts, policy, "out.jsonl", options, tokenizer=tokenizer)
print(f"{result.tokens} tokens for {result.accepted} accepted; without: {full.tokens} for {full.accepted}")
print(f"{result.survivors_changed} of {result.survivors} survivors changed")
