"""On recorded generations of real models: fit and evaluate runs in seconds, keeps its promise, and never does harm."""

import time

import pytest

from msifr_calibration import fit_policy, split_by_prompt
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.schedule import auto_schedule
from msifr_policy.records.traces import find_trace_files, read_traces
from msifr_policy.validators import Verdict, default_validators
from msifr_sim import replay_policy, summarise

FAMILIES = (
    "mmlu_pro-llama-3.1-8b-instruct",
    "math_l5_json-llama-3.1-8b-instruct",
    "math500-qwen2.5-math-7b",
    "gsm8k_json-qwen2-7b-instruct",
)


def usual_schedule(traces):
    return auto_schedule([len(trace.text) for trace in traces[:2000]])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_certified_policy_keeps_its_promise_and_is_never_dearer(shared, family):
    """One fixed split; a true f of 5 % would show as more than 8 % of 60 accepted samples with probability < 0.2."""
    started = time.process_time()
    traces = list(read_traces(shared / "traces" / f"{family}.jsonl.gz"))
    table = build_evidence(traces, usual_schedule(traces), default_validators())
    train, test = split_by_prompt(table, 0.5, 7)
    fit = fit_policy(train, max_false_reject=0.05, confidence=0.9, seed=0)
    summary = summarise(replay_policy(fit.file.policy(), test), length_cap=fit.file.length_cap.cap)
    assert time.process_time() - started < 60
    assert summary.false_reject_rate <= 0.08
    assert summary.net_cost_factor_ci[0] <= 1
    assert summary.accepted_cost_share <= summary.net_cost_factor <= 1.02
    if family.startswith("math500"):
        assert fit.file.certificate.certified
        assert summary.net_cost_factor < 0.6


def test_human_solutions_are_not_called_dead(shared):
    """At most 0.5 % of right human solutions, by any rule at its default."""
    traces = list(read_traces(shared / "control"))
    table = build_evidence(traces, usual_schedule(traces), default_validators())
    dead = table.ever_dead()
    assert table.n_attempts == table.n_accepted > 7000
    assert dead.any(axis=1).mean() <= 0.005
    assert (table.verdicts != Verdict.ALIVE).any()


def test_every_recorded_file_is_read_as_it_is(shared):
    for path in find_trace_files([shared / "traces"]):
        first = next(iter(read_traces(path)))
        assert first.prompt_id
        assert first.text
