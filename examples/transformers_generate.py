"""A policy within the generate() of transformers, as in any loop of one's own. Argument: a policy file."""

import sys

import torch

from msifr_integrations import load_model
from msifr_integrations.embedded import embedded_model_path, problem
from msifr_policy import Action, PolicyFile

model, tokenizer = load_model(embedded_model_path())
prompt = problem(0, 1).prompt
tokens, run, said = tokenizer(prompt, return_tensors="pt"), PolicyFile.load(sys.argv[1]).policy().start(prompt), [""]


def discards(ids, *_, **__):
    said.append(tokenizer.decode(ids[0, tokens.input_ids.shape[1] :]))
    decision = run.feed(said[-1][len(said[-2]) :], tokens=1)
    return torch.tensor([decision is not None and decision.action is Action.DISCARD])


torch.manual_seed(0)
model.generate(**tokens, do_sample=True, max_new_tokens=200, stopping_criteria=[discards])
print(f"{len(said) - 1} tokens until the end, or until it was discarded:\n{said[-1]}")
