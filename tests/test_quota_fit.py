"""Policies for quotas: the attempts that count, the law of acceptance over prompts, and when prompts are given up."""

import numpy as np
import pytest
from scipy.stats import binom

from msifr_calibration import fit_policy
from msifr_calibration.quota import acceptance_prior
from msifr_policy.errors import InputError
from msifr_policy.evidence.build import build_evidence
from msifr_policy.evidence.history import in_quota, told_history
from msifr_policy.evidence.schedule import EveryUnits
from msifr_policy.evidence.table import EvidenceTable
from msifr_policy.policy_file import PolicyFile
from msifr_policy.records.traces import Trace
from msifr_policy.validators import Length
from msifr_sim import replay_policy, summarise


def world(n_prompts: int, attempts: int, seed: int, *, a: float = 0.4, b: float = 0.6) -> EvidenceTable:
    """Attempts of 40 characters whose text tells nothing, at prompts whose acceptance is drawn from Beta(a, b)."""
    rng = np.random.default_rng(seed)
    rate = rng.beta(a, b, n_prompts)
    accepted = rng.random((n_prompts, attempts)) < rate[:, None]
    traces = [
        Trace(id=f"{seed}-{p}/{i}", prompt_id=f"{seed}-{p}", text="x" * 40, accepted=bool(accepted[p, i]))
        for p in range(n_prompts)
        for i in range(attempts)
    ]
    return build_evidence(traces, EveryUnits(20, "characters"), [Length()])


@pytest.mark.parametrize(("wanted", "most"), [(1, 8), (2, 5), (8, 8), (3, 100)])
def test_the_attempts_of_a_quota_are_those_of_a_run_one_after_the_other(wanted, most):
    table = world(50, 8, seed=3)
    expected = []
    for prompt in range(table.n_prompts):
        done = accepted = 0
        for i in np.flatnonzero(table.prompt == prompt):
            if accepted < wanted and done < most:
                expected.append(table.attempt_ids[i])
                done, accepted = done + 1, accepted + int(table.accepted[i])
    assert sorted(in_quota(table, wanted, most).attempt_ids) == sorted(expected)


@pytest.mark.parametrize(("a", "b"), [(0.4, 0.6), (3.0, 1.0), (20.0, 30.0)])
def test_the_law_of_acceptance_is_found_also_where_a_quota_ended_the_attempts(a, b):
    for table in (world(3000, 8, seed=1, a=a, b=b), in_quota(world(3000, 8, seed=1, a=a, b=b), 2, 8)):
        found = acceptance_prior(table)
        assert found[0] / sum(found) == pytest.approx(a / (a + b), abs=0.02)
        assert 1 / (1 + sum(found)) == pytest.approx(1 / (1 + a + b), abs=0.03)  # how alike attempts are


def test_hopeless_prompts_are_given_up_within_the_budget_and_the_file_says_when(tmp_path):
    """No text tells anything, so all that is saved is saved by giving prompts up."""
    table = world(1200, 12, seed=5)
    fit = fit_policy(table, max_false_reject=0.1, accepted_per_prompt=2, attempts_per_prompt=12)
    quota = fit.file.quota
    assert (quota.accepted, quota.attempts) == (2, 12)
    assert fit.file.certificate.certified
    fresh = in_quota(world(4000, 12, seed=6), 2, 12)
    outcomes = replay_policy(fit.file.policy(), fresh)
    assert outcomes.stop_k[outcomes.discarded].max() == 0
    assert set(outcomes.reason) == {"", "history"}
    saved = 1 - outcomes.cost_policy.sum() / outcomes.cost_full.sum()
    lost = summarise(outcomes, draws=10).false_reject_rate  # prompts weigh equally, as in the certificate
    assert saved > 0.2
    assert lost < 0.1
    fit.file.save(tmp_path / "policy.json")
    again = PolicyFile.load(tmp_path / "policy.json")
    assert again.quota == quota
    np.testing.assert_array_equal(again.policy().stops(fresh), fit.file.policy().stops(fresh))
    kept = fit_policy(table, max_false_reject=0.1, accepted_per_prompt=2, attempts_per_prompt=12, skip_prompts=False)
    assert kept.file.thresholds[0] == 0  # a prompt is begun, whatever is known of it
    assert kept.file.quota.give_up == [[False] * 2] * 12


def test_policies_for_quotas_break_their_promise_no_more_often_than_delta():
    """100 fits that give prompts up; the share that lose more than α against δ = 0.2 (false alarms: 0.1 %)."""
    violations = certified = 0
    judge = in_quota(world(4000, 6, seed=10**6), 1, 6)
    told = told_history(judge)
    assert told[:, 0].max() == 0
    for seed in range(100):
        fit = fit_policy(world(120, 6, seed), max_false_reject=0.05, confidence=0.8, accepted_per_prompt=1)
        if fit.file.certificate.certified:
            certified += 1
            stop = fit.file.policy().stops(judge)
            A, D = judge.accepted, stop >= 0
            attempts = np.bincount(judge.prompt)
            weight = 1 / attempts[judge.prompt]  # prompts weigh equally
            violations += float(weight @ (A & D)) / float(weight @ A) > 0.05
    assert certified > 20
    assert violations <= binom.ppf(0.999, 100, 0.2)


def test_a_quota_needs_several_attempts_and_their_history():
    with pytest.raises(InputError, match="one attempt each"):
        fit_policy(world(20, 1, seed=0), accepted_per_prompt=1)
    with pytest.raises(InputError, match="needs the history"):
        fit_policy(world(20, 4, seed=0), accepted_per_prompt=1, history=False)
    with pytest.raises(InputError, match="from 1 to"):
        fit_policy(world(20, 4, seed=0), accepted_per_prompt=0)
    # A run would refuse the quota of such a policy.
    for asked in ({"attempts_per_prompt": 4}, {}):
        with pytest.raises(InputError, match="5 accepted samples of each prompt from at most 4 attempts"):
            fit_policy(world(20, 4, seed=0), accepted_per_prompt=5, **asked)
