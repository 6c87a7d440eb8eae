"""Fit a policy on a file of traces, certify it, and see what it saves on prompts kept aside. Argument: the file."""

import sys

from msifr_calibration import fit_policy, split_by_prompt
from msifr_policy import NewlineSteps, build_evidence, default_validators, read_traces
from msifr_sim import replay_policy, summarise

table = build_evidence(read_traces(sys.argv[1]), NewlineSteps(), default_validators())
train, test = split_by_prompt(table, 0.7, seed=0)
fit = fit_policy(train, max_false_reject=0.1, confidence=0.9)
fit.file.save("policy.json")
print(fit.file.certificate.message)
summary = summarise(replay_policy(fit.file.policy(), test))
print(f"saving rate {summary.saving_rate:.3f}, false-reject rate {summary.false_reject_rate:.3f}")
